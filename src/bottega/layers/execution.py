"""How linear layers run on this machine: the faster of torch's own product and oneDNN's with packed weights.

torch hands float32 products to MKL, which takes a slow path on processors that are not Intel's; oneDNN, which torch
already uses for convolutions and bfloat16, does not. Which one wins is measured once per process.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROWS, WIDTH = 256, 1024
"""The product that the probe times, `(rows, width) @ (width, width)`: a few hundred tokens of a mid-sized network."""

PACKABLE = (torch.float32, torch.bfloat16)
"""Types whose weights oneDNN packs."""

MARGIN = 1.2
"""How much faster packed weights must be to be worth their memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LinearRates:
    """What a linear layer reaches here, in FLOP/s.

    Args:
        plain: torch's own float32 product.
        packed: oneDNN's with packed weights; 0 where torch was built without it.
        bf16: torch's bfloat16 product.
        row: torch's bfloat16 product with one row, as a decoder's next token is.
        packed_row: oneDNN's with packed weights; 0 where torch was built without it.
    """

    plain: float
    packed: float
    bf16: float
    row: float
    packed_row: float

    def prefers_packed(self, dtype: torch.dtype) -> bool:
        """Whether packed weights of that type are clearly faster."""
        if dtype is torch.bfloat16:
            return self.packed_row > MARGIN * self.row
        return self.packed > MARGIN * self.plain


@cache
def linear_rates() -> LinearRates:
    """Measures this machine once per process, in about 50 ms; the ways alternate so that other work hits all alike."""
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(rows, WIDTH, generator=generator) for rows in (ROWS, WIDTH))
    x_half, weight_half = x.bfloat16(), weight.bfloat16()
    ways: list[Callable[[], Tensor]] = [
        lambda: F.linear(x, weight),
        lambda: F.linear(x_half, weight_half),
        lambda: F.linear(x_half[:1], weight_half),
    ]
    packed, packed_half = pack(weight, ROWS), pack(weight_half, ROWS)
    if packed is not None and packed_half is not None:
        ways += [lambda: packed_linear(x, packed, None), lambda: packed_linear(x_half[:1], packed_half, None)]
    best = [float("inf")] * len(ways)
    with torch.inference_mode():
        for _ in range(6):
            for position, way in enumerate(ways):
                start = time.perf_counter()
                way()
                best[position] = min(best[position], time.perf_counter() - start)
    rows = (ROWS, ROWS, 1, ROWS, 1)
    rates = [2 * count * WIDTH**2 / seconds for count, seconds in zip(rows, best, strict=False)]
    plain, half, row, packed_rate, packed_row = [*rates, 0.0, 0.0][:5]
    return LinearRates(plain=plain, bf16=half, row=row, packed=packed_rate, packed_row=packed_row)


def pack(weight: Tensor, rows: int = ROWS) -> Tensor | None:
    """A float32 or bfloat16 weight `(out, in)` in oneDNN's layout, best for so many rows; None without oneDNN."""
    if not torch.backends.mkldnn.is_available():
        return None
    try:
        return torch.ops.mkldnn._reorder_linear_weight(weight.detach(), rows)
    except (AttributeError, NotImplementedError, RuntimeError):  # a build that lacks the kernel: the plain path stays
        return None


def packed_linear(x: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    """The product of `(..., in)` with a packed weight, plus a bias; forward only."""
    return torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")


def times(matrix: Tensor, rows: int) -> Callable[[Tensor], Tensor]:
    """The product with a matrix that is used several times, on the faster of torch's kernel and oneDNN's; forward only.

    Args:
        matrix: `(out, in)`.
        rows: Rows that a product will have.

    Returns:
        `(..., in)` to `(..., out)`.
    """
    usable = matrix.device.type == "cpu" and matrix.dtype in PACKABLE and linear_rates().prefers_packed(matrix.dtype)
    packed = pack(matrix.contiguous(), rows) if usable else None
    if packed is None:
        return lambda x: F.linear(x, matrix)
    return lambda x: packed_linear(x, packed, None)


@final
class PackedLinear(nn.Linear):
    """A linear layer that runs on packed weights where nothing is differentiated, and as `nn.Linear` otherwise.

    Its parameters are those of the `nn.Linear` that it was. The packed copy follows them: it is made at the first use,
    and again when they have changed.
    """

    packed: Tensor | None
    packed_from: tuple[int, int] | None

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name that nn.Linear's callers may use
        """`(..., in)` to `(..., out)`."""
        if not self._fits(input):
            return F.linear(input, self.weight, self.bias)
        source = (self.weight.data_ptr(), self.weight._version)
        if self.packed is None or self.packed_from != source:
            self.packed, self.packed_from = pack(self.weight), source
        if self.packed is None:
            return F.linear(input, self.weight, self.bias)
        return packed_linear(input, self.packed, self.bias)

    def _fits(self, x: Tensor) -> bool:
        weight = self.weight
        return (
            x.dtype is weight.dtype
            and weight.dtype in PACKABLE
            and x.device.type == weight.device.type == "cpu"
            and x.ndim > 1
            and x.numel() > 0
            and not weight.is_inference()
            and not (torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad))
            and not torch.is_autocast_enabled("cpu")
            and not torch.compiler.is_compiling()
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "packed": None, "packed_from": None}  # a copy packs for itself


def prepare_for_inference(model: nn.Module, *, packed: bool | None = None) -> int:
    """Lets a model's float32 and bfloat16 linear layers on the CPU run on packed weights, where that is faster here.

    Names, parameters and `state_dict` stay as they are, results agree to rounding, and training still works (it takes
    the plain path). Packed weights take their memory once more.

    Args:
        model: Changed in place.
        packed: Whether to pack; None measures once per process.

    Returns:
        How many layers were changed.
    """
    layers = [part for part in model.modules() if type(part) is nn.Linear and _is_plain(part)]
    if packed is None and layers:
        layers = [layer for layer in layers if linear_rates().prefers_packed(layer.weight.dtype)]
    elif not packed:
        layers = []
    for layer in layers:
        layer.__class__ = PackedLinear  # the same module: nobody's reference to it, hook or name is lost
        layer.__dict__.update(packed=None, packed_from=None)
    return len(layers)


def undo_preparation(model: nn.Module) -> int:
    """Takes `prepare_for_inference` back and frees the packed weights; returns how many layers were changed."""
    layers: list[nn.Linear] = [part for part in model.modules() if isinstance(part, PackedLinear)]
    for layer in layers:
        layer.__class__ = nn.Linear
        for name in ("packed", "packed_from"):
            layer.__dict__.pop(name)
    return len(layers)


def _is_plain(layer: nn.Linear) -> bool:
    return layer.weight.dtype in PACKABLE and layer.weight.device.type == "cpu"
