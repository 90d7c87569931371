"""The tensors of a training state by name, for checkpoints: the same names on one process and on many."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from bottega.errors import WeightsError
from bottega.training.ema import Ema, trained_parameters
from bottega.training.pieces import cut_like, whole
from bottega.training.recipe import TrainState


def collect(state: TrainState, kept: bool) -> dict[str, dict[str, Tensor]]:
    """Everything to write, with the parts of all processes put together; a collective call.

    Args:
        state: The training state.
        kept: Whether this process needs the result; the others get empty dicts, to save memory.

    Returns:
        "model", "ema" (when there is one) and "optimizer" tensors on the CPU.
    """
    files = {"model": dict(state.model.state_dict())}
    if state.ema is not None:
        files["ema"] = averaged(state.model, state.ema)
    files["optimizer"] = optimizer_tensors(state)
    return {file: _gathered(tensors, kept) for file, tensors in files.items()}


def restore(state: TrainState, files: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Puts checkpointed tensors back, split over processes where the state is.

    Raises:
        WeightsError: If names or shapes do not fit the model.
    """
    own = state.model.state_dict()
    _check_names("model", own.keys(), files["model"].keys())
    for name, tensor in own.items():
        _fill(name, tensor, files["model"][name])
    if state.ema is not None and "ema" in files:
        average = averaged(state.model, state.ema)
        _check_names("averaged weights", average.keys(), files["ema"].keys())
        for name, tensor in average.items():
            _fill(name, tensor, files["ema"][name])
    elif state.ema is not None:
        for name, parameter in trained_parameters(state.model).items():
            state.ema.tensors[name] = parameter.detach().clone()
    _restore_optimizers(state, files["optimizer"])


def averaged(model: nn.Module, ema: Ema) -> dict[str, Tensor]:
    """The averages by all names of their parameters: a shared parameter has several."""
    first = {id(parameter): name for name, parameter in trained_parameters(model).items()}
    names = model.named_parameters(remove_duplicate=False)
    return {name: ema.tensors[first[id(parameter)]] for name, parameter in names if id(parameter) in first}


def optimizer_tensors(state: TrainState) -> dict[str, Tensor]:
    """Every optimizer's moments and counters, named "optimizer/parameter/key"."""
    tensors = {}
    for title, optimizer in state.optimizers.items():
        for name, parameter in _parameters_of(state.model, optimizer).items():
            for key, value in optimizer.state.get(parameter, {}).items():
                tensors[f"{title}/{name}/{key}"] = torch.as_tensor(value)
    return tensors


def _restore_optimizers(state: TrainState, tensors: Mapping[str, Tensor]) -> None:
    found: dict[str, dict[str, Tensor]] = {}
    for path, value in tensors.items():
        owner, _, key = path.rpartition("/")
        found.setdefault(owner, {})[key] = value
    for title, optimizer in state.optimizers.items():
        for name, parameter in _parameters_of(state.model, optimizer).items():
            values = found.pop(f"{title}/{name}", None)
            if values is not None:
                optimizer.state[parameter] = {key: _beside(parameter, value) for key, value in values.items()}
    if found:
        raise WeightsError(
            f"the checkpoint has optimizer state for {sorted(found)[:5]}, which nothing trains now; "
            f"train into another folder, or train the same parameters"
        )


def _beside(parameter: nn.Parameter, value: Tensor) -> Tensor:
    """A state tensor placed like its parameter; counters (no dimensions) only move to its device."""
    return cut_like(parameter, value) if value.shape == parameter.shape else value.to(parameter.device)


def _parameters_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, nn.Parameter]:
    moved = {id(p) for group in optimizer.param_groups for p in group["params"]}
    return {name: p for name, p in model.named_parameters() if id(p) in moved}


def _gathered(tensors: Mapping[str, Tensor], kept: bool) -> dict[str, Tensor]:
    gathered = {}
    for name, tensor in tensors.items():
        value = whole(tensor.detach())
        if kept:
            gathered[name] = value.cpu()
    return gathered


@torch.no_grad()
def _fill(name: str, own: Tensor, value: Tensor) -> None:
    if own.shape != value.shape:
        raise WeightsError(f"{name} is {tuple(value.shape)} in the checkpoint, but {tuple(own.shape)} in the model")
    own.copy_(cut_like(own, value))


def _check_names(what: str, own: object, found: object) -> None:
    missing, extra = sorted(set(own) - set(found)), sorted(set(found) - set(own))  # pyright: ignore
    if missing or extra:
        raise WeightsError(
            f"the checkpoint's {what} do not fit: missing {missing[:5]}, unexpected {extra[:5]}; "
            f"train into another folder, or build the model as it was"
        )
