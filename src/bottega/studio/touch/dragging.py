"""Pictures under the hand: sessions of dragging, each with what can be taken back and the film of how it came about."""

from __future__ import annotations

import base64
import io
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bottega.data import tensor_to_picture
from bottega.errors import RequestError
from bottega.ops import RunLengths
from bottega.processes.dragging import DragSession, DragStep, Drawn, Given, Start, Worded
from bottega.results import animation_bytes, decode_picture
from bottega.studio import limits
from bottega.studio.touch.exporting import Taken, film_file
from bottega.studio.touch.hands import Telling
from bottega.studio.touch.messages import (
    DragBody,
    DragEnd,
    DraggerFacts,
    DragReady,
    DragState,
    DrawnStart,
    Frame,
    GivenStart,
    MoveBody,
    Point,
    Preparing,
    WordedStart,
)
from bottega.studio.touch.shelf import Shelf
from bottega.studio.touch.toolbox import Toolbox

LOSSLESS_SIDE, FILM_SIDE = 256, 256
"""Pictures up to this side are shown without loss; films are enlarged by whole factors up to about this side."""


@dataclass(frozen=True, slots=True, eq=False)
class _Drag:
    """One drag that was made: the latent before it, and its shots."""

    before: Tensor
    shots: list[bytes]


@dataclass(slots=True, eq=False)
class Dragged:
    """A picture that somebody drags.

    Args:
        session: The drag.
        size: Side of the picture in pixels.
        first: The picture at the start.
        drags: What can be taken back.
        busy: Held while the picture moves.
        halt: Set to end the drag under way.
    """

    session: DragSession
    size: int
    first: bytes
    drags: list[_Drag] = field(default_factory=list)
    busy: threading.Lock = field(default_factory=threading.Lock)
    halt: threading.Event = field(default_factory=threading.Event)

    @property
    def now(self) -> bytes:
        """The picture as it is."""
        return self.drags[-1].shots[-1] if self.drags else self.first


class Dragging:
    """The pictures that people drag.

    Args:
        toolbox: Systems and pictures.
    """

    def __init__(self, toolbox: Toolbox) -> None:
        self._toolbox = toolbox
        self._sessions: Shelf[str, Dragged] = Shelf(limits.DRAGS)

    def facts(self, system: str) -> DraggerFacts:
        """What a dragger takes."""
        dragger = self._toolbox.dragger(system)
        return DraggerFacts(size=dragger.size, kinds=list(dragger.kinds), words=dragger.reads)

    def begin(self, body: DragBody) -> Callable[[Telling], None]:
        """The work of getting a picture under the hand; it says "preparing" now and then, and "ready" at last.

        Raises:
            BottegaError: The picture is not there.
        """
        start = self._start(body)

        def work(telling: Telling) -> None:
            dragger = self._toolbox.dragger(body.system)

            def told(step: int, total: int, stage: str) -> None:
                telling.check()
                telling.say("preparing", Preparing(step=step, total=total, stage=stage), may_skip=True)

            session = dragger.begin(start, told)
            telling.check()
            first, name = shot(session.state), secrets.token_hex(8)
            self._sessions.put(name, Dragged(session, dragger.size, first))
            telling.say("ready", DragReady(id=name, size=dragger.size, picture=address(first)))

        return work

    def move(self, name: str, body: MoveBody) -> Callable[[Telling], None]:
        """The work of a drag; it says "frame" again and again, and "end" at last.

        Raises:
            RequestError: The session is over, or the counts differ.
        """
        dragged = self._dragged(name)
        if len(body.handles) != len(body.targets):
            raise RequestError(f"{len(body.handles)} handles and {len(body.targets)} targets: each needs the other")
        handles = [(point.x, point.y) for point in body.handles]
        targets = [(point.x, point.y) for point in body.targets]
        region = None
        if body.region:
            mask = RunLengths.parse(body.region, dragged.size, dragged.size).mask()
            region = torch.from_numpy(mask) if mask.any() else None

        def work(telling: Telling) -> None:
            if not dragged.busy.acquire(blocking=False):
                raise RequestError("this picture is being dragged already; stop that first")
            try:
                dragged.halt.clear()
                drag = _Drag(dragged.session.latent, [dragged.now])
                dragged.session.place(handles, targets, region)
                _dragged(dragged, drag, telling)
            finally:
                dragged.busy.release()

        return work

    def stop(self, name: str) -> None:
        """Ends a drag under way, within a step."""
        self._dragged(name).halt.set()

    def undo(self, name: str) -> DragState:
        """Takes the last drag back.

        Raises:
            RequestError: There is none, or the picture moves.
        """
        dragged = self._dragged(name)
        if not dragged.busy.acquire(blocking=False):
            raise RequestError("this picture is being dragged; stop that first")
        try:
            if not dragged.drags:
                raise RequestError("there is nothing to take back")
            session = dragged.session
            dragged.session = DragSession(session.model, dragged.drags.pop().before, session.settings)
            return DragState(picture=address(dragged.now), undo=len(dragged.drags))
        finally:
            dragged.busy.release()

    def picture(self, name: str) -> Taken:
        """The picture as it is, as a PNG."""
        buffer = io.BytesIO()
        Image.fromarray(decode_picture(self._dragged(name).now)).save(buffer, "PNG")
        return Taken("dragged.png", "image/png", buffer.getvalue())

    def film(self, name: str, suffix: str) -> Taken:
        """How the picture came about.

        Raises:
            RequestError: Nothing was dragged yet, or a video cannot be written here.
        """
        dragged = self._dragged(name)
        shots = [each for drag in tuple(dragged.drags) for each in drag.shots]
        if not shots:
            raise RequestError("nothing was dragged yet; place a handle and a target, and press Drag")
        frames = [_enlarged(decode_picture(each)) for each in shots]
        return film_file("drag", suffix, animation_bytes(frames, suffix, None))

    def leave(self, name: str) -> bool:
        """Ends a session; tells whether there was one."""
        dragged = self._sessions.find(name)
        if dragged is not None:
            dragged.halt.set()
        return self._sessions.drop(name)

    def close(self) -> None:
        """Ends all sessions."""
        self._sessions.clear()

    def _dragged(self, name: str) -> Dragged:
        found = self._sessions.find(name)
        if found is None:
            raise RequestError("this picture is no longer under the hand; begin again")
        return found

    def _start(self, body: DragBody) -> Start:
        match body.start:
            case DrawnStart(seed=seed, kind=kind):
                return Drawn(seed=seed, kind=kind)
            case GivenStart(picture=picture, kind=kind):
                return Given(picture=self._toolbox.open(picture).pixels, kind=kind)
            case WordedStart(words=words, seed=seed):
                return Worded(text=words, seed=seed)


