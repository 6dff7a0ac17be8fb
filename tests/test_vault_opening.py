"""Opening what a grant is about: who gets it, what is entered first, and all that ends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from crypto_modes import at_rest, disclosure, grants
from crypto_modes.contract import NO_DIGEST
from crypto_modes.disclosure import OpenCall
from crypto_modes.door import Door
from crypto_modes.errors import (
    CannotOpen,
    GrantRefused,
    KeyServiceUnavailable,
    LogUnavailable,
    LouverError,
    StoreUnavailable,
    Unavailable,
)
from crypto_modes.grants import RECORDS_LIMIT, Person
from crypto_modes.keyring import dek_context
from crypto_modes.keys import SigningKey, TeamKey
from crypto_modes.scope import Handed
from server.vault import staff
from server.vault.keys import Split
from tests.mode_ends import ALICE, BOB, DEPLOYMENT
from tests.test_grants import CASE, KEYS, NOW, STAFF
from tests.vault_rig import DOOR, TALK, Vault, granted, with_record


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    """A vault whose relay has four messages in ``at_rest``, of two people."""
    made = Vault(tmp_path / "vault")
    for number in range(1, 5):
        made.relay.store.say(f"HARM-000{number}".encode(), sender=(BOB, ALICE)[number % 2])
    yield made
    made.stop()


async def refused(vault: Vault, call: Any, error: type[LouverError], name: str = "") -> str:
    """Why nothing was opened; that it was entered, and no reading was."""
    with pytest.raises(error) as caught:
        await vault.open(call, name)
    (entry,) = vault.log.of("refused")
    assert entry.detail["reason"] == str(caught.value)
    assert (entry.actor, entry.case) == (name or call.grant.requester, CASE)
    assert "opened" not in vault.happened
    assert not vault.log.of("read")
    return str(caught.value)


@pytest.mark.asyncio
async def test_what_is_in_scope_is_shown_and_nothing_else(vault: Vault) -> None:
    shown = await vault.open(granted(first=2, last=3))
    assert vault.texts(shown) == ["HARM-0002", "HARM-0003"]
    assert [(each.seq, each.sender, each.recipient) for each in shown.records] == [
        (2, BOB, ALICE),
        (3, ALICE, BOB),
    ]
    assert all(each.readable and not each.label for each in shown.records)
    assert shown.receipt.checkpoint == b"a signed checkpoint"


@pytest.mark.asyncio
async def test_the_entry_says_all_of_it_and_comes_first(vault: Vault) -> None:
    call = granted(first=2, last=20)
    shown = await vault.open(call)
    (entry,) = vault.log.of("read")
    assert entry.records == tuple(each.id for each in shown.records)
    assert (entry.case, entry.basis, entry.actor) == (CASE, "legal_request", "lena")
    assert (entry.conversation, entry.grant, entry.count) == (TALK, call.grant.id, 3)
    assert entry.size == sum(len(each.record) for each in vault.relay.store.stored[1:])
    assert entry.detail["approvers"] == "luis,sven"
    assert vault.log.entries[shown.receipt.index] == entry
    first, last = vault.happened.index("entered read"), vault.happened.index("opened")
    assert vault.happened.index("fetched") < first < last


@pytest.mark.asyncio
async def test_in_tls_there_was_nothing_to_unlock_and_it_says_so(vault: Vault) -> None:
    vault.relay.store.say(b"in the clear", "tls")
    vault.relay.store.say(b"\xff\xfe not text", "tls")
    vault.relay.store.say(b"", "tls")
    shown = (await vault.open(granted(first=5))).records
    assert [each.label for each in shown] == [disclosure.UNLOCKED] * 3
    assert [each.text for each in shown] == ["in the clear", None, ""]
    assert shown[1].content == b"\xff\xfe not text"
    assert len(vault.log.of("read")) == 1


@pytest.mark.asyncio
async def test_e2ee_gives_nothing_but_what_the_relay_knows_anyway(vault: Vault) -> None:
    vault.relay.store.say(b"HARM-0005", "e2ee")
    shown = (await vault.open(granted(first=4))).records
    assert [each.readable for each in shown] == [True, False]
    assert "only a recipient can reveal" in shown[1].reason
    assert (shown[1].text, shown[1].content, shown[1].sender) == (None, None, ALICE)
    assert vault.log.of("read")[0].count == 2
    assert not vault.log.of("refused")


@pytest.mark.asyncio
async def test_an_emergency_opens_on_one_approval(vault: Vault) -> None:
    call = granted("saida", basis="emergency", requester="sven")
    assert len((await vault.open(call)).records) == 4
    assert vault.log.of("read")[0].basis == "emergency"


@pytest.mark.asyncio
async def test_a_preservation_reveals_nothing(vault: Vault) -> None:
    why = await refused(vault, granted(basis="preservation"), GrantRefused)
    assert "reveals nothing" in why
    assert "fetched" not in vault.happened


@pytest.mark.asyncio
async def test_a_grant_ends_to_the_millisecond(vault: Vault) -> None:
    call = granted()
    vault.now[0] = call.grant.expires - 1
    assert len((await vault.open(call)).records) == 4
    vault.now[0] = call.grant.expires
    vault.log.entries.clear()
    vault.happened.clear()
    assert "expired" in await refused(vault, call, GrantRefused)


WRONG: dict[str, tuple[Callable[[], Any], str, str]] = {
    "one approval of two": (lambda: granted("sven"), "", "needs the approval of 2"),
    "one approver twice": (lambda: granted("sven", "sven"), "", "needs the approval of 2"),
    "self-approval": (lambda: granted("lena", "sven"), "", "somebody else must approve"),
    "a moderator approves": (lambda: granted("mara", "sven"), "", "approves nothing"),
    "an operator asks": (lambda: granted(requester="otto"), "", "operator may not ask"),
    "somebody else reads": (granted, "sven", "for who asked for it"),
    "over 500 messages": (lambda: granted(last=RECORDS_LIMIT + 1), "", "1 to 500"),
    "too long a life": (lambda: granted(expires=NOW + 61 * 60_000), "", "60 minutes at most"),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.asyncio
async def test_what_is_no_leave_opens_nothing(vault: Vault, wrong: str) -> None:
    make, name, words = WRONG[wrong]
    assert words in await refused(vault, make(), GrantRefused, name)
    assert "fetched" not in vault.happened


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("first", 1),
        ("last", 4),
        ("conversation", b"x" * 16),
        ("expires", NOW + 60_001),
        ("case", b"x" * 16),
        ("reason", "another"),
        ("basis", "emergency"),
    ],
)
@pytest.mark.asyncio
async def test_nobody_stretches_a_grant(vault: Vault, field: str, value: Any) -> None:
    call = granted("saida", first=2, last=3, requester="sven", basis="emergency")
    if field == "basis":
        call, value = granted("sven", "luis", first=2, last=3), "preservation"
    stretched = msgspec.structs.replace(call.grant, **{field: value})
    call = msgspec.structs.replace(call, grant=stretched)
    with pytest.raises(GrantRefused, match="is not for this grant"):
        await vault.open(call)
    assert "fetched" not in vault.happened
    assert len(vault.log.of("refused")) == 1


@pytest.mark.asyncio
async def test_one_person_with_two_accounts_is_one_person(vault: Vault) -> None:
    """The second account has a key and a role of its own; the provider's subject tells."""
    key, subject = SigningKey(b"2" * 32), STAFF["lena"].subject
    twin = Person(name="lena2", subject=subject, role="senior", key=key.public)
    staff.write(vault.file, [*STAFF.values(), twin])
    asked = granted("sven").grant
    two = [grants.approve(asked, "sven", KEYS["sven"]), grants.approve(asked, "lena2", key)]
    call = disclosure.OpenCall(asked, tuple(two))
    assert "lena2 is the person who asked" in await refused(vault, call, GrantRefused)


