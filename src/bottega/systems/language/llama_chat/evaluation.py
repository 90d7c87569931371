"""Measuring Llama 2-Chat on the requests world, whose judges know how good a reply really is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from bottega.processes.decoding import Sampling
from bottega.processes.preference import best_of_divergence, kl_estimate
from bottega.room import Measure, Progress, Report
from bottega.systems.language.llama_chat.config import Role
from bottega.systems.language.llama_chat.model import ChatModel, Policy
from bottega.systems.language.llama_chat.objective import on_device, read_rows, rows_of
from bottega.systems.language.llama_chat.recipe import (
    ALIGNMENT,
    REFERENCE,
    TURNS,
    dice_of,
    talk_at,
)
from bottega.systems.language.llama_chat.sampling import MOST_TOKENS, answered, answers_of, drawn, rewards
from bottega.training import draw_generators
from bottega.worlds.requests import (
    Annotator,
    Comparison,
    Intent,
    Request,
    RequestsWorld,
    Style,
    Verdict,
    comparison,
    follows,
    goodness,
    judge,
)

ROWS: Final = 64  # conversations that are read or answered at once
USED: Final = Sampling(temperature=0.6, top_p=0.9)
"""How answers are drawn where people use them."""
ALIGNED: Final = (Policy.REJECTION, Policy.PPO, Policy.DPO)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """What a policy answered to the same requests as the others.

    Args:
        verdicts: Of its answers.
        goodness: How good they are, 0 to 1.
        strayed: How good they would be as answers to other requests.
        reward: What the reward models say of them.
        divergence: How far the policy is from the reference, in nats an answer.
    """

    verdicts: list[Verdict]
    goodness: float
    strayed: float
    reward: float
    divergence: float


@torch.no_grad()
def evaluate(model: ChatModel, seed: int, limit: int, report: Report) -> dict[str, Measure]:
    """The figures of the paper's alignment, on held-out requests.

    Args:
        model: The assistant with its adapters.
        seed: Picks requests and answers.
        limit: Requests, comparisons of each kind, and conversations (a quarter of it).
        report: Called after every part; may raise `Cancelled`.
    """
    world = RequestsWorld(split="heldout", seed=seed)
    requests = world.batch(range(max(limit, 8)))
    parts: list[tuple[str, Callable[[], dict[str, Measure]]]] = [
        ("compare", lambda: reward_figures(model, requests)),
        ("answer", lambda: policy_figures(model, requests, seed)),
        ("converse", lambda: ghost_figures(model, world, max(limit // 4, 4))),
    ]
    found: dict[str, Measure] = {}
    for number, (stage, part) in enumerate(parts, 1):
        found |= part()
        report(Progress(step=number, total=len(parts), stage=stage))
    return found


# ------------------------------------------------------------------------------------------------------- reward models
def reward_figures(model: ChatModel, requests: Sequence[Request]) -> dict[str, Measure]:
    """How often each reward model agrees with its annotators; what margins do, and what one model for both loses."""
    made = {
        annotator: [
            comparison(request, annotator, dice_of("judged", number)) for number, request in enumerate(requests)
        ]
        for annotator in Annotator
    }
    gaps = {
        (role, annotator): _gaps(model, role, pairs)
        for annotator, pairs in made.items()
        for role in (Role.HELPFUL, Role.SAFE, Role.JOINT)
    }
    gaps[Role.PLAIN, Annotator.HELPFUL] = _gaps(model, Role.PLAIN, made[Annotator.HELPFUL])
    own = {Annotator.HELPFUL: Role.HELPFUL, Annotator.SAFE: Role.SAFE}
    found = {}
    for annotator, role in own.items():
        clear = _grades(made[annotator]) > 0
        cross = next(other for other in own.values() if other is not role)
        found[f"{annotator.value} comparisons right"] = _agreement(
            gaps[role, annotator][clear], gaps[Role.JOINT, annotator][clear], gaps[cross, annotator][clear]
        )
    grades = _grades(made[Annotator.HELPFUL])
    strayed = _gaps(model, Role.HELPFUL, _turned(made[Annotator.HELPFUL]))
    for grade in (1, 2, 3):
        chosen = grades == grade
        found[f"helpful comparisons right, grade {grade}"] = _agreement(
            gaps[Role.HELPFUL, Annotator.HELPFUL][chosen],
            gaps[Role.PLAIN, Annotator.HELPFUL][chosen],
            strayed[chosen],
        )
    dangers = torch.tensor([request.intent is Intent.DANGEROUS for request in requests])
    both = [(annotator, dangers & (_grades(made[annotator]) > 0)) for annotator in Annotator]
    found["comparisons on dangers right"] = _agreement(
        torch.cat([gaps[own[annotator], annotator][chosen] for annotator, chosen in both]),
        torch.cat([gaps[Role.JOINT, annotator][chosen] for annotator, chosen in both]),
        torch.cat(
            [
                gaps[own[other], annotator][chosen]
                for (annotator, chosen), other in zip(both, reversed(Annotator), strict=True)
            ]
        ),
    )
    return found


def _gaps(model: ChatModel, role: Role, pairs: Sequence[Comparison]) -> Tensor:
    """By how much the chosen answer scores higher than the rejected one, `(pairs,)`."""
    scores = [
        _scored(model, role, [(pair.request, answer(pair)) for pair in pairs])
        for answer in (lambda pair: pair.chosen, lambda pair: pair.rejected)
    ]
    return scores[0] - scores[1]


def _scored(model: ChatModel, role: Role, said: Sequence[tuple[Request, str]]) -> Tensor:
    device = next(model.parameters()).device
    found = []
    for start in range(0, len(said), ROWS):
        made = [model.chat([request.text], [answer]) for request, answer in said[start : start + ROWS]]
        rows = on_device(rows_of(model, made), device)
        found.append(model.scores(role, rows.tokens, rows.last).cpu())
    return torch.cat(found)


def _turned(pairs: Sequence[Comparison]) -> list[Comparison]:
    """The same pairs of answers, each behind another's request."""
    return [
        Comparison(
            request=other.request, chosen=pair.chosen, rejected=pair.rejected, grade=pair.grade,
            chosen_safe=pair.chosen_safe, rejected_safe=pair.rejected_safe,
        )
        for pair, other in zip(pairs, [*pairs[1:], pairs[0]], strict=True)
    ]  # fmt: skip


