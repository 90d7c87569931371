"""Frozen 3x3 convolutions on weights that oneDNN has laid out once, forward and backward.

torch lays a convolution's weights out anew in every call on a CPU. Where feature maps are small and weights large (the
first blocks of a generator) that costs more than the convolution. Weights that stay as they are, as in drawing and in
optimising a latent, are laid out once here; results agree to rounding.
"""

from __future__ import annotations

from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


@final
class FrozenConv3x3:
    """A convolution without bias by weights that do not change; differentiable once, in its input.

    Args:
        weight: `(out, in, 3, 3)`, or `(in, out, 3, 3)` to double the side.
        double: Whether the side doubles: a transposed convolution of stride 2, to side `2 n + 1`. Without, it stays.
        side: Side of the input, for which the layout is chosen.
    """

    def __init__(self, weight: Tensor, *, double: bool, side: int) -> None:
        self.weight = weight.detach().contiguous(memory_format=torch.channels_last)
        self.double, self.side = double, side
        self.forward_weight = _packed(self.weight, transposed=double, side=side)
        self.backward_weight: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """`(batch, in, n, n)` to `(batch, out, n, n)`, or of side `2 n + 1`; channels-last."""
        if self.forward_weight is None or x.dtype is not torch.float32 or torch.is_autocast_enabled("cpu"):
            return self.plain(x)
        if torch.is_grad_enabled() and x.requires_grad:
            return _Frozen.apply(x, self)
        return self.made(x)

    def plain(self, x: Tensor) -> Tensor:
        """The same by torch's own convolutions, differentiable as often as wanted."""
        if self.double:
            return F.conv_transpose2d(x, self.weight.to(x.dtype), stride=2)
        return F.conv2d(x, self.weight.to(x.dtype), padding=1)

    def made(self, x: Tensor) -> Tensor:
        """The result, without a graph."""
        x = x.contiguous(memory_format=torch.channels_last)
        if self.double:
            return torch.ops.mkldnn._convolution_transpose_pointwise(
                x, self.forward_weight, None, [0, 0], [0, 0], [2, 2], [1, 1], 1, "none", [], ""
            )
        return _convolved(x, self.forward_weight, padding=1, stride=1)

    def slope(self, above: Tensor) -> Tensor:
        """The gradient in the input, from that in the result: a convolution by the weights seen from the other end."""
        if self.backward_weight is None:
            turned = self.weight if self.double else self.weight.transpose(0, 1).flip(2, 3)
            padding, stride, side = (0, 2, 2 * self.side + 1) if self.double else (1, 1, self.side)
            self.backward_weight = _packed(turned, transposed=False, side=side, padding=padding, stride=stride)
        above = above.contiguous(memory_format=torch.channels_last)
        return _convolved(above, self.backward_weight, padding=0 if self.double else 1, stride=2 if self.double else 1)


class _Frozen(torch.autograd.Function):
    """A frozen convolution in a graph."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, conv: FrozenConv3x3) -> Tensor:
        ctx.conv = conv
        return conv.made(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor, None]:  # pyright: ignore - torch's is one of two ways
        return ctx.conv.slope(above[0]), None


def _convolved(x: Tensor, weight: Tensor | None, *, padding: int, stride: int) -> Tensor:
    around, steps = [padding, padding], [stride, stride]
    return torch.ops.mkldnn._convolution_pointwise(x, weight, None, around, steps, [1, 1], 1, "none", [], "")


def _packed(weight: Tensor, *, transposed: bool, side: int, padding: int = 1, stride: int = 1) -> Tensor | None:
    """A kernel in oneDNN's layout for one picture of a side; None where there is no oneDNN for it."""
    if not torch.backends.mkldnn.is_available() or weight.device.type != "cpu" or weight.dtype is not torch.float32:
        return None
    kernel = weight.contiguous(memory_format=torch.channels_last)
    shape = [1, kernel.shape[0 if transposed else 1], side, side]
    try:
        if transposed:
            reorder = torch.ops.mkldnn._reorder_convolution_transpose_weight
            return reorder(kernel, [0, 0], [0, 0], [2, 2], [1, 1], 1, shape)
        reorder = torch.ops.mkldnn._reorder_convolution_weight
        return reorder(kernel, [padding, padding], [stride, stride], [1, 1], 1, shape)
    except (AttributeError, NotImplementedError, RuntimeError):  # a build that lacks the kernel: the plain path stays
        return None
