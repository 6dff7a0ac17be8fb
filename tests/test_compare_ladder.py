"""The ladder: each ingredient really runs, as often as in a whole message; no time is asserted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from client.compare import floors, ladder, measures, words
from client.compare.ends import TEXT, Way
from client.compare.key_service import NAME, key_service
from client.compare.results import RUNGS
from crypto_modes import at_rest, e2ee, franking, primitives, tls, wire
from crypto_modes.contract import Mode, ServerMode, Stored
from crypto_modes.e2ee import pq_ratchet, receiving, sending
from crypto_modes.errors import CannotOpen, KeyServiceRefuses
from server.certs import make_dev_certificates
from server.keyrings.transit import TransitKeyring
from tests.compare_results import LADDER_US, made_up


@pytest.mark.parametrize("mode", [tls.MODE, at_rest.MODE, e2ee.MODE], ids=lambda mode: mode.name)
def test_a_message_goes_the_whole_way_of_its_mode(mode: Mode) -> None:
    way = Way(mode)
    way.carry(0)
    open_on_the_way = mode.visibility["relay_memory"]
    assert (TEXT in way.sent, TEXT in way.delivered) == (open_on_the_way, open_on_the_way)


class _Liar:
    """A relay that hands out another text."""

    def __init__(self, side: ServerMode) -> None:
        self.admit = side.admit
        self._emit = side.emit

    def emit(self, stored: Stored, device: bytes) -> wire.Deliver:
        return msgspec.structs.replace(self._emit(stored, device), body=b"something else")


def test_another_text_than_was_sent_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    way = Way(tls.MODE)
    monkeypatch.setattr(way, "relay", _Liar(way.relay))
    with pytest.raises(RuntimeError, match="another text"):
        way.carry(0)


def test_every_rung_is_priced_in_every_round(tmp_path: Path) -> None:
    make_dev_certificates(tmp_path)
    taken = ladder.measure(ladder.Job(str(tmp_path), 2))
    assert tuple(taken.rungs) == RUNGS
    assert all(len(got) == 2 for got in taken.rungs.values())
    # What is no difference of two times cannot be below nothing.
    for rung in ("floor", "tls", "post_quantum", "franking", "key_log"):
        assert min(taken.rungs[rung]) > 0
    found = measures.ladder(taken, floors.Taken(), seed=1)
    assert found.cpu_us["floor"].value == pytest.approx(np.median(taken.rungs["floor"]), rel=1e-3)


PIECES: dict[str, Callable[[], ladder.Step]] = {
    "whole": lambda: Way(e2ee.MODE).carry,
    "session": ladder._session,
    "post-quantum": ladder._post_quantum,
}


@pytest.mark.parametrize("piece", PIECES)
def test_as_many_epochs_begin_in_a_piece_as_in_the_whole(
    piece: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the price of ML-KEM would be that of another conversation."""
    ran: list[bytes] = []

    def encapsulate(public: bytes) -> tuple[bytes, bytes]:
        ran.append(public)
        return primitives.kem_encapsulate(public)

    step = PIECES[piece]()
    ladder._cost(step)  # the first epoch is a little late: what begins a session is apart
    monkeypatch.setattr(pq_ratchet, "kem_encapsulate", encapsulate)
    ladder._cost(step)
    assert len(ran) == ladder.MESSAGES // 50


def test_a_message_commits_once_at_each_end(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[bytes] = []

    def commitment(key: bytes, *rest: bytes) -> bytes:
        made.append(key)
        return franking.commitment(key, *rest)

    way = Way(e2ee.MODE)
    for module in (sending, receiving):
        monkeypatch.setattr(module, "commitment", commitment)
    way.carry(0)
    assert len(made) == 2


def test_the_relays_prices_are_medians_over_slices_of_time() -> None:
    saturated = floors.Taken({"plain": [21.0, 20.0, 29.0]}, asked=2, messages=1000)
    got = measures.ladder(ladder.Taken(100, {rung: [1.0] for rung in RUNGS}), saturated, seed=1)
    assert got.relay_cpu_us["plain"].value == 21.0
    assert got.key_calls == 0.002


def test_envelope_and_ratchet_both_stand_on_tls() -> None:
    found = made_up().ladder
    assert found is not None
    floor, tls_us, _, ratchet, *_ = LADDER_US
    below = words.below(found)
    assert below["envelope"] == below["ratchet"] == floor + tls_us
    assert below["post_quantum"] == floor + tls_us + ratchet


@pytest.mark.asyncio
async def test_the_key_service_is_one_that_the_relay_can_use(tmp_path: Path) -> None:
    with key_service() as service:
        token = tmp_path / "token"
        token.touch(mode=0o600)
        token.write_text(service.token)
        keyring = TransitKeyring(service.address, NAME, mount="transit", token=token)
        try:
            key, wrapped = await keyring.generate(b"a conversation")
            assert await keyring.unwrap(wrapped, b"a conversation") == key
            with pytest.raises(CannotOpen):
                await keyring.unwrap(wrapped, b"another")
            token.write_text("s.wrong")
            other = TransitKeyring(service.address, NAME, mount="transit", token=token)
            with pytest.raises(KeyServiceRefuses):
                await other.wrap(key, b"a conversation")
            await other.close()
        finally:
            await keyring.close()
        assert service.asked == 3
    assert key not in wrapped
