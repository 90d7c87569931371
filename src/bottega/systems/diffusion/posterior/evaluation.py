"""Measuring the room: scans against classical and supervised reconstruction, pictures against what they started from.

The control of a reconstruction is its distance to the truth of another item: what any reconstruction of the kind gets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bottega.data import pictures_to_tensor
from bottega.metrics import PixelFeatures, kernel_distance, psnr, ssim
from bottega.processes.diffusion import BlockAverage, Blur, Grey, LinearOperator, Mask, Prior, Radon
from bottega.room import Measure, Progress, Report
from bottega.systems.diffusion.posterior.inference import (
    BLUR,
    FREQUENCY_NOISE,
    GUIDANCE,
    Known,
    Task,
    degraded,
    grey,
    group_score,
    roughly,
    scanned,
    usual_method,
    word_score,
)
from bottega.systems.diffusion.posterior.model import Posterior
from bottega.systems.diffusion.posterior.objective import group_names, known_words, name_words
from bottega.systems.diffusion.posterior.sampling import (
    Drawing,
    SolverName,
    draws_pixels,
    told_by,
)
from bottega.worlds import PhantomsWorld
from bottega.worlds.emoji import Emoji, family_weights, load_index, reference_pictures, split

STEPS = 50
PROJECTIONS, LINES = (6, 12, 24), (8, 12, 16)
STRENGTHS = (0.2, 0.4, 0.6, 0.8)
DRAWS = 3
"""Draws of a posterior whose mean is compared too: the mean of many has the least squared error, a draw twice that."""


@torch.no_grad()
def evaluate(model: Posterior, seed: int, limit: int, report: Report) -> dict[str, Measure]:
    """Figures of every task that the size can do.

    Args:
        model: The room's model; what it has no prior or reader for is not measured.
        seed: Picks the noise and the emoji.
        limit: Most items for each figure.
        report: Called after every figure.
    """
    return figures(Bench(model, seed, max(limit, 2)), report)


def figures(bench: Bench, report: Report) -> dict[str, Measure]:
    """Every figure of a bench."""
    model = bench.model
    jobs: list[Callable[[], dict[str, Measure]]] = []
    if model.scans is not None:
        jobs += [lambda count=count: bench.tomography(count) for count in PROJECTIONS]
        jobs += [lambda count=count: bench.resonance(count) for count in LINES]
    if "prior" in model.parts:
        jobs += [lambda task=task: bench.restoration(task) for task in bench.operators()]
        jobs.append(bench.strokes)
        if model.reader is not None:
            jobs += [bench.groups, bench.words]
    found: dict[str, Measure] = {}
    for number, job in enumerate(jobs, 1):
        found |= job()
        report(Progress(step=number, total=len(jobs), stage="measure"))
    return found


@dataclass(frozen=True, slots=True)
class Bench:
    """The figures of one model, each by a method.

    Args:
        model: The room's model.
        seed: Picks the noise, the phantoms and the emoji.
        count: Items for each figure.
        steps: Denoising steps.
    """

    model: Posterior
    seed: int
    count: int
    steps: int = STEPS

    def tomography(self, projections: int) -> dict[str, Measure]:
        """Sparse-view CT; beside filtered back-projection and, on its own terms, the supervised rival."""
        density = self._density()
        known = scanned(self.model, density, Task.CT, projections, self._generator())
        found = self._scan_figures(known, f"CT, {projections} projections")
        rival = self.model.rival
        if rival is not None and isinstance(known.operator, Radon):
            told = f"CT, {projections} projections (supervised U-Net, trained for {self.model.config.rival})"
            guess = rival((known.classical[:, :1] + 1) / 2)
            found |= _compared(grey(guess), known, told)
        return found

    def resonance(self, lines: int) -> dict[str, Measure]:
        """Undersampled MRI; beside zero-filling."""
        known = scanned(self.model, self._density(), Task.MRI, lines, self._generator())
        return self._scan_figures(known, f"MRI, {lines} of {self.model.scan().config.size} rows")

    def operators(self) -> dict[str, LinearOperator]:
        """What is restored in pictures."""
        size = self.model.pictures.size
        hole = torch.ones(1, size, size)
        hole[:, size // 4 : 3 * size // 4, size // 4 : 3 * size // 4] = 0
        return {
            "inpainting the middle": Mask(hole), "colourisation": Grey(),
            "super-resolution, 4 times": BlockAverage(4), "deblurring": Blur.gaussian(BLUR),
        }  # fmt: skip

    def restoration(self, task: str) -> dict[str, Measure]:
        """PSNR of restored emoji; beside what was known, made a picture without a prior."""
        known = degraded(self.operators()[task], self._tiles()[0], self._generator())
        draws = [self._restored(known, seed) for seed in range(self.seed, self.seed + DRAWS)]
        told = f"{task}: PSNR"
        found = {told: _compared(draws[0], known, task)[told]}
        found[f"{told} of the mean of {DRAWS} draws"] = _compared(torch.stack(draws).mean(0), known, task)[told]
        return found

    def _restored(self, known: Known, seed: int) -> Tensor:
        """One picture behind each measurement, in [-1, 1]."""
        prior = self.model.pictures
        drawing = self._drawing(prior, seed)
        if draws_pixels(prior):
            method = usual_method(known.operator)
            made = drawing.restore(known.operator, known.measured, known.noise_std, method)
        else:
            states = drawing.restore_decoded(known.operator, known.measured, max(known.noise_std, FREQUENCY_NOISE))
            made = prior.to_pictures(states)
        return made.float().cpu().clamp(-1, 1)

    def strokes(self) -> dict[str, Measure]:
        """SDEdit from 8 x 8 colours at several strengths: distance to the guide, and to the set of real emoji."""
        prior, tiles = self.model.pictures, self._tiles()[0]
        rough = roughly(tiles)
        features = PixelFeatures(grid=16)  # finer than the guide, whose colours are right
        real = features.features(self._tiles(offset=1)[0])

        def realism(pictures: Tensor) -> float:
            return kernel_distance(features.features(pictures), real).value

        found = {}
        for strength in STRENGTHS:
            made = prior.to_pictures(self._drawing(prior).edit(prior.from_pictures(rough.to(prior.like)), strength))
            made = made.float().cpu().clamp(-1, 1)
            found[f"SDEdit at {strength}: distance to the guide"] = Measure(
                value=_distance(made, rough), baseline=0.0, control=_distance(made, rough.roll(1, 0)),
                higher_is_better=False, samples=len(made),
            )  # fmt: skip
            found[f"SDEdit at {strength}: kernel distance to emoji"] = Measure(
                value=realism(made), baseline=realism(rough), control=realism(tiles), higher_is_better=False,
                samples=len(made),
            )  # fmt: skip
        return found

    def groups(self) -> dict[str, Measure]:
        """Share of pictures whose nearest tile of the atlas is of the group asked for; the baseline is unguided."""
        asked = [emoji.group.lower() for emoji in self._tiles()[1]]
        numbers = torch.tensor([group_names().index(name) for name in asked])
        return {"classifier guidance: group of the nearest tile": self._nearest(
            group_score(numbers), [lambda emoji, name=name: emoji.group.lower() == name for name in asked]
        )}  # fmt: skip

    def words(self) -> dict[str, Measure]:
        """Share of pictures whose nearest tile has the word in its name; the baseline is unguided."""
        known = known_words(self.model.read().config.words)
        random = np.random.default_rng(self.seed)
        asked = [known[i] for i in random.integers(len(known), size=self.count)]
        score = word_score([[known.index(word)] for word in asked])
        return {"words: in the name of the nearest tile": self._nearest(
            score, [lambda emoji, word=word: word in name_words(emoji) for word in asked]
        )}  # fmt: skip

    def _nearest(self, score: Callable[..., Tensor], fits: list[Callable[[Emoji], bool]]) -> Measure:
        """Percent of guided pictures whose nearest tile fits, beside unguided ones, and what their neighbour asked."""
        prior, gallery = self.model.pictures, load_index()
        tiles = F.adaptive_avg_pool2d(pictures_to_tensor(reference_pictures("all", prior.size)[0]), 16).flatten(1)
        shares = []
        for guidance in (told_by(self.model.read(), prior, score, GUIDANCE), None):
            made = prior.to_pictures(self._drawing(prior).draw(self.count, guidance)).float().cpu().clamp(-1, 1)
            seen = torch.cdist(F.adaptive_avg_pool2d(made, 16).flatten(1), tiles).argmin(1).tolist()
            for asked in (fits, [*fits[1:], fits[0]]):
                shares.append(100 * sum(fit(gallery[i]) for fit, i in zip(asked, seen, strict=True)) / self.count)
        return Measure(value=shares[0], control=shares[1], baseline=shares[2], unit="%", samples=self.count)

    def _scan_figures(self, known: Known, name: str) -> dict[str, Measure]:
        prior = self.model.scan().prior()
        method = usual_method(known.operator)
        states = self._drawing(prior).restore(known.operator, known.measured, known.noise_std, method)
        return _compared(prior.to_pictures(states), known, name)

    def _drawing(self, prior: Prior, seed: int | None = None) -> Drawing:
        own = self.seed if seed is None else seed
        return Drawing(prior=prior, solver=SolverName.ANCESTRAL.solver(), steps=self.steps, seed=own)

    def _density(self) -> Tensor:
        world = PhantomsWorld(split="heldout", size=self.model.scan().config.size, seed=self.seed)
        return torch.from_numpy(np.stack([phantom.density for phantom in world.batch(range(self.count))]))[:, None]

    def _tiles(self, offset: int = 0) -> tuple[Tensor, list[Emoji]]:
        """Emoji of the training split as pictures; another draw for each offset."""
        emojis = split("train")
        random = np.random.default_rng(self.seed + offset)
        chosen = random.choice(len(emojis), self.count, p=family_weights(emojis))
        pictures = pictures_to_tensor(reference_pictures("train", self.model.pictures.size)[0])
        return pictures[chosen], [emojis[i] for i in chosen]

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)


def _compared(made: Tensor, known: Known, name: str) -> dict[str, Measure]:
    """PSNR and SSIM of reconstructions, of the classical ones, and of reconstructions beside another item's truth."""
    if known.truth is None:
        raise ValueError("a figure needs the truth")
    made, truth = made.float().cpu().clamp(-1, 1), known.truth
    found: dict[str, Measure] = {}
    for metric, unit, function in (("PSNR", "dB", psnr), ("SSIM", "", ssim)):
        value, baseline, control = (
            float(function(part, other).mean())
            for part, other in ((made, truth), (known.classical, truth), (made, truth.roll(1, 0)))
        )
        found[f"{name}: {metric}"] = Measure(
            value=value, baseline=baseline, control=control, unit=unit, samples=len(made)
        )
    return found


def _distance(a: Tensor, b: Tensor) -> float:
    """Root of the mean squared difference."""
    return float((a - b).square().mean().sqrt())
