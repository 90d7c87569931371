"""Finding, loading, converting, training and replaying rooms."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bottega.catalog import Bundled, Catalog, FitOptions, From, Scratch
from bottega.catalog.ready import build, content_hash, convert, load
from bottega.catalog.replays import replay
from bottega.catalog.training import choose_stages, choose_start, fit, with_steps
from bottega.errors import BottegaError, FileError, RequestError, WeightsError
from bottega.layers import Int8Linear
from bottega.results import read_origin
from bottega.weights import bundled_path


def request(rooms: Catalog, *inputs: str, **changes: object) -> object:
    kind = rooms.get("gradient").request
    return kind(inputs=inputs or ("red apple",), **changes)


def mode(rooms: Catalog, name: str) -> object:
    return type(request(rooms).mode)[name]


def test_systems_and_cards_without_importing_models(workshop: Catalog) -> None:
    assert workshop.systems() == ["empty", "gradient"]
    assert workshop.family("gradient") == "painting"
    assert workshop.card("gradient").title == "Gradient"
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from bottega.catalog import Catalog; rooms = Catalog('workshop');"
        "rooms.systems(); rooms.card('gradient'); rooms.request_names(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(workshop.folder("gradient").parents[2])], check=True)


def test_import_and_help_need_no_torch() -> None:
    code = "import sys, bottega, bottega.catalog; bottega.systems(); dir(bottega); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "False\n"


def test_unknown_id_names_the_nearest(workshop: Catalog) -> None:
    with pytest.raises(RequestError, match=r"'gradeint'; did you mean gradient\?"):
        workshop.get("gradeint")
    with pytest.raises(RequestError, match="there are empty, gradient"):
        workshop.get("zzzzzz")


def test_info_says_what_works(workshop: Catalog) -> None:
    info = workshop.info("gradient")
    assert info.verbs == ("run", "convert", "train", "eval")
    assert info.formats == {"bare": "a bare state dict"}
    assert workshop.info("empty").verbs == ("run",)


def test_request_types_are_found_by_name(workshop: Catalog) -> None:
    assert workshop.request_names() == ["EmptyRequest", "GradientRequest"]
    assert workshop.request_type("GradientRequest") is workshop.get("gradient").request
    assert workshop.request_type("NoSuchRequest") is None
    assert workshop.request_type("os.system") is None


def test_parameter_counts_on_meta(workshop: Catalog) -> None:
    for name, preset in workshop.get("gradient").presets.items():
        model = build(workshop, "gradient", name, "meta")
        assert all(p.is_meta for p in model.parameters())
        assert sum(p.numel() for p in model.parameters()) == preset.parameters


def test_bundled_weights_run_and_carry_their_recipe(workshop: Catalog) -> None:
    ready = load(workshop, "gradient")
    before = torch.random.get_rng_state()
    result = ready(request(workshop, "a", "b", count=2, seed=5))
    assert torch.equal(before, torch.random.get_rng_state())
    assert result.pictures.shape == (4, 32, 32, 3)
    origin = result.origin
    file = bundled_path(workshop.folder("gradient"), "tiny")
    assert origin.weights.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (origin.system, origin.preset, origin.seed, origin.device) == ("gradient", "tiny", 5, "cpu")
    assert origin.request["inputs"] == ["a", "b"]
    assert ready.model.notes == {"note": "hello"}


def test_load_leaves_torch_randomness_alone(workshop: Catalog) -> None:
    before = torch.random.get_rng_state()
    load(workshop, "gradient")
    assert torch.equal(before, torch.random.get_rng_state())


def test_dtype_reaches_the_parameters(workshop: Catalog) -> None:
    ready = load(workshop, "gradient", dtype="bfloat16")
    assert {p.dtype for p in ready.model.parameters()} == {torch.bfloat16}
    assert ready(request(workshop)).origin.dtype == "bfloat16"


def test_int8_reaches_the_linear_layers(workshop: Catalog) -> None:
    plain, small = load(workshop, "gradient"), load(workshop, "gradient", dtype="int8")
    linears = [part for part in plain.model.modules() if isinstance(part, torch.nn.Linear)]
    assert len([part for part in small.model.modules() if isinstance(part, Int8Linear)]) == len(linears)
    assert not [part for part in small.model.modules() if isinstance(part, torch.nn.Linear)]
    result = small(request(workshop))
    assert result.origin.dtype == "int8"


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"preset": "huge"}, RequestError, "preset is 'huge', but it must be one of tiny, large"),
        ({"preset": "large"}, RequestError, "only that size is bundled"),
        ({"format": "bare"}, RequestError, "no weights were given"),
        ({"weights": "nowhere.safetensors"}, FileError, "nowhere.safetensors does not exist"),
        ({"device": "tpu"}, RequestError, "device is 'tpu', but it must be one of cpu"),
        ({"dtype": "int4"}, RequestError, "dtype is 'int4', but it must be one of float32"),
    ],
)
def test_what_cannot_be_loaded(workshop: Catalog, given: dict, error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        load(workshop, "gradient", **given)


def test_system_without_weights_says_so(workshop: Catalog) -> None:
    with pytest.raises(RequestError, match="empty comes without weights"):
        load(workshop, "empty")


def test_convert_both_ways_keeps_every_bit(workshop: Catalog, tmp_path: Path) -> None:
    own = bundled_path(workshop.folder("gradient"), "tiny")
    theirs, back = tmp_path / "theirs.safetensors", tmp_path / "back.safetensors"
    convert(workshop, "gradient", own, theirs, target_format="bare")
    convert(workshop, "gradient", theirs, back, source_format="bare", preset="tiny")
    first, second = load(workshop, "gradient"), load(workshop, "gradient", weights=back)
    for name, tensor in first.model.state_dict().items():
        assert torch.equal(tensor, second.model.state_dict()[name])
    direct = load(workshop, "gradient", weights=theirs, format="bare", preset="tiny")
    assert direct.weights.format == "bare"
    assert np.array_equal(direct(request(workshop)).pictures, first(request(workshop)).pictures)


def test_formats_are_named_never_guessed(workshop: Catalog, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.safetensors"
    convert(workshop, "gradient", bundled_path(workshop.folder("gradient"), "tiny"), theirs, target_format="bare")
    with pytest.raises(FileError, match="formats: native, bare"):
        load(workshop, "gradient", weights=theirs)
    with pytest.raises(RequestError, match="format is 'hf', but it must be one of native, bare"):
        load(workshop, "gradient", weights=theirs, format="hf")
    with pytest.raises(RequestError, match="preset is None"):
        load(workshop, "gradient", weights=theirs, format="bare")
    with pytest.raises(WeightsError, match="wrong shape"):
        load(workshop, "gradient", weights=theirs, format="bare", preset="large")
    with pytest.raises(FileError, match="exists already"):
        convert(workshop, "gradient", theirs, theirs, source_format="bare", preset="tiny")


def test_a_request_of_another_system_is_refused(workshop: Catalog) -> None:
    with pytest.raises(RequestError, match="GradientRequest"):
        load(workshop, "gradient")(workshop.get("empty").request())


def test_content_hash_of_a_folder_sees_names_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    first = content_hash(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert content_hash(tmp_path) != first


# -------------------------------------------------------------------------------------------------------------- replay


@pytest.mark.parametrize("form", ["p.png", "p.webp", "p.jpg", "p.npz"])
def test_replay_makes_the_same_bits(workshop: Catalog, tmp_path: Path, form: str) -> None:
    load(workshop, "gradient")(request(workshop, "a", seed=9)).save(tmp_path / form)
    replayed = replay(workshop, tmp_path / form)
    assert replayed.difference is None
    assert replayed.result.seed == 9


def test_replay_of_each_of_several_and_of_the_sheet(workshop: Catalog, tmp_path: Path) -> None:
    files = load(workshop, "gradient")(request(workshop, "a", "b", count=2)).save(tmp_path / "out")
    assert [read_origin(file).index for file in files] == [None, 0, 1, 2, 3]
    assert [replay(workshop, file).difference for file in files] == [None] * 5


def test_replay_sees_one_changed_pixel(workshop: Catalog, tmp_path: Path) -> None:
    result = load(workshop, "gradient")(request(workshop))
    result.pictures[0, 3, 4, 1] ^= 1
    (file,) = result.save(tmp_path / "p.png")
    assert replay(workshop, file).difference == "1 of 3072 pixel values differ, by at most 1"


def test_replay_with_other_weights_runs_nothing(workshop: Catalog, tmp_path: Path) -> None:
    (file,) = load(workshop, "gradient")(request(workshop)).save(tmp_path / "p.png")
    own = tmp_path / "own.safetensors"
    system = workshop.get("gradient")
    stages = with_steps(choose_stages(system, "gradient", ("colors",), own_data=False), 1)
    trained = fit(
        workshop,
        "gradient",
        None,
        preset="tiny",
        out=tmp_path / "run",
        stages=stages,
        start=Scratch(),
        options=FitOptions(),
    )
    trained.weights.rename(own)
    replayed = replay(workshop, file, weights=own)
    assert replayed.result is None
    assert "made with other weights (bundled" in replayed.difference


def test_replay_of_words_checks_the_picture(workshop: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (5, 5), (200, 0, 0)).save("photo.png")
    (file,) = load(workshop, "gradient")(request(workshop, "photo.png", mode=mode(workshop, "DESCRIBE"))).save("w.json")
    assert replay(workshop, file).difference is None
    Image.new("RGB", (5, 5), (0, 200, 0)).save("photo.png")
    with pytest.raises(FileError, match="photo.png, which has changed since"):
        replay(workshop, file)
    Path("photo.png").unlink()
    with pytest.raises(FileError, match="photo.png, which is not there now"):
        replay(workshop, file)


# --------------------------------------------------------------------------------------------------------------- train


def train(rooms: Catalog, out: Path, names: tuple[str, ...] | None = None, **options: object) -> object:
    system = rooms.get("gradient")
    stages = with_steps(choose_stages(system, "gradient", names, own_data=False), 6)
    return fit(
        rooms, "gradient", None, preset="tiny", out=out, stages=stages, start=Scratch(), options=FitOptions(**options)
    )


def test_training_leaves_weights_that_load(workshop: Catalog, tmp_path: Path) -> None:
    trained = train(workshop, tmp_path / "run")
    assert list(trained.losses) == ["colors", "own"]
    ready = load(workshop, "gradient", weights=trained.weights)
    assert ready.preset == "tiny"
    start = load(workshop, "gradient").model.state_dict()["first.weight"]
    assert not torch.equal(ready.model.state_dict()["first.weight"], start)


def test_training_is_deterministic_and_resumes(workshop: Catalog, tmp_path: Path) -> None:
    first, second = train(workshop, tmp_path / "a"), train(workshop, tmp_path / "b")
    assert first.weights.read_bytes() == second.weights.read_bytes()
    again = train(workshop, tmp_path / "a")
    assert again.weights.read_bytes() == second.weights.read_bytes()
    with pytest.raises(RequestError, match="already holds a training run"):
        train(workshop, tmp_path / "a", resume=False)


def test_finetuning_starts_from_bundled_and_keeps_assets(workshop: Catalog, tmp_path: Path) -> None:
    pictures = tmp_path / "mine"
    pictures.mkdir()
    Image.new("RGB", (5, 5), (200, 0, 0)).save(pictures / "a.png")
    system = workshop.get("gradient")
    stages = with_steps(choose_stages(system, "gradient", None, own_data=True), 1)
    assert [stage.name for stage in stages] == ["own"]
    start = choose_start(system, "tiny", own_data=True)
    assert isinstance(start, Bundled)
    options = FitOptions(batch_size=1, learning_rate=1e-12)
    trained = fit(
        workshop, "gradient", pictures, preset="tiny", out=tmp_path / "o", stages=stages, start=start, options=options
    )
    ready = load(workshop, "gradient", weights=trained.weights)
    assert ready.model.notes == {"note": "hello"}
    for name, tensor in load(workshop, "gradient").model.state_dict().items():
        torch.testing.assert_close(tensor, ready.model.state_dict()[name], atol=1e-6, rtol=0)
    other = From(weights=trained.weights)
    with pytest.raises(RequestError, match="holds another run"):
        fit(
            workshop,
            "gradient",
            pictures,
            preset="tiny",
            out=tmp_path / "o",
            stages=stages,
            start=other,
            options=options,
        )


@pytest.mark.parametrize(
    ("system", "names", "text"),
    [
        ("gradient", ("colour",), "stages is 'colour', but it must be some of colors, own"),
        ("empty", None, "cannot be trained"),
    ],
)
def test_stages_that_are_not_there(workshop: Catalog, system: str, names: tuple[str, ...] | None, text: str) -> None:
    with pytest.raises(BottegaError, match=text):
        choose_stages(workshop.get(system), system, names, own_data=False)
