"""The plaintext of a message and the counters inside it; modes.md 28.

What may live here: ``M``'s encoding, and the memory of counters by which drops, reorderings,
forks and withheld messages show. What may not: keys. ::

    M = pad(enc("louver/v1/message_body", kind, content, reply_to, echo, sender_counter,
                previous_hash, position, log_head))
    echo = up to 3 × (device[:8] || counter u64 || H(M)[:8]), the device heard last first
    log_head = log_size u64 || log_root 32, zeros for none

``sender_counter`` counts a device's messages in a conversation from 1, ``previous_hash`` is
``H(M)`` of its previous one (zeros before the first). ``position``: up to which of the relay's
numbers (``seq``) it had handled the conversation. ``echo``: per device of the other user the
highest counter opened here. Why so: docs/decisions/0011-an-echo-per-device.md.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple, get_args

import msgspec

from crypto_modes import wire
from crypto_modes.contract import (
    DIGEST_SIZE,
    ID_SIZE,
    LOG_HEAD_SIZE,
    NO_DIGEST,
    NO_LOG_HEAD,
    Secretive,
)
from crypto_modes.encoding import enc
from crypto_modes.errors import CannotOpen
from crypto_modes.padding import pad, unpad

LABEL = "louver/v1/message_body"
GAP_LIMIT = 32
ECHO_LIMIT = 3
# Own messages whose fate an echo can tell; of older ones only that they came in order.
SENT_KEPT = 16

# enc() with most sizes known; tests hold it to enc().
_HEADS: dict[wire.Kind, bytes] = {kind: enc(LABEL, kind) for kind in get_args(wire.Kind)}
_KINDS = {head: kind for kind, head in _HEADS.items()}
_KIND_AT = len(enc(LABEL)) + 4
_TAIL = Struct(f">IQI{DIGEST_SIZE}sIQI{LOG_HEAD_SIZE}s")
_SIZES = (8, DIGEST_SIZE, 8, LOG_HEAD_SIZE)

# Whoever wants two texts with one such digest at one place of a device's chain needs 2^64 hashes
# and that device's state; the chain itself has the whole digest.
_SHORT = 8
_ECHO = Struct(f">{_SHORT}sQ{_SHORT}s")
_SENT_SIZE = ID_SIZE + _SHORT


class Body(NamedTuple):
    """A message's plaintext, parsed."""

    kind: wire.Kind
    content: bytes
    reply_to: bytes
    counter: int
    previous: bytes
    position: int
    log_head: bytes = NO_LOG_HEAD
    echo: bytes = b""


