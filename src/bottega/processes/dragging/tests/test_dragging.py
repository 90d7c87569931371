"""Dragging an analytic generator, whose objects' places are known in closed form."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bottega.errors import RequestError
from bottega.processes.dragging import (
    Assumed,
    DragSession,
    DragSettings,
    NearestFeature,
    OpticalFlow,
    View,
    directions,
    disc,
    features_at,
    flow_of_points,
    motion_loss,
    stillness_loss,
)

SIZE, OBJECTS, CHANNELS, STYLE = 64, 6, 32, 32


class Blobs:
    """Six textured Gaussian blobs whose centres are a linear function of the latent."""

    def __init__(self, seed: int) -> None:
        draw = torch.Generator().manual_seed(seed)
        self.base = 14 + 36 * torch.rand(OBJECTS, 2, generator=draw)
        self.maps = torch.randn(OBJECTS, 2, STYLE, generator=draw) * 10 / math.sqrt(STYLE)
        self.waves = torch.randn(OBJECTS, CHANNELS, 2, generator=draw) / 3
        self.phases = 2 * math.pi * torch.rand(OBJECTS, CHANNELS, generator=draw)
        self.colours = torch.randn(OBJECTS, CHANNELS, generator=draw)
        self.ground = 0.1 * torch.randn(CHANNELS, generator=draw)
        self.latent = torch.randn(1, STYLE, generator=draw)
        line = torch.arange(SIZE, dtype=torch.float32)
        self.grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1)

    def centres(self, latent: Tensor) -> Tensor:
        return self.base + (self.maps @ latent[0])

    def view(self, latent: Tensor) -> View:
        away = self.grid[None] - self.centres(latent)[:, None, None]
        weight = torch.exp(-away.square().sum(-1) / (2 * 6.0**2))
        texture = self.colours[:, :, None, None] + torch.cos(
            torch.einsum("oct,ohwt->ochw", self.waves, away) + self.phases[:, :, None, None]
        )
        share = weight / (weight.sum(0) + 0.3)
        features = (share[:, None] * texture).sum(0) + self.ground[:, None, None]
        return View(features=features[None], picture=lambda: features.detach()[None, :3], size=SIZE)

    def clearest(self) -> int:
        """The object that others hide the least."""
        centres = self.centres(self.latent)
        apart = (centres[:, None] - centres).norm(dim=-1) + 99 * torch.eye(OBJECTS)
        inside = (centres - centres.clamp(14, 49)).norm(dim=-1)
        return int((apart.amin(1) - 9 * inside).argmax())


def drag(seed: int, **changes: object) -> tuple[float, float, float]:
    """The true distance from a handle to its target before and after a drag, and how far it was thought."""
    model = Blobs(seed)
    which = model.clearest()
    handle = model.centres(model.latent)[which].round()
    offset = handle - model.centres(model.latent)[which]
    angle = 2 * math.pi * torch.rand((), generator=torch.Generator().manual_seed(seed + 100)).item()
    target = (handle + 12 * torch.tensor((math.cos(angle), math.sin(angle)))).clamp(4, 59)
    settings = DragSettings(rate=0.01, radius=3, near=1.0, pulled=0.5, steps=120, tracker=NearestFeature(radius=8))
    session = DragSession(model, model.latent, replace(settings, **changes))
    session.place([tuple(handle.tolist())], [tuple(target.tolist())])
    while not session.done:
        session.step()
    true = model.centres(session.latent)[which] + offset
    return float((target - handle).norm()), float((target - true).norm()), float(session.state.distances[0])


def test_drag_reaches_its_target_within_two_pixels_on_most_seeds():
    outcomes = [drag(seed) for seed in range(20)]
    assert sum(error <= 2.0 for _, error, _ in outcomes) >= 16, outcomes
    assert all(error < start / 2 for start, error, _ in outcomes), outcomes


def test_without_holding_the_patch_the_object_does_not_arrive():
    outcomes = [drag(seed, hold=False, steps=60) for seed in range(6)]
    assert sum(error <= 2.0 for _, error, _ in outcomes) <= 1, outcomes


def test_without_tracking_a_drag_believes_in_arriving_and_is_far():
    outcomes = [drag(seed, tracker=Assumed()) for seed in range(8)]
    assert all(thought <= 1.0 for _, _, thought in outcomes)
    assert sum(error <= 2.0 for _, error, _ in outcomes) <= 1, outcomes


def test_features_between_pixels_are_those_of_the_resized_map():
    features = torch.randn(1, 5, 8, 8, generator=torch.Generator().manual_seed(0))
    resized = torch.nn.functional.interpolate(features, (32, 32), mode="bilinear")
    points = torch.tensor(((0.0, 0.0), (3.0, 17.0), (31.0, 2.0)))
    expected = torch.stack([resized[0, :, int(y), int(x)] for x, y in points])
    torch.testing.assert_close(features_at(features, points, 32), expected)


def test_discs_are_never_empty():
    assert disc(0.0).tolist() == [[0.0, 0.0]]
    assert len(disc(1.0)) == 5
    assert len(disc(3.0)) == 29


def test_only_the_patch_ahead_is_pulled():
    features = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(1)).requires_grad_()
    point, step = torch.tensor(((5.0, 8.0),)), torch.tensor(((1.0, 0.0),))
    motion_loss(features, point, 4 * step, 1.0, 16).backward()
    touched = features.grad[0].abs().sum(0)
    assert touched[8, 9] > 0
    assert touched[7, 9] > 0
    assert touched[8, 5] == 0


def test_handles_that_arrived_are_left_alone():
    steps = directions(torch.tensor(((1.0, 1.0), (1.0, 1.0))), torch.tensor(((1.5, 1.0), (1.0, 4.0))), 1.0)
    assert steps.tolist() == [[0.0, 0.0], [0.0, 1.0]]
    assert motion_loss(torch.ones(1, 2, 8, 8), torch.zeros(1, 2), torch.zeros(1, 2), 2.0, 8) == 0


def test_stillness_counts_what_may_not_move_alone():
    first, movable = torch.zeros(1, 2, 8, 8), torch.zeros(16, 16)
    movable[:, :8] = 1
    moved = first.clone()
    moved[..., :4] = 5.0
    assert stillness_loss(moved, first, movable) == 0
    assert stillness_loss(moved.flip(-1), first, movable) == pytest.approx(2.5)


def test_flow_follows_a_shifted_picture():
    draw = torch.Generator().manual_seed(2)
    coarse = torch.randn(1, 3, 12, 12, generator=draw)
    picture = torch.nn.functional.interpolate(coarse, (48, 48), mode="bicubic")
    shifted = torch.roll(picture, (2, -3), (2, 3))
    points = torch.tensor(((20.0, 20.0), (30.0, 16.0)))
    found = flow_of_points(picture, shifted, points, OpticalFlow())
    torch.testing.assert_close(found, points + torch.tensor((-3.0, 2.0)), atol=0.15, rtol=0)


@pytest.fixture
def placed() -> DragSession:
    model = Blobs(3)
    handle = tuple(model.centres(model.latent)[model.clearest()].round().tolist())
    session = DragSession(model, model.latent, DragSettings(rate=0.01, tracker=NearestFeature(radius=8)))
    session.place([handle], [(handle[0] + 6, handle[1])])
    return session


def test_undoing_gives_the_same_bits_again(placed: DragSession):
    for _ in range(4):
        placed.step()
    kept = placed.latent
    assert placed.undo(2).number == 2
    for _ in range(2):
        placed.step()
    assert torch.equal(placed.latent, kept)
    assert placed.undo().number == 0
    assert torch.equal(placed.latent, Blobs(3).latent)
    assert placed.can_undo == 0


def test_targets_can_change_on_the_way(placed: DragSession):
    start = placed.state.points.clone()
    for _ in range(3):
        placed.step()
    placed.retarget([tuple((start[0] - torch.tensor((5.0, 0.0))).tolist())])
    while not placed.done:
        placed.step()
    assert placed.state.points[0, 0] < start[0, 0] - 2
    assert placed.can_undo > 3


def test_a_mask_holds_what_lies_outside_it():
    def change(mask: Tensor | None) -> float:
        model = Blobs(3)
        which = model.clearest()
        x, y = model.centres(model.latent)[which].round().tolist()
        session = DragSession(model, model.latent, DragSettings(rate=0.01, tracker=NearestFeature(radius=8), steps=40))
        session.place([(x, y)], [(x + 8, y)], mask)
        while not session.done:
            session.step()
        others = [place for place in range(OBJECTS) if place != which]
        return float((model.centres(session.latent) - model.centres(model.latent))[others].norm(dim=1).mean())

    model = Blobs(3)
    x, y = model.centres(model.latent)[model.clearest()].round()
    mask = ((model.grid - torch.stack((x + 4, y))).norm(dim=-1) < 14).float()
    assert change(mask) < 0.7 * change(None)


@pytest.mark.parametrize(
    ("handles", "targets"),
    [([], []), ([(1.0, 1.0)], []), ([(64.0, 1.0)], [(1.0, 1.0)]), ([(1.0, 1.0)], [(1.0, -3.0)])],
)
def test_points_that_cannot_be_dragged_are_named(handles, targets):
    session = DragSession(Blobs(0), Blobs(0).latent)
    with pytest.raises(RequestError, match="handle|target"):
        session.place(handles, targets)


def test_a_step_without_handles_is_an_error():
    with pytest.raises(RequestError, match="place handles first"):
        DragSession(Blobs(0), Blobs(0).latent).step()
