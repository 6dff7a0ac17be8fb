"""The relay's routes for its vault: who may ask, and what is handed over."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import urllib.error
import urllib.request
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest

from crypto_modes import scope, vault
from crypto_modes.keyring import dek_context
from crypto_modes.policy import conversation_id
from crypto_modes.reports import Sealed
from crypto_modes.scope import Handed, Links
from server.store import SealedReport
from tests.conftest import Running, StartRelay
from tests.moderation_rig import PEOPLE, MemoryLog, legal_request
from tests.test_door import with_door
from tests.vault_rig import granted


async def asked(
    relay: Running, path: str, token: str | None = None, body: bytes | None = None
) -> tuple[int, bytes]:
    """Status and body of the answer; the right token unless another is given."""
    right = (relay.data / "vault.token").read_text().strip()
    url = f"http://127.0.0.1:{relay.app.internal.port}/vault/v1/{path}"
    headers = {"Authorization": f"Bearer {right if token is None else token}"}
    request = urllib.request.Request(url, body, headers)

    def ask() -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    return await asyncio.to_thread(ask)


def told(answer: tuple[int, bytes]) -> tuple[int, str]:
    return answer[0], json.loads(answer[1])["detail"]


@pytest.mark.asyncio
async def test_records_and_the_keys_behind_the_door(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    keys, secret = with_door(tmp_path)
    relay = await start_relay("at_rest", keys=keys)
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    await alice.say(bob, "HARM-0007")
    await bob.say(alice, "leave me alone")
    talk = conversation_id(alice.account, bob.account)
    status, raw = await asked(relay, f"records?conversation={talk.hex()}&first=1&last=9&known=1")
    assert status == 200
    assert b"HARM" not in raw
    handed = Handed.from_json(raw)
    scope.check(
        handed, msgspec.structs.replace(granted().grant, conversation=talk, first=1, last=9)
    )
    assert [record.seq for record in handed.records] == [1, 2]
    assert handed.known == handed.records[0].chain
    status, raw = await asked(relay, f"links?conversation={talk.hex()}&after=1&last=4096")
    (link,) = Links.from_json(raw).links
    assert (link.seq, link.digest) == (2, sha256(handed.records[1].body).digest())
    place = handed.relay, talk, alice.account, handed.keys[0].epoch
    assert vault.unwrap(secret, handed.keys[0].moderation, dek_context(*place, "moderation"))


@pytest.mark.asyncio
async def test_only_the_vaults_token_opens_it(relay: Running) -> None:
    admin = (relay.data / "admin.token").read_text().strip()
    paths: list[tuple[str, Any]] = [
        (f"records?conversation={'0' * 32}&first=1&last=1", None),
        (f"links?conversation={'0' * 32}&after=0&last=1", None),
        (f"reports/{'0' * 32}", None),
        ("confirm", b"{}"),
    ]
    for path, body in paths:
        for wrong in ("", admin, "lvv_" + "A" * 43, "é"):
            status, why = told(await asked(relay, path, wrong.encode().decode("latin-1"), body))
            assert (status, "vault.token" in why) == (401, True)
    assert stat.S_IMODE((relay.data / "vault.token").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("first=1&last=2", "name conversation"),
        ("conversation=00&first=1&last=2", "32 hexadecimal"),
        (f"conversation={'0' * 32}&first=x&last=2", "in decimal digits"),
        (f"conversation={'0' * 32}&first=1&last=2&known=-1", "from 1"),
        (f"conversation={'0' * 32}&first=1&last=2&known={1 << 53}", "up to 2^53"),
        (f"conversation={'0' * 32}&first=1&last=2&known={1 << 63}", "up to 2^53"),
        (f"conversation={'0' * 32}&first={1 << 63}&last={1 << 63}", "up to 2^53"),
        (f"conversation={'0' * 32}&first=-1&last=2", "from 1"),
        (f"conversation={'0' * 32}&first=1&last=%2B2", "in decimal digits"),
        (f"conversation={'0' * 32}&first=1&last=1_0", "in decimal digits"),
        (f"conversation={'0' * 32}&first=1&last={'9' * 5000}", "name conversation"),
        (f"conversation={'0' * 32}&first=1&last=2&case=00", "32 hexadecimal"),
        (f"conversation={'0' * 32}&first=1&last=501", "1 to 500"),
        (f"conversation={'0' * 32}&first=0&last=1", "1 to 500"),
        (f"conversation={'0' * 32}&first=9&last=1", "1 to 500"),
    ],
)
@pytest.mark.asyncio
async def test_a_bad_question_is_told_what_a_good_one_is(
    relay: Running, query: str, words: str
) -> None:
    status, why = told(await asked(relay, f"records?{query}"))
    assert (status, words in why) == (400, True), why


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("after=1&last=2", "name conversation"),
        (f"conversation={'0' * 32}&first=1&last=2", "after and last"),
        (f"conversation={'0' * 32}&after=1&last=1", "1 to 4096"),
        (f"conversation={'0' * 32}&after=0&last=4097", "1 to 4096"),
        (f"conversation={'0' * 32}&after={1 << 63}&last={1 << 63}", "up to 2^53"),
    ],
)
@pytest.mark.asyncio
async def test_nor_are_links_given_for_a_bad_question(
    relay: Running, query: str, words: str
) -> None:
    status, why = told(await asked(relay, f"links?{query}"))
    assert (status, words in why) == (400, True), why


@pytest.mark.asyncio
async def test_a_sealed_report_by_its_id(relay: Running) -> None:
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    id_, store = os.urandom(16), relay.app.store
    for who, text in ((alice, b"the first"), (bob, b"another under the same id")):
        await store.put_report(
            SealedReport(id=id_, reporter=who.account, time=7, tags=(text.ljust(32),), sealed=text),
            9,
        )
    status, raw = await asked(relay, f"reports/{id_.hex()}")
    found = Sealed.from_json(raw)
    assert (status, found.sealed, found.reporter) == (200, b"the first", alice.account)
    assert (found.relay, found.time, len(found.tags)) == (store.deployment, 7, 1)
    assert told(await asked(relay, f"reports/{'0' * 32}")) == (404, "there is no such report")
    assert (await asked(relay, "reports/xyz"))[0] == 400


@pytest.mark.asyncio
async def test_the_relay_confirms_to_its_vault(relay: Running) -> None:
    status, raw = await asked(relay, "confirm", body=b'{"questions": []}')
    assert (status, raw) == (200, b"[]")
    assert (await asked(relay, "confirm", body=b"nonsense"))[0] == 400


@pytest.mark.asyncio
async def test_for_a_closed_case_nothing_is_handed_over(relay: Running) -> None:
    """A grant that was signed stands until it ends; the vault knows nothing of cases."""
    cases, lena = relay.app.moderation.cases, PEOPLE["lena"]
    relay.app.moderation.desk.log = MemoryLog()
    relay.app.moderation.desk.staff = lambda: PEOPLE
    case = await cases.open(lena, legal_request(served=1, due=2))
    path = f"records?conversation={'0' * 32}&first=1&last=2&case={case.id.hex()}"
    assert (await asked(relay, path))[0] == 200
    await cases.close(lena, case.id, "nothing came of it")
    links = path.replace("records?", "links?").replace("first=", "after=")
    for each in (path, links):
        status, why = told(await asked(relay, each))
        assert (status, "this case is closed" in why) == (403, True)
    await cases.reopen(lena, case.id)
    assert (await asked(relay, path))[0] == 200
