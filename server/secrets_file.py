"""Secrets that live in a file of their own: made once, readable by one user, never replaced.

What may live here: making and reading such files, and the directories for them. What may not:
what the secrets are for. Every function blocks on the disk for microseconds and belongs to the
start.
"""

from __future__ import annotations

import os
import secrets
import stat
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path

from crypto_modes.errors import BadConfig

TOKEN_BYTES = 32
_TOKEN_LIMIT = 256
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def secret_file(path: Path, size: int, *, make: bool = True) -> bytes:
    """The ``size`` secret bytes of ``path``; made from ``os.urandom`` where it does not exist.

    ``make`` is false once something stored depends on the secret: a lost file, or a disk that is
    not mounted, must then be told and not be papered over with a new secret.

    Raises:
        BadConfig: others may read the file, it is no regular file of this user, it has another
            size, it can be neither read nor made, or it is missing and may not be made.
    """
    return secret_content(path, lambda: os.urandom(size), size, make=make)


def secret_content(
    path: Path, content: Callable[[], bytes], size: int, *, make: bool = True
) -> bytes:
    """The same for a secret that ``content`` makes, ``size`` bytes."""
    if not make and not os.path.lexists(path):
        raise BadConfig(
            f"the secret file {path} is missing, and what is stored depends on it: restore it"
            " from its backup"
        )
    found = _read_or_make(path, content, size)
    if len(found) != size:
        raise BadConfig(
            f"{path} holds {len(found)} bytes instead of {size}: it is damaged or of another"
            " kind; restore it from a backup"
        )
    return found


def private_directory(path: Path, purpose: str) -> None:
    """Make ``path``, or check that it is a directory which only this user may enter.

    ``purpose`` names it in the error: the setting, or what is kept there. Raises ``BadConfig``.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.stat()
    except OSError as error:
        raise BadConfig(
            f"{purpose}: cannot use {path} as a directory ({error.strerror}); name another, or"
            " let this user make it"
        ) from None
    if status.st_uid != os.geteuid():
        raise BadConfig(f"{purpose}: {path} belongs to another user; run: chown $(id -u) '{path}'")
    if status.st_mode & _OTHERS:
        raise BadConfig(f"{purpose}: others may enter {path}; run: chmod 700 '{path}'")


def token_file(path: Path, prefix: str) -> str:
    """The text token of ``path``, to be pasted by people; made where it does not exist.

    It is ``prefix`` and 32 random bytes in base64url. Raises ``BadConfig`` like ``secret_file``.
    """
    content = _read_or_make(path, lambda: f"{new_token(prefix)}\n".encode(), _TOKEN_LIMIT)
    token = content.decode("ascii", "replace").strip()
    if not token.startswith(prefix) or len(token) != len(prefix) + 43:
        raise BadConfig(f"{path} holds no token that starts with {prefix!r}; delete it and restart")
    return token


def new_token(prefix: str) -> str:
    """``prefix`` and 32 random bytes as 43 characters of unpadded base64url."""
    raw = urlsafe_b64encode(secrets.token_bytes(TOKEN_BYTES))
    return prefix + raw.rstrip(b"=").decode()


def read_private(path: Path, limit: int) -> bytes:
    """At most ``limit`` + 1 bytes of a file that only this user may read, so that a caller sees
    when it is too long. Raises ``BadConfig``; a missing file is ``FileNotFoundError``.
    """
    descriptor = _open_existing(path)
    try:
        # The permissions are asked of the open file, not of the path, so nobody can swap it.
        _check_private(path, os.fstat(descriptor))
        with os.fdopen(os.dup(descriptor), "rb") as file:
            return file.read(limit + 1)
    finally:
        os.close(descriptor)


def _open_existing(path: Path) -> int:
    try:
        # O_NONBLOCK: a planted FIFO must not hang the start.
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise BadConfig(f"cannot read the secret file {path}: {error.strerror}") from None


def _check_private(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise BadConfig(f"{path} must be a regular file, not a link, a pipe or a directory")
    if status.st_uid != os.geteuid():
        raise BadConfig(f"{path} belongs to another user; run: chown $(id -u) '{path}'")
    if status.st_mode & _OTHERS:
        mode = stat.S_IMODE(status.st_mode)
        raise BadConfig(f"others may use {path} (mode {mode:04o}); run: chmod 600 '{path}'")


def _read_or_make(path: Path, content: Callable[[], bytes], limit: int) -> bytes:
    try:
        return read_private(path, limit)
    except FileNotFoundError:
        pass
    try:
        _make(path, content())
    except OSError as error:
        raise BadConfig(f"cannot make the secret file {path}: {error.strerror}") from None
    # Read back: where two processes made it at once, both use the file that won.
    return read_private(path, limit)


def _make(path: Path, content: bytes) -> None:
    """Publish the whole file at once: a crash or a second process never sees half a secret."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _publish(draft, path)
    finally:
        draft.unlink()
    _sync_directory(path.parent)


def _publish(draft: Path, path: Path) -> None:
    try:
        # link, not rename: it refuses to replace a secret that exists.
        path.hardlink_to(draft)
    except FileExistsError:
        return


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
