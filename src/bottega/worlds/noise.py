"""Random numbers by the thousand, the same on every machine and with every version of numpy."""

from __future__ import annotations

import numpy as np

from bottega.worlds.dice import Dice


def random_bytes(dice: Dice, *shape: int) -> np.ndarray:
    """Evenly distributed uint8 of this shape; only the raw stream of PCG64 is used, which numpy never changes."""
    count = int(np.prod(shape))
    raw = np.random.PCG64(dice.bits()).random_raw(-(-count // 8))
    return np.asarray(raw, dtype="<u8").view(np.uint8)[:count].reshape(shape)


def random_units(dice: Dice, *shape: int) -> np.ndarray:
    """Evenly distributed float32 in [0, 1) of this shape, in steps of 2**-16."""
    raw = random_bytes(dice, *shape, 2).astype(np.float32)
    return (raw[..., 0] * 256 + raw[..., 1]) / 65536


def random_normals(dice: Dice, *shape: int) -> np.ndarray:
    """Normally distributed float32 of this shape, by Box and Muller."""
    units = random_units(dice, 2, *shape)
    return np.sqrt(-2 * np.log(1 - units[0])) * np.cos(2 * np.pi * units[1])
