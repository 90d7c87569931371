"""A bounded job queue: the studio and the server run every piece of long work through it.

Work happens in threads (torch releases the interpreter while it computes). Nothing polls: threads sleep until there is
work, and listeners are told of each change and then read what they want to know.
"""

from __future__ import annotations

import logging
import math
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Generic

from bottega import errors
from bottega.room import Progress, Report
from bottega.serve.states import Cancelled, Done, Failed, Full, Job, Order, Queued, Running, Value

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

OUR_FAULT = "bottega itself failed at this, which is a bug; the log of the server says where"
FIRST_GUESS_SECONDS = 5.0
REMEMBERED_DURATIONS = 8


@dataclass(slots=True)
class _Entry(Generic[Order, Value]):
    """A job as the queue changes it, under the queue's lock."""

    id: str
    order: Order
    state: Queued | Running | Done[Value] | Failed | Cancelled
    version: int
    cancelled: bool = False
    started: float = 0.0
    preview: np.ndarray | None = None
    preview_taken: float = -math.inf


class JobQueue(Generic[Order, Value]):
    """Runs orders one after another on a fixed number of threads and takes no more than it can hold.

    Args:
        run: Does the work of one order. It calls the report it is given at every step; that call raises
            `bottega.errors.Cancelled` once a cancel was asked for.
        capacity: Most jobs that wait and run together, at least 1.
        workers: Threads at work, at least 1.
        history: Finished jobs that are remembered; older ones are forgotten, at least 1.
        preview_seconds: Least time between two previews of a job. Previews are made only while somebody listens.

    Raises:
        RequestError: A bound below 1 or a negative time.
    """

    def __init__(
        self,
        run: Callable[[Order, Report], Value],
        *,
        capacity: int,
        workers: int = 1,
        history: int = 100,
        preview_seconds: float = 0.2,
    ) -> None:
        for name, number in (("capacity", capacity), ("workers", workers), ("history", history)):
            if number < 1:
                raise errors.RequestError.of(name, number, "at least 1")
        if preview_seconds < 0:
            raise errors.RequestError.of("preview_seconds", preview_seconds, "0 or more")
        self._run = run
        self._capacity = capacity
        self._history = history
        self._preview_seconds = preview_seconds
        self._changed = threading.Condition()
        self._waiting: deque[_Entry[Order, Value]] = deque()
        self._running: dict[str, _Entry[Order, Value]] = {}
        self._finished: OrderedDict[str, _Entry[Order, Value]] = OrderedDict()
        self._durations: deque[float] = deque(maxlen=REMEMBERED_DURATIONS)
        self._listeners: dict[object, Callable[[], None]] = {}
        self._version = 0
        self._closed = False
        self._threads = [
            threading.Thread(target=self._serve, name=f"bottega-worker-{index}", daemon=True)
            for index in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, order: Order) -> str | Full:
        """Accepts an order, or says when to come back.

        Returns:
            The id of the new job, or `Full`.

        Raises:
            RequestError: The queue is closed.
        """
        with self._changed:
            if self._closed:
                raise errors.RequestError("the studio is closing and takes no more work; start it again")
            if len(self._waiting) + len(self._running) >= self._capacity:
                return Full(retry_after_seconds=self._seconds_until_free())
            entry = _Entry[Order, Value](
                id=secrets.token_hex(8), order=order, state=Queued(ahead=len(self._waiting)), version=0
            )
            self._waiting.append(entry)
            self._touch(entry)
            self._changed.notify()
        self._tell()
        return entry.id

    def cancel(self, job_id: str) -> bool:
        """Ends a job: at once when it waits, at its next step when it runs.

        Returns:
            Whether there was such a job, still unfinished.
        """
        with self._changed:
            entry = self._entry(job_id)
            if entry is None or entry.id in self._finished:
                return False
            entry.cancelled = True
            if isinstance(entry.state, Running):
                entry.state = replace(entry.state, cancelling=True)
                self._touch(entry)
            else:
                self._waiting.remove(entry)
                self._retire(entry, Cancelled())
                self._renumber()
        self._tell()
        return True

    def job(self, job_id: str) -> Job[Order, Value] | None:
        """The job of that id, or None when it never was or is forgotten."""
        with self._changed:
            entry = self._entry(job_id)
            return None if entry is None else _snapshot(entry)

    def jobs(self, after_version: int = -1) -> list[Job[Order, Value]]:
        """Every remembered job that changed after a version, in the order of the changes."""
        with self._changed:
            entries = [*self._finished.values(), *self._running.values(), *self._waiting]
            changed = sorted((entry for entry in entries if entry.version > after_version), key=lambda e: e.version)
            return [_snapshot(entry) for entry in changed]

    def unfinished(self) -> int:
        """Jobs that wait or run."""
        with self._changed:
            return len(self._waiting) + len(self._running)

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Calls a listener after every change, from the thread that made it; the listener must return at once.

        Returns:
            A function that ends the subscription.
        """
        key = object()
        with self._changed:
            self._listeners[key] = listener

        def unsubscribe() -> None:
            with self._changed:
                self._listeners.pop(key, None)

        return unsubscribe

    def listeners(self) -> int:
        """How many listeners are subscribed."""
        with self._changed:
            return len(self._listeners)

    def wait(self, job_id: str, timeout_seconds: float | None = None) -> Job[Order, Value] | None:
        """Sleeps until a job has finished, or the time is over; returns it as it then stands."""
        with self._changed:
            self._changed.wait_for(lambda: self._entry(job_id) is None or job_id in self._finished, timeout_seconds)
        return self.job(job_id)

    def close(self, timeout_seconds: float = 10.0) -> None:
        """Cancels everything, and waits for the workers to end their step."""
        with self._changed:
            self._closed = True
            unfinished = [entry.id for entry in (*self._waiting, *self._running.values())]
        for job_id in unfinished:
            self.cancel(job_id)
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(timeout_seconds)

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                entry = self._waiting.popleft()
                entry.state = Running()
                entry.started = time.monotonic()
                self._running[entry.id] = entry
                self._touch(entry)
                self._renumber()
            self._tell()
            state = self._outcome(entry)
            with self._changed:
                self._retire(entry, state)
            self._tell()

    def _outcome(self, entry: _Entry[Order, Value]) -> Done[Value] | Failed | Cancelled:
        try:
            value = self._run(entry.order, partial(self._report, entry))
        except errors.Cancelled:
            return Cancelled()
        except errors.BottegaError as error:
            return Failed(sentence=str(error))
        except Exception:  # the boundary of a thread: a bug of one job must not end the worker
            log.exception("job %s failed", entry.id)
            return Failed(sentence=OUR_FAULT)
        return Done(value=value, seconds=time.monotonic() - entry.started)

    def _report(self, entry: _Entry[Order, Value], progress: Progress) -> None:
        now = time.monotonic()
        with self._changed:
            if entry.cancelled:
                raise errors.Cancelled("cancelled")
            watched = bool(self._listeners) and now - entry.preview_taken >= self._preview_seconds
        preview = progress.preview() if watched and progress.preview is not None else None
        with self._changed:
            entry.state = Running(
                step=progress.step,
                total=progress.total,
                stage=progress.stage,
                seconds=now - entry.started,
                cancelling=entry.cancelled,
            )
            if preview is not None:
                entry.preview, entry.preview_taken = preview, now
            self._touch(entry)
        self._tell()

    def _retire(self, entry: _Entry[Order, Value], state: Done[Value] | Failed | Cancelled) -> None:
        if self._running.pop(entry.id, None) is not None:
            self._durations.append(time.monotonic() - entry.started)
        entry.state = state
        entry.preview = None
        self._finished[entry.id] = entry
        self._touch(entry)
        while len(self._finished) > self._history:
            self._finished.popitem(last=False)
        self._changed.notify_all()

    def _renumber(self) -> None:
        for ahead, entry in enumerate(self._waiting):
            if entry.state != Queued(ahead=ahead):
                entry.state = Queued(ahead=ahead)
                self._touch(entry)

    def _touch(self, entry: _Entry[Order, Value]) -> None:
        self._version += 1
        entry.version = self._version

    def _tell(self) -> None:
        with self._changed:
            listeners = list(self._listeners.values())
        for listener in listeners:
            listener()

    def _entry(self, job_id: str) -> _Entry[Order, Value] | None:
        found = self._running.get(job_id) or self._finished.get(job_id)
        return found or next((entry for entry in self._waiting if entry.id == job_id), None)

    def _seconds_until_free(self) -> int:
        usual = sum(self._durations) / len(self._durations) if self._durations else FIRST_GUESS_SECONDS
        oldest = min((entry.started for entry in self._running.values()), default=time.monotonic())
        return max(1, math.ceil(usual - (time.monotonic() - oldest)))


def _snapshot(entry: _Entry[Order, Value]) -> Job[Order, Value]:
    return Job(id=entry.id, order=entry.order, state=entry.state, version=entry.version, preview=entry.preview)
