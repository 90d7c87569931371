"""A trained diffusion model as every solver, likelihood and distiller sees it, whatever room it lives in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from bottega.errors import RequestError
from bottega.processes.diffusion.guidance import ClassifierFree, repeat_rows
from bottega.processes.diffusion.objective import noise_like
from bottega.processes.diffusion.paths import Path
from bottega.processes.diffusion.predictions import Denoised, Denoiser, Prediction


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Taps:
    """Where other rooms look into a prior's network while it runs, by hooks.

    Args:
        block: The part whose output holds the picture's features.
        maps: That output to maps `(batch, channels, rows, rows)` that cover the picture.
        projections: Linear layers that make the queries, keys and values, side by side, of self-attention over the
            picture's tokens, in the order of use.
    """

    block: nn.Module
    maps: Callable[[Tensor], Tensor]
    projections: tuple[nn.Linear, ...]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Prior:
    """What a room with a diffusion model hands to rooms that work on any diffusion model.

    Args:
        network: A module `(x_t, t of shape (b,), cond) -> output` of x_t's shape. Its parameters are the model's own:
            a distiller copies it, a fine-tuning trains it.
        path: The noise path that it was trained on.
        prediction: What its output is.
        shape: Shape of one state, without the batch.
        to_pictures: States `(b, *shape)` to pictures `(b, 3, size, size)` in [-1, 1].
        from_pictures: Pictures to states.
        size: Side of a picture in pixels.
        condition: Inputs as users type them (words, class names) to a condition with one row for each; None when the
            model takes no condition. Raises `RequestError` for an input that the model does not know.
        null_cond: The condition that says nothing, of one row; None when the model has none.
        input_of: A sample of a world or folder to the input that `condition` takes for it; "" for one that the model
            has no words for.
    """

    network: nn.Module
    path: Path
    prediction: Prediction
    shape: tuple[int, ...]
    to_pictures: Callable[[Tensor], Tensor]
    from_pictures: Callable[[Tensor], Tensor]
    size: int
    condition: Callable[[Sequence[str]], Any] | None = None
    null_cond: Any | None = None
    input_of: Callable[[Any], str] = field(default=lambda sample: sample.caption)
    taps: Taps | None = None

    @property
    def like(self) -> Tensor:
        """A tensor on the model's device, of its type."""
        return next(self.network.parameters())

    def denoiser(self) -> Denoised:
        """The model as a `Denoiser`."""
        return Denoised(self.network, self.path, self.prediction)

    def guided(self, scale: float) -> Denoiser:
        """The model under classifier-free guidance.

        Raises:
            RequestError: It has no null condition and the scale is not 1.
        """
        if scale == 1.0:
            return self.denoiser()
        if self.null_cond is None:
            raise RequestError.of("guidance", scale, "1 for this model", "it has no null condition to guide away from")
        return ClassifierFree(scale=scale, null_cond=self.null_cond)(self.denoiser())

    def conditions(self, inputs: Sequence[str], count: int = 1) -> Any:  # noqa: ANN401 - the model's type
        """The condition of `count` items for each input; of `count` unconditional items where there are no inputs.

        Raises:
            RequestError: There are inputs and the model takes none, or one is unknown.
        """
        if not inputs:
            return repeat_rows(self.null_cond, count)
        if self.condition is None:
            raise RequestError(f"this model takes no inputs, but {len(inputs)} were given; leave them out")
        return self.condition([text for text in inputs for _ in range(count)])

    def start(self, generators: Sequence[torch.Generator], t: float) -> Tensor:
        """Pure noise at time `t`, one state for each generator: item i depends on generator i alone."""
        rows = [torch.randn(self.shape, generator=generator) for generator in generators]
        return (torch.stack(rows) * self.path.sigma(float(t))).to(self.like)

    def noised(self, states: Tensor, t: float, generator: torch.Generator | None = None) -> Tensor:
        """Clean states `(b, *shape)` brought to time `t`."""
        return self.path.alpha(t) * states + self.path.sigma(t) * noise_like(states, generator)
