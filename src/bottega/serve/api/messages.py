"""What clients send, checked."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bottega.processes.decoding import Sampling
from bottega.serve.api.errors import ApiError

Body = TypeVar("Body", bound=BaseModel)

NO_TOOLS: Final = "this server calls no tools or functions; leave it out and describe the tools in a message instead"
TEXT_ONLY: Final = "this server takes and writes text only; leave it out"
NOTHING: Final = (None, [], {}, "")
REFUSED: Final[Mapping[str, tuple[tuple[object, ...], str]]] = MappingProxyType(
    {
        "tools": (NOTHING, NO_TOOLS),
        "functions": (NOTHING, NO_TOOLS),
        "tool_choice": ((None, "none"), NO_TOOLS),
        "function_call": ((None, "none"), NO_TOOLS),
        "parallel_tool_calls": ((None, False, True), NO_TOOLS),
        "audio": (NOTHING, TEXT_ONLY),
        "modalities": ((None, ["text"]), TEXT_ONLY),
        "response_format": ((None, {"type": "text"}), "this server promises no format; leave it out and ask in words"),
        "logit_bias": (NOTHING, "this server biases no tokens; leave it out"),
        "best_of": ((None, 1), "this server chooses among no candidates; ask for n texts and choose yourself"),
        "suffix": (NOTHING, "this server writes behind a prompt only; leave it out"),
        "reasoning_effort": ((None, "none"), "this server's models do not reason apart; leave it out"),
        "web_search_options": (NOTHING, "this server searches nothing; leave it out"),
        "prediction": (NOTHING, "this server takes no predicted text; leave it out"),
        "store": ((None, False), "this server keeps nothing; leave it out"),
    }
)
"""Fields of OpenAI's that this server does not have: the values that ask for nothing, and what to do instead."""


class StreamOptions(BaseModel):
    """How a stream ends."""

    model_config = ConfigDict(extra="forbid", strict=True)
    include_usage: bool = False


class WriteBody(BaseModel):
    """What completions and chat completions have in common.

    Beside OpenAI's fields there are `top_k`, `min_p`, `repetition_penalty` and `ignore_eos`, as in other open servers.
    """

    model_config = ConfigDict(extra="forbid", strict=True)
    model: str
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0)] = 0
    min_p: Annotated[float, Field(ge=0, lt=1)] = 0.0
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] = 1.0
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    ignore_eos: bool = False
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: Annotated[str, Field(min_length=1, max_length=500)] | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
    """The client's own name for its user; nothing depends on it."""
    metadata: dict[str, str] | None = None
    """The client's own notes; nothing depends on them."""

    @property
    def sampling(self) -> Sampling:
        """How tokens are drawn; OpenAI's defaults."""
        return Sampling(
            temperature=1.0 if self.temperature is None else self.temperature, top_k=self.top_k,
            top_p=1.0 if self.top_p is None else self.top_p, min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
        )  # fmt: skip

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop sequences."""
        if isinstance(self.stop, str):
            return (self.stop,)
        stops = tuple(self.stop or ())
        if len(stops) > 16 or not all(0 < len(stop) <= 500 for stop in stops):
            raise ApiError(400, "stop must be at most 16 texts of 1 to 500 letters", param="stop")
        return stops

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with the numbers of tokens."""
        return self.stream_options is not None and self.stream_options.include_usage


class CompletionBody(WriteBody):
    """POST /v1/completions."""

    prompt: str | list[str] | list[int] | list[list[int]]
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: bool | None = None


class ContentPart(BaseModel):
    """A part of a message. Other types than text are refused by name."""

    type: str
    text: str = ""


class ChatMessage(BaseModel):
    """A message of a conversation; what else clients put into it (`refusal`, say) is theirs."""

    model_config = ConfigDict(strict=True)
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[ContentPart]

    @property
    def said(self) -> str:
        """The message's text."""
        if isinstance(self.content, str):
            return self.content
        strange = next((part.type for part in self.content if part.type != "text"), None)
        if strange is not None:
            sentence = f"a message has a part of type {strange!r}, but this server takes text only"
            raise ApiError(400, sentence, param="messages", code="unsupported_value")
        return "".join(part.text for part in self.content)


class ChatBody(WriteBody):
    """POST /v1/chat/completions."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None


def read_body(kind: type[Body], raw: Any) -> Body:
    """A checked body.

    Raises:
        ApiError: What is wrong with it first, with status 400.
    """
    if not isinstance(raw, dict):
        raise ApiError(400, "the body must be a JSON object")
    for name, (harmless, reason) in REFUSED.items():
        if name in raw and raw[name] not in harmless:
            raise ApiError(400, f"{name}: {reason}", param=name, code="unsupported_parameter")
    try:
        return kind.model_validate({name: value for name, value in raw.items() if name not in REFUSED})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"] if isinstance(part, int) or part.isidentifier())[:80]
    if first["type"] == "extra_forbidden":
        raise ApiError(400, f"there is no parameter {where}; leave it out", param=where, code="unknown_parameter")
    if first["type"] == "missing":
        raise ApiError(400, f"{where} is missing", param=where, code="missing_required_parameter")
    sentence = f"{where} must be {first['msg'].removeprefix('Input should be ')}"
    raise ApiError(400, sentence, param=where.split(".")[0], code="invalid_value")
