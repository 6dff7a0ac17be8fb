"""What a hostile relay gets for its trouble with files, and modes that change during an upload."""

from __future__ import annotations

import asyncio
import io
import os
from pathlib import Path
from typing import Any

import pytest

from client import Chat, NotSent
from client.attachments import reference_of
from crypto_modes import content, wire
from crypto_modes.errors import BelowFloor, LouverError
from tests.conftest import StartRelay
from tests.hostile_relay import HostileRelay, edit, hostile_relay
from tests.test_client import enter, every_mode, first, take
from tests.test_client_attachments import BODY, names, sent_file, stored

pytestmark = pytest.mark.asyncio

PIECE = wire.PIECE


@every_mode
@pytest.mark.attack(4)
@pytest.mark.parametrize(
    "harm",
    ["flipped", "truncated", "repeated", "swapped", "another", "empty", "smaller", "larger", "own"],
)
async def test_a_relay_that_gives_another_file_gets_nothing_saved(
    start_relay: StartRelay, tmp_path: Path, mode: str, harm: str
) -> None:
    relay = await start_relay(mode=mode)
    async with (
        hostile_relay(relay) as hostile,
        enter(relay, "alice") as alice,
        enter(hostile, "bob") as bob,  # type: ignore[arg-type]  # has url and ca
    ):
        message = await sent_file(alice, bob)
        other = reference_of(await sent_file(alice, bob, os.urandom(len(BODY))))

        def flip(data: bytes) -> bytes:
            return data[:-1] + bytes((data[-1] ^ 1,))

        downs = {
            "flipped": edit(data=flip),
            "truncated": edit(data=lambda data: data[:-1]),
            "repeated": edit(data=lambda data: data[:1] * len(data)),
            "empty": edit(data=b""),
            "smaller": edit(size=PIECE),
            "larger": edit(size=lambda size: size + PIECE),
        }
        ups = {
            "swapped": edit(offset=lambda at: PIECE if at == 0 else at),
            "another": edit(id=other.blob),
        }
        if harm in downs:
            hostile.down(wire.Blob, downs[harm])
        elif harm in ups:
            hostile.up(wire.SetBlob, ups[harm])
            hostile.down(wire.Blob, edit(id=reference_of(message).blob))
        else:
            # A ciphertext of the relay's own making, under a key that is not the one in M.
            hostile.down(wire.Blob, edit(data=lambda data: os.urandom(len(data))))
        with pytest.raises(LouverError):
            await bob.attachments.save(message, tmp_path)
        assert names(tmp_path) == []
        hostile.honest()
        assert (await bob.attachments.save(message, tmp_path)).read_bytes() == BODY


@every_mode
async def test_a_relay_that_never_has_what_it_takes_is_given_up(
    start_relay: StartRelay, mode: str
) -> None:
    relay = await start_relay(mode=mode)
    async with (
        hostile_relay(relay) as hostile,
        enter(hostile, "alice") as alice,  # type: ignore[arg-type]  # has url and ca
        enter(relay, "bob"),
    ):
        for lie in (
            edit(offset=0, state="partial"),
            edit(offset=7, state="partial"),
            edit(offset=2**52, state="partial"),
            edit(id=bytes(16)),
        ):
            hostile.honest()
            hostile.down(wire.Blob, lie)
            with pytest.raises(LouverError):
                await alice.attachments.send("bob", io.BytesIO(BODY))
        hostile.honest()
        await alice.attachments.send("bob", io.BytesIO(BODY))


# --- a mode that changes meanwhile ---


async def held_up(hostile: HostileRelay, alice: Chat) -> tuple[asyncio.Future[Any], Any]:
    """A file of Alice's that stops at its last piece, until the event is set."""
    go_on, stopped = asyncio.Event(), asyncio.Event()

    def stop(line: Any, frame: wire.SetBlob) -> Any:
        if frame.do == "put" and frame.offset >= 8 * PIECE and not go_on.is_set():
            stopped.set()
            asyncio.get_running_loop().create_task(later(line, frame))
            return None
        return frame

    async def later(line: Any, frame: wire.SetBlob) -> None:
        await go_on.wait()
        await line.to_relay(frame)

    hostile.up(wire.SetBlob, stop)
    sending = asyncio.ensure_future(alice.attachments.send("bob", io.BytesIO(BODY)))
    async with asyncio.timeout(30):
        await stopped.wait()
    return sending, go_on


