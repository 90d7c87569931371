"""Systems that work with other systems."""

import shutil
import sys
from pathlib import Path

import pytest
import torch

from bottega.catalog import Catalog, FitOptions, build_in, choose_start, fit_in, load_in, replay_in
from bottega.cli import main
from bottega.errors import RequestError, WeightsError
from bottega.results import origin_of, save
from bottega.weights import NativeWeights, bundled_path, save_native


@pytest.fixture(scope="session")
def guild(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    root = tmp_path_factory.mktemp("rooms")
    shutil.copytree(Path(__file__).parent / "rooms" / "guild", root / "guild")
    sys.path.insert(0, str(root))
    rooms = Catalog("guild")
    path = bundled_path(rooms.folder("cloud"), "tiny")
    path.parent.mkdir(exist_ok=True)
    write_cloud(rooms, path, "tiny", seed=3)
    return rooms


def write_cloud(rooms: Catalog, path: Path, preset: str, seed: int) -> Path:
    """Weights of a cloud."""
    system = rooms.get("cloud")
    torch.manual_seed(seed)
    config = system.presets[preset].config
    own = NativeWeights(config=config, tensors=dict(system.build(config).state_dict()), assets={})
    save_native(path, own, system_id="cloud")
    return path


def said(ready, *inputs: str) -> list[str]:
    return ready(ready.system.request(inputs=inputs)).items()


def train(rooms: Catalog, out: Path, options: FitOptions = FitOptions()) -> Path:  # noqa: B008 - frozen
    system = rooms.get("echo")
    start = choose_start(system, "copy", own_data=False)
    return fit_in(
        rooms, "echo", None, preset="copy", out=out, stages=system.stages, start=start, options=options
    ).weights


def test_a_system_without_weights_runs_at_once_on_its_part(guild):
    ready = load_in(guild, "echo")
    cloud = load_in(guild, "cloud")
    with torch.no_grad():
        expected = float(cloud.model(torch.tensor([[2.0, -1.0]]), torch.zeros(1)).sum())
    assert said(ready, "2", "-1") == [f"{expected:.6f}"]
    assert ready.preset == "tiny"
    assert ready.parts["teacher"].weights == cloud.weights


def test_another_part_is_another_answer(guild, tmp_path):
    other = write_cloud(guild, tmp_path / "other.safetensors", "wide", seed=4)
    ready = load_in(guild, "echo", parts={"teacher": f"cloud:wide={other}"})
    assert said(ready) != said(load_in(guild, "echo"))
    assert ready.config.teacher == "cloud:wide"


def test_parts_that_cannot_be_are_refused_by_name(guild):
    with pytest.raises(RequestError, match="part of echo is 'tutor'.*one of teacher"):
        load_in(guild, "echo", parts={"tutor": "cloud"})
    with pytest.raises(RequestError, match="part of cloud is 'teacher'.*works on its own"):
        load_in(guild, "cloud", parts={"teacher": "cloud"})
    with pytest.raises(RequestError, match="teacher is 'echo'.*one of cloud.*diffusion model"):
        load_in(guild, "echo", parts={"teacher": "echo"})
    with pytest.raises(RequestError, match="there is no system 'clout'; did you mean cloud"):
        load_in(guild, "echo", parts={"teacher": "clout"})
    with pytest.raises(RequestError, match="preset is 'wide'"):
        load_in(guild, "echo", parts={"teacher": "cloud:wide"})


def test_a_recipe_names_the_parts_and_replays(guild, tmp_path):
    other = write_cloud(guild, tmp_path / "other.safetensors", "wide", seed=4)
    ready = load_in(guild, "echo", parts={"teacher": f"cloud:wide={other}"})
    result = ready(guild.get("echo").request(inputs=("3", "4")))
    origin = origin_of(result)
    assert origin is not None
    assert origin.parts["teacher"].system == "cloud:wide"
    (file,) = save(result, tmp_path / "said.json")
    assert replay_in(guild, file).difference is None
    write_cloud(guild, other, "wide", seed=5)
    found = replay_in(guild, file)
    assert found.result is None
    assert "other weights" in str(found.difference)


def test_fresh_systems_count_only_their_own_parameters(guild):
    for name, preset in guild.get("echo").presets.items():
        model = build_in(guild, "echo", name, "meta")
        assert sum(p.numel() for p in model.parameters()) == preset.parameters


def test_a_student_is_saved_without_its_teacher_and_finds_it_again(guild, tmp_path):
    weights = train(guild, tmp_path / "run")
    ready = load_in(guild, "echo", weights=weights)
    assert ready.preset == "copy"
    assert set(ready.model.state_dict()) == {f"student.lines.{i}.{kind}" for i in (0, 1) for kind in ("weight", "bias")}
    teacher, student = said(ready)
    assert teacher != student
    wide = write_cloud(guild, tmp_path / "wide.safetensors", "wide", seed=4)
    with pytest.raises(WeightsError):
        load_in(guild, "echo", weights=weights, parts={"teacher": f"cloud:wide={wide}"})


def test_choices_change_what_is_trained_and_another_choice_does_not_resume(guild, tmp_path):
    options = guild.get("echo").options
    assert options is not None
    weights = train(guild, tmp_path / "run", FitOptions(choices=options(loudness=2.0)))
    assert load_in(guild, "echo", weights=weights).config.loudness == 2.0
    with pytest.raises(RequestError, match="holds another run"):
        train(guild, tmp_path / "run", FitOptions(choices=options(loudness=3.0)))


def test_the_command_line_takes_parts_and_choices(guild, tmp_path, capsys):
    other = write_cloud(guild, tmp_path / "other.safetensors", "wide", seed=4)
    assert main(["run", "echo", "1", "2", "--teacher", f"cloud:wide={other}"], guild) == 0
    shown = capsys.readouterr().out.split()
    assert shown == said(load_in(guild, "echo", parts={"teacher": f"cloud:wide={other}"}), "1", "2")
    line = [
        "train",
        "echo",
        "--preset",
        "copy",
        "--loudness",
        "2.5",
        "--steps",
        "4",
        "--updates",
        "2",
        "--teacher",
        "cloud",
    ]
    assert main([*line, "-o", str(tmp_path / "run")], guild) == 0
    assert load_in(guild, "echo", weights=tmp_path / "run" / "echo-copy.safetensors").config.loudness == 2.5
    assert main(["run", "cloud", "--teacher", "cloud"], guild) == 2
