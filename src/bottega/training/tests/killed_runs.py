"""Kills training runs with SIGKILL at random moments and prints what came of it, as JSON.

Run as a program: it imports everything once and forks, so that a run starts in milliseconds. The moment is a random
number of steps and a random part of a step later, which falls into steps, into writing, and into removing old
checkpoints; "torn" counts the kills that left a half-written checkpoint.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import torch
from training_toys import Regression, digests

from bottega.training import Cosine, FitSettings, Tensorboard, TrainProgress, fit, list_checkpoints

KILLS = 22
SETTINGS = FitSettings(
    steps=200, batch_size=8, learning_rate=1e-2, schedule=Cosine(), ema_decay=0.9, save_every=2, log_every=5
)


def run(out: Path, speaks: int) -> None:
    """One run in this process; writes a byte after every step."""

    def report(progress: TrainProgress) -> None:
        os.write(speaks, b"1")

    fit(Regression(), SETTINGS, out, report=report)


def forked(out: Path, steps: int, delay: float) -> bool:
    """Runs in a child and kills it `delay` seconds after so many steps; whether it was killed before its end."""
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
    heard = 0
    while heard < steps and os.read(hears, 1):  # nothing more to read: the child has ended
        heard += 1
    if heard == steps:
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    os.close(hears)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status) and os.WEXITSTATUS(status):
        sys.exit("a run failed by itself")
    return os.WIFSIGNALED(status)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    importlib.import_module("torch._dynamo")  # what a run imports late: here once, not in every child
    if Tensorboard.installed():
        importlib.import_module("torch.utils.tensorboard")
    moments = random.Random(11)
    forked(folder / "whole", SETTINGS.steps + 1, 0)
    expected = digests(list_checkpoints(folder / "whole")[-1])
    kills = torn = runs = 0
    equal = True
    while kills < KILLS:
        out = folder / f"killed-{runs}"
        runs += 1
        while kills < KILLS and forked(out, moments.randint(3, 16), moments.uniform(0, 0.005)):
            kills += 1
            torn += bool(list(out.glob(".step-*.tmp")))
        forked(out, SETTINGS.steps + 1, 0)
        equal = equal and digests(list_checkpoints(out)[-1]) == expected
    print(json.dumps({"kills": kills, "torn": torn, "runs": runs, "equal": equal}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
