"""What a person waits for in a fresh process: import, help, and a first picture."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.measure import Outcome, Row, medians, take_turns

ROUNDS = 3
FIRST_USE = """
from bottega import catalog
from bottega.systems.diffusion.uvit.inference import UVitRequest
from bottega.room import silent
system = catalog.get("uvit")
system.infer(catalog.build("uvit", "tiny").eval(), UVitRequest(steps=1), silent)
"""
PROGRAMS = {
    "python": "pass",
    "import bottega": "import bottega",
    "bottega --help": "import sys; from bottega.cli import main; sys.argv = ['bottega', '--help']; main()",
    "import torch": "import torch",
    "first picture, tiny U-ViT": FIRST_USE,
    "peer's import": "from diffusers import UniDiffuserModel, DPMSolverMultistepScheduler",
}


def run() -> Outcome:
    """Cold processes in turns; files are in the system's cache after the first."""
    seconds = take_turns({name: _program(code) for name, code in PROGRAMS.items()}, ROUNDS)
    middle = medians(seconds)
    bare, peer = middle["python"], middle["peer's import"]
    rows = (
        Row(what="import bottega, without Python's own start", value=middle["import bottega"] - bare, unit="s"),
        Row(what="bottega --help", value=middle["bottega --help"], unit="s"),
        Row(
            what="first picture of a freshly built tiny U-ViT, one step", value=middle["first picture, tiny U-ViT"],
            unit="s", peer=peer, ratio=peer / middle["first picture, tiny U-ViT"],
            note="the peer's figure is the import of its network and scheduler only",
        ),
        Row(what="import torch, the floor of anything with tensors", value=middle["import torch"], unit="s"),
    )  # fmt: skip
    method = (
        f"Whole processes, Python's own start ({bare:.3f} s) included unless said; medians of {ROUNDS} rounds in turns."
    )
    return Outcome(
        name="cold_start", title="Cold start", method=method, rows=rows, details={"seconds": seconds}
    )  # fmt: skip


def _program(code: str):  # noqa: ANN202 - a callable that runs it
    root = Path(__file__).parents[1]

    def start() -> None:
        subprocess.run(  # noqa: S603 - our own programs
            [sys.executable, "-c", code], check=True, capture_output=True, env={"PYTHONPATH": str(root / "src")}
        )

    return start
