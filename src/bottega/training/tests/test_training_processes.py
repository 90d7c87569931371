"""Two gloo processes under `torchrun` train as one process does, and take over each other's checkpoints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training_toys import Adversaries, digests
from two_processes import KINDS, SETTINGS, partly, regression

from bottega.errors import RequestError
from bottega.training import Ddp, Optimizer, fit, list_checkpoints, load_checkpoint


def losses(out: Path) -> list[tuple[float, float]]:
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 13))
    return [(line["loss"], line["grad_norm"]) for line in lines]


def assert_same_weights(one: Path, other: Path) -> None:
    first, second = (load_checkpoint(list_checkpoints(out)[-1]) for out in (one, other))
    assert first.step == second.step == 12
    assert first.record["sampler"] == second.record["sampler"]
    for file in ("model", "ema", "optimizer"):
        assert first.tensors[file].keys() == second.tensors[file].keys()
        for name, tensor in first.tensors[file].items():
            if name != "calls":
                torch.testing.assert_close(second.tensors[file][name], tensor, rtol=1e-4, atol=1e-5, msg=name)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs of one process and of two."""
    folder = tmp_path_factory.mktemp("processes")
    fit(regression(), SETTINGS, folder / "one")
    fit(Adversaries(), SETTINGS, folder / "one-adversaries")
    fit(regression(), replace(SETTINGS, optimizer=Optimizer.MUON), folder / "one-muon")
    for kind in KINDS:
        partly(SETTINGS, folder / f"{kind}-between", 4)
    script = Path(__file__).with_name("two_processes.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", script, folder]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env={**os.environ, "LOGLEVEL": "ERROR"})
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_have_the_losses_of_one(kind: str, runs: Path) -> None:
    for one, two in zip(losses(runs / "one"), losses(runs / kind), strict=True):
        assert two == pytest.approx(one, rel=1e-5)
    assert_same_weights(runs / "one", runs / kind)


@pytest.mark.parametrize("kind", KINDS)
def test_accumulation_on_two_processes(kind: str, runs: Path) -> None:
    for one, two in zip(losses(runs / "one"), losses(runs / f"{kind}-parts"), strict=True):
        assert two == pytest.approx(one, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_two_optimizers_on_two_processes(kind: str, runs: Path) -> None:
    for one, two in zip(losses(runs / "one-adversaries"), losses(runs / f"{kind}-adversaries"), strict=True):
        assert two == pytest.approx(one, rel=1e-4)
    assert_same_weights(runs / "one-adversaries", runs / f"{kind}-adversaries")


@pytest.mark.parametrize("kind", KINDS)
def test_muon_on_two_processes(kind: str, runs: Path) -> None:
    for one, two in zip(losses(runs / "one-muon"), losses(runs / f"{kind}-muon"), strict=True):
        assert two == pytest.approx(one, rel=0.02)  # its iterations run in bfloat16


@pytest.mark.parametrize("kind", KINDS)
def test_one_then_two_then_one_process(kind: str, runs: Path) -> None:
    out = runs / f"{kind}-between"
    assert load_checkpoint(list_checkpoints(out)[-1]).step == 8
    assert load_checkpoint(list_checkpoints(out)[-1]).record["processes"] == 2
    fit(regression(), SETTINGS, out)
    assert_same_weights(runs / "one", out)
    for one, mixed in zip(losses(runs / "one"), losses(out), strict=True):
        assert mixed == pytest.approx(one, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_resuming_two_processes_gives_the_same_bits(kind: str, runs: Path) -> None:
    assert digests(list_checkpoints(runs / kind)[-1]) == digests(list_checkpoints(runs / f"{kind}-stopped")[-1])


def test_a_batch_that_cannot_be_shared_is_refused(runs: Path) -> None:
    for rank in (0, 1):
        assert "batch_size is 15, but it must be a multiple of 2 processes" in (runs / f"odd-{rank}.txt").read_text()


def test_parallel_without_torchrun_says_so(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="start the command with torchrun"):
        fit(regression(), replace(SETTINGS, parallel=Ddp()), tmp_path)
