"""The draft as transformers' folders hold it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from bottega.networks import read_llama_hf, write_llama_hf
from bottega.room import Checkpoint, CheckpointFormat
from bottega.systems.language.speculative.config import PUBLISHED, SpeculativeConfig
from bottega.weights import add_prefix, take_prefix


def read_hf(path: Path, config: SpeculativeConfig | None) -> Checkpoint:
    """Reads a folder of a `LlamaForCausalLM` that drafts; its target is that of `config`, or Vicuna's size.

    Raises:
        FileError: A file is missing or damaged.
        WeightsError: Another architecture, or keys that do not fit.
    """
    draft, tensors = read_llama_hf(path)
    return Checkpoint(config=replace(config or PUBLISHED, draft=draft), tensors=add_prefix(tensors, "draft"))


def write_hf(checkpoint: Checkpoint, path: Path) -> None:
    """Writes a folder that transformers opens as an assistant model."""
    write_llama_hf(path, checkpoint.config.draft, take_prefix(checkpoint.tensors, "draft"))


FORMATS: Final = {
    "hf": CheckpointFormat(
        description="transformers' LlamaForCausalLM, as JackFram/llama-160m is published: config.json and the weights "
        "of the draft. Its tokenizer is the target's.",
        read=read_hf,
        write=write_hf,
    ),
}
"""Published layouts by name."""
