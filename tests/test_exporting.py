"""Exports: whole, readable without Louver, checked without a relay, not to be altered unseen."""

from __future__ import annotations

import hashlib
import io
import json
import stat
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from client import Chat
from client.export_file import Checker, Damaged, Said, read
from crypto_modes import registry
from server.app import installed_modes
from tests.conftest import StartRelay
from tests.test_client import enter, take, texts
from tests.test_louver_cli import louver, register

STRENGTHS = registry.strengths(installed_modes())
Lines = list[dict[str, Any]]


async def exported(chat: Chat, *names: str) -> bytes:
    out = io.BytesIO()
    await chat.exports.write(out, *names)
    return out.getvalue()


def problems(raw: bytes) -> list[str]:
    checker = Checker(STRENGTHS)
    found = [checker.problem(line) for line in read(io.BytesIO(raw))]
    return [problem for problem in found if problem]


def again(lines: Lines) -> bytes:
    """These lines as a whole export, as somebody writes it who knows the format."""
    raw = b"".join(json.dumps(line).encode() + b"\n" for line in lines[:-1])
    end = lines[-1] | {"lines": len(lines) - 1, "sha256": hashlib.sha256(raw).hexdigest()}
    return raw + json.dumps(end).encode() + b"\n"


async def a_conversation(alice: Chat, bob: Chat) -> None:
    """In the open, then sealed, then in the open again; a message each way in each."""
    for mode in ("", "e2ee", "tls"):
        if mode:
            await alice.proposals.ask_for(bob.account, mode)
            await bob.proposals.ask_for(alice.account, mode)
            await alice.policy(bob.account)
        await alice.send("bob", f"hello {mode}")
        await take(bob)
        await bob.send("alice", f"größe\x1b {mode}")
        await take(alice)


# --- what an export is ---


@pytest.mark.asyncio
async def test_an_export_is_read_without_louver_and_checked_without_a_relay(
    start_relay: StartRelay,
) -> None:
    relay = await start_relay("tls")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        await a_conversation(alice, bob)
        raw = await exported(alice, "bob")
        account, peer = alice.account, bob.account
    await relay.app.stop()
    about, conversation, *rest, end = map(json.loads, raw.splitlines())
    assert b"\x1b" not in raw
    assert (about["line"], about["format"], about["name"]) == ("about", 1, "alice")
    assert b64decode(about["account"]) == account
    assert "in the clear" in about["read_me"]
    assert (conversation["name"], b64decode(conversation["peer"])) == ("bob", peer)
    assert conversation["words"]["tls"].startswith("The operator can read")
    epochs = [each["policy"] for each in rest if each["line"] == "epoch"]
    assert [each["modes"]["text"] for each in epochs] == ["tls", "e2ee", "tls"]
    assert [sum(map(bool, each.get("signatures", []))) for each in epochs] == [0, 1, 2]
    said = [each for each in rest if each["line"] == "message"]
    assert [each["seq"] for each in said] == [1, 2, 3, 4, 5, 6]
    assert [each["text"] for each in said][::2] == ["hello ", "hello e2ee", "hello tls"]
    assert [each["mode"] for each in said] == ["tls"] * 2 + ["e2ee"] * 2 + ["tls"] * 2
    # What the other said in `e2ee` comes with what its sender committed to; one's own has no key.
    assert [bool(each["evidence"]) for each in said] == [False, False, False, True, False, False]
    before = raw[: raw.rindex(b"\n", 0, -1) + 1]
    assert end["sha256"] == hashlib.sha256(before).hexdigest()
    checker = Checker(STRENGTHS)
    assert [checker.problem(line) for line in read(io.BytesIO(raw))] == [""] * (len(rest) + 2)
    assert checker.proven == 1


@pytest.mark.asyncio
async def test_all_is_every_conversation_and_what_only_the_relay_has(
    start_relay: StartRelay,
) -> None:
    relay = await start_relay("at_rest")
    async with enter(relay, "alice") as phone, enter(relay, "bob") as bob:
        for number in range(3):
            await phone.send("bob", f"{number}")
        await bob.send("alice", "answer")
        async with enter(relay, "alice") as laptop, enter(relay, "carol"):
            await laptop.send("carol", "new")
            await laptop.send("bob", "from the laptop")
            lines = list(read(io.BytesIO(await exported(laptop))))
    said = [(line.seq, line.text) for line in lines if isinstance(line, Said)]
    talk = [(1, "0"), (2, "1"), (3, "2"), (4, "answer"), (5, "from the laptop")]
    assert sorted(said) == sorted([*talk, (1, "new")])


@pytest.mark.asyncio
async def test_what_is_to_disappear_or_was_deleted_is_left_out(start_relay: StartRelay) -> None:
    relay = await start_relay("e2ee")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        sent = await alice.send("bob", "regretted")
        await alice.send("bob", "kept")
        await take(bob, 2)
        await alice.compose.delete("bob", sent.id)
        await alice.compose.timer("bob", 3600)
        await alice.send("bob", "for an hour")
        while "for an hour" not in texts(await take(bob)):
            pass
        for chat, name in ((alice, "bob"), (bob, "alice")):
            raw = await exported(chat, name)
            assert b"kept" in raw
            assert b"regretted" not in raw
            assert b"for an hour" not in raw
            assert b64encode(b"for an hour")[:12] not in raw


