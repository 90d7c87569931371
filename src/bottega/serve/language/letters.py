"""Text that grows token by token, with the scores of its tokens, as it may be sent."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from bottega.processes.decoding import TextTokens
from bottega.serve.language.orders import TokenScore, Wrote
from bottega.tokenizers import TextUntil


class GrowingText:
    """What of a text may be sent, and the scores that belong to it.

    Args:
        tokens: Whose tokens come.
        stops: Texts that end it, none of them empty.
        opening: Whether the text begins by itself.
    """

    def __init__(self, tokens: TextTokens, stops: Sequence[str], *, opening: bool = False) -> None:
        self._text = TextUntil(tokens, stops, opening=opening)
        self._scores: deque[TokenScore] = deque()

    @property
    def letters(self) -> int:
        """How many letters there are, told or not."""
        return len(self._text.whole)

    @property
    def stopped(self) -> bool:
        """Whether a stop text ended it, so that nothing follows."""
        return self._text.stopped

    def push(self, number: int, score: TokenScore | None) -> Wrote:
        """Takes a token; tells what may be sent now."""
        if score is not None:
            self._scores.append(score)
        self._text.take(number)
        return Wrote(text=self._text.news(), scores=self._due())

    def close(self) -> Wrote:
        """All that is left."""
        return Wrote(text=self._text.close(), scores=self._due())

    def _due(self) -> tuple[TokenScore, ...]:
        """The scores of tokens that begin in what is told; of one that begins right behind it, when all is told."""
        told, due = len(self._text.told), list[TokenScore]()
        all_told = told == self.letters and not self.stopped
        while self._scores and (self._scores[0].begins < told or all_told):
            due.append(self._scores.popleft())
        return tuple(due)
