"""The command line as a user meets it: what works, and one clear line for what does not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bottega.catalog import Catalog
from bottega.cli import main
from bottega.cli.main import VERBS
from bottega.cli.wording import bytes_text, count_text, one_line, time_text


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGBA", (7, 5), (10, 200, 10, 255)).save("photo.png")
    Path("notes.txt").write_text("no picture")
    Path("broken.png").write_bytes(b"\x89PNG\r\n\x1a\n, but no more")
    Path("broken.json").write_text('{"bottega": {"system": 3}}')
    Path("broken.npz").write_text("no archive")
    Path("broken.safetensors").write_text("no weights")
    Path("empty").mkdir()


def call(rooms: Catalog, *arguments: str) -> int:
    try:
        return main(arguments, rooms)
    except SystemExit as end:  # after --help
        return int(end.code or 0)


# --------------------------------------------------------------------------------------------------------------- misuse

MISUSES = [
    (("runn",), "no verb 'runn'; did you mean run"),
    (("paint",), "no verb 'paint'"),
    (("run",), "needs a system first; there are empty, gradient"),
    (("run", "--count", "3"), "needs a system first"),
    (("run", "gradeint", "a"), "did you mean gradient"),
    (("run", "gradient/../empty", "a"), "there is no system"),
    (("info",), "needs a system first"),
    (("info", "nothing"), "there is no system 'nothing'"),
    (("info", "gradient", "more"), "unrecognized options: more"),
    (("list", "--jsn"), "no option --jsn; did you mean --json"),
    (("run", "gradient"), "at least one prompt"),
    (("run", "gradient", "a", "--count", "0"), "count is 0, but it must be from 1 to 64"),
    (("run", "gradient", "a", "--count", "65"), "count is 65, but it must be from 1 to 64"),
    (("run", "gradient", "a", "--count", "x"), "--count is 'x', but it must be a whole number"),
    (("run", "gradient", "a", "--count", "1.5"), "--count is '1.5', but it must be a whole number"),
    (("run", "gradient", "a", "--count"), "--count needs a value"),
    (("run", "gradient", "a", "--count", "1", "2"), "stands apart from the other inputs"),
    (("run", "gradient", "a", "--steps", "-3"), "steps is -3, but it must be from 1 to 1000"),
    (("run", "gradient", "a", "--guidance", "strong"), "--guidance is 'strong', but it must be a number"),
    (("run", "gradient", "a", "--guidance", "-1"), "guidance is -1.0, but it must be from 0 to 100"),
    (("run", "gradient", "a", "--guidance", "nan"), "guidance is nan"),
    (("run", "gradient", "a", "--seed", "-1"), "seed is -1, but it must be from 0"),
    (("run", "gradient", "a", "--seed", str(2**63)), "seed is 9223372036854775808"),
    (("run", "gradient", "a", "--mode", "dance"), "--mode is 'dance', but it must be one of 'paint', 'describe'"),
    (("run", "gradient", "a", "--cuont", "3"), "no option --cuont; did you mean --count"),
    (("run", "gradient", "a", "--device", "tpu"), "device is 'tpu', but it must be one of cpu"),
    (("run", "gradient", "a", "--device", "cuda:99"), "device is 'cuda:99'"),
    (("run", "gradient", "a", "--dtype", "int4"), "dtype is 'int4', but it must be one of float32"),
    (("run", "gradient", "a", "--preset", "huge"), "preset is 'huge', but it must be one of tiny, large"),
    (("run", "gradient", "a", "--preset", "large"), "only that size is bundled"),
    (("run", "gradient", "a", "--format", "bare"), "no weights were given"),
    (("run", "gradient", "a", "--weights", "none.safetensors"), "none.safetensors does not exist"),
    (("run", "gradient", "a", "--weights", "broken.safetensors"), "broken.safetensors"),
    (("run", "gradient", "a", "--weights", "broken.safetensors", "--format", "hf"), "must be one of native, bare"),
    (("run", "gradient", "a", "--weights", "empty"), "empty"),
    (("run", "gradient", "a", "-o", "x.gif"), "must be a folder or end in .png"),
    (("run", "gradient", "a", "-o", "notes.txt/x.png"), "notes.txt is a file, not a folder"),
    (("run", "gradient", "photo.png", "--mode", "describe", "-o", "w.png"), "end in .txt, .json, .npz"),
    (("run", "gradient", "nowhere.png", "--mode", "describe"), "nowhere.png"),
    (("run", "gradient", "notes.txt", "--mode", "describe"), "notes.txt cannot be read as a picture"),
    (("run", "gradient", "empty", "--mode", "describe"), "empty"),
    (("run", "empty"), "empty comes without weights"),
    (("run", "gradient", "-x"), "-x"),
    (("replay",), "--help"),
    (("replay", "nowhere.png"), "nowhere.png is not a file"),
    (("replay", "photo.png"), "photo.png holds no recipe"),
    (("replay", "notes.txt"), "notes.txt cannot hold a recipe"),
    (("replay", "broken.png"), "broken.png cannot be read as a picture"),
    (("replay", "broken.json"), "the recipe inside broken.json is damaged"),
    (("replay", "broken.npz"), "broken.npz cannot be read as .npz"),
    (("replay", "empty"), "empty is not a file"),
    (("train",), "needs a system first"),
    (("train", "empty"), "empty cannot be trained"),
    (("train", "gradient", "--steps", "0"), "steps is 0, but it must be at least 1"),
    (("train", "gradient", "--steps", "many"), "--steps"),
    (("train", "gradient", "--stages", "colour"), "stages is 'colour', but it must be some of colors, own"),
    (("train", "gradient", "--preset", "huge"), "preset is 'huge'"),
    (("train", "gradient", "--data", "empty"), "empty holds no pictures"),
    (("train", "gradient", "--batch-size", "0"), "batch_size is 0"),
    (("train", "gradient", "--learning-rate", "-1"), "learning_rate is -1.0"),
    (("train", "gradient", "--accumulate", "3"), "accumulate is 3, but it must be a divisor"),
    (("train", "gradient", "--seed", "-1"), "seed is -1"),
    (("train", "gradient", "--device", "tpu"), "device is 'tpu'"),
    (("train", "gradient", "--precision", "int4"), "--precision"),
    (("train", "gradient", "--start", "none.safetensors"), "none.safetensors does not exist"),
    (("train", "gradient", "--start", "bundled", "--preset", "large"), "only that size is bundled"),
    (("eval", "empty"), "empty has no evaluation"),
    (("eval", "gradient", "--limit", "0"), "limit is 0, but it must be at least 1"),
    (("eval", "gradient", "--seed", "-1"), "seed is -1"),
    (("convert", "gradient"), "--help"),
    (("convert", "gradient", "a.safetensors", "b.safetensors", "--to", "hf"), "format is 'hf'"),
    (("convert", "gradient", "a.safetensors", "b.safetensors", "--to", "bare"), "a.safetensors does not exist"),
    (("convert", "gradient", "photo.png", "notes.txt", "--to", "bare"), "notes.txt exists already"),
    (("plan",), "needs a job first"),
    (("plan", "trian", "gradient"), "did you mean train"),
    (("plan", "train", "empty"), "empty cannot be trained"),
    (("plan", "run", "gradient", "--preset", "huge"), "preset is 'huge'"),
    (("tour", "--output", "tour.pdf"), "must be a file that ends in .html"),
    (("tour", "--picture", "nowhere.png"), "nowhere.png is not a file"),
    (("studio", "--port", "70000"), "port is 70000, but it must be from 0 to 65535"),
    (("studio", "--port", "http"), "--port"),
    (("serve",), "needs a system first"),
    (("serve", "gradient"), "gradient has no language model to serve"),
    (("serve", "gradient", "--port", "70000"), "port is 70000, but it must be from 0 to 65535"),
    (("serve", "gradient", "--slots", "0"), "slots is 0, but it must be at least 1"),
    (("serve", "gradient", "--queue", "0"), "queue is 0, but it must be at least 1"),
    (("serve", "gradient", "--memory", "-1"), "memory is -1.0, but it must be above 0"),
    (("serve", "gradient", "--temperature", "1"), "no option --temperature"),
    (("doctor", "--fix"), "no option --fix"),
]


@pytest.mark.parametrize(("arguments", "text"), MISUSES, ids=[" ".join(arguments) for arguments, _ in MISUSES])
def test_misuse_is_one_clear_line(
    workshop: Catalog, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], text: str
) -> None:
    assert call(workshop, *arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("bottega: ")
    assert shown.err.count("\n") == 1
    assert text in shown.err
    assert "Traceback" not in shown.err


def test_refused_runs_leave_nothing(workshop: Catalog, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert call(workshop, "run", "gradient", "a", "-o", "x.gif") == 2
    assert call(workshop, "run", "gradient", "a", "-o", "new/", "--count", "0") == 2
    assert call(workshop, "train", "gradient", "--batch-size", "0") == 2
    assert sorted(tmp_path.rglob("*")) == before


# ----------------------------------------------------------------------------------------------------------- what works


def test_help_of_every_verb_and_system(workshop: Catalog, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(workshop) == 0
    shown = capsys.readouterr().out
    assert all(f"  {verb}" in shown for verb in VERBS)
    for verb in VERBS:
        assert call(workshop, verb, "--help") == 0
        assert "usage: bottega " + verb in capsys.readouterr().out
    assert call(workshop, "run", "gradient", "--help") == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "Pictures per prompt, 1 to 64. (default: 1)" in shown
    assert "--mode {paint,describe}" in shown
    assert call(workshop, "train", "gradient", "--help") == 0


def test_help_needs_neither_torch_nor_tyro() -> None:
    code = (
        "import sys; from bottega.cli import main; main(['--help']); main(['--version']);"
        "print(*sorted({'torch', 'tyro', 'numpy', 'PIL', 'rich'} & set(sys.modules)), file=sys.stderr)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stderr == "\n"


def test_list_says_what_there_is(workshop: Catalog, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(workshop, "list", "--json") == 0
    empty, gradient = json.loads(capsys.readouterr().out)
    assert (empty["id"], empty["bundled"], empty["verbs"]) == ("empty", None, ["run"])
    assert gradient["presets"] == {
        "tiny": {"parameters": 131, "source": "ours"},
        "large": {"parameters": 515, "source": "ours"},
    }
    assert call(workshop, "list") == 0
    assert "tiny 131, large 515" in capsys.readouterr().out


def test_info_shows_the_card(workshop: Catalog, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(workshop, "info", "gradient") == 0
    shown = capsys.readouterr().out
    assert "Words to a gradient between two colours" in shown
    assert "bundled weights: tiny" in shown


def test_run_into_a_folder_then_replay(workshop: Catalog, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(workshop, "run", "gradient", "red apple", "猫 😀", "--count", "2", "--seed", "7", "-o", "out/") == 0
    files = capsys.readouterr().out.splitlines()
    assert files == [
        "out/sheet-7.png",
        "out/red-apple-7-00.png",
        "out/red-apple-7-01.png",
        "out/猫-7-02.png",
        "out/猫-7-03.png",
    ]
    for file in files:
        assert call(workshop, "replay", file) == 0
        assert capsys.readouterr().out == f"{file}: the same bits\n"


def test_running_again_keeps_the_older_files(workshop: Catalog, capsys: pytest.CaptureFixture[str]) -> None:
    for steps in ("2", "3", "2"):
        assert call(workshop, "run", "gradient", "a", "--steps", steps) == 0
    assert capsys.readouterr().out.splitlines() == ["out/a-0-00.png", "out/a-0-00-v2.png", "out/a-0-00.png"]


def test_replay_of_a_changed_file_exits_with_1(workshop: Catalog, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(workshop, "run", "gradient", "a", "-o", "a.npz") == 0
    with np.load("a.npz") as arrays:
        kept = dict(arrays)
    kept["pictures"][0, 0, 0, 0] ^= 4
    np.savez("a.npz", **kept)
    capsys.readouterr()
    assert call(workshop, "replay", "a.npz") == 1
    assert capsys.readouterr().out == "a.npz: not the same: 1 of 3072 values of pictures differ, by at most 4\n"
    assert call(workshop, "replay", "a.npz", "--json") == 1
    assert json.loads(capsys.readouterr().out)["same"] is False


def test_words_are_printed_and_kept(workshop: Catalog, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(workshop, "run", "gradient", "photo.png", "--mode", "describe") == 0
    assert capsys.readouterr().out == "mostly green\n"
    assert not Path("out").exists()
    assert call(workshop, "run", "gradient", "photo.png", "--mode", "describe", "-o", "w.json") == 0
    assert json.loads(Path("w.json").read_text())["words"] == ["mostly green"]
    assert call(workshop, "replay", "w.json") == 0


def test_json_of_a_run(workshop: Catalog, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(workshop, "run", "gradient", "a", "--json", "-o", "a.png", "--seed", "3") == 0
    shown = capsys.readouterr()
    record = json.loads(shown.out)
    assert shown.err == ""
    assert (record["files"], record["seed"], record["origin"]["request"]["seed"]) == (["a.png"], 3, 3)


def test_train_eval_convert_plan(workshop: Catalog, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(workshop, "train", "gradient", "--steps", "4", "--out", "t") == 0
    assert "bottega run gradient --weights t/gradient-tiny.safetensors" in capsys.readouterr().out
    assert call(workshop, "eval", "gradient", "--weights", "t/gradient-tiny.safetensors", "--json") == 0
    assert json.loads(capsys.readouterr().out)["brightness"]["samples"] == 256
    assert call(workshop, "convert", "gradient", "t/gradient-tiny.safetensors", "b.safetensors", "--to", "bare") == 0
    capsys.readouterr()
    bare = ("--weights", "b.safetensors", "--format", "bare", "--preset", "tiny")
    assert call(workshop, "run", "gradient", "a", *bare, "-o", "a.png") == 0
    assert call(workshop, "replay", "a.png") == 0


def test_plan_counts_arithmetic_exactly(workshop: Catalog, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(workshop, "plan", "run", "gradient", "--json") == 0
    (plan,) = json.loads(capsys.readouterr().out)["plans"]
    pixels, width = 32 * 32, 16
    assert plan["flops"] == 2 * pixels * (4 * width + width * 3)
    assert plan["weights_bytes"] == 131 * 4
    assert plan["peak_bytes"] > pixels * width * 4
    assert call(workshop, "plan", "train", "gradient", "--steps", "7", "--stages", "own", "--json") == 0
    (plan,) = json.loads(capsys.readouterr().out)["plans"]
    forward = 4 * 2 * pixels * (4 * width + width * 3)
    assert plan["flops"] == forward + 4 * 2 * pixels * (4 * width + 2 * width * 3)  # no gradient of the places
    assert (plan["repeats"], plan["complete"]) == (7, True)


def test_tour_is_one_page_without_links_to_elsewhere(workshop: Catalog, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(workshop, "tour", "<b>red</b>", "--picture", "photo.png", "--no-open", "-o", "t.html") == 0
    text = Path("t.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;red&lt;/b&gt;" in text
    assert "<b>red" not in text
    assert "mostly green" in text
    assert "http" not in text
    assert text.count("data:image/png;base64,") == 2


def test_doctor_is_honest(workshop: Catalog, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(workshop, "doctor", "--json") == 1  # the weights of `gradient` have no card
    findings = {finding["name"]: finding for finding in json.loads(capsys.readouterr().out)}
    assert findings["torch"]["state"] == "ok"
    assert findings["gradient"]["state"] == "missing"
    assert findings["empty"]["state"] == "optional"


def test_a_closed_pipe_is_no_error(workshop: Catalog) -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); from bottega.cli import main;"
    code += "from bottega.catalog import Catalog; sys.exit(main(['list', '--json'], Catalog('workshop')))"
    read, write = os.pipe()
    os.close(read)
    root = str(workshop.folder("gradient").parents[2])
    done = subprocess.run([sys.executable, "-c", code, root], stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (count_text(44_300_000), "44.3 M"),
        (bytes_text(12), "12 B"),
        (bytes_text(1.2e9), "1.2 GB"),
        (time_text(0.001), "under 0.01 s"),
        (time_text(200), "3 min 20 s"),
        (time_text(7200), "2 h 0 min"),
        (one_line("a\nb\x1b[31m"), "a b [31m"),
    ],
)
def test_figures_in_words(text: str, shown: str) -> None:
    assert text == shown
