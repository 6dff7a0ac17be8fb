"""A vault with everything that a platform in ``e2ee`` has learns what reporters revealed, no more.

Real devices write to each other; the vault gets the whole database, every key of the platform and a
full quorum, and a relay that calls the records whatever it likes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from crypto_modes import at_rest, scope
from crypto_modes.contract import NO_DIGEST, Evidence, Stored
from crypto_modes.door import Door
from crypto_modes.errors import BadArgument, CannotOpen, LouverError
from crypto_modes.keyring import dek_context
from crypto_modes.keys import TeamKey
from crypto_modes.primitives import aead_open
from crypto_modes.scope import DoorKey, Handed
from tests.e2ee_relay import ALICE, BOB, FRANKING_KEY, couple
from tests.mode_ends import DEPLOYMENT, server_tools
from tests.reported import TEAM, item_of, report_of
from tests.test_grants import approved, grant
from tests.vault_rig import DOOR, OpenCall, Vault

TEXTS = [b"HARM-%04d is between the two of us" % number for number in range(1, 9)]
REVEALED = {3, 6}
# Every key that a platform has: of the door, of the team, its own, and of the month.
PLATFORM_KEYS = [DOOR.raw, TEAM.raw, b"k" * 32, FRANKING_KEY]


class Everything:
    """The whole database of an ``e2ee`` service, and its vault."""

    def __init__(self, data: Path) -> None:
        self.vault = Vault(data)
        _, alice, bob = couple()
        self.stored: list[Stored] = [alice.send(BOB, text) for text in TEXTS]
        items = [item_of(stored, bob) for stored in self.stored]
        self.talk = self.stored[0].meta.conversation
        self.report = report_of(*(items[number] for number in sorted(REVEALED)))
        self.call = self.granted()

    def granted(self) -> OpenCall:
        asked = grant(conversation=self.talk, first=1, last=len(TEXTS))
        return OpenCall(asked, tuple(approved(asked, "sven", "saida", "luis")))

    def relabelled(self, mode: str, body: Callable[[Stored], bytes]) -> Handed:
        """The database as a relay tells it that says it is all in ``mode``."""
        records, head = [], NO_DIGEST
        for stored in self.stored:
            honest = scope.record_of(stored)
            raw = body(stored)
            head = at_rest.link(head, honest.seq, raw) if mode == "at_rest" else head
            records.append(
                msgspec.structs.replace(honest, mode=mode, body=raw, digest=b"", chain=head)
            )
        key = b"k" * 32
        closed = Door(DOOR.public)
        keys = tuple(
            DoorKey(
                id=number.to_bytes(16, "big"),
                sender=ALICE,
                epoch=1,
                moderation=closed.wrap(
                    each, dek_context(DEPLOYMENT, self.talk, ALICE, 1, "moderation")
                ),
            )
            for number, each in enumerate([key, *PLATFORM_KEYS])
        )
        return Handed(
            relay=DEPLOYMENT,
            before=NO_DIGEST,
            newest=len(records),
            head=head,
            records=tuple(records),
            keys=keys,
        )


@pytest.fixture
def everything(tmp_path: Path) -> Iterator[Everything]:
    made = Everything(tmp_path / "vault")
    yield made
    made.vault.stop()


def learnt(*found: bytes) -> set[int]:
    """Which of the texts are anywhere in these bytes."""
    return {number for number, text in enumerate(TEXTS) for each in found if text in each}


async def answer(everything: Everything) -> bytes:
    try:
        return msgspec.msgpack.encode(await everything.vault.open(everything.call))
    except LouverError as error:
        return str(error).encode()


@pytest.mark.asyncio
async def test_a_full_quorum_opens_nothing(everything: Everything) -> None:
    honest = Handed(
        relay=DEPLOYMENT,
        before=NO_DIGEST,
        newest=len(TEXTS),
        head=NO_DIGEST,
        records=tuple(map(scope.record_of, everything.stored)),
    )
    everything.vault.relay.lie = lambda _: honest
    shown = await everything.vault.open(everything.call)
    assert len(shown.records) == len(TEXTS)
    assert not any(each.readable for each in shown.records)
    assert learnt(msgspec.msgpack.encode(shown)) == set()
    assert all(not record.body for record in honest.records)


HEADERS = [
    b"",
    *(bytes((1, 1)) + number.to_bytes(16, "big") + bytes(48) for number in range(5)),
]


@pytest.mark.parametrize("mode", ["tls", "at_rest", "e2ee", "another"])
@pytest.mark.asyncio
async def test_whatever_the_relay_calls_the_records_they_stay_closed(
    everything: Everything, mode: str
) -> None:
    found: list[bytes] = []
    for header in HEADERS:
        told = everything.relabelled(mode, lambda stored, header=header: header + stored.record)
        everything.vault.relay.lie = lambda _, told=told: told
        everything.vault.heads._heads.clear()
        found.append(await answer(everything))
        assert len(found[-1]) > 1000
    assert learnt(*found) == set()


def test_no_key_of_the_platform_opens_a_copy(everything: Everything) -> None:
    """Each of them as everything that it could be, on every part of every record."""
    found: list[bytes] = []

    class AnyKey:
        def __init__(self, key: bytes) -> None:
            self.key = key

        def current(self, conversation: bytes, sender: bytes, now: int) -> tuple[bytes, bytes]:
            raise AssertionError("nothing is sealed here")

        def find(self, dek_id: bytes) -> bytes:
            return self.key

    tried = 0
    for stored in everything.stored:
        for key in PLATFORM_KEYS:
            mode = at_rest.AtRestServer(server_tools(data_keys=AnyKey(key)))
            attempts: list[Callable[[], bytes]] = [
                lambda: mode.reveal(stored, Evidence()),  # noqa: B023 - called at once
                lambda: TeamKey(key).open(stored.record, b""),  # noqa: B023
                *(
                    lambda start=start: aead_open(key, bytes(12), stored.record[start:], b"")  # noqa: B023
                    for start in range(120)
                ),
            ]
            for attempt in attempts:
                tried += 1
                with pytest.raises((CannotOpen, BadArgument)):
                    found.append(attempt())
    assert tried == len(TEXTS) * len(PLATFORM_KEYS) * 122
    assert learnt(*found, *(stored.record for stored in everything.stored)) == set()


@pytest.mark.asyncio
async def test_a_report_reveals_what_the_reporter_chose(everything: Everything) -> None:
    opened = await everything.vault.report(everything.vault.relay.take(everything.report))
    assert [each.state for each in opened.findings] == ["verified", "verified"]
    assert learnt(msgspec.msgpack.encode(opened)) == REVEALED


@pytest.mark.asyncio
async def test_nothing_of_it_stays_in_the_vaults_files_or_log(everything: Everything) -> None:
    await everything.vault.report(everything.vault.relay.take(everything.report))
    await answer(everything)
    files = [path.read_bytes() for path in everything.vault.data.iterdir()]
    entries = [msgspec.msgpack.encode(entry) for entry in everything.vault.log.entries]
    assert len(files) >= 3
    assert learnt(*files, *entries) == set()
