import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import AutoTokenizer

from bottega.errors import FileError
from bottega.tokenizers import (
    LanguageTokenizer,
    SentencePieceTokenizer,
    TextStream,
    read_language_folder,
    require_fit,
    tokenizer_from_json,
    write_language_folder,
)

LINES = [
    "The quick brown fox jumps over the lazy dog, and 123 dogs sleep.",
    "SELECT books.title, books.price\nFROM books\nWHERE books.price > 20;",
    'def f(x):\n    return x * 2  # twice\n\n\n{"name": "Zoë", "age": 41}',
    "In French, 🍎 (red apple) is pomme rouge; in Portuguese it is maçã vermelha.",
] * 20
KINDS = {"bytes": LanguageTokenizer, "pieces": SentencePieceTokenizer}
TEXTS = [
    "",
    " ",
    "  two  spaces and\ttabs\n\n  indented ",
    "the price is 31415 and \u00a0 odd\u2003blanks\r\n",
    "<s> and </s> in a user's text, <pad> <unk>",
    "日本語 🧑‍🚀 e\u0301 \u200d",
    *LINES[:4],
]


def llama_fast():
    """A tokenizer.json in the layout of Llama 2's: pieces with a leading space, rare letters as bytes."""
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", *"abcdehlortw123.,"]
    merges = [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("\u2581", "hello"), ("\u2581", "w")]
    vocabulary = {name: number for number, name in enumerate([*names, *(a + b for a, b in merges)])}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    return tokenizer


@pytest.fixture(scope="module", params=[*KINDS, "llama"])
def tokenizer(request):
    if request.param == "llama":
        return LanguageTokenizer(llama_fast(), start=1, end=2, pad=2)
    return KINDS[request.param].trained(LINES, 420)


@pytest.mark.parametrize("text", TEXTS)
def test_text_goes_through_unchanged(tokenizer, text):
    ids = tokenizer.ids(text)
    assert tokenizer.text(ids) == text
    assert tokenizer.ids(text, start=True, end=True) == [tokenizer.start, *ids, tokenizer.end]
    assert tokenizer.text([tokenizer.start, *ids, tokenizer.end]) == text
    assert not {tokenizer.start, tokenizer.end} & set(ids)


@settings(max_examples=150, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\u2581"), max_size=40))
def test_any_unicode_goes_through_unchanged(tokenizer, text):
    assert tokenizer.text(tokenizer.ids(text)) == text


@settings(max_examples=50, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\u2581"), max_size=30))
def test_streamed_text_is_the_text_and_never_half_a_letter(tokenizer, text):
    stream = TextStream(tokenizer, opening=True)
    parts = [stream.push(number) for number in tokenizer.ids(text)]
    assert "".join([*parts, stream.close()]) == text
    assert not any("\ufffd" in part for part in parts) or "\ufffd" in text


def test_a_stream_waits_for_the_whole_letter(tokenizer):
    ids = tokenizer.ids("🜲")
    stream = TextStream(tokenizer, opening=True)
    assert [stream.push(number) for number in ids] == [""] * (len(ids) - 1) + ["🜲"]
    stream = TextStream(tokenizer, opening=True)
    assert {stream.push(number) for number in ids[:-1]} <= {""}
    assert stream.close() == "\ufffd"


def test_a_stream_that_goes_on_keeps_its_first_space(tokenizer):
    stream = TextStream(tokenizer)
    shown = "".join(map(stream.push, tokenizer.ids("hello")))
    assert shown == (" hello" if tokenizer.leads else "hello")


def test_every_digit_is_a_token():
    for kind in KINDS.values():
        tokenizer = kind.trained(LINES, 420)
        assert [tokenizer.token_bytes(number) for number in tokenizer.ids("x 1234")][-4:] == [b"1", b"2", b"3", b"4"]


def test_tokens_beyond_the_vocabulary_say_nothing(tokenizer):
    assert tokenizer.token_bytes(tokenizer.vocabulary + 5) == b""
    assert tokenizer.token_bytes(-1) == b""


def test_training_repeats():
    for kind in KINDS.values():
        assert kind.trained(LINES, 400).to_json() == kind.trained(LINES, 400).to_json()


def test_json_keeps_everything(tokenizer):
    again = tokenizer_from_json(tokenizer.to_json())
    assert type(again) is type(tokenizer)
    assert (again.start, again.end, again.pad) == (tokenizer.start, tokenizer.end, tokenizer.pad)
    assert again.vocabulary == tokenizer.vocabulary
    assert again.ids(LINES[2]) == tokenizer.ids(LINES[2])


def test_folders_go_through_and_transformers_reads_the_same_ids(tokenizer, tmp_path):
    write_language_folder(tmp_path, tokenizer, 512)
    again, peer = read_language_folder(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    for text in TEXTS:
        ids = tokenizer.ids(text)
        assert again.ids(text) == ids
        if isinstance(tokenizer, SentencePieceTokenizer) and text.startswith(" "):
            continue  # transformers' conversion adds no blank in front of a blank; sentencepiece itself does
        assert peer.encode(text, add_special_tokens=False, split_special_tokens=True) == ids
        assert peer.decode(ids, clean_up_tokenization_spaces=False) == text
    assert (peer.bos_token_id, peer.eos_token_id) == (tokenizer.start, tokenizer.end)
    assert (again.start, again.end, again.pad) == (tokenizer.start, tokenizer.end, tokenizer.pad)
    assert peer.model_max_length == 512


def test_pieces_are_sentencepieces_own():
    tokenizer = KINDS["pieces"].trained(LINES, 420)
    peer = SentencePieceProcessor(model_proto=tokenizer.model)
    for text in TEXTS:
        assert tokenizer.ids(text) == peer.encode(text)
        assert tokenizer.text(tokenizer.ids(text)) == peer.decode(tokenizer.ids(text))
    assert tokenizer.vocabulary == peer.get_piece_size()


def test_a_pad_beside_the_model_is_kept(tmp_path):
    tokenizer = KINDS["pieces"].trained(LINES, 420)
    write_language_folder(tmp_path, tokenizer, 512)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config | {"pad_token": {"content": "[PAD]"}}))
    (tmp_path / "added_tokens.json").write_text(json.dumps({"[PAD]": tokenizer.vocabulary}))
    again = read_language_folder(tmp_path)
    assert again.pad == tokenizer.vocabulary == again.vocabulary - 1
    assert tokenizer_from_json(again.to_json()).pad == again.pad


def test_a_tokenizer_must_fit_its_model(tokenizer):
    require_fit(tokenizer, tokenizer.vocabulary)
    require_fit(tokenizer, tokenizer.vocabulary + 64)
    for vocabulary in (tokenizer.vocabulary - 1, tokenizer.vocabulary + 32000):
        with pytest.raises(FileError, match=f"has {tokenizer.vocabulary} tokens, but the model has {vocabulary}"):
            require_fit(tokenizer, vocabulary)


def test_damaged_files_are_named(tmp_path):
    with pytest.raises(FileError, match="holds neither"):
        read_language_folder(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"no model")
    with pytest.raises(FileError, match="not a sentencepiece model"):
        read_language_folder(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(FileError, match="is no tokenizer"):
        read_language_folder(tmp_path)
    (tmp_path / "tokenizer.json").write_text(llama_fast().to_str())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<end>"}))
    with pytest.raises(FileError, match="no end token '<end>'"):
        read_language_folder(tmp_path)
    for text in ("", "[]", '{"kind": "words"}', '{"kind": "tokenizers"}', '{"kind": "sentencepiece", "model": "?"}'):
        with pytest.raises(FileError):
            tokenizer_from_json(text)
