"""bottega: one workshop for published systems that see and make.

Everything is imported when it is first used; `import bottega` itself takes milliseconds.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bottega.catalog import Info, Ready, build, convert, fit, info, load, replay, systems
    from bottega.errors import BottegaError

__version__ = "0.1.0"
__all__ = ["BottegaError", "Info", "Ready", "build", "convert", "fit", "info", "load", "replay", "systems"]


def __getattr__(name: str) -> Any:
    """Public names on first use, and the request class of every room."""
    if name.startswith("_"):
        raise AttributeError(f"module 'bottega' has no attribute {name!r}")
    if name in __all__:
        home = "bottega.errors" if name == "BottegaError" else "bottega.catalog"
        return importlib.import_module(home).__dict__[name]
    request = importlib.import_module("bottega.catalog").ROOMS.request_type(name)
    if request is None:
        raise AttributeError(f"module 'bottega' has no attribute {name!r}")
    return request


def __dir__() -> list[str]:
    """Public names, and the request classes of all rooms."""
    return sorted([*__all__, "__version__", *importlib.import_module("bottega.catalog").ROOMS.request_names()])
