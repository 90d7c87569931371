"""SegGPT in the files of its authors and of transformers."""

from __future__ import annotations

from pathlib import Path

from bottega.errors import RequestError
from bottega.networks import painter_keys, seggpt_config, seggpt_json, seggpt_keys
from bottega.room import Checkpoint, CheckpointFormat
from bottega.systems.vision.seggpt.config import SegGptConfig
from bottega.weights import (
    add_prefix,
    read_folder_config,
    read_folder_tensors,
    read_tensors,
    take_prefix,
    to_ours,
    to_theirs,
    write_folder,
    write_tensors,
)

PREFIX = "network"


def read_authors(path: Path, config: SegGptConfig | None) -> Checkpoint:
    """Reads `seggpt_vit_large.pth`, whose entry "model" is the state dict, or the same tensors as safetensors.

    Raises:
        RequestError: No size was named; the file does not say it.
        FileError: The file is missing or damaged.
        WeightsError: The keys or shapes do not fit the size.
    """
    if config is None:
        raise RequestError("the authors' file does not say which size it holds; name one with --preset")
    tensors = read_tensors(path, inside=None if path.suffix == ".safetensors" else "model")
    return Checkpoint(config=config, tensors=add_prefix(to_ours(painter_keys(config.network), tensors), PREFIX))


def write_authors(checkpoint: Checkpoint, path: Path) -> None:
    """Writes the same tensors under the same keys, as safetensors."""
    table = painter_keys(checkpoint.config.network)
    write_tensors(path, to_theirs(table, take_prefix(checkpoint.tensors, PREFIX)))


def read_hf(path: Path, config: SegGptConfig | None) -> Checkpoint:
    """Reads a folder of transformers' SegGPT, such as BAAI/seggpt-vit-large; its `config.json` says the size.

    Raises:
        FileError: A file is missing or damaged.
        WeightsError: The keys, shapes or settings do not fit.
    """
    network = seggpt_config(read_folder_config(path))
    tensors = to_ours(seggpt_keys(network), read_folder_tensors(path))
    return Checkpoint(config=SegGptConfig(network=network), tensors=add_prefix(tensors, PREFIX))


def write_hf(checkpoint: Checkpoint, path: Path) -> None:
    """Writes a folder that transformers reads."""
    network = checkpoint.config.network
    tensors = to_theirs(seggpt_keys(network), take_prefix(checkpoint.tensors, PREFIX))
    write_folder(path, seggpt_json(network), tensors, name="model.safetensors")


FORMATS = {
    "authors": CheckpointFormat(
        description="baaivision/Painter's seggpt_vit_large.pth, or the same tensors as safetensors. Name the preset.",
        read=read_authors,
        write=write_authors,
    ),
    "hf": CheckpointFormat(
        description="A folder of transformers' SegGptForImageSegmentation, such as BAAI/seggpt-vit-large.",
        read=read_hf,
        write=write_hf,
    ),
}
