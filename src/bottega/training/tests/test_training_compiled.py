"""A damaged library among compiled code."""

from __future__ import annotations

import ctypes
import dataclasses
from pathlib import Path

import pytest
import torch
from torch._inductor.exc import CppCompileError
from training_toys import Regression

from bottega.errors import FileError
from bottega.training import FitSettings, TrainState, fit

SETTINGS = FitSettings(steps=2, batch_size=4, save_every=0, compile=True)


class Broken(Regression):
    """A recipe whose step loads a library, as compiled code does."""

    def __init__(self, library: Path) -> None:
        super().__init__()
        self.library = library

    def compiled_parts(self) -> list[torch.nn.Module]:
        return []

    def step(self, state: TrainState, batch: dict[str, torch.Tensor]) -> dict[str, float]:
        ctypes.CDLL(str(self.library))
        return {}


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Half a library in the folder of compiled code."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    file = tmp_path / "cache" / "ab" / "kernel.so"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"\x7fELF\x02\x01\x01")
    return file


def test_half_a_library_is_told_with_its_folder(library: Path, tmp_path: Path) -> None:
    with pytest.raises(FileError, match=f"damaged library in {tmp_path / 'cache'}, .*delete that folder"):
        fit(Broken(library), SETTINGS, tmp_path / "run")


class Uncompilable(Regression):
    """A recipe whose compiled step fails as torch does after it met half a library."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def compiled_parts(self) -> list[torch.nn.Module]:
        return []

    def step(self, state: TrainState, batch: dict[str, torch.Tensor]) -> dict[str, float]:
        raise CppCompileError(["g++", str(self.folder / "kernel.main.cpp")], "'at::vec' has not been declared")


def test_code_that_no_longer_compiles_is_told_with_its_folder(library: Path, tmp_path: Path) -> None:
    with pytest.raises(FileError, match=f"damaged library in {tmp_path / 'cache'}, .*--compile no"):
        fit(Uncompilable(library.parent), SETTINGS, tmp_path / "run")
    with pytest.raises(CppCompileError):
        fit(Uncompilable(tmp_path / "elsewhere"), SETTINGS, tmp_path / "other")


def test_other_errors_stay_what_they_are(library: Path, tmp_path: Path) -> None:
    elsewhere = library.rename(tmp_path / "kernel.so")
    with pytest.raises(OSError, match="kernel.so"):
        fit(Broken(elsewhere), SETTINGS, tmp_path / "run")
    inside = elsewhere.rename(library)
    with pytest.raises(OSError, match="kernel.so"):
        fit(Broken(inside), dataclasses.replace(SETTINGS, compile=False), tmp_path / "plain")
