"""Tensors that FSDP keeps in pieces, one on each process.

torch's type for them takes as long to import as all else that running a system needs, so it is only imported where
somebody has made such a tensor.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeGuard

from torch import Tensor

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def in_pieces(tensor: Tensor) -> TypeGuard[DTensor]:
    """Whether a tensor is kept in pieces."""
    made = sys.modules.get("torch.distributed.tensor")
    return made is not None and isinstance(tensor, made.DTensor)


def whole(tensor: Tensor) -> Tensor:
    """The tensor with the parts of all processes put together (FSDP); a collective call."""
    return tensor.full_tensor() if in_pieces(tensor) else tensor


def own_piece(tensor: Tensor) -> Tensor:
    """What this process has of a tensor."""
    return tensor.to_local() if in_pieces(tensor) else tensor


def cut_like(own: Tensor, value: Tensor) -> Tensor:
    """A whole tensor of `own`'s shape on its device, in the same pieces."""
    moved = value.to(own.device)
    if not in_pieces(own):
        return moved
    from torch.distributed.tensor import distribute_tensor  # noqa: PLC0415 - see above

    return distribute_tensor(moved, own.device_mesh, own.placements, src_data_rank=None)
