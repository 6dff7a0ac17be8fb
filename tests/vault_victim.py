"""A vault that is killed, again and again, at the next place at which it touches its disk or keys.

    python -m tests.vault_victim DIR [--promise]

Only this process lives here; ``test_vault_killed`` looks at what it left. Each run is a fork of it
with the same relay behind it: it begins on what is on the disk, makes the call of the run before
once more, opens one message, and is killed by SIGKILL at its n-th event, n counting up until a run
comes to its end. What leaves the vault is a line of ``DIR/answers``: the run whose call it answers,
and the text. With ``--promise`` a receipt is given before its entry is made: the planted fault.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from crypto_modes import disclosure
from crypto_modes.disclosure import OpenCall
from crypto_modes.errors import LouverError
from server.access_log import Receipt, disk, durable
from server.access_log.durable import DurableLog
from server.vault import journal
from tests.vault_rig import MemoryRelay, Vault, WatchedKeys, granted, signed

RUNS = 200  # more than there are events in one
ENDED = 7
RELAY = MemoryRelay([])


class Killing:
    """Ends this process at the event of number ``at``; ``wrap`` makes events of what it wraps."""

    def __init__(self, at: int) -> None:
        self._left = at

    def wrap(self, place: Any, name: str) -> None:
        real = getattr(place, name)

        def watched(*given: Any, **named: Any) -> Any:
            self.event()
            found = real(*given, **named)
            self.event()
            return found

        setattr(place, name, watched)

    def event(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class Victim(Vault):
    """The rig's vault, on a log that is on the disk."""

    durable: DurableLog

    def start(self) -> None:
        self.log, self.relay = self.durable, RELAY  # type: ignore[assignment]  # conforms too
        super().start()


async def promised(log: DurableLog, tasks: list[Any], entries: Any) -> Receipt:
    """The planted fault."""
    tasks.append(asyncio.create_task(DurableLog.append(log, entries)))
    return Receipt(0, b"")


async def run(place: Path, number: int, answers: int, killing: Killing, *, promise: bool) -> None:
    """One vault, which opens the message ``number``."""
    log, tasks = DurableLog(place / "vault"), list[Any]()
    await log.open()
    if promise:
        log.append = lambda entries: promised(log, tasks, entries)  # type: ignore[method-assign]  # planted
    Victim.durable = log
    vault = Victim(place / "vault")
    for each in (number - 1, number):
        header, body = call(place, each)
        try:
            person = await vault.asking.person(disclosure.OPEN, header, body)
            shown = await vault.opening.open(person, msgspec.json.decode(body, type=OpenCall))
        except LouverError:
            continue
        killing.event()
        texts = " ".join(str(record.text) for record in shown.records)
        os.write(answers, f"{each} {texts}\n".encode())
        killing.event()
    await asyncio.gather(*tasks)
    vault.stop()
    await log.close()


def call(place: Path, number: int) -> tuple[str, bytes]:
    """The call of a run, made once: header and body."""
    file = place / f"call-{number}"
    if not file.exists():
        body = msgspec.json.encode(granted(first=max(number, 1), last=max(number, 1)))
        file.write_bytes(signed(disclosure.OPEN, body).encode() + b"\n" + body)
    header, _, body = file.read_bytes().partition(b"\n")
    return header.decode(), body


def child(work: Callable[[], None]) -> int:
    """How a fork that does ``work`` ended: its exit code, or minus the signal."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(ENDED)
        except BaseException:  # noqa: BLE001 - said, and then this fork ends like any other
            traceback.print_exc()
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main(place: Path, *, promise: bool) -> None:
    """Run and kill until a run ends by itself. Raises ``SystemExit`` where one ends otherwise."""
    answers = os.open(place / "answers", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number in range(RUNS + 1):
        RELAY.store.say(b"HARM-%04d" % (number + 1))
    for number in range(1, RUNS):
        killing = Killing(number)

        def work(number: int = number, killing: Killing = killing) -> None:
            for name in ("append", "sign", "_keep"):
                killing.wrap(disk.Disk, name)
            killing.wrap(disk, "_sync")
            killing.wrap(journal.Journal, "_write")
            killing.wrap(WatchedKeys, "unwrap")
            killing.wrap(durable, "_fail")
            asyncio.run(run(place, number, answers, killing, promise=promise))

        ended = child(work)
        if ended == ENDED:
            return
        if ended != -signal.SIGKILL:
            sys.exit(f"run {number} ended with {ended}")
    sys.exit("no run came to its end")


if __name__ == "__main__":
    main(Path(sys.argv[1]), promise="--promise" in sys.argv)
