"""The terminal chat on a real terminal, and on a screen of lines."""

from __future__ import annotations

import asyncio
import os
import pty
import sys
import termios
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from client import Chat, Keystore, Password, connect
from client.slash import HELP
from client.terminal import talk
from client.wording import body, safety
from tests.conftest import StartRelay
from tests.fake_relay import FakeRelay, fake_relay

ROOT = Path(__file__).parent.parent


class Lines:
    """A screen of lines: ``typed`` goes in, ``shown`` comes out."""

    def __init__(self) -> None:
        self.typed: asyncio.Queue[str | None] = asyncio.Queue()
        self.shown: list[str] = []

    def show(self, text: str) -> None:
        self.shown.append(text)

    async def lines(self) -> AsyncIterator[str]:
        while (line := await self.typed.get()) is not None:
            yield line

    async def see(self, wanted: str) -> str:
        return await self.see_times(wanted, 1)

    async def see_times(self, wanted: str, times: int) -> str:
        """The last of so many lines with ``wanted`` in them."""
        async with asyncio.timeout(30):
            while True:
                found = [line for line in self.shown if wanted in line]
                if len(found) >= times:
                    return found[-1]
                await asyncio.sleep(0.01)


def enter(relay: FakeRelay) -> AbstractAsyncContextManager[Chat]:
    keystore = Keystore.in_memory()
    return connect(
        relay.url, name="alice", keystore=keystore, credentials=Password("password", True)
    )


@pytest.mark.asyncio
async def test_warnings_strangers_and_refusals_are_said() -> None:
    async with fake_relay() as relay:
        relay.mode = "at_rest"
        relay.account("bob")
        relay.account("carol")
        async with enter(relay) as chat:
            screen = Lines()
            talking = asyncio.create_task(talk(chat, "bob", screen))
            assert "operator can read" in await screen.see("mode at_rest")
            await relay.push("alice", relay.message("bob", "alice", "sent in tls", mode="tls"))
            assert "WEAKER THAN PROMISED" in await screen.see("sent in tls")
            relay.message("bob", "alice", "withheld")
            await relay.push("alice", relay.message("bob", "alice", "shown"))
            assert "1 MESSAGES BEFORE THIS ARE MISSING" in await screen.see("shown")
            await relay.push("alice", relay.message("carol", "alice", "psst"))
            assert "carol (another conversation): psst" in await screen.see("psst")
            screen.typed.put_nowait("/nonsense")
            await screen.see(HELP)
            screen.typed.put_nowait("/safety")
            await screen.see("! there is no safety number")
            screen.typed.put_nowait("x" * 20000)
            await screen.see("! not sent: a message may have at most")
            screen.typed.put_nowait("/quit")
            await asyncio.wait_for(talking, 30)
    assert relay.sends == []


@pytest.mark.asyncio
async def test_answers_reactions_edits_deletions_and_timers_are_typed(
    start_relay: StartRelay,
) -> None:
    relay = await start_relay(mode="e2ee")

    def come(name: str) -> AbstractAsyncContextManager[Chat]:
        credentials = Password("a long password", register=True)
        return connect(relay.url, name=name, keystore=Keystore.in_memory(), credentials=credentials)

    async def heard(chat: Chat, shown: str) -> None:
        assert body(await asyncio.wait_for(anext(chat), 30)) == shown

    async with come("alice") as alice, come("bob") as bob:
        screen = Lines()
        talking = asyncio.create_task(talk(alice, "bob", screen))
        await screen.see("/help for commands")
        for typed, complaint in (
            ("/reply 7 what?", "no message #7 was shown"),
            ("/reply", "name a message by its number"),
            ("/rpely 7", "! there is no command /rpely"),
            ("/edit - nothing", "you have sent nothing yet"),
            ("/timer soon", "a timer is like"),
        ):
            screen.typed.put_nowait(typed)
            await screen.see(complaint)
        await bob.send("alice", "lunch?")
        await screen.see("#1: lunch?")
        screen.typed.put_nowait("/reply 1")
        await screen.see("write it like this: /reply")
        screen.typed.put_nowait("/edit #1 yours")
        await screen.see("only who wrote a message")
        screen.typed.put_nowait("/reply #1 yse")
        await heard(bob, "[answers another message] yse")
        screen.typed.put_nowait("/edit - yes")
        await heard(bob, "[now reads, another message] yes")
        screen.typed.put_nowait("/react 1 👍")
        await heard(bob, "[👍 to another message]")
        screen.typed.put_nowait("/delete -")
        await screen.see("the relay keeps its own")
        await heard(bob, "[deleted another message]")
        screen.typed.put_nowait("/timer 1h")
        await screen.see("disappears from your devices 1 h after")
        await heard(bob, "[from now on messages disappear 1 h after they are shown]")
        screen.typed.put_nowait("/timer off")
        await screen.see("Messages stay.")
        mine = (await bob.history("alice"))[0]
        await bob.compose.react("alice", mine.id, "☂")
        await screen.see("[☂ to #1]")
        screen.typed.put_nowait("/quit")
        await asyncio.wait_for(talking, 30)


