"""Batches prepared ahead by threads, in a fixed order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Key = TypeVar("Key")
Made = TypeVar("Made")


def prefetched(keys: Iterable[Key], make: Callable[[Key], Made], workers: int) -> Generator[Made, None, None]:
    """`make(key)` for every key, in order, computed up to `workers + 1` keys ahead.

    Args:
        keys: What to make things from; read in order by the calling thread.
        make: Must not depend on the order in which it is called.
        workers: Threads; 0 computes in the calling thread.

    Yields:
        What `make` returned; its exceptions are raised here.
    """
    if workers == 0:
        yield from map(make, keys)
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="bottega-batch")
    waiting: deque[Future[Made]] = deque()
    try:
        for key in keys:
            waiting.append(pool.submit(make, key))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
