"""U-ViT in the files that its authors publish: bare state dicts, one for each part."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from bottega.errors import FileError, RequestError
from bottega.networks import WHOLE_CLIP_TEXT_KEYS, clip_text_json, compvis_autoencoder_keys
from bottega.room import Checkpoint, CheckpointFormat
from bottega.systems.diffusion.uvit.config import ClassCondition, TextCondition, UVitConfig
from bottega.tokenizers import read_tokenizer_folder, write_tokenizer_folder
from bottega.weights import (
    KeyTable,
    Rename,
    Reshape,
    add_prefix,
    first_file,
    read_folder_tensors,
    read_tensors,
    take_prefix,
    to_ours,
    to_theirs,
    write_folder,
    write_tensors,
)


def _block(ours: str, theirs: str) -> KeyTable:
    return (
        Rename(f"{ours}.attention.{{rest}}", f"{theirs}.attn.{{rest}}"),
        *(Rename(f"{ours}.{part}.{{rest}}", f"{theirs}.{part}.{{rest}}") for part in ("norm1", "norm2", "mlp")),
    )


def _condition(config: UVitConfig) -> KeyTable:
    match config.condition:
        case ClassCondition():
            return (Rename("class_embed.weight", "label_emb.weight"),)
        case TextCondition():
            return (Rename("text_embed.{rest}", "context_embed.{rest}"),)
    return ()


def network_table(config: UVitConfig) -> KeyTable:
    """The noise predictor against `libs/uvit.py` and `libs/uvit_t2i.py`."""
    width, tokens = config.trunk.width, config.extra_tokens + config.rows**2
    skips = Rename("trunk.skips.{i}.linear.{rest}", "out_blocks.{i}.skip_linear.{rest}")
    return (
        Rename("pos_embed", "pos_embed", change=Reshape((tokens, width), (1, tokens, width))),
        Rename("patch_embed.proj.{rest}", "patch_embed.proj.{rest}"),
        *((Rename("time_embed.{rest}", "time_embed.{rest}"),) if config.time_mlp else ()),
        *_condition(config),
        *_block("trunk.in_blocks.{i}", "in_blocks.{i}"),
        *_block("trunk.mid_block", "mid_block"),
        *_block("trunk.out_blocks.{i}", "out_blocks.{i}"),
        *((skips,) if config.trunk.long_skips else ()),
        Rename("trunk.norm.{rest}", "norm.{rest}"),
        Rename("head.{rest}", "decoder_pred.{rest}"),
        *((Rename("final_conv.{rest}", "final_layer.{rest}"),) if config.final_conv else ()),
    )


NETWORK_FILES = ("nnet_ema.pth", "nnet_ema.safetensors", "nnet.pth", "nnet.safetensors")
AUTOENCODER_FILES = ("autoencoder_kl_ema.pth", "autoencoder_kl.pth", "autoencoder_kl.safetensors")


def read_authors(path: Path, config: UVitConfig | None) -> Checkpoint:
    """Reads a published file, or a folder with the files of all parts.

    Raises:
        RequestError: No size was named; the files do not say it.
        FileError: A file is missing or damaged.
        WeightsError: The keys or shapes do not fit the size.
    """
    if config is None:
        raise RequestError("the authors' files do not say which size they hold; name one with --preset")
    if config.autoencoder is None:
        network = read_tensors(first_file(path, NETWORK_FILES) if path.is_dir() else path)
        return Checkpoint(config=config, tensors=add_prefix(to_ours(network_table(config), network), "network"))
    if not path.is_dir():
        raise FileError(f"{path} must be a folder for this size: put {_parts(config)} into one")
    network = read_tensors(first_file(path, NETWORK_FILES))
    tensors = add_prefix(to_ours(network_table(config), network), "network")
    latents = to_ours(compvis_autoencoder_keys(config.autoencoder), read_tensors(first_file(path, AUTOENCODER_FILES)))
    tensors |= add_prefix(latents, "autoencoder")
    if config.text is None:
        return Checkpoint(config=config, tensors=tensors)
    tensors |= add_prefix(to_ours(WHOLE_CLIP_TEXT_KEYS, read_folder_tensors(path / "clip")), "text")
    return Checkpoint(
        config=config, tensors=tensors, assets={"tokenizer": read_tokenizer_folder(path / "clip").to_json()}
    )


def write_authors(checkpoint: Checkpoint, path: Path) -> None:
    """Writes the same files under the same keys, as safetensors: a file, or a folder for sizes with an autoencoder."""
    config: UVitConfig = checkpoint.config
    network = to_theirs(network_table(config), take_prefix(checkpoint.tensors, "network"))
    if config.autoencoder is None:
        write_tensors(path, network)
        return
    path.mkdir(parents=True, exist_ok=True)
    write_tensors(path / "nnet_ema.safetensors", network)
    latents: dict[str, Tensor] = take_prefix(checkpoint.tensors, "autoencoder")
    write_tensors(path / "autoencoder_kl.safetensors", to_theirs(compvis_autoencoder_keys(config.autoencoder), latents))
    if config.text is not None:
        theirs = to_theirs(WHOLE_CLIP_TEXT_KEYS, take_prefix(checkpoint.tensors, "text"))
        write_folder(path / "clip", clip_text_json(config.text), theirs, name="model.safetensors")
        if "tokenizer" in checkpoint.assets:
            write_tokenizer_folder(path / "clip", checkpoint.assets["tokenizer"], "CLIPTokenizer", config.text.context)


def _parts(config: UVitConfig) -> str:
    clip = " and clip/ (the folder of openai/clip-vit-large-patch14)" if config.text is not None else ""
    return f"the published file as nnet_ema.pth, autoencoder_kl.pth{clip}"


FORMATS = {
    "authors": CheckpointFormat(
        description="The files of baofff/U-ViT: one .pth of the noise predictor; for the latent sizes a folder with it "
        "as nnet_ema.pth, with autoencoder_kl.pth and, for texts, clip/. Name the preset.",
        read=read_authors,
        write=write_authors,
    ),
}
