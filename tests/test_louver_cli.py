"""The command line as its users meet it: processes, pipes, exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.conftest import Running, StartRelay

LOUVER = (sys.executable, "-m", "client.cli")
ROOT = Path(__file__).parent.parent


async def start(*arguments: object, **environment: str) -> Process:
    return await asyncio.create_subprocess_exec(
        *LOUVER,
        *map(str, arguments),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        cwd=ROOT,
        env=os.environ | {"LOUVER_PASSWORD": "a long password"} | environment,
    )


async def louver(*arguments: object, given: str = "", **environment: str) -> tuple[int, str, str]:
    process = await start(*arguments, **environment)
    out, err = await asyncio.wait_for(process.communicate(given.encode()), 120)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def register(relay: Running, name: str, home: Path, **environment: str) -> None:
    code, _, err = await louver(
        "register", name, "--url", relay.url, "--ca", relay.ca, "--home", home, **environment
    )
    assert (code, err) == (0, "")


@asynccontextmanager
async def chatting(home: Path, to: str) -> AsyncIterator[Process]:
    process = await start("chat", "--to", to, "--home", home)
    yield process
    if process.returncode is None:
        await say(process, "/quit")
    await asyncio.wait_for(process.wait(), 120)
    assert process.stderr is not None
    assert (await process.stderr.read()).decode() == ""


async def say(process: Process, line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n".encode())
    await process.stdin.drain()


async def hear(process: Process, wanted: str) -> list[str]:
    """The lines up to the first that contains ``wanted``."""
    assert process.stdout is not None
    lines = []
    async with asyncio.timeout(120):
        while True:
            line = (await process.stdout.readline()).decode()
            assert line, f"the chat ended before {wanted!r}: {lines}"
            lines.append(line.rstrip())
            if wanted in line:
                return lines


@pytest.mark.asyncio
async def test_a_script_answers_and_lets_disappear(start_relay: StartRelay, tmp_path: Path) -> None:
    relay = await start_relay(mode="e2ee", tls=True)
    alice, bob = tmp_path / "alice", tmp_path / "bob"
    await register(relay, "alice", alice)
    await register(relay, "bob", bob)
    code, out, _ = await louver("send", "--to", "bob", "lunch?", "--home", alice, "--json")
    first = json.loads(out)
    await louver("history", "--with", "alice", "--home", bob)
    to = ("send", "--to", "alice", "--home", bob)
    code, _, err = await louver(*to, "yes", "--reply-to", "1", "--disappear", "1h")
    assert (code, err) == (0, "")
    code, out, _ = await louver("history", "--with", "bob", "--home", alice, "--json")
    answer = json.loads(out.splitlines()[-1])
    assert (answer["text"], answer["says"], answer["reply_to"]) == ("yes", "plain", first["id"])
    assert answer["expires"] > answer["time"]
    code, out, _ = await louver("history", "--with", "bob", "--home", alice)
    assert "[answers #1] yes  [disappears at " in out
    for wrong, why in (("--reply-to", "its number or its id"), ("--disappear", "a timer is like")):
        code, _, err = await louver(*to, "yes", wrong, "soon")
        assert code == 2
        assert why in err


@pytest.mark.parametrize("mode", ["tls", "at_rest", "e2ee"])
@pytest.mark.asyncio
async def test_two_terminals_talk_and_outlive_a_restart(
    start_relay: StartRelay, tmp_path: Path, mode: str
) -> None:
    relay = await start_relay(mode=mode, tls=True)
    await register(relay, "alice", tmp_path / "alice")
    await register(relay, "bob", tmp_path / "bob")
    async with (
        chatting(tmp_path / "alice", "bob") as alice,
        chatting(tmp_path / "bob", "alice") as bob,
    ):
        words = {
            "tls": "The operator can read and keeps readable text",
            "at_rest": "the operator can read",
            "e2ee": "Only the two of you can read",
        }
        assert words[mode] in "".join(await hear(alice, f"mode {mode}"))
        await hear(bob, "/help")
        await say(alice, "hello bob")
        assert (await hear(bob, "hello bob"))[-1].endswith(" alice #1: hello bob")
        await say(bob, "\x1b[2Jhello alice")
        assert (await hear(alice, "hello alice"))[-1].endswith(" bob #2: \ufffd[2Jhello alice")
        await relay.restart()
        await hear(alice, "* disconnected")
        await say(alice, "said while you were away")
        await hear(bob, "said while you were away")
        if mode == "e2ee":
            await say(alice, "/safety")
            await say(bob, "/safety")
            await hear(alice, "Compare with bob")
            await hear(bob, "Compare with alice")
            assert await hear(alice, "  ") == await hear(bob, "  ")


@pytest.mark.asyncio
async def test_scripts_send_and_read_json(start_relay: StartRelay, tmp_path: Path) -> None:
    relay = await start_relay(mode="e2ee", tls=True)
    alice, bob = tmp_path / "alice", tmp_path / "bob"
    await register(relay, "alice", alice)
    await register(relay, "bob", bob, LOUVER_PASSPHRASE="open sesame")
    assert (alice / "keystore.key").stat().st_mode & 0o777 == 0o600
    assert not (bob / "keystore.key").exists()
    code, out, _ = await louver("send", "--to", "bob", "one", "--json", "--home", alice)
    sent = json.loads(out)
    assert (code, sent["seq"]) == (0, 1)
    code, out, err = await louver("send", "--to", "bob", "-", "--home", alice, given="two\nlines")
    assert (code, out, err) == (0, "", "")
    code, out, _ = await louver("history", "--with", "bob", "--json", "--home", alice)
    lines = [json.loads(line) for line in out.splitlines()]
    assert [(each["text"], each["own"]) for each in lines] == [("one", True), ("two\nlines", True)]
    assert lines[0]["id"] == sent["id"]
    code, out, _ = await louver("devices", "bob", "--json", "--home", alice)
    assert len(json.loads(out)["devices"]) == 1
    wrong = {"LOUVER_PASSPHRASE": "open barley"}
    code, out, err = await louver("send", "--to", "alice", "x", "--home", bob, **wrong)
    assert (code, out) == (1, "")
    assert err.startswith("louver: wrong passphrase")
    code, _, _ = await louver("block", "alice", "--home", bob, LOUVER_PASSPHRASE="open sesame")
    assert code == 0
    code, _, err = await louver("send", "--to", "bob", "x", "--home", alice)
    assert code == 1
    assert err.count("\n") == 1


@pytest.mark.asyncio
async def test_failures_are_one_sentence_and_a_code(tmp_path: Path, unused_tcp_port: int) -> None:
    nowhere = f"ws://127.0.0.1:{unused_tcp_port}/"
    place = ("--home", tmp_path)
    for arguments, wanted, words in (
        (("send", "--to", "bob", "x", *place), 2, "no profile"),
        (("register", "alice", "--url", nowhere, *place), 2, "--insecure"),
        (("register", "alice", "--url", nowhere, "--insecure", *place), 3, "nobody answers"),
        (("register", "alice", "--url", "ws://example.org", "--insecure", *place), 2, "wss://"),
        (("register", "alice", "--url", "wss://localhost", "--ca", tmp_path, *place), 2, "cert"),
        (("register", "Bob B", "--url", nowhere, "--insecure", *place), 2, "1 to 32 of a-z"),
        (("send", "--to", "bob", "x", "--profile", "../x"), 2, "no profile's name"),
    ):
        code, out, err = await louver(*arguments)
        assert (code, out) == (wanted, ""), (arguments, err)
        assert words in err
        assert (err.count("\n"), err.startswith("louver: ")) == (1, True)
    assert (await louver("nonsense"))[0] == 2
    here = {"XDG_CONFIG_HOME": str(tmp_path)}
    (tmp_path / "louver" / "alice").mkdir(parents=True)
    (tmp_path / "louver" / "alice" / "profile.json").touch()
    code, _, err = await louver("history", "--with", "bob", **here)
    assert (code, "yet; there is: --profile alice" in err) == (2, True)
    code, out, _ = await louver("--version")
    assert (code, out) == (0, f"louver {version('louver')}\n")


@pytest.mark.asyncio
async def test_a_relay_that_cannot_prove_itself_is_not_talked_to(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    relay = await start_relay(tls=True)
    code, _, err = await louver("register", "alice", "--url", relay.url, "--home", tmp_path)
    assert code == 1
    assert "is not trusted" in err
    assert "--ca" in err


@pytest.mark.asyncio
async def test_registering_again_neither_pretends_nor_adds_a_device_unsaid(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    relay = await start_relay(mode="e2ee", tls=True)
    alice = tmp_path / "alice"
    await register(relay, "alice", alice)
    again = ("register", "alice", "--url", relay.url, "--ca", relay.ca)
    code, out, err = await louver(*again, "--home", alice, LOUVER_PASSWORD="not the password")
    assert (code, out) == (2, "")
    assert "is alice's already" in err
    code, out, _ = await louver(*again, "--home", tmp_path / "other")
    assert code == 0
    assert "one more device" in out
    assert "is registered here" not in out
    code, _, err = await louver("send", "--to", "Bob Smith", "x", "--home", alice)
    assert code == 2
    assert "'Bob Smith' is no user's name" in err


@pytest.mark.asyncio
async def test_the_short_option_for_help_is_known_everywhere() -> None:
    for group in ((), ("compare",), ("devices",), ("export",), ("report",), ("backup",)):
        code, out, _ = await louver(*group, "-h")
        assert code == 0, group
        assert "Commands:" in out
        assert "-h, --help" in out


@pytest.mark.asyncio
async def test_help_loads_nothing_heavy() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-X", "importtime", "-m", "client.cli", "--help"),
        stdout=PIPE,
        stderr=PIPE,
        cwd=ROOT,
    )
    out, err = await process.communicate()
    loaded = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in err.decode().splitlines()}
    assert {"client", "typer"} <= loaded
    assert not loaded & {"websockets", "apsw", "argon2", "cryptography", "nacl", "msgspec", "rich"}
    for command in ("register", "login", "chat", "send", "history", "compare", "report"):
        assert command in out.decode()


@pytest.mark.asyncio
async def test_scripts_show_and_set_the_mode_of_a_conversation(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    relay = await start_relay(mode="tls", tls=True)
    alice, bob = tmp_path / "alice", tmp_path / "bob"
    await register(relay, "alice", alice)
    code, _, err = await louver("chat", "--to", "bob", "--secret", "--home", alice)
    assert (code, "no such account" in err) == (1, True)
    await register(relay, "bob", bob)
    code, out, err = await louver("chat", "--to", "bob", "--secret", "--home", alice)
    assert (code, err) == (0, "")
    assert out.startswith("With bob, mode e2ee: Only the two of you can read")
    code, out, err = await louver("policy", "set", "bob", "tls", "--kind", "image", "--home", alice)
    assert (code, err) == (0, "")
    assert out.startswith("You have proposed, until ")
    assert "but image: mode tls: The operator can read" in out
    code, out, _ = await louver("policy", "show", "alice", "--home", bob, "--json")
    now, asked = map(json.loads, out.splitlines())
    assert (now["state"], now["modes"]["image"], now["by"]) == ("in_force", "e2ee", "")
    assert (asked["state"], asked["modes"]["image"], asked["epoch"]) == ("prepared", "tls", 3)
    code, out, _ = await louver("policy", "show", "alice", "--home", bob)
    named = asked["proposal"][:16]
    assert (code, f"to agree: louver policy agree alice {named}" in out) == (0, True)
    for other, answer in {"00" * 8: "another proposal waits", "x": "hexadecimal"}.items():
        code, _, err = await louver("policy", "agree", "alice", other, "--home", bob)
        assert (code, answer in err) == (2, True)
    code, out, _ = await louver("policy", "agree", "alice", named, "--home", bob, "--json")
    agreed = json.loads(out)
    assert (code, agreed["state"], agreed["modes"]) == (0, "in_force", asked["modes"])
    assert (await louver("policy", "set", "alice", "tls", "--home", bob))[0] == 0
    code, out, _ = await louver("policy", "withdraw", "bob", "--home", alice, "--json")
    stays = json.loads(out)
    assert (code, stays["state"], stays["modes"]) == (0, "in_force", agreed["modes"])
    code, _, err = await louver("policy", "set", "alice", "rot13", "--home", bob)
    assert (code, "does not know the mode 'rot13'" in err) == (1, True)


@pytest.mark.asyncio
async def test_scripts_send_and_save_files(start_relay: StartRelay, tmp_path: Path) -> None:
    relay = await start_relay(mode="e2ee", tls=True)
    alice, bob = tmp_path / "alice", tmp_path / "bob"
    await register(relay, "alice", alice)
    await register(relay, "bob", bob)
    photo, place = tmp_path / "photo.png", tmp_path / "place"
    photo.write_bytes(os.urandom(100_000))
    place.mkdir()
    code, out, err = await louver("send", "--home", alice, "--to", "bob", "--file", photo, "--json")
    assert (code, err) == (0, "")
    sent = json.loads(out)
    code, _, err = await louver(
        "send", "--home", alice, "--to", "bob", "--file", "-", "--kind", "voice", given="spoken"
    )
    assert (code, err) == (0, "")
    code, out, _ = await louver("history", "--home", bob, "--with", "alice", "--json")
    seen = [json.loads(line) for line in out.splitlines()]
    assert [(each["kind"], each["says"]) for each in seen] == [
        ("image", "attachment"),
        ("voice", "attachment"),
    ]
    save = ("attachments", "save", "--home", bob, "--with", "alice")
    code, out, err = await louver(*save, sent["id"], place)
    assert (code, err) == (0, "")
    assert (place / "photo.png").read_bytes() == photo.read_bytes()
    assert str(place / "photo.png") in out
    code, out, err = await louver(*save, "2", place / "note", "--json")
    assert (code, json.loads(out)) == (0, {"path": str(place / "note")})
    assert (place / "note").read_bytes() == b"spoken"
    absent = f"{place}/absent/"
    for wrong in (("2", place / "note"), ("2", absent), ("7", place), ("ab" * 16, place)):
        code, out, err = await louver(*save, *wrong)
        assert (code, out, err.count("\n")) == (2, "", 1)
    for arguments in (("text", "--file", photo), ("--kind", "file"), ("--file", tmp_path)):
        code, out, err = await louver("send", "--home", alice, "--to", "bob", *arguments)
        assert (code, out, err.count("\n")) == (2, "", 1)
