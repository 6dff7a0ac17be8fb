"""Faults put into a relay on purpose, to show that the harnesses see them; never in the product.

    python -m tests.harness.planted FAULT serve …      # louverd, with the fault

What may live here: one function per fault, each a few lines that undo one promise.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from server.cli import main
from server.delivery import Delivery
from server.outbox import Outbox
from server.store.sqlite.marks import Marks
from server.store.sqlite.writer import Writer


def early_ack() -> None:
    """``accepted`` leaves before the commit."""

    def commit(
        self: Any, entries: Sequence[Any], jobs: Sequence[Any], marks: Sequence[Any]
    ) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        outcomes = [(job, self._attempt(job)) for job in jobs]
        settled = self._appender.append(self._db, entries)
        for mark in marks:
            mark.write(self._db)
        self._call_loop(self._settle, settled, outcomes)
        time.sleep(0.05)
        self._db.execute("COMMIT")
        self._appender.committed()
        for mark in marks:
            mark.committed()

    Writer._commit = commit  # type: ignore[method-assign]  # planted


def forgetful_delivery() -> None:
    """One live delivery in a hundred is dropped, and its place marked as sent."""
    plain, count = Delivery._stored, 0

    def stored(self: Any, message: Any) -> None:
        nonlocal count
        count += 1
        if count % 100 == 0 and self._begun:
            self.sent[message.meta.conversation] = message.meta.seq
        else:
            plain(self, message)

    Delivery._stored = stored  # type: ignore[method-assign]  # planted


def late_marks() -> None:
    """Cursors are not written when the relay stops."""

    def write(self: Any, db: Any) -> None:
        """Nothing."""

    Marks.write = write  # type: ignore[method-assign]  # planted


def boundless_outbox() -> None:
    """A slow reader is never closed, however much waits for it."""

    def put(self: Any, frame: bytes) -> None:
        if not self._queue and not self._blocked:
            self._flusher.add(self)
        self._queue.append(frame)
        self.bytes += len(frame)

    Outbox.put = put  # type: ignore[method-assign]  # planted


def hoarder() -> None:
    """Everything that was delivered stays in memory, and more than that."""
    plain, kept = Delivery._stored, []

    def stored(self: Any, message: Any) -> None:
        kept.append(bytearray(b"x") * 2**18)
        plain(self, message)

    Delivery._stored = stored  # type: ignore[method-assign]  # planted


FAULTS: dict[str, Callable[[], None]] = {
    "boundless_outbox": boundless_outbox,
    "early_ack": early_ack,
    "forgetful_delivery": forgetful_delivery,
    "hoarder": hoarder,
    "late_marks": late_marks,
}

if __name__ == "__main__":
    FAULTS[sys.argv[1]]()
    sys.argv[1:] = sys.argv[2:]
    main()
