"""The figures with parts of their own: house, face, car, flower and so on, with varying proportions."""

from __future__ import annotations

import math
from collections.abc import Callable

from bottega.worlds.dice import Dice
from bottega.worlds.shapes.figures import Figure, Part, Point, pane
from bottega.worlds.shapes.outlines import PLAIN, bar, box, corners, moved, oval, sector

Entry = tuple[str, tuple[str, ...], Callable[[Dice], Figure]]


def disk(name: str, x: float, y: float, radius: float, *parts: Part) -> Part:
    """A round piece."""
    return Part(name=name, outline=oval(x, y, radius), parts=parts)


def eye(x: float, y: float, radius: float) -> Part:
    """An eye with its pupil."""
    return disk("eye", x, y, radius, disk("pupil", x, y, 0.5 * radius))


def house(dice: Dice) -> Figure:
    """Walls with a roof, a door with a knob, and windows with panes."""
    wide, eave, over = dice.between(0.6, 0.8), dice.between(-0.3, 0.0), dice.between(0.06, 0.2)
    top = dice.between(-0.98, -0.8)
    door_x, side = dice.pick((-0.3, 0.0, 0.3)) * wide, dice.pick((-1, 1))
    knob = disk("knob", door_x + side * 0.09, 0.62, 0.05)
    door = Part(name="door", outline=box(door_x - 0.17, 0.3, door_x + 0.17, 0.9), parts=(knob,))
    windows = [pane("window", x - 0.14, eave + 0.1, x + 0.14, eave + 0.38, "pane", 0.06) for x in (-0.35, 0.35)]
    roof = Part(name="roof", outline=corners((-wide - over, eave), (0.0, top), (wide + over, eave)))
    root = Part(
        name="house",
        outline=corners((-wide, 0.9), (-wide, eave), (0.0, top), (wide, eave), (wide, 0.9)),
        parts=(roof, door, *windows[: 1 + dice.below(2)]),
    )
    return Figure(root=root, points=((0.0, top), (wide + over, eave), (wide, 0.9), (-wide, 0.9), (-wide - over, eave)))


def face(dice: Dice) -> Figure:
    """A head with eyes, a nose and a mouth with a tongue or teeth, perhaps ears."""
    wide, high, apart, big = (dice.between(*span) for span in ((0.7, 0.9), (0.8, 0.95), (0.3, 0.42), (0.13, 0.22)))
    mouth_y, mouth = dice.between(0.36, 0.5), dice.between(0.24, 0.4)
    tongue = Part(name="tongue", outline=sector(0.0, mouth_y, 0.5 * mouth, 0.5 * mouth, 0, 180))
    parts = [
        eye(-apart, -0.2, big),
        eye(apart, -0.2, big),
        Part(name="nose", outline=corners((0.0, -0.1), (0.12, 0.22), (-0.12, 0.22))),
        Part(name="mouth", outline=sector(0.0, mouth_y, mouth, 0.8 * mouth, 0, 180), parts=(tongue,)),
    ]
    if dice.below(2):
        parts += [disk("ear", side * (wide + 0.05), -0.05, 0.15) for side in (-1, 1)]
    root = Part(name="face", outline=oval(0.0, 0.0, wide, high), parts=tuple(parts))
    points = ((-apart, -0.2), (apart, -0.2), (0.0, 0.1), (-mouth, mouth_y), (mouth, mouth_y))
    return Figure(root=root, points=points)


def car(dice: Dice) -> Figure:
    """A body with wheels with hubs, a window with a driver, and a lamp."""
    roof, back, front = dice.between(-0.6, -0.4), dice.between(-0.7, -0.5), dice.between(0.3, 0.5)
    wheel, x = dice.between(0.2, 0.27), dice.between(0.5, 0.6)
    body = corners((-0.98, 0.4), (-0.98, 0.0), (back, -0.05), (back + 0.2, roof), (front, roof), (front + 0.25, -0.02),
                   (0.98, 0.05), (0.98, 0.4))  # fmt: skip
    glass = corners(
        (back + 0.14, -0.05), (back + 0.28, roof + 0.09), (front - 0.04, roof + 0.09), (front + 0.12, -0.05)
    )
    middle = (back + front) / 2 + 0.1
    driver = Part(name="driver", outline=sector(middle, -0.05, 0.14, 0.24, 180, 360))
    wheels = [disk("wheel", side * x, 0.42, wheel, disk("hub", side * x, 0.42, 0.45 * wheel)) for side in (-1, 1)]
    parts = (Part(name="window", outline=glass, parts=(driver,)), *wheels, disk("lamp", 0.88, 0.16, 0.08))
    points = ((-x, 0.42), (x, 0.42), (0.88, 0.16), (back + 0.2, roof), (front, roof))
    return Figure(root=Part(name="car", outline=body, parts=parts), points=points)


