"""The echo against every order of sending, refusing and delivering: no false alarm, none missed.

A model of two devices and a relay between them, without cryptography and without a network: bodies
and counters are the product's own, the order of events is drawn.
"""

from __future__ import annotations

from collections import deque
from itertools import count
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_modes.contract import NO_LOG_HEAD
from crypto_modes.e2ee import body
from crypto_modes.e2ee.body import SENT_KEPT, Body, Heard, Recent, Said
from crypto_modes.primitives import H


class Sealed(NamedTuple):
    id: bytes
    author: int
    body: Body
    digest: bytes


class End:
    """One device: what it said and heard, what is under way to the relay and from it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.device = b"device-%d" % number * 2
        self.said, self.heard = Said(), Heard()
        self.position = 0
        self.seqs: dict[bytes, int] = {}
        self.up: deque[Sealed] = deque()
        self.down: deque[tuple[int, Sealed]] = deque()
        self.withheld: list[bytes] = []

    def send(self, message_id: bytes) -> None:
        said = self.said
        text = Body(
            "text", message_id, b"", said.sent + 1, said.last, self.position, NO_LOG_HEAD, said.echo
        )
        digest = H(body.encode(text))
        recent = Recent(
            text.counter, text.previous, self.position, NO_LOG_HEAD, said.echo, bytes(32), digest
        )
        said.note(message_id, recent)
        self.up.append(Sealed(message_id, self.number, text, digest))

    def take(self, other: End, *, kept_back: bool = False) -> None:
        """The next that the relay says, in its order; ``kept_back``: only the number of it."""
        self.position, sealed = self.down.popleft()
        if sealed.author == self.number:
            self.seqs[sealed.id] = self.position
        elif not kept_back:
            assert "fork" not in self.heard.note(sealed.body, sealed.digest)
            self.said.hear(other.device, self.heard)
            unopened, forked = self.said.answered(sealed.body.echo, self.device)
            assert not forked
            numbered = (each for each in unopened if each in self.seqs)
            late = [each for each in numbered if self.seqs[each] <= sealed.body.position]
            self.withheld += [each for each in late if each not in self.withheld]


class World:
    """Two ends and a relay that numbers what it takes."""

    def __init__(self) -> None:
        self.ends = End(0), End(1)
        self._seq, self._id = count(1), count(1)

    def say(self, author: int) -> bytes:
        message_id = b"%016d" % next(self._id)
        self.ends[author].send(message_id)
        return message_id

    def upload(self, author: int, *, refused: bool = False) -> None:
        if self.ends[author].up:
            sealed = self.ends[author].up.popleft()
            seq = 0 if refused else next(self._seq)
            for end in self.ends if seq else ():
                end.down.append((seq, sealed))

    def deliver(self, to: int, *, kept_back: bool = False) -> None:
        if self.ends[to].down:
            self.ends[to].take(self.ends[1 - to], kept_back=kept_back)

    def settle(self, *, kept_back_from: int | None = None) -> None:
        for side in (0, 1):
            while self.ends[side].up:
                self.upload(side)
        for side in (0, 1):
            while self.ends[side].down:
                self.deliver(side, kept_back=side == kept_back_from)


sides = st.integers(0, 1)
events = st.lists(st.tuples(st.sampled_from(["say", "upload", "refuse", "deliver"]), sides))


def play(world: World, happened: list[tuple[str, int]]) -> None:
    for what, side in happened:
        match what:
            case "say":
                world.say(side)
            case "upload" | "refuse":
                world.upload(side, refused=what == "refuse")
            case _:
                world.deliver(side)


@given(events)
def test_an_honest_relay_is_never_accused(happened: list[tuple[str, int]]) -> None:
    world = World()
    play(world, happened)
    world.settle()
    assert [end.withheld for end in world.ends] == [[], []]


@pytest.mark.attack(18)
@given(happened=events, tail=st.integers(1, SENT_KEPT), again=st.integers(0, 3))
def test_a_tail_that_is_kept_back_is_missed_at_the_second_answer(
    happened: list[tuple[str, int]], tail: int, again: int
) -> None:
    """Whatever went before, and however much the author says meanwhile."""
    world = World()
    play(world, happened)
    world.say(0)  # that something was opened of this device, once
    world.settle()
    kept_back = [world.say(0) for _ in range(tail)]
    world.settle(kept_back_from=1)
    world.say(1)
    kept_back += [world.say(0) for _ in range(again)]
    world.settle(kept_back_from=1)
    world.say(1)
    world.settle(kept_back_from=1)
    assert world.ends[0].withheld
    assert {*world.ends[0].withheld} <= {*kept_back}
    assert world.ends[1].withheld == []
