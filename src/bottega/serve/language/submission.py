"""What an engine tells, across the border from its thread to an event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence

from bottega.errors import BottegaError
from bottega.serve.language.engine import Engine
from bottega.serve.language.orders import Broke, Ended, Event, TextOrder
from bottega.serve.states import Full


class Busy(BottegaError):
    """Too much waits already.

    Args:
        engine: Which is busy.
        seconds: When to come back.
    """

    def __init__(self, engine: Engine, seconds: int) -> None:
        super().__init__(f"{engine.queue} texts are waiting already; try again in {seconds} s")
        self.seconds = seconds


class Submission:
    """Orders at an engine, as a stream of what it tells of them. Whoever stops reading cancels them.

    Made in the event loop that reads it.

    Args:
        engine: What writes.
        orders: What to write.

    Raises:
        Busy: The engine's queue is full.
        BottegaError: As `Engine.submit`.
    """

    def __init__(self, engine: Engine, orders: Sequence[TextOrder]) -> None:
        loop, self._told = asyncio.get_running_loop(), asyncio.Queue[tuple[int, Event]]()
        self._engine, self._left = engine, len(orders)

        def listener(index: int, event: Event) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody reads any more
                loop.call_soon_threadsafe(self._told.put_nowait, (index, event))

        answer = engine.submit(orders, listener)
        if isinstance(answer, Full):
            raise Busy(engine, answer.retry_after_seconds)
        self._ticket = answer

    async def events(self) -> AsyncGenerator[tuple[int, Event], None]:
        """What happens to each order, until all have ended or one broke."""
        try:
            while self._left:
                index, event = await self._told.get()
                self._left -= isinstance(event, Ended)
                yield index, event
                if isinstance(event, Broke):
                    return
        finally:
            self.cancel()

    def cancel(self) -> None:
        """Ends what has not ended."""
        if self._left:
            self._engine.cancel(self._ticket)
