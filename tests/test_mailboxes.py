"""Mailboxes for linking: who may write which slot, how many there are, and how long."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from crypto_modes import wire
from crypto_modes.errors import Forbidden, FrameRefused, RateLimited
from server import mailboxes
from server.limits import Rates
from server.mailboxes import Mailboxes
from server.settings_tree import Limits
from tests.conftest import Running
from tests.raw_client import RawClient

ALICE, BOB = b"alice-account-01", b"bobby-account-02"
PHONE, LAPTOP, TABLET = b"alice-phone-0001", b"alice-laptop-002", b"alice-tablet-003"
BOX = b"a box of 16 byte"
HERE = "192.0.2.1"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def boxes(clock: Clock) -> Mailboxes:
    kept = Mailboxes(clock, lambda network, now: 0.0)
    kept.write(ALICE, LAPTOP, BOX, 0, b"offer", HERE)
    return kept


def test_two_devices_leave_each_other_bytes(boxes: Mailboxes) -> None:
    assert boxes.read(ALICE, BOX, 0) == b"offer"
    assert boxes.read(ALICE, BOX, 2) == b""
    boxes.write(ALICE, PHONE, BOX, 2, b"answer", HERE)
    boxes.write(ALICE, PHONE, BOX, 2, b"answer", HERE)  # an answer that was lost is asked for again
    boxes.write(ALICE, LAPTOP, BOX, 1, b"confirmed", HERE)
    assert boxes.read(ALICE, BOX, 2) == b"answer"
    assert boxes.read(ALICE, BOX, 1) == b"confirmed"


def test_a_slot_is_written_once_and_by_its_own_side(boxes: Mailboxes) -> None:
    boxes.write(ALICE, PHONE, BOX, 2, b"answer", HERE)
    with pytest.raises(FrameRefused, match="written already"):
        boxes.write(ALICE, TABLET, BOX, 2, b"another", HERE)
    for device, slot in ((LAPTOP, 3), (PHONE, 1), (PHONE, 0)):
        with pytest.raises(Forbidden, match="the other device's"):
            boxes.write(ALICE, device, BOX, slot, b"x", HERE)


def test_a_mailbox_is_found_in_its_account_only(boxes: Mailboxes) -> None:
    for account, box in ((BOB, BOX), (ALICE, b"another box, 16b")):
        with pytest.raises(Forbidden, match="no device of this account waits"):
            boxes.read(account, box, 0)
        with pytest.raises(Forbidden, match="no such mailbox"):
            boxes.write(account, PHONE, box, 2, b"x", HERE)


def test_it_lasts_ten_minutes_and_leaves_nothing(boxes: Mailboxes, clock: Clock) -> None:
    boxes.write(ALICE, PHONE, BOX, 2, b"answer", HERE)
    clock.now = 599.0
    assert boxes.read(ALICE, BOX, 0) == b"offer"
    clock.now = 600.0
    with pytest.raises(Forbidden, match="older than ten minutes"):
        boxes.read(ALICE, BOX, 0)
    assert (boxes.size, boxes._of) == (0, {})


def test_a_device_has_one_and_an_account_four(boxes: Mailboxes) -> None:
    boxes.write(ALICE, LAPTOP, b"2nd box, 16 byte", 0, b"offer", HERE)
    with pytest.raises(Forbidden):
        boxes.read(ALICE, BOX, 0)
    for number in range(3):
        boxes.write(ALICE, b"device %09d" % number, b"box %012d" % number, 0, b"offer", HERE)
    with pytest.raises(RateLimited):
        boxes.write(ALICE, TABLET, b"fifth box 16 byt", 0, b"offer", HERE)
    boxes.write(BOB, b"bobby-laptop-002", BOX, 0, b"offer", HERE)
    boxes.write(ALICE, b"device 000000000", b"box 000000000000", 1, b"confirmed", HERE)
    boxes.write(
        ALICE, TABLET, b"fifth box 16 byt", 0, b"offer", HERE
    )  # one of the four was done with
    boxes.write(
        ALICE, LAPTOP, b"3rd box, 16 byte", 0, b"offer", HERE
    )  # in the place of its former one


def test_all_of_them_take_no_more_than_they_may(
    boxes: Mailboxes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailboxes, "BYTES", 3_000)
    boxes.write(ALICE, PHONE, BOX, 2, bytes(2_000), HERE)
    with pytest.raises(RateLimited):
        boxes.write(ALICE, PHONE, BOX, 3, bytes(600), HERE)
    with pytest.raises(RateLimited):
        boxes.write(BOB, PHONE, BOX, 0, b"offer", HERE)
    assert boxes.size <= 3_000


def test_nobody_takes_all_of_them_from_one_place(clock: Clock) -> None:
    """By as many accounts as he likes; other places, and what was begun, are not held up."""
    rates = Rates(Limits(login_rate=0.1, login_burst=3))
    boxes = Mailboxes(clock, rates.mailbox)
    for number in range(3):
        boxes.write(b"account %08d" % number, LAPTOP, BOX, 0, b"offer", HERE)
    with pytest.raises(RateLimited, match="from there") as refused:
        boxes.write(ALICE, LAPTOP, BOX, 0, b"offer", HERE)
    assert (refused.value.retry_after, len(boxes._boxes)) == (10.0, 3)
    boxes.write(BOB, LAPTOP, BOX, 0, b"offer", "198.51.100.7")
    boxes.write(b"account 00000000", PHONE, BOX, 2, b"answer", HERE)
    boxes.write(b"account 00000000", LAPTOP, BOX, 0, b"offer", HERE)
    clock.now = 10.0
    boxes.write(ALICE, LAPTOP, BOX, 0, b"offer", HERE)


class Walked(dict[tuple[bytes, bytes], Any]):
    """A dictionary that counts the keys it was walked over."""

    steps = 0

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        for key in super().__iter__():
            self.steps += 1
            yield key


def test_what_one_costs_does_not_grow_with_the_mailboxes_of_others(boxes: Mailboxes) -> None:
    walked = Walked(boxes._boxes)
    boxes._boxes = walked
    for number in range(500):
        boxes.write(b"account %08d" % number, LAPTOP, BOX, 0, b"offer", HERE)
    boxes.write(ALICE, LAPTOP, b"another box, 16b", 0, b"offer", HERE)  # drops its former one
    assert len(boxes._boxes) == len(boxes._of) == 501
    assert walked.steps <= 2 * 501


@pytest.mark.asyncio
async def test_over_the_wire(relay: Running) -> None:
    phone, bob = await relay.enter("alice"), await relay.enter("bob")
    laptop = await RawClient.open(relay.url)
    await laptop.register("alice", login=True)
    await laptop.hello()
    empty = {"box": BOX, "slot": 0}
    offer = wire.SetLink(ref=laptop.ref(), body=b"offer", **empty)
    assert (await laptop.ask(offer, wire.Link)).body == b""
    assert (await phone.ask(wire.SetLink(ref=phone.ref(), **empty), wire.Link)).body == b"offer"
    assert (await bob.refusal(wire.SetLink(ref=bob.ref(), **empty))).name == "forbidden"
    for box, slot, body in ((b"short", 0, b"x"), (BOX, 10, b"x"), (BOX, 2, bytes(32 * 1024 + 1))):
        frame = wire.SetLink(ref=phone.ref(), box=box, slot=slot, body=body)
        assert (await phone.refusal(frame)).name == "bad_request"