def flower(dice: Dice) -> Figure:
    """Petals around a heart with a seed, on a stem with leaves."""
    count, x, y = 5 + dice.below(4), 0.0, -0.35
    far, big, turn = 0.36, dice.between(0.19, 0.25), dice.unit()
    petals = []
    for k in range(count):
        angle = 2 * math.pi * (k + turn) / count
        petals.append(disk("petal", x + far * math.cos(angle), y + far * math.sin(angle), big))
    leaves = [
        Part(name="leaf", outline=corners((0.0, 0.7), (side * 0.25, 0.4), (side * 0.55, 0.35), (side * 0.35, 0.62)))
        for side in (-1, 1)
    ]
    heart = disk("heart", x, y, 0.24, disk("seed", x, y, 0.11))
    root = Part(name="flower", outline=box(-0.06, -0.3, 0.06, 0.98), parts=(*leaves, *petals, heart))
    return Figure(root=root, points=((x, y), (0.0, 0.98), (-0.55, 0.35), (0.55, 0.35)))


def robot(dice: Dice) -> Figure:
    """A trunk with a head with eyes, arms with hands, legs with feet, and a panel with a button."""
    wide, lift = dice.between(0.34, 0.46), dice.between(-0.25, 0.55)
    hands: list[Point] = [(side * (wide + 0.36), lift) for side in (-1, 1)]
    arms = [
        Part(name="arm", outline=bar((side * wide, -0.15), hand, 0.16), parts=(disk("hand", *hand, 0.12),))
        for side, hand in zip((-1, 1), hands, strict=True)
    ]
    legs = [
        Part(
            name="leg",
            outline=box(x - 0.1, 0.45, x + 0.1, 0.88),
            parts=(Part(name="foot", outline=box(x - 0.17, 0.82, x + 0.17, 0.97)),),
        )
        for x in (-0.55 * wide, 0.55 * wide)
    ]
    eyes = tuple(disk("lens", side * 0.14, -0.66, 0.09) for side in (-1, 1))
    head = Part(name="head", outline=box(-0.32, -0.92, 0.32, -0.36), parts=eyes)
    panel = Part(name="panel", outline=box(-0.2, -0.1, 0.2, 0.25), parts=(disk("button", 0.0, 0.08, 0.09),))
    root = Part(name="robot", outline=box(-wide, -0.32, wide, 0.5), parts=(*arms, *legs, head, panel))
    points = ((0.0, -0.92), hands[0], hands[1], (-0.55 * wide, 0.9), (0.55 * wide, 0.9))
    return Figure(root=root, points=points)


def tree(dice: Dice) -> Figure:
    """A trunk with a hole, and a crown with fruit."""
    wide, low = dice.between(0.1, 0.18), dice.between(0.1, 0.3)
    fruit = tuple(disk("apple", x, y, 0.11) for x, y in dice.choose(((-0.3, -0.5), (0.3, -0.4), (0.0, -0.1)), 2))
    round_crown = oval(0.0, -0.3, dice.between(0.6, 0.78), 0.66)
    crown = round_crown if dice.below(2) else corners((0.0, -0.98), (0.75, low), (-0.75, low))
    parts = (disk("hole", 0.0, 0.6, 0.55 * wide), Part(name="crown", outline=crown, parts=fruit))
    root = Part(name="tree", outline=box(-wide, -0.1, wide, 0.96), parts=parts)
    return Figure(root=root, points=((0.0, float(crown[:, 1].min())), (wide, 0.96), (-wide, 0.96)))


