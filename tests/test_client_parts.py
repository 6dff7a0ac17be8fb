"""The client's pure parts: numbering, back-off, and what the relay's numbers mean."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client import refusals
from client.backoff import Backoff
from client.connection import check_url
from client.credentials import Jwt, Password
from client.sequence import Arrival, Sequence
from client.wording import plain
from crypto_modes import errors, wire


def test_a_new_device_misses_nothing_before_its_first_message() -> None:
    assert Sequence().arrived(17) == Arrival()


def test_what_the_relay_did_not_send_is_a_gap() -> None:
    sequence = Sequence(4)
    assert sequence.arrived(5) == Arrival()
    assert sequence.settled(6) == Arrival()
    assert sequence.arrived(9) == Arrival(missing=2)
    assert sequence.arrived(8) == Arrival(late=True)


def test_an_ack_never_covers_a_message_that_waits() -> None:
    sequence = Sequence(0)
    for seq in (1, 2, 4):
        sequence.arrived(seq)
    sequence.settled(5)
    assert sequence.to_ack() == 0
    assert sequence.after(1) == 1
    sequence.handled(1)
    assert sequence.to_ack() == 1
    sequence.handled(2)
    # 3 was never sent: nothing is gained by not acking it.
    assert sequence.to_ack() == 3
    sequence.handled(4)
    assert sequence.to_ack() == 5
    assert sequence.to_ack() == 0


def test_after_a_break_only_what_came_again_is_acked() -> None:
    sequence = Sequence(0)
    sequence.arrived(1)
    sequence.handled(1)
    sequence.reconnected()
    # The relay refuses a position beyond what it sent on this very connection.
    assert sequence.to_ack() == 0
    sequence.arrived(1)
    sequence.handled(1)
    assert sequence.to_ack() == 1


@given(st.permutations(range(1, 9)), st.data())
def test_acks_only_rise_and_end_at_the_last(order: list[int], data: st.DataObject) -> None:
    sequence = Sequence(0)
    for seq in order:
        sequence.arrived(seq)
    acks = []
    for seq in data.draw(st.permutations(order)):
        sequence.handled(seq)
        acks.append(sequence.to_ack())
    said = [ack for ack in acks if ack]
    assert said == sorted(set(said))
    assert sequence.upto == 8


def test_backoff_doubles_to_its_cap_with_full_jitter() -> None:
    top = Backoff(lambda: 1.0, base=0.25, cap=4.0)
    assert [top.next() for _ in range(6)] == [0.25, 0.5, 1.0, 2.0, 4.0, 4.0]
    assert Backoff(lambda: 0.0).next() == 0.0
    top.reset()
    assert top.next(at_least=10.0) == 10.25


def test_backoff_stays_capped_for_ever() -> None:
    top = Backoff(lambda: 1.0)
    assert list(itertools.islice(iter(top.next, None), 5000))[-1] == 30.0


@pytest.mark.parametrize("code", sorted(wire.CODES))
def test_every_error_code_comes_back_as_the_error_it_was_made_of(code: int) -> None:
    frame = wire.Error(
        ref=1,
        code=code,
        name=wire.CODES[code],
        message="why",
        temporary=code in wire.TEMPORARY,
        retry_after=2.0,
    )
    error = refusals.from_frame(frame)
    assert error.code == code
    assert error.temporary == (code in wire.TEMPORARY)
    assert error.retry_after == 2.0
    assert str(error) == "why"


@pytest.mark.parametrize("code", sorted(wire.CLOSES))
def test_close_codes_say_whether_to_come_back(code: int) -> None:
    error = refusals.from_close(code, wire.CLOSES[code])
    assert isinstance(error, errors.ConnectionLost) == (code < 4500)
    assert wire.CLOSES[code] in str(error)


@pytest.mark.parametrize(
    "url",
    ["ws://relay.example.org/", "http://localhost/", "wss://", "ws://10.0.0.1:80/", "nonsense"],
)
def test_nothing_is_sent_in_the_clear_across_a_network(url: str) -> None:
    with pytest.raises(errors.BadArgument):
        check_url(url)


def test_the_loopback_may_do_without_tls() -> None:
    assert check_url("ws://127.0.0.1:80/") == (False, True)
    assert check_url("ws://[::1]:80/") == (False, True)
    assert check_url("wss://relay.example.org") == (True, False)


def test_credentials_do_not_print_themselves() -> None:
    assert "hunter2" not in repr(Password("hunter2")) + repr(Jwt("hunter2"))


def test_a_message_cannot_steer_the_terminal() -> None:
    assert plain("a\x1b[2Jb\r\n\u202ec\u2028d") == "a\ufffd[2Jb\ufffd\ufffd\ufffdc\ufffdd"
    assert plain("größe 漢字 👍") == "größe 漢字 👍"
