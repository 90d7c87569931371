"""Reads a pickle as data, in a process of its own: nothing that the file names is imported, made or called.

`pickletools` takes the file apart without running it. The instructions are then followed by hand on plain lists and
dicts, where a class or function is a pair of words. A handful of calls are understood, because their results are
tensors or tables of attributes: torch's own rebuilding of tensors, and the "persistent classes" of NVIDIA's networks
(`torch_utils.persistence`), whose source code travels inside the file and stays a text here. Every other call
stays an unread record. What is found goes out as safetensors.

The module runs as a script, `python -I inert_pickle.py SOURCE TARGET MODULES`, and imports nothing of bottega. It
bounds its own memory and time where the system knows such bounds; its parent reads back the safetensors alone.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
import pickletools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

MAGIC = 0x1950A86A20F9469CFC6C
"""What a file of torch.save's old form begins with."""
DTYPES = {
    "FloatStorage": "<f4", "HalfStorage": "<f2", "DoubleStorage": "<f8", "LongStorage": "<i8", "IntStorage": "<i4",
    "ShortStorage": "<i2", "CharStorage": "<i1", "ByteStorage": "<u1", "BoolStorage": "|b1",
}  # fmt: skip
SPARE_BYTES, SECONDS = 2 * 2**30, 300
"""Memory beyond eight times the file, and processor time, that the child may take."""


class NotInert(Exception):
    """The file asks for something that data does not need, or contradicts itself."""


@dataclass(frozen=True, slots=True, eq=False)
class Name:
    """A class or function that the file names; nobody looks it up."""

    module: str
    name: str


@dataclass(slots=True, eq=False)
class Record:
    """Something that the file would have a class or function make; here, what it was told.

    Args:
        name: Of the class or function.
        arguments: Of the call.
        state: The attributes, where there are any.
    """

    name: str
    arguments: Any = ()
    state: dict[Any, Any] = field(default_factory=dict)


class _Mark:
    """Where a group of values begins on the stack."""


def read_inert(data: bytes | io.BytesIO) -> Any:
    """What a pickle says, as plain values, arrays, `Name`s and `Record`s.

    Args:
        data: The bytes, or a stream, which is left behind the pickle's end.

    Raises:
        NotInert: It is no pickle, or uses instructions that data does not need.
    """
    machine = _Machine()
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name == "STOP":
            return machine.pop()
        machine.run(opcode.name, argument)
    raise NotInert("the pickle has no end")


