"""Safe readers and an atomic writer of tensor files. Nothing in a file is ever executed.

The extension names the format and the content must agree; nothing is guessed. `.safetensors` is data only. The pickle
formats (`.pt .pth .bin .ckpt`) are read by `torch.load(weights_only=True)`, whose unpickler builds tensors and plain
containers and refuses everything else; there is no looser fallback.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bottega.errors import FileError, WeightsError
from bottega.weights.atomic import write_atomically
from bottega.weights.keys import listed

PICKLE_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")
_SAFETENSORS = ".safetensors"
_INDEX = ".index.json"
_MOST_JSON_BYTES = 256 * 2**20
_HEADER_LENGTH_BYTES = 8


Inside = str | int | tuple[str | int, ...]
"""Where in a pickle file the tensors are: an entry's name, a place in a list, or several of these, outermost first."""


def read_tensors(path: Path, *, inside: Inside | None = None, perhaps: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """Reads every tensor of a file, on the CPU.

    Args:
        path: A `.safetensors` file, a pickle file of `torch.save` (`.pt .pth .bin .ckpt`), or the index of a sharded
            one (`model.safetensors.index.json`, `pytorch_model.bin.index.json`).
        inside: For pickle files: the entry that holds the tensors, such as "state_dict", 0 or ("ema", "shadow_params").
            None: the file itself is the mapping of names to tensors. Tensors in a list are named "0", "1", ...
        perhaps: For pickle files of one kind that differ in it: entries of which the first that is there holds the
            tensors; none of them: the file itself does. Not together with `inside`.

    Raises:
        FileError: A missing, empty, damaged or hostile file, or one of another format; the text says what to do.
    """
    _require_file(path)
    if path.name.endswith(_INDEX):
        return _read_shards(path)
    suffix = path.suffix.lower()
    if suffix == _SAFETENSORS:
        if inside is not None:
            raise FileError(f"{path} is a safetensors file: it is flat, so there is no {inside!r} inside it")
        return _read_safetensors(path)
    if suffix in PICKLE_SUFFIXES:
        return _read_pickle(path, inside, perhaps)
    known = ", ".join((_SAFETENSORS, *PICKLE_SUFFIXES, f"*{_INDEX}"))
    raise FileError(f"{path} has an unknown extension {path.suffix!r}; weights are read from {known}")


def list_length(path: Path) -> int | None:
    """How many entries a pickle file's list has; None when the file holds something else than a list.

    Raises:
        FileError: As `read_tensors`.
    """
    _require_file(path)
    content = _load_pickle(path) if path.suffix.lower() in PICKLE_SUFFIXES else None
    return len(content) if isinstance(content, list | tuple) else None


def read_metadata(path: Path) -> dict[str, str]:
    """Reads the text metadata in a safetensors file's header; empty when it has none.

    Raises:
        FileError: As `read_tensors`.
    """
    _require_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged_safetensors(path, error) from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Writes a safetensors file atomically; the same tensors and metadata always give the same bytes.

    Every name gets its own bytes: tensors that share memory (tied parameters, views) are written whole under each name,
    so that reading gives back exactly what was given.

    Args:
        path: The file, ending in `.safetensors`.
        tensors: Tensors by name, on any device but "meta".
        metadata: Text to keep in the header.

    Raises:
        FileError: Another extension, or the file cannot be written (disk full, no permission); an older file stays.
        WeightsError: A tensor without values (meta device), or one that is sparse or quantised.
    """
    if path.suffix != _SAFETENSORS:
        raise FileError(f"{path} must end in {_SAFETENSORS}, the only format that weights are written in")
    unwritable = [key for key, tensor in tensors.items() if tensor.is_meta or tensor.layout != torch.strided]
    if unwritable:
        raise WeightsError(f"tensors that have no plain values cannot be written: {listed(unwritable)}")
    ready = _separate(tensors)
    texts = dict(metadata or {})

    def write(temp: Path) -> None:
        try:
            save_file(ready, temp, metadata=texts or None)
        except SafetensorError as error:
            raise OSError(f"{error}") from error
        _sort_metadata(temp, texts)

    write_atomically(path, write)


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object from a file.

    Raises:
        FileError: Missing, too large, not JSON, or JSON of another kind than an object.
    """
    _require_file(path)
    if path.stat().st_size > _MOST_JSON_BYTES:
        raise FileError(f"{path} has {path.stat().st_size} bytes; a JSON file here has at most {_MOST_JSON_BYTES}")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path} is not valid JSON ({error}); get the file again") from error
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}") from error
    if not isinstance(data, dict):
        raise FileError(f"{path} must hold a JSON object, not a {type(data).__name__}")
    return data


