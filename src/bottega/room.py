"""The record by which the catalog, the command line, the studio and the server know a room.

A room is the folder `bottega/systems/<family>/<id>/`. Its `__init__.py` holds `CARD`, its `system.py` holds `SYSTEM`.
Both are plain records: a room fills them in and inherits nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from bottega.networks import ImageText
    from bottega.processes.decoding import Language
    from bottega.processes.diffusion import Prior
    from bottega.processes.dragging import Dragger
    from bottega.processes.segmentation import InContextSegmenter, Segmenter
    from bottega.training import FitSettings, Recipe

Config = TypeVar("Config")

PictureFile = Annotated[str, "picture file"]
"""The type of a request's field that names a picture: the studio offers a place to drop one there."""


@runtime_checkable
class SaysInputs(Protocol):
    """A value of a choice that says what a request's `inputs` hold."""

    @property
    def takes(self) -> str:
        """Which: "text", "picture" or "nothing"."""
        ...


@runtime_checkable
class SaysLabel(Protocol):
    """A value of a choice that the field writes otherwise than its value with a capital letter ("DDIM", not "Ddim")."""

    @property
    def label(self) -> str:
        """What a form shows."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """What a person reads about a system before using it.

    Args:
        title: The system's published name, such as "U-ViT".
        sentence: One sentence: what goes in, what comes out, and how.
        citation: Authors, title, venue and year.
        papers: arXiv identifiers.
        peer: The public implementation that this one is tested to be equal to.
        licence: What to know about the licence of published weights and data.
        missing: What the paper's system does that this room does not. The aim is nothing.
        deviations: Where this room differs from the paper on purpose, and why.
    """

    title: str
    sentence: str
    citation: str
    papers: tuple[str, ...]
    peer: str
    licence: str
    missing: tuple[str, ...] = ()
    deviations: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Preset(Generic[Config]):
    """A published (or bundled) size: its configuration and its parameter count, which a test proves on "meta"."""

    config: Config
    parameters: int
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """Weights in memory under our names, whatever format they were read from.

    Args:
        config: The room's configuration dataclass that the tensors fit.
        tensors: Every parameter and buffer of `System.build(config)`, by our names.
        assets: Text files that belong to the weights (a tokenizer's vocabulary, say), by name.
    """

    config: Any
    tensors: dict[str, Tensor]
    assets: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointFormat:
    """A published checkpoint layout. `read` and `write` use the same key table, so both directions stay equal.

    Args:
        description: Who publishes it and what it looks like on disk.
        read: `(path, config)` to a `Checkpoint`. `config` is None when the layout carries its own configuration;
            a layout without one (a bare state dict) needs the preset's config from the caller.
        write: `(checkpoint, path)`; writes the layout at `path`.
        presets: The presets that it has a place for; None for all.
    """

    description: str
    read: Callable[[Path, Any | None], Checkpoint]
    write: Callable[[Checkpoint, Path], None]
    presets: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """One step of long work, handed to a `report` callback. The callback may raise `Cancelled` to stop the work.

    Args:
        step: Steps done, from 1.
        total: Steps in all.
        stage: What is being done, in a word or two ("denoise", "decode").
        preview: Makes a picture of the intermediate state, uint8 `(height, width, 3)`; call it only to show it.
        text: The letters that this step adds to the one text in the making, if it makes one.
    """

    step: int
    total: int
    stage: str
    preview: Callable[[], np.ndarray] | None = None
    text: str = ""


Report = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """A report callback that shows nothing."""


class Result(Protocol):
    """What a system returns: values, and the means to keep them.

    `items()` are the separate things made (pictures as uint8 `(h, w, 3)` arrays, words as `str`, ...), in order.
    `arrays()` is everything raw, for `.npz`.
    """

    @property
    def seed(self) -> int:
        """The seed that made it."""
        ...

    def items(self) -> list[Any]:
        """The separate things made, in order."""
        ...

    def arrays(self) -> Mapping[str, np.ndarray]:
        """Everything raw, by name."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """One figure of an evaluation beside what it must be compared with.

    Args:
        value: The measured figure.
        baseline: The same figure for a named simple method.
        control: The same figure with the conditions shuffled: what the metric gives when nothing is understood.
        unit: "%", "dB", "nats", or "" for a bare ratio.
        higher_is_better: The direction.
        samples: How many samples the figure rests on.
    """

    value: float
    baseline: float | None = None
    control: float | None = None
    unit: str = ""
    higher_is_better: bool = True
    samples: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One stage of training from scratch. Stages run in order; a user's own folder runs those with `finetune`.

    Args:
        name: A word, such as "autoencoder".
        recipe: `(model, source)` to a `Recipe`; `source` is a world (by `bottega.worlds`) or a reader of a folder.
        settings: The stage's default `FitSettings`.
        finetune: Whether this stage runs on the user's own folder by default.
    """

    name: str
    recipe: Callable[[Any, Any], Recipe]
    settings: FitSettings
    finetune: bool = False


class Offer(Enum):
    """What one system can hold for another."""

    PRIOR = "diffusion model"
    LANGUAGE = "language model"
    IMAGE_TEXT = "encoder of pictures and sentences"
    SEGMENTER = "promptable segmenter"
    IN_CONTEXT = "segmenter by example"
    DRAGGER = "model whose pictures can be dragged"


@dataclass(frozen=True, kw_only=True, slots=True)
class System:
    """A room as a record of callables.

    Args:
        presets: Sizes by name; published sizes and `tiny`.
        build: Configuration to module, on the current default device (the caller may set "meta"), freshly initialised.
        request: The frozen dataclass that `infer` takes. Its fields become the command line's options (the field
            named `inputs` becomes the positional arguments) and the studio's form; field docstrings are the help texts.
            Fields that name pictures are `PictureFile`s, `inputs` too. Where a choice says what `inputs` hold, its
            values are `SaysInputs`.
        infer: `(model, request, report)` to a `Result`. The only code that runs the system for a user.
        formats: Published checkpoint layouts by name. Our own layout is always there and not listed.
        tiny_request: A small request that runs on any preset in a second or so: contract tests and the tour use it.
        bundled: The preset whose weights lie in the room's folder `weights/<preset>.safetensors`, or None.
        stages: Training, in order.
        open_source: `(name or folder)` to the `source` that stages take; None opens the default bundled world.
        evaluate: `(model, seed, limit, report)` to named measures, on the default bundled world.
        attach: Puts a checkpoint's assets (tokenizers) onto a built model; None when the room has no assets.
        assets: Takes them off again, so that a trained model can be saved; None when the room has no assets.
        files: The files that a request reads, as the request names them; their hashes go into a result's recipe.
        prior: A loaded model as rooms see it that work on any diffusion model; None when the room holds none.
        language: A loaded model as rooms see it that work on any language model; None when the room holds none.
        image_text: A loaded model as rooms see it that compare pictures with sentences; None when the room holds none.
        segmenter: A loaded model as rooms see it that ask for masks by prompts; None when the room holds none.
        in_context: A loaded model as rooms see it that find in other pictures what examples show; None when the room
            holds none.
        dragger: A loaded model as the studio sees it where people drag pictures; None when the room holds none.
        parts: Fields of the configuration that name other systems ("uvit", or "uvit:PRESET"), and what of theirs this
            one works with. Users choose others by `parts` of `load`, or by the command line's option of the same name.
        connect: `(model, what the parts offer, by field)`: called on a built model before its own weights are loaded.
        options: A frozen dataclass of choices that training offers beyond `FitSettings`; its fields become options of
            `bottega train`, before those of the same name. All have defaults; None keeps what the preset says.
        configure: `(configuration of the preset, options)` to the configuration that is trained.
    """

    presets: Mapping[str, Preset[Any]]
    build: Callable[[Any], nn.Module]
    request: type
    infer: Callable[[Any, Any, Report], Result]
    tiny_request: Any
    formats: Mapping[str, CheckpointFormat] = field(default_factory=dict)
    bundled: str | None = None
    stages: tuple[Stage, ...] = ()
    open_source: Callable[[str | Path | None], Any] | None = None
    evaluate: Callable[[Any, int, int, Report], Mapping[str, Measure]] | None = None
    attach: Callable[[Any, Mapping[str, str]], None] | None = None
    assets: Callable[[Any], Mapping[str, str]] | None = None
    files: Callable[[Any], tuple[str | Path, ...]] | None = None
    prior: Callable[[Any], Prior] | None = None
    language: Callable[[Any], Language] | None = None
    image_text: Callable[[Any], ImageText] | None = None
    segmenter: Callable[[Any], Segmenter] | None = None
    in_context: Callable[[Any], InContextSegmenter] | None = None
    dragger: Callable[[Any], Dragger] | None = None
    parts: Mapping[str, Offer] = field(default_factory=dict)
    connect: Callable[[Any, Mapping[str, Any]], None] | None = None
    options: type | None = None
    configure: Callable[[Any, Any], Any] | None = None

    def at_hand(self) -> str | None:
        """The preset that runs at once: the bundled one, or one without weights of its own; None if there is none."""
        weightless = (name for name, preset in self.presets.items() if self.parts and preset.parameters == 0)
        return self.bundled or next(weightless, None)

    def offer(self, kind: Offer) -> Callable[[Any], Any] | None:
        """What turns a loaded model into what other rooms take of it; None when it holds no such thing."""
        match kind:
            case Offer.PRIOR:
                return self.prior
            case Offer.LANGUAGE:
                return self.language
            case Offer.IMAGE_TEXT:
                return self.image_text
            case Offer.SEGMENTER:
                return self.segmenter
            case Offer.IN_CONTEXT:
                return self.in_context
            case Offer.DRAGGER:
                return self.dragger

    def verbs(self) -> Iterable[str]:
        """The verbs that work on this system today, for `bottega list`."""
        yield "run"
        if self.formats:
            yield "convert"
        if self.stages:
            yield "train"
        if self.evaluate is not None:
            yield "eval"
