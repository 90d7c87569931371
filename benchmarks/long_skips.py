"""The paper's ablation: the tiny U-ViT with and without long skips, on the same batches and for the same steps."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import torch

from benchmarks.measure import Outcome, Row
from bottega.systems.diffusion.uvit.config import PRESETS
from bottega.systems.diffusion.uvit.model import UVitPipeline
from bottega.systems.diffusion.uvit.objective import uvit_loss
from bottega.systems.diffusion.uvit.recipe import STAGES, uvit_recipe
from bottega.training import Precision, fit
from bottega.worlds import EmojiWorld

STEPS, BATCH, SEED, TESTS = 150, 16, 0, 256


def run(steps: int = STEPS) -> Outcome:
    """Trains both from the same seed and compares the loss on pictures of the held-out split, time by time."""
    losses = {name: _trained(name, steps) for name in ("tiny", "tiny-no-skips")}
    skips, plain = (losses[name] for name in ("tiny", "tiny-no-skips"))
    difference = (plain - skips).mean().item()
    error = (plain - skips).std().item() / len(skips) ** 0.5
    fewer = PRESETS["tiny"].parameters - PRESETS["tiny-no-skips"].parameters
    method = (
        f"{steps} updates of {BATCH} pictures at 32 pixels, seed {SEED}. Min-SNR loss on {TESTS} draws from the "
        f"held-out split of the emoji world, with equal times and noise: without skips it is {difference:.4f} "
        f"+- {error:.4f} higher. Without skips there are {fewer:,} parameters fewer."
    )
    return Outcome(
        name="long_skips",
        title="U-ViT with and without long skips, at the same steps",
        method=method,
        rows=(
            Row(what="held-out loss with long skips", value=skips.mean().item(), unit=""),
            Row(what="held-out loss without", value=plain.mean().item(), unit=""),
        ),
        details={"steps": steps, "difference": difference, "standard_error": error},
    )


def _trained(name: str, steps: int) -> torch.Tensor:
    torch.manual_seed(SEED)
    model = UVitPipeline(PRESETS[name].config)
    recipe = uvit_recipe(model, EmojiWorld(scenes=0.0, size=32))
    settings = dataclasses.replace(
        STAGES[0].settings, steps=steps, batch_size=BATCH, warmup_steps=steps // 10, precision=Precision.FP32,
        ema_decay=None, preview_every=0, save_every=0, seed=SEED,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        fit(recipe, settings, Path(folder))
    test = uvit_recipe(model, EmojiWorld(split="heldout", scenes=0.0, size=32, seed=SEED + 1))
    batch = test.batch(range(TESTS), torch.Generator().manual_seed(1))
    losses = []
    with torch.no_grad():
        for i in range(TESTS):
            condition = None if batch.words is None else batch.words[i : i + 1]
            generator = torch.Generator().manual_seed(i)
            losses.append(uvit_loss(model.network, batch.pictures[i : i + 1], condition, generator))
    return torch.stack(losses)
