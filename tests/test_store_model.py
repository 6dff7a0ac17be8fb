"""The SQLite store against a model of dictionaries, under whatever order hypothesis thinks of."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import defaultdict
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from crypto_modes.errors import Forbidden
from server.store.sqlite import SqliteStore
from tests.store_entries import ALICE, BOB, PHONE, TABLET, Entry, populate, settle

DEVICES = (PHONE, TABLET)
TALKS = tuple(bytes([number]) * 16 for number in range(3))

talks = st.sampled_from(TALKS)
devices = st.sampled_from(DEVICES)
messages = st.tuples(
    talks,
    st.integers(0, 5).map(lambda number: bytes([number]) * 16),
    devices,
    st.booleans() | st.just(True),
)


class StoreModel(RuleBasedStateMachine):
    """``talks``: per conversation the (id, device) in order. ``cursors``: what was acked."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.data = Path(tempfile.mkdtemp())
        self.talks: dict[bytes, list[tuple[bytes, bytes]]] = defaultdict(list)
        self.cursors: dict[tuple[bytes, bytes], int] = {}
        self.reads: dict[bytes, int] = {}

    def teardown(self) -> None:
        self.loop.run_until_complete(self.store.close())
        self.loop.close()
        shutil.rmtree(self.data)

    @initialize()
    def start(self) -> None:
        self._open()
        self.loop.run_until_complete(populate(self.store))

    def _open(self) -> None:
        self.store = SqliteStore(self.data, on_fatal=print)
        self.loop.run_until_complete(self.store.open())

    @rule()
    def restart(self) -> None:
        self.loop.run_until_complete(self.store.close())
        self._open()

    @rule(batch=st.lists(messages, min_size=1, max_size=12))
    def append(self, batch: list[tuple[bytes, bytes, bytes, bool]]) -> None:
        entries = [
            Entry(talk, id=id_, device=device, refusal=None if admitted else ValueError())
            for talk, id_, device, admitted in batch
        ]
        self.loop.run_until_complete(settle(self.store, *entries))
        for entry in entries:
            self._expect(entry)

    def _expect(self, entry: Entry) -> None:
        talk = self.talks[entry.conversation]
        stored = {id_: (seq, device) for seq, (id_, device) in enumerate(talk, start=1)}
        if entry.id in stored:
            seq, device = stored[entry.id]
            if device == entry.device:
                assert (entry.seq, entry.duplicate) == (seq, True)
            else:
                assert isinstance(entry.outcome, Forbidden)
        elif entry.refusal:
            assert entry.outcome is entry.refusal
        else:
            talk.append((entry.id, entry.device))
            assert (entry.seq, entry.duplicate) == (len(talk), False)

    @rule(device=devices, talk=talks, seq=st.integers(0, 30))
    def advance(self, device: bytes, talk: bytes, seq: int) -> None:
        """A session acks nothing that it was not sent."""
        seq = min(seq, len(self.talks[talk]))
        self.store.advance(device, talk, seq)
        if seq:
            self.cursors[device, talk] = max(seq, self.cursors.get((device, talk), 0))

    @rule(talk=talks, seq=st.integers(0, 30))
    def read(self, talk: bytes, seq: int) -> None:
        seq = min(seq, len(self.talks[talk]))
        self.store.advance_read(BOB, talk, seq)
        self.reads[talk] = max(seq, self.reads.get(talk, 0))

    @invariant()
    def the_store_agrees(self) -> None:
        self.loop.run_until_complete(self._agrees())

    async def _agrees(self) -> None:
        for talk, expected in self.talks.items():
            found = await self.store.after(talk, 0, 1000)
            assert [(one.meta.id, one.meta.device) for one in found] == expected
            assert [one.meta.seq for one in found] == list(range(1, len(found) + 1))
        for device in DEVICES:
            mine = {talk: seq for (owner, talk), seq in self.cursors.items() if owner == device}
            assert await self.store.cursors(device) == mine
        heads = {head.conversation: head for head in await self.store.heads(ALICE)}
        assert {talk: head.seq for talk, head in heads.items()} == {
            talk: len(stored) for talk, stored in self.talks.items() if stored
        }
        for talk, head in heads.items():
            assert head.peer_read == self.reads.get(talk, 0)


TestStoreModel = StoreModel.TestCase
TestStoreModel.settings = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
