"""The watch over the whole suite hears what it must."""

from __future__ import annotations

import pickle
from collections import OrderedDict

import pytest
import torch


@pytest.mark.unpickles
def test_watch_hears_a_class_looked_up():
    assert pickle.loads(pickle.dumps(OrderedDict(a=1))) == {"a": 1}


@pytest.mark.unpickles
def test_watch_hears_a_full_torch_load(tmp_path):
    torch.save(OrderedDict(a=torch.ones(2)), tmp_path / "legacy.pt")
    assert torch.equal(torch.load(tmp_path / "legacy.pt", weights_only=False)["a"], torch.ones(2))


def test_reading_tensors_alone_is_not_heard(tmp_path):
    torch.save(OrderedDict(a=torch.ones(2)), tmp_path / "legacy.pt")
    assert torch.equal(torch.load(tmp_path / "legacy.pt", weights_only=True)["a"], torch.ones(2))
