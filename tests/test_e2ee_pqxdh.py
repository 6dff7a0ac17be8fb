"""The handshake against the second reading, and what must not lead to a shared key."""

from __future__ import annotations

import os
from typing import Any

import pytest

from crypto_modes.e2ee import pqxdh
from crypto_modes.e2ee.pqxdh import Context, Party, Prekeys, Shared
from crypto_modes.errors import KeyRefused
from crypto_modes.keys import AgreementKey, KemKey
from tests import e2ee_oracle as oracle
from tests.vector_files import expected, raw, vectors

SEEDS = ("account_seed", "signing_seed", "agreement_private")
PARTY = ("account", "device", *SEEDS)
GIVEN = ("signed", "once", "kem", "ephemeral", "ciphertext", "conversation", "policy")


def party(fields: dict[str, bytes]) -> Party:
    account, signing = (oracle.verifying(fields[seed]) for seed in SEEDS[:2])
    agreement = oracle.public(fields["agreement_private"])
    return Party(fields["account"], fields["device"], account, signing, agreement)


def both(given: dict[str, Any]) -> tuple[Shared, Shared]:
    """What the initiator and the responder derive."""
    a, b = given["initiator"], given["responder"]
    context = Context(party(a), party(b), given["conversation"], given["policy"])
    signed, kem = AgreementKey(given["signed"]), KemKey(given["kem"])
    once = AgreementKey(given["once"]) if given["once"] else None
    ephemeral = AgreementKey(given["ephemeral"])
    ciphertext = given["ciphertext"]
    prekeys = Prekeys(signed.public, b"" if once is None else once.public, kem.public)
    secret = kem.decapsulate(ciphertext)
    mine, sent = pqxdh.initiate(
        context,
        AgreementKey(a["agreement_private"]),
        prekeys,
        ephemeral,
        lambda key: (secret, ciphertext),
    )
    assert sent == ciphertext
    identity = AgreementKey(b["agreement_private"])
    secrets = (signed, once, kem)
    return mine, pqxdh.respond(context, identity, secrets, ephemeral.public, ciphertext)


def drawn() -> dict[str, Any]:
    """The inputs of a handshake, fresh."""
    sides = [
        {"account": os.urandom(16), "device": os.urandom(16)}
        | {seed: os.urandom(32) for seed in SEEDS}
        for _ in range(2)
    ]
    given: dict[str, Any] = {"initiator": sides[0], "responder": sides[1]}
    given |= {name: os.urandom(32) for name in GIVEN}
    given["kem"] = os.urandom(64)
    given["conversation"] = os.urandom(16)
    given["ciphertext"] = oracle.kem_seal(given["kem"])
    return given


@pytest.mark.parametrize("vector", vectors("e2ee_handshake"))
def test_vectors(vector: dict[str, Any]) -> None:
    given = raw(vector["given"], *GIVEN)
    for side in ("initiator", "responder"):
        given[side] = raw(given[side], *PARTY)
    with expected(vector):
        mine, theirs = both(given)
        assert mine == theirs
        assert [each.hex() for each in mine] == vector["shared"]


@pytest.mark.parametrize("one_time", [True, False])
def test_both_sides_and_the_second_reading_agree(one_time: bool) -> None:
    given = drawn() | ({} if one_time else {"once": b""})
    mine, theirs = both(given)
    assert mine == theirs == oracle.handshake(given)


PUBLIC = [
    (side, name)
    for side in ("initiator", "responder")
    for name in ("account", "device", "account_seed", "signing_seed")
]


@pytest.mark.attack
@pytest.mark.parametrize(("side", "name"), PUBLIC)
def test_20_the_key_depends_on_who_shakes_hands(side: str, name: str) -> None:
    given = drawn()
    other = {**given, side: {**given[side], name: os.urandom(len(given[side][name]))}}
    first, second = both(given)[0], both(other)[0]
    assert first.transcript != second.transcript
    assert first.root != second.root
    assert first.pq_root != second.pq_root


@pytest.mark.attack
@pytest.mark.parametrize("name", ["conversation", "policy"])
def test_15_the_key_depends_on_conversation_and_policy(name: str) -> None:
    given = drawn()
    other = {**given, name: os.urandom(len(given[name]))}
    assert both(given)[0].root != both(other)[0].root


@pytest.mark.attack
def test_10_another_kem_key_for_the_same_ciphertext_gives_another_key() -> None:
    given = drawn()
    first, _ = both(given)
    second, _ = both({**given, "kem": os.urandom(64)})
    assert first.transcript != second.transcript
    assert first.root != second.root


@pytest.mark.attack
def test_22_small_order_keys_end_the_handshake() -> None:
    given = drawn()
    a, b = party(given["initiator"]), party(given["responder"])
    context = Context(a, b, given["conversation"], given["policy"])
    good = AgreementKey(given["signed"]).public
    kem = oracle.kem_public(given["kem"])
    for signed, once in ((bytes(32), good), (good, bytes(32))):
        with pytest.raises(KeyRefused, match="small order"):
            pqxdh.initiate(
                context,
                AgreementKey(given["initiator"]["agreement_private"]),
                Prekeys(signed, once, kem),
                AgreementKey(given["ephemeral"]),
            )


def test_what_is_shared_does_not_print() -> None:
    mine, _ = both(drawn())
    assert repr(mine.root) not in repr(mine)
    assert mine.transcript[:4].hex() in repr(mine)
