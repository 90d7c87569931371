"""What eDiff-I claims: equal parts of the noise levels, a split that changes nothing, words that can be painted."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from statistics import NormalDist

import numpy as np
import pytest
import torch

from bottega.errors import RequestError
from bottega.processes.diffusion import X0, Edm, EdmTimes, Heun, UniformGrid
from bottega.systems.diffusion.edm_experts.config import (
    BASE_EXPERTS,
    TINY,
    EdmExpertsConfig,
    EfficientUnetConfig,
    NoiseNode,
    StageConfig,
)
from bottega.systems.diffusion.edm_experts.inference import ask, draw, prior
from bottega.systems.diffusion.edm_experts.model import EdmExperts, Experts, kept, noise_map
from bottega.systems.diffusion.edm_experts.objective import (
    IntervalTimes,
    edm_loss,
    growing_times,
    intervals_of,
    member_times,
    told_coarse,
)
from bottega.systems.diffusion.edm_experts.sampling import Region, boost_of, draw_base, read_regions, token_places
from bottega.tokenizers import BpeTokenizer
from bottega.worlds import ColouredEmojiWorld

TEXTS = ("a red heart and a blue circle", "a green square above an orange heart")
DENSITY = NormalDist(-1.2, 1.2)


def pipeline(config: EdmExpertsConfig = TINY, seed: int = 0) -> EdmExperts:
    """The tiny size with every parameter moved, so that nothing is zero by its start."""
    torch.manual_seed(seed)
    model = EdmExperts(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    captions = [ColouredEmojiWorld().sample(index).caption for index in range(200)]
    model.tokenizer = BpeTokenizer.trained([*captions, *TEXTS], config.t5.vocabulary - 1)
    return model


def noise(count: int = 2, size: int = 8) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


# ---------------------------------------------------------------------------------------------------------- the tree
@pytest.mark.parametrize("node", [NoiseNode(level=0, index=0), NoiseNode(level=3, index=5), *BASE_EXPERTS])
def test_children_halve_their_parent(node: NoiseNode) -> None:
    cleaner, noisier = node.children
    assert cleaner.interval == (node.interval[0], sum(node.interval) / 2)
    assert noisier.interval == (sum(node.interval) / 2, node.interval[1])
    assert cleaner.parent == noisier.parent == node
    assert node.interval[1] - node.interval[0] == 2**-node.level


def test_every_noise_level_has_one_expert_and_parts_have_their_mass() -> None:
    stage = StageConfig(unet=TINY.base.unet, experts=BASE_EXPERTS)
    edges, owners = noise_map(stage)
    assert owners == (1, 2, 0)
    masses = np.diff([0.0, *(DENSITY.cdf(np.log(edge)) for edge in edges), 1.0])
    np.testing.assert_allclose(masses, [1 / 8, 1 - 1 / 8 - 1 / 512, 1 / 512], atol=1e-12)
    assert edges[-1] == pytest.approx(9.6, abs=0.05)
    parts = sorted(span for spans in intervals_of(stage) for span in spans)
    assert parts[0][0] == 0.0
    assert parts[-1][1] == 1.0
    assert all(left[1] == right[0] for left, right in pairwise(parts))


@torch.no_grad()
def test_experts_are_drawn_their_own_levels_and_together_all() -> None:
    model, generator = Experts(TINY.base, TINY), torch.Generator().manual_seed(0)
    drawn = []
    for number, times in enumerate(member_times(TINY.base)):
        sigma = times(4000, Edm(), generator)
        assert (model.owner(sigma) == number).all()
        share = sum(high - low for low, high in times.intervals)
        drawn.append(sigma[: int(4000 * share)])
    together = torch.cat(drawn).log().sort().values
    places = torch.tensor([DENSITY.cdf(float(value)) for value in together])
    even = torch.linspace(0, 1, len(places))
    assert (places - even).abs().max() < 0.03
    whole = IntervalTimes(((0.0, 1.0),))(2000, Edm(), generator).log()
    other = EdmTimes()(2000, Edm(), generator).log()
    assert abs(float(whole.mean() - other.mean())) < 0.12
    assert abs(float(whole.std() - other.std())) < 0.1


def test_training_walks_each_expert_down_its_branch() -> None:
    stage = StageConfig(unet=TINY.base.unet, experts=BASE_EXPERTS)
    shares = [growing_times(stage, share) for share in (0.0, 0.5, 0.999)]
    noisiest = [times[0].intervals[0] for times in shares]
    assert noisiest == [(1 / 2, 1.0), (1 - 2**-5, 1.0), (1 - 2**-9, 1.0)]
    assert [times[1].intervals[0] for times in shares] == [(0.0, 1 / 2), (0.0, 1 / 4), (0.0, 1 / 8)]
    assert len({times[2].intervals for times in shares}) == 1
    branch = NoiseNode(level=3, index=6).branch
    assert [(node.level, node.index) for node in branch] == [(1, 1), (2, 3), (3, 6)]
    assert all(child.parent == parent for parent, child in pairwise(branch))


@pytest.mark.parametrize("experts", [
    (NoiseNode(level=1, index=0), NoiseNode(level=2, index=1)),
    (NoiseNode(level=1, index=0), NoiseNode(level=1, index=1)),
])  # fmt: skip
def test_experts_that_overlap_or_leave_nothing_are_refused(experts: tuple[NoiseNode, ...]) -> None:
    with pytest.raises(ValueError, match="experts"):
        StageConfig(unet=TINY.base.unet, experts=experts)


# --------------------------------------------------------------------------------------------------------- the split
@torch.no_grad()
def test_split_before_training_is_the_parent_bit_for_bit() -> None:
    model = pipeline()
    single = Experts(replace(TINY.base, experts=()), TINY).eval()
    single.members[0].load_state_dict(model.base.members[-1].state_dict())
    told, calls = model.told(TEXTS), []
    for member in model.base.members:
        member.register_forward_hook(lambda *_: calls.append(3))
    single.members[0].register_forward_hook(lambda *_: calls.append(1))
    before = draw_base(model, told, noise(), steps=6, guidance=2.0, report=lambda *_: None)
    model.base.split()
    calls.clear()
    ensemble = draw_base(model, told, noise(), steps=6, guidance=2.0, report=lambda *_: None)
    model.base = single
    parent = draw_base(model, told, noise(), steps=6, guidance=2.0, report=lambda *_: None)
    assert torch.equal(ensemble, parent)
    assert not torch.equal(before, parent)
    assert calls.count(3) == calls.count(1) == 6  # an ensemble calls one network a step, like its parent


@torch.no_grad()
def test_a_changed_expert_is_seen_at_its_levels_alone() -> None:
    """The planted mutation: an expert that answers for another's noise levels would change what must stay."""
    model = pipeline()
    model.base.split()
    told, sigma = model.told([TEXTS[0]] * 3), torch.tensor([0.05, 0.5, 20.0])
    x = noise(3)
    before = model.base(x, sigma, told)
    next(model.base.members[0].parameters()).add_(1.0)
    after = model.base(x, sigma, told)
    assert torch.equal(before[:2], after[:2])
    assert not torch.equal(before[2], after[2])


