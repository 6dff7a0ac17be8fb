"""A key in a file that only its owner may read; made once, whole.

Only this lives here; what the key opens is the key store's affair. The calls block on the disk
for microseconds and belong to start-up.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from crypto_modes.errors import BadConfig

KEY_BYTES = 32
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def key_file(path: Path, *, make: bool) -> bytes:
    """The 32 bytes of ``path``; where it does not exist and ``make`` says so, new random ones.

    Raises:
        BadConfig: the file is missing, others may read it, it has another size, or it can be
            neither read nor made.
    """
    try:
        if make:
            _make(path)
        return _read(path)
    except FileNotFoundError:
        raise BadConfig(
            f"the key file {path} is missing; without it the key store cannot be opened"
        ) from None
    except OSError as error:
        raise BadConfig(f"cannot use the key file {path}: {error.strerror}") from None


def _read(path: Path) -> bytes:
    # O_NONBLOCK: a planted FIFO must not hang the start. The open file is asked for its
    # permissions, not the path, so that nobody can swap it in between.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            raise BadConfig(f"{path} must be a regular file of this user")
        if status.st_mode & _OTHERS:
            raise BadConfig(f"others may read {path}; run: chmod 600 '{path}'")
        content = file.read(KEY_BYTES + 1)
    if len(content) != KEY_BYTES:
        raise BadConfig(f"{path} is damaged: a key file has {KEY_BYTES} bytes; restore it")
    return content


def _make(path: Path) -> None:
    """Publish the whole file at once: a crash or a second process never sees half a key."""
    if path.exists():
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(os.urandom(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        # link, not rename: where two processes make it at once, both use the first one's.
        path.hardlink_to(draft)
    except FileExistsError:
        return
    finally:
        draft.unlink()
