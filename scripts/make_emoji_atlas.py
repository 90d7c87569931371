"""Makes the bundled emoji atlas from Debian's Noto Color Emoji font, Unicode's emoji list and CLDR's annotations.

Needs the Python packages `emoji` and Pillow (with Raqm, WebP), and three Debian packages, which need not be installed:

    apt-get download fonts-noto-color-emoji unicode-data unicode-cldr-core
    for package in *.deb; do dpkg -x "$package" debian; done
    python scripts/make_emoji_atlas.py --debian debian

Writes into `src/bottega/worlds/emoji/data`: `atlas.webp` (tiles of 64 px, 64 to a row), `index.tsv` (one line per
tile, in order), `names.tsv.gz` (the same tiles' names in other languages) and `LICENSE.txt`. The output depends only on
the inputs.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import re
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from xml.etree import ElementTree

import emoji
import numpy as np
from PIL import Image, ImageDraw, ImageFont

TILE = 64  # px, side of a tile
COLUMNS = 64  # tiles in a row of the atlas
FONT_SIZE = 109  # px, the only strike that the font has
GLYPH_WIDTH = 136  # px, advance and width of one glyph of that strike

VARIATION_SELECTOR = "\ufe0f"
TONES = {
    "\U0001f3fb": "light",
    "\U0001f3fc": "medium-light",
    "\U0001f3fd": "medium",
    "\U0001f3fe": "medium-dark",
    "\U0001f3ff": "dark",
}
HAIR = {"\U0001f9b0": "red", "\U0001f9b1": "curly", "\U0001f9b3": "white", "\U0001f9b2": "bald", "\U0001f471": "blond"}
WOMEN = {"woman", "women", "girl", "mother", "princess", "queen", "mrs."}
MEN = {"man", "men", "boy", "father", "prince", "santa"}
NEUTRAL = {"person", "people", "child", "adult", "mx"}
CHILDREN = {"boy", "girl", "child"}
ABSENT = ("\U000e0fff", "\U0001fadc0", "\U0001f1fd\U0001f1fd")  # what the font draws for characters and flags it lacks
WELL_KNOWN = (
    "\U0001f1e6\U0001f1fa",
    "\U0001f1f3\U0001f1f4",
    "\U0001f1eb\U0001f1f7",
    "\U0001f1ea\U0001f1f8",
    "\U0001f1fa\U0001f1f8",
)  # flags shared with territories


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One tile's line in `index.tsv`; lists are joined with `|`."""

    characters: str
    name: str
    keywords: str
    group: str
    subgroup: str
    base: str
    skin_tones: str
    hair: str
    gender: str
    role: str
    aliases: str


def bare(characters: str) -> str:
    """The sequence without variation selectors, as CLDR's annotations are keyed."""
    return characters.replace(VARIATION_SELECTOR, "")


def without_tones(characters: str) -> str:
    """The sequence without skin tones and variation selectors."""
    return "".join(c for c in bare(characters) if c not in TONES)


def read_groups(path: Path) -> dict[str, tuple[str, str, str]]:
    """Reads Unicode's `emoji-test.txt`: sequence to (group, subgroup, name), in Unicode's order."""
    found: dict[str, tuple[str, str, str]] = {}
    group = subgroup = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# group:"):
            group = line.split(":", 1)[1].strip()
        elif line.startswith("# subgroup:"):
            subgroup = line.split(":", 1)[1].strip()
        elif "; fully-qualified" in line:
            characters = "".join(chr(int(code, 16)) for code in line.split(";")[0].split())
            name = re.sub(r"^.*?E\d+\.\d+ ", "", line.split("#", 1)[1])
            found[characters] = (group, subgroup, name)
    return found


def read_keywords(*paths: Path) -> dict[str, tuple[str, ...]]:
    """Reads CLDR's annotation files: bare sequence to keywords."""
    found: dict[str, tuple[str, ...]] = {}
    for path in paths:
        for node in ElementTree.parse(path).iter("annotation"):  # noqa: S314  (a file of a Debian package)
            if node.get("type") is None and node.text:
                found[bare(node.attrib["cp"])] = tuple(word.strip() for word in node.text.split("|"))
    return found


