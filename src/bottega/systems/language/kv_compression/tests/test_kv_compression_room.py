"""KV compression's room: limits in which nothing is lost, texts beyond the context, pictures, training and figures."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
import torch
from PIL import Image

from bottega.errors import FileError, RequestError
from bottega.networks import Llama, LlamaConfig, VitConfig
from bottega.processes.decoding import GREEDY, Language, Sampling, write
from bottega.results import PicturesResult
from bottega.room import silent
from bottega.systems.language.kv_compression.config import GROUPS, WORDS, KvCompressionConfig, ReaderConfig
from bottega.systems.language.kv_compression.evaluation import (
    evaluate,
    perplexity,
    text_windows,
    tower_work,
)
from bottega.systems.language.kv_compression.inference import KvCompressionRequest, files, infer, mosaic
from bottega.systems.language.kv_compression.model import KvCompression, Reader
from bottega.systems.language.kv_compression.objective import emojis, read_batch, reading_loss, words_of
from bottega.systems.language.kv_compression.recipe import STAGES, ReaderRecipe
from bottega.systems.language.kv_compression.sampling import Method, Policy, Written, full_bytes, withdrawal, write_kept
from bottega.tokenizers import LanguageTokenizer
from bottega.training import fit
from bottega.worlds.queries import QueriesWorld

DECODER = LlamaConfig(vocabulary=300, context=40, width=32, depth=2, num_heads=4, num_kv_heads=2, hidden=40)
READER = ReaderConfig(
    tower=VitConfig(size=64, patch_size=16, width=24, depth=3, num_heads=2),
    decoder=LlamaConfig(vocabulary=len(WORDS), width=32, depth=3, num_heads=2, num_kv_heads=2, hidden=32, tied=True),
)


@functools.cache
def tokenizer() -> LanguageTokenizer:
    source = QueriesWorld()
    return LanguageTokenizer.trained([source.sample(n).text for n in range(40)], DECODER.vocabulary)


def room() -> KvCompression:
    torch.manual_seed(0)
    model, target = KvCompression(KvCompressionConfig(reader=READER)).eval(), Llama(DECODER).eval()
    with torch.no_grad():
        for parameter in (*target.parameters(), *model.parameters()):
            parameter.copy_(0.25 * torch.randn_like(parameter))
    model.connect({"target": Language(model=target, tokens=tokenizer())})
    return model


def written(model: Llama, prompt: list[int], policy: Policy, most: int = 12) -> Written:
    steps = write_kept(model, prompt, policy, most=most, end=-1, sampling=GREEDY, generator=torch.Generator())
    return list(steps)[-1]


TEXT = [method for method in Method if method.takes == "text"]
PROMPT = [5, 9, 200, 31, 77, 5, 9]


# ---------------------------------------------------------------------------------------------------------------- text
@pytest.mark.parametrize("method", TEXT)
def test_with_room_for_all_every_method_writes_what_the_model_writes(method: Method) -> None:
    model = room().network
    expected = list(write(model, [PROMPT], most=12, end=None))[-1][0].tokens
    got = written(model, PROMPT, Policy(method=method, budget=30, kv_heads=2))
    assert got.tokens == expected
    assert (got.seen, got.passes) == (len(PROMPT) + 11, 12)


@pytest.mark.parametrize("method", [Method.WINDOW, Method.STREAMING])
def test_a_window_goes_on_beyond_the_context_and_holds_no_more(method: Method) -> None:
    model = room().network
    got = written(model, PROMPT, Policy(method=method, budget=10), most=60)
    assert len(got.tokens) == 60 > DECODER.context
    assert got.bytes == full_bytes(model, 10)


def test_heavy_hitters_hold_their_budget_and_end_with_the_context() -> None:
    model = room().network
    got = written(model, PROMPT, Policy(method=Method.H2O, budget=10), most=60)
    assert len(got.tokens) == DECODER.context - len(PROMPT) + 1
    notes = DECODER.depth * DECODER.num_kv_heads * 10 * (4 + 8)
    assert got.bytes == full_bytes(model, 10) + notes
    full = written(model, PROMPT, Policy(method=Method.FULL), most=60)
    assert full.bytes == pytest.approx(full_bytes(model, full.seen), rel=0.02)
    assert written(model, PROMPT, Policy(method=Method.GQA), most=60).bytes == pytest.approx(full.bytes / 2, rel=0.02)


def test_prompts_beyond_the_context_go_to_windows_only() -> None:
    model, prompt = room().network, PROMPT * 8
    with pytest.raises(RequestError, match="streaming takes text of any length"):
        written(model, prompt, Policy(method=Method.H2O, budget=8))
    assert len(written(model, prompt, Policy(method=Method.STREAMING, budget=8)).tokens) == 12


def test_perplexity_is_the_models_own_where_nothing_is_left_out() -> None:
    model = room()
    windows = text_windows(model, 2, 40, 0)
    logits = model.network(windows)[:, 19:-1].log_softmax(-1)
    expected = float((-logits.gather(-1, windows[:, 20:, None]).mean()).exp())
    for method in TEXT:
        got, held = perplexity(model.network, windows, Policy(method=method, budget=40, kv_heads=2))
        assert got == pytest.approx(expected, rel=1e-4)
        if method is not Method.H2O:
            assert held == full_bytes(model.network, 40)


def test_words_and_savings_reach_the_user() -> None:
    steps = []
    request = KvCompressionRequest(inputs=("What is 3?", "x"), method=Method.H2O, budget=6, max_new_tokens=9)
    result = infer(room(), request, steps.append)
    assert len(result.items()) == 2
    assert result.settings["bytes_held"] < result.settings["bytes_of_all"]
    assert result.settings["passes"] == len(steps)


def test_drawn_words_depend_on_the_seed() -> None:
    model, made = room().network, []
    for seed in (0, 0, 1):
        steps = write_kept(
            model, PROMPT, Policy(method=Method.STREAMING, budget=8), most=12, end=-1,
            sampling=Sampling(temperature=1.0), generator=torch.Generator().manual_seed(seed),
        )  # fmt: skip
        made.append(list(steps)[-1].tokens)
    assert made[0] == made[1] != made[2]


# ------------------------------------------------------------------------------------------------------------ pictures
def picture(tmp_path, index: int = 3) -> str:
    path = tmp_path / "emoji.png"
    Image.fromarray(emojis("heldout").sample(index).picture).save(path)
    return str(path)


def test_a_reader_says_a_group_and_a_class(tmp_path) -> None:
    model = room()
    for method, extra in ((Method.TOME, {"merged": 0}), (Method.VTW, {"layer": 3})):
        request = KvCompressionRequest(inputs=(picture(tmp_path),), method=method, **extra)
        assert files(request) == request.inputs
        said = infer(model, request, silent).texts()[0].split(", ")
        batch = read_batch(emojis("heldout"), [3])
        assert said == [WORDS[n] for n in model.eyes.read(batch.pictures)[0].tolist()]
        assert said[0] in GROUPS


def test_merged_patches_are_shown(tmp_path) -> None:
    request = KvCompressionRequest(inputs=(picture(tmp_path),), method=Method.TOME, merged=4)
    result = infer(room(), request, silent)
    assert isinstance(result, PicturesResult)
    assert result.pictures.shape == (1, 64, 64, 3)
    assert (result.settings["tokens"], result.settings["tokens_left"]) == (17, 5)


def test_a_mosaic_paints_merged_patches_with_their_mean() -> None:
    generator = torch.Generator().manual_seed(0)
    picture = torch.rand(1, 3, 4, 6, generator=generator)[..., :4] * 2 - 1
    alone = mosaic(picture, torch.arange(4)[None], 2)
    assert np.abs(alone[0] - (picture[0].permute(1, 2, 0).numpy() + 1) * 127.5).max() < 1
    pair = mosaic(picture, torch.tensor([[0, 1, 1, 2]]), 2)
    means = (picture[0, :, :2, 2:] + picture[0, :, 2:, :2]) / 2
    expected = ((means + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    assert np.array_equal(pair[0, :2, 2:], expected)
    assert np.array_equal(pair[0, 2:, :2], expected)
    assert np.array_equal(pair[0, :2, :2], alone[0, :2, :2])


def test_the_reader_withdraws_where_little_is_lost() -> None:
    reader = room().eyes
    layer, divergences = withdrawal(reader, 0)
    assert len(divergences) == 3
    assert all(value > 0.003 for value in divergences[:layer])
    with torch.no_grad():
        for block in (reader.decoder.blocks[1], reader.decoder.blocks[2]):
            block.attention.proj.weight.zero_()  # these look at nothing any more
    assert withdrawal(reader, 0)[0] <= 1


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": ()}, {"budget": 0}, {"sinks": 64}, {"sinks": -1}, {"merged": -1}, {"layer": -1}, {"kv_heads": 0},
        {"recent": 65}, {"max_new_tokens": 0}, {"temperature": -0.5}, {"seed": -1},
    ],
)  # fmt: skip
def test_wrong_requests_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(RequestError):
        dataclasses.replace(KvCompressionRequest(inputs=("x",)), **change)


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"method": Method.GQA, "kv_heads": 3}, "kv_heads"),
        ({"method": Method.STREAMING, "budget": 41}, "budget"),
    ],
)
def test_what_the_model_cannot_do_is_refused(change: dict[str, object], wrong: str) -> None:
    with pytest.raises(RequestError, match=wrong):
        infer(room(), dataclasses.replace(KvCompressionRequest(inputs=("x",)), **change), silent)


def test_withdrawal_behind_more_blocks_than_there_are_is_refused(tmp_path) -> None:
    request = KvCompressionRequest(inputs=(picture(tmp_path),), method=Method.VTW, layer=4)
    with pytest.raises(RequestError, match="layer"):
        infer(room(), request, silent)
    with pytest.raises(FileError):
        infer(room(), dataclasses.replace(request, inputs=("nowhere.png",)), silent)


def test_a_size_without_a_reader_says_so(tmp_path) -> None:
    model = KvCompression(KvCompressionConfig())
    with pytest.raises(RequestError, match="reads no pictures"):
        infer(model, KvCompressionRequest(inputs=(picture(tmp_path),), method=Method.TOME), silent)


# -------------------------------------------------------------------------------------------------- training, figures
def test_one_batch_is_learned_and_every_parameter_moves(tmp_path) -> None:
    torch.manual_seed(0)
    reader = Reader(READER)
    before = {name: value.clone() for name, value in reader.state_dict().items()}
    recipe = ReaderRecipe(reader, dataclasses.replace(emojis(), length=6))
    batch = recipe.batch(range(6), torch.Generator())
    first = float(reading_loss(reader, batch.pictures, batch.words))
    settings = dataclasses.replace(
        STAGES[0].settings, steps=40, batch_size=6, warmup_steps=4, learning_rate=1e-2, workers=0
    )
    fit(recipe, settings, tmp_path)
    assert float(reading_loss(reader, batch.pictures, batch.words)) < 0.2 * first
    assert all(not torch.equal(value, before[name]) for name, value in reader.state_dict().items())


def test_the_right_words_are_the_emojis_group_and_class() -> None:
    sample = emojis().sample(0)
    group, kind = (WORDS[number] for number in words_of(sample))
    assert group in GROUPS
    assert kind in WORDS[1 + len(GROUPS) :]
    with pytest.raises(RequestError, match="single emoji"):
        words_of(dataclasses.replace(sample, things=()))


def test_figures_have_baselines_and_controls() -> None:
    steps = []
    found = evaluate(room(), 0, 6, steps.append)
    named = {name.split(":")[0] for name in found}
    assert {"window 32", "streaming 32", "h2o 32", "gqa 1", "tome 8", "vtw 3", "vtw"} <= named
    assert found["tome 2: right classes"].baseline is not None
    assert found["vtw 3: divergence"].value == 0
    assert found["vtw 3: right classes"].value == found["vtw 3: right classes"].baseline
    assert found["mla: numbers a layer keeps of a token, DeepSeek-V2"].value == 576
    assert len(steps) == 3


def test_a_towers_work_falls_with_its_tokens() -> None:
    assert tower_work((17, 17), 8) == 12 * 17 * 64 + 2 * 17**2 * 8
    assert tower_work((17, 9), 8) < tower_work((17, 17), 8)
