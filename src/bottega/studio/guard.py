"""Who may talk to the studio: a middleware that refuses foreign hosts, foreign pages, missing tokens and large bodies.

A page of another site can make a browser send requests to 127.0.0.1. `Host` must therefore be one of our own
addresses (against DNS rebinding), and `Origin` or `Sec-Fetch-Site`, where the browser sends them, must say that our own
page asks.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlsplit

from starlette.exceptions import HTTPException

from bottega.studio import limits

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE: Final = "bottega_token"
UPLOADS: Final = "/api/uploads"
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


class Guard:
    """The outermost layer of the studio.

    Args:
        app: What it protects.
        hosts: Values of the `Host` header that are ours, such as "127.0.0.1:7860". None takes any, which a token makes
            safe: a browser keeps our cookie from every other name.
        token: What every request must carry, as `Authorization: Bearer`, as cookie, or once as `/?token=`; None asks
            for nothing and is right only for loopback addresses.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str] | None, token: str | None = None) -> None:
        if hosts is None and token is None:
            raise ValueError("without a token, the hosts must be named")
        self._app = app
        self._hosts = hosts
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Checks a request and passes it on, or answers it here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if self._token is not None and _offered_in_address(scope, self._token):
            await _answer(send, 303, "", {"location": "/", "set-cookie": _cookie(self._token)})
            return
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _answer(send, *refusal)
            return
        limit = limits.UPLOAD_BYTES if scope["path"] == UPLOADS else limits.BODY_BYTES
        declared = headers.get("content-length", "0")
        if not declared.isdecimal() or int(declared) > limit:
            await _answer(send, 413, _too_large(limit))
            return
        await self._app(scope, _Counted(receive, limit), _with_headers(send))

    def _refusal(self, scope: Scope, headers: Mapping[str, str]) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if self._hosts is not None and host not in self._hosts:
            return 421, "this address is not the studio's; open the one that `bottega studio` printed"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return 403, "another page asked for this; use the studio's own page"
        site = headers.get("sec-fetch-site", "none")
        opening = headers.get("sec-fetch-mode") == "navigate" and scope["method"] == "GET" and scope["path"] == "/"
        if site not in ("same-origin", "none") and not opening:
            return 403, "another page asked for this; use the studio's own page"
        if self._token is not None and not _carries(headers, self._token):
            return 401, "a token is needed; open the address with the token that `bottega studio` printed"
        return None


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


async def _answer(send: Send, status: int, sentence: str, extra: Mapping[str, str] | None = None) -> None:
    body = json.dumps({"error": sentence}).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
    listed = [(name.encode(), value.encode()) for name, value in {**headers, **(extra or {})}.items()]
    sender = _with_headers(send)
    await sender({"type": "http.response.start", "status": status, "headers": listed})
    await sender({"type": "http.response.body", "body": body})
