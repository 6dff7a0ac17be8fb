"""Logs: one line each, only listed fields of listed types, and never a secret."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from crypto_modes.errors import BadConfig, FrameRefused, KeyServiceUnavailable
from server import logs

CANARY = "CANARY7f3a"
LOG_KEY = bytes(range(32))


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logs.configure("info", "json", LOG_KEY, stream)
    yield stream
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(written: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written.getvalue().splitlines()]


def test_a_line_has_time_level_event_and_listed_fields(written: io.StringIO) -> None:
    logs.logger().info("relay started", address="127.0.0.1", port=7443, mode="at_rest")
    (line,) = lines(written)
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "event": "relay started",
        "address": "127.0.0.1",
        "port": 7443,
        "mode": "at_rest",
    }


def test_unlisted_and_wrongly_typed_fields_are_dropped_and_counted(written: io.StringIO) -> None:
    before = logs.dropped()
    logs.logger().info("sent", body=CANARY, key=CANARY, mode=CANARY, port=CANARY, account=CANARY)
    assert CANARY not in written.getvalue()
    assert set(lines(written)[0]) == {"time", "level", "event"}
    assert logs.dropped() == before + 5


def test_identifiers_leave_as_short_keyed_hashes(written: io.StringIO) -> None:
    account = bytes(range(16))
    logs.logger().info("revoked", account=account, device=account)
    (line,) = lines(written)
    assert line["account"] == line["device"] == logs.short(account)
    assert len(line["account"]) == 12
    assert account.hex()[:12] not in written.getvalue()
    logs.configure("info", "json", bytes(32), written)
    assert logs.short(account) != line["account"]


def test_an_event_is_our_own_words_only(written: io.StringIO) -> None:
    for event in (f"message from alice: {CANARY}", "lvr_" + "x" * 43, "", "two\nlines", "é"):
        logs.logger().info(event)
    logs.logger().info("SetTyping failed")
    shown = [line["event"] for line in lines(written)]
    assert shown == ["unnamed event"] * 5 + ["SetTyping failed"]


@pytest.mark.attack
@pytest.mark.parametrize("format", ["json", "text"])
def test_40_no_field_can_hold_a_secret_or_break_a_line(format: str) -> None:
    """Row 40: canaries and line breaks in every field there is, and in one that is not."""
    stream = io.StringIO()
    logs.configure("info", format, LOG_KEY, stream)
    token = "lvr_" + "Ab3-_" * 9
    jwt = "eyJhbGciOiJFZERTQSJ9AAAA.eyJzdWIiOiJhbGljZSJ9AAAA.c2lnbmF0dXJl"
    count = 0
    for name in [*logs.FIELDS, "body", "password"]:
        for value in (token, jwt, token.encode(), f'x\r\n{{"event": "forged"}}\u2028{token}'):
            logs.logger().info("probe", **{name: value})
            count += 1
    structlog.reset_defaults()
    page = stream.getvalue()
    assert token not in page
    assert jwt.split(".")[1] not in page
    assert len(page.splitlines()) == page.count("\n") == count


def test_what_does_not_print_becomes_a_space(written: io.StringIO) -> None:
    logs.logger().warning("origin refused", origin="a\r\nb\u2028c\x1b[31md")
    assert lines(written)[0]["origin"] == "a  b c [31md"


@given(st.text(max_size=400))
def test_any_text_in_a_text_field_stays_one_bounded_line(text: str) -> None:
    stream = io.StringIO()
    logs.configure("info", "text", LOG_KEY, stream)
    logs.logger().warning("origin refused", origin=text)
    structlog.reset_defaults()
    assert len(stream.getvalue().splitlines()) == 1
    assert len(stream.getvalue()) < 12 * 400


def test_exceptions_show_their_class_and_place_but_not_their_text(written: io.StringIO) -> None:
    try:
        raise ValueError(CANARY)
    except ValueError:
        logs.logger().exception("frame refused")
    (line,) = lines(written)
    assert line["error"] == "ValueError"
    assert "test_logs.py:" in line["where"]
    assert CANARY not in written.getvalue()


def test_only_errors_that_speak_to_the_operator_are_quoted(written: io.StringIO) -> None:
    logs.logger().error("reload refused", problem=BadConfig("listen.port needs a restart"))
    logs.logger().error("keys gone", problem=KeyServiceUnavailable("vault is sealed"))
    logs.logger().error("reload failed", exc_info=BadConfig("no such file"))
    logs.logger().error("bad frame", problem=FrameRefused(CANARY))
    logs.logger().error("bad frame", exc_info=FrameRefused(CANARY))
    first, second, third, *others = lines(written)
    assert first["problem"] == "listen.port needs a restart"
    assert second["problem"] == "vault is sealed"
    assert third["problem"] == "no such file"
    assert all("problem" not in line for line in others)
    assert CANARY not in written.getvalue()


def test_libraries_keep_only_the_words_of_their_template(written: io.StringIO) -> None:
    logging.getLogger("uvicorn.error").error("Failed for %s", CANARY)
    logging.getLogger("asyncio").error(f"Exception in callback send(b'{CANARY}')")
    logging.getLogger("Weird Name!").warning("odd")
    logging.getLogger("websockets").info("connection open")
    first, second, third = lines(written)
    assert (first["library"], first["advice"]) == ("uvicorn", "Failed for")
    assert second["advice"] == "Exception in callback send"
    assert third["library"] == "other"
    assert CANARY not in written.getvalue()


@pytest.mark.asyncio
async def test_what_escapes_into_the_loop_is_logged_without_its_arguments(
    written: io.StringIO,
) -> None:
    loop = asyncio.get_running_loop()
    logs.watch(loop)

    def fail(secret: str) -> None:
        raise RuntimeError(secret)

    loop.call_soon(fail, CANARY)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    (line,) = lines(written)
    assert line["event"] == "unhandled failure"
    assert line["error"] == "RuntimeError"
    assert "fail" in line["where"]
    assert CANARY not in written.getvalue()


def test_the_level_can_change_while_loggers_exist(written: io.StringIO) -> None:
    log = logs.logger()
    log.debug("hidden")
    logs.configure("debug", "text", LOG_KEY, written)
    log.debug("shown", count=2)
    assert written.getvalue().endswith("Z debug   shown count=2\n")
    assert len(written.getvalue().splitlines()) == 1


def test_writing_never_raises_for_odd_values(written: io.StringIO) -> None:
    class Hostile:
        def __str__(self) -> str:
            raise RuntimeError

    logs.logger().info("probe", **dict.fromkeys(logs.FIELDS, Hostile()))
    logs.logger().info("probe", count=float("nan"), port=True, exc_info="text")
    assert len(written.getvalue().splitlines()) == 2
