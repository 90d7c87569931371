"""The weights that come with the package restore better than no prior, by the method that the room takes by itself."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch

import bottega
from bottega.processes.diffusion import BlockAverage, Blur, Grey, Mask
from bottega.room import Measure
from bottega.systems.diffusion.posterior.evaluation import Bench
from bottega.systems.diffusion.posterior.inference import usual_method
from bottega.systems.diffusion.posterior.model import Posterior
from bottega.systems.diffusion.posterior.sampling import Method
from bottega.weights import bundled_path, card_path, read_card

ROOM = Path(__file__).parents[1]


@cache
def bench() -> Bench:
    model = bottega.load("posterior").model
    assert isinstance(model, Posterior)
    return Bench(model, 1, 6, steps=20)


def beside(measure: Measure) -> tuple[float, float]:
    """Baseline and control."""
    assert measure.baseline is not None
    assert measure.control is not None
    return measure.baseline, measure.control


def test_the_gradient_is_taken_where_errors_are_not_mixed():
    assert usual_method(Mask(torch.ones(1, 8, 8))) is Method.GRADIENT
    assert usual_method(Blur.gaussian(1.0)) is Method.GRADIENT
    assert usual_method(Grey()) is usual_method(BlockAverage(2)) is Method.PROJECT


@torch.no_grad()
@pytest.mark.parametrize("what", [6, 12, 24])
def test_scans_are_better_than_back_projections(what):
    found = bench().tomography(what)[f"CT, {what} projections: PSNR"]
    assert found.value > beside(found)[0] + 1
    assert found.value > beside(found)[1] + 5


@torch.no_grad()
def test_scans_are_better_than_zero_filling():
    found = bench().resonance(12)["MRI, 12 of 32 rows: PSNR"]
    assert found.value > beside(found)[0] + 5


@torch.no_grad()
@pytest.mark.parametrize(("task", "gain"), [("inpainting the middle", 0.5), ("deblurring", 2.0)])
def test_pictures_are_better_than_what_was_known(task, gain):
    found = bench().restoration(task)
    one = found[f"{task}: PSNR"]
    assert one.value > beside(one)[0] + gain
    assert found[f"{task}: PSNR of the mean of 3 draws"].value > one.value


def test_the_card_says_what_is_worse_than_its_baseline():
    figures = read_card(card_path(bundled_path(ROOM, "tiny"))).metrics
    psnrs = {name for name in figures if name.endswith("PSNR") and "supervised" not in name}
    assert {name for name in psnrs if figures[name] < figures[f"{name}: baseline"]} == {"colourisation: PSNR"}
