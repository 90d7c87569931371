"""Scenes of a few things, with a sentence and answers that are true by construction; shared by the worlds of pictures.

A scene is planned (which nouns, how many, in which relation), laid out (where each thing stands), and painted from far
to near. The world supplies the nouns and a brush that paints one of them as a square tile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from bottega.worlds.dice import Dice, mix_text
from bottega.worlds.english import NUMBERS, counted, definite, listed, plural
from bottega.worlds.pixels import SOLID, compose, tight_box
from bottega.worlds.sample import Question, Sample, Thing

HELD_OUT_SHARE = 10  # one combination in so many is kept from training
PARTLY_HIDDEN = (0.4, 0.92)  # share of a partly hidden thing's solid pixels that stays visible
LARGER = 2.0  # a big thing covers at least so many times the pixels of a small one
ATTEMPTS = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Noun:
    """Something that can stand in a scene.

    Args:
        id: Its number in the world's list.
        phrase: A noun phrase without article, in the singular.
        identity: What counts as the same kind of thing in splits.
        many: Whether it may stand there more than once.
    """

    id: int
    phrase: str
    identity: str
    many: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Some things of one kind in a scene."""

    noun: Noun
    count: int

    @property
    def some(self) -> str:
        """As first mentioned: "two red apples"."""
        return counted(self.count, self.noun.phrase)

    @property
    def the(self) -> str:
        """As mentioned before: "the two red apples"."""
        return definite(self.count, self.noun.phrase)


@dataclass(frozen=True, kw_only=True, slots=True)
class Placed:
    """One thing's square tile in a picture: which group it belongs to, its top left corner, and its side, in pixels."""

    group: int
    left: int
    top: int
    side: int


Check = Callable[[np.ndarray, np.ndarray], bool]


def nothing_hidden(areas: np.ndarray, visible: np.ndarray) -> bool:
    """Whether every thing shows all of its solid pixels."""
    return bool((areas == visible).all())


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """A laid-out scene.

    Args:
        groups: What there is.
        placed: Tiles from far to near.
        caption: A sentence about it.
        questions: Questions and answers about it.
        holds: Whether the painted tiles bear the sentence out, from their solid and their visible numbers of pixels.
    """

    groups: tuple[Group, ...]
    placed: tuple[Placed, ...]
    caption: str
    questions: tuple[Question, ...]
    holds: Check = nothing_hidden


Brush = Callable[[Noun, int], np.ndarray]  # (noun, side) to uint8 (side, side, 4)
Admit = Callable[[Sequence[Group]], bool]
Layout = Callable[[Dice, int, tuple[Group, ...]], Scene]
Region = tuple[float, float, float, float]  # left, top, right, bottom


def combination_is_held_out(*parts: str) -> bool:
    """Whether a combination (two identities, or an identity and a number) is kept from training, in either order."""
    return mix_text("\n".join(sorted(parts))) % HELD_OUT_SHARE == 0


def is_novel(groups: Sequence[Group]) -> bool:
    """Whether a scene has a held-out combination: two kinds of things together, or a number of one kind."""
    identities = sorted({group.noun.identity for group in groups})
    pairs = any(combination_is_held_out(*pair) for pair in combinations(identities, 2))
    return pairs or any(
        combination_is_held_out(group.noun.identity, NUMBERS[group.count]) for group in groups if group.count > 1
    )


# --- layouts ----------------------------------------------------------------------------------------------------------


