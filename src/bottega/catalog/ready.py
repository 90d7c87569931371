"""A system with weights in it, ready to run, and its weights from one format to another."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bottega.catalog.parts import Given, Part, build_connected, choose_parts, connect, import_parts
from bottega.catalog.rooms import Catalog
from bottega.errors import FileError, RequestError
from bottega.room import Checkpoint, Report, Result, System, silent

if TYPE_CHECKING:
    import torch
    from torch import nn

    from bottega.results import InputFile, Origin, WeightsOrigin

NATIVE, BUNDLED, NONE = "native", "bundled", "none"
DTYPES = ("float32", "bfloat16", "float16", "float64", "int8")
INT8 = "int8"
"""Not a type of parameters: the linear layers' weights in 8 bits, everything else in float32."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Ready:
    """A loaded system. Call it with a request.

    Args:
        id: Catalogue id.
        preset: The size's name; "custom" when the weights carry a configuration that no preset has.
        config: The room's configuration.
        model: The module, in evaluation mode.
        weights: Which weights it holds.
        system: The room's record.
        assets: Text files that belong to the weights.
        packed: Whether its linear layers run on packed weights; see `bottega.layers.prepare_for_inference`.
        parts: Other systems that it works with, by the field of the configuration that names them.
        int8: Whether the weights of its linear layers have 8 bits; see `bottega.layers.linears_to_int8`.
    """

    id: str
    preset: str
    config: Any
    model: nn.Module
    weights: WeightsOrigin
    system: System
    assets: dict[str, str] = dataclasses.field(default_factory=dict)
    packed: bool = False
    parts: dict[str, Ready] = dataclasses.field(default_factory=dict)
    int8: bool = False

    def __call__(self, request: Any, report: Report = silent) -> Result:
        """Runs the system.

        Args:
            request: An instance of `system.request`.
            report: Called with the progress of long work.

        Returns:
            The room's result, with its recipe.

        Raises:
            RequestError: The request is of another system.
        """
        from bottega.results import with_origin

        if not isinstance(request, self.system.request):
            raise RequestError.of("request", request, f"a {self.system.request.__name__}")
        inputs = input_files(self.system, request)
        result = self.system.infer(self.model, request, report)
        return with_origin(result, self._origin(request, inputs, result.seed))

    def with_linears(self, *, packed: bool | None = None) -> Ready:
        """The system and its parts with their linear layers on packed weights or not: the last bits depend on it.

        Args:
            packed: As a recipe says; None takes what is faster on this machine.
        """
        from bottega.layers import prepare_for_inference, undo_preparation

        undo_preparation(self.model)
        own = prepare_for_inference(self.model, packed=packed) > 0
        parts = {field: part.with_linears(packed=packed) for field, part in self.parts.items()}
        return dataclasses.replace(self, packed=own or any(part.packed for part in parts.values()), parts=parts)

    def in_int8(self) -> Ready:
        """The system and its parts with weights of 8 bits in their linear layers; it can then only be run."""
        from bottega.layers import linears_to_int8

        linears_to_int8(self.model)
        parts = {field: part.in_int8() for field, part in self.parts.items()}
        return dataclasses.replace(self, int8=True, parts=parts)

    @property
    def like(self) -> torch.Tensor:
        """A parameter or buffer of the system, or of a part where it has none of its own."""
        own = next(itertools.chain(self.model.parameters(), self.model.buffers()), None)
        return own if own is not None else next(iter(self.parts.values())).like

    def _origin(self, request: Any, inputs: tuple[InputFile, ...], seed: int) -> Origin:
        import torch

        from bottega import __version__
        from bottega.results import Origin, PartOrigin
        from bottega.weights import encode_config

        parts = {
            field: PartOrigin(system=_part_name(ready), weights=ready.weights) for field, ready in self.parts.items()
        }
        return Origin(
            bottega=__version__,
            torch=str(torch.__version__),
            system=self.id,
            preset=self.preset,
            weights=self.weights,
            request=encode_config(request),
            inputs=inputs,
            seed=seed,
            device=str(self.like.device),
            dtype=INT8 if self.int8 else str(self.like.dtype).removeprefix("torch."),
            threads=torch.get_num_threads(),
            packed=self.packed,
            parts=parts,
        )


def _part_name(ready: Ready) -> str:
    """`ID`, or `ID:PRESET` where it is another size than the one at hand."""
    return ready.id if ready.preset in (ready.system.at_hand(), "custom") else f"{ready.id}:{ready.preset}"


def input_files(system: System, request: Any) -> tuple[InputFile, ...]:
    """The files that a request names, with what they hold now."""
    from bottega.results import InputFile
    from bottega.weights import weights_hash

    named = system.files(request) if system.files is not None else ()
    return tuple(InputFile(path=str(path), sha256=weights_hash(Path(path))) for path in named)


