"""The results that rooms share. Each satisfies `bottega.room.Result`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bottega.results.origin import Origin
from bottega.results.save import save


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PicturesResult:
    """Pictures, with the words that belong to each.

    Args:
        pictures: uint8 `(count, height, width, 3)`.
        captions: One text per picture (the prompt, or the caption made with it), or None.
        seed: The seed that made them.
        settings: What else made them, for people to read: steps, guidance, ...
        origin: The recipe; filled in by a loaded system.
    """

    pictures: np.ndarray
    captions: tuple[str, ...] | None = None
    seed: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    origin: Origin | None = None

    def __post_init__(self) -> None:
        if self.pictures.dtype != np.uint8 or self.pictures.ndim != 4 or self.pictures.shape[3] != 3:
            raise ValueError(f"pictures are {self.pictures.dtype} {self.pictures.shape}, not uint8 (n, h, w, 3)")
        if self.captions is not None and len(self.captions) != len(self.pictures):
            raise ValueError(f"{len(self.captions)} captions for {len(self.pictures)} pictures")

    def items(self) -> list[np.ndarray]:
        """The pictures, one by one."""
        return list(self.pictures)

    def texts(self) -> tuple[str, ...] | None:
        """The captions, or None when the pictures have none."""
        return self.captions

    def arrays(self) -> Mapping[str, np.ndarray]:
        """The pictures as one array, and the captions as an array of str when there are any."""
        arrays = {"pictures": self.pictures}
        if self.captions is not None:
            arrays["captions"] = np.array(self.captions, dtype=np.str_)
        return arrays

    def save(self, path: str | Path) -> list[Path]:
        """Writes the pictures; the path's extension picks the form. See `bottega.results.save`."""
        return save(self, path)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class WordsResult:
    """Words: captions, transcripts, answers.

    Args:
        words: One text per item.
        sources: What each text is about (a file's name), or None.
        seed: The seed that made them.
        settings: What else made them, for people to read.
        origin: The recipe; filled in by a loaded system.
        traces: How each text came about step by step, as JSON (see `bottega.processes.decoding.SpeculationTrace` and
            `JacobiTrace`), or None.
    """

    words: tuple[str, ...]
    sources: tuple[str, ...] | None = None
    seed: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    origin: Origin | None = None
    traces: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for name, others in (("sources", self.sources), ("traces", self.traces)):
            if others is not None and len(others) != len(self.words):
                raise ValueError(f"{len(others)} {name} for {len(self.words)} texts")

    def items(self) -> list[str]:
        """The texts, one by one."""
        return list(self.words)

    def texts(self) -> tuple[str, ...] | None:
        """The words."""
        return self.words

    def arrays(self) -> Mapping[str, np.ndarray]:
        """The texts, and their sources and traces where there are any, as arrays of str."""
        named = {"words": self.words, "sources": self.sources, "traces": self.traces}
        return {name: np.array(texts, dtype=np.str_) for name, texts in named.items() if texts is not None}

    def save(self, path: str | Path) -> list[Path]:
        """Writes the words; the path's extension picks the form. See `bottega.results.save`."""
        return save(self, path)
