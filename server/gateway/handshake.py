"""The opening handshake, as a pure function from the request's bytes to the answer's.

What may live here: who may upgrade, and what a refused one is told. What may not: connections.
A handshake needs a ``ServerProtocol`` for microseconds, so none is kept for a slow one.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

import msgspec
from websockets.exceptions import NegotiationError
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from crypto_modes import wire

# The library would log headers and payloads at DEBUG level; bodies and tokens never reach a log.
SILENT = logging.getLogger("louver.gateway.silent")
SILENT.disabled = True

_END = b"\r\n\r\n"
_PRINTABLE_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[A-Za-z0-9.:\[\]-]{1,255}")
_SUBPROTOCOLS = " or ".join(wire.CODECS)


class Answer(msgspec.Struct, frozen=True):
    """``data`` to write. ``subprotocol`` is empty where the upgrade was refused; ``origin`` is
    the one that was refused, else empty.
    """

    status: int
    data: bytes
    subprotocol: str = ""
    origin: str = ""


class Policy(msgspec.Struct, frozen=True):
    """Which pages may connect: those of ``origins`` and, always, those of the relay's own host.

    Without TLS the relay may sit behind a proxy that ends it, so ``https`` is its own as well.
    """

    origins: frozenset[str]
    secure: bool

    def allows(self, origin: str, host: str) -> bool:
        """Whether a page of ``origin`` may connect to ``host`` (header ``Host``)."""
        if origin in self.origins:
            return True
        scheme, _, place = origin.partition("://")
        schemes = ("https",) if self.secure else ("https", "http")
        return scheme in schemes and _with_port(scheme, place) == _with_port(scheme, host)


def split_head(data: bytes) -> tuple[bytes, bytes] | None:
    """The request head and what follows it; None while the head is incomplete."""
    end = data.find(_END)
    if end < 0:
        return None
    end += len(_END)
    return data[:end], data[end:]


def origin_line(origin: str) -> str:
    """The line of the configuration that allows ``origin``; never repeats what is not an origin."""
    shown = origin if _PRINTABLE_ORIGIN.fullmatch(origin) else "https://the.origin.to.allow"
    return f'listen.origins = ["{shown}"]'


def answer(head: bytes, policy: Policy, full: str = "") -> Answer:
    """Answer a complete request head. ``full`` names the limit that is reached, if one is."""
    protocol = ServerProtocol(
        select_subprotocol=_select,
        logger=SILENT,
    )
    protocol.receive_data(head)
    request = next(iter(protocol.events_received()), None)
    if not isinstance(request, Request):
        return refuse(400, "this is not a WebSocket handshake")
    if full:
        return refuse(503, f"the relay has too many connections ({full}); try again later")
    hosts = request.headers.get_all("Host")
    if len(hosts) != 1:
        return refuse(400, "the request must have exactly one Host header")
    origins = request.headers.get_all("Origin")
    # No browser omits Origin; what has none has no cookies or user to ride on either.
    if origins and not (len(origins) == 1 and policy.allows(origins[0], hosts[0])):
        return _refuse_origin(origins[0])
    response = protocol.accept(request)
    if response.status_code != 101:
        return _serialized(protocol, response)
    protocol.send_response(response)
    return Answer(101, b"".join(protocol.data_to_send()), str(protocol.subprotocol))


def refuse(status: int, text: str) -> Answer:
    """A refusal with a line of plain text that says what to do."""
    protocol = ServerProtocol(logger=SILENT)
    return _serialized(protocol, protocol.reject(status, f"{text}\n"))


def _serialized(protocol: ServerProtocol, response: Response, origin: str = "") -> Answer:
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "no-store"
    if response.status_code == 503:
        response.headers["Retry-After"] = "5"
    protocol.send_response(response)
    return Answer(response.status_code, b"".join(protocol.data_to_send()), origin=origin)


def _refuse_origin(origin: str) -> Answer:
    protocol = ServerProtocol(logger=SILENT)
    text = (
        "this relay takes no connections from pages of this origin. "
        f"Its operator can allow them with this line of the configuration:\n{origin_line(origin)}\n"
    )
    return _serialized(protocol, protocol.reject(403, text), origin)


def _select(protocol: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol:
    for name in offered:
        if name in wire.CODECS:
            return name
    raise NegotiationError(f"offer {_SUBPROTOCOLS} in the header Sec-WebSocket-Protocol")


def _with_port(scheme: str, place: str) -> str:
    """``host:port`` with the scheme's own port written out, in lower case."""
    place = place.lower()
    if re.search(r":\d+\Z", place):
        return place
    return f"{place}:{443 if scheme == 'https' else 80}"
