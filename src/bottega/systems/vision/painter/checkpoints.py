"""Painter in the file that its authors publish."""

from __future__ import annotations

from pathlib import Path

from bottega.errors import RequestError
from bottega.networks import painter_keys
from bottega.room import Checkpoint, CheckpointFormat
from bottega.systems.vision.painter.config import PainterTasksConfig
from bottega.weights import add_prefix, first_file, read_tensors, take_prefix, to_ours, to_theirs, write_tensors

FILES = ("painter_vit_large.pth", "painter_vit_large.safetensors")


def read_authors(path: Path, config: PainterTasksConfig | None) -> Checkpoint:
    """Reads the published file.

    Raises:
        RequestError: No size was named; the file does not say it.
        FileError: The file is missing or damaged.
        WeightsError: The keys or shapes do not fit the size.
    """
    if config is None:
        raise RequestError("the authors' file does not say which size it holds; name one with --preset")
    tensors = read_tensors(first_file(path, FILES) if path.is_dir() else path, perhaps=("model",))
    return Checkpoint(config=config, tensors=add_prefix(to_ours(painter_keys(config.network), tensors), "network"))


def write_authors(checkpoint: Checkpoint, path: Path) -> None:
    """Writes the same keys, as safetensors."""
    config: PainterTasksConfig = checkpoint.config
    write_tensors(path, to_theirs(painter_keys(config.network), take_prefix(checkpoint.tensors, "network")))


FORMATS = {
    "authors": CheckpointFormat(
        description="The file of BAAI/Painter: painter_vit_large.pth, or its tensors as safetensors. Name the preset.",
        read=read_authors,
        write=write_authors,
    ),
}
