"""Writes what the code says into docs/: a page per system, an index, the README's table, and the gallery.

    python scripts/make_docs.py           the gallery, made now with the bundled weights, then pages and table
    python scripts/make_docs.py --only sam eva   the same, with the gallery's pictures of these systems alone
    python scripts/make_docs.py --pages   pages and table only

Everything written here is generated: edit the rooms' cards, docstrings and docs/gallery.toml instead.
"""

from __future__ import annotations

import argparse
import dataclasses
import enum
import shutil
import tempfile
import tomllib
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import docstring_parser

from bottega import catalog
from bottega.weights import bundled_path, card_path, decode_config, read_card

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
START, END = "<!-- systems: written by `make docs` -->", "<!-- end of systems -->"


def main() -> None:
    """Makes the gallery's pictures and writes the pages."""
    parser = argparse.ArgumentParser(description="Writes what the code says into docs/.")
    parser.add_argument("--pages", action="store_true", help="leave the gallery's pictures as they are")
    parser.add_argument("--only", nargs="*", metavar="ID", help="make the gallery's pictures of these systems alone")
    asked = parser.parse_args()
    if not asked.pages:
        make_gallery(asked.only)
    for path, text in pages().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def pages() -> dict[Path, str]:
    """Every generated text by the file that holds it; a test compares them with what is there."""
    written = {DOCS / "systems" / f"{name}.md": system_page(name) for name in catalog.systems()}
    written[DOCS / "index.md"] = index_page()
    written[DOCS / "gallery.md"] = gallery_page()
    readme = ROOT / "README.md"
    written[readme] = with_table(readme.read_text(encoding="utf-8"))
    return written


# ---------------------------------------------------------------------------------------------------------------- pages
def system_page(system_id: str) -> str:
    """The page of one system."""
    info, system = catalog.info(system_id), catalog.get(system_id)
    card = info.card
    lines = [f"# {card.title}", "", card.sentence, "", f"*{card.citation}* {_papers(card.papers)}", ""]
    lines += [f"`bottega run {system_id}` · verbs: {', '.join(info.verbs)} · equal to: {card.peer}", ""]
    lines += ["## Sizes", "", *_table(("preset", "parameters", "source"), _sizes(info)), ""]
    lines += [
        f"## Request: `{system.request.__name__}`",
        "",
        *_table(("field", "default", "meaning"), _fields(system)),
        "",
    ]
    lines += ["## Weights", "", *_weights(system_id), ""]
    lines += _formats(info.formats)
    lines += ["", f"Licence: {card.licence}", ""]
    lines += _bullets("What the paper's system does that this one does not", card.missing)
    lines += _bullets("Where this one differs on purpose", card.deviations)
    return "\n".join(lines).rstrip() + "\n"


def index_page() -> str:
    """The first page."""
    lines = ["# bottega", "", "Generated from the rooms' cards; hand-written notes stand beside them.", ""]
    lines += [
        *_systems_table("systems/"),
        "",
        "- [Gallery](gallery.md)",
        "- [Add a system in one folder](add-a-system.md)",
    ]
    return "\n".join(lines) + "\n"


def gallery_page() -> str:
    """The gallery: pictures with the commands' settings beside them."""
    lines = ["# Gallery", "", "Made with the bundled weights by `make docs`.", ""]
    for each in _gallery():
        lines += [f"## {each['title']}", "", each["text"], ""]
        lines += [f"`{each['system']}`, {_settings(each['request'])}", ""]
        lines += [f"![{each['title']}](gallery/{each['file']})" if each["file"].endswith(".png") else _words(each), ""]
    return "\n".join(lines).rstrip() + "\n"


def with_table(readme: str) -> str:
    """The README with the systems of today between its marks."""
    head, rest = readme.split(START)
    _, tail = rest.split(END)
    table = "\n".join(_systems_table("docs/systems/"))
    return f"{head}{START}\n{table}\n{END}{tail}"


def make_gallery(only: list[str] | None = None) -> None:
    """Runs every entry of docs/gallery.toml, or those of some systems, and keeps what it gave."""
    folder = DOCS / "gallery"
    folder.mkdir(exist_ok=True)
    for each in _gallery():
        if only is not None and each["system"] not in only:
            continue
        ready = catalog.load(each["system"])
        request = decode_config(ready.system.request, each["request"])
        result: Any = ready(request)
        with tempfile.TemporaryDirectory() as kept:
            shutil.move(result.save(Path(kept) / each["file"])[0], folder / each["file"])


