"""Asking the relay's moderation API and the vault, by HTTP.

What may live here: the request, its limits, the session's renewal, signed calls, and which error a
refusal is. What may not: what is asked.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from client.moderation.post import Post, Session
from crypto_modes import disclosure, grants
from crypto_modes.errors import (
    BadArgument,
    BadConfig,
    ConnectionLost,
    Forbidden,
    GrantRefused,
    LouverError,
    RateLimited,
    Unauthorized,
    Unavailable,
)
from crypto_modes.keys import SigningKey

PREFIX = "/moderation/v1"
TIMEOUT = 30.0
ANSWER_LIMIT = 64 * 1024 * 1024  # 500 messages of the largest size
# A session that ends sooner than this is renewed with the next request.
RENEW = 5 * 60_000
_HERE = frozenset({"127.0.0.1", "::1", "localhost"})


class Overtaken(BadArgument):
    """Somebody else changed it since it was looked at."""


_REFUSALS: Mapping[int, type[LouverError]] = {
    401: Unauthorized,
    403: GrantRefused,
    404: Forbidden,
    409: Overtaken,
    412: Overtaken,
    429: RateLimited,
    503: Unavailable,
}
T = TypeVar("T")


class Answer(NamedTuple):
    """The version of what is shown, or empty; and the body."""

    etag: str
    body: bytes

    @property
    def json(self) -> Any:
        """What the body says."""
        try:
            return json.loads(self.body or b"null")
        except ValueError:
            raise ConnectionLost("what answers there is no relay and no vault") from None


class Server:
    """A relay's internal listener or a vault at ``url``; ``ca`` is the PEM file of its authority.

    Raises ``BadArgument`` for an address that is not safe: http:// only to this machine.
    """

    def __init__(self, url: str, ca: str = "") -> None:
        parts = urlsplit(url)
        safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _HERE)
        if not parts.hostname or not safe or parts.path.strip("/"):
            raise BadArgument(f"{url!r} must be https://HOST:PORT, or http:// on this machine")
        self._url = url
        self._host, self._port = parts.hostname, parts.port
        self._context = _context(ca) if parts.scheme == "https" else None

    def ask(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Raises ``ConnectionLost``, or what the refusal says."""
        there = (
            http.client.HTTPConnection(self._host, self._port or 80, timeout=TIMEOUT)
            if self._context is None
            else http.client.HTTPSConnection(
                self._host, self._port or 443, timeout=TIMEOUT, context=self._context
            )
        )
        try:
            there.request(method, path, body, {"Content-Type": "application/json", **headers})
            answer = there.getresponse()
            content = answer.read(ANSWER_LIMIT)
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "strerror", None) or error
            raise ConnectionLost(f"nobody answers at {self._url} ({why})") from None
        finally:
            there.close()
        if answer.status >= http.HTTPStatus.BAD_REQUEST:
            raise _refusal(answer.status, content)
        return Answer(answer.headers.get("ETag", ""), content)


class Office:
    """The moderation API, as the person of ``post`` who is logged in."""

    def __init__(self, post: Post) -> None:
        self._post = post
        addresses = post.addresses
        self.name = addresses.name
        self._server = Server(addresses.url, addresses.ca)

    def open(self, path: str, body: object, headers: Mapping[str, str] | None = None) -> Any:
        """Ask without a session: how one gets one."""
        content = json.dumps(body).encode()
        return self._server.ask("POST", PREFIX + path, content, headers or {}).json

    def get(self, path: str, **query: object) -> Answer:
        """Look at something. ``query`` without what is None or empty."""
        given = {name: value for name, value in query.items() if value not in (None, "")}
        tail = f"?{urlencode(given)}" if given else ""
        return self._server.ask("GET", PREFIX + path + tail, b"", self._headers())

    def pages(self, path: str, **query: object) -> Iterator[Any]:
        """Everything of a list, page by page."""
        after = query.pop("after", 0)
        while after is not None:
            page = self.get(path, after=after or None, **query).json
            yield from page["items"]
            after = page["next"]

    def post(self, path: str, body: object = None, seen: str = "") -> Answer:
        """Do something, once: where no answer comes, the same request is sent once more. ``seen``
        is the version that the decision is about."""
        headers = {**self._headers(), "Idempotency-Key": os.urandom(16).hex()}
        if seen:
            headers["If-Match"] = seen
        content = b"" if body is None else json.dumps(body).encode()
        try:
            return self._server.ask("POST", PREFIX + path, content, headers)
        except ConnectionLost:
            return self._server.ask("POST", PREFIX + path, content, headers)

    def step(self, path: str, verb: str, body: object = None) -> Any:
        """Do something to what is at ``path``, as it is now."""
        return self.post(f"{path}/{verb}", body, self.get(path).etag).json

    def close(self) -> None:
        """Log out."""
        self._server.ask("DELETE", f"{PREFIX}/sessions/current", b"", self._headers())
        self._post.close()

    def _headers(self) -> dict[str, str]:
        session = self._post.session
        if session.expires - _now() < RENEW:
            session = self._renewed(session)
        return {"Authorization": f"Bearer {session.token}"}

    def _renewed(self, session: Session) -> Session:
        headers = {"Authorization": f"Bearer {session.token}"}
        answer = self._server.ask("POST", f"{PREFIX}/sessions/renew", b"", headers).json
        renewed = Session(token=answer["token"], expires=answer["expires"])
        self._post.open(renewed)
        return renewed


class Vault:
    """The vault, to which every call is signed with the person's own key."""

    def __init__(self, post: Post) -> None:
        addresses = post.addresses
        if not addresses.vault:
            raise BadConfig("this profile knows no vault; run: louver mod login --vault https://…")
        self._server = Server(addresses.vault, addresses.vault_ca)
        self._name, self._key = addresses.name, post.key()

    def call(self, place: str, call: object, answer: type[T]) -> T:
        """Ask for something. Raises ``ConnectionLost`` for an answer that is none."""
        try:
            return disclosure.decode(self.ask(place, call), answer)
        except BadArgument:
            raise ConnectionLost("what answers there is no vault") from None

    def ask(self, place: str, call: object) -> bytes:
        """The same, as it came."""
        body = msgspec.json.encode(call)
        headers = signed(self._key, place, body, self._name)
        return self._server.ask("POST", place, body, headers).body


def signed(key: SigningKey, place: str, body: bytes, name: str) -> dict[str, str]:
    """The header by which ``name`` shows that this very call is his."""
    request = grants.sign_request(key, place, body, name, _now(), os.urandom(16))
    return {disclosure.HEADER: disclosure.to_header(request)}


def part(text: str) -> str:
    """One part of a path."""
    return quote(text, safe="")


def _refusal(status: int, content: bytes) -> LouverError:
    try:
        detail = str(json.loads(content)["detail"])
    except (ValueError, KeyError, TypeError):
        detail = f"it answers {status} and does not say why"
    kind = _REFUSALS.get(status, BadArgument)
    return kind(detail)


def _context(ca: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca or None)
    except (OSError, ssl.SSLError) as error:
        raise BadConfig(f"cannot use the authority's certificate {ca}: {error}") from None


def _now() -> int:
    return time.time_ns() // 1_000_000
