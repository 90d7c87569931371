"""The rooms of `workshop` with bundled weights, as a catalog, in a temporary folder."""

import shutil
import sys
from pathlib import Path

import pytest

from bottega.catalog import Catalog


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    root = tmp_path_factory.mktemp("rooms")
    shutil.copytree(Path(__file__).parent / "workshop", root / "workshop")
    sys.path.insert(0, str(root))
    import torch

    from bottega.weights import NativeWeights, bundled_path, save_native

    rooms = Catalog("workshop")
    system = rooms.get("gradient")
    torch.manual_seed(3)
    config = system.presets["tiny"].config
    own = NativeWeights(config=config, tensors=dict(system.build(config).state_dict()), assets={"note": "hello"})
    path = bundled_path(rooms.folder("gradient"), "tiny")
    path.parent.mkdir(exist_ok=True)
    save_native(path, own, system_id="gradient")
    return rooms
