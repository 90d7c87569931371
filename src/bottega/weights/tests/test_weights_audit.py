"""The watch on pickle: it hears what looks up a class, it does not hear weights being read."""

import io
import multiprocessing
import pickle
from pathlib import Path

import pytest
import torch

from bottega.weights import PickleWatch, forbid_unpickling, read_tensors


@pytest.fixture(scope="module")
def watch() -> PickleWatch:
    return forbid_unpickling()


def new(watch: PickleWatch, before: int) -> set[str]:
    return {event.name for event in watch.events()[before:]}


@pytest.mark.unpickles
def test_a_class_looked_up_by_pickle_is_heard(watch: PickleWatch) -> None:
    before = len(watch.events())
    pickle.loads(pickle.dumps(Path))
    pickle._Unpickler(io.BytesIO(pickle.dumps(print))).load()
    assert new(watch, before) == {"pathlib.Path", "builtins.print"}
    assert {event.caller for event in watch.events()[before:]} == {__name__}


@pytest.mark.unpickles
def test_torch_without_weights_only_is_heard(watch: PickleWatch, tmp_path: Path) -> None:
    torch.save({"w": torch.ones(1)}, tmp_path / "w.pt")
    before = len(watch.events())
    torch.load(tmp_path / "w.pt", weights_only=False)
    assert "torch._utils._rebuild_tensor_v2" in new(watch, before)


@pytest.mark.parametrize("zipped", [True, False])
def test_reading_weights_is_silent(watch: PickleWatch, tmp_path: Path, zipped: bool) -> None:
    torch.save({"w": torch.ones(1)}, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    before = len(watch.events())
    assert read_tensors(tmp_path / "w.pt")["w"] == 1
    assert not new(watch, before)


def test_pickles_without_classes_are_silent(watch: PickleWatch) -> None:
    before = len(watch.events())
    pickle.loads(pickle.dumps([1, "a", {"b": None}]))
    assert not new(watch, before)


def test_multiprocessing_may_unpickle(watch: PickleWatch) -> None:
    before = len(watch.events())
    receiver, sender = multiprocessing.Pipe(duplex=False)
    sender.send(Path)
    assert receiver.recv() is Path
    assert not new(watch, before)
