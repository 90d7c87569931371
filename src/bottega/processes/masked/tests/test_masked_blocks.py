"""Block-wise masks: exact counts, rectangles, repetition."""

from __future__ import annotations

from random import Random

import pytest
import torch

from bottega.errors import RequestError
from bottega.processes.masked import BlockMasks, block_masks

EVA = BlockMasks(rows=16, columns=16, masked=105)
PAINTER = BlockMasks(rows=56, columns=28, masked=784)


@pytest.mark.parametrize("masks", [EVA, PAINTER, BlockMasks(rows=8, columns=8, masked=26)])
def test_every_mask_covers_exactly_so_many_patches(masks: BlockMasks) -> None:
    random = Random(0)
    for _ in range(50):
        mask = masks.draw(random)
        assert mask.shape == (masks.rows, masks.columns)
        assert mask.dtype is torch.bool
        assert int(mask.sum()) == masks.masked


@pytest.mark.parametrize("masked", [0, 1, 63, 64])
def test_extreme_counts_are_exact_too(masked: int) -> None:
    mask = BlockMasks(rows=8, columns=8, masked=masked).draw(Random(3))
    assert int(mask.sum()) == masked


def test_a_grid_in_which_no_rectangle_fits_is_filled_patch_by_patch() -> None:
    assert int(BlockMasks(rows=1, columns=9, masked=4).draw(Random(1)).sum()) == 4


def test_masks_are_blocks_and_not_scattered_patches() -> None:
    """A masked patch has masked neighbours far more often than the share of masked patches says (0.41)."""
    random, beside = Random(0), []
    for _ in range(100):
        mask = EVA.draw(random)
        beside.append(mask[:, 1:][mask[:, :-1]].float().mean())
    assert torch.stack(beside).mean() > 0.75


def test_no_side_is_preferred_and_no_patch_is_left_out() -> None:
    random = Random(0)
    often = torch.stack([EVA.draw(random) for _ in range(1000)]).float().mean(0)
    assert often.min() > 0.01  # a corner lies in few rectangles
    for side in (often.flip(0), often.flip(1), often.T):
        assert (often - side).abs().mean() < 0.03


def test_no_rectangle_adds_more_than_the_largest() -> None:
    small = BlockMasks(rows=16, columns=16, masked=9, smallest=9, largest=9, least_aspect=1.0)
    mask = small.draw(Random(5))
    assert mask.any(1).sum() == 3
    assert mask.any(0).sum() == 3  # one 3 x 3 square


def test_a_mask_depends_on_its_own_generator_alone() -> None:
    a, b, c = (torch.Generator().manual_seed(seed) for seed in (1, 2, 3))
    together = block_masks(EVA, [a, b, c])
    torch.rand(5, generator=b)
    assert torch.equal(together[1], block_masks(EVA, [b])[0])
    assert not torch.equal(together[0], together[1])


@pytest.mark.parametrize(
    ("field", "value"), [("rows", 0), ("masked", -1), ("masked", 65), ("least_aspect", 0.0), ("largest", 0)]
)
def test_wrong_numbers_are_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(RequestError, match=field):
        BlockMasks(**{"rows": 8, "columns": 8, "masked": 20, field: value})
