"""A studio that really listens on a free port of this machine, for as long as a test needs it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from bottega.studio import create_app
from bottega.studio.routes import Studio
from bottega.studio.tests.gradient_room import GradientCatalog
from bottega.studio.workshop import Catalog


@dataclass(frozen=True, kw_only=True)
class RunningStudio:
    """Where it is, and its parts."""

    address: str
    app: FastAPI

    @property
    def parts(self) -> Studio:
        return self.app.state.studio


@contextmanager
def running_studio(
    folder: Path, *, capacity: int = 4, token: str | None = None, catalog: Catalog | None = None
) -> Iterator[RunningStudio]:
    """Starts a studio with the gradient system, or with a catalog, and stops it with all its work."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        hosts = frozenset({f"127.0.0.1:{port}", f"localhost:{port}"})
        app = create_app(folder, catalog or GradientCatalog(), hosts=hosts, token=token, capacity=capacity)
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="error", timeout_keep_alive=60, timeout_graceful_shutdown=1)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            yield RunningStudio(address=f"http://127.0.0.1:{port}", app=app)
        finally:
            server.should_exit = True
            thread.join(20)
            app.state.studio.queue.close()
