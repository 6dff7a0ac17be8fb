"""Secret keys that cannot print themselves.

Only key types live here: a private key, its public half and the one thing it does. Key bytes go
in and out through ``raw`` alone, so that no log line, traceback or pickle holds one by accident.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, Self

from crypto_modes import primitives
from crypto_modes.errors import BadArgument


class SecretKey:
    """Base: ``raw`` are the secret bytes, ``public`` the bytes to publish."""

    __slots__ = ("public", "raw")
    size = primitives.KEY_SIZE

    def __init__(self, raw: bytes) -> None:
        if len(raw) != self.size:
            raise BadArgument(f"a {type(self).__name__} has {self.size} bytes")
        self.raw = raw
        self.public = self._derive(raw)

    @classmethod
    def generate(cls, random: Callable[[int], bytes]) -> Self:
        """A fresh key; ``random(n)`` gives n secret random bytes."""
        return cls(random(cls.size))

    @staticmethod
    def _derive(raw: bytes) -> bytes:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.public[:4].hex()}…>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret key is stored through its raw bytes, on purpose")


class SigningKey(SecretKey):
    """Ed25519, 32-byte seed: signs (account keys ``ACC``, device keys ``IKs``)."""

    __slots__ = ()

    @staticmethod
    def _derive(raw: bytes) -> bytes:
        return primitives.ed25519_public(raw)

    def sign(self, message: bytes) -> bytes:
        """A 64-byte signature over ``message``, which is always made by ``enc``."""
        return primitives.ed25519_sign(self.raw, message)


class AgreementKey(SecretKey):
    """X25519, 32 bytes: agrees on a secret (``IKd``, ``SPK``, ``OPK``, ``EK``)."""

    __slots__ = ()

    @staticmethod
    def _derive(raw: bytes) -> bytes:
        return primitives.x25519_public(raw)

    def agree(self, public: bytes) -> bytes:
        """The 32-byte shared secret. Raises ``KeyRefused``."""
        return primitives.x25519(self.raw, public)


class KemKey(SecretKey):
    """ML-KEM-768, 64-byte seed: receives encapsulated secrets."""

    __slots__ = ()
    size = primitives.KEM_SEED_SIZE

    @staticmethod
    def _derive(raw: bytes) -> bytes:
        return primitives.kem_public(raw)

    def decapsulate(self, ciphertext: bytes) -> bytes:
        """The 32-byte shared secret. Raises ``KeyRefused``."""
        return primitives.kem_decapsulate(self.raw, ciphertext)


class TeamKey(SecretKey):
    """HPKE with MLKEM768-X25519, 32-byte secret key: opens what is sealed to a moderation team."""

    __slots__ = ()

    @staticmethod
    def _derive(raw: bytes) -> bytes:
        return primitives.hpke_public(raw)

    def open(self, sealed: bytes, info: bytes) -> bytes:
        """The plaintext. Raises ``CannotOpen``."""
        return primitives.hpke_open(self.raw, sealed, info)
