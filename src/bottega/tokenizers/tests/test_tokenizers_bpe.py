from __future__ import annotations

from bottega.tokenizers import BpeTokenizer
from bottega.worlds.emoji import EmojiWorld


def captions() -> list[str]:
    world = EmojiWorld()
    return [world.sample(index).caption for index in range(0, 1200, 3)]


def test_training_gives_the_same_tokenizer_every_time() -> None:
    texts = captions()
    first = BpeTokenizer.trained(texts, 400).to_json()
    assert all(BpeTokenizer.trained(texts, 400).to_json() == first for _ in range(4))


def test_a_trained_tokenizer_gives_its_texts_back() -> None:
    texts = captions()
    tokenizer = BpeTokenizer.trained(texts, 400)
    again = BpeTokenizer.from_json(tokenizer.to_json())
    assert tokenizer.vocabulary <= 400
    assert (tokenizer.start, tokenizer.end) == (0, 1)
    for text in texts[:50]:
        assert again.ids(text) == tokenizer.ids(text)
        assert "".join(again.text(again.ids(text)).split()) == "".join(text.lower().split())
