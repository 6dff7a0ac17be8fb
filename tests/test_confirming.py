"""Confirming: what the relay says of reported messages, and that it says no to all others."""

from __future__ import annotations

import asyncio
import http.client
import json
from typing import Any

import msgspec
import pytest

from crypto_modes import verdicts
from crypto_modes.reports import Item, Report
from crypto_modes.verdicts import Answer
from tests.conftest import Running, StartRelay
from tests.test_reveal import KEY, MESSAGE, admit_sealed


async def sealed_for(relay: Running) -> tuple[Any, Report]:
    """A stamped message and the report of it."""
    stored = await admit_sealed(relay)
    meta = stored.meta
    names = [name for name in meta.__struct_fields__ if name != "epoch"]
    item = Item(
        **{name: getattr(meta, name) for name in names},
        message=MESSAGE,
        key=KEY,
        commitment=stored.commitment,
        stamp=stored.stamp,
    )
    report = Report(
        relay=relay.app.store.deployment,
        reporter=meta.recipient,
        reported=meta.sender,
        category="threat",
        words="",
        created=meta.time,
        items=(item,),
    )
    return stored, report


async def asked(relay: Running, *items: Item, **changed: Any) -> list[Answer]:
    questions = [msgspec.structs.replace(verdicts.question(item), **changed) for item in items]
    body = msgspec.json.encode({"questions": questions})
    return msgspec.json.decode(await relay.app.confirming.answers_to(body), type=list[Answer])


@pytest.mark.asyncio
async def test_the_relay_knows_its_own_stamps(start_relay: StartRelay) -> None:
    relay = await start_relay("e2ee")
    _, report = await sealed_for(relay)
    (answer,) = await asked(relay, *report.items)
    assert answer == Answer("yes")
    # The relay answers without the text.
    assert b"HARM" not in msgspec.json.encode(verdicts.question(report.items[0]))


@pytest.mark.attack(41)
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("conversation", bytes(16)),
        ("seq", 99),
        ("id", bytes(16)),
        ("sender", bytes(16)),
        ("device", bytes(16)),
        ("recipient", bytes(16)),
        ("mode", "tls"),
        ("time", 1),
        ("time", (1 << 53) - 1),
        ("commitment", bytes(32)),
        ("stamp", bytes(32)),
        ("stamp", b""),
    ],
)
@pytest.mark.asyncio
async def test_what_the_relay_never_stamped_is_a_no(
    start_relay: StartRelay, field: str, value: Any
) -> None:
    relay = await start_relay("e2ee")
    _, report = await sealed_for(relay)
    (answer,) = await asked(relay, *report.items, **{field: value})
    assert (answer.state, bool(answer.reason)) == ("no", True)


@pytest.mark.attack(41)
@pytest.mark.asyncio
async def test_an_expired_month_is_a_no_and_says_so(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = await start_relay("e2ee")
    stored, report = await sealed_for(relay)
    keys = relay.app.franking_keys
    monkeypatch.setattr(keys, "_now", lambda: stored.meta.time + 130 * 86_400_000)
    (answer,) = await asked(relay, *report.items)
    assert (answer.state, "expired" in answer.reason) == ("no", True)


@pytest.mark.attack(41)
@pytest.mark.parametrize("by", ["account", "conversation"])
@pytest.mark.asyncio
async def test_what_is_preserved_is_confirmed_beyond_the_key_of_its_month(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    relay = await start_relay("e2ee")
    stored, report = await sealed_for(relay)
    meta, keeping = stored.meta, relay.app.key_care.keeping
    place = meta.sender if by == "account" else meta.conversation
    keeping.set(place, on=True)
    assert await asked(relay, *report.items) == [Answer("yes")]
    keys = relay.app.franking_keys
    monkeypatch.setattr(keys, "_now", lambda: meta.time + 130 * 86_400_000)
    keys.expire()
    assert list((relay.data / "franking").iterdir()) == []
    answers = await asked(relay, *report.items)
    assert answers[0].state == "kept"
    # The record knows what it was, and nothing else passes for it.
    changes: dict[str, Any] = {
        "commitment": bytes(32),
        "stamp": bytes(32),
        "seq": 2,
        "id": bytes(16),
        "device": bytes(16),
        "time": meta.time + 1,
        "recipient": bytes(16),
        "kind": "image",
    }
    for field, value in changes.items():
        (answer,) = await asked(relay, *report.items, **{field: value})
        assert answer.state == "no", field
    keeping.set(place, on=False)
    assert [each.state for each in await asked(relay, *report.items)] == ["no"]


@pytest.mark.parametrize("mode", ["tls", "at_rest"])
@pytest.mark.asyncio
async def test_the_relay_confirms_its_own_records(start_relay: StartRelay, mode: str) -> None:
    relay = await start_relay(mode)
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    await alice.say(bob, "plain words")
    (heard,) = await bob.hear()
    item = Item(
        conversation=heard.conversation,
        seq=heard.seq,
        id=heard.id,
        sender=heard.sender,
        device=heard.device,
        recipient=heard.recipient,
        kind=heard.kind,
        mode=heard.mode,
        time=heard.time,
        message=heard.body,
    )
    assert await asked(relay, item) == [Answer("yes")]
    for field, value in (
        ("digest", bytes(32)),
        ("seq", 2),
        ("seq", 0),
        ("sender", bob.account),
        ("recipient", alice.account),
        ("time", heard.time + 1),
        ("id", bytes(16)),
        ("device", bytes(16)),
        ("mode", "e2ee"),
        ("kind", "image"),
        ("conversation", bytes(16)),
    ):
        (answer,) = await asked(relay, item, **{field: value})
        assert answer.state == "no", field


@pytest.mark.asyncio
async def test_an_e2ee_record_does_not_confirm_a_claim_without_its_proof(
    start_relay: StartRelay,
) -> None:
    relay = await start_relay("e2ee")
    _, report = await sealed_for(relay)
    bare = {"commitment": b"", "stamp": b"", "digest": verdicts.digest(b"x")}
    (answer,) = await asked(relay, *report.items, **bare)
    assert answer.state == "no"


@pytest.mark.asyncio
async def test_the_internal_listener_answers_with_the_admin_token(
    start_relay: StartRelay,
) -> None:
    relay = await start_relay("e2ee")
    _, report = await sealed_for(relay)
    token = (relay.data / "admin.token").read_text().strip()
    body = msgspec.json.encode({"questions": [verdicts.question(report.items[0])] * 20})

    def post(body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
        there = http.client.HTTPConnection("127.0.0.1", relay.app.internal.port, timeout=10)
        there.request("POST", "/admin/v1/confirm", body, headers)
        answer = there.getresponse()
        read = json.loads(answer.read())
        there.close()
        return answer.status, read

    bearer = {"Authorization": f"Bearer {token}"}
    status, answers = await asyncio.to_thread(post, body, bearer)
    assert (status, [each["state"] for each in answers]) == (200, ["yes"] * 20)
    for bad, headers, wanted in (
        (body, {}, 401),
        (b"{}", bearer, 400),
        (b"\xff", bearer, 400),
        (b'{"questions": [{}]}', bearer, 400),
        (b" " * 40_000, bearer, 413),
    ):
        assert (await asyncio.to_thread(post, bad, headers))[0] == wanted