def encode(body: Body) -> bytes:
    """``M``: padded, at least 256 bytes."""
    kind, content, reply_to, counter, previous, position, log_head, echo = body
    return pad(
        b"".join(
            (
                _HEADS[kind],
                len(content).to_bytes(4, "big"),
                content,
                len(reply_to).to_bytes(4, "big"),
                reply_to,
                len(echo).to_bytes(4, "big"),
                echo,
                _TAIL.pack(8, counter, DIGEST_SIZE, previous, 8, position, LOG_HEAD_SIZE, log_head),
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
    if kind is None or tail < len(head) + 12:
        raise CannotOpen
    items, at = [], len(head)
    for _ in range(3):
        start = at + 4
        at = start + int.from_bytes(raw[at:start], "big")  # may lie past the end
        items.append(raw[start:at])
    content, reply_to, echo = items
    if at != tail or len(reply_to) not in (0, ID_SIZE):
        raise CannotOpen
    if len(echo) % _ECHO.size or len(echo) > ECHO_LIMIT * _ECHO.size:
        raise CannotOpen
    size_1, counter, size_2, previous, size_3, position, size_4, log = _TAIL.unpack_from(raw, tail)
    if (size_1, size_2, size_3, size_4) != _SIZES:
        raise CannotOpen
    return Body(kind, content, reply_to, counter, previous, position, log, echo)


class Gap(msgspec.Struct, array_like=True, frozen=True):
    """Counters ``start`` to ``end`` never came; ``expected`` is ``H(M)`` of the last of them."""

    start: int
    end: int
    expected: bytes


class Heard(msgspec.Struct, array_like=True):
    """What is known of one device's messages in one conversation: the ``highest`` counter and its
    ``H(M)``, the position it said last, the gaps, and a counter below which gaps were forgotten.
    ``session``: of an own device, which session its newest message came on.
    """

    highest: int = 0
    last: bytes = NO_DIGEST
    position: int = 0
    gaps: list[Gap] = []
    forgotten: int = 0
    session: bytes = b""

    def note(self, body: Body, digest: bytes, certain: int | None = None) -> tuple[str, ...]:
        """Take in a message with ``H(M) = digest``; the warnings to show with it.

        ``certain``: of how many that are missing it is sure that they were meant for the device
        here, which may be newer than they are; None for all.

        A device that contradicts itself (two messages with one counter, a chain that does not
        match, a position that falls) shows a fork: its state was copied or rolled back.
        """
        counter = body.counter
        if counter <= self.highest:
            return self._fill(body, digest)
        forked = body.position < self.position
        missing = counter - self.highest - 1
        if missing:
            self.gaps.append(Gap(self.highest + 1, counter - 1, body.previous))
            if len(self.gaps) > GAP_LIMIT:
                self.forgotten = max(self.forgotten, self.gaps.pop(0).end)
        else:
            forked = forked or body.previous != self.last
        self.highest, self.last, self.position = counter, digest, body.position
        told = missing if certain is None else min(missing, certain)
        warnings = (f"gap:{told}",) if told else ()
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


class Recent(Secretive, msgspec.Struct, array_like=True, frozen=True):
    """A message sealed lately: enough to seal it again for other devices, unchanged."""

    counter: int
    previous: bytes
    position: int
    log_head: bytes
    echo: bytes
    key: bytes
    digest: bytes

    def __repr__(self) -> str:
        return f"<Recent {self.counter}>"


class Said(msgspec.Struct, array_like=True):
    """What this device said in one conversation: how many messages, ``H(M)`` of the last, and id
    and short digest of the 16 last; and the ``echo`` that its next message carries.
    """

    sent: int = 0
    last: bytes = NO_DIGEST
    echo: bytes = b""
    newest: bytes = b""

    def note(self, id: bytes, recent: Recent) -> None:
        """Take in a message sealed for the first time."""
        self.sent, self.last = recent.counter, recent.digest
        kept = self.newest[-(SENT_KEPT - 1) * _SENT_SIZE :]
        self.newest = kept + id + recent.digest[:_SHORT]

    def hear(self, device: bytes, heard: Heard) -> None:
        """Echo from now on what was ``heard`` of a device of the other user."""
        entry = _ECHO.pack(device[:_SHORT], heard.highest, heard.last[:_SHORT])
        if self.echo[:_SHORT] == entry[:_SHORT]:
            self.echo = entry + self.echo[_ECHO.size :]
            return
        others = (self.echo[at : at + _ECHO.size] for at in range(0, len(self.echo), _ECHO.size))
        kept = [each for each in others if each[:_SHORT] != entry[:_SHORT]]
        self.echo = b"".join((entry, *kept[: ECHO_LIMIT - 1]))

    def answered(self, echo: bytes, device: bytes) -> tuple[tuple[bytes, ...], bool]:
        """What an echo of the other user says of this ``device``: the ids of its messages that had
        not been opened there, oldest first, and whether what was opened is another history.

        Only of the 16 newest, and of nothing that was sent before the first one opened there: a
        device that was linked later has no copy of it.
        """
        for name, counter, digest in _ECHO.iter_unpack(echo):
            if name == device[:_SHORT]:
                return self._unopened(counter, digest)
        return (), False

    def _unopened(self, counter: int, digest: bytes) -> tuple[tuple[bytes, ...], bool]:
        kept = len(self.newest) // _SENT_SIZE
        after = kept - (self.sent - counter)  # of those kept, how many it has opened
        if after > kept:
            return (), True
        if after <= 0:
            after, forked = 0, False
        else:
            forked = self.newest[after * _SENT_SIZE - _SHORT : after * _SENT_SIZE] != digest
        places = range(after * _SENT_SIZE, len(self.newest), _SENT_SIZE)
        return tuple(self.newest[at : at + ID_SIZE] for at in places), forked
