"""What the vault remembers of a conversation, against a relay that keeps notes of it as well.

What may live here: heads of conversations. Everything else of opening is in ``test_vault_opening``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from crypto_modes.errors import CannotOpen
from tests.vault_rig import TALK, Vault, granted

COUNT = 4


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    made = Vault(tmp_path / "vault")
    for number in range(COUNT):
        made.relay.store.say(f"HARM-000{number}".encode())
    yield made
    made.stop()


@pytest.mark.parametrize("scope", [(1, 2), (2, 5), (3, 5), (4, 4), (1, 5), (5, 6)])
@pytest.mark.parametrize("more", [0, 1])
@pytest.mark.asyncio
async def test_what_the_relay_says_that_it_knows_must_be_what_it_shows(
    vault: Vault, scope: tuple[int, int], more: int
) -> None:
    """It tells the head that the vault knows, from its notes, above another history."""
    await vault.open(granted(first=1, last=2))
    store = vault.relay.store
    seen = store.stored[-1].chain
    store.stored.clear()
    for number in range(COUNT + more):
        store.say(f"another history {number}".encode())
    vault.relay.lie = lambda handed: msgspec.structs.replace(handed, known=seen)
    first, last = scope
    if more and last < COUNT:
        # What the vault knows lies outside of the answer: only the relay's word is there.
        assert len((await vault.open(granted(first=first, last=last))).records) == 2
        return
    with pytest.raises(CannotOpen, match="another history than before"):
        await vault.open(granted(first=first, last=last))


@pytest.mark.asyncio
async def test_of_two_looks_at_once_the_older_changes_nothing(vault: Vault) -> None:
    await vault.heads.keep(TALK, 9, b"n" * 32)
    await vault.heads.keep(TALK, 7, b"o" * 32)
    assert vault.heads.find(TALK) == (9, b"n" * 32)
    vault.stop()
    vault.start()
    assert vault.heads.find(TALK) == (9, b"n" * 32)
