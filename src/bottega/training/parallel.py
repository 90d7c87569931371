"""Training on many processes with PyTorch's own engines, launched by `torchrun`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed, nn

from bottega.errors import RequestError
from bottega.training.settings import Ddp, FitSettings, Fsdp, Single

# torch's engines for many processes are imported where they are used: they would double a cold start.
if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh
    from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """The processes that share a run.

    Args:
        rank: This process, from 0.
        size: Number of processes.
        device: Where this process's model is.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def writes(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def mean(self, values: Tensor) -> Tensor:
        """The mean of a CPU tensor over all processes."""
        if self.size == 1:
            return values
        total = values.to(self.device)
        distributed.all_reduce(total)
        return total.cpu() / self.size

    def wait(self) -> None:
        """Returns when every process has come here."""
        if self.size > 1:
            distributed.barrier()

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return bool(self.mean(torch.tensor(float(flag))) > 0)


@contextmanager
def enter_world(settings: FitSettings, device: torch.device) -> Iterator[World]:
    """Joins the processes that `torchrun` started; leaves them at the end if it joined them.

    Checkpoints are written by process 0 and read by all, so machines must share the run's folder.

    Raises:
        RequestError: If `torchrun` did not start this process, or the batch cannot be divided.
    """
    if isinstance(settings.parallel, Single):
        yield World(rank=0, size=1, device=device)
        return
    if "RANK" not in os.environ and not distributed.is_initialized():
        name = type(settings.parallel).__name__
        raise RequestError(f"parallel is {name}, but there is one process; start the command with torchrun")
    joins = not distributed.is_initialized()
    if joins:
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        size = distributed.get_world_size()
        if settings.batch_size % (size * settings.accumulate):
            allowed = f"a multiple of {size} processes x accumulate {settings.accumulate}"
            raise RequestError.of("batch_size", settings.batch_size, allowed)
        yield World(rank=distributed.get_rank(), size=size, device=device)
    finally:
        if joins:
            distributed.destroy_process_group()


@torch.no_grad()
def share_model(model: nn.Module, settings: FitSettings) -> None:
    """Gives every process the weights of process 0 and, under `Fsdp`, splits them. Before optimizers are made."""
    if isinstance(settings.parallel, Single):
        return
    for tensor in model.state_dict().values():
        distributed.broadcast(tensor, src=0)
    if isinstance(settings.parallel, Fsdp):
        from torch.distributed.device_mesh import init_device_mesh  # noqa: PLC0415 - see above

        device = next(model.parameters()).device
        _split(model, init_device_mesh(device.type, (distributed.get_world_size(),)))


def replicas(optimizers: dict[str, torch.optim.Optimizer], settings: FitSettings) -> dict[str, DistributedDataParallel]:
    """Under `Ddp`, one gradient-averaging wrapper for each optimizer's parameters; else none."""
    if not isinstance(settings.parallel, Ddp):
        return {}
    from torch.nn.parallel import DistributedDataParallel  # noqa: PLC0415 - see above

    find_unused = settings.parallel.find_unused
    return {
        name: DistributedDataParallel(_Loss(optimizer), find_unused_parameters=find_unused)
        for name, optimizer in optimizers.items()
    }


class _Loss(nn.Module):
    """A loss function as a module, so that DDP averages the gradients of whatever the function calls."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        super().__init__()
        self.moved = nn.ParameterList([p for group in optimizer.param_groups for p in group["params"]])

    def forward(self, loss_fn: Callable[[Any], Any], batch: Any) -> Any:  # noqa: ANN401 - the recipe's own types
        return loss_fn(batch)


def _split(module: nn.Module, mesh: DeviceMesh) -> None:
    """FSDP2 units: the blocks in every list of blocks, then the modules with a `forward` that hold them."""
    from torch.distributed.fsdp import fully_shard  # noqa: PLC0415 - see above

    if type(module).forward is nn.Module.forward:  # a plain container: its children are called one by one
        for child in module.children():
            _split(child, mesh)
        return
    for part in module.modules():
        if isinstance(part, nn.ModuleList):
            for block in part:
                if any(True for _ in block.parameters()) and type(block).forward is not nn.Module.forward:
                    fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh)
