"""Taking turns, medians, and results as JSON and as a table."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One line of a result.

    Args:
        what: What was measured.
        value: The figure.
        unit: Its unit.
        peer: The same figure of the peer in the same run.
        ratio: How many times better than the peer; None without one.
        note: What to know about it.
    """

    what: str
    value: float
    unit: str
    peer: float | None = None
    ratio: float | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a benchmark found.

    Args:
        name: Names the files.
        title: Heads the table.
        method: How it was measured, with FLOPs, bytes and tolerances.
        rows: The lines.
        details: Anything else, for machines.
    """

    name: str
    title: str
    method: str
    rows: tuple[Row, ...]
    details: Mapping[str, Any] = field(default_factory=dict)


def take_turns(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every way in every round; each runs once before anything counts, and they alternate."""
    for way in ways.values():
        way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def median_ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """The median over rounds of how many times faster one was: neighbours in time are compared with each other."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def medians(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median of every way."""
    return {name: statistics.median(values) for name, values in seconds.items()}


def machine() -> dict[str, Any]:
    """What the figures belong to."""
    import torch

    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": round(os.getloadavg()[0], 1),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }


def keep(outcome: Outcome) -> Path:
    """Writes `results/<name>.json` and renews the table `results/README.md`."""
    RESULTS.mkdir(exist_ok=True)
    rows = [{name: getattr(row, name) for name in Row.__dataclass_fields__} for row in outcome.rows]
    record = {
        "title": outcome.title,
        "method": outcome.method,
        "machine": machine(),
        "rows": rows,
        "details": dict(outcome.details),
    }
    path = RESULTS / f"{outcome.name}.json"
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    (RESULTS / "README.md").write_text(table(), encoding="utf-8")
    return path


def table() -> str:
    """All kept results as Markdown."""
    parts = ["# Speed\n", "Written by `make bench`. Ratios are above 1 where bottega is better.\n"]
    for path in sorted(RESULTS.glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        where = record["machine"]
        parts.append(f"## {record['title']}\n\n{record['method']}\n")
        parts.append(
            f"{where['processor']}, {where['threads']} of {where['cores']} threads, torch {where['torch']}; load "
            f"average {where['load_average']} at the end of the run.{_warning(where)}\n"
        )
        parts.append("| what | bottega | peer | ratio | note |\n|---|---|---|---|---|")
        parts.extend(_line(row) for row in record["rows"])
        parts.append("")
    return "\n".join(parts)


def _warning(where: Mapping[str, Any]) -> str:
    busy = where["load_average"] > where["cores"]
    return " **The machine was busy: absolute figures are too slow, and ratios noisy.**" if busy else ""


def _line(row: Mapping[str, Any]) -> str:
    peer = "" if row["peer"] is None else f"{row['peer']:.4g} {row['unit']}"
    ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
    return f"| {row['what']} | {row['value']:.4g} {row['unit']} | {peer} | {ratio} | {row['note']} |"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