class _Camera:
    """Takes shots of a drag, no more of its time than half: drawing a picture may be dear. A film stays bounded.

    Args:
        shots: The film so far.
    """

    def __init__(self, shots: list[bytes]) -> None:
        self.shots, self.seen = shots, shots[-1]
        self._every, self._taken, self._cost, self._at = 1, 0, 0.0, 0.0

    def due(self, state: DragStep) -> bool:
        """Whether there is to be a shot of this step."""
        return state.done or time.perf_counter() - self._at >= self._cost

    def take(self, state: DragStep) -> bytes:
        """A shot of this step."""
        started = time.perf_counter()
        self.seen, self._taken = shot(state), self._taken + 1
        self._at = time.perf_counter()
        self._cost = self._at - started
        if self._taken % self._every == 0:
            self.shots.append(self.seen)
        if len(self.shots) > limits.SHOTS:
            del self.shots[1::2]
            self._every *= 2
        return self.seen

    def finish(self, state: DragStep) -> bytes:
        """The last shot, which is always of the end."""
        if self._taken == 0 or not state.done:
            self.take(state)
        if self.shots[-1] is not self.seen:
            self.shots.append(self.seen)
        return self.seen


def _dragged(dragged: Dragged, drag: _Drag, telling: Telling) -> None:
    """Drags until the handles are there, somebody stops it, or the steps run out."""
    started, camera = time.perf_counter(), _Camera(drag.shots)
    ending: Literal["arrived", "stopped", "steps"] = "steps"
    state, seen = dragged.session.state, drag.shots[0]
    while not state.done and state.number < limits.DRAG_STEPS:
        if telling.stopped or dragged.halt.is_set():
            ending = "stopped"
            break
        state = dragged.session.step()
        if camera.due(state):
            telling.say("frame", frame(state, camera.take(state)), may_skip=True)
        else:
            telling.say("frame", frame(state, b""))
    if state.arrived:
        ending = "arrived"
    if state.number:
        seen = camera.finish(state)
        dragged.drags.append(drag)
        del dragged.drags[: -limits.UNDOS]
    seconds = time.perf_counter() - started
    last = frame(state, seen)
    telling.say("end", DragEnd(ending=ending, last=last, undo=len(dragged.drags), seconds=seconds))


def shot(state: DragStep) -> bytes:
    """The picture of a step as the bytes of a WebP file."""
    image, buffer = Image.fromarray(tensor_to_picture(state.picture()[0].float().cpu().clamp(-1, 1))), io.BytesIO()
    if image.width <= LOSSLESS_SIDE:
        image.save(buffer, "WEBP", lossless=True, method=0)
    else:
        image.save(buffer, "WEBP", quality=90, method=1)
    return buffer.getvalue()


def address(picture: bytes) -> str:
    """A WebP file's bytes as a `data:` address; nothing for none."""
    return "" if not picture else f"data:image/webp;base64,{base64.b64encode(picture).decode()}"


def frame(state: DragStep, picture: bytes) -> Frame:
    """A step as a message."""
    return Frame(
        number=state.number,
        picture=address(picture),
        handles=[Point(x=x, y=y) for x, y in state.points.tolist()],
        away=float(state.distances.mean()) if len(state.distances) else 0.0,
    )


def _enlarged(picture: np.ndarray) -> np.ndarray:
    factor = max(1, FILM_SIDE // max(picture.shape[:2]))
    if factor == 1:
        return picture
    size = (picture.shape[1] * factor, picture.shape[0] * factor)
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
