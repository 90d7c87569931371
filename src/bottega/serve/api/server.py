"""Starting the server: which model, where it listens, and how it stops."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import uvicorn

from bottega.catalog import Ready
from bottega.errors import RequestError
from bottega.serve.api.app import Served, create_api
from bottega.serve.language import Engine, ample_memory
from bottega.serve.web import listen, own_hosts, page_address, token_for

PORT: Final = 7440
SECONDS_TO_END: Final = 20
SECONDS_KEPT_OPEN: Final = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Serving:
    """What a started server says of itself.

    Args:
        model: The model's id.
        preset: Its size.
        base_url: What clients are pointed to.
        token: Their API key; None where none is asked for.
        context: Most tokens of a prompt and its text.
        slots: Most texts written at the same time.
        queue: Most texts that wait.
        memory_bytes: Most bytes of keys and values.
        token_bytes: Bytes of keys and values of one token.
    """

    model: str
    preset: str
    base_url: str
    token: str | None
    context: int
    slots: int
    queue: int
    memory_bytes: int
    token_bytes: int


def serve_language(
    ready: Ready,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    token: str | None = None,
    slots: int,
    queue: int,
    memory_bytes: int | None,
    started: Callable[[Serving], None],
) -> None:
    """Serves a loaded system's language model until it is stopped with Ctrl-C or a SIGTERM.

    Then it takes no more, and what is being written has 20 seconds to end.

    Args:
        ready: The system.
        host: The address to listen on. Anything but a loopback address demands a token.
        port: The port; None takes the first free one from 7440.
        token: The API key that clients must send; None makes one when the address demands it.
        slots: See `Engine`.
        queue: See `Engine`.
        memory_bytes: See `Engine`; None takes what all slots need for the whole context, but at most half of the memory
            that the device has.
        started: Told once connections are taken.

    Raises:
        RequestError: The system has no language model, the address or port cannot be used, or a number is too small.
    """
    if ready.system.language is None:
        raise RequestError(f"{ready.id} has no language model to serve; `bottega list` says which systems write words")
    token, language = token_for(host, token), ready.system.language(ready.model)
    listening = listen(host, port, first=PORT, name="bottega serve")
    number = int(listening.getsockname()[1])
    engine = Engine(
        language, slots=slots, queue=queue,
        memory_bytes=ample_memory(language, slots) if memory_bytes is None else memory_bytes,
    )  # fmt: skip
    fingerprint = f"bottega-{ready.weights.sha256[:12]}"
    served = Served(id=ready.id, created=int(time.time()), fingerprint=fingerprint, engine=engine)
    app = create_api(served, hosts=own_hosts(host, number), token=token)
    started(
        Serving(
            model=ready.id, preset=ready.preset, base_url=page_address(host, number, None) + "v1", token=token,
            context=engine.longest, slots=slots, queue=queue, memory_bytes=engine.memory_bytes,
            token_bytes=engine.token_bytes,
        )
    )  # fmt: skip
    config = uvicorn.Config(
        app, log_level="warning", server_header=False, proxy_headers=False, timeout_keep_alive=SECONDS_KEPT_OPEN,
        timeout_graceful_shutdown=SECONDS_TO_END,
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[listening])
