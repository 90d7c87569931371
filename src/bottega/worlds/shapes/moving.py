"""Moving shapes: short clips with known velocities, camera pans and cuts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bottega.errors import RequestError
from bottega.worlds.dice import Dice
from bottega.worlds.english import article, listed
from bottega.worlds.pixels import SOLID, compose, tight_box
from bottega.worlds.sample import Clip, Question, Thing
from bottega.worlds.scenes import Noun
from bottega.worlds.settings import check_length, check_share, check_size, check_split, within
from bottega.worlds.shapes.drawing import colored, coverage
from bottega.worlds.shapes.world import SMALLEST, belongs, nouns

DIRECTIONS = {"right": (1.0, 0.0), "left": (-1.0, 0.0), "down": (0.0, 1.0), "up": (0.0, -1.0)}
SPEEDS = {"slowly": 0.2, "fast": 0.45}  # way through the whole clip, as a share of the picture's side
PAN = 0.25  # way of the camera through the whole clip, as a share of the picture's side
GROUND = (246, 246, 242)
DOT = (206, 208, 210)
DOTS = 4  # dots of the ground along a picture's side


@dataclass(frozen=True, kw_only=True, slots=True)
class Actor:
    """A shape in one shot: what it is, how it moves ("right", "slowly"; "" for not at all), and where, in pixels."""

    noun: Noun
    direction: str
    manner: str
    radius: float
    start: tuple[float, float]
    velocity: tuple[float, float]

    @property
    def clause(self) -> str:
        """What it does: "a red circle moves right slowly"."""
        name = article(self.noun.phrase)
        return f"{name} moves {self.direction} {self.manner}" if self.direction else f"{name} stays still"


@dataclass(frozen=True, kw_only=True, slots=True)
class Shot:
    """Frames without a cut: the actors from far to near, and the camera's motion ("" for none)."""

    actors: tuple[Actor, ...]
    frames: int
    pan: str
    camera_start: tuple[float, float]
    camera_velocity: tuple[float, float]

    @property
    def sentence(self) -> str:
        """What happens, and what the camera does."""
        told = listed([actor.clause for actor in self.actors])
        return f"{told}, while the camera pans {self.pan}" if self.pan else told


@dataclass(frozen=True, kw_only=True, slots=True)
class MovingShapesWorld:
    """An endless, deterministic source of clips of moving shapes on dotted ground; a map-style data set.

    Shapes move straight and evenly in the world; the camera stands or pans; a clip has one shot or, after a cut, two.

    Args:
        split: "train", "heldout" (every clip has a held-out pair of colour and shape), or "all".
        size: Side of the pictures in pixels, 24 to 512.
        frames: Frames of a clip, 4 to 256.
        pans: Share of shots with a camera pan.
        cuts: Share of clips with a cut.
        seed: Any integer.
        length: What `len` says; `sample` takes any index.
    """

    split: str = "train"
    size: int = 64
    frames: int = 16
    pans: float = 0.4
    cuts: float = 0.25
    seed: int = 0
    length: int = 1_000_000

    def __post_init__(self) -> None:
        check_split(self.split)
        check_size(self.size, SMALLEST)
        if not 4 <= self.frames <= 256:
            raise RequestError.of("frames", self.frames, "between 4 and 256")
        check_share("pans", self.pans)
        check_share("cuts", self.cuts)
        check_length(self.length)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Clip:
        return self.sample(within(index, self.length))

    def sample(self, index: int) -> Clip:
        """The clip at any index from 0."""
        dice = Dice(self.seed, index)
        return film(self.size, draw_shots(self, dice))

    def batch(self, indices: Sequence[int]) -> list[Clip]:
        """The clips at these indices."""
        return [self.sample(index) for index in indices]


def draw_shots(world: MovingShapesWorld, dice: Dice) -> list[Shot]:
    """Draws one or two shots whose shapes belong to the split and are all different."""
    lengths = [world.frames]
    if dice.unit() < world.cuts:
        cut = world.frames // 4 + dice.below(world.frames // 2 + 1)
        lengths = [cut, world.frames - cut]
    counts = [1 + dice.below(3) for _ in lengths]
    while True:
        chosen = dice.choose(nouns(), sum(counts))
        if belongs(world.split, chosen):
            break
    return [
        draw_shot(world, dice, length, [chosen.pop() for _ in range(count)])
        for length, count in zip(lengths, counts, strict=True)
    ]