@pytest.mark.attack(42)
@pytest.mark.parametrize("name", ["lena", "sven"])
@pytest.mark.asyncio
async def test_who_is_taken_off_the_list_is_out_at_once(vault: Vault, name: str) -> None:
    call = granted()
    lena = STAFF["lena"]
    await vault.open(call)
    staff.remove(vault.file, name)
    vault.log.entries.clear()
    vault.happened.clear()
    with pytest.raises(GrantRefused, match=f"{name} is not of the staff"):
        await vault.opening.open(lena, call)
    assert "fetched" not in vault.happened
    assert [entry.kind for entry in vault.log.entries] == ["staff", "refused"]


def ending(vault: Vault, call: OpenCall, end: str) -> Callable[[], None]:
    """What takes away the leave in ``call``."""

    def meanwhile() -> None:
        if end == "staff" and "luis" in staff.read(vault.file):
            staff.remove(vault.file, "luis")
        elif end == "expiry":
            vault.now[0] = call.grant.expires
        elif end == "role":
            staff.add(vault.file, msgspec.structs.replace(STAFF["lena"], role="operator"))

    return meanwhile


@pytest.mark.attack(42)
@pytest.mark.parametrize("end", ["staff", "expiry", "role"])
@pytest.mark.asyncio
async def test_what_ends_while_the_relay_answers_has_ended(vault: Vault, end: str) -> None:
    call = granted()
    vault.relay.meanwhile = ending(vault, call, end)
    with pytest.raises(GrantRefused):
        await vault.open(call)
    assert "opened" not in vault.happened
    assert not vault.log.of("read")


