"""Writing with experts. The only code that users run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import torch

from bottega.errors import RequestError
from bottega.layers import watched
from bottega.networks import ChosenDepths, ChosenTokens, Dense, work_per_token
from bottega.processes.decoding import Sampling, require_room, write
from bottega.results import WordsResult
from bottega.room import Progress, Report
from bottega.systems.language.adamoe.model import AdaMoe
from bottega.tokenizers import TextStream
from bottega.training import draw_generators

MOST_PROMPTS = 32


class Show(Enum):
    """What is shown."""

    TEXT = "text"
    """The text that was written."""
    EXPERTS = "experts"
    """The prompt and the text, each token with the number of experts that worked on it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaMoeRequest:
    """What the model goes on with, and how."""

    inputs: tuple[str, ...] = ()
    """Texts to continue, at most 32; none lets the model begin."""
    show: Show = Show.TEXT
    """The text alone, or every token with the number of experts that worked on it."""
    max_new_tokens: int = 96
    """Most tokens that are written behind each prompt, 1 or more; never beyond the model's context."""
    temperature: float = 0.0
    """0 takes the likeliest token each time; 1 draws tokens as often as the model expects them."""
    top_p: float = 1.0
    """Draw from the likeliest tokens that together have this probability, above 0 and at most 1."""
    seed: int = 0
    """The same seed writes the same words, 0 to 2**31 - 1."""

    def __post_init__(self) -> None:
        if len(self.inputs) > MOST_PROMPTS:
            raise RequestError.of("the number of prompts", len(self.inputs), f"at most {MOST_PROMPTS}")
        if self.max_new_tokens < 1:
            raise RequestError.of("max_new_tokens", self.max_new_tokens, "1 or more")
        if not 0 <= self.seed <= 2**31 - 1:
            raise RequestError.of("seed", self.seed, "0 to 2**31 - 1")
        Sampling(temperature=self.temperature, top_p=self.top_p)


def infer(model: AdaMoe, request: AdaMoeRequest, report: Report) -> WordsResult:
    """Continues every prompt, and counts the experts that worked on each token.

    Args:
        model: The decoder with its tokenizer.
        request: What to do.
        report: Called after every token of all prompts together; may raise `Cancelled`.

    Returns:
        The words; the settings say how many experts worked on a token, and how much work that was.

    Raises:
        RequestError: A prompt that leaves no room in the context, or a size that cannot write.
        WeightsError: The weights came without a tokenizer.
    """
    if isinstance(model.config.routing, ChosenTokens | ChosenDepths):
        raise RequestError("this size chooses among tokens of a whole text, so it cannot write; take --preset tiny")
    language = model.language
    texts = request.inputs or ("",)
    prompts = [language.tokens.ids(text, start=True) for text in texts]
    require_room(language.model, prompts)
    tokens = _written(model, prompts, request, report)
    end = language.tokens.end
    counts = [experts_per_token(model, [*prompt, *row]) for prompt, row in zip(prompts, tokens, strict=True)]
    if request.show is Show.EXPERTS:
        pairs = zip(prompts, tokens, counts, strict=True)
        words = [_counted(model, [*prompt, *row], count) for prompt, row, count in pairs]
    else:
        words = [language.tokens.text([token for token in row if token != end]) for row in tokens]
    settings: dict[str, object] = {"max_new_tokens": request.max_new_tokens, "temperature": request.temperature}
    if not isinstance(model.config.routing, Dense):
        real = float(np.concatenate(counts).mean())
        settings |= {
            "experts_per_token": round(real, 3),
            "multiplications_per_token": round(work_per_token(model.config, real)),
        }
    return WordsResult(words=tuple(words), sources=request.inputs or None, seed=request.seed, settings=settings)


def _written(
    model: AdaMoe, prompts: Sequence[Sequence[int]], request: AdaMoeRequest, report: Report
) -> list[list[int]]:
    language = model.language
    stream, shown = TextStream(language.tokens), len(prompts) == 1 and request.show is Show.TEXT
    steps = write(
        language.model, prompts, most=request.max_new_tokens, end=language.tokens.end,
        sampling=Sampling(temperature=request.temperature, top_p=request.top_p),
        generators=draw_generators(request.seed, len(prompts)),
    )  # fmt: skip
    made = []
    for number, made in enumerate(steps, 1):
        last = made[0].tokens[-1]
        new = stream.push(last) if shown and last != language.tokens.end else ""
        report(Progress(step=number, total=request.max_new_tokens, stage="write", text=new))
    return [text.tokens for text in made]


@torch.inference_mode()
def experts_per_token(model: AdaMoe, ids: Sequence[int]) -> np.ndarray:
    """How many experts work on each token of a text, on average over layers, `(tokens,)`; 1 where there are none."""
    device = next(model.parameters()).device
    with watched(model) as found:
        model(torch.tensor([list(ids)], device=device))
    if not found:
        return np.ones(len(ids))
    return torch.stack([routed.real for routed in found]).float().mean(0).cpu().numpy()


def _counted(model: AdaMoe, ids: Sequence[int], counts: np.ndarray) -> str:
    tokens = model.language.tokens
    shown = (
        (tokens.token_bytes(token).decode("utf-8", "replace"), count) for token, count in zip(ids, counts, strict=True)
    )
    return " ".join(f"{json.dumps(text, ensure_ascii=False)}:{count:.2g}" for text, count in shown if text)
