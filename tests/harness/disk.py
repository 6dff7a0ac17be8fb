"""A disk that remembers every step, so that the power can be cut after any of them.

What may live here: recording what SQLite does to its files, and what a disk may hold after a cut.
What may not: what was stored. Below the recording lies the system's own VFS, so a run is real; only
the images of cut disks are simulated. What was synced survives; of what was not, each write may
have reached the disk whole, in part (to a sector's end) or not at all, in any order.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import NamedTuple

import apsw

SECTOR = 512


class Step(NamedTuple):
    """``write`` of ``data`` at ``number``, ``truncate`` to ``number``, ``sync``, ``delete``."""

    what: str
    file: str
    number: int = 0
    data: bytes = b""


class RecordingDisk(apsw.VFS):
    """SQLite's default VFS while it is plugged in; ``steps`` is what was done so far."""

    def __init__(self) -> None:
        self.system = apsw.vfs_names()[0]
        super().__init__("recording", self.system, makedefault=True)
        self.steps: list[Step] = []

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> _File:  # noqa: N802 - SQLite's name
        return _File(self, name, flags)

    def xDelete(self, name: str, syncdir: bool) -> None:  # noqa: N802 - SQLite's name
        self.steps.append(Step("delete", PurePath(name).name))
        super().xDelete(name, syncdir)


class _File(apsw.VFSFile):
    def __init__(
        self, disk: RecordingDisk, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> None:
        super().__init__(disk.system, name, flags)
        path = name.filename() if isinstance(name, apsw.URIFilename) else name or ""
        self._steps = disk.steps
        self._name = PurePath(path).name

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        self._record(Step("write", self._name, offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - SQLite's name
        self._record(Step("truncate", self._name, newsize))
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        super().xSync(flags)
        self._record(Step("sync", self._name))

    def _record(self, step: Step) -> None:
        if self._name:  # one without a name is scratch space, gone with the process
            self._steps.append(step)


@contextmanager
def recording_disk() -> Iterator[RecordingDisk]:
    """Plug it in; every connection opened meanwhile lies on it."""
    disk = RecordingDisk()
    try:
        yield disk
    finally:
        disk.unregister()


class CutDisk:
    """Plays ``steps`` again, in order, and says what the disk may hold if the power fails now."""

    def __init__(self, steps: list[Step]) -> None:
        self._steps = steps
        self._at = 0
        self._synced: dict[str, bytearray] = {}
        self._loose: dict[str, list[Step]] = {}

    def advance(self, to: int) -> None:
        """Play on until ``to`` steps were done."""
        for step in self._steps[self._at : to]:
            if step.what == "sync":
                content = self._synced.setdefault(step.file, bytearray())
                for each in self._loose.pop(step.file, []):
                    _apply(content, each)
            elif step.what == "delete":
                self._synced.pop(step.file, None)
                self._loose.pop(step.file, None)
            else:
                self._loose.setdefault(step.file, []).append(step)
        self._at = to

    def image(self, place: Path, chance: random.Random) -> None:
        """Write one possible disk into the empty directory ``place``."""
        for name in self._synced.keys() | self._loose.keys():
            content = bytearray(self._synced.get(name, b""))
            for step in self._loose.get(name, ()):
                fate = chance.choice(("lost", "whole", "torn"))
                if fate == "whole" or (fate == "torn" and step.what != "write"):
                    _apply(content, step)
                elif fate == "torn":
                    kept = chance.randrange(len(step.data) // SECTOR + 1) * SECTOR
                    _apply(content, step._replace(data=step.data[:kept]))
            (place / name).write_bytes(content)


def _apply(content: bytearray, step: Step) -> None:
    if step.what == "truncate":
        del content[step.number :]
        return
    end = step.number + len(step.data)
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    content[step.number : end] = step.data
