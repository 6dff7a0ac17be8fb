"""Splitting the vault's key into files of shares, one for each officer.

What may live here: reading the key and writing the shares. What may not: destroying the key. It
stays where it is until a person removes it, because a share that nobody tested is no share.
"""

from __future__ import annotations

import os
from pathlib import Path

from crypto_modes import shamir
from crypto_modes.errors import BadConfig
from crypto_modes.keys import TeamKey
from server.secrets_file import private_directory, secret_file


def split(key: Path, count: int, threshold: int, directory: Path) -> list[Path]:
    """Write ``count`` shares of ``key`` to files of their own, of which any ``threshold`` open.

    Raises ``BadConfig`` where one of the files exists or cannot be written, ``BadArgument``.
    """
    secret = TeamKey(secret_file(key, TeamKey.size, make=False))
    shares = shamir.split(secret, threshold, count, os.urandom)
    private_directory(directory, "--dir")
    paths = [directory / f"share-{each.index}-of-{count}.txt" for each in shares]
    # All or none: shares of two splittings in one directory would open nothing together.
    for path in paths:
        if path.exists():
            raise BadConfig(f"{path} exists and is not overwritten; name another --dir")
    for path, share in zip(paths, shares, strict=True):
        _write(path, share.encode())
    read = [shamir.decode(path.read_text("ascii")) for path in paths]
    for start in range(count - threshold + 1):
        shamir.combine(read[start : start + threshold])
    return paths


def _write(path: Path, text: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{text}\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise BadConfig(f"cannot write {path}: {error.strerror}") from None
