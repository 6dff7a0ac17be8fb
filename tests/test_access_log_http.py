"""The access log by HTTP: what everybody gets, what the staff and the relay get, and an outage."""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from crypto_modes import grants
from crypto_modes.errors import BadConfig, LogUnavailable, VaultUnavailable
from crypto_modes.transparency import access_log, note
from crypto_modes.transparency.access_log import DAY, Opened
from crypto_modes.transparency.tiles import ENTRIES, Tile, read_whole
from server.access_log.counts import count
from server.access_log.exchange import SKEW
from server.certs import make_dev_certificates, server_context
from server.moderation.vault_client import VaultLog
from tests.access_entries import TALK, TIME, read
from tests.test_grants import KEYS
from tests.vault_log import NOTICE_DAYS, TOKEN, VaultLogServer, fetch, serving

CASE = msgspec.structs.replace(read(), kind="case")
TODAY = TIME // DAY


@pytest_asyncio.fixture
async def vault(tmp_path: Path) -> AsyncIterator[VaultLogServer]:
    async with serving(tmp_path / "vault") as vault:
        yield vault


@pytest_asyncio.fixture
async def relay(vault: VaultLogServer) -> AsyncIterator[VaultLog]:
    client = VaultLog(vault.url, TOKEN)
    yield client
    client.close()


def asking(name: str, place: str, time: int = TIME) -> dict[str, str]:
    request = grants.sign_request(KEYS[name], place, b"", name, time, b"n" * 16)
    return {"Louver-Request": urlsafe_b64encode(msgspec.json.encode(request)).decode()}


@pytest.mark.asyncio
async def test_the_relay_enters_and_everybody_checks(
    vault: VaultLogServer, relay: VaultLog
) -> None:
    receipts = [await relay.append([CASE] * 100) for _ in range(3)]
    assert [receipt.index for receipt in receipts] == [0, 100, 200]
    status, raw = await asyncio.to_thread(fetch, f"{vault.url}/log/v1/checkpoint")
    assert (status, raw) == (200, receipts[-1].checkpoint)
    head = note.open_checkpoint(raw, vault.log.verifier)
    whole = await asyncio.to_thread(
        read_whole, head, lambda path: fetch(f"{vault.url}/log/v1/{path}")[1]
    )
    assert len(whole.leaves) == 300
    assert await relay.checkpoint() == raw
    assert await relay.tile(Tile(ENTRIES, 1, 44)) == await vault.log.tile(Tile(ENTRIES, 1, 44))


@pytest.mark.asyncio
@pytest.mark.parametrize("path", ["tile/0/1", "tile/0/000.p/2", "tile/9/000", "tile/../x"])
async def test_a_tile_that_is_none_is_refused(vault: VaultLogServer, path: str) -> None:
    await vault.log.append([CASE])
    status, raw = await asyncio.to_thread(fetch, f"{vault.url}/log/v1/{path}")
    assert status in (400, 404)
    assert raw


@pytest.mark.asyncio
async def test_entries_are_shown_to_who_may_read_them(vault: VaultLogServer) -> None:
    await vault.log.append([read(0), read(1), read(2)])
    await vault.log.erase([2])
    place = "/log/v1/opened?start=1&limit=10"
    answers = {
        name: await asyncio.to_thread(fetch, vault.url + place, asking(name, place))
        for name in KEYS
    }
    assert {name for name, (status, _) in answers.items() if status == 200} == {
        "auda", "sven", "saida", "lena", "luis", "anna",
    }  # fmt: skip
    shown = msgspec.json.decode(answers["auda"][1], type=list[Opened])
    assert [(each.index, each.entry) for each in shown] == [(1, read(1)), (2, None)]
    assert answers["mara"][0] == 403
    other = asking("auda", "/log/v1/opened")
    assert (await asyncio.to_thread(fetch, vault.url + place, other))[0] == 403
    late = asking("auda", place, TIME - 100_000)
    assert (await asyncio.to_thread(fetch, vault.url + place, late))[0] == 403


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "entry",
    [
        read(),
        msgspec.structs.replace(CASE, time=TIME - SKEW - 1),
        msgspec.structs.replace(CASE, time=TIME + SKEW + 1),
    ],
)
async def test_the_relay_enters_no_read_and_nothing_of_other_times(
    vault: VaultLogServer, relay: VaultLog, entry: access_log.Entry
) -> None:
    with pytest.raises(LogUnavailable) as caught:
        await relay.append([CASE, entry])
    assert "refused with 400" in caught.value.advice
    assert vault.log.size == 0


@pytest.mark.asyncio
async def test_without_the_token_nothing_is_entered_and_no_key_given(vault: VaultLogServer) -> None:
    stranger = VaultLog(vault.url, TOKEN[:-1] + "x")
    with pytest.raises(LogUnavailable) as caught:
        await stranger.append([CASE])
    assert "vault.token" in caught.value.advice
    assert "token" in caught.value.advice
    assert vault.url not in str(caught.value)
    with pytest.raises(VaultUnavailable):
        await stranger.day_keys(TALK, 0)
    stranger.close()
    assert vault.log.size == 0