@pytest.mark.asyncio
async def test_what_was_typed_has_a_number_and_safety_says_where_it_matters(
    start_relay: StartRelay,
) -> None:
    relay = await start_relay(mode="e2ee")

    def come(name: str) -> AbstractAsyncContextManager[Chat]:
        credentials = Password("a long password", register=True)
        return connect(relay.url, name=name, keystore=Keystore.in_memory(), credentials=credentials)

    async with come("alice") as alice, come("bob") as bob:
        screen = Lines()
        talking = asyncio.create_task(talk(alice, "bob", screen))
        await screen.see("/help for commands")
        screen.typed.put_nowait("what I tpyed")
        typed = await asyncio.wait_for(anext(bob), 30)
        await bob.compose.reply("alice", typed.id, "what?")
        await screen.see("[answers your last message] what?")
        screen.typed.put_nowait("more")
        assert (await asyncio.wait_for(anext(bob), 30)).text == "more"
        await bob.compose.reply("alice", typed.id, "say it again")
        await screen.see(f"[answers your #{typed.seq}] say it again")
        screen.typed.put_nowait(f"/edit {typed.seq} what I typed")
        said = body(await asyncio.wait_for(anext(bob), 30))
        assert said == "[now reads, another message] what I typed"
        screen.typed.put_nowait("/safety")
        await screen.see("Compare with bob")
        assert not [line for line in screen.shown if "does not matter" in line]
        await bob.proposals.ask_for(alice.account, "tls")
        await screen.see("* bob proposes mode tls")
        screen.typed.put_nowait("/mode tls")
        await screen.see("With bob, mode tls")
        screen.typed.put_nowait("/safety")
        await screen.see("It does not matter in mode tls: there the operator can read.")
        screen.typed.put_nowait("/quit")
        await asyncio.wait_for(talking, 30)


@pytest.mark.asyncio
async def test_files_are_sent_and_saved_by_typing(start_relay: StartRelay, tmp_path: Path) -> None:
    relay = await start_relay(mode="e2ee")

    def come(name: str) -> AbstractAsyncContextManager[Chat]:
        credentials = Password("a long password", register=True)
        return connect(relay.url, name=name, keystore=Keystore.in_memory(), credentials=credentials)

    photo = tmp_path / "photo.png"
    photo.write_bytes(bytes(range(256)) * 300)
    async with come("alice") as alice, come("bob") as bob:
        screen = Lines()
        talking = asyncio.create_task(talk(alice, "bob", screen))
        await screen.see("/help for commands")
        for typed, complaint in (
            ("/file", "/file PATH"),
            (f"/file {tmp_path / 'nowhere.png'}", "cannot read"),
            ("/save 7", "no message #7 was shown"),
        ):
            screen.typed.put_nowait(typed)
            await screen.see(complaint)
        screen.typed.put_nowait(f"/file {photo}")
        message = await asyncio.wait_for(anext(bob), 30)
        assert body(message) == "[image: photo.png, 76800 bytes]"
        await bob.attachments.send("alice", photo, name="../mine.png")
        shown = await screen.see("[file: ../mine.png, 76800 bytes]")
        number = shown.partition("#")[2].partition(":")[0]
        screen.typed.put_nowait(f"/save {number} {tmp_path}")
        await screen.see(f"Verified and saved: {tmp_path / 'mine.png'}")
        assert (tmp_path / "mine.png").read_bytes() == photo.read_bytes()
        screen.typed.put_nowait("/quit")
        await asyncio.wait_for(talking, 30)


