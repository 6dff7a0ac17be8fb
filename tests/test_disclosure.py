"""What staff and vault say to each other: the header of a call to the byte, and what is none."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

import msgspec
import pytest

from crypto_modes import disclosure
from crypto_modes.disclosure import Disclosure, Entered, OpenCall, ReportCall, ShareCall, Shown
from crypto_modes.errors import BadArgument, GrantRefused
from crypto_modes.grants import APPROVALS_LIMIT, Approval, Request, sign_request
from tests.test_grants import KEYS, NOW, PLACE, grant

REQUEST = Request(name="lena", time=NOW, nonce=b"n" * 16, signature=b"s" * 64)
TEXT = (
    '{"name":"lena","time":1790000000000,"nonce":"bm5ubm5ubm5ubm5ubm5ubg==","signature":"'
    "c3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzcw=="
    '"}'
)


def header_of(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode()


def test_the_header_to_the_byte() -> None:
    """Another program signs calls by this alone."""
    header = disclosure.to_header(REQUEST)
    assert urlsafe_b64decode(header) == TEXT.encode()
    assert disclosure.from_header(header) == REQUEST
    signed = sign_request(KEYS["lena"], PLACE, b"a call", "lena", NOW, b"n" * 16)
    assert disclosure.from_header(disclosure.to_header(signed)) == signed


def test_a_header_is_as_long_as_the_limit_and_no_longer() -> None:
    room = disclosure._HEADER_LIMIT // 4 * 3
    padded = TEXT.encode() + b" " * (room - len(TEXT))
    assert len(header_of(padded)) == disclosure._HEADER_LIMIT
    assert disclosure.from_header(header_of(padded)) == REQUEST
    with pytest.raises(GrantRefused):
        disclosure.from_header(header_of(padded + b" "))


@pytest.mark.parametrize(
    "header",
    [
        "",
        "x",
        "é",
        header_of(b""),
        header_of(b"{}"),
        header_of(b"\xff"),
        header_of(b'{"name": "\xff"}'),
        header_of(b"[" * 700),
        header_of(TEXT.replace("lena", "LENA").encode()),
        header_of(TEXT.replace("1790", "-1790").encode()),
        header_of(TEXT.replace('"nonce":"bm', '"nonce":"').encode()),
        header_of(TEXT.replace('"name"', '"more":1,"name"').encode()),
    ],
)
def test_what_is_no_header_is_told_how_to_make_one(header: str) -> None:
    with pytest.raises(GrantRefused, match=r"in the header Louver-Request; `louver mod` does"):
        disclosure.from_header(header)


def test_calls_and_answers_come_back_as_they_were() -> None:
    shown = Shown(
        seq=1,
        id=b"i" * 16,
        sender=b"a" * 16,
        device=b"d" * 16,
        recipient=b"b" * 16,
        kind="text",
        mode="tls",
        time=NOW,
        readable=True,
        text="HARM-0007",
        label=disclosure.UNLOCKED,
    )
    approvals = (Approval("sven", b"s" * 64),) * APPROVALS_LIMIT
    for each in (
        OpenCall(grant(), approvals),
        ReportCall(b"r" * 16, b"c" * 16),
        ShareCall("l" * 256),
        Disclosure(receipt=Entered(7, b"signed"), records=(shown,)),
    ):
        assert disclosure.decode(msgspec.json.encode(each), type(each)) == each


CALL = {"report": "cnJycnJycnJycnJycnJycg==", "case": "Y2NjY2NjY2NjY2NjY2NjYw=="}
APPROVAL = {"approver": "sven", "signature": "cw" * 43 + "c="}


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (ReportCall, CALL | {"more": 1}),
        (ReportCall, CALL | {"case": "Y2Nj"}),
        (ReportCall, {"report": CALL["report"]}),
        (ShareCall, {"share": "l" * 257}),
        (ShareCall, {"share": 7}),
        (OpenCall, {"approvals": []}),
        (OpenCall, {"grant": {}, "approvals": [APPROVAL] * (APPROVALS_LIMIT + 1)}),
    ],
)
def test_what_is_no_call_is_refused_by_its_name(kind: type, told: dict[str, Any]) -> None:
    with pytest.raises(BadArgument, match=f"this is no {kind.__name__}: "):
        disclosure.decode(msgspec.json.encode(told), kind)


@pytest.mark.parametrize("raw", [b"", b"nonsense", b'{"share": "\xff"}', b"[" * 5000])
def test_bytes_that_say_nothing_are_refused(raw: bytes) -> None:
    with pytest.raises(BadArgument, match="this is no ShareCall: "):
        disclosure.decode(raw, ShareCall)


def test_too_many_approvals_are_no_call() -> None:
    many = OpenCall(grant(), (Approval("sven", b"s" * 64),) * (APPROVALS_LIMIT + 1))
    with pytest.raises(BadArgument, match="no OpenCall"):
        disclosure.decode(msgspec.json.encode(many), OpenCall)
