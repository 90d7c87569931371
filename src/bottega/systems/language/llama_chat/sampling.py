"""How the assistant draws answers, and how its judges value them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from bottega.processes.decoding import GREEDY, Sampling, write
from bottega.processes.preference import gated
from bottega.systems.language.llama_chat.config import Role
from bottega.systems.language.llama_chat.model import ChatModel
from bottega.systems.language.llama_chat.objective import Rows
from bottega.tokenizers import ChatTokens
from bottega.worlds.requests import Conversation

MOST_TOKENS: Final = 48  # of a drawn answer
AS_IS: Final = Sampling(temperature=1.0)
"""Tokens as often as the policy expects them."""


@torch.no_grad()
def drawn(
    model: ChatModel, roles: Sequence[Role], prompts: Sequence[Sequence[int]], *,
    most: int, sampling: Sampling, generators: Sequence[torch.Generator] = (),
) -> list[ChatTokens]:  # fmt: skip
    """One answer behind each prompt; only its tokens are marked as learned.

    Args:
        model: The model.
        roles: The policy's adapters.
        prompts: Ids that end where the answer begins.
        most: Most tokens of an answer.
        sampling: How tokens are drawn.
        generators: One a prompt; none for greedy sampling.
    """
    with model.merged(roles):
        *_, made = write(
            model.decoder, prompts, most=most, end=model.tokens().end, sampling=sampling, generators=generators
        )
    return [
        ChatTokens(ids=(*prompt, *answer.tokens), learned=(False,) * len(prompt) + (True,) * len(answer.tokens))
        for prompt, answer in zip(prompts, made, strict=True)
    ]


def answers_of(model: ChatModel, made: Sequence[ChatTokens]) -> list[str]:
    """The texts of drawn answers."""
    tokenizer = model.tokens()
    return [
        tokenizer.text([number for number, yes in zip(row.ids, row.learned, strict=True) if yes]).strip()
        for row in made
    ]


@torch.no_grad()
def rewards(model: ChatModel, rows: Rows, dangerous: Tensor) -> Tensor:
    """The gated score of each conversation's last answer, `(batch,)`.

    Args:
        model: The model.
        rows: Conversations that end with the answers.
        dangerous: True where the request is one of safety, `(batch,)`.
    """
    helpful, safe = (model.scores(role, rows.tokens, rows.last) for role in (Role.HELPFUL, Role.SAFE))
    return gated(helpful, safe, dangerous)


def answered(
    model: ChatModel, roles: Sequence[Role], talks: Sequence[Conversation], *, everywhere: bool = False
) -> list[list[str]]:
    """The likeliest answers to conversations of equally many turns, each behind the answers before it."""
    answers: list[list[str]] = [[] for _ in talks]
    for turn in range(len(talks[0].requests)):
        prompts = [
            model.chat(talk.users[: turn + 1], said, talk.system, everywhere=everywhere).ids
            for talk, said in zip(talks, answers, strict=True)
        ]
        made = drawn(model, roles, prompts, most=MOST_TOKENS, sampling=GREEDY)
        for said, text in zip(answers, answers_of(model, made), strict=True):
            said.append(text)
    return answers
