"""The world of nested shapes: figures with parts and sub-parts in scenes, pairs of scenes, and two views of one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bottega.errors import RequestError
from bottega.worlds.dice import Dice, mix_text
from bottega.worlds.english import article, counted, listed
from bottega.worlds.sample import Thing
from bottega.worlds.settings import check_length, check_size, check_split, within
from bottega.worlds.shapes.classes import classes_of, figure_classes
from bottega.worlds.shapes.figures import FigureClass
from bottega.worlds.shapes.grounds import View, draw_ground
from bottega.worlds.shapes.painting import paint
from bottega.worlds.shapes.scene import NestedScene
from bottega.worlds.shapes.stage import NEAREST, WALL, Pose, Stage, draw_wall, dress, place

SMALLEST = 32  # px, side of the smallest pictures in which parts can be told apart
MOST = 8  # figures, so that all pieces have labels
SHOWN = 1 / 400  # share of the picture from which on a figure counts as shown and is told of
_PAIRS, _VIEWS = mix_text("pairs"), mix_text("views")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ScenePair:
    """Two different scenes that share classes.

    Args:
        first: One scene.
        second: Another one, with other figures on another ground.
        shared: Numbers of the classes that are seen in both; at least one.
    """

    first: NestedScene
    second: NestedScene
    shared: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class NestedShapesWorld:
    """An endless, deterministic source of scenes of figures with parts and sub-parts; a map-style data set.

    The scene does not depend on the size of its picture.

    Args:
        split: "train" shows classes that are not held out; every scene of "heldout" shows one that is; or "all".
        size: Side of the pictures in pixels, 32 to 512.
        most: Most figures of a scene, 1 to 8.
        farthest: Depth of the farthest figures in metres, 3 to 8; the nearest are at 2, and sizes go by depth.
        figures: Names of the only classes to show; none for those of the split.
        seed: Any integer.
        length: What `len` says; `sample` takes any index.
    """

    split: str = "train"
    size: int = 256
    most: int = 5
    farthest: float = 7.0
    figures: tuple[str, ...] = ()
    seed: int = 0
    length: int = 1_000_000

    def __post_init__(self) -> None:
        check_split(self.split)
        check_size(self.size, SMALLEST)
        check_length(self.length)
        if not 1 <= self.most <= MOST:
            raise RequestError.of("most", self.most, f"between 1 and {MOST}")
        if not NEAREST + 1 <= self.farthest <= WALL[0] - 1:
            raise RequestError.of("farthest", self.farthest, f"between {NEAREST + 1} and {WALL[0] - 1} m")
        unknown = set(self.figures) - {kind.name for kind in classes_of(self.split)}
        if unknown:
            names = ", ".join(kind.name for kind in classes_of(self.split))
            raise RequestError.of("figures", ", ".join(sorted(unknown)), f"some of {names}")

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> NestedScene:
        return self.sample(within(index, self.length))

    def kinds(self) -> tuple[FigureClass, ...]:
        """The classes that scenes are about."""
        return tuple(kind for kind in classes_of(self.split) if not self.figures or kind.name in self.figures)

    def sample(self, index: int) -> NestedScene:
        """The scene at any index from 0."""
        dice = Dice(self.seed, index)
        stage, poses = set_up(self, dice)
        return told(paint(stage, poses, self.size), dice)

    def batch(self, indices: Sequence[int]) -> list[NestedScene]:
        """The scenes at these indices."""
        return [self.sample(index) for index in indices]

    def pair(self, index: int) -> ScenePair:
        """Two scenes that share at least one class of the split; with held-out classes, a held-out one."""
        dice = Dice(self.seed ^ _PAIRS, index)
        while True:
            about = dice.choose(self.kinds(), min(1 + dice.below(2), len(self.kinds())))
            first, second = (
                told(paint(*set_up(self, dice, about), self.size), dice) for _ in range(2)
            )  # fmt: skip
            shared = shown(first) & shown(second)
            if shared & {kind.id for kind in about}:
                return ScenePair(first=first, second=second, shared=tuple(sorted(shared)))

    def views(self, index: int) -> tuple[NestedScene, NestedScene]:
        """One scene, cropped, mirrored and enlarged in two ways; its pieces have the same numbers in both."""
        dice = Dice(self.seed ^ _VIEWS, index)
        stage, poses = set_up(self, dice)
        while True:
            center = dice.pick(poses)
            first, second = (paint(stage, poses, self.size, draw_view(dice, center)) for _ in range(2))
            if shown(first, 0.01) & shown(second, 0.01):
                return told(first, dice), told(second, dice)


def shown(scene: NestedScene, share: float = SHOWN) -> set[int]:
    """Numbers of the classes of which one figure is seen on at least this share of the picture."""
    areas = scene.areas
    return {scene.pieces[whole].kind for whole in scene.wholes if areas[whole] >= scene.labels.size * share}


def draw_view(dice: Dice, about: Pose) -> View:
    """Draws a square crop of 0.5 to 0.95 of the scene's side, with an actor's middle in it, mirrored or not."""
    side = dice.between(0.5, 0.95)
    left, top = (min(max(middle - side * dice.between(0.2, 0.8), 0.0), 1.0 - side) for middle in (about.x, about.y))
    return View(left=left, top=top, zoom=1 / side, flip=dice.below(2) == 1)


def set_up(world: NestedShapesWorld, dice: Dice, about: Sequence[FigureClass] = ()) -> tuple[Stage, list[Pose]]:
    """Draws a stage and where its actors stand.

    Args:
        world: Its settings.
        dice: Random numbers.
        about: Classes that must be there; none draws one of the split.
    """
    must = list(about) or [dice.pick(world.kinds())]
    others = [kind for kind in figure_classes() if world.split != "train" or not kind.held_out]
    if world.figures:
        others = list(world.kinds())
    count = max(1 + dice.below(world.most), len(must))
    ground = draw_ground(dice)
    kinds = [*must, *(dice.pick(others) for _ in range(count - len(must)))]
    if dice.unit() < 0.3:  # several of one class
        kinds[len(must) :] = [kind if dice.below(2) else must[0] for kind in kinds[len(must) :]]
    actors = tuple(dress(kind, dice, ground.mean) for kind in kinds)
    light = dice.between(0.8, 1.1)
    return Stage(actors=actors, ground=ground, wall=draw_wall(dice), light=light), place(dice, count, world.farthest)


# --- what is said about a scene ---------------------------------------------------------------------------------------


def told(scene: NestedScene, dice: Dice) -> NestedScene:
    """The scene with a caption that is true of what is seen."""
    least = scene.labels.size * SHOWN
    areas = scene.areas
    places = [place for place, whole in enumerate(scene.wholes) if areas[whole] >= least]
    things = [thing for thing in scene.things if (thing.box.width * thing.box.height) >= least]
    names = Counter(scene.pieces[scene.wholes[place]].name for place in places)
    if not names:
        return replace(scene, caption="nothing but the ground")
    single = [thing for thing in things if names[thing.name] == 1]
    if len(single) >= 2 and dice.unit() < 0.6:
        first, second = dice.choose(single, 2)
        said = f"{article(first.name)} {relation_of(first, second)} {article(second.name)}"
        return replace(scene, caption=said)
    return replace(scene, caption=listed([counted(count, name) for name, count in names.items()]))


def relation_of(first: Thing, second: Thing) -> str:
    """How the first stands to the second, by their visible boxes."""
    sides = {
        "left of": second.box.left - first.box.right,
        "right of": first.box.left - second.box.right,
        "above": second.box.top - first.box.bottom,
        "below": first.box.top - second.box.bottom,
    }
    best = max(sides, key=lambda side: sides[side])
    if sides[best] >= 0:
        return best
    return "in front of" if first.depth < second.depth else "behind"
