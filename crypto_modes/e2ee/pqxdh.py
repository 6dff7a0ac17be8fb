"""The handshake: PQXDH with mandatory ML-KEM-768; modes.md 20–22.

What may live here: the pure derivation, from either side. What may not: prekey storage, replay
memory, sessions. ::

    DH1 = (IKd_A, SPK_B)   DH2 = (EK_A, IKd_B)   DH3 = (EK_A, SPK_B)   [DH4 = (EK_A, OPK_B)]
    (ct, ss) = Encaps(PQPK_B)
    SK = HKDF(0xFF*32 || DH1 || DH2 || DH3 [|| DH4] || ss, salt = 0*32,
              info = enc("louver/v1/PQXDH_X25519_SHA256_MLKEM768", th), 64)

``th`` hashes every public value, both accounts, devices and identity keys, the conversation and
its policy: two ends that disagree on any of them share no key. Source: Signal, "The PQXDH Key
Agreement Protocol", revision 3, with the transcript that its formal analysis asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from crypto_modes import primitives
from crypto_modes.e2ee.header import SUITE
from crypto_modes.encoding import enc
from crypto_modes.keys import AgreementKey, KemKey
from crypto_modes.primitives import H, hkdf

_PREFIX = b"\xff" * 32  # X25519 inputs can never begin like this: it separates from XEdDSA uses


class Party(NamedTuple):
    """One device as both ends know it: ids of 16 bytes, public keys of 32."""

    account: bytes
    device: bytes
    account_key: bytes
    signing: bytes
    agreement: bytes


class Context(NamedTuple):
    """Who shakes hands, for which conversation, under which policy digest ``H(P)``."""

    initiator: Party
    responder: Party
    conversation: bytes
    policy: bytes


class Prekeys(NamedTuple):
    """The responder's public prekeys used; ``once`` is empty where it had none left."""

    signed: bytes
    once: bytes
    kem: bytes


class Shared(NamedTuple):
    """The result: transcript hash ``th``, root of the EC and root of the PQ ratchet."""

    transcript: bytes
    root: bytes
    pq_root: bytes

    def __repr__(self) -> str:
        return f"<Shared of {self.transcript[:4].hex()}…>"


def transcript(context: Context, prekeys: Prekeys, ephemeral: bytes, ciphertext: bytes) -> bytes:
    """``th``, 32 bytes."""
    a, b = context.initiator, context.responder
    return H(
        enc(
            "louver/v1/pqxdh",
            SUITE,
            a.account,
            b.account,
            a.device,
            b.device,
            *a[2:],
            *b[2:],
            *prekeys,
            ephemeral,
            ciphertext,
            context.conversation,
            context.policy,
        )
    )


def _derive(th: bytes, agreed: list[bytes], secret: bytes) -> Shared:
    info = enc("louver/v1/PQXDH_X25519_SHA256_MLKEM768", th)
    okm = hkdf(b"".join((_PREFIX, *agreed, secret)), info=info, length=64)
    return Shared(th, okm[:32], okm[32:])


def initiate(
    context: Context,
    identity: AgreementKey,
    prekeys: Prekeys,
    ephemeral: AgreementKey,
    encapsulate: Callable[[bytes], tuple[bytes, bytes]] = primitives.kem_encapsulate,
) -> tuple[Shared, bytes]:
    """The initiator's half: what is shared, and the KEM ciphertext to send.

    ``identity`` is its ``IKd``, ``ephemeral`` a fresh ``EK``. The prekeys' signatures were
    verified before. Raises ``KeyRefused``.
    """
    secret, ciphertext = encapsulate(prekeys.kem)
    agreed = [
        identity.agree(prekeys.signed),
        ephemeral.agree(context.responder.agreement),
        ephemeral.agree(prekeys.signed),
    ]
    if prekeys.once:
        agreed.append(ephemeral.agree(prekeys.once))
    th = transcript(context, prekeys, ephemeral.public, ciphertext)
    return _derive(th, agreed, secret), ciphertext


def respond(
    context: Context,
    identity: AgreementKey,
    secrets: tuple[AgreementKey, AgreementKey | None, KemKey],
    ephemeral: bytes,
    ciphertext: bytes,
) -> Shared:
    """The responder's half. ``secrets`` are its signed, one-time (or None) and KEM prekeys.

    Raises ``KeyRefused``.
    """
    signed, once, kem = secrets
    agreed = [
        signed.agree(context.initiator.agreement),
        identity.agree(ephemeral),
        signed.agree(ephemeral),
    ]
    if once is not None:
        agreed.append(once.agree(ephemeral))
    prekeys = Prekeys(signed.public, b"" if once is None else once.public, kem.public)
    th = transcript(context, prekeys, ephemeral, ciphertext)
    return _derive(th, agreed, kem.decapsulate(ciphertext))
