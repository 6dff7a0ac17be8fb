"""Saving files over breaks and kills: where it goes on, and what of it is on the disk meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from client import Chat, Message
from client.memory import SAVES, Memory
from client.saving import KEPT_MS, Saves
from client.spool import Saving
from client.transfer import WINDOW, Transfer
from client.trust import now_ms
from crypto_modes import wire
from crypto_modes.errors import BadArgument, StoreUnavailable
from tests.conftest import StartRelay
from tests.hostile_relay import HostileRelay, hostile_relay
from tests.test_client import enter, every_mode, take
from tests.test_client_attachments import BODY, sent_file

pytestmark = pytest.mark.asyncio

PIECE = wire.PIECE


def inbox(place: Path) -> list[Path]:
    """What Bob keeps of files on their way in."""
    directory = place / "bob.db.inbox"
    return list(directory.iterdir()) if directory.exists() else []


def in_the_clear(place: Path) -> list[str]:
    """The files below ``place`` that hold any piece of what was sent."""
    samples = [BODY[at : at + 64] for at in range(0, len(BODY) - 64, PIECE)]
    files = [each for each in place.rglob("*") if each.is_file()]
    return [each.name for each in files if any(some in each.read_bytes() for some in samples)]


def fetched(hostile: HostileRelay) -> list[int]:
    """The places that Bob has asked for, in order."""
    asked = [frame for by, frame in hostile.said if by == "bob" and isinstance(frame, wire.SetBlob)]
    return [each.offset for each in asked if each.do == "get"]


@asynccontextmanager
async def interrupted(
    hostile: HostileRelay, place: Path, message: Message, windows: int
) -> AsyncIterator[Chat]:
    """Bob, who has begun to save ``message``, and of whose program nothing was left but its disk
    when ``windows`` windows of it had come.
    """
    hostile.honest()
    hostile.said.clear()
    # The first piece says how large the file is, and comes alone.
    hostile.up(wire.SetBlob, lambda _, f: f if f.offset <= windows * WINDOW * PIECE else None)
    async with enter(hostile, "bob", place) as bob:  # type: ignore[arg-type]  # has url and ca
        saving = asyncio.ensure_future(bob.attachments.save(message, place / "target"))
        async with asyncio.timeout(30):
            while max(fetched(hostile), default=0) <= windows * WINDOW * PIECE:
                await asyncio.sleep(0.005)
        saving.cancel()
        with suppress(asyncio.CancelledError):
            await saving
        yield bob
    hostile.honest()


@every_mode
async def test_a_save_goes_on_where_it_was_and_shows_nothing_meanwhile(
    start_relay: StartRelay, tmp_path: Path, mode: str
) -> None:
    relay = await start_relay(mode=mode)
    place = tmp_path / "bob"
    place.mkdir()
    async with (
        hostile_relay(relay) as hostile,
        enter(relay, "alice") as alice,
    ):
        async with enter(relay, "bob", place) as bob:
            message = await sent_file(alice, bob)
        async with interrupted(hostile, place, message, windows=1):
            pass
        (part,) = inbox(place)
        assert part.stat().st_mode & 0o777 == 0o600
        assert in_the_clear(place) == []
        before = len(fetched(hostile))
        async with enter(hostile, "bob", place) as bob:  # type: ignore[arg-type]  # has url and ca
            path = await bob.attachments.save(message, place / "target")
            assert path.read_bytes() == BODY
        # The last whole piece once more, and no earlier one.
        assert min(fetched(hostile)[before:]) == WINDOW * PIECE
        assert inbox(place) == []
        assert in_the_clear(place) == ["target"]


async def test_what_a_kill_leaves_in_the_clear_is_removed_at_the_next_start(
    start_relay: StartRelay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = await start_relay(mode="e2ee")
    place = tmp_path / "bob"
    place.mkdir()
    async with enter(relay, "alice") as alice:
        async with enter(relay, "bob", place) as bob:
            message = await sent_file(alice, bob)
            with monkeypatch.context() as killed:
                # As a kill does: nothing is tidied up after it.
                killed.setattr(Saving, "close", lambda saving: saving._file.close())
                killed.setattr(Saving, "finish", lambda *_: 1 // 0)
                with pytest.raises(ZeroDivisionError):
                    await bob.attachments.save(message, place)
        (left,) = in_the_clear(place)
        assert left.startswith(".louver-")
        async with enter(relay, "bob", place) as bob:
            assert in_the_clear(place) == []
            # All had come: it need not be fetched again, whatever became of it at the relay.
            assert len(inbox(place)) == 1
            saved = await bob.attachments.save(message, place)
            assert (saved.name, saved.read_bytes()) == ("a.bin", BODY)


async def test_what_has_come_goes_with_its_message_and_with_time(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    relay = await start_relay(mode="e2ee")
    place = tmp_path / "bob"
    place.mkdir()
    async with hostile_relay(relay) as hostile, enter(relay, "alice") as alice:
        async with enter(relay, "bob", place) as bob:
            one, two = [await sent_file(alice, bob) for _ in range(2)]
        async with interrupted(hostile, place, one, windows=1):
            pass
        async with interrupted(hostile, place, two, windows=1) as bob:
            assert len(inbox(place)) == 2
            await alice.compose.delete("bob", one.id)
            await take(bob)
            assert [row[16:] for row, _ in bob._memory.store.scan(SAVES)] == [two.id]
        async with enter(relay, "bob", place) as bob:
            (left,) = inbox(place)
            assert two.id.hex() in left.name
            late = Saves(
                Memory(bob._memory.store), Transfer(bob._session), lambda: now_ms() + KEPT_MS + 1
            )
            late.sweep()
            assert inbox(place) == []
            assert list(bob._memory.store.scan(SAVES)) == []


async def test_what_was_damaged_here_is_said_and_fetched_anew(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    relay = await start_relay(mode="tls")
    place = tmp_path / "bob"
    place.mkdir()
    async with hostile_relay(relay) as hostile, enter(relay, "alice") as alice:
        async with enter(relay, "bob", place) as bob:
            message = await sent_file(alice, bob)
        async with interrupted(hostile, place, message, windows=2):
            pass
        (part,) = inbox(place)
        raw = bytearray(part.read_bytes())
        raw[PIECE] ^= 1
        part.write_bytes(raw)
        async with enter(relay, "bob", place) as bob:
            with pytest.raises(StoreUnavailable, match="damaged on this device; save it again"):
                await bob.attachments.save(message, place)
            assert (inbox(place), in_the_clear(place)) == ([], [])
            assert (await bob.attachments.save(message, place)).read_bytes() == BODY


async def test_one_save_of_a_file_at_a_time(start_relay: StartRelay, tmp_path: Path) -> None:
    relay = await start_relay(mode="e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        message = await sent_file(alice, bob)
        both = [bob.attachments.save(message, tmp_path) for _ in range(2)]
        done = await asyncio.gather(*both, return_exceptions=True)
        (refused,) = [each for each in done if isinstance(each, BadArgument)]
        assert "being saved already" in str(refused)
        (path,) = [each for each in done if isinstance(each, Path)]
        assert path.read_bytes() == BODY
