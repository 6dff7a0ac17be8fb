"""Who calls the vault: one person, by a signature over this very call, once; and the list."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from crypto_modes import disclosure
from crypto_modes.errors import (
    BadArgument,
    BadConfig,
    GrantRefused,
    LogUnavailable,
    StoreUnavailable,
)
from crypto_modes.grants import REQUEST_SECONDS, Person
from crypto_modes.keys import SigningKey
from server.vault import asking, staff
from server.vault.asking import STRANGERS, Nonces
from server.vault.journal import Journal
from tests.test_grants import KEYS, NOW, STAFF
from tests.vault_rig import Vault, signed

PLACE, BODY = disclosure.OPEN, b"a call"


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    made = Vault(tmp_path / "vault")
    yield made
    made.stop()


async def refused(vault: Vault, header: str, place: str = PLACE, body: bytes = BODY) -> str:
    before = len(vault.log.of("refused"))
    with pytest.raises(GrantRefused) as caught:
        await vault.asking.person(place, header, body)
    assert len(vault.log.of("refused")) == before + 1
    return str(caught.value)


@pytest.mark.asyncio
async def test_a_signed_call_is_that_persons(vault: Vault) -> None:
    assert await vault.asking.person(PLACE, signed(PLACE, BODY), BODY) == STAFF["lena"]
    assert not vault.log.of("refused")


@pytest.mark.parametrize("off", [-1, 0, 1])
@pytest.mark.parametrize("late", [-1, 1])
@pytest.mark.asyncio
async def test_a_call_is_believed_for_a_minute_to_the_millisecond(
    vault: Vault, late: int, off: int
) -> None:
    header = signed(PLACE, BODY)
    vault.now[0] += late * (REQUEST_SECONDS * 1000 + off)
    if off > 0:
        assert "too old" in await refused(vault, header)
    else:
        await vault.asking.person(PLACE, header, BODY)


@pytest.mark.attack(17)
@pytest.mark.asyncio
async def test_a_call_works_once_also_across_a_restart(vault: Vault) -> None:
    header = signed(PLACE, BODY)
    await vault.asking.person(PLACE, header, BODY)
    assert "made before" in await refused(vault, header)
    vault.stop()
    vault.start()
    assert "made before" in await refused(vault, header)
    vault.now[0] += REQUEST_SECONDS * 1000
    assert "made before" in await refused(vault, header)


@pytest.mark.attack(17)
@pytest.mark.asyncio
async def test_two_of_one_call_at_once_are_one(vault: Vault) -> None:
    header = signed(PLACE, BODY)
    both = (vault.asking.person(PLACE, header, BODY) for _ in range(2))
    found = await asyncio.gather(*both, return_exceptions=True)
    assert sorted(type(each).__name__ for each in found) == ["GrantRefused", "Person"]


@pytest.mark.asyncio
async def test_a_call_made_for_the_future_is_remembered_as_long(vault: Vault) -> None:
    """Signed as late as is believed, used at once, and again when it is oldest."""
    header = signed(PLACE, BODY, time=NOW + REQUEST_SECONDS * 1000)
    await vault.asking.person(PLACE, header, BODY)
    vault.now[0] += 2 * REQUEST_SECONDS * 1000
    await vault.asking.person(PLACE, signed(PLACE, BODY, time=vault.now[0]), BODY)
    assert "made before" in await refused(vault, header)


@pytest.mark.asyncio
async def test_used_nonces_are_forgotten_in_the_end(tmp_path: Path) -> None:
    now = [NOW]
    nonces = Nonces(tmp_path / "nonces", lambda: now[0])
    nonces.open()
    for _ in range(10):
        await nonces.use(os.urandom(16), now[0])
    now[0] += asking.REMEMBERED + 1
    await nonces.use(os.urandom(16), now[0])
    assert len(nonces._used) == 1
    nonces.close()
    nonces.open()
    # One line of the call that is remembered, and one that says since when any are.
    assert (tmp_path / "nonces").stat().st_size == 2 * 24
    nonces.close()


@pytest.mark.attack(17)
@pytest.mark.asyncio
async def test_a_clock_that_goes_ahead_and_back_makes_no_call_new(vault: Vault) -> None:
    header = signed(PLACE, BODY)
    await vault.asking.person(PLACE, header, BODY)
    vault.now[0] += 3_600_000
    await vault.asking.person(PLACE, signed(PLACE, BODY, time=vault.now[0]), BODY)
    vault.now[0] = NOW
    assert "clock went back" in await refused(vault, header)


@pytest.mark.attack(17)
@pytest.mark.asyncio
async def test_nor_does_one_that_goes_back_between_two_starts(tmp_path: Path) -> None:
    now, nonce = [NOW], os.urandom(16)
    for hours in (0, 1, 0):
        now[0] = NOW + hours * 3_600_000
        nonces = Nonces(tmp_path / "nonces", lambda: now[0])
        nonces.open()
        if not (tmp_path / "seen").exists():
            await nonces.use(nonce, NOW)
            (tmp_path / "seen").touch()
        nonces.close()
    nonces.open()
    # What to do about a clock that was ahead: else nobody is believed until that hour comes.
    with pytest.raises(GrantRefused, match=r"clock went back, and for 59 minutes .* removes"):
        await nonces.use(nonce, NOW)
    nonces.close()


@pytest.mark.asyncio
async def test_no_call_has_the_nonce_of_nobody(tmp_path: Path) -> None:
    """Its line would say something else at the next start."""
    nonces = Nonces(tmp_path / "nonces", lambda: NOW)
    nonces.open()
    with pytest.raises(GrantRefused, match="made before"):
        await nonces.use(bytes(16), NOW)
    nonces.close()


@pytest.mark.asyncio
async def test_of_what_a_stranger_asks_for_the_log_takes_the_beginning(vault: Vault) -> None:
    await refused(vault, "", place="/log/v1/opened?" + "x" * 60_000)
    (entry,) = vault.log.of("refused")
    assert entry.detail["place"] == ("/log/v1/opened?" + "x" * 100)[: asking.PLACE]


@pytest.mark.parametrize("other", ["body", "place", "name", "key", "header", "unknown"])
@pytest.mark.asyncio
async def test_nobody_calls_for_another(vault: Vault, other: str) -> None:
    header = signed(PLACE, BODY)
    if other == "body":
        why = await refused(vault, header, body=b"another call")
    elif other == "place":
        why = await refused(vault, header, place=disclosure.REPORT)
    elif other == "name":
        request = disclosure.from_header(header)
        why = await refused(
            vault, disclosure.to_header(msgspec.structs.replace(request, name="luis"))
        )
    elif other == "key":
        why = await refused(vault, signed(PLACE, BODY, key=KEYS["luis"]))
    elif other == "unknown":
        why = await refused(vault, signed(PLACE, BODY, name="nobody", key=KEYS["lena"]))
        assert "not of the staff" in why
        return
    else:
        for none in ("", "x", "é", "{}", header[:-8], header + "A" * 2000):
            assert "sign this call" in await refused(vault, none)
        return
    assert "not signed by who it names" in why


@pytest.mark.asyncio
async def test_a_flood_of_strangers_does_not_fill_the_log(vault: Vault) -> None:
    for _ in range(STRANGERS + 5):
        with pytest.raises(GrantRefused):
            await vault.asking.person(PLACE, "", BODY)
    assert len(vault.log.of("refused")) == STRANGERS
    vault.now[0] += 60_000
    await refused(vault, "")
    assert vault.log.of("refused")[-1].count == 5


@pytest.mark.asyncio
async def test_without_the_log_or_a_disk_nobody_is_believed(vault: Vault) -> None:
    await vault.asking.people()
    vault.log.dead = 0
    with pytest.raises(LogUnavailable):
        await vault.asking.person(PLACE, "", BODY)
    vault.nonces._journal.close()
    with pytest.raises(StoreUnavailable):
        await vault.asking.person(PLACE, signed(PLACE, BODY), BODY)
    vault.nonces.open()


# --- the list of the staff ---


@pytest.mark.asyncio
async def test_every_change_of_the_staff_is_entered_before_it_counts(vault: Vault) -> None:
    await vault.asking.people()
    assert {entry.detail["outcome"] for entry in vault.log.of("staff")} == {"joined"}
    assert len(vault.log.of("staff")) == len(STAFF)
    vault.log.entries.clear()
    mara = msgspec.structs.replace(STAFF["mara"], role="senior")
    staff.add(vault.file, mara)
    staff.remove(vault.file, "anna")
    key = SigningKey(b"n" * 32).public
    staff.add(vault.file, Person(name="nora", subject="idp|n", role="legal", key=key))
    vault.stop()
    vault.start()  # what was entered is remembered
    people = await vault.asking.people()
    assert (people["mara"].role, "anna" in people) == ("senior", False)
    told = {entry.actor: entry.detail for entry in vault.log.of("staff")}
    assert {name: each["outcome"] for name, each in told.items()} == {
        "anna": "left",
        "mara": "changed",
        "nora": "joined",
    }
    assert told["nora"]["key"] == key.hex()
    await vault.asking.people()
    assert len(vault.log.of("staff")) == 3


@pytest.mark.asyncio
async def test_a_change_that_cannot_be_entered_is_not_in_force(vault: Vault) -> None:
    await vault.asking.people()
    vault.log.dead = 0
    key = SigningKey(b"n" * 32)
    staff.add(vault.file, Person(name="nora", subject="n", role="legal", key=key.public))
    with pytest.raises(LogUnavailable):
        await vault.asking.person(PLACE, signed(PLACE, BODY, name="nora", key=key), BODY)


def test_the_list_takes_each_name_and_key_once(tmp_path: Path) -> None:
    file = tmp_path / "staff.json"
    lena = STAFF["lena"]
    staff.add(file, lena)
    staff.add(file, msgspec.structs.replace(lena, role="senior"))
    assert [person.role for person in staff.read(file).values()] == ["senior"]
    with pytest.raises(BadArgument, match="somebody else has this key"):
        staff.add(file, msgspec.structs.replace(lena, name="leni"))
    with pytest.raises(BadArgument, match="Ed25519"):
        staff.add(file, msgspec.structs.replace(lena, key=bytes(32)))
    with pytest.raises(BadArgument, match="is not of the staff"):
        staff.remove(file, "luis")
    staff.write(file, [lena, msgspec.structs.replace(STAFF["luis"], name="lena")])
    with pytest.raises(BadConfig, match="the same name"):
        staff.read(file)
    file.chmod(0o644)
    with pytest.raises(BadConfig, match="chmod 600"):
        staff.read(file)


# --- what must not be forgotten ---


def test_a_journal_leaves_out_what_a_crash_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = Journal(path, 4)
    journal.begin([b"aaaa"])
    journal._write(b"bbbb")
    journal.close()
    path.write_bytes(path.read_bytes() + b"cc")
    again = Journal(path, 4)
    assert again.read() == [b"aaaa", b"bbbb"]
    again.begin(again.read())
    again._write(b"dddd")
    again.close()
    assert path.read_bytes() == b"aaaabbbbdddd"


def test_a_short_write_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "journal", 4)
    journal.begin([b"aaaa"])
    whole = os.write
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda file, line: whole(file, line[:3]))
        with pytest.raises(OSError, match="no space"):
            journal._write(b"bbbb")
    journal._write(b"cccc")
    journal.close()
    with monkeypatch.context() as patched:
        # Nor is what is there replaced by a part of it, at the next start.
        patched.setattr(os, "write", lambda file, lines: whole(file, lines[:4]))
        with pytest.raises(BadConfig, match="no space"):
            Journal(tmp_path / "journal", 4).begin([b"aaaa", b"cccc"])
    assert Journal(tmp_path / "journal", 4).read() == [b"aaaa", b"cccc"]


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="cannot write"):
        Journal(tmp_path / "nowhere" / "journal", 4).begin([])
    (tmp_path / "directory").mkdir()
    with pytest.raises(BadConfig, match="cannot read"):
        Journal(tmp_path / "directory", 4).read()