async def test_a_mode_raised_during_an_upload_counts_for_it(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    """What the relay has in the clear by then is deleted, and comes again sealed."""
    relay = await start_relay(mode="tls")
    async with (
        hostile_relay(relay) as hostile,
        enter(hostile, "alice") as alice,  # type: ignore[arg-type]  # has url and ca
        enter(relay, "bob") as bob,
    ):
        await alice.send("bob", "hello")
        sending, go_on = await held_up(hostile, alice)
        await alice.propose("bob", {"file": "e2ee"})
        go_on.set()
        await sending
        _, message = await take(bob, 2)
        assert message.mode == "e2ee"
        assert reference_of(message).key
        assert (await bob.attachments.save(message, tmp_path)).read_bytes() == BODY
    (file,) = stored(relay)
    assert BODY[:64] not in file


async def test_a_mode_lowered_during_an_upload_stops_it(start_relay: StartRelay) -> None:
    relay = await start_relay(mode="e2ee")
    async with (
        hostile_relay(relay) as hostile,
        enter(hostile, "alice") as alice,  # type: ignore[arg-type]  # has url and ca
        enter(relay, "bob") as bob,
    ):
        await alice.send("bob", "hello")
        failed = asyncio.ensure_future(first(alice, lambda e: isinstance(e, NotSent)))
        sending, go_on = await held_up(hostile, alice)
        await alice.propose("bob", {"file": "tls"})
        await bob.policy("alice")
        await bob.propose("alice", {"file": "tls"})
        go_on.set()
        with pytest.raises(BelowFloor):
            await sending
        await failed
        assert alice.attachments.pending() == []


async def test_a_reference_prints_nothing_of_its_file() -> None:
    said = content.Attachment(
        blob=bytes(16),
        name="secret name",
        media_type="a/b",
        size=1,
        ciphertext=bytes(32),
        plaintext=bytes(32),
        key=b"k" * 32,
        chunk=4096,
    )
    assert "secret" not in repr(said)
    assert "kkk" not in repr(said)


@pytest.mark.attack(26)
async def test_a_message_that_was_sealed_or_accepted_is_not_made_again(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    """A crash between its sealing, the relay's answer and forgetting the upload: the same bytes go
    out again, and once they were accepted, nothing does."""
    relay = await start_relay(mode="e2ee")
    async with hostile_relay(relay) as hostile, enter(relay, "bob") as bob:
        hostile.up(wire.Send, lambda *_: None)
        async with enter(hostile, "alice", tmp_path) as alice:  # type: ignore[arg-type]  # has url and ca
            waiting = asyncio.ensure_future(alice.attachments.send("bob", io.BytesIO(BODY)))
            async with asyncio.timeout(30):
                while not hostile.sends("alice"):
                    await asyncio.sleep(0.01)
            (upload,) = alice.attachments.pending()
        with pytest.raises(LouverError):
            await waiting
        hostile.honest()
        async with enter(hostile, "alice", tmp_path) as alice:  # type: ignore[arg-type]  # has url and ca
            (message,) = await take(bob)
            async with asyncio.timeout(30):
                while not await alice.attachments.message("bob", message.id):
                    await asyncio.sleep(0.01)
            alice.attachments._keep(upload)  # as if it had crashed before forgetting it
        async with enter(hostile, "alice", tmp_path) as alice:  # type: ignore[arg-type]  # has url and ca
            assert alice.attachments.pending() == []
            await alice.send("bob", "next")
        (following,) = await take(bob)
        assert (message.id, following.warnings) == (upload.message, ())
        first_try, second, _ = hostile.sends("alice")
        assert (first_try.id, first_try.copies) == (second.id, second.copies)
