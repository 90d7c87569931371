import numpy as np
import pytest
import torch

from bottega.errors import RequestError
from bottega.ops import matrix_nms
from bottega.processes.painting import (
    ColorDistance,
    Instances,
    LocationColors,
    PointBrush,
    class_colors,
    class_step,
    heat_maps,
    mirrored_maps,
    paint_classes,
    paint_depth,
    paint_instances,
    paint_points,
    point_colors,
    read_classes,
    read_depth,
    read_instances,
    read_panoptic,
    read_points,
)
from bottega.worlds import NestedShapesWorld
from bottega.worlds.shapes import figure_classes

SCENES = NestedShapesWorld(size=96).batch(range(12))
COUNT = 1 + len(figure_classes())


def noise(shape, level, seed=0):
    return np.random.default_rng(seed).integers(-level, level + 1, shape)


# --- classes ----------------------------------------------------------------------------------------------------------


def test_the_colours_of_150_classes_are_the_authors():
    colors = class_colors(150)
    assert class_step(150) == 42
    assert colors[0].tolist() == [255, 255, 255]
    assert colors[1].tolist() == [255, 255, 213]
    assert colors[149].tolist() == [255 - 4 * 42, 255 - 0 * 42, 255 - 5 * 42]
    for count in (1, 2, 26, 27, 133, 150, 1000):
        assert len(np.unique(class_colors(count), axis=0)) == count
        assert class_colors(count).sum(axis=1).min() > 0  # black is free