def _require_file(path: Path) -> None:
    try:
        if path.is_dir():
            inside = sorted(entry.name for entry in path.iterdir())
            raise FileError(f"{path} is a folder; name a file in it ({listed(inside) or 'it is empty'})")
        if not path.is_file():
            what = "is not a regular file" if path.exists() else "does not exist; check the path"
            raise FileError(f"{path} {what}")
        if path.stat().st_size == 0:
            raise FileError(f"{path} is empty; get the file again")
        with path.open("rb"):
            pass
    except (OSError, ValueError) as error:
        raise FileError(f"{path} cannot be read: {error}") from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    # pread instead of mmap: a mapped file that another program cuts short kills the process with SIGBUS.
    try:
        with safe_open(path, framework="pt", backend="pread") as file:
            return dict(file.get_tensors())
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged_safetensors(path, error) from error


def _damaged_safetensors(path: Path, error: Exception) -> FileError:
    with path.open("rb") as file:
        start = file.read(4)
    if start.startswith((b"PK", b"\x80")):
        return FileError(f"{path} is a pickle or zip file, not safetensors; rename it to .pt to read it as such")
    return FileError(f"{path} is damaged or not a safetensors file ({error}); get the file again")


def _read_shards(path: Path) -> dict[str, Tensor]:
    """Reads the files that an index names: files beside it, with exactly the keys that the index gives each."""
    shards = _shards(path)
    tensors: dict[str, Tensor] = {}
    for name, keys in shards.items():
        part = read_tensors(path.parent / name)
        if part.keys() != keys:
            raise FileError(f"{path} and {name} disagree about the keys {listed(sorted(part.keys() ^ keys))}")
        tensors |= part
    return tensors


