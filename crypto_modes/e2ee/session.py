"""A session: what two devices share, and how one copy is sealed and opened; modes.md 25–29.

What may live here: the message key, the AAD, and sealing or opening one copy with a session
held in memory. What may not: which session to use and where it is kept (``sessions.py``). ::

    key = HKDF(mk_ec, salt = mk_pq, info = enc("louver/v1/message", th), 32)
    copy = h || AES-256-GCM(key, 0*12, K_f || M, aad)
    aad = enc("louver/v1/e2ee/aad", th, version, mode, epoch, conversation, message_id, sender,
              sender_device, recipient, recipient_device, H(P), H(h), C)

The nonce is zero, as the key is used once.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import NamedTuple, Protocol

import msgspec

from crypto_modes.contract import VERSION, Secretive
from crypto_modes.e2ee import header, pq_ratchet, pqxdh, ratchet
from crypto_modes.e2ee.header import Header
from crypto_modes.e2ee.ratchet import Skipped
from crypto_modes.encoding import enc
from crypto_modes.errors import CannotOpen
from crypto_modes.primitives import KEY_SIZE, NONCE_SIZE, TAG_SIZE, H, aead_open, aead_seal, hkdf

NAME = "e2ee"
_NONCE = bytes(NONCE_SIZE)

# enc() with all sizes known: constant bytes around the fields. A test holds it to enc().
_FOUR = Struct(">I").pack
_ID, _DIGEST, _INT = _FOUR(16), _FOUR(32), _FOUR(8)
_MESSAGE_INFO = enc("louver/v1/message") + _DIGEST
_AAD_HEAD = enc("louver/v1/e2ee/aad") + _DIGEST
_AAD_MODE = _INT + VERSION.to_bytes(8, "big") + _FOUR(len(NAME)) + NAME.encode() + _INT


class Envelope(NamedTuple):
    """What both ends know of a message besides its copies; ids of 16 bytes, digests of 32.

    ``policy`` is ``H(P)`` of ``epoch``, ``commitment`` is ``C``.
    """

    epoch: int
    conversation: bytes
    message: bytes
    sender: bytes
    device: bytes
    recipient: bytes
    policy: bytes
    commitment: bytes

    def aad(self, th: bytes, recipient_device: bytes, raw_header: bytes) -> bytes:
        """The additional data of one copy."""
        epoch, conversation, message, sender, device, recipient, policy, commitment = self
        return b"".join(
            (
                _AAD_HEAD,
                th,
                _AAD_MODE,
                epoch.to_bytes(8, "big"),
                _ID,
                conversation,
                _ID,
                message,
                _ID,
                sender,
                _ID,
                device,
                _ID,
                recipient,
                _ID,
                recipient_device,
                _DIGEST,
                policy,
                _DIGEST,
                H(raw_header),
                _DIGEST,
                commitment,
            )
        )


class SkippedKeys(Protocol):
    """Where a session's skipped keys are looked up; the caller removes what was used."""

    def find(self, chain: bytes, n: int) -> bytes | None: ...