# ---------------------------------------------------------------------------------------------------------------- parts
def _systems_table(folder: str) -> list[str]:
    rows = []
    for name in catalog.systems():
        info = catalog.info(name)
        rows.append((f"[`{name}`]({folder}{name}.md)", info.card.sentence, _range(info), ", ".join(info.verbs)))
    return _table(("system", "what it does", "parameters", "verbs"), rows)


def _range(info: catalog.Info) -> str:
    """The bundled size, and the smallest and largest of the others."""
    others = sorted({size.parameters for name, size in info.presets.items() if not name.startswith("tiny")})
    own = info.presets["tiny"].parameters
    ends = " to ".join(_count(size) for size in dict.fromkeys((others[0], others[-1]))) if others else ""
    return ", ".join(filter(None, [f"tiny {_count(own)}" if own else "none of its own", ends]))


def _sizes(info: catalog.Info) -> list[tuple[str, ...]]:
    return [(f"`{name}`", f"{each.parameters:,}", each.source) for name, each in info.presets.items()]


def _fields(system: Any) -> list[tuple[str, ...]]:
    parsed = docstring_parser.parse_from_object(system.request)
    helps = {each.arg_name: " ".join((each.description or "").split()) for each in parsed.params}
    hints = typing.get_type_hints(system.request)
    return [
        (f"`{field.name}`", _default(field), _meaning(helps.get(field.name, ""), hints[field.name]))
        for field in dataclasses.fields(system.request)
    ]


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        shown = field.default.value if isinstance(field.default, enum.Enum) else field.default
        return f"`{shown!r}`"
    return "" if field.default_factory is dataclasses.MISSING else f"`{field.default_factory()!r}`"


def _meaning(text: str, hint: Any) -> str:
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return f"{text} One of {', '.join(f'`{member.value}`' for member in hint)}."
    return text


def _weights(system_id: str) -> list[str]:
    info = catalog.info(system_id)
    if info.bundled is None:
        return ["None come with the package; train it, or load published ones."]
    path = bundled_path(catalog.ROOMS.folder(system_id), info.bundled)
    card = read_card(card_path(path))
    lines = [
        f"`{info.bundled}` comes with the package ({path.stat().st_size / 1e6:.1f} MB), made by `{card.command}` with",
        f"seed {card.seed} in {card.steps:,} steps and {card.seconds / 3600:.1f} hours on {card.hardware}.",
    ]
    lines += ["", card.notes] if card.notes else []
    return [*lines, "", *_table(("measure", "value", "baseline", "shuffled control"), _measures(card.metrics))]


def _measures(metrics: typing.Mapping[str, float]) -> list[tuple[str, str, str, str]]:
    """A row a measure; a card names its baseline and control `<measure>: baseline` and `<measure>: control`."""

    def figure(name: str) -> str:
        return f"{metrics[name]:.3g}" if name in metrics else "-"

    own = [name for name in metrics if not name.endswith((": baseline", ": control"))]
    return [(name, figure(name), figure(f"{name}: baseline"), figure(f"{name}: control")) for name in own]


def _formats(formats: typing.Mapping[str, str]) -> list[str]:
    rows = [(f"`{name}`", description) for name, description in formats.items()]
    return (
        ["Published formats, read and written by `bottega convert`:", "", *_table(("format", "layout"), rows)]
        if rows
        else []
    )


def _papers(papers: Iterable[str]) -> str:
    return " ".join(f"[arXiv:{paper}](https://arxiv.org/abs/{paper})" for paper in papers)


def _bullets(title: str, points: tuple[str, ...]) -> list[str]:
    return [f"## {title}", "", *(f"- {point}" for point in points or ("Nothing.",)), ""]


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    cells = [head, tuple("---" for _ in head), *rows]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in cells]


def _count(parameters: int) -> str:
    return f"{parameters / 1e6:.1f} M" if parameters < 1e9 else f"{parameters / 1e9:.2f} B"


def _gallery() -> list[dict[str, Any]]:
    return tomllib.loads((DOCS / "gallery.toml").read_text(encoding="utf-8"))["picture"]


def _settings(request: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in request.items())


def _words(each: dict[str, Any]) -> str:
    file = DOCS / "gallery" / each["file"]
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    return "\n".join(f"> {line}" for line in text.splitlines())


if __name__ == "__main__":
    main()
