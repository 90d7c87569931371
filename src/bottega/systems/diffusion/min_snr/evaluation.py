"""Measuring Min-SNR on the emoji world: what was learned, how noise levels interfere, and who learns faster.

Sets are compared on a named feature network without weights. A picture's group is read by its nearest tile of the whole
atlas, by mean colours of an 8 x 8 grid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from bottega.data import pictures_to_tensor
from bottega.metrics import PixelFeatures, frechet_distance
from bottega.networks import DiffusionVitConfig
from bottega.room import Measure, Progress, Report
from bottega.systems.diffusion.min_snr.config import (
    EMOJI_GROUPS,
    TINY,
    WEIGHTINGS,
    MinSnrConfig,
    Weights,
)
from bottega.systems.diffusion.min_snr.inference import (
    MinSnrRequest,
    draw,
    emoji_states,
    group_ids,
    transfer,
)
from bottega.systems.diffusion.min_snr.model import MinSnrPipeline
from bottega.systems.diffusion.min_snr.objective import min_snr_loss
from bottega.worlds.emoji import family_weights, reference_pictures, split

STEPS, BATCH, BANDS, TUNING = 25, 64, 8, 20
FEATURES = PixelFeatures()
RACE = replace(
    TINY,
    network=DiffusionVitConfig(
        size=16, channels=3, patch_size=4, width=64, depth=4, num_heads=2, times=100, classes=len(EMOJI_GROUPS) + 1
    ),
)
"""The size that races: small enough to be trained several times in a minute."""
RIVALS = {"min-SNR": Weights.MIN_SNR, "even in x0": Weights.EVEN, "even in the noise": Weights.SNR}


@torch.inference_mode()
def evaluate(model: MinSnrPipeline, seed: int, limit: int, report: Report) -> dict[str, Measure]:
    """What the paper is about, with baselines and controls.

    Args:
        model: The pipeline.
        seed: Picks emoji, classes and noise.
        limit: Most pictures to draw; twice as many updates for each racer.
        report: Called after every batch, band and racer.
    """
    count = max(limit, 2)
    found = quality(model, seed, count, report)
    moved = transfer(model, MinSnrRequest(bands=BANDS, tuning_steps=TUNING, seed=seed), report).change
    distance = (torch.arange(BANDS)[:, None] - torch.arange(BANDS)[None]).abs()
    near, far = moved.diagonal().mean(), moved[distance >= BANDS // 2].mean()
    found["change of the loss where it was tuned"] = Measure(
        value=100 * float(near), baseline=0.0, control=100 * float(far), unit="%", higher_is_better=False, samples=BANDS
    )
    return found | race_measures(2 * count, seed, report)


def quality(model: MinSnrPipeline, seed: int, count: int, report: Report) -> dict[str, Measure]:
    """Distance of drawn pictures to real ones, their groups, and the error of x0 on held-out tiles."""
    emojis, random = split("train"), np.random.default_rng(seed)
    weights, size = family_weights(emojis), model.config.picture_size
    tiles = pictures_to_tensor(reference_pictures("train", size)[0])
    first, second = (torch.from_numpy(random.choice(len(emojis), count, p=weights)) for _ in range(2))
    classes = group_ids(model, "train")[second]
    made = []
    for start in range(0, count, BATCH):
        request = MinSnrRequest(steps=STEPS, seed=seed + start)
        states = draw(model, classes[start : start + BATCH].tolist(), request)
        made.append(model.to_pictures(states).clamp(-1, 1).float().cpu())
        report(Progress(step=min(start + BATCH, count), total=count, stage="draw"))
    drawn, real, other = torch.cat(made), tiles[first], tiles[second]
    flat = interpolate(adaptive_avg_pool2d(other, 4), size=(size, size), mode="bilinear")
    truth = FEATURES.features(real)
    found = {
        f"Fréchet distance ({FEATURES.name})": Measure(
            value=frechet_distance(FEATURES.features(drawn), truth),
            baseline=frechet_distance(FEATURES.features(flat), truth),
            higher_is_better=False,
            samples=count,
        ),
        "error of x0, held-out tiles": _held_out_error(model, tiles, seed),
    }
    if model.config.names == EMOJI_GROUPS:
        found["group of the nearest tile"] = _groups_kept(drawn, classes, tiles, group_ids(model, "train"), random)
    return found


def _held_out_error(model: MinSnrPipeline, tiles: Tensor, seed: int) -> Measure:
    """Mean squared error of x0 over even noise levels; of the mean picture; with shuffled classes."""
    pictures = pictures_to_tensor(reference_pictures("heldout", model.config.picture_size)[0])
    classes, device = group_ids(model, "heldout"), model.network.pos_embed.device
    states = model.to_states(pictures.to(device))
    denoiser, path, generator = model.denoiser(), model.path, torch.Generator().manual_seed(seed)
    times = path.training_time((torch.arange(len(states)) + 0.5) / len(states)).to(device)
    noise = torch.randn(states.shape, generator=generator).to(device)
    alpha, sigma = (part.float().reshape(-1, 1, 1, 1) for part in (path.alpha(times), path.sigma(times)))
    noisy, order = alpha * states + sigma * noise, torch.randperm(len(states), generator=generator)

    def error(told: Tensor) -> float:
        return float((denoiser(noisy, times, told.to(device)) - states).square().mean())

    mean = model.to_states(tiles.mean(dim=0, keepdim=True).to(device))
    baseline, shuffled = float((mean - states).square().mean()), (classes + 1 + order % 8) % model.config.classes
    return Measure(
        value=error(classes), baseline=baseline, control=error(shuffled), higher_is_better=False, samples=len(states)
    )


def _groups_kept(made: Tensor, asked: Tensor, tiles: Tensor, groups: Tensor, random: np.random.Generator) -> Measure:
    """Share of pictures whose nearest tile is of the group asked for; of other pictures' groups; of a random tile."""
    nearest = torch.cdist(_coarse(made), _coarse(tiles)).argmin(dim=1)
    seen, order = groups[nearest], torch.from_numpy(random.permutation(len(asked)))
    by_chance = torch.bincount(groups, minlength=len(EMOJI_GROUPS)).double() / len(groups)
    return Measure(
        value=100 * float((seen == asked).double().mean()),
        control=100 * float((seen == asked[order]).double().mean()),
        baseline=100 * float(by_chance[asked].mean()),
        unit="%",
        samples=len(asked),
    )


