"""Kills training runs with SIGKILL at random moments and prints what came of it, as JSON.

Run as a program: it imports everything once and forks, so that a run starts in milliseconds. The moment is a random
delay after the first step of a run, which falls into steps, into writing, and into removing old checkpoints.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sys
import traceback
from pathlib import Path

import torch
from training_toys import Regression, digests

from bottega.training import Cosine, FitSettings, TrainProgress, fit, list_checkpoints

KILLS = 24
SETTINGS = FitSettings(
    steps=400, batch_size=8, learning_rate=1e-2, schedule=Cosine(), ema_decay=0.9, save_every=2, log_every=5
)


def run(out: Path, speaks: int) -> None:
    """One run in this process; writes a byte after the first step."""

    def report(progress: TrainProgress) -> None:
        if not told:
            told.append(progress.step)
            os.write(speaks, b"1")

    told: list[int] = []
    fit(Regression(), SETTINGS, out, report=report)


def forked(out: Path, delay: float | None) -> bool:
    """Runs in a child and kills it `delay` seconds after its first step (None: never); whether it was killed."""
    hears, speaks = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            run(out, speaks)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(speaks)
    os.read(hears, 1)  # empty if the child ended without a step
    if delay is not None:
        select.select([hears], [], [], delay)  # the other end closes when the child ends
        os.kill(child, signal.SIGKILL)
    os.close(hears)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status) and os.WEXITSTATUS(status):
        sys.exit("a run failed by itself")
    return os.WIFSIGNALED(status)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    moments = random.Random(11)
    forked(folder / "whole", None)
    expected = digests(list_checkpoints(folder / "whole")[-1])
    kills = resumed = runs = 0
    equal = True
    while kills < KILLS:
        out = folder / f"killed-{runs}"
        runs += 1
        while kills < KILLS and forked(out, moments.uniform(0.0, 0.15)):
            kills += 1
            resumed += bool(list_checkpoints(out))
        forked(out, None)
        equal = equal and digests(list_checkpoints(out)[-1]) == expected
    print(json.dumps({"kills": kills, "resumed": resumed, "runs": runs, "equal": equal}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