def fill(dice: Dice, region: Region, owners: Sequence[int]) -> list[Placed]:
    """Puts one tile per owner into a region: into the grid with the largest cells, each moved a little at random."""
    left, top, right, bottom = region
    width, height = right - left, bottom - top
    grids = [(-(-len(owners) // columns), columns) for columns in range(1, len(owners) + 1)]
    rows, columns = max(grids, key=lambda grid: min(width / grid[1], height / grid[0]))
    cell_width, cell_height = width / columns, height / rows
    side = int(min(cell_width, cell_height) * dice.between(0.78, 1.0))
    placed = []
    for owner, cell in zip(owners, dice.choose(range(rows * columns), len(owners)), strict=True):
        x = left + cell % columns * cell_width + dice.unit() * (cell_width - side)
        y = top + cell // columns * cell_height + dice.unit() * (cell_height - side)
        placed.append(Placed(group=owner, left=int(x), top=int(y), side=side))
    return placed


def cut(dice: Dice, size: int, across: bool, share: float) -> tuple[Region, Region]:
    """Cuts a picture into a left and a right part (or an upper and a lower one), at a whole pixel near `share`."""
    line = round(size * dice.between(share - 0.04, share + 0.04))
    if across:
        return (0, 0, line, size), (line, 0, size, size)
    return (0, 0, size, line), (0, line, size, size)


def how_many(groups: Sequence[Group]) -> list[Question]:
    """Counting questions: each kind that has a plural, and all things together."""
    asked = [
        Question(text=f"how many {plural(group.noun.phrase)} are there?", answer=NUMBERS[group.count])
        for group in groups
        if group.noun.many
    ]
    total = sum(group.count for group in groups)
    return [*asked, Question(text="how many things are there?", answer=NUMBERS[total])]


def several(dice: Dice, size: int, groups: tuple[Group, ...]) -> Scene:
    """Things anywhere, none hiding another: "three red apples", "a cat, a drum and two pears"."""
    owners = [number for number, group in enumerate(groups) for _ in range(group.count)]
    placed = fill(dice, (0, 0, size, size), owners)
    caption = listed([group.some for group in groups])
    return Scene(groups=groups, placed=tuple(placed), caption=caption, questions=tuple(how_many(groups)))


RELATIONS = {  # (side by side, the first group comes first) to ways of saying it, and the opposite
    (True, True): (("left of", "to the left of"), "right of"),
    (True, False): (("right of", "to the right of"), "left of"),
    (False, True): (("above",), "below"),
    (False, False): (("below", "under"), "above"),
}


def beside(dice: Dice, size: int, groups: tuple[Group, ...]) -> Scene:
    """Two groups side by side or one above the other: "two red apples left of a sleeping cat"."""
    first, second = groups
    across, in_order = dice.below(2) == 0, dice.below(2) == 0
    words, opposite = RELATIONS[across, in_order]
    share = 0.5 + 0.06 * (first.count - second.count) * (1 if in_order else -1)
    near, far = cut(dice, size, across, share)
    regions = (near, far) if in_order else (far, near)
    placed = [tile for number in (0, 1) for tile in fill(dice, regions[number], [number] * groups[number].count)]
    asked = [
        *how_many(groups),
        Question(text=f"what is {words[0]} {second.the}?", answer=first.some),
        Question(text=f"what is {opposite} {first.the}?", answer=second.some),
        Question(text=f"{is_or_are(first)} {first.the} {words[0]} {second.the}?", answer="yes"),
        Question(text=f"{is_or_are(first)} {first.the} {opposite} {second.the}?", answer="no"),
    ]
    caption = f"{first.some} {dice.pick(words)} {second.some}"
    return Scene(groups=groups, placed=tuple(placed), caption=caption, questions=tuple(asked))


def is_or_are(group: Group) -> str:
    """The verb that goes with a group."""
    return "is" if group.count == 1 else "are"


def sizes(dice: Dice, size: int, groups: tuple[Group, ...]) -> Scene:
    """One big and one small thing, apart: "a big drum and a small cat"."""
    big, small = groups
    across, in_order = dice.below(2) == 0, dice.below(2) == 0
    near, far = cut(dice, size, across, 0.68 if in_order else 0.32)
    big_region, small_region = (near, far) if in_order else (far, near)
    (large,) = fill(dice, big_region, [0])
    (tiny,) = fill(dice, small_region, [1])
    side = max(4, min(tiny.side, int(large.side * dice.between(0.35, 0.5))))
    shift = tiny.side - side
    tiny = Placed(group=1, left=tiny.left + dice.below(shift + 1), top=tiny.top + dice.below(shift + 1), side=side)
    named = [f"a big {big.noun.phrase}", f"a small {small.noun.phrase}"]
    asked = (
        Question(text=f"which is bigger, the {small.noun.phrase} or the {big.noun.phrase}?", answer=big.the),
        Question(text=f"which is smaller, the {small.noun.phrase} or the {big.noun.phrase}?", answer=small.the),
    )
    caption = listed(named if dice.below(2) else named[::-1])
    return Scene(groups=groups, placed=(large, tiny), caption=caption, questions=asked, holds=_first_is_larger)


def _first_is_larger(areas: np.ndarray, visible: np.ndarray) -> bool:
    return nothing_hidden(areas, visible) and bool(areas[0] >= LARGER * areas[1])


def overlapping(dice: Dice, size: int, groups: tuple[Group, ...]) -> Scene:
    """Two things of which one hides a part of the other: "a cat in front of a drum"."""
    front, back = groups
    back_side, front_side = int(size * dice.between(0.55, 0.68)), int(size * dice.between(0.45, 0.58))
    left, top = dice.below(size - back_side + 1), dice.below((size - back_side) // 2 + 1)
    step = round(dice.between(0.3, 0.6) * back_side)
    to_right = left + back_side / 2 < size / 2
    x = left + step if to_right else left + back_side - step - front_side
    y = top + back_side + round(dice.between(0.1, 0.4) * back_side) - front_side
    x, y = (min(max(place, 0), size - front_side) for place in (x, y))
    placed = (Placed(group=1, left=left, top=top, side=back_side), Placed(group=0, left=x, top=y, side=front_side))
    asked = (
        Question(text="what is in front?", answer=front.some),
        Question(text=f"what is behind {front.the}?", answer=back.some),
    )
    turned = dice.below(3) == 0
    caption = f"{back.some} behind {front.some}" if turned else f"{front.some} in front of {back.some}"
    return Scene(groups=groups, placed=placed, caption=caption, questions=asked, holds=_first_is_partly_hidden)


def _first_is_partly_hidden(areas: np.ndarray, visible: np.ndarray) -> bool:
    low, high = PARTLY_HIDDEN
    return bool(low * areas[0] <= visible[0] <= high * areas[0])


PLACES = (
    ("in the top left", "at the top", "in the top right"),
    ("on the left", "in the middle", "on the right"),
    ("in the bottom left", "at the bottom", "in the bottom right"),
)


def corner(dice: Dice, size: int, groups: tuple[Group, ...]) -> Scene:
    """One thing in a ninth of the picture: "a star in the top left"."""
    (group,) = groups
    row, column = dice.choose([(row, column) for row in range(3) for column in range(3)], 1)[0]
    left, top = size * column // 3, size * row // 3
    placed = fill(dice, (left, top, size * (column + 1) // 3, size * (row + 1) // 3), [0])
    question = Question(text=f"where is {group.the}?", answer=PLACES[row][column])
    caption = f"{group.some} {PLACES[row][column]}"
    return Scene(groups=groups, placed=tuple(placed), caption=caption, questions=(question,))


# --- plans ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """A kind of scene: its layout, the numbers of things of each group that it may have, and how often it is drawn."""

    layout: Layout
    counts: tuple[tuple[int, ...], ...]
    weight: float


PAIRS = Kind(layout=beside, counts=((1, 1), (1, 1), (2, 1), (1, 2), (3, 1), (1, 3), (2, 2)), weight=0.4)
SEVERAL = Kind(layout=several, counts=((2,), (3,), (4,), (1, 1), (1, 1, 1), (2, 1), (1, 1, 2)), weight=0.35)
SIZES = Kind(layout=sizes, counts=((1, 1),), weight=0.1)
OVERLAPPING = Kind(layout=overlapping, counts=((1, 1),), weight=0.15)
CORNER = Kind(layout=corner, counts=((1,),), weight=0.2)


def plan(dice: Dice, kinds: Sequence[Kind], nouns: Sequence[Noun]) -> tuple[Layout, tuple[Group, ...]]:
    """Draws a kind of scene and its groups."""
    kind = dice.weighted(kinds, [kind.weight for kind in kinds])
    counts = dice.pick(kind.counts)
    return kind.layout, tuple(Group(noun=dice.pick(nouns), count=count) for count in counts)


def is_sound(groups: Sequence[Group]) -> bool:
    """Whether the groups are of different kinds, and repeat only what may be repeated."""
    phrases = {group.noun.phrase for group in groups}
    return len(phrases) == len(groups) and all(group.count == 1 or group.noun.many for group in groups)


def make_scene(
    dice: Dice, kinds: Sequence[Kind], nouns: Sequence[Noun], brush: Brush, canvas: np.ndarray, admit: Admit
) -> Sample:
    """A scene from the first plan that is sound, on the right side of the split, and true once painted.

    Args:
        dice: The sample's random numbers.
        kinds: Kinds of scenes.
        nouns: What may stand in them.
        brush: Paints a noun.
        canvas: The background, uint8 `(size, size, 3)`; left as it is.
        admit: Whether groups belong to the split.
    """
    for _ in range(ATTEMPTS):
        layout, groups = plan(dice, kinds, nouns)
        if not is_sound(groups) or not admit(groups):
            continue
        scene = layout(dice, canvas.shape[0], groups)
        sample = paint(scene, brush, canvas)
        if sample is not None:
            return sample
    raise RuntimeError(f"no scene found in {ATTEMPTS} attempts from {len(nouns)} nouns")


def paint(scene: Scene, brush: Brush, canvas: np.ndarray) -> Sample | None:
    """Paints a scene from far to near; None when the painted pixels do not bear its sentence out."""
    picture = canvas.copy()
    size, count = canvas.shape[0], len(scene.placed)
    masks = np.zeros((count, size, size), dtype=bool)
    areas = np.zeros(count, dtype=np.int64)
    for position, place in enumerate(scene.placed):
        tile = brush(scene.groups[place.group].noun, place.side)
        window = (slice(place.top, place.top + place.side), slice(place.left, place.left + place.side))
        picture[window] = compose(tile, picture[window])
        solid = tile[..., 3] >= SOLID
        areas[position] = solid.sum()
        masks[(slice(position), *window)] &= ~solid
        masks[(position, *window)] = solid
    visible = masks.sum(axis=(1, 2))
    if not visible.all() or not scene.holds(areas, visible):
        return None
    things = tuple(
        Thing(
            name=scene.groups[place.group].noun.phrase,
            id=scene.groups[place.group].noun.id,
            box=tight_box(masks[position]),
            depth=count - 1 - position,
        )
        for position, place in enumerate(scene.placed)
    )
    return Sample(picture=picture, caption=scene.caption, things=things, masks=masks, questions=scene.questions)
