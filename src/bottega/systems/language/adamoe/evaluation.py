"""Measuring experts on the queries world: what text costs and how well it is expected; and who sees the future."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch

from bottega.layers import Routed, TokenChoice, undo_preparation, watched
from bottega.metrics import NGrams
from bottega.networks import (
    ChosenDepths,
    ChosenTokens,
    Experts,
    MixtralConfig,
    Routing,
    is_causal,
    mixtral,
    work_per_token,
)
from bottega.room import Measure, Progress, Report
from bottega.systems.language.adamoe.model import AdaMoe
from bottega.systems.language.adamoe.objective import real_experts
from bottega.systems.language.adamoe.recipe import TOPICS, AdaMoeRecipe, queries
from bottega.worlds.queries import QueriesWorld

ORDER, COUNTED = 4, 20
"""The n-grams' order, and the training passages that they are counted on for each window of `limit`."""


@torch.inference_mode()
def evaluate(model: AdaMoe, seed: int, limit: int, report: Report) -> dict[str, Measure]:
    """Perplexity topic by topic beside 4-grams; experts, work and evenness; and causality of four routings.

    The control of perplexities gives every expert's gate to the next expert, so that tokens meet wrong ones. The
    baseline of work is that of two experts for every token. Causality is whether logits stay as they are when a later
    token changes, of this model and of routings with random weights.

    Args:
        model: The decoder with its tokenizer.
        seed: Picks passages.
        limit: Windows of the context in all, shared by the topics.
        report: Called after every topic; may raise `Cancelled`.
    """
    found: dict[str, Measure] = {}
    routed: list[Routed] = []
    count = max(limit // len(TOPICS), 1)
    source, wrong = AdaMoeRecipe(model, queries("heldout", seed)), misrouted(model)
    grams = NGrams(ORDER, source.tokens.vocabulary)
    train = queries(seed=seed + 1)
    grams.learn(source.tokens.ids(train.sample(n).text, start=True, end=True) for n in range(COUNTED * limit))
    for number, topic in enumerate(TOPICS, 1):
        windows = _windows(model, QueriesWorld(split="heldout", topics=(topic,), seed=seed), count)
        with watched(model) as layers:
            found[f"perplexity, {topic.value}"] = _perplexity((model, wrong), windows, grams)
        routed += layers
        if layers:
            found[f"experts a token, {topic.value}"] = Measure(
                value=float(real_experts(layers)), baseline=2.0, higher_is_better=False, samples=windows.numel()
            )
        report(Progress(step=number, total=len(TOPICS) + 1, stage=topic.value))
    found["perplexity, all topics"] = _together([found[f"perplexity, {topic.value}"] for topic in TOPICS])
    found |= _work(model.config, routed)
    found |= _causality(model, seed)
    report(Progress(step=len(TOPICS) + 1, total=len(TOPICS) + 1, stage="causality"))
    return found


def _windows(model: AdaMoe, source: QueriesWorld, count: int) -> torch.Tensor:
    recipe = AdaMoeRecipe(model, source)
    return torch.tensor([recipe.window(64 * number) for number in range(count)])


def misrouted(model: AdaMoe) -> AdaMoe:
    """A copy in which every expert has the gate of the one before it."""
    wrong = copy.deepcopy(model)
    undo_preparation(wrong)
    for part in wrong.modules():
        if isinstance(part, TokenChoice):
            part.gate.weight.copy_(part.gate.weight.roll(1, 0))
    return wrong


def _perplexity(models: tuple[AdaMoe, AdaMoe], windows: torch.Tensor, grams: NGrams) -> Measure:
    model, wrong = models
    baseline = [chance for row in windows.tolist() for chance in grams.log_chances(row, 1)]
    return Measure(
        value=math.exp(nats(model, windows)),
        baseline=math.exp(-sum(baseline) / len(baseline)),
        control=math.exp(nats(wrong, windows)) if isinstance(model.config.routing, Experts) else None,
        higher_is_better=False,
        samples=len(baseline),
    )


def _together(parts: Sequence[Measure]) -> Measure:
    """The perplexity of texts together that are equally many."""

    def mean(values: Sequence[float | None]) -> float | None:
        known = [math.log(value) for value in values if value is not None]
        return math.exp(sum(known) / len(known)) if known else None

    return Measure(
        value=mean([part.value for part in parts]) or 1.0,
        baseline=mean([part.baseline for part in parts]),
        control=mean([part.control for part in parts]),
        higher_is_better=False,
        samples=sum(part.samples for part in parts),
    )


def nats(model: AdaMoe, windows: torch.Tensor) -> float:
    """The mean negative log-likelihood of the next tokens of windows `(batch, tokens + 1)`."""
    windows = windows.to(next(model.parameters()).device)
    chances = model(windows[:, :-1]).float().log_softmax(-1)
    return -float(chances.gather(-1, windows[:, 1:, None]).mean())


def _work(config: MixtralConfig, routed: Sequence[Routed]) -> dict[str, Measure]:
    """Experts of a token, its multiplications, and how evenly experts are used."""
    if not routed:
        return {"millions of multiplications a token": Measure(value=work_per_token(config) / 1e6, unit="M",
                                                               higher_is_better=False)}  # fmt: skip
    real, samples = float(real_experts(routed)), sum(len(each.chosen) for each in routed)
    two = MixtralConfig(decoder=config.decoder, routing=Experts(experts=routed[0].experts))
    layers = [torch.bincount(each.chosen.flatten(), minlength=each.logits.shape[-1]) for each in routed]
    loads = [load[: routed[0].experts].float() for load in layers]
    shares = [load / load.sum().clamp(min=1) for load in loads]
    evenness = [float(-(share * share.clamp(min=1e-9).log()).sum()) / math.log(len(share)) for share in shares]
    idle = torch.cat([each.real for each in routed]) == 0
    return {
        "experts a token": Measure(value=real, baseline=2.0, higher_is_better=False, samples=samples),
        "millions of multiplications a token": Measure(
            value=work_per_token(config, real) / 1e6, baseline=work_per_token(two) / 1e6, unit="M",
            higher_is_better=False, samples=samples,
        ),
        "evenness of experts (entropy over its most)": Measure(
            value=sum(evenness) / len(evenness), control=0.0, samples=samples
        ),
        "tokens that no expert worked on": Measure(
            value=100 * float(idle.float().mean()), unit="%", higher_is_better=False, samples=samples
        ),
    }  # fmt: skip


def _causality(model: AdaMoe, seed: int) -> dict[str, Measure]:
    """1 where the past does not depend on the future: this model, and each routing with random weights."""
    tokens = _windows(model, queries("heldout", seed), 1)[0, :24]
    small = MixtralConfig(decoder=model.config.decoder)
    routings: dict[str, Routing] = {
        "experts that choose tokens": ChosenTokens(experts=4, capacity=1.0),
        "layers that choose tokens": ChosenDepths(capacity=0.25),
    }
    own = is_causal(model.decoder, tokens.to(next(model.parameters()).device), 16)
    found = {"the past stays, this model": Measure(value=float(own), samples=1)}
    for name, routing in routings.items():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            other = mixtral(MixtralConfig(decoder=small.decoder, routing=routing))
        found[f"the past stays, {name}"] = Measure(value=float(is_causal(other, tokens, 16)), baseline=1.0, samples=1)
    return found
