"""A language server that really listens on a free port of this machine, for as long as a test needs it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import uvicorn
from openai import OpenAI

from bottega.processes.decoding import Language
from bottega.serve.api import Served, create_api
from bottega.serve.language import Engine
from bottega.serve.language.tests.tiny_language import Watched


@dataclass(frozen=True, kw_only=True)
class RunningApi:
    """Where it is, and its engine."""

    address: str
    engine: Engine

    def client(self, key: str = "none") -> OpenAI:
        return OpenAI(base_url=f"{self.address}/v1", api_key=key, max_retries=0, timeout=30)

    def post(self, path: str, body: object, headers: dict[str, str] | None = None) -> httpx.Response:
        return httpx.post(f"{self.address}{path}", json=body, headers=headers, timeout=30)


@contextmanager
def running_api(language: Language, *, token: str | None = None, **settings: int) -> Iterator[RunningApi]:
    engine = Engine(language, **settings)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        served = Served(id="tiny", created=1, fingerprint="bottega-test", engine=engine)
        app = create_api(served, hosts=frozenset({f"127.0.0.1:{port}"}), token=token)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            yield RunningApi(address=f"http://127.0.0.1:{port}", engine=engine)
        finally:
            if isinstance(language.model, Watched) and language.model.permits is not None:
                language.model.permits.release(10_000)
            server.should_exit = True
            thread.join(20)
            engine.close()