def _shards(path: Path) -> dict[str, set[str]]:
    weight_map = read_json(path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise FileError(f"{path} is not an index of weights: it needs a non-empty object 'weight_map'")
    suffix = Path(path.name.removesuffix(_INDEX)).suffix
    if suffix != _SAFETENSORS and suffix not in PICKLE_SUFFIXES:
        raise FileError(f"{path} is not named after a weights format, such as model{_SAFETENSORS}{_INDEX}")
    shards: dict[str, set[str]] = {}
    for key, name in weight_map.items():
        plain = isinstance(name, str) and name == Path(name).name and "\\" not in name and "\0" not in name
        if not plain or not name.endswith(suffix):
            raise FileError(f"{path} names the file {name!r}; an index may only name {suffix} files in its own folder")
        shards.setdefault(name, set()).add(key)
    return shards


def _read_pickle(path: Path, inside: Inside | None, perhaps: tuple[str, ...] = ()) -> dict[str, Tensor]:
    content = _load_pickle(path)
    if inside is None and isinstance(content, Mapping):
        inside = next((name for name in perhaps if isinstance(content.get(name), Mapping)), None)
    steps = () if inside is None else inside
    for step in steps if isinstance(steps, tuple) else (steps,):
        content = _entry(path, content, step)
    if isinstance(content, list | tuple) and inside is not None:
        content = {str(place): value for place, value in enumerate(content)}
    return _plain_tensors(path, content)


def _load_pickle(path: Path) -> Any:  # noqa: ANN401 - whatever plain containers the file holds
    _require_plain_archive(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=False)
    except Exception as error:  # a damaged or hostile file makes the reader fail in any way; nothing is hidden
        raise FileError(f"{path} cannot be read as plain tensors ({_first_line(error)}); {_PICKLE_ADVICE}") from error


def _entry(path: Path, content: Any, step: str | int) -> Any:  # noqa: ANN401 - as `_load_pickle`
    if isinstance(step, int) and isinstance(content, list | tuple) and step < len(content):
        return content[step]
    if isinstance(content, Mapping) and step in content:
        return content[step]
    there = listed(map(str, content)) if isinstance(content, Mapping) else f"a {type(content).__name__}"
    if isinstance(content, list | tuple):
        there = f"a list of {len(content)}"
    raise FileError(f"{path} has no entry {step!r}; it holds: {there}")


_PICKLE_ADVICE = "get the file again, or ask its authors for safetensors; files that need code to be read are refused"


def _require_plain_archive(path: Path) -> None:
    """Refuses a zip whose entries are compressed, overlap or lead out of it, before anything reads it."""
    with path.open("rb") as file:
        if not file.read(4).startswith(b"PK"):
            return
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, EOFError) as error:
        raise FileError(f"{path} is a damaged zip archive ({error}); get the file again") from error
    names = [entry.filename for entry in entries]
    if any(name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/") for name in names):
        raise FileError(f"{path} is a hostile archive: it has entries that lead out of it")
    if len(set(names)) != len(names):
        raise FileError(f"{path} is a hostile archive: it has two entries of one name")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise FileError(f"{path} is a compressed archive, which torch.save never writes; name a file in it")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise FileError(f"{path} is a hostile archive: its entries claim more bytes than the file has")


def _plain_tensors(path: Path, content: object) -> dict[str, Tensor]:
    """The content as names and dense CPU tensors that take no more memory than the file."""
    if not isinstance(content, Mapping):
        hint = "; say which entry by `inside`" if isinstance(content, list | tuple) else ""
        raise FileError(f"{path} holds a {type(content).__name__}, not tensors by name{hint}")
    odd = [str(key) for key, value in content.items() if not isinstance(key, str) or not _is_plain(value)]
    if odd:
        nested = [key for key, value in content.items() if isinstance(value, Mapping)]
        hint = f"; the tensors may be inside {listed(map(str, nested))}: name one with `inside`" if nested else ""
        raise FileError(f"{path} has entries that are not plain tensors: {listed(odd)}{hint}")
    tensors = {key: value.detach() for key, value in content.items()}
    size = path.stat().st_size
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors.values()}
    if sum(storages.values()) > size or any(t.numel() * t.element_size() > size for t in tensors.values()):
        raise FileError(f"{path} is hostile: its tensors claim more bytes than the file has")
    return tensors


def _is_plain(value: object) -> bool:
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
        and not value.is_conj()
        and not value.is_neg()
    )


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = next((line for line in lines if "Unsupported" in line or "GLOBAL" in line), lines[0] if lines else "")
    return f"{type(error).__name__}: {reason[:200]}"


def _separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous CPU tensors no two of which share memory."""
    ready: dict[str, Tensor] = {}
    seen: set[int] = set()
    for key in sorted(tensors):
        tensor = tensors[key].detach().cpu().contiguous()
        storage = tensor.untyped_storage()
        if storage.data_ptr() in seen or storage.nbytes() != tensor.numel() * tensor.element_size():
            tensor = tensor.clone()
        seen.add(tensor.untyped_storage().data_ptr())
        ready[key] = tensor
    return ready


def _sort_metadata(path: Path, metadata: Mapping[str, str]) -> None:
    """Rewrites the header with sorted metadata: the library writes it in an order that changes from run to run."""
    if len(metadata) < 2:
        return
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(_HEADER_LENGTH_BYTES), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = {key: metadata[key] for key in sorted(metadata)}
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
        if len(text) > length:
            raise RuntimeError(f"the header of {os.fspath(path)} grew from {length} to {len(text)} bytes")
        file.seek(_HEADER_LENGTH_BYTES)
        file.write(text.ljust(length))
