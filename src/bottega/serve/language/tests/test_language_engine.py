from __future__ import annotations

import dataclasses
import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from bottega.errors import RequestError
from bottega.processes.decoding import Language, Message, Sampling, Speaker, write
from bottega.serve import OUR_FAULT, Full
from bottega.serve.language import (
    PLAIN_STOPS,
    Broke,
    Closing,
    Ended,
    Ending,
    Engine,
    Event,
    TextOrder,
    Ticket,
    TokenScore,
    TooLong,
    Wrote,
    conversation,
)
from bottega.serve.language.tests.tiny_language import Watched, tiny_language

PATIENCE = 20.0


class Heard:
    """What an engine tells of a submission."""

    def __init__(self, count: int = 1) -> None:
        self.changed = threading.Condition()
        self.events: list[list[Event]] = [[] for _ in range(count)]

    def __call__(self, index: int, event: Event) -> None:
        with self.changed:
            self.events[index].append(event)
            self.changed.notify_all()

    def wait(self) -> None:
        """Until everything has ended."""
        with self.changed:
            assert self.changed.wait_for(
                lambda: all(row and not isinstance(row[-1], Wrote) for row in self.events), PATIENCE
            )

    def first(self) -> None:
        """Until something was written."""
        with self.changed:
            assert self.changed.wait_for(lambda: any(self.events), PATIENCE)

    def text(self, index: int = 0) -> str:
        self.wait()
        return "".join(event.text for event in self.events[index] if isinstance(event, Wrote))

    def scores(self, index: int = 0) -> list[TokenScore]:
        self.wait()
        return [score for event in self.events[index] if isinstance(event, Wrote) for score in event.scores]

    def last(self, index: int = 0) -> Event:
        self.wait()
        return self.events[index][-1]


@pytest.fixture(scope="module")
def language() -> Language:
    return tiny_language()


@contextmanager
def running(language: Language, **settings: int) -> Iterator[Engine]:
    engine = Engine(language, **settings)
    try:
        yield engine
    finally:
        if isinstance(language.model, Watched) and language.model.permits is not None:
            language.model.permits.release(10_000)
        engine.close()


def watched(language: Language, *, gated: bool = False) -> tuple[Language, Watched]:
    model = Watched(language.model, gated=gated)
    return dataclasses.replace(language, model=model), model


def alone(language: Language, order: TextOrder) -> tuple[list[int], list[float]]:
    """The tokens and log-probabilities that `write` gives for one prompt by itself."""
    made = list(
        write(
            language.model, [order.prompt], most=order.most, end=language.tokens.end if order.ends else None,
            sampling=order.sampling, generators=[torch.Generator().manual_seed(order.seed)],
        )
    )[-1][0]  # fmt: skip
    return made.tokens, made.log_chances


def random_orders(count: int, seed: int, **fields: object) -> list[TextOrder]:
    dice = random.Random(seed)
    return [
        TextOrder(
            prompt=tuple(dice.randrange(3, 300) for _ in range(dice.randrange(1, 40))), most=dice.randrange(1, 30),
            seed=number, rivals=0, **fields,
        )
        for number in range(count)
    ]  # fmt: skip


def submit(engine: Engine, orders: Sequence[TextOrder]) -> Heard:
    heard = Heard(len(orders))
    assert isinstance(engine.submit(orders, heard), Ticket)
    return heard


