"""The work itself: what a person asks for becomes a request, the request a result, and the result a folder on disk."""

from __future__ import annotations

import hashlib
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from bottega.errors import BottegaError, FileError, RequestError
from bottega.results import Origin, forms_of, read_origin, save
from bottega.room import Card, Offer, Report, Result, System
from bottega.studio import forms, limits
from bottega.studio.gallery import Gallery
from bottega.studio.messages import (
    Input,
    Item,
    JobBody,
    KeptInput,
    PartForm,
    Setting,
    SystemForm,
    TextInput,
    Thing,
    UploadInput,
)
from bottega.studio.uploads import Uploads
from bottega.studio.wording import public


class ReadySystem(Protocol):
    """A system with its weights, as `catalog.load` gives it."""

    @property
    def model(self) -> Any:
        """The room's module."""
        ...

    def __call__(self, request: Any, report: Report) -> Result:
        """Runs the system; the result carries its recipe."""
        ...

    def with_linears(self, *, packed: bool | None = None) -> ReadySystem:
        """The system on packed linear layers or plain ones: the last bits depend on it."""
        ...


class Catalog(Protocol):
    """What the studio asks of `bottega.catalog`."""

    def systems(self) -> Iterable[str]:
        """Every catalogue id."""
        ...

    def card(self, system_id: str, /) -> Card:
        """What to read about a system."""
        ...

    def get(self, system_id: str, /) -> System:
        """The record of a system."""
        ...

    def load(self, system_id: str, /, parts: Mapping[str, str]) -> ReadySystem:
        """A system with its bundled weights, working with these other systems."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """An input of an order.

    Args:
        label: The prompt, or what the person calls the picture.
        path: The studio's own copy of the picture; None for a prompt.
    """

    label: str
    path: Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Make:
    """An order for something new."""

    system: str
    settings: Mapping[str, Setting]
    sources: tuple[Source, ...]
    parts: Mapping[str, str]
    pictures: Mapping[str, Source]

    def everything(self) -> tuple[Source, ...]:
        """The inputs and the further pictures, in a fixed order."""
        return (*self.sources, *(self.pictures[name] for name in sorted(self.pictures)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Replay:
    """An order to make a result of the gallery again and compare every bit."""

    item: Item

    @property
    def system(self) -> str:
        """The system that made it."""
        return self.item.system


Order = Make | Replay


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """What an order led to.

    Args:
        item: Id of the result.
        identical: For a replay: whether every bit came out the same.
    """

    item: str
    identical: bool | None = None


class Workshop:
    """Takes orders and carries them out, with the weights of the last few systems in memory.

    Args:
        catalog: Where systems come from.
        gallery: Where results go.
        uploads: Where people's pictures lie.
    """

    def __init__(self, catalog: Catalog, gallery: Gallery, uploads: Uploads) -> None:
        self._catalog = catalog
        self._gallery = gallery
        self._uploads = uploads
        self._loading = threading.Lock()
        self._loaded: OrderedDict[tuple[str, ...], ReadySystem] = OrderedDict()

    def forms(self) -> list[SystemForm]:
        """Every system that has weights to run with, and its form."""
        return [self._form(system_id) for system_id in self._catalog.systems() if self._runs(system_id)]

    def order(self, body: JobBody) -> Make:
        """Checks everything about a job before it waits in the queue.

        Raises:
            BottegaError: What is asked for is unknown, too much, or refused by the system's own request.
        """
        system = self._system(body.system)
        sources = tuple(self.source(each) for each in body.inputs)
        count = body.settings.get("count")
        if isinstance(count, int) and count * max(1, len(sources)) > limits.THINGS:
            raise RequestError.of("count", count, f"at most {limits.THINGS // max(1, len(sources))} for so many inputs")
        _check_kinds(system.request, body.settings, sources)
        self._check_parts(body)
        pictures = {name: self.source(each) for name, each in body.pictures.items()}
        order = Make(system=body.system, settings=body.settings, sources=sources, parts=body.parts, pictures=pictures)
        paths = tuple(str(each.path) if each.path is not None else each.label for each in order.everything())
        try:
            _request(system, order, paths)
        except BottegaError as error:
            raise RequestError(public(str(error), _names(order.everything(), paths))) from error
        return order

    def replay(self, item_id: str) -> Replay | None:
        """The order to make a result again, or None when there is no such result."""
        item = self._gallery.find(item_id)
        return None if item is None else Replay(item=item)

    def run(self, order: Order, report: Report) -> Made:
        """Carries out an order. When it fails or is cancelled, nothing of it stays on disk.

        Raises:
            BottegaError: Told to the person in words without this computer's paths.
        """
        if isinstance(order, Make):
            return self._make(order, report)
        item = order.item
        again = Make(
            system=item.system,
            settings=item.settings,
            sources=tuple(self._kept(item, each) for each in item.inputs),
            parts=item.parts,
            pictures={name: self._kept(item, each) for name, each in item.pictures.items()},
        )
        if not all(each.path is None or each.path.is_file() for each in again.everything()):
            raise FileError("the pictures that this was made from are gone; it cannot be made again")
        made = self._make(again, report, expected=item)
        return replace(made, identical=made.item == item.id)

    def _kept(self, item: Item, kept: KeptInput) -> Source:
        return Source(label=kept.label, path=self._gallery.file(item, kept.file) if kept.file else None)

    def _make(self, order: Make, report: Report, expected: Item | None = None) -> Made:
        folder = self._gallery.begin()
        finished = False
        try:
            recipe = None if expected is None else read_origin(self._gallery.file(expected, expected.recipe))
            item = self._make_in(folder, order, report, packed=None if recipe is None else recipe.packed)
            if expected is not None and item.digest == expected.digest:
                return Made(item=expected.id)
            self._gallery.finish(item)
            finished = True
            return Made(item=item.id)
        finally:
            if not finished:
                self._gallery.abandon(folder)

    def _make_in(self, folder: Path, order: Make, report: Report, packed: bool | None) -> Item:
        started = time.time()
        kept = tuple(_keep(source, index, folder) for index, source in enumerate(order.everything()))
        paths = tuple(str(folder / each.file) if each.file else each.label for each in kept)
        try:
            request = _request(self._system(order.system), order, paths)
            result = self._ready(order, packed)(request, report)
            saved = _save(result, folder)
        except BottegaError as error:
            raise type(error)(public(str(error), _names(order.everything(), paths))) from error
        return Item(
            id=folder.name,
            system=order.system,
            created=started,
            seconds=time.time() - started,
            settings=dict(order.settings),
            inputs=list(kept[: len(order.sources)]),
            things=saved.things,
            sheet=saved.sheet,
            recipe=saved.recipe,
            traces=saved.traces,
            digest=digest(result),
            parts=dict(order.parts),
            pictures=dict(zip(sorted(order.pictures), kept[len(order.sources) :], strict=True)),
        )

    def _ready(self, order: Make, packed: bool | None) -> ReadySystem:
        """The loaded system, on the kernels that a recipe names or on this machine's faster ones."""
        key = (order.system, *(f"{field}={part}" for field, part in sorted(order.parts.items())))
        with self._loading:
            if key not in self._loaded:
                self._loaded[key] = self._catalog.load(order.system, parts=order.parts)
            self._loaded[key] = self._loaded[key].with_linears(packed=packed)
            self._loaded.move_to_end(key)
            while len(self._loaded) > limits.LOADED_SYSTEMS:
                self._loaded.popitem(last=False)
            return self._loaded[key]

    def _check_parts(self, body: JobBody) -> None:
        """Refuses what the form does not offer, so that no text from the network is opened as weights."""
        offered = {part.name: part.choices for part in self._parts(body.system)}
        for field, part in body.parts.items():
            if part not in offered.get(field, []):
                allowed = (
                    f"one of {', '.join(offered[field])}" if field in offered else "left out: there is no such part"
                )
                raise RequestError.of(field, part, allowed)

    def _parts(self, system_id: str) -> list[PartForm]:
        system, name = self._catalog.get(system_id), self._catalog.get(system_id).at_hand()
        config = None if name is None else system.presets[name].config
        return [
            PartForm(name=field, default=getattr(config, field), choices=self._able(kind))
            for field, kind in system.parts.items()
        ]

    def _able(self, kind: Offer) -> list[str]:
        """The systems that can be a part of that kind at once."""
        rooms = ((name, self._catalog.get(name)) for name in self._catalog.systems())
        return [name for name, room in rooms if room.offer(kind) is not None and room.bundled is not None]

    def _system(self, system_id: str) -> System:
        known = list(self._catalog.systems())
        if system_id not in known:
            raise RequestError.of("system", system_id, f"one of {', '.join(known)}")
        return self._catalog.get(system_id)

    def _runs(self, system_id: str) -> bool:
        return self._catalog.get(system_id).at_hand() is not None

    def _form(self, system_id: str) -> SystemForm:
        card = self._catalog.card(system_id)
        return SystemForm(
            id=system_id,
            title=card.title,
            sentence=card.sentence,
            citation=card.citation,
            licence=card.licence,
            fields=forms.describe(self._catalog.get(system_id).request),
            parts=self._parts(system_id),
        )

    def source(self, given: Input) -> Source:
        """An input as it lies here.

        Raises:
            RequestError: The picture is no longer here.
        """
        if isinstance(given, TextInput):
            return Source(label=given.text)
        if isinstance(given, UploadInput):
            found = self._uploads.find(given.upload)
            if found is None:
                raise RequestError("the picture is no longer here; drop it on the page again")
            upload, path = found
            return Source(label=upload.name, path=path)
        item = self._gallery.find(given.item)
        pictures = [thing for thing in item.things if thing.kind == "picture"] if item is not None else []
        if item is None or given.picture >= len(pictures):
            raise RequestError("this picture of the gallery is no longer here; choose another")
        thing = pictures[given.picture]
        return Source(label=thing.text or "a picture of the gallery", path=self._gallery.file(item, thing.file))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Saved:
    """The files of a result."""

    things: list[Thing]
    sheet: str
    recipe: str
    traces: str = ""