def _grades(pairs: Sequence[Comparison]) -> Tensor:
    return torch.tensor([pair.grade for pair in pairs])


def _agreement(value: Tensor, baseline: Tensor, control: Tensor) -> Measure:
    """The share of positive gaps, in percent."""
    shares = [100 * float((gaps > 0).float().mean()) if len(gaps) else 0.0 for gaps in (value, baseline, control)]
    return Measure(value=shares[0], baseline=shares[1], control=shares[2], unit="%", samples=len(value))


# ------------------------------------------------------------------------------------------------------------ policies
def policy_figures(model: ChatModel, requests: Sequence[Request], seed: int) -> dict[str, Measure]:
    """How good each policy's answers are, how much reward they get, and how far away it went for that."""
    made = {policy: _answered(model, policy, requests, seed) for policy in (Policy.GHOST, *ALIGNED)}
    base, count = made[Policy.GHOST], len(requests)
    found = {}
    for policy in ALIGNED:
        name, own = policy.value, made[policy]
        found[f"goodness, {name}"] = Measure(
            value=100 * own.goodness, baseline=100 * base.goodness, control=100 * own.strayed, unit="%", samples=count
        )
        found[f"reward, {name}"] = Measure(value=own.reward, baseline=base.reward, samples=count)
        bound = best_of_divergence(ALIGNMENT.samples) if policy is Policy.REJECTION else None
        found[f"divergence, {name}"] = Measure(
            value=own.divergence, baseline=bound, unit="nats", higher_is_better=False, samples=count
        )
        for intent, what, better in (
            (Intent.DANGEROUS, "dangers", True),
            (Intent.HARMLESS, "harmless requests", False),
        ):
            at = [number for number, request in enumerate(requests) if request.intent is intent]
            shares = [
                100 * sum(verdicts[number].refused for number in at) / max(len(at), 1)
                for verdicts in (own.verdicts, base.verdicts)
            ]
            found[f"{what} refused, {name}"] = Measure(
                value=shares[0], baseline=shares[1], unit="%", higher_is_better=better, samples=len(at)
            )
    return found


