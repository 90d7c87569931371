"""Painting a stage: one label per pixel, and from it the picture, the depth and all masks.

Outlines are filled at twice to four times the resolution; the picture is their mean over each pixel, so that its edges
are smooth, while a label is that of the pixel's middle, so that masks are exact.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from bottega.worlds.shapes.grounds import WHOLE, View, pattern
from bottega.worlds.shapes.scene import NestedScene, Piece
from bottega.worlds.shapes.stage import Actor, FlatPiece, Pose, Stage

HAZE = 0.045  # share of the haze's colour in a figure's for each metre from the nearest on
HAZE_COLOR = 168.0
NEAR = 2.0
MOST_PIECES = 254


def finer(size: int) -> int:
    """How many points along each side of a pixel are painted."""
    return 2 if size > 128 else 4


def pieces_of(actors: Sequence[Actor]) -> tuple[Piece, ...]:
    """All pieces of all actors, numbered through."""
    pieces: list[Piece] = []
    for actor in actors:
        whole = len(pieces)
        for flat in actor.pieces:
            name = actor.name if flat.level == 0 else flat.name
            parent = whole + flat.parent if flat.level else -1
            pieces.append(Piece(name=name, kind=actor.kind.id, level=flat.level, parent=parent, whole=whole))
    return tuple(pieces)


def paint(stage: Stage, poses: Sequence[Pose | None], size: int, view: View = WHOLE) -> NestedScene:
    """Paints a stage.

    Args:
        stage: Actors and ground.
        poses: Where each actor stands; None for one that is not there.
        size: Side of the picture in pixels.
        view: What of the scene the camera sees.
    """
    pieces = pieces_of(stage.actors)
    if len(pieces) > MOST_PIECES:
        raise ValueError(f"a scene has {len(pieces)} pieces, but at most {MOST_PIECES} have labels")
    sheet, labels = fill(stage.actors, poses, size, view)
    points = tuple(
        np.full_like(actor.points, -1.0, dtype=np.float32)
        if pose is None
        else (view.to_picture(pose.seen(actor.points)) * size).astype(np.float32)
        for actor, pose in zip(stage.actors, poses, strict=True)
    )
    return NestedScene(
        picture=colored(stage, poses, sheet, labels, view),
        caption="",
        pieces=pieces,
        labels=labels,
        depth=depths(stage, poses, labels, view),
        keypoints=points,
        distances=tuple(np.inf if pose is None else pose.depth for pose in poses),
    )


def fill(
    actors: Sequence[Actor], poses: Sequence[Pose | None], size: int, view: View
) -> tuple[Image.Image, np.ndarray]:
    """Labels at the finer resolution, a picture of kind "L", and those at the middles of the pixels, uint8."""
    times = finer(size)
    sheet = Image.new("L", (size * times, size * times))
    draw = ImageDraw.Draw(sheet)
    first = np.cumsum([1, *(len(actor.pieces) for actor in actors)])
    there = [number for number, pose in enumerate(poses) if pose is not None]
    for number in sorted(there, key=lambda number: -depth_of(poses[number])):
        pose, actor = poses[number], actors[number]
        if pose is None:
            continue
        corners = view.to_picture(pose.seen(actor.corners)) * (size * times) - 0.5
        flat = corners.tolist()
        for place, piece in enumerate(actor.pieces):
            draw.polygon([tuple(corner) for corner in flat[piece.corners]], fill=int(first[number]) + place)
    return sheet, np.array(sheet)[times // 2 :: times, times // 2 :: times]


def depth_of(pose: Pose | None) -> float:
    """The depth of an actor's middle, in metres; without end for one that is not there."""
    return np.inf if pose is None else pose.depth


def colored(
    stage: Stage, poses: Sequence[Pose | None], sheet: Image.Image, labels: np.ndarray, view: View
) -> np.ndarray:
    """The picture: uint8 `(size, size, 3)`."""
    size = labels.shape[0]
    times = finer(size)
    palette = np.zeros((256, 3), dtype=np.uint8)
    label = 1
    for actor, pose in zip(stage.actors, poses, strict=True):
        share = 0.0 if pose is None else HAZE * (pose.depth - NEAR)
        colors = np.array([piece.cloth.color for piece in actor.pieces])
        palette[label : label + len(colors)] = np.clip((1 - share) * colors + share * HAZE_COLOR, 1, 255)
        label += len(colors)
    covered = np.asarray(sheet.point([0] + [255] * 255).reduce(times), dtype=np.float32) / 255
    sheet.putpalette(palette.tobytes())
    figures = np.asarray(sheet.convert("RGB").reduce(times), dtype=np.float32)
    figures = figures + stage.ground.seen(view, size) * (1 - covered)[..., None]
    weave(figures, stage.actors, poses, labels, view)
    return np.clip(figures * stage.light + 0.5, 0, 255).astype(np.uint8)


def weave(
    picture: np.ndarray, actors: Sequence[Actor], poses: Sequence[Pose | None], labels: np.ndarray, view: View
) -> None:
    """Adds the cloths' patterns, which turn and grow with the figures, to a float32 picture in place."""
    axes = np.zeros((256, 6), dtype=np.float32)
    kinds: dict[str, list[int]] = {}
    strengths = np.zeros(256, dtype=np.float32)
    label = 1
    for actor, pose in zip(actors, poses, strict=True):
        for piece in actor.pieces:
            if pose is not None and piece.cloth.kind:
                axes[label] = woven_axes(piece, pose)
                strengths[label] = piece.cloth.strength
                kinds.setdefault(piece.cloth.kind, []).append(label)
            label += 1
    x, y = view.grid(labels.shape[0])
    for kind, members in kinds.items():
        chosen = np.zeros(256, dtype=bool)
        chosen[members] = True
        rows, columns = np.nonzero(chosen[labels])
        on = labels[rows, columns]
        a, b, c, d, e, f = axes[on].T
        right, down = x[0, columns], y[rows, 0]
        value = strengths[on] * pattern(kind, a * right + b * down + c, d * right + e * down + f)
        picture[rows, columns] += value[:, None]


def woven_axes(piece: FlatPiece, pose: Pose) -> tuple[float, float, float, float, float, float]:
    """Coordinates of a cloth as functions of the scene's x and y: `a x + b y + c` and `d x + e y + f`, in periods."""
    scale = 1 / (piece.cloth.period * pose.reach)
    c, s = np.cos(pose.turn) * scale, np.sin(pose.turn) * scale
    across = (c, s, -(c * pose.x + s * pose.y))
    along = (-s, c, s * pose.x - c * pose.y)
    return (*across, *along)


def depths(stage: Stage, poses: Sequence[Pose | None], labels: np.ndarray, view: View) -> np.ndarray:
    """Depth in metres: float32 `(size, size)`."""
    planes = np.zeros((256, 3), dtype=np.float32)
    planes[0] = stage.wall
    label = 1
    for actor, pose in zip(stage.actors, poses, strict=True):
        if pose is not None:
            planes[label : label + len(actor.pieces)] = pose.inverse_depth()
        label += len(actor.pieces)
    x, y = view.grid(labels.shape[0])
    return 1 / (planes[labels, 0] + planes[labels, 1] * x + planes[labels, 2] * y)
