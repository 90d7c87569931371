"""`bottega serve ID`: a language model behind OpenAI's interface."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from bottega.catalog import Catalog, load_in
from bottega.cli.arguments import Line, parse_together, take_system
from bottega.cli.wording import bytes_text
from bottega.errors import BottegaError, RequestError

if TYPE_CHECKING:
    from bottega.serve.api import Serving

DESCRIPTION = "Serves a language model to OpenAI's clients: completions and chat completions, streamed or whole."


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeOptions:
    """How to serve.

    Args:
        host: The address to listen on; another one than this machine's demands a token, which is made and shown.
        port: The port, 0 to 65535; the first free one from 7440 when it is not given.
        token: The API key that clients must send, at least 12 letters and digits.
        slots: Most texts that are written at the same time.
        queue: Most texts that wait; further ones are told when to come back.
        memory: Most gigabytes of keys and values of the texts that are being written. When it is not given, what all
            slots need for the whole context, but at most half of the machine's memory.
        device: "cpu", "cuda", "cuda:1" or "mps".
        dtype: Type of the parameters: float32, bfloat16, float16 or float64.
        weights: A weights file of bottega's own, or (with --format) a published file, folder or hub id. The bundled
            weights when it is not given.
        format: The published format that the weights have; `bottega info ID` lists them.
        preset: The size, where the weights do not say it.
        json: Print JSON for machines.
    """

    host: Annotated[str, arg(metavar="ADDRESS")] = "127.0.0.1"
    port: Annotated[int | None, arg(metavar="INT")] = None
    token: Annotated[str | None, arg(metavar="TEXT")] = None
    slots: int = 8
    queue: int = 64
    memory: Annotated[float | None, arg(metavar="GB")] = None
    device: Annotated[str, arg(metavar="DEVICE")] = "cpu"
    dtype: Annotated[str | None, arg(metavar="TYPE")] = None
    weights: Annotated[str | None, arg(metavar="PATH")] = None
    format: Annotated[str | None, arg(metavar="NAME")] = None
    preset: Annotated[str | None, arg(metavar="NAME")] = None
    json: bool = False

    def __post_init__(self) -> None:
        if self.port is not None and not 0 <= self.port <= 65535:
            raise RequestError.of("port", self.port, "from 0 to 65535")
        for name, number in (("slots", self.slots), ("queue", self.queue)):
            if number < 1:
                raise RequestError.of(name, number, "at least 1")
        if self.memory is not None and not 0 < self.memory < float("inf"):
            raise RequestError.of("memory", self.memory, "above 0 GB")


def main(arguments: list[str], rooms: Catalog) -> int:
    """Serves until Ctrl-C."""
    system_id, rest = take_system(arguments, "bottega serve", rooms)
    system = rooms.get(system_id)
    line = Line(rest, f"bottega serve {system_id}", DESCRIPTION, system.parts)
    options, parts = parse_together(line, ServeOptions)
    if system.language is None:
        raise RequestError(f"{system_id} has no language model to serve; `bottega list` says which systems write words")
    try:
        from bottega.serve.api import serve_language
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("bottega"):
            raise
        raise BottegaError(f"the server needs {error.name}; install it with: pip install 'bottega[studio]'") from error
    ready = load_in(
        rooms, system_id, preset=options.preset, weights=options.weights, format=options.format,
        device=options.device, dtype=options.dtype, parts=parts,
    )  # fmt: skip
    serve_language(
        ready,
        host=options.host,
        port=options.port,
        token=options.token,
        slots=options.slots,
        queue=options.queue,
        memory_bytes=None if options.memory is None else int(options.memory * 1e9),
        started=_tell_machine if options.json else _tell,
    )
    return 0


def _tell(serving: Serving) -> None:
    key = f"API key {serving.token}" if serving.token else "any API key"
    print(
        f"{serving.model} ({serving.preset}) for OpenAI's clients: {serving.base_url}, {key}\n"
        f"{serving.slots} texts at once of up to {serving.context} tokens, {serving.queue} waiting, "
        f"{bytes_text(serving.memory_bytes)} for keys and values. Stop with Ctrl-C.",
        flush=True,
    )


def _tell_machine(serving: Serving) -> None:
    print(json.dumps(dataclasses.asdict(serving)), flush=True)
