"""The file key provider: key-encryption keys in files of their own, for one machine.

Only this provider lives here, and the wrap that it shares with the passphrase's. A wrapped key is
97 bytes::

    0x01 || salt(16) || commit(32) || AES-256-GCM(key, nonce = 0*12, data key, aad = context)

    key(32) || commit(32) = HKDF(KEK, salt, enc("louver/v1/wrap", context), 64)

Each key wraps once (the salt is fresh), so its nonce may be zero. The commitment is checked
before decryption, so that a wrapped key opens under one key-encryption key and context only.

Generation 1 is the file itself, the next ones ``NAME.2``, ``NAME.3`` …: a rotation renames nothing,
so a crash leaves no moment at which a key has no name.
"""

from __future__ import annotations

import asyncio
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
    """Key-encryption keys of 32 bytes from files; conforms to ``Keyring``.

    Who can read the file and the database can read everything: keep them in different backups.
    """

    __slots__ = ("_keks", "_path")

    def __init__(self, path: Path, *, make: bool, newest: int = 1, oldest: int = 1) -> None:
        """Read the generations from ``oldest`` to ``newest``. Where that of ``path`` itself does
        not exist it is made if ``make`` says so, that is, while no key is wrapped with it; a new
        one would open none of those. Raises ``BadConfig``.
        """
        self._path = path
        numbers = range(newest, oldest - 1, -1)
        # The newest first: what wraps, and what most often unwraps.
        self._keks = [self._read(number, make=make) for number in numbers]

    async def generate(self, context: bytes) -> tuple[bytes, bytes]:
        key = os.urandom(KEY_SIZE)
        return key, await self.wrap(key, context)

    async def wrap(self, key: bytes, context: bytes) -> bytes:
        salt = os.urandom(SALT_SIZE)
        wrapping, commit = _derive(self._open_keks()[0], salt, context)
        return b"".join((_FORMAT, salt, commit, aead_seal(wrapping, _NONCE, key, context)))

    async def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        keks = self._open_keks()
        if len(wrapped) != WRAPPED_SIZE or wrapped[:1] != _FORMAT:
            raise CannotOpen
        for kek in keks:
            wrapping, commit = _derive(kek, wrapped[1:17], context)
            if equal(commit, wrapped[17:49]):
                return aead_open(wrapping, _NONCE, wrapped[49:], context)
        raise CannotOpen

    async def rotate(self, generation: int) -> None:
        self._open_keks()
        kek = await asyncio.to_thread(self._read, generation, make=True)
        if kek not in self._keks:
            self._keks.insert(0, kek)

    async def retire(self, generation: int) -> None:
        """Deleted means unlinked: what a disk or a backup keeps of a file is beyond a program."""
        del self._open_keks()[1:]
        older = [self._file(number) for number in range(1, generation)]
        for path in older:
            await asyncio.to_thread(path.unlink, missing_ok=True)

    async def close(self) -> None:
        # Python cannot wipe the bytes, only stop holding them.
        self._keks = []

    def _file(self, generation: int) -> Path:
        path = self._path
        return path if generation == 1 else path.with_name(f"{path.name}.{generation}")

    def _read(self, generation: int, *, make: bool) -> bytes:
        return secret_file(self._file(generation), KEY_SIZE, make=make)

    def _open_keks(self) -> list[bytes]:
        if not self._keks:
            raise KeyServiceUnavailable("the keyring is closed")
        return self._keks


def _derive(kek: bytes, salt: bytes, context: bytes) -> tuple[bytes, bytes]:
    """The key of one wrap and its commitment, 32 bytes each."""
    okm = hkdf(kek, salt=salt, info=enc("louver/v1/wrap", context), length=64)
    return okm[:32], okm[32:]
