"""The mode ``tls``: encrypted on the way, readable at the relay and on its disks.

What may live here: the five verbs of this mode, which all pass the body through. TLS itself
belongs to the gateway and the connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from crypto_modes import content, wire
from crypto_modes.attachments import AsSent
from crypto_modes.contract import (
    BlobMeta,
    ClientMode,
    ClientTools,
    Draft,
    Evidence,
    Meta,
    Opened,
    Pieces,
    Sealed,
    ServerMode,
    ServerTools,
    Stored,
)
from crypto_modes.errors import FrameRefused, LimitExceeded

NAME = "tls"


class TlsClient:
    """The ends of ``tls``; stateless."""

    def seal(self, draft: Draft) -> Sealed:
        """The content as it is, and what it answers."""
        body = content.with_reply(draft.content, draft.reply_to)
        return Sealed(mode=NAME, epoch=draft.epoch, body=body)

    def open(self, delivery: wire.Deliver) -> Opened:
        """The body as it is."""
        text, reply_to = content.without_reply(delivery.body)
        return Opened(content=text, kind=delivery.kind, reply_to=reply_to)

    def supply(self, answer: wire.Devices | wire.Keys | wire.Policy) -> None:
        """Nothing is ever needed."""


class TlsServer:
    """The middle of ``tls``; stateless."""

    def admit(self, meta: Meta, sealed: Sealed, previous: bytes) -> Stored:
        """Keep the body as it is."""
        check_body(sealed)
        return Stored(meta, sealed.body, chain=previous)

    def emit(self, stored: Stored, device: bytes) -> wire.Deliver:
        """Give the body as it is."""
        return deliver(stored, stored.record)

    def reveal(self, stored: Stored, evidence: Evidence) -> bytes:
        """The operator reads what it keeps."""
        return stored.record

    def pieces(self, meta: BlobMeta, head: bytes = b"") -> Pieces:
        """Attachments as they are."""
        return AsSent()


def check_body(sealed: Sealed) -> None:
    """Refuse what only ``e2ee`` may carry, and a body over the content limit of 16 KiB."""
    if sealed.copies or sealed.commitment:
        raise FrameRefused(f"mode {sealed.mode!r} takes one body, not copies or a commitment")
    if len(sealed.body) > wire.CONTENT_LIMIT:
        raise LimitExceeded(f"a message may have at most {wire.CONTENT_LIMIT} bytes")


def deliver(stored: Stored, body: bytes) -> wire.Deliver:
    """The ``deliver`` frame of a stored message with this body."""
    meta = stored.meta
    return wire.Deliver(
        conversation=meta.conversation,
        seq=meta.seq,
        id=meta.id,
        sender=meta.sender,
        device=meta.device,
        recipient=meta.recipient,
        kind=meta.kind,
        mode=meta.mode,
        epoch=meta.epoch,
        time=meta.time,
        body=body,
        commitment=stored.commitment,
        stamp=stored.stamp,
    )


class Tls:
    """The mode as it is registered."""

    name = NAME
    strength = 10
    words = "The operator can read and keeps readable text"
    visibility: Mapping[str, bool] = MappingProxyType(
        {
            "network_tap": False,
            "database": True,
            "backup": True,
            "bus": True,
            "logs": False,
            "relay_memory": True,
            "vault_without_grant": False,
            "compelled_operator": True,
            "stolen_device_past": True,
            "stolen_device_future": True,
            "stolen_device_healed": True,
        }
    )

    def server(self, tools: ServerTools) -> ServerMode:
        """The relay's side."""
        return TlsServer()

    def client(self, tools: ClientTools) -> ClientMode:
        """The ends' side."""
        return TlsClient()


MODE = Tls()
