"""Text, sound and layout to tokens and back."""

from bottega.tokenizers.bpe import BpeTokenizer
from bottega.tokenizers.folders import read_tokenizer_folder, write_tokenizer_folder

__all__ = ["BpeTokenizer", "read_tokenizer_folder", "write_tokenizer_folder"]