# --- what does not hold ---


@pytest.mark.asyncio
async def test_what_was_altered_does_not_pass(start_relay: StartRelay) -> None:
    relay = await start_relay("tls")
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        await a_conversation(alice, bob)
        raw = await exported(alice, "bob")
    honest: Lines = [json.loads(line) for line in raw.splitlines()]
    assert problems(again(honest)) == []

    def proven(lines: Lines) -> dict[str, Any]:
        return next(each for each in lines if each.get("evidence"))

    def epoch(lines: Lines, number: int) -> dict[str, Any]:
        found = (each for each in lines if each.get("policy", {}).get("epoch") == number)
        return dict.__getitem__(next(found), "policy")  # type: ignore[no-any-return]  # JSON

    def flip(text: str) -> str:
        return b64encode(bytes([b64decode(text)[0] ^ 1]) + b64decode(text)[1:]).decode()

    alterations: dict[str, tuple[Callable[[Lines], object], str]] = {
        "the text": (
            lambda lines: proven(lines).update(content=b64encode(b"other").decode()),
            "not the one of its evidence",
        ),
        "the key": (
            lambda lines: proven(lines)["evidence"].update(
                key=flip(proven(lines)["evidence"]["key"])
            ),
            "not what its sender committed to",
        ),
        "the sender": (
            lambda lines: proven(lines).update(sender=b64encode(b"m" * 16).decode()),
            "not of the conversation",
        ),
        "a mode": (lambda lines: epoch(lines, 2)["modes"].update(text="tls"), "was changed"),
        "a signature": (
            lambda lines: epoch(lines, 3).update(signatures=["", ""]),
            "lacks a signature",
        ),
    }
    for name, (alter, why) in alterations.items():
        lines: Lines = json.loads(json.dumps(honest))
        alter(lines)
        assert any(why in each for each in problems(again(lines))), name


@pytest.mark.asyncio
async def test_a_damaged_file_is_not_believed(start_relay: StartRelay) -> None:
    relay = await start_relay("tls")
    async with enter(relay, "alice") as alice, enter(relay, "bob"):
        await alice.send("bob", "hello")
        raw = await exported(alice, "bob")
    first, second = raw.split(b"\n")[:2]
    damaged = {
        b"": "no end",
        raw[:-30]: "line ",
        raw[: raw.rindex(b"\n", 0, -1) + 1]: "no end",
        raw.replace(b'"hello"', b'"hallo"'): "was changed",
        raw + b"{}\n": "was changed",
        raw.replace(b'"format":1', b'"format":2'): "format 1",
        second + b"\n" + first: "format 1",
        b"\x80 no json\n" + raw: "line 1 is not",
        b'{"line":"about","more":"' + b"x" * 200_000 + b'"}\n': "line 1 is not",
    }
    for data, why in damaged.items():
        with pytest.raises(Damaged, match=why):
            list(read(io.BytesIO(data)))


# --- the command ---


@pytest.mark.asyncio
async def test_the_command_writes_a_private_file_and_shows_it_offline(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    relay = await start_relay(mode="e2ee", tls=True)
    alice, bob = tmp_path / "alice", tmp_path / "bob"
    await register(relay, "alice", alice)
    await register(relay, "bob", bob)
    await louver("send", "--to", "bob", "hello\x1b[2J", "--home", alice)
    file = tmp_path / "export.jsonl"
    code, out, err = await louver("export", "--with", "alice", file, "--home", bob)
    assert (code, err) == (0, "")
    assert out.startswith(f"1 message(s) are in {file} now, in the clear.")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    code, _, err = await louver("export", "--all", file, "--home", bob)
    assert (code, "exists; name another file" in err) == (2, True)
    await relay.app.stop()
    later = tmp_path / "later.jsonl"
    code, out, err = await louver("export", "--all", later, "--offline", "--home", bob, "--json")
    assert (code, json.loads(out), err) == (0, {"messages": 1}, "")
    for each in (file, later):
        code, out, err = await louver("export", "show", each)
        assert (code, err) == (0, "")
        assert out.splitlines()[0].startswith("Export of bob, made ")
        assert "With alice:" in out
        assert "e2ee alice #1: hello\ufffd[2J" in out
        assert "1 are proven" in out
    file.write_bytes(file.read_bytes().replace(b"hello", b"hallo"))
    code, _, err = await louver("export", "show", file)
    assert (code, "was changed since it was made" in err) == (5, True)
    for wrong in (["--home", bob, file], ["--with", "alice", "--all", file, "--home", bob]):
        code, _, err = await louver("export", *wrong)
        assert (code, "--with NAME" in err) == (2, True)
