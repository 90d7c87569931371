"""Critters: drawn animal heads that move in every direction, with the exact places of what one would drag."""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass

import numpy as np

from bottega.worlds.dice import Dice
from bottega.worlds.sample import Color

KEYPOINTS = (
    "left ear tip", "right ear tip", "left eye", "right eye", "nose", "left mouth corner", "right mouth corner",
    "lower lip", "chin", "left cheek", "right cheek",
)  # fmt: skip
"""What each row of a critter's keypoints is; left and right are the picture's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ears:
    """A kind of ears, in units of the head's radius.

    Args:
        length: Shortest and longest.
        base: Radius where they begin.
        tip: Radius at the end.
        spread: Angle from straight up, in degrees.
    """

    length: tuple[float, float]
    base: float
    tip: float
    spread: tuple[float, float]


SPECIES = {
    "cat": Ears(length=(0.55, 0.8), base=0.4, tip=0.06, spread=(32.0, 48.0)),
    "bear": Ears(length=(0.1, 0.2), base=0.3, tip=0.3, spread=(38.0, 52.0)),
    "rabbit": Ears(length=(0.6, 0.95), base=0.2, tip=0.16, spread=(8.0, 30.0)),
    "mouse": Ears(length=(0.2, 0.35), base=0.38, tip=0.44, spread=(42.0, 58.0)),
}
"""Kinds of critters."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Critter:
    """A critter before it is painted; lengths are in units of the picture's side, angles in degrees.

    Args:
        species: One of `SPECIES`.
        center: Of the head, `(x, y)`.
        radius: Of the head.
        tilt: Turn of the head in the picture, clockwise.
        turn: Where the head looks to, `(x, y)`, each -1 to 1.
        ears: Lengths of the left and the right ear, in head radii.
        spreads: Their angles from straight up.
        eye: Radius of the eyes, in head radii.
        lids: How far the left and right eye are open, 0 to 1.
        gaze: Where the pupils look, `(x, y)`, each -1 to 1.
        mouth: Half width, opening and smile of the mouth, in head radii.
        fur: The colour of the fur.
        background: The colour behind it.
    """

    species: str
    center: tuple[float, float]
    radius: float
    tilt: float
    turn: tuple[float, float]
    ears: tuple[float, float]
    spreads: tuple[float, float]
    eye: float
    lids: tuple[float, float]
    gaze: tuple[float, float]
    mouth: tuple[float, float, float]
    fur: Color
    background: Color


def draw_critter(dice: Dice) -> Critter:
    """A random critter."""
    species = dice.pick(tuple(SPECIES))
    kind = SPECIES[species]
    length, spread = dice.between(*kind.length), dice.between(*kind.spread)
    lid = 1.0 if dice.unit() < 0.6 else dice.between(0.15, 1.0)
    wink = dice.between(0.1, 1.0) if dice.unit() < 0.15 else lid
    opening = max(0.0, dice.between(-0.15, 0.38))
    hue = dice.pick((0.04, 0.08, 0.11, 0.55, 0.6, 0.78, 0.93, 0.3))
    return Critter(
        species=species,
        center=(dice.between(0.42, 0.58), dice.between(0.55, 0.65)),
        radius=dice.between(0.25, 0.32),
        tilt=dice.between(-20.0, 20.0),
        turn=(dice.between(-1.0, 1.0), dice.between(-1.0, 1.0)),
        ears=(length * dice.between(0.9, 1.1), length * dice.between(0.9, 1.1)),
        spreads=(spread + dice.between(-8.0, 8.0), spread + dice.between(-8.0, 8.0)),
        eye=dice.between(0.19, 0.28),
        lids=(lid, wink) if dice.below(2) else (wink, lid),
        gaze=(dice.between(-1.0, 1.0), dice.between(-1.0, 1.0)),
        mouth=(dice.between(0.16, 0.34), opening, dice.between(-0.05, 0.16)),
        fur=_colour(hue + dice.between(-0.02, 0.02), dice.between(0.3, 0.62), dice.between(0.72, 0.95)),
        background=_colour(dice.unit(), dice.between(0.05, 0.22), dice.between(0.93, 1.0)),
    )