@pytest.mark.attack(42)
@pytest.mark.parametrize("end", ["staff", "expiry", "role"])
@pytest.mark.asyncio
async def test_what_ends_while_the_log_is_written_has_ended(vault: Vault, end: str) -> None:
    """A quorum of witnesses, or a disk, may take longer than the grant has left."""
    call = granted()
    await vault.asking.people()
    vault.log.meanwhile = ending(vault, call, end)
    with pytest.raises(GrantRefused):
        await vault.open(call)
    assert "opened" not in vault.happened
    # The log says more than was done, and that it was not done.
    told = [each for each in vault.log.entries if each.grant == call.grant.id]
    assert [each.kind for each in told] == ["read", "refused"]


# --- fail closed ---


@pytest.mark.asyncio
async def test_without_the_log_nothing_opens(vault: Vault) -> None:
    await vault.open(granted(first=1, last=1))
    vault.happened.clear()
    vault.log.dead = 0
    with pytest.raises(LogUnavailable):
        await vault.open(granted())
    assert "opened" not in vault.happened


@pytest.mark.asyncio
async def test_without_the_relay_nothing_opens(vault: Vault) -> None:
    vault.relay.away = True
    await refused(vault, granted(), StoreUnavailable)


@pytest.mark.asyncio
async def test_without_the_whole_key_nothing_opens(tmp_path: Path) -> None:
    vault = Vault(tmp_path / "split", Split(DOOR.public, 60.0, lambda: 0.0))
    vault.relay.store.say(b"HARM-0001")
    why = await refused(vault, granted(), KeyServiceUnavailable)
    assert "the vault's key is not together" in why
    vault.stop()


@pytest.mark.asyncio
async def test_a_list_of_the_staff_that_cannot_be_believed_is_nobody(vault: Vault) -> None:
    person = STAFF["lena"]
    for content in ("{}", "[", '[{"name": "x"}]'):
        vault.file.write_text(content)
        with pytest.raises(Unavailable, match="it knows nobody"):
            await vault.opening.open(person, granted())
    twice = [STAFF["lena"], msgspec.structs.replace(STAFF["luis"], key=STAFF["lena"].key)]
    staff.write(vault.file, twice)
    with pytest.raises(Unavailable):
        await vault.opening.open(person, granted())
    vault.file.unlink()
    with pytest.raises(GrantRefused):
        await vault.opening.open(person, granted())
    assert "opened" not in vault.happened


@pytest.mark.asyncio
async def test_nonsense_in_place_of_the_journal_is_a_vault_that_does_nothing(vault: Vault) -> None:
    vault.heads._journal.close()
    with pytest.raises(StoreUnavailable, match="it does nothing"):
        await vault.open(granted())
    assert "opened" not in vault.happened
    vault.heads.open()


