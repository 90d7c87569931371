"""What torch.compile leaves on the disk, and what to do when a killed run left it damaged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bottega.errors import FileError


@contextmanager
def sound_cache(*, compiles: bool) -> Iterator[None]:
    """Says which folder to delete where compiled code cannot be made or loaded: a killed run may leave half a library.

    torch meets such a library either when it loads it, or when it asks it what the processor can do; then it goes on
    as if there were no vector instructions, and its compiler fails.

    Args:
        compiles: Whether the run compiles; without it no error is looked at.

    Raises:
        FileError: The code in torch's folder of compiled code cannot be made or loaded.
    """
    try:
        yield
    except (OSError, ImportError, RuntimeError) as error:  # the last is the compiler's own, around one of the others
        if not compiles:
            raise
        from torch._inductor.runtime.cache_dir_utils import cache_dir  # noqa: PLC0415 - importing it takes seconds

        folder = cache_dir()
        if not any(_of_compiled_code(cause) and folder in str(cause) for cause in _chain(error)):
            raise
        raise FileError(
            f"torch.compile left a damaged library in {folder}, perhaps when a run was killed; delete that folder and "
            "train again (the same command goes on from the last checkpoint), or choose --compile no"
        ) from error


def _of_compiled_code(error: BaseException) -> bool:
    from torch._inductor.exc import CppCompileError  # noqa: PLC0415 - importing it takes seconds

    return isinstance(error, OSError | ImportError | CppCompileError)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
