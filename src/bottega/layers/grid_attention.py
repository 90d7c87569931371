"""Attention on a grid of tokens, with relative positions along rows and columns, whole or in windows.

Source: decomposed relative positions from MViTv2, arXiv:2112.01526, section 4.1 (equation 4); windows from ViTDet,
arXiv:2203.16527, section 3.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from bottega.layers.attention import attend
from bottega.layers.execution import times

MANY_TOKENS = 1024
"""From so many tokens on, the scores of all heads together no longer fit a processor's cache."""

BLOCK_BYTES = 8 << 20
"""Most bytes of attention scores that are held at once then, on a CPU where nothing is differentiated."""


class GridAttention(nn.Module):
    """Multi-head self-attention of tokens on a grid.

    Args:
        width: Channels of a token.
        num_heads: Heads; must divide `width`.
        grid: Rows and columns that attention covers: the whole grid, or a window of it. The tables of relative
            positions have this size; another size of input is served by interpolating them.
        window: Whether tokens attend within windows of `grid`, those at the edges padded with zeros, instead of
            everywhere.
    """

    def __init__(self, width: int, num_heads: int, grid: tuple[int, int], *, window: bool = False) -> None:
        super().__init__()
        if width % num_heads:
            raise ValueError(f"width {width} must be a multiple of num_heads {num_heads}")
        self.num_heads, self.grid, self.window = num_heads, grid, window
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.row_positions = nn.Parameter(torch.zeros(2 * grid[0] - 1, width // num_heads))
        self.column_positions = nn.Parameter(torch.zeros(2 * grid[1] - 1, width // num_heads))

    def forward(self, x: Tensor) -> Tensor:
        """Tokens `(batch, rows, columns, width)` to the same shape."""
        qkv = self.qkv(x)
        if not self.window:
            return self.proj(self.attend(qkv))
        rows, columns = x.shape[1:3]
        cells = windows(qkv, self.grid, self.qkv.bias)
        return self.proj(unwindows(self.attend(cells), self.grid, rows, columns))

    def attend(self, qkv: Tensor) -> Tensor:
        """Projected tokens `(batch, rows, columns, 3 * width)` to `(batch, rows, columns, width)`, before `proj`."""
        rows, columns = qkv.shape[1:3]
        q, k, v = rearrange(qkv, "b r c (three h d) -> three b h r c d", three=3, h=self.num_heads)
        out = attend_on_grid(
            q, k, v, offsets(self.row_positions, rows, q.dtype), offsets(self.column_positions, columns, q.dtype)
        )
        return rearrange(out, "b h r c d -> b r c (h d)")


def offsets(table: Tensor, length: int, dtype: torch.dtype) -> Tensor:
    """Relative positions of every query to every key on a line.

    Args:
        table: `(2 * trained_length - 1, head_dim)`, from the furthest key after the query to the furthest before it.
        length: Tokens on the line; the table is interpolated to it.
        dtype: Type of the result.

    Returns:
        `(length, length, head_dim)`: query, key, vector.
    """
    if len(table) != 2 * length - 1:
        table = F.interpolate(table.T[None].float(), size=2 * length - 1, mode="linear")[0].T
    places = torch.arange(length, device=table.device)
    return table[places[:, None] - places + length - 1].to(dtype)


def attend_on_grid(q: Tensor, k: Tensor, v: Tensor, row_offsets: Tensor, column_offsets: Tensor) -> Tensor:
    """Attention of a grid's tokens over all of them; each score gains q · r(row offset) + q · c(column offset).

    Args:
        q: Queries `(batch, heads, rows, columns, head_dim)`.
        k: Keys of the same shape.
        v: Values of the same shape.
        row_offsets: `(rows, rows, head_dim)`, for each query's row and each key's row.
        column_offsets: `(columns, columns, head_dim)`.

    Returns:
        `(batch, heads, rows, columns, head_dim)`.
    """
    by_row = torch.einsum("bhrcd,rkd->bhrck", q, row_offsets)
    by_column = torch.einsum("bhrcd,ckd->bhrck", q, column_offsets)
    rows, columns = q.shape[2:4]
    if rows * columns >= MANY_TOKENS and q.device.type == "cpu" and not torch.is_grad_enabled():
        return _head_by_head(q, k, v, by_row, by_column)
    bias = (by_row[..., :, None] + by_column[..., None, :]).flatten(2, 3).flatten(-2)
    out = attend(q.flatten(2, 3), k.flatten(2, 3), v.flatten(2, 3), mask=bias)
    return out.unflatten(2, (rows, columns))


def _head_by_head(q: Tensor, k: Tensor, v: Tensor, by_row: Tensor, by_column: Tensor) -> Tensor:
    """The same in blocks of rows of one head, whose scores gain their positions while they lie in the cache.

    Where every bias was laid out first, a layer of SAM's largest grid would hold 805 MB of them.
    """
    batch, heads, rows, columns, width = q.shape
    q, out = q * width**-0.5, torch.empty_like(v)
    step = max(1, BLOCK_BYTES // (columns * rows * columns * q.element_size()))
    for sample in range(batch):
        for head in range(heads):
            keys = times(k[sample, head].flatten(0, 1), step * columns)
            values = times(v[sample, head].flatten(0, 1).T, step * columns)
            for start in range(0, rows, step):
                at = (sample, head, slice(start, start + step))
                scores = keys(q[at].flatten(0, 1)).view(-1, columns, rows, columns)
                scores.add_(by_row[at][..., None]).add_(by_column[at][:, :, None])
                share = scores.view(-1, rows * columns).softmax(-1)
                out[at] = values(share).view(-1, columns, width)
    return out


def windows(x: Tensor, grid: tuple[int, int], padding: Tensor) -> Tensor:
    """Cuts a grid into windows.

    Args:
        x: `(batch, rows, columns, channels)`.
        grid: Rows and columns of a window.
        padding: `(channels,)`, what fills windows that reach over the edge.

    Returns:
        `(batch * windows, *grid, channels)`, windows row by row.
    """
    batch, rows, columns, channels = x.shape
    down, across = -(-rows // grid[0]), -(-columns // grid[1])
    if (down * grid[0], across * grid[1]) != (rows, columns):
        full = padding.to(x.dtype).expand(batch, down * grid[0], across * grid[1], channels).clone()
        full[:, :rows, :columns] = x
        x = full
    return rearrange(x, "b (n r) (m c) d -> (b n m) r c d", n=down, m=across)


def unwindows(x: Tensor, grid: tuple[int, int], rows: int, columns: int) -> Tensor:
    """Puts windows back into a grid `(batch, rows, columns, channels)` and cuts off what padded it."""
    down, across = -(-rows // grid[0]), -(-columns // grid[1])
    return rearrange(x, "(b n m) r c d -> b (n r) (m c) d", n=down, m=across)[:, :rows, :columns]
