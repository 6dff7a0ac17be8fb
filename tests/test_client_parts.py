"""The client's pure parts: numbering, back-off, and what the relay's numbers mean."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client import refusals
from client.backoff import Backoff
from client.connection import check_url
from client.credentials import Jwt, Password
from client.messages import Message
from client.sequence import Arrival, Sequence
from client.wording import body, duration, message_fields, plain, seconds_of
from crypto_modes import errors, wire
from crypto_modes.content import (
    Attachment,
    Deletion,
    Edit,
    Plain,
    Reaction,
    Timer,
    What,
    encode,
)


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


def message_of(what: What, **fields: Any) -> Message:
    given: dict[str, Any] = {"kind": "text", "mode": "tls", "content": encode(what)}
    ids = dict.fromkeys(("conversation", "id", "sender", "device", "recipient"), b"i" * 16)
    return Message(**(ids | {"seq": 7, "epoch": 1, "time": 0} | given | fields))


TARGET = b"t" * 16
FILE = Attachment(
    blob=TARGET,
    name="a\x1b[2J.png",
    media_type="image/png",
    size=9,
    ciphertext=bytes(32),
    plaintext=bytes(32),
)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (message_of(Plain(b"hi")), "hi"),
        (message_of(Plain(b"hi"), reply_to=TARGET), "[answers #3] hi"),
        (message_of(Plain(b"hi"), edited=True, reactions={TARGET: "x"}), "hi  [edited]  [x]"),
        (message_of(Plain(b""), deleted=True), "[deleted]"),
        (message_of(Plain(b"\xff\xd8"), kind="image"), "[image]"),
        (message_of(Plain(b"\xff\0")), "[something that this version does not know]"),
        (message_of(FILE, kind="image"), "[image: a\ufffd[2J.png, 9 bytes]"),
        (message_of(Reaction(TARGET, "\x1b")), "[\ufffd to #3]"),
        (message_of(Reaction(TARGET, "")), "[no more reaction to #3]"),
        (message_of(Edit(TARGET, "new\n")), "[now reads, #3] new\ufffd"),
        (message_of(Deletion(TARGET)), "[deleted #3]"),
        (message_of(Timer(0)), "[from now on messages stay]"),
        (message_of(Timer(3600)), "[from now on messages disappear 1 h after they are shown]"),
    ],
)
def test_every_content_has_its_words(message: Message, shown: str) -> None:
    assert body(message, {TARGET: "#3"}.__getitem__) == shown


def test_when_a_message_disappears_is_said() -> None:
    assert "[disappears at " in body(message_of(Plain(b"hi"), expires=1))


def test_programs_are_told_what_a_message_is() -> None:
    fields = message_fields(message_of(Edit(TARGET, "new"), reactions={TARGET: "x"}))
    told = [fields[name] for name in ("says", "text", "target", "edited", "reactions")]
    assert told == ["edit", "new", TARGET, False, {TARGET.hex(): "x"}]


@pytest.mark.parametrize(
    ("typed", "seconds", "shown"),
    [("30s", 30, "30 s"), ("90s", 90, "90 s"), ("5m", 300, "5 min"), ("1h", 3600, "1 h"),
     ("7d", 604_800, "7 d"), ("24h", 86_400, "1 d")],
)  # fmt: skip
def test_timers_are_typed_and_shown(typed: str, seconds: int, shown: str) -> None:
    assert seconds_of(typed) == seconds
    assert duration(seconds) == shown


@pytest.mark.parametrize("typed", ["", "1", "h", "1w", "-1h", "1.5h", "١h", "1 h", "9999999999s"])
def test_what_is_no_timer_is_refused(typed: str) -> None:
    with pytest.raises(errors.BadArgument, match="30s"):
        seconds_of(typed)
    assert seconds_of("off") == 0