@pytest.mark.parametrize("distance", ColorDistance)
def test_classes_are_read_exactly_and_under_noise_below_half_a_step(distance):
    colors = class_colors(COUNT)
    for scene in SCENES:
        painted = paint_classes(scene.semantic.astype(int), colors)
        assert np.array_equal(read_classes(painted, colors, distance), scene.semantic)
        noisy = painted + noise(painted.shape, (class_step(COUNT) - 1) // 2)
        assert np.array_equal(read_classes(noisy, colors, distance), scene.semantic)
        worse = painted + noise(painted.shape, 2 * class_step(COUNT))
        assert 0.15 < (read_classes(worse, colors, distance) == scene.semantic).mean() < 1


def test_no_class_is_black():
    painted = paint_classes(np.array([[-1, 0]]), class_colors(5))
    assert painted.tolist() == [[[0, 0, 0], [255, 255, 255]]]


# --- things -----------------------------------------------------------------------------------------------------------


def test_the_authors_grid_has_6400_colours():
    locations = LocationColors()
    colors = {locations.color(column, row) for column in range(80) for row in range(80)}
    assert len(colors) == 6400
    assert (0, 0, 0) not in colors
    assert locations.color(0, 0) == (255, 255, 255)
    assert locations.color(79, 79) == (255 - 15 * 15, 255 - 19 * 13, 255 - 19 * 13)
    assert locations.color(21, 0) == (240, 255, 242)


@pytest.mark.parametrize("locations", [LocationColors(), LocationColors(coarse=1, fine=16)])
def test_nearest_undoes_color(locations):
    cells = np.arange(locations.cells)
    picture = np.array([[locations.color(column, row) for column in cells] for row in cells], dtype=np.float32)
    assert np.array_equal(locations.nearest(picture), cells[:, None] * locations.cells + cells)
    assert (locations.nearest(np.zeros((2, 2, 3), np.float32)) == -1).all()


@pytest.mark.parametrize(("locations", "level"), [(LocationColors(), 3), (LocationColors(coarse=1, fine=16), 7)])
def test_things_are_read_exactly_and_where_they_are(locations, level):
    exact, total = 0, 0
    for scene in SCENES:
        painted = paint_instances(scene.instances, locations)
        truth = [scene.instances == number for number in np.unique(scene.instances) if number]
        for picture in (
            painted,
            painted + noise(painted.shape, level),
        ):  # noise below half a step of the finest colours
            found = read_instances(picture, locations, least_pixels=4)
            for mask in truth:
                overlaps = [(one & mask).sum() / (one | mask).sum() for one in found.masks]
                best = int(np.argmax(overlaps))
                total += 1
                exact += overlaps[best] == 1
                if overlaps[best] == 1 and found.scores[best] > 0.9:
                    rows, columns = np.nonzero(mask)
                    off = found.centers[best] - (columns.mean(), rows.mean())
                    assert np.abs(off).max() <= (2.0 if level > 3 else 1.5) * 96 / (locations.cells - 1)
    assert exact / total > 0.9  # things whose middles are in neighbouring cells have colours that are too near


def test_an_exact_center_lies_within_half_a_cell():
    locations = LocationColors()
    scene = SCENES[0]
    found = read_instances(paint_instances(scene.instances, locations), locations)
    for number in np.unique(scene.instances)[1:]:
        rows, columns = np.nonzero(scene.instances == number)
        off = np.abs(found.centers - (columns.mean(), rows.mean())).max(axis=1)
        assert off.min() <= 0.5 * 96 / 79 + 1e-4


def test_nothing_is_read_from_black():
    found = read_instances(np.zeros((8, 8, 3)), LocationColors())
    assert found.masks.shape == (0, 8, 8)
    assert found.above(0.5).scores.shape == (0,)


def test_location_colours_are_checked():
    for wrong in ({"coarse": 0}, {"coarse": 16}, {"fine": 1}, {"fine": 200}):
        with pytest.raises(RequestError):
            LocationColors(**wrong)


def test_matrix_suppression_by_hand():
    masks = torch.zeros(4, 4, 4, dtype=torch.bool)
    masks[0, :2] = True
    masks[1, :2] = True  # the same
    masks[2, :3] = True  # covers it: overlap 8 / 12
    masks[3, 3] = True  # apart
    scores = torch.tensor([0.8, 0.9, 0.5, 0.4])
    faded = matrix_nms(masks, scores)
    fall = np.exp(-2 * (2 / 3) ** 2)
    expected = [0.8 * np.exp(-2.0), 0.9, 0.5 * fall, 0.4]
    assert faded.tolist() == pytest.approx(expected)
    apart = matrix_nms(masks, scores, torch.tensor([0, 1, 2, 3]))
    assert apart.tolist() == pytest.approx(scores.tolist())
    chain = torch.zeros(3, 1, 4, dtype=torch.bool)  # the middle one is suppressed, so it suppresses less
    chain[0, 0, :2] = chain[1, 0, :3] = chain[2, 0, 1:] = True
    a, b = 2 / 3, 2 / 4
    c = 1 / 4
    expected = [1.0, 0.9 * np.exp(-2 * a**2), 0.8 * min(np.exp(-2 * c**2), np.exp(-2 * (b**2 - a**2)))]
    assert matrix_nms(chain, torch.tensor([1.0, 0.9, 0.8])).tolist() == pytest.approx(expected)


# --- both -------------------------------------------------------------------------------------------------------------


def test_segments_are_read_exactly():
    colors, locations = class_colors(COUNT), LocationColors()
    for scene in SCENES[:6]:
        semantic = paint_classes(scene.semantic.astype(int), colors)
        instances = read_instances(paint_instances(scene.instances, locations), locations, least_pixels=4)
        read = read_panoptic(semantic, instances, colors, stuff={0})
        assert read.segments.min() == 1  # every pixel belongs to something
        for number in np.unique(scene.instances):
            mask = scene.instances == number
            segment = np.bincount(read.segments[mask]).argmax()
            assert (read.segments == segment).sum() == pytest.approx(mask.sum(), rel=0.02)
            assert read.classes[segment - 1] == np.bincount(scene.semantic[mask]).argmax()
            assert read.things[segment - 1] == (number > 0)


def test_surer_things_keep_their_pixels_and_hidden_ones_are_left_out():
    masks = np.zeros((4, 1, 8), dtype=bool)
    masks[0, 0, :4] = masks[1, 0, 2:7] = masks[2, 0, :3] = masks[3, 0, 7] = True  # the third is all but hidden
    things = Instances(masks=masks, scores=np.array([0.9, 0.8, 0.7, 0.5], np.float32), centers=np.zeros((4, 2)))
    colors = class_colors(3)
    semantic = paint_classes(np.array([[1, 1, 1, 1, 2, 2, 2, 0]]), colors)
    read = read_panoptic(semantic, things, colors, stuff={0})
    assert read.segments.tolist() == [[1, 1, 1, 1, 2, 2, 2, 3]]
    assert read.classes.tolist() == [1, 2, 0]
    assert read.things.tolist() == [True, True, False]
    assert read.scores.tolist() == pytest.approx([0.9, 0.8, 1.0])


# --- depth ------------------------------------------------------------------------------------------------------------


def test_depth_is_read_within_a_level_and_noise_moves_it_as_much():
    for scene in SCENES[:4]:
        painted = paint_depth(scene.depth)
        assert np.abs(read_depth(painted) - scene.depth).max() <= 0.5 * 10 / 255 + 1e-5
        noisy = painted + noise(painted.shape, 9)
        assert np.abs(read_depth(noisy) - scene.depth).max() <= 9.5 * 10 / 255 + 1e-5


# --- key points -------------------------------------------------------------------------------------------------------


def test_the_colours_of_17_points_are_the_authors():
    assert point_colors(17)[0].tolist() == [255, 255]
    assert point_colors(17)[6].tolist() == [204, 204]
    assert point_colors(17)[16].tolist() == [255 - 3 * 51, 204]


@pytest.mark.parametrize("brush", [PointBrush(), PointBrush(count=13, spread=1.5, reach=2.5)])
def test_points_are_read_within_half_a_pixel_and_under_noise(brush):
    random = np.random.default_rng(1)
    grid = np.array([(x, y) for x in range(9, 90, 16) for y in range(9, 90, 16)])
    for trial in range(6):
        points = grid[random.choice(len(grid), brush.count, replace=False)] + random.uniform(-3, 3, (brush.count, 2))
        seen = random.random(brush.count) < 0.8
        painted = paint_points(points, seen, (96, 96), brush)
        read = read_points(heat_maps(painted, brush.count))
        assert np.array_equal(read.scores > 0, seen)
        assert np.abs(read.points - points)[seen].max() < 0.1
        below = 51 // 2 - 1 if brush.count == 17 else 31
        noisy = painted.copy().astype(int)
        noisy[..., 1:] += noise(noisy[..., 1:].shape, below, trial)
        assert np.abs(read_points(heat_maps(noisy, brush.count)).points - points)[seen].max() < 0.5


def test_points_that_touch_keep_their_own_halves():
    brush = PointBrush(count=2, spread=3.0, reach=4.5)
    points = np.array([(20.5, 20.5), (24.5, 20.5)])
    read = read_points(heat_maps(paint_points(points, np.ones(2, bool), (40, 40), brush), 2))
    assert np.abs(read.points - points).max() < 0.5


def test_a_mirrored_heat_map_swaps_sides():
    heat = np.zeros((3, 4, 5))
    heat[0, 1, 0], heat[1, 2, 4], heat[2, 3, 1] = 1, 2, 3
    mirrored = mirrored_maps(heat, [(0, 1)])
    assert mirrored[1, 1, 4] == 1
    assert mirrored[0, 2, 0] == 2
    assert mirrored[2, 3, 3] == 3
