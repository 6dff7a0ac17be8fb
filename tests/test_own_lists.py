"""A user's own lists: they warn him before and after, also in ``e2ee``, and tell nobody."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from client.own_lists import OwnLists
from client.terminal import talk
from crypto_modes.errors import BadArgument
from tests.conftest import StartRelay
from tests.test_client import enter
from tests.test_client_terminal import Lines


@pytest.fixture
def lists(tmp_path: Path) -> OwnLists:
    (tmp_path / "words.txt").write_text("# mine\nHARM-0007\n")
    (tmp_path / "hosts.txt").write_text("bad.example\n")
    return OwnLists([tmp_path / "words.txt"], [tmp_path / "hosts.txt"])


def test_lists_say_what_they_found_and_where(lists: OwnLists) -> None:
    assert lists.find(b"nothing") == ""
    found = lists.find(b"harm-0007 at https://www.bad.example/x")
    assert found == "'harm-0007' (on words.txt), 'bad.example' (on hosts.txt)"
    assert OwnLists().find(b"harm-0007") == ""


def test_a_list_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadArgument, match="cannot read the list"):
        OwnLists([tmp_path / "absent.txt"])
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(BadArgument, match="is empty"):
        OwnLists([tmp_path / "empty.txt"])
    (tmp_path / "large.txt").write_bytes(b"x\n" * 2**19 + b"x")
    with pytest.raises(BadArgument, match="more than 1 MiB"):
        OwnLists([tmp_path / "large.txt"])


@pytest.mark.asyncio
async def test_a_chat_warns_and_sends_only_what_is_meant(
    start_relay: StartRelay, lists: OwnLists
) -> None:
    relay = await start_relay(mode="e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        screen = Lines()
        talking = asyncio.create_task(talk(alice, "bob", screen, lists))
        await screen.see("to send it")
        screen.typed.put_nowait("/anyway")
        await screen.see("nothing that was not sent")
        screen.typed.put_nowait("take harm-0007")
        await screen.see("! not sent: your own list has 'harm-0007' (on words.txt). /anyway sends")
        screen.typed.put_nowait("something else")
        assert (await asyncio.wait_for(anext(bob), 30)).text == "something else"
        for again in ("take harm-0007", "/anyway"):
            screen.typed.put_nowait(again)
        assert (await asyncio.wait_for(anext(bob), 30)).text == "take harm-0007"
        await bob.send("alice", "see https://bad.example/")
        await screen.see("! your own list has 'bad.example' (on hosts.txt); nobody was told")
        assert await relay.app.store.reports(0, 10) == []
        screen.typed.put_nowait("/quit")
        await asyncio.wait_for(talking, 30)
