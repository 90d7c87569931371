"""The addresses of the studio. Each takes checked messages, asks one part, and answers with a message or a file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

import anyio
import anyio.to_thread
from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from PIL import Image
from starlette.responses import ContentStream

from bottega.results import read_origin
from bottega.serve import Full, JobQueue
from bottega.studio import events, limits, words
from bottega.studio.gallery import Gallery
from bottega.studio.messages import ChatBody, GalleryPage, Item, JobBody, JobView, SystemForm, TalkingSystem, Upload
from bottega.studio.uploads import Uploads
from bottega.studio.workshop import Made, Order, Workshop
from bottega.worlds.emoji import reference_pictures

router = APIRouter(prefix="/api")


@dataclass(frozen=True, kw_only=True, slots=True)
class Studio:
    """The parts that the routes speak to.

    Args:
        workshop: Checks and carries out orders.
        gallery: Results.
        uploads: People's pictures.
        queue: Work that waits and runs.
        words: Language models to talk to.
        decoders: How many uploads may be decoded at the same time.
    """

    workshop: Workshop
    gallery: Gallery
    uploads: Uploads
    queue: JobQueue[Order, Made]
    words: words.Words
    decoders: anyio.CapacityLimiter


def _studio(request: Request) -> Studio:
    return request.app.state.studio


Parts = Annotated[Studio, Depends(_studio)]
Index = Annotated[int, Path(ge=0, le=limits.THINGS)]


@router.get("/health")
def health(studio: Parts) -> dict[str, int]:
    """How much there is to do."""
    return {"unfinished": studio.queue.unfinished(), "capacity": limits.QUEUE_CAPACITY}


@router.get("/systems")
def systems(studio: Parts) -> list[SystemForm]:
    """The systems that can run, with their forms."""
    return studio.workshop.forms()


@router.post("/jobs", status_code=202)
def submit(studio: Parts, body: JobBody) -> Response:
    """Takes a job, or says when to come back."""
    return _submitted(studio, studio.workshop.order(body))


@router.get("/jobs")
def jobs(studio: Parts) -> list[JobView]:
    """The jobs that the server remembers, in the order of their last changes."""
    return [events.view(job) for job in studio.queue.jobs()]


@router.get("/jobs/{job_id}")
def job(studio: Parts, job_id: str) -> JobView:
    """A job as it stands."""
    found = studio.queue.job(job_id)
    if found is None:
        raise _nothing("job")
    return events.view(found)


@router.delete("/jobs/{job_id}")
def cancel(studio: Parts, job_id: str) -> dict[str, bool]:
    """Cancels a job: a waiting one at once, a running one at its next step."""
    if studio.queue.job(job_id) is None:
        raise _nothing("job")
    return {"cancelled": studio.queue.cancel(job_id)}


@router.get("/jobs/{job_id}/events")
def job_events(studio: Parts, job_id: str, hold: bool = False) -> Response:
    """The changes of a job as server-sent events. With `hold`, the job is cancelled when the reader goes away."""
    if studio.queue.job(job_id) is None:
        raise _nothing("job")
    return _stream(studio, events.one_job(studio.queue, job_id, hold=hold))


@router.get("/events")
def all_events(studio: Parts) -> Response:
    """The changes of every job as server-sent events."""
    return _stream(studio, events.all_jobs(studio.queue))


@router.get("/gallery")
def gallery(
    studio: Parts,
    before: Annotated[str | None, Query(max_length=16)] = None,
    limit: Annotated[int, Query(ge=1, le=limits.GALLERY_PAGE)] = limits.GALLERY_PAGE,
) -> GalleryPage:
    """Results, newest first."""
    return studio.gallery.page(before, limit)


@router.get("/gallery/{item_id}")
def item(studio: Parts, item_id: str) -> Item:
    """One result."""
    return _item(studio, item_id)


@router.delete("/gallery/{item_id}", status_code=204)
def remove(studio: Parts, item_id: str) -> None:
    """Deletes a result and its files."""
    if not studio.gallery.remove(item_id):
        raise _nothing("result")


@router.post("/gallery/{item_id}/replay", status_code=202)
def replay(studio: Parts, item_id: str) -> Response:
    """Makes a result again, to compare every bit."""
    order = studio.workshop.replay(item_id)
    if order is None:
        raise _nothing("result")
    return _submitted(studio, order)


@router.get("/gallery/{item_id}/recipe")
def recipe(studio: Parts, item_id: str) -> Response:
    """All that is needed to make a result again, as JSON."""
    found = _item(studio, item_id)
    origin = read_origin(studio.gallery.file(found, found.recipe))
    return Response(origin.to_json(), media_type="application/json")


@router.get("/gallery/{item_id}/traces")
def traces(studio: Parts, item_id: str) -> Response:
    """How each text of a result came about, step by step."""
    found = _item(studio, item_id)
    if not found.traces:
        raise _nothing("trace")
    return FileResponse(studio.gallery.file(found, found.traces), media_type="application/json")


@router.get("/words")
def talking(studio: Parts) -> list[TalkingSystem]:
    """The systems that one can talk to."""
    return studio.words.systems()


@router.post("/words")
async def talk(studio: Parts, body: ChatBody) -> Response:
    """Answers a conversation as server-sent events; the answer ends when its reader goes away."""
    engine = await anyio.to_thread.run_sync(studio.words.engine, body.system)
    submission = words.begin(engine, body)
    if submission is None:
        sentence = "too many are talking to this model already; try again in a few seconds"
        return JSONResponse({"error": sentence}, 429, {"Retry-After": "5"})
    return _events(words.told(submission))


@router.get("/gallery/{item_id}/things/{index}")
def thing(studio: Parts, item_id: str, index: Index, download: bool = False) -> Response:
    """A picture of a result, with its recipe inside."""
    found = _item(studio, item_id)
    if index >= len(found.things) or not found.things[index].file:
        raise _nothing("picture")
    made = found.things[index]
    name = f"{_slug(made.text or found.system)}-{found.id[:6]}-{index:02d}.png"
    return _picture(studio, found, made.file, name if download else None)


@router.get("/gallery/{item_id}/inputs/{index}")
def given(studio: Parts, item_id: str, index: Index) -> Response:
    """A picture that a result was made from."""
    found = _item(studio, item_id)
    if index >= len(found.inputs) or not found.inputs[index].file:
        raise _nothing("picture")
    return _picture(studio, found, found.inputs[index].file, None)


@router.get("/gallery/{item_id}/sheet")
def sheet(studio: Parts, item_id: str) -> Response:
    """All pictures of a result on one sheet, to download."""
    found = _item(studio, item_id)
    if not found.sheet:
        raise _nothing("sheet")
    return _picture(studio, found, found.sheet, f"sheet-{found.id[:6]}.png")


@router.post("/uploads", status_code=201)
async def upload(request: Request, studio: Parts, name: Annotated[str, Query(max_length=255)] = "picture") -> Upload:
    """Takes the bytes of a picture file; the guard has bounded them."""
    data = b"".join([part async for part in request.stream()])
    return await anyio.to_thread.run_sync(studio.uploads.accept, data, name, limiter=studio.decoders)


@router.post("/samples", status_code=201)
def sample(studio: Parts, index: Annotated[int, Query(ge=0)] = 0) -> Upload:
    """A picture of the emoji world as if it had been uploaded; indices go round."""
    pictures, names = reference_pictures("all", 64)
    return studio.uploads.keep(Image.fromarray(pictures[index % len(names)]), names[index % len(names)])


@router.get("/uploads/{upload_id}")
def uploaded(studio: Parts, upload_id: str) -> Response:
    """The kept copy of an uploaded picture."""
    found = studio.uploads.find(upload_id)
    if found is None:
        raise _nothing("picture")
    return FileResponse(found[1], media_type="image/png")


@router.api_route("/{rest:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False)
def unknown(rest: str) -> Response:
    """Any other address of the interface."""
    raise _nothing("address")


def _submitted(studio: Studio, order: Order) -> Response:
    answer = studio.queue.submit(order)
    if isinstance(answer, Full):
        seconds = answer.retry_after_seconds
        sentence = f"{limits.QUEUE_CAPACITY} jobs are waiting already; try again in {seconds} s, or cancel one"
        return JSONResponse({"error": sentence}, 429, {"Retry-After": str(seconds)})
    return JSONResponse({"id": answer}, 202)


def _stream(studio: Studio, content: ContentStream) -> Response:
    if studio.queue.listeners() >= limits.STREAMS:
        sentence = "too many pages of the studio are open; close one"
        return JSONResponse({"error": sentence}, 503, {"Retry-After": "5"})
    return _events(content)


def _events(content: ContentStream) -> Response:
    return StreamingResponse(content, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


def _picture(studio: Studio, found: Item, name: str, download: str | None) -> Response:
    path = studio.gallery.file(found, name)
    if not path.is_file():
        raise _nothing("picture")
    headers = {"Cache-Control": "private, max-age=31536000, immutable"}
    return FileResponse(path, media_type="image/png", headers=headers, filename=download)


def _item(studio: Studio, item_id: str) -> Item:
    found = studio.gallery.find(item_id)
    if found is None:
        raise _nothing("result")
    return found


def _nothing(what: Literal["job", "result", "picture", "sheet", "trace", "address"]) -> HTTPException:
    return HTTPException(404, f"there is no such {what} here")


def _slug(text: str) -> str:
    return "-".join(re.findall(r"\w+", text.lower()))[:40] or "picture"
