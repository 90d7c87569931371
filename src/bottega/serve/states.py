"""The states of a job, each a type of its own, and the job as one reads it at a moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    import numpy as np

Order = TypeVar("Order")
Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True, slots=True)
class Queued:
    """Accepted and waiting.

    Args:
        ahead: Jobs that will be served before this one, running ones not counted.
    """

    ahead: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """At work.

    Args:
        step: Steps done; 0 until the first report.
        total: Steps in all; 0 until the first report.
        stage: What is being done, in a word or two.
        seconds: Time at work when this was reported.
        cancelling: Whether a cancel was asked for and the next step will end the work.
    """

    step: int = 0
    total: int = 0
    stage: str = "prepare"
    seconds: float = 0.0
    cancelling: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Done(Generic[Value]):
    """Finished with a value.

    Args:
        value: What the work returned.
        seconds: Time at work.
    """

    value: Value
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """Ended by an error.

    Args:
        sentence: One line for the user. It names no internals: the log holds those.
    """

    sentence: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Cancelled:
    """Ended because the user asked for it."""


State = Queued | Running | Done[Value] | Failed | Cancelled


@dataclass(frozen=True, kw_only=True, slots=True)
class Job(Generic[Order, Value]):
    """A job at a moment.

    Args:
        id: An opaque name, hard to guess.
        order: What was asked for.
        state: Where it stands.
        version: Grows with every change in the queue; a later state has a higher version.
        preview: The newest picture of the intermediate state, uint8 `(height, width, 3)`, while it runs.
    """

    id: str
    order: Order
    state: State[Value]
    version: int
    preview: np.ndarray | None = None

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen to it."""
        return isinstance(self.state, Done | Failed | Cancelled)


@dataclass(frozen=True, kw_only=True, slots=True)
class Full:
    """The answer of a queue that takes no more for now.

    Args:
        retry_after_seconds: When a place is likely to be free, at least 1.
    """

    retry_after_seconds: int
