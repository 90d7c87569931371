"""Continuous batching: one model writes many texts at once, which come and go between its steps.

Source: Yu et al., Orca: A Distributed Serving System for Transformer-Based Generative Models, OSDI 2022, section 3
(iteration-level scheduling); arXiv:2308.16369, section 4 (prompts read in chunks beside the writing).
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bottega.errors import BottegaError, RequestError
from bottega.layers import FullMemory, JoinedMemory
from bottega.processes.decoding import Language, next_tokens
from bottega.serve.language.letters import GrowingText
from bottega.serve.language.orders import Broke, Ended, Ending, Listener, TextOrder, TokenScore, Wrote
from bottega.serve.queue import OUR_FAULT
from bottega.serve.states import Full

log = logging.getLogger(__name__)

CLOSING = "the server is closing and takes no more work; start it again"
FIRST_GUESS_SECONDS = 2.0
REMEMBERED_DURATIONS = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What an engine has to do.

    Args:
        writing: Texts that are being written.
        waiting: Texts that wait for a slot or for memory.
        memory_bytes: What the texts being written have reserved.
    """

    writing: int
    waiting: int
    memory_bytes: int


class TooLong(RequestError):
    """A text that fits neither into the model's context nor into the engine's memory, however long one waits."""


class Closing(BottegaError):
    """The engine takes no more work."""


class Ticket:
    """A submission, by which it can be cancelled."""


@dataclass(slots=True, eq=False)
class _Waiting:
    order: TextOrder
    index: int
    ticket: Ticket
    listener: Listener


class _Row:
    """A text while it is written."""

    def __init__(self, waiting: _Waiting, language: Language, memory: FullMemory) -> None:
        order = waiting.order
        self.order, self.index, self.ticket, self.listener = order, waiting.index, waiting.ticket, waiting.listener
        self.memory = memory
        self.unread = list(order.prompt)
        self.written: list[int] = []
        self.text = GrowingText(language.tokens, order.stops, opening=order.opening)
        self.generator = torch.Generator().manual_seed(order.seed)
        self.started = time.monotonic()

    def take(self, logits: Tensor, end: int) -> Ended | None:
        """Draws the next token of logits `(1, vocabulary)` and tells it; the ending when it was the last."""
        order = self.order
        held = [[*order.prompt, *self.written]] if order.sampling.repetition_penalty != 1 else None
        token = int(next_tokens(self._penalised(logits), order.sampling, [self.generator], held))
        score = None if order.rivals is None else _score(logits[0], token, self.text.letters, order.rivals)
        self.written.append(token)
        if order.ends and token == end:
            self._tell(self.text.close())
            return Ended(ending=Ending.STOP, new_tokens=len(self.written))
        self._tell(self.text.push(token, score))
        if not self.text.stopped and len(self.written) < order.most:
            return None
        ending = Ending.STOP if self.text.stopped else Ending.LENGTH
        self._tell(Wrote(text="") if self.text.stopped else self.text.close())
        return Ended(ending=ending, new_tokens=len(self.written))

    def _penalised(self, logits: Tensor) -> Tensor:
        """OpenAI's penalties, for what was written. Source: their API reference, frequency and presence penalties."""
        if not self.written or (self.order.presence == 0 and self.order.frequency == 0):
            return logits
        counts = Counter(self.written)
        tokens = torch.tensor(list(counts), device=logits.device)
        times = torch.tensor(list(counts.values()), dtype=torch.float32, device=logits.device)
        return logits.float().index_add(1, tokens, -(self.order.presence + self.order.frequency * times)[None])

    def _tell(self, wrote: Wrote) -> None:
        if wrote.text or wrote.scores:
            self.listener(self.index, wrote)