class _Machine:
    """A stack, marks and a memory, as `pickle` has them."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memory: dict[int, Any] = {}

    def pop(self) -> Any:
        """Takes the topmost value."""
        if not self.stack or isinstance(self.stack[-1], _Mark):
            raise NotInert("an instruction finds nothing on the stack")
        return self.stack.pop()

    def group(self) -> list[Any]:
        """Takes all values down to the last mark."""
        place = next((i for i in range(len(self.stack) - 1, -1, -1) if isinstance(self.stack[i], _Mark)), None)
        if place is None:
            raise NotInert("an instruction finds no mark on the stack")
        values = self.stack[place + 1 :]
        del self.stack[place:]
        return values

    def run(self, name: str, argument: Any) -> None:
        """Follows one instruction."""
        if name in _VALUES:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            if int(argument) not in self.memory:
                raise NotInert(f"place {argument} of the memory is empty")
            self.stack.append(self.memory[int(argument)])
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memory[int(argument)] = self._top()
        elif name == "MEMOIZE":
            self.memory[len(self.memory)] = self._top()
        elif name in _COLLECT:
            _COLLECT[name](self)
        elif name == "GLOBAL":
            module, _, what = str(argument).partition(" ")
            self.stack.append(Name(module, what))
        elif name not in ("PROTO", "FRAME"):
            raise NotInert(f"it uses the instruction {name}, which weights do not need")

    def _top(self) -> Any:
        if not self.stack:
            raise NotInert("an instruction finds nothing on the stack")
        return self.stack[-1]


_VALUES = frozenset(
    "INT LONG LONG1 LONG4 BININT BININT1 BININT2 FLOAT BINFLOAT UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 STRING "
    "BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8".split()
)
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict, "EMPTY_SET": set, "MARK": _Mark,
}  # fmt: skip


def _append(machine: _Machine, values: list[Any]) -> None:
    target = machine.pop()
    if not isinstance(target, list | set):
        raise NotInert(f"values are added to a {type(target).__name__}")
    target.extend(values) if isinstance(target, list) else target.update(values)
    machine.stack.append(target)


def _set_items(machine: _Machine, values: list[Any]) -> None:
    target = machine.pop()
    table = target.state if isinstance(target, Record) else target
    if not isinstance(table, dict) or len(values) % 2:
        raise NotInert(f"items are set on a {type(target).__name__}")
    table.update(zip(values[::2], values[1::2], strict=True))
    machine.stack.append(target)


def _reduce(machine: _Machine) -> None:
    arguments, function = machine.pop(), machine.pop()
    machine.stack.append(_call(function, arguments))


def _new_object(machine: _Machine) -> None:
    arguments, kind = machine.pop(), machine.pop()
    machine.stack.append(Record(_named(kind).name, arguments))


def _build(machine: _Machine) -> None:
    state, target = machine.pop(), machine.pop()
    if isinstance(target, Record) and isinstance(state, dict):
        target.state.update(state)
    machine.stack.append(target)


def _global(machine: _Machine) -> None:
    name, module = machine.pop(), machine.pop()
    machine.stack.append(Name(str(module), str(name)))


def _persistent(machine: _Machine) -> None:
    machine.stack.append(Record("persistent", machine.pop()))


def _tuple_of(count: int) -> Callable[[_Machine], None]:
    def collect(machine: _Machine) -> None:
        machine.stack.append(tuple([machine.pop() for _ in range(count)][::-1]))

    return collect


_COLLECT: dict[str, Callable[[_Machine], None]] = {
    "APPEND": lambda machine: _append(machine, [machine.pop()]),
    "APPENDS": lambda machine: _append(machine, machine.group()),
    "ADDITEMS": lambda machine: _append(machine, machine.group()),
    "SETITEM": lambda machine: _set_items(machine, [machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine: _set_items(machine, machine.group()),
    "TUPLE": lambda machine: machine.stack.append(tuple(machine.group())),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "LIST": lambda machine: machine.stack.append(machine.group()),
    "FROZENSET": lambda machine: machine.stack.append(frozenset(machine.group())),
    "REDUCE": _reduce,
    "NEWOBJ": _new_object,
    "BUILD": _build,
    "STACK_GLOBAL": _global,
    "BINPERSID": _persistent,
}


def _named(value: Any) -> Name:
    if not isinstance(value, Name):
        raise NotInert(f"a {type(value).__name__} is called")
    return value


def _call(function: Any, arguments: Any) -> Any:
    """What a call that is understood would make of its arguments; a record of any other."""
    name = _named(function)
    match (name.module, name.name), arguments:
        case ("collections", "OrderedDict"), _:
            return dict(*arguments)
        case ("torch._utils", "_rebuild_parameter"), (np.ndarray() as array, *_):
            return array
        case ("torch._utils", "_rebuild_tensor_v2"), (np.ndarray() as storage, int() as offset, sizes, strides, *_):
            return _strided(storage, offset, tuple(sizes), tuple(strides))
        case ("torch.storage", "_load_from_bytes"), (bytes() as data,):
            return _storage(data)
        case ("torch_utils.persistence", "_reconstruct_persistent_obj"), (meta,):
            table = meta.state if isinstance(meta, Record) else meta
            state = table.get("state") if isinstance(table, dict) else None
            kept = state.state if isinstance(state, Record) else state
            if not isinstance(kept, dict):
                raise NotInert("a persistent object has no attributes")
            return Record(str(table.get("class_name")), (), kept)
    return Record(name.name, arguments)


def _strided(storage: np.ndarray, offset: int, sizes: tuple[int, ...], strides: tuple[int, ...]) -> np.ndarray:
    """A tensor in a storage; none that reaches out of it."""
    whole = len(sizes) == len(strides) and all(isinstance(n, int) and n >= 0 for n in (offset, *sizes, *strides))
    if not whole:
        raise NotInert("a tensor has a strange shape")
    last = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
    if 0 in sizes:
        return np.zeros(sizes, storage.dtype)
    if last >= len(storage) or int(np.prod(sizes, dtype=object)) > len(storage):
        raise NotInert("a tensor claims more than its storage holds")
    steps = tuple(stride * storage.itemsize for stride in strides)
    return np.lib.stride_tricks.as_strided(storage[offset:], sizes, steps, writeable=False).copy()


def _storage(data: bytes) -> np.ndarray:
    """The numbers of one storage in torch.save's old form: four pickles, the storages' keys, then the bytes."""
    stream = io.BytesIO(data)
    magic, _, _, record, keys = (read_inert(stream) for _ in range(5))
    if magic != MAGIC or not isinstance(record, Record) or record.name != "persistent":
        raise NotInert("a storage is not in torch.save's old form")
    match record.arguments:
        case ("storage", Name(name=kind), str() as key, _, int() as count, *_) if kind in DTYPES and keys == [key]:
            dtype = np.dtype(DTYPES[kind])
        case _:
            raise NotInert("a storage is of an unknown kind")
    stored = int.from_bytes(stream.read(8), "little")
    numbers = stream.read()
    if stored != count or len(numbers) != count * dtype.itemsize:
        raise NotInert("a storage has another size than it says")
    return np.frombuffer(numbers, dtype)


def tensors_of(module: Record, prefix: str) -> Iterator[tuple[str, np.ndarray]]:
    """The parameters and buffers of a persistent `nn.Module`, by the names of its state dict."""
    for group in ("_parameters", "_buffers"):
        for name, value in _table(module.state.get(group)).items():
            if isinstance(value, np.ndarray):
                yield f"{prefix}.{name}", value
    for name, part in _table(module.state.get("_modules")).items():
        if isinstance(part, Record):
            yield from tensors_of(part, f"{prefix}.{name}")


def attributes_of(module: Record, prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The plain attributes of a module and of its parts, with the name of the class."""
    plain = {k: v for k, v in module.state.items() if isinstance(v, bool | int | float | str) and not k.startswith("_")}
    yield prefix, {"class": module.name, **plain}
    for name, part in _table(module.state.get("_modules")).items():
        if isinstance(part, Record):
            yield from attributes_of(part, f"{prefix}.{name}")


