"""Training runs on the processes that `torchrun` started; `test_training_processes.py` compares them with one process.

Run as a program: `torchrun --nproc-per-node 2 two_processes.py FOLDER`.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import distributed
from torch.distributed.tensor import DTensor
from training_toys import Adversaries, Regression

from bottega.errors import Cancelled, RequestError
from bottega.training import Cosine, Ddp, FitSettings, Fsdp, Optimizer, TrainProgress, fit

SETTINGS = FitSettings(
    steps=12, batch_size=16, learning_rate=1e-2, warmup_steps=3, schedule=Cosine(), ema_decay=0.9, save_every=4,
    log_every=1, clip_norm=0.5,
)  # fmt: skip
KINDS = {"ddp": Ddp(), "fsdp": Fsdp()}


def regression() -> Regression:
    """Without dropout: its masks belong to a process, the batches do not."""
    return Regression(dropout=0.0, per_sample=True)


def stop_at(step: int, progress: TrainProgress) -> None:
    """A report callback that cancels at a step."""
    if progress.step == step:
        raise Cancelled("enough")


def partly(settings: FitSettings, out: Path, step: int) -> None:
    """Trains or goes on up to a step."""
    try:
        fit(regression(), settings, out, report=lambda progress: stop_at(step, progress))
    except Cancelled:
        return
    raise AssertionError("the run was not cancelled")


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    for name, kind in KINDS.items():
        settings = replace(SETTINGS, parallel=kind)
        trained = fit(regression(), settings, folder / name).state.model
        if name == "fsdp":  # or the comparison proves nothing: each process holds half of every matrix
            for parameter in trained.parameters():
                assert isinstance(parameter, DTensor)
                assert parameter.to_local().numel() * 2 == parameter.numel()
        fit(regression(), replace(settings, accumulate=2), folder / f"{name}-parts")
        fit(Adversaries(), settings, folder / f"{name}-adversaries")
        fit(regression(), replace(settings, optimizer=Optimizer.MUON), folder / f"{name}-muon")
        partly(settings, folder / f"{name}-between", 8)  # goes on from the test's own step 4
        partly(settings, folder / f"{name}-stopped", 5)
        fit(regression(), settings, folder / f"{name}-stopped")
    try:
        fit(regression(), replace(SETTINGS, parallel=Ddp(), batch_size=15), folder / "odd")
    except RequestError as error:
        (folder / f"odd-{distributed.get_rank()}.txt").write_text(str(error))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