@pytest.mark.asyncio
async def test_the_relay_gets_the_counts_of_a_time_and_no_entry(
    vault: VaultLogServer, relay: VaultLog
) -> None:
    assert (await relay.counts(0, TIME + 1)).size == 0
    entries = [msgspec.structs.replace(CASE, kind="report", time=TIME + at) for at in range(300)]
    for start in range(0, 300, 100):
        await relay.append(entries[start : start + 100])
    await vault.log.erase([299])
    found = await relay.counts(TIME + 10, TIME + 20)
    assert (found.rows, found.erased) == (tuple(count(entries, TIME + 10, TIME + 20)), 1)
    head = note.open_checkpoint(await relay.checkpoint(), vault.log.verifier)
    assert (found.log, found.size, found.root) == (head.origin, 300, head.root.hex())
    stranger = VaultLog(vault.url, TOKEN[:-1] + "x")
    with pytest.raises(VaultUnavailable):
        await stranger.counts(0, 1)
    stranger.close()


@pytest.mark.asyncio
async def test_the_keys_of_a_day_come_out_when_it_ended_long_enough_ago(
    vault: VaultLogServer, relay: VaultLog
) -> None:
    first = TODAY - NOTICE_DAYS - 3
    found = await relay.day_keys(TALK, first)
    assert found.keys == tuple(vault.log.day_keys(TALK, first, TODAY - NOTICE_DAYS - 1))
    assert len(found.keys) == 3
    assert (await relay.day_keys(TALK, TODAY - NOTICE_DAYS)).keys == ()
    # To the millisecond: the last one of the seventh day after it, and the first of the eighth.
    vault.now[0] = (TODAY + 1) * DAY - 1
    assert (await relay.day_keys(TALK, TODAY - NOTICE_DAYS)).keys == ()
    vault.now[0] += 1
    assert len((await relay.day_keys(TALK, TODAY - NOTICE_DAYS)).keys) == 1
    assert len((await relay.day_keys(TALK, 0)).keys) == 400


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b'{"entries": []}', b"[" * 2000, b'{"entries": [{"kind": "x", "time": 1}]}'],
)
async def test_what_is_no_entry_is_refused(vault: VaultLogServer, body: bytes) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    answered = await asyncio.to_thread(fetch, f"{vault.url}/log/v1/append", headers, body)
    assert answered[0] == 400
    assert vault.log.size == 0


@pytest.mark.asyncio
async def test_no_vault_is_an_outage(tmp_path: Path) -> None:
    async with serving(tmp_path / "vault") as vault:
        relay = VaultLog(vault.url, TOKEN)
        await relay.append([CASE])
    with pytest.raises(LogUnavailable, match="nothing was done"):
        await relay.append([CASE])
    with pytest.raises(VaultUnavailable) as caught:
        await relay.checkpoint()
    assert caught.value.temporary
    relay.close()


class Dripping(asyncio.Protocol):
    """Begins an answer and goes on with a byte now and then, which is nothing with none."""

    def __init__(self, byte: bytes, opened: list[asyncio.Transport]) -> None:
        self._byte = byte
        self._opened = opened

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._opened.append(transport)
        transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        self._go_on(transport)

    def _go_on(self, transport: asyncio.Transport) -> None:
        if not transport.is_closing():
            transport.write(self._byte)
            asyncio.get_running_loop().call_later(0.05, self._go_on, transport)


@pytest.mark.asyncio
@pytest.mark.parametrize("byte", [b"", b"x"])
async def test_a_vault_that_never_finishes_is_not_waited_for(byte: bytes) -> None:
    """The limit is for the whole answer: a byte now and then does not stretch it."""
    held: list[asyncio.Transport] = []
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Dripping(byte, held), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    relay = VaultLog(f"http://127.0.0.1:{port}", TOKEN, seconds=0.3)
    with pytest.raises(LogUnavailable, match="nothing was done"):
        await relay.append([CASE])
    relay.close()
    server.close()
    for transport in held:
        transport.abort()


@pytest.mark.asyncio
@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\n\r\nnothing", b"SSH-2.0-other\r\n"])
async def test_another_program_is_no_vault(answer: bytes) -> None:
    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(reply, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        relay = VaultLog(f"http://127.0.0.1:{port}", TOKEN)
        with pytest.raises(LogUnavailable):
            await relay.append([CASE])
        relay.close()


@pytest.mark.asyncio
async def test_over_tls_the_vault_must_be_the_one_of_the_authority(tmp_path: Path) -> None:
    await asyncio.to_thread(make_dev_certificates, tmp_path)
    await asyncio.to_thread(make_dev_certificates, tmp_path / "other")
    context = server_context(tmp_path / "relay.pem", tmp_path / "relay.key", tls12=False)
    async with serving(tmp_path / "vault", context) as vault:
        right = VaultLog(vault.url, TOKEN, str(tmp_path / "ca.pem"))
        assert (await right.append([CASE])).index == 0
        wrong = VaultLog(vault.url, TOKEN, str(tmp_path / "other" / "ca.pem"))
        with pytest.raises(LogUnavailable):
            await wrong.append([CASE])
        assert vault.log.size == 1
        right.close()
        wrong.close()


def test_an_authority_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(BadConfig, match="cannot be used"):
        VaultLog("https://127.0.0.1:1", TOKEN, str(tmp_path / "ca.pem"))
