"""Pictures made worse in known ways: noise, rain and too little light; the picture before is the answer."""

from __future__ import annotations

import math
from enum import Enum

import numpy as np
from PIL import Image, ImageDraw

from bottega.worlds.dice import Dice
from bottega.worlds.noise import random_normals


class Damage(Enum):
    """What makes a picture worse."""

    NOISE = "noise"
    RAIN = "rain"
    DARK = "dark"


def damaged(picture: np.ndarray, kind: Damage, dice: Dice) -> np.ndarray:
    """A worse version of a picture, uint8 `(height, width, 3)` like the picture."""
    match kind:
        case Damage.NOISE:
            return noisy(picture, dice)
        case Damage.RAIN:
            return rainy(picture, dice)
        case Damage.DARK:
            return dark(picture, dice)


def noisy(picture: np.ndarray, dice: Dice) -> np.ndarray:
    """Noise of a camera: 6 to 24 grey levels everywhere, and more where it is bright."""
    read, shot = dice.between(6.0, 24.0), dice.between(0.5, 2.0)
    spread = np.sqrt(read**2 + shot * picture.astype(np.float32))
    return _whole(picture + spread * random_normals(dice, *picture.shape))


def rainy(picture: np.ndarray, dice: Dice) -> np.ndarray:
    """Bright streaks, nearly parallel, of different lengths and strengths, that hide what is behind them in part."""
    height, width = picture.shape[:2]
    streaks = Image.new("L", (width * 2, height * 2))
    draw = ImageDraw.Draw(streaks)
    lean, count = dice.between(-0.5, 0.5), 30 + dice.below(50)
    for _ in range(count):
        x, y = dice.between(-0.2, 1.2) * 2 * width, dice.between(-0.2, 1.0) * 2 * height
        long = dice.between(0.08, 0.3) * 2 * height
        slope = lean + dice.between(-0.05, 0.05)
        end = (x + long * math.sin(slope), y + long * math.cos(slope))
        draw.line(
            [(x, y), end], fill=int(dice.between(70, 170)), width=max(1, round(dice.between(1.0, 3.0) * height / 128))
        )
    cover = np.asarray(streaks.reduce(2), dtype=np.float32)[..., None] / 255
    return _whole(picture * (1 - cover) + 225 * cover)


def dark(picture: np.ndarray, dice: Dice) -> np.ndarray:
    """An exposure of a tenth to a third, a steeper curve, a colour cast, and some noise."""
    gain, curve = dice.between(0.1, 0.32), dice.between(1.1, 1.6)
    cast = np.array([dice.between(0.85, 1.1) for _ in range(3)], dtype=np.float32)
    exposed = 255 * gain * cast * (picture.astype(np.float32) / 255) ** curve
    return _whole(exposed + 2.0 * random_normals(dice, *picture.shape))


def _whole(picture: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)
