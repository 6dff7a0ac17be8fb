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

from typing import NamedTuple, cast

import msgspec

from crypto_modes import wire
from crypto_modes.contract import ID_SIZE, NO_DIGEST
from crypto_modes.encoding import enc
from crypto_modes.errors import CannotOpen
from crypto_modes.padding import pad, unpad

LABEL = "louver/v1/message_body"
GAP_LIMIT = 32
_LABEL = enc(LABEL)


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
    return pad(enc(LABEL, *body))


def decode(message: bytes) -> Body:
    """The body in ``M``. Exact: every field has its size. Raises ``CannotOpen``."""
    raw = unpad(message)
    if not raw.startswith(_LABEL):
        raise CannotOpen
    items, at = [], len(_LABEL)
    while at < len(raw):
        start = at + 4
        at = start + int.from_bytes(raw[at:start], "big")
        items.append(raw[start:at])
    if at != len(raw) or [len(items), *map(len, items[3:])] != [6, 8, 32, 8]:
        raise CannotOpen
    kind = items[0].decode("ascii", "replace")
    if kind not in wire.KINDS or len(items[2]) not in (0, ID_SIZE):
        raise CannotOpen
    counter, seen = int.from_bytes(items[3], "big"), int.from_bytes(items[5], "big")
    return Body(cast("wire.Kind", kind), items[1], items[2], counter, items[4], seen)


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
    """One of the last messages sealed: enough to seal it again for other devices, unchanged."""

    id: bytes
    counter: int
    previous: bytes
    seen: int
    key: bytes
    digest: bytes

    def __repr__(self) -> str:
        return f"<Recent {self.counter}>"


RECENT = 8


class Said(msgspec.Struct, array_like=True):
    """What this device said in one conversation: how many messages, ``H(M)`` of the last, and the
    last few in case the relay wants them for other devices. ``seen`` counts the other user's
    messages opened here.
    """

    sent: int = 0
    last: bytes = NO_DIGEST
    seen: int = 0
    recent: list[Recent] = []

    def again(self, id: bytes) -> Recent | None:
        """What was sealed before under this message id."""
        for recent in self.recent:
            if recent.id == id:
                return recent
        return None

    def note(self, recent: Recent) -> None:
        """Take in a message sealed for the first time."""
        self.sent, self.last = recent.counter, recent.digest
        self.recent.append(recent)
        del self.recent[:-RECENT]
