"""Token after token, for a batch of prompts of any lengths; and beam search."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bottega.errors import RequestError
from bottega.layers import FullMemory
from bottega.processes.decoding.model import LanguageModel
from bottega.processes.decoding.sampling import GREEDY, Sampling, next_tokens

Stop = Callable[[int, Sequence[int]], bool]
"""`(row, the row's new tokens)` to whether the row is complete."""


def never(row: int, tokens: Sequence[int]) -> bool:
    """The `Stop` that never stops."""
    return False


@dataclass(slots=True)
class Continuation:
    """What was written behind one prompt.

    Args:
        tokens: The new ids; an end token is the last one.
        log_chances: The model's log-probability of each of them, before any `Sampling`.
        done: Whether it ended by an end token or by `Stop`, not by its length.
    """

    tokens: list[int] = field(default_factory=list)
    log_chances: list[float] = field(default_factory=list)
    done: bool = False


def prefill(model: LanguageModel, prompts: Sequence[Sequence[int]], memory: FullMemory) -> Tensor:
    """Reads prompts of any lengths into an empty memory.

    Args:
        model: The model.
        prompts: The ids of each row, at least one.
        memory: Empty, one row a prompt.

    Returns:
        The logits behind each prompt, `(rows, vocabulary)`.

    Raises:
        RequestError: A prompt without tokens.
    """
    lengths = [len(prompt) for prompt in prompts]
    if min(lengths) < 1:
        raise RequestError("a prompt has no tokens; write at least one word, or use a model with a start token")
    device = memory.keys.device
    tokens = torch.zeros(len(prompts), max(lengths), dtype=torch.long, device=device)
    for row, prompt in zip(tokens, prompts, strict=True):
        row[: len(prompt)] = torch.tensor(list(prompt), device=device)
    last = torch.tensor(lengths, device=device)[:, None] - 1
    logits = model(tokens, memory, at=last)[:, 0]
    memory.crop(lengths)  # what was padded is forgotten
    return logits


@torch.inference_mode()
def write(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    *,
    most: int,
    end: int | None = None,
    sampling: Sampling = GREEDY,
    generators: Sequence[torch.Generator] = (),
    stop: Stop = never,
) -> Iterator[list[Continuation]]:
    """Continues every prompt, one token a step; yields the continuations, which grow, after each step.

    Rows that are complete leave the batch. A row's tokens depend on its prompt and its generator alone.

    Args:
        model: The model.
        prompts: Ids of each row.
        most: Most new tokens of a row.
        end: Id that completes a row, or None.
        sampling: How tokens are drawn.
        generators: One a row; may be empty for greedy sampling.
        stop: Completes a row for other reasons.

    Raises:
        RequestError: A prompt that is empty, or that leaves no room in the context.
    """
    require_room(model, prompts)
    made = [Continuation() for _ in prompts]
    longest = min(model.context, max(len(prompt) for prompt in prompts) + most)
    memory = model.new_memory(len(prompts), longest)
    rows = list(range(len(prompts)))
    logits = prefill(model, prompts, memory)
    while True:
        chosen = [generators[row] for row in rows] if generators else []
        held = [[*prompts[row], *made[row].tokens] for row in rows] if sampling.repetition_penalty != 1 else None
        tokens = next_tokens(logits, sampling, chosen, held).tolist()
        chances = logits.float().log_softmax(-1)
        for place, (row, token) in enumerate(zip(rows, tokens, strict=True)):
            made[row].tokens.append(token)
            made[row].log_chances.append(float(chances[place, token]))
            made[row].done = token == end or stop(row, made[row].tokens)
        yield made
        goes_on = [
            place
            for place, row in enumerate(rows)
            if not made[row].done and len(made[row].tokens) < most and memory.lengths[place] < model.context
        ]
        if not goes_on:
            return
        if len(goes_on) < len(rows):
            memory.select(goes_on)
            rows, tokens = [rows[place] for place in goes_on], [tokens[place] for place in goes_on]
        logits = model(torch.tensor(tokens, device=logits.device)[:, None], memory)[:, -1]


@torch.inference_mode()
def beam_search(
    model: LanguageModel, prompt: Sequence[int], *, beams: int, most: int, end: int | None, length_power: float = 1.0
) -> list[Continuation]:
    """The likeliest continuations of one prompt, best first.

    Args:
        model: The model.
        prompt: Its ids.
        beams: Continuations kept at each step.
        most: Most new tokens.
        end: Id that completes a continuation, or None.
        length_power: Continuations are compared by log-probability / length ** this.

    Raises:
        RequestError: A prompt that is empty or leaves no room, or fewer than one beam.
    """
    if beams < 1:
        raise RequestError.of("beams", beams, "at least 1")
    require_room(model, [prompt])
    memory = model.new_memory(1, min(model.context, len(prompt) + most))
    logits = prefill(model, [prompt], memory)
    alive, complete = [Continuation()], list[Continuation]()

    def score(made: Continuation) -> float:
        return sum(made.log_chances) / max(len(made.tokens), 1) ** length_power

    for step in range(min(most, model.context - len(prompt) + 1)):
        chances = logits.float().log_softmax(-1)
        totals = chances + torch.tensor([sum(made.log_chances) for made in alive], device=chances.device)[:, None]
        best = totals.flatten().topk(min(2 * beams, totals.numel())).indices.tolist()
        grown: list[tuple[int, Continuation]] = []
        for place in best:
            row, token = divmod(place, chances.shape[1])
            made = Continuation(
                [*alive[row].tokens, token], [*alive[row].log_chances, float(chances[row, token])], token == end
            )
            if made.done:
                complete.append(made)
            elif len(grown) < beams:
                grown.append((row, made))
        complete = sorted(complete, key=score, reverse=True)[:beams]
        alive = [made for _, made in grown]
        hopeless = len(complete) == beams and score(complete[-1]) >= max(score(made) for made in alive)
        if hopeless or memory.lengths[0] >= memory.capacity or step == most - 1:
            break
        memory.select([row for row, _ in grown])
        logits = model(torch.tensor([[made.tokens[-1]] for made in alive], device=logits.device), memory)[:, -1]
    return sorted([*complete, *alive], key=score, reverse=True)[:beams]


def require_room(model: LanguageModel, prompts: Sequence[Sequence[int]]) -> None:
    """Refuses prompts that leave no room for one new token.

    Raises:
        RequestError: No prompt at all, or one as long as the context.
    """
    if not prompts:
        raise RequestError("there is no prompt; give at least one")
    for prompt in prompts:
        if len(prompt) >= model.context:
            allowed = (
                f"at most {model.context - 1} tokens, so that one fits behind it in the context of {model.context}"
            )
            raise RequestError.of("the prompt's length", len(prompt), allowed)
