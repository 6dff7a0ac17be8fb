"""Rotation under load, what is left of a killed one, shredding, and that it outlives a restore."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest

from crypto_modes.contract import NeedWrappedKey
from crypto_modes.errors import (
    BadArgument,
    BadConfig,
    CannotOpen,
    Forbidden,
)
from server import key_care
from server.app import installed_modes
from server.reveal import print_lines
from server.store import WrappedKey
from tests.conftest import Running, StartRelay
from tests.raw_client import RawClient

pytestmark = pytest.mark.asyncio


async def rotated(relay: Running) -> None:
    """Wait until the rotation that was begun is over."""
    assert relay.app.key_care._work is not None
    await relay.app.key_care._work


async def texts(relay: Running) -> list[str]:
    """What the operator's own powers read of all messages; a reason where they do not."""
    out = io.BytesIO()
    await print_lines(relay.app.settings, installed_modes(), None, out)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    return [line["text"] if line["readable"] else line["reason"] for line in lines]


@contextmanager
def database(path: Path) -> Iterator[apsw.Connection]:
    db = apsw.Connection(str(path))
    try:
        yield db
    finally:
        db.close()


def records(relay: Running) -> list[object]:
    with database(relay.data / "louver.db") as db:
        return db.execute("SELECT record FROM message ORDER BY seq").fetchall()


def wraps(relay: Running) -> dict[bytes, tuple[bytes, int]]:
    with database(relay.data / "keys.db") as db:
        rows = db.execute("SELECT id, serving, generation FROM data_key").fetchall()
        return {id_: (serving, generation) for id_, serving, generation in rows}


async def talk(relay: Running, names: str = "alice bob") -> list[RawClient]:
    """People who are logged in; the first has written to each of the others."""
    people = [await relay.enter(name) for name in names.split()]
    for other in people[1:]:
        await people[0].say(other, f"to {other.account.hex()[:4]}")
    return people


# --- rotation ---


async def test_a_rotation_wraps_keys_anew_and_touches_no_message(start_relay: StartRelay) -> None:
    relay = await start_relay("at_rest")
    await talk(relay, "alice bob carol dave")
    before, kept, read = wraps(relay), records(relay), await texts(relay)
    status = await relay.app.key_care.rotate()
    assert (status["generation"], status["data_keys"]) == (2, 3)
    await rotated(relay)
    after = wraps(relay)
    assert after.keys() == before.keys()
    assert all(after[each][0] != before[each][0] for each in after)
    assert {generation for _, generation in after.values()} == {2}
    assert records(relay) == kept
    assert await texts(relay) == read
    assert not (relay.data / "kek").exists()
    assert (relay.data / "kek.2").stat().st_mode & 0o777 == 0o600
    status = await relay.app.key_care.status()
    assert (status["rotating"], status["still_to_wrap"]) == (False, 0)
    await relay.restart()
    assert await texts(relay) == read
    await relay.app.key_care.rotate()
    await rotated(relay)
    assert await texts(relay) == read
    assert sorted(path.name for path in relay.data.glob("kek*")) == ["kek.3"]


async def test_nothing_is_refused_while_keys_are_rotated(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_care, "PAGE", 1)
    relay = await start_relay("at_rest")
    alice, *others = await talk(relay, "alice bob carol dave erin")
    done = asyncio.Event()
    sent = 0

    async def load() -> None:
        nonlocal sent
        while not done.is_set():
            relay.app.data_keys.flush()  # each message needs its key from the provider
            await alice.say(others[sent % 4], f"number {sent}")
            sent += 1

    loading = asyncio.create_task(load())
    for generation in range(2, 5):
        await relay.app.key_care.rotate()
        # New conversations as well, whose keys are made while the key turns.
        new = await relay.enter(f"new{generation}")
        await new.say(alice, "hello")
        await rotated(relay)
    done.set()
    await loading
    assert sent > 3
    assert {generation for _, generation in wraps(relay).values()} == {4}
    read = await texts(relay)
    assert len(read) == 4 + 3 + sent
    assert not any("key" in line for line in read)


