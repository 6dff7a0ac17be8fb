"""What every store must do about messages and cursors, whatever its engine.

A test file of an engine subclasses these classes and gives the fixture ``place``; the others are
in ``store_directory_contract.py`` and ``store_keys_contract.py``. Nothing here knows an engine.
"""

from __future__ import annotations

from typing import Protocol

import msgspec
import pytest

from crypto_modes.contract import NO_DIGEST, Stored
from crypto_modes.errors import BadArgument, Forbidden, StoreUnavailable
from server.store import Head, Store
from tests.store_entries import (
    ALICE,
    BOB,
    CAROL,
    LAPTOP,
    OTHER_TALK,
    PHONE,
    TABLET,
    TALK,
    Entry,
    chain_after,
    device,
    populate,
    settle,
)


class Place(Protocol):
    """Where a store keeps its data; ``open`` closes the store that was open there before."""

    async def open(self) -> Store: ...


class MessageContract:
    @pytest.mark.asyncio
    async def test_what_was_appended_comes_back_as_it_was(self, place: Place) -> None:
        store = await place.open()
        (entry,) = await settle(store, Entry(record=b"\x00\xff" * 300))
        assert entry.stored == entry.admit(1, NO_DIGEST)
        assert not entry.duplicate
        assert await store.after(TALK, 0, 10) == [entry.stored]
        assert await (await place.open()).after(TALK, 0, 10) == [entry.stored]

    @pytest.mark.asyncio
    async def test_both_directions_keep_sender_and_recipient(self, place: Place) -> None:
        store = await place.open()
        there, back = await settle(
            store, Entry(), Entry(sender=BOB, recipient=ALICE, device=LAPTOP)
        )
        assert await store.after(TALK, 0, 10) == [there.stored, back.stored]
        assert back.stored.meta.sender == BOB

    @pytest.mark.asyncio
    async def test_a_note_to_oneself_is_a_conversation(self, place: Place) -> None:
        store = await place.open()
        (entry,) = await settle(store, Entry(recipient=ALICE))
        assert await store.after(TALK, 0, 10) == [entry.stored]
        assert await store.heads(ALICE) == [Head(TALK, ALICE, 1)]

    @pytest.mark.asyncio
    async def test_seq_counts_from_one_in_each_conversation_and_the_chain_follows(
        self, place: Place
    ) -> None:
        store = await place.open()
        talks = [TALK, OTHER_TALK]
        for _ in range(3):
            await settle(store, *(Entry(talks[n % 2], record=bytes([n])) for n in range(21)))
        store = await place.open()
        await settle(store, Entry(record=b"last"))
        for talk, count in ((TALK, 34), (OTHER_TALK, 30)):
            chain = NO_DIGEST
            found = await store.after(talk, 0, 100)
            assert [message.meta.seq for message in found] == list(range(1, count + 1))
            for message in found:
                chain = chain_after(chain, message.meta.seq, message.record)
                assert message.chain == chain

    @pytest.mark.asyncio
    async def test_outcomes_are_told_in_order_of_appending(self, place: Place) -> None:
        store = await place.open()
        told: list[Entry] = []
        entries = await settle(store, *(Entry(told=told.append) for _ in range(700)))
        assert told == entries
        assert [entry.seq for entry in told] == list(range(1, 701))

    @pytest.mark.asyncio
    async def test_a_refused_message_fails_alone_and_uses_no_seq(self, place: Place) -> None:
        store = await place.open()
        refusal = ValueError("not this one")
        first, second, third = await settle(store, Entry(), Entry(refusal=refusal), Entry())
        assert second.outcome is refusal
        assert (first.seq, third.seq) == (1, 2)
        assert third.stored.chain == chain_after(first.stored.chain, 2, third.record)

    @pytest.mark.asyncio
    async def test_a_refused_first_message_leaves_no_conversation(self, place: Place) -> None:
        store = await place.open()
        await settle(store, Entry(refusal=ValueError()))
        assert await store.parties(TALK) is None
        assert await store.heads(ALICE) == []

    @pytest.mark.asyncio
    async def test_admission_must_not_change_what_identifies_a_message(self, place: Place) -> None:
        class Liar(Entry):
            def admit(self, seq: int, previous: bytes) -> Stored:
                honest = super().admit(seq, previous)
                meta = msgspec.structs.replace(honest.meta, sender=CAROL)
                return msgspec.structs.replace(honest, meta=meta)

        class Skipper(Entry):
            def admit(self, seq: int, previous: bytes) -> Stored:
                return super().admit(seq + 1, previous)

        store = await place.open()
        liar, skipper, honest = await settle(store, Liar(), Skipper(), Entry())
        assert isinstance(liar.outcome, BadArgument)
        assert isinstance(skipper.outcome, BadArgument)
        assert honest.seq == 1

    @pytest.mark.asyncio
    async def test_a_conversation_never_changes_hands(self, place: Place) -> None:
        store = await place.open()
        await settle(store, Entry())
        (stranger,) = await settle(store, Entry(sender=ALICE, recipient=CAROL))
        assert isinstance(stranger.outcome, BadArgument)
        assert await store.parties(TALK) == (ALICE, BOB)

    @pytest.mark.asyncio
    async def test_the_same_id_is_answered_with_what_was_stored_then(self, place: Place) -> None:
        store = await place.open()
        (first,) = await settle(store, Entry(record=b"once"))
        store = await place.open()
        again, fresh = await settle(store, Entry(id=first.id, record=b"twice"), Entry())
        assert again.duplicate
        assert again.stored == first.stored
        assert fresh.seq == 2

    @pytest.mark.asyncio
    async def test_the_same_id_twice_at_once_is_stored_once(self, place: Place) -> None:
        store = await place.open()
        id_ = b"i" * 16
        entries = await settle(store, *(Entry(id=id_, record=bytes([n])) for n in range(5)))
        assert [entry.duplicate for entry in entries] == [False, True, True, True, True]
        assert {entry.seq for entry in entries} == {1}
        assert len(await store.after(TALK, 0, 10)) == 1

    @pytest.mark.asyncio
    async def test_the_same_id_from_another_device_is_forbidden(self, place: Place) -> None:
        store = await place.open()
        first, at_once = await settle(store, Entry(), Entry(id=b"i" * 16))
        (later,) = await settle(store, Entry(id=first.id, device=TABLET))
        (mixed, own) = await settle(
            store, Entry(id=at_once.id, device=TABLET), Entry(id=at_once.id)
        )
        assert isinstance(later.outcome, Forbidden)
        assert isinstance(mixed.outcome, Forbidden)
        assert own.duplicate

    @pytest.mark.asyncio
    async def test_an_id_is_free_in_another_conversation(self, place: Place) -> None:
        store = await place.open()
        one, two = await settle(store, Entry(id=b"i" * 16), Entry(OTHER_TALK, id=b"i" * 16))
        assert (one.duplicate, two.duplicate) == (False, False)

    @pytest.mark.asyncio
    async def test_a_refused_id_may_be_tried_again(self, place: Place) -> None:
        store = await place.open()
        refused, again = await settle(
            store, Entry(id=b"i" * 16, refusal=ValueError()), Entry(id=b"i" * 16)
        )
        assert isinstance(refused.outcome, ValueError)
        assert not again.duplicate
        assert again.seq == 1

    @pytest.mark.asyncio
    async def test_pages_in_both_directions(self, place: Place) -> None:
        store = await place.open()
        await settle(store, *(Entry() for _ in range(10)), Entry(OTHER_TALK))

        def seqs(page: list[Stored]) -> list[int]:
            return [message.meta.seq for message in page]

        assert seqs(await store.after(TALK, 3, 4)) == [4, 5, 6, 7]
        assert seqs(await store.after(TALK, 10, 4)) == []
        assert seqs(await store.before(TALK, 0, 3)) == [8, 9, 10]
        assert seqs(await store.before(TALK, 4, 10)) == [1, 2, 3]
        assert seqs(await store.before(TALK, 1, 10)) == []
        assert await store.after(b"nobody's talk 00", 0, 5) == []

    @pytest.mark.asyncio
    async def test_a_scan_sees_every_message_once(self, place: Place) -> None:
        store = await place.open()
        talks = [bytes([n]) * 16 for n in (9, 3, 200)]
        entries = await settle(store, *(Entry(talks[n % 3]) for n in range(20)))
        found: list[Stored] = []
        at, seq = b"", 0
        while page := await store.scan(at, seq, 3):
            assert len(page) <= 3
            found += page
            at, seq = page[-1].meta.conversation, page[-1].meta.seq
        key = [(message.meta.conversation, message.meta.seq) for message in found]
        assert key == sorted((entry.conversation, entry.seq) for entry in entries)

    @pytest.mark.asyncio
    async def test_a_closed_store_refuses(self, place: Place) -> None:
        store = await place.open()
        await settle(store, Entry())
        await store.close()
        (entry,) = await settle(store, Entry())
        assert isinstance(entry.outcome, StoreUnavailable)
        with pytest.raises(StoreUnavailable):
            await store.after(TALK, 0, 1)
        with pytest.raises(StoreUnavailable):
            await store.set_block(ALICE, BOB, True)

    @pytest.mark.asyncio
    async def test_closing_finishes_what_was_asked_for(self, place: Place) -> None:
        store = await place.open()
        entries = [Entry() for _ in range(100)]
        for entry in entries:
            store.append(entry)
        await store.close()
        assert [entry.seq for entry in entries] == list(range(1, 101))
        assert len(await (await place.open()).after(TALK, 0, 200)) == 100

    @pytest.mark.asyncio
    async def test_the_relay_keeps_its_identity(self, place: Place) -> None:
        deployment = (await place.open()).deployment
        assert len(deployment) == 16
        assert (await place.open()).deployment == deployment


