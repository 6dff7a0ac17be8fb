"""From a passphrase or a key file to the root key of a key store, by way of its header.

What may live here: the header, its limits and its key schedule. What may not: the file it lies in.
In the client nothing else may import ``argon2``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import msgspec
from argon2.low_level import Type, hash_secret_raw

from client.keyfile import key_file
from crypto_modes import primitives
from crypto_modes.encoding import enc
from crypto_modes.errors import BadArgument, BadConfig, CannotOpen, Unauthorized

FORMAT = 2
# Not "restore a backup": ratchets that go back use keys twice.
ANEW = "do not use it; move it away and begin with a new one, as a new device"

# RFC 9106, second recommended option: 64 MiB, three passes, four lanes; about 0.1 s.
_PASSES, _KIBIBYTES, _LANES = 3, 64 * 1024, 4
# A planted header must not make us fill the memory before we find out that it is a lie.
_MOST_PASSES, _MOST_KIBIBYTES, _MOST_LANES = 16, 1024 * 1024, 16
_SALT = 16
_ONCE = bytes(primitives.NONCE_SIZE)  # for keys that encrypt one thing only


class _Header(msgspec.Struct, frozen=True, kw_only=True):
    format: int
    kdf: Literal["argon2id", "file"]
    salt: bytes
    passes: int = 0
    kibibytes: int = 0
    lanes: int = 0
    commitment: bytes = b""
    root: bytes = b""


def unlock(
    raw: bytes | None,
    where: Path,
    passphrase: str | None,
    file: str | os.PathLike[str] | None,
) -> tuple[bytes, bytes]:
    """The root key (32 bytes) of the store ``where`` with this header, and the header.

    Without a header both are made, and the key file too where there is none. One of the two
    secrets is given.

    Raises:
        BadArgument: the store is opened with the other kind of secret.
        BadConfig: the header or the key file cannot be used.
        Unauthorized: the passphrase or key file is not the right one.
    """
    kdf: Literal["argon2id", "file"] = "file" if passphrase is None else "argon2id"
    header = _new_header(kdf) if raw is None else _read_header(raw, where)
    if header.kdf != kdf:
        other = "a key file" if header.kdf == "file" else "a passphrase"
        raise BadArgument(f"the key store {where} is opened with {other}")
    if passphrase is None:
        kek = key_file(Path(str(file)), make=raw is None)
    else:
        kek = _stretch(passphrase, header)
    key, commitment = _wrapping_key(kek, header)
    if raw is None:
        root = os.urandom(primitives.KEY_SIZE)
        sealed = primitives.aead_seal(key, _ONCE, root, b"")
        header = msgspec.structs.replace(header, commitment=commitment, root=sealed)
        return root, msgspec.msgpack.encode(header)
    # Compared before decryption, so that one ciphertext cannot be made to open under a set of
    # guessed passphrases at once (a partitioning oracle).
    if not primitives.equal(commitment, header.commitment):
        secret = "passphrase" if kdf == "argon2id" else "key file"
        raise Unauthorized(f"wrong {secret} for the key store {where}")
    try:
        return primitives.aead_open(key, _ONCE, header.root, b""), raw
    except CannotOpen:
        raise BadConfig(f"the key store {where} is damaged; {ANEW}") from None


def _new_header(kdf: Literal["argon2id", "file"]) -> _Header:
    header = _Header(format=FORMAT, kdf=kdf, salt=os.urandom(_SALT))
    if kdf == "file":
        return header
    return msgspec.structs.replace(header, passes=_PASSES, kibibytes=_KIBIBYTES, lanes=_LANES)


def _read_header(raw: bytes, where: Path) -> _Header:
    try:
        header = msgspec.msgpack.decode(raw, type=_Header)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise BadConfig(f"the key store {where} is damaged; {ANEW}") from None
    if header.format != FORMAT:
        raise BadConfig(f"the key store {where} is of another version of Louver; open it with that")
    return header


def _stretch(passphrase: str, header: _Header) -> bytes:
    if (
        not 0 < header.passes <= _MOST_PASSES
        or not 0 < header.kibibytes <= _MOST_KIBIBYTES
        or not 0 < header.lanes <= _MOST_LANES
    ):
        raise BadConfig("the key store asks for Argon2id parameters beyond all measure")
    return hash_secret_raw(
        passphrase.encode(),
        header.salt,
        time_cost=header.passes,
        memory_cost=header.kibibytes,
        parallelism=header.lanes,
        hash_len=primitives.KEY_SIZE,
        type=Type.ID,
    )


def _wrapping_key(kek: bytes, header: _Header) -> tuple[bytes, bytes]:
    """The key that wraps the root, and the commitment to it; bound to all parameters."""
    info = enc(
        "louver/v1/keystore/wrap",
        header.format,
        header.kdf,
        header.passes,
        header.kibibytes,
        header.lanes,
    )
    okm = primitives.hkdf(kek, salt=header.salt, info=info, length=64)
    return okm[:32], okm[32:]
