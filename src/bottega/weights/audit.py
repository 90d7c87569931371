"""A watch on pickle: which classes anything in this process looks up while unpickling.

`pickle` raises the audit event `pickle.find_class` for every class or function a pickle names; that look-up is how a
hostile pickle gets at code. `torch.load(weights_only=True)` has an unpickler of its own, which never asks `pickle`
for a class, so reading weights raises none; `torch.load(weights_only=False)` does.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import FrameType

MULTIPROCESSING = ("multiprocessing", "torch.multiprocessing", "concurrent.futures")


@dataclass(frozen=True, kw_only=True, slots=True)
class Unpickling:
    """One class looked up by an unpickler.

    Args:
        name: The class or function, as `module.name`.
        caller: The innermost module outside `pickle` that was unpickling.
    """

    name: str
    caller: str


@dataclass(frozen=True, slots=True)
class PickleWatch:
    """The look-ups seen since the watch began."""

    allowed: tuple[str, ...]
    _events: list[Unpickling] = field(default_factory=list)

    def events(self) -> tuple[Unpickling, ...]:
        """Everything seen so far, oldest first."""
        return tuple(self._events)

    def hear(self, event: str, arguments: tuple[object, ...]) -> None:
        """The audit hook itself."""
        if event != "pickle.find_class":
            return
        callers = _callers(sys._getframe(1))
        if any(_is_within(name, package) for name in callers for package in self.allowed):
            return
        caller = next((name for name in callers if name != "pickle"), "?")
        self._events.append(Unpickling(name=".".join(map(str, arguments)), caller=caller))


def forbid_unpickling(allowed: tuple[str, ...] = MULTIPROCESSING) -> PickleWatch:
    """Starts to watch for unpickling in this process. Python cannot remove an audit hook: it stays on for good.

    Args:
        allowed: Packages that may unpickle what another process of ours sent; a look-up with one of them anywhere on
            its call stack is not recorded.

    Returns:
        The watch, whose `events()` must stay empty.
    """
    watch = PickleWatch(allowed)
    sys.addaudithook(watch.hear)
    return watch


def _callers(frame: FrameType | None) -> list[str]:
    names = []
    while frame is not None:
        names.append(str(frame.f_globals.get("__name__", "?")))
        frame = frame.f_back
    return names


def _is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")