def fish(dice: Dice) -> Figure:
    """A body with a tail, a fin with a stripe, and an eye with a pupil."""
    high, tail = dice.between(0.4, 0.58), dice.between(0.32, 0.5)
    rear = Part(name="tail", outline=corners((-0.5, 0.0), (-0.95, -tail), (-0.85, 0.0), (-0.95, tail)))
    stripe = Part(name="stripe", outline=corners((-0.14, 0.06), (0.02, 0.12), (-0.18, 0.2)))
    fin = Part(name="fin", outline=corners((0.1, 0.0), (0.05, 0.26), (-0.38, 0.24)), parts=(stripe,))
    root = Part(name="fish", outline=oval(0.15, 0.0, 0.75, high), parts=(rear, fin, eye(0.56, -0.12, 0.14)))
    return Figure(root=root, points=((0.9, 0.0), (0.56, -0.12), (-0.95, -tail), (-0.95, tail)))


def boat(dice: Dice) -> Figure:
    """A hull with portholes with glass, a mast, and a sail with an emblem."""
    deck, top = dice.between(0.3, 0.45), dice.between(-0.98, -0.8)
    emblem = dice.pick(("disk", "star", "cross", "heart"))
    holes = [disk("porthole", x, deck + 0.2, 0.1, disk("glass", x, deck + 0.2, 0.055)) for x in (-0.35, 0.05, 0.45)]
    sign = Part(name=emblem, outline=moved(PLAIN[emblem], 0.3, -0.15, 0.17))
    sail = Part(name="sail", outline=corners((0.06, top), (0.8, deck - 0.12), (0.06, deck - 0.12)), parts=(sign,))
    mast = Part(name="mast", outline=box(-0.05, top, 0.05, deck))
    hull = corners((-0.95, deck), (0.95, deck), (0.65, 0.85), (-0.65, 0.85))
    root = Part(name="boat", outline=hull, parts=(mast, sail, *holes[: 1 + dice.below(3)]))
    return Figure(root=root, points=((0.0, top), (0.95, deck), (0.65, 0.85), (-0.65, 0.85), (-0.95, deck)))


def mushroom(dice: Dice) -> Figure:
    """A stem with a ring, and a cap with dots."""
    wide, rim = dice.between(0.7, 0.95), dice.between(0.0, 0.2)
    dots = tuple(disk("dot", x * wide, rim - y, 0.12) for x, y in ((-0.5, 0.22), (0.05, 0.5), (0.5, 0.25)))
    cap = Part(name="cap", outline=sector(0.0, rim, wide, 0.95 + rim, 180, 360), parts=dots)
    collar = Part(name="collar", outline=box(-0.3, 0.3, 0.3, 0.42))
    stem = corners((-0.2, 0.0), (0.2, 0.0), (0.3, 0.95), (-0.3, 0.95))
    return Figure(
        root=Part(name="mushroom", outline=stem, parts=(collar, cap)),
        points=((0.0, -0.95), (wide, rim), (0.3, 0.95), (-0.3, 0.95), (-wide, rim)),
    )


def butterfly(dice: Dice) -> Figure:
    """A body between four wings with spots, with feelers."""
    wings = []
    for side in (-1, 1):
        upper, lower = dice.between(0.32, 0.42), dice.between(0.26, 0.34)
        spot = disk("spot", side * 0.5, -0.38, 0.4 * upper)
        wings.append(Part(name="wing", outline=oval(side * 0.5, -0.38, 0.45, upper), parts=(spot,)))
        wings.append(Part(name="hindwing", outline=oval(side * 0.4, 0.42, 0.36, lower)))
    feelers = [Part(name="feeler", outline=bar((0.0, -0.6), (s * 0.22, -0.95), 0.07)) for s in (-1, 1)]
    head = disk("head", 0.0, -0.62, 0.15)
    root = Part(name="butterfly", outline=oval(0.0, 0.0, 0.12, 0.68), parts=(*wings, *feelers, head))
    return Figure(root=root, points=((0.0, -0.62), (0.95, -0.38), (0.4, 0.42), (-0.4, 0.42), (-0.95, -0.38)))


