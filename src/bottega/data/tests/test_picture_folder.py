"""Folders of pictures with captions, as people have them: nested, listed, half broken."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bottega.data import CaptionedPicture, Crop, Fitted, Pad, PictureFolder, Source, open_source
from bottega.data.captions import caption_from_name
from bottega.errors import FileError


def paint(path: Path, red: int = 0, size: tuple[int, int] = (8, 6)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (red, 0, 0)).save(path)
    return path


def captions_of(folder: PictureFolder) -> dict[str, str]:
    return dict(zip(folder.names, folder.captions, strict=True))


def test_captions_from_every_layout_and_their_precedence(tmp_path):
    for name in ("red_apple-03.png", "b.png", "c.png", "deep/er/d.jpg", "IMG_2041.png", "green pear/0001.webp"):
        paint(tmp_path / name)
    (tmp_path / "b.txt").write_text("\ufeffa  sidecar\nof two lines\n", encoding="utf-8")
    rows = [{"file_name": "b.png", "text": "listed b"}, {"file_name": "c.png", "caption": "listed c"}]
    (tmp_path / "captions.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    (tmp_path / "deep" / "metadata.jsonl").write_text(json.dumps({"file_name": "er/d.jpg", "text": "läuft 😀"}))
    folder = PictureFolder(tmp_path)
    assert captions_of(folder) == {
        "IMG_2041.png": "",
        "b.png": "a sidecar of two lines",
        "c.png": "listed c",
        "deep/er/d.jpg": "läuft 😀",
        "green pear/0001.webp": "green pear",
        "red_apple-03.png": "red apple",
    }
    assert folder.problems == ()
    assert list(folder.names) == sorted(folder.names)


def test_an_empty_sidecar_means_no_caption(tmp_path):
    paint(tmp_path / "apple.png").with_suffix(".txt").write_text("")
    assert PictureFolder(tmp_path).captions == ("",)


@pytest.mark.parametrize(
    ("name", "caption"),
    [
        ("red_apple-03.jpg", "red apple"),
        ("red_apple (2).jpg", "red apple"),
        ("7up.can.12-34.png", "7up can"),
        ("0001.png", ""),
        ("IMG_2041.jpg", ""),
        ("DSC00012.JPG", ""),
        ("IMG-20240102-WA0003.jpg", "IMG 20240102 WA"),
        ("cats/IMG_1.jpg", "cats"),
        ("two cats/black cat.jpg", "black cat"),
        ("красное_яблоко1.png", "красное яблоко"),
    ],
)
def test_the_words_of_a_name(name, caption):
    from pathlib import PurePosixPath

    assert caption_from_name(PurePosixPath(name)) == caption


def test_samples_are_pictures_in_their_own_size(tmp_path):
    paint(tmp_path / "a.png", 10, size=(8, 6))
    paint(tmp_path / "b.png", 20, size=(3, 9))
    folder = open_source(tmp_path)
    assert isinstance(folder, PictureFolder)
    assert isinstance(folder, Source)
    assert len(folder) == 2
    second = folder.sample(1)
    assert isinstance(second, CaptionedPicture)
    assert second.picture.shape == (9, 3, 3)
    assert (second.picture == [20, 0, 0]).all()
    assert second.caption == "b"


def test_unreadable_files_are_named_at_the_end_and_do_not_stop(tmp_path, caplog):
    good = paint(tmp_path / "good.png")
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:45])
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (tmp_path / "good.txt").write_bytes(b"\xff\xfe\xfa")
    (tmp_path / "notes.md").write_text("not a picture, and no claim to be one")
    lines = ["{", "[1]", '{"file_name": "good.png"}', '{"file_name": "../good.png", "text": "x"}', '{"text": "x"}']
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
    with caplog.at_level(logging.WARNING):
        folder = PictureFolder(tmp_path)
    assert captions_of(folder) == {"good.png": "good"}
    assert len(caplog.records) == 1
    text = caplog.records[0].getMessage()
    assert "1 pictures can be used; 9 things cannot" in text
    for name in ("cut.png", "text.jpg", "phone.heic", "good.txt: the caption is not UTF-8", "notes.md"):
        assert (name in text) == (name != "notes.md")
    for number, reason in enumerate(
        ["not JSON", "must be an object", "needs text or caption", "no such", "no file_name"]
    ):
        assert any(f"metadata.jsonl, line {number + 1}: " in p.text and reason in p.text for p in folder.problems)


def test_many_problems_are_counted(tmp_path, caplog):
    paint(tmp_path / "good.png")
    for number in range(15):
        (tmp_path / f"bad{number:02}.png").write_text("bad")
    folder = PictureFolder(tmp_path)
    assert len(folder.problems) == 15
    assert "and 5 more" in caplog.text
    assert "bad09.png" in caplog.text
    assert "bad10.png" not in caplog.text


def test_nothing_usable_is_an_error_that_says_why(tmp_path):
    with pytest.raises(FileError, match="it holds no pictures"):
        PictureFolder(tmp_path)
    (tmp_path / "a.png").write_text("bad")
    with pytest.raises(FileError, match=r"none of its files can be used:\n.*a\.png is not a picture"):
        PictureFolder(tmp_path)
    with pytest.raises(FileError, match="is not a folder"):
        PictureFolder(tmp_path / "a.png")
    with pytest.raises(FileError, match="does not exist"):
        open_source(tmp_path / "nowhere")
    with pytest.raises(FileError, match=r"a\.png is not a \.tar"):
        open_source(tmp_path / "a.png")


def test_hidden_files_are_passed_over(tmp_path):
    for name in ("a.png", ".hidden.png", ".cache/b.png", "__MACOSX/._a.png"):
        paint(tmp_path / name)
    assert PictureFolder(tmp_path).names == ("a.png",)


def test_without_verification_damage_shows_when_the_sample_is_read(tmp_path):
    (tmp_path / "bad.png").write_text("bad")
    folder = PictureFolder(tmp_path, verify=False)
    assert len(folder) == 1
    with pytest.raises(FileError, match=r"bad\.png is not a picture"):
        folder.sample(0)


def test_a_picture_that_goes_away_is_named(tmp_path):
    path = paint(tmp_path / "a.png")
    folder = PictureFolder(tmp_path)
    path.unlink()
    with pytest.raises(FileError, match=r"a\.png does not exist"):
        folder.sample(0)


def test_too_many_pixels_are_a_problem_of_that_picture_alone(tmp_path):
    paint(tmp_path / "big.png", size=(20, 20))
    paint(tmp_path / "small.png", size=(5, 5))
    folder = PictureFolder(tmp_path, max_pixels=399)
    assert folder.names == ("small.png",)
    assert "at most 399" in folder.problems[0].text


def test_a_fitted_source_has_squares_of_one_size(tmp_path):
    rows, columns = np.mgrid[:40, :60]
    Image.fromarray(np.dstack([rows, columns, rows]).astype(np.uint8)).save(tmp_path / "a.png")
    source = Fitted(source=PictureFolder(tmp_path), size=20)
    assert len(source) == 1
    assert isinstance(source, Source)
    assert source.sample(0).picture.shape == (20, 20, 3)
    assert source.sample(0).caption == "a"
    assert source.how == Crop()
    padded = Fitted(source=PictureFolder(tmp_path), size=20, how=Pad()).sample(0).picture
    assert (padded[0] == 255).all()
