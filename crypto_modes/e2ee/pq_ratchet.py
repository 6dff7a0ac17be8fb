"""The post-quantum ratchet beside the elliptic-curve one: ML-KEM-768, epoch by epoch; modes.md 24.

What may live here: the chains' state, their steps, and how epochs begin. What may not: messages,
sessions, stores. ::

    (RKq, CKq_A, CKq_B) = HKDF(s, salt = RKq, info = enc("louver/v1/pq_epoch", e, binding), 96)
    mk_pq = HMAC(CKq, enc("louver/v1/pq_message"))     CKq' = HMAC(CKq, enc("louver/v1/pq_next"))

A is the handshake's initiator. Epoch 0 is made from the handshake itself: ``s`` is its PQ root,
``RKq`` 32 zeros and ``binding`` the transcript hash ``th``, which covers the KEM key and
ciphertext as ``H(ek||ct)`` does in later epochs. Unlike the elliptic-curve chains, these run
through an epoch without starting again at a turn, so a message names its place in both.

What an end does about the next epoch, ``e + 1``. The responder proposes the odd epochs, the
initiator the even ones, so both can never propose at once::

    the one who proposes    None ──due, seals with ek──▶ Offered ──opens ct──▶ e + 1
    the other               None ──opens ek──▶ Asked ──seals with ct──▶ Answered
                                                       ──opens a message of e + 1──▶ e + 1

A message is always sealed in an epoch whose secret its receiver is known to have: the proposer
enters ``e + 1`` when it has ``ct``, the other when it sees the proposer there. So a carrier of
``ek`` or ``ct`` that is lost makes no other message unreadable, and it need not be on each one.

Why an attacker on the wire can only keep an epoch old: ``ek`` and ``ct`` count after the message
that carries them has opened, which authenticates them by *both* ratchets; of each epoch there is
one ``ek`` and one ``ct``, the first that opened; whatever is late names an epoch that is over, and
is ignored. So dropping, repeating and reordering choose only *when* the ends enter ``e + 1``, and
what they enter is bound to the same ``ek`` and ``ct`` at both, or no key agrees.

Why neither half can weaken the other: nothing of one is ever an input of the other. Root and
chains are apart, and they meet in the message key alone, ``HKDF(mk_ec, salt = mk_pq)``, which is
unpredictable while *either* is, as HMAC is a dual PRF (Backendal et al., CRYPTO 2023). A KEM that
is broken, or a thief's copy of this state, leaves the Double Ratchet as it is without it; X25519
broken by a quantum computer leaves these chains. Both halves can refuse a message; that is all.

Healing: a copied state knows nothing of an epoch for which its owner drew randomness after it was
copied: the KEM key as proposer, the encapsulation as the other. Shape: Signal, "The ML-KEM
Braid" and "The Double Ratchet Algorithm", revision 4, with whole keys instead of chunks.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from crypto_modes.contract import Secretive
from crypto_modes.e2ee.header import HAS_CIPHERTEXT, HAS_KEY
from crypto_modes.e2ee.ratchet import SKIP_LIMIT, Skipped
from crypto_modes.encoding import enc
from crypto_modes.errors import CannotOpen
from crypto_modes.primitives import (
    KEM_SEED_SIZE,
    H,
    hkdf,
    hmac_pair,
    kem_check,
    kem_decapsulate,
    kem_encapsulate,
    kem_public,
)

EPOCH_MESSAGES = 50  # sent and received by the proposer
EPOCH_LIFE = 24 * 60 * 60 * 1000  # ms after the proposer's first message in it
# While unanswered, `ek` or `ct` goes on the first message, and again after this many of one's own.
REPEAT = 64
# Sooner on the first message of a sending chain: the peer has spoken since, and not answered.
REPEAT_AT_TURN = 8

NOTHING = (0, b"")  # what most messages carry

_MESSAGE, _NEXT = enc("louver/v1/pq_message"), enc("louver/v1/pq_next")


class Offered(Secretive, msgspec.Struct, array_like=True, tag=1):
    """``seed``, 64 bytes, is the private key; the public one went ``since`` messages ago."""

    seed: bytes
    since: int = REPEAT

    def __repr__(self) -> str:
        return "<Offered>"


class Asked(msgspec.Struct, array_like=True, tag=2):
    """The peer's ``key``, 1,184 bytes, valid, not answered yet."""

    key: bytes


class Answered(Secretive, msgspec.Struct, array_like=True, tag=3):
    """The ``ciphertext``, which went ``since`` messages ago, and the epoch that it begins."""

    ciphertext: bytes
    root: bytes
    sending: bytes
    receiving: bytes
    since: int = REPEAT

    def __repr__(self) -> str:
        return "<Answered>"


