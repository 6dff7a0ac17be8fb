"""One load process: what cannot be sent is written down, and the rest goes on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from client.compare.load import Job, Load
from client.compare.trace import Row, Trace
from client.compare.verify import verify
from crypto_modes.errors import LimitExceeded


class _Narrow:
    """A chat that has room for every second message only."""

    def __init__(self) -> None:
        self.asked = 0

    def send_soon(self, peer: bytes, content: bytes) -> asyncio.Future[Any]:
        self.asked += 1
        if self.asked % 2 == 0:
            raise LimitExceeded("1000 messages wait for their answers; await some first")
        future = asyncio.get_running_loop().create_future()
        future.set_result(type("Sent", (), {"id": content.ljust(16)}))
        return future


@pytest.mark.asyncio
async def test_a_full_window_loses_that_row_and_no_other() -> None:
    rows = tuple(Row(n * 1000, 0, 1, "text", f"message {n}") for n in range(6))
    trace = Trace("t", 1, 2, rows)
    load = Load(Job("", "", "", "", {}), trace)
    load._chats[0] = narrow = _Narrow()
    load._accounts = {1: b"b" * 16}
    assert await load.play(0) == 6
    assert narrow.asked == 6
    told = {sent.row: sent for sent in load._log.sent}
    assert sorted(told) == [0, 1, 2, 3, 4, 5]
    assert [bool(told[row].id) for row in range(6)] == [True, False] * 3
    assert "await some first" in told[1].error
    assert told[1].accepted_ns == 0
    verdict = verify(trace, [load._log])
    assert any("row 1 lost (LimitExceeded(" in example for example in verdict.examples)
