"""UniDiffuser in two folder layouts: that of diffusers, a folder a part; and the files of its authors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from bottega.errors import FileError, WeightsError
from bottega.networks import (
    AUTOENCODER_KL_KEYS,
    CAPTION_DECODER_KEYS,
    CLIP_TEXT_KEYS,
    CLIP_VISION_KEYS,
    GPT2_KEYS,
    WHOLE_CLIP_TEXT_KEYS,
    WHOLE_CLIP_VISION_KEYS,
    BlockNorm,
    CaptionDecoderConfig,
    UVitTrunkConfig,
    autoencoder_kl_config,
    autoencoder_kl_json,
    clip_text_config,
    clip_text_json,
    clip_vision_config,
    clip_vision_json,
    compvis_autoencoder_keys,
    gpt2_config,
    gpt2_json,
)
from bottega.processes.diffusion import Epsilon, V
from bottega.room import Checkpoint, CheckpointFormat
from bottega.systems.diffusion.unidiffuser.config import PRESETS, JointUVitConfig, UniDiffuserConfig
from bottega.tokenizers import BpeTokenizer, read_tokenizer_folder, write_tokenizer_folder
from bottega.weights import (
    Drop,
    Fuse,
    KeyTable,
    Rename,
    Reshape,
    add_prefix,
    first_file,
    nested,
    read_folder_config,
    read_folder_tensors,
    read_json,
    read_tensors,
    take_prefix,
    to_ours,
    to_theirs,
    write_folder,
    write_tensors,
    write_text,
)


def _block(ours: str, theirs: str) -> KeyTable:
    return (
        Fuse(f"{ours}.attention.qkv.weight", tuple(f"{theirs}.attn1.to_{part}.weight" for part in "qkv")),
        Rename(f"{ours}.attention.proj.{{rest}}", f"{theirs}.attn1.to_out.0.{{rest}}"),
        Rename(f"{ours}.norm1.{{rest}}", f"{theirs}.norm1.{{rest}}"),
        Rename(f"{ours}.norm2.{{rest}}", f"{theirs}.norm3.{{rest}}"),
        Rename(f"{ours}.mlp.fc1.{{rest}}", f"{theirs}.ff.net.0.proj.{{rest}}"),
        Rename(f"{ours}.mlp.fc2.{{rest}}", f"{theirs}.ff.net.2.{{rest}}"),
    )


def _unused_patch_embed(ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        f"transformer.pos_embed.proj.{kind}": ours[f"patch_embed.proj.{kind}"].clone() for kind in ("weight", "bias")
    }


def joint_table(config: JointUVitConfig) -> KeyTable:
    """The joint noise predictor against diffusers' UniDiffuserModel."""
    width = config.trunk.width
    tokens = 2 + config.text_tokens + 1 + config.patches
    data_type: KeyTable = (
        Rename("data_type_embed.weight", "data_type_token_embedding.weight"),
        Rename("data_type_pos_embed", "data_type_pos_embed_token", change=Reshape((width,), (1, 1, width))),
    )
    return (
        Rename("pos_embed", "pos_embed", change=Reshape((tokens, width), (1, tokens, width))),
        *(data_type if config.data_type else ()),
        Rename("patch_embed.{rest}", "vae_img_in.{rest}"),
        Rename("picture_embed.{rest}", "clip_img_in.{rest}"),
        Rename("text_embed.{rest}", "text_in.{rest}"),
        *_block("trunk.in_blocks.{i}", "transformer.transformer_in_blocks.{i}"),
        *_block("trunk.mid_block", "transformer.transformer_mid_block"),
        Rename("trunk.skips.{i}.linear.{rest}", "transformer.transformer_out_blocks.{i}.skip.skip_linear.{rest}"),
        Rename("trunk.skips.{i}.norm.{rest}", "transformer.transformer_out_blocks.{i}.skip.norm.{rest}"),
        *_block("trunk.out_blocks.{i}", "transformer.transformer_out_blocks.{i}.block"),
        Rename("trunk.norm.{rest}", "transformer.norm_out.{rest}"),
        Rename("latent_out.{rest}", "vae_img_out.{rest}"),
        Rename("picture_out.{rest}", "clip_img_out.{rest}"),
        Rename("text_out.{rest}", "text_out.{rest}"),
        Drop("transformer.pos_embed.proj.{rest}", "a second patch embedding that is never called",
             make=_unused_patch_embed, optional=True),
    )  # fmt: skip


