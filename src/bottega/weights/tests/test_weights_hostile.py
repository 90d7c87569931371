"""A zoo of damaged and hostile files: each gives one typed error that names the file, and nothing in it ever runs."""

import argparse
import io
import json
import os
import pickle
import random
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save as safetensors_bytes
from torch import nn

from bottega.errors import BottegaError, FileError
from bottega.weights import read_json, read_metadata, read_native_header, read_tensors

CANARY = "canary"
TOUCH = f"open({CANARY!r}, 'w').close()"


class Call:
    """Pickles as a call of any function: what a hostile checkpoint is made of."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple:
        return self.call


def payloads() -> dict[str, object]:
    import importlib
    import runpy
    import subprocess

    import numpy as np
    from torch.storage import _load_from_bytes

    bomb = pickle.dumps(Call(os.system, f"touch {CANARY}"))
    Path("bomb.pkl").write_bytes(bomb)
    Path("bomb.py").write_text(TOUCH)
    return {
        "os.system": Call(os.system, f"touch {CANARY}"),
        "exec": Call(exec, TOUCH),
        "eval": Call(eval, TOUCH),
        "subprocess": Call(subprocess.check_call, ["touch", CANARY]),
        "open": Call(open, CANARY, "w"),
        "runpy": Call(runpy.run_path, "bomb.py"),
        "pickle.loads": Call(pickle.loads, bomb),
        "torch.load": Call(torch.load, "bomb.pkl"),
        "load_from_bytes": Call(_load_from_bytes, bomb),
        "getattr": Call(getattr, Call(importlib.import_module, "os"), "system"),
        "numpy.load": Call(np.load, "bomb.pkl", None, True),
        "among tensors": {"weight": torch.zeros(2), "bias": Call(os.system, f"touch {CANARY}")},
    }


PAYLOADS = (
    "os.system", "exec", "eval", "subprocess", "open", "runpy", "pickle.loads", "torch.load", "load_from_bytes",
    "getattr", "numpy.load", "among tensors",
)  # fmt: skip
RUNS_AT_ONCE = ("os.system", "exec", "eval", "subprocess", "open", "runpy", "pickle.loads", "among tensors")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def assert_refused(path: Path, read: Callable[[Path], object] = read_tensors) -> str:
    with pytest.raises(FileError) as caught:
        read(path)
    text = str(caught.value)
    assert path.name in text
    assert "\n" not in text
    assert not Path(CANARY).exists()
    return text


def write_pickled(path: Path, content: object, container: str) -> None:
    if container == "zip":
        torch.save(content, path)
    elif container == "legacy":
        torch.save(content, path, _use_new_zipfile_serialization=False)
    else:
        path.write_bytes(pickle.dumps(content, protocol=int(container.removeprefix("protocol "))))


@pytest.mark.unpickles
@pytest.mark.parametrize("name", RUNS_AT_ONCE)
def test_the_payloads_do_run_where_pickle_is_trusted(name: str) -> None:
    pickle.loads(pickle.dumps(payloads()[name]))
    assert Path(CANARY).exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("container", ["zip", "legacy", "protocol 0", "protocol 2", "protocol 4"])
@pytest.mark.parametrize("name", PAYLOADS)
def test_hostile_pickles_are_refused(name: str, container: str) -> None:
    path = Path(f"model{random.Random(name + container).choice(['.pt', '.pth', '.bin', '.ckpt'])}")
    write_pickled(path, payloads()[name], container)
    assert "refused" in assert_refused(path)


@pytest.mark.parametrize("name", PAYLOADS)
def test_hostile_pickles_are_refused_under_another_name(name: str) -> None:
    for suffix in (".safetensors", ".safetensors.index.json", ".pkl", ".pickle", ".npy", ".onnx", ""):
        path = Path(f"model{suffix}")
        write_pickled(path, payloads()[name], "zip")
        assert_refused(path)
        assert_refused(path, read_metadata)
        assert_refused(path, read_json)


def rewritten_zip(source: Path, target: Path, **changes: object) -> None:
    """A copy of an archive by torch, with renamed, repeated, compressed or additional entries."""
    compression = changes.get("compression", zipfile.ZIP_STORED)
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        for entry in old.infolist():
            new.writestr(changes.get("rename", str)(entry.filename), old.read(entry))
        for name, content in changes.get("extra", ()):
            new.writestr(name, content)


def header(text: bytes, data: bytes = b"") -> bytes:
    return len(text).to_bytes(8, "little") + text + data


def entry(dtype: str = "F32", shape: object = (1,), offsets: object = (0, 4)) -> bytes:
    return json.dumps({"w": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}).encode()


GOOD = safetensors_bytes({"w": torch.arange(6.0).reshape(2, 3), "b": torch.ones(3)}, {"a": "1", "b": "2"})

DAMAGED_SAFETENSORS = {
    "cut in the length": GOOD[:5],
    "cut in the header": GOOD[:40],
    "cut in the data": GOOD[:-1],
    "trailing bytes": GOOD + b"\0",
    "huge length": b"\xff" * 8 + GOOD[8:],
    "100 GB length": (10**11).to_bytes(8, "little") + GOOD[8:],
    "zero length": b"\0" * 16,
    "header is no JSON": header(b"not json"),
    "header is a list": header(b"[]"),
    "header is not UTF-8": header(b'{"\xff\xfe": 1}'),
    "deep header": header(b'{"a":' * 20_000),
    "unknown dtype": header(entry(dtype="F3"), b"\0" * 4),
    "negative shape": header(entry(shape=(-1,)), b"\0" * 4),
    "huge shape": header(entry(shape=(2**62, 2**62)), b"\0" * 4),
    "shape and bytes disagree": header(entry(shape=(2,)), b"\0" * 4),
    "offsets reversed": header(entry(offsets=(4, 0)), b"\0" * 4),
    "offsets past the end": header(entry(offsets=(0, 400), shape=(100,)), b"\0" * 4),
    "offsets with a gap": header(entry(offsets=(4, 8)), b"\0" * 8),
    "metadata is no text": header(b'{"__metadata__":{"a":1}}'),
    "HTML": b"<!DOCTYPE html><html><body>404</body></html>",
    "LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    "zip behind it": GOOD + b"PK\x03\x04" + b"\0" * 40,
    "gzip": b"\x1f\x8b\x08" + b"\0" * 40,
}


@pytest.mark.parametrize("name", DAMAGED_SAFETENSORS)
def test_damaged_safetensors_are_refused(name: str) -> None:
    path = Path("model.safetensors")
    path.write_bytes(DAMAGED_SAFETENSORS[name])
    assert_refused(path)
    assert_refused(path, read_native_header)


def test_a_pickle_named_safetensors_is_called_by_its_name() -> None:
    torch.save({"w": torch.ones(1)}, "model.safetensors")
    assert "rename it to .pt" in assert_refused(Path("model.safetensors"))


def test_a_safetensors_file_named_pt_is_refused() -> None:
    Path("model.pt").write_bytes(GOOD)
    assert_refused(Path("model.pt"))


@pytest.mark.parametrize("name", ["../../evil", "/etc/evil", "a/../../evil", "..\\evil", "\\evil"])
def test_archives_that_lead_out_are_refused(name: str) -> None:
    torch.save({"w": torch.ones(1)}, "good.pt")
    rewritten_zip(Path("good.pt"), Path("bad.pt"), extra=[(name, b"x")])
    assert "hostile" in assert_refused(Path("bad.pt"))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archives_with_two_entries_of_one_name_are_refused() -> None:
    torch.save({"w": torch.ones(1)}, "good.pt")
    bomb = pickle.dumps(payloads()["os.system"])
    rewritten_zip(Path("good.pt"), Path("bad.pt"), extra=[("good/data.pkl", bomb)])
    assert "hostile" in assert_refused(Path("bad.pt"))


def test_compressed_archives_are_refused() -> None:
    torch.save({"w": torch.zeros(2**20)}, "good.pt")
    rewritten_zip(Path("good.pt"), Path("bad.pt"), compression=zipfile.ZIP_DEFLATED)
    assert "compressed" in assert_refused(Path("bad.pt"))


def test_archives_that_are_cut_or_lie_about_sizes_are_refused() -> None:
    torch.save({"w": torch.zeros(1000)}, "good.pt")
    content = Path("good.pt").read_bytes()
    for cut in (1, 3, 10, 100, len(content) // 2, len(content) - 1):
        Path("bad.pt").write_bytes(content[:cut])
        assert_refused(Path("bad.pt"))
    directory = content.rindex(b"PK\x01\x02")
    lying = content[: directory + 24] + (2**31).to_bytes(4, "little") + content[directory + 28 :]
    Path("bad.pt").write_bytes(lying)
    assert_refused(Path("bad.pt"))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_polyglots_are_refused() -> None:
    torch.save({"w": torch.ones(1)}, "good.pt")
    archive, bomb = Path("good.pt").read_bytes(), pickle.dumps(payloads()["os.system"])
    for content in (bomb + archive, GOOD + archive, b"#!/bin/sh\ntouch canary\n" + archive, b"GIF89a" + archive):
        for suffix in (".pt", ".safetensors"):
            path = Path(f"polyglot{suffix}")
            path.write_bytes(content)
            assert_refused(path)


def test_torchscript_and_tar_archives_are_refused() -> None:
    torch.jit.script(nn.Linear(2, 2)).save("script.pt")
    assert_refused(Path("script.pt"))
    with tarfile.open("old.pt", "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            content = pickle.dumps(payloads()["os.system"])
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    assert_refused(Path("old.pt"))


def forged(shape: tuple[int, ...], stride: tuple[int, ...]) -> torch.Tensor:
    return torch.zeros(4).as_strided(shape, stride)


class Oversized:
    """Pickles as a tensor with a shape that its storage does not hold."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def __reduce__(self) -> tuple:
        from torch._utils import _rebuild_tensor_v2

        return _rebuild_tensor_v2, (torch.zeros(4).storage(), 0, self.shape, (1,), False, OrderedDict())


