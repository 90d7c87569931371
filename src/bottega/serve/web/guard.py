"""Who may talk to a server of ours: a middleware that refuses foreign hosts and pages, missing tokens, large bodies.

A page of another site can make a browser send requests to 127.0.0.1. `Host` must therefore be one of our own
addresses (against DNS rebinding), and `Origin` or `Sec-Fetch-Site`, where the browser sends them, must say that our own
page asks.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlsplit

from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE: Final = "bottega_token"
HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


def bare_error(status: int, sentence: str) -> dict[str, object]:
    """An error as the studio's own page reads it."""
    return {"error": sentence}


@dataclass(frozen=True, kw_only=True, slots=True)
class House:
    """What a guard protects.

    Args:
        name: What it is called in sentences, such as "the studio".
        command: What printed its address, such as "bottega studio".
        largest: Most bytes of a request's body, by its path.
        public: Paths that need no token.
        page: Whether it has a page, which may be opened with the token in its address, and from other pages.
        error: `(status, sentence)` to the JSON body of a refusal.
    """

    name: str
    command: str
    largest: Callable[[str], int]
    public: frozenset[str] = frozenset()
    page: bool = False
    error: Callable[[int, str], Mapping[str, object]] = bare_error


class Guard:
    """The outermost layer of a server.

    Args:
        app: What it protects.
        house: What to say, and how large requests may be.
        hosts: Values of the `Host` header that are ours, such as "127.0.0.1:7860". None takes any, which a token makes
            safe: a browser keeps our cookie from every other name.
        token: What every request must carry, as `Authorization: Bearer`, as cookie, or once as `/?token=`; None asks
            for nothing and is right only for loopback addresses.
    """

    def __init__(self, app: ASGIApp, house: House, hosts: frozenset[str] | None, token: str | None = None) -> None:
        if hosts is None and token is None:
            raise ValueError("without a token, the hosts must be named")
        self._app = app
        self._house = house
        self._hosts = hosts
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Checks a request and passes it on, or answers it here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if self._token is not None and self._house.page and _offered_in_address(scope, self._token):
            await self._answer(send, 303, "", {"location": "/", "set-cookie": _cookie(self._token)})
            return
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await self._answer(send, *refusal)
            return
        limit = self._house.largest(scope["path"])
        declared = headers.get("content-length", "0")
        if not declared.isdecimal() or int(declared) > limit:
            await self._answer(send, 413, _too_large(limit))
            return
        await self._app(scope, _Counted(receive, limit), _with_headers(send))

    def _refusal(self, scope: Scope, headers: Mapping[str, str]) -> tuple[int, str] | None:
        host, name = headers.get("host", ""), self._house.name
        foreign = f"another page asked for this; {name} answers its own page and programs"
        if self._hosts is not None and host not in self._hosts:
            return 421, f"this address is not {name}'s; open the one that `{self._house.command}` printed"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return 403, foreign
        site = headers.get("sec-fetch-site", "none")
        opening = headers.get("sec-fetch-mode") == "navigate" and scope["method"] == "GET" and scope["path"] == "/"
        if site not in ("same-origin", "none") and not (opening and self._house.page):
            return 403, foreign
        if self._token is None or scope["path"] in self._house.public or _carries(headers, self._token):
            return None
        return 401, f"a token is needed; use the one that `{self._house.command}` printed"

    async def _answer(self, send: Send, status: int, sentence: str, extra: Mapping[str, str] | None = None) -> None:
        body = json.dumps(self._house.error(status, sentence)).encode()
        headers = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
        listed = [(name.encode(), value.encode()) for name, value in {**headers, **(extra or {})}.items()]
        sender = _with_headers(send)
        await sender({"type": "http.response.start", "status": status, "headers": listed})
        await sender({"type": "http.response.body", "body": body})


class _Counted:
    """The receive channel of a request, which ends when more bytes come than are allowed."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._seen = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        self._seen += len(message.get("body", b""))
        if self._seen > self._limit:
            raise HTTPException(413, _too_large(self._limit))
        return message


def _too_large(limit: int) -> str:
    size = f"{limit // 2**20} MB" if limit >= 2**20 else f"{limit // 2**10} kB"
    return f"this is larger than {size}, the most that is taken; make it smaller"


def _offered_in_address(scope: Scope, token: str) -> bool:
    offered = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
    return scope["path"] == "/" and any(_same(value, token) for value in offered)


def _carries(headers: Mapping[str, str], token: str) -> bool:
    kind, _, value = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and _same(value, token):
        return True
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return False
    return cookie is not None and _same(cookie.value, token)


def _same(offered: str, token: str) -> bool:
    return secrets.compare_digest(offered.encode(), token.encode())


def _cookie(token: str) -> str:
    return f"{COOKIE}={token}; HttpOnly; SameSite=Strict; Path=/"


def _with_headers(send: Send) -> Send:
    async def sender(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = list(message.get("headers", []))
            kept += [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            if not any(name.lower() == b"cache-control" for name, _ in kept):
                kept.append((b"cache-control", b"no-store"))
            message["headers"] = kept
        await send(message)

    return sender
