"""NVIDIA's pickles are read as data: right where they are honest, refused where they are not, and never run."""

from __future__ import annotations

import pickle
import sys
import types
from collections import OrderedDict

import pytest
import torch

from bottega.errors import FileError
from bottega.weights import read_persistent
from bottega.weights.inert_pickle import NotInert, Record, read_inert


def _reconstruct_persistent_obj(meta):
    raise AssertionError("the file's own code was run")


class Network(torch.nn.Module):
    """A module that pickles itself as the published ones do, its source code included."""

    def __init__(self, *parts: torch.nn.Module) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(3, 4))
        self.register_buffer("average", torch.arange(5, dtype=torch.float16))
        self.shared = 7
        for number, part in enumerate(parts):
            self.add_module(f"part{number}", part)

    def __reduce__(self):
        source = "raise AssertionError('the source inside the file was run')"
        meta = {"type": "class", "version": 6, "module_src": source, "class_name": "Network", "state": self.__dict__}
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (meta,)


@pytest.fixture
def published(monkeypatch):
    """What writes such a file; the module that its class comes from is there while it is written only."""
    package, module = types.ModuleType("torch_utils"), types.ModuleType("torch_utils.persistence")
    function = types.FunctionType(_reconstruct_persistent_obj.__code__, {"__name__": module.__name__})
    function.__qualname__ = function.__name__ = "_reconstruct_persistent_obj"
    function.__module__ = module.__name__
    module._reconstruct_persistent_obj = function

    def write(path, content):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package.__name__, package)
            patch.setitem(sys.modules, module.__name__, module)
            path.write_bytes(pickle.dumps(content, protocol=4))
        return path

    return write


def test_tensors_and_attributes_come_out_and_no_code_runs(published, tmp_path):
    network = Network(Network())
    path = published(tmp_path / "network.pkl", {"G": None, "G_ema": network, "settings": OrderedDict(a=1)})
    tensors, attributes = read_persistent(path, ["G_ema", "D"])
    expected = {f"G_ema.{name}": value for name, value in network.state_dict().items()}
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[name], value) for name, value in expected.items())
    assert attributes["G_ema.part0"] == {"class": "Network", "training": True, "shared": 7}


def test_a_view_of_a_larger_tensor_keeps_its_numbers(published, tmp_path):
    network = Network()
    network.weight = torch.nn.Parameter(torch.arange(24.0).reshape(4, 6)[1:3, ::2].T)
    tensors, _ = read_persistent(published(tmp_path / "view.pkl", {"D": network}), ["D"])
    assert torch.equal(tensors["D.weight"], network.weight)


class Evil:
    """Pickles as a command."""

    def __init__(self, path) -> None:
        self.path = path

    def __reduce__(self):
        return exec, (f"open({str(self.path)!r}, 'w')",)


def test_a_command_in_the_file_stays_a_record(published, tmp_path):
    made = tmp_path / "made"
    network = Network()
    network.evil = Evil(made)
    tensors, _ = read_persistent(published(tmp_path / "evil.pkl", {"G_ema": network, "x": Evil(made)}), ["G_ema"])
    assert torch.equal(tensors["G_ema.weight"], network.weight)
    assert not made.exists()
    record = read_inert(pickle.dumps(Evil(made)))
    assert isinstance(record, Record)
    assert record.name == "exec"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "data"),
        (b"\x80\x04N", "data"),
        (b"\x80\x04.", "nothing on the stack"),
        (b"\x80\x04}.", "holds none of"),
        (b"\x80\x04h\x05.", "memory is empty"),
        (b"\x80\x02\x82\x01.", "instruction EXT1"),
        (b"\x80\x04K\x01)R.", "a int is called"),
        (b"PK\x03\x04" + b"0" * 64, "data"),
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path, data, says):
    path = tmp_path / "bad.pkl"
    path.write_bytes(data)
    with pytest.raises(FileError, match=says):
        read_persistent(path, ["G_ema"])


def test_a_tensor_that_reaches_out_of_its_storage_is_refused():
    reduced = pickle.dumps(torch.arange(4.0))
    assert read_inert(reduced).tolist() == [0, 1, 2, 3]
    widened = reduced.replace(b"K\x04\x85", b"K\x09\x85", 1)
    assert widened != reduced
    with pytest.raises(NotInert, match="more than its storage"):
        read_inert(widened)
