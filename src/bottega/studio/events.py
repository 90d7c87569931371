"""Jobs as the page sees them: as messages, and as a stream of server-sent events.

A stream is told that something changed and then reads the newest state, so a slow reader skips states instead of
filling memory.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

import anyio.to_thread
from PIL import Image
from pydantic import BaseModel, TypeAdapter

from bottega.serve import Cancelled, Done, Failed, Job, JobQueue, Queued, Running
from bottega.studio import limits
from bottega.studio.messages import JobView
from bottega.studio.workshop import Made, Order, Replay

if TYPE_CHECKING:
    import numpy as np

HEARTBEAT_SECONDS: Final = 15.0
_VIEWS: Final = TypeAdapter(list[JobView])


def view(job: Job[Order, Made]) -> JobView:
    """A job as a message, without its preview."""
    order = job.order
    shown = JobView(
        id=job.id,
        system=order.system,
        label=_label(order),
        state="queued",
        version=job.version,
        replay=isinstance(order, Replay),
    )
    match job.state:
        case Queued(ahead=ahead):
            changes: dict[str, object] = {"ahead": ahead}
        case Running(step=step, total=total, stage=stage, seconds=seconds, cancelling=cancelling):
            changes = {"state": "running", "step": step, "total": total, "stage": stage}
            changes |= {"seconds": seconds, "cancelling": cancelling}
        case Done(value=made, seconds=seconds):
            changes = {"state": "done", "item": made.item, "identical": made.identical, "seconds": seconds}
        case Failed(sentence=sentence):
            changes = {"state": "failed", "error": sentence}
        case Cancelled():
            changes = {"state": "cancelled"}
    return shown.model_copy(update=changes)


async def all_jobs(queue: JobQueue[Order, Made]) -> AsyncIterator[str]:
    """First every unfinished job as one event "jobs", then each change as an event "job", without end."""
    version = max((job.version for job in queue.jobs()), default=-1)
    unfinished = [view(job) for job in queue.jobs() if not job.finished]
    yield f"event: jobs\ndata: {_VIEWS.dump_json(unfinished).decode()}\n\n"
    shown: dict[str, np.ndarray] = {}
    async for jobs in _changes(queue, version):
        for job in jobs:
            yield _event(await _with_preview(job, shown))


async def one_job(queue: JobQueue[Order, Made], job_id: str, *, hold: bool) -> AsyncIterator[str]:
    """Each change of one job as an event "job", until it has finished.

    Args:
        queue: Where the job is.
        job_id: Its id.
        hold: Whether the job lives only as long as somebody reads this stream.
    """
    shown: dict[str, np.ndarray] = {}
    try:
        async for jobs in _changes(queue, -1):
            for job in jobs:
                if job.id == job_id:
                    yield _event(await _with_preview(job, shown))
            last = queue.job(job_id)
            if last is None or (last.finished and all(job.id != job_id or job.finished for job in jobs)):
                return
    finally:
        if hold:
            queue.cancel(job_id)


async def _changes(queue: JobQueue[Order, Made], version: int) -> AsyncIterator[list[Job[Order, Made]]]:
    """The jobs that changed since the last time, whenever some did; an empty list when it has been quiet for long."""
    loop, changed = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody reads any more
            loop.call_soon_threadsafe(changed.set)

    unsubscribe = queue.subscribe(wake)
    try:
        while True:
            changed.clear()
            jobs = queue.jobs(after_version=version)
            version = max((job.version for job in jobs), default=version)
            yield jobs
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), HEARTBEAT_SECONDS)
    finally:
        unsubscribe()


async def _with_preview(job: Job[Order, Made], shown: dict[str, np.ndarray]) -> JobView:
    """A job as a message, with its preview when that is newer than the one shown last."""
    message = view(job)
    if job.finished:
        shown.pop(job.id, None)
    if job.preview is None or shown.get(job.id) is job.preview:
        return message
    shown[job.id] = job.preview
    address = await anyio.to_thread.run_sync(_data_address, job.preview)
    return message.model_copy(update={"preview": address})


def _data_address(picture: np.ndarray) -> str:
    image = Image.fromarray(picture)
    image.thumbnail((limits.PREVIEW_SIDE, limits.PREVIEW_SIDE), Image.Resampling.BILINEAR)
    file = io.BytesIO()
    image.save(file, "WEBP", quality=80)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def _event(message: BaseModel) -> str:
    return f"event: job\ndata: {message.model_dump_json()}\n\n"


def _label(order: Order) -> str:
    labels = [each.label for each in (order.item.inputs if isinstance(order, Replay) else order.sources)]
    return " · ".join(labels)[:200]
