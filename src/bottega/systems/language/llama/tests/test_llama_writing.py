import dataclasses
import io
import sys

import numpy as np
import pytest
import torch

from bottega.cli import main
from bottega.cli.screen import Watcher
from bottega.errors import Cancelled, RequestError, WeightsError
from bottega.networks import LlamaConfig
from bottega.room import Progress
from bottega.systems.language.llama.inference import LlamaRequest, infer
from bottega.systems.language.llama.model import LlamaPipeline
from bottega.tokenizers import LanguageTokenizer
from bottega.worlds.queries import QueriesWorld

SMALL = LlamaConfig(vocabulary=320, context=64, width=32, depth=2, num_heads=4, num_kv_heads=2, hidden=48)
PROMPTS = ("What is", "Table: books", "Zoë 🍎")


@pytest.fixture(scope="module")
def pipeline():
    torch.manual_seed(3)
    made = LlamaPipeline(SMALL)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(8.0)  # logits that differ
    made.use(LanguageTokenizer.trained((passage.text for passage in QueriesWorld().batch(range(40))), 320))
    return made.eval()


def ask(pipeline, **fields):
    steps = []
    result = infer(pipeline, LlamaRequest(**{"inputs": PROMPTS[:1], "max_new_tokens": 20} | fields), steps.append)
    return result, steps


@pytest.mark.parametrize("fields", [{}, {"temperature": 1.0, "seed": 5}, {"temperature": 1.5, "top_k": 20, "seed": 1}])
def test_text_streams_as_it_is_in_the_end(pipeline, fields):
    result, steps = ask(pipeline, **fields)
    assert "".join(step.text for step in steps) == result.words[0]
    assert len([step for step in steps if step.text]) > 3
    assert all(step.stage == "write" and 1 <= step.step <= step.total == 20 for step in steps)
    assert result.sources == PROMPTS[:1]


def test_each_prompt_is_answered_as_if_it_were_alone(pipeline):
    together, steps = ask(pipeline, inputs=PROMPTS, temperature=1.0, seed=2)
    assert not any(step.text for step in steps)
    first, _ = ask(pipeline, inputs=PROMPTS[:1], temperature=1.0, seed=2)
    assert together.words[0] == first.words[0]
    greedy, _ = ask(pipeline, inputs=PROMPTS)
    assert greedy.words == tuple(ask(pipeline, inputs=(prompt,))[0].words[0] for prompt in PROMPTS)


def test_seeds_make_other_words_and_the_same_again(pipeline):
    made = [ask(pipeline, temperature=1.0, seed=seed)[0].words for seed in (1, 2, 1)]
    assert made[0] == made[2] != made[1]
    assert ask(pipeline, temperature=1.0, top_k=1, seed=9)[0].words == ask(pipeline)[0].words


def test_stop_texts_end_a_continuation_and_are_never_shown(pipeline):
    whole = ask(pipeline, temperature=1.0, seed=4)[0].words[0]
    stop = whole[6:9]
    result, steps = ask(pipeline, temperature=1.0, seed=4, stop=(stop, "never"))
    assert result.words[0] == whole[: whole.index(stop)]
    assert "".join(step.text for step in steps) == result.words[0]
    assert len(steps) < 20


@torch.no_grad()
def test_beams_find_likelier_words(pipeline):
    def chance(text):
        ids = pipeline.tokenizer.ids(PROMPTS[0] + text, start=True)
        start = len(pipeline.prompts(PROMPTS[:1])[0])
        logits = pipeline(torch.tensor([ids]))[0].log_softmax(-1)
        return sum(float(logits[place - 1, ids[place]]) for place in range(start, len(ids))) / (len(ids) - start)

    greedy, searched = (ask(pipeline, beams=beams, max_new_tokens=4)[0].words[0] for beams in (1, 8))
    assert chance(searched) >= chance(greedy) - 1e-5
    assert ask(pipeline, beams=4, inputs=PROMPTS)[0].words[1]


def test_results_are_words(pipeline):
    result, _ = ask(pipeline, inputs=PROMPTS)
    assert result.items() == list(result.words)
    assert result.arrays()["words"].dtype.kind == "U"
    assert np.array_equal(result.arrays()["sources"], PROMPTS)
    alone, _ = ask(pipeline, inputs=())
    assert alone.sources is None
    assert len(alone.words) == 1


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"beams": 0}, "beams is 0"),
        ({"beams": 2, "temperature": 0.5}, "temperature is 0.5, but it must be 0"),
        ({"beams": 2, "top_k": 3}, "leave out top_k"),
        ({"temperature": -1.0}, "temperature is -1"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"stop": ("",)}, "stop is ''"),
        ({"seed": -1}, "seed is -1"),
        ({"inputs": ("a",) * 65}, "number of inputs is 65"),
    ],
)
def test_requests_are_checked(fields, text):
    with pytest.raises(RequestError, match=text):
        LlamaRequest(**fields)


def test_a_prompt_must_leave_room(pipeline):
    with pytest.raises(RequestError, match=r"length is \d+, but it must be at most 63 tokens"):
        ask(pipeline, inputs=("long " * 80,))
    long = PROMPTS[0] + " a" * 20
    _, steps = ask(pipeline, inputs=(long,), max_new_tokens=500, temperature=1.0)
    assert len({step.step for step in steps}) <= SMALL.context - len(pipeline.prompts((long,))[0]) + 1


def test_weights_without_a_tokenizer_say_so():
    with pytest.raises(WeightsError, match="no tokenizer"):
        infer(LlamaPipeline(SMALL), LlamaRequest(inputs=("a",)), lambda step: None)


def test_cancelling_stops_the_writing(pipeline):
    def cancel(step):
        if step.step == 3:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        infer(pipeline, LlamaRequest(inputs=("a",)), cancel)


def test_the_terminal_shows_letters_when_asked(capsys):
    for words in (True, False):
        watch = Watcher(None, words=words)
        watch(Progress(step=1, total=2, stage="write", text="He"))
        watch(Progress(step=2, total=2, stage="write", text="llo"))
        assert watch.said == ("Hello" if words else "")
        assert capsys.readouterr().out == watch.said


class Terminal(io.StringIO):
    """Standard output that a person looks at; keeps what came between two flushes apart."""

    def __init__(self):
        super().__init__()
        self.pieces = []

    def isatty(self):
        return True

    def write(self, text):
        self.pieces.append(text)
        return super().write(text)


def test_words_stream_to_a_terminal_once(monkeypatch, capsys):
    """In a terminal the words of `bottega run llama` arrive in pieces and are not printed again."""
    command = ["run", "llama", "What is (2 + 3) * 4?\n", "--max-new-tokens", "12"]
    assert main(command) == 0
    plain, shown = capsys.readouterr().out, Terminal()
    with monkeypatch.context() as context:
        context.setattr(sys, "stdout", shown)
        assert main(command) == 0
    assert shown.getvalue() == plain
    assert plain.strip()
    assert max(map(len, shown.pieces)) < len(plain) / 2


def test_settings_stand_in_the_result(pipeline):
    result, _ = ask(pipeline, beams=2)
    assert result.settings == {"max_new_tokens": 20, "temperature": 0.0, "beams": 2}
    assert dataclasses.replace(LlamaRequest(), seed=3).seed == 3
