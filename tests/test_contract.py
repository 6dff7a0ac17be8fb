"""The data shapes of the contract, and those that the client builds on them: what they print.

What a mode must do with them is in ``test_mode_contract.py``.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pkgutil import iter_modules

import msgspec
import pytest
from rich.pretty import pretty_repr

import client
import crypto_modes
import crypto_modes.e2ee
from client.credentials import Password
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
from crypto_modes.e2ee.identity import Own
from crypto_modes.e2ee.pq_ratchet import PqChains
from crypto_modes.e2ee.ratchet import Ratchet
from crypto_modes.e2ee.session import Session

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


def structs(kind: type = msgspec.Struct) -> Iterator[type[msgspec.Struct]]:
    """Every struct of the client and the modes."""
    for each in kind.__subclasses__():
        yield each
        yield from structs(each)


def test_whoever_hides_something_hides_it_from_pretty_printers_too() -> None:
    """Of a session one saw every key: msgspec has a second ``repr`` of its own for them."""
    for package in (client, crypto_modes, crypto_modes.e2ee):
        for module in iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    plain = msgspec.Struct
    hiding = {each for each in structs() if each.__repr__ is not plain.__repr__}
    assert {Session, Ratchet, PqChains, Own, Password} <= hiding
    assert [each for each in hiding if each.__rich_repr__ is plain.__rich_repr__] == []
    assert pretty_repr(Password("a secret")) == "Password()"


def test_what_a_mode_lacks_is_carried_and_said() -> None:
    lacking = NeedFrankingKey(202611)
    need = Need(lacking)
    assert need.what is lacking
    assert str(need) == "NeedFrankingKey(month=202611)"