@pytest.mark.parametrize("chunk", [5, 256])
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0.8, top_p=0.95, repetition_penalty=1.2)])
def test_each_text_is_what_write_gives_for_it_alone(language: Language, sampling: Sampling, chunk: int) -> None:
    orders = random_orders(11, 7, sampling=sampling)
    counted, model = watched(language)
    with running(counted, slots=4, chunk=chunk) as engine:
        heard = [submit(engine, orders[place : place + 3]) for place in range(0, 11, 3)]
        for number, order in enumerate(orders):
            part, index = heard[number // 3], number % 3
            tokens, chances = alone(language, order)
            shown = [number for number in tokens if number != language.tokens.end]
            scores = part.scores(index)
            assert [score.token for score in scores] == shown
            assert [score.log_chance for score in scores] == pytest.approx(chances[: len(shown)], abs=1e-4)
            assert part.text(index) == language.tokens.text(tokens)
            assert part.last(index) == Ended(
                ending=Ending.STOP if tokens[-1] == language.tokens.end else Ending.LENGTH, new_tokens=len(tokens)
            )
        assert engine.load().memory_bytes == 0
    assert max(rows for rows, _ in model.passes) > 1, "nothing was written together"
    assert max(rows for rows, _ in model.passes) <= 4
    assert max(count for _, count in model.passes) <= chunk


def test_a_long_prompt_is_read_between_the_steps_of_the_others(language: Language) -> None:
    counted, model = watched(language, gated=True)
    assert model.permits is not None
    with running(counted, slots=3, chunk=8) as engine:
        first = submit(engine, [TextOrder(prompt=(5, 6), most=40, ends=False, rivals=0)])
        model.permits.release(3)
        first.first()
        long = submit(engine, [TextOrder(prompt=tuple(range(10, 70)), most=2, ends=False)])
        short = submit(engine, [TextOrder(prompt=(9, 8), most=2, ends=False)])
        model.permits.release(1000)
        alone_short = alone(language, TextOrder(prompt=(9, 8), most=2, ends=False))[0]
        assert short.text() == language.tokens.text(alone_short)
        long.wait()
        first.wait()
    reading = [place for place, (_, count) in enumerate(model.passes) if count > 1]
    assert len(reading) > 8, "the long prompt was not read in chunks"
    between = [one - other for one, other in zip(reading[1:], reading, strict=False)]
    assert between.count(2) >= 6, "nothing was written between the chunks"
    assert short.events[0][-1] == Ended(ending=Ending.LENGTH, new_tokens=2)


def test_who_joins_late_changes_nobody_elses_tokens(language: Language) -> None:
    order = TextOrder(prompt=(4, 5, 6), most=30, sampling=Sampling(temperature=1.0), seed=3, rivals=0, ends=False)
    expected = alone(language, order)[0]
    counted, model = watched(language, gated=True)
    assert model.permits is not None
    with running(counted, slots=4, chunk=16) as engine:
        heard = submit(engine, [order])
        for late in random_orders(6, 2, sampling=Sampling(temperature=0.7)):
            model.permits.release(4)
            submit(engine, [late])
        model.permits.release(1000)
        assert [score.token for score in heard.scores()] == expected


def test_a_full_queue_says_when_to_come_back_and_a_cancel_frees_the_place(language: Language) -> None:
    gated, model = watched(language, gated=True)
    assert model.permits is not None
    order = TextOrder(prompt=(4, 5), most=20, ends=False)
    with running(gated, slots=1, queue=2) as engine:
        heard = Heard()
        writing = engine.submit([order], heard)
        model.permits.release(2)
        heard.first()
        waiting = engine.submit([order], Heard())
        last = submit(engine, [order])
        full = engine.submit([order], Heard())
        assert isinstance(full, Full)
        assert full.retry_after_seconds >= 1
        assert (engine.load().writing, engine.load().waiting) == (1, 2)
        assert isinstance(waiting, Ticket)
        engine.cancel(waiting)
        assert engine.load().waiting == 1
        assert isinstance(writing, Ticket)
        engine.cancel(writing)
        model.permits.release(1000)
        assert isinstance(last.last(), Ended)
        assert len(heard.events[0]) < 20
        assert not any(isinstance(event, Ended) for event in heard.events[0])
    assert engine.load().memory_bytes == 0


def test_admission_by_memory(language: Language) -> None:
    gated, model = watched(language, gated=True)
    assert model.permits is not None
    per_token = language.model.new_memory(1, 1).bytes
    with running(gated, slots=8, memory_bytes=60 * per_token) as engine:
        assert engine.longest == 60
        with pytest.raises(TooLong, match="memory holds 60"):
            engine.submit([TextOrder(prompt=(4,) * 50, most=11)], Heard())
        with pytest.raises(TooLong, match="context is 96"):
            engine.submit([TextOrder(prompt=(4,) * 90, most=11)], Heard())
        first = submit(engine, [TextOrder(prompt=(4,) * 20, most=20, ends=False)])
        model.permits.release(3)
        first.first()
        second = submit(engine, [TextOrder(prompt=(5,) * 20, most=10, ends=False)])
        third = submit(engine, [TextOrder(prompt=(6,), most=2, ends=False)])
        model.permits.release(3)
        assert engine.load().writing == 1, "two texts were let in that do not fit together"
        assert engine.load().waiting == 2, "a small order overtook one that waits for memory"
        model.permits.release(1000)
        for heard, count in ((first, 20), (second, 10), (third, 2)):
            assert heard.last() == Ended(ending=Ending.LENGTH, new_tokens=count)
    assert all(rows <= 2 for rows, _ in model.passes)


def test_more_texts_than_may_ever_wait(language: Language) -> None:
    with running(language, slots=1, queue=3) as engine:
        with pytest.raises(RequestError, match="from 1 to 4"):
            engine.submit([TextOrder(prompt=(4,), most=1)] * 5, Heard(5))
        submit(engine, [TextOrder(prompt=(4,), most=1)] * 4).wait()


def test_a_stop_sequence_ends_the_text_wherever_tokens_end(language: Language) -> None:
    order = TextOrder(prompt=(4, 9, 30), most=40, ends=False, rivals=0)
    tokens, _ = alone(language, order)
    text = language.tokens.text(tokens)
    with running(language) as engine:
        for start in range(2, len(text) - 6, 3):
            stop = text[start : start + 5]
            heard = submit(engine, [dataclasses.replace(order, stops=(stop, "never said"))])
            assert heard.text() == text[: text.index(stop)]
            last = heard.last()
            assert isinstance(last, Ended)
            assert last.ending is Ending.STOP
            told = len(heard.scores())
            assert language.tokens.text(tokens[:told]).startswith(heard.text()[:-1])
            assert told <= last.new_tokens < 40
            assert all(0 <= score.begins < len(heard.text()) for score in heard.scores())


def test_scores_are_of_the_likeliest_tokens(language: Language) -> None:
    order = TextOrder(prompt=(4, 9), most=6, ends=False, rivals=3)
    with running(language) as engine:
        scores = submit(engine, [order]).scores()
    assert len(scores) == 6
    for score in scores:
        chances = [chance for _, chance in score.rivals]
        assert len(chances) == 3
        assert chances == sorted(chances, reverse=True)
        assert score.rivals[0] == (score.token, pytest.approx(score.log_chance))


def test_penalties_are_taken_off_the_logits_of_what_was_written(language: Language) -> None:
    plain = TextOrder(prompt=(4, 9), most=25, ends=False, rivals=0)
    with running(language) as engine:
        for presence, frequency in ((0.7, 0.4), (0.0, 0.9), (50.0, 0.0)):
            order = dataclasses.replace(plain, presence=presence, frequency=frequency)
            written: list[int] = []
            for score in submit(engine, [order]).scores():
                logits = language.model(torch.tensor([[*order.prompt, *written]]))[0, -1]
                for token in set(written):
                    logits[token] -= presence + frequency * written.count(token)
                assert score.token == int(logits.argmax())
                written.append(score.token)
            assert presence < 50 or len(set(written)) == 25, "a token came twice"
        assert len({score.token for score in submit(engine, [plain]).scores()}) < 25


def test_a_step_that_fails_is_told_and_the_next_orders_are_served(
    language: Language, caplog: pytest.LogCaptureFixture
) -> None:
    fragile, model = watched(language)
    with running(fragile) as engine:
        model.broken = True
        assert submit(engine, [TextOrder(prompt=(4,), most=3)]).last() == Broke(sentence=OUR_FAULT)
        model.broken = False
        assert isinstance(submit(engine, [TextOrder(prompt=(4,), most=3)]).last(), Ended)
        assert engine.load().memory_bytes == 0
    assert "broken on purpose" in caplog.text


def test_closing_lets_what_is_written_end_and_drops_what_waits(language: Language) -> None:
    gated, model = watched(language, gated=True)
    assert model.permits is not None
    engine = Engine(gated, slots=1)
    writing = submit(engine, [TextOrder(prompt=(4, 5), most=10, ends=False)])
    model.permits.release(2)
    writing.first()
    waiting = submit(engine, [TextOrder(prompt=(4, 5), most=10)])
    closing = threading.Thread(target=engine.close, args=(PATIENCE,))
    closing.start()
    last = waiting.last()
    model.permits.release(1000)
    closing.join(PATIENCE)
    assert isinstance(last, Broke)
    assert not last.ours
    assert writing.last() == Ended(ending=Ending.LENGTH, new_tokens=10)
    with pytest.raises(Closing, match="closing"):
        engine.submit([TextOrder(prompt=(4,), most=1)], Heard())


def test_what_an_engine_and_an_order_refuse(language: Language) -> None:
    for settings in ({"slots": 0}, {"queue": 0}, {"chunk": 0}, {"memory_bytes": 100}):
        with pytest.raises(RequestError):
            Engine(language, **settings)
    for fields in ({"prompt": ()}, {"most": 0}, {"stops": ("",)}):
        with pytest.raises(RequestError):
            TextOrder(**{"prompt": (4,), "most": 1, **fields})  # pyright: ignore


def test_letters_of_several_tokens_are_told_whole(language: Language) -> None:
    letters = language.tokens.ids("äù 🍇")
    assert len(letters) > len("äù 🍇")

    class Parrot(nn.Module):
        """Says the same tokens, whatever was asked."""

        vocabulary, context = language.model.vocabulary, 96
        new_memory = staticmethod(language.model.new_memory)

        def forward(self, tokens, memory=None, *, at=None):
            made = language.model(tokens, memory, at=at)
            place = torch.tensor(memory.lengths) - 2
            said = torch.tensor([letters[min(int(each), len(letters) - 1)] for each in place])
            return torch.zeros_like(made).scatter_(-1, said[:, None, None], 9.0)

    with running(dataclasses.replace(language, model=Parrot())) as engine:
        heard = submit(engine, [TextOrder(prompt=(4, 5), most=len(letters), ends=False)])
        assert heard.text() == "äù 🍇"
        assert all("\ufffd" not in event.text for event in heard.events[0] if isinstance(event, Wrote))
        cut = submit(engine, [TextOrder(prompt=(4, 5), most=len(letters) - 1, ends=False)])
        assert cut.text() == "äù \ufffd"


def test_conversations(language: Language) -> None:
    def said(*turns: tuple[str, str]) -> list[Message]:
        return [Message(speaker=Speaker(who), text=text) for who, text in turns]

    ids, stops = conversation(language, said(("user", "one two")))
    assert (language.tokens.text(ids), stops) == ("one two\n", PLAIN_STOPS)
    assert ids[0] == language.tokens.start
    many = said(("system", "Be kind."), ("user", "one"), ("assistant", "two"), ("user", "three"))
    assert (
        language.tokens.text(conversation(language, many)[0])
        == "Be kind.\nGuest: one\nHost: two\nGuest: three\nHost:\n"
    )
    with pytest.raises(RequestError, match="last message"):
        conversation(language, many[:3])
    own = dataclasses.replace(language, template=lambda messages: [7] * len(messages))
    assert conversation(own, many) == ([7, 7, 7, 7], ())