async def test_a_killed_rotation_goes_on_after_the_restart(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_care, "PAGE", 1)
    relay = await start_relay("at_rest")
    await talk(relay, "alice bob carol dave")
    read = await texts(relay)
    store, wrapped = relay.app.store, 0
    real = store.rewrap_data_key

    async def killed(before: WrappedKey, after: WrappedKey) -> None:
        nonlocal wrapped
        if wrapped == 1:
            await asyncio.Event().wait()
        wrapped += 1
        await real(before, after)

    monkeypatch.setattr(store, "rewrap_data_key", killed)
    await relay.app.key_care.rotate()
    while wrapped < 1:
        await asyncio.sleep(0)
    with pytest.raises(BadArgument, match="under way"):
        await relay.app.key_care.rotate()
    await relay.restart()
    status = await relay.app.key_care.status()
    assert status["generation"] == 2
    assert (relay.data / "kek.2").exists()
    await rotated(relay)
    assert {generation for _, generation in wraps(relay).values()} == {2}
    assert not (relay.data / "kek").exists()
    assert await texts(relay) == read


async def test_a_key_that_does_not_open_keeps_its_generation(start_relay: StartRelay) -> None:
    """What a wrong row needs may be the old key alone: that is not destroyed meanwhile."""
    relay = await start_relay("at_rest")
    await talk(relay, "alice bob carol")
    with database(relay.data / "keys.db") as db:
        least = "(SELECT min(id) FROM data_key)"
        db.execute(f"UPDATE data_key SET serving = randomblob(97) WHERE id = {least}")
    await relay.app.key_care.rotate()
    await rotated(relay)
    status = await relay.app.key_care.status()
    assert (status["rotating"], status["still_to_wrap"]) == (True, 1)
    assert (relay.data / "kek").exists()


async def test_a_key_wrapped_before_a_rotation_is_not_stored_after_it(
    start_relay: StartRelay,
) -> None:
    """One that was under way: its key-encryption key is about to be destroyed."""
    relay = await start_relay("at_rest")
    alice, bob = await talk(relay)
    (old,) = wraps(relay)
    stored = await relay.app.store.data_key(old)
    assert stored is not None
    await relay.app.key_care.rotate()
    await rotated(relay)
    late = WrappedKey(
        dek_id=os.urandom(16),
        conversation=stored.conversation,
        sender=bob.account,
        epoch=1,
        created=1,
        serving=b"w" * 97,
    )
    assert not await relay.app.store.put_data_key(late)
    await bob.say(alice, "made anew")
    assert {generation for _, generation in wraps(relay).values()} == {2}


# --- shredding ---


async def test_shredding_a_conversation_leaves_the_others(start_relay: StartRelay) -> None:
    relay = await start_relay("at_rest")
    alice, bob, carol = await talk(relay, "alice bob carol")
    await bob.say(alice, "back")
    assert await relay.app.key_care.shred("alice", "bob") == {"shredded": 2}
    read = await texts(relay)
    assert sum("destroyed" in line for line in read) == 2
    assert f"to {carol.account.hex()[:4]}" in read
    assert alice.account.hex() not in json.dumps(dict(await relay.app.key_care.status()))
    # What is written from then on is readable, and stays.
    await alice.say(bob, "after")
    assert "after" in await texts(relay)
    with pytest.raises(Forbidden, match="no account"):
        await relay.app.key_care.shred("nobody", "")


async def test_shredding_a_user_takes_what_he_sent_and_no_more(start_relay: StartRelay) -> None:
    relay = await start_relay("at_rest")
    alice, bob, _ = await talk(relay, "alice bob carol")
    await bob.say(alice, "bob's own")
    await relay.app.key_care.shred("alice", "")
    read = await texts(relay)
    assert sum("destroyed" in line for line in read) == 2
    assert "bob's own" in read