def render(font: ImageFont.FreeTypeFont, characters: str) -> Image.Image:
    """Draws one glyph in the middle of a square and shrinks it to a tile (area-weighted, premultiplied by alpha)."""
    square = Image.new("RGBA", (GLYPH_WIDTH, GLYPH_WIDTH), (0, 0, 0, 0))
    top = (GLYPH_WIDTH - 128) // 2
    ImageDraw.Draw(square).text((0, top), characters, font=font, embedded_color=True)
    return square.resize((TILE, TILE), Image.Resampling.LANCZOS)


def render_all(font: ImageFont.FreeTypeFont, ordered: list[str]) -> tuple[dict[str, Image.Image], dict[str, list[str]]]:
    """Renders each sequence that the font has as one glyph.

    Returns:
        Tiles by sequence, and for each of them the later sequences that look exactly the same.
    """
    tiles: dict[str, Image.Image] = {}
    seen = {render(font, characters).tobytes(): "" for characters in ABSENT}
    twins: dict[str, list[str]] = {}
    for characters in sorted(ordered, key=lambda characters: characters not in WELL_KNOWN):
        if font.getlength(characters) > GLYPH_WIDTH:
            continue
        tile = render(font, characters)
        alpha = np.asarray(tile)[..., 3]
        if not alpha.any():
            continue
        first = seen.setdefault(tile.tobytes(), characters)
        if first == characters:
            tiles[characters] = tile
            twins[characters] = []
        elif first:
            twins[first].append(characters)
    return {characters: tiles[characters] for characters in ordered if characters in tiles}, twins


def split_name(name: str) -> str:
    """The name without its skin tones: "kiss: man, man, light skin tone" to "kiss: man, man"."""
    head, _, tail = name.partition(": ")
    kept = [part for part in tail.split(", ") if part and not part.endswith("skin tone")]
    return f"{head}: {', '.join(kept)}" if kept else head


def gender_and_role(base: str, subgroup: str) -> tuple[str, str]:
    """Gender ("woman", "man", "mixed", "neutral") and role (the base name without gender words) of a person."""
    if not subgroup.startswith(("person", "family")):
        return "", ""
    words = re.findall(r"[^\s:,]+", base.lower())
    women, men = bool(WOMEN & set(words)), bool(MEN & set(words))
    gender = "mixed" if women and men else "woman" if women else "man" if men else "neutral"
    plain = [word for word in words if word not in WOMEN | MEN | NEUTRAL | {"and"}]
    return gender, " ".join(plain) or ("child" if CHILDREN & set(words) else "adult")


def describe(
    characters: str, twins: list[str], groups: dict[str, tuple[str, str, str]], keywords: dict[str, tuple[str, ...]]
) -> Row:
    """Gathers a tile's line from the tables."""
    group, subgroup, name = groups[characters]
    base = split_name(name)
    gender, role = gender_and_role(base, subgroup)
    words = keywords.get(bare(characters)) or keywords.get(without_tones(characters)) or ()
    words = [
        word for word in words if word[0].isalnum() and not word.endswith("skin tone") and word.lower() != name.lower()
    ]
    hair = next((style for sign, style in HAIR.items() if sign in characters), "")
    return Row(
        characters=characters,
        name=name,
        keywords="|".join(words),
        group=group,
        subgroup=subgroup,
        base=base,
        skin_tones="|".join(TONES[c] for c in characters if c in TONES),
        hair=hair,
        gender=gender,
        role=role,
        aliases="|".join(groups[twin][2] for twin in twins),
    )


def spoken(shortcode: str) -> str:
    """An `emoji` package name as words: ":rotes_herz:" to "rotes herz"."""
    return shortcode.strip(":").replace("_", " ")


