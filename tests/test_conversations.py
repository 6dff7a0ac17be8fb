"""Conversations as test files: each line of ``conversations/*.chat`` is one step, played with
the real client library against a real relay.

Only the stage lives here; what is played is in the files. The first words of a step choose the
function by the table ``STEPS``; a line that fits none fails the test.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from client import Chat, Keystore, Message, Password, connect, wording
from crypto_modes import errors
from crypto_modes.content import Deletion, Edit, encode
from server.app import installed_modes
from server.reveal import Revealed, archive
from tests.conftest import Running, StartRelay

PLAYS = sorted((Path(__file__).parent / "conversations").glob("*.chat"))
SCRIPTS = {path: path.read_text().splitlines() for path in PLAYS}
PATIENCE = 60.0
QUIET_SECONDS = 0.3


class Actor:
    """A user with one device whose key store survives leaving."""

    def __init__(self, name: str, keystore: Path) -> None:
        self.name = name
        self._path = keystore
        self._stack = AsyncExitStack()
        self.chat: Chat
        self.ids: dict[str, bytes] = {}  # text -> the id of the newest message that said it

    async def enter(self, url: str) -> None:
        self.chat = await self._stack.enter_async_context(
            connect(
                url,
                name=self.name,
                credentials=Password("correct horse", register=True),
                keystore=Keystore.open(self._path, passphrase="a passphrase"),
            )
        )

    async def leave(self) -> None:
        await self._stack.aclose()

    async def hear(self) -> Message:
        """The next message of somebody else."""
        async with asyncio.timeout(PATIENCE):
            async for message in self.chat:
                if not message.own:
                    self.ids[message.text] = message.id
                    return message
        raise AssertionError(f"{self.name}'s chat has ended")


class Stage:
    """The relay, the actors, and one method per kind of step."""

    def __init__(self, relay: Running, place: Path) -> None:
        self.relay = relay
        self.place = place
        self.actors: dict[str, Actor] = {}
        self.begun: list[asyncio.Task[Any]] = []
        self.port = relay.port

    async def enters(self, name: str) -> None:
        self.actors[name] = Actor(name, self.place / f"{name}.keystore")
        await self.actors[name].enter(self.relay.url)

    async def leaves(self, name: str) -> None:
        await self.actors[name].leave()

    async def returns(self, name: str) -> None:
        await self.actors[name].enter(self.relay.url)

    async def says(self, name: str, text: str, to: str) -> None:
        async with asyncio.timeout(PATIENCE):
            actor = self.actors[name]
            actor.ids[text] = (await actor.chat.send(to, text)).id

    async def begins(self, name: str, text: str, to: str) -> None:
        self.begun.append(asyncio.create_task(self.says(name, text, to)))

    async def cannot(self, name: str, text: str, to: str, why: str) -> None:
        with pytest.raises(getattr(errors, why)):
            await self.says(name, text, to)

    async def hears(self, name: str, text: str, sender: str) -> None:
        message = await self.actors[name].hear()
        assert (message.text, message.sender_name, message.warnings) == (text, sender, ())

    async def hears_after_gap(self, name: str, text: str, sender: str, missing: str) -> None:
        message = await self.actors[name].hear()
        shown = (message.text, message.sender_name, message.warnings)
        assert shown == (text, sender, (f"gap:{missing}",))

    async def replies(self, name: str, text: str, to: str, said: str) -> None:
        actor = self.actors[name]
        actor.ids[text] = (await actor.chat.compose.reply(to, actor.ids[said], text)).id

    async def hears_answer(self, name: str, text: str, sender: str, said: str) -> None:
        actor = self.actors[name]
        message = await actor.hear()
        found = (message.text, message.sender_name, message.reply_to)
        assert found == (text, sender, actor.ids[said])

    async def reacts(self, name: str, emoji: str, to: str, said: str) -> None:
        actor = self.actors[name]
        await actor.chat.compose.react(to, actor.ids[said], emoji)

    async def edits(self, name: str, said: str, text: str, to: str) -> None:
        actor = self.actors[name]
        await actor.chat.compose.edit(to, actor.ids[said], text)

    async def deletes(self, name: str, said: str, to: str) -> None:
        actor = self.actors[name]
        await actor.chat.compose.delete(to, actor.ids[said])

    async def forges(self, name: str, said: str, text: str, to: str) -> None:
        """What ``compose`` would refuse, as another program may send it."""
        actor = self.actors[name]
        await actor.chat.send(to, encode(Edit(actor.ids[said], text)))
        await actor.chat.send(to, encode(Deletion(actor.ids[said])))

    async def lets_disappear(self, name: str, text: str, to: str) -> None:
        await self.actors[name].chat.compose.disappearing(to, text, 1)

    async def sees(self, name: str, shown: str, sender: str) -> None:
        message = await self.actors[name].hear()
        assert (wording.body(message), message.sender_name) == (shown, sender)

    async def keeps(self, name: str, peer: str, shown: str) -> None:
        """Until it is so: what disappears takes its time."""
        async with asyncio.timeout(PATIENCE):
            while True:
                history = await self.actors[name].chat.history(peer)
                if [wording.body(each) for each in history] == json.loads(f"[{shown}]"):
                    return
                await asyncio.sleep(0.1)

    async def silence(self) -> None:
        await asyncio.gather(*self.begun)
        listening = [asyncio.create_task(actor.hear()) for actor in self.actors.values()]
        done, waiting = await asyncio.wait(listening, timeout=QUIET_SECONDS)
        for task in waiting:
            task.cancel()
        assert [task.result().text for task in done] == []

    async def blocks(self, name: str, peer: str) -> None:
        await self.actors[name].chat.block(peer)

    async def unblocks(self, name: str, peer: str) -> None:
        await self.actors[name].chat.block(peer, on=False)

    async def proposes(self, name: str, mode: str, peer: str) -> None:
        chat = self.actors[name].chat
        await chat.propose(peer, {"text": mode})

    async def agrees(self, name: str, mode: str, peer: str) -> None:
        policy = await self.actors[name].chat.policy(peer)
        assert policy.modes["text"] == mode

    async def stops(self) -> None:
        await self.relay.app.stop()

    async def starts(self) -> None:
        await self.relay.start_again(self.port)

    async def restarts(self) -> None:
        await self.stops()
        await self.starts()

    async def switches(self, mode: str) -> None:
        settings = self.relay.app.settings
        assert await self.relay.app.reload(settings.model_copy(update={"mode": mode})) == ["mode"]

    async def reads(self, text: str) -> None:
        assert text in {each.text for each in await self._revealed()}

    async def reads_not(self, text: str) -> None:
        assert text not in {each.text for each in await self._revealed()}

    async def reads_as_declared(self) -> None:
        mode = installed_modes()[self.relay.app.settings.mode]
        revealed = await self._revealed()
        assert revealed
        assert {each.readable for each in revealed} == {mode.visibility["compelled_operator"]}

    async def _revealed(self) -> list[Revealed]:
        async with archive(self.relay.app.settings, installed_modes()) as opened:
            return [each async for each in opened.messages()]


STEPS: dict[str, Callable[..., Awaitable[None]]] = {
    r"(\w+) enters": Stage.enters,
    r"(\w+) leaves": Stage.leaves,
    r"(\w+) returns": Stage.returns,
    r'(\w+) says "(.*)" to (\w+)': Stage.says,
    r'(\w+) begins to say "(.*)" to (\w+)': Stage.begins,
    r'(\w+) cannot say "(.*)" to (\w+) because (\w+)': Stage.cannot,
    r'(\w+) hears "(.*)" from (\w+)': Stage.hears,
    r'(\w+) hears "(.*)" from (\w+) after a gap of (\d+)': Stage.hears_after_gap,
    r'(\w+) answers "(.*)" to (\w+), who said "(.*)"': Stage.replies,
    r'(\w+) hears "(.*)" from (\w+) as an answer to "(.*)"': Stage.hears_answer,
    r'(\w+) reacts with (\S+) to (\w+) at "(.*)"': Stage.reacts,
    r'(\w+) edits "(.*)" into "(.*)" for (\w+)': Stage.edits,
    r'(\w+) deletes "(.*)" for (\w+)': Stage.deletes,
    r'(\w+) forges "(.*)" into "(.*)" for (\w+)': Stage.forges,
    r'(\w+) lets "(.*)" to (\w+) disappear': Stage.lets_disappear,
    r"(\w+) sees (\[.*\].*) from (\w+)": Stage.sees,
    r"(\w+) keeps with (\w+): (.*)": Stage.keeps,
    r"nobody hears anything else": Stage.silence,
    r"(\w+) blocks (\w+)": Stage.blocks,
    r"(\w+) unblocks (\w+)": Stage.unblocks,
    r"(\w+) proposes (\w+) to (\w+)": Stage.proposes,
    r"(\w+) is in (\w+) with (\w+)": Stage.agrees,
    r"the relay stops": Stage.stops,
    r"the relay starts": Stage.starts,
    r"the relay restarts": Stage.restarts,
    r"the operator switches to (\w+)": Stage.switches,
    r'the operator reads "(.*)"': Stage.reads,
    r'the operator does not read "(.*)"': Stage.reads_not,
    r"the operator reads as declared": Stage.reads_as_declared,
}


def scenes() -> list[tuple[Path, str]]:
    """Each file with each mode that it names."""
    found = []
    for path in PLAYS:
        words = next(line for line in SCRIPTS[path] if line.startswith("modes "))
        found += [(path, mode) for mode in words.split()[1:]]
    return found


async def step(stage: Stage, line: str) -> None:
    """Play one line."""
    for pattern, action in STEPS.items():
        if fits := re.fullmatch(pattern, line):
            await action(stage, *fits.groups())
            return
    raise AssertionError(f"nobody knows how to play {line!r}")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("path", "mode"), scenes(), ids=lambda value: getattr(value, "stem", value)
)
async def test_conversation(path: Path, mode: str, start_relay: StartRelay, tmp_path: Path) -> None:
    stage = Stage(await start_relay(mode), tmp_path)
    try:
        for number, line in enumerate(SCRIPTS[path], 1):
            if line.strip() and not line.startswith(("#", "modes ")):
                try:
                    await step(stage, line)
                except BaseException as error:
                    error.add_note(f"{path.name}:{number}: {line}")
                    raise
    finally:
        for actor in stage.actors.values():
            await actor.leave()
        for task in stage.begun:
            task.cancel()
