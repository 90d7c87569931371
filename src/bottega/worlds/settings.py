"""What the settings of all worlds have in common: splits, sizes, shares and the indices of a map-style data set."""

from __future__ import annotations

from bottega.errors import RequestError

SPLITS = ("train", "heldout", "all")
LARGEST = 512  # px, side of a picture


def check_split(split: str) -> None:
    """Raises `RequestError` for an unknown split."""
    if split not in SPLITS:
        raise RequestError.of("split", split, f"one of {', '.join(SPLITS)}")


def check_size(size: int, smallest: int) -> None:
    """Raises `RequestError` for a picture's side outside `smallest` to `LARGEST` pixels."""
    if not smallest <= size <= LARGEST:
        raise RequestError.of("size", size, f"between {smallest} and {LARGEST} px")


def check_share(field: str, share: float) -> None:
    """Raises `RequestError` for a share outside 0 to 1."""
    if not 0 <= share <= 1:
        raise RequestError.of(field, share, "a share between 0 and 1")


def check_length(length: int) -> None:
    """Raises `RequestError` for an empty data set."""
    if length < 1:
        raise RequestError.of("length", length, "at least 1")


def within(index: int, length: int) -> int:
    """The index, or `IndexError` outside 0 to `length - 1`, which also ends a plain loop over the data set."""
    if not 0 <= index < length:
        raise IndexError(f"index {index} is outside 0 to {length - 1}")
    return index