class Session(Secretive, msgspec.Struct, array_like=True):
    """One session with one device, as it is stored.

    ``th`` is the handshake's transcript hash, whose first 8 bytes are the session's id. ``first``
    is the first-message block, repeated until the peer ``answered``. ``skipped`` counts stored
    skipped keys and ``oldest`` is the time of the oldest; ``used`` is the time of last use.
    """

    th: bytes
    chains: ratchet.Ratchet
    pq: pq_ratchet.PqChains
    first: bytes
    answered: bool
    used: int
    skipped: int = 0
    oldest: int = 0

    def __repr__(self) -> str:
        return f"<Session {self.id.hex()}>"

    @property
    def id(self) -> bytes:
        """8 bytes, the same at both ends."""
        return self.th[: header.SESSION_SIZE]

    def size(self, plaintext: int) -> int:
        """The size of the next copy, from its plaintext's, without what it may ``carry``."""
        return header.FIXED_SIZE + len(self.first) + plaintext + TAG_SIZE

    def carry(
        self, now: int, random: Callable[[int], bytes], *, room: bool = True
    ) -> tuple[int, bytes]:
        """What of the next PQ epoch goes with the message sealed next; call it once for each.

        ``room``: whether 1,184 bytes more fit.
        """
        return self.pq.carry(now, random, turned=not self.chains.sent, room=room)

    def seal(
        self,
        envelope: Envelope,
        device: bytes,
        plaintext: bytes,
        carried: tuple[int, bytes] = pq_ratchet.NOTHING,
    ) -> bytes:
        """The copy of ``plaintext`` (``K_f || M``) for ``device``; turns both ratchets."""
        mk_ec, pn, n = self.chains.send()
        mk_pq, epoch, pq_n = self.pq.send()
        # Who repeats a first message has nothing else to carry: the other proposes epoch 1, and has
        # not been heard yet.
        flags, block = (header.HAS_FIRST, self.first) if self.first else carried
        dh = self.chains.public
        raw = header.pack_fixed(header.SUITE, flags, self.th[:8], dh, pn, n, epoch, pq_n) + block
        key = hkdf(mk_ec, salt=mk_pq, info=_MESSAGE_INFO + self.th, length=KEY_SIZE)
        aad = envelope.aad(self.th, device, raw)
        return raw + aead_seal(key, _NONCE, plaintext, aad)

    def open(
        self,
        envelope: Envelope,
        device: bytes,
        parsed: tuple[Header, bytes],
        stored: SkippedKeys,
        random: Callable[[int], bytes],
    ) -> Unsealed:
        """The plaintext of a copy for this ``device``; turns both ratchets.

        Raises ``CannotOpen`` or ``KeyRefused``; this object is spoiled then, and must not be
        stored.
        """
        head, ciphertext = parsed
        carries = head.key or head.ciphertext
        if carries:
            self.pq.check(head.pq_epoch, head.key, head.ciphertext)
        # A key can be stored only while some are: most messages ask the store nothing.
        mk_ec = stored.find(head.dh, head.n) if self.skipped else None
        late = mk_ec is not None
        fresh: tuple[Skipped, ...] = ()
        if mk_ec is None:
            turn = b"" if head.dh == self.chains.remote else random(32)
            mk_ec, fresh = self.chains.receive(head.dh, head.pn, head.n, turn)
        chain = pq_ratchet.chain_name(head.pq_epoch)
        mk_pq = stored.find(chain, head.pq_n) if self.skipped else None
        used_pq = mk_pq is not None
        if mk_pq is None:
            mk_pq, more = self.pq.receive(head.pq_epoch, head.pq_n)
            fresh += more
        key = hkdf(mk_ec, salt=mk_pq, info=_MESSAGE_INFO + self.th, length=KEY_SIZE)
        aad = envelope.aad(self.th, device, head.raw)
        plaintext = aead_open(key, _NONCE, ciphertext, aad)
        if carries:  # authenticated only now, and before now no KEM was run
            self.pq.take(head.pq_epoch, head.key, head.ciphertext)
        self.first, self.answered = b"", True
        used = [(head.dh, head.n)] if late else []
        if used_pq:
            used.append((chain, head.pq_n))
        return Unsealed(plaintext, late, fresh, used)


class Unsealed(NamedTuple):
    """An opened copy: the plaintext, whether it came late, and which skipped keys to keep
    (``fresh``) and to forget (``used``).
    """

    plaintext: bytes
    late: bool
    fresh: tuple[Skipped, ...]
    used: list[tuple[bytes, int]]

    def __repr__(self) -> str:
        return f"<Unsealed late={self.late}>"


def initiate(
    shared: pqxdh.Shared, remote: bytes, fresh: bytes, first: header.First, now: int
) -> Session:
    """The initiator's session; ``remote`` is the signed prekey, ``fresh`` a new private key."""
    chains = ratchet.initiator(shared.root, remote, fresh)
    pq = pq_ratchet.start(shared.pq_root, shared.transcript, initiator=True)
    return Session(shared.transcript, chains, pq, first.encode(), answered=False, used=now)


def respond(shared: pqxdh.Shared, private: bytes, public: bytes, now: int) -> Session:
    """The responder's session; the key pair is its signed prekey."""
    chains = ratchet.responder(shared.root, private, public)
    pq = pq_ratchet.start(shared.pq_root, shared.transcript, initiator=False)
    return Session(shared.transcript, chains, pq, b"", answered=False, used=now)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Session).decode


def to_bytes(session: Session) -> bytes:
    """The session's stored form: its id, so that a row can be told without decoding, and it."""
    return session.id + _encode(session)


def id_of(raw: bytes) -> bytes:
    """The id, 8 bytes, of a stored session."""
    return raw[: header.SESSION_SIZE]


def from_bytes(raw: bytes) -> Session:
    """A fresh copy of a stored session. Raises ``CannotOpen`` where it is damaged."""
    try:
        return _decode(memoryview(raw)[header.SESSION_SIZE :])
    except msgspec.DecodeError:
        raise CannotOpen from None
