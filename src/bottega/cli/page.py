"""The page of the tour: self-contained HTML, pictures inside it, no script, no request to anywhere."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bottega import __version__
from bottega.catalog import Case, Ready
from bottega.cli.wording import count_text, time_text
from bottega.room import Card, Result

STYLE = """
:root { color-scheme: light dark; --ink: #28261f; --soft: #6d6a60; --paper: #faf9f6; --line: #dedbd2 }
@media (prefers-color-scheme: dark) { :root { --ink: #eceae3; --soft: #a5a295; --paper: #1b1a17; --line: #3a3832 } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto;
  max-width: 70rem; padding: 2rem 1.5rem }
h1 { font-weight: 650; margin: 0 } h2 { margin: 3rem 0 .2rem; border-top: 1px solid var(--line); padding-top: 2rem }
h3 { margin: 2rem 0 .5rem } p { margin: .2rem 0 } .soft { color: var(--soft); font-size: .9rem }
.items { display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-start }
figure { margin: 0; width: 11rem } figure img { width: 100%; border-radius: 6px; image-rendering: auto; display: block }
figcaption { font-size: .9rem; overflow-wrap: anywhere; padding-top: .3rem }
.input img { outline: 2px solid var(--soft); outline-offset: 2px } code { font-size: .85rem; overflow-wrap: anywhere }
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """One case that was run.

    Args:
        system: Catalogue id.
        card: The system's card.
        ready: The loaded system.
        case: What was asked.
        result: What came.
        seconds: How long it took.
        picture: The picture that went in, or None.
    """

    system: str
    card: Card
    ready: Ready
    case: Case
    result: Result
    seconds: float
    picture: Path | None


def page(shown: Sequence[Shown], *, seconds: float) -> str:
    """The page as HTML."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>bottega: a tour</title><style>{STYLE}</style><h1>bottega</h1>",
        f"<p>Every system with bundled weights, run on this machine in {time_text(seconds)}.</p>",
        f"<p class=soft>bottega {html.escape(__version__)}</p>",
    ]
    system = None
    for each in shown:
        if each.system != system:
            parts.append(_heading(each))
            system = each.system
        parts.append(_case(each))
    return "\n".join([*parts, "</html>\n"])


def _heading(each: Shown) -> str:
    count = sum(parameter.numel() for parameter in each.ready.model.parameters())
    weights = f"{each.ready.preset}, {count_text(count)} parameters, SHA-256 {each.ready.weights.sha256[:12]}"
    return (
        f"<h2>{html.escape(each.card.title)}</h2><p>{html.escape(each.card.sentence)}</p>"
        f"<p class=soft>{html.escape(each.card.citation)}. Weights: {html.escape(weights)}.</p>"
    )


def _case(each: Shown) -> str:
    settings = ", ".join(f"{name} {value}" for name, value in _settings(each).items())
    figures = [] if each.picture is None else [_figure(_file_picture(each.picture), "given", given=True)]
    items, words = each.result.items(), _words(each)
    if any(isinstance(item, np.ndarray) for item in items):
        figures += [_figure(item, text) for item, text in zip(items, words, strict=True)]
    else:
        figures += [f"<figure><figcaption>{html.escape(text)}</figcaption></figure>" for text in map(str, items)]
    return (
        f"<h3>{html.escape(each.case.title)}</h3><div class=items>{''.join(figures)}</div>"
        f"<p class=soft>{time_text(each.seconds)}; seed {each.result.seed}; {html.escape(settings)}</p>"
        f"<p class=soft><code>{html.escape(_command(each))}</code></p>"
    )


def _words(each: Shown) -> list[str]:
    """The captions of the pictures, as many as there are pictures."""
    captions = each.result.arrays().get("captions")
    return [str(text) for text in captions] if captions is not None else [""] * len(each.result.items())


def _settings(each: Shown) -> dict[str, object]:
    """The request as sent, without its inputs."""
    from bottega.weights import encode_config

    encoded = encode_config(each.case.request)
    return {name: value for name, value in encoded.items() if name not in ("type", "inputs", "mode", "seed")}


def _command(each: Shown) -> str:
    """What makes the same on the command line."""
    mode = f" --mode {each.case.title}" if each.case.title != "run" else ""
    if each.picture is not None:
        return f"bottega run {each.system} {each.picture.name}{mode}"
    inputs = "".join(f' "{text}"' for text in each.case.request.inputs) if each.case.reads == "words" else ""
    return f"bottega run {each.system}{inputs}{mode}"


def _figure(picture: np.ndarray, text: str, *, given: bool = False) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    kind = " class=input" if given else ""
    name = html.escape(text, quote=True)
    image = f'<img src="data:image/png;base64,{data}" alt="{name}">'
    return f"<figure{kind}>{image}<figcaption>{name}</figcaption></figure>"


def _file_picture(path: Path) -> np.ndarray:
    """The picture that was given, upright and small enough for a page."""
    from PIL import Image

    from bottega.data import read_picture

    image = Image.fromarray(read_picture(path))
    image.thumbnail((512, 512))
    return np.asarray(image)