def add_newer(groups: dict[str, tuple[str, str, str]]) -> list[str]:
    """Adds sequences newer than the Unicode list, named by the `emoji` package and grouped by their first character."""
    by_first: dict[str, tuple[str, str]] = {}
    for characters, (group, subgroup, _) in groups.items():
        by_first.setdefault(characters[0], (group, subgroup))
    ordered = list(groups)
    for characters, entry in emoji.EMOJI_DATA.items():
        qualified = entry["status"] == emoji.STATUS["fully_qualified"]
        if qualified and characters not in groups and characters[0] in by_first:
            words = re.sub(r" ((?:(?:medium-)?(?:light|dark)|medium) skin tone)", r": \1", spoken(entry["en"]), count=1)
            groups[characters] = (*by_first[characters[0]], words)
            ordered.append(characters)
    return ordered


def write_names(path: Path, ordered: list[str]) -> None:
    """Writes the tiles' names in every other language of the `emoji` package."""
    languages = [code for code in emoji.LANGUAGES if code != "en"]
    folder = Path(emoji.__file__).parent / "unicode_codes"
    tables = {code: json.loads((folder / f"emoji_{code}.json").read_text(encoding="utf-8")) for code in languages}
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(languages)
    for characters in ordered:
        writer.writerow(spoken(tables[code].get(characters, "")) for code in languages)
    path.write_bytes(gzip.compress(text.getvalue().encode("utf-8"), mtime=0))


def write_licence(path: Path, debian: Path) -> None:
    """Writes the font's copyright file, with what was made of it, and the terms of the names."""
    stated = (debian / "usr/share/doc/fonts-noto-color-emoji/copyright").read_text(encoding="utf-8")
    unicode_terms = (debian / "usr/share/doc/unicode-data/copyright").read_text(encoding="utf-8")
    path.write_text(
        "atlas.webp: rendered from NotoColorEmoji.ttf (Debian package fonts-noto-color-emoji), resized to 64 px.\n"
        "The font is under the SIL Open Font License 1.1; the rest of noto-emoji is under the Apache License 2.0.\n"
        "The package's copyright file follows.\n\n"
        f"{stated}\n\n{'=' * 80}\n\n"
        "index.tsv: names, groups and keywords are from Unicode's emoji-test.txt and CLDR's annotations.\n"
        "names.tsv.gz: CLDR's names as given by the Python package `emoji` (BSD 3-Clause).\n"
        "The terms of the Unicode data follow.\n\n"
        f"{unicode_terms}\n",
        encoding="utf-8",
    )


def main() -> None:
    """Reads the Debian packages and writes the data folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--debian", type=Path, default=Path("/"), help="where the Debian packages are unpacked")
    parser.add_argument("--out", type=Path, default=Path("src/bottega/worlds/emoji/data"), help="folder to write")
    options = parser.parse_args()
    share = options.debian / "usr/share"
    groups = read_groups(share / "unicode/emoji/emoji-test.txt")
    ordered = add_newer(groups)
    cldr = share / "unicode/cldr/common"
    keywords = read_keywords(cldr / "annotationsDerived/en.xml", cldr / "annotations/en.xml")
    font_path = share / "fonts/truetype/noto/NotoColorEmoji.ttf"
    font = ImageFont.truetype(str(font_path), FONT_SIZE, layout_engine=ImageFont.Layout.RAQM)
    tiles, twins = render_all(font, ordered)
    rows = [describe(characters, twins[characters], groups, keywords) for characters in tiles]

    options.out.mkdir(parents=True, exist_ok=True)
    sheet = Image.new("RGBA", (COLUMNS * TILE, -(-len(tiles) // COLUMNS) * TILE), (0, 0, 0, 0))
    for position, tile in enumerate(tiles.values()):
        sheet.paste(tile, (position % COLUMNS * TILE, position // COLUMNS * TILE))
    sheet.save(options.out / "atlas.webp", quality=90, alpha_quality=100, method=6)
    with (options.out / "index.tsv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(field.name for field in fields(Row))
        writer.writerows(astuple(row) for row in rows)
    write_names(options.out / "names.tsv.gz", list(tiles))
    write_licence(options.out / "LICENSE.txt", options.debian)
    print(f"{len(tiles)} tiles of {len(ordered)} sequences; {sum(map(len, twins.values()))} look like an earlier one")


if __name__ == "__main__":
    main()