NOT_PLAIN = {
    "a list": lambda: [torch.ones(1)],
    "a tensor": lambda: torch.ones(1),
    "a number": lambda: 3,
    "nothing": lambda: None,
    "nested": lambda: {"state_dict": {"w": torch.ones(1)}, "epoch": 3},
    "numbered": lambda: {0: torch.ones(1)},
    "text": lambda: {"w": "os.system"},
    "sparse": lambda: {"w": torch.eye(3).to_sparse()},
    "meta": lambda: {"w": torch.empty(3, device="meta")},
    "expanded": lambda: {"w": forged((10**9, 10**6), (0, 0))},
    "oversized": lambda: {"w": Oversized((10**6,))},
    "a namespace": lambda: {"args": argparse.Namespace(lr=1), "w": torch.ones(1)},
    "a module": lambda: nn.Linear(2, 2),
}


@pytest.mark.parametrize("name", NOT_PLAIN)
@pytest.mark.parametrize("container", ["zip", "legacy"])
@pytest.mark.filterwarnings("ignore:TypedStorage")
def test_what_is_no_plain_mapping_of_tensors_is_refused(name: str, container: str) -> None:
    write_pickled(Path("model.pt"), NOT_PLAIN[name](), container)
    assert_refused(Path("model.pt"))


