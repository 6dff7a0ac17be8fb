"""The plaintext of a message and the counters inside it; modes.md 28.

What may live here: ``M``'s encoding, and the memory of counters by which drops, reorderings and
forks show. What may not: keys. ::

    M = pad(enc("louver/v1/message_body", kind, content, reply_to, sender_counter,
                previous_hash, peer_counter))

``sender_counter`` counts a device's messages in a conversation from 1, ``previous_hash`` is
``H(M)`` of its previous one (zeros before the first), ``peer_counter`` is how many messages of
the other user it had opened.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple, get_args

import msgspec

from crypto_modes import wire
from crypto_modes.contract import DIGEST_SIZE, ID_SIZE, NO_DIGEST
from crypto_modes.encoding import enc
from crypto_modes.errors import CannotOpen
from crypto_modes.padding import pad, unpad

LABEL = "louver/v1/message_body"
GAP_LIMIT = 32

# enc() with most sizes known; tests hold it to enc().
_HEADS: dict[wire.Kind, bytes] = {kind: enc(LABEL, kind) for kind in get_args(wire.Kind)}
_KINDS = {head: kind for kind, head in _HEADS.items()}
_KIND_AT = len(enc(LABEL)) + 4
_TAIL = Struct(f">IQI{DIGEST_SIZE}sIQ")


class Body(NamedTuple):
    """A message's plaintext, parsed."""

    kind: wire.Kind
    content: bytes
    reply_to: bytes
    counter: int
    previous: bytes
    seen: int


def encode(body: Body) -> bytes:
    """``M``: padded, at least 256 bytes."""
    kind, content, reply_to, counter, previous, seen = body
    return pad(
        b"".join(
            (
                _HEADS[kind],
                len(content).to_bytes(4, "big"),
                content,
                len(reply_to).to_bytes(4, "big"),
                reply_to,
                _TAIL.pack(8, counter, DIGEST_SIZE, previous, 8, seen),
            )
        )
    )


def decode(message: bytes) -> Body:
    """The body in ``M``. Exact: only what ``encode`` makes is taken. Raises ``CannotOpen``."""
    raw = unpad(message)
    tail = len(raw) - _TAIL.size
    # The byte before the kind is the last of its length; whatever it says, only six heads exist.
    head = raw[: _KIND_AT + raw[_KIND_AT - 1]] if len(raw) >= _KIND_AT else b""
    kind = _KINDS.get(head)
    if kind is None or tail < len(head) + 8:
        raise CannotOpen
    start = len(head) + 4
    end = start + int.from_bytes(raw[start - 4 : start], "big")
    content, reply_to = raw[start:end], raw[end + 4 : tail]
    counter_size, counter, size, previous, seen_size, seen = _TAIL.unpack_from(raw, tail)
    if (counter_size, size, seen_size) != (8, DIGEST_SIZE, 8) or len(reply_to) not in (0, ID_SIZE):
        raise CannotOpen
    if end + 4 > tail or raw[end : end + 4] != len(reply_to).to_bytes(4, "big"):
        raise CannotOpen
    return Body(kind, content, reply_to, counter, previous, seen)


class Gap(msgspec.Struct, array_like=True, frozen=True):
    """Counters ``start`` to ``end`` never came; ``expected`` is ``H(M)`` of the last of them."""

    start: int
    end: int
    expected: bytes


class Heard(msgspec.Struct, array_like=True):
    """What is known of one device's messages in one conversation: the ``highest`` counter and its
    ``H(M)``, the peer counter it said last, the gaps, and a counter below which gaps were
    forgotten.
    """

    highest: int = 0
    last: bytes = NO_DIGEST
    echo: int = 0
    gaps: list[Gap] = []
    forgotten: int = 0

    def note(self, body: Body, digest: bytes) -> tuple[str, ...]:
        """Take in a message with ``H(M) = digest``; the warnings to show with it.

        A device that contradicts itself (two messages with one counter, a chain that does not
        match, a peer counter that falls) shows a fork: its state was copied or rolled back.
        """
        counter = body.counter
        if counter <= self.highest:
            return self._fill(body, digest)
        forked = body.seen < self.echo
        missing = counter - self.highest - 1
        if missing:
            self.gaps.append(Gap(self.highest + 1, counter - 1, body.previous))
            if len(self.gaps) > GAP_LIMIT:
                self.forgotten = max(self.forgotten, self.gaps.pop(0).end)
        else:
            forked = forked or body.previous != self.last
        self.highest, self.last, self.echo = counter, digest, body.seen
        warnings = (f"gap:{missing}",) if missing else ()
        return (*warnings, "fork") if forked else warnings

    def _fill(self, body: Body, digest: bytes) -> tuple[str, ...]:
        counter = body.counter
        for index, gap in enumerate(self.gaps):
            if not gap.start <= counter <= gap.end:
                continue
            rest = [
                Gap(gap.start, counter - 1, body.previous),
                Gap(counter + 1, gap.end, gap.expected),
            ]
            self.gaps[index : index + 1] = [each for each in rest if each.start <= each.end]
            forked = counter == gap.end and digest != gap.expected
            return ("reordered", "fork") if forked else ("reordered",)
        return ("reordered",) if counter <= self.forgotten else ("reordered", "fork")


class Recent(msgspec.Struct, array_like=True, frozen=True):
    """A message sealed lately: enough to seal it again for other devices, unchanged."""

    counter: int
    previous: bytes
    seen: int
    key: bytes
    digest: bytes

    def __repr__(self) -> str:
        return f"<Recent {self.counter}>"


class Said(msgspec.Struct, array_like=True):
    """What this device said in one conversation: how many messages, and ``H(M)`` of the last.

    ``seen`` counts the other user's messages opened here.
    """

    sent: int = 0
    last: bytes = NO_DIGEST
    seen: int = 0

    def note(self, recent: Recent) -> None:
        """Take in a message sealed for the first time."""
        self.sent, self.last = recent.counter, recent.digest
