"""A contact sheet: every picture with its words below it."""

from __future__ import annotations

import functools
import math
import unicodedata

import numpy as np
from PIL import Image, ImageDraw, ImageFont

TILE, GAP, FONT_SIZE, LINES = 192, 16, 15, 3
PAPER, INK = (250, 249, 246), (40, 38, 35)
# Names that Pillow looks up in the system's font folders; the first that has all of a word's letters draws it.
FONTS = (
    "DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "Arial.ttf", "arial.ttf",
    "NotoSansCJK-Regular.ttc", "NotoSansDevanagari-Regular.ttf", "NotoNaskhArabic-Regular.ttf", "wqy-zenhei.ttc",
    "Hiragino Sans GB.ttc", "msyh.ttc", "malgun.ttf", "Nirmala.ttf",
)  # fmt: skip
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@functools.cache
def _fonts() -> tuple[Font, ...]:
    """The fonts of this machine, best first; Pillow's own (Latin only) is always the last."""
    found: list[Font] = []
    for name in FONTS:
        try:
            found.append(ImageFont.truetype(name, FONT_SIZE))
        except OSError:
            continue  # not on this machine
    return (*found, ImageFont.load_default(FONT_SIZE))


@functools.cache
def _has(font: Font, letter: str) -> bool:
    """Whether the font draws the letter as something other than its missing-letter box."""
    if letter.isspace():
        return True
    return not np.array_equal(_drawn(font, letter), _drawn(font, "\U0010fffe"))


def _drawn(font: Font, letter: str) -> np.ndarray:
    """The letter's own pixels."""
    left, top, right, bottom = (math.ceil(edge) for edge in font.getbbox(letter))
    image = Image.new("L", (max(1, right - left), max(1, bottom - top)))
    ImageDraw.Draw(image).text((-left, -top), letter, fill=255, font=font)
    return np.asarray(image)


def _word(word: str) -> tuple[str, Font]:
    """A word and the font that can draw it; letters that no font has are written out as their Unicode names."""
    fonts = _fonts()
    for font in fonts:
        if all(_has(font, letter) for letter in word):
            return word, font
    best = max(fonts, key=lambda font: sum(_has(font, letter) for letter in word))
    spelled = (x if _has(best, x) else f"[{unicodedata.name(x, 'letter').lower()}]" for x in word)
    return "".join(spelled), best


def _wrap(text: str) -> list[list[tuple[str, Font]]]:
    """Breaks a text into at most `LINES` lines as wide as a tile; a cut text ends in dots."""
    lines: list[list[tuple[str, Font]]] = [[]]
    room = float(TILE)
    for word in text.split():
        drawn, font = _word(word)
        while font.getlength(drawn) > TILE:
            drawn = drawn[: max(1, int(len(drawn) * TILE / font.getlength(drawn)) - 1)]
        width = font.getlength(drawn + " ")
        if width > room and lines[-1]:
            if len(lines) == LINES:
                lines[-1][-1] = ("...", _fonts()[-1])
                return lines
            lines.append([])
            room = float(TILE)
        lines[-1].append((drawn, font))
        room -= width
    return lines


def on_paper(picture: np.ndarray, paper: tuple[int, int, int] = PAPER) -> np.ndarray:
    """A picture without opacity: uint8 `(height, width, 3)`, or such with a fourth channel laid over a colour."""
    if picture.shape[2] == 3:
        return picture
    below = Image.new("RGBA", picture.shape[1::-1], (*paper, 255))
    return np.asarray(Image.alpha_composite(below, Image.fromarray(picture)).convert("RGB"))


def _tile(picture: np.ndarray) -> Image.Image:
    """A picture scaled to fit a tile: small ones by a whole factor with hard pixels, large ones smoothly."""
    image = Image.fromarray(on_paper(picture))
    longest = max(image.size)
    if longest <= TILE:
        factor = TILE // longest
        return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    scale = TILE / longest
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)


def contact_sheet(pictures: list[np.ndarray], labels: list[str]) -> np.ndarray:
    """Lays pictures out in a grid with their words.

    Args:
        pictures: uint8 `(height, width, 3)` each, of any sizes, or `(height, width, 4)` with opacity; at least one.
        labels: One text per picture, in any script; what no font of this machine can draw is spelled out.

    Returns:
        The sheet, uint8 `(height, width, 3)`.
    """
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    line_height = FONT_SIZE + 5
    cell = (TILE + GAP, TILE + GAP + LINES * line_height)
    sheet = Image.new("RGB", (columns * cell[0] + GAP, rows * cell[1] + GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    for index, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        left, top = GAP + index % columns * cell[0], GAP + index // columns * cell[1]
        tile = _tile(picture)
        sheet.paste(tile, (left + (TILE - tile.width) // 2, top + (TILE - tile.height) // 2))
        for row, words in enumerate(_wrap(label)):
            x = float(left)
            for word, font in words:
                draw.text((x, top + TILE + 6 + row * line_height), word, fill=INK, font=font)
                x += font.getlength(word + " ")
    return np.asarray(sheet)
