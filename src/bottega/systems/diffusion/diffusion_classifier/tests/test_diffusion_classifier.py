"""The classifier on a diffusion model whose answers are known: every label is a flat colour with a little spread."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from bottega.errors import Cancelled, FileError, RequestError, WeightsError
from bottega.processes.diffusion import X0, Prior, Vp
from bottega.processes.diffusion.predictions import coefficients_like
from bottega.room import silent
from bottega.systems.diffusion.diffusion_classifier.config import PRESETS, DiffusionClassifierConfig
from bottega.systems.diffusion.diffusion_classifier.evaluation import (
    counts,
    leg_boxes,
    maimed,
    missing_legs,
    supervised,
)
from bottega.systems.diffusion.diffusion_classifier.inference import ClassifyRequest, infer
from bottega.systems.diffusion.diffusion_classifier.model import DiffusionClassifier
from bottega.worlds.emoji import EMOJI_CLASSES, emoji_class, load_index, reference_pictures, split

COLOURS = {"red": (1.0, -1.0, -1.0), "green": (-1.0, 1.0, -1.0), "blue": (-1.0, -1.0, 1.0), "grey": (0.0, 0.0, 0.0)}
PATH = Vp()


class FlatColours(nn.Module):
    """The exact denoiser of pictures of one colour with independent normal pixels around it."""

    def __init__(self, spread=0.3):
        super().__init__()
        self.spread = nn.Parameter(torch.tensor(spread))

    def forward(self, x, t, cond):
        alpha, sigma = coefficients_like(x, t, PATH)
        gain = alpha * self.spread**2 / (alpha**2 * self.spread**2 + sigma**2)
        return cond + gain * (x - alpha * cond)


def colours(words):
    unknown = [word for word in words if word not in COLOURS]
    if unknown:
        raise RequestError.of("the colour", unknown[0], ", ".join(COLOURS))
    return torch.tensor([COLOURS[word] for word in words]).reshape(-1, 3, 1, 1)


def prior(**changes):
    offered = {
        "network": FlatColours(), "path": PATH, "prediction": X0(), "shape": (3, 8, 8), "to_pictures": lambda x: x,
        "from_pictures": lambda x: x, "size": 8, "condition": colours, "null_cond": torch.zeros(1, 3, 1, 1),
    }  # fmt: skip
    return Prior(**(offered | changes))


def classifier(rounds=3, **changes):
    model = DiffusionClassifier(DiffusionClassifierConfig(rounds=rounds))
    model.connect({"prior": prior(**changes)})
    return model


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder, names = tmp_path_factory.mktemp("pictures"), []
    noise = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        pixels = (np.array(colour) * 0.6 + 1) * 127.5 + noise.normal(0, 20, (16, 16, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{name}.png")
        names.append(str(folder / f"{name}.png"))
    return tuple(names)


def test_colours_are_told_apart(files):
    request = ClassifyRequest(inputs=files, labels=tuple(COLOURS), samples=16)
    result = infer(classifier(), request, silent)
    assert [text.split(" ")[0] for text in result.words] == list(COLOURS)
    assert result.sources == files
    assert all(text.count("±") == 2 for text in result.words)
    assert infer(classifier(), request, silent).words == result.words
    everything = infer(classifier(rounds=1), request, silent)
    assert [text.split(" ")[0] for text in everything.words] == list(COLOURS)


def test_the_order_of_labels_does_not_matter(files):
    for labels in (("grey", "blue", "red"), ("red", "grey", "blue")):
        result = infer(classifier(), ClassifyRequest(inputs=files[:1], labels=labels, samples=8), silent)
        assert result.words[0].startswith("red (")


def test_progress_counts_over_all_pictures_and_may_stop(files):
    seen = []
    infer(classifier(), ClassifyRequest(inputs=files[:2], labels=("red", "blue"), samples=4), seen.append)
    assert seen[-1].step == seen[-1].total
    assert all(a.step < b.step for a, b in zip(seen, seen[1:], strict=False))

    def stop(progress):
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        infer(classifier(), ClassifyRequest(inputs=files[:1], labels=("red", "blue")), stop)


def test_errors_say_what_to_do(files):
    with pytest.raises(RequestError, match="purple"):
        infer(classifier(), ClassifyRequest(inputs=files[:1], labels=("red", "purple")), silent)
    with pytest.raises(RequestError, match="labels"):
        ClassifyRequest(labels=("red",))
    with pytest.raises(RequestError, match="labels"):
        ClassifyRequest(labels=("red", "red"))
    with pytest.raises(RequestError, match="samples"):
        ClassifyRequest(samples=0)
    with pytest.raises(FileError):
        infer(classifier(), ClassifyRequest(inputs=("nowhere.png",), labels=("red", "blue")), silent)
    with pytest.raises(RequestError, match="no inputs"):
        infer(classifier(condition=None), ClassifyRequest(inputs=files[:1], labels=("red", "blue")), silent)
    with pytest.raises(WeightsError, match="no diffusion model"):
        infer(DiffusionClassifier(PRESETS["tiny"].config), ClassifyRequest(), silent)
    with pytest.raises(ValueError, match="rounds"):
        DiffusionClassifierConfig(rounds=0)


def test_it_has_no_parameters_of_its_own():
    model = classifier()
    assert not list(model.parameters())
    assert not model.state_dict()


# ------------------------------------------------------------------------------------------------------- the evaluation
def test_legs_are_found_and_painted_over():
    emojis = {emoji.name: emoji for emoji in load_index()}
    assert len(leg_boxes(emojis["horse"])) >= 2
    assert not leg_boxes(emojis["red heart"])
    whole, lame, scarred = maimed(emojis["horse"])
    assert np.array_equal(whole, reference_pictures("all")[0][emojis["horse"].id])
    lost = (lame != whole).any(2)
    rows = np.flatnonzero(lost.any(1))
    assert rows[0] > 40
    assert lost.sum() > 20
    assert (scarred != whole).any()
    assert not (scarred != whole)[rows[0] :].any()


def tiles(words):
    """Conditions that hold a word's number; the null condition is -1."""
    return torch.tensor([EMOJI_CLASSES.index(word) for word in words])


