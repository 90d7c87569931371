"""Squares, tensors and batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from beartype import beartype
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import jaxtyped

import bottega.data
from bottega.data import CaptionedPicture, Crop, Pad, collate
from bottega.errors import RequestError

checked = jaxtyped(typechecker=beartype)
fit_picture = checked(bottega.data.fit_picture)
picture_to_tensor = checked(bottega.data.picture_to_tensor)
pictures_to_tensor = checked(bottega.data.pictures_to_tensor)
tensor_to_picture = checked(bottega.data.tensor_to_picture)
tensor_to_pictures = checked(bottega.data.tensor_to_pictures)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 24), st.sampled_from([Crop(), Pad()]))
def test_any_picture_fits_any_square(height, width, size, how):
    picture = np.full((height, width, 3), 120, np.uint8)
    square = fit_picture(picture, size, how=how)
    assert square.shape == (size, size, 3)
    assert set(np.unique(square)) <= {120, 255}
    assert (square == 120).any()


def test_a_crop_keeps_the_middle():
    picture = np.zeros((4, 12, 3), np.uint8)
    picture[:, 4:8] = 200
    assert (fit_picture(picture, 4) == 200).all()
    assert (fit_picture(picture.transpose(1, 0, 2), 4) == 200).all()


def test_padding_keeps_everything_in_the_middle():
    picture = np.zeros((2, 4, 3), np.uint8)
    picture[:, :, 1] = 90
    square = fit_picture(picture, 8, how=Pad(colour=(1, 2, 3)))
    assert (square[[0, 1, 6, 7]] == [1, 2, 3]).all()
    assert (square[2:6] == [0, 90, 0]).all()


def test_shrinking_is_antialiased():
    """A checkerboard of single pixels must become grey, not black or white."""
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    assert np.abs(fit_picture(np.dstack([board] * 3), 8).astype(int) - 127).max() <= 3


def test_a_square_of_the_right_size_is_left_alone():
    picture = np.random.default_rng(0).integers(256, size=(9, 9, 3), dtype=np.uint8)
    assert np.array_equal(fit_picture(picture, 9), picture)
    assert np.array_equal(fit_picture(picture, 9, how=Pad()), picture)
    assert np.array_equal(fit_picture(picture[:, ::-1], 9), picture[:, ::-1])


def test_a_size_must_be_positive():
    with pytest.raises(RequestError, match="size is 0"):
        bottega.data.fit_picture(np.zeros((2, 2, 3), np.uint8), 0)


def test_tensors_hold_every_level_exactly():
    picture = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    picture[..., 1] += 7
    tensor = picture_to_tensor(picture)
    assert tensor.dtype == torch.float32
    assert (tensor.min().item(), tensor.max().item()) == (-1, 1)
    assert tensor[1, 0, 0].item() == pytest.approx(7 / 127.5 - 1)
    assert np.array_equal(tensor_to_picture(tensor), picture)
    assert np.array_equal(tensor_to_picture(tensor.to(torch.bfloat16).requires_grad_())[0, 0], [0, 7, 0])


def test_tensors_out_of_range_are_clamped_and_nan_is_an_error():
    tensor = torch.tensor([-5.0, 5, 0.0]).reshape(3, 1, 1)
    assert tensor_to_picture(tensor).tolist() == [[[0, 255, 128]]]
    with pytest.raises(ValueError, match="NaN"):
        tensor_to_picture(tensor * float("nan"))


def test_many_pictures_become_what_each_becomes_alone():
    pictures = np.random.default_rng(0).integers(256, size=(3, 4, 5, 3), dtype=np.uint8)
    tensors = pictures_to_tensor(pictures)
    assert torch.equal(tensors, torch.stack([picture_to_tensor(picture) for picture in pictures]))
    assert np.array_equal(tensor_to_pictures(tensors), pictures)
    outside = tensor_to_pictures(3 * tensors)
    assert np.array_equal(outside, np.stack([tensor_to_picture(3 * tensor) for tensor in tensors]))


def test_a_batch_keeps_order_and_captions():
    pictures = [np.full((4, 5, 3), level, np.uint8) for level in (0, 255)]
    batch = collate([CaptionedPicture(picture=p, caption=c) for p, c in zip(pictures, "ab", strict=True)])
    assert batch.pictures.shape == (2, 3, 4, 5)
    assert batch.pictures.dtype == torch.float32
    assert batch.pictures[:, 0, 0, 0].tolist() == [-1, 1]
    assert batch.captions == ["a", "b"]
    assert len(batch) == 2


def test_pictures_of_several_sizes_are_no_batch():
    sizes = [CaptionedPicture(picture=np.zeros((n, 4, 3), np.uint8), caption="") for n in (2, 3)]
    with pytest.raises(RequestError, match=r"\[\(2, 4\), \(3, 4\)\].*Fitted"):
        collate(sizes)
    with pytest.raises(RequestError, match="sizes"):
        collate([])
