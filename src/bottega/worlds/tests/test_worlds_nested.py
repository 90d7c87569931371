import hashlib
import re
from dataclasses import replace

import numpy as np
import pytest

from bottega.errors import RequestError
from bottega.worlds import Dice, NestedShapesWorld, open_world
from bottega.worlds.noise import random_bytes, random_normals
from bottega.worlds.shapes import Damage, NestedFilmsWorld, classes_of, damaged, figure_class, figure_classes
from bottega.worlds.shapes.grounds import View, draw_ground
from bottega.worlds.shapes.painting import paint
from bottega.worlds.shapes.stage import Pose, Stage, dress

WORLD = NestedShapesWorld(size=96)


@pytest.fixture(scope="module")
def scenes():
    return WORLD.batch(range(60))


def test_a_scene_depends_on_seed_and_index_alone(scenes):
    again = WORLD.sample(7)
    assert np.array_equal(again.picture, scenes[7].picture)
    assert np.array_equal(again.depth, scenes[7].depth)
    assert again.caption == scenes[7].caption
    assert not np.array_equal(replace(WORLD, seed=1).sample(7).picture, again.picture)
    assert open_world("nested-shapes").sample(3).picture.shape == (256, 256, 3)


def test_the_scene_does_not_depend_on_the_size():
    small, large = (replace(WORLD, size=size).sample(5) for size in (64, 192))
    assert small.pieces == large.pieces
    assert small.caption == large.caption
    agree = (small.labels == large.labels[1::3, 1::3]).mean()
    assert agree > 0.98


def test_parts_lie_in_their_wholes_and_wholes_do_not_overlap(scenes):
    levels = set()
    for scene in scenes:
        masks = scene.masks()
        assert np.array_equal(masks.sum(axis=(1, 2)), scene.areas)
        wholes = masks[list(scene.wholes)]
        assert wholes.sum(axis=0).max() <= 1
        assert np.array_equal(wholes.any(axis=0), scene.labels > 0)
        for number, piece in enumerate(scene.pieces):
            levels.add(piece.level)
            if piece.level:
                assert not (masks[number] & ~masks[piece.parent]).any()
                assert scene.pieces[piece.parent].level == piece.level - 1
                assert scene.pieces[piece.whole].kind == piece.kind
    assert levels == {0, 1, 2}


def test_maps_agree_with_masks(scenes):
    for scene in scenes[:20]:
        masks = scene.masks(scene.wholes)
        for place, whole in enumerate(scene.wholes):
            assert np.array_equal(scene.instances == place + 1, masks[place])
            assert (scene.semantic[masks[place]] == 1 + scene.pieces[whole].kind).all()
            assert np.array_equal(scene.named(scene.pieces[whole].name) & masks[place], masks[place])


def test_splits_keep_classes_apart(scenes):
    held = {kind.id for kind in figure_classes() if kind.held_out}
    assert len(held) == 6
    assert {piece.kind for scene in scenes for piece in scene.pieces} == {kind.id for kind in classes_of("train")}
    for scene in replace(WORLD, split="heldout").batch(range(20)):
        assert {piece.kind for piece in scene.pieces} & held


def test_nearer_figures_hide_farther_ones_and_depth_is_that_of_their_plane():
    dice = Dice(3, 0)
    ground = draw_ground(dice)
    square = figure_class("square")
    actors = tuple(dress(square, dice, ground.mean) for _ in range(2))
    stage = Stage(actors=actors, ground=ground, wall=(0.1, 0.0, 0.0))
    poses = [Pose(x=0.5, y=0.5, depth=2.0, lean=0.5), Pose(x=0.6, y=0.5, depth=4.0)]
    scene = paint(stage, poses, 128)
    assert scene.instances[64, 64] == 1
    assert scene.instances[64, 90] == 2
    assert scene.depth[64, 90] == pytest.approx(4.0, abs=1e-4)
    assert scene.depth[64, 64] == pytest.approx(2.0, abs=0.02)
    assert scene.depth[64, 45] < 1.95  # its right side leans away
    assert scene.depth[64, 80] > 2.05
    assert scene.depth[0, 0] == pytest.approx(10.0)
    corner = np.array([[0.6, 0.3]])  # a point of the figure, by the camera's own equations
    space = (corner * poses[0].radius) @ poses[0].rotation()[:, :2].T + poses[0].middle()
    column, row = (poses[0].seen(corner) * 128)[0]
    a, b, c = poses[0].inverse_depth()
    assert 1 / (a + b * column / 128 + c * row / 128) == pytest.approx(space[0, 2])


def test_key_points_lie_on_their_figures(scenes):
    hits, total = 0, 0
    for scene in scenes:
        for place, whole in enumerate(scene.wholes):
            kind = figure_classes()[scene.pieces[whole].kind]
            points = scene.keypoints[place]
            assert points.shape == (len(kind.points), 2)
            inside = ((points >= 0) & (points < WORLD.size)).all(axis=1)
            hits += scene.points_seen(place).sum()
            total += inside.sum()
    assert hits / total > 0.5  # the others lie on rims, or are hidden