@pytest.mark.asyncio
@pytest.mark.attack
async def test_14_accept_takes_the_key_that_safety_showed_and_no_other(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    relay = await start_relay(mode="e2ee")

    def come(name: str, *, again: bool = False) -> AbstractAsyncContextManager[Chat]:
        credentials = Password("a long password", register=True)
        return connect(
            relay.url,
            name=name,
            keystore=Keystore.in_memory(),
            credentials=credentials,
            replace_key=again,
        )

    async with come("alice") as alice:
        async with come("bob") as bob:
            await alice.send("bob", "to the first key")
        screen = Lines()
        talking = asyncio.create_task(talk(alice, "bob", screen))
        await screen.see("/help for commands")
        for key in ("second", "third"):
            async with come("bob", again=True) as bob:
                await bob.devices("alice")
                if key == "third":  # its number was not shown yet
                    await screen.see_times("THE KEY OF bob CHANGED", 2)
                    screen.typed.put_nowait("/accept")
                    await screen.see("another safety number")
                    screen.typed.put_nowait("/accept")
                    await screen.see_times("look at /safety first", 2)
                else:
                    await screen.see("THE KEY OF bob CHANGED")
                    screen.typed.put_nowait("/accept")
                    await screen.see("look at /safety first")
                screen.typed.put_nowait("/safety")
                await screen.see(safety(bob.safety_number("alice")))
                if key == "third":
                    screen.typed.put_nowait("/accept")
                    await screen.see("You accepted the new key of bob.")
                    screen.typed.put_nowait("to the third key")
                    assert (await asyncio.wait_for(anext(bob), 30)).text == "to the third key"
        screen.typed.put_nowait("/quit")
        await asyncio.wait_for(talking, 30)


@pytest.mark.asyncio
async def test_an_arriving_line_does_not_break_the_typed_one(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    relay = await start_relay(tls=True)
    secret = {"LOUVER_PASSWORD": "a long password", "PYTHONPATH": str(ROOT), "TERM": "dumb"}
    louver = (sys.executable, "-m", "client.cli")
    register = await asyncio.create_subprocess_exec(
        *(*louver, "register", "alice", "--url", relay.url, "--ca", str(relay.ca)),
        *("--home", tmp_path),
        env=os.environ | secret,
    )
    assert await register.wait() == 0
    async with connect(
        relay.url,
        name="bob",
        keystore=Keystore.in_memory(),
        credentials=Password("a long password", True),
        ca=str(relay.ca),
    ) as bob:
        master, slave = pty.openpty()
        before = termios.tcgetattr(slave)
        process = await asyncio.create_subprocess_exec(
            *(*louver, "chat", "--to", "bob", "--home", tmp_path),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=os.environ | secret,
        )
        seen = bytearray()
        loop = asyncio.get_running_loop()
        loop.add_reader(master, lambda: seen.extend(os.read(master, 65536)))

        async def see(wanted: bytes) -> None:
            async with asyncio.timeout(30):
                while wanted not in seen:
                    await asyncio.sleep(0.01)

        await see(b"/help for commands")
        os.write(master, b"half a sen")
        await see(b"half a sen")
        await bob.send("alice", "interrupting")
        await see(b"bob #1: interrupting\r\n> half a sen")
        assert b"> > " not in seen.replace(b"\r\x1b[K", b"")
        os.write(master, b"tence\n")
        assert (await asyncio.wait_for(anext(bob), 30)).text == "half a sentence"
        os.write(master, b"/quit\n")
        assert await asyncio.wait_for(process.wait(), 30) == 0
        loop.remove_reader(master)
        assert termios.tcgetattr(slave) == before
        os.close(master)
        os.close(slave)
