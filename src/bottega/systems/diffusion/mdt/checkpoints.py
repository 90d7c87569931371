"""DiT, MDT and MDTv2 in the files that their authors publish, and DiT in diffusers' folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from bottega.errors import FileError, RequestError, WeightsError
from bottega.networks import (
    DIT_END_KEYS,
    autoencoder_kl_config,
    dit_block_keys,
    dit_config,
    dit_diffusers_keys,
    dit_json,
    dit_keys,
    read_autoencoder_kl,
    write_autoencoder_kl,
)
from bottega.room import Checkpoint, CheckpointFormat
from bottega.systems.diffusion.mdt.config import PRESETS, MacroDesign, MaskedDesign, MdtConfig, PlainDesign
from bottega.systems.diffusion.mdt.model import RelativePositions
from bottega.weights import (
    KeyTable,
    Rename,
    Reshape,
    add_prefix,
    first_file,
    read_folder_tensors,
    read_json,
    read_tensors,
    take_prefix,
    to_ours,
    to_theirs,
    write_folder,
    write_tensors,
)


def _block(ours: str, theirs: str, *, shortcut: bool = False) -> KeyTable:
    joined = (Rename(f"{ours}.join.{{rest}}", f"{theirs}.skip_linear.{{rest}}"),) if shortcut else ()
    bias = f"{theirs}.attn.rel_pos_bias"
    return (
        *dit_block_keys(f"{ours}.block", theirs),
        Rename(f"{ours}.positions.table", f"{bias}.relative_position_bias_table"),
        Rename(f"{ours}.positions.places", f"{bias}.relative_position_index"),
        *joined,
    )


def _encoder_and_decoder(config: MdtConfig) -> KeyTable:
    design, depth = config.design, config.trunk.depth
    if isinstance(design, MacroDesign):
        return (
            *_block("shallow.{i}", "en_inblocks.{i}"),
            *_block("deep.{i}", "en_outblocks.{i}", shortcut=True),
            *_block("decoder.{i}", "de_blocks.{i}", shortcut=True),
        )
    encoder = depth - design.decode_layers if isinstance(design, MaskedDesign) else depth
    shallow = [rule for i in range(encoder) for rule in _block(f"shallow.{i}", f"blocks.{i}")]
    decoder = [rule for i in range(encoder, depth) for rule in _block(f"decoder.{i - encoder}", f"blocks.{i}")]
    return (*shallow, *decoder)


def network_table(config: MdtConfig) -> KeyTable:
    """The network against `models.py` of its authors."""
    if isinstance(config.design, PlainDesign):
        return dit_keys(config.trunk)
    width, tokens = config.trunk.width, config.trunk.patches
    positions = Reshape((tokens, width), (1, tokens, width))
    return (
        *DIT_END_KEYS,
        Rename("pos_embed", "pos_embed", change=positions),
        Rename("decoder_pos_embed", "decoder_pos_embed", change=positions),
        Rename("interpolater.mask_token", "mask_token", change=Reshape((width,), (1, 1, width))),
        *_block("interpolater.block", "sideblocks.0"),
        *_encoder_and_decoder(config),
    )


NETWORK_FILES = ("network.safetensors", "network.pt", "network.pth")
VAE = "vae"


def read_authors(path: Path, config: MdtConfig | None) -> Checkpoint:
    """Reads a published file, or a folder with it as network.pt and diffusers' autoencoder in vae/.

    Raises:
        RequestError: No size was named; the files do not say it.
        FileError: A file is missing or damaged.
        WeightsError: The keys or shapes do not fit the size.
    """
    if config is None:
        raise RequestError("the authors' files do not say which size they hold; name one with --preset")
    if config.autoencoder is None:
        return Checkpoint(config=config, tensors=_network(config, path))
    if not path.is_dir():
        raise FileError(
            f"{path} must be a folder for this size: put the published file into it as network.pt, and the folder of "
            "stabilityai/sd-vae-ft-ema or -mse as vae"
        )
    return Checkpoint(
        config=config, tensors=_network(config, first_file(path, NETWORK_FILES)) | _autoencoder(path / VAE)
    )


def write_authors(checkpoint: Checkpoint, path: Path) -> None:
    """Writes the same files under the same keys, as safetensors: a file, or a folder for sizes with an autoencoder."""
    config: MdtConfig = checkpoint.config
    network = to_theirs(network_table(config), take_prefix(checkpoint.tensors, "network"))
    if config.autoencoder is None:
        write_tensors(path, network)
        return
    path.mkdir(parents=True, exist_ok=True)
    write_tensors(path / NETWORK_FILES[0], network)
    _write_autoencoder(checkpoint, path)


def read_diffusers(path: Path, config: MdtConfig | None) -> Checkpoint:
    """Reads the folder of a DiTPipeline: transformer/ and vae/. It says its own size.

    Raises:
        FileError: A file is missing or damaged.
        WeightsError: The keys or shapes do not fit.
    """
    trunk = dit_config(read_json(path / "transformer" / "config.json"))
    autoencoder, names = None, ()
    if (path / VAE).is_dir():
        autoencoder = autoencoder_kl_config(read_json(path / VAE / "config.json"))
    if config is not None and config.trunk.classes == trunk.classes:
        names = config.class_names
    read = MdtConfig(trunk=trunk, design=PlainDesign(), autoencoder=autoencoder, class_names=names)
    theirs = read_folder_tensors(path / "transformer")
    tensors = add_prefix(to_ours(dit_diffusers_keys(trunk), theirs), "network")
    return Checkpoint(config=read, tensors=tensors | (_autoencoder(path / VAE) if autoencoder is not None else {}))


def write_diffusers(checkpoint: Checkpoint, path: Path) -> None:
    """Writes such a folder.

    Raises:
        WeightsError: diffusers has no network of this design.
    """
    config: MdtConfig = checkpoint.config
    if not isinstance(config.design, PlainDesign):
        raise WeightsError(f"diffusers has DiT, but no {type(config.design).__name__}; write the authors' layout")
    network = to_theirs(dit_diffusers_keys(config.trunk), take_prefix(checkpoint.tensors, "network"))
    name = "diffusion_pytorch_model.safetensors"
    write_folder(path / "transformer", dit_json(config.trunk), network, name=name)
    if config.autoencoder is not None:
        _write_autoencoder(checkpoint, path)


def _network(config: MdtConfig, file: Path) -> dict[str, Tensor]:
    theirs: Mapping[str, Tensor] = read_tensors(file)
    ours = to_ours(network_table(config), theirs)
    rows = config.trunk.rows
    places = RelativePositions(rows, 1).places
    wrong = [key for key, value in ours.items() if key.endswith("places") and not torch.equal(value, places)]
    if wrong:
        raise WeightsError(f"{file} counts its relative positions otherwise than {rows} rows of patches do: {wrong[0]}")
    return add_prefix(ours, "network")


def _autoencoder(folder: Path) -> dict[str, Tensor]:
    return add_prefix(read_autoencoder_kl(folder), "autoencoder")


def _write_autoencoder(checkpoint: Checkpoint, path: Path) -> None:
    config: MdtConfig = checkpoint.config
    if config.autoencoder is None:
        return
    latents = take_prefix(checkpoint.tensors, "autoencoder")
    write_autoencoder_kl(path / VAE, config.autoencoder, config.picture_size, latents)


DIFFUSERS = CheckpointFormat(
    description="diffusers' DiTPipeline: a folder with transformer/ and vae/, for DiT alone.",
    read=read_diffusers,
    write=write_diffusers,
    presets=tuple(name for name, preset in PRESETS.items() if isinstance(preset.config.design, PlainDesign)),
)
FORMATS = {
    "authors": CheckpointFormat(
        description="The files of sail-sg/MDT and facebookresearch/DiT: one .pt of the network; for latent sizes a "
        "folder with it as network.pt and diffusers' autoencoder as vae/. Name the preset.",
        read=read_authors,
        write=write_authors,
    ),
    "diffusers": DIFFUSERS,
}
