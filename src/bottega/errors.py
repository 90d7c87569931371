"""Errors that a user can act on: one clear line, the offending value, and what to do.

Every error that reaches a user is a `BottegaError`. The command line prints its text without a traceback and exits
with code 2; the server answers 422 with the same text. A bug of ours is any other exception.
"""


class BottegaError(Exception):
    """A problem with what was asked or given, not with bottega. Its text is one line that says what to do."""


class RequestError(BottegaError):
    """A request, option or configuration value that cannot be used."""

    @classmethod
    def of(cls, field: str, value: object, allowed: str, fix: str = "") -> "RequestError":
        """Builds the standard sentence: which field, which value, what is allowed, what to do."""
        text = f"{field} is {value!r}, but it must be {allowed}"
        return cls(f"{text}; {fix}" if fix else text)


class FileError(BottegaError):
    """A file or folder that is missing, damaged, hostile, too large, or of the wrong kind."""


class WeightsError(BottegaError):
    """Weights that do not fit the model: unmapped keys, missing keys, wrong shapes, or a damaged file."""


class Cancelled(BottegaError):
    """The user stopped a run. Raised from a `report` callback; work stops within one step and nothing is lost."""
