"""Figures: the right colours in the right places."""

import numpy as np

from bottega.results import curves, heat_map, points
from bottega.results.charts import CELL, COLD, COLORS, WARM


def count(picture, color):
    return int((picture == np.array(color)).all(axis=-1).sum())


def test_heat_map_colours_the_extremes_and_leaves_zero_as_paper():
    values = np.array([[1.0, 0.0], [0.0, -1.0]])
    picture = heat_map(values, ["a", "b"], ["a", "b"], "matrix")
    assert count(picture, WARM) > CELL * CELL / 2
    assert count(picture, COLD) > CELL * CELL / 2
    warm = np.argwhere((picture == np.array(WARM)).all(axis=-1)).mean(axis=0)
    cold = np.argwhere((picture == np.array(COLD)).all(axis=-1)).mean(axis=0)
    assert (warm < cold).all()  # row 0, column 0 is up and left of row 1, column 1


def test_curves_rise_to_the_right_in_their_own_colour():
    x = np.linspace(0, 1, 50)
    picture = curves({"up": (x, x + 1), "down": (x, 2 - x)}, "lines", "x", "y", log_y=True)
    rows, columns = np.argwhere((picture == np.array(COLORS[0])).all(axis=-1)).T
    drawn = columns < 70 + 520
    assert np.corrcoef(rows[drawn], columns[drawn])[0, 1] < -0.9
    assert count(picture, COLORS[1]) > 100


def test_points_lie_where_they_are():
    picture = points({"corner": np.array([[0.9, 0.9]])}, "cloud", extent=1.0)
    rows, columns = np.argwhere((picture == np.array(COLORS[0])).all(axis=-1)).T
    assert rows.mean() < picture.shape[0] / 2 < columns.mean()