def paint_critter(critter: Critter, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Paints a critter.

    Args:
        critter: What to paint.
        size: Side of the picture in pixels.

    Returns:
        The picture, uint8 `(size, size, 3)`; the mask of the critter, bool `(size, size)`; the keypoints
        `(len(KEYPOINTS), 2)`, column and row in pixels, where 0 is the middle of the first pixel.
    """
    brush = _Brush(critter, size)
    fur, mask = np.asarray(critter.fur, np.float64), np.zeros((size, size))
    keypoints: dict[str, tuple[float, float]] = {}
    for side, name in ((-1, "left"), (1, "right")):
        keypoints[f"{name} ear tip"] = _paint_ear(brush, critter, side, mask)
    np.maximum(mask, brush.ellipse(fur, (0.0, 0.0), (1.0, 0.92)), out=mask)
    across, down = 0.22 * critter.turn[0], 0.16 * critter.turn[1]
    light = fur + 0.55 * (255.0 - fur)
    brush.ellipse(light, (1.3 * across, 0.36 + 1.2 * down), (0.5, 0.4))
    for side, name in ((-1, "left"), (1, "right")):
        keypoints[f"{name} eye"] = _paint_eye(brush, critter, side, (across, down))
    keypoints |= _paint_mouth(brush, critter, (1.4 * across, 0.42 + 1.3 * down))
    nose = (1.5 * across, 0.2 + 1.3 * down)
    brush.ellipse(np.array((70.0, 45.0, 50.0)), nose, (0.15, 0.11))
    keypoints |= {"nose": nose, "chin": (0.0, 0.92), "left cheek": (-1.0, 0.0), "right cheek": (1.0, 0.0)}
    places = np.stack([brush.place(*keypoints[name]) for name in KEYPOINTS])
    return brush.canvas.round().clip(0, 255).astype(np.uint8), mask >= 0.5, places


def _paint_ear(brush: _Brush, critter: Critter, side: int, mask: np.ndarray) -> tuple[float, float]:
    """One ear with its inside, and its tip."""
    kind, which = SPECIES[critter.species], (side + 1) // 2
    angle, length = math.radians(critter.spreads[which]), critter.ears[which]
    out = (side * math.sin(angle), -math.cos(angle))
    start, end = (0.78 * out[0], 0.78 * out[1]), ((0.78 + length) * out[0], (0.78 + length) * out[1])
    fur = np.asarray(critter.fur, np.float64)
    np.maximum(mask, brush.cone(0.92 * fur, start, end, (kind.base, kind.tip)), out=mask)
    inside = np.array((244.0, 178.0, 178.0))
    inner = (0.8 * end[0] + 0.2 * start[0], 0.8 * end[1] + 0.2 * start[1])
    brush.cone(inside, start, inner, (0.55 * kind.base, 0.5 * kind.tip))
    reach = 0.78 + length + kind.tip
    return reach * out[0], reach * out[1]


def _paint_eye(brush: _Brush, critter: Critter, side: int, turn: tuple[float, float]) -> tuple[float, float]:
    """One eye with its pupil, and its middle."""
    middle = (0.4 * side + turn[0], -0.18 + turn[1])
    lid, radius = critter.lids[(side + 1) // 2], critter.eye
    shape = (radius, max(radius * lid, 0.05))
    dark = np.array((45.0, 32.0, 38.0))
    white = brush.ellipse(dark if lid < 0.3 else np.array((255.0, 255.0, 255.0)), middle, shape)
    if lid >= 0.3:
        move = 0.38 * radius
        pupil = (middle[0] + move * critter.gaze[0], middle[1] + move * lid * critter.gaze[1])
        brush.ellipse(dark, pupil, (0.6 * radius, 0.6 * radius), within=white)
    return middle


def _paint_mouth(brush: _Brush, critter: Critter, middle: tuple[float, float]) -> dict[str, tuple[float, float]]:
    """The mouth, and its corners and lower lip."""
    half, opening, smile = critter.mouth
    brush.mouth(np.array((120.0, 35.0, 50.0)), middle, (half, opening, smile))
    return {
        "left mouth corner": (middle[0] - half, middle[1] - smile),
        "right mouth corner": (middle[0] + half, middle[1] - smile),
        "lower lip": (middle[0], middle[1] + opening),
    }


class _Brush:
    """A canvas with the head's own axes: the head's middle is 0, its radius is 1; edges are smoothed over a pixel."""

    def __init__(self, critter: Critter, size: int) -> None:
        self.canvas = np.broadcast_to(np.asarray(critter.background, np.float64), (size, size, 3)).copy()
        self.unit = critter.radius * size  # pixels
        self.center = np.array(critter.center) * size - 0.5
        turn = math.radians(critter.tilt)
        self.axes = np.array(((math.cos(turn), -math.sin(turn)), (math.sin(turn), math.cos(turn))))
        rows, columns = np.mgrid[:size, :size].astype(np.float64)
        away = np.stack((columns - self.center[0], rows - self.center[1]), axis=-1)
        self.x, self.y = np.moveaxis(away @ self.axes / self.unit, -1, 0)

    def place(self, x: float, y: float) -> np.ndarray:
        """Column and row of a place on the head."""
        return self.center + self.unit * (self.axes @ np.array((x, y)))

    def ellipse(
        self,
        colour: np.ndarray,
        middle: tuple[float, float],
        radii: tuple[float, float],
        within: np.ndarray | None = None,
    ) -> np.ndarray:
        """Paints an ellipse; returns its coverage."""
        x, y = (self.x - middle[0]) / radii[0], (self.y - middle[1]) / radii[1]
        reach = np.sqrt(x**2 + y**2)
        slope = np.sqrt((x / radii[0]) ** 2 + (y / radii[1]) ** 2) / np.maximum(reach, 1e-6)
        distance = (reach - 1.0) / np.maximum(slope, 1e-6)
        return self._blend(colour, distance, within)

    def cone(
        self, colour: np.ndarray, start: tuple[float, float], end: tuple[float, float], radii: tuple[float, float]
    ) -> np.ndarray:
        """Paints a thick line whose radius changes along it; returns its coverage."""
        along = (end[0] - start[0], end[1] - start[1])
        x, y = self.x - start[0], self.y - start[1]
        share = ((x * along[0] + y * along[1]) / (along[0] ** 2 + along[1] ** 2)).clip(0.0, 1.0)
        away = np.hypot(x - share * along[0], y - share * along[1])
        return self._blend(colour, away - (radii[0] + share * (radii[1] - radii[0])))

    def mouth(self, colour: np.ndarray, middle: tuple[float, float], shape: tuple[float, float, float]) -> np.ndarray:
        """Paints what lies between two parabolas, at least a line; returns its coverage."""
        half, opening, smile = shape
        bend = ((self.x - middle[0]) / half) ** 2
        upper = middle[1] - smile * bend
        lower = upper + opening * (1.0 - bend).clip(0.0, None)
        beyond = np.maximum(np.maximum(upper - self.y, self.y - lower), np.abs(self.x - middle[0]) - half)
        return self._blend(colour, beyond - 0.03)

    def _blend(self, colour: np.ndarray, distance: np.ndarray, within: np.ndarray | None = None) -> np.ndarray:
        cover = (0.5 - distance * self.unit).clip(0.0, 1.0)
        cover = cover if within is None else cover * within
        self.canvas += cover[..., None] * (colour - self.canvas)
        return cover


def _colour(hue: float, saturation: float, value: float) -> Color:
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue % 1.0, saturation, value))
    return red, green, blue