# --- a relay that lies ---


@pytest.mark.attack(39)
@pytest.mark.asyncio
async def test_swapped_rows_open_nothing(vault: Vault) -> None:
    def lie(handed: Handed) -> Handed:
        one, other = handed.records[0].body, handed.records[2].body
        return with_record(with_record(handed, 0, body=other), 2, body=one)

    vault.relay.lie = lie
    assert "as it was not stored" in await refused(vault, granted(), CannotOpen)


@pytest.mark.attack(39)
@pytest.mark.asyncio
async def test_a_database_edited_whole_with_its_chain_shows_what_does_not_open(
    vault: Vault,
) -> None:
    """Rows swapped together with everything that the chain would tell: the AAD tells."""
    stored = vault.relay.store.stored
    stored[0], stored[2] = (
        msgspec.structs.replace(stored[0], record=stored[2].record),
        msgspec.structs.replace(stored[2], record=stored[0].record),
    )
    head = NO_DIGEST
    for at, each in enumerate(stored):
        head = at_rest.link(head, each.meta.seq, each.record)
        stored[at] = msgspec.structs.replace(each, chain=head)
    shown = (await vault.open(granted())).records
    assert [each.readable for each in shown] == [False, True, False, True]
    (entry,) = vault.log.of("refused")
    assert entry.records == (shown[0].id, shown[2].id)
    assert entry.detail["reason"] == "this message cannot be opened"


@pytest.mark.attack(39)
@pytest.mark.asyncio
async def test_a_conversation_rolled_back_since_the_last_look_opens_nothing(vault: Vault) -> None:
    await vault.open(granted(first=1, last=2))
    vault.stop()
    vault.start()  # it is remembered across a restart
    del vault.relay.store.stored[3:]
    vault.log.entries.clear()
    vault.happened.clear()
    why = await refused(vault, granted(first=1, last=2), CannotOpen)
    assert "another history than before: its message 4 is gone" in why
    vault.relay.store.say(b"written in its place")
    with pytest.raises(CannotOpen, match="another history"):
        await vault.open(granted(first=1, last=2))


@pytest.mark.asyncio
async def test_a_data_key_of_another_place_opens_nothing(vault: Vault) -> None:
    store = vault.relay.store
    for dek_id, wrapped in list(store.wrapped.items()):
        (dek,) = [dek for id_, dek in store.ready.pairs.values() if id_ == dek_id]
        other = dek_context(DEPLOYMENT, bytes(16), wrapped.sender, 1, "moderation")
        moved = Door(DOOR.public).wrap(dek, other)
        store.wrapped[dek_id] = msgspec.structs.replace(wrapped, moderation=moved)
    shown = (await vault.open(granted())).records
    assert not any(each.readable for each in shown)
    assert len(vault.log.of("refused")) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda store: store.wrapped.clear(), "was destroyed"),
        (lambda store: strip(store, b""), "without a moderation door"),
        (lambda store: reclose(store, TeamKey(b"o" * 32)), "no door that this vault has"),
    ],
)
@pytest.mark.asyncio
async def test_a_message_whose_key_is_not_there_says_why(
    vault: Vault, change: Callable[[Any], None], words: str
) -> None:
    change(vault.relay.store)
    shown = (await vault.open(granted())).records
    assert all(words in each.reason and each.text is None for each in shown)
    assert vault.log.of("read")[0].count == 4


def strip(store: Any, moderation: bytes) -> None:
    for dek_id, each in store.wrapped.items():
        store.wrapped[dek_id] = msgspec.structs.replace(each, moderation=moderation)


def reclose(store: Any, other: TeamKey) -> None:
    for dek_id, each in store.wrapped.items():
        context = dek_context(DEPLOYMENT, TALK, each.sender, 1, "moderation")
        wrapped = Door(other.public).wrap(b"k" * 32, context)
        store.wrapped[dek_id] = msgspec.structs.replace(each, moderation=wrapped)
