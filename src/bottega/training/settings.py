"""What a training run is told: `FitSettings`, its choices as types, and their description as JSON."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from bottega.errors import RequestError
from bottega.training.schedules import Constant, Schedule


class Precision(enum.Enum):
    """Arithmetic of the forward and backward pass. Weights, gradients and optimizer state are always float32."""

    FP32 = "fp32"
    BF16 = "bf16"


class Optimizer(enum.Enum):
    """What moves the weights."""

    ADAMW = "adamw"
    MUON = "muon"
    """Muon on matrices, AdamW on the rest: fewer steps to the same loss for transformers, each a little dearer."""
    LAMB = "lamb"
    """AdamW's direction, each tensor's step as long as its weights are: for batches of many thousands."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Single:
    """One process."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ddp:
    """Every process holds the whole model; gradients are averaged. Launch with `torchrun`.

    Args:
        find_unused: Whether some parameters may get no gradient in a step (slower when true).
    """

    find_unused: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Fsdp:
    """Parameters, gradients and optimizer state are split over the processes (FSDP2). Launch with `torchrun`.

    The recipe must reach the network through `forward` of the model (or of its children when the model itself has
    none), because that is where the pieces are put together.
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class FitSettings:
    """How a model is trained.

    Args:
        steps: Updates in all.
        batch_size: Samples in one update, over all processes and accumulation parts.
        learning_rate: Peak rate.
        optimizer: What moves the weights.
        warmup_steps: Updates of linear rise.
        schedule: Shape of the rate after the warm-up.
        weight_decay: Decoupled decay of AdamW, on the groups that decay.
        betas: Decay of AdamW's two moments.
        clip_norm: Largest L2 norm of the gradient; None clips nothing.
        accumulate: Equal parts that one batch is computed in, to save memory. The update stays the same.
        ema_decay: Decay of the averaged weights; None keeps none.
        precision: Arithmetic of the forward and backward pass.
        compile: Whether to run the model through torch.compile.
        seed: Source of all randomness: batch order, batch contents, dropout.
        log_every: Updates per line of the log.
        save_every: Updates between checkpoints; 0 saves at the end only.
        keep: Newest checkpoints that stay on disk.
        preview_every: Updates between previews; 0 makes none.
        workers: Threads that prepare batches ahead; 0 prepares them in the loop. The result does not depend on it.
        parallel: One process, or how many processes share the work.
    """

    steps: int
    batch_size: int
    learning_rate: float = 1e-3
    optimizer: Optimizer = Optimizer.ADAMW
    warmup_steps: int = 0
    schedule: Schedule = Constant()
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    clip_norm: float | None = 1.0
    accumulate: int = 1
    ema_decay: float | None = None
    precision: Precision = Precision.FP32
    compile: bool = False
    seed: int = 0
    log_every: int = 10
    save_every: int = 1000
    keep: int = 2
    preview_every: int = 0
    workers: int = 1
    parallel: Single | Ddp | Fsdp = Single()

    def __post_init__(self) -> None:
        for name, low in (
            ("steps", 1), ("batch_size", 1), ("warmup_steps", 0), ("accumulate", 1), ("seed", 0), ("log_every", 1),
            ("save_every", 0), ("keep", 1), ("preview_every", 0), ("workers", 0),
        ):  # fmt: skip
            _check(name, getattr(self, name), getattr(self, name) >= low, f"at least {low}")
        _check("learning_rate", self.learning_rate, self.learning_rate >= 0, "at least 0")
        _check("weight_decay", self.weight_decay, self.weight_decay >= 0, "at least 0")
        _check("betas", self.betas, all(0 <= beta < 1 for beta in self.betas), "two numbers in [0, 1)")
        _check("clip_norm", self.clip_norm, self.clip_norm is None or self.clip_norm > 0, "above 0, or None")
        decay_fits = self.ema_decay is None or 0 <= self.ema_decay < 1
        _check("ema_decay", self.ema_decay, decay_fits, "in [0, 1), or None")
        _check("accumulate", self.accumulate, self.batch_size % self.accumulate == 0,
               f"a divisor of batch_size {self.batch_size}")  # fmt: skip


def describe(settings: FitSettings) -> dict[str, Any]:
    """The settings as plain JSON values; choices carry their type's name."""
    return {field.name: _plain(getattr(settings, field.name)) for field in dataclasses.fields(settings)}


def settings_hash(settings: FitSettings) -> str:
    """SHA-256 of the described settings, in hexadecimal."""
    return hashlib.sha256(json.dumps(describe(settings), sort_keys=True).encode()).hexdigest()


def _plain(value: object) -> Any:  # noqa: ANN401 - JSON values have no closer type
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Single | Ddp | Fsdp | Schedule):
        return {"type": type(value).__name__, **dataclasses.asdict(value)}
    return list(value) if isinstance(value, tuple) else value


def _check(field: str, value: object, fits: bool, allowed: str) -> None:
    if not fits:
        raise RequestError.of(field, value, allowed)
