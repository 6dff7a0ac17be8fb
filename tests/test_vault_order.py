"""No receipt, no plaintext: whatever happens around a vault, nothing leaves it before its leaf.

The property is looked at from outside: what a vault was seen to do at its seams, in order, and what
came out of it. Every message has a marker of its own, so that each byte that leaves is known.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crypto_modes.errors import LouverError
from crypto_modes.reports import Report
from crypto_modes.scope import Handed
from crypto_modes.transparency.access_log import Entry
from server.vault import opening, reported, staff
from tests.mode_ends import ALICE, BOB
from tests.reported import insults, report_of
from tests.test_grants import STAFF
from tests.vault_rig import MemoryLog, MemoryRelay, Vault, granted, with_record

MODES = ("at_rest", "at_rest", "tls", "e2ee", "at_rest", "tls", "at_rest")
MARKER = re.compile(rb"HARM-(\d{4})")
REPORTS = [report_of(*insults(b"HARM-0900", b"HARM-0901")[2]), report_of(*insults(b"HARM-0902")[2])]

# What can go wrong around a call, by name; each is set right again after it.
FAULTS: dict[str, Callable[[Vault], None]] = {
    "nothing": lambda vault: None,
    "no log": lambda vault: setattr(vault.log, "dead", 0),
    "the log takes one more": lambda vault: setattr(vault.log, "dead", len(vault.log.entries) + 1),
    "no relay": lambda vault: setattr(vault.relay, "away", True),
    "late": lambda vault: vault.now.__setitem__(0, vault.now[0] + 120_000),
    "expires meanwhile": lambda vault: setattr(
        vault.relay, "meanwhile", lambda: vault.now.__setitem__(0, vault.now[0] + 120_000)
    ),
    "expires while it is entered": lambda vault: setattr(
        vault.log, "meanwhile", lambda: vault.now.__setitem__(0, vault.now[0] + 120_000)
    ),
    "removed meanwhile": lambda vault: setattr(
        vault.relay, "meanwhile", lambda: staff.write(vault.file, [STAFF["auda"]])
    ),
    "a row moved": lambda vault: setattr(vault.relay, "lie", _moved),
    "rows left out": lambda vault: setattr(
        vault.relay, "lie", lambda h: msgspec.structs.replace(h, records=h.records[1:])
    ),
    "no key": lambda vault: vault.keys._doors.clear(),
}


def _moved(handed: Handed) -> Handed:
    if len(handed.records) < 2:
        return handed
    return with_record(handed, 0, body=handed.records[-1].body)


class Call(msgspec.Struct, frozen=True):
    """One step: a report, or messages ``first`` to ``last`` with these approvals."""

    fault: str
    report: int | None
    first: int
    last: int
    approvers: tuple[str, ...]
    basis: str


CALLS = st.builds(
    Call,
    fault=st.sampled_from(sorted(FAULTS)),
    report=st.none() | st.integers(0, len(REPORTS) - 1),
    first=st.integers(1, 8),
    last=st.integers(1, 8),
    approvers=st.sampled_from([("sven", "luis"), ("sven", "luis"), ("sven",), ("lena", "luis")]),
    basis=st.sampled_from(["legal_request", "legal_request", "preservation"]),
)


async def step(vault: Vault, call: Call, ids: list[bytes]) -> bytes:
    """All that came out of the vault for this call."""
    clock, doors, relay = vault.now[0], dict(vault.keys._doors), vault.relay
    FAULTS[call.fault](vault)
    try:
        if call.report is not None:
            answer: Any = await vault.report(ids[call.report])
        else:
            asked = {"first": call.first, "last": call.last, "basis": call.basis}
            answer = await vault.opening.open(STAFF["lena"], granted(*call.approvers, **asked))
        return msgspec.msgpack.encode(answer)
    except LouverError as error:
        return str(error).encode()
    finally:
        vault.now[0], vault.log.dead, relay.away = clock, None, False
        vault.log.meanwhile = MemoryLog([]).meanwhile
        relay.lie, relay.meanwhile = MemoryRelay([]).lie, MemoryRelay([]).meanwhile
        vault.keys._doors.update(doors)
        staff.write(vault.file, STAFF.values())


def marked(entries: list[Entry], texts: dict[bytes, bytes]) -> set[bytes]:
    """The markers of all messages that these entries name."""
    return {texts[id_] for entry in entries for id_ in entry.records if id_ in texts}


async def story(data: Path, calls: list[Call]) -> None:
    vault = Vault(data)
    texts: dict[bytes, bytes] = {}
    for number, mode in enumerate(MODES, 1):
        text = b"HARM-%04d" % number
        stored = vault.relay.store.say(text, mode, (ALICE, BOB)[number % 2])
        texts[stored.meta.id] = text[5:]
    ids = [vault.relay.take(report) for report in REPORTS]
    for number, item in enumerate(item for report in REPORTS for item in report.items):
        texts[item.id] = b"%04d" % (900 + number)
    for call in calls:
        before, seen = len(vault.log.entries), len(vault.happened)
        came_out = await step(vault, call, ids)
        read = [each for each in vault.log.entries[before:] if each.kind == "read"]
        assert set(MARKER.findall(came_out)) <= marked(read, texts)
        happened = vault.happened[seen:]
        if "opened" in happened:
            assert "entered read" in happened[: happened.index("opened")]
    vault.stop()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(CALLS, min_size=1, max_size=6))
def test_no_byte_of_plaintext_leaves_before_its_leaf(calls: list[Call]) -> None:
    with tempfile.TemporaryDirectory() as data:
        asyncio.run(story(Path(data) / "vault", calls))


ALL = Call("nothing", None, 1, 8, ("sven", "luis"), "legal_request")
A_REPORT = Call("nothing", 0, 1, 1, (), "legal_request")


def test_the_story_reads_something(tmp_path: Path) -> None:
    """Else the property would hold of a vault that shows nothing."""
    vault = Vault(tmp_path / "vault")
    for number, mode in enumerate(MODES, 1):
        vault.relay.store.say(b"HARM-%04d" % number, mode, (ALICE, BOB)[number % 2])
    ids = [vault.relay.take(report) for report in REPORTS]
    shown = asyncio.run(step(vault, ALL, ids))
    assert set(MARKER.findall(shown)) == {b"0001", b"0002", b"0003", b"0005", b"0006", b"0007"}
    assert set(MARKER.findall(asyncio.run(step(vault, A_REPORT, ids)))) == {b"0900", b"0901"}
    vault.stop()


# --- the property sees each fault that it is there for ---


class Late:
    """A log in which an entry is only a promise: it is made after the vault went on."""

    def __init__(self, log: Any) -> None:
        self._log = log

    async def append(self, entries: Any) -> Any:
        self._log.happened.append("promised")
        return opening.Receipt(0, b"")


async def opened_first(self: Any, reader: Any, call: Any, entry: Entry) -> Any:
    """``Opening._open`` with the two lines in the wrong order."""
    handed = await self._fetch(call)
    found = opening.DoorKeys(self._keys, handed, call.grant.conversation)
    shown = opening._show(handed, found)
    records = tuple(record.id for record in handed.records)
    receipt = await self._log.append([msgspec.structs.replace(entry, records=records)])
    return opening.Disclosure(receipt=opening._entered(receipt), records=shown)


async def unsealed_first(self: Any, reader: Any, call: Any, entry: Entry) -> Any:
    sealed = await self._relay.report(call.report)
    report: Report = self._keys.open(sealed)
    findings = reported.verdicts.judge(report, [reported.Answer("yes") for _ in report.items])
    records = tuple(item.id for item in report.items)
    receipt = await self._log.append([msgspec.structs.replace(entry, records=records)])
    return reported._opened(sealed, report, findings, reported.Entered(receipt.index, b""))


@pytest.mark.parametrize("fault", ["order", "report order", "promise", "too few named"])
def test_a_vault_that_does_it_otherwise_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    calls = [A_REPORT if "report" in fault else ALL]
    if fault == "order":
        monkeypatch.setattr(opening.Opening, "_open", opened_first)
    elif fault == "report order":
        monkeypatch.setattr(reported.Reported, "_open", unsealed_first)
    elif fault == "promise":
        started = Vault.start

        def start(self: Vault) -> None:
            started(self)
            self.opening._log = Late(self.log)

        monkeypatch.setattr(Vault, "start", start)
    else:
        nothing_named = SimpleNamespace(replace=lambda entry, **to: entry)
        monkeypatch.setattr(opening, "msgspec", SimpleNamespace(structs=nothing_named))
    with pytest.raises(AssertionError):
        asyncio.run(story(tmp_path / "vault", calls))
