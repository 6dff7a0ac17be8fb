"""Reports at the relay: what it takes, keeps and hands to the team."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from crypto_modes import reports, wire
from crypto_modes.errors import BadConfig, CannotOpen
from crypto_modes.keys import TeamKey
from server import cli, team
from server.reports import team_key
from tests.conftest import Running, StartRelay
from tests.raw_client import RawClient
from tests.test_confirming import sealed_for


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """The files of a team."""
    directory = tmp_path / "team"
    team.keygen(directory)
    return directory


async def with_team(
    start_relay: StartRelay, keys: Path, mode: str = "tls", **given: Any
) -> Running:
    return await start_relay(mode, moderation={"key": str(keys / "team.pub")}, **given)


def secret(keys: Path) -> TeamKey:
    return TeamKey((keys / "team.key").read_bytes())


def frame(client: RawClient, *tags: bytes, **fields: Any) -> wire.Report:
    given: dict[str, Any] = {"id": os.urandom(16), "tags": tags or (os.urandom(32),)}
    return wire.Report(ref=client.ref(), **({"sealed": b"sealed"} | given | fields))


async def listed(relay: Running) -> list[reports.Sealed]:
    return [report async for _, report in team.listing(relay.app.settings)]


# --- taking ---


@pytest.mark.asyncio
async def test_a_report_is_kept_as_it_was_handed_in(start_relay: StartRelay, keys: Path) -> None:
    relay = await with_team(start_relay, keys)
    bob = await relay.enter("bob")
    given = await bob.ask(wire.GetTeam(ref=bob.ref()), wire.Team)
    assert given.key == secret(keys).public
    sent = frame(bob, b"1" * 32, b"2" * 32, sealed=os.urandom(reports.SEALED_LIMIT))
    taken = await bob.ask(sent, wire.Reported)
    assert taken.id == sent.id
    await relay.restart()
    (kept,) = await listed(relay)
    assert (kept.id, kept.tags, kept.sealed) == (sent.id, sent.tags, sent.sealed)
    assert (kept.reporter, kept.time) == (bob.account, taken.time)
    assert kept.relay == relay.app.store.deployment


@pytest.mark.asyncio
async def test_the_largest_report_fits_a_frame_in_both_protocols(
    start_relay: StartRelay, keys: Path
) -> None:
    relay = await with_team(start_relay, keys)
    for protocol in (wire.MSGPACK, wire.JSON):
        bob = await relay.enter(f"bob-{protocol[-4:]}", protocol=protocol)
        tags = [os.urandom(32) for _ in range(reports.MESSAGES_LIMIT)]
        await bob.ask(frame(bob, *tags, sealed=bytes(reports.SEALED_LIMIT)), wire.Reported)


@pytest.mark.asyncio
async def test_a_retry_is_no_second_report(start_relay: StartRelay, keys: Path) -> None:
    relay = await with_team(start_relay, keys)
    bob, carol = await relay.enter("bob"), await relay.enter("carol")
    sent = frame(bob)
    first = await bob.ask(sent, wire.Reported)
    again = await bob.ask(msgspec.structs.replace(sent, ref=bob.ref()), wire.Reported)
    assert (again.id, again.time) == (first.id, first.time)
    assert len(await listed(relay)) == 1
    # Another account's ids and tags are its own.
    await carol.ask(msgspec.structs.replace(sent, ref=carol.ref()), wire.Reported)
    assert {each.reporter for each in await listed(relay)} == {bob.account, carol.account}


@pytest.mark.attack(41)
@pytest.mark.asyncio
async def test_one_message_is_reported_once_by_one_account(
    start_relay: StartRelay, keys: Path
) -> None:
    relay = await with_team(start_relay, keys)
    bob = await relay.enter("bob")
    await bob.ask(frame(bob, b"1" * 32), wire.Reported)
    refused = await bob.refusal(frame(bob, b"2" * 32, b"1" * 32))
    assert (refused.code, "message 2" in refused.message) == (103, True)
    refused = await bob.refusal(frame(bob, b"3" * 32, b"3" * 32))
    assert (refused.code, "twice" in refused.message) == (103, True)
    # Nothing of what was refused was kept.
    await bob.ask(frame(bob, b"2" * 32, b"3" * 32), wire.Reported)
    assert len(await listed(relay)) == 2


@pytest.mark.asyncio
async def test_reports_are_slow_and_bounded(
    start_relay: StartRelay, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.reports.KEPT_LIMIT", 3)
    relay = await with_team(start_relay, keys)
    bob = await relay.enter("bob")
    for _ in range(3):
        await bob.ask(frame(bob), wire.Reported)
    assert (await bob.refusal(frame(bob))).code == 106
    slow = await with_team(start_relay, keys, limits={"report_rate": 0.001, "report_burst": 2})
    bob = await slow.enter("bob")
    for _ in range(2):
        await bob.ask(frame(bob), wire.Reported)
    refused = await bob.refusal(frame(bob))
    assert (refused.code, refused.temporary) == (111, True)
    assert refused.retry_after > 500
    await (await slow.enter("carol")).ask(frame(bob), wire.Reported)


@pytest.mark.asyncio
async def test_without_a_team_there_is_nobody_to_report_to(relay: Running) -> None:
    bob = await relay.enter("bob")
    assert (await bob.ask(wire.GetTeam(ref=bob.ref()), wire.Team)).key == b""
    refused = await bob.refusal(frame(bob))
    assert (refused.code, "no moderation team" in refused.message) == (103, True)


@pytest.mark.parametrize(
    "fields",
    [
        {"tags": ()},
        {"tags": (bytes(32),) * 21},
        {"tags": (bytes(31),)},
        {"sealed": b""},
        {"sealed": bytes(reports.SEALED_LIMIT + 1)},
        {"id": bytes(15)},
    ],
)
@pytest.mark.asyncio
async def test_what_is_no_report_is_refused(
    start_relay: StartRelay, keys: Path, fields: dict[str, Any]
) -> None:
    relay = await with_team(start_relay, keys)
    bob = await relay.enter("bob")
    assert (await bob.refusal(frame(bob, **fields))).code == 107
    assert await listed(relay) == []


@pytest.mark.asyncio
async def test_the_log_does_not_say_who_reported(
    start_relay: StartRelay, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = await with_team(start_relay, keys)
    bob = await relay.enter("bob")
    told: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(
        relay.app.watch, "changed", lambda event, **fields: told.append((event, fields))
    )
    await bob.ask(frame(bob), wire.Reported)
    assert told == [("report taken", {"count": 1})]


# --- the team's files ---


@pytest.mark.asyncio
async def test_keys_are_made_once_and_for_their_owner_only(tmp_path: Path) -> None:
    secret_file, public_file, shown = team.keygen(tmp_path / "team")
    assert secret_file.stat().st_mode & 0o777 == 0o600
    assert public_file.read_bytes() == TeamKey(secret_file.read_bytes()).public
    assert team_key(str(public_file)) == public_file.read_bytes()
    assert shown == reports.fingerprint(public_file.read_bytes())
    assert team.keygen(tmp_path / "team") == (secret_file, public_file, shown)
    assert team_key("") == b""


@pytest.mark.asyncio
async def test_a_wrong_file_is_no_key(keys: Path, tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(bytes(1215))
    (tmp_path / "bad").write_bytes(b"\xff" * 1216)
    for name in (keys / "team.key", tmp_path / "short", tmp_path / "bad", tmp_path / "none"):
        with pytest.raises(BadConfig, match=r"moderation\.key"):
            team_key(str(name))


@pytest.mark.asyncio
async def test_exported_reports_are_the_teams_to_open(
    start_relay: StartRelay, keys: Path, tmp_path: Path
) -> None:
    relay = await with_team(start_relay, keys, "e2ee")
    (stored, report), bob = await sealed_for(relay), await relay.enter("bob")
    report = msgspec.structs.replace(
        report,
        reporter=bob.account,
        items=(msgspec.structs.replace(report.items[0], recipient=bob.account),),
    )
    sealed = reports.seal(secret(keys).public, report)
    await bob.ask(frame(bob, *reports.tags(report), sealed=sealed), wire.Reported)
    out = tmp_path / "out"
    assert await team.export(relay.app.settings, out) == (1, 1)
    assert await team.export(relay.app.settings, out) == (0, 1)
    (file,) = out.iterdir()
    exported = reports.Sealed.from_json(file.read_bytes())
    assert exported.open(secret(keys)) == report
    with pytest.raises(CannotOpen):
        exported.open(TeamKey(bytes(32)))
    assert stored.record not in file.read_bytes()


@pytest.mark.asyncio
async def test_the_operators_commands(start_relay: StartRelay, keys: Path, tmp_path: Path) -> None:
    relay = await with_team(start_relay, keys)
    bob = await relay.enter("bob")
    sent = frame(bob, b"1" * 32)
    await bob.ask(sent, wire.Reported)

    async def louverd(*arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "server", *arguments, "--set", f"data={relay.data}"),
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
        assert process.returncode == 0
        return out.decode()

    line = json.loads(await louverd("reports", "list"))
    assert (line["number"], line["id"], line["messages"]) == (1, sent.id.hex(), 1)
    assert line["reporter"] == bob.account.hex()
    assert "1 new, 1 in all" in await louverd("reports", "export", str(tmp_path / "out"))


def test_keygen_says_what_belongs_to_whom(tmp_path: Path) -> None:
    made = CliRunner().invoke(cli.app, ["moderation", "keygen", "--dir", str(tmp_path / "team")])
    assert made.exit_code == 0
    public = (tmp_path / "team" / "team.pub").read_bytes()
    assert reports.fingerprint(public) in made.output


@pytest.mark.parametrize(("command", "name"), [("keygen", "team"), ("vault-key", "vault")])
def test_a_pair_that_is_there_is_said_to_be_unchanged(
    tmp_path: Path, command: str, name: str
) -> None:
    place = tmp_path / "keys"
    call = ["moderation", command, "--dir", str(place)]
    first = CliRunner().invoke(cli.app, call)
    assert "A new pair was made." in first.output
    assert "unchanged" not in first.output
    before = [(place / f"{name}{ending}").read_bytes() for ending in (".key", ".pub")]
    again = CliRunner().invoke(cli.app, call)
    assert again.exit_code == 0
    assert f"{place / name}.key was there already: no new key was made" in again.output
    assert "A new pair was made." not in again.output
    assert [(place / f"{name}{ending}").read_bytes() for ending in (".key", ".pub")] == before
