"""`bottega doctor`: what this machine has, what it lacks, and what that means."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from bottega import __version__
from bottega.catalog import Catalog
from bottega.cli.arguments import parse
from bottega.cli.wording import bytes_text

NEEDED = ("torch", "numpy", "safetensors", "einops", "pillow", "tyro", "rich", "pydantic", "huggingface-hub")
EXTRAS = {
    "fastapi": "the studio (pip install 'bottega[studio]')",
    "uvicorn": "the studio (pip install 'bottega[studio]')",
    "python-multipart": "the studio (pip install 'bottega[studio]')",
    "tensorboard": "training curves (pip install 'bottega[log]')",
    "webdataset": "writing WebDataset tars (pip install 'bottega[data]')",
}
PROGRAMS = {
    "git": "notes about the version in training records",
    "c++": "torch.compile on the CPU (install g++ or clang)",
    "chromium": "the studio's own tests",
}
LOW_DISK_BYTES = 2e9


@dataclass(frozen=True, kw_only=True, slots=True)
class DoctorOptions:
    """Says what this machine has and what it lacks. Exit code 1 when something that bottega needs is missing.

    Args:
        json: Print JSON for machines.
    """

    json: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One line.

    Args:
        name: What was looked at.
        state: "ok", "missing" (bottega cannot work), or "optional" (not there; says what is lost).
        says: The version, figure or consequence.
    """

    name: str
    state: str
    says: str


def main(arguments: list[str], rooms: Catalog) -> int:
    """Looks and tells."""
    options = parse(DoctorOptions, arguments, "bottega doctor")
    findings = [*_software(), *_machine(), *_speeds(), *_extras(), *_rooms(rooms)]
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            print(f"{finding.state:<8}  {finding.name:<{width}}  {finding.says}")
    return 1 if any(finding.state == "missing" for finding in findings) else 0


def _software() -> list[Finding]:
    findings = [
        Finding(name="bottega", state="ok", says=__version__),
        Finding(
            name="python", state="ok", says=f"{platform.python_version()} on {platform.system()} {platform.machine()}"
        ),
    ]
    for name in NEEDED:
        version = _version(name)
        state = "missing" if version is None else "ok"
        findings.append(Finding(name=name, state=state, says=version or "install bottega again"))
    return findings


def _machine() -> list[Finding]:
    findings = [Finding(name="cores", state="ok", says=f"{_cores()} for this process, of {os.cpu_count()}")]
    memory = _free_memory()
    if memory is not None:
        findings.append(Finding(name="memory", state="ok", says=f"{bytes_text(memory)} free"))
    free = shutil.disk_usage(Path.cwd()).free
    says = f"{bytes_text(free)} free here" + (
        "; training writes checkpoints: make room" if free < LOW_DISK_BYTES else ""
    )
    return [*findings, Finding(name="disk", state="ok" if free >= LOW_DISK_BYTES else "optional", says=says)]


def _speeds() -> list[Finding]:
    """Measured arithmetic; bf16 may be faster or much slower than fp32, by the CPU."""
    if _version("torch") is None:
        return []
    import torch

    from bottega.catalog import matmul_rate

    build = torch.version.cuda and f"CUDA {torch.version.cuda}" or "CPU build"
    findings = [Finding(name="torch build", state="ok", says=f"{build}, {torch.get_num_threads()} threads")]
    devices = ["cpu"] + [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    for device in devices:
        name = "CPU" if device == "cpu" else torch.cuda.get_device_name(device)
        rates = {kind: matmul_rate(device, kind) for kind in (torch.float32, torch.bfloat16)}
        says = ", ".join(
            f"{str(kind).removeprefix('torch.')} {rate / 1e9:,.0f} GFLOP/s" for kind, rate in rates.items()
        )
        findings.append(Finding(name=f"{device} speed", state="ok", says=f"{name}: {says}"))
    if torch.cuda.device_count() == 0:
        findings.append(Finding(name="gpu", state="optional", says="none that torch sees; everything runs on the CPU"))
    return findings


def _extras() -> list[Finding]:
    findings = []
    for name, purpose in EXTRAS.items():
        version = _version(name)
        state = "optional" if version is None else "ok"
        findings.append(Finding(name=name, state=state, says=version or f"not installed; for {purpose}"))
    for name, purpose in PROGRAMS.items():
        there = shutil.which(name) is not None
        state = "ok" if there else "optional"
        findings.append(Finding(name=name, state=state, says="found" if there else f"not found; for {purpose}"))
    return findings


def _rooms(rooms: Catalog) -> list[Finding]:
    """Whether bundled weights are there and whole."""
    from bottega.errors import BottegaError
    from bottega.weights import bundled_path, verify

    findings = []
    for system_id in rooms.systems():
        bundled = rooms.get(system_id).bundled
        if bundled is None:
            findings.append(Finding(name=system_id, state="optional", says="comes without weights; train or load some"))
            continue
        try:
            card = verify(bundled_path(rooms.folder(system_id), bundled))
        except BottegaError as error:
            findings.append(Finding(name=system_id, state="missing", says=str(error)))
        else:
            findings.append(Finding(name=system_id, state="ok", says=f"weights {bundled}, {card.sha256[:12]}..."))
    return findings


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _free_memory() -> int | None:
    """Bytes that a program can still get, where the system tells."""
    table = Path("/proc/meminfo")
    if not table.is_file():
        return None
    rows = dict(line.split(":", 1) for line in table.read_text().splitlines() if ":" in line)
    return int(rows["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in rows else None
