"""The vault as a process beside a real relay: by HTTP, with its own log on its own disk."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from typer.testing import CliRunner

from client import log_files
from crypto_modes import disclosure, grants
from crypto_modes.disclosure import Disclosure, OpenCall, Opened, ReportCall
from crypto_modes.door import Door
from crypto_modes.errors import BadConfig, Forbidden, LogUnavailable
from crypto_modes.policy import conversation_id
from crypto_modes.reports import Item, Report, seal, tags
from crypto_modes.transparency import access_log, note
from crypto_modes.transparency.access_log import Entry
from server import cli
from server.certs import make_dev_certificates
from server.moderation.vault_client import VaultLog
from server.store import SealedReport
from server.vault import staff
from server.vault.app import App
from server.vault.asking import now_ms
from server.vault.settings import Keys, Listen, Settings
from server.vault.settings import Relay as RelaySettings
from tests.conftest import Running, StartRelay
from tests.reported import TEAM
from tests.test_door import with_door
from tests.test_grants import CASE, KEYS, STAFF
from tests.vault_rig import signed


class Service:
    """A relay in ``at_rest`` with two people who wrote, and its vault."""

    def __init__(self, relay: Running, app: App, ca: Path | None = None) -> None:
        self.relay = relay
        self.app = app
        self.ca = ca
        self.talk = b""
        self.heard: Any = None

    async def call(self, place: str, call: Any, name: str, **changed: Any) -> tuple[int, bytes]:
        """Status and body of the answer to a signed call of ``name``."""
        body = msgspec.json.encode(call)
        now = changed.get("now", time.time_ns() // 1_000_000)
        header = changed.get("header", signed(place, body, name, now))
        scheme = "https" if self.ca else "http"
        url = f"{scheme}://127.0.0.1:{self.app.host.port}{place}"
        request = urllib.request.Request(url, body, {disclosure.HEADER: header})
        context = ssl.create_default_context(cafile=str(self.ca)) if self.ca else None

        def ask() -> tuple[int, bytes]:
            try:
                with urllib.request.urlopen(request, context=context) as answer:
                    assert answer.headers["Cache-Control"] == "no-store"
                    return answer.status, answer.read()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read()

        return await asyncio.to_thread(ask)

    def order(self, **changed: Any) -> OpenCall:
        """A legal order for the whole conversation, approved twice."""
        expires = time.time_ns() // 1_000_000 + 60_000
        fields: dict[str, Any] = {"conversation": self.talk, "first": 1, "last": 20}
        fields |= {"case": CASE, "basis": "legal_request", "expires": expires}
        fields |= {"requester": "lena", "reason": "order 17/2026"} | changed
        grant = grants.Grant(**fields)
        two = (grants.approve(grant, name, KEYS[name]) for name in ("sven", "luis"))
        return OpenCall(grant, tuple(two))


def key_file(path: Path, raw: bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)
    path.chmod(0o600)
    return str(path)


async def start_vault(
    beside: Running,
    door: Path,
    place: Path,
    now: Callable[[], int] = now_ms,
    **changed: Any,
) -> App:
    """A vault in ``place`` for this relay, with the key ``door`` and the clock ``now``."""
    team = key_file(place / "team.key", TEAM.raw)
    given: dict[str, Any] = {
        "data": place / "data",
        "listen": Listen(port=0),
        "relay": RelaySettings(
            address=f"http://127.0.0.1:{beside.app.internal.port}",
            token=str(beside.data / "vault.token"),
        ),
        "keys": Keys(door=(str(door),), team=(team,)),
    }
    settings = Settings(**(given | changed))
    staff.write(settings.staff_file, STAFF.values())
    app = App(settings, now)
    await app.start()
    return app


@pytest_asyncio.fixture
async def service(start_relay: StartRelay, tmp_path: Path) -> AsyncIterator[Service]:
    keys, _ = with_door(tmp_path / "keys")
    relay = await start_relay("at_rest", keys=keys)
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    await alice.say(bob, "HARM-0007")
    await bob.say(alice, "leave me alone")
    (heard,) = await bob.hear()
    app = await start_vault(relay, tmp_path / "keys" / "vault.key", tmp_path / "vault")
    made = Service(relay, app)
    made.talk, made.heard = conversation_id(alice.account, bob.account), heard
    yield made
    await made.app.stop()


def detail(answer: tuple[int, bytes]) -> tuple[int, str]:
    return answer[0], json.loads(answer[1])["detail"]


@pytest.mark.asyncio
async def test_a_grant_opens_a_conversation_and_the_receipt_is_in_a_signed_checkpoint(
    service: Service,
) -> None:
    status, raw = await service.call(disclosure.OPEN, service.order(), "lena")
    assert status == 200, raw
    shown = msgspec.json.decode(raw, type=Disclosure)
    assert [each.text for each in shown.records] == ["HARM-0007", "leave me alone"]
    log = service.app.log
    checkpoint = note.open_checkpoint(shown.receipt.checkpoint, log.verifier)
    assert checkpoint.size > shown.receipt.index
    (entry,) = [each for each in await log.opened(shown.receipt.index, 1) if each.entry]
    assert entry.entry is not None
    assert entry.entry.records == tuple(each.id for each in shown.records)


@pytest.mark.asyncio
async def test_the_operator_hears_of_an_unwrap_that_bypassed_the_log(
    service: Service, tmp_path: Path
) -> None:
    def reconcile(*more: str) -> tuple[int, list[dict[str, Any]], str]:
        options = [f"--set=relay.token={service.relay.data / 'vault.token'}", *more]
        address = f"--vault=http://127.0.0.1:{service.app.host.port}"
        result = CliRunner().invoke(cli.app, ["vault", "reconcile", address, *options])
        return result.exit_code, [*map(json.loads, result.stdout.splitlines())], result.stderr

    assert (await service.call(disclosure.OPEN, service.order(), "lena"))[0] == 200
    code, (good,), said = await asyncio.to_thread(reconcile)
    assert (code, good["unwrapped"], good["announced"], said) == (0, 2, 2, "")
    # The planted fault: the key is used, and nothing is entered.
    made = Door((tmp_path / "keys" / "vault.pub").read_bytes()).wrap(b"k" * 32, b"context")
    assert service.app.keys.unwrap(made, b"context") == b"k" * 32
    code, days, said = await asyncio.to_thread(reconcile)
    assert (code, len(days), "past the access log" in said) == (1, 2, True)
    assert (await asyncio.to_thread(reconcile, f"--day={good['day']}"))[0] == 0
    assert service.app.status()["data_keys"] == {"unwrapped": 3, "unannounced": {"1970-01-01": 1}}
    wrong = tmp_path / "wrong.token"
    key_file(wrong, b"lvv_wrong")
    code, _, _ = await asyncio.to_thread(reconcile, f"--set=relay.token={wrong}")
    assert code != 0


@pytest.mark.asyncio
async def test_a_report_is_confirmed_by_the_relay(service: Service) -> None:
    heard, store = service.heard, service.relay.app.store
    fields = ("conversation", "seq", "id", "sender", "device", "recipient", "kind", "mode", "time")
    item = Item(**{name: getattr(heard, name) for name in fields}, message=heard.body)
    report = Report(
        relay=store.deployment,
        reporter=heard.recipient,
        reported=heard.sender,
        category="threat",
        words="please look",
        created=heard.time,
        items=(item,),
    )
    id_ = os.urandom(16)
    sealed = seal(TEAM.public, report)
    kept = SealedReport(
        id=id_, reporter=heard.recipient, time=heard.time, tags=tags(report), sealed=sealed
    )
    await store.put_report(kept, 9)
    status, raw = await service.call(disclosure.REPORT, ReportCall(id_, CASE), "mara")
    assert status == 200, raw
    (finding,) = msgspec.json.decode(raw, type=Opened).findings
    assert (finding.state, finding.content) == ("confirmed", b"HARM-0007")
    unknown = await service.call(disclosure.REPORT, ReportCall(bytes(16), CASE), "mara")
    assert detail(unknown) == (404, "there is no such report")


@pytest.mark.asyncio
async def test_refusals_are_problems_and_are_entered(service: Service) -> None:
    order = service.order()
    once = signed(disclosure.OPEN, msgspec.json.encode(order), "lena", time.time_ns() // 1_000_000)
    assert (await service.call(disclosure.OPEN, order, "lena", header=once))[0] == 200
    calls: list[tuple[Any, str, dict[str, Any], int, str]] = [
        (order, "lena", {"header": once}, 403, "made before"),
        (order, "lena", {"header": ""}, 403, "sign this call"),
        (order, "sven", {}, 403, "for who asked for it"),
        (service.order(last=501), "lena", {}, 403, "1 to 500"),
        (service.order(basis="preservation"), "lena", {}, 403, "reveals nothing"),
        ({"grant": 1}, "lena", {}, 400, "no OpenCall"),
    ]
    for call, name, changed, status, words in calls:
        answer = detail(await service.call(disclosure.OPEN, call, name, **changed))
        assert (answer[0], words in answer[1]) == (status, True), answer
    entries = [each.entry for each in await service.app.log.opened(0)]
    assert sum(1 for each in entries if each is not None and each.kind == "refused") == 5
    huge = "x" * (disclosure.CALL_LIMIT + 1)
    assert detail(await service.call(disclosure.OPEN, huge, "lena"))[0] == 413


@pytest.mark.asyncio
async def test_without_its_relay_the_vault_opens_nothing_and_says_so(service: Service) -> None:
    await service.relay.app.internal.stop()
    status, why = detail(await service.call(disclosure.OPEN, service.order(), "lena"))
    assert (status, "the relay does not answer" in why, "127.0.0.1" in why) == (503, True, False)
    entries = [each.entry for each in await service.app.log.opened(0)]
    assert [each.kind for each in entries if each is not None][-1] == "refused"


@pytest.mark.asyncio
async def test_the_state_of_things_without_secrets(service: Service) -> None:
    url = f"http://127.0.0.1:{service.app.host.port}"

    def get(path: str) -> Any:
        with urllib.request.urlopen(url + path) as answer:
            return json.load(answer)

    assert await asyncio.to_thread(get, "/healthz") == {"status": "ok"}
    status = await asyncio.to_thread(get, disclosure.STATUS)
    assert status["key"] == {"doors": 1, "team": 1}
    assert status["log"] == service.app.log.verifier.encode()


@pytest.mark.asyncio
async def test_what_was_used_and_seen_is_remembered_across_a_restart(service: Service) -> None:
    order = service.order()
    body = msgspec.json.encode(order)
    header = signed(disclosure.OPEN, body, "lena", time.time_ns() // 1_000_000)
    assert (await service.call(disclosure.OPEN, order, "lena", header=header))[0] == 200
    size = service.app.log.size
    await service.app.stop()
    again = App(service.app.settings)
    await again.start()
    service.app = again
    assert again.log.size == size
    answer = detail(await service.call(disclosure.OPEN, order, "lena", header=header))
    assert "made before" in answer[1]
    assert (await service.call(disclosure.OPEN, order, "lena"))[0] == 200


@pytest.mark.asyncio
async def test_the_vault_speaks_tls(service: Service, tmp_path: Path) -> None:
    make_dev_certificates(tmp_path / "certs")
    files = {"certificate": "relay.pem", "key": "relay.key"}
    paths = {name: str(tmp_path / "certs" / file) for name, file in files.items()}
    app = await start_vault(
        service.relay,
        tmp_path / "keys" / "vault.key",
        tmp_path / "tls",
        listen=Listen(port=0, **paths),
    )
    secure = Service(service.relay, app, tmp_path / "certs" / "ca.pem")
    secure.talk = service.talk
    status, _ = await secure.call(disclosure.OPEN, secure.order(), "lena")
    await app.stop()
    assert status == 200


@pytest.mark.asyncio
async def test_another_vaults_key_opens_nothing_and_says_why(
    service: Service, tmp_path: Path
) -> None:
    other = Path(key_file(tmp_path / "other.key", b"o" * 32))
    app = await start_vault(service.relay, other, tmp_path / "other")
    wrong = Service(service.relay, app)
    wrong.talk = service.talk
    status, raw = await wrong.call(disclosure.OPEN, wrong.order(), "lena")
    await app.stop()
    assert status == 200
    assert b"HARM" not in raw
    reasons = {each.reason for each in msgspec.json.decode(raw, type=Disclosure).records}
    assert reasons == {"its data key is behind no door that this vault has the key of"}


@pytest.mark.asyncio
async def test_a_vault_without_its_token_does_not_start(service: Service, tmp_path: Path) -> None:
    for token in (tmp_path / "gone", service.relay.data / "admin.token"):
        relay = RelaySettings(address="http://127.0.0.1:1", token=str(token))
        with pytest.raises(BadConfig, match=r"relay\.token: .*lvv_"):
            await start_vault(
                service.relay, tmp_path / "keys" / "vault.key", tmp_path / "no", relay=relay
            )


# --- the log, through the same door ---


@pytest.mark.asyncio
async def test_the_relay_enters_its_steps_and_the_auditor_reads_all_of_them(
    service: Service,
) -> None:
    assert (await service.call(disclosure.OPEN, service.order(), "lena"))[0] == 200
    url = f"http://127.0.0.1:{service.app.host.port}"
    relays = VaultLog(url, (service.relay.data / "vault.token").read_text().strip())
    now = time.time_ns() // 1_000_000
    await relays.append([Entry(kind="case", time=now, case=CASE, actor="lena")])
    with pytest.raises(LogUnavailable):
        await relays.append([Entry(kind="read", time=now, case=CASE, actor="lena")])
    site, auda = log_files.Site(url), log_files.Staff("auda", KEYS["auda"])
    found = await asyncio.to_thread(log_files.fetch_opened, site, auda, now_ms)
    kinds = [each.entry.kind for each in found if each.entry is not None]
    assert kinds == [*["staff"] * len(STAFF), "read", "case"]
    otto = log_files.Staff("otto", KEYS["otto"])
    with pytest.raises(Forbidden):
        await asyncio.to_thread(log_files.fetch_opened, site, otto, now_ms)
    relays.close()


class Slowly(log_files.Site):
    """A vault that takes a minute for each page of entries."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1")
        self.now, self.signed = 0, list[int]()

    def ask(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        self.signed.append(disclosure.from_header((headers or {})[log_files.HEADER]).time)
        self.now += 60_000
        count = log_files.PAGE if len(self.signed) < 3 else 1
        return 200, msgspec.json.encode([access_log.Opened(number) for number in range(count)])


def test_each_page_of_entries_is_signed_when_it_is_asked_for() -> None:
    """The vault believes a signature for a minute, and a large log takes longer."""
    site, auda = Slowly(), log_files.Staff("auda", KEYS["auda"])
    assert len(log_files.fetch_opened(site, auda, lambda: site.now)) == 2 * log_files.PAGE + 1
    assert site.signed == [0, 60_000, 120_000]
