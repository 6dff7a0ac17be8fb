"""What TLS negotiated, as far as this Python reports it.

Only reporting lives here; the context is made by ``server.certs``.
"""

from __future__ import annotations

import asyncio

import msgspec

UNREPORTED = "not reported by this Python"


class Negotiated(msgspec.Struct, frozen=True):
    """The TLS version, cipher suite and key-agreement group of a connection."""

    version: str
    cipher: str
    group: str


def negotiated(transport: asyncio.BaseTransport) -> Negotiated | None:
    """What this transport's TLS agreed on; None without TLS."""
    tls = transport.get_extra_info("ssl_object")
    if tls is None:
        return None
    cipher = tls.cipher()
    # `ssl.SSLObject.group` is newer than the oldest Python that is supported.
    group = getattr(tls, "group", None)
    return Negotiated(
        version=tls.version() or UNREPORTED,
        cipher=cipher[0] if cipher else UNREPORTED,
        group=(group() if callable(group) else None) or UNREPORTED,
    )