def build(catalog: Catalog, system_id: str, preset: str, device: str = "cpu") -> nn.Module:
    """A system of a published size, freshly initialised; on "meta" it takes no memory."""
    import torch

    config = catalog.preset(system_id, preset).config
    import_parts(catalog, system_id, config)
    with torch.device(check_device(device)):
        return build_connected(catalog, system_id, config)


def load(
    catalog: Catalog,
    system_id: str,
    *,
    preset: str | None = None,
    weights: str | Path | None = None,
    format: str | None = None,
    device: str = "cpu",
    dtype: str | None = None,
    parts: Given | None = None,
) -> Ready:
    """A system with weights in it.

    Args:
        catalog: The rooms.
        system_id: Catalogue id.
        preset: A size's name; needed when a published format does not say which size it holds.
        weights: A file of bottega's own, or (with `format`) a published file, folder or hub id; None takes the bundled
            weights.
        format: The published format's name. Formats are named, never guessed.
        device: "cpu", "cuda", "cuda:1" or "mps".
        dtype: Type of the parameters, one of `DTYPES`; None keeps float32, "int8" gives linear layers 8-bit weights.
        parts: Other systems to work with than the configuration names, by its field: `{"prior": "unidiffuser"}`. A part
            is `ID`, `ID:PRESET`, `ID=WEIGHTS` or `ID:PRESET=WEIGHTS`.

    Raises:
        RequestError: No such system, preset, format, device, dtype or part, or no bundled weights.
        FileError: The weights cannot be read.
        WeightsError: They do not fit.
    """
    ready = load_plain(
        catalog, system_id, preset=preset, weights=weights, format=format, device=device, dtype=dtype, parts=parts
    )
    return (ready.in_int8() if dtype == INT8 else ready).with_linears()


def load_plain(
    catalog: Catalog,
    system_id: str,
    *,
    preset: str | None = None,
    weights: str | Path | None = None,
    format: str | None = None,
    device: str = "cpu",
    dtype: str | None = None,
    parts: Given | None = None,
) -> Ready:
    """As `load`, on the plain layers that training needs."""
    import torch

    from bottega.weights import load_into

    system, place = catalog.get(system_id), torch.device(check_device(device))
    number = check_dtype(dtype)
    checkpoint, origin = _checkpoint(catalog, system_id, preset, weights, format)
    config, chosen = choose_parts(system, system_id, checkpoint.config, parts or {})

    def open_part(part: Part) -> Ready:
        return load_plain(catalog, part.id, preset=part.preset, weights=part.weights, device=device, dtype=dtype)

    with torch.random.fork_rng(devices=[]):  # the weights that building draws are replaced; nobody should notice
        model = system.build(config)
    opened = connect(catalog, system, model, chosen, open_part)
    load_into(model, checkpoint.tensors, source=origin.source)
    if system.attach is not None:
        system.attach(model, checkpoint.assets)
    model.to(place, number).eval()
    return Ready(
        id=system_id,
        preset=_preset_of(system, config),
        config=config,
        model=model,
        weights=origin,
        system=system,
        assets=dict(checkpoint.assets),
        parts=opened,
    )


def _checkpoint(
    catalog: Catalog, system_id: str, preset: str | None, weights: str | Path | None, format: str | None
) -> tuple[Checkpoint, WeightsOrigin]:
    """The weights in memory and where they came from; none for a system that has none of its own."""
    from bottega.results import WeightsOrigin
    from bottega.weights import resolve

    system = catalog.get(system_id)
    config = None if preset is None else catalog.preset(system_id, preset).config
    if weights is None and format is None and system.bundled is None:
        name = preset or system.at_hand()
        if name is not None and system.parts and catalog.preset(system_id, name).parameters == 0:
            found = Checkpoint(config=catalog.preset(system_id, name).config, tensors={})
            return found, WeightsOrigin(sha256="", source=NONE)
    if weights is None:
        source, path, format = BUNDLED, _bundled(catalog, system_id, preset, format), NATIVE
    else:
        source, path = str(weights), resolve(weights, pickles=format is not None)
    checkpoint = read_checkpoint(system, system_id, path, format, config)
    own = WeightsOrigin(sha256=content_hash(path), source=source, format=None if format == NATIVE else format)
    return checkpoint, own


def read_checkpoint(system: System, system_id: str, path: Path, format: str | None, config: Any) -> Checkpoint:
    """Weights in memory, from bottega's own file (`format` None or "native") or a published format."""
    from bottega.weights import load_native, read_native_header

    if format in (None, NATIVE):
        if format is None:
            _require_native(system, path, read_native_header)
        kind = type(next(iter(system.presets.values())).config)
        own = load_native(path, kind, system_id)
        if config is not None and own.config != config:
            raise RequestError(f"{path} holds another size than the preset that was asked for; leave the preset out")
        return Checkpoint(config=own.config, tensors=own.tensors, assets=own.assets)
    check_fit(system, check_format(system, format), config)
    return system.formats[format].read(path, config)


