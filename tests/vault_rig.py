"""A vault around its use cases, with a relay and a log that do as a test says.

What may live here: building it, and the doubles at its seams: a store of records in three modes
behind the real ``VaultRecords``, and a log in memory that keeps the order of what happens. What may
not: assertions.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec

from crypto_modes import at_rest, disclosure, door, grants, tls
from crypto_modes.contract import NO_DIGEST, Meta, Sealed, ServerMode, Stored
from crypto_modes.disclosure import Disclosure, OpenCall, ReportCall
from crypto_modes.door import Door
from crypto_modes.errors import LogUnavailable, StoreUnavailable
from crypto_modes.keyring import dek_context
from crypto_modes.keys import SigningKey, TeamKey
from crypto_modes.reports import Report, seal, tags
from crypto_modes.reports import Sealed as SealedReport
from crypto_modes.scope import Handed, Links
from crypto_modes.transparency.access_log import Entry, Opened
from crypto_modes.verdicts import Answer, Question
from server.access_log import Receipt
from server.store import WrappedKey
from server.vault import staff
from server.vault.asking import Asking, Nonces, Refusals
from server.vault.counting import Count
from server.vault.keys import Keys, Split
from server.vault.opening import Heads, Opening
from server.vault.reconciling import Reconciling
from server.vault.reported import Reported
from server.vault.revealed import Revealed
from server.vault.staff import Staff
from server.vault_records import VaultRecords
from tests import test_grants
from tests.mode_ends import (
    ALICE,
    ALICE_PHONE,
    BOB,
    BOB_PHONE,
    DEPLOYMENT,
    DRAFT,
    ReadyKeys,
    server_tools,
)
from tests.reported import TEAM
from tests.test_grants import CASE, KEYS, NOW, STAFF

TALK = DRAFT.conversation
DOOR = TeamKey(b"v" * 32)


class MemoryStore:
    """Conforms to ``Store`` as far as ``VaultRecords`` asks."""

    deployment = DEPLOYMENT

    def __init__(self, public: bytes = DOOR.public) -> None:
        self.stored: list[Stored] = []
        self.ready = ReadyKeys()
        self.door = Door(public)
        self.wrapped: dict[bytes, WrappedKey] = {}
        tools = server_tools(data_keys=self.ready)
        self.modes: Mapping[str, ServerMode] = {
            "tls": tls.MODE.server(tools),
            "at_rest": at_rest.MODE.server(tools),
        }

    def say(self, text: bytes, mode: str = "at_rest", sender: bytes = ALICE) -> Stored:
        seq = len(self.stored) + 1
        recipient, device = (BOB, ALICE_PHONE) if sender == ALICE else (ALICE, BOB_PHONE)
        id_ = seq.to_bytes(16, "big")
        meta = Meta(TALK, seq, id_, sender, device, recipient, "text", mode, 1, NOW - 1000 + seq)
        previous = self.stored[-1].chain if self.stored else NO_DIGEST
        if mode == "e2ee":
            stored = Stored(meta, b"copies that only devices open", b"c" * 32, b"s" * 32, previous)
        else:
            sealed = Sealed(mode=mode, epoch=1, body=text)
            stored = self.modes[mode].admit(meta, sealed, previous)
        self.stored.append(stored)
        self._close_in(sender)
        return stored

    def _close_in(self, sender: bytes) -> None:
        for (conversation, owner), (dek_id, dek) in self.ready.pairs.items():
            if owner == sender and dek_id not in self.wrapped:
                context = dek_context(DEPLOYMENT, conversation, owner, 1, door.PURPOSE)
                self.wrapped[dek_id] = WrappedKey(
                    dek_id=dek_id,
                    conversation=conversation,
                    sender=owner,
                    epoch=1,
                    created=NOW,
                    serving=b"for the relay alone",
                    moderation=self.door.wrap(dek, context),
                )

    async def after(self, conversation: bytes, seq: int, limit: int) -> list[Stored]:
        found = [each for each in self.stored if each.meta.seq > seq]
        return found[:limit] if conversation == TALK else []

    async def before(self, conversation: bytes, seq: int, limit: int) -> list[Stored]:
        return self.stored[-limit:] if conversation == TALK else []

    async def data_key(self, dek_id: bytes) -> WrappedKey | None:
        return self.wrapped.get(dek_id)


class MemoryRelay:
    """What the vault sees of a relay; ``lie`` changes its answers, ``away`` takes it away."""

    def __init__(self, happened: list[str]) -> None:
        self.store = MemoryStore()
        self.desk = VaultRecords(cast("Any", self.store), cast("Any", None), "", cast("Any", None))
        self.reports: dict[bytes, SealedReport] = {}
        self.answer = Answer("yes")
        self.lie: Callable[[Handed], Handed] = lambda handed: handed
        self.lie_of_links: Callable[[Links], Links] = lambda links: links
        self.crossed: list[tuple[int, int]] = []
        self.meanwhile: Callable[[], None] = lambda: None
        self.away = False
        self.happened = happened

    async def records(
        self, conversation: bytes, first: int, last: int, known: int, case: bytes = CASE
    ) -> Handed:
        self.happened.append("fetched")
        self._check()
        # As it travels, so that the test sees no more than a vault would.
        raw = (await self.desk.records(conversation, first, last, known)).to_json()
        self.meanwhile()
        return self.lie(Handed.from_json(raw))

    async def links(self, conversation: bytes, after: int, last: int, case: bytes = CASE) -> Links:
        self._check()
        raw = (await self.desk.links(conversation, after, last)).to_json()
        self.crossed.append((after, last))
        return self.lie_of_links(Links.from_json(raw))

    async def report(self, id: bytes) -> SealedReport:
        self.happened.append("fetched")
        self._check()
        self.meanwhile()
        return self.reports[id]

    async def confirm(self, questions: list[Question]) -> list[Answer]:
        self._check()
        return [self.answer for _ in questions]

    def take(self, report: Report) -> bytes:
        """Keep a report as a reporter would hand it in; its id."""
        id_ = os.urandom(16)
        self.reports[id_] = SealedReport(
            relay=report.relay,
            reporter=report.reporter,
            id=id_,
            time=NOW,
            tags=tags(report),
            sealed=seal(TEAM.public, report),
        )
        return id_

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailable("the relay does not answer")


class MemoryLog:
    """Conforms to ``AccessLog``; ``dead`` says after how many entries it takes no more, and
    ``meanwhile`` is what happens while one is written."""

    def __init__(self, happened: list[str]) -> None:
        self.entries: list[Entry] = []
        self.dead: int | None = None
        self.meanwhile: Callable[[], None] = lambda: None
        self.happened = happened

    async def append(self, entries: Sequence[Entry]) -> Receipt:
        if self.dead is not None and len(self.entries) >= self.dead:
            raise LogUnavailable("the log is dead")
        first = len(self.entries)
        self.entries += entries
        self.happened += [f"entered {each.kind}" for each in entries]
        self.meanwhile()
        return Receipt(first, b"a signed checkpoint")

    async def opened(self, start: int, limit: int) -> list[Opened]:
        page = self.entries[start : start + limit]
        return [Opened(start + at, b"s" * 16, each) for at, each in enumerate(page)]

    def of(self, kind: str) -> list[Entry]:
        return [each for each in self.entries if each.kind == kind]


class WatchedKeys(Keys):
    """Keys that tell when they open something."""

    happened: list[str]

    def unwrap(self, wrapped: bytes, context: bytes, entered: int = 0) -> bytes:
        self.happened.append("opened")
        return super().unwrap(wrapped, context, entered)

    def open(self, sealed: SealedReport) -> Report:
        self.happened.append("opened")
        return super().open(sealed)


class Vault:
    """One vault; ``now[0]`` is its clock, ``happened`` what happened at its seams, in order."""

    def __init__(self, data: Path, split: Split | None = None, doors: Sequence[TeamKey] = (DOOR,)):
        data.mkdir(exist_ok=True)
        self.data = data
        self.now = [NOW]
        self.happened: list[str] = []
        self.log, self.relay = MemoryLog(self.happened), MemoryRelay(self.happened)
        self.count = Count(data / "unwrapped")
        self.keys = WatchedKeys(() if split else doors, (TEAM,), split, counted=self.count.add)
        self.keys.happened = self.happened
        self.file = data / "staff.json"
        staff.write(self.file, STAFF.values())
        self.start()

    def start(self) -> None:
        """Begin on what is on the disk."""
        clock = lambda: self.now[0]  # noqa: E731
        self.staff = Staff(self.file, self.data / "staff.entered.json", self.log, clock)
        self.nonces, self.heads = Nonces(self.data / "nonces", clock), Heads(self.data / "heads")
        self.count.open()
        self.reconciling = Reconciling(self.count, self.log, clock)
        self.revealed = Revealed(self.data / "reported", clock)
        for each in (self.nonces, self.heads, self.revealed):
            each.open()
        self.refusals = Refusals(self.log, clock)
        self.asking = Asking(self.staff, self.nonces, self.refusals, clock)
        parts: dict[str, Any] = {
            "asking": self.asking,
            "refusals": self.refusals,
            "relay": self.relay,
            "revealed": self.revealed,
            "keys": self.keys,
            "log": self.log,
            "now": clock,
        }
        self.opening = Opening(heads=self.heads, **parts)
        self.reported = Reported(**parts)

    def stop(self) -> None:
        self.count.close()
        for each in (self.nonces, self.heads, self.revealed):
            each.close()

    async def open(self, call: OpenCall, name: str = "") -> Disclosure:
        reader = (await self.asking.people()).get(name or call.grant.requester)
        assert reader is not None
        return await self.opening.open(reader, call)

    async def report(self, id: bytes, name: str = "mara") -> disclosure.Opened:
        return await self.reported.open(STAFF[name], ReportCall(id, b"c" * 16))

    def texts(self, shown: Disclosure) -> list[str | None]:
        return [each.text for each in shown.records]


def granted(*approvers: str, **changed: Any) -> OpenCall:
    """A call with a legal order, approved by Sven and Luis unless others are named."""
    grant = test_grants.grant(conversation=TALK, **changed)
    names = approvers or ("sven", "luis")
    return OpenCall(grant, tuple(test_grants.approved(grant, *names)))


def signed(
    place: str, body: bytes, name: str = "lena", time: int = NOW, key: SigningKey | None = None
) -> str:
    """The header of a call."""
    request = grants.sign_request(key or KEYS[name], place, body, name, time, os.urandom(16))
    return disclosure.to_header(request)


def with_record(handed: Handed, place: int, **changes: Any) -> Handed:
    """Another answer of the relay: its record at ``place`` changed."""
    records = list(handed.records)
    records[place] = msgspec.structs.replace(records[place], **changes)
    return msgspec.structs.replace(handed, records=tuple(records))
