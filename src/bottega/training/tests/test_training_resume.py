"""Stopped, killed, out of disk space, damaged on disk: a run goes on to the same bits, or says what is wrong."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from training_toys import Adversaries, Regression, digests

from bottega.errors import Cancelled, FileError, RequestError, WeightsError
from bottega.training import (
    Cosine,
    FitSettings,
    Optimizer,
    TrainProgress,
    TrainState,
    fit,
    list_checkpoints,
    load_newest,
)

SETTINGS = FitSettings(
    steps=40, batch_size=10, learning_rate=1e-2, warmup_steps=5, schedule=Cosine(), ema_decay=0.9, save_every=10,
    log_every=4,
)  # fmt: skip


def steps_logged(out: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()]


class Interrupted(Regression):
    """Does something of the test's choosing before a step."""

    def __init__(self, at: int, action: object) -> None:
        super().__init__()
        self.at, self.action = at, action

    def step(self, state: TrainState, batch: dict[str, Tensor]) -> Mapping[str, Tensor]:
        if state.step == self.at:
            self.action()
        return super().step(state, batch)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return digests(fit(Regression(), SETTINGS, tmp_path_factory.mktemp("whole")).checkpoint)


def test_killed_at_random_moments_more_than_twenty_times(tmp_path: Path) -> None:
    script = Path(__file__).with_name("killed_runs.py")
    done = subprocess.run([sys.executable, script, str(tmp_path)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    outcome = json.loads(done.stdout)
    assert outcome["kills"] >= 20
    assert outcome["equal"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_checkpoint_of_the_last_step(
    number: signal.Signals, tmp_path: Path, uninterrupted: dict[str, str]
) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Cancelled, match="stopped at step 24 of 40"):
        fit(Interrupted(23, lambda: signal.raise_signal(number)), SETTINGS, tmp_path)
    assert signal.getsignal(number) is before
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-000020", "step-000024"]
    assert digests(fit(Regression(), SETTINGS, tmp_path).checkpoint) == uninterrupted


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    settings = replace(SETTINGS, workers=0)  # in the main thread, where each signal is heard before the next
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            fit(Interrupted(13, twice), settings, tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-000010"]


def test_a_cancelling_callback_stops_within_one_step(tmp_path: Path, uninterrupted: dict[str, str]) -> None:
    def cancel(progress: TrainProgress) -> None:
        if progress.step == 17:
            raise Cancelled("enough")

    with pytest.raises(Cancelled, match="step 17 of 40"):
        fit(Regression(), SETTINGS, tmp_path, report=cancel)
    assert digests(fit(Regression(), SETTINGS, tmp_path).checkpoint) == uninterrupted
    assert steps_logged(tmp_path) == [4, 8, 12, 16, 17, 20, 24, 28, 32, 36, 40]


def test_a_finished_run_is_only_loaded(tmp_path: Path) -> None:
    first = fit(Regression(), SETTINGS, tmp_path)
    before = digests(first.checkpoint)
    recipe = Interrupted(-1, None)
    recipe.batch = None  # ty: ignore - nothing may be drawn
    second = fit(recipe, SETTINGS, tmp_path)
    assert digests(second.checkpoint) == before
    assert torch.equal(second.state.model.head.weight, first.state.model.head.weight)


def test_muon_resumes_to_the_same_bits(tmp_path: Path) -> None:
    def cancel(progress: TrainProgress) -> None:
        if progress.step == 13:
            raise Cancelled("enough")

    settings = replace(SETTINGS, optimizer=Optimizer.MUON)
    whole = fit(Regression(), settings, tmp_path / "whole")
    with pytest.raises(Cancelled):
        fit(Regression(), settings, tmp_path / "parts", report=cancel)
    assert digests(fit(Regression(), settings, tmp_path / "parts").checkpoint) == digests(whole.checkpoint)


def test_two_optimizers_resume_to_the_same_bits(tmp_path: Path) -> None:
    def cancel(progress: TrainProgress) -> None:
        if progress.step == 13:
            raise Cancelled("enough")

    whole = fit(Adversaries(), SETTINGS, tmp_path / "whole")
    with pytest.raises(Cancelled):
        fit(Adversaries(), SETTINGS, tmp_path / "parts", report=cancel)
    assert digests(fit(Adversaries(), SETTINGS, tmp_path / "parts").checkpoint) == digests(whole.checkpoint)


def test_a_truncated_newest_checkpoint_falls_back_to_the_one_before(
    tmp_path: Path, uninterrupted: dict[str, str]
) -> None:
    fit(Regression(), SETTINGS, tmp_path)
    damaged = tmp_path / "step-000040" / "optimizer.safetensors"
    os.truncate(damaged, damaged.stat().st_size // 2)
    result = fit(Regression(), SETTINGS, tmp_path)
    assert len(result.warnings) == 1
    assert "step-000040" in result.warnings[0]
    assert digests(result.checkpoint) == uninterrupted
    assert steps_logged(tmp_path)[-3:] == [32, 36, 40], "lines after the checkpoint are written once"


@pytest.mark.parametrize("name", ["model.safetensors", "ema.safetensors", "state.json", "manifest.json"])
def test_every_file_of_a_checkpoint_is_checked(name: str, tmp_path: Path) -> None:
    fit(Regression(), SETTINGS, tmp_path)
    path = tmp_path / "step-000040" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    snapshot, warnings = load_newest(tmp_path)
    assert snapshot is not None
    assert snapshot.step == 30
    assert "step-000040" in warnings[0]
    (tmp_path / "step-000030" / name).unlink()
    with pytest.raises(FileError, match="every checkpoint in .* is damaged"):
        load_newest(tmp_path)


def test_a_manifest_cannot_point_outside(tmp_path: Path) -> None:
    fit(Regression(), replace(SETTINGS, keep=1), tmp_path)
    manifest = tmp_path / "step-000040" / "manifest.json"
    listed = json.loads(manifest.read_text())
    listed["sha256"]["../log.jsonl"] = "0"
    manifest.write_text(json.dumps(listed))
    with pytest.raises(FileError, match="not a file beside it"):
        load_newest(tmp_path)


def test_a_full_disk_leaves_the_earlier_checkpoints(tmp_path: Path, uninterrupted: dict[str, str]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(FileError, match="step-000030 could not be written .* free some disk space"):
            fit(Interrupted(25, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (6000, hard))), SETTINGS, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(path.name for path in tmp_path.iterdir() if "step" in path.name) == ["step-000010", "step-000020"]
    assert digests(fit(Regression(), SETTINGS, tmp_path).checkpoint) == uninterrupted


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # TensorBoard's own thread
def test_a_log_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    settings = replace(SETTINGS, log_every=1, save_every=0)
    try:
        with pytest.raises(FileError, match="(log.jsonl|tensorboard) could not be written"):
            fit(Interrupted(5, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))), settings, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_keep_removes_the_oldest(tmp_path: Path) -> None:
    fit(Regression(), replace(SETTINGS, keep=3, save_every=5), tmp_path)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-000030", "step-000035", "step-000040"]


def test_what_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    fit(Regression(), SETTINGS, tmp_path)
    with pytest.raises(RequestError, match="already holds a training run"):
        fit(Regression(), SETTINGS, tmp_path, resume=False)
    with pytest.raises(RequestError, match="batch_size is 20"):
        fit(Regression(), replace(SETTINGS, batch_size=20, steps=50), tmp_path)
    with pytest.raises(WeightsError, match="do not fit"):
        fit(Adversaries(), SETTINGS, tmp_path)
    wider = Regression()
    wider.model.head = torch.nn.Linear(16, 3)
    with pytest.raises(WeightsError, match=r"head.weight is \(2, 16\) in the checkpoint, but \(3, 16\)"):
        fit(wider, SETTINGS, tmp_path)


def test_other_settings_are_told(tmp_path: Path) -> None:
    fit(Regression(), SETTINGS, tmp_path)
    result = fit(Regression(), replace(SETTINGS, steps=50, learning_rate=1e-3), tmp_path)
    assert result.state.step == 50
    assert "learning_rate was 0.01 and is 0.001" in result.warnings[0]


def test_an_average_may_start_late(tmp_path: Path) -> None:
    fit(Regression(), replace(SETTINGS, ema_decay=None), tmp_path)
    result = fit(Regression(), replace(SETTINGS, steps=41), tmp_path)
    assert result.state.ema is not None
    assert not torch.equal(result.weights()["head.weight"], result.state.model.head.weight)