def clock(dice: Dice) -> Figure:
    """A case with a dial with two hands, and bells or feet."""
    hands = []
    for length, width in ((0.34, 0.13), (0.52, 0.09)):
        angle = dice.between(0.0, 2 * math.pi)
        hands.append(
            Part(name="hand", outline=bar((0.0, 0.0), (length * math.cos(angle), length * math.sin(angle)), width))
        )
    dial = disk("dial", 0.0, 0.0, dice.between(0.58, 0.68), *hands)
    feet = [Part(name="foot", outline=bar((s * 0.4, 0.7), (s * 0.62, 0.95), 0.16)) for s in (-1, 1)]
    bells = [disk("bell", s * 0.5, -0.76, 0.2) for s in (-1, 1)] if dice.below(2) else []
    root = disk("clock", 0.0, 0.0, 0.84, *feet, *bells, dial)
    return Figure(root=root, points=((0.0, 0.0), (0.0, -0.84), (0.62, 0.95), (-0.62, 0.95)))


def rocket(dice: Dice) -> Figure:
    """A body with a nose, fins, a porthole with glass, and a flame with a core."""
    wide, y = dice.between(0.24, 0.34), dice.between(-0.25, 0.0)
    fins = [
        Part(name="fin", outline=corners((s * wide, 0.15), (s * (wide + 0.34), 0.7), (s * wide, 0.55))) for s in (-1, 1)
    ]
    core = Part(name="core", outline=corners((-0.1, 0.58), (0.1, 0.58), (0.0, 0.8)))
    flame = Part(name="flame", outline=corners((-0.2, 0.55), (0.2, 0.55), (0.0, 0.98)), parts=(core,))
    nose = Part(name="nose", outline=corners((-wide, -0.4), (0.0, -0.98), (wide, -0.4)))
    window = disk("porthole", 0.0, y, 0.17, disk("glass", 0.0, y, 0.09))
    root = Part(name="rocket", outline=box(-wide, -0.42, wide, 0.58), parts=(flame, *fins, nose, window))
    return Figure(root=root, points=((0.0, -0.98), (wide + 0.34, 0.7), (0.0, 0.98), (-wide - 0.34, 0.7)))


def ice_cream(dice: Dice) -> Figure:
    """A cone with a wafer stripe, scoops, and a cherry with a shine."""
    rim = dice.between(-0.1, 0.1)
    shine = disk("shine", 0.04, -0.86, 0.05)
    cherry = disk("cherry", 0.0, -0.82, 0.13, shine)
    scoops = [disk("scoop", x, rim - 0.25, 0.34, disk("chip", x, rim - 0.3, 0.08)) for x in (-0.3, 0.3)]
    scoops.append(disk("scoop", 0.0, rim - 0.52, 0.34))
    stripe = Part(name="stripe", outline=corners((-0.33, 0.3), (0.33, 0.3), (0.26, 0.42), (-0.26, 0.42)))
    cone = corners((-0.5, rim - 0.1), (0.5, rim - 0.1), (0.0, 0.98))
    root = Part(name="ice cream", outline=cone, parts=(stripe, *scoops, cherry))
    return Figure(root=root, points=((0.0, -0.82), (0.5, rim), (0.0, 0.98), (-0.5, rim)))


def cup(dice: Dice) -> Figure:
    """A cup with a handle, an emblem with a dot, and tea on top."""
    wide, low = dice.between(0.5, 0.62), dice.between(0.6, 0.85)
    emblem = dice.pick(("heart", "star", "disk", "diamond"))
    sign = Part(name=emblem, outline=moved(PLAIN[emblem], 0.0, 0.1, 0.3), parts=(disk("dot", 0.0, 0.1, 0.1),))
    handle = Part(name="handle", outline=moved(PLAIN["ring"], wide + 0.08, 0.05, 0.3))
    tea = Part(name="tea", outline=oval(0.0, -0.5, wide - 0.1, 0.11))
    lip = Part(name="lip", outline=oval(0.0, -0.5, wide, 0.18), parts=(tea,))
    body = corners((-wide, -0.5), (wide, -0.5), (0.75 * wide, low), (-0.75 * wide, low))
    root = Part(name="cup", outline=body, parts=(handle, lip, sign))
    return Figure(root=root, points=((-wide, -0.5), (wide, -0.5), (0.75 * wide, low), (-0.75 * wide, low)))


