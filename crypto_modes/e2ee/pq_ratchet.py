"""The post-quantum chains beside the elliptic-curve ratchet; modes.md 24.

What may live here: the chains' state, their two steps, and how an epoch's secret makes them.
What may not: messages, sessions, stores. ::

    (RKq, CKq_A, CKq_B) = HKDF(s, salt = RKq, info = enc("louver/v1/pq_epoch", e, binding), 96)
    (CKq', mk_pq) = HKDF(CKq, info = enc("louver/v1/pq_next", n), 64)

A is the handshake's initiator. Epoch 0 is made from the handshake itself: ``s`` is its PQ root,
``RKq`` 32 zeros and ``binding`` the transcript hash ``th``, which covers the KEM key and
ciphertext as ``H(ek||ct)`` does in later epochs. Unlike the elliptic-curve chains, these run
through an epoch without starting again at a turn, so a message names its place in both.
"""

from __future__ import annotations

import msgspec

from crypto_modes.e2ee.ratchet import SKIP_LIMIT, Skipped
from crypto_modes.encoding import enc
from crypto_modes.errors import CannotOpen
from crypto_modes.primitives import hkdf

_NEXT = enc("louver/v1/pq_next", 0)[:-8]  # before the number; the same bytes as enc(..., n)


class PqChains(msgspec.Struct, array_like=True):
    """``root`` RKq and the two chains of ``epoch``, with the numbers sent and received."""

    root: bytes
    sending: bytes
    receiving: bytes
    epoch: int = 0
    sent: int = 0
    received: int = 0

    def __repr__(self) -> str:
        return f"<PqChains epoch={self.epoch} sent={self.sent} received={self.received}>"

    def send(self) -> tuple[bytes, int, int]:
        """``(mk_pq, pq_epoch, pq_n)`` of the next message."""
        n = self.sent
        self.sending, key = _step(self.sending, n)
        self.sent = n + 1
        return key, self.epoch, n

    def receive(self, epoch: int, n: int) -> tuple[bytes, tuple[Skipped, ...]]:
        """``mk_pq`` of message ``n``, and the keys passed over.

        Raises ``CannotOpen`` for another epoch, a message read before or one too far ahead,
        before any key is derived.
        """
        if epoch != self.epoch or not self.received <= n <= self.received + SKIP_LIMIT:
            raise CannotOpen
        skipped = []
        for number in range(self.received, n):
            self.receiving, key = _step(self.receiving, number)
            skipped.append(Skipped(chain_name(epoch), number, key))
        self.receiving, key = _step(self.receiving, n)
        self.received = n + 1
        return key, tuple(skipped)


def chain_name(epoch: int) -> bytes:
    """What names a PQ chain among skipped keys: 4 bytes, never as long as a ratchet key."""
    return epoch.to_bytes(4, "big")


def _step(chain: bytes, n: int) -> tuple[bytes, bytes]:
    okm = hkdf(chain, info=_NEXT + n.to_bytes(8, "big"), length=64)
    return okm[:32], okm[32:]


def start(secret: bytes, th: bytes, *, initiator: bool) -> PqChains:
    """The chains of epoch 0 from the handshake's PQ root and transcript hash."""
    okm = hkdf(secret, info=enc("louver/v1/pq_epoch", 0, th), length=96)
    root, first, second = okm[:32], okm[32:64], okm[64:]
    return PqChains(root, first, second) if initiator else PqChains(root, second, first)
