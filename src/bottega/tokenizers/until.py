"""A text that grows token by token until it is complete, as it may be shown meanwhile."""

from __future__ import annotations

from collections.abc import Sequence

from bottega.tokenizers.language import TextStream, TokenBytes


class TextUntil:
    """A text that ends where a stop text begins; nothing is told that could be the beginning of one.

    Args:
        tokenizer: Whose tokens come.
        stops: Texts that end it, none of them empty.
        stripped: Whether blanks in front of the text are left out.
    """

    def __init__(self, tokenizer: TokenBytes, stops: Sequence[str] = (), *, stripped: bool = False) -> None:
        self._stream, self._stops, self._stripped = TextStream(tokenizer), tuple(stops), stripped
        self._text, self._told = "", 0

    @property
    def whole(self) -> str:
        """The text so far, up to the first stop text."""
        text = self._text.lstrip() if self._stripped else self._text
        return text[: min((text.index(stop) for stop in self._stops if stop in text), default=len(text))]

    def take(self, number: int) -> bool:
        """Takes a token; whether the text is complete."""
        self._text += self._stream.push(number)
        return any(stop in self._text for stop in self._stops)

    def news(self) -> str:
        """The letters that no stop text can take away any more and that were not told before."""
        text = self.whole
        begun = (size for stop in self._stops for size in range(1, len(stop)) if text.endswith(stop[:size]))
        return self._tell(text[: len(text) - max(begun, default=0)])

    def close(self) -> str:
        """All that was not told, when no more tokens come; half a letter at the end becomes U+FFFD."""
        self._text += self._stream.close()
        return self._tell(self.whole)

    def _tell(self, text: str) -> str:
        new, self._told = text[self._told :], max(self._told, len(text))
        return new
