"""Reading and writing of good files: what was written is what is read, whole or not at all."""

import json
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from bottega.errors import FileError, WeightsError
from bottega.weights import (
    first_file,
    read_folder_config,
    read_folder_tensors,
    read_json,
    read_metadata,
    read_tensors,
    write_bytes,
    write_folder,
    write_tensors,
    write_text,
)

TENSORS = {
    "z": torch.arange(6.0).reshape(2, 3),
    "a.half": torch.ones(3, dtype=torch.float16),
    "a.brain": torch.ones(3, dtype=torch.bfloat16),
    "scalar": torch.tensor(3),
    "empty": torch.zeros(0, 4),
    "truth": torch.tensor([True, False]),
}


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for key, tensor in first.items():
        assert tensor.dtype == second[key].dtype
        assert torch.equal(tensor, second[key]), key


def test_what_is_written_is_read_by_us_and_by_the_library(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "w.safetensors"
    write_tensors(path, TENSORS, {"b": 'é\x01"\\\n', "a": "", "c": "3"})
    assert_same(read_tensors(path), TENSORS)
    assert_same(load_file(path), TENSORS)
    assert read_metadata(path) == {"b": 'é\x01"\\\n', "a": "", "c": "3"}
    assert os.listdir(path.parent) == ["w.safetensors"]
    assert path.stat().st_mode & 0o777 == 0o666 & ~current_umask()


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt", ".PT"])
@pytest.mark.parametrize("zipped", [True, False])
def test_files_of_torch_are_read(tmp_path: Path, suffix: str, zipped: bool) -> None:
    path = tmp_path / f"w{suffix}"
    torch.save(TENSORS, path, _use_new_zipfile_serialization=zipped)
    assert_same(read_tensors(path), TENSORS)


def test_a_state_dict_with_shared_and_sliced_parameters_is_read(tmp_path: Path) -> None:
    model = torch.nn.ModuleDict({"a": torch.nn.Linear(3, 4), "b": torch.nn.Linear(3, 4)})
    model["b"].weight = model["a"].weight
    torch.save(model.state_dict() | {"row": model["a"].weight[1], "t": model["a"].weight.T}, tmp_path / "w.pt")
    tensors = read_tensors(tmp_path / "w.pt")
    assert torch.equal(tensors["t"], model["a"].weight.T)
    assert not any(tensor.requires_grad for tensor in tensors.values())


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    tensors = {key: torch.full((3,), float(index)) for index, key in enumerate("hgfedcba")}
    metadata = {key: key for key in ("zebra", "ant", "mole", "cat", "dog")}
    contents = set()
    for run in range(8):
        order = 1 if run % 2 else -1
        path = tmp_path / f"{run}.safetensors"
        write_tensors(path, dict(list(tensors.items())[::order]), dict(list(metadata.items())[::order]))
        contents.add(path.read_bytes())
    assert len(contents) == 1


def test_tensors_that_share_memory_are_written_whole(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    tensors = {"base": base, "tied": base, "row": base[1], "transposed": base.T, "step": base[:, ::2], "tail": base[2:]}
    tensors["parameter"] = torch.nn.Parameter(base)
    write_tensors(tmp_path / "w.safetensors", tensors)
    assert_same(read_tensors(tmp_path / "w.safetensors"), {key: value.detach() for key, value in tensors.items()})


def test_what_is_read_is_memory_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    write_tensors(path, TENSORS)
    read_tensors(path)["z"].fill_(7)
    assert_same(read_tensors(path), TENSORS)
    tensors = read_tensors(path)
    os.truncate(path, 0)
    assert_same(tensors, TENSORS)


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="must end in .safetensors"):
        write_tensors(tmp_path / "w.pt", TENSORS)
    with pytest.raises(WeightsError, match="no plain values cannot be written: m, s"):
        write_tensors(tmp_path / "w.safetensors", {"m": torch.empty(1, device="meta"), "s": torch.eye(2).to_sparse()})
    (tmp_path / "taken.safetensors").mkdir()
    with pytest.raises(FileError, match="cannot be written"):
        write_tensors(tmp_path / "taken.safetensors", TENSORS)
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="choose another name"):
        write_tensors(tmp_path / "file" / "w.safetensors", TENSORS)
    assert sorted(os.listdir(tmp_path)) == ["file", "taken.safetensors"]


