"""Tensors of NVIDIA's network pickles (StyleGAN2-ADA and its kin), without unpickling anything."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from bottega.errors import FileError
from bottega.weights import inert_pickle
from bottega.weights.files import read_metadata, read_tensors

_SECONDS = 2 * inert_pickle.SECONDS


def read_persistent(path: Path, modules: Sequence[str]) -> tuple[dict[str, Tensor], dict[str, dict[str, Any]]]:
    """Reads networks from a pickle whose classes travel inside it, in a child process with bounded memory and time.

    The code inside is never run and nothing that the file names is imported; see `bottega.weights.inert_pickle`.

    Args:
        path: The `.pkl` file: a pickled dict of networks.
        modules: The entries to read, such as "G_ema" and "D"; those that are missing are left out.

    Returns:
        Tensors by `entry.name`, and the plain attributes of every part by its name.

    Raises:
        FileError: It cannot be read as data, takes too much memory or time, or holds none of the entries.
    """
    if not path.is_file():
        raise FileError(f"{path} is not a file; give the published .pkl")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "tensors.safetensors"
        command = [sys.executable, "-I", inert_pickle.__file__, str(path.resolve()), str(target), ",".join(modules)]
        try:
            done = subprocess.run(  # noqa: S603 - our own script; the file is an argument and no command
                command, capture_output=True, text=True, timeout=_SECONDS, check=False, env={}, stdin=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired as error:
            raise FileError(f"{path} cannot be read as data: it takes more than {_SECONDS} s") from error
        if done.returncode != 0 or not target.is_file():
            lines = done.stderr.strip().splitlines()
            reason = lines[-1][:300] if lines else f"its reader was stopped ({done.returncode})"
            raise FileError(f"{path} cannot be read as data ({reason}); get the file again from its authors")
        attributes = json.loads(read_metadata(target)["attributes"])
        return read_tensors(target), attributes