class CursorContract:
    @pytest.mark.asyncio
    async def test_heads_name_the_peer_and_the_last_seq(self, place: Place) -> None:
        store = await place.open()
        assert await store.heads(ALICE) == []
        await settle(store, Entry(), Entry(), Entry(OTHER_TALK, recipient=CAROL))
        heads = await store.heads(ALICE)
        assert sorted(heads, key=lambda head: head.seq) == [
            Head(OTHER_TALK, CAROL, 1),
            Head(TALK, BOB, 2),
        ]
        assert await store.heads(BOB) == [Head(TALK, ALICE, 2)]

    @pytest.mark.asyncio
    async def test_a_read_mark_shows_at_the_peer(self, place: Place) -> None:
        store = await place.open()
        await settle(store, Entry(), Entry(), Entry())
        store.advance_read(BOB, TALK, 2)
        store.advance_read(BOB, TALK, 1)
        store.advance_read(CAROL, TALK, 3)
        for _ in range(2):
            assert await store.heads(ALICE) == [Head(TALK, BOB, 3, peer_read=2)]
            assert await store.heads(BOB) == [Head(TALK, ALICE, 3)]
            store = await place.open()

    @pytest.mark.asyncio
    async def test_a_cursor_moves_forward_only_and_never_past_the_head(self, place: Place) -> None:
        store = await place.open()
        await populate(store)
        await settle(store, *(Entry() for _ in range(5)))
        for seq, expected in ((3, 3), (1, 3), (99, 5)):
            store.advance(PHONE, TALK, seq)
            assert await store.cursors(PHONE) == {TALK: expected}
            store = await place.open()
            assert await store.cursors(PHONE) == {TALK: expected}
        assert await store.cursors(TABLET) == {}

    @pytest.mark.asyncio
    async def test_marks_of_strangers_are_not_kept(self, place: Place) -> None:
        store = await place.open()
        await populate(store)
        await settle(store, Entry(OTHER_TALK, recipient=CAROL))
        store.advance(LAPTOP, OTHER_TALK, 1)
        store.advance(b"no such device 0", OTHER_TALK, 1)
        store.advance(PHONE, b"no such talk 000", 1)
        store.advance_read(BOB, OTHER_TALK, 1)
        store = await place.open()
        for id_ in (LAPTOP, b"no such device 0", PHONE):
            assert await store.cursors(id_) == {}
        assert [head.peer_read for head in await store.heads(ALICE)] == [0]

    @pytest.mark.asyncio
    async def test_a_new_device_starts_at_todays_heads(self, place: Place) -> None:
        store = await place.open()
        await populate(store)
        await settle(store, Entry(), Entry())
        await store.bind_device(device(b"alice-newphone-1"))
        await settle(store, Entry())
        assert await store.cursors(b"alice-newphone-1") == {TALK: 2}

    @pytest.mark.asyncio
    async def test_a_removed_device_takes_its_cursors_with_it(self, place: Place) -> None:
        store = await place.open()
        await populate(store)
        await settle(store, Entry(), Entry())
        store.advance(PHONE, TALK, 2)
        store = await place.open()
        store.advance(PHONE, TALK, 2)
        await store.remove_device(PHONE)
        assert await store.cursors(PHONE) == {}
        store = await place.open()
        assert await store.device(PHONE) is None
        assert await store.cursors(PHONE) == {}
