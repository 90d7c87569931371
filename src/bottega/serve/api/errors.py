"""Errors in OpenAI's shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

KINDS: Final = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
CODES: Final = {401: "invalid_api_key", 429: "rate_limit_exceeded"}


class ApiError(Exception):
    """A request that is answered with an error.

    Args:
        status: The HTTP status.
        sentence: What is wrong and what to do.
        param: The field of the request that it is about.
        code: A name for programs.
        headers: Of the answer.
    """

    def __init__(
        self, status: int, sentence: str, *, param: str | None = None, code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(sentence)
        self.status, self.param, self.code, self.headers = status, param, code, headers

    def body(self) -> dict[str, object]:
        """The answer."""
        return error_body(self.status, str(self), param=self.param, code=self.code)


def error_body(status: int, sentence: str, *, param: str | None = None, code: str | None = None) -> dict[str, object]:
    """An error as OpenAI's clients read it."""
    kind = KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": sentence, "type": kind, "param": param, "code": code or CODES.get(status)}}
