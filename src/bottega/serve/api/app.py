"""The server as an application."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import anyio.to_thread
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException

from bottega import __version__
from bottega.serve.api.errors import ApiError, error_body
from bottega.serve.api.messages import ChatBody, CompletionBody, WriteBody, read_body
from bottega.serve.api.replies import Choice, Replies
from bottega.serve.api.work import Work, chat_work, completion_work, gone, submit, written
from bottega.serve.language import Engine, Submission
from bottega.serve.queue import OUR_FAULT
from bottega.serve.web import Guard, House

log = logging.getLogger(__name__)

BODY_BYTES: Final = 4 << 20
HOUSE: Final = House(
    name="this server", command="bottega serve", largest=lambda path: BODY_BYTES, public=frozenset({"/health"}),
    error=error_body,
)  # fmt: skip
GONE = 499

router = APIRouter()


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """A language model under its name.

    Args:
        id: What clients call it.
        created: When its weights were loaded, in seconds since 1970.
        fingerprint: Says which weights it has.
        engine: What writes; it is closed with the application.
    """

    id: str
    created: int
    fingerprint: str
    engine: Engine

    def named(self) -> dict[str, Any]:
        """As an entry of the list of models."""
        return {"id": self.id, "object": "model", "created": self.created, "owned_by": "bottega"}

    def require(self, name: str) -> None:
        """Refuses another model's name.

        Raises:
            ApiError: Status 404.
        """
        if name != self.id:
            sentence = f"there is no model {name[:80]!r} here; this server has {self.id!r}"
            raise ApiError(404, sentence, param="model", code="model_not_found")


def create_api(served: Served, *, hosts: frozenset[str] | None, token: str | None = None) -> FastAPI:
    """Makes the application.

    Args:
        served: The model.
        hosts: Values of the `Host` header that are ours; None for any, with a token only.
        token: What every request but `/health` must carry as its API key; None for loopback addresses.

    Returns:
        The application; closing it closes the engine.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await anyio.to_thread.run_sync(served.engine.close)

    app = FastAPI(title="bottega serve", version=__version__, openapi_url=None, lifespan=lifespan)
    app.state.served = served
    app.add_middleware(Guard, house=HOUSE, hosts=hosts, token=token)
    app.add_exception_handler(ApiError, _refused)
    app.add_exception_handler(HTTPException, _said)
    app.add_exception_handler(Exception, _broken)
    app.include_router(router)
    return app


@router.get("/health")
async def health(request: Request) -> dict[str, Any]:
    """Whether it works, and how much there is to do."""
    engine = _served(request).engine
    load = engine.load()
    return {"status": "ok", "writing": load.writing, "waiting": load.waiting, "slots": engine.slots}


@router.get("/v1/models")
async def models(request: Request) -> dict[str, Any]:
    """The one model."""
    return {"object": "list", "data": [_served(request).named()]}


@router.get("/v1/models/{name}")
async def model(request: Request, name: str) -> dict[str, Any]:
    """One model by its name."""
    served = _served(request)
    served.require(name)
    return served.named()


@router.post("/v1/completions")
async def completions(request: Request) -> Response:
    """Goes on with a text."""
    served, body = _served(request), read_body(CompletionBody, await _json(request))
    served.require(body.model)
    work = await anyio.to_thread.run_sync(completion_work, served.engine, body)
    return await _answer(request, body, work, chat=False)


@router.post("/v1/chat/completions")
async def chat_completions(request: Request) -> Response:
    """Answers in a conversation."""
    served, body = _served(request), read_body(ChatBody, await _json(request))
    served.require(body.model)
    work = await anyio.to_thread.run_sync(chat_work, served.engine, body)
    return await _answer(request, body, work, chat=True)


async def _answer(request: Request, body: WriteBody, work: Work, *, chat: bool) -> Response:
    served, scored = _served(request), work.orders[0].rivals is not None
    replies = Replies(
        served.engine.language.tokens, model=served.id, fingerprint=served.fingerprint,
        prompt_tokens=work.prompt_tokens, chat=chat, scored=scored,
    )  # fmt: skip
    choices = [Choice(before=echo, scores=[] if scored else None) for echo in work.echoes]
    submission = submit(served.engine, work)
    if body.stream:
        stream = _stream(submission, replies, choices, wants_usage=body.wants_usage)
        return StreamingResponse(stream, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
    whole, left = asyncio.create_task(_collect(submission, choices)), asyncio.create_task(gone(request))
    try:
        await asyncio.wait((whole, left), return_when=asyncio.FIRST_COMPLETED)
        if not whole.done():
            return Response(status_code=GONE)
        await whole
        return JSONResponse(replies.whole(choices))
    finally:
        whole.cancel()
        left.cancel()
        submission.cancel()


async def _collect(submission: Submission, choices: list[Choice]) -> None:
    async for index, event in written(submission):
        choices[index].add(event)


async def _stream(
    submission: Submission, replies: Replies, choices: list[Choice], *, wants_usage: bool
) -> AsyncIterator[str]:
    """Server-sent events: the pieces of each text as they come, the numbers of tokens where wanted, and [DONE]."""
    try:
        for index, choice in enumerate(choices):
            opening = replies.opening(index, choice.before)
            if opening is not None:
                yield _event(opening)
        async for index, event in written(submission):
            choices[index].add(event)
            yield _event(replies.piece(index, event, choices[index].before))
        if wants_usage:
            yield _event(replies.last(choices))
        yield "data: [DONE]\n\n"
    except ApiError as error:
        yield _event(error.body())
    finally:
        submission.cancel()


def _event(message: dict[str, Any]) -> str:
    return f"data: {json.dumps(message, ensure_ascii=False)}\n\n"


def _served(request: Request) -> Served:
    return request.app.state.served


async def _json(request: Request) -> Any:
    try:
        return json.loads(await request.body())
    except ValueError as error:  # UnicodeDecodeError is one
        raise ApiError(400, "the body is not JSON") from error


async def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, ApiError):
        raise error
    return JSONResponse(error.body(), error.status, error.headers)


async def _said(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return JSONResponse(error_body(error.status_code, str(error.detail)), error.status_code, error.headers)


async def _broken(request: Request, error: Exception) -> Response:
    return JSONResponse(error_body(500, OUR_FAULT), 500)