def digest(result: Result) -> str:
    """SHA-256 over the names, types, shapes and values of every raw array of a result."""
    sha = hashlib.sha256()
    for name, array in sorted(result.arrays().items()):
        sha.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()


def _check_kinds(request: type, settings: Mapping[str, Setting], sources: tuple[Source, ...]) -> None:
    """Refuses a text where the request opens files, so that no text from the network is ever opened as a path."""
    fields = forms.describe(request)
    mode = forms.mode_of(fields)
    inputs = next((field.takes for field in fields if field.kind == forms.INPUTS), "nothing")
    value = None if mode is None else settings.get(mode.name, mode.default)
    known = {choice.value: choice.takes for choice in mode.choices} if mode is not None else {}
    takes = inputs if mode is None else known.get(str(value), "unknown mode")
    what = "this system" if value is None else str(value)
    texts = [source for source in sources if source.path is None]
    pictures = [source for source in sources if source.path is not None]
    if takes == "picture" and texts:
        raise RequestError(f"{what} takes pictures, not words; drop a picture on the page")
    if takes == "text" and pictures:
        raise RequestError(f"{what} takes words, not pictures; write a prompt")
    if takes == "nothing" and sources:
        raise RequestError(f"{what} takes neither words nor pictures; leave the prompt empty")


