from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from bottega.errors import WeightsError
from bottega.networks import Llama, LlamaConfig
from bottega.processes.decoding import (
    Language,
    Message,
    NgramDraft,
    NoTokens,
    Speaker,
    Task,
    Window,
    jacobi,
    jacobi_trace,
    question,
    speculate,
    speculation_trace,
)
from bottega.results import WordsResult


@dataclass(frozen=True)
class Letters:
    """A token is a letter from "a" on; 0 starts and 1 ends."""

    vocabulary: int = 20
    start: int = 0
    end: int = 1
    pad: int = 1
    leads: bool = False

    def ids(self, text, *, start=False, end=False):
        return [0] * start + [2 if letter == "\n" else ord(letter) - 94 for letter in text] + [1] * end

    def text(self, ids):
        return b"".join(self.token_bytes(number) for number in ids).decode()

    def token_bytes(self, number):
        return b"" if number < 2 else bytes([10 if number == 2 else number + 94])


TOKENS = Letters()


def language(template=None) -> Language:
    torch.manual_seed(0)
    config = LlamaConfig(vocabulary=20, context=40, width=16, depth=1, num_heads=2, num_kv_heads=1, hidden=16)
    model = Llama(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(20)
    return Language(model=model, tokens=TOKENS, template=template)


def test_a_question_is_asked_plainly_or_by_the_models_template():
    assert question(language(), "bad") == [0, 4, 3, 6, 2]
    told = language(lambda messages: [5, len(messages), len(messages[0].text)])
    assert question(told, "bad") == [5, 1, 3]
    assert Message(speaker=Speaker.USER, text="bad").text == "bad"


def test_rounds_and_iterations_become_json_with_letters():
    task = Task(prompts=[question(language(), "abab")], most=12, end=1)
    spoken = list(speculate(language().model, NgramDraft(), task))[-1][0]
    solved = list(jacobi(language().model, task, Window(size=4)))[-1][0]
    first, second = (
        json.loads(speculation_trace(spoken, TOKENS).to_json()),
        json.loads(jacobi_trace(solved, TOKENS).to_json()),
    )
    assert (first["kind"], second["kind"]) == ("speculative", "jacobi")
    assert first["tokens"] == second["tokens"]
    assert "".join(token["letters"] for token in first["tokens"]) == TOKENS.text(spoken.tokens)
    assert [token for each in first["rounds"] for token in each["written"]] == first["tokens"]
    for each in second["iterations"]:
        assert each["state"][: each["confirmed"]] == second["tokens"][each["place"] :][: each["confirmed"]]
    assert second["fast_forwarded"] == len(solved.tokens) - len(solved.iterations)


def test_traces_travel_with_the_words():
    result = WordsResult(words=("ab",), seed=0, traces=('{"kind": "jacobi"}',))
    assert result.arrays()["traces"].tolist() == ['{"kind": "jacobi"}']
    assert isinstance(result.arrays()["words"], np.ndarray)


def test_a_model_without_a_tokenizer_says_so_when_it_is_asked():
    for use in (lambda: NoTokens().ids("a"), lambda: NoTokens().end, lambda: NoTokens().text([1])):
        with pytest.raises(WeightsError, match="tokenizer"):
            use()
