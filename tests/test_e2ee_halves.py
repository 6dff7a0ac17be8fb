"""The two halves of a session: each heals alone, and both are the second reading's."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from crypto_modes import errors
from crypto_modes.e2ee import header, pq_ratchet, pqxdh, session
from crypto_modes.e2ee.pq_ratchet import Answered, Offered
from crypto_modes.e2ee.session import Envelope, Session
from crypto_modes.errors import CannotOpen
from tests import e2ee_oracle as oracle
from tests.e2ee_ends import DAY, End, due, talking
from tests.test_e2ee_session import DEVICE, PLACE, Nothing

VECTORS = Path(__file__).parent / "vectors" / "e2ee_session.json"

# -- theft --------------------------------------------------------------------------------------


def with_pq_of(thief: End, live: End) -> End:
    """What a thief is who broke X25519: the live Double Ratchet, the stolen PQ chains."""
    held = live.held
    held.pq = thief.pq
    return End(held)


def with_ec_of(thief: End, live: End) -> End:
    """What a thief is who broke ML-KEM: the live PQ chains, the stolen Double Ratchet."""
    held = live.held
    held.chains = thief.held.chains
    return End(held)


@pytest.mark.attack
@pytest.mark.parametrize("stolen_at", range(5))
@pytest.mark.parametrize("of_proposer", [True, False])
def test_27_the_post_quantum_half_heals_by_itself(stolen_at: int, of_proposer: bool) -> None:
    """At the first epoch for which the victim drew randomness since; one more where it just had."""
    one, other = due()
    victim, peer = (other, one) if of_proposer else (one, other)
    steps = iter(range(10_000))
    stolen: End | None = None
    drawn = 0
    healed: list[bool] = []
    while len(healed) < 3:
        number = next(steps)
        if number == stolen_at:
            stolen = End(victim.held)
            drawn = victim.pq.epoch + (1 if isinstance(victim.pq.step, Offered | Answered) else 0)
        sender, receiver = (other, one) if number % 2 == 0 else (one, other)
        copy = sender.seal()
        if stolen is not None and receiver is victim and header.parse(copy)[0].pq_epoch > drawn:
            with pytest.raises(CannotOpen):
                with_pq_of(stolen, victim).open(copy)
            healed.append(True)
        receiver.open(copy)
    assert victim.pq.epoch == peer.pq.epoch == drawn + 1


@pytest.mark.attack
def test_27_the_classical_half_heals_as_if_there_were_no_other() -> None:
    one, other = talking()
    stolen = End(one.held)
    other.open(one.seal())
    one.open(other.seal())  # under the key that was stolen
    other.open(one.seal())
    copy = other.seal()
    with pytest.raises(CannotOpen):
        with_ec_of(stolen, one).open(copy)
    assert with_pq_of(stolen, one).pq.epoch == 0
    assert one.open(copy) == b"text"


def test_the_private_key_is_gone_when_it_was_used() -> None:
    one, other = due()
    offer = other.seal()
    step = other.pq.step
    assert isinstance(step, Offered)
    seed = step.seed
    assert seed in other.raw
    one.open(offer)
    other.open(one.seal())
    assert seed not in other.raw


# -- against the second reading -----------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("product_first", [True, False])
def test_a_session_with_the_second_reading(seed: int, product_first: bool) -> None:
    """Our end at one side, the oracle's at the other; the network loses, delays and reorders."""
    draw = random.Random(seed)
    th, ec, pq = draw.randbytes(32), draw.randbytes(32), draw.randbytes(32)
    prekey, fresh = draw.randbytes(32), draw.randbytes(32)
    shared = pqxdh.Shared(th, ec, pq)
    place = PLACE._asdict() | {"recipient_device": DEVICE}
    theirs = oracle.End(th, (ec, pq), first=not product_first)
    first = header.First(b"E" * 32, 1, 0, 2, 1, bytes(1088))
    public = oracle.public(prekey)
    if product_first:
        mine = End(session.initiate(shared, public, fresh, first, 0))
        theirs.private = prekey
        theirs.open(mine.seal(), place, draw.randbytes(32))
        assert mine.open(theirs.seal(b"answer", place)) == b"answer"
    else:
        mine = End(session.respond(shared, prekey, public, 0))
        theirs.write_to(public, fresh)
        assert mine.open(theirs.seal(b"first", place, block=first.encode())) == b"first"
        theirs.open(mine.seal(), place, draw.randbytes(32))
    ways: dict[bool, list[tuple[bytes, bytes]]] = {True: [], False: []}
    now, carried = 1, {0: 0, 1: 0, 2: 0}
    for number in range(900):
        now += draw.choice((1, 1, 1, DAY // 40))
        forth, text = draw.random() < 0.5, b"%d" % number
        if draw.random() < 0.5:
            if forth:
                copy = mine.seal(text, now)
            else:
                copy = theirs.seal(text, place, time=now, seed=draw.randbytes(64))
            carried[copy[1]] += 1
            if draw.random() < 0.9:
                ways[forth].append((text, copy))
            continue
        if not ways[forth]:
            continue
        text, copy = ways[forth].pop(draw.choice((0, 0, -1)))
        if forth:
            assert theirs.open(copy, place, draw.randbytes(32)) == text
        elif header.parse(copy)[0].pq_epoch >= mine.pq.epoch - 1:
            assert mine.open(copy) == text
    assert mine.pq.epoch >= 3
    assert abs(mine.pq.epoch - theirs.epoch) <= 1
    assert carried[1] >= 3
    assert carried[2] >= 3


# -- vectors --------------------------------------------------------------------------------------


class Scripted:
    """Randomness as the vectors say it: a ratchet key of 32 bytes, a KEM key of 64."""

    def __init__(self) -> None:
        self.next: dict[int, bytes] = {}

    def __call__(self, size: int) -> bytes:
        return self.next.pop(size)


def vectors() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(VECTORS.read_text("utf-8"))["vectors"]
    return found


def played(monkeypatch: pytest.MonkeyPatch) -> tuple[Session, Session]:
    """Both ends after all steps of the first vector: every copy sealed as it says, and opened."""
    given = vectors()[0]
    shared = pqxdh.Shared(bytes.fromhex(given["th"]), *map(bytes.fromhex, given["roots"]))
    prekey, ratchet = bytes.fromhex(given["prekey"]), bytes.fromhex(given["ratchet"])
    first = header.First(*header._FIRST.unpack(bytes.fromhex(given["block"])))
    seeds = [bytes.fromhex(each) for each in given["seeds"]]
    answers = {
        oracle.kem_public(seed): bytes.fromhex(answer)
        for seed, answer in zip(seeds, given["ciphertexts"], strict=True)
    }

    def encapsulate(key: bytes) -> tuple[bytes, bytes]:
        seed = next(each for each in seeds if oracle.kem_public(each) == key)
        return oracle.kem_open(seed, answers[key]), answers[key]

    monkeypatch.setattr(pq_ratchet, "kem_encapsulate", encapsulate)
    ends = (
        session.initiate(shared, oracle.public(prekey), ratchet, first, 0),
        session.respond(shared, prekey, oracle.public(prekey), 0),
    )
    place, device, random = place_of(given["place"])
    for step in given["steps"]:
        one, other = ends[step["by"]], ends[1 - step["by"]]
        text, copy = bytes.fromhex(step["text"]), bytes.fromhex(step["copy"])
        random.next = {64: seeds[1 - step["by"]]}
        assert one.seal(place, device, text, one.carry(step["time"], random)) == copy
        random.next = {32: bytes.fromhex(step["fresh"])}
        opened = other.open(place, device, header.parse(copy), Nothing(), random)
        assert (opened.plaintext, opened.fresh) == (text, ())
    return ends


def place_of(fields: dict[str, Any]) -> tuple[Envelope, bytes, Scripted]:
    raw = {key: value if key == "epoch" else bytes.fromhex(value) for key, value in fields.items()}
    device = raw.pop("recipient_device")
    return Envelope(**raw), device, Scripted()


def test_the_vectors_session(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = played(monkeypatch)
    assert [end.pq.epoch for end in ends] == [2, 2]


@pytest.mark.attack
def test_16_the_vectors_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = [session.to_bytes(end) for end in played(monkeypatch)]
    place, device, _ = place_of(vectors()[0]["place"])
    for vector in vectors()[1:]:
        end = session.from_bytes(stored[vector["to"]])
        copy = bytes.fromhex(vector["copy"])
        with pytest.raises(getattr(errors, vector["expect"])):
            end.open(place, device, header.parse(copy), Nothing(), random.randbytes)
    assert len(vectors()) == 21