class Engine:
    """One thread that owns a language model, and the texts that it writes.

    Texts that come share the passes of those that are there already, from the next step on. What is written behind a
    prompt depends on its order alone, up to the rounding of sums. Long prompts are read in chunks between the steps of
    the others. Orders wait in the order in which they came; none overtakes another.

    Args:
        language: The model and its tokenizer.
        slots: Most texts that are written at the same time.
        queue: Most texts that wait while all slots are taken.
        memory_bytes: Most bytes of keys and values of all texts being written. A text reserves what its prompt and
            its most new tokens need before it starts, so that it always comes to its end.
        chunk: Most tokens of prompts that are read between two steps.

    Raises:
        RequestError: A number below 1, or a memory that does not even hold one text of two tokens.
    """

    def __init__(
        self, language: Language, *, slots: int = 8, queue: int = 64, memory_bytes: int = 1 << 30, chunk: int = 256
    ) -> None:
        for name, number in (("slots", slots), ("queue", queue), ("chunk", chunk)):
            if number < 1:
                raise RequestError.of(name, number, "at least 1")
        self.language, self.slots, self.queue, self.memory_bytes, self.chunk = (
            language, slots, queue, memory_bytes, chunk,
        )  # fmt: skip
        self.token_bytes = language.model.new_memory(1, 1).bytes
        if memory_bytes < 2 * self.token_bytes:
            raise RequestError.of("memory", memory_bytes, f"at least {2 * self.token_bytes} bytes, for two tokens")
        self._changed = threading.Condition()
        self._queued: deque[_Waiting] = deque()
        self._rows: list[_Row] = []
        self._reserved = 0
        self._cancelled: set[Ticket] = set()
        self._durations: deque[float] = deque(maxlen=REMEMBERED_DURATIONS)
        self._closes: float | None = None
        self._thread = threading.Thread(target=self._serve, name="bottega-language", daemon=True)
        self._thread.start()

    @property
    def longest(self) -> int:
        """Most tokens that a prompt and what is written behind it may have together."""
        return min(self.language.model.context, self.memory_bytes // self.token_bytes)

    def load(self) -> Load:
        """What there is to do."""
        with self._changed:
            return Load(writing=len(self._rows), waiting=len(self._queued), memory_bytes=self._reserved)

    def submit(self, orders: Sequence[TextOrder], listener: Listener) -> Ticket | Full:
        """Takes all orders, or says when to come back.

        Raises:
            TooLong: One of them is too long for the context or for the memory.
            RequestError: None at all, or more than slots and queue hold together.
            Closing: The engine is closing.
        """
        for order in orders:
            self._require_fit(order)
        room = self.slots + self.queue
        if not 0 < len(orders) <= room:
            allowed = f"from 1 to {room}, which is all that may be here at once"
            raise RequestError.of("the number of texts asked for at once", len(orders), allowed)
        ticket = Ticket()
        with self._changed:
            if self._closes is not None:
                raise Closing(CLOSING)
            if len(self._rows) + len(self._queued) + len(orders) > room:
                return Full(retry_after_seconds=self._seconds_until_free())
            self._queued.extend(_Waiting(order, index, ticket, listener) for index, order in enumerate(orders))
            self._changed.notify_all()
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """Ends a submission: what waits at once, what is being written before its next step. Nothing more is told."""
        with self._changed:
            self._queued = deque(waiting for waiting in self._queued if waiting.ticket is not ticket)
            self._cancelled.add(ticket)
            self._changed.notify_all()

    def close(self, grace_seconds: float = 0.0) -> None:
        """Takes no more, drops what waits, lets what is being written end within the grace, and ends the thread."""
        with self._changed:
            self._closes = time.monotonic() + grace_seconds
            dropped, self._queued = list(self._queued), deque()
            self._changed.notify_all()
        for waiting in dropped:
            waiting.listener(waiting.index, Broke(sentence=CLOSING, ours=False))
        self._thread.join()

    # ------------------------------------------------------------------------------------------ the engine's thread
    @torch.inference_mode()
    def _serve(self) -> None:
        while self._ready():
            try:
                self._write()
                self._read()
            except Exception:  # the boundary of a thread: whoever was at work is told, the next ones are served
                log.exception("a step of the language model failed")
                for row in list(self._rows):
                    self._leave(row, Broke(sentence=OUR_FAULT))

    def _ready(self) -> bool:
        """Sleeps until there is work; lets go who was cancelled and lets in who fits. False ends the thread."""
        with self._changed:
            self._changed.wait_for(lambda: self._rows or self._queued or self._closes is not None)
            gone, self._cancelled = self._cancelled, set()
            over = self._closes is not None and time.monotonic() >= self._closes
            leaving = [row for row in self._rows if over or row.ticket in gone]
        for row in leaving:
            self._leave(row, None if row.ticket in gone else Broke(sentence=CLOSING, ours=False))
        while (waiting := self._next()) is not None:
            try:
                memory = self.language.model.new_memory(1, self._size(waiting.order))
            except Exception:  # the machine has less memory than it was said to have
                log.exception("no memory for a text")
                self._give_back(waiting.order)
                waiting.listener(waiting.index, Broke(sentence=OUR_FAULT))
            else:
                self._rows.append(_Row(waiting, self.language, memory))
        return bool(self._rows) or self._closes is None

    def _next(self) -> _Waiting | None:
        """Who may begin, with its memory reserved; None when the first in the queue must wait, or nobody does."""
        with self._changed:
            if not self._queued or len(self._rows) >= self.slots:
                return None
            size = self._size(self._queued[0].order) * self.token_bytes
            if self._reserved + size > self.memory_bytes:
                return None
            self._reserved += size
            return self._queued.popleft()

    def _write(self) -> None:
        """One more token of every text whose prompt has been read."""
        rows = [row for row in self._rows if not row.unread]
        if not rows:
            return
        memory = rows[0].memory if len(rows) == 1 else JoinedMemory([row.memory for row in rows])
        device = rows[0].memory.keys.device
        tokens = torch.tensor([[row.written[-1]] for row in rows], device=device)
        logits = self.language.model(tokens, memory)[:, -1]
        for row, chances in zip(rows, logits.split(1), strict=True):
            self._take(row, chances)

    def _read(self) -> None:
        """A chunk of the prompts that are not read yet, shared by them, so that a long one holds up no short one."""
        rows = [row for row in self._rows if row.unread]
        for row in rows:
            share = math.ceil(self.chunk / len(rows))
            part, row.unread = row.unread[:share], row.unread[share:]
            device = row.memory.keys.device
            last = torch.tensor([[len(part) - 1]], device=device)
            logits = self.language.model(torch.tensor([part], device=device), row.memory, at=last)[:, -1]
            if not row.unread:
                self._take(row, logits)

    def _take(self, row: _Row, logits: Tensor) -> None:
        ended = row.take(logits, self.language.tokens.end)
        if ended is not None:
            self._leave(row, ended)

    def _leave(self, row: _Row, event: Ended | Broke | None) -> None:
        with self._changed:
            self._rows.remove(row)
            self._durations.append(time.monotonic() - row.started)
        self._give_back(row.order)
        if event is not None:
            row.listener(row.index, event)

    def _give_back(self, order: TextOrder) -> None:
        with self._changed:
            self._reserved -= self._size(order) * self.token_bytes

    # ------------------------------------------------------------------------------------------------ admission
    def _size(self, order: TextOrder) -> int:
        """Tokens that an order reserves."""
        return len(order.prompt) + order.most

    def _require_fit(self, order: TextOrder) -> None:
        size, context = self._size(order), self.language.model.context
        if size > context:
            raise TooLong(
                f"the prompt has {len(order.prompt)} tokens and {order.most} new ones are asked for, together {size}, "
                f"but the model's context is {context} tokens; shorten the prompt or ask for fewer tokens"
            )
        if size > self.longest:
            raise TooLong(
                f"the prompt and the new tokens together are {size}, but the server's memory holds {self.longest}; "
                "shorten the prompt or ask for fewer tokens"
            )

    def _seconds_until_free(self) -> int:
        """When a place in the queue is likely to be free: the time of a text, shared by the slots."""
        durations = self._durations or [FIRST_GUESS_SECONDS]
        return max(1, math.ceil(sum(durations) / len(durations) / self.slots))


def _score(logits: Tensor, token: int, begins: int, rivals: int) -> TokenScore:
    chances = logits.float().log_softmax(-1)
    best = chances.topk(min(rivals, len(chances))) if rivals else None
    told = () if best is None else tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))
    return TokenScore(token=token, begins=begins, log_chance=float(chances[token]), rivals=told)


def ample_memory(language: Language, slots: int) -> int:
    """Bytes for the whole context in every slot, but at most half of what the device has."""
    memory = language.model.new_memory(1, 1)
    if memory.keys.device.type == "cuda":
        most = torch.cuda.mem_get_info(memory.keys.device)[0]
    else:
        most = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(slots * language.model.context * memory.bytes, most // 2)
