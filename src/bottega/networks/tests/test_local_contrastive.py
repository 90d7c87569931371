"""The contrastive loss over processes: two of them give the loss and the gradients of one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing

from bottega.networks import contrastive_loss, local_contrastive_loss
from bottega.networks.contrastive import rows_loss


def features(count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 5, generator=generator), torch.randn(count, 5, generator=generator)


def test_parts_add_up_to_the_whole() -> None:
    texts, pictures = features()
    scale, (a, b) = torch.tensor(1.5), (torch.nn.functional.normalize(part, dim=1) for part in features())
    parts = [rows_loss(a[i : i + 2], b[i : i + 2], a, b, i, scale) for i in (0, 2, 4)]
    torch.testing.assert_close(torch.stack(parts).mean(), contrastive_loss(texts, pictures, scale))
    torch.testing.assert_close(local_contrastive_loss(texts, pictures, scale), contrastive_loss(texts, pictures, scale))


def test_order_and_towers_may_be_exchanged_but_not_partners() -> None:
    texts, pictures = features()
    scale, order = torch.tensor(2.0), torch.tensor([3, 0, 5, 1, 2, 4])
    whole = contrastive_loss(texts, pictures, scale)
    torch.testing.assert_close(contrastive_loss(texts[order], pictures[order], scale), whole)
    torch.testing.assert_close(contrastive_loss(pictures, texts, scale), whole)
    assert (contrastive_loss(texts, pictures[order], scale) - whole).abs() > 1e-2


def _rank(rank: int, folder: str) -> None:
    """One of two processes: its loss and its averaged gradients go into a file."""
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    texts, pictures = (part.requires_grad_() for part in features())
    scale = torch.tensor(1.5, requires_grad=True)
    rows = slice(3 * rank, 3 * rank + 3)
    loss = local_contrastive_loss(texts[rows], pictures[rows], scale)
    loss.backward()
    figures = torch.cat([part.grad.flatten() for part in (texts, pictures, scale) if part.grad is not None])
    both = torch.cat((figures, loss.detach()[None]))
    distributed.all_reduce(both)
    if rank == 0:
        torch.save(both / 2, Path(folder) / "figures.pt")
    distributed.destroy_process_group()


def test_two_processes_are_one(tmp_path: Path) -> None:
    if not distributed.is_available():
        pytest.skip("this torch has no distributed package")
    multiprocessing.spawn(_rank, (str(tmp_path),), nprocs=2)
    found = torch.load(tmp_path / "figures.pt", weights_only=True)
    texts, pictures = (part.requires_grad_() for part in features())
    scale = torch.tensor(1.5, requires_grad=True)
    loss = contrastive_loss(texts, pictures, scale)
    loss.backward()
    figures = [part.grad.flatten() for part in (texts, pictures, scale) if part.grad is not None]
    torch.testing.assert_close(found, torch.cat((*figures, loss.detach()[None])), atol=1e-6, rtol=1e-5)
