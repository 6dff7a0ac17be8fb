"""Known attacks by who has an account and nothing else: rows 11, 22, 35 to 38 and 40.

Bare frames against a real relay. ``LOUVER_ATTACK_FULL=1`` takes the counts of the list of attacks.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
from collections import Counter
from typing import Any

import msgspec
import pytest
import websockets.exceptions
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.typing import Origin, Subprotocol

from crypto_modes import wire
from crypto_modes.e2ee import devices
from crypto_modes.keys import AgreementKey, SigningKey
from server.app import App
from server.settings_tree import Settings
from tests import frames
from tests.conftest import GENEROUS, Running, StartRelay
from tests.mode_ends import TIME
from tests.raw_client import RawClient, Refused
from tests.test_client import enter

FULL = os.environ.get("LOUVER_ATTACK_FULL") == "1"

# --- 11: taking all one-time keys ---


@pytest.mark.asyncio
@pytest.mark.attack(11)
async def test_one_requester_gets_one_one_time_key_a_day(start_relay: StartRelay) -> None:
    """However often it asks, on however many connections; last-resort keys go on being served."""
    relay = await start_relay(mode="e2ee")
    async with enter(relay, "bob") as bob:
        listed = (await bob.devices("bob")).list
        assert listed is not None
        (device,) = (each.device for each in listed.certificates)
        eve = await relay.enter("eve")
        lines = [eve, await eve.again(relay.url), await eve.again(relay.url)]
        given: Counter[tuple[bool, str]] = Counter()
        seen = set()
        for number in range(10_000 if FULL else 300):
            line = lines[number % len(lines)]
            ask = wire.GetKeys(
                ref=line.ref(), account=bob.account, devices=(device,) * (1 + number % 10)
            )
            bundles = (await line.ask(ask, wire.Keys)).bundles
            for bundle in bundles:
                given[bundle.once is not None, bundle.kem.use] += 1
                seen.add(bundle.kem.id)
        assert given[True, "once"] == 1
        assert set(given) == {(True, "once"), (False, "last")}
        assert len(seen) == 2
        # Nobody is told that keys were taken or are made again: it would tell when Bob is there.
        await bob._keys.publish({"e2ee"})
        assert await eve.silent(wire.Published)
        assert [type(each) for each in eve.pushed] == []


# --- 22: keys that sign everything ---

# The encodings of points of order 1, 2, 4 and 8, canonical and not.
SMALL_SIGNING = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]
SMALL_AGREEMENT = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]
UNIVERSAL = bytes.fromhex(SMALL_SIGNING[0]) + bytes(32)  # R = 1, S = 0: verifies for A = 1


async def published(client: RawClient, key: bytes, listed: wire.DeviceList, **more: Any) -> None:
    await client.ask(wire.Publish(ref=client.ref(), key=key, list=listed, **more), wire.Published)


def listed_by(
    client: RawClient, key: SigningKey, signing: bytes, agreement: bytes
) -> wire.DeviceList:
    certificate = wire.Certificate(
        device=client.device, signing=signing, agreement=agreement, created=TIME, signature=b""
    )
    mark = key.sign(devices.signed_certificate(client.account, certificate))
    certificate = msgspec.structs.replace(certificate, signature=mark)
    return devices.sign_list(client.account, key, 1, (certificate,))


@pytest.mark.asyncio
@pytest.mark.attack(22)
async def test_no_key_of_small_order_is_registered(relay: Running) -> None:
    """As account key with the signature that suits all, as device key, agreement key, prekey."""
    eve = await relay.enter("eve")
    key, signing, agreement = (SigningKey(os.urandom(32)) for _ in range(3))
    good = AgreementKey(agreement.raw).public
    honest = listed_by(eve, key, signing.public, good)
    forged = msgspec.structs.replace(
        honest,
        signature=UNIVERSAL,
        certificates=tuple(
            msgspec.structs.replace(each, signature=UNIVERSAL) for each in honest.certificates
        ),
    )
    wrong = [(bytes.fromhex(each), forged) for each in SMALL_SIGNING]
    wrong += [
        (key.public, listed_by(eve, key, bytes.fromhex(each), good)) for each in SMALL_SIGNING
    ]
    wrong += [
        (key.public, listed_by(eve, key, signing.public, bytes.fromhex(each)))
        for each in SMALL_AGREEMENT
    ]
    for account_key, listed in wrong:
        with pytest.raises(Refused, match="bad_request"):
            await published(eve, account_key, listed)
    found = await eve.ask(wire.GetDevices(ref=eve.ref(), account=eve.account), wire.Devices)
    assert (found.key, found.list) == (b"", None)
    await published(eve, key.public, honest)
    for small in SMALL_AGREEMENT:
        plain = wire.Prekey(
            id=1, algorithm=5, use="once", key=bytes.fromhex(small), expires=2**50, signature=b""
        )
        mark = signing.sign(devices.signed_prekey(eve.account, eve.device, plain))
        prekeys = (msgspec.structs.replace(plain, signature=mark),)
        refusal = await eve.refusal(wire.Publish(ref=eve.ref(), prekeys=prekeys))
        assert refusal.name == "bad_request"


# --- 35: a page of somebody else ---


@pytest.mark.asyncio
@pytest.mark.attack(35)
async def test_a_page_of_another_origin_is_refused_and_a_cookie_opens_nothing(
    relay: Running,
) -> None:
    alice = await relay.enter("alice")
    offered = [Subprotocol(wire.MSGPACK)]
    cookie = {"Cookie": f"token={alice.token}", "Authorization": f"Bearer {alice.token}"}
    with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
        await connect(
            relay.url,
            origin=Origin("https://evil.example"),
            subprotocols=offered,
            additional_headers=cookie,
            proxy=None,
        )
    assert refused.value.response.status_code == 403
    async with connect(
        relay.url, subprotocols=offered, additional_headers=cookie, proxy=None
    ) as socket:
        assert socket.response is not None
        assert "Set-Cookie" not in socket.response.headers
        other = RawClient(socket, wire.CODECS[wire.MSGPACK])
        refusal = await other.refusal(wire.GetDevices(ref=1, name="alice"))
        assert refusal.name == "bad_request"


# --- 36: holding connections ---


@pytest.mark.asyncio
@pytest.mark.attack(36)
async def test_slow_and_silent_connections_hold_nobody_up_and_end(start_relay: StartRelay) -> None:
    """The quick form: 60 half-open, silent and never-reading ones beside a good pair."""
    relay = await start_relay(
        limits={"hello_seconds": 1.0, "outbox_frames": 64, "connections_per_account": 40}
    )
    alice, bob, eve = [await relay.enter(name) for name in ("alice", "bob", "eve")]
    bad = [await asyncio.open_connection("127.0.0.1", relay.port) for _ in range(40)]
    for _, writer in bad[:20]:
        writer.write(b"GET / HTTP/1.1\r\nHost: ")
    silent = [await RawClient.open(relay.url) for _ in range(10)]
    deaf = [await eve.again(relay.url) for _ in range(10)]
    for line in deaf:
        line.socket.transport.pause_reading()
    for number in range(50):
        await alice.say(bob, f"{number}")
        await alice.say(eve, "x" * 16_000)
    assert [each.body for each in await bob.hear(50)] == [b"%d" % n for n in range(50)]
    for line in silent:
        await line.socket.wait_closed()
        assert line.socket.close_code == 4502
    async with asyncio.timeout(30):
        for reader, writer in bad:
            await reader.read()
            writer.close()


# --- 37: who is there ---


@pytest.mark.asyncio
@pytest.mark.attack(37)
async def test_crawling_names_is_refused_and_answers_tell_nothing(start_relay: StartRelay) -> None:
    """Nearly every probe meets the bucket; absent and blocking accounts are one answer."""
    probes = 100_000 if FULL else 2_000
    limits = {"lookup_rate": 0.5, "lookup_burst": 30}
    relay = await start_relay(limits=limits)
    eve, bob = await relay.enter("eve"), await relay.enter("bob")
    await bob.ask(wire.Block(ref=bob.ref(), account=eve.account), wire.Blocked)
    answers: Counter[tuple[int, str]] = Counter()
    begun = asyncio.get_running_loop().time()
    for number in range(probes):
        name = "bob" if number % 2 else f"nobody{number}"
        error = await eve.refusal(wire.GetDevices(ref=eve.ref(), name=name))
        told = "" if error.code == 111 else error.message
        answers[error.code, told] += 1
    spent = asyncio.get_running_loop().time() - begun
    assert len(answers) == 2
    assert answers[111, ""] >= probes - 30 - spent * 0.5 - 1


# --- 38: somebody else's things ---


class Probed:
    """A relay with two people who talk and a third, Eve, who asks; all in one event loop."""

    def __init__(self, runner: asyncio.Runner, relay: Running) -> None:
        self.runner = runner
        self.alice, self.bob, self.eve = (
            runner.run(relay.enter(name)) for name in ("alice", "bob", "eve")
        )
        accepted = runner.run(self.alice.say(self.bob, "private"))
        self.secrets = (accepted.conversation, accepted.id, self.bob.device, self.alice.device)

    def answers(self, frame: wire.ClientFrame, ids: dict[bytes, bytes]) -> list[wire.ServerFrame]:
        """What Eve hears of a frame with these ids, up to the answer of a lookup of herself and,
        where the disk is asked beside other frames, its own, however late; ids that she said
        herself are the slots again.
        """
        back = {id_: slot for slot, id_ in ids.items()}
        answers = self.runner.run(self._answers(with_ids(frame, ids)))
        return [with_ids(each, back) for each in answers]

    async def _answers(self, frame: wire.ClientFrame) -> list[wire.ServerFrame]:
        await self.eve.send(frame)
        barrier = wire.GetDevices(ref=2**32 - 1, account=self.eve.account)
        await self.eve.send(barrier)
        awaited = {barrier.ref}
        if isinstance(frame, wire.Send | wire.SetBlob):
            awaited.add(frame.ref)
        heard: list[wire.ServerFrame] = []
        while awaited:
            answer = await self.eve._read()
            ref = getattr(answer, "ref", 0)
            awaited.discard(ref)
            if ref != barrier.ref:
                heard.append(answer)
        return heard


SLOTS = [bytes([0xE0 + number]) * 16 for number in range(4)]


def with_ids(value: Any, ids: dict[bytes, bytes]) -> Any:
    """A frame with other ids in the places of ``SLOTS``."""
    if isinstance(value, msgspec.Struct):
        fields = {name: with_ids(getattr(value, name), ids) for name in value.__struct_fields__}
        return type(value)(**fields)
    if isinstance(value, tuple):
        return tuple(with_ids(each, ids) for each in value)
    return ids.get(value, value) if isinstance(value, bytes) else value


@pytest.mark.attack(38)
def test_somebody_elses_ids_and_made_up_ones_get_the_same_answers(tmp_path: Any) -> None:
    """Every frame there is, filled with conversations, messages and devices of two others."""
    kinds = [kind for kind in frames.CLIENT if kind is not wire.Hello]
    with asyncio.Runner() as runner:
        given_settings: dict[str, Any] = {"data": tmp_path, "internal": {"port": 0}, "mode": "tls"}
        given_settings["listen"] = {"port": 0, "insecure": True}
        app = App(Settings(**given_settings, limits=GENEROUS), None)
        runner.run(app.start())
        probed = Probed(runner, Running(app, None, None))

        @settings(max_examples=1000 if FULL else 150, deadline=None, database=None)
        @given(st.sampled_from(kinds).flatmap(lambda kind: frames.of(kind, st.sampled_from(SLOTS))))
        def probe(frame: Any) -> None:
            if getattr(frame, "ref", 0) == 2**32 - 1:
                return
            theirs = dict(zip(SLOTS, probed.secrets, strict=True))
            nobodys = {slot: os.urandom(16) for slot in SLOTS}
            assert probed.answers(frame, theirs) == probed.answers(frame, nobodys)

        try:
            probe()
        finally:
            runner.run(RawClient.cut_all())
            runner.run(app.stop())


# --- 40: the log ---


@pytest.mark.asyncio
@pytest.mark.attack(40)
@pytest.mark.parametrize("mode", ["tls", "at_rest", "e2ee"])
async def test_nothing_that_is_said_or_secret_is_logged(
    start_relay: StartRelay, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Canaries in all that a user may fill, line breaks too; also where the relay itself fails."""
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    relay = await start_relay(mode=mode, log={"level": "debug"})
    forged = 'x\r\n{"event": "forged"}\u2028{"event": "forged"}'
    canary = "kanarienvogel"
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        await alice.send("bob", canary)
        await anext(bob)
    raw = await RawClient.open(relay.url)
    await raw.register("mallory")
    await raw.hello(client=forged, version=canary + forged)
    for wrong in (
        canary.encode(),
        b"\xc1",
        json.dumps({"type": canary}).encode(),
        wire.CODECS[wire.MSGPACK].encode(
            wire.Login(ref=1, name="alice", device=bytes(16), password=canary)
        ),
    ):
        await raw.send(wrong)
    with pytest.raises(websockets.exceptions.InvalidStatus):
        await connect(relay.url, origin=Origin(f"https://{canary}.example"), proxy=None)

    def breaks(*_: object) -> None:
        raise RuntimeError(canary + forged)

    monkeypatch.setattr(relay.app.relay.conversations, "peer_of", breaks)
    await raw.send(wire.History(ref=7, conversation=bytes(16)))
    await raw.silent(wire.Page)
    logged = log.getvalue()
    lines = [json.loads(line) for line in logged.splitlines()]
    assert "History failed" in {line["event"] for line in lines}
    assert not [line for line in lines if line["event"] == "forged"]
    shown = logged.replace(
        f"https://{canary}.example", ""
    )  # an origin is for the operator to allow
    for secret in (canary, raw.token, "correct horse", "a long password"):
        assert secret not in shown
