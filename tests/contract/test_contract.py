"""What every system of the catalogue keeps, whatever it is: the same checks over every id."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import json
import math
from typing import Any

import numpy as np
import pytest
import torch

from bottega import catalog
from bottega.catalog.ready import check_fit
from bottega.cli import main
from bottega.errors import FileError, RequestError
from bottega.room import Checkpoint, silent
from bottega.training import fit
from bottega.weights import NativeWeights, bundled_path, save_native, verify

SYSTEMS = catalog.systems()
pytestmark = pytest.mark.parametrize("system_id", SYSTEMS)


@dataclasses.dataclass(frozen=True)
class Few:
    """The first samples of a source."""

    source: Any
    count: int = 16

    def __len__(self):
        return min(self.count, len(self.source))

    def sample(self, index):
        return self.source.sample(index)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """A function of an id: the tiny model after two steps of every stage, and what each stage logged and moved."""

    @functools.cache
    def train(system_id):
        system = catalog.get(system_id)
        model, _ = catalog.fresh(catalog.ROOMS, system_id, system.presets["tiny"].config, seed=7)
        losses, moved = {}, {}
        source = Few(system.open_source(None)) if system.stages else None
        for stage in system.stages:
            before = {name: value.clone() for name, value in model.state_dict().items()}
            settings = dataclasses.replace(
                stage.settings, steps=2, batch_size=4, accumulate=1, warmup_steps=0, compile=False, workers=0,
                log_every=1, save_every=0, preview_every=0,
            )  # fmt: skip
            out = tmp_path_factory.mktemp(stage.name)
            fit(stage.recipe(model, source), settings, out)
            rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
            losses[stage.name] = [row["loss"] for row in rows if "loss" in row]
            after = model.state_dict()
            moved[stage.name] = [name for name, value in before.items() if not torch.equal(value, after[name])]
        return model.eval(), losses, moved

    return train


def assets(system, model):
    return dict(system.assets(model)) if system.assets is not None else {}


def save(system_id, model, path):
    system = catalog.get(system_id)
    config = system.presets["tiny"].config
    weights = NativeWeights(config=config, tensors=model.state_dict(), assets=assets(system, model))
    save_native(path, weights, system_id=system_id)
    return catalog.load(system_id, weights=path)


def same(left, right):
    """Whether two results hold the same values, to the last bit."""
    left, right = left.arrays(), right.arrays()
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


# ------------------------------------------------------------------------------------------------- what a person reads
def test_card_says_what_it_must(system_id):
    card = catalog.card(system_id)
    for name in ("title", "sentence", "citation", "papers", "peer", "licence"):
        assert getattr(card, name), f"{name} is empty"
    assert all(isinstance(text, str) and text for text in (*card.papers, *card.missing, *card.deviations))
    assert card.sentence.endswith(".")


def test_info_is_printed(system_id, capsys):
    assert main(["info", system_id]) in (None, 0)
    shown = " ".join(capsys.readouterr().out.split())
    for name in catalog.get(system_id).presets:
        assert name in shown
    assert catalog.card(system_id).title in shown


def test_list_names_it_for_machines(system_id, capsys):
    assert main(["list", "--json"]) in (None, 0)
    rows = {row["id"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows[system_id]["verbs"]) == set(catalog.get(system_id).verbs())


# --------------------------------------------------------------------------------------------------------------- sizes
def test_presets_have_their_stated_parameters(system_id):
    presets = catalog.get(system_id).presets
    assert "tiny" in presets
    counts = {}
    for name in presets:
        model = catalog.build(system_id, name, device="meta")
        assert {p.device.type for p in model.parameters()} <= {"meta"}
        counts[name] = sum(p.numel() for p in model.parameters())
    assert counts == {name: preset.parameters for name, preset in presets.items()}
    assert all(preset.source for preset in presets.values())


# ----------------------------------------------------------------------------------------------------------------- run
def test_request_is_a_frozen_record(system_id):
    system = catalog.get(system_id)
    assert isinstance(system.tiny_request, system.request)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(system.tiny_request, dataclasses.fields(system.request)[0].name, None)


def test_tiny_infers_and_reports(system_id, workshop):
    system, steps = catalog.get(system_id), []
    result = system.infer(workshop(system_id)[0], system.tiny_request, steps.append)
    assert result.items()
    assert steps, "nothing was reported"
    assert all(1 <= progress.step <= progress.total and progress.stage for progress in steps)
    for name, values in result.arrays().items():
        assert values.dtype.kind not in "fc" or np.isfinite(values).all(), f"{name} is not finite"


def test_same_request_gives_the_same_bits(system_id, workshop):
    system, model = catalog.get(system_id), workshop(system_id)[0]
    first = system.infer(model, system.tiny_request, silent)
    torch.rand(3)  # whatever else happened in between
    assert same(first, system.infer(model, system.tiny_request, silent))


# --------------------------------------------------------------------------------------------------------------- train
def test_stages_train_two_steps(system_id, workshop):
    _, losses, moved = workshop(system_id)
    stages = [stage.name for stage in catalog.get(system_id).stages]
    assert list(losses) == stages
    assert ("train" in catalog.info(system_id).verbs) == bool(stages)
    for stage in stages:
        assert len(losses[stage]) == 2
        assert all(math.isfinite(loss) for loss in losses[stage])
        assert moved[stage], f"stage {stage} moved nothing"


# ------------------------------------------------------------------------------------------------------------- weights
def test_saved_and_loaded_is_the_same_system(system_id, workshop, tmp_path):
    system, model = catalog.get(system_id), workshop(system_id)[0]
    loaded = save(system_id, model, tmp_path / "own.safetensors")
    assert loaded.preset == "tiny"
    plain = loaded.with_linears(packed=False)  # the kernels of the model that was saved: rounding would differ
    assert same(system.infer(model, system.tiny_request, silent), plain(system.tiny_request))


def test_formats_round_trip(system_id, workshop, tmp_path):
    system, model = catalog.get(system_id), copy.deepcopy(workshop(system_id)[0])
    config, generator = system.presets["tiny"].config, torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    written = Checkpoint(config=config, tensors=model.state_dict(), assets=assets(system, model))
    for name, layout in system.formats.items():
        assert layout.presets is None or set(layout.presets) <= set(system.presets), name
        if layout.presets is not None and "tiny" not in layout.presets:
            with pytest.raises(RequestError, match="tiny.*must be one of"):
                check_fit(system, name, config)
            continue
        read = layout.read(write(layout, written, tmp_path / name), config)
        assert read.config == config, name
        assert read.tensors.keys() == written.tensors.keys(), name
        changed = [key for key, value in written.tensors.items() if not torch.equal(read.tensors[key], value)]
        assert not changed, f"{name} changes {changed}"


def write(layout, checkpoint, place):
    """Where the layout let itself be written: a folder, or a file with the extension it asks for."""
    for suffix in ("", ".safetensors", ".pt", ".pth"):
        target = place.with_name(place.name + suffix)
        with contextlib.suppress(FileError):
            layout.write(checkpoint, target)
            assert target.exists(), "nothing was written"
            return target
    pytest.fail(f"{place.name} takes neither a folder nor a file of any known extension")


def test_bundled_weights_are_the_ones_of_their_card(system_id):
    system = catalog.get(system_id)
    if system.bundled is None:
        return
    path = bundled_path(catalog.ROOMS.folder(system_id), system.bundled)
    card = verify(path)
    for name in ("command", "metrics", "hardware", "steps"):
        assert getattr(card, name), f"{name} is empty"
    assert path.stat().st_size < 12 * 2**20
    ready = catalog.load(system_id)
    assert ready.preset == system.bundled
    assert ready(system.tiny_request).items()
