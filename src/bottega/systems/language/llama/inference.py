"""Running LLaMA: prompts to their continuations. The only code that users run."""

from __future__ import annotations

from dataclasses import dataclass

from bottega.errors import RequestError
from bottega.processes.decoding import Sampling, beam_search, require_room, write
from bottega.results import WordsResult
from bottega.room import Progress, Report
from bottega.systems.language.llama.model import LlamaPipeline
from bottega.tokenizers import TextUntil
from bottega.training import draw_generators

MOST_PROMPTS = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class LlamaRequest:
    """What LLaMA goes on with, and how."""

    inputs: tuple[str, ...] = ()
    """Texts to continue, at most 64; none lets the model begin."""
    max_new_tokens: int = 128
    """Most tokens that are written behind each prompt, 1 or more; never beyond the model's context."""
    temperature: float = 0.0
    """0 takes the likeliest token each time; 1 draws tokens as often as the model expects them."""
    top_k: int = 0
    """Draw from the k likeliest tokens only; 0 from all."""
    top_p: float = 1.0
    """Draw from the likeliest tokens that together have this probability, above 0 and at most 1."""
    min_p: float = 0.0
    """Draw from tokens that have at least this share of the likeliest one's probability, 0 to below 1."""
    repetition_penalty: float = 1.0
    """Above 1 makes tokens that are already there less likely."""
    beams: int = 1
    """Continuations that a beam search follows, 1 to 64; 1 searches nothing. Only at temperature 0."""
    stop: tuple[str, ...] = ()
    """Texts at which a continuation ends; they are left out of it."""
    seed: int = 0
    """The same seed makes the same words, 0 to 2**31 - 1."""

    def __post_init__(self) -> None:
        if len(self.inputs) > MOST_PROMPTS:
            raise RequestError.of("the number of inputs", len(self.inputs), f"at most {MOST_PROMPTS}")
        if self.max_new_tokens < 1:
            raise RequestError.of("max_new_tokens", self.max_new_tokens, "at least 1")
        if not 1 <= self.beams <= 64:
            raise RequestError.of("beams", self.beams, "between 1 and 64")
        if "" in self.stop:
            raise RequestError.of("stop", "", "at least one letter")
        if not 0 <= self.seed < 2**31:
            raise RequestError.of("seed", self.seed, "between 0 and 2**31 - 1")
        sampling, plain = self.sampling(), Sampling(temperature=self.temperature)
        if self.beams > 1 and sampling != plain:
            raise RequestError("a beam search draws nothing; leave out top_k, top_p, min_p and repetition_penalty")
        if self.beams > 1 and not plain.greedy:
            raise RequestError.of("temperature", self.temperature, "0 for a beam search", "or leave out beams")

    def sampling(self) -> Sampling:
        """How tokens are drawn.

        Raises:
            RequestError: One of the numbers is out of its range.
        """
        return Sampling(
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
        )


def infer(model: LlamaPipeline, request: LlamaRequest, report: Report) -> WordsResult:
    """Continues every prompt.

    Args:
        model: The decoder with its tokenizer.
        request: What to do.
        report: Called after every token (of all prompts together), with the new letters where there is one prompt;
            may raise `Cancelled`.

    Raises:
        RequestError: A prompt that leaves no room in the context.
        WeightsError: The weights came without a tokenizer.
    """
    prompts = model.prompts(request.inputs or ("",))
    require_room(model.decoder, prompts)
    words = (
        _searched(model, prompts, request, report) if request.beams > 1 else _written(model, prompts, request, report)
    )
    settings = {"max_new_tokens": request.max_new_tokens, "temperature": request.temperature}
    if request.beams > 1:
        settings["beams"] = request.beams
    return WordsResult(words=words, sources=request.inputs or None, seed=request.seed, settings=settings)


def _written(model: LlamaPipeline, prompts: list[list[int]], request: LlamaRequest, report: Report) -> tuple[str, ...]:
    tokenizer, step = model.tokens(), 0
    texts = [TextUntil(tokenizer, request.stop) for _ in prompts]
    shown = texts[0] if len(prompts) == 1 else TextUntil(tokenizer)
    steps = write(
        model.decoder,
        prompts,
        most=request.max_new_tokens,
        end=tokenizer.end,
        sampling=request.sampling(),
        generators=draw_generators(request.seed, len(prompts)),
        stop=lambda row, tokens: tokens[-1] != tokenizer.end and texts[row].take(tokens[-1]),
    )
    for step, _ in enumerate(steps, 1):
        report(Progress(step=step, total=request.max_new_tokens, stage="write", text=shown.news()))
    last = shown.close()
    if last:
        report(Progress(step=step, total=request.max_new_tokens, stage="write", text=last))
    return tuple(_closed(text) for text in texts)


def _searched(model: LlamaPipeline, prompts: list[list[int]], request: LlamaRequest, report: Report) -> tuple[str, ...]:
    tokenizer, words = model.tokens(), list[str]()
    for number, prompt in enumerate(prompts, 1):
        found = beam_search(model.decoder, prompt, beams=request.beams, most=request.max_new_tokens, end=tokenizer.end)
        text = TextUntil(tokenizer, request.stop)
        for token in found[0].tokens:
            if token == tokenizer.end or text.take(token):
                break
        words.append(_closed(text))
        report(Progress(step=number, total=len(prompts), stage="search"))
    return tuple(words)


def _closed(text: TextUntil) -> str:
    """The whole text, when no more tokens come."""
    text.close()
    return text.whole
