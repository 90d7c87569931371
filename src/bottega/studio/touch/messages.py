"""What the page "Touch" sends and is answered. Places are columns and rows in pixels of the studio's copy."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from bottega.studio import limits
from bottega.studio.messages import Id, MadeInput, Message, UploadInput

Name = Annotated[str, StringConstraints(max_length=64)]
Counts = Annotated[str, StringConstraints(max_length=limits.MASK_CHARACTERS)]
"""A mask as COCO's text of run lengths; empty for none. Its height and width are the picture's."""
Words = Annotated[str, StringConstraints(max_length=limits.TEXT_CHARACTERS)]
Picture = UploadInput | MadeInput
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Place = Annotated[float, Field(ge=-0.5, le=limits.KEPT_SIDE)]


class Tool(Message):
    """A system that can be used on the page.

    Args:
        id: The catalogue id.
        title: Its published name.
        sentence: What it does.
    """

    id: str
    title: str
    sentence: str


class Tools(Message):
    """What there is to touch with.

    Args:
        segmenters: Systems that answer clicks with masks.
        finders: Systems that find what was marked in other pictures.
        draggers: Systems whose pictures can be dragged.
        videos: Whether films can be read and written as video files here, besides GIF.
    """

    segmenters: list[Tool]
    finders: list[Tool]
    draggers: list[Tool]
    videos: bool


class LookBody(Message):
    """A picture that somebody is going to click on."""

    system: Name
    picture: Picture


class LookAnswer(Message):
    """The picture is encoded.

    Args:
        width: Its columns.
        height: Its rows.
        words: Whether the system can be asked in words, too.
        seconds: What encoding took; 0 where it was done before.
    """

    width: int
    height: int
    words: bool
    seconds: float


class Spot(Message):
    """A click.

    Args:
        x: Column.
        y: Row.
        inside: Whether it lies on what is wanted, or on what is not.
    """

    x: Place
    y: Place
    inside: bool = True


class Box(Message):
    """A box around what is wanted."""

    left: Place
    top: Place
    right: Place
    bottom: Place


class Refined(Message):
    """A candidate of an earlier answer, which a new one starts from."""

    answer: Id
    candidate: Annotated[int, Field(ge=0, le=15)]


class MasksBody(Message):
    """All that is said of one thing.

    Args:
        system: A segmenter.
        picture: Where the thing is.
        spots: Clicks.
        box: A box around it.
        painted: A rough mask, painted by hand.
        words: What it is; only for systems that can be asked in words.
        refines: The candidate that was held before the last click; when it is no longer remembered, the rest counts.
        glance: Whether only the likeliest candidate is wanted, and nothing is to be remembered: for what lies under a
            pointer that moves.
    """

    system: Name
    picture: Picture
    spots: Annotated[list[Spot], Field(max_length=limits.SPOTS)] = []
    box: Box | None = None
    painted: Counts = ""
    words: Words = ""
    refines: Refined | None = None
    glance: bool = False


class Candidate(Message):
    """One answer to what was said.

    Args:
        counts: The mask.
        score: How well it is expected to fit, 0 to 1.
        box: Left, top, right and bottom, the last two inclusive; zeros for an empty mask.
        area: Pixels.
    """

    counts: str
    score: float
    box: tuple[int, int, int, int]
    area: int


class MasksAnswer(Message):
    """The candidates for one thing.

    Args:
        answer: How to refer to them later; empty after a glance.
        candidates: One, or the first for what leaves no doubt and more besides.
        seconds: What the answer took, without encoding.
    """

    answer: str
    candidates: list[Candidate]
    seconds: float


class Kept(Message):
    """A thing that was kept.

    Args:
        counts: Its mask.
        name: What the person calls it.
        score: How well it was expected to fit.
        source: The candidate that it was.
    """

    counts: Annotated[Counts, StringConstraints(min_length=1)]
    name: Annotated[str, StringConstraints(min_length=1, max_length=80)]
    score: Annotated[float, Field(ge=0, le=1)]
    source: Refined | None = None


class Sheet(Message):
    """The things of one picture."""

    picture: Picture
    objects: Annotated[list[Kept], Field(max_length=limits.OBJECTS)]


class ExportBody(Message):
    """Things to be taken home.

    Args:
        form: Cut-outs (several pictures: a zip of them), COCO's JSON, raw arrays, or a film of the pictures.
        system: The segmenter that answered, for its raw logits.
        sheets: The pictures with their things.
        trim: Whether cut-outs end where the things end.
    """

    form: Literal["png", "json", "npz", "gif", "webm"]
    system: Name = ""
    sheets: Annotated[list[Sheet], Field(min_length=1, max_length=limits.INPUTS)]
    trim: bool = False


class SearchBody(Message):
    """One thing, to be found in other pictures.

    Args:
        system: A finder.
        examples: Where it was marked.
        pictures: Where to look.
        film: Whether the pictures are frames in order.
    """

    system: Name
    examples: Annotated[list[Sheet], Field(min_length=1, max_length=8)]
    pictures: Annotated[list[Picture], Field(min_length=1, max_length=limits.INPUTS)]
    film: bool = False


class Found(Message):
    """What was found in one picture.

    Args:
        index: Of the picture in the request.
        mask: The mask and how sure it is.
    """

    index: int
    mask: Candidate


class Blank(Message):
    """Nothing more to say than that."""


class DrawnStart(Message):
    """Begin with a picture that the system draws by itself."""

    seed: Seed
    kind: Name = ""


class GivenStart(Message):
    """Begin with somebody's picture."""

    picture: Picture
    kind: Name = ""


