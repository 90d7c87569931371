"""How the command line says things: one line, figures with units."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def one_line(text: str) -> str:
    """A text without line breaks or control characters, which a file name or a prompt may hold."""
    return "".join(letter if letter.isprintable() else " " for letter in " ".join(text.split()))


def nearest(name: str, known: Iterable[str]) -> str:
    """What was perhaps meant, or all that there is."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}"


def count_text(count: float) -> str:
    """A count such as 44.3 M."""
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.3g}"


def bytes_text(count: float) -> str:
    """Bytes such as 1.2 GB (powers of 1000)."""
    return f"{count_text(count)}B" if count >= 1000 else f"{count:.0f} B"  # noqa: PLR2004


def time_text(seconds: float) -> str:
    """A time such as 3 min 20 s."""
    if seconds < 0.01:
        return "under 0.01 s"
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    hours = minutes // 60
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{hours / 24:.0f} days"