async def test_shredding_reaches_what_is_in_memory_at_once(start_relay: StartRelay) -> None:
    relay = await start_relay("at_rest")
    await talk(relay)
    (dek_id,) = wraps(relay)
    relay.app.data_keys.find(dek_id)
    await relay.app.key_care.shred("alice", "bob")
    assert not relay.app.data_keys._entries
    with pytest.raises(CannotOpen, match="destroyed"):
        await relay.app.data_keys.supply(NeedWrappedKey(dek_id))


@pytest.mark.parametrize("restored", ["louver.db", "keys.db"])
async def test_shredding_holds_when_yesterdays_file_is_restored(
    start_relay: StartRelay, restored: str
) -> None:
    """Each file remembers for the other."""
    relay = await start_relay("at_rest")
    await talk(relay)
    port = relay.port
    await relay.app.stop()
    shutil.copy(relay.data / restored, relay.data / "yesterday")
    await relay.start_again(port)
    await relay.app.key_care.shred("alice", "bob")
    await relay.app.stop()
    shutil.copy(relay.data / "yesterday", relay.data / restored)
    await relay.start_again(port)
    (line,) = await texts(relay)
    assert "destroyed" in line
    assert wraps(relay) == {}
    assert (await relay.app.key_care.status())["shredded"] == 1


async def test_with_both_files_restored_only_a_rotation_made_it_final(
    start_relay: StartRelay,
) -> None:
    relay = await start_relay("at_rest")
    await talk(relay)
    port, files = relay.port, ("louver.db", "keys.db")
    await relay.app.stop()
    for name in files:
        shutil.copy(relay.data / name, relay.data / f"{name}.yesterday")
    await relay.start_again(port)
    await relay.app.key_care.shred("alice", "bob")
    await relay.app.key_care.rotate()
    await rotated(relay)
    await relay.app.stop()
    today = {name: (relay.data / name).read_bytes() for name in files}
    for name in files:
        shutil.copy(relay.data / f"{name}.yesterday", relay.data / name)
    with pytest.raises(BadConfig, match="kek is missing"):
        await relay.start_again(port)
    shutil.copy(relay.data / "kek.2", relay.data / "kek")
    with pytest.raises(BadConfig, match="not the one that the stored keys were made with"):
        await relay.start_again(port)
    for name, content in today.items():
        (relay.data / name).write_bytes(content)
    await relay.start_again(port)
    assert "destroyed" in (await texts(relay))[0]


async def test_shredding_reaches_the_copy_that_an_upgrade_made(start_relay: StartRelay) -> None:
    relay = await start_relay("at_rest")
    await talk(relay)
    copy = relay.data / "keys.db.schema-001"
    copy.write_bytes(b"the keys from before the upgrade")
    await relay.app.key_care.shred("alice", "")
    assert not copy.exists()


async def test_the_command_asks_first_and_says_what_to_do_next(start_relay: StartRelay) -> None:
    relay = await start_relay("at_rest")
    await talk(relay)

    async def louverd(*arguments: str, answer: bytes = b"") -> tuple[int | None, str, str]:
        port = relay.app.internal.port
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "server", "keys", *arguments),
            *("--set", f"data={relay.data}", "--set", f"internal.port={port}"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, said = await process.communicate(answer)
        return process.returncode, out.decode(), said.decode()

    code, _, said = await louverd("shred", "--account", "alice", answer=b"n\n")
    assert code
    assert "destroy for ever what alice ever sent" in said
    assert len(wraps(relay)) == 1
    code, out, said = await louverd("shred", "--account", "alice", "--with", "bob", "--yes")
    assert (code, json.loads(out)) == (0, {"shredded": 1})
    assert "keys rotate" in said
    assert json.loads((await louverd("rotate"))[1])["generation"] == 2
    await rotated(relay)
    assert not json.loads((await louverd("status"))[1])["rotating"]
