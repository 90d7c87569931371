"""Running Llama 2-Chat: a conversation to its next answers. The only code that users run."""

from __future__ import annotations

from dataclasses import dataclass

from bottega.errors import RequestError
from bottega.processes.decoding import Sampling, require_room, write
from bottega.results import WordsResult
from bottega.room import Progress, Report
from bottega.systems.language.llama_chat.model import ChatModel, Policy
from bottega.tokenizers import TextUntil
from bottega.training import draw_generators

MOST_TURNS = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatRequest:
    """What the user says, and how the assistant answers."""

    inputs: tuple[str, ...] = ()
    """What the user says, turn by turn, at most 64; the assistant answers each turn before it reads the next."""
    system: str = ""
    """What the assistant should keep to in every answer."""
    answers: tuple[str, ...] = ()
    """Answers to the first turns that were given already; the assistant goes on behind them."""
    policy: Policy | None = None
    """Which assistant answers; none named takes the one that learned from rewards, where the weights have it."""
    max_new_tokens: int = 128
    """Most tokens of an answer, 1 or more; never beyond the model's context."""
    temperature: float = 0.6
    """0 takes the likeliest token each time; 1 draws tokens as often as the model expects them."""
    top_p: float = 0.9
    """Draw from the likeliest tokens that together have this probability, above 0 and at most 1."""
    top_k: int = 0
    """Draw from the k likeliest tokens only; 0 from all."""
    stop: tuple[str, ...] = ()
    """Texts at which an answer ends; they are left out of it."""
    seed: int = 0
    """The same seed makes the same answers, 0 to 2**31 - 1."""

    def __post_init__(self) -> None:
        if len(self.inputs) > MOST_TURNS:
            raise RequestError.of("the number of inputs", len(self.inputs), f"at most {MOST_TURNS}")
        if self.inputs and len(self.answers) >= len(self.inputs):
            raise RequestError.of("the number of answers", len(self.answers), "fewer than the turns of the user")
        if self.max_new_tokens < 1:
            raise RequestError.of("max_new_tokens", self.max_new_tokens, "at least 1")
        if "" in self.stop:
            raise RequestError.of("stop", "", "at least one letter")
        if not 0 <= self.seed < 2**31:
            raise RequestError.of("seed", self.seed, "between 0 and 2**31 - 1")
        self.sampling()

    def sampling(self) -> Sampling:
        """How tokens are drawn.

        Raises:
            RequestError: One of the numbers is out of its range.
        """
        return Sampling(temperature=self.temperature, top_k=self.top_k, top_p=self.top_p)


def infer(model: ChatModel, request: ChatRequest, report: Report) -> WordsResult:
    """Answers every turn of the user that has no answer yet.

    Args:
        model: The assistant with its tokenizer.
        request: The conversation.
        report: Called after every token with the new letters; may raise `Cancelled`.

    Raises:
        RequestError: Nothing is asked, a turn holds the template's own words, or the conversation leaves no room in the
            context.
        WeightsError: The weights came without a tokenizer, or without the assistant that was asked for.
    """
    if not request.inputs:
        raise RequestError("nobody says anything; write what the assistant should answer")
    policy = request.policy or model.usual_policy
    answers = list(request.answers)
    with model.merged(policy.roles):
        while len(answers) < len(request.inputs):
            answers.append(_answer(model, request, answers, report))
    settings = {"policy": policy.value, "temperature": request.temperature, "top_p": request.top_p}
    settings |= {"system": request.system} if request.system else {}
    first = len(request.answers)
    return WordsResult(
        words=tuple(answers[first:]), sources=request.inputs[first:], seed=request.seed, settings=settings
    )


def _answer(model: ChatModel, request: ChatRequest, answers: list[str], report: Report) -> str:
    """The next answer."""
    tokenizer, turn = model.tokens(), len(answers)
    prompt = model.chat(request.inputs[: turn + 1], answers, request.system).ids
    require_room(model.decoder, [prompt])
    text = TextUntil(tokenizer, request.stop, stripped=True)
    steps = write(
        model.decoder, [prompt], most=request.max_new_tokens, end=tokenizer.end, sampling=request.sampling(),
        generators=draw_generators(request.seed, turn + 1)[turn:],
        stop=lambda _, made: made[-1] != tokenizer.end and text.take(made[-1]),
    )  # fmt: skip
    first, step = (turn - len(request.answers)) * request.max_new_tokens, 0
    total = (len(request.inputs) - len(request.answers)) * request.max_new_tokens
    for step, _ in enumerate(steps, 1):
        report(Progress(step=first + step, total=total, stage="answer", text=text.news()))
    last = text.close()
    if last:
        report(Progress(step=first + step, total=total, stage="answer", text=last))
    return text.whole.strip()