def _answered(model: ChatModel, policy: Policy, requests: Sequence[Request], seed: int) -> Answered:
    """A policy's answers as people use it, and its divergence over answers as it expects them."""
    device = next(model.parameters()).device
    prompts = [model.chat([request.text], []).ids for request in requests]
    dangerous = torch.tensor([request.intent is Intent.DANGEROUS for request in requests])
    texts: list[str] = []
    scores, far = [], []
    for start in range(0, len(prompts), ROWS):
        part, generators = prompts[start : start + ROWS], draw_generators(seed, len(prompts))[start : start + ROWS]
        made = drawn(model, policy.roles, part, most=MOST_TOKENS, sampling=USED, generators=generators)
        texts += answers_of(model, made)
        rows = on_device(rows_of(model, made), device)
        scores.append(rewards(model, rows, dangerous[start : start + ROWS].to(device)).cpu())
        made = drawn(
            model, policy.roles, part, most=MOST_TOKENS, sampling=Sampling(temperature=1.0), generators=generators
        )
        rows = on_device(rows_of(model, made), device)
        chances = [read_rows(model, roles, rows)[0] for roles in (policy.roles, REFERENCE)]
        far.append(kl_estimate(chances[0], chances[1], rows.learned[:, 1:]).cpu())
    verdicts = [judge(request, text) for request, text in zip(requests, texts, strict=True)]
    turned = [*texts[1:], texts[0]]
    return Answered(
        verdicts=verdicts,
        goodness=sum(map(goodness, requests, verdicts)) / len(requests),
        strayed=sum(goodness(request, judge(request, text)) for request, text in zip(requests, turned, strict=True))
        / len(requests),
        reward=float(torch.cat(scores).mean()),
        divergence=float(torch.cat(far).mean()),
    )


# ------------------------------------------------------------------------------------------------------ ghost attention
def ghost_figures(model: ChatModel, world: RequestsWorld, count: int) -> dict[str, Measure]:
    """How often answers keep the system prompt, turn by turn, with ghost attention and without."""
    talks = [
        talk_at(world, number, dice_of("held", number), turns=TURNS + 1, instructed=1.0) for number in range(count)
    ]
    kept, others = {}, list(Style)
    for policy in (Policy.GHOST, Policy.SFT):
        answers = [
            said
            for start in range(0, count, ROWS)
            for said in answered(model, policy.roles, talks[start : start + ROWS])
        ]
        styles = [talk.style or others[0] for talk in talks]
        kept[policy] = [
            [follows(said[turn], style) for said, style in zip(answers, styles, strict=True)]
            for turn in range(TURNS + 1)
        ]
        turned = [others[(others.index(style) + 1) % len(others)] for style in styles]
        kept[policy, "other"] = [
            [follows(said[turn], style) for said, style in zip(answers, turned, strict=True)]
            for turn in range(TURNS + 1)
        ]
    return {
        f"system prompt kept, turn {turn + 1}": Measure(
            value=100 * sum(kept[Policy.GHOST][turn]) / count,
            baseline=100 * sum(kept[Policy.SFT][turn]) / count,
            control=100 * sum(kept[Policy.GHOST, "other"][turn]) / count,
            unit="%",
            samples=count,
        )
        for turn in range(TURNS + 1)
    }
