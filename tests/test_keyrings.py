"""Keys in files: what the file provider wraps, and the monthly franking keys.

The cache of data keys has its tests in ``test_data_keys.py``.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crypto_modes.contract import Need, NeedFrankingKey
from crypto_modes.errors import (
    BadArgument,
    BadConfig,
    CannotOpen,
    KeyServiceUnavailable,
    ReportRefused,
)
from crypto_modes.keyring import dek_context
from server.keyrings.file import WRAPPED_SIZE, FileKeyring
from server.keyrings.franking import FrankingKeyFiles
from tests.keys import Clock

CONVERSATION, ALICE = b"conversation-001", b"alice-account-01"
HOUR, DAY = 3_600_000, 86_400_000

# --- the file provider ---


def context(**changes: object) -> bytes:
    fields = {
        "deployment": b"deployment-0001!",
        "conversation": CONVERSATION,
        "sender": ALICE,
        "epoch": 1,
        "purpose": "serving",
    } | changes
    return dek_context(**fields)  # type: ignore[arg-type]  # the values fit their names


@pytest.mark.asyncio
async def test_a_wrapped_key_comes_back(tmp_path: Path) -> None:
    keyring = FileKeyring(tmp_path / "kek", make=True)
    key, wrapped = await keyring.generate(context())
    assert len(key) == 32
    assert len(wrapped) == WRAPPED_SIZE
    assert key not in wrapped
    assert await keyring.unwrap(wrapped, context()) == key
    assert await keyring.wrap(key, context()) != wrapped


@pytest.mark.asyncio
async def test_the_key_survives_a_restart(tmp_path: Path) -> None:
    key, wrapped = await FileKeyring(tmp_path / "kek", make=True).generate(context())
    assert await FileKeyring(tmp_path / "kek", make=True).unwrap(wrapped, context()) == key
    with pytest.raises(CannotOpen):
        await FileKeyring(tmp_path / "another kek", make=True).unwrap(wrapped, context())


@pytest.mark.attack(3)
@pytest.mark.asyncio
@pytest.mark.parametrize(
    "changes",
    [
        {"deployment": b"deployment-0002!"},
        {"conversation": b"conversation-002"},
        {"sender": b"bobby-account-02"},
        {"epoch": 2},
        {"purpose": "moderation"},
    ],
    ids=lambda changes: next(iter(changes)),
)
async def test_a_key_wrapped_for_one_place_opens_no_other(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    keyring = FileKeyring(tmp_path / "kek", make=True)
    _, wrapped = await keyring.generate(context())
    with pytest.raises(CannotOpen):
        await keyring.unwrap(wrapped, context(**changes))


@pytest.mark.attack(24)
@pytest.mark.asyncio
async def test_no_byte_of_a_wrapped_key_can_be_changed(tmp_path: Path) -> None:
    keyring = FileKeyring(tmp_path / "kek", make=True)
    _, wrapped = await keyring.generate(context())
    for place in range(len(wrapped)):
        altered = bytearray(wrapped)
        altered[place] ^= 1
        with pytest.raises(CannotOpen):
            await keyring.unwrap(bytes(altered), context())
    for size in (0, 1, WRAPPED_SIZE - 1):
        with pytest.raises(CannotOpen):
            await keyring.unwrap(wrapped[:size], context())


def test_the_key_file_is_private_and_of_one_size(tmp_path: Path) -> None:
    path = tmp_path / "kek"
    FileKeyring(path, make=True)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_size == 32
    path.chmod(0o640)
    with pytest.raises(BadConfig, match="chmod 600"):
        FileKeyring(path, make=True)
    path.chmod(0o600)
    path.write_bytes(os.urandom(31))
    with pytest.raises(BadConfig, match="31 bytes instead of 32"):
        FileKeyring(path, make=True)


@pytest.mark.asyncio
async def test_a_closed_keyring_opens_nothing(tmp_path: Path) -> None:
    keyring = FileKeyring(tmp_path / "kek", make=True)
    _, wrapped = await keyring.generate(context())
    await keyring.close()
    with pytest.raises(KeyServiceUnavailable):
        await keyring.unwrap(wrapped, context())


# --- franking keys ---

MID_MARCH = 1_773_576_000_000  # 2026-03-15 12:00 UTC
APRIL = 1_775_001_600_000  # 2026-04-01 00:00 UTC


@pytest.fixture
def clock() -> Clock:
    return Clock(MID_MARCH)


@pytest.mark.asyncio
async def test_a_month_has_one_key_made_on_first_use(tmp_path: Path, clock: Clock) -> None:
    keys = FrankingKeyFiles(tmp_path / "franking", clock)
    assert list((tmp_path / "franking").iterdir()) == []
    with pytest.raises(Need) as caught:
        keys.find(202603)
    assert caught.value.what == NeedFrankingKey(202603)
    await keys.supply(NeedFrankingKey(202603))
    key = keys.find(202603)
    assert len(key) == 32
    again = FrankingKeyFiles(tmp_path / "franking", clock)
    await again.supply(NeedFrankingKey(202603))
    assert again.find(202603) == key
    (file,) = (tmp_path / "franking").iterdir()
    assert (file.name, file.stat().st_mode & 0o777) == ("202603.key", 0o600)


@pytest.mark.asyncio
async def test_months_have_different_keys(tmp_path: Path, clock: Clock) -> None:
    keys = FrankingKeyFiles(tmp_path / "franking", clock)
    await keys.supply(NeedFrankingKey(202603))
    clock.now = APRIL
    await keys.supply(NeedFrankingKey(202604))
    assert keys.find(202603) != keys.find(202604)


@pytest.mark.asyncio
async def test_a_key_is_destroyed_90_days_after_its_month(tmp_path: Path, clock: Clock) -> None:
    directory = tmp_path / "franking"
    keys = FrankingKeyFiles(directory, clock)
    await keys.supply(NeedFrankingKey(202603))
    clock.now = APRIL + 90 * DAY - 1
    keys.expire()
    assert len(keys.find(202603)) == 32
    clock.now += 1
    with pytest.raises(ReportRefused):
        keys.find(202603)
    keys.expire()
    assert list(directory.iterdir()) == []
    with pytest.raises(ReportRefused):
        await keys.supply(NeedFrankingKey(202603))


@pytest.mark.asyncio
async def test_supplying_one_month_destroys_the_expired(tmp_path: Path, clock: Clock) -> None:
    directory = tmp_path / "franking"
    keys = FrankingKeyFiles(directory, clock)
    await keys.supply(NeedFrankingKey(202603))
    clock.now = APRIL + 120 * DAY
    await keys.supply(NeedFrankingKey(202607))
    assert [file.name for file in directory.iterdir()] == ["202607.key"]


@pytest.mark.asyncio
async def test_a_past_month_without_a_key_gets_none(tmp_path: Path, clock: Clock) -> None:
    keys = FrankingKeyFiles(tmp_path / "franking", clock)
    clock.now = APRIL + HOUR
    with pytest.raises(ReportRefused):
        await keys.supply(NeedFrankingKey(202603))
    # A message stamped in the last hour of the month may still be on its way.
    clock.now -= 1
    await keys.supply(NeedFrankingKey(202603))
    assert len(keys.find(202603)) == 32


@pytest.mark.asyncio
@pytest.mark.parametrize("month", [202604, 202600, 202613, 0, 999_912, 1_000_001])
async def test_months_that_are_none_or_not_yet(tmp_path: Path, clock: Clock, month: int) -> None:
    keys = FrankingKeyFiles(tmp_path / "franking", clock)
    with pytest.raises(BadArgument):
        await keys.supply(NeedFrankingKey(month))
    assert list((tmp_path / "franking").iterdir()) == []


def test_the_directory_is_private(tmp_path: Path, clock: Clock) -> None:
    directory = tmp_path / "franking"
    FrankingKeyFiles(directory, clock)
    assert directory.stat().st_mode & 0o777 == 0o700
    directory.chmod(0o750)
    with pytest.raises(BadConfig, match="chmod 700"):
        FrankingKeyFiles(directory, clock)


@pytest.mark.asyncio
async def test_a_damaged_key_file_is_named(tmp_path: Path, clock: Clock) -> None:
    keys = FrankingKeyFiles(tmp_path / "franking", clock)
    await keys.supply(NeedFrankingKey(202603))
    file = tmp_path / "franking" / "202603.key"
    file.write_bytes(b"short")
    fresh = FrankingKeyFiles(tmp_path / "franking", clock)
    with pytest.raises(BadConfig, match=r"202603\.key holds 5 bytes"):
        await fresh.supply(NeedFrankingKey(202603))
