"""What the vault remembers of a conversation, against a relay that keeps notes of it as well.

What may live here: heads of conversations. Everything else of opening is in ``test_vault_opening``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from crypto_modes import scope
from crypto_modes.errors import CannotOpen
from crypto_modes.scope import Link, Links
from server import vault_records
from tests.vault_rig import TALK, Vault, granted

COUNT = 4


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    made = Vault(tmp_path / "vault")
    for number in range(COUNT):
        made.relay.store.say(f"HARM-000{number}".encode())
    yield made
    made.stop()


@pytest.mark.parametrize("span", [(1, 2), (2, 5), (3, 5), (4, 4), (1, 5), (5, 6)])
@pytest.mark.parametrize("more", [0, 1])
@pytest.mark.asyncio
async def test_what_the_relay_says_that_it_knows_must_be_what_it_shows(
    vault: Vault, span: tuple[int, int], more: int
) -> None:
    """It tells the head that the vault knows, from its notes, above another history."""
    await vault.open(granted(first=1, last=2))
    store = vault.relay.store
    seen = store.stored[-1].chain
    store.stored.clear()
    for number in range(COUNT + more):
        store.say(f"another history {number}".encode())
    vault.relay.lie = lambda handed: msgspec.structs.replace(handed, known=seen)
    first, last = span
    with pytest.raises(CannotOpen, match="another history than before"):
        await vault.open(granted(first=first, last=last))


def texts(count: int, first: int = 1) -> list[str]:
    return [f"HARM-{number:04}" for number in range(first, first + count)]


@pytest.fixture
def talk(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> Vault:
    """A vault whose relay has 30 messages, of which every fifth is in `tls`; pages are small."""
    vault.relay.store.stored.clear()
    for number in range(1, 31):
        mode = "at_rest" if number % 5 else "tls"
        vault.relay.store.say(f"HARM-{number:04}".encode(), mode)
    monkeypatch.setattr(scope, "LINKS_LIMIT", 7)
    monkeypatch.setattr(vault_records, "PAGE", 3)
    return vault


@pytest.mark.parametrize(
    ("looks", "crossed"),
    [
        ([(1, 30)], []),
        ([(1, 20)], [(20, 27), (27, 30)]),
        # What lies before is nobody's to tell, as long as nothing was known.
        ([(11, 20)], [(20, 27), (27, 30)]),
        ([(40, 50)], []),
        # The head after 29 is the one after 30, which is in `tls` and no link.
        ([(21, 24), (25, 29)], [(24, 30)]),
    ],
)
@pytest.mark.asyncio
async def test_the_chain_is_followed_from_what_is_shown_to_the_newest(
    talk: Vault, looks: list[tuple[int, int]], crossed: list[tuple[int, int]]
) -> None:
    for first, last in looks:
        shown = await talk.open(granted(first=first, last=last))
        count = max(0, min(last, 30) - first + 1)
        assert talk.texts(shown) == texts(count, first)
    assert talk.relay.crossed == crossed


@pytest.mark.asyncio
async def test_and_from_what_was_known(talk: Vault) -> None:
    later = talk.relay.store.stored[12:]
    del talk.relay.store.stored[12:]
    await talk.open(granted(first=1, last=12))
    talk.relay.store.stored += later
    await talk.open(granted(first=21, last=30))
    # The one after 20 is no link, so that the head there is that after 19.
    assert talk.relay.crossed == [(12, 19), (19, 20)]
    talk.relay.crossed.clear()
    await talk.open(granted(first=2, last=3))
    assert talk.relay.crossed == [(3, 10), (10, 17), (17, 24), (24, 30)]
    # With what was known in between, the way is in two parts.
    talk.heads._heads[TALK] = 12, talk.relay.store.stored[11].chain
    talk.relay.crossed.clear()
    await talk.open(granted(first=2, last=3))
    assert talk.relay.crossed == [(3, 10), (10, 12), (12, 19), (19, 26), (26, 30)]


def without(links: Links) -> Links:
    return Links(links.links[1:])


def swapped(links: Links) -> Links:
    return Links(links.links[::-1])


def another(links: Links) -> Links:
    first = links.links[0]
    return Links((Link(first.seq, b"d" * 32), *links.links[1:]))


def twice(links: Links) -> Links:
    return Links((links.links[0], *links.links))


def beyond(links: Links) -> Links:
    return Links((*links.links, Link(31, b"d" * 32)))


def none(links: Links) -> Links:
    return Links()


@pytest.mark.attack(39)
@pytest.mark.parametrize("lie", [without, swapped, another, twice, beyond, none])
@pytest.mark.asyncio
async def test_links_that_lead_elsewhere_open_nothing(talk: Vault, lie: Any) -> None:
    talk.relay.lie_of_links = lie
    with pytest.raises(CannotOpen, match=r"another history|other messages than were asked"):
        await talk.open(granted(first=1, last=20))
    assert "opened" not in talk.happened
    # And what was stated is not what the vault knows from now on.
    assert talk.heads.find(TALK) == (0, b"")


@pytest.mark.attack(39)
@pytest.mark.asyncio
async def test_a_relay_that_shows_each_look_another_history_is_found(talk: Vault) -> None:
    """At the first look it states a head that it has for another history than it shows."""
    honest, store = list(talk.relay.store.stored), talk.relay.store
    store.stored.clear()
    for number in range(30):
        store.say(f"another history {number}".encode())
    other = store.stored[-1].chain
    store.stored[:] = honest
    talk.relay.lie = lambda handed: msgspec.structs.replace(handed, head=other)
    with pytest.raises(CannotOpen, match="another history"):
        await talk.open(granted(first=1, last=20))


@pytest.mark.asyncio
async def test_a_way_that_is_too_long_is_not_gone(
    talk: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scope, "GAP_LIMIT", 10)
    assert len((await talk.open(granted(first=1, last=20))).records) == 20
    talk.relay.crossed.clear()
    with pytest.raises(CannotOpen, match="more than 10 messages lie between"):
        await talk.open(granted(first=1, last=19))
    assert talk.relay.crossed == []


@pytest.mark.asyncio
async def test_of_two_looks_at_once_the_older_changes_nothing(vault: Vault) -> None:
    await vault.heads.keep(TALK, 9, b"n" * 32)
    await vault.heads.keep(TALK, 7, b"o" * 32)
    assert vault.heads.find(TALK) == (9, b"n" * 32)
    vault.stop()
    vault.start()
    assert vault.heads.find(TALK) == (9, b"n" * 32)