class KnowsAnimals(nn.Module):
    """A model that expects of animals the mean of all animals, and of anything else white: it knows where legs are."""

    def __init__(self):
        super().__init__()
        animals = [emoji.id for emoji in split("all") if emoji.subgroup == "animal-mammal" and leg_boxes(emoji)]
        mean = torch.from_numpy(reference_pictures("all", 32)[0][animals]).float().mean(0) / 127.5 - 1
        self.mean = nn.Parameter(mean.permute(2, 0, 1))

    def forward(self, x, t, cond):
        return torch.where((cond >= 0).reshape(-1, 1, 1, 1), self.mean, torch.ones_like(x))


def test_what_the_class_knows_shows_in_the_evidence():
    network = KnowsAnimals()
    model = classifier(
        network=network, shape=(3, 32, 32), size=32, condition=tiles, null_cond=torch.tensor([-1])
    )  # fmt: skip
    found = missing_legs(model, 0, 8, silent)
    assert found["all legs likelier than one missing: density"].samples == 8
    assert found["all legs likelier than one missing: evidence"].value == 100.0
    only = classifier(network=network, shape=(3, 32, 32), size=32, condition=tiles, null_cond=None)
    assert list(missing_legs(only, 0, 2, silent)) == ["all legs likelier than one missing: density"]


def test_counts_are_asked_of_free_prompts_only():
    assert counts(classifier(), 0, 2, silent) == {}  # knows colours and no sentences

    def anything(words):
        return torch.zeros(len(words), 3, 1, 1)

    found = counts(classifier(condition=anything), 0, 3, silent)["how many"]
    assert found.samples == 3
    assert found.baseline is not None
    assert found.baseline >= 25


def test_the_supervised_classifier_learns():
    emojis = split("train")
    asked = [emojis[i] for i in np.random.default_rng(0).permutation(len(emojis))[:100]]
    seen = supervised(asked)
    assert sum(a == emoji_class(b) for a, b in zip(seen, asked, strict=True)) > 70