def _table(value: Any) -> dict[str, Any]:
    table = value.state if isinstance(value, Record) else value
    return {key: entry for key, entry in table.items() if isinstance(key, str)} if isinstance(table, dict) else {}


def convert(source: Path, target: Path, modules: list[str]) -> None:
    """Writes the tensors of some entries of a pickled dict as safetensors; attributes go into the metadata.

    Raises:
        NotInert: The file holds no such entries, or is no plain data.
    """
    content = _table(read_inert(source.read_bytes()))
    found = {name: content[name] for name in modules if isinstance(content.get(name), Record)}
    if not found:
        raise NotInert(f"it holds none of {', '.join(modules)}; it holds: {', '.join(content) or 'nothing by name'}")
    tensors = {key: value for name, module in found.items() for key, value in tensors_of(module, name)}
    attributes = {key: value for name, module in found.items() for key, value in attributes_of(module, name)}
    save_file(tensors, target, metadata={"attributes": json.dumps(attributes)})


def _bound(size: int) -> None:
    """Bounds this process, where the system can: memory, processor time, and no further processes or open files."""
    if importlib.util.find_spec("resource") is None:
        return
    resource = importlib.import_module("resource")
    memory = SPARE_BYTES + 8 * size
    for limit, most in (("RLIMIT_AS", memory), ("RLIMIT_CPU", SECONDS), ("RLIMIT_NOFILE", 64), ("RLIMIT_CORE", 0)):
        resource.setrlimit(getattr(resource, limit), (most, most))


def main(arguments: list[str]) -> int:
    """Converts; returns the exit code, and says on standard error what went wrong."""
    source, target, names = Path(arguments[0]), Path(arguments[1]), arguments[2].split(",")
    _bound(source.stat().st_size)
    try:
        convert(source, target, names)
    except NotInert as error:
        print(error, file=sys.stderr)
        return 2
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, MemoryError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
