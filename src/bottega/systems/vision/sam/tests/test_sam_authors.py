"""Segment Anything against transformers' SamModel and its processor, on randomised weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from bottega.networks import VitDetConfig
from bottega.processes.segmentation import Frame, Prompts
from bottega.room import Checkpoint
from bottega.systems.vision.sam.checkpoints import FORMATS
from bottega.systems.vision.sam.config import MaskDecoderConfig, SamConfig
from bottega.systems.vision.sam.inference import SamSegmenter, in_square, prepare
from bottega.systems.vision.sam.model import Sam, answers

TINY = SamConfig(
    encoder=VitDetConfig(
        size=80, patch_size=8, width=24, depth=3, num_heads=2, window=4, global_blocks=(1,), out_channels=32
    ),
    decoder=MaskDecoderConfig(num_heads=2, hidden=40, score_hidden=24, score_depth=4, eps=1e-6),
    mask_channels=8,
)
"""Sizes that differ everywhere; ten tokens a side, which windows of four do not divide."""
TOLERANCE = {"atol": 1e-4, "rtol": 1e-4}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Our model with random parameters, and transformers' model that opened the folder we wrote."""
    from transformers import SamModel

    generator = torch.Generator().manual_seed(3)
    ours = Sam(TINY).eval()
    with torch.no_grad():
        for value in [*ours.parameters(), ours.prompt_encoder.frequencies]:
            value.copy_(torch.randn(value.shape, generator=generator) * 0.3)
    folder = tmp_path_factory.mktemp("hf")
    FORMATS["hf"].write(Checkpoint(config=TINY, tensors=ours.state_dict()), folder)
    theirs, report = SamModel.from_pretrained(folder, output_loading_info=True)
    assert not any(report[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return ours, theirs.eval(), folder


def draw(*shape, seed=0, low=0.0, high=1.0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * (high - low) + low


POINTS = draw(2, 3, 2, 2, seed=1, high=80.0)
LABELS = torch.tensor([[[1, 0], [0, 1], [1, 1]], [[1, -10], [0, -1], [1, 0]]])
BOXES = draw(2, 3, 4, seed=2, high=80.0)
MASKS = draw(2, 1, 40, 40, seed=4, low=-5.0, high=5.0)
KINDS = {
    "points": {"points": POINTS, "labels": LABELS},
    "boxes": {"boxes": BOXES},
    "points and boxes": {"points": POINTS, "labels": LABELS, "boxes": BOXES},
    "points and a mask": {"points": POINTS[:, :1], "labels": LABELS[:, :1], "masks": MASKS},
    "boxes and a mask": {"boxes": BOXES[:, :1], "masks": MASKS},
    "a mask": {"masks": MASKS},
}


@pytest.mark.parametrize("multimask", [True, False], ids=["three answers", "one answer"])
@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_every_prompt_gives_the_same_masks(pair, kind, multimask):
    ours, theirs, _ = pair
    given = KINDS[kind]
    names = {"points": "input_points", "labels": "input_labels", "boxes": "input_boxes", "masks": "input_masks"}
    features = draw(2, 32, 10, 10, seed=5, low=-1.0)
    expected = theirs(
        image_embeddings=features, multimask_output=multimask, **{names[name]: value for name, value in given.items()}
    )
    logits, scores = answers(*ours.decode(features, Prompts(**given)), multimask=multimask)
    torch.testing.assert_close(logits, expected.pred_masks, **TOLERANCE)
    torch.testing.assert_close(scores, expected.iou_scores, **TOLERANCE)


@torch.inference_mode()
def test_pictures_give_the_same_features_and_masks(pair):
    ours, theirs, _ = pair
    pictures = draw(2, 3, 80, 80, low=-2.0, high=2.0)
    expected = theirs(pixel_values=pictures, input_points=POINTS, input_labels=LABELS)
    torch.testing.assert_close(ours.encode(pictures), theirs.get_image_embeddings(pictures), **TOLERANCE)
    logits, scores = ours(pictures, Prompts(points=POINTS, labels=LABELS))
    torch.testing.assert_close(logits, expected.pred_masks, **TOLERANCE)
    torch.testing.assert_close(scores, expected.iou_scores, **TOLERANCE)


@pytest.mark.parametrize("size", [(50, 121), (121, 50), (33, 33), (80, 80)])
@torch.inference_mode()
def test_from_pixels_to_masks_of_the_pictures_size(pair, size):
    """Resizing, padding, the coordinates of prompts and the way back are those of transformers' processor."""
    from transformers import SamImageProcessorPil, SamProcessor

    ours, theirs, _ = pair
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    picture = np.array(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BICUBIC))
    side = {"longest_edge": 80}, {"height": 80, "width": 80}
    processor = SamProcessor(SamImageProcessorPil(size=side[0], pad_size=side[1]))
    points, box = [[20.0, 11.0], [4.5, 30.0]], [3.0, 5.0, 31.0, 29.0]
    inputs = processor(
        images=[picture], input_points=[[points]], input_labels=[[[1, 0]]], input_boxes=[[box]], return_tensors="pt"
    )
    square, frame = prepare(picture, TINY)
    torch.testing.assert_close(square[None], inputs["pixel_values"], atol=2e-6, rtol=0)
    assert list(frame.inner) == inputs["reshaped_input_sizes"][0].tolist()
    prompts = Prompts(points=torch.tensor([points]), labels=torch.tensor([[1, 0]]), boxes=torch.tensor([box]))
    moved = in_square(prompts, frame, ours.mask_decoder.score_token)
    torch.testing.assert_close(moved.points, inputs["input_points"].float())
    torch.testing.assert_close(moved.boxes, inputs["input_boxes"].float())

    names = ("pixel_values", "input_points", "input_labels", "input_boxes")
    given = {name: inputs[name].float() if name != "input_labels" else inputs[name] for name in names}
    expected = theirs(**given)
    segmenter = SamSegmenter(ours)
    made = segmenter.prompt(segmenter.encode(picture), prompts)
    torch.testing.assert_close(made.scores[None], expected.iou_scores, **TOLERANCE)
    masks = processor.post_process_masks(
        expected.pred_masks, inputs["original_sizes"], inputs["reshaped_input_sizes"], binarize=False
    )
    torch.testing.assert_close(made.logits()[None], masks[0][None] if masks[0].ndim == 4 else masks[0], **TOLERANCE)


def test_folder_is_read_back_with_its_configuration(pair):
    ours, _, folder = pair
    read = FORMATS["hf"].read(folder, None)
    assert read.config == TINY
    assert all(torch.equal(read.tensors[name], value) for name, value in ours.state_dict().items())


def test_metas_names_are_those_of_the_published_file(pair, tmp_path):
    """The names and shapes of `sam_vit_b_01ec64.pth`, as a list that was printed from the authors' code."""
    ours, _, _ = pair
    place = tmp_path / "sam.safetensors"
    FORMATS["meta"].write(Checkpoint(config=TINY, tensors=ours.state_dict()), place)
    read = FORMATS["meta"].read(place, TINY)
    assert all(torch.equal(read.tensors[name], value) for name, value in ours.state_dict().items())


def test_square_frame_and_back_loses_nothing_of_a_smooth_mask():
    frame = Frame(60, 100, 200)
    rows, columns = frame.inner
    assert (rows, columns) == (120, 200)
    y = torch.linspace(-3, 3, 50)[:, None] + torch.linspace(-2, 2, 50)
    padded_otherwise = y.clone()
    padded_otherwise[31:] = 77.0  # below the picture's last row and the one that interpolation looks at
    torch.testing.assert_close(frame.from_square(y), frame.from_square(padded_otherwise))
