"""`bottega info ID`: one system."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from rich.markup import escape

from bottega.catalog import Catalog, Info
from bottega.cli.arguments import parse, take_system
from bottega.cli.listing import as_json
from bottega.cli.screen import output
from bottega.cli.wording import bytes_text


@dataclass(frozen=True, kw_only=True, slots=True)
class InfoOptions:
    """Says what a system is, its paper, licence, deviations, sizes, formats and bundled weights.

    Args:
        json: Print JSON for machines.
    """

    json: bool = False


def main(arguments: list[str], rooms: Catalog) -> int:
    """Prints the card."""
    system_id, rest = take_system(arguments, "bottega info", rooms)
    options = parse(InfoOptions, rest, f"bottega info {system_id}")
    info, weights = rooms.info(system_id), _weights(system_id, rooms)
    if options.json:
        print(json.dumps({**as_json(info), "weights": weights}, indent=2, ensure_ascii=False))
        return 0
    console = output()
    for line in (*_about(info), *_sizes(info), *_weights_lines(info, weights), *_verbs(info)):
        console.print(line, soft_wrap=True)
    return 0


def _about(info: Info) -> list[str]:
    card = info.card
    lines = [f"[bold]{escape(card.title)}[/bold]  ({info.family}/{info.id})", escape(card.sentence), ""]
    lines.append(f"paper      {escape(card.citation)}")
    lines += [f"           https://arxiv.org/abs/{paper}" for paper in card.papers]
    lines += [f"equal to   {escape(card.peer)}", f"licence    {escape(card.licence)}"]
    lines += [f"missing    {escape(text)}" for text in card.missing]
    lines += [f"differs    {escape(text)}" for text in card.deviations]
    return lines


def _sizes(info: Info) -> list[str]:
    rows = [f"  {name:<12} {preset.parameters:>15,}  {escape(preset.source)}" for name, preset in info.presets.items()]
    return ["", "sizes (parameters)", *rows]


def _weights_lines(info: Info, weights: dict[str, Any] | None) -> list[str]:
    formats = [f"  {name:<12} {escape(text)}" for name, text in {"native": "bottega's own", **info.formats}.items()]
    if weights is None:
        return ["", "formats", *formats, "", "bundled weights: none"]
    lines = ["", "formats", *formats, "", f"bundled weights: {info.bundled}, {bytes_text(weights['bytes'])}"]
    card = weights["card"]
    if card is not None:
        lines += [f"  made by    {escape(card['command'])}", f"  on         {escape(card['hardware'])}"]
        lines += [f"  {name:<24} {value:.4g}" for name, value in card["metrics"].items()]
    return lines


def _verbs(info: Info) -> list[str]:
    return ["", f"verbs      {', '.join(info.verbs)}", f"try        bottega run {info.id} --help"]


def _weights(system_id: str, rooms: Catalog) -> dict[str, Any] | None:
    """Size and card of the bundled weights."""
    from bottega.weights import bundled_path, card_path, encode_config, read_card

    bundled = rooms.get(system_id).bundled
    path = None if bundled is None else bundled_path(rooms.folder(system_id), bundled)
    if path is None or not path.is_file():
        return None
    card = card_path(path)
    return {"bytes": path.stat().st_size, "card": encode_config(read_card(card)) if card.is_file() else None}
