"""A bounded place for what is slow to make: each thing is made once, however many ask for it at the same time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Shelf(Generic[Key, Value]):
    """Keeps the things that were used last.

    Args:
        most: How many.
        weight: Bytes of a thing; None where the number alone bounds the shelf.
        most_bytes: How many bytes together; the thing that was used last stays in any case.
    """

    def __init__(self, most: int, *, weight: Callable[[Value], int] | None = None, most_bytes: int = 0) -> None:
        self._most, self._weight, self._most_bytes = most, weight, most_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[Key, Future[Value]] = OrderedDict()

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        """The thing of that key, made now where it is not there. A failure is told to all who wait, and forgotten."""
        with self._lock:
            own: Future[Value] = Future()
            future = self._kept.setdefault(key, own)
            self._kept.move_to_end(key)
        if future is not own:
            return future.result()
        try:
            value = make()
        except BaseException as error:
            with self._lock:
                self._kept.pop(key, None)
            own.set_exception(error)
            raise
        own.set_result(value)
        with self._lock:
            self._trim()
        return value

    def find(self, key: Key) -> Value | None:
        """The thing of that key, or None where it is not there or not ready."""
        with self._lock:
            future = self._kept.get(key)
            if future is None or not future.done() or future.exception() is not None:
                return None
            self._kept.move_to_end(key)
            return future.result()

    def put(self, key: Key, value: Value) -> None:
        """Lays a thing on the shelf."""
        self.get(key, lambda: value)

    def drop(self, key: Key) -> bool:
        """Takes a thing away; tells whether it was there."""
        with self._lock:
            return self._kept.pop(key, None) is not None

    def clear(self) -> None:
        """Takes everything away."""
        with self._lock:
            self._kept.clear()

    def __len__(self) -> int:
        with self._lock:
            return len(self._kept)

    def _trim(self) -> None:
        while len(self._kept) > self._most or (len(self._kept) > 1 and self._bytes() > self._most_bytes > 0):
            self._kept.popitem(last=False)

    def _bytes(self) -> int:
        weight = self._weight
        if weight is None:
            return 0
        return sum(weight(each.result()) for each in self._kept.values() if each.done() and each.exception() is None)