def test_two_views_show_the_same_pieces_in_another_place():
    for index in range(12):
        first, second = WORLD.views(index)
        assert first.pieces == second.pieces
        both = [place for place in range(len(first.wholes)) if (first.areas > 0)[first.wholes[place]]]
        for place in both:
            a, b = first.keypoints[place], second.keypoints[place]
            scale = np.linalg.norm(b - b.mean(0)) / np.linalg.norm(a - a.mean(0))
            spread = np.linalg.norm(b[:, None] - b, axis=-1) - scale * np.linalg.norm(a[:, None] - a, axis=-1)
            assert np.abs(spread).max() < 1e-2  # a similarity, mirrored or not


def test_a_mirrored_view_is_the_mirrored_picture():
    dice = Dice(5, 1)
    ground = draw_ground(dice)
    actors = (dress(figure_class("house"), dice, ground.mean),)
    stage = Stage(actors=actors, ground=ground, wall=(0.1, 0.01, 0.0))
    poses = [Pose(x=0.45, y=0.5, depth=2.5, lean=0.3)]
    plain, mirrored = (paint(stage, poses, 64, View(flip=flip)) for flip in (False, True))
    assert (plain.labels == mirrored.labels[:, ::-1]).mean() > 0.97
    assert np.abs(plain.picture.astype(int) - mirrored.picture[:, ::-1]).mean() < 3
    assert np.median(np.abs(plain.depth - mirrored.depth[:, ::-1])) < 1e-4


def test_pairs_share_a_class_of_the_split():
    for split, index in ((split, index) for split in ("train", "heldout") for index in range(8)):
        world = replace(WORLD, split=split)
        pair = world.pair(index)
        kinds = [set(np.unique(scene.semantic)) for scene in (pair.first, pair.second)]
        assert all({1 + kind for kind in pair.shared} <= kind for kind in kinds)
        assert any(figure_classes()[kind].held_out for kind in pair.shared) == (split == "heldout")


def test_captions_are_true(scenes):
    told = 0
    for scene in scenes:
        match = re.fullmatch(r"an? (.+) (left of|right of|above|below|in front of|behind) an? (.+)", scene.caption)
        if match is None:
            continue
        things = {thing.name: thing for thing in scene.things}
        a, b = things[match[1]], things[match[3]]
        truth = {
            "left of": a.box.right <= b.box.left,
            "right of": a.box.left >= b.box.right,
            "above": a.box.bottom <= b.box.top,
            "below": a.box.top >= b.box.bottom,
            "in front of": a.depth < b.depth,
            "behind": a.depth > b.depth,
        }
        assert truth[match[2]], scene.caption
        told += 1
    assert told > 10


def test_films_move_smoothly_and_keep_their_pieces():
    film = NestedFilmsWorld(scenes=WORLD, frames=16, cuts=0.0).sample(2)
    assert film.frames.shape == (16, 96, 96, 3)
    assert len({scene.pieces for scene in film.scenes}) == 1
    masks = film.masks()
    for place in range(masks.shape[1]):
        for now, then in zip(masks[:-1, place], masks[1:, place], strict=True):
            if min(now.sum(), then.sum()) > 150:
                assert (now & then).sum() / (now | then).sum() > 0.4
    assert (masks[0] != masks[-1]).any()


def test_a_cut_moves_figures_at_once_and_is_told():
    films = NestedFilmsWorld(scenes=WORLD, frames=9, cuts=1.0).batch(range(6))
    assert all(len(film.cuts) == 1 and 3 <= film.cuts[0] <= 6 for film in films)
    jumps = []
    for film in films:
        gone = [np.abs(np.diff(film.masks().astype(int), axis=0)).sum(axis=(1, 2, 3))]
        jumps.append(int(np.argmax(gone)) + 1 == film.cuts[0])
    assert sum(jumps) >= 5


@pytest.mark.parametrize("kind", Damage)
def test_damage_is_of_its_kind(scenes, kind):
    clean = scenes[0].picture
    worse = damaged(clean, kind, Dice(0, 1))
    assert worse.shape == clean.shape
    assert worse.dtype == np.uint8
    assert np.array_equal(worse, damaged(clean, kind, Dice(0, 1)))
    error = worse.astype(float) - clean
    if kind is Damage.NOISE:
        assert abs(error[(clean > 80) & (clean < 180)].mean()) < 1.5
        assert 5 < error.std() < 40
    elif kind is Damage.DARK:
        assert worse.mean() < 0.4 * clean.mean()
    else:
        assert 0.02 < (np.abs(error).max(axis=-1) > 8).mean() < 0.5


def test_noise_is_the_same_everywhere():
    raw = random_bytes(Dice(1, 2), 1000)
    assert hashlib.sha256(raw.tobytes()).hexdigest()[:16] == "04f235049e8eede9"
    normals = random_normals(Dice(1, 2), 20000)
    assert abs(normals.mean()) < 0.03
    assert abs(normals.std() - 1) < 0.03


def test_settings_are_checked():
    for wrong in ({"most": 0}, {"farthest": 2.0}, {"figures": ("rocket",)}, {"split": "test"}):
        with pytest.raises(RequestError):
            NestedShapesWorld(**wrong)
    dolls = NestedShapesWorld(size=48, figures=("doll",)).sample(0)
    assert {figure_classes()[piece.kind].name for piece in dolls.pieces} == {"doll"}
    with pytest.raises(RequestError):
        NestedFilmsWorld(frames=1)
    with pytest.raises(IndexError):
        NestedShapesWorld(length=3)[3]
