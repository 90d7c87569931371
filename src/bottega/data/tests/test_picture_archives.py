"""WebDataset tars: written by the webdataset package and by hand, complete, cut, compressed and hostile."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import webdataset
from PIL import Image

from bottega.data import PictureArchives, PictureFolder, Source, open_source
from bottega.errors import FileError


def encoded(red: int, size: tuple[int, int] = (8, 6), kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (red, 0, 0)).save(file, kind)
    return file.getvalue()


def write_tar(path: Path, files: list[tuple[str, bytes]], form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form) as archive:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


@pytest.mark.filterwarnings("ignore")
def test_shards_read_as_the_webdataset_package_reads_them(tmp_path):
    random = np.random.default_rng(0)
    pattern = str(tmp_path / "shard-%03d.tar")
    with webdataset.ShardWriter(pattern, maxcount=4, verbose=0) as writer:
        for number in range(10):
            picture = random.integers(256, size=(5 + number, 7, 3), dtype=np.uint8)
            writer.write({"__key__": f"{number:04}", "png": picture, "txt": f"caption {number}"})
    urls = [str(path) for path in sorted(tmp_path.iterdir())]
    theirs = list(webdataset.WebDataset(urls, shardshuffle=False).decode("rgb8").to_tuple("png", "txt"))
    ours = open_source(tmp_path)
    assert isinstance(ours, PictureArchives)
    assert isinstance(ours, Source)
    assert len(ours.paths) == 3
    assert len(ours) == len(theirs) == 10
    for index in (9, 0, 4, 4, 7, *range(10)):  # any order
        sample = ours.sample(index)
        assert np.array_equal(sample.picture, theirs[index][0])
        assert sample.caption == theirs[index][1]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_tar_format_and_every_kind_of_caption(tmp_path, form):
    long = "folder/" + "x" * 90
    files = [
        ("a.jpg", encoded(1, kind="JPEG")),
        ("a.txt", "ein Äpfel\n".encode()),
        ("b.json", json.dumps({"caption": "from json", "width": 8}).encode()),
        ("b.webp", encoded(2, kind="WEBP")),
        ("sub.folder/red_apple_07.PNG", encoded(3)),
        ("d.seg.png", encoded(4, size=(1, 1))),  # "seg.png" is another part of the sample, not its picture
        ("d.png", encoded(5)),
        ("d.cls", b"3"),
        (f"{long}.png", encoded(6)),
    ]
    archive = PictureArchives(write_tar(tmp_path / "a.tar", files, form))
    assert archive.names == ("a", "b", "sub.folder/red_apple_07", "d", long)
    assert archive.captions == ("ein Äpfel", "from json", "red apple", "d", "x" * 90)
    assert archive.problems == ()
    assert archive.sample(3).picture.shape == (6, 8, 3)
    assert archive.sample(2).picture[0, 0].tolist() == [3, 0, 0]
    assert archive.sample(4).picture[0, 0].tolist() == [6, 0, 0]


def test_threads_share_an_archive(tmp_path):
    files = [(f"{number:03}.png", encoded(number)) for number in range(60)]
    archive = PictureArchives(write_tar(tmp_path / "a.tar", files))
    with ThreadPoolExecutor(8) as threads:
        reds = list(threads.map(lambda index: int(archive.sample(index).picture[0, 0, 0]), list(range(60)) * 4))
    assert reds == list(range(60)) * 4


def test_unusable_samples_are_named_and_do_not_stop(tmp_path, caplog):
    whole = encoded(1)
    files = [
        ("good.png", whole),
        ("cut.png", whole[: len(whole) // 2]),
        ("lonely.txt", b"no picture"),
        ("odd.png", whole),
        ("odd.json", b"{"),
        ("bytes.png", whole),
        ("bytes.txt", b"\xff"),
    ]
    archive = PictureArchives(write_tar(tmp_path / "a.tar", files))
    assert archive.names == ("good", "odd", "bytes")
    assert archive.captions == ("good", "odd", "bytes")
    assert [problem.name for problem in archive.problems] == ["lonely", "cut", "odd", "bytes"]
    assert len(caplog.records) == 1
    assert "3 pictures can be used; 4 things cannot" in caplog.text
    assert "a.tar, cut: " in caplog.text
    assert "odd.json: it is not JSON" in caplog.text


def test_names_inside_an_archive_are_never_paths(tmp_path):
    """Absolute names, parent folders, links and devices: nothing outside is read, nothing is written."""
    secret = tmp_path / "secret.png"
    secret.write_bytes(encoded(99))
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind in (
            ("link.png", tarfile.SYMTYPE),
            ("hard.png", tarfile.LNKTYPE),
            ("pipe.png", tarfile.FIFOTYPE),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, str(secret)
            archive.addfile(member)
        for name in ("/etc/absolute.png", "../../parent.png"):
            member = tarfile.TarInfo(name)
            member.size = len(encoded(7))
            archive.addfile(member, io.BytesIO(encoded(7)))
    before = sorted(tmp_path.rglob("*"))
    archive = PictureArchives(path)
    assert [archive.sample(index).picture[0, 0, 0] for index in range(len(archive))] == [7, 7]
    assert archive.names == ("/etc/absolute", "../../parent")
    assert sorted(tmp_path.rglob("*")) == before


def test_archives_that_cannot_be_read_are_refused(tmp_path):
    whole = write_tar(tmp_path / "whole.tar", [("a.png", encoded(1, size=(200, 200))), ("b.png", encoded(2))])
    data = whole.read_bytes()
    compressed = tmp_path / "compressed.tar"
    compressed.write_bytes(gzip.compress(data))
    cut = tmp_path / "cut.tar"
    cut.write_bytes(data[:600])
    text = tmp_path / "text.tar"
    text.write_text("no archive" * 100)
    empty = tmp_path / "empty.tar"
    empty.write_bytes(b"")
    for path in (compressed, text, empty):
        with pytest.raises(FileError, match=rf"{path.name} is not a complete, uncompressed \.tar"):
            open_source(path)
    with pytest.raises(FileError, match=r"cut\.tar is (cut short inside 'a\.png'|not a complete)"):
        open_source(cut)
    with pytest.raises(FileError, match=r"missing\.tar does not exist"):
        PictureArchives(tmp_path / "missing.tar")
    with pytest.raises(FileError, match="it holds no pictures"):
        PictureArchives(write_tar(tmp_path / "none.tar", []))


def test_an_archive_that_shrinks_is_noticed(tmp_path):
    path = write_tar(tmp_path / "a.tar", [("a.png", encoded(1)), ("b.png", encoded(2))])
    archive = PictureArchives(path)
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(FileError, match="shorter than when it was opened"):
        archive.sample(1)
    path.unlink()
    with pytest.raises(FileError, match=r"a\.tar cannot be read any more"):
        archive.sample(0)


def test_a_folder_of_both_is_not_guessed_at(tmp_path):
    write_tar(tmp_path / "backup.tar", [("a.png", encoded(1))])
    (tmp_path / "b.png").write_bytes(encoded(2))
    with pytest.raises(FileError, match=r"holds pictures and backup\.tar"):
        open_source(tmp_path)
    assert isinstance(open_source(tmp_path / "backup.tar"), PictureArchives)
    assert PictureFolder(tmp_path).names == ("b.png",)


def test_bombs_inside_are_refused_by_their_header(tmp_path):
    archive = write_tar(tmp_path / "a.tar", [("big.png", encoded(1, size=(30, 30))), ("small.png", encoded(2))])
    assert PictureArchives(archive, max_pixels=400).names == ("small",)
