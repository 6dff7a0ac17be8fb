"""The primitives, one implementation of each: the only file that may import a crypto library.

What may live here: thin, typed doors to SHA-256, HMAC, HKDF, AES-256-GCM, X25519, Ed25519,
ML-KEM-768 and HPKE, each validating what enters. What may not: protocols, labels, key storage.

Keys are plain bytes: X25519 and Ed25519 keys 32, Ed25519 signatures 64, ML-KEM-768 seeds 64,
public keys 1,184, ciphertexts 1,088, shared secrets 32; HPKE secret keys 32, public keys 1,216.
Sources: FIPS 180-4, RFC 2104, RFC 5869, NIST SP 800-38D, RFC 7748, RFC 8032, FIPS 203; RFC 9180
with the hybrid KEM of draft-ietf-hpke-pq. Every door but HPKE, for which it has no vectors, is held
to Wycheproof; HPKE to the draft's own.
"""

from __future__ import annotations

import hmac as _stdlib_hmac
from hashlib import sha256 as _sha256
from hashlib import shake_256 as _shake_256
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke as _hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from nacl import bindings as _sodium
from nacl.exceptions import CryptoError

from crypto_modes.errors import BadArgument, CannotOpen, KeyRefused

HASH_SIZE = 32
KEY_SIZE = 32
NONCE_SIZE = 12
TAG_SIZE = 16
SIGNATURE_SIZE = 64
KEM_SEED_SIZE = 64
KEM_KEY_SIZE = 1184
KEM_CIPHERTEXT_SIZE = 1088
HPKE_KEY_SIZE = KEM_KEY_SIZE + KEY_SIZE
HPKE_OVERHEAD = KEM_CIPHERTEXT_SIZE + KEY_SIZE + TAG_SIZE

_SUITE = _hpke.Suite(_hpke.KEM.MLKEM768_X25519, _hpke.KDF.HKDF_SHA256, _hpke.AEAD.AES_256_GCM)

_PROBE = bytes(range(1, 33))  # any private key shows whether a public one has small order
_BLOCK = 64
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))

equal = _stdlib_hmac.compare_digest


def H(data: bytes) -> bytes:  # noqa: N802 -- the name the specification uses
    """SHA-256 of ``data``, 32 bytes."""
    return _sha256(data).digest()


class Hashing(Protocol):
    """SHA-256 of what comes piece by piece."""

    def update(self, data: bytes, /) -> None: ...
    def copy(self) -> Hashing: ...
    def digest(self) -> bytes: ...


def hashing() -> Hashing:
    """``H`` of many pieces: for what is too large for memory."""
    return _sha256()


def _blocks(key: bytes) -> tuple[bytes, bytes]:
    """The inner and outer block of HMAC under ``key``.

    HMAC is written out here, on hashlib, because both its standard doors look the algorithm up
    anew on every call, which costs more than the hash; and a ratchet does little else.
    """
    if len(key) > _BLOCK:
        key = _sha256(key).digest()
    block = key.ljust(_BLOCK, b"\0")
    return block.translate(_INNER), block.translate(_OUTER)


_ZERO_SALT = _blocks(bytes(HASH_SIZE))


def hmac(key: bytes, data: bytes) -> bytes:
    """HMAC-SHA-256 of ``data``, 32 bytes."""
    inner, outer = _blocks(key)
    return _sha256(outer + _sha256(inner + data).digest()).digest()


def hmac_pair(key: bytes, first: bytes, second: bytes) -> tuple[bytes, bytes]:
    """``(hmac(key, first), hmac(key, second))`` for one key schedule."""
    if len(key) > _BLOCK:
        key = _sha256(key).digest()
    block = key.ljust(_BLOCK, b"\0")
    inner, outer = block.translate(_INNER), block.translate(_OUTER)
    return (
        _sha256(outer + _sha256(inner + first).digest()).digest(),
        _sha256(outer + _sha256(inner + second).digest()).digest(),
    )


