"""Adapters in peft's folders: `adapter_config.json` beside `adapter_model.safetensors`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from torch import Tensor, nn

from bottega.errors import FileError, WeightsError
from bottega.layers import Lora, LoraConfig, LoraPart, linear_of, lora_key
from bottega.weights import first_file, read_json, read_tensors, write_tensors, write_text

SETTINGS, TENSORS = "adapter_config.json", "adapter_model.safetensors"
LAYER: Final = re.compile(r"layers\.(\d+)\.")
PREFIX: Final = "base_model.model."
REFUSED: Final = {
    "use_dora": (False, "DoRA's magnitudes are not computed here"),
    "fan_in_fan_out": (False, "the layers are plain linear layers"),
    "modules_to_save": (None, "whole layers in place of changes are not read"),
    "bias": ("none", "the layers have no biases"),
    "lora_bias": (False, "the changes have no biases"),
    "rank_pattern": ({}, "all layers have one rank"),
    "alpha_pattern": ({}, "all layers have one alpha"),
    "trainable_token_indices": (None, "embeddings are not changed"),
    "alora_invocation_tokens": (None, "the adapter is always on"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class PeftAdapter:
    """An adapter as a folder holds it.

    Args:
        config: Its size.
        peers: The layers that it changes, by the published model's names.
        tensors: By our names of the factors.
        base: The model that it belongs to, as the folder says it: a folder, a name on the hub, or "".
    """

    config: LoraConfig
    peers: frozenset[str]
    tensors: dict[str, Tensor]
    base: str

    def onto(self, model: nn.Module, parts: Sequence[LoraPart]) -> Lora:
        """The adapter of a model whose possible parts are `parts`.

        Raises:
            WeightsError: It changes layers that the model does not have, or of another shape.
        """
        chosen = [part for part in parts if part.peer in self.peers]
        if len(chosen) < len(self.peers):
            strange = sorted(self.peers - {part.peer for part in chosen})
            raise WeightsError(f"the adapter changes {strange[0]}, which this model does not have")
        lora = Lora({part.layer: linear_of(model, part.layer) for part in chosen}, chosen, self.config)
        own = {name: tuple(value.shape) for name, value in lora.state_dict().items()}
        wrong = [name for name, value in self.tensors.items() if own.get(name) != tuple(value.shape)]
        if wrong:
            raise WeightsError(f"the adapter's {wrong[0]} has another shape than the model; take its own base model")
        lora.load_state_dict(self.tensors)
        return lora


def read_peft(folder: Path) -> PeftAdapter:
    """Reads an adapter.

    Raises:
        FileError: A file is missing or damaged, or the folder holds another kind of adapter.
        WeightsError: Factors without their partner.
    """
    settings = read_json(first_file(folder, (SETTINGS,)))
    if settings.get("peft_type") != "LORA":
        raise FileError(f"{folder} holds an adapter of type {settings.get('peft_type')!r}; LORA can be read")
    for name, (usual, why) in REFUSED.items():
        if settings.get(name) not in (None, usual):
            raise FileError(f"{folder / SETTINGS} has {name} {settings[name]!r}, which cannot be read: {why}")
    tensors, peers = {}, set()
    for key, value in read_tensors(folder / TENSORS).items():
        peer, found, kind = key.removeprefix(PREFIX).removesuffix(".weight").rpartition(".lora_")
        if not found or kind not in ("A", "B"):
            raise FileError(f"{folder / TENSORS} has {key}, which is no factor of a linear layer")
        tensors[f"factors.{lora_key(peer)}.{kind.lower()}"] = value
        peers.add(peer)
    if len(tensors) != 2 * len(peers):
        raise WeightsError(f"{folder / TENSORS} has {len(tensors)} factors for {len(peers)} layers; each needs two")
    config = LoraConfig(
        rank=settings["r"], alpha=float(settings["lora_alpha"]), dropout=float(settings.get("lora_dropout", 0.0)),
        root=bool(settings.get("use_rslora", False)),
    )  # fmt: skip
    return PeftAdapter(
        config=config, peers=frozenset(peers), tensors=tensors, base=settings.get("base_model_name_or_path") or ""
    )


def write_peft(folder: Path, adapter: Lora, *, base: str = "", tensors: Mapping[str, Tensor] | None = None) -> None:
    """Writes an adapter so that peft opens it.

    Args:
        folder: Made when it is missing.
        adapter: The adapter.
        base: Where its base model is, for `PeftModel.from_pretrained`.
        tensors: Its state where that is not the adapter's own (which may be on "meta").
    """
    state = adapter.state_dict() if tensors is None else tensors
    written: dict[str, Tensor] = {}
    for part in adapter.parts:
        for kind in "ab":
            value = state[f"factors.{lora_key(part.peer)}.{kind}"]
            written[f"{PREFIX}{part.peer}.lora_{kind.upper()}.weight"] = value.contiguous()
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / TENSORS, written, {"format": "pt"})
    write_text(folder / SETTINGS, json.dumps(_settings(adapter, base), indent=2) + "\n")


def _settings(adapter: Lora, base: str) -> dict[str, Any]:
    config = adapter.config
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base or None,
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "use_rslora": config.root,
        "target_modules": sorted({part.peer.rpartition(".")[2] for part in adapter.parts}),
        "layers_to_transform": sorted({int(number) for part in adapter.parts for number in LAYER.findall(part.peer)}),
        "inference_mode": True,
        **{name: usual for name, (usual, _) in REFUSED.items()},
    }
