"""Measuring DragGAN as its paper does: pairs of pictures of which one is dragged to the other, and landmarks.

Pairs: two pictures share their fine styles and differ in the dragged ones; points are followed from one to the other by
optical flow over small steps between the styles; the first is dragged at these points and compared with the second.

Landmarks: all landmarks of a critter are dragged to those of another. They are read by a reader that is fitted on drawn
critters, whose landmarks are exact; its own error is among the figures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from bottega.data import pictures_to_tensor
from bottega.metrics import LandmarkReader, set_distances
from bottega.processes.dragging import (
    DragSession,
    DragSettings,
    OpticalFlow,
    flow_of_points,
)
from bottega.room import Measure, Progress, Report
from bottega.systems.image.draggan.model import DragGan
from bottega.systems.image.draggan.sampling import GanCanvas, drag_settings, draw_styles
from bottega.worlds import PortraitsWorld
from bottega.worlds.portraits import KEYPOINTS

POINTS, STEPS, APART = 8, 80, 0.5
"""Points of a pair; most steps of a drag; how far the second picture's styles are on the way to another's."""
LESSONS, HELD_BACK = 700, 200
"""Critters that the reader of landmarks learns from, and on which it is checked."""
EYES_AND_MOUTH = tuple(KEYPOINTS.index(name) for name in ("left eye", "right eye", "nose", "lower lip", "chin"))


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Two pictures and points that are in both.

    Args:
        canvas: The first, ready to be dragged.
        first: Its picture, `(1, 3, size, size)`.
        second: The other picture.
        points: In the first, `(n, 2)`.
        places: The same points in the second.
    """

    canvas: GanCanvas
    first: Tensor
    second: Tensor
    points: Tensor
    places: Tensor


