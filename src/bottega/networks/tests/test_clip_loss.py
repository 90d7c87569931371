"""The loss of matching pairs."""

from __future__ import annotations

import math

import torch
from transformers.models.clip.modeling_clip import image_text_contrastive_loss

from bottega.networks import contrastive_loss


def test_the_loss_is_that_of_the_peer():
    generator = torch.Generator().manual_seed(0)
    texts, pictures = (torch.randn(5, 7, generator=generator) for _ in range(2))
    log_scale = torch.tensor(1.5)
    unit_texts, unit_pictures = (rows / rows.norm(dim=1, keepdim=True) for rows in (texts, pictures))
    expected = image_text_contrastive_loss(log_scale.exp() * unit_texts @ unit_pictures.T)
    torch.testing.assert_close(contrastive_loss(texts, pictures, log_scale), expected)


def test_the_scale_ends_at_a_hundred_and_lengths_do_not_count():
    texts = torch.tensor([[3.0, 0.0], [0.0, 0.2]])
    pictures = torch.tensor([[1.0, 0.02], [0.02, 5.0]])
    ends = [contrastive_loss(texts, pictures, torch.tensor(value)) for value in (math.log(100), 9.0)]
    torch.testing.assert_close(*ends, rtol=1e-3, atol=0)
    assert contrastive_loss(texts, pictures.flip(0), torch.tensor(9.0)) > 50
