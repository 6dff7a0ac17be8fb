"""The passphrase key provider: key-encryption keys in files that only a passphrase opens.

What may live here: the sealed file and its key schedule. What may not: where the passphrase comes
from. Wrapping is the file provider's. A file is 109 bytes::

    0x01 || salt(16) || passes u32 || kibibytes u32 || lanes u32 || commit(32)
         || AES-256-GCM(key, nonce = 0*12, KEK, aad = "")

    key(32) || commit(32) = HKDF(Argon2id(passphrase, salt), salt,
                                 enc("louver/v1/kek", passes, kibibytes, lanes), 64)

The commitment is compared before anything is decrypted: whoever can put a file there cannot make
one that tells by its opening in which half of a dictionary the passphrase is (a partitioning
oracle). Another passphrase seals the same keys anew; no wrapped key changes.
"""

from __future__ import annotations

import os
import struct
import unicodedata
from pathlib import Path

from argon2.low_level import Type, hash_secret_raw

from crypto_modes.encoding import enc
from crypto_modes.errors import BadConfig, CannotOpen
from crypto_modes.primitives import KEY_SIZE, NONCE_SIZE, aead_open, aead_seal, equal, hkdf
from server.keyrings.file import FileKeyring
from server.secrets_file import secret_content

SHORTEST = 12
FILE_SIZE = 109

# Between the two recommendations of RFC 9106; about half a second, once a start.
PASSES, KIBIBYTES, LANES = 3, 256 * 1024, 4
# A planted file must not make us fill the memory before we find out that it is a lie.
_MOST_PASSES, _MOST_KIBIBYTES, _MOST_LANES = 16, 2 * 1024 * 1024, 16

_FORMAT = b"\x01"
_HEAD = struct.Struct(">c16sIII32s")
_NONCE = bytes(NONCE_SIZE)


class PassphraseKeyring(FileKeyring):
    """Key-encryption keys that ``passphrase`` opens. Making one blocks for Argon2id's time."""

    __slots__ = ("_passphrase",)

    def __init__(
        self, path: Path, passphrase: str, *, make: bool, newest: int = 1, oldest: int = 1
    ) -> None:
        """Raises ``BadConfig`` for another passphrase, one that is too short to make a file with,
        and a file that cannot be used."""
        # However it was typed: a key board may compose the same letter in two ways.
        self._passphrase = unicodedata.normalize("NFC", passphrase).encode()
        if len(passphrase) < SHORTEST:
            raise BadConfig(
                f"keys.passphrase: the passphrase has fewer than {SHORTEST} characters; whoever"
                " has the key file can try them all: take five or more random words"
            )
        super().__init__(path, make=make, newest=newest, oldest=oldest)

    async def close(self) -> None:
        self._passphrase = b""
        await super().close()

    def _read(self, generation: int, *, make: bool) -> bytes:
        path = self._file(generation)
        raw = secret_content(path, self._sealed, FILE_SIZE, make=make)
        return _unseal(self._passphrase, raw, path)

    def _sealed(self) -> bytes:
        salt, costs = os.urandom(16), (PASSES, KIBIBYTES, LANES)
        key, commit = _derive(self._passphrase, salt, *costs)
        head = _HEAD.pack(_FORMAT, salt, *costs, commit)
        return head + aead_seal(key, _NONCE, os.urandom(KEY_SIZE), b"")


def _unseal(passphrase: bytes, raw: bytes, path: Path) -> bytes:
    """The key-encryption key in a file. Raises ``BadConfig``."""
    form, salt, passes, kibibytes, lanes, commit = _HEAD.unpack(raw[: _HEAD.size])
    bounds = (passes, _MOST_PASSES), (kibibytes, _MOST_KIBIBYTES), (lanes, _MOST_LANES)
    if form != _FORMAT or not all(0 < cost <= most for cost, most in bounds):
        raise BadConfig(f"{path} is damaged or not a passphrase's key file; restore it")
    key, committed = _derive(passphrase, salt, passes, kibibytes, lanes)
    if not equal(committed, commit):
        raise BadConfig(
            f"keys.passphrase: this is not the passphrase of {path}, or the file was altered"
        )
    try:
        return aead_open(key, _NONCE, raw[_HEAD.size :], b"")
    except CannotOpen:
        raise BadConfig(f"{path} is damaged; restore it from a backup") from None


def _derive(
    passphrase: bytes, salt: bytes, passes: int, kibibytes: int, lanes: int
) -> tuple[bytes, bytes]:
    """The key of one file and its commitment, 32 bytes each; bound to all parameters."""
    stretched = hash_secret_raw(
        passphrase,
        salt,
        time_cost=passes,
        memory_cost=kibibytes,
        parallelism=lanes,
        hash_len=KEY_SIZE,
        type=Type.ID,
    )
    info = enc("louver/v1/kek", passes, kibibytes, lanes)
    okm = hkdf(stretched, salt=salt, info=info, length=64)
    return okm[:32], okm[32:]