class PqChains(Secretive, msgspec.Struct, array_like=True):
    """``root`` RKq and the two chains of ``epoch``, with the numbers sent and received; ``began``
    is the time of the first message sealed in it. ``old`` is the receiving chain of the epoch
    before, ``step`` how far the next one is.
    """

    root: bytes
    sending: bytes
    receiving: bytes
    responder: bool
    epoch: int = 0
    sent: int = 0
    received: int = 0
    began: int = 0
    old: bytes = b""
    old_received: int = 0
    step: Offered | Asked | Answered | None = None

    def __repr__(self) -> str:
        return f"<PqChains epoch={self.epoch} sent={self.sent} received={self.received}>"

    def send(self) -> tuple[bytes, int, int]:
        """``(mk_pq, pq_epoch, pq_n)`` of the next message."""
        n = self.sent
        key, self.sending = hmac_pair(self.sending, _MESSAGE, _NEXT)
        self.sent = n + 1
        return key, self.epoch, n

    def receive(self, epoch: int, n: int) -> tuple[bytes, tuple[Skipped, ...]]:
        """``mk_pq`` of message ``n``, and the keys passed over. The first message of the next
        epoch enters it.

        Raises ``CannotOpen`` for an epoch that is neither this, the one before nor one that was
        answered, and for a message read before or one too far ahead, before any key is derived.
        """
        step = self.step
        if epoch == self.epoch + 1 and isinstance(step, Answered) and n <= SKIP_LIMIT:
            self._enter(step.root, step.sending, step.receiving)
        if epoch == self.epoch:
            self.receiving, key, skipped = _run(self.receiving, epoch, self.received, n)
            self.received = n + 1
        elif epoch == self.epoch - 1:
            self.old, key, skipped = _run(self.old, epoch, self.old_received, n)
            self.old_received = n + 1
        else:
            raise CannotOpen
        return key, skipped

    def carry(
        self, now: int, random: Callable[[int], bytes], *, turned: bool, room: bool
    ) -> tuple[int, bytes]:
        """The flag and the part to attach to the message sealed next; call it once for each.

        ``turned``: it is the first of its sending chain. Without ``room`` nothing is attached.
        """
        self.began = self.began or now
        if room:
            self._prepare(now, random)
        step = self.step
        if not isinstance(step, Offered | Answered):
            return NOTHING
        attach = room and step.since >= (REPEAT_AT_TURN if turned else REPEAT)
        step.since = 1 if attach else step.since + 1
        if not attach:
            return NOTHING
        if isinstance(step, Offered):
            return HAS_KEY, kem_public(step.seed)
        return HAS_CIPHERTEXT, step.ciphertext

    def check(self, epoch: int, key: bytes, ciphertext: bytes) -> None:
        """Refuse what it was not the peer's turn to attach. Raises ``CannotOpen``."""
        mine = self._proposes(epoch + 1)
        if (key and mine) or (ciphertext and not mine):
            raise CannotOpen

    def take(self, epoch: int, key: bytes, ciphertext: bytes) -> None:
        """Take in what a message of ``epoch`` carried, once it has opened.

        Raises ``KeyRefused`` for a key that FIPS 203 refuses, and ``CannotOpen`` for an answer to
        what was never offered.
        """
        if epoch != self.epoch:
            return  # late: that epoch's successor has begun
        if key and self.step is None:
            kem_check(key)
            self.step = Asked(key)
        if ciphertext:
            if not isinstance(self.step, Offered):
                raise CannotOpen
            seed = self.step.seed
            secret = kem_decapsulate(seed, ciphertext)
            self._enter(*self._derive(secret, kem_public(seed), ciphertext))

    def _prepare(self, now: int, random: Callable[[int], bytes]) -> None:
        """Draw what the next epoch needs of this end, in the moment it can be sent."""
        if isinstance(self.step, Asked):
            key = self.step.key
            secret, ciphertext = kem_encapsulate(key)
            self.step = Answered(ciphertext, *self._derive(secret, key, ciphertext))
        elif self.step is None:
            messages, age = self.sent + self.received, now - self.began
            due = messages >= EPOCH_MESSAGES or age >= EPOCH_LIFE
            if due and self._proposes(self.epoch + 1):
                self.step = Offered(random(KEM_SEED_SIZE))

    def _proposes(self, epoch: int) -> bool:
        return self.responder == bool(epoch % 2)

    def _derive(self, secret: bytes, key: bytes, ciphertext: bytes) -> tuple[bytes, bytes, bytes]:
        epoch, binding = self.epoch + 1, H(key + ciphertext)
        return _epoch(secret, self.root, epoch, binding, responder=self.responder)

    def _enter(self, root: bytes, sending: bytes, receiving: bytes) -> None:
        self.old, self.old_received = self.receiving, self.received
        self.root, self.sending, self.receiving = root, sending, receiving
        self.epoch += 1
        self.sent = self.received = self.began = 0
        self.step = None  # with it goes the private key


def chain_name(epoch: int) -> bytes:
    """What names a PQ chain among skipped keys: 4 bytes, never as long as a ratchet key."""
    return epoch.to_bytes(4, "big")


def _run(
    chain: bytes, epoch: int, received: int, n: int
) -> tuple[bytes, bytes, tuple[Skipped, ...]]:
    """The chain after message ``n``, its key, and the keys from ``received`` on passed over."""
    if not received <= n <= received + SKIP_LIMIT:
        raise CannotOpen
    skipped = []
    for number in range(received, n):
        key, chain = hmac_pair(chain, _MESSAGE, _NEXT)
        skipped.append(Skipped(chain_name(epoch), number, key))
    key, chain = hmac_pair(chain, _MESSAGE, _NEXT)
    return chain, key, tuple(skipped)


def _epoch(
    secret: bytes, root: bytes, epoch: int, binding: bytes, *, responder: bool
) -> tuple[bytes, bytes, bytes]:
    """The root, the sending and the receiving chain of an epoch."""
    info = enc("louver/v1/pq_epoch", epoch, binding)
    okm = hkdf(secret, salt=root, info=info, length=96)
    a, b = okm[32:64], okm[64:]
    return (okm[:32], b, a) if responder else (okm[:32], a, b)


def start(secret: bytes, th: bytes, *, initiator: bool) -> PqChains:
    """The chains of epoch 0 from the handshake's PQ root and transcript hash."""
    responder = not initiator
    return PqChains(*_epoch(secret, bytes(32), 0, th, responder=responder), responder)
