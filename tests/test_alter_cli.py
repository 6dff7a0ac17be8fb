"""``louver react``, ``edit`` and ``delete`` as scripts meet them: ids, JSON, exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Running, StartRelay
from tests.test_louver_cli import louver, register

pytestmark = pytest.mark.asyncio


async def people(relay: Running, place: Path) -> tuple[Path, Path]:
    homes = place / "alice", place / "bob"
    for home in homes:
        await register(relay, home.name, home)
    return homes


async def sent(home: Path, to: str, text: str) -> str:
    """The id of a new message."""
    code, out, err = await louver("send", "--to", to, text, "--home", home, "--json")
    assert (code, err) == (0, "")
    return str(json.loads(out)["id"])


async def altered(*command: object) -> dict[str, Any]:
    code, out, err = await louver(*command, "--json")
    assert (code, err) == (0, "")
    return dict(json.loads(out))


async def seen(home: Path, peer: str) -> list[dict[str, Any]]:
    code, out, err = await louver("history", "--with", peer, "--home", home, "--json")
    assert (code, err) == (0, "")
    return [json.loads(line) for line in out.splitlines()]


async def test_scripts_react_edit_and_delete(start_relay: StartRelay, tmp_path: Path) -> None:
    relay = await start_relay(mode="e2ee", tls=True)
    alice, bob = await people(relay, tmp_path)
    from_alice = ("--to", "bob", "--home", alice)
    from_bob = ("--to", "alice", "--home", bob)
    first, second = await sent(alice, "bob", "lnuch?"), await sent(alice, "bob", "or not")
    # Told by its id alone: this device has not read the message yet.
    reaction = await altered("react", *from_bob, first, "👍")
    assert (reaction["target"], reaction["seq"]) == (first, 3)
    edited = await altered("edit", *from_alice, first, "lunch?")
    assert edited["target"] == first
    assert edited["id"] not in (first, second)
    for home, peer in ((alice, "bob"), (bob, "alice")):
        one, two = await seen(home, peer)
        assert (one["text"], one["edited"]) == ("lunch?", True)
        assert list(one["reactions"].values()) == ["👍"]
        assert (two["text"], two["edited"], two["reactions"]) == ("or not", False, {})
    await altered("react", *from_bob, "1")
    code, out, err = await louver("edit", *from_alice, "#1", "-", given="dinner?")
    assert (code, out, err) == (0, "", "")
    code, out, err = await louver("delete", *from_alice, second)
    assert (code, err) == (0, "")
    assert out.startswith("Deleted here, and by bob's program if it obeys.")
    for home, peer in ((alice, "bob"), (bob, "alice")):
        one, two = await seen(home, peer)
        assert (one["text"], one["reactions"]) == ("dinner?", {})
        assert (two["deleted"], two["text"]) == (True, "")


async def test_what_may_not_be_altered_is_said_in_a_sentence(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    relay = await start_relay(tls=True)
    alice, bob = await people(relay, tmp_path)
    first = await sent(alice, "bob", "hello")
    from_alice, from_bob = ("--to", "bob", "--home", alice), ("--to", "alice", "--home", bob)
    for arguments, words in (
        (("edit", *from_bob, first, "mine"), "only who wrote a message"),
        (("delete", *from_bob, first), "only who wrote a message"),
        (("edit", *from_alice, first, ""), "no new text"),
        (("edit", *from_alice, first), "Missing argument"),
        (("react", *from_alice, "ab" * 16, "👍"), "there is no message"),
        (("react", *from_alice, "7", "👍"), "there is no message 7 with bob"),
        (("delete", *from_alice, "the last one"), "by its number or its id"),
    ):
        code, out, err = await louver(*arguments)
        assert (code, out, words in err) == (2, "", True), (arguments, err)
    assert (await louver("delete", *from_alice, first))[0] == 0
    code, _, err = await louver("react", *from_alice, first, "👍")
    assert (code, "is not on this device" in err) == (2, True)
    [one] = await seen(bob, "alice")
    assert one["deleted"] is True
