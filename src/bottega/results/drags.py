"""The result of rooms that drag points of pictures: the picture, the way there, and the handles' paths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from bottega.results.origin import Origin
from bottega.results.save import save

FRAMES = 64
"""Most pictures of the way that are kept."""
SHOWN = 256
"""Side of an animation's pictures, at least."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DragResult:
    """A dragged picture, and the way there.

    Args:
        frames: uint8 `(frames, size, size, 3)`: the picture before the drag, on the way, and after it.
        numbers: The steps that the frames show, `(frames,)`.
        paths: Handles before the drag and after each step, `(steps + 1, handles, 2)`: columns and rows in pixels.
        targets: Where they should go, `(handles, 2)`.
        latent: What was dragged, as it is at the end.
        arrived: Whether every handle arrived.
        seed: The seed.
        settings: What else made it.
        origin: The recipe; filled in by a loaded system.
    """

    frames: np.ndarray
    numbers: np.ndarray
    paths: np.ndarray
    targets: np.ndarray
    latent: np.ndarray
    arrived: bool
    seed: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    origin: Origin | None = None

    def items(self) -> list[np.ndarray]:
        """The dragged picture."""
        return [self.frames[-1]]

    def animation(self) -> list[np.ndarray]:
        """The way there, larger, with handles in red and targets in blue."""
        return [
            marked(frame, self.paths[number], self.targets)
            for frame, number in zip(self.frames, self.numbers, strict=True)
        ]

    def arrays(self) -> Mapping[str, np.ndarray]:
        """Everything raw, by name."""
        names = ("frames", "numbers", "paths", "targets", "latent")
        return {"picture": self.frames[-1]} | {name: getattr(self, name) for name in names}

    def save(self, path: str | Path) -> list[Path]:
        """Writes the picture, its animation or its arrays; the extension picks. See `bottega.results.save`."""
        return save(self, path)


class DragFrames:
    """Some pictures of a drag, evenly spread, and all places of its handles."""

    def __init__(self) -> None:
        self.frames: list[np.ndarray] = []
        self.numbers: list[int] = []
        self.paths: list[np.ndarray] = []
        self.every = 1

    def add(self, number: int, picture: np.ndarray, points: np.ndarray) -> None:
        """Takes a step's picture where it is due and its handles; the last picture is always there.

        Args:
            number: Of the step, from 0.
            picture: uint8 `(size, size, 3)`.
            points: Handles `(n, 2)`.
        """
        self.paths.append(points)
        if self.numbers and self.numbers[-1] % self.every:
            self.frames.pop()
            self.numbers.pop()
        self.frames.append(picture)
        self.numbers.append(number)
        if len(self.frames) > FRAMES:
            self.every *= 2
            last = len(self.frames) - 1
            kept = [place for place, step in enumerate(self.numbers) if step % self.every == 0 or place == last]
            self.frames = [self.frames[place] for place in kept]
            self.numbers = [self.numbers[place] for place in kept]

    def result(
        self, *, targets: np.ndarray, latent: np.ndarray, arrived: bool, seed: int, settings: Mapping[str, Any]
    ) -> DragResult:
        """What was gathered, with the rest of a result."""
        return DragResult(
            frames=np.stack(self.frames), numbers=np.array(self.numbers), paths=np.stack(self.paths), targets=targets,
            latent=latent, arrived=arrived, seed=seed, settings=settings,
        )  # fmt: skip


def marked(picture: np.ndarray, handles: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """A picture at no less than `SHOWN` pixels, with its handles in red, its targets in blue and lines between.

    Args:
        picture: uint8 `(size, size, 3)`.
        handles: `(n, 2)`, columns and rows in pixels, where 0 is the middle of the first pixel.
        targets: As many.
    """
    scale = max(SHOWN // picture.shape[0], 1)
    large = Image.fromarray(picture).resize((scale * picture.shape[1], scale * picture.shape[0]))
    pen, radius = ImageDraw.Draw(large), max(large.width // 64, 2)
    for handle, target in zip((handles + 0.5) * scale, (targets + 0.5) * scale, strict=True):
        pen.line((*handle, *target), fill=(255, 255, 255), width=max(radius // 2, 1))
        for (x, y), colour in ((target, (40, 90, 230)), (handle, (225, 40, 40))):
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour, outline=(255, 255, 255))
    return np.asarray(large)
