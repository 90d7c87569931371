"""Sample pictures on disk while a model trains."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image


def save_previews(out: Path, step: int, pictures: Mapping[str, np.ndarray]) -> list[Path]:
    """Writes `previews/step-000123-name.png` for every picture.

    Args:
        out: The run's folder.
        step: Updates done.
        pictures: uint8 `(height, width, 3)` arrays by name.

    Returns:
        The files.
    """
    folder = out / "previews"
    folder.mkdir(exist_ok=True)
    paths = [folder / f"step-{step:06d}-{name}.png" for name in pictures]
    for path, picture in zip(paths, pictures.values(), strict=True):
        Image.fromarray(picture).save(path)
    return paths
