"""Batches of conversations, and the losses of each stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from bottega.processes.preference import (
    Margins,
    answer_loss,
    clipped_loss,
    dpo_loss,
    log_chances,
    margins_of,
    ranking_loss,
    sequence_log_chances,
    value_loss,
)
from bottega.systems.language.llama_chat.config import Role
from bottega.systems.language.llama_chat.model import VALUE, ChatModel
from bottega.tokenizers import ChatTokens


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Rows:
    """Conversations side by side, filled on the right.

    Args:
        tokens: Ids `(batch, tokens)`.
        learned: True at the tokens of answers, `(batch, tokens)`.
        last: The place of each row's last token, `(batch,)`.
    """

    tokens: Tensor
    learned: Tensor
    last: Tensor

    @classmethod
    def of(cls, made: Sequence[ChatTokens], pad: int, most: int) -> Rows:
        """Rows of at most `most` tokens; of a longer conversation the tail is lost."""
        longest = min(max(len(row.ids) for row in made), most)
        tokens = torch.full((len(made), longest), pad)
        learned = torch.zeros(len(made), longest, dtype=torch.bool)
        for place, row in enumerate(made):
            ids = row.ids[:longest]
            tokens[place, : len(ids)] = torch.tensor(ids)
            learned[place, : len(ids)] = torch.tensor(row.learned[:longest])
        last = torch.tensor([min(len(row.ids), longest) - 1 for row in made])
        return cls(tokens=tokens, learned=learned, last=last)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pairs:
    """Comparisons.

    Args:
        chosen: The better answers with their conversations.
        rejected: The others.
        grades: By how much, `(batch,)`, 0 to 3.
        safe: Whether the chosen and the rejected answer do no harm, float32 `(batch, 2)`.
    """

    chosen: Rows
    rejected: Rows
    grades: Tensor
    safe: Tensor


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Rollouts:
    """Answers that a policy drew, and what it should learn of them.

    Args:
        rows: The conversations with the answers.
        old: Log-probability of each next token under the policy that drew it, `(batch, tokens - 1)`.
        advantages: Of each next token.
        returns: What the value should have been before each next token.
    """

    rows: Rows
    old: Tensor
    advantages: Tensor
    returns: Tensor


def supervised_loss(model: ChatModel, roles: Sequence[Role], rows: Rows) -> Tensor:
    """The loss on answers only."""
    with model.applied(roles):
        return answer_loss(model(rows.tokens), rows.tokens, rows.learned)


def reward_loss(model: ChatModel, role: Role, pairs: Pairs, margins: Margins, label_weight: float) -> dict[str, Tensor]:
    """The ranking loss with margins; the safety model's score is its log-odds of being safe as well.

    That gives the scores of safety a zero, which comparisons leave open and the gate of the reward needs.

    Source: arXiv:2307.09288, section 3.2.2 (ranking) and appendix A.3.3 (the auxiliary loss of safety).
    """
    states = [model.last_states(role, rows.tokens, rows.last) for rows in (pairs.chosen, pairs.rejected)]
    chosen, rejected = (model.heads[role.value](state)[:, 0].float() for state in states)
    loss = ranking_loss(chosen, rejected, margins_of(pairs.grades, margins))
    figures = {"accuracy": (chosen > rejected).float().mean()}
    if role is Role.SAFE:
        odds = torch.stack((chosen, rejected), 1)
        loss = loss + label_weight * F.binary_cross_entropy_with_logits(odds, pairs.safe)
    return {"loss": loss, **figures}


def preference_loss(
    model: ChatModel, roles: Sequence[Role], reference: Sequence[Role], pairs: Pairs, beta: float
) -> dict[str, Tensor]:
    """DPO's loss of a policy against the reference."""
    gaps = []
    for rows in (pairs.chosen, pairs.rejected):
        with model.applied(roles):
            policy = sequence_log_chances(model(rows.tokens), rows.tokens, rows.learned)
        with torch.no_grad(), model.applied(reference):
            start = sequence_log_chances(model(rows.tokens), rows.tokens, rows.learned)
        gaps.append(policy - start)
    return {"loss": dpo_loss(gaps[0], gaps[1], beta), "accuracy": (gaps[0] > gaps[1]).float().mean()}


def read_rows(model: ChatModel, roles: Sequence[Role], rows: Rows) -> tuple[Tensor, Tensor]:
    """The log-probability of each next token, and what the policy expects before it, `(batch, tokens - 1)` each."""
    with model.applied(roles):
        states = model.states(rows.tokens)
    values = model.heads[VALUE](states[:, :-1])[..., 0].float()
    return log_chances(model.logits(states), rows.tokens), values


def policy_loss(
    model: ChatModel, roles: Sequence[Role], made: Rollouts, clip: float, value_weight: float
) -> dict[str, Tensor]:
    """PPO's loss: the policy's, clipped, and its values'."""
    chances, values = read_rows(model, roles, made.rows)
    mask = made.rows.learned[:, 1:]
    policy = clipped_loss(chances, made.old, made.advantages, mask, clip)
    value = value_loss(values, made.returns, mask)
    return {"loss": policy + value_weight * value, "policy": policy, "value": value}


# --------------------------------------------------------------------------------------------------------------- rows
def rows_of(model: ChatModel, made: Sequence[ChatTokens]) -> Rows:
    """Conversations side by side."""
    return Rows.of(made, model.tokens().pad, model.config.decoder.context)


def on_device(rows: Rows, device: torch.device) -> Rows:
    """The rows where the model is."""
    return Rows(tokens=rows.tokens.to(device), learned=rows.learned.to(device), last=rows.last.to(device))


def last_answer(made: ChatTokens) -> ChatTokens:
    """A conversation of which only the last answer is learned."""
    asked = max(place for place, yes in enumerate(made.learned) if not yes)
    return replace(made, learned=tuple(yes and place > asked for place, yes in enumerate(made.learned)))
