"""Small language systems that really work, on a random tiny decoder: one to talk to, two that tell how they wrote."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from bottega.catalog import Ready
from bottega.processes.decoding import (
    ContextGuess,
    FixedLength,
    Language,
    ModelDraft,
    Task,
    Window,
    jacobi,
    jacobi_trace,
    question,
    speculate,
    speculation_trace,
)
from bottega.results import WeightsOrigin, WordsResult
from bottega.room import Card, Preset, Progress, Report, System
from bottega.serve.language.tests.tiny_language import tiny_language


@dataclass(frozen=True, kw_only=True, slots=True)
class AskRequest:
    """What to answer.

    Args:
        inputs: Questions.
        max_new_tokens: Longest answer in tokens.
        seed: Equal seeds make equal answers.
    """

    inputs: tuple[str, ...] = ()
    max_new_tokens: int = 24
    seed: int = 0


class TinyWriter(nn.Module):
    """The random decoder, and one that is nearly the same."""

    def __init__(self, config: AskRequest) -> None:
        super().__init__()
        self.language = tiny_language(context=160)
        self.decoder = self.language.model
        self.draft = copy.deepcopy(self.decoder)
        torch.manual_seed(2)
        for parameter in self.draft.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)


def _language(model: TinyWriter) -> Language:
    return model.language


def _task(model: TinyWriter, request: AskRequest) -> Task:
    prompts = [question(model.language, text) for text in request.inputs]
    return Task(prompts=prompts, most=request.max_new_tokens, end=model.language.tokens.end)


def speculative(model: TinyWriter, request: AskRequest, report: Report) -> WordsResult:
    draft, tokens = ModelDraft(model.draft), model.language.tokens
    steps = list(speculate(model.decoder, draft, _task(model, request), length=FixedLength(4)))
    report(Progress(step=len(steps), total=len(steps), stage="write"))
    traces = tuple(speculation_trace(text, tokens).to_json() for text in steps[-1])
    return WordsResult(words=tuple(tokens.text(text.tokens) for text in steps[-1]), seed=request.seed, traces=traces)


def cllm(model: TinyWriter, request: AskRequest, report: Report) -> WordsResult:
    window, tokens = Window(size=6, rolling=False, guess=ContextGuess(seed=0)), model.language.tokens
    steps = list(jacobi(model.decoder, _task(model, request), window))
    report(Progress(step=len(steps), total=len(steps), stage="solve"))
    traces = tuple(jacobi_trace(text, tokens).to_json() for text in steps[-1])
    return WordsResult(words=tuple(tokens.text(text.tokens) for text in steps[-1]), seed=request.seed, traces=traces)


def _system(infer: object, language: object = None) -> System:
    return System(
        presets={"tiny": Preset(config=AskRequest(), parameters=0, source="here")}, build=TinyWriter,
        request=AskRequest, infer=infer, tiny_request=AskRequest(inputs=("one",)), bundled="tiny", language=language,
    )  # fmt: skip  # pyright: ignore


SYSTEMS = {
    "cllm": _system(cllm),
    "llama": _system(speculative, _language),
    "speculative": _system(speculative),
}


class WordsCatalog:
    """A catalog of these systems."""

    def systems(self) -> list[str]:
        return list(SYSTEMS)

    def card(self, system_id: str) -> Card:
        return Card(
            title=system_id.capitalize(), sentence="Words become more words.", citation="The tests.", papers=(),
            peer="none", licence="Nothing to know.",
        )  # fmt: skip

    def get(self, system_id: str) -> System:
        return SYSTEMS[system_id]

    def load(self, system_id: str, parts: Mapping[str, str]) -> Ready:
        weights = WeightsOrigin(sha256="0" * 64, source="bundled")
        model = TinyWriter(AskRequest()).eval()
        return Ready(
            id=system_id, preset="tiny", config=AskRequest(), model=model, weights=weights, system=SYSTEMS[system_id]
        )
