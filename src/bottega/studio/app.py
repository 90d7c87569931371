"""The studio as an application: its parts put together, its errors in words, its page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from bottega import __version__
from bottega.errors import BottegaError
from bottega.serve import OUR_FAULT, JobQueue
from bottega.serve.web import Guard, House
from bottega.studio import limits
from bottega.studio.gallery import Gallery
from bottega.studio.routes import Studio, router
from bottega.studio.touch import Touch
from bottega.studio.touch import router as touch_router
from bottega.studio.uploads import Uploads
from bottega.studio.wording import public
from bottega.studio.words import Words
from bottega.studio.workshop import Catalog, Made, Order, Workshop

STATIC: Final = Path(__file__).parent / "static"
LARGEST: Final = {"/api/uploads": limits.UPLOAD_BYTES, "/api/touch/films": limits.FILM_BYTES}
TOUCH: Final = "/api/touch/"


def _largest(path: str) -> int:
    return LARGEST.get(path, limits.TOUCH_BYTES if path.startswith(TOUCH) else limits.BODY_BYTES)


HOUSE: Final = House(name="the studio", command="bottega studio", largest=_largest, page=True)


def create_app(
    folder: Path,
    catalog: Catalog,
    *,
    hosts: frozenset[str] | None,
    token: str | None = None,
    capacity: int = limits.QUEUE_CAPACITY,
) -> FastAPI:
    """Makes the studio's application.

    Args:
        folder: Where results and uploads lie; made when it is missing.
        catalog: Where systems come from: `bottega.catalog`.
        hosts: Values of the `Host` header that are ours; None for any, with a token only.
        token: What every request must carry; None for loopback addresses.
        capacity: Most jobs that wait and run together.

    Returns:
        The application. Its `state.studio` holds the parts; closing the application ends all work.
    """
    gallery, uploads = Gallery(folder / "results"), Uploads(folder / "uploads")
    workshop, words = Workshop(catalog, gallery, uploads), Words(catalog)
    touch = Touch(catalog, workshop)
    queue = JobQueue[Order, Made](workshop.run, capacity=capacity, history=limits.JOB_HISTORY)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await anyio.to_thread.run_sync(queue.close)
        await anyio.to_thread.run_sync(words.close)
        await anyio.to_thread.run_sync(touch.close)

    app = FastAPI(title="bottega studio", version=__version__, openapi_url=None, lifespan=lifespan)
    app.state.touch = touch
    app.state.studio = Studio(
        workshop=workshop,
        gallery=gallery,
        uploads=uploads,
        queue=queue,
        words=words,
        decoders=anyio.CapacityLimiter(limits.DECODERS),
    )
    app.add_middleware(Guard, house=HOUSE, hosts=hosts, token=token)
    app.add_exception_handler(BottegaError, _refused)
    app.add_exception_handler(RequestValidationError, _unreadable)
    app.add_exception_handler(HTTPException, _said)
    app.add_exception_handler(Exception, _broken)
    app.include_router(touch_router)
    app.include_router(router)
    app.add_api_route("/", _page, include_in_schema=False)
    app.mount("/", StaticFiles(directory=STATIC))
    return app


def _page() -> Response:
    return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})


def _error(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": sentence}, status, headers)


async def _refused(request: Request, error: Exception) -> Response:
    return _error(422, public(str(error)))


async def _unreadable(request: Request, error: Exception) -> Response:
    """The first thing that is wrong with a message: where, and what it must be."""
    first: dict[str, Any] = error.errors()[0] if isinstance(error, RequestValidationError) else {}
    where = ".".join(str(part) for part in first.get("loc", ()) if isinstance(part, int) or part.isidentifier())
    reason = str(first.get("msg", "not what was expected")).removeprefix("Input should be ")
    return _error(422, f"{where[:80]} must be {reason[:200]}" if where else reason[:200])


async def _said(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return _error(error.status_code, str(error.detail), error.headers)


async def _broken(request: Request, error: Exception) -> Response:
    return _error(500, OUR_FAULT)
