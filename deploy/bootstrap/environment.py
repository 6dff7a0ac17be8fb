"""The private environment in `.louver/`: when it is good, and how it becomes so.

Only its life cycle lives here. The rule that makes it safe: the stamp is removed before
anything changes and written after everything is done, so an environment without the stamp of
today's lock is not trusted and is made from nothing. One process at a time may change it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import sysconfig
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bootstrap import pip_run
from bootstrap.progress import Progress

FOLDER = ".louver"
STAMP = "stamp"
LOCK = "lock"
FORMAT = "1"
SCRIPTS = "Scripts" if os.name == "nt" else "bin"
SUFFIX = ".exe" if os.name == "nt" else ""


@dataclass(frozen=True)
class Extent:
    """How much is installed: a name for people, and the lock that says what."""

    name: str
    lock: str


TRY_OUT = Extent("try-out", "deploy/requirements.lock")
DEV = Extent("development", "deploy/requirements-dev.lock")  # a superset of the other

Install = Callable[[Path, Path, Path, Progress], None]


class Environment:
    """The private environment of the checkout at ``root``.

    ``install`` is ``pip_run.install``; tests give another one.
    """

    def __init__(self, root: Path, install: Install = pip_run.install) -> None:
        self.root = root
        self.folder = root / FOLDER
        self._install = install

    @property
    def python(self) -> Path:
        return self.folder / SCRIPTS / f"python{SUFFIX}"

    def script(self, name: str) -> list[str]:
        """The command line of an installed script.

        Given to the interpreter where it is Python, because a shebang line has a length limit
        and takes no spaces, and the lines of shell that pip writes instead take no quotes.
        """
        path = self.folder / SCRIPTS / f"{name}{SUFFIX}"
        if path.is_file() and _is_python(path):
            return [str(self.python), str(path)]
        return [str(path)]

    def key(self, extent: Extent) -> str:
        """What the stamp must say: everything that makes an installed environment unfit."""
        digest = hashlib.sha256()
        version = f"{sys.implementation.cache_tag} {sysconfig.get_platform()}"
        for part in (FORMAT, str(self.root), version):
            digest.update(part.encode() + b"\0")
        for name in ("pyproject.toml", extent.lock):
            digest.update(hashlib.sha256((self.root / name).read_bytes()).digest())
        return digest.hexdigest()

    def serves(self, extent: Extent) -> bool:
        """Whether nothing needs to be done. Costs two small files."""
        enough = {self.key(extent), self.key(DEV)}
        return self._stamp() in enough and self.python.exists()

    def ensure(self, extent: Extent, progress: Progress) -> None:
        """Make the environment good for ``extent``.

        Raises:
            InstallFailed: with a sentence for the user.
            OSError: the folder cannot be written.
        """
        if self.serves(extent):
            return
        _check_disk(self.root)
        self.folder.mkdir(exist_ok=True)
        with _alone(self.folder / LOCK, lambda: progress.note("waiting for another louver …")):
            if not self.serves(extent):  # the other one may have done it
                self._change(extent, progress)

    def _change(self, extent: Extent, progress: Progress) -> None:
        before = self._stamp()
        grows = extent is DEV and before == self.key(TRY_OUT) and self.python.exists()
        self._stamp_path.unlink(missing_ok=True)
        progress.begin(extent.name, f"{FOLDER}/", grows)
        if not grows:
            self._make()
        try:
            self._install(self.python, self.root, self.root / extent.lock, progress)
        except pip_run.InstallFailed:
            if grows:  # the larger lock only adds, so what was there still works
                self._sign(before)
            raise
        self._sign(self.key(extent))
        progress.end()

    def _make(self) -> None:
        for entry in self.folder.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.name != LOCK:
                entry.unlink()
        # Without pip, because ensurepip may be missing; the vendored one installs from outside.
        venv.EnvBuilder(symlinks=os.name != "nt", with_pip=False).create(self.folder)

    @property
    def _stamp_path(self) -> Path:
        return self.folder / STAMP

    def _stamp(self) -> str:
        try:
            return self._stamp_path.read_text()
        except FileNotFoundError:
            return ""

    def _sign(self, text: str) -> None:
        draft = self.folder / f"{STAMP}.new"
        draft.write_text(text)
        draft.replace(self._stamp_path)


def _check_disk(root: Path) -> None:
    """Refuse a disk from which no library can be loaded, before anything is fetched for it."""
    no_exec = getattr(os, "ST_NOEXEC", 0)
    if no_exec and os.statvfs(root).f_flag & no_exec:
        raise pip_run.InstallFailed(
            f"the disk of {root} is mounted so that nothing on it can run (noexec); put the"
            " checkout on another one."
        )


def _is_python(path: Path) -> bool:
    """Whether a script names Python, or is one that hands itself to it: pip's way round long
    and odd paths, two lines of shell that are a string to Python."""
    with path.open("rb") as file:
        first, second = file.readline(256), file.readline(256)
    return first.startswith(b"#!") and (b"python" in first or second.startswith(b"'''exec' "))


@contextmanager
def _alone(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock file; the system gives it back even if this process is killed."""
    with path.open("a+b") as file:
        if not _try_lock(file, wait=False):
            waiting()
            while not _try_lock(file, wait=True):
                pass  # the Windows call gives up after ten seconds; it waits, it does not spin
        yield


if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: IO[bytes], wait: bool) -> bool:
        file.seek(0)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(file: IO[bytes], wait: bool) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        return True