PREDICTIONS = {"epsilon": Epsilon(), "v_prediction": V()}
"""What diffusers' schedulers call the outputs of a network."""


def joint_config(theirs: Mapping[str, Any], scheduler: Mapping[str, Any]) -> JointUVitConfig:
    """Our configuration for diffusers' configurations of a UniDiffuserModel and of its scheduler.

    Raises:
        WeightsError: For a variant that UniDiffuser never published.
    """
    expected = {"block_type": "unidiffuser", "pre_layer_norm": False, "use_timestep_embedding": False,
                "activation_fn": "gelu", "cross_attention_dim": None}  # fmt: skip
    for name, value in expected.items():
        if theirs.get(name, value) != value:
            raise WeightsError(f"unet/config.json has {name} {theirs[name]!r}, but only {value!r} is known here")
    kind = scheduler.get("prediction_type", "epsilon")
    if kind not in PREDICTIONS:
        raise WeightsError(f"the scheduler's prediction_type is {kind!r}, but only {', '.join(PREDICTIONS)} are known")
    heads = theirs["num_attention_heads"]
    trunk = UVitTrunkConfig(
        width=heads * theirs["attention_head_dim"],
        depth=theirs["num_layers"],
        num_heads=heads,
        qkv_bias=theirs.get("attention_bias", False),
        norm=BlockNorm.POST,
    )
    return JointUVitConfig(
        trunk=trunk,
        latent_size=theirs["sample_size"],
        latent_channels=theirs["in_channels"],
        patch_size=theirs["patch_size"],
        picture_dim=theirs["clip_img_dim"],
        text_tokens=theirs["num_text_tokens"],
        text_dim=theirs["text_dim"],
        data_type=theirs.get("use_data_type_embedding", False),
        prediction=PREDICTIONS[kind],
    )


def joint_json(config: JointUVitConfig) -> dict[str, Any]:
    """Diffusers' `config.json` for our configuration.

    Raises:
        WeightsError: For a trunk that diffusers has no layout for.
    """
    trunk = config.trunk
    if trunk.norm is not BlockNorm.POST or not trunk.long_skips or trunk.qkv_bias:
        raise WeightsError("diffusers' UniDiffuserModel has post-norm blocks with long skips and no bias only")
    return {
        "_class_name": "UniDiffuserModel",
        "activation_fn": "gelu",
        "attention_head_dim": trunk.width // trunk.num_heads,
        "block_type": "unidiffuser",
        "clip_img_dim": config.picture_dim,
        "in_channels": config.latent_channels,
        "num_attention_heads": trunk.num_heads,
        "num_layers": trunk.depth,
        "num_text_tokens": config.text_tokens,
        "out_channels": config.latent_channels,
        "patch_size": config.patch_size,
        "pre_layer_norm": False,
        "sample_size": config.latent_size,
        "text_dim": config.text_dim,
        "use_data_type_embedding": config.data_type,
        "use_timestep_embedding": False,
    }


ENDINGS = ("pth", "safetensors")

PARTS = {"joint": "unet", "autoencoder": "vae", "text": "text_encoder", "vision": "image_encoder",
         "caption": "text_decoder"}  # fmt: skip
"""Our parts and their folders."""

