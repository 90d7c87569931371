"""SegGPT's room: both layouts, values and decoding as transformers', requests, folders, films, clicks, tuning."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import SegGptConfig as PeerConfig
from transformers import SegGptForImageSegmentation
from transformers.models.seggpt.image_processing_pil_seggpt import SegGptImageProcessorPil
from transformers.models.seggpt.modeling_seggpt import SegGptImageSegmentationOutput

import bottega
from bottega.errors import FileError, RequestError
from bottega.networks import PainterConfig, TargetKind, painter_keys, seggpt_json
from bottega.processes.painting import to_paint
from bottega.processes.segmentation import Embedding, Example, Frame, Prompts, Segments
from bottega.room import Checkpoint, silent
from bottega.systems.vision.seggpt.checkpoints import FORMATS
from bottega.systems.vision.seggpt.config import SegGptConfig
from bottega.systems.vision.seggpt.inference import (
    Ensemble,
    Means,
    SegGptRequest,
    SegGptSegmenter,
    infer,
    prepare,
)
from bottega.systems.vision.seggpt.model import SegGpt
from bottega.systems.vision.seggpt.objective import colors_of_masks, nearest_colors
from bottega.systems.vision.seggpt.sampling import Prompt, paint, tiled, track, tune
from bottega.weights import take_prefix, to_theirs

SMALL = SegGptConfig(
    network=PainterConfig(
        size=32, patch_size=8, width=24, depth=4, num_heads=3, merge_index=1, taps=(1, 3), decoder_width=6,
        position_rows=4, typed=True, drop_path=0.0,
    )
)  # fmt: skip


def random_model(seed: int = 0) -> SegGpt:
    model = SegGpt(SMALL).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            gain = parameter.ndim == 1 and name.endswith(("norm.weight", "norm1.weight", "norm2.weight"))
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator) + gain)
    return model


@pytest.fixture(scope="module")
def model() -> SegGpt:
    return random_model()


def noise(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def half_mask(rows: int, columns: int, color: tuple[int, int, int] = (255, 255, 255)) -> np.ndarray:
    mask = np.zeros((rows, columns, 3), dtype=np.uint8)
    mask[: rows // 2] = color
    return mask


def keep(path: Path, picture: np.ndarray) -> str:
    Image.fromarray(picture).save(path)
    return str(path)


# ------------------------------------------------------------------------------------------------------------- layouts
def test_transformers_loads_what_we_write_and_the_other_way_round(model: SegGpt, tmp_path: Path) -> None:
    written = Checkpoint(config=SMALL, tensors=model.state_dict())
    FORMATS["hf"].write(written, tmp_path / "hf")
    peer = SegGptForImageSegmentation.from_pretrained(tmp_path / "hf").eval()
    prompt, target, query = (torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(s)) for s in (1, 2, 3))
    with torch.no_grad():
        expected = peer(query, prompt, target, embedding_type="semantic").pred_masks[:, :, 32:]
        made = model.network.answer(prompt[:, None], target[:, None], query, torch.tensor([TargetKind.SEMANTIC]))
    torch.testing.assert_close(made, expected, atol=1e-4, rtol=1e-4)
    peer.save_pretrained(tmp_path / "theirs")
    read = FORMATS["hf"].read(tmp_path / "theirs", None)
    assert read.config == SMALL
    assert all(torch.equal(read.tensors[key], value) for key, value in model.state_dict().items())


def test_the_authors_file_is_read(model: SegGpt, tmp_path: Path) -> None:
    theirs = to_theirs(painter_keys(SMALL.network), take_prefix(dict(model.state_dict()), "network"))
    assert {"segment_token_x", "type_token_cls", "blocks.0.attn.rel_pos_h", "decoder_pred.3.weight"} <= theirs.keys()
    torch.save({"model": theirs}, tmp_path / "seggpt_vit_large.pth")
    read = FORMATS["authors"].read(tmp_path / "seggpt_vit_large.pth", SMALL)
    assert all(torch.equal(read.tensors[key], value) for key, value in model.state_dict().items())
    with pytest.raises(RequestError, match="preset"):
        FORMATS["authors"].read(tmp_path / "seggpt_vit_large.pth", None)


def test_published_folder_has_the_published_settings() -> None:
    large = bottega.build("seggpt", preset="vit-l", device="meta").config.network
    ours, theirs = seggpt_json(large), PeerConfig().to_dict()
    assert {key: list(v) if isinstance(v := theirs[key], tuple) else v for key in ours if key != "architectures"} == {
        key: value for key, value in ours.items() if key != "architectures"
    }


# ---------------------------------------------------------------------------------------- values as transformers'
def test_values_are_transformers() -> None:
    processor = SegGptImageProcessorPil(size={"height": 32, "width": 32})
    picture, mask = noise(45, 61, 3), half_mask(45, 61, (250, 120, 0))
    theirs = processor(images=picture, prompt_images=picture, prompt_masks=mask, do_convert_rgb=False,
                       return_tensors="pt")  # fmt: skip
    torch.testing.assert_close(to_paint(prepare(picture, 32)), theirs["pixel_values"][0], atol=1e-5, rtol=1e-5)
    ours = to_paint(prepare(mask, 32, mask=True))
    torch.testing.assert_close(ours, theirs["prompt_masks"][0], atol=1e-5, rtol=1e-5)


def test_decoding_is_transformers() -> None:
    processor = SegGptImageProcessorPil()
    painted = torch.randn(1, 3, 32, 16, generator=torch.Generator().manual_seed(4)) * 2
    output = SegGptImageSegmentationOutput(pred_masks=painted)
    expected = processor.post_process_semantic_segmentation(output, target_sizes=[(16, 16)], num_labels=7)[0]
    values = (painted[0, :, 16:] * torch.tensor(processor.image_std)[:, None, None]
              + torch.tensor(processor.image_mean)[:, None, None]).clamp(0, 1)  # fmt: skip
    colors = np.array(processor.get_palette(7), dtype=np.float32) / 255
    assert (nearest_colors(values.movedim(0, -1).numpy(), colors) == expected.numpy()).mean() > 0.999


def test_colors_of_masks_are_found_through_smooth_edges() -> None:
    mask = np.zeros((200, 200, 3), dtype=np.uint8)
    mask[:90], mask[90:92], mask[150:] = (250, 40, 10), (125, 20, 5), (0, 0, 255)
    found = colors_of_masks([mask, mask])
    assert [tuple(np.rint(255 * color).astype(int)) for color in found] == [(0, 0, 0), (250, 40, 10), (0, 0, 255)]
    assert len(colors_of_masks([np.zeros((9, 9, 3), dtype=np.uint8)])) == 1


# ------------------------------------------------------------------------------------------------------------ requests
def test_files_to_masks_of_the_pictures_own_size(model: SegGpt, tmp_path: Path) -> None:
    queries = tmp_path / "queries"
    queries.mkdir()
    keep(queries / "a.png", noise(40, 50, 3, seed=2)), keep(queries / "b.png", noise(20, 30, 3, seed=3))
    prompt = keep(tmp_path / "prompt.png", noise(33, 44, 3))
    colors = half_mask(33, 44)
    colors[20:] = (255, 0, 0)
    mask = keep(tmp_path / "mask.png", colors)
    request = SegGptRequest(inputs=(str(queries),), prompt_pictures=(prompt,), prompt_masks=(mask,))
    steps = []
    result = infer(model, request, steps.append)
    assert [one.masks.shape for one in result.found] == [(2, 40, 50), (2, 20, 30)]
    assert [item.shape for item in result.items()] == [(40, 50, 3), (20, 30, 3)]
    assert result.palette.tolist() == [[255, 255, 255], [255, 0, 0]]
    assert [step.step for step in steps] == [1, 2]
    assert not (result.found[0].masks[0] & result.found[0].masks[1]).any()
    kept = result.save(tmp_path / "out.npz")
    assert {"masks_0", "masks_1", "palette"} <= set(np.load(kept[0]).files)
    one = infer(model, SegGptRequest(inputs=(prompt,), prompt_masks=(mask,)), silent)
    assert one.arrays()["masks"].shape == (2, 33, 44)


def test_several_examples_and_both_ensembles(model: SegGpt, tmp_path: Path) -> None:
    pictures = tuple(keep(tmp_path / f"p{i}.png", noise(32, 32, 3, seed=i)) for i in range(3))
    masks = tuple(keep(tmp_path / f"m{i}.png", half_mask(32, 32)) for i in range(3))
    query = keep(tmp_path / "q.png", noise(32, 32, 3, seed=9))

    def made(ensemble: Ensemble, order: Iterable[int]) -> np.ndarray:
        request = SegGptRequest(
            inputs=(query,), prompt_pictures=tuple(pictures[i] for i in order), ensemble=ensemble,
            prompt_masks=tuple(masks[i] for i in order), means=Means.SEMANTIC,
        )  # fmt: skip
        return infer(model, request, silent).found[0].colors.astype(int)

    feature = made(Ensemble.FEATURE, (0, 1, 2))
    assert np.abs(feature - made(Ensemble.FEATURE, (2, 0, 1))).max() <= 1
    assert np.abs(made(Ensemble.FEATURE, (1, 1)) - made(Ensemble.FEATURE, (1,))).max() <= 1
    assert np.abs(feature - made(Ensemble.SPATIAL, (0, 1, 2))).max() > 5


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"inputs": ("a.png",)}, "prompt_masks, or points"),
        ({"prompt_masks": ("m.png",)}, "give their files first"),
        ({"inputs": ("a.png",), "prompt_pictures": ("p.png",), "prompt_masks": ("m.png", "n.png")}, "one an example"),
        ({"inputs": ("a.png",), "points": "1;2"}, "x,y"),
        ({"memory": 33}, "between 0 and 32"),
    ],
)
def test_wrong_requests_say_what_to_do(wrong: dict, told: str) -> None:
    with pytest.raises(RequestError, match=told):
        SegGptRequest(**wrong)


def test_masks_must_fit_and_clicks_need_a_segmenter(model: SegGpt, tmp_path: Path) -> None:
    picture = keep(tmp_path / "p.png", noise(32, 40, 3))
    mask = keep(tmp_path / "m.png", half_mask(32, 41))
    with pytest.raises(RequestError, match="40 x 32"):
        infer(model, SegGptRequest(inputs=(picture,), prompt_masks=(mask,)), silent)
    with pytest.raises(RequestError, match="--segmenter sam"):
        infer(model, SegGptRequest(inputs=(picture,), points="3,4"), silent)


class LeftOfClick:
    """A segmenter whose mask is everything left of the click."""

    low_res_side = 8

    def encode(self, picture: np.ndarray) -> Embedding:
        return Embedding(torch.zeros(1, 1, 1), Frame(picture.shape[0], picture.shape[1], 64))

    def prompt(self, embedding: Embedding, prompts: Prompts, *, multimask: bool = True) -> Segments:
        assert prompts.points is not None
        column = int(embedding.frame.to_square(prompts.points)[0, 0, 0] / 8)
        logits = torch.full((1, 3 if multimask else 1, 8, 8), -5.0)
        logits[..., :column] = 5.0
        scores = torch.linspace(0.1, 0.9, logits.shape[1])[None]
        return Segments(low_res_logits=logits, scores=scores, frame=embedding.frame)

    def read(self, texts: tuple[str, ...]) -> Tensor:
        raise RequestError("no words")


def test_one_click_becomes_the_example_of_every_picture(tmp_path: Path) -> None:
    model = random_model(3)
    model.connect({"segmenter": LeftOfClick()})
    files = tuple(keep(tmp_path / f"{i}.png", noise(64, 64, 3, seed=i)) for i in range(2))
    mask = np.zeros((64, 64, 3), dtype=np.uint8)
    mask[:, :32] = 255
    given = SegGptRequest(inputs=files, prompt_masks=(keep(tmp_path / "m.png", mask),))
    by_click, by_mask = (infer(model, one, silent) for one in (SegGptRequest(inputs=files, points="32,10"), given))
    assert np.array_equal(by_click.arrays()["masks"], by_mask.arrays()["masks"])
    two = infer(model, SegGptRequest(inputs=files, points="48,5 40,9; 16,5"), silent)
    assert len(two.palette) == 2


def test_find_and_follow_are_what_the_studio_takes(model: SegGpt) -> None:
    frames, finder = noise(3, 30, 40, 3), SegGptSegmenter(model, memory=0)
    example = Example(frames[0], half_mask(30, 40)[..., 0] > 0)
    found = finder.find((example,), frames[1])
    followed = list(finder.follow((example,), iter(frames)))
    assert len(followed) == 3
    assert np.array_equal(followed[1].mask, found.mask)
    assert found.mask.shape == (30, 40)
    assert 0 <= found.score <= 1
    with pytest.raises(RequestError, match="at least one"):
        finder.find((), frames[0])


# --------------------------------------------------------------------------------------------------- prompts and films
def prompts(count: int, seed: int = 5) -> Prompt:
    generator = torch.Generator().manual_seed(seed)
    pictures = torch.rand(count, 3, 32, 32, generator=generator)
    return Prompt(pictures, (torch.rand(count, 3, 32, 32, generator=generator) > 0.5).float())


def test_the_spatial_ensemble_is_a_grid() -> None:
    given = prompts(3)
    made = tiled(given)
    assert made.pictures.shape == (1, 3, 32, 32)
    torch.testing.assert_close(made.colors[0, :, :16, 16:], nn.functional.interpolate(
        given.colors[1:2], size=16, mode="nearest-exact")[0])  # fmt: skip
    assert torch.equal(made.colors[0, :, 16:, 16:], made.colors[0, :, :16, :16])  # the first one again


def test_the_memory_is_first_in_first_out(model: SegGpt) -> None:
    given, colors = prompts(1), torch.tensor([[0.0] * 3, [1.0] * 3])
    frames = list(torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(6)))
    alone = list(track(model, given, frames, colors, TargetKind.INSTANCE, memory=0))
    torch.testing.assert_close(alone[3], paint(model, given, frames[3], TargetKind.INSTANCE))
    made = list(track(model, given, frames, colors, TargetKind.INSTANCE, memory=2))
    snapped = [(one.mean(0) > 0.5).float().expand(3, -1, -1) for one in made[1:3]]
    last = Prompt(torch.stack((given.pictures[0], *frames[1:3])), torch.stack((given.colors[0], *snapped)))
    torch.testing.assert_close(made[3], paint(model, last, frames[3], TargetKind.INSTANCE))


def test_tuning_moves_the_prompt_alone_and_lowers_the_loss() -> None:
    model, drawn = random_model(7), prompts(1, seed=8)
    examples = Prompt(drawn.pictures, torch.full_like(drawn.colors, 0.3))  # what a random network can come near to
    before = {key: value.clone() for key, value in model.state_dict().items()}
    told = []
    made = tune(model, examples, TargetKind.INSTANCE, steps=80, rate=0.3, report=lambda *step: told.append(step[:2]))

    def loss(prompt: Prompt) -> float:
        painted = paint(model, prompt, examples.pictures[0], TargetKind.INSTANCE)
        return float((painted - examples.colors[0]).abs().mean())

    assert loss(made) < 0.9 * loss(examples)
    assert told[-1] == (80, 80)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_frames_come_from_folders_and_animations(model: SegGpt, tmp_path: Path) -> None:
    film = noise(3, 24, 32, 3, seed=11)
    folder = tmp_path / "film"
    folder.mkdir()
    for number, frame in zip((9, 10, 11), film, strict=True):
        keep(folder / f"f{number}.png", frame)
    pictures = [Image.fromarray(frame) for frame in film]
    pictures[0].save(tmp_path / "film.webp", save_all=True, append_images=pictures[1:], lossless=True)
    mask = keep(tmp_path / "m.png", half_mask(24, 32))
    requests = [
        SegGptRequest(inputs=(str(tmp_path / name),), prompt_masks=(mask,), video=True, memory=1)
        for name in ("film", "film.webp")
    ]
    first, second = (infer(model, request, silent).arrays()["masks"] for request in requests)
    assert first.shape == (3, 1, 24, 32)
    assert np.array_equal(first, second)
    with pytest.raises(FileError, match="folder of frames"):
        infer(model, SegGptRequest(inputs=(str(tmp_path / "none.mp4"),), prompt_masks=(mask,), video=True), silent)