def test_nesting_is_named_by_the_caller_and_never_guessed() -> None:
    torch.save({"state_dict": {"w": torch.ones(2)}, "step": 3}, "model.ckpt")
    assert "may be inside state_dict" in assert_refused(Path("model.ckpt"))
    assert torch.equal(read_tensors(Path("model.ckpt"), inside="state_dict")["w"], torch.ones(2))
    text = assert_refused(Path("model.ckpt"), lambda path: read_tensors(path, inside="ema"))
    assert "it holds: state_dict, step" in text
    Path("model.safetensors").write_bytes(GOOD)
    assert_refused(Path("model.safetensors"), lambda path: read_tensors(path, inside="ema"))


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt", ".safetensors", ".safetensors.index.json"])
def test_what_is_no_file_is_refused(suffix: str) -> None:
    path = Path(f"model{suffix}")
    assert "does not exist" in assert_refused(path)
    path.touch()
    assert "is empty" in assert_refused(path)
    path.unlink()
    path.mkdir()
    (path / "inner.safetensors").write_bytes(GOOD)
    assert "is a folder; name a file in it (inner.safetensors)" in assert_refused(path)
    (path / "inner.safetensors").unlink()
    path.rmdir()
    os.mkfifo(path)
    assert "not a regular file" in assert_refused(path)
    path.unlink()
    path.symlink_to("nowhere")
    assert_refused(path)


