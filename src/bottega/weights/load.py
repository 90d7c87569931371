"""Puts tensors into a model, strictly, and reports what was loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bottega.errors import WeightsError
from bottega.weights.keys import listed


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadReport:
    """What was loaded.

    Args:
        parameters: Numbers in the model's parameters; a tied parameter counts once.
        bytes: Bytes of the tensors that were read.
        dtypes: How many tensors came in each dtype, such as `{"float16": 40}`.
        source: Where they came from.
    """

    parameters: int
    bytes: int
    dtypes: dict[str, int]
    source: str


def load_into(model: nn.Module, tensors: Mapping[str, Tensor], *, source: str) -> LoadReport:
    """Gives a model its parameters and saved buffers. The model keeps its dtypes, devices and tied parameters.

    A model on the "meta" device receives the tensors themselves, converted only when the dtype differs; any other model
    receives copies. Nothing is changed unless everything fits.

    Args:
        model: The model to fill.
        tensors: One tensor for each key of `model.state_dict()`.
        source: What to call the tensors in errors and in the report, such as a file's path.

    Raises:
        WeightsError: Missing or extra keys, wrong shapes, tied parameters given different values, numbers of another
            kind (integers for real numbers), or a meta model with unsaved buffers, which no file can fill.
    """
    slots = _slots(model)
    _require_fit(slots, tensors, source)
    groups = _tied(slots)
    _require_equal_ties(groups, tensors, source)
    _require_saved_buffers(model, slots, source)
    owners = _owners(model)
    placed: set[int] = set()
    with torch.no_grad():
        for names in groups:
            slot, tensor = slots[names[0]], tensors[names[0]]
            if slot.is_meta:
                _assign(owners, names, slot, _own(tensor, slot.dtype, placed))
            else:
                slot.copy_(tensor)
    return LoadReport(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        bytes=sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()),
        dtypes=dict(Counter(str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values())),
        source=source,
    )


def _slots(model: nn.Module) -> dict[str, Tensor]:
    """The live parameters and saved buffers by key, tied ones under each of their names."""
    return {key: value for key, value in model.state_dict(keep_vars=True).items() if isinstance(value, Tensor)}


def _require_fit(slots: Mapping[str, Tensor], tensors: Mapping[str, Tensor], source: str) -> None:
    both = [key for key in slots if key in tensors]
    wrong_shape = [
        f"{key} is {tuple(tensors[key].shape)}, not {tuple(slots[key].shape)}"
        for key in both
        if tensors[key].shape != slots[key].shape
    ]
    wrong_kind = [
        f"{key} is {tensors[key].dtype}, not {slots[key].dtype}"
        for key in both
        if _kind(tensors[key].dtype) != _kind(slots[key].dtype)
    ]
    problems = [
        ([key for key in slots if key not in tensors], "missing"),
        ([key for key in tensors if key not in slots], "not in the model"),
        (wrong_shape, "wrong shape"),
        (wrong_kind, "wrong kind of number"),
        ([key for key in both if tensors[key].is_meta], "without values (on the meta device)"),
    ]
    texts = [f"{what}: {listed(keys)}" for keys, what in problems if keys]
    if texts:
        raise WeightsError(
            f"{source} does not fit the model; {'; '.join(texts)}; check that preset and format are right"
        )


def _kind(dtype: torch.dtype) -> str:
    if dtype.is_floating_point:
        return "real"
    if dtype.is_complex:
        return "complex"
    return "truth" if dtype is torch.bool else "integer"


def _tied(slots: Mapping[str, Tensor]) -> list[list[str]]:
    """Keys grouped by the tensor object they name, in the model's order."""
    groups: dict[int, list[str]] = {}
    for key, slot in slots.items():
        groups.setdefault(id(slot), []).append(key)
    return list(groups.values())


def _require_equal_ties(groups: list[list[str]], tensors: Mapping[str, Tensor], source: str) -> None:
    for first, *others in groups:
        different = [key for key in others if not _same_values(tensors[key], tensors[first])]
        if different:
            raise WeightsError(f"{source} gives different values to tied parameters: {listed([first, *different])}")


def _same_values(first: Tensor, second: Tensor) -> bool:
    return first is second or (first.dtype == second.dtype and torch.equal(first, second))


def _require_saved_buffers(model: nn.Module, slots: Mapping[str, Tensor], source: str) -> None:
    unsaved = [key for key, buffer in model.named_buffers() if buffer.is_meta and key not in slots]
    if unsaved:
        raise WeightsError(
            f"{source} cannot fill buffers that are not saved: {listed(unsaved)}; build the model on a real device"
        )


def _owners(model: nn.Module) -> dict[str, nn.Module]:
    """The module that holds each parameter and buffer, by key (tied parameters under every name)."""
    return {
        f"{prefix}.{name}" if prefix else name: module
        for prefix, module in model.named_modules(remove_duplicate=False)
        for name in (*module._parameters, *module._buffers)
    }


def _assign(owners: Mapping[str, nn.Module], names: list[str], slot: Tensor, tensor: Tensor) -> None:
    parameter = nn.Parameter(tensor, requires_grad=slot.requires_grad) if isinstance(slot, nn.Parameter) else None
    for key in names:
        name = key.rpartition(".")[2]
        if parameter is not None:
            owners[key].register_parameter(name, parameter)
        else:
            owners[key].register_buffer(name, tensor)


def _own(tensor: Tensor, dtype: torch.dtype, placed: set[int]) -> Tensor:
    """The tensor in the model's dtype; a copy when another parameter already lives at the same address."""
    tensor = tensor.detach().to(dtype)
    if not tensor.is_contiguous() or tensor.data_ptr() in placed:
        tensor = tensor.clone(memory_format=torch.contiguous_format)
    placed.add(tensor.data_ptr())
    return tensor
