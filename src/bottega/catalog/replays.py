"""Running the recipe inside a file again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bottega.catalog.ready import BUNDLED, NONE, Ready, load
from bottega.catalog.rooms import Catalog
from bottega.errors import FileError
from bottega.room import Report, Result, silent

if TYPE_CHECKING:
    from bottega.results import Origin, PartOrigin, WeightsOrigin


@dataclass(frozen=True, kw_only=True, slots=True)
class Replayed:
    """What a replay gave.

    Args:
        origin: The recipe.
        result: The result made again; None when the weights are other ones, so that nothing was run.
        difference: What differs, in a sentence; None when every bit is equal.
    """

    origin: Origin
    result: Result | None
    difference: str | None


def replay(
    catalog: Catalog, path: str | Path, *, weights: str | Path | None = None, report: Report = silent
) -> Replayed:
    """Runs the recorded request again and compares the result with the file.

    Args:
        catalog: The rooms.
        path: A file that a result was saved to.
        weights: Where the recorded weights are now, if not where they were.
        report: Called with the progress.

    Raises:
        FileError: The file holds no recipe, or a file that the request read is missing or has changed.
        RequestError: The recorded system, device or request is not known here.
    """
    from bottega.results import difference, read_origin
    from bottega.weights import decode_config

    origin = read_origin(path)
    system = catalog.get(origin.system)
    request = decode_config(system.request, origin.request)
    _require_inputs(origin)
    ready = load(
        catalog,
        origin.system,
        weights=weights or _place(origin.weights),
        format=origin.weights.format,
        preset=None if origin.weights.format is None or origin.preset == "custom" else origin.preset,
        device=origin.device,
        dtype=origin.dtype,
        parts={field: _part(part) for field, part in origin.parts.items()},
    )
    other = _other_weights(origin, ready)
    if other is not None:
        return Replayed(origin=origin, result=None, difference=other)
    with _threads(origin.threads):
        result = ready.with_linears(packed=origin.packed)(request, report)
    found = difference(Path(path), result, origin)
    return Replayed(origin=origin, result=result, difference=None if found is None else found + _versions(origin))


def _require_inputs(origin: Origin) -> None:
    from bottega.weights import weights_hash

    for file in origin.inputs:
        place = Path(file.path)
        if not place.is_file():
            raise FileError(f"the request read {file.path}, which is not there now; go to the folder it counts from")
        if weights_hash(place) != file.sha256:
            raise FileError(f"the request read {file.path}, which has changed since; put the original back")


def _place(weights: WeightsOrigin) -> str | None:
    """Where to load recorded weights from; None for those that come with the package, or for none at all."""
    return None if weights.source in (BUNDLED, NONE) else weights.source


def _part(part: PartOrigin) -> str:
    """A recorded part as users name one."""
    place = _place(part.weights)
    return part.system if place is None else f"{part.system}={place}"


def _other_weights(origin: Origin, ready: Ready) -> str | None:
    """Which weights differ from the recorded ones, in a sentence; None when all are the same."""
    pairs = [(origin.weights, ready.weights)]
    pairs += [(part.weights, ready.parts[field].weights) for field, part in origin.parts.items()]
    for made, here in pairs:
        if made.sha256 != here.sha256:
            hashes = f"SHA-256 {made.sha256[:12]}...; here they are {here.sha256[:12]}..."
            return f"it was made with other weights ({made.source}, {hashes})"
    return None


def _versions(origin: Origin) -> str:
    """What has changed on this machine since, which may be why."""
    import torch

    from bottega import __version__

    pairs = (("bottega", origin.bottega, __version__), ("torch", origin.torch, str(torch.__version__)))
    changed = [f"{name} {then}, here {now}" for name, then, now in pairs if then != now]
    return f" (made with {'; '.join(changed)})" if changed else ""


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Runs with so many CPU threads: sums over another number may differ in the last bit."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