def draw_shot(world: MovingShapesWorld, dice: Dice, frames: int, shown: Sequence[Noun]) -> Shot:
    """Draws the camera's motion and the actors'; every actor stays wholly in the picture."""
    pan = dice.pick(tuple(DIRECTIONS)) if dice.unit() < world.pans else ""
    camera_velocity = _velocity(pan, PAN, world)
    camera_start = (dice.between(0, world.size), dice.between(0, world.size))
    actors = []
    for noun in shown:
        direction = dice.pick((*DIRECTIONS, ""))
        manner = dice.pick(tuple(SPEEDS)) if direction else ""
        velocity = _velocity(direction, SPEEDS.get(manner, 0.0), world)
        radius = world.size * dice.between(0.09, 0.14)
        ways = [(velocity[axis] - camera_velocity[axis]) * (frames - 1) for axis in (0, 1)]
        seen = [dice.between(radius - min(way, 0.0), world.size - radius - max(way, 0.0)) for way in ways]
        start = (camera_start[0] + seen[0], camera_start[1] + seen[1])
        actors.append(
            Actor(noun=noun, direction=direction, manner=manner, radius=radius, start=start, velocity=velocity)
        )
    return Shot(
        actors=tuple(actors), frames=frames, pan=pan, camera_start=camera_start, camera_velocity=camera_velocity
    )


def _velocity(direction: str, way: float, world: MovingShapesWorld) -> tuple[float, float]:
    """Pixels per frame for a way through the whole clip given as a share of the picture's side."""
    x, y = DIRECTIONS.get(direction, (0.0, 0.0))
    speed = way * world.size / world.frames
    return x * speed, y * speed


def film(size: int, shots: Sequence[Shot]) -> Clip:
    """Paints shots one after the other."""
    frames, things, masks, positions, velocities, camera = [], [], [], [], [], []
    for shot in shots:
        for time in range(shot.frames):
            eye = np.add(shot.camera_start, np.multiply(shot.camera_velocity, time))
            centers = np.array([np.add(actor.start, np.multiply(actor.velocity, time)) - eye for actor in shot.actors])
            picture, shown = paint_frame(size, shot.actors, centers, eye)
            frames.append(picture)
            masks.append(shown)
            things.append(name_things(shot.actors, shown))
            positions.append(centers)
            velocities.append(np.array([actor.velocity for actor in shot.actors]))
            camera.append(eye)
    cuts = tuple(int(cut) for cut in np.cumsum([shot.frames for shot in shots])[:-1])
    return Clip(
        frames=np.stack(frames),
        caption="; then cut to ".join(shot.sentence for shot in shots),
        things=tuple(things),
        masks=tuple(masks),
        positions=tuple(positions),
        velocities=tuple(velocities),
        camera=np.stack(camera),
        cuts=cuts,
        questions=tuple(questions(shots)),
    )


def name_things(actors: Sequence[Actor], masks: np.ndarray) -> tuple[Thing, ...]:
    """One frame's things, from their visible masks; actors come from far to near."""
    return tuple(
        Thing(name=actor.noun.phrase, id=actor.noun.id, box=tight_box(mask), depth=len(actors) - 1 - place)
        for place, (actor, mask) in enumerate(zip(actors, masks, strict=True))
    )


def paint_frame(
    size: int, actors: Sequence[Actor], centers: np.ndarray, eye: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Paints the ground and the actors from far to near: uint8 `(size, size, 3)` and masks `(actors, size, size)`."""
    picture = paint_ground(size, eye)
    masks = np.zeros((len(actors), size, size), dtype=bool)
    for place, actor in enumerate(actors):
        color, shape = actor.noun.phrase.split()
        x, y = float(centers[place, 0]), float(centers[place, 1])
        left, top = (max(math.floor(middle - actor.radius - 1), 0) for middle in (x, y))
        right, bottom = (min(math.ceil(middle + actor.radius + 1), size) for middle in (x, y))
        window = (slice(top, bottom), slice(left, right))
        opacity = coverage(shape, (x - left, y - top), actor.radius, (bottom - top, right - left))
        layer = colored(opacity, color)
        solid = layer[..., 3] >= SOLID
        picture[window] = compose(layer, picture[window])
        masks[(slice(place), *window)] &= ~solid
        masks[(place, *window)] = solid
    return picture, masks


def paint_ground(size: int, eye: np.ndarray) -> np.ndarray:
    """The ground as the camera sees it: dots that stand still in the world, so that a pan can be told from motion."""
    spacing = size / DOTS
    x = (np.arange(size) + 0.5 + eye[0] + spacing / 2) % spacing - spacing / 2
    y = (np.arange(size) + 0.5 + eye[1] + spacing / 2) % spacing - spacing / 2
    opacity = np.clip(0.5 + spacing / 12 - np.hypot(x[None, :], y[:, None]), 0.0, 1.0)[..., None]
    return np.rint(np.array(GROUND) * (1.0 - opacity) + np.array(DOT) * opacity).astype(np.uint8)


def questions(shots: Sequence[Shot]) -> list[Question]:
    """Questions about motion, the camera and cuts."""
    asked = [
        Question(text=f"which way does the {actor.noun.phrase} move?", answer=actor.direction or "it stays still")
        for shot in shots
        for actor in shot.actors
    ]
    asked.append(Question(text="is there a cut?", answer="yes" if len(shots) > 1 else "no"))
    if len(shots) == 1:
        asked.append(Question(text="which way does the camera pan?", answer=shots[0].pan or "it stays still"))
    return asked
