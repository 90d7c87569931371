"""Films: what is written is read again, with its recipe."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from bottega.errors import FileError, RequestError
from bottega.results import Origin, WeightsOrigin, animation_bytes, forms_of, read_origin, save

HAS_AV = importlib.util.find_spec("av") is not None


@dataclass(frozen=True)
class Walk:
    """A red square that walks to the right."""

    seed: int = 3

    def items(self) -> list[np.ndarray]:
        return self.animation()[-1:]

    def arrays(self) -> Mapping[str, np.ndarray]:
        return {"picture": self.items()[0]}

    def animation(self) -> list[np.ndarray]:
        frames = np.full((6, 32, 48, 3), 240, dtype=np.uint8)
        for number, frame in enumerate(frames):
            frame[8:16, 4 * number : 4 * number + 8] = (220, 30, 30)
        return list(frames)


@pytest.fixture
def origin() -> Origin:
    return Origin(
        system="walk", preset="tiny", weights=WeightsOrigin(sha256="0" * 64, source="bundled"),
        request={"text": "größer"}, bottega="0", torch="0", seed=3, device="cpu", dtype="float32",
        threads=1, index=0,
    )  # fmt: skip


def test_a_gif_has_every_frame_and_its_recipe(tmp_path: Path, origin: Origin) -> None:
    assert ".gif" in forms_of(Walk())
    (file,) = save(Walk(), tmp_path / "walk.gif", origin)
    with Image.open(file) as image:
        times = [frame.info["duration"] for frame in ImageSequence.Iterator(image)]
        frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)]
    assert times == [60] * 5 + [2000]
    for made, truth in zip(frames, Walk().animation(), strict=True):
        assert np.abs(made.astype(int) - truth).max() <= 4
    assert read_origin(file) == origin
    assert file.read_bytes() == animation_bytes(Walk().animation(), ".gif", origin)


def test_frames_that_are_no_film_are_a_fault_of_ours() -> None:
    with pytest.raises(ValueError, match="uint8"):
        animation_bytes([np.zeros((4, 4))], ".gif", None)
    with pytest.raises(ValueError, match="milliseconds is 5"):
        animation_bytes(Walk().animation(), ".gif", None, milliseconds=5)


def test_a_broken_gif_is_told(tmp_path: Path) -> None:
    (tmp_path / "broken.gif").write_bytes(b"GIF89a")
    with pytest.raises(FileError, match="cannot be read as a GIF"):
        read_origin(tmp_path / "broken.gif")


@pytest.mark.skipif(HAS_AV, reason="PyAV is installed")
def test_without_pyav_one_line_says_what_to_do(tmp_path: Path, origin: Origin) -> None:
    with pytest.raises(RequestError, match=r"WebM needs PyAV; pip install 'bottega\[video\]', or write a .gif"):
        save(Walk(), tmp_path / "walk.webm", origin)
    assert not (tmp_path / "walk.webm").exists()


@pytest.mark.skipif(not HAS_AV, reason="PyAV is not installed")
def test_a_webm_has_every_frame_and_its_recipe(tmp_path: Path, origin: Origin) -> None:
    from bottega.data import read_frames

    (file,) = save(Walk(), tmp_path / "walk.webm", origin)
    frames = read_frames(file)
    assert len(frames) == 6 + 2000 // 60 - 1
    for made, truth in zip(frames, Walk().animation(), strict=False):
        assert np.abs(made.astype(int) - truth).mean() < 4
    assert read_origin(file) == origin
    assert file.read_bytes() == animation_bytes(Walk().animation(), ".webm", origin)
    (tmp_path / "broken.webm").write_bytes(b"nothing")
    with pytest.raises(FileError, match="cannot be read as a video"):
        read_origin(tmp_path / "broken.webm")
