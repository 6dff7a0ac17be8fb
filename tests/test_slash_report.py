"""``/report`` in a chat: shown first, sent when confirmed, and as it was received."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from client.terminal import talk
from client.verifying import Platform
from server import team
from tests.conftest import Running, StartRelay
from tests.test_client import enter
from tests.test_client_reporting import exported, judged, keys
from tests.test_client_terminal import Lines
from tests.test_reports_relay import with_team

__all__ = ["keys"]  # a fixture


@pytest.mark.asyncio
async def test_what_is_revealed_is_shown_before_it_is_sent(
    start_relay: StartRelay, keys: Path, tmp_path: Path
) -> None:
    relay = await with_team(start_relay, keys, "e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        screen = Lines()
        talking = asyncio.create_task(talk(bob, "alice", screen))
        await screen.see("/help for commands")
        screen.typed.put_nowait("/report send")
        await screen.see("say first what to report")
        said = await alice.send("bob", "I will find you")
        await screen.see("#1: I will find you")
        await alice.compose.edit("bob", said.id, "have a nice day")
        await screen.see("have a nice day")
        for typed, complaint in (
            ("/report", "name a message by its number"),
            ("/report 9 threat", "no message #9"),
            ("/report 1", "one of spam, harassment"),
            ("/report 1 rude", "one of spam, harassment"),
        ):
            screen.typed.put_nowait(typed)
            await screen.see(complaint)
        screen.typed.put_nowait("/report #1 threat he knows where I live")
        await screen.see("To send it: /report send")
        assert '"I will find you"' in await screen.see("UTC")
        assert "he knows where I live" in await screen.see("your words")
        assert await exported_count(relay, tmp_path) == 0
        screen.typed.put_nowait("/report send")
        await screen.see("is not told, and not blocked")
        screen.typed.put_nowait("mine")
        await asyncio.sleep(0)
        screen.typed.put_nowait("/report send")
        await screen.see_times("say first what to report", 2)
        screen.typed.put_nowait("/quit")
        await asyncio.wait_for(talking, 30)
    (file,) = await exported(relay, tmp_path)
    found = await judged(file, keys, Platform(relay.data / "franking"))
    assert [each.content for each in found.findings] == [b"I will find you"]
    assert found.proven


async def exported_count(relay: Running, tmp_path: Path) -> int:

    return (await team.export(relay.app.settings, tmp_path / "exported"))[1]
