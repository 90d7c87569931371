"""Linear layers with 8-bit weights, for models whose speed is that at which their weights are read.

Each output channel of a weight has one scale. The input is rounded to 8 bits as well, with one scale a row, when it
arrives; products are exact sums of integers.
"""

from __future__ import annotations

from functools import cache
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LARGEST = 127
OFFSET = 128
"""oneDNN's kernel takes unsigned inputs: 0 is stored as this."""


def quantise(x: Tensor) -> tuple[Tensor, Tensor]:
    """Rows rounded to multiples of 1/127 of their largest magnitude.

    Args:
        x: float32 `(rows, channels)`.

    Returns:
        uint8 `(rows, channels)`, 128 above the rounded value, and float32 `(rows, 1)`, the largest magnitudes.
    """
    largest = torch.linalg.vector_norm(x, torch.inf, dim=-1, keepdim=True)
    shares = x / largest.clamp_min(torch.finfo(torch.float32).tiny)
    return torch.add(OFFSET + 0.5, shares, alpha=LARGEST).to(torch.uint8), largest


@final
class Int8Linear(nn.Module):
    """A linear layer with weights in 8 bits; forward only.

    Args:
        layer: The layer whose weights are rounded.
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        weight = layer.weight.detach().float()
        scale = weight.abs().amax(dim=1).clamp_min(torch.finfo(torch.float32).tiny) / LARGEST
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach().float())
        self.packed: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """`(..., in)` of any float type to `(..., out)` of the same."""
        rows, largest = quantise(x.reshape(-1, self.in_features).float())
        y = self._native(rows) if has_int8_kernel(x.device) else self.plain(rows)
        y = y * largest if self.bias is None else torch.addcmul(self.bias, y, largest)
        return y.to(x.dtype).view(*x.shape[:-1], self.out_features)

    def _native(self, rows: Tensor) -> Tensor:
        if self.packed is None:
            weight = torch.ops.onednn.qlinear_prepack(self.weight, None)
            self.packed = (weight, torch.zeros(self.out_features, dtype=torch.long))
        weight, zeros = self.packed
        return torch.ops.onednn.qlinear_pointwise(
            rows, 1 / LARGEST, OFFSET, weight, self.scale, zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "packed": None}  # a copy packs for itself

    def plain(self, rows: Tensor) -> Tensor:
        """What the kernel computes, by a product of floats: sums of integers below 2 ** 24 are exact in float32."""
        signed = rows.float() - OFFSET
        return F.linear(signed, self.weight.float()) * (self.scale / LARGEST)


def has_int8_kernel(device: torch.device) -> bool:
    """Whether products of 8-bit numbers run natively: a CPU with VNNI, and torch with oneDNN."""
    return device.type == "cpu" and _has_kernel()


@cache
def _has_kernel() -> bool:
    return torch.backends.mkldnn.is_available() and torch.cpu._is_vnni_supported()


def linears_to_int8(model: nn.Module) -> int:
    """Gives every linear layer of a model weights in 8 bits, in place; the model can then only be run.

    Returns:
        How many layers were changed.
    """
    made: dict[int, Int8Linear] = {}
    for parent in list(model.modules()):
        for name, part in list(parent._modules.items()):  # named_children leaves out a layer's second place
            if isinstance(part, nn.Linear):
                small = made.get(id(part)) or Int8Linear(part)
                made[id(part)] = small
                setattr(parent, name, small)
    return len(made)
