"""Reports that tests make: messages that Bob received from Alice, and small changes of bytes."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgspec

from crypto_modes.contract import Stored
from crypto_modes.keys import TeamKey
from crypto_modes.reports import Item, Report
from tests.e2ee_relay import ALICE, BOB, Device, Relay, couple

RELAY = b"relay-number-001"
TEAM = TeamKey(b"the secret key of the team, 32 B")


def item_of(stored: Stored, device: Device) -> Item:
    """A delivered message as its recipient would report it."""
    evidence = device.receive(stored).evidence
    assert evidence is not None
    meta = stored.meta
    return Item(
        conversation=meta.conversation,
        seq=meta.seq,
        id=meta.id,
        sender=meta.sender,
        device=meta.device,
        recipient=meta.recipient,
        kind=meta.kind,
        mode=meta.mode,
        time=meta.time,
        message=evidence.message,
        key=evidence.key,
        commitment=stored.commitment,
        stamp=stored.stamp,
    )


def report_of(*items: Item, **changed: Any) -> Report:
    fields: dict[str, Any] = {
        "relay": RELAY,
        "reporter": BOB,
        "reported": ALICE,
        "category": "threat",
        "words": "She has been doing this for weeks. ☂",
        "created": 1_790_000_000_000,
        "items": items,
    }
    return Report(**(fields | changed))


def insults(*texts: bytes) -> tuple[Relay, Device, list[Item]]:
    """Messages from Alice that Bob opened."""
    relay, alice, bob = couple()
    return relay, bob, [item_of(alice.send(BOB, text), bob) for text in texts]


def plain_item(**changed: Any) -> Item:
    """A message in a mode without franking."""
    _, _, (item,) = insults(b"x")
    fields = {"mode": "tls", "message": b"plain words", "key": b"", "commitment": b"", "stamp": b""}
    return msgspec.structs.replace(item, **(fields | changed))


def mutated(data: bytes, dice: random.Random) -> bytes:
    """Another byte string than ``data``, near to it."""
    changed = bytearray(data)
    moves: tuple[Callable[[], None], ...] = (
        lambda: _flip(changed, dice),
        lambda: changed.__delitem__(slice(dice.randrange(len(changed)), None)),
        lambda: changed.extend(dice.randbytes(dice.randrange(1, 40))),
        lambda: _swap(changed, dice),
        lambda: changed.__setitem__(dice.randrange(len(changed)), dice.randrange(256)),
    )
    while bytes(changed) == data:
        dice.choice(moves)()
    return bytes(changed)


def _flip(data: bytearray, dice: random.Random) -> None:
    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)


def _swap(data: bytearray, dice: random.Random) -> None:
    one, other = sorted(dice.randrange(len(data) - 16) for _ in range(2))
    data[one : one + 16], data[other : other + 16] = data[other : other + 16], data[one : one + 16]
