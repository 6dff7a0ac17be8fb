"""The data shapes of the contract, and those that the client builds on them: what they print.

What a mode must do with them is in ``test_mode_contract.py``.
"""

from __future__ import annotations

import msgspec
import pytest

from client.memory import Identity, Outbound
from client.messages import Message
from crypto_modes import wire
from crypto_modes.contract import (
    Discreet,
    Draft,
    Evidence,
    Meta,
    Need,
    NeedFrankingKey,
    Opened,
    Sealed,
    Stored,
)

SECRET = b"a text or a key!"
ID = bytes(range(16))
EVIDENCE = Evidence(reporter=ID, message=SECRET, key=SECRET)
DRAFT = Draft(
    conversation=ID,
    id=ID,
    sender=ID,
    device=ID,
    recipient=ID,
    kind="text",
    epoch=3,
    content=SECRET,
)
MESSAGE = Message(
    conversation=ID,
    seq=7,
    id=ID,
    sender=ID,
    device=ID,
    recipient=ID,
    kind="text",
    mode="e2ee",
    epoch=3,
    time=1,
    content=SECRET,
    evidence=EVIDENCE,
)
SEND = wire.Send(ref=1, id=ID, to=ID, kind="text", mode="tls", epoch=3, body=SECRET)

SECRETIVE = [
    DRAFT,
    MESSAGE,
    EVIDENCE,
    Opened(content=SECRET, kind="text", evidence=EVIDENCE),
    Outbound(number=1, peer=ID, frame=SEND, content=SECRET),
    Sealed(mode="tls", epoch=3, body=SECRET),
    Stored(Meta(ID, 7, ID, ID, ID, ID, "text", "tls", 3, 1), SECRET),
    Identity(device=ID, name="alice", token=SECRET.decode()),
]


@pytest.mark.parametrize("value", SECRETIVE, ids=lambda value: type(value).__name__)
def test_what_holds_a_text_or_a_key_does_not_print_it(value: msgspec.Struct) -> None:
    printed = [repr(value), str(value), f"{value}", repr([value]), repr({"x": (value,)})]
    printed += [repr(value.__rich_repr__())] if isinstance(value, Discreet) else []
    for text in printed:
        assert SECRET.decode() not in text
        assert SECRET.hex() not in text


def test_what_it_prints_says_which_message_it_is() -> None:
    assert repr(DRAFT) == f"Draft(conversation={ID.hex()}, id={ID.hex()}, kind=text, epoch=3, …)"
    assert f"seq=7, id={ID.hex()}, kind=text, mode=e2ee" in repr(MESSAGE)
    assert repr(EVIDENCE) == "Evidence(…)"


def test_a_pretty_printer_gets_no_more() -> None:
    assert dict(DRAFT.__rich_repr__()) == {"conversation": ID, "id": ID, "kind": "text", "epoch": 3}


def test_what_a_mode_lacks_is_carried_and_said() -> None:
    lacking = NeedFrankingKey(202611)
    need = Need(lacking)
    assert need.what is lacking
    assert str(need) == "NeedFrankingKey(month=202611)"