@pytest.mark.parametrize(
    "name",
    [
        "../secret.safetensors", "/etc/secret.safetensors", "sub/secret.safetensors", "..\\secret.safetensors",
        "C:\\secret.safetensors", "./shard.safetensors", "..", ".", "", "shard.bin", "shard.safetensors\0",
        "absent.safetensors",
        None, 3, ["shard.safetensors"], {"shard.safetensors": 1},
    ],
)  # fmt: skip
def test_an_index_names_files_in_its_own_folder_only(name: object) -> None:
    Path("inside").mkdir()
    for folder in (".", "inside", "inside/sub"):
        Path(folder).mkdir(exist_ok=True)
        for shard in ("secret.safetensors", "shard.safetensors"):
            Path(folder, shard).write_bytes(GOOD)
    index = Path("inside/model.safetensors.index.json")
    index.write_text(json.dumps({"weight_map": {"w": name, "b": name}}))
    with pytest.raises(FileError):
        read_tensors(index)


@pytest.mark.parametrize(
    "content",
    [
        "[]", "{}", "null", "{", '{"weight_map": {}}', '{"weight_map": []}', '{"weight_map": 3}', "[" * 100_000,
        '{"weight_map": {"w": "shard.safetensors"}}',
        '{"weight_map": {"w": "shard.safetensors", "b": "shard.safetensors", "c": "shard.safetensors"}}',
        "9" * 5000,
    ],
)  # fmt: skip
def test_an_index_agrees_with_its_files(content: str) -> None:
    Path("shard.safetensors").write_bytes(GOOD)
    index = Path("model.safetensors.index.json")
    index.write_text(content)
    assert_refused(index)
    index.write_text(json.dumps({"weight_map": {"w": "shard.safetensors", "b": "shard.safetensors"}}))
    assert set(read_tensors(index)) == {"w", "b"}


def mutated(content: bytes, rng: random.Random) -> bytes:
    """A file cut, lengthened, or with bytes changed, moved or repeated; half of the changes hit the header."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(max(1, len(data) // rng.choice([1, 4])))
        match rng.randrange(6):
            case 0:
                data[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                data[at : at + 1] = bytes([data[at] ^ (1 << rng.randrange(8))]) if at < len(data) else b""
            case 2:
                del data[at : at + rng.randint(1, 9)]
            case 3:
                data[at:at] = rng.randbytes(rng.randint(1, 9))
            case 4:
                data[at:at] = data[at : at + rng.randint(1, 40)]
            case 5:
                del data[at + 1 :]
    return bytes(data)


@pytest.mark.parametrize("seed", range(4))
def test_mutated_safetensors_give_tensors_or_our_error(seed: int) -> None:
    rng, path, read = random.Random(seed), Path("model.safetensors"), 0
    for _ in range(500):
        path.write_bytes(mutated(GOOD, rng))
        try:
            tensors = read_tensors(path)
            read_metadata(path)
            read += all(isinstance(tensor, torch.Tensor) for tensor in tensors.values())
        except BottegaError:
            assert_refused(path)
    assert 0 < read < 450


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("container", ["zip", "legacy", "protocol 2"])
def test_mutated_pickles_give_tensors_or_our_error(container: str) -> None:
    rng, path = random.Random(container), Path("model.pt")
    content = {"w": torch.arange(6.0), "b": torch.ones(3)} if container != "protocol 2" else payloads()["among tensors"]
    write_pickled(path, content, container)
    good = path.read_bytes()
    for _ in range(400):
        path.write_bytes(mutated(good, rng))
        try:
            read_tensors(path)
        except BottegaError:
            assert_refused(path)
        assert not Path(CANARY).exists()
