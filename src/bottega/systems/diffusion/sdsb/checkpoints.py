"""Bridges in the files that the authors publish: one state dict for each direction, in one file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from bottega.errors import FileError, RequestError
from bottega.networks import (
    AdmUnetConfig,
    DiffusionVitConfig,
    adm_keys_edm,
    diffusion_vit_keys,
    read_autoencoder_kl,
    write_autoencoder_kl,
)
from bottega.room import Checkpoint, CheckpointFormat
from bottega.systems.diffusion.sdsb.config import ResMlpConfig, SdsbConfig
from bottega.weights import (
    KeyTable,
    Rename,
    add_prefix,
    first_file,
    read_tensors,
    take_prefix,
    to_ours,
    to_theirs,
    write_tensors,
)

WAYS = {"there": "forward_model", "back": "backward_model"}
FILES = ("bridge.pth", "bridge.safetensors")


def network_table(config: SdsbConfig) -> KeyTable:
    """A direction's network against the authors' `util/network.py` and `util/vision_transformer.py`."""
    match config.network:
        case AdmUnetConfig() as size:
            return adm_keys_edm(size)
        case DiffusionVitConfig() as size:
            return diffusion_vit_keys(size)
        case ResMlpConfig(layers=layers):
            blocks = range(layers - 2)
            return (
                Rename("first.{rest}", "net.0.dense.{rest}"),
                *(Rename(f"blocks.{i}.linear.{{rest}}", f"net.{i + 1}.dense.{{rest}}") for i in blocks),
                *(Rename(f"blocks.{i}.norm.table.weight", f"net.{i + 1}.norm.emb.weight") for i in blocks),
                *(Rename(f"blocks.{i}.norm.linear.{{rest}}", f"net.{i + 1}.norm.linear.{{rest}}") for i in blocks),
                Rename("last.{rest}", f"net.{layers - 1}.{{rest}}"),
            )


def read_authors(path: Path, config: SdsbConfig | None) -> Checkpoint:
    """Reads a published file, or, for sizes with an autoencoder, a folder with it and the autoencoder's folder `vae`.

    Raises:
        RequestError: No size was named; the files do not say it.
        FileError: A file is missing or damaged.
        WeightsError: The keys or shapes do not fit the size.
    """
    if config is None:
        raise RequestError("the authors' files do not say which size they hold; name one with --preset")
    if config.autoencoder is not None and not path.is_dir():
        raise FileError(
            f"{path} must be a folder for this size: put the file into it as bridge.pth, and vae/ beside it"
        )
    file = first_file(path, FILES) if path.is_dir() else path
    tensors: dict[str, Tensor] = {}
    for ours, theirs in WAYS.items():
        network = take_prefix(_plain(_half(file, theirs)), "network")
        tensors |= add_prefix(to_ours(network_table(config), network), ours)
    if config.autoencoder is not None:
        tensors |= add_prefix(read_autoencoder_kl(path / "vae"), "autoencoder")
    return Checkpoint(config=config, tensors=tensors)


def write_authors(checkpoint: Checkpoint, path: Path) -> None:
    """Writes the same names as safetensors: a file, or a folder for sizes with an autoencoder."""
    config: SdsbConfig = checkpoint.config
    tensors: dict[str, Tensor] = {}
    for ours, theirs in WAYS.items():
        network = to_theirs(network_table(config), take_prefix(checkpoint.tensors, ours))
        tensors |= add_prefix(network, f"{theirs}.network")
    if config.autoencoder is None:
        write_tensors(path, tensors)
        return
    path.mkdir(parents=True, exist_ok=True)
    write_tensors(path / FILES[1], tensors)
    latents = take_prefix(checkpoint.tensors, "autoencoder")
    write_autoencoder_kl(path / "vae", config.autoencoder, config.picture_size, latents)


def _half(file: Path, name: str) -> dict[str, Tensor]:
    if file.suffix == ".safetensors":
        return take_prefix(read_tensors(file), name)
    return read_tensors(file, inside=name)


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the "module." that training on several devices leaves in names."""
    return {name.replace("network.module.", "network."): value for name, value in tensors.items()}


FORMATS = {
    "authors": CheckpointFormat(
        description="The files of checkcrab/SDSB: one .pth with `forward_model` and `backward_model`; for the latent "
        "sizes a folder with it as bridge.pth, and with Stable Diffusion's autoencoder as vae/. Name the preset.",
        read=read_authors,
        write=write_authors,
    ),
}
