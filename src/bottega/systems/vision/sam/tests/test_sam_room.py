"""Segment Anything's losses, its training, and what users ask of it."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from bottega.errors import RequestError, WeightsError
from bottega.networks import ImageText, VitDetConfig
from bottega.processes.segmentation import Frame, Prompts, click, rough_mask
from bottega.room import silent
from bottega.systems.vision.sam.checkpoints import FORMATS, PUBLISHED, hf_config, hf_json
from bottega.systems.vision.sam.config import PRESETS, MaskDecoderConfig, SamConfig
from bottega.systems.vision.sam.inference import (
    SamRequest,
    SamSegmenter,
    Show,
    infer,
    overlay,
)
from bottega.systems.vision.sam.model import CrossAttention, Sam
from bottega.systems.vision.sam.objective import answer_loss, dice_loss, focal_loss, true_overlap
from bottega.systems.vision.sam.recipe import Rounds, SamRecipe, WordsRecipe, cut_outs, in_frame, sam_recipe, varied
from bottega.training import FitSettings, Optimizer, fit
from bottega.worlds.segments import SegmentScene, SegmentsWorld

SMALL = SamConfig(
    encoder=VitDetConfig(
        size=64, patch_size=8, width=24, depth=2, num_heads=2, window=4, global_blocks=(1,), out_channels=32
    ),
    decoder=MaskDecoderConfig(num_heads=2, hidden=48, score_hidden=32),
    mask_channels=8,
)


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    return Sam(SMALL).eval()


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)).save(path)
    return str(path)


# ------------------------------------------------------------------------------------------------------------- losses
def test_losses_of_a_hand_case():
    target = torch.zeros(2, 2)
    target[0] = 1.0
    perfect = (target * 2 - 1) * 50
    assert dice_loss(perfect, target) == 0
    assert focal_loss(perfect, target) < 1e-6
    assert true_overlap(perfect, target) == 1
    even = torch.zeros(2, 2)  # every pixel's chance is a half: chances sum to 2, of which 1 is shared
    assert dice_loss(even, target) == pytest.approx(1 - (2 * 1 + 1) / (2 + 2 + 1))
    entropy = 0.25 * float(np.log(2))  # (1 - 1/2)^2 of it
    assert focal_loss(even, target) == pytest.approx((0.25 + 0.75) / 2 * entropy)
    assert dice_loss(-perfect, target) == pytest.approx(1 - 1 / 5)


def test_only_the_best_answer_is_learned_and_every_score():
    target = torch.zeros(1, 4, 4)
    target[:, :2] = 1.0
    good, bad = (target * 2 - 1) * 3, (1 - target * 2) * 3
    logits = torch.stack((bad, good, bad), dim=1).requires_grad_()
    scores = torch.zeros(1, 3, requires_grad=True)
    made = answer_loss(logits, scores, target)
    made.loss.backward()
    assert made.overlap.tolist() == [[0, 1, 0]]
    assert logits.grad.abs().sum((0, 2, 3)).gt(0).tolist() == [False, True, False]
    assert scores.grad.tolist() == [[0, pytest.approx(-2 / 3), 0]]
    alone = answer_loss(good[:, None], torch.ones(1, 1), target).loss
    assert made.loss.item() == pytest.approx(alone.item() + 1 / 3)


# -------------------------------------------------------------------------------------------------------------- model
def test_few_tokens_and_a_picture_meet_as_in_plain_attention():
    torch.manual_seed(1)
    attention = CrossAttention(32, 4, shrink=2)
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    few, picture, placed = torch.randn(2, 3, 5, 32), torch.randn(2, 3, 20, 32), torch.randn(2, 3, 20, 32)
    torch.testing.assert_close(attention.gather(few, placed, picture), attention(few, placed, picture))
    torch.testing.assert_close(attention.scatter(placed, few, few + 1), attention(placed, few, few + 1))
    one = picture[:, :1]
    whole = one.expand(2, 3, 20, 32)
    torch.testing.assert_close(attention.gather(few, one, one), attention(few, whole, whole))
    torch.testing.assert_close(attention.scatter(one, few, few), attention(whole, few, few))


def test_prompts_are_answered_each_for_itself_and_points_in_any_order(small):
    features = torch.randn(1, 32, 8, 8, generator=torch.Generator().manual_seed(0))
    points = torch.rand(1, 4, 3, 2, generator=torch.Generator().manual_seed(1)) * 64
    labels = torch.tensor([[[1, 0, 1], [1, 1, 1], [0, 1, 0], [1, 0, 0]]])
    with torch.inference_mode():
        together = small.decode(features, Prompts(points=points, labels=labels))[0]
        alone = small.decode(features, Prompts(points=points[:, 2:3], labels=labels[:, 2:3]))[0]
        turned = small.decode(features, Prompts(points=points[:, :, [2, 0, 1]], labels=labels[:, :, [2, 0, 1]]))[0]
    torch.testing.assert_close(together[:, 2:3], alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together, turned, atol=1e-5, rtol=1e-4)


def test_presets_that_cannot_be(photo):
    with pytest.raises(ValueError, match="out_channels"):
        dataclasses.replace(SMALL, decoder=MaskDecoderConfig(num_heads=3))
    with pytest.raises(ValueError, match="mask_channels"):
        dataclasses.replace(SMALL, mask_channels=6)
    with pytest.raises(ValueError, match="score_depth"):
        MaskDecoderConfig(score_depth=1)


# ------------------------------------------------------------------------------------------------------------ formats
@pytest.mark.parametrize("name", PUBLISHED)
def test_configuration_goes_through_transformers_json(name):
    config = PRESETS[name].config
    assert hf_config(json.loads(json.dumps(hf_json(config)))) == config


def test_transformers_defaults_are_the_base_size():
    base = hf_config({"vision_config": {}, "prompt_encoder_config": {}, "mask_decoder_config": {}})
    wanted = PRESETS["vit_b"].config
    assert base == dataclasses.replace(wanted, decoder=MaskDecoderConfig(eps=1e-6))


def test_strange_folders_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="use_rel_pos"):
        hf_config({"vision_config": {"use_rel_pos": False}})
    (tmp_path / "config.json").write_text('{"model_type": "sam2"}')
    with pytest.raises(WeightsError, match="sam2"):
        FORMATS["hf"].read(tmp_path, None)
    with pytest.raises(RequestError, match="--preset"):
        FORMATS["meta"].read(tmp_path / "sam.pth", None)


# ----------------------------------------------------------------------------------------------------------- training
def test_rounds_are_those_of_the_paper():
    recipe = SamRecipe(Sam(SMALL), SegmentsWorld(size=64), rounds=Rounds())
    seen = set()
    for seed in range(40):
        plan = recipe._plan(torch.Generator().manual_seed(seed))
        assert len(plan) == 11
        assert all(each.graded for each in plan)
        quiet = [number for number, each in enumerate(plan) if each.silent]
        assert len(quiet) == 2
        assert quiet[1] == 10
        seen.add(quiet[0])
    assert seen == set(range(1, 10))
    short = SamRecipe(Sam(SMALL), SegmentsWorld(size=64), rounds=Rounds(graded=3))
    plans = [short._plan(torch.Generator().manual_seed(seed)) for seed in range(40)]
    assert all(sum(each.graded for each in plan) == 3 and plan[0].graded and plan[-1].graded for plan in plans)
    assert max(len(plan) for plan in plans) == 11


def test_gradient_to_every_parameter():
    torch.manual_seed(0)
    model = Sam(SMALL)
    everything = Prompts(
        points=torch.rand(1, 2, 3, 2) * 64,
        labels=torch.tensor([[[1, 0, -1], [0, 1, 1]]]),
        boxes=torch.rand(1, 2, 4) * 64,
        masks=torch.randn(1, 2, 32, 32),
    )
    features = model.encode(torch.randn(1, 3, 64, 64))
    for prompts in (everything, Prompts(points=everything.points, labels=everything.labels)):
        logits, scores = model.decode(features, prompts)
        (logits.square().mean() + scores.square().mean()).backward(retain_graph=True)
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


class Shapes:
    """Four pictures with one bright square each."""

    def __len__(self):
        return 4

    def sample(self, index):
        picture = np.full((64, 64, 3), 40, dtype=np.uint8)
        mask = np.zeros((1, 64, 64), dtype=bool)
        top, left = 8 + 8 * (index // 2), 8 + 16 * (index % 2)
        mask[0, top : top + 24, left : left + 24] = True
        picture[mask[0]] = 220
        zero = np.zeros(1, dtype=np.int64)
        return SegmentScene(picture=picture, masks=mask, levels=zero, names=("square",), wholes=zero)


def test_a_few_pictures_are_learned(tmp_path):
    torch.manual_seed(0)
    model = Sam(SMALL)
    recipe = SamRecipe(model, Shapes(), prompts=2, rounds=Rounds(clicks=1, graded=2))
    settings = FitSettings(
        steps=60, batch_size=4, learning_rate=1e-2, optimizer=Optimizer.MUON, warmup_steps=5, save_every=0, workers=0
    )
    fit(recipe, settings, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["first"] > 0.75
    assert rows[-1]["last"] > 0.75
    assert rows[0]["first"] < 0.5


def test_samples_are_varied_but_masks_stay_on_their_things():
    world, random = Shapes(), np.random.default_rng(0)
    sizes = set()
    for _ in range(30):
        picture, masks = varied(world.sample(0), random)
        sizes.add(picture.shape[:2])
        assert masks.shape[1:] == picture.shape[:2]
        bright = picture.astype(int).sum(-1) > 330
        assert (bright == masks[0]).mean() > 0.99
    assert len(sizes) > 10
    square = in_frame(masks, Frame(*masks.shape[1:], 64).inner, 64)
    assert square.shape == (1, 64, 64)


class EmojiNames:
    """Pictures without masks, as a folder has them."""

    def __len__(self):
        return 1

    def sample(self, index):
        return SimpleNamespace(picture=np.zeros((64, 64, 3), dtype=np.uint8), caption="nothing")


def test_what_cannot_be_learned_from_is_refused():
    class Empty(Shapes):
        def sample(self, index):
            scene = super().sample(index)
            return dataclasses.replace(scene, masks=scene.masks[:0])

    with pytest.raises(RequestError, match="without masks"):
        SamRecipe(Sam(SMALL), Empty()).batch([0], torch.Generator())
    with pytest.raises(RequestError, match="have none"):
        SamRecipe(Sam(SMALL), EmojiNames()).batch([0], torch.Generator())
    with pytest.raises(TypeError, match="Sam"):
        sam_recipe(torch.nn.Linear(1, 1), Shapes())


# ---------------------------------------------------------------------------------------------------------- inference
def test_answers_have_the_pictures_size(small, photo):
    result = infer(small, SamRequest(inputs=(photo,), points="20,11"), silent)
    arrays = result.arrays()
    assert arrays["masks"].shape == (3, 40, 56)
    assert arrays["scores"].shape == (3,)
    assert arrays["low_res_logits"].shape == (3, 32, 32)
    assert [item.shape for item in result.items()] == [(40, 56, 3)] * 3
    assert result.texts()[0].startswith("score")
    two = infer(small, SamRequest(inputs=(photo,), points="20,11 30,30; 5,5", labels="1 0; 1", multimask=True), silent)
    assert two.arrays()["masks"].shape == (6, 40, 56)
    assert two.arrays()["prompts"].tolist() == [0, 0, 0, 1, 1, 1]
    boxed = infer(small, SamRequest(inputs=(photo, photo), box="3,4,30,31"), silent)
    assert boxed.arrays()["masks_1"].shape == (1, 40, 56)


def test_things_with_unequally_many_clicks_are_answered_as_alone(small, photo):
    both = infer(small, SamRequest(inputs=(photo,), points="20,11 30,30; 5,5 9,9", labels="1 0; 1 1"), silent)
    alone = infer(small, SamRequest(inputs=(photo,), points="5,5 9,9"), silent)
    np.testing.assert_allclose(
        both.arrays()["low_res_logits"][1], alone.arrays()["low_res_logits"][0], atol=1e-5, rtol=1e-4
    )


def test_cutouts_have_opacity_and_masks_are_white(small, photo, tmp_path):
    cut = infer(small, SamRequest(inputs=(photo,), points="20,11", show=Show.CUTOUT, multimask=False), silent)
    (item,) = cut.items()
    assert item.shape == (40, 56, 4)
    assert np.array_equal(item[..., 3] > 0, cut.arrays()["masks"][0])
    cut.save(tmp_path / "cut.png")
    with Image.open(tmp_path / "cut.png") as image:
        assert image.mode == "RGBA"
    cut.save(tmp_path / "cut.jpg")
    white = infer(small, SamRequest(inputs=(photo,), points="20,11", show=Show.MASK, multimask=False), silent)
    assert set(np.unique(white.items()[0])) <= {0, 255}


def test_coco_record_is_in_the_json(small, photo, tmp_path):
    result = infer(small, SamRequest(inputs=(photo,), grid=3, min_score=0.0, min_stability=0.0), silent)
    result.save(tmp_path / "masks.json")
    record = json.loads((tmp_path / "masks.json").read_text())
    assert record["images"] == [{"id": 0, "height": 40, "width": 56}]
    assert len(record["annotations"]) == len(result.arrays()["masks"])
    for row in record["annotations"]:
        assert {"id", "image_id", "category_id", "segmentation", "bbox", "area", "predicted_iou"} <= row.keys()


def test_nothing_found_is_no_error(small, photo):
    result = infer(small, SamRequest(inputs=(photo,), grid=2, min_score=1.0), silent)
    assert result.arrays()["masks"].shape == (0, 40, 56)
    assert result.texts() == ("0 masks",)
    assert np.array_equal(result.items()[0], np.array(Image.open(photo)))


def test_an_answer_can_be_the_next_mask(small, photo):
    segmenter = SamSegmenter(small)
    embedding = segmenter.encode(np.array(Image.open(photo)))
    first = segmenter.prompt(embedding, click([(20, 11)]), multimask=False)
    again = Prompts(points=torch.tensor([[[20.0, 11.0]]]), labels=torch.tensor([[1]]), masks=first.low_res_logits[:, 0])
    second = segmenter.prompt(embedding, again, multimask=False)
    assert not torch.equal(second.low_res_logits, first.low_res_logits)
    rough = rough_mask(np.array(Image.open(photo))[..., 0] > 100, segmenter.low_res_side)
    assert rough.shape == (1, 32, 32)
    assert rough.abs().max() <= 8
    assert rough[0, 30:].max() < 0  # below the picture


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"points": "3"}, "2 numbers"),
        ({"points": "3,x"}, "2 numbers"),
        ({"points": "3,4", "labels": "2"}, "1 or 0"),
        ({"points": "3,4", "labels": "1 1"}, "one for each"),
        ({"labels": "1"}, "labels need points"),
        ({"box": "5,5,2,9"}, "right > left"),
        ({"box": "1,2,3"}, "4 numbers"),
        ({"points": "1,1; 2,2", "box": "1,1,5,5"}, "equally many"),
        ({"automatic": True, "points": "1,1"}, "takes no points"),
        ({"multimask": True}, "needs a prompt"),
        ({"grid": 0}, "between 1 and 128"),
        ({"seed": -1}, "seed"),
    ],
)
def test_wrong_requests_say_what_is_allowed(given, says):
    with pytest.raises(RequestError, match=says):
        SamRequest(**given)


def test_words_and_masks_of_other_sizes_are_refused(small, photo, tmp_path):
    with pytest.raises(RequestError, match="reads no words"):
        infer(small, SamRequest(inputs=(photo,), text="a cat"), silent)
    Image.new("L", (9, 9)).save(tmp_path / "mask.png")
    with pytest.raises(RequestError, match="56 x 40"):
        infer(small, SamRequest(inputs=(photo,), mask=str(tmp_path / "mask.png")), silent)


class Reader:
    """Tells the mean colour of a picture, and knows two words."""

    width, size, scale = 3, 8, 1.0

    def pictures(self, pictures):
        return F.normalize(pictures.mean((2, 3)), dim=-1)

    def texts(self, texts):
        known = {"bright": (1.0, 1.0, 1.0), "dark": (-1.0, -1.0, -1.0)}
        return F.normalize(torch.tensor([known[text] for text in texts]), dim=-1)


def test_words_are_learned_from_cut_outs(photo):
    torch.manual_seed(0)
    model = Sam(dataclasses.replace(SMALL, words=3))
    with pytest.raises(WeightsError, match=r"bottega\.load"):
        _ = model.reader
    reader = Reader()
    model.connect(ImageText(pictures=reader.pictures, texts=reader.texts, width=3, size=8, scale=1.0))
    recipe, generator = WordsRecipe(model, Shapes(), prompts=2), torch.Generator().manual_seed(0)
    batch = recipe.batch([0, 1], generator)
    assert batch.cuts.shape == (2, 2, 3, 8, 8)
    assert batch.cuts.abs().max() <= 1.01
    made = recipe.losses(batch, generator)
    made["loss"].backward()
    assert model.prompt_encoder.words.weight.grad.abs().sum() > 0
    one = infer(model.eval(), SamRequest(inputs=(photo,), text="bright; dark"), silent)
    assert one.arrays()["masks"].shape == (2, 40, 56)
    assert not np.array_equal(*one.arrays()["low_res_logits"])
    wide = ImageText(pictures=reader.pictures, texts=reader.texts, width=5, size=8, scale=1.0)
    with pytest.raises(RequestError, match="3 features"):
        model.connect(wide)


def test_cut_outs_show_the_thing_in_the_middle():
    picture = torch.zeros(3, 40, 60)
    picture[:, 10:20, 30:50] = 1.0
    boxes = torch.tensor([[30, 10, 49, 19], [0, 0, 59, 39]])
    close, far = cut_outs(picture, boxes, 16, torch.Generator().manual_seed(0))
    assert close[:, 6:10, 6:10].min() > 0.99
    assert close.mean() > 0.4
    assert far.mean() < 0.2


def test_small_masks_are_seen_on_large_ones():
    picture, masks = np.full((20, 20, 3), 128, dtype=np.uint8), np.zeros((2, 20, 20), dtype=bool)
    masks[0, 8:12, 8:12] = True
    masks[1, 2:18, 2:18] = True
    shown = overlay(picture, masks)
    assert not np.array_equal(shown[10, 10], shown[4, 4])
    assert np.array_equal(shown[0, 0], picture[0, 0])
    assert F.mse_loss(torch.from_numpy(shown).float(), torch.from_numpy(picture).float()) > 10
