"""Slow work with somebody looking on: a thread does it, and what it says goes out as server-sent events.

The work ends within a step when its reader goes away.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pydantic import BaseModel

from bottega.errors import BottegaError, Cancelled
from bottega.serve import OUR_FAULT
from bottega.studio.touch.messages import Fault
from bottega.studio.wording import public

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Said:
    event: str
    message: BaseModel
    may_skip: bool

    def text(self) -> str:
        return f"event: {self.event}\ndata: {self.message.model_dump_json()}\n\n"


class Telling:
    """The line between a piece of work and its reader.

    Args:
        loop: Where the reader is.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._news = loop, asyncio.Event()
        self._lock, self._said = threading.Lock(), deque[_Said]()
        self._stopped, self._ended = threading.Event(), False

    @property
    def stopped(self) -> bool:
        """Whether the work is to end."""
        return self._stopped.is_set()

    def stop(self) -> None:
        """Asks the work to end."""
        self._stopped.set()

    def check(self) -> None:
        """Ends the work when it is to end.

        Raises:
            Cancelled: It is.
        """
        if self.stopped:
            raise Cancelled("stopped")

    def say(self, event: str, message: BaseModel, *, may_skip: bool = False) -> None:
        """Says something; what may be skipped is, when something newer of its kind is there before it was read."""
        with self._lock:
            if may_skip and self._said and self._said[-1].may_skip:
                self._said.pop()
            self._said.append(_Said(event, message, may_skip))
        self._wake()

    def run(self, work: Callable[[Telling], None]) -> None:
        """Does the work; a fault is the last thing that it says."""
        try:
            if not self.stopped:
                work(self)
        except Cancelled:
            log.debug("a piece of work was stopped")
        except BottegaError as error:
            self.say("fault", Fault(error=public(str(error))))
        except Exception:
            log.exception("a piece of work of the page Touch broke down")
            self.say("fault", Fault(error=OUR_FAULT))
        finally:
            with self._lock:
                self._ended = True
            self._wake()

    async def heard(self) -> AsyncIterator[str]:
        """What is said, until the work has ended."""
        while True:
            self._news.clear()
            with self._lock:
                said, ended = self._said.popleft() if self._said else None, self._ended
            if said is not None:
                yield said.text()
            elif ended:
                return
            else:
                await self._news.wait()

    def _wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody reads any more
            self._loop.call_soon_threadsafe(self._news.set)


class Hands:
    """A few threads for slow work.

    Args:
        count: Pieces of work at the same time.
        waiting: Pieces that may wait besides.
    """

    def __init__(self, count: int, waiting: int) -> None:
        self._most = count + waiting
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="touch")
        self._tellings: set[Telling] = set()

    @property
    def full(self) -> bool:
        """Whether no further piece of work can even wait."""
        return len(self._tellings) >= self._most

    async def told(self, work: Callable[[Telling], None]) -> AsyncIterator[str]:
        """Has work done, and yields what it says as server-sent events. It ends when the reader does."""
        telling = Telling(asyncio.get_running_loop())
        self._tellings.add(telling)
        done = self._threads.submit(telling.run, work)
        done.add_done_callback(lambda _: self._tellings.discard(telling))
        try:
            async for text in telling.heard():
                yield text
        finally:
            telling.stop()

    def close(self) -> None:
        """Ends all work, each within a step."""
        for telling in tuple(self._tellings):
            telling.stop()
        self._threads.shutdown(wait=True, cancel_futures=True)
