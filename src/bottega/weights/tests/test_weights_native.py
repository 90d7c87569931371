"""Our own checkpoint, bundled weights with their cards, and the hub."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import nn

from bottega.errors import FileError, RequestError, WeightsError
from bottega.weights import (
    NativeWeights,
    WeightsCard,
    bundled_path,
    card_path,
    load_into,
    load_native,
    read_card,
    read_metadata,
    read_native_header,
    resolve,
    save_native,
    verify,
    weights_hash,
    write_card,
    write_tensors,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    width: int
    ratio: float = 4.0


WEIGHTS = NativeWeights(
    config=Config(width=3),
    tensors={"a": torch.linspace(-2, 2, 7), "steps": torch.tensor(3), "b.c": torch.ones(2, 3).bfloat16()},
    assets={"vocabulary.txt": "a\nb\n</w>\té \U0001f600\n", "merges.txt": ""},
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_native(path, WEIGHTS, system_id="unidiffuser")
    return path


def test_what_is_saved_is_loaded(path: Path) -> None:
    weights = load_native(path, Config, "unidiffuser")
    assert weights.config == WEIGHTS.config
    assert weights.assets == WEIGHTS.assets
    assert weights.tensors.keys() == WEIGHTS.tensors.keys()
    for key, tensor in WEIGHTS.tensors.items():
        assert weights.tensors[key].dtype == tensor.dtype
        assert torch.equal(weights.tensors[key], tensor)


def test_the_header_says_what_the_file_is(path: Path) -> None:
    header = read_native_header(path)
    assert header.system == "unidiffuser"
    assert header.config == {"type": "Config", "width": 3, "ratio": 4.0}
    assert header.assets == WEIGHTS.assets
    assert set(read_metadata(path)) == {"bottega", "system", "config", "assets"}


def test_half_precision_is_for_real_numbers_only(tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    save_native(path, WEIGHTS, system_id="unidiffuser", dtype=torch.float16)
    tensors = load_native(path, Config, "unidiffuser").tensors
    assert {key: tensor.dtype for key, tensor in tensors.items()} == {
        "a": torch.float16, "steps": torch.int64, "b.c": torch.float16,
    }  # fmt: skip
    assert torch.equal(tensors["a"], WEIGHTS.tensors["a"].half())


def test_a_value_too_large_for_half_precision_is_refused(tmp_path: Path) -> None:
    weights = replace(WEIGHTS, tensors={"a": torch.tensor([1e5])})
    with pytest.raises(WeightsError, match=r"a has values up to 1e\+05, too large for torch\.float16"):
        save_native(tmp_path / "half.safetensors", weights, system_id="x", dtype=torch.float16)
    save_native(tmp_path / "full.safetensors", weights, system_id="x")


def test_a_model_comes_back_through_the_meta_device(tmp_path: Path) -> None:
    model = nn.Linear(3, 4)
    save_native(tmp_path / "m.safetensors", replace(WEIGHTS, tensors=model.state_dict()), system_id="x")
    with torch.device("meta"):
        again = nn.Linear(3, 4)
    load_into(again, load_native(tmp_path / "m.safetensors", Config, "x").tensors, source="m")
    assert torch.equal(again(torch.ones(3)), model(torch.ones(3)))


def test_the_wrong_system_is_named(path: Path) -> None:
    with pytest.raises(WeightsError, match="holds weights of 'unidiffuser', not of 'uvit'"):
        load_native(path, Config, "uvit")


def test_a_configuration_that_does_not_fit_is_named_by_field(path: Path, tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Other:
        height: int

    with pytest.raises(WeightsError, match=r"does not fit 'unidiffuser': Other\.type is 'Config'"):
        load_native(path, Other, "unidiffuser")


GOOD = {"bottega": "1", "system": "x", "config": '{"width": 3}', "assets": "{}"}


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, "was not written by bottega"),
        ({"format": "pt"}, "was not written by bottega"),
        (GOOD | {"bottega": "2"}, "layout '2', but this version reads '1'; update bottega"),
        (GOOD | {"config": "{"}, "config in its header is not JSON"),
        (GOOD | {"config": "[" * 100_000}, "config in its header is not JSON"),
        (GOOD | {"config": "[]"}, "config in its header is not a JSON object"),
        (GOOD | {"assets": "3"}, "assets in its header is not a JSON object"),
        (GOOD | {"assets": '{"a": 3}'}, "assets that are not text"),
        ({key: value for key, value in GOOD.items() if key != "assets"}, "assets in its header is not JSON"),
        ({key: value for key, value in GOOD.items() if key != "system"}, "lacks the system"),
    ],
)
def test_a_file_that_is_not_ours_is_told(tmp_path: Path, metadata: dict[str, str] | None, message: str) -> None:
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"a": torch.ones(1)}, metadata)
    with pytest.raises(FileError, match=message):
        load_native(path, Config, "x")
    write_tensors(path, {"a": torch.ones(1)}, GOOD)
    assert load_native(path, Config, "x").config == Config(width=3)


def test_the_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert weights_hash(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(FileError, match="cannot be read"):
        weights_hash(tmp_path / "b")
    with pytest.raises(FileError, match="cannot be read"):
        weights_hash(tmp_path)


def card(**changes: object) -> WeightsCard:
    values = {
        "command": "bottega train x", "seed": 3, "seconds": 1.5, "steps": 10, "hardware": "2 CPU cores",
        "metrics": {"top1": 0.5, "top1 shuffled": 0.004}, "sha256": "0" * 64, "notes": "é",
    }  # fmt: skip
    return WeightsCard(**(values | changes))


class TestCards:
    """Bundled weights and the card beside them."""

    def test_a_card_comes_back(self, tmp_path: Path) -> None:
        write_card(tmp_path / "tiny.json", card())
        assert read_card(tmp_path / "tiny.json") == card()

    def test_weights_are_verified_against_their_card(self, tmp_path: Path) -> None:
        path = bundled_path(tmp_path, "tiny")
        assert path == tmp_path / "weights" / "tiny.safetensors"
        save_native(path, WEIGHTS, system_id="x")
        with pytest.raises(FileError, match=r"tiny\.json does not exist"):
            verify(path)
        write_card(card_path(path), card(sha256=weights_hash(path)))
        assert verify(path).seed == 3
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        with pytest.raises(FileError, match="has SHA-256 .* but its card says"):
            verify(path)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ({"seed": "3"}, r"WeightsCard\.seed is '3', but it must be a whole number"),
            ({"sha256": "0"}, "64 hexadecimal digits"),
            ({"metrics": {"top1": "good"}}, r"WeightsCard\.metrics\['top1'\] is 'good'"),
            ({"speed": 3}, "no field 'speed'"),
        ],
    )
    def test_a_wrong_card_is_told(self, tmp_path: Path, content: dict[str, object], message: str) -> None:
        write_card(tmp_path / "tiny.json", card())
        data = json.loads((tmp_path / "tiny.json").read_text()) | content
        (tmp_path / "tiny.json").write_text(json.dumps(data))
        with pytest.raises(FileError, match=f"is not a card of weights: .*{message}"):
            read_card(tmp_path / "tiny.json")

    def test_a_hash_that_is_none_is_refused(self) -> None:
        with pytest.raises(RequestError, match="sha256 is 'ABC'"):
            card(sha256="ABC")


class TestHub:
    """Paths and hub ids, without a network."""

    def test_a_path_comes_first(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "owner" / "name").mkdir(parents=True)
        monkeypatch.chdir(tmp_path)
        assert resolve("owner/name") == Path("owner/name")
        assert resolve(tmp_path) == tmp_path

    @pytest.mark.parametrize(
        "text", ["missing.safetensors", "/no/such/path", "../x/y", "a/b/c", "a//b", "-a/b", "", "a/"]
    )
    def test_what_is_neither_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
        (tmp_path / "empty").mkdir()
        monkeypatch.chdir(tmp_path / "empty")
        if text:
            with pytest.raises(FileError, match="not a hub id of the form owner/name"):
                resolve(text)

    def test_a_cached_snapshot_is_found_and_an_absent_one_told_when_offline(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        snapshot = tmp_path / "models--owner--name" / "snapshots" / ("0" * 40)
        snapshot.mkdir(parents=True)
        (snapshot / "config.json").write_text("{}")
        (snapshot.parents[1] / "refs").mkdir()
        (snapshot.parents[1] / "refs" / "main").write_text(snapshot.name)
        assert resolve("owner/name") == snapshot
        with pytest.raises(FileError, match=r"owner/absent is not on this machine and cannot be downloaded") as caught:
            resolve("owner/absent")
        assert "\n" not in str(caught.value)