class WordedStart(Message):
    """Begin with a picture of a sentence."""

    words: Annotated[Words, StringConstraints(min_length=1)]
    seed: Seed


class DragBody(Message):
    """A picture that somebody is going to drag."""

    system: Name
    start: DrawnStart | GivenStart | WordedStart


class Preparing(Message):
    """How far the picture is."""

    step: int
    total: int
    stage: str


class DragReady(Message):
    """The picture is under the hand.

    Args:
        id: Of the session.
        size: Side of the picture in pixels.
        picture: As a `data:` address.
    """

    id: str
    size: int
    picture: str


class DraggerFacts(Message):
    """What a dragger takes.

    Args:
        size: Side of its pictures in pixels.
        kinds: Names of the kinds of pictures that it draws; empty where there is only one.
        words: Whether it draws sentences.
    """

    size: int
    kinds: list[str]
    words: bool


class Point(Message):
    """A column and a row."""

    x: Place
    y: Place


class MoveBody(Message):
    """Where to drag what.

    Args:
        handles: What to drag.
        targets: Where to, one for each handle.
        region: What may move; empty where all may.
    """

    handles: Annotated[list[Point], Field(min_length=1, max_length=limits.SPOTS)]
    targets: Annotated[list[Point], Field(min_length=1, max_length=limits.SPOTS)]
    region: Counts = ""


class Frame(Message):
    """A drag under way.

    Args:
        number: Steps so far.
        picture: As a `data:` address; empty where only the handles are told, because drawing takes longer than a step.
        handles: Where the handles are.
        away: Their mean distance from the targets, in pixels.
    """

    number: int
    picture: str
    handles: list[Point]
    away: float


class DragEnd(Message):
    """The end of a drag.

    Args:
        ending: Whether the handles are there, a person stopped it, or the steps ran out.
        last: The last frame.
        undo: Drags that can be taken back.
        seconds: What it took.
    """

    ending: Literal["arrived", "stopped", "steps"]
    last: Frame
    undo: int
    seconds: float


class DragState(Message):
    """A dragged picture as it is.

    Args:
        picture: As a `data:` address.
        undo: Drags that can be taken back.
    """

    picture: str
    undo: int


class Fault(Message):
    """Why something will not be completed."""

    error: str