def evaluate(model: DragGan, seed: int, limit: int, report: Report) -> dict[str, Measure]:
    """Figures of pairs, of landmarks where the size draws critters, and of drawn pictures.

    Args:
        model: The networks.
        seed: Picks pictures and pairs.
        limit: Most pairs; twice as many pictures are drawn.
        report: Called after every pair; may raise `Cancelled`.
    """
    found = _paired(model, seed, max(limit // 2, 2), report)
    if "critter" in model.config.kinds:
        found |= _landmarks(model, seed, max(limit // 2, 2), report)
    return found | _drawn(model, seed, 2 * limit)


def _paired(model: DragGan, seed: int, count: int, report: Report) -> dict[str, Measure]:
    """Squared errors of pairs; none where flow follows too few points, as in a network that has learned little."""
    settings = replace(drag_settings(model.config), steps=STEPS)
    flow = replace(settings, tracker=OpticalFlow())
    pairs = list(_pairs(model, seed, count))
    errors: dict[str, list[float]] = {name: [] for name in ("drag", "flow", "none", "random", "shuffled")}
    for number, pair in enumerate(pairs):
        errors["drag"].append(_error(_dragged(pair, settings), pair.second))
        errors["flow"].append(_error(_dragged(pair, flow), pair.second))
        errors["shuffled"].append(_error(_dragged(_shuffled(pair), settings), pair.second))
        errors["none"].append(_error(pair.first, pair.second))
        errors["random"].append(_error(pairs[number - 1].second, pair.second))
        report(Progress(step=number + 1, total=len(pairs), stage="pairs"))
    if not pairs:
        return {}
    mean = {name: float(np.mean(values)) for name, values in errors.items()}

    def pair_error(value: str, control: str) -> Measure:
        return Measure(
            value=mean[value], baseline=mean["none"], control=mean[control], higher_is_better=False, samples=len(pairs)
        )  # fmt: skip

    return {
        "pairs: squared error (baseline: no edit; control: shuffled targets)": pair_error("drag", "shuffled"),
        "pairs: squared error by flow tracking (control: another picture)": pair_error("flow", "random"),
    }


def _pairs(model: DragGan, seed: int, count: int) -> Iterator[Pair]:
    """Pairs with at least two points that flow finds both ways."""
    config, index = model.config, 0
    for tried in range(8 * count):
        kind = tried % max(len(config.kinds), 1)
        pair = _pair(model, seed + 2 * tried, kind)
        if pair is not None:
            yield pair
            index += 1
        if index == count:
            return


@torch.no_grad()
def _pair(model: DragGan, seed: int, kind: int) -> Pair | None:
    config = model.config
    start, other = draw_styles(model, seed, kind), draw_styles(model, seed + 1, kind)
    canvas = GanCanvas(model.generator, config, start)
    dragged = config.dragged_styles
    ways = [
        torch.cat((start[:, :dragged].lerp(other[:, :dragged], APART * share), start[:, dragged:]), dim=1)
        for share in np.linspace(0, 1, 9)
    ]
    pictures = [model.generator.synthesis(way) for way in ways]
    points = _textured(pictures[0], 4 * POINTS)
    places = points
    for before, after in zip(pictures[:-1], pictures[1:], strict=True):
        places = flow_of_points(before, after, places, OpticalFlow())
    back = places
    for before, after in zip(pictures[:0:-1], pictures[-2::-1], strict=True):
        back = flow_of_points(before, after, back, OpticalFlow())
    scale = config.network.resolution / 64
    moved, sure = (places - points).norm(dim=1), (back - points).norm(dim=1) < 0.7 * scale
    chosen = (sure & (moved > 2 * scale)).nonzero()[:POINTS, 0]
    if len(chosen) < 2:
        return None
    return Pair(canvas, pictures[0], pictures[-1], points[chosen], places[chosen])


def _textured(picture: Tensor, count: int) -> Tensor:
    """The points of a picture where its colours change most in both directions, apart from each other, `(n, 2)`."""
    grey, size = picture[0].mean(0), picture.shape[-1]
    across, down = torch.gradient(grey)
    window = torch.nn.functional.avg_pool2d
    products = torch.stack((across**2, down**2, across * down))[:, None]
    xx, yy, xy = window(products, 5, 1, 2)[:, 0]
    strength = (xx + yy) / 2 - (((xx - yy) / 2) ** 2 + xy**2).sqrt()
    edge = size // 16
    strength[:edge], strength[-edge:], strength[:, :edge], strength[:, -edge:] = 0, 0, 0, 0
    reach = 2 * (size // 32) + 1
    peaks = torch.nn.functional.max_pool2d(strength[None, None], reach, 1, reach // 2)[0, 0]
    best = (strength * (strength == peaks)).flatten().topk(count).indices
    return torch.stack((best % size, best // size), dim=1).float()


def _dragged(pair: Pair, settings: DragSettings) -> Tensor:
    """The first picture, dragged."""
    session = DragSession(pair.canvas, pair.canvas.latent, settings)
    size = pair.canvas.config.network.resolution
    places = pair.places.clamp(0, size - 1)
    session.place([(float(x), float(y)) for x, y in pair.points], [(float(x), float(y)) for x, y in places])
    while not session.done:
        session.step()
    return session.state.picture()


def _shuffled(pair: Pair) -> Pair:
    """The same points with the moves of others."""
    moves = (pair.places - pair.points).roll(1, 0).flip(1)
    return replace(pair, places=pair.points + moves)


def _error(made: Tensor, wanted: Tensor) -> float:
    """Mean squared error of pictures in [0, 1], times 100, as in the paper."""
    return float((made - wanted).square().mean()) * 25


def _landmarks(model: DragGan, seed: int, count: int, report: Report) -> dict[str, Measure]:
    """Mean distances of landmarks after drags of one, five and all of them."""
    config = model.config
    kind, size = config.kinds.index("critter"), config.network.resolution
    samples = PortraitsWorld(critters=1.0, seed=seed + 1, size=size).batch(range(LESSONS + HELD_BACK))
    pictures = pictures_to_tensor(np.stack([sample.picture for sample in samples]))
    places = torch.from_numpy(np.stack([sample.keypoints for sample in samples])).float()
    reader = LandmarkReader.fit(pictures[:LESSONS], places[:LESSONS])
    error = (reader(pictures[LESSONS:]) - places[LESSONS:]).norm(dim=2).mean()
    settings = replace(drag_settings(config), steps=STEPS)
    found = {
        "landmarks: reader's own error": Measure(
            value=float(error),
            unit=" px",
            higher_is_better=False,
            samples=HELD_BACK,
            baseline=float((places[LESSONS:] - places[:LESSONS].mean(0)).norm(dim=2).mean()),
        )  # fmt: skip
    }
    groups = {"1": EYES_AND_MOUTH[2:3], "5": EYES_AND_MOUTH, "11": tuple(range(len(KEYPOINTS)))}
    for name, which in groups.items():
        figures = [_landmark_figures(model, reader, seed + 2 * i, kind, which, settings) for i in range(count)]
        report(Progress(step=1, total=1, stage=f"landmarks {name}"))
        drag, none, flow = (float(np.mean(column)) for column in zip(*figures, strict=True))
        found[f"landmarks: mean distance of {name} (baseline: no edit; control: flow tracking)"] = Measure(
            value=drag, baseline=none, control=flow, unit=" px", higher_is_better=False, samples=count
        )
    return found


def _landmark_figures(
    model: DragGan, reader: Callable[[Tensor], Tensor], seed: int, kind: int, which: tuple[int, ...], how: DragSettings
) -> tuple[float, float, float]:
    """Mean distance to another critter's landmarks after a drag, before it, and after one with flow tracking."""
    config, edge = model.config, model.config.network.resolution - 1
    start, other = draw_styles(model, seed, kind), draw_styles(model, seed + 1, kind)
    with torch.no_grad():
        first, second = model.generator.synthesis(start), model.generator.synthesis(other)
    points = reader(first)[0, list(which)].clamp(0, edge)
    places = reader(second)[0, list(which)].clamp(0, edge)
    pair = Pair(GanCanvas(model.generator, config, start), first, second, points, places)
    ends = [_dragged(pair, how), first, _dragged(pair, replace(how, tracker=OpticalFlow()))]
    away = [(reader(end)[0, list(which)] - places).norm(dim=1).mean() for end in ends]
    return float(away[0]), float(away[1]), float(away[2])


@torch.no_grad()
def _drawn(model: DragGan, seed: int, count: int) -> dict[str, Measure]:
    """Distances of drawn pictures to a world's, kind by kind, beside other pictures of the world and blurred ones."""
    config, found = model.config, {}
    for number, kind in enumerate(config.kinds):
        if kind not in ("emoji face", "critter"):
            continue
        share = float(kind == "critter")
        world = PortraitsWorld(critters=share, seed=seed + 2, size=config.network.resolution)
        real = pictures_to_tensor(np.stack([sample.picture for sample in world.batch(range(2 * count))]))
        styles = torch.cat([draw_styles(model, seed + place, number, 1.0) for place in range(count)])
        made = torch.cat([model.generator.synthesis(part) for part in styles.split(16)]).clamp(-1, 1)
        for name, one in set_distances(made, real[:count], real[count:]).items():
            found[f"{kind}: {name}"] = Measure(
                value=one.value, baseline=one.blurred, higher_is_better=False, samples=count
            )
    return found
