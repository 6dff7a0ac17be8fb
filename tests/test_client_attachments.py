"""Files from client to client over the real relay: in every mode, over breaks, restarts and a full
disk; and what a hostile relay gets for its trouble."""

from __future__ import annotations

import asyncio
import io
import os
from pathlib import Path
from typing import Any

import pytest

from client import Chat, Message
from client.attachments import reference_of
from crypto_modes import wire
from crypto_modes.attachments import sealed_size, verify
from crypto_modes.errors import (
    BadArgument,
    CannotOpen,
    ConnectionLost,
    Forbidden,
    LimitExceeded,
    StoreUnavailable,
)
from crypto_modes.padding import padded_size
from tests.conftest import Running, StartRelay
from tests.hostile_relay import changed, hostile_relay
from tests.test_client import enter, every_mode, take

pytestmark = pytest.mark.asyncio

PIECE = wire.PIECE
BODY = os.urandom(9 * PIECE + 1234)


def outbox(place: Path, name: str) -> list[Path]:
    """The copies that a client with its key store in ``place`` keeps."""
    directory = place / f"{name}.db.outbox"
    return list(directory.iterdir()) if directory.exists() else []


def stored(relay: Running) -> list[bytes]:
    """What the relay's disk holds of attachments."""
    found = [each for each in (relay.data / "blobs").rglob("*") if each.is_file()]
    return [each.read_bytes() for each in sorted(found)]


def nothing_left(alice: Chat, place: Path) -> bool:
    """Whether Alice has neither an unfinished file nor a copy of one."""
    return not alice.attachments.pending() and not outbox(place, "alice")


def names(place: Path) -> list[str]:
    """The files of a directory, but for key stores."""
    found = (each for each in place.iterdir() if each.is_file() and "alice" not in each.name)
    return sorted(each.name for each in found)


async def sent_file(alice: Chat, bob: Chat, body: bytes = BODY, **fields: Any) -> Message:
    """Bob's message of a file from Alice."""
    await alice.attachments.send("bob", io.BytesIO(body), **({"name": "a.bin"} | fields))
    (message,) = await take(bob)
    return message


@every_mode
@pytest.mark.parametrize("size", [1, PIECE - 1, PIECE, 3_000_003])
async def test_a_file_arrives_as_it_was_sent(
    start_relay: StartRelay, tmp_path: Path, mode: str, size: int
) -> None:
    relay = await start_relay(mode=mode, tls=True)
    body = os.urandom(size)
    source = tmp_path / "photo of us.JPG"
    source.write_bytes(body)
    seen: list[tuple[int, int]] = []
    async with enter(relay, "alice", tmp_path) as alice, enter(relay, "bob") as bob:
        sent = await alice.attachments.send(
            "bob", source, kind="image", progress=lambda *at: seen.append(at)
        )
        (message,) = await take(bob)
        assert (message.kind, message.mode, message.id) == ("image", mode, sent.id)
        assert message.warnings == ()
        said = reference_of(message)
        assert (said.name, said.media_type, said.size) == ("photo of us.JPG", "image/jpeg", size)
        saved = await bob.attachments.save(message, tmp_path)
        assert saved.name == "photo of us (2).JPG"
        assert saved.read_bytes() == body
        assert saved.stat().st_mode & 0o777 == 0o600
        # The sender, from what it has kept of its own message.
        (own,) = await alice.history("bob")
        assert (await alice.attachments.save(own, tmp_path / "mine")).read_bytes() == body
        assert seen[-1][0] == seen[-1][1] > 0
        assert nothing_left(alice, tmp_path)
    (file,) = stored(relay)
    sizes = {"tls": size, "at_rest": padded_size(size + 1), "e2ee": sealed_size(size)}
    assert len(file) >= sizes[mode]
    assert size < 64 or (body in file) == (mode == "tls")
    assert bool(said.key) == (mode == "e2ee")
    assert names(tmp_path) == ["mine", "photo of us (2).JPG", "photo of us.JPG"]


