"""Feed-forward layers."""

from __future__ import annotations

from enum import Enum

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Activation(Enum):
    """The nonlinearity of a feed-forward layer."""

    GELU = "gelu"
    GELU_TANH = "gelu_tanh"
    """The tanh approximation, as in GPT-2 ("gelu_new")."""
    QUICK_GELU = "quick_gelu"
    """x * sigmoid(1.702 x), as in CLIP."""
    SILU = "silu"


def activate(x: Tensor, activation: Activation) -> Tensor:
    """Applies an activation elementwise."""
    match activation:
        case Activation.GELU:
            return F.gelu(x)
        case Activation.GELU_TANH:
            return F.gelu(x, approximate="tanh")
        case Activation.QUICK_GELU:
            return x * torch.sigmoid(1.702 * x)
        case Activation.SILU:
            return F.silu(x)


class Mlp(nn.Module):
    """Two linear layers with an activation between them.

    Args:
        width: Channels in and out.
        hidden: Channels between.
        activation: The nonlinearity.
    """

    def __init__(self, width: int, hidden: int, activation: Activation = Activation.GELU) -> None:
        super().__init__()
        self.activation = activation
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """`(..., width)` to `(..., width)`."""
        return self.fc2(activate(self.fc1(x), self.activation))


class GatedMlp(nn.Module):
    """SwiGLU: `down(silu(gate(x)) * up(x))` without biases, gate and up in one product.

    Args:
        width: Channels in and out.
        hidden: Channels of the gate and of what it gates.

    Source: arXiv:2002.05202, equation 6.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """`(..., width)` to `(..., width)`."""
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)
