"""Text that grows token by token, as it may be shown: whole letters, and nothing that may begin a stop sequence."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from bottega.processes.decoding import TextTokens
from bottega.serve.language.orders import TokenScore, Wrote
from bottega.tokenizers import TextStream


class GrowingText:
    """What of a text may be shown.

    Args:
        tokens: Whose tokens come.
        stops: Texts that end it, none of them empty.
        opening: Whether the text begins by itself.
    """

    def __init__(self, tokens: TextTokens, stops: Sequence[str], *, opening: bool = False) -> None:
        self._stream = TextStream(tokens, opening=opening)
        self._stops = tuple(stops)
        self._held = ""
        self._shown = 0
        self._scores: deque[TokenScore] = deque()
        self.stopped = False

    @property
    def letters(self) -> int:
        """How many letters there are, told or not."""
        return self._shown + len(self._held)

    def push(self, number: int, score: TokenScore | None) -> Wrote:
        """Takes a token; tells what may be shown now. After a stop sequence `stopped` is True and nothing follows."""
        if score is not None:
            self._scores.append(score)
        self._held += self._stream.push(number)
        return self._told(_begun(self._held, self._stops))

    def close(self) -> Wrote:
        """All that is left."""
        self._held += self._stream.close()
        return self._told(0)

    def _told(self, kept: int) -> Wrote:
        """Shows what is held up to the first stop sequence, or but for the last `kept` letters."""
        found = [place for place in map(self._held.find, self._stops) if place >= 0]
        self.stopped = bool(found)
        size = min(found) if found else len(self._held) - kept
        text, self._held = self._held[:size], "" if found else self._held[size:]
        self._shown += len(text)
        return Wrote(text=text, scores=self._due(all_of=not self._held))

    def _due(self, *, all_of: bool) -> tuple[TokenScore, ...]:
        """The scores of tokens that begin in what is shown; of one that begins right behind it, when all is shown."""
        due = []
        while self._scores and (self._scores[0].begins < self._shown or (all_of and not self.stopped)):
            due.append(self._scores.popleft())
        return tuple(due)


def _begun(text: str, stops: Sequence[str]) -> int:
    """How many of the last letters may be the beginning of a stop sequence."""
    longest = max((len(stop) for stop in stops), default=1) - 1
    sizes = range(min(longest, len(text)), 0, -1)
    return next((size for size in sizes if any(stop.startswith(text[-size:]) for stop in stops)), 0)