def test_a_full_disk_is_told_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    write_tensors(path, TENSORS)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(FileError, match="w.safetensors cannot be written: .*free some space"):
            write_tensors(path, {"big": torch.zeros(10_000)})
        with pytest.raises(FileError, match="text.json cannot be written: .*free some space"):
            write_text(tmp_path / "text.json", "x" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert_same(read_tensors(path), TENSORS)
    assert os.listdir(tmp_path) == ["w.safetensors"]


def die(*arguments: object, **options: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at_call(function: Callable[[int], None], number: int) -> Callable[[int], None]:
    calls = []

    def called(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == number:
            die()
        function(descriptor)

    return called


KILLS = {
    "before the write": ("bottega.weights.files.save_file", die),
    "before the fsync": ("os.fsync", die),
    "before the rename": ("os.replace", die),
    "before the folder's fsync": ("os.fsync", die_at_call(os.fsync, 2)),
}


@pytest.mark.parametrize("point", KILLS)
def test_a_kill_leaves_the_old_file_or_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    path = tmp_path / "w.safetensors"
    write_tensors(path, {"w": torch.zeros(1000)})
    child = os.fork()
    if child == 0:
        monkeypatch.setattr(*KILLS[point])
        write_tensors(path, {"w": torch.ones(1000)})
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    expected = 1.0 if point == "before the folder's fsync" else 0.0
    assert torch.equal(read_tensors(path)["w"], torch.full((1000,), expected))
    write_tensors(path, {"w": torch.full((1000,), 2.0)})
    assert torch.equal(read_tensors(path)["w"], torch.full((1000,), 2.0))


def test_bytes_and_text_are_written_whole(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"\0\xff")
    write_text(tmp_path / "b", "é\n")
    assert (tmp_path / "a").read_bytes() == b"\0\xff"
    assert (tmp_path / "b").read_bytes() == "é\n".encode()


def test_json_objects_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"é": [1, null]}', encoding="utf-8")
    assert read_json(tmp_path / "a.json") == {"é": [1, None]}
    (tmp_path / "a.json").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(FileError, match="not valid JSON"):
        read_json(tmp_path / "a.json")


class TestFolders:
    """Folders in the layout of the Hugging Face libraries."""

    def test_a_folder_comes_back(self, tmp_path: Path) -> None:
        write_folder(tmp_path / "unet", {"width": 3}, TENSORS, name="diffusion_pytorch_model.safetensors")
        assert read_folder_config(tmp_path / "unet") == {"width": 3}
        assert_same(read_folder_tensors(tmp_path / "unet"), TENSORS)
        assert read_metadata(tmp_path / "unet" / "diffusion_pytorch_model.safetensors") == {"format": "pt"}

    def test_transformers_opens_what_we_write(self, tmp_path: Path) -> None:
        from transformers import CLIPTextConfig, CLIPTextModel

        config = CLIPTextConfig(
            vocab_size=50, hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
        )
        model = CLIPTextModel(config)
        model.save_pretrained(tmp_path / "theirs")
        tensors = read_folder_tensors(tmp_path / "theirs")
        write_folder(tmp_path / "ours", read_folder_config(tmp_path / "theirs"), tensors)
        again, report = CLIPTextModel.from_pretrained(tmp_path / "ours", output_loading_info=True)
        assert not report["missing_keys"]
        assert_same(dict(again.state_dict()), dict(model.state_dict()))

    def test_shards_of_transformers_are_read(self, tmp_path: Path) -> None:
        from transformers import CLIPTextConfig, CLIPTextModel

        config = CLIPTextConfig(
            vocab_size=99, hidden_size=64, intermediate_size=256, num_hidden_layers=3, num_attention_heads=2
        )
        model = CLIPTextModel(config)
        model.save_pretrained(tmp_path / "shards", max_shard_size="200KB")
        model.save_pretrained(tmp_path / "whole")
        assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
        assert_same(read_folder_tensors(tmp_path / "shards"), read_folder_tensors(tmp_path / "whole"))

    def test_safetensors_come_before_pickles(self, tmp_path: Path) -> None:
        torch.save({"w": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
        assert read_folder_tensors(tmp_path)["w"] == 0
        save_file({"w": torch.ones(1)}, tmp_path / "diffusion_pytorch_model.safetensors")
        assert read_folder_tensors(tmp_path)["w"] == 1
        save_file({"w": torch.full((1,), 2.0)}, tmp_path / "model.safetensors")
        assert read_folder_tensors(tmp_path)["w"] == 2

    def test_shards_of_pickles_are_read(self, tmp_path: Path) -> None:
        torch.save({"a": torch.zeros(1)}, tmp_path / "pytorch_model-1.bin")
        torch.save({"b": torch.ones(1)}, tmp_path / "pytorch_model-2.bin")
        index = '{"weight_map": {"a": "pytorch_model-1.bin", "b": "pytorch_model-2.bin"}}'
        (tmp_path / "pytorch_model.bin.index.json").write_text(index)
        assert set(read_folder_tensors(tmp_path)) == {"a", "b"}

    def test_what_is_missing_is_named_with_what_is_there(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("x")
        with pytest.raises(FileError, match=r"has none of model\.safetensors.*it holds: notes\.txt"):
            read_folder_tensors(tmp_path)
        with pytest.raises(FileError, match=r"has no config\.json; it holds: notes\.txt"):
            read_folder_config(tmp_path)
        for read in (read_folder_tensors, read_folder_config):
            with pytest.raises(FileError, match="is not a folder"):
                read(tmp_path / "notes.txt")


def test_the_first_of_several_files_is_found(tmp_path: Path) -> None:
    names = ("ema.pth", "ema.safetensors")
    with pytest.raises(FileError, match=r"holds none of ema.pth, ema.safetensors; copy"):
        first_file(tmp_path, names)
    for name in reversed(names):
        (tmp_path / name).touch()
        assert first_file(tmp_path, names).name == name


def test_large_folders_are_written_in_shards(tmp_path: Path) -> None:
    tensors = {f"part.{n}": torch.full((n + 1, 10), float(n)) for n in range(6)}
    write_folder(tmp_path / "shards", {"model_type": "x"}, tensors, largest=400)
    index = json.loads((tmp_path / "shards" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 40 * 21
    assert sorted(set(index["weight_map"].values())) == [f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)]
    found = read_folder_tensors(tmp_path / "shards")
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[key], value) for key, value in tensors.items())
    with pytest.raises(FileError, match="is there already"):
        write_folder(tmp_path / "shards", {}, tensors)
    write_folder(tmp_path / "whole", {}, tensors)
    with pytest.raises(FileError, match="is there already"):
        write_folder(tmp_path / "whole", {}, tensors, largest=400)
