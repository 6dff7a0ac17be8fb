"""The whole story in one piece: a relay, a vault and its log, each on its port, and people of the
team who know nothing but their commands."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pyotp
import pytest

from client.commands import Terms
from client.moderation import entering, words
from client.moderation.desk import Desk
from client.moderation.post import Post
from crypto_modes import grants
from crypto_modes.errors import GrantRefused, Unavailable
from crypto_modes.policy import conversation_id
from crypto_modes.reports import Item, Report, seal, tags
from server.settings_tree import Moderation
from server.store import SealedReport
from server.vault import staff
from server.vault.app import App as VaultApp
from server.vault.settings import Keys, Listen, Settings
from server.vault.settings import Relay as RelaySettings
from tests.conftest import Running, StartRelay
from tests.moderation_office import PASSWORD
from tests.reported import TEAM
from tests.test_door import with_door
from tests.test_vault_service import key_file

PEOPLE: dict[str, grants.Role] = {
    "mara": "moderator",
    "lena": "legal",
    "sven": "senior",
    "sara": "senior",
}
NEEDED = ("conversation", "seq", "id", "sender", "device", "recipient", "kind", "mode", "time")


class Story:
    """Relay and vault that know each other, and a directory for each person."""

    def __init__(self, relay: Running, vault: VaultApp, place: Path) -> None:
        self.relay, self.vault, self.place = relay, vault, place

    async def join(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Invited by the operator, joined, known to the vault, logged in: by the commands."""
        office = self.relay.app.moderating._office
        assert office is not None
        _, invite = await office.staff.invite(None, name, f"{name} of the team", PEOPLE[name])
        lines: list[str] = []
        terms = Terms(self.place / name, True, lines.append)
        url = f"http://127.0.0.1:{self.relay.app.internal.port}"
        vault = f"http://127.0.0.1:{self.vault.host.port}"
        addresses = entering.known(terms, name, url, vault, ("", ""))
        assert addresses is not None
        monkeypatch.setenv(entering.INVITE, invite)
        monkeypatch.setenv(entering.PASSWORD, PASSWORD)
        await asyncio.to_thread(entering.join, terms, addresses, password=True)
        app = pyotp.parse_uri(json.loads(lines[-1])["authenticator"])
        assert isinstance(app, pyotp.TOTP)
        monkeypatch.setenv(entering.CODE, app.at(time.time_ns() // 1_000_000_000))
        await asyncio.to_thread(entering.login, terms, None, token=False)
        key = Post(self.place / name).key().public
        person = grants.Person(name=name, subject=f"{name} of the team", role=PEOPLE[name], key=key)
        staff.add(self.vault.settings.staff_file, person)

    async def __call__(self, name: str, work: Callable[[Desk], None]) -> list[Any]:
        """What a command of ``name`` prints, as a program reads it."""
        lines: list[str] = []
        terms = Terms(self.place / name, True, lines.append)
        await asyncio.to_thread(lambda: work(Desk(terms)))
        return [json.loads(line) for line in lines]

    async def logged(self) -> list[str]:
        """The kinds of what is in the vault's log."""
        found = await self.vault.log.opened(0, 100)
        return [each.entry.kind for each in found if each.entry is not None]


@asynccontextmanager
async def begun(start_relay: StartRelay, place: Path) -> AsyncIterator[tuple[Story, Any, bytes]]:
    """The two of them, and two users who wrote to each other in ``at_rest``."""
    keys, _ = with_door(place / "keys")
    with socket.socket() as kept:
        # Each is told where the other is, so one port is known, and nobody else's, beforehand.
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(("127.0.0.1", 0))
        port = kept.getsockname()[1]
        moderation = Moderation(vault=f"http://127.0.0.1:{port}")
        relay = await start_relay("at_rest", keys=keys, moderation=moderation)
        asked = RelaySettings(
            address=f"http://127.0.0.1:{relay.app.internal.port}",
            token=str(relay.data / "vault.token"),
        )
        team = key_file(place / "team.key", TEAM.raw)
        vault = VaultApp(
            Settings(
                data=place / "vault",
                listen=Listen(port=port),
                relay=asked,
                keys=Keys(door=(str(place / "keys" / "vault.key"),), team=(team,)),
            )
        )
        await vault.start()
    try:
        alice, bob = await relay.enter("alice"), await relay.enter("bob")
        await alice.say(bob, "HARM-0007")
        await bob.say(alice, "leave me alone")
        (heard,) = await bob.hear()
        yield Story(relay, vault, place), heard, conversation_id(alice.account, bob.account)
    finally:
        await vault.stop()


async def reported(story: Story, heard: Any) -> None:
    """Bob reports what Alice wrote."""
    store = story.relay.app.store
    item = Item(**{name: getattr(heard, name) for name in NEEDED}, message=heard.body)
    report = Report(
        relay=store.deployment,
        reporter=heard.recipient,
        reported=heard.sender,
        category="threat",
        words="please look",
        created=heard.time,
        items=(item,),
    )
    sealed = seal(TEAM.public, report)
    given = {"reporter": heard.recipient, "time": heard.time, "tags": tags(report)}
    await store.put_report(SealedReport(id=os.urandom(16), sealed=sealed, **given), 9)
    await story.relay.app.moderating.keep_up()


@pytest.mark.asyncio
async def test_from_a_report_to_its_context_and_back_to_the_log(
    start_relay: StartRelay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with begun(start_relay, tmp_path) as (story, heard, talk):
        for name in ("mara", "sven"):
            await story.join(name, monkeypatch)
        await reported(story, heard)
        await story("mara", lambda desk: desk.step("/reports/1", "assign", {"to": ""}))
        (opened,) = await story("mara", lambda desk: desk.open_report(1, note=True))
        assert opened["findings"][0]["state"] == "confirmed"
        opening = {"basis": "user_report", "reason": "a threat", "report": 1}
        (case,) = await story("mara", lambda desk: desk.open_case(opening, take=True))
        body = {
            "case": case["id"],
            "conversation": talk.hex(),
            "first": 1,
            "last": 2,
            "reason": "more",
        }
        body["expires"] = time.time_ns() // 1_000_000 + 30 * 60_000
        (asked,) = await story("mara", lambda desk: desk.ask(body))
        with pytest.raises(GrantRefused, match="approval"):
            await story("mara", lambda desk: desk.read(asked["id"]))
        await story("sven", lambda desk: desk.approve(asked["id"], ask=False))
        (read,) = await story("mara", lambda desk: desk.read(asked["id"]))
        assert [each["text"] for each in read["records"]] == ["HARM-0007", "leave me alone"]
        kinds = await story.logged()
        assert kinds[-1] == "read"
        assert {"staff", "report", "case", "request", "approval", "refused"} <= set(kinds)
        measure = {"kind": "suspend", "statement": {"facts": "a threat", "rule": "do not threaten"}}
        await story(
            "mara",
            lambda desk: desk.step(
                "/reports/1", "action", {**measure, "account": desk.account("alice")}
            ),
        )
        assert {"action", "notice"} <= set(await story.logged())
        (shown,) = await story("sven", lambda desk: desk.show("/accounts/" + desk.account("alice")))
        assert (shown["name"], shown["standing"]["states"]) == ("alice", {"actioned": 1})
        await story.vault.stop()
        with pytest.raises(Unavailable):
            await story(
                "mara", lambda desk: desk.step(f"/cases/{case['id']}", "close", {"outcome": "x"})
            )
        # Who looks needs no log.
        (listed,) = await story("sven", lambda desk: desk.list("/cases", words.case))
        assert listed["state"] == "assigned"


@pytest.mark.asyncio
async def test_a_legal_request_by_name_needs_two_and_is_for_who_asked(
    start_relay: StartRelay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with begun(start_relay, tmp_path) as (story, _, talk):
        for name in ("lena", "sven", "sara"):
            await story.join(name, monkeypatch)
        now = time.time_ns() // 1_000_000

        def opening(desk: Desk) -> None:
            body = {"basis": "legal_request", "reason": "order", "authority": "a court"}
            body |= {"reference": "1/26", "country": "DE"}
            times = {"served": now - 1000, "due": now + 86_400_000}
            desk.open_case({**body, **times, "accounts": [desk.account("alice")]}, take=True)

        (case,) = await story("lena", opening)

        def asking(desk: Desk) -> None:
            scope = {"conversation": desk.conversation("alice, bob"), "first": 1, "last": 1}
            desk.ask(
                {"case": case["id"], **scope, "expires": now + 30 * 60_000, "reason": "order 1/26"}
            )

        (asked,) = await story("lena", asking)
        assert asked["grant"]["conversation"] == talk.hex()
        await story("sven", lambda desk: desk.approve(asked["id"], ask=False))
        with pytest.raises(GrantRefused):
            await story("lena", lambda desk: desk.read(asked["id"]))
        await story("sara", lambda desk: desk.approve(asked["id"], ask=False))
        with pytest.raises(GrantRefused):
            await story("sven", lambda desk: desk.read(asked["id"]))
        (read,) = await story("lena", lambda desk: desk.read(asked["id"]))
        assert [each["text"] for each in read["records"]] == ["HARM-0007"]
