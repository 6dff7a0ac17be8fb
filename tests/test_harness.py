"""The quick form of every harness, and each with a fault that it must find.

What they promise and their full forms are in docs/reliability.md.
"""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from crypto_modes import wire
from tests.harness import conformance
from tests.harness.__main__ import HARNESSES
from tests.harness.history import History
from tests.harness.talkers import Talker
from tests.harness.weather import Weather
from tests.raw_client import PATIENCE, RawClient

# Small enough for every run of the tests; the commands' own quick forms are a few times longer.
SMALL: dict[str, dict[str, Any]] = {
    "chaos": {"rounds": 1},
    "faults": {"rounds": 1},
    "fuzz": {"seconds": 1.0},
    "hostile": {"seconds": 3.0, "headers": 20, "readers": 30, "floods": 0},
    "kill": {"kills": 3},
    "powercut": {"cuts": 150, "messages": 150},
    "restart": {"restarts": 2},
    "simulation": {"seeds": 40},
    "soak": {"seconds": 3.0},
}


# Promises about time are judged by the commands, on a machine that has nothing else to do.
TIMED = {"hardly served", "slow resume", "slower"}
# What is not found in so many seconds is found: the planted fault is that it never comes.
PLANTED = {"faults": {"patience": 1.0}}


def test_every_harness_runs_here() -> None:
    assert set(SMALL) | {"conformance"} == set(HARNESSES)


def test_the_recorded_conformance_is_whole() -> None:
    """The suite itself needs CPython 2.7; what it found last is kept, and its rules are tests."""
    record = json.loads(Path(conformance.__file__).with_suffix(".json").read_text())
    assert record["ok"]
    assert record["figures"]["cases"] == 247
    assert record["figures"]["ways"] == 2
    counted = sum(record["figures"][name] for name in ("ok", "non-strict", "informational"))
    assert counted == 2 * 247


@pytest.mark.asyncio
async def test_conformance_says_where_it_cannot_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("LOUVER_WSTEST", raising=False)
    monkeypatch.setattr(conformance.shutil, "which", lambda name: None)
    result = await conformance.run(tmp_path, kinds=("text",))
    assert result.figures == {"cases": 0}
    assert "nothing was run" in capsys.readouterr().out


@pytest.mark.asyncio
@pytest.mark.parametrize("name", SMALL)
async def test_nothing_is_found(name: str, tmp_path: Path) -> None:
    result = await HARNESSES[name][0](tmp_path, **SMALL[name])
    wrong = {what: count for what, count in result.wrong.items() if what not in TIMED}
    assert wrong == dict.fromkeys(wrong, 0), result.examples


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("chaos", "forgetful_delivery"),
        ("faults", "sync_again"),
        ("fuzz", "careless_decoder"),
        ("hostile", "boundless_outbox"),
        ("kill", "early_ack"),
        ("powercut", "synchronous_off"),
        ("restart", "late_marks"),
        ("simulation", "forgetful_delivery"),
        ("soak", "hoarder"),
    ],
)
async def test_a_planted_fault_is_found(name: str, fault: str, tmp_path: Path) -> None:
    given = SMALL[name] | PLANTED.get(name, {})
    result = await HARNESSES[name][0](tmp_path, **given, planted=fault)
    assert result.ok, result.line()


@pytest.mark.asyncio
async def test_a_talker_sees_its_relay_go_however_much_it_has_not_read() -> None:
    """Else it comes back ten seconds later, and for so long nobody is under load."""

    async def flood(socket: ServerConnection) -> None:
        for _ in range(100):
            await socket.send(b"frame")

    async with serve(
        flood, "127.0.0.1", 0, subprotocols=[Subprotocol(wire.MSGPACK)], compression=None
    ) as relay:
        (listening,) = relay.sockets
        url = f"ws://127.0.0.1:{listening.getsockname()[1]}/"
        client: RawClient = await Talker("a", lambda: url, History(), random.Random(0), 1)._dial()
        async with asyncio.timeout(PATIENCE):
            await client.socket.wait_closed()


@pytest.mark.asyncio
async def test_weather_that_refuses_keeps_nobody() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    relay = await asyncio.start_server(echo, "127.0.0.1", 0)
    weather = Weather(relay.sockets[0].getsockname()[1], random.Random(0))
    await weather.open()
    reader, writer = await asyncio.open_connection("127.0.0.1", weather.port)
    for kind, answer in (("calm", b"x"), ("refuse", b"")):
        weather.become(kind)
        writer.write(b"x")
        assert await reader.read(100) == answer
    writer.close()
    await weather.close()
    relay.close()
