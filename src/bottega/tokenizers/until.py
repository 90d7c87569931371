"""A text that grows token by token until it is complete, as it may be shown meanwhile."""

from __future__ import annotations

from collections.abc import Sequence

from bottega.tokenizers.language import TextStream, TokenBytes


class TextUntil:
    """A text that ends where a stop text begins. It tells whole letters, and nothing that could begin a stop text.

    Args:
        tokenizer: Whose tokens come.
        stops: Texts that end it, none of them empty; they are not part of it.
        opening: Whether the text begins by itself rather than going on with one.
        stripped: Whether blanks in front of the text are left out.
    """

    def __init__(
        self, tokenizer: TokenBytes, stops: Sequence[str] = (), *, opening: bool = False, stripped: bool = False
    ) -> None:
        self._stream = TextStream(tokenizer, opening=opening)
        self._stops, self._stripped = tuple(stops), stripped
        self._held, self._fetched = "", 0
        self.told = ""
        self.stopped = False

    @property
    def whole(self) -> str:
        """The text so far, told or held back."""
        return self.told + self._without_blanks(self._held)

    def take(self, number: int) -> bool:
        """Takes a token; whether the text is complete, so that nothing follows."""
        self._held += self._stream.push(number)
        self._settle(_begun(self._held, self._stops))
        return self.stopped

    def news(self) -> str:
        """The letters told since the last call."""
        new, self._fetched = self.told[self._fetched :], len(self.told)
        return new

    def close(self) -> str:
        """All that was not fetched, when no more tokens come; half a letter at the end becomes U+FFFD."""
        self._held += "" if self.stopped else self._stream.close()
        self._settle(0)
        return self.news()

    def _settle(self, kept: int) -> None:
        """Tells what is held up to the first stop text, or but for the last `kept` letters."""
        found = [place for place in map(self._held.find, self._stops) if place >= 0]
        size = min(found) if found else len(self._held) - kept
        told, self._held = self._held[:size], "" if found else self._held[size:]
        self.told += self._without_blanks(told)
        self.stopped = self.stopped or bool(found)

    def _without_blanks(self, text: str) -> str:
        return text.lstrip() if self._stripped and not self.told else text


def _begun(text: str, stops: Sequence[str]) -> int:
    """How many of the last letters may be the beginning of a stop text."""
    longest = max((len(stop) for stop in stops), default=1) - 1
    sizes = range(min(longest, len(text)), 0, -1)
    return next((size for size in sizes if any(stop.startswith(text[-size:]) for stop in stops)), 0)
