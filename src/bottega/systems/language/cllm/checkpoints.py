"""The tuned model as transformers' folders hold it, which is how its authors publish it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from bottega.networks import read_llama_hf, write_llama_hf
from bottega.room import Checkpoint, CheckpointFormat
from bottega.systems.language.cllm.config import PUBLISHED, CllmConfig
from bottega.weights import add_prefix, take_prefix


def read_hf(path: Path, config: CllmConfig | None) -> Checkpoint:
    """Reads a folder of a tuned `LlamaForCausalLM`; the rest of its configuration is `config`'s, or the published one.

    Raises:
        FileError: A file is missing or damaged.
        WeightsError: Another architecture, or keys that do not fit.
    """
    network, tensors = read_llama_hf(path)
    found = replace(PUBLISHED if config is None else config, network=network)
    return Checkpoint(config=found, tensors=add_prefix(tensors, "student"))


def write_hf(checkpoint: Checkpoint, path: Path) -> None:
    """Writes a folder that transformers opens."""
    write_llama_hf(path, checkpoint.config.network, take_prefix(checkpoint.tensors, "student"))


FORMATS: Final = {
    "hf": CheckpointFormat(
        description="transformers' LlamaForCausalLM, as the authors publish cllm/consistency-llm-7b-*: config.json and "
        "the weights. The tokenizer is the target's.",
        read=read_hf,
        write=write_hf,
    ),
}
"""Published layouts by name."""