@every_mode
async def test_a_report_on_an_attachment_is_verified_against_the_file(
    start_relay: StartRelay, mode: str
) -> None:
    """The reference is inside what is franked; whoever has it and the file needs nobody's word."""
    relay = await start_relay(mode=mode)
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        message = await sent_file(alice, bob)
        if mode == "e2ee":
            assert message.evidence is not None
            assert reference_of(message).ciphertext in message.evidence.message
    (file,) = stored(relay)
    reference = reference_of(message)
    if mode != "at_rest":  # there the file is the relay's own ciphertext
        verify([file[:100], file[100:]], reference)
        for wrong in (file[:-1], file + b"\0", bytes(len(file))):
            with pytest.raises(CannotOpen):
                verify([wrong], reference)
        with pytest.raises(CannotOpen):
            verify([file], changed(reference, plaintext=bytes(32)))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that come back at once, for tests of many breaks."""
    monkeypatch.setattr("client.session.Backoff.next", lambda *_: 0.01)


@every_mode
@pytest.mark.usefixtures("impatient")
async def test_connections_that_break_at_any_time_do_no_harm(
    start_relay: StartRelay, tmp_path: Path, mode: str
) -> None:
    """Every seventh frame of an attachment breaks its connection, in both directions."""
    relay = await start_relay(mode=mode)
    async with hostile_relay(relay) as hostile:
        count = 0

        def breaks(line: Any, frame: wire.Frame) -> Any:
            nonlocal count
            count += 1
            if count % 7 == 3:
                asyncio.get_running_loop().create_task(line.hang_up())
                return None
            return frame

        async with enter(hostile, "alice") as alice, enter(hostile, "bob") as bob:  # type: ignore[arg-type]  # has url and ca
            await alice.look_up("bob")
            hostile.up(wire.SetBlob, breaks)
            hostile.down(wire.Blob, breaks)
            message = await sent_file(alice, bob)
            saved = await bob.attachments.save(message, tmp_path)
            assert saved.read_bytes() == BODY
        assert count > 10


@every_mode
async def test_an_upload_goes_on_when_the_program_starts_again(
    start_relay: StartRelay, tmp_path: Path, mode: str
) -> None:
    """The file may be gone by then; the message comes once."""
    relay = await start_relay(mode=mode)
    source = tmp_path / "report.pdf"
    source.write_bytes(BODY)
    async with enter(relay, "bob", tmp_path) as bob:
        async with hostile_relay(relay) as hostile:
            puts: list[int] = []

            def slow(_: Any, frame: wire.SetBlob) -> Any:
                puts.extend([frame.offset] if frame.do == "put" else [])
                return frame if len(puts) <= 4 else None

            hostile.up(wire.SetBlob, slow)
            async with enter(hostile, "alice", tmp_path) as alice:  # type: ignore[arg-type]  # has url and ca
                waiting = asyncio.ensure_future(alice.attachments.send("bob", source))
                async with asyncio.timeout(30):
                    while len(puts) <= 4:
                        await asyncio.sleep(0.01)
                (upload,) = alice.attachments.pending()
                assert "report" not in repr(upload)
                assert upload.key.hex() not in repr(upload)
                assert len(outbox(tmp_path, "alice")) == 1
                assert BODY[:100] not in outbox(tmp_path, "alice")[0].read_bytes()
            waiting.cancel()
        source.unlink()
        await relay.restart()
        for _ in range(2):
            async with enter(relay, "alice", tmp_path) as alice:
                async with asyncio.timeout(30):
                    while alice.attachments.pending():
                        await asyncio.sleep(0.01)
        (message,) = await take(bob)
        assert message.id == upload.message
        assert (await bob.attachments.save(message, tmp_path)).read_bytes() == BODY
        assert [each.id for each in await bob.history("alice")] == [message.id]
        assert outbox(tmp_path, "alice") == []


@every_mode
async def test_a_restart_of_the_relay_in_the_middle_does_no_harm(
    start_relay: StartRelay, tmp_path: Path, mode: str
) -> None:
    relay = await start_relay(mode=mode)
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        await alice.look_up("bob")
        begun = asyncio.Event()
        sending = asyncio.ensure_future(
            alice.attachments.send(
                "bob", io.BytesIO(BODY), progress=lambda done, _: begun.set() if done else None
            )
        )
        await begun.wait()
        await relay.restart()
        await sending
        (message,) = await take(bob)
        assert (await bob.attachments.save(message, tmp_path)).read_bytes() == BODY


async def test_texts_are_not_held_up_by_a_file(start_relay: StartRelay) -> None:
    """A text that is written during an upload is there before its end."""
    relay = await start_relay(mode="e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        await alice.send("bob", "first")
        begun = asyncio.Event()
        sending = asyncio.ensure_future(
            alice.attachments.send(
                "bob", io.BytesIO(os.urandom(60 * PIECE)), progress=lambda *_: begun.set()
            )
        )
        await begun.wait()
        await alice.send("bob", "in between")
        assert not sending.done()
        await sending
        assert [each.kind for each in await take(bob, 3)] == ["text", "text", "file"]


@pytest.mark.usefixtures("impatient")
async def test_a_full_disk_at_the_relay_is_waited_for(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    relay = await start_relay(mode="e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        await alice.look_up("bob")
        write, refused = os.pwrite, 0

        def full(file: int, data: bytes, at: int) -> int:
            nonlocal refused
            if at and refused < 5:
                refused += 1
                raise OSError(28, "planted: no room")
            return write(file, data, at)

        monkeypatch.setattr("server.store.blob_files.os.pwrite", full)
        message = await sent_file(alice, bob)
        assert refused == 5
        assert (await bob.attachments.save(message, tmp_path)).read_bytes() == BODY


# --- refusals ---


async def test_what_cannot_be_sent_is_said_and_leaves_nothing(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    relay = await start_relay(limits={"blob": 3 * PIECE}, mode="e2ee")
    async with enter(relay, "alice", tmp_path) as alice, enter(relay, "bob") as bob:
        send = alice.attachments.send
        with pytest.raises(BadArgument, match="cannot read"):
            await send("bob", tmp_path / "nowhere")
        with pytest.raises(BadArgument, match="cannot read"):
            await send("bob", tmp_path)
        with pytest.raises(BadArgument, match="empty"):
            await send("bob", io.BytesIO(b""))
        with pytest.raises(LimitExceeded, match="at most 98304"):
            await send("bob", io.BytesIO(bytes(3 * PIECE + 1)))
        with pytest.raises(LimitExceeded):  # sealed it is larger than that
            await send("bob", io.BytesIO(bytes(3 * PIECE)))
        with pytest.raises(BadArgument):
            await send("bob", io.BytesIO(b"x"), media_type="no media type")
        with pytest.raises(BadArgument):
            await send("bob", io.BytesIO(b"x"), name="n" * 300)
        with pytest.raises(BadArgument):
            await send("bob", io.BytesIO(b"x"), kind="call")
        with pytest.raises(Forbidden):
            await send("nobody", io.BytesIO(b"x"))
        await bob.block("alice")
        with pytest.raises(Forbidden):
            await send("bob", io.BytesIO(b"x"))
        assert nothing_left(alice, tmp_path)
        assert stored(relay) == []


async def test_a_relay_without_attachments(start_relay: StartRelay) -> None:
    relay = await start_relay(limits={"blob": 0})
    async with enter(relay, "alice") as alice, enter(relay, "bob"):
        with pytest.raises(LimitExceeded, match="takes no attachments"):
            await alice.attachments.send("bob", io.BytesIO(b"x"))


async def test_cancelling_gives_up_a_file_and_dropping_deletes_it(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    relay = await start_relay(mode="e2ee")
    async with (
        hostile_relay(relay) as hostile,
        enter(hostile, "alice", tmp_path) as alice,  # type: ignore[arg-type]  # has url and ca
        enter(relay, "bob") as bob,
    ):
        hostile.up(wire.SetBlob, lambda _, f: None if f.do == "put" else f)
        waiting = asyncio.ensure_future(alice.attachments.send("bob", io.BytesIO(BODY)))
        async with asyncio.timeout(30):
            while not alice.attachments.pending() or not stored(relay):
                await asyncio.sleep(0.01)
        await alice.attachments.cancel(alice.attachments.pending()[0].message)
        with pytest.raises(ConnectionLost, match="gave the file up"):
            await waiting
        assert nothing_left(alice, tmp_path)
        assert stored(relay) == []
        hostile.honest()
        message = await sent_file(alice, bob)
        (own,) = await alice.history("bob")
        with pytest.raises(Forbidden):
            await bob.attachments.drop(message)
        await alice.attachments.drop(own)
        with pytest.raises(Forbidden, match="its sender took it back"):
            await bob.attachments.save(message, tmp_path)


async def test_saving_overwrites_nothing_and_follows_no_name(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    relay = await start_relay(mode="e2ee")
    place = tmp_path / "inside"
    place.mkdir()
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        message = await sent_file(alice, bob, b"contents", name="../../.ssh/../passwd\u202efdp.txt")
        saved = await bob.attachments.save(message, place)
        assert saved == place / "passwdfdp.txt"
        assert (await bob.attachments.save(message, place)).name == "passwdfdp (2).txt"
        for taken in (saved, tmp_path / "no" / "where"):
            with pytest.raises(BadArgument):
                await bob.attachments.save(message, taken)
        link = place / "link"
        link.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(BadArgument, match="overwritten"):
            await bob.attachments.save(message, link)
        assert not (tmp_path / "elsewhere").exists()
        await alice.send("bob", "text")
        (text,) = await take(bob)
        with pytest.raises(BadArgument, match="no attachment"):
            await bob.attachments.save(text, place)
        place.chmod(0o500)
        if not os.access(place, os.W_OK):
            with pytest.raises(StoreUnavailable):
                await bob.attachments.save(message, place)
        place.chmod(0o700)
        assert sorted(each.name for each in place.iterdir()) == [
            "link",
            "passwdfdp (2).txt",
            "passwdfdp.txt",
        ]
