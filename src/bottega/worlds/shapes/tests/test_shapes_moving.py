import re

import numpy as np
import pytest

from bottega.errors import RequestError
from bottega.worlds import MovingShapesWorld

WAYS = {"right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1)}


@pytest.fixture(scope="module")
def clips():
    return MovingShapesWorld(cuts=0.5, pans=0.5).batch(range(40))


def test_motion_is_velocity_minus_camera(clips):
    for clip in clips:
        for time in range(1, len(clip.frames)):
            if time in clip.cuts:
                assert {thing.id for thing in clip.things[time]}.isdisjoint(t.id for t in clip.things[time - 1])
                continue
            step = clip.positions[time] - clip.positions[time - 1]
            eye = clip.camera[time] - clip.camera[time - 1]
            np.testing.assert_allclose(step, clip.velocities[time] - eye, atol=1e-9)


def test_shapes_are_where_the_positions_say(clips):
    checked = 0
    for clip in clips:
        for time, masks in enumerate(clip.masks):
            for thing, mask, position in zip(clip.things[time], masks, clip.positions[time], strict=True):
                if thing.depth or not thing.name.endswith(("circle", "square", "diamond", "cross", "ring", "oval")):
                    continue
                rows, columns = np.nonzero(mask)
                assert (columns.mean() + 0.5, rows.mean() + 0.5) == pytest.approx(position, abs=0.5)
                checked += 1
    assert checked > 50


def test_shapes_stay_whole_in_the_picture(clips):
    for clip in clips:
        for time, masks in enumerate(clip.masks):
            for thing, mask, place in zip(clip.things[time], masks, clip.positions[time], strict=True):
                assert (place > 3).all()
                assert (place < 61).all()
                if thing.depth == 0:
                    assert not mask[[0, -1]].sum() > 8
                    assert mask.any()


def test_captions_and_answers_tell_the_motion(clips):
    panned = 0
    for clip in clips:
        shots = clip.caption.split("; then cut to ")
        starts = [0, *clip.cuts]
        assert len(shots) == len(starts)
        for sentence, start in zip(shots, starts, strict=True):
            told, *pan = sentence.split(", while the camera pans ")
            named = {
                thing.name: velocity for thing, velocity in zip(clip.things[start], clip.velocities[start], strict=True)
            }
            clauses = re.findall(r"an? (\w+ \w+) (stays still|moves (\w+) (slowly|fast))", told)
            assert {name for name, *_ in clauses} == set(named)
            for name, _, direction, manner in clauses:
                speed = {"slowly": 0.2, "fast": 0.45, "": 0.0}[manner] * 64 / 16
                np.testing.assert_allclose(named[name], np.multiply(WAYS.get(direction, (0, 0)), speed), atol=1e-9)
            moved = clip.camera[start + 1] - clip.camera[start]
            np.testing.assert_array_equal(np.sign(moved), WAYS[pan[0]] if pan else (0, 0))
            panned += bool(pan)
        answers = {question.text: question.answer for question in clip.questions}
        assert answers["is there a cut?"] == ("yes" if clip.cuts else "no")
        for name, _, direction, _ in re.findall(r"an? (\w+ \w+) (stays still|moves (\w+) (\w+))", clip.caption):
            assert answers[f"which way does the {name} move?"] == (direction or "it stays still")
    assert panned > 10


def test_the_ground_moves_against_the_camera():
    clip = next(clip for clip in MovingShapesWorld(pans=1.0, cuts=0.0).batch(range(20)) if "pans left" in clip.caption)
    shift = clip.camera[8] - clip.camera[0]
    np.testing.assert_allclose(shift, (-8.0, 0.0))
    free = ~(clip.masks[0].any(axis=0)[:, :-8] | clip.masks[8].any(axis=0)[:, 8:])
    free[1:] &= free[:-1]  # soft edges of the shapes
    free[:-1] &= free[1:]
    free[:, 1:] &= free[:, :-1]
    free[:, :-1] &= free[:, 1:]
    np.testing.assert_array_equal(clip.frames[0][:, :-8][free], clip.frames[8][:, 8:][free])


def test_same_seed_same_bits_in_any_order():
    world = MovingShapesWorld(seed=4)
    forward, backward = world.batch([1, 2, 3]), world.batch([3, 2, 1])[::-1]
    for a, b in zip(forward, backward, strict=True):
        np.testing.assert_array_equal(a.frames, b.frames)
        assert (a.caption, a.things, a.cuts, a.questions) == (b.caption, b.things, b.cuts, b.questions)
    assert {clip.caption for clip in forward} != {clip.caption for clip in MovingShapesWorld(seed=5).batch([1, 2, 3])}


@pytest.mark.parametrize(
    ("field", "value"), [("frames", 1), ("pans", 2.0), ("cuts", -1.0), ("size", 8), ("split", "x")]
)
def test_settings_are_checked(field, value):
    with pytest.raises(RequestError, match=f"{field} is {value!r}"):
        MovingShapesWorld(**{field: value})