def convert(
    catalog: Catalog,
    system_id: str,
    source: str | Path,
    target: str | Path,
    *,
    source_format: str = NATIVE,
    target_format: str = NATIVE,
    preset: str | None = None,
) -> Path:
    """Weights from one format to another. "native" is bottega's own.

    Args:
        catalog: The rooms.
        system_id: Catalogue id.
        source: A file, folder or hub id.
        target: Where to write; must not exist.
        source_format: The source's format.
        target_format: The target's format.
        preset: The size, where the source does not say it.

    Returns:
        The target.

    Raises:
        RequestError: No such format or preset.
        FileError: The source cannot be read, or the target exists.
    """
    import torch

    from bottega.weights import NativeWeights, load_into, resolve, save_native

    system, out = catalog.get(system_id), Path(target)
    for name in (source_format, target_format):
        check_format(system, name)
    if out.exists():
        raise FileError(f"{out} exists already; choose another target or move it away")
    config = None if preset is None else catalog.preset(system_id, preset).config
    checkpoint = read_checkpoint(system, system_id, resolve(source, pickles=True), source_format, config)
    with torch.random.fork_rng(devices=[]):
        model = build_connected(catalog, system_id, checkpoint.config)
        load_into(model, checkpoint.tensors, source=str(source))  # proves that they fit
    if target_format == NATIVE:
        own = NativeWeights(config=checkpoint.config, tensors=checkpoint.tensors, assets=checkpoint.assets)
        save_native(out, own, system_id=system_id)
    else:
        check_fit(system, target_format, checkpoint.config)
        system.formats[target_format].write(checkpoint, out)
    return out


def check_device(device: str) -> str:
    """The device's name, when torch can use it here.

    Raises:
        RequestError: It is not a device, or not on this machine.
    """
    import torch

    present = ["cpu", "meta"]
    present += ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))] if torch.cuda.is_available() else []
    present += ["mps"] if torch.backends.mps.is_available() else []
    if device not in present:
        offered = ", ".join(name for name in present if name != "meta")
        raise RequestError.of("device", device, f"one of {offered}", "`bottega doctor` says what torch sees")
    return device


def check_dtype(dtype: str | None) -> torch.dtype | None:
    """The torch type of the parameters for a name; None keeps what they are.

    Raises:
        RequestError: Not one of `DTYPES`.
    """
    import torch

    if dtype is None:
        return None
    if dtype not in DTYPES:
        raise RequestError.of("dtype", dtype, f"one of {', '.join(DTYPES)}")
    return torch.float32 if dtype == INT8 else getattr(torch, dtype)


def check_format(system: System, name: str) -> str:
    """The format's name, when the system has it.

    Raises:
        RequestError: It has not.
    """
    if name != NATIVE and name not in system.formats:
        raise RequestError.of("format", name, f"one of {_format_list(system)}")
    return name


def check_fit(system: System, format: str, config: Any) -> None:
    """Checks that a published format has a place for a size; sizes that are no preset are left to the format.

    Raises:
        RequestError: It has none.
    """
    fits, name = system.formats[format].presets, _preset_of(system, config)
    if fits is not None and name in system.presets and name not in fits:
        raise RequestError.of(f"the preset for {format}", name, f"one of {', '.join(fits)}")


def content_hash(path: Path) -> str:
    """The SHA-256 of a file, or of a folder's files and their names."""
    from bottega.weights import weights_hash

    if path.is_file():
        return weights_hash(path)
    lines = (
        f"{weights_hash(file)}  {file.relative_to(path).as_posix()}\n"
        for file in sorted(path.rglob("*"))
        if file.is_file()
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _bundled(catalog: Catalog, system_id: str, preset: str | None, format: str | None) -> Path:
    from bottega.weights import bundled_path

    bundled = catalog.get(system_id).bundled
    if format is not None:
        raise RequestError(f"format is {format!r}, but no weights were given; say which file or folder has that format")
    if bundled is None:
        raise RequestError(f"{system_id} comes without weights; give weights, or train it first")
    if preset not in (None, bundled):
        raise RequestError.of("preset", preset, f"{bundled!r} unless weights are given: only that size is bundled")
    path = bundled_path(catalog.folder(system_id), bundled)
    if not path.is_file():
        raise FileError(f"the bundled weights of {system_id} are missing ({path.name}); install bottega again")
    return path


def _require_native(system: System, path: Path, read_header: Any) -> None:
    """Without a named format only a file of our own is taken."""
    try:
        read_header(path)
    except FileError as error:
        raise FileError(f"{error} (formats: {_format_list(system)})") from error


def _format_list(system: System) -> str:
    return ", ".join([NATIVE, *system.formats])


def _preset_of(system: System, config: Any) -> str:
    return next((name for name, preset in system.presets.items() if preset.config == config), "custom")