def hkdf(ikm: bytes, *, info: bytes, length: int, salt: bytes = b"") -> bytes:
    """HKDF with SHA-256, RFC 5869; an absent salt is 32 zero bytes.

    Raises ``BadArgument`` beyond 255 blocks of 32 bytes, or below one byte.
    """
    if not 0 < length <= 255 * HASH_SIZE:
        raise BadArgument(f"HKDF gives 1 to {255 * HASH_SIZE} bytes, not {length}")
    inner, outer = _blocks(salt) if salt else _ZERO_SALT
    block = _sha256(outer + _sha256(inner + ikm).digest()).digest().ljust(_BLOCK, b"\0")
    inner, outer = block.translate(_INNER), block.translate(_OUTER)
    output = block = _sha256(outer + _sha256(inner + info + b"\x01").digest()).digest()
    if length == HASH_SIZE:
        return output
    counter = 2
    while len(output) < length:
        data = inner + block + info + counter.to_bytes(1, "big")
        block = _sha256(outer + _sha256(data).digest()).digest()
        output += block
        counter += 1
    return output[:length]


def aead_seal(key: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
    """AES-256-GCM: the ciphertext and its 16-byte tag. Keys 32, nonces 12 bytes, never repeated."""
    if len(key) != KEY_SIZE or len(nonce) != NONCE_SIZE:
        raise BadArgument("AES-256-GCM takes a 32-byte key and a 12-byte nonce")
    return AESGCM(key).encrypt(nonce, plaintext, aad)


def aead_open(key: bytes, nonce: bytes, ciphertext: bytes, aad: bytes) -> bytes:
    """The plaintext of ``aead_seal``. Raises ``CannotOpen``, whatever the reason."""
    if len(key) != KEY_SIZE or len(nonce) != NONCE_SIZE:
        raise BadArgument("AES-256-GCM takes a 32-byte key and a 12-byte nonce")
    try:
        return AESGCM(key).decrypt(nonce, ciphertext, aad)
    except InvalidTag:
        raise CannotOpen from None


def x25519_public(private: bytes) -> bytes:
    """The public key of a 32-byte private key."""
    return _sodium.crypto_scalarmult_base(private)


def x25519(private: bytes, public: bytes) -> bytes:
    """The shared secret. Raises ``KeyRefused`` where it would be all zero (small-order key)."""
    if len(public) != KEY_SIZE:
        raise KeyRefused("an X25519 key has 32 bytes")
    try:
        return _sodium.crypto_scalarmult(private, public)
    except CryptoError:
        raise KeyRefused("an X25519 key of small order agrees on nothing") from None


def x25519_check(public: bytes) -> None:
    """Refuse a key with which every agreement would give zero. Raises ``KeyRefused``."""
    x25519(_PROBE, public)


def ed25519_public(seed: bytes) -> bytes:
    """The public key of a 32-byte seed."""
    return _sodium.crypto_sign_seed_keypair(seed)[0]


def ed25519_sign(seed: bytes, message: bytes) -> bytes:
    """The 64-byte signature of ``message``; deterministic, RFC 8032."""
    private = _sodium.crypto_sign_seed_keypair(seed)[1]
    return _sodium.crypto_sign(message, private)[:SIGNATURE_SIZE]


def ed25519_check(public: bytes) -> None:
    """Refuse a key that is no point of the prime-order group.

    A small-order key would verify one signature for every message. Raises ``KeyRefused``.
    """
    if len(public) != KEY_SIZE or not _sodium.crypto_core_ed25519_is_valid_point(public):
        raise KeyRefused("not a valid Ed25519 key")


def ed25519_verify(public: bytes, signature: bytes, message: bytes) -> None:
    """Raises ``KeyRefused`` unless ``signature`` is ``public``'s over ``message``.

    libsodium itself refuses small-order and non-canonical keys here; ``ed25519_check``, which
    costs as much again, is for the moment a key enters.
    """
    if len(public) != KEY_SIZE or len(signature) != SIGNATURE_SIZE:
        raise KeyRefused("an Ed25519 key has 32 bytes, a signature 64")
    try:
        _sodium.crypto_sign_open(signature + message, public)
    except CryptoError:
        raise KeyRefused("a signature does not verify") from None


def kem_public(seed: bytes) -> bytes:
    """The ML-KEM-768 encapsulation key of a 64-byte seed (``d || z``)."""
    return MLKEM768PrivateKey.from_seed_bytes(seed).public_key().public_bytes_raw()


def _kem_load(public: bytes) -> MLKEM768PublicKey:
    try:
        return MLKEM768PublicKey.from_public_bytes(public)
    except ValueError:
        raise KeyRefused(f"an ML-KEM-768 key has {KEM_KEY_SIZE} bytes, reduced") from None


def kem_check(public: bytes) -> None:
    """Refuse a key of the wrong size or with unreduced coefficients, as FIPS 203 demands.

    Raises ``KeyRefused``.
    """
    _kem_load(public)


def kem_encapsulate(public: bytes) -> tuple[bytes, bytes]:
    """``(shared secret, ciphertext)``. Raises ``KeyRefused`` for a key that FIPS 203 refuses.

    The one door whose randomness comes from inside: the library draws it from the operating
    system and offers no way to pass it in.
    """
    return _kem_load(public).encapsulate()


def kem_decapsulate(seed: bytes, ciphertext: bytes) -> bytes:
    """The shared secret; a forged ciphertext gives an unrelated one (implicit rejection).

    Raises ``KeyRefused`` only for a ciphertext that has not 1,088 bytes.
    """
    if len(ciphertext) != KEM_CIPHERTEXT_SIZE:
        raise KeyRefused(f"an ML-KEM-768 ciphertext has {KEM_CIPHERTEXT_SIZE} bytes")
    return MLKEM768PrivateKey.from_seed_bytes(seed).decapsulate(ciphertext)


def _hpke_halves(secret: bytes) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
    """The two private keys behind a 32-byte secret key, as the draft expands it."""
    if len(secret) != KEY_SIZE:
        raise BadArgument(f"an HPKE secret key has {KEY_SIZE} bytes")
    seeds = _shake_256(secret).digest(KEM_SEED_SIZE + KEY_SIZE)
    return (
        MLKEM768PrivateKey.from_seed_bytes(seeds[:KEM_SEED_SIZE]),
        X25519PrivateKey.from_private_bytes(seeds[KEM_SEED_SIZE:]),
    )


def hpke_public(secret: bytes) -> bytes:
    """The public key of a 32-byte secret key: an ML-KEM-768 key, then an X25519 one."""
    kem, curve = _hpke_halves(secret)
    return kem.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()


def hpke_check(public: bytes) -> None:
    """Refuse a key of the wrong size or with a half that its own door refuses. ``KeyRefused``."""
    if len(public) != HPKE_KEY_SIZE:
        raise KeyRefused(f"an HPKE key has {HPKE_KEY_SIZE} bytes")
    kem_check(public[:KEM_KEY_SIZE])
    x25519_check(public[KEM_KEY_SIZE:])


def hpke_seal(public: bytes, plaintext: bytes, info: bytes) -> bytes:
    """One message to the holder of ``public``: encapsulated key, then ciphertext, 1,136 bytes more.

    Base mode of RFC 9180, MLKEM768-X25519, HKDF-SHA256, AES-256-GCM. What is to be authenticated
    beside the text goes into ``info``, as section 8.1 says for single messages. The recipient
    learns nothing about who sealed. Raises ``KeyRefused`` for a key that is none. Its randomness
    comes from inside, as with ``kem_encapsulate``.
    """
    hpke_check(public)
    kem = MLKEM768PublicKey.from_public_bytes(public[:KEM_KEY_SIZE])
    curve = X25519PublicKey.from_public_bytes(public[KEM_KEY_SIZE:])
    return _SUITE.encrypt(plaintext, _hpke.MLKEM768X25519PublicKey(kem, curve), info=info)


def hpke_open(secret: bytes, sealed: bytes, info: bytes) -> bytes:
    """The plaintext of ``hpke_seal``. Raises ``CannotOpen``, whatever the reason."""
    key = _hpke.MLKEM768X25519PrivateKey(*_hpke_halves(secret))
    try:
        return _SUITE.decrypt(sealed, key, info=info)
    except (InvalidTag, ValueError):
        raise CannotOpen from None