MODEL_INDEX = {
    "_class_name": "UniDiffuserPipeline",
    "clip_image_processor": ["transformers", "CLIPImageProcessor"],
    "clip_tokenizer": ["transformers", "CLIPTokenizer"],
    "image_encoder": ["transformers", "CLIPVisionModelWithProjection"],
    "scheduler": ["diffusers", "DPMSolverMultistepScheduler"],
    "text_decoder": ["unidiffuser", "UniDiffuserTextDecoder"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "text_tokenizer": ["transformers", "GPT2Tokenizer"],
    "unet": ["unidiffuser", "UniDiffuserModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}

SCHEDULER = {
    "_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "dpmsolver++", "beta_end": 0.012,
    "beta_schedule": "scaled_linear", "beta_start": 0.00085, "num_train_timesteps": 1000,
    "solver_order": 3, "solver_type": "midpoint", "lower_order_final": True,
}  # fmt: skip


def tables(config: UniDiffuserConfig) -> dict[str, KeyTable]:
    """The key table of every part."""
    return {
        "joint": joint_table(config.joint),
        "autoencoder": AUTOENCODER_KL_KEYS,
        "text": CLIP_TEXT_KEYS,
        "vision": CLIP_VISION_KEYS,
        "caption": CAPTION_DECODER_KEYS,
    }


def read_diffusers(path: Path, config: UniDiffuserConfig | None) -> Checkpoint:
    """Reads the folder layout. It carries its own configuration; one that is given must agree with it.

    Raises:
        FileError: A part is missing or damaged.
        WeightsError: A part is of a variant that is not UniDiffuser's, or its keys do not fit.
    """
    read_folder_config(path, "model_index.json")
    assets = {
        "text_tokenizer": read_tokenizer_folder(path / "clip_tokenizer").to_json(),
        "caption_tokenizer": read_tokenizer_folder(path / "text_tokenizer").to_json(),
    }
    found = _read_config(path, json.loads(assets["text_tokenizer"])["special"]["end"])
    if config is not None and config != found:
        raise FileError(f"{path} holds another size than the preset that was asked for; leave the preset out")
    tensors: dict[str, Tensor] = {}
    for part, table in tables(found).items():
        theirs = read_folder_tensors(path / PARTS[part])
        tensors |= add_prefix(to_ours(table, theirs), part)
    return Checkpoint(config=found, tensors=tensors, assets=assets)


def _read_config(path: Path, end_token: int) -> UniDiffuserConfig:
    theirs = {part: read_folder_config(path / folder) for part, folder in PARTS.items()}
    caption = theirs["caption"]
    scheduler = read_folder_config(path / "scheduler", "scheduler_config.json")
    return UniDiffuserConfig(
        joint=joint_config(theirs["joint"], scheduler),
        autoencoder=autoencoder_kl_config(theirs["autoencoder"]),
        text=clip_text_config(theirs["text"], end_token),
        vision=clip_vision_config(theirs["vision"]),
        caption=CaptionDecoderConfig(
            prefix_length=caption["prefix_length"],
            prefix_dim=caption["prefix_inner_dim"],
            hidden_dim=caption["prefix_hidden_dim"],
            gpt2=gpt2_config(caption),
        ),
    )


def write_diffusers(checkpoint: Checkpoint, path: Path) -> None:
    """Writes the folder layout, so that diffusers' UniDiffuserPipeline opens it."""
    config: UniDiffuserConfig = checkpoint.config
    caption = config.caption
    configs = {
        "joint": joint_json(config.joint),
        "autoencoder": autoencoder_kl_json(config.autoencoder, config.picture_size),
        "text": clip_text_json(config.text),
        "vision": clip_vision_json(config.vision),
        "caption": {
            "_class_name": "UniDiffuserTextDecoder",
            "prefix_hidden_dim": caption.hidden_dim,
            "prefix_inner_dim": caption.prefix_dim,
            "prefix_length": caption.prefix_length,
            **gpt2_json(caption.gpt2),
        },
    }
    for part, table in tables(config).items():
        name = "model.safetensors" if part in ("text", "vision") else "diffusion_pytorch_model.safetensors"
        theirs = to_theirs(table, take_prefix(checkpoint.tensors, part))
        write_folder(path / PARTS[part], configs[part], theirs, name=name)
    text = checkpoint.assets["text_tokenizer"]
    write_tokenizer_folder(path / "clip_tokenizer", text, "CLIPTokenizer", config.text.context)
    caption_text = checkpoint.assets.get("caption_tokenizer", text)
    write_tokenizer_folder(path / "text_tokenizer", caption_text, "GPT2Tokenizer", caption.gpt2.context)
    size = config.vision.size
    processor = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": size},
                 "crop_size": {"height": size, "width": size}, "resample": 3}  # fmt: skip
    kind = next(name for name, known in PREDICTIONS.items() if known == config.joint.prediction)
    for name, value in (
        ("clip_image_processor/preprocessor_config.json", processor),
        ("scheduler/scheduler_config.json", {**SCHEDULER, "prediction_type": kind}),
        ("model_index.json", MODEL_INDEX),
    ):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        write_text(path / name, json.dumps(value, indent=2) + "\n")


def _authors_block(ours: str, theirs: str) -> KeyTable:
    return (
        Rename(f"{ours}.attention.{{rest}}", f"{theirs}.attn.{{rest}}"),
        Rename(f"{ours}.norm1.{{rest}}", f"{theirs}.norm2.{{rest}}"),
        Rename(f"{ours}.norm2.{{rest}}", f"{theirs}.norm3.{{rest}}"),
        Rename(f"{ours}.mlp.{{rest}}", f"{theirs}.mlp.{{rest}}"),
    )


def authors_joint_table(config: JointUVitConfig) -> KeyTable:
    """The joint noise predictor against `libs/uvit_multi_post_ln.py` and `libs/uvit_multi_post_ln_v1.py`."""
    width = config.trunk.width
    tokens = 2 + config.text_tokens + 1 + config.patches
    data_type: KeyTable = (
        Rename("data_type_embed.weight", "token_embedding.weight"),
        Rename("data_type_pos_embed", "pos_embed_token", change=Reshape((width,), (1, 1, width))),
    )
    return (
        Rename("pos_embed", "pos_embed", change=Reshape((tokens, width), (1, tokens, width))),
        *(data_type if config.data_type else ()),
        Rename("patch_embed.{rest}", "patch_embed.{rest}"),
        Rename("picture_embed.{rest}", "clip_img_embed.{rest}"),
        Rename("text_embed.{rest}", "text_embed.{rest}"),
        *_authors_block("trunk.in_blocks.{i}", "in_blocks.{i}"),
        *_authors_block("trunk.mid_block", "mid_block"),
        Rename("trunk.skips.{i}.linear.{rest}", "out_blocks.{i}.skip_linear.{rest}"),
        Rename("trunk.skips.{i}.norm.{rest}", "out_blocks.{i}.norm1.{rest}"),
        *_authors_block("trunk.out_blocks.{i}", "out_blocks.{i}"),
        Rename("trunk.norm.{rest}", "norm.{rest}"),
        Rename("latent_out.{rest}", "decoder_pred.{rest}"),
        Rename("picture_out.{rest}", "clip_img_out.{rest}"),
        Rename("text_out.{rest}", "text_out.{rest}"),
    )


AUTHORS_CAPTION_TABLE: KeyTable = (
    Rename("encode_prefix.{rest}", "module.encode_prefix.{rest}"),
    Rename("decode_prefix.{rest}", "module.decode_prefix.{rest}"),
    *nested("gpt2", "module.gpt", GPT2_KEYS),
)
"""`libs/caption_decoder.py`, saved by the wrapper of many GPUs."""

CAPTION_END = "<|EOS|>"
"""The token that the authors add to GPT-2's."""

TEXT_FOLDER, VISION_FOLDER, GPT2_FOLDER = "clip-vit-large-patch14", "clip-vit-base-patch32", "gpt2"
"""Folders of the hub that the authors' code downloads."""


def authors_tables(config: UniDiffuserConfig) -> dict[str, KeyTable]:
    """The key table of every part in the authors' files and the folders that go with them."""
    return {
        "joint": authors_joint_table(config.joint),
        "autoencoder": compvis_autoencoder_keys(config.autoencoder),
        "text": WHOLE_CLIP_TEXT_KEYS,
        "vision": WHOLE_CLIP_VISION_KEYS,
        "caption": AUTHORS_CAPTION_TABLE,
    }


def read_authors(path: Path, config: UniDiffuserConfig | None) -> Checkpoint:
    """Reads a folder of the authors' files, with the folders of CLIP and GPT-2 from the hub beside them.

    The name of the noise predictor's file says which of the two published sizes it is; name the preset for another.

    Raises:
        FileError: A file is missing or damaged.
        WeightsError: The keys or shapes do not fit the size.
    """
    network = first_file(path, tuple(f"uvit_{name}.{ending}" for name in ("v1", "v0") for ending in ENDINGS))
    found = PRESETS[network.stem.removeprefix("uvit_")].config if config is None else config
    caption = read_tensors(first_file(path, tuple(f"caption_decoder.{ending}" for ending in ENDINGS)))
    theirs = {
        "joint": read_tensors(network),
        "autoencoder": read_tensors(first_file(path, tuple(f"autoencoder_kl.{ending}" for ending in ENDINGS))),
        "text": read_folder_tensors(path / TEXT_FOLDER),
        "vision": read_folder_tensors(path / VISION_FOLDER),
        "caption": {key: tensor for key, tensor in caption.items() if not key.startswith("module.clip")},
    }
    tensors: dict[str, Tensor] = {}
    for part, table in authors_tables(found).items():
        tensors |= add_prefix(to_ours(table, theirs[part]), part)
    assets = {
        "text_tokenizer": read_tokenizer_folder(path / TEXT_FOLDER).to_json(),
        "caption_tokenizer": _caption_tokenizer(path / GPT2_FOLDER, found.caption.gpt2.vocabulary).to_json(),
    }
    return Checkpoint(config=found, tensors=tensors, assets=assets)


def _caption_tokenizer(folder: Path, vocabulary: int) -> BpeTokenizer:
    """GPT-2's tokenizer; where the caption decoder knows one token more, that is the end of a caption."""
    if not all((folder / name).is_file() for name in ("vocab.json", "merges.txt")):
        raise FileError(f"{folder} lacks vocab.json or merges.txt; copy GPT-2's tokenizer there")
    known: dict[str, int] = read_json(folder / "vocab.json")
    if len(known) + 1 != vocabulary:
        return read_tokenizer_folder(folder)
    merges = (folder / "merges.txt").read_text("utf-8").splitlines()
    return BpeTokenizer.gpt2(known | {CAPTION_END: len(known)}, merges, end=CAPTION_END)


def write_authors(checkpoint: Checkpoint, path: Path) -> None:
    """Writes the same files and folders under the same keys, as safetensors."""
    config: UniDiffuserConfig = checkpoint.config
    theirs = {
        part: to_theirs(table, take_prefix(checkpoint.tensors, part)) for part, table in authors_tables(config).items()
    }
    path.mkdir(parents=True, exist_ok=True)
    names = {"joint": "uvit_v1" if config.joint.data_type else "uvit_v0", "autoencoder": "autoencoder_kl"}
    for part, name in {**names, "caption": "caption_decoder"}.items():
        write_tensors(path / f"{name}.safetensors", theirs[part])
    write_folder(path / TEXT_FOLDER, clip_text_json(config.text), theirs["text"], name="model.safetensors")
    write_folder(path / VISION_FOLDER, clip_vision_json(config.vision), theirs["vision"], name="model.safetensors")
    text = checkpoint.assets["text_tokenizer"]
    write_tokenizer_folder(path / TEXT_FOLDER, text, "CLIPTokenizer", config.text.context)
    caption = checkpoint.assets.get("caption_tokenizer", text)
    write_tokenizer_folder(path / GPT2_FOLDER, caption, "GPT2Tokenizer", config.caption.gpt2.context)


FORMATS = {
    "diffusers": CheckpointFormat(
        description="A folder with model_index.json and a folder a part, as thu-ml/unidiffuser-v1 on the hub.",
        read=read_diffusers,
        write=write_diffusers,
    ),
    "authors": CheckpointFormat(
        description="The files of thu-ml/unidiffuser in one folder: uvit_v0.pth or uvit_v1.pth, autoencoder_kl.pth and "
        "caption_decoder.pth, beside the hub's clip-vit-large-patch14/, clip-vit-base-patch32/ and gpt2/.",
        read=read_authors,
        write=write_authors,
    ),
}
