"""Probes and the tap: they hear what is there, and silence without a control is void."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import sqlite3
import sys
import threading
import time
from pathlib import Path

import pytest

from client.compare import probes, proc
from client.compare.canary import Canaries
from client.compare.lab import Relay
from client.compare.probes import ACCOUNT, ORIGIN, SERVER_NAME, Probes
from client.compare.raw import cut, framed
from client.compare.search import OVERLAP, Searcher
from client.compare.tap import Tap, tap

RUN = Canaries("probes")
PLANTED = (0, 1, 2)


@pytest.fixture
def relay(tmp_path: Path) -> Relay:
    home = tmp_path / "relay"
    (home / "data").mkdir(parents=True)
    (home / "relay.log").write_text(f"refused https://{RUN.make(ORIGIN)}.invalid\n")
    return Relay("tls", home, 1, 2, os.getpid(), home)


def _database(relay: Relay, *texts: str) -> None:
    database = sqlite3.connect(relay.data / "louver.db")
    with database:
        database.execute("CREATE TABLE messages (record BLOB)")
        database.executemany("INSERT INTO messages VALUES (?)", [(t.encode(),) for t in texts])
    database.close()


def test_readable_text_in_the_database_is_recovered(relay: Relay) -> None:
    _database(relay, RUN.make(ACCOUNT), *(RUN.make(number) for number in PLANTED))
    looking = Probes(relay, RUN)
    looking.look_at_files()
    looking.look_at_backup()
    found = looking.exposure({"database": True, "backup": False}, PLANTED)
    assert (found["database"].recovered, found["database"].ok) == (3, True)
    assert (found["backup"].recovered, found["backup"].ok) == (3, False)


def test_text_that_was_deleted_lies_on_in_free_pages(relay: Relay) -> None:
    _database(relay, RUN.make(ACCOUNT), "x" * 9000 + RUN.make(1))
    database = sqlite3.connect(relay.data / "louver.db")
    database.execute("PRAGMA secure_delete = OFF")
    with database:
        database.execute("DELETE FROM messages WHERE length(record) > 9000")
    database.close()
    looking = Probes(relay, RUN)
    looking.look_at_files()
    assert looking.exposure({"database": True}, PLANTED)["database"].recovered == 1


def test_silence_without_the_control_is_void(relay: Relay) -> None:
    _database(relay, "nothing to see")
    looking = Probes(relay, RUN)
    looking.look_at_files()
    found = looking.exposure({"database": False}, PLANTED)["database"]
    assert found.recovered == 0
    assert found.ok is False
    assert "control" in found.note


def test_a_declared_yes_that_is_not_found_fails_too(relay: Relay) -> None:
    _database(relay, RUN.make(ACCOUNT))
    looking = Probes(relay, RUN)
    looking.look_at_files()
    assert looking.exposure({"database": True}, PLANTED)["database"].ok is False


def test_the_log_is_searched(relay: Relay) -> None:
    looking = Probes(relay, RUN)
    looking.look_at_log()
    assert looking.exposure({"logs": False}, PLANTED)["logs"].ok is True
    with relay.log.open("a") as log:
        log.write(f'{{"body": "{RUN.make(2)}"}}\n')
    looking.look_at_log()
    assert looking.exposure({"logs": False}, PLANTED)["logs"].recovered == 1


def test_the_operator_searches_every_file_and_what_reveal_prints(relay: Relay) -> None:
    _database(relay, RUN.make(ACCOUNT))
    (relay.data / "franking").mkdir()
    (relay.data / "franking" / "202611").write_text(RUN.make(0))
    looking = Probes(relay, RUN)
    looking.look_as_operator(RUN.make(1).encode())
    assert looking.exposure({"compelled_operator": True}, PLANTED)["compelled_operator"].forms == {
        "raw": 2
    }


def test_what_was_not_probed_is_no_number(relay: Relay) -> None:
    found = Probes(relay, RUN).exposure({"bus": True, "vault_without_grant": False}, PLANTED)
    assert [one.measured for one in found.values()] == [False, False]
    assert [one.recovered for one in found.values()] == [None, None]
    assert all(one.note for one in found.values())


def test_memory_of_a_live_process_is_searched() -> None:
    number = 3
    secret = ctypes.create_string_buffer(RUN.make(number).encode())
    searcher = Searcher(RUN)
    for chunk in proc.memory(os.getpid(), OVERLAP):
        searcher.feed(chunk, headless=False)
        if number in searcher.found.numbers:
            break
    assert number in searcher.found.numbers
    assert secret.value


def test_cpu_and_memory_of_a_process_are_read() -> None:
    before = proc.cpu_us(os.getpid())
    assert sum(i * i for i in range(300_000)) > 0
    assert proc.cpu_us(os.getpid()) - before > 1000
    assert proc.memory_bytes(os.getpid()) > 1_000_000


def test_cpu_of_threads_that_ended_is_counted() -> None:
    used: list[float] = []

    def work() -> None:
        assert sum(i * i for i in range(300_000)) > 0
        used.append(time.thread_time() * 1e6)

    before = proc.cpu_us(os.getpid())
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    while Path(f"/proc/self/task/{thread.native_id}").exists():  # the system's part of it
        os.sched_yield()
    assert proc.cpu_us(os.getpid()) - before >= used[0]


def test_a_process_that_is_gone_is_said_to_be() -> None:
    with pytest.raises(ProcessLookupError):
        proc.cpu_us(2**22 + 1)


@pytest.mark.asyncio
async def test_the_tap_passes_and_keeps_both_directions() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read(100)).upper())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, tap(server.sockets[0].getsockname()[1]) as wire:
        reader, writer = await asyncio.open_connection("127.0.0.1", wire.port)
        writer.write(b"over the wire")
        assert await reader.read() == b"OVER THE WIRE"
        writer.close()
        assert sorted(map(bytes, wire.heard)) == [b"OVER THE WIRE", b"over the wire"]
        assert wire.bytes == 26


@pytest.mark.asyncio
async def test_the_server_name_of_a_tls_handshake_reaches_the_tap(relay: Relay) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server, tap(server.sockets[0].getsockname()[1]) as wire:
        await probes.say_server_name(wire.port, RUN.make(SERVER_NAME))
        looking = Probes(relay, RUN)
        looking.look_at_tap(wire)
    assert looking.exposure({"network_tap": False}, PLANTED)["network_tap"].ok is True


def test_plaintext_on_the_wire_is_heard(relay: Relay) -> None:
    heard = Tap(heard=[bytearray(framed(RUN.make(n).encode())) for n in (0, SERVER_NAME)])
    looking = Probes(relay, RUN)
    looking.look_at_tap(heard)
    found = looking.exposure({"network_tap": False}, PLANTED)["network_tap"]
    assert (found.recovered, found.ok) == (1, False)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_frames_are_cut_out_of_a_stream_wherever_it_breaks(size: int) -> None:
    payload = os.urandom(size)
    # What a server sends is not masked: take our frame, and take its mask out.
    ours = framed(payload)
    at = len(ours) - size - 4
    wire_bytes = (bytes([ours[0], ours[1] & 0x7F]) + ours[2:at] + payload) * 2
    for step in (1, 7, len(wire_bytes)) if size < 1000 else (1000, len(wire_bytes)):
        buffer, got = bytearray(), []
        for start in range(0, len(wire_bytes), step):
            buffer += wire_bytes[start : start + step]
            got += list(cut(buffer))
        assert got == [(2, payload), (2, payload)]
        assert not buffer


def test_used_pages_are_counted_and_free_ones_not(relay: Relay) -> None:
    _database(relay, *("y" * 4000 for _ in range(50)))
    full = probes.stored_bytes(relay.data)
    database = sqlite3.connect(relay.data / "louver.db")
    with database:
        database.execute("DELETE FROM messages")
    database.close()
    assert probes.stored_bytes(relay.data) < full / 10
    assert full > 50 * 4000


def test_this_is_linux() -> None:
    assert sys.platform == "linux", "the probes read /proc"


def test_reports_are_not_what_messages_take(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "louver.db")) as database:
        database.execute("CREATE TABLE report (sealed BLOB)")
        assert probes.reported_bytes(tmp_path) == 0
        database.executemany("INSERT INTO report VALUES (?)", [(bytes(1500),), (bytes(700),)])
        database.commit()
    assert probes.reported_bytes(tmp_path) == 2200
