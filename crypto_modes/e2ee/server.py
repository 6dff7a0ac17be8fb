"""The middle of ``e2ee``: stamp the commitment, hand each device its copy, believe no bare report.

What may live here: the three verbs and the record's layout. What may not: keys of any user.
A record is binary, so that a copy is found by a few reads::

    count u8 || (device 16 || length u32) × count || copies
"""

from __future__ import annotations

from struct import Struct, error

from crypto_modes import franking, wire
from crypto_modes.attachments import AsSent
from crypto_modes.contract import (
    ID_SIZE,
    BlobMeta,
    Evidence,
    Meta,
    Pieces,
    Sealed,
    ServerTools,
    Stored,
)
from crypto_modes.e2ee import body
from crypto_modes.e2ee.header import FIXED_SIZE
from crypto_modes.errors import CannotOpen, CannotRead, FrameRefused, LimitExceeded, ReportRefused
from crypto_modes.padding import MINIMUM
from crypto_modes.primitives import HASH_SIZE, KEY_SIZE, TAG_SIZE
from crypto_modes.tls import deliver

COPY_LIMIT = 20
COPY_MINIMUM = FIXED_SIZE + KEY_SIZE + MINIMUM + TAG_SIZE
_ENTRY = Struct(f">{ID_SIZE}sI")


class E2eeServer:
    """A relay's end of ``e2ee``."""

    __slots__ = ("_tools",)

    def __init__(self, tools: ServerTools) -> None:
        self._tools = tools

    def admit(self, meta: Meta, sealed: Sealed, previous: bytes) -> Stored:
        """Check shapes, stamp, keep. Raises ``FrameRefused``, ``LimitExceeded`` or ``Need``."""
        if sealed.body or not sealed.copies or len(sealed.commitment) != HASH_SIZE:
            raise FrameRefused("e2ee takes copies and a commitment of 32 bytes, and no body")
        if len({copy.device for copy in sealed.copies}) < len(sealed.copies):
            raise FrameRefused("e2ee takes one copy per device")
        sizes = [len(copy.body) for copy in sealed.copies]
        if len(sizes) > COPY_LIMIT or sum(sizes) > wire.FRAME_LIMIT:
            raise LimitExceeded(f"at most {COPY_LIMIT} copies in one frame")
        if min(sizes) < COPY_MINIMUM:
            raise FrameRefused(f"a copy has at least {COPY_MINIMUM} bytes; pad the text")
        key = self._tools.franking_keys.find(franking.month_of(meta.time))
        stamp = franking.stamp(key, meta, sealed.commitment)
        return Stored(meta, pack(sealed.copies), sealed.commitment, stamp, previous)

    def emit(self, stored: Stored, device: bytes) -> wire.Deliver:
        """The copy for ``device``; an empty body where there is none."""
        return deliver(stored, find(stored.record, device))

    def reveal(self, stored: Stored, evidence: Evidence) -> bytes:
        """The reported text, once stamp, commitment and reporter hold.

        Raises ``CannotRead`` without a report, ``ReportRefused`` for one that proves nothing.
        """
        if not (evidence.message or evidence.key):
            raise CannotRead("end-to-end encrypted: only a recipient can reveal this message")
        key = self._tools.franking_keys.find(franking.month_of(stored.meta.time))
        franking.verify(key, stored.meta, stored.commitment, stored.stamp, evidence)
        try:
            return body.decode(evidence.message).content
        except CannotOpen:
            raise ReportRefused("the revealed text is not a message") from None

    def pieces(self, meta: BlobMeta, head: bytes = b"") -> Pieces:
        """Attachments as they come: the sender sealed them under a key that is inside a message."""
        return AsSent()


def pack(copies: tuple[wire.Copy, ...]) -> bytes:
    """The record of ``copies``."""
    entries = [_ENTRY.pack(copy.device, len(copy.body)) for copy in copies]
    return b"".join((bytes((len(copies),)), *entries, *(copy.body for copy in copies)))


def find(record: bytes, device: bytes) -> bytes:
    """The copy for ``device`` in a record, or nothing. Raises ``CannotOpen`` if damaged."""
    try:
        count = record[0]
        start = 1 + count * _ENTRY.size
        for at in range(1, start, _ENTRY.size):
            owner, size = _ENTRY.unpack_from(record, at)
            if owner == device:
                if start + size > len(record):
                    raise CannotOpen("a stored record is damaged")
                return record[start : start + size]
            start += size
    except (IndexError, error):
        raise CannotOpen("a stored record is damaged") from None
    return b""
