"""Weights that come with the package: `<room>/weights/<preset>.safetensors`, with a card beside them.

The card `<preset>.json` says how they were made, so that anyone can make them again; its SHA-256 ties it to the file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from bottega.errors import FileError, RequestError
from bottega.weights.atomic import write_text
from bottega.weights.configs import decode_config, encode_config
from bottega.weights.files import read_json
from bottega.weights.native import weights_hash


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightsCard:
    """How bundled weights were made and what they reach.

    Args:
        command: The command that made them.
        seed: Its seed.
        seconds: How long training took.
        steps: Optimiser steps in all.
        hardware: What it ran on, such as "2 CPU cores" or "one H200".
        metrics: Measured figures by name, each baseline and control under a name of its own.
        sha256: The SHA-256 of the weights file.
        notes: Anything else that a reader should know.
    """

    command: str
    seed: int
    seconds: float
    steps: int
    hardware: str
    metrics: dict[str, float]
    sha256: str
    notes: str = ""

    def __post_init__(self) -> None:
        if len(self.sha256) != 64 or set(self.sha256) - set("0123456789abcdef"):
            raise RequestError.of("sha256", self.sha256, "64 hexadecimal digits")


def bundled_path(room: Path, preset: str) -> Path:
    """Where a room's bundled weights lie.

    Args:
        room: The room's folder.
        preset: The preset's name.
    """
    return room / "weights" / f"{preset}.safetensors"


def card_path(weights: Path) -> Path:
    """The card beside a weights file."""
    return weights.with_suffix(".json")


def read_card(path: Path) -> WeightsCard:
    """Reads a card.

    Raises:
        FileError: Missing, not JSON, or not a card.
    """
    try:
        return decode_config(WeightsCard, read_json(path))
    except RequestError as error:
        raise FileError(f"{path} is not a card of weights: {error}") from error


def write_card(path: Path, card: WeightsCard) -> None:
    """Writes a card, atomically.

    Raises:
        FileError: It cannot be written.
    """
    write_text(path, json.dumps(encode_config(card), indent=2, ensure_ascii=False) + "\n")


def verify(weights: Path) -> WeightsCard:
    """Reads the card beside a weights file and checks that it belongs to these very bytes.

    Raises:
        FileError: No weights, no card, or a file other than the one that the card describes.
    """
    actual = weights_hash(weights)
    card = read_card(card_path(weights))
    if card.sha256 != actual:
        raise FileError(f"{weights} has SHA-256 {actual}, but its card says {card.sha256}; install bottega again")
    return card
