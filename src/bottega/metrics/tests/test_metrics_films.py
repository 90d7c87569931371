"""Region similarity and contour accuracy on masks whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from bottega.metrics import contour_accuracy, region_similarity


def square(left: int, side: int = 40, size: int = 100) -> np.ndarray:
    mask = np.zeros((size, size), dtype=bool)
    mask[20 : 20 + side, left : left + side] = True
    return mask


def test_shifted_squares() -> None:
    assert region_similarity(square(20), square(20)) == contour_accuracy(square(20), square(20)) == 1.0
    assert region_similarity(square(20), square(30)) == pytest.approx(30 / 50)
    assert contour_accuracy(square(20), square(22)) == 1.0  # two pixels are within 0.008 of 141, rounded up
    moved = contour_accuracy(square(20), square(30))
    assert 0.4 < moved < 0.9  # the upper and lower sides mostly agree, the others do not


def test_empty_masks() -> None:
    none = np.zeros((100, 100), dtype=bool)
    assert region_similarity(none, none) == contour_accuracy(none, none) == 1.0
    assert region_similarity(none, square(20)) == contour_accuracy(none, square(20)) == 0.0
