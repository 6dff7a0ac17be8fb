"""The file key provider: one key-encryption key in a file of its own, for one machine.

Only this provider lives here. A wrapped key is 97 bytes::

    0x01 || salt(16) || commit(32) || AES-256-GCM(key, nonce = 0*12, data key, aad = context)

    key(32) || commit(32) = HKDF(KEK, salt, enc("louver/v1/wrap", context), 64)

Each key wraps once (the salt is fresh), so its nonce may be zero. The commitment is checked
before decryption, so that a wrapped key opens under one key-encryption key and context only.
"""

from __future__ import annotations

import os
from pathlib import Path

from crypto_modes.encoding import enc
from crypto_modes.errors import CannotOpen, KeyServiceUnavailable
from crypto_modes.primitives import KEY_SIZE, NONCE_SIZE, aead_open, aead_seal, equal, hkdf
from server.secrets_file import secret_file

SALT_SIZE = 16
WRAPPED_SIZE = 97

_FORMAT = b"\x01"
_NONCE = bytes(NONCE_SIZE)


class FileKeyring:
    """A key-encryption key of 32 bytes from a file; conforms to ``Keyring``.

    Who can read the file and the database can read everything: keep them in different backups.
    """

    __slots__ = ("_kek",)

    def __init__(self, path: Path, *, make: bool) -> None:
        """Read ``path``. Where it does not exist it is made if ``make`` says so, that is, while
        no key is wrapped with it; a new one would open none of those. Raises ``BadConfig``.
        """
        self._kek: bytes | None = secret_file(path, KEY_SIZE, make=make)

    async def generate(self, context: bytes) -> tuple[bytes, bytes]:
        key = os.urandom(KEY_SIZE)
        return key, await self.wrap(key, context)

    async def wrap(self, key: bytes, context: bytes) -> bytes:
        salt = os.urandom(SALT_SIZE)
        wrapping, commit = self._derive(salt, context)
        return b"".join((_FORMAT, salt, commit, aead_seal(wrapping, _NONCE, key, context)))

    async def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        if len(wrapped) != WRAPPED_SIZE or wrapped[:1] != _FORMAT:
            raise CannotOpen
        wrapping, commit = self._derive(wrapped[1:17], context)
        if not equal(commit, wrapped[17:49]):
            raise CannotOpen
        return aead_open(wrapping, _NONCE, wrapped[49:], context)

    async def close(self) -> None:
        # Python cannot wipe the bytes, only stop holding them.
        self._kek = None

    def _derive(self, salt: bytes, context: bytes) -> tuple[bytes, bytes]:
        if self._kek is None:
            raise KeyServiceUnavailable("the keyring is closed")
        okm = hkdf(self._kek, salt=salt, info=enc("louver/v1/wrap", context), length=64)
        return okm[:32], okm[32:]
