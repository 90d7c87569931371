"""A request at the engine: its orders, and what the engine tells of them, across the border between the threads."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

from starlette.requests import Request

from bottega.errors import RequestError
from bottega.processes.decoding import Language, Message, Speaker
from bottega.serve.api.errors import ApiError
from bottega.serve.api.messages import ChatBody, CompletionBody, WriteBody
from bottega.serve.language import (
    Broke,
    Busy,
    Closing,
    Ended,
    Engine,
    Submission,
    TextOrder,
    TooLong,
    Wrote,
    conversation,
)

COMPLETION_TOKENS = 16
"""New tokens of a completion that does not say how many; a chat takes what the context leaves."""

SPEAKERS = {
    "system": Speaker.SYSTEM, "developer": Speaker.SYSTEM, "user": Speaker.USER, "assistant": Speaker.ASSISTANT,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """A request in the engine's words.

    Args:
        orders: One a text.
        echoes: What is shown in front of each.
        prompt_tokens: Of all prompts together.
    """

    orders: tuple[TextOrder, ...]
    echoes: tuple[str, ...]
    prompt_tokens: int


def chat_work(engine: Engine, body: ChatBody) -> Work:
    """What a chat asks for."""
    messages = [Message(speaker=SPEAKERS[message.role], text=message.said) for message in body.messages]
    try:
        prompt, stops = conversation(engine.language, messages)
    except RequestError as error:
        raise ApiError(400, str(error), param="messages") from error
    most = body.max_completion_tokens or body.max_tokens or max(1, engine.longest - len(prompt))
    rivals = body.top_logprobs or 0
    if rivals and not body.logprobs:
        raise ApiError(400, "top_logprobs needs logprobs to be true", param="top_logprobs")
    order = _order(body, prompt, most, rivals if body.logprobs else None, stops, opening=True)
    orders = _choices(body, order)
    return Work(orders=orders, echoes=("",) * len(orders), prompt_tokens=len(prompt))


def completion_work(engine: Engine, body: CompletionBody) -> Work:
    """What a completion asks for."""
    if body.echo and body.logprobs is not None:
        sentence = "echo and logprobs together would score the prompt, which this server does not do; leave one out"
        raise ApiError(400, sentence, param="echo", code="unsupported_value")
    prompts = _prompts(engine.language, body)
    most = body.max_tokens or COMPLETION_TOKENS
    orders = [
        order
        for prompt, _ in prompts
        for order in _choices(body, _order(body, prompt, most, body.logprobs, (), opening=False))
    ]
    echoes = [text if body.echo else "" for _, text in prompts for _ in range(body.n or 1)]
    return Work(
        orders=tuple(orders), echoes=tuple(echoes), prompt_tokens=sum(len(prompt) for prompt, _ in prompts)
    )  # fmt: skip


def _prompts(language: Language, body: CompletionBody) -> list[tuple[list[int], str]]:
    """The ids of each prompt, and its text."""
    tokens, given = language.tokens, body.prompt
    each = [given] if isinstance(given, str) or (given and isinstance(given[0], int)) else given
    prompts = []
    for prompt in each:
        if isinstance(prompt, str):
            prompts.append((tokens.ids(prompt, start=True), prompt))
            continue
        ids = [number for number in prompt if isinstance(number, int)] if isinstance(prompt, list) else []
        if any(not 0 <= number < language.model.vocabulary for number in ids):
            raise ApiError(400, f"a token id must be from 0 to {language.model.vocabulary - 1}", param="prompt")
        prompts.append((ids, tokens.text(ids)))
    if not prompts:
        raise ApiError(400, "there is no prompt; give at least one", param="prompt")
    return prompts


def _order(
    body: WriteBody, prompt: Sequence[int], most: int, rivals: int | None, stops: tuple[str, ...], *, opening: bool
) -> TextOrder:
    try:
        return TextOrder(
            prompt=tuple(prompt), most=most, sampling=body.sampling, seed=body.seed or 0, stops=(*body.stops, *stops),
            rivals=rivals, ends=not body.ignore_eos, opening=opening, presence=body.presence_penalty or 0.0,
            frequency=body.frequency_penalty or 0.0,
        )  # fmt: skip
    except RequestError as error:
        raise ApiError(400, str(error), param="prompt") from error


def _choices(body: WriteBody, order: TextOrder) -> tuple[TextOrder, ...]:
    """The same order `n` times, each with a seed of its own."""
    first = secrets.randbits(62) if body.seed is None else body.seed
    return tuple(replace(order, seed=(first + place) % 2**63) for place in range(body.n or 1))


def submit(engine: Engine, work: Work) -> Submission:
    """A request's orders at the engine.

    Raises:
        ApiError: The engine cannot take them: never (400), not now (429), or not any more (503).
    """
    try:
        return Submission(engine, work.orders)
    except TooLong as error:
        raise ApiError(400, str(error), code="context_length_exceeded") from error
    except Closing as error:
        raise ApiError(503, str(error)) from error
    except Busy as error:
        raise ApiError(429, str(error), headers={"Retry-After": str(error.seconds)}) from error
    except RequestError as error:
        raise ApiError(400, str(error)) from error


async def written(submission: Submission) -> AsyncIterator[tuple[int, Wrote | Ended]]:
    """What happens to each order, until all have ended.

    Raises:
        ApiError: The engine could not go on.
    """
    async with contextlib.aclosing(submission.events()) as events:
        async for index, event in events:
            if isinstance(event, Broke):
                raise ApiError(500 if event.ours else 503, event.sentence)
            yield index, event


async def gone(request: Request) -> None:
    """Sleeps until the client has gone away; the body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        continue