def _request(system: System, order: Make, paths: tuple[str, ...]) -> Any:  # noqa: ANN401 - the room's dataclass
    """The system's request, which may open the studio's own copies of pictures and no other file."""
    count = len(order.sources)
    pictures = dict(zip(sorted(order.pictures), paths[count:], strict=True))
    request = forms.fill_in(system.request, order.settings, paths[:count], pictures)
    opened = {str(path) for path in system.files(request)} if system.files is not None else set()
    own = {path for path, source in zip(paths, order.everything(), strict=True) if source.path is not None}
    if opened - own:
        raise RequestError("a text in this job names a file, and the studio opens none; drop the picture on the page")
    return request


def _names(sources: tuple[Source, ...], paths: Iterable[str]) -> dict[str, str]:
    """What to call the studio's copies in a sentence: as the person called them."""
    pairs = zip(sources, paths, strict=True)
    own = {str(source.path): source.label for source in sources if source.path is not None}
    return own | {path: source.label for source, path in pairs if source.path is not None}


def _keep(source: Source, index: int, folder: Path) -> KeptInput:
    if source.path is None:
        return KeptInput(kind="text", label=source.label)
    if not source.path.is_file():
        raise FileError(f"{source.label} is no longer here; drop it on the page again")
    name = f"input-{index:02d}.png"
    shutil.copyfile(source.path, folder / name)
    return KeptInput(kind="picture", label=source.label, file=name)


def _save(result: Result, folder: Path) -> _Saved:
    """Writes a result in the form that suits it, with a recipe that finds its input pictures beside it."""
    origin = _beside(getattr(result, "origin", None), folder)
    texts = getattr(result, "texts", lambda: None)() or ()
    possible = forms_of(result)
    if ".png" in possible:
        written = save(result, folder / "picture.png", origin)
        files = written if len(written) == 1 else written[1:]
        labels = texts or [""] * len(files)
        things = [
            _picture(array, file, label) for array, file, label in zip(result.items(), files, labels, strict=True)
        ]
        return _Saved(things=things, sheet=written[0].name if len(written) > 1 else "", recipe=files[0].name)
    if ".json" in possible:
        written = save(result, folder / "words.json", origin)
        things, traces = [Thing(kind="words", text=text) for text in texts], _traces(result, folder)
        return _Saved(things=things, sheet="", recipe=written[0].name, traces=traces)
    written = save(result, folder / "arrays.npz", origin)
    return _Saved(things=[], sheet="", recipe=written[0].name)


def _traces(result: Result, folder: Path) -> str:
    """Writes how each text came about, where the result tells it; returns the file's name."""
    traces: tuple[str, ...] = getattr(result, "traces", None) or ()
    if not traces:
        return ""
    (folder / "traces.json").write_text(f"[{','.join(traces)}]", encoding="utf-8")
    return "traces.json"


def _picture(array: np.ndarray, file: Path, label: str) -> Thing:
    return Thing(kind="picture", text=label, file=file.name, width=array.shape[1], height=array.shape[0])


def _beside(origin: Origin | None, folder: Path) -> Origin | None:
    """The recipe with the names of its input files in place of their paths: replay looks beside the result."""
    if origin is None:
        return None
    request = {name: _relative(value, folder) for name, value in origin.request.items()}
    inputs = tuple(replace(each, path=Path(each.path).name) for each in origin.inputs)
    return replace(origin, request=request, inputs=inputs)


def _relative(value: Any, folder: Path) -> Any:
    if isinstance(value, str):
        return value.removeprefix(f"{folder}/")
    if isinstance(value, list | tuple):
        return [_relative(each, folder) for each in value]
    if isinstance(value, Mapping):
        return {name: _relative(each, folder) for name, each in value.items()}
    return value
