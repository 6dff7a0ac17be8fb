"""Two ends of one session, without client or relay, for tests of the ratchets."""

from __future__ import annotations

import os

from crypto_modes.e2ee import header, session
from crypto_modes.e2ee.pq_ratchet import PqChains
from crypto_modes.e2ee.session import Session
from tests.test_e2ee_session import DEVICE, PLACE, couple

DAY = 24 * 60 * 60 * 1000


class End:
    """One end of a session with its skipped keys; stored and read back around every step."""

    def __init__(self, held: Session) -> None:
        self.raw = session.to_bytes(held)
        self.kept: dict[tuple[bytes, int], bytes] = {}
        self.sizes: list[int] = []

    @property
    def held(self) -> Session:
        return session.from_bytes(self.raw)

    @property
    def pq(self) -> PqChains:
        return self.held.pq

    def find(self, chain: bytes, n: int) -> bytes | None:
        return self.kept.get((chain, n))

    def seal(self, text: bytes = b"text", now: int = 1, *, room: bool = True) -> bytes:
        held = self.held
        size = held.size(len(text))
        carried = held.carry(now, os.urandom, room=room)
        copy = held.seal(PLACE, DEVICE, text, carried)
        self.raw = session.to_bytes(held)
        assert len(copy) == size + len(carried[1])
        self.sizes.append(len(carried[1]))
        return copy

    def open(self, copy: bytes) -> bytes:
        held = self.held
        unsealed = held.open(PLACE, DEVICE, header.parse(copy), self, os.urandom)
        for used in unsealed.used:
            del self.kept[used]
        self.kept |= {(each.chain, each.n): each.key for each in unsealed.fresh}
        held.skipped = len(self.kept)
        self.raw = session.to_bytes(held)
        return unsealed.plaintext


def talking() -> tuple[End, End]:
    """The initiator and the responder, who have exchanged a message each way."""
    one, other = (End(each) for each in couple())
    other.open(one.seal())
    one.open(other.seal())
    return one, other


def turns(one: End, other: End, count: int) -> None:
    for number in range(count):
        sender, receiver = (one, other) if number % 2 == 0 else (other, one)
        text = b"%d" % number
        assert receiver.open(sender.seal(text)) == text


def due() -> tuple[End, End]:
    """The same, where the responder's next message proposes epoch 1."""
    one, other = talking()
    for _ in range(48):
        other.open(one.seal())
    return one, other


def answered() -> tuple[End, End]:
    """The same, where the initiator has sealed its answer, which nobody has opened."""
    one, other = due()
    one.open(other.seal())
    one.seal()
    return one, other


def entered() -> tuple[End, End]:
    """Both ends in epoch 1."""
    one, other = due()
    one.open(other.seal())
    other.open(one.seal())
    one.open(other.seal())
    return one, other
