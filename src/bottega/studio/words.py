"""Conversations: the language models that are at work for the page "Words", and what they write, piece by piece."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

from bottega.errors import RequestError
from bottega.processes.decoding import Message, Sampling, Speaker
from bottega.studio import limits
from bottega.studio.messages import ChatBody, ChatEnd, ChatFault, ChatPiece, TalkingSystem
from bottega.studio.workshop import Catalog

if TYPE_CHECKING:
    from bottega.serve.language import Engine, Submission

SLOTS, QUEUE = 4, 8
SECONDS_TO_END: Final = 10.0


class Words:
    """Language models with an engine each, the last few of them kept.

    Args:
        catalog: Where systems come from.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._loading = threading.Lock()
        self._engines: OrderedDict[str, Engine] = OrderedDict()

    def systems(self) -> list[TalkingSystem]:
        """The systems whose language model has weights to run with."""
        found = []
        for name in self._catalog.systems():
            system = self._catalog.get(name)
            if system.language is not None and system.at_hand() is not None:
                card = self._catalog.card(name)
                found.append(TalkingSystem(id=name, title=card.title, sentence=card.sentence))
        return found

    def engine(self, name: str) -> Engine:
        """The engine of a system, started when it is not there yet.

        Raises:
            RequestError: The system has no language model.
        """
        from bottega.serve.language import Engine, ample_memory

        known = [each.id for each in self.systems()]
        system = self._catalog.get(name) if name in known else None
        if system is None or system.language is None:
            raise RequestError.of("system", name, f"one with a language model: {', '.join(known) or 'there is none'}")
        with self._loading:
            if name not in self._engines:
                language = system.language(self._catalog.load(name, parts={}).model)
                self._engines[name] = Engine(
                    language, slots=SLOTS, queue=QUEUE, memory_bytes=ample_memory(language, SLOTS)
                )
            self._engines.move_to_end(name)
            while len(self._engines) > limits.LOADED_SYSTEMS:
                self._engines.popitem(last=False)[1].close(SECONDS_TO_END)
            return self._engines[name]

    def close(self) -> None:
        """Ends all engines."""
        with self._loading:
            while self._engines:
                self._engines.popitem()[1].close()


def begin(engine: Engine, body: ChatBody) -> Submission | None:
    """A conversation at the engine, or None when too many wait there already; call it in the event loop.

    Raises:
        BottegaError: The conversation is too long, or its speakers come in an order that the model cannot answer.
    """
    from bottega.serve.language import Busy, Submission, TextOrder, conversation

    said = [Message(speaker=Speaker(each.speaker), text=each.text) for each in body.messages]
    prompt, stops = conversation(engine.language, said)
    room = engine.longest - len(prompt)
    if room < 1:
        raise RequestError(
            f"the conversation has {len(prompt)} tokens and the model reads {engine.longest}; begin a new one"
        )
    order = TextOrder(
        prompt=tuple(prompt), most=min(body.most, room), seed=body.seed, stops=stops, opening=True,
        sampling=Sampling(temperature=body.temperature, top_p=body.top_p),
    )  # fmt: skip
    try:
        return Submission(engine, [order])
    except Busy:
        return None


async def told(submission: Submission) -> AsyncIterator[str]:
    """What is written, as server-sent events: "piece" again and again, then "end" or "fault"."""
    from bottega.serve.language import Broke, Ended, Wrote

    started = time.monotonic()
    async with contextlib.aclosing(submission.events()) as events:
        async for _, event in events:
            match event:
                case Wrote(text=text):
                    yield f"event: piece\ndata: {ChatPiece(text=text).model_dump_json()}\n\n"
                case Ended(ending=ending, new_tokens=count):
                    end = ChatEnd(ending=ending.value, tokens=count, seconds=time.monotonic() - started)
                    yield f"event: end\ndata: {end.model_dump_json()}\n\n"
                case Broke(sentence=sentence):
                    yield f"event: fault\ndata: {ChatFault(error=sentence).model_dump_json()}\n\n"
