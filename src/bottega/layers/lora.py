"""LoRA: a small change of low rank beside the frozen weight of a linear layer.

The change of a layer is W + scale * B A with A `(rank, in)` and B `(out, rank)`. Our layers are often fused (queries,
keys and values are one product) where published adapters change the separate ones. An adapter here has parts, each of
which changes a run of a layer's outputs with factors of its own, so that it is exactly the separate ones.

The model does not know of its adapters: they are modules beside it, and `applied` adds them for as long as it is open.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bottega.errors import RequestError


@dataclass(frozen=True, kw_only=True, slots=True)
class LoraConfig:
    """Size of an adapter.

    Args:
        rank: Rank of every change.
        alpha: The change is multiplied by `alpha / rank`.
        dropout: Share of a layer's inputs that the change does not see while it trains.
        root: Divide by the root of the rank instead (rsLoRA, arXiv:2312.03732, section 3).
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    root: bool = False

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise RequestError.of("rank", self.rank, "1 or more")
        if not 0 <= self.dropout < 1:
            raise RequestError.of("dropout", self.dropout, "0 or more and below 1")

    @property
    def scale(self) -> float:
        """What the change is multiplied by."""
        return self.alpha / (sqrt(self.rank) if self.root else self.rank)


@dataclass(frozen=True, kw_only=True, slots=True)
class LoraPart:
    """A run of outputs of a linear layer that is changed.

    Args:
        layer: The layer's name in the model, such as "blocks.0.attention.qkv".
        peer: The name of the same outputs as a layer of their own in the published model.
        start: First output.
        size: Outputs.
    """

    layer: str
    peer: str
    start: int
    size: int


class LoraFactors(nn.Module):
    """A and B of one part; B begins at zero, so that a new adapter changes nothing."""

    def __init__(self, inputs: int, outputs: int, rank: int) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.empty(rank, inputs))
        self.b = nn.Parameter(torch.zeros(outputs, rank))
        nn.init.kaiming_uniform_(self.a, a=sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """`(..., inputs)` to `(..., outputs)`, without the scale."""
        return F.linear(F.linear(x, self.a), self.b)


class Lora(nn.Module):
    """An adapter of one model: factors for some of its linear layers.

    Args:
        layers: The layers that the parts name, by name.
        parts: What is changed; no two parts of a layer overlap.
        config: The adapter's size.

    Raises:
        ValueError: A part that its layer does not have, or two that overlap.

    Source: arXiv:2106.09685, section 4.1.
    """

    def __init__(self, layers: Mapping[str, nn.Linear], parts: Sequence[LoraPart], config: LoraConfig) -> None:
        super().__init__()
        _require_apart(layers, parts)
        self.config, self.parts = config, tuple(parts)
        self.factors = nn.ModuleDict(
            {lora_key(part.peer): LoraFactors(layers[part.layer].in_features, part.size, config.rank) for part in parts}
        )

    def of(self, part: LoraPart) -> LoraFactors:
        """The factors of a part."""
        found = self.factors[lora_key(part.peer)]
        if not isinstance(found, LoraFactors):
            raise TypeError(f"{part.peer} has a {type(found).__name__}")
        return found

    def change(self, part: LoraPart) -> Tensor:
        """What is added to the rows of a layer's weight, `(size, inputs)`."""
        factors = self.of(part)
        return self.config.scale * (factors.b @ factors.a)

    def forward(self, layer: str, x: Tensor, y: Tensor) -> Tensor:
        """Adds the changes of a layer to its output.

        Args:
            layer: Which layer.
            x: Its input `(..., inputs)`.
            y: Its output `(..., outputs)`.
        """
        seen = F.dropout(x, self.config.dropout, self.training)
        outputs, position = [], 0
        for part in sorted((part for part in self.parts if part.layer == layer), key=lambda part: part.start):
            factors = self.of(part)
            outputs.append(y[..., position : part.start])
            rows = y[..., part.start : part.start + part.size]
            outputs.append(rows + self.config.scale * factors(seen.to(factors.a.dtype)).to(y.dtype))
            position = part.start + part.size
        outputs.append(y[..., position:])
        return torch.cat(outputs, dim=-1)


@contextmanager
def applied(model: nn.Module, *adapters: Lora) -> Iterator[None]:
    """The model with adapters: while this is open, their changes are added to the outputs of its layers.

    Args:
        model: Any model that has the layers by name.
        adapters: Any number; their changes add up.
    """
    with ExitStack() as held:
        for adapter in adapters:
            for layer in dict.fromkeys(part.layer for part in adapter.parts):
                held.enter_context(_added(model.get_submodule(layer), adapter, layer))
        yield


@contextmanager
def merged(model: nn.Module, *adapters: Lora) -> Iterator[None]:
    """The model with adapters in its weights, at no cost in each pass; the old weights come back to the bit.

    The product of weights in half precision is rounded, so `applied` is nearer to what was trained.
    """
    weights = _changed_weights(model, adapters)
    kept = {name: weight.detach().clone() for name, weight in weights.items()}
    try:
        merge_into(model, *adapters)
        yield
    finally:
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(kept[name])


@torch.no_grad()
def merge_into(model: nn.Module, *adapters: Lora) -> None:
    """Puts adapters into a model's weights for good."""
    for name, weight in _changed_weights(model, adapters).items():
        weight.copy_(merged_weight(name, weight, adapters))  # in place: whoever packs weights sees the change


def merged_weight(layer: str, weight: Tensor, adapters: Sequence[Lora]) -> Tensor:
    """A layer's weight `(outputs, inputs)` with the changes of adapters, computed in float32."""
    total = weight.detach().float().clone()
    for adapter in adapters:
        for part in adapter.parts:
            if part.layer == layer:
                total[part.start : part.start + part.size] += adapter.change(part).detach().float()
    return total.to(weight.dtype)


def linear_of(model: nn.Module, name: str) -> nn.Linear:
    """The linear layer of a name.

    Raises:
        ValueError: It is none.
    """
    layer = model.get_submodule(name)
    if not isinstance(layer, nn.Linear):
        raise ValueError(f"{name} is a {type(layer).__name__}; an adapter changes linear layers")
    return layer


def lora_key(peer: str) -> str:
    """The name of a part's factors among modules, whose names have no dots."""
    return peer.replace(".", "-")


@contextmanager
def _added(module: nn.Module, adapter: Lora, layer: str) -> Iterator[None]:
    def add(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return adapter(layer, inputs[0], output)

    handle = module.register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()


def _changed_weights(model: nn.Module, adapters: Sequence[Lora]) -> dict[str, Tensor]:
    """The weights that adapters change, by their layers' names."""
    names = dict.fromkeys(part.layer for adapter in adapters for part in adapter.parts)
    return {name: linear_of(model, name).weight for name in names}


def _require_apart(layers: Mapping[str, nn.Linear], parts: Sequence[LoraPart]) -> None:
    taken: dict[str, int] = {}
    for part in sorted(parts, key=lambda part: (part.layer, part.start)):
        if part.layer not in layers or part.start + part.size > layers[part.layer].out_features:
            raise ValueError(f"{part.peer} changes outputs that {part.layer} does not have")
        if part.start < taken.get(part.layer, 0):
            raise ValueError(f"{part.peer} changes outputs of {part.layer} that another part changes")
        taken[part.layer] = part.start + part.size
