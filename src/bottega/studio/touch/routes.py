"""The addresses of the page "Touch". Each takes checked messages, asks one part, and answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal
from urllib.parse import quote

import anyio.to_thread
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from PIL import Image

from bottega.studio.messages import Upload
from bottega.studio.touch.exporting import Taken
from bottega.studio.touch.films import accept_film
from bottega.studio.touch.hands import Telling
from bottega.studio.touch.messages import (
    DragBody,
    DraggerFacts,
    DragState,
    ExportBody,
    LookAnswer,
    LookBody,
    MasksAnswer,
    MasksBody,
    MoveBody,
    SearchBody,
    Tools,
)
from bottega.studio.touch.searching import search
from bottega.studio.touch.touching import Touch
from bottega.worlds import EmojiWorld

router = APIRouter(prefix="/api/touch")


def _touch(request: Request) -> Touch:
    return request.app.state.touch


Parts = Annotated[Touch, Depends(_touch)]
Session = Annotated[str, Path(pattern=r"^[0-9a-f]{16}$")]


@router.get("")
def tools(touch: Parts) -> Tools:
    """What there is to touch with."""
    return touch.toolbox.tools()


@router.post("/scenes", status_code=201)
def scene(request: Request, index: Annotated[int, Query(ge=0, lt=2**31)] = 0) -> Upload:
    """A scene of several emoji as if it had been uploaded."""
    sample = EmojiWorld(split="heldout", scenes=1.0, size=512, seed=1).sample(index)
    return request.app.state.studio.uploads.keep(Image.fromarray(sample.picture), f"emoji {index}")


@router.post("/films", status_code=201)
async def film(request: Request, name: Annotated[str, Query(max_length=255)] = "film") -> list[Upload]:
    """Takes the bytes of a film; the guard has bounded them. Its frames are pictures from then on."""
    studio = request.app.state.studio
    data = b"".join([part async for part in request.stream()])
    return await anyio.to_thread.run_sync(accept_film, studio.uploads, data, name, limiter=studio.decoders)


@router.post("/segmenters/{system}")
def warm(touch: Parts, system: Annotated[str, Path(max_length=64)]) -> dict[str, bool]:
    """Gets a segmenter ready before there is a picture."""
    touch.toolbox.segmenter(system)
    return {"ready": True}


@router.post("/looks")
def look(touch: Parts, body: LookBody) -> LookAnswer:
    """Encodes a picture, so that clicks are answered at once."""
    return touch.looking.look(body)


@router.post("/masks")
def masks(touch: Parts, body: MasksBody) -> MasksAnswer:
    """Candidates for one thing."""
    return touch.looking.masks(body)


@router.post("/exports")
def export(touch: Parts, body: ExportBody) -> Response:
    """A file of what was kept."""
    return _file(touch.export(body))


@router.post("/searches")
async def searching(touch: Parts, body: SearchBody) -> Response:
    """The same thing in other pictures, as server-sent events; the search ends when its reader goes away."""
    return await _told(touch, lambda: search(touch.toolbox, body))


@router.get("/draggers/{system}")
def dragger(touch: Parts, system: Annotated[str, Path(max_length=64)]) -> DraggerFacts:
    """What a dragger takes."""
    return touch.dragging.facts(system)


@router.post("/drags")
async def begin(touch: Parts, body: DragBody) -> Response:
    """Gets a picture under the hand, as server-sent events."""
    return await _told(touch, lambda: touch.dragging.begin(body))


@router.post("/drags/{name}/move")
async def move(touch: Parts, name: Session, body: MoveBody) -> Response:
    """A drag, as server-sent events; it ends when its reader goes away."""
    return await _told(touch, lambda: touch.dragging.move(name, body))


@router.post("/drags/{name}/stop")
def stop(touch: Parts, name: Session) -> dict[str, bool]:
    """Ends a drag under way."""
    touch.dragging.stop(name)
    return {"stopping": True}


@router.post("/drags/{name}/undo")
def undo(touch: Parts, name: Session) -> DragState:
    """Takes the last drag back."""
    return touch.dragging.undo(name)


@router.get("/drags/{name}/picture")
def dragged(touch: Parts, name: Session) -> Response:
    """The picture as it is, to download."""
    return _file(touch.dragging.picture(name))


@router.get("/drags/{name}/film")
def drag_film(touch: Parts, name: Session, form: Literal["gif", "webm"] = "gif") -> Response:
    """How the picture came about, to download."""
    return _file(touch.dragging.film(name, f".{form}"))


@router.delete("/drags/{name}")
def leave(touch: Parts, name: Session) -> dict[str, bool]:
    """Ends a session."""
    return {"left": touch.dragging.leave(name)}


async def _told(touch: Touch, prepare: Callable[[], Callable[[Telling], None]]) -> Response:
    """Work as server-sent events, once it is known that it can begin."""
    if touch.hands.full:
        sentence = "too much is being worked on already; try again in a few seconds"
        return JSONResponse({"error": sentence}, 429, {"Retry-After": "5"})
    work = await anyio.to_thread.run_sync(prepare)
    return StreamingResponse(
        touch.hands.told(work), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
    )


def _file(taken: Taken) -> Response:
    named = f"attachment; filename*=UTF-8''{quote(taken.name)}"
    return Response(taken.data, media_type=taken.kind, headers={"Content-Disposition": named})
