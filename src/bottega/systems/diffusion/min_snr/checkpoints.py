"""The transformer in the files that its authors publish, and the autoencoder in diffusers' layout."""

from __future__ import annotations

from pathlib import Path

from bottega.errors import FileError, RequestError
from bottega.networks import (
    diffusion_vit_keys,
    read_autoencoder_kl,
    write_autoencoder_kl,
)
from bottega.room import Checkpoint, CheckpointFormat
from bottega.systems.diffusion.min_snr.config import MinSnrConfig
from bottega.weights import (
    add_prefix,
    first_file,
    read_tensors,
    take_prefix,
    to_ours,
    to_theirs,
    write_tensors,
)

NETWORK_FILES = ("ema_0.9999_xl.pt", "ema_0.9999_large.pt", "ema.pt", "ema.safetensors")


def read_authors(path: Path, config: MinSnrConfig | None) -> Checkpoint:
    """Reads a published file, or, for the latent sizes, a folder with it and the autoencoder's folder `vae`.

    Raises:
        RequestError: No size was named; the files do not say it.
        FileError: A file is missing or damaged.
        WeightsError: The keys or shapes do not fit the size.
    """
    if config is None:
        raise RequestError("the authors' files do not say which size they hold; name one with --preset")
    if config.autoencoder is not None and not path.is_dir():
        raise FileError(
            f"{path} must be a folder for this size: put the transformer's file into it, and vae/ beside it"
        )
    network = read_tensors(first_file(path, NETWORK_FILES) if path.is_dir() else path)
    tensors = add_prefix(to_ours(diffusion_vit_keys(config.network), network), "network")
    if config.autoencoder is not None:
        tensors |= add_prefix(read_autoencoder_kl(path / "vae"), "autoencoder")
    return Checkpoint(config=config, tensors=tensors)


def write_authors(checkpoint: Checkpoint, path: Path) -> None:
    """Writes the same files under the same keys, as safetensors: a file, or a folder for sizes with an autoencoder."""
    config: MinSnrConfig = checkpoint.config
    network = to_theirs(diffusion_vit_keys(config.network), take_prefix(checkpoint.tensors, "network"))
    if config.autoencoder is None:
        write_tensors(path, network)
        return
    path.mkdir(parents=True, exist_ok=True)
    write_tensors(path / NETWORK_FILES[-1], network)
    latents = take_prefix(checkpoint.tensors, "autoencoder")
    write_autoencoder_kl(path / "vae", config.autoencoder, config.picture_size, latents)


FORMATS = {
    "authors": CheckpointFormat(
        description="The files of TiankaiHang/Min-SNR-Diffusion-Training: one .pt of the transformer; for the latent "
        "sizes a folder with it, and with the folder of stabilityai/sd-vae-ft-mse as vae/. Name the preset.",
        read=read_authors,
        write=write_authors,
    ),
}