@torch.no_grad()
def test_rows_of_a_mixed_batch_go_to_their_experts() -> None:
    model, x, sigma = pipeline(), noise(3), torch.tensor([0.05, 20.0, 0.5])
    told = model.told([*TEXTS, TEXTS[0]])
    mixed = model.base(x, sigma, told)
    for row in range(3):
        one = {name: value[row : row + 1] for name, value in told.items()}
        alone = model.base(x[row : row + 1], sigma[row : row + 1], one)
        torch.testing.assert_close(mixed[row : row + 1], alone, rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------------------------------------------------- conditioning
@torch.no_grad()
def test_what_is_left_out_is_not_seen() -> None:
    model, x, sigma = pipeline(), noise(), torch.full((2,), 0.5)
    told, other = model.told(TEXTS), model.told(TEXTS[::-1])
    told["style"] = other["style"] = model.encoders.style(noise(size=32))
    for keep, parts in (((False, True, True), ("clip", "clip_pool")), ((True, False, True), ("t5",))):
        words = torch.tensor([keep, keep])
        crossed = told | {name: other[name] for name in parts}
        torch.testing.assert_close(model.base(x, sigma, kept(told, words)), model.base(x, sigma, kept(crossed, words)))
        assert (model.base(x, sigma, told) - model.base(x, sigma, crossed)).abs().max() > 1e-4
    silent = kept(told, torch.zeros(2, 3, dtype=torch.bool))
    nothing = {name: value.expand(2, *value.shape[1:]) for name, value in model.nothing().items()}
    torch.testing.assert_close(model.base(x, sigma, silent), model.base(x, sigma, nothing))


@torch.no_grad()
def test_padding_of_texts_changes_nothing() -> None:
    model = pipeline()
    told = model.told(["a red heart"])
    assert told["mask"].shape == (1, 28)
    assert not told["mask"].all()
    seen = told["mask"][0, 14:]
    assert bool(seen[0])
    other = {**told, "t5": torch.where(seen[None, :, None], told["t5"], 9.0)}
    x, sigma = noise(1), torch.tensor([0.5])
    torch.testing.assert_close(model.base(x, sigma, told), model.base(x, sigma, other))


# --------------------------------------------------------------------------------------------------- paint with words
def test_paintings_are_read_by_colour() -> None:
    picture = np.full((6, 8, 3), 255, dtype=np.uint8)
    picture[:3, :4], picture[4:, 5:] = (250, 10, 20), (0, 0, 255)
    heart, dog = read_regions(picture, "red: a  heart; #0000ff: dog;")
    assert (heart.phrase, dog.phrase) == ("a heart", "dog")
    assert heart.mask.sum() == 12
    assert dog.mask.sum() == 6
    assert not (heart.mask & dog.mask).any()


@pytest.mark.parametrize(("words", "message"), [
    ("", "words"), ("red heart", "words"), ("red:", "words"), ("reddish: heart", "colour"), ("green: heart", "paint"),
])  # fmt: skip
def test_bad_paintings_are_refused(words: str, message: str) -> None:
    picture = np.full((4, 4, 3), 255, dtype=np.uint8)
    picture[:2] = (255, 0, 0)
    with pytest.raises(RequestError, match=message):
        read_regions(picture, words)


@torch.no_grad()
def test_paint_is_tied_to_its_words_in_both_texts() -> None:
    model = pipeline()
    mask = np.zeros((16, 16), dtype=bool)
    mask[:8, :8] = True
    boost = boost_of(model, TEXTS[0], [Region(phrase="blue circle", mask=mask)], 2.0)
    places = token_places(model.words(), TEXTS[0], "blue circle")
    ids = model.words().ids(TEXTS[0])
    assert model.words().text([ids[place - 1] for place in places]) == "blue circle"
    assert set(boost.flatten(1).amax(1).nonzero().flatten().tolist()) == {p + s for p in places for s in (0, 14)}
    assert boost.amax() == 2.0
    assert boost[places[0], :4, :4].min() == 2.0
    assert boost[places[0], 4:].max() == 0.0
    with pytest.raises(RequestError, match="words"):
        boost_of(model, TEXTS[0], [Region(phrase="green", mask=mask)], 2.0)


@torch.no_grad()
def test_paint_pulls_in_noise_and_vanishes_without() -> None:
    model, x = pipeline(), noise()
    told = model.told(TEXTS)
    boost = torch.zeros(2, 28, 8, 8)
    boost[:, 3, :4] = 3.0
    change = []
    for sigma in (1e-6, 0.1, 5.0):
        level = torch.full((2,), sigma)
        told_less = told | {"boost": torch.zeros_like(boost)}
        plain = model.base(x, level, told)
        torch.testing.assert_close(model.base(x, level, told_less), plain)
        painted = model.base(x, level, told | {"boost": boost})
        change.append(float((painted - plain).abs().max() / (sigma * 0.5 / (sigma**2 + 0.25) ** 0.5)))
    assert change[0] < 1e-2 * change[2]
    assert change[0] < change[1] < change[2]


# ------------------------------------------------------------------------------------------------------------ cascade
def test_gradients_reach_every_parameter() -> None:
    model = pipeline()
    told = model.told(TEXTS)
    told["style"] = model.encoders.style(noise(size=32))
    torch.manual_seed(0)
    loss = sum(member(noise(), torch.tensor([0.1, 1.0]), told).square().mean() for member in model.base.members)
    for upscaler in model.upscalers:
        asked = told_coarse(told, noise(), noise(), torch.tensor([0.1, 0.3]), upscaler.stage.unet)
        loss = loss + upscaler(noise(size=32), torch.tensor([0.1, 1.0]), asked).square().mean()
    loss.backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert missing == []


@torch.no_grad()
def test_the_coarse_picture_and_its_noise_are_told() -> None:
    model = pipeline()
    upscaler, told, x, sigma = model.upscalers[0], model.told(TEXTS), noise(size=32), torch.full((2,), 0.5)

    def made(coarse: torch.Tensor, level: float) -> torch.Tensor:
        unet = upscaler.stage.unet
        return upscaler(x, sigma, told_coarse(told, coarse, noise(), torch.full((2,), level), unet))

    clean = told_coarse(told, noise(), noise(), torch.zeros(2), upscaler.stage.unet)
    assert clean["low"].shape == (2, 3, 32, 32)
    torch.testing.assert_close(clean["low"].mean((2, 3)), noise().mean((2, 3)), rtol=0.3, atol=0.1)
    assert (made(noise(), 0.0) - made(-noise(), 0.0)).abs().max() > 1e-4
    assert (made(noise(), 0.0) - made(noise(), 0.4)).abs().max() > 1e-4


@torch.no_grad()
def test_pictures_do_not_depend_on_their_company() -> None:
    model = pipeline()
    both = draw(model, ask(model, TEXTS), 3, steps=3, upscale_steps=2, guidance=2.0, report=lambda *_: None)
    alone = draw(model, ask(model, TEXTS[:1]), 3, steps=3, upscale_steps=2, guidance=2.0, report=lambda *_: None)
    torch.testing.assert_close(both[:1], alone, rtol=1e-3, atol=1e-3)
    assert both.shape == (2, 3, 32, 32)


@torch.no_grad()
def test_other_rooms_can_use_the_base_model() -> None:
    model = pipeline()
    offered = prior(model)
    times = UniformGrid(4)(offered.path)
    start = offered.start([torch.Generator().manual_seed(0)], times[0])
    made = Heun()(offered.guided(2.0), start, times, offered.path, cond=offered.conditions(TEXTS[:1]))
    assert made.shape == (1, 3, 8, 8)
    assert made.isfinite().all()
    assert isinstance(offered.prediction, X0)


def test_one_batch_is_learned_by_heart() -> None:
    torch.manual_seed(0)
    model = pipeline()
    levels = torch.tensor([-0.8, 0.8])
    pictures, told = levels[:, None, None, None].expand(2, 3, 8, 8).repeat(8, 1, 1, 1), model.told(TEXTS * 8)
    told = {name: value.detach() for name, value in told.items()}
    member, generator = model.base.members[-1], torch.Generator().manual_seed(2)
    optimizer, losses = torch.optim.AdamW(member.parameters(), lr=3e-3), []
    for _ in range(70):
        loss = edm_loss(member, pictures, told, EdmTimes(), 0.5, generator).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-10:]) < 0.45 * np.mean(losses[:5])
    with torch.no_grad():  # from pure noise, each text finds its own level
        pair = {name: value[:2] for name, value in told.items()}
        made = member(20.0 * noise(), torch.full((2,), 20.0), pair).mean((1, 2, 3))
    assert made[0] < made[1]


@pytest.mark.parametrize("changes", [{"blocks": (1,)}, {"size": 30}])
def test_sizes_that_do_not_fit_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="size|blocks"):
        EfficientUnetConfig(**{"size": 32, **changes})
    with pytest.raises(ValueError, match="rise"):
        replace(TINY, upscalers=(TINY.base,))