def snowman(dice: Dice) -> Figure:
    """A belly with buttons, a head with eyes and a carrot, and a hat with a band."""
    big, small = dice.between(0.46, 0.56), dice.between(0.28, 0.36)
    y = 0.95 - 2 * big - 0.6 * small
    band = Part(name="band", outline=box(-0.2, y - 0.95 * small, 0.2, y - 0.7 * small))
    hat = Part(name="hat", outline=box(-0.2, y - 1.9 * small, 0.2, y - 0.7 * small), parts=(band,))
    eyes = [disk("coal", s * 0.4 * small, y - 0.2 * small, 0.06) for s in (-1, 1)]
    carrot = Part(name="carrot", outline=corners((0.0, y), (0.0, y + 0.12), (0.32, y + 0.1)))
    head = disk("head", 0.0, y, small, *eyes, carrot)
    buttons = [disk("button", 0.0, 0.95 - big + k * 0.24, 0.07) for k in (-1, 0, 1)]
    root = disk("snowman", 0.0, 0.95 - big, big, *buttons, head, hat)
    return Figure(root=root, points=((0.0, y), (0.0, 0.95), (big, 0.95 - big), (-big, 0.95 - big)))


DOLL = (
    "head", "left shoulder", "right shoulder", "left elbow", "right elbow", "left hand", "right hand",
    "left hip", "right hip", "left knee", "right knee", "left foot", "right foot",
)  # fmt: skip


def doll(dice: Dice) -> Figure:
    """A person with bending arms and legs; 13 joints, left and right as seen when it stands upright."""
    where: dict[str, Point] = {"head": (dice.between(-0.1, 0.1), -0.7)}
    limbs: list[Part] = []
    for side, word in ((-1, "left"), (1, "right")):
        for names, start, lengths, spans in (
            (("shoulder", "elbow", "hand"), (side * 0.24, -0.38), (0.32, 0.3), ((-40, 85), (-80, 80))),
            (("hip", "knee", "foot"), (side * 0.15, 0.16), (0.38, 0.36), ((50, 100), (55, 110))),
        ):
            first = math.radians(dice.between(*spans[0]))
            second = math.radians(dice.between(*spans[1]))
            middle = (start[0] + side * lengths[0] * math.cos(first), start[1] + lengths[0] * math.sin(first))
            end = (middle[0] + side * lengths[1] * math.cos(second), middle[1] + lengths[1] * math.sin(second))
            where |= dict(zip((f"{word} {name}" for name in names), (start, middle, end), strict=True))
            limb, tip = ("arm", "hand") if names[0] == "shoulder" else ("leg", "shoe")
            lower = Part(name="fore" + limb, outline=bar(middle, end, 0.13))
            limbs.append(Part(name=limb, outline=bar(start, middle, 0.15), parts=(lower, disk(tip, *end, 0.1))))
    eyes = tuple(disk("eye", where["head"][0] + s * 0.09, -0.74, 0.055) for s in (-1, 1))
    head = disk("head", *where["head"], 0.24, *eyes)
    trunk = corners((-0.27, -0.44), (0.27, -0.44), (0.2, 0.22), (-0.2, 0.22))
    root = Part(name="doll", outline=trunk, parts=(*limbs, head))
    return Figure(root=root, points=tuple(where[name] for name in DOLL))


LIBRARY: tuple[Entry, ...] = (
    ("house", ("top", "right eave", "right foot", "left foot", "left eave"), house),
    ("face", ("left eye", "right eye", "nose", "left corner of the mouth", "right corner of the mouth"), face),
    ("car", ("rear wheel", "front wheel", "lamp", "rear of the roof", "front of the roof"), car),
    ("flower", ("heart", "foot", "left leaf", "right leaf"), flower),
    ("robot", ("top", "left hand", "right hand", "left foot", "right foot"), robot),
    ("tree", ("top", "right foot", "left foot"), tree),
    ("fish", ("mouth", "eye", "upper tail", "lower tail"), fish),
    ("boat", ("top", "bow", "front of the keel", "rear of the keel", "stern"), boat),
    ("mushroom", ("top", "right rim", "right foot", "left foot", "left rim"), mushroom),
    ("butterfly", ("head", "right wing", "right hindwing", "left hindwing", "left wing"), butterfly),
    ("clock", ("middle", "top", "right foot", "left foot"), clock),
    ("rocket", ("tip", "right fin", "flame", "left fin"), rocket),
    ("ice cream", ("cherry", "right rim", "tip", "left rim"), ice_cream),
    ("cup", ("left lip", "right lip", "right foot", "left foot"), cup),
    ("snowman", ("head", "foot", "right side", "left side"), snowman),
    ("doll", DOLL, doll),
)
"""Name, names of the key points, and how to draw it."""
