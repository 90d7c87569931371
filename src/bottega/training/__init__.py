"""Training: `fit` runs a `Recipe` under `FitSettings`, with checkpoints that resume bit for bit."""

from bottega.training.batches import split, to_device
from bottega.training.checkpoint import Snapshot, list_checkpoints, load_checkpoint, load_newest, save_checkpoint
from bottega.training.ema import Ema
from bottega.training.fit import fit
from bottega.training.journal import NotFiniteError, Tensorboard
from bottega.training.optimizers import Lamb, adamw, decay_groups, layer_rates, layered_groups, optimizer_of
from bottega.training.progress import FitResult, TrainProgress
from bottega.training.randomness import draw_generators, sample_generators
from bottega.training.recipe import CompiledParts, OwnOptimizers, Previewing, Recipe, TrainState, autocast, descend
from bottega.training.schedules import Constant, Cosine, InverseSquareRoot, Linear, rate_factor
from bottega.training.settings import Ddp, FitSettings, Fsdp, Optimizer, Precision, Single, describe, settings_hash

__all__ = [
    "CompiledParts",
    "Constant",
    "Cosine",
    "Ddp",
    "Ema",
    "FitResult",
    "FitSettings",
    "Fsdp",
    "InverseSquareRoot",
    "Lamb",
    "Linear",
    "NotFiniteError",
    "Optimizer",
    "OwnOptimizers",
    "Precision",
    "Previewing",
    "Recipe",
    "Single",
    "Snapshot",
    "Tensorboard",
    "TrainProgress",
    "TrainState",
    "adamw",
    "autocast",
    "decay_groups",
    "descend",
    "describe",
    "draw_generators",
    "fit",
    "layer_rates",
    "layered_groups",
    "list_checkpoints",
    "load_checkpoint",
    "load_newest",
    "optimizer_of",
    "rate_factor",
    "sample_generators",
    "save_checkpoint",
    "settings_hash",
    "split",
    "to_device",
]