def race_measures(
    steps: int, seed: int, report: Report, *, size: MinSnrConfig = RACE, checks: int = 12
) -> dict[str, Measure]:
    """Updates that each weighting needs to come as close to real pictures as the slowest one ever does."""
    runs = {}
    for number, (name, weights) in enumerate(RIVALS.items(), 1):
        runs[name] = race(replace(size, weighting=WEIGHTINGS[weights]), steps, seed, checks)
        report(Progress(step=number, total=len(RIVALS), stage="race"))
    target = max(min(run.values()) for run in runs.values())
    needed = {name: next(step for step, distance in run.items() if distance <= target) for name, run in runs.items()}
    best = {name: min(run.values()) for name, run in runs.items()}
    own = next(iter(RIVALS))
    return {
        f"updates to a distance of {target:.3g}": Measure(
            value=needed[own], baseline=needed["even in x0"], control=needed["even in the noise"],
            higher_is_better=False, samples=steps,
        ),
        "least distance in the race": Measure(
            value=best[own], baseline=best["even in x0"], control=best["even in the noise"], higher_is_better=False,
            samples=steps,
        ),
    }  # fmt: skip


def race(
    config: MinSnrConfig, steps: int, seed: int, checks: int = 12, watch: Callable[[int, float], None] | None = None
) -> Mapping[int, float]:
    """Trains a fresh transformer and follows the distance of its drawn pictures to real ones.

    All racers share initial weights, batches, times and noise.

    Args:
        config: The size and the weighting.
        steps: Updates.
        seed: Source of all randomness.
        checks: Measurements on the way.
        watch: Called after each measurement with updates and distance.

    Returns:
        Updates to Fréchet distance.
    """
    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng():
        torch.manual_seed(seed)
        model, generator = MinSnrPipeline(config), torch.Generator().manual_seed(seed)
        (states, classes), _ = emoji_states(model, 3000, seed)
        truth = FEATURES.features(states)
        optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.99), weight_decay=0.03)
        found = {}
        for step in range(1, steps + 1):
            rows = torch.randint(len(states), (BATCH,), generator=generator)
            optimizer.param_groups[0]["lr"] = 2e-3 * min(step / 30, 1.0)
            optimizer.zero_grad(set_to_none=True)
            min_snr_loss(model, states[rows], classes[rows], generator).backward()
            optimizer.step()
            if step % max(steps // checks, 1) == 0:
                found[step] = _distance(model, truth)
                if watch is not None:
                    watch(step, found[step])
    return found


@torch.no_grad()
def _distance(model: MinSnrPipeline, truth: Tensor, count: int = 128) -> float:
    ids = [number % model.config.classes for number in range(count)]
    drawn = draw(model, ids, MinSnrRequest(steps=10, guidance=1.0)).clamp(-1, 1)
    return frechet_distance(FEATURES.features(drawn), truth)


def _coarse(pictures: Tensor) -> Tensor:
    return adaptive_avg_pool2d(pictures, 8).flatten(1)
