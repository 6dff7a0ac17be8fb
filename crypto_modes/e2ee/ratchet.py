"""The elliptic-curve Double Ratchet, exact; modes.md 23.

What may live here: the ratchet's state and its two steps, without a message, a session or a
store. What may not: where skipped keys are kept (``sessions.py``). ::

    (RK, CK) = HKDF(DH, salt = RK, info = enc("louver/v1/root"), 64)
    mk_ec = HMAC(CK, 0x01)        CK' = HMAC(CK, 0x02)

The state is changed in place: the caller works on a copy (each is decoded from its stored bytes)
and keeps it only on success. Source: Signal, "The Double Ratchet Algorithm", revision 4.
"""

from __future__ import annotations

import msgspec

from crypto_modes.contract import Secretive
from crypto_modes.encoding import enc
from crypto_modes.errors import CannotOpen
from crypto_modes.primitives import hkdf, hmac_pair, x25519, x25519_public

SKIP_LIMIT = 2_000

_ROOT = enc("louver/v1/root")
_MESSAGE, _NEXT = b"\x01", b"\x02"


class Skipped(Secretive, msgspec.Struct, frozen=True, array_like=True):
    """A key passed over: of the chain ``chain`` (a ratchet key, or a PQ epoch), number ``n``."""

    chain: bytes
    n: int
    key: bytes

    def __repr__(self) -> str:
        return f"<Skipped {self.n}>"


class Ratchet(Secretive, msgspec.Struct, array_like=True):
    """``root`` RK, own ratchet key pair, the peer's public key, both chain keys (empty before
    they exist), numbers sent and received on them, and the length of the previous sending chain.
    """

    root: bytes
    private: bytes
    public: bytes
    remote: bytes
    sending: bytes = b""
    receiving: bytes = b""
    sent: int = 0
    received: int = 0
    previous: int = 0

    def __repr__(self) -> str:
        return f"<Ratchet sent={self.sent} received={self.received}>"

    def send(self) -> tuple[bytes, int, int]:
        """``(mk_ec, pn, n)`` of the next message. The chain exists by construction."""
        key, self.sending = hmac_pair(self.sending, _MESSAGE, _NEXT)
        n = self.sent
        self.sent = n + 1
        return key, self.previous, n

    def receive(
        self, remote: bytes, pn: int, n: int, fresh: bytes
    ) -> tuple[bytes, tuple[Skipped, ...]]:
        """``mk_ec`` of message ``n`` under the ratchet key ``remote``, and the keys passed over.

        ``fresh`` is the private key to use if this turns the ratchet, empty if the caller knows
        that it does not. Raises ``CannotOpen`` for a message that was read before or lies too
        far ahead, before any key is derived: a forged header costs nothing.
        """
        if remote == self.remote:
            # Before the first answer there is no receiving chain: the peer's signed prekey is its
            # first ratchet key, under which it never sends.
            if not self.receiving or not self.received <= n <= self.received + SKIP_LIMIT:
                raise CannotOpen
            return self._advance(n)
        behind = max(pn - self.received, 0) if self.receiving else 0
        if behind + n > SKIP_LIMIT:
            raise CannotOpen
        skipped = self._skip(pn) if behind else ()
        self._turn(remote, fresh)
        key, more = self._advance(n)
        return key, skipped + more

    def _advance(self, n: int) -> tuple[bytes, tuple[Skipped, ...]]:
        skipped = self._skip(n) if n > self.received else ()
        key, self.receiving = hmac_pair(self.receiving, _MESSAGE, _NEXT)
        self.received = n + 1
        return key, skipped

    def _skip(self, until: int) -> tuple[Skipped, ...]:
        skipped = []
        for n in range(self.received, until):
            key, self.receiving = hmac_pair(self.receiving, _MESSAGE, _NEXT)
            skipped.append(Skipped(self.remote, n, key))
        return tuple(skipped)

    def _turn(self, remote: bytes, fresh: bytes) -> None:
        self.remote = remote
        self.root, self.receiving = _kdf_root(self.root, x25519(self.private, remote))
        self.previous, self.sent, self.received = self.sent, 0, 0
        self.private, self.public = fresh, x25519_public(fresh)
        self.root, self.sending = _kdf_root(self.root, x25519(fresh, remote))


def _kdf_root(root: bytes, agreed: bytes) -> tuple[bytes, bytes]:
    okm = hkdf(agreed, salt=root, info=_ROOT, length=64)
    return okm[:32], okm[32:]


def initiator(root: bytes, remote: bytes, fresh: bytes) -> Ratchet:
    """The side that knows the other's first ratchet key (its signed prekey) and writes first."""
    root, sending = _kdf_root(root, x25519(fresh, remote))
    return Ratchet(root, fresh, x25519_public(fresh), remote, sending)


def responder(root: bytes, private: bytes, public: bytes) -> Ratchet:
    """The side whose signed prekey is its first ratchet key; it reads before it can write."""
    return Ratchet(root, private, public, b"")
