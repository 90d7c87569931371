from __future__ import annotations

import pytest
import torch

from bottega.errors import RequestError
from bottega.layers import FullMemory, JoinedMemory, Rotary

ROTARY = Rotary(8)


def empty(capacity: int = 16) -> FullMemory:
    return FullMemory(layers=1, batch=1, kv_heads=2, head_dim=8, capacity=capacity)


def see(memory: FullMemory | JoinedMemory, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    memory.begin(q.shape[2], ROTARY)
    seen = memory.attend(0, q, k, v)
    memory.finish()
    return seen


@pytest.mark.parametrize("count", [1, 3])
def test_joined_rows_see_what_each_sees_alone(count: int) -> None:
    torch.manual_seed(0)
    lengths, alone, joined = (5, 1, 9), [], []
    for length in lengths:
        past = (torch.randn(1, 4, length, 8), torch.randn(1, 2, length, 8), torch.randn(1, 2, length, 8))
        for rows in (alone, joined):
            rows.append(empty())
            see(rows[-1], *past)
    together = JoinedMemory(joined)
    for _ in range(2):
        q, k, v = torch.randn(3, 4, count, 8), torch.randn(3, 2, count, 8), torch.randn(3, 2, count, 8)
        parts = zip(alone, q.split(1), k.split(1), v.split(1), strict=True)
        expected = torch.cat([see(row, *heads) for row, *heads in parts])
        torch.testing.assert_close(see(together, q, k, v), expected)
    assert together.lengths == [length + 2 * count for length in lengths]
    assert [row.lengths for row in joined] == [row.lengths for row in alone]


def test_a_joined_row_that_is_full_refuses() -> None:
    memory = JoinedMemory([empty(), empty(2)])
    with pytest.raises(RequestError, match="at most 2"):
        memory.begin(3, ROTARY)
