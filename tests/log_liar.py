"""A relay that keeps a second key log, for whom it wants to deceive; for tests.

What may live here: a log in memory under the relay's own signing key, which answers in the real
one's place, and lists that anybody can sign with keys of their own. What may not: attacks.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence

from crypto_modes import wire
from crypto_modes.e2ee import devices
from crypto_modes.errors import BadArgument
from crypto_modes.keys import AgreementKey, SigningKey
from crypto_modes.transparency import key_log, note, tree
from crypto_modes.transparency.note import Checkpoint
from server.store import LogRow
from tests.conftest import Running
from tests.hostile_relay import HostileRelay, Line
from tests.test_transparency_tree import Kept


def false_list(account: bytes, version: int = 1) -> wire.Devices:
    """A key of the liar's own for an account, with a list that it really signs."""
    key = SigningKey(os.urandom(32))
    signing, agreement = SigningKey(os.urandom(32)), AgreementKey(os.urandom(32))
    request = devices.Request(os.urandom(16), signing.public, agreement.public, 1, b"")
    request = request._replace(signature=signing.sign(request.signed(account)))
    certificate = devices.certify(account, key, request)
    listed = devices.sign_list(account, key, version, (certificate,))
    return wire.Devices(ref=0, account=account, name="bob", key=key.public, list=listed)


def row_of(shown: wire.Devices, index: int = 0) -> LogRow:
    """The entry that a list would have in the log."""
    assert shown.list is not None
    entry = key_log.entry(shown.account, shown.key, shown.list)
    leaf = wire.LogEntry(key_log.tag(shown.account), entry)
    return LogRow(index, leaf, shown.account, shown.key, shown.list)


async def rows_of(relay: Running) -> list[LogRow]:
    """What is in the relay's own log."""
    return await relay.app.store.log_rows(0, 512)


class Liar:
    """Another log for the users ``names``. ``rows`` is what it holds; ``key`` signs it; what is in
    ``hidden`` (indexes) it does not open to its owner, whose name is in ``accounts``. What it lists
    may be something else, ``listed``. It answers while it is ``lying``.
    """

    def __init__(
        self, relay: Running, rows: Sequence[LogRow], *names: str, key: SigningKey | None = None
    ) -> None:
        self.key = key or SigningKey((relay.data / "keylog.key").read_bytes())
        self.rows = list(rows)
        self.names = names
        self.accounts: dict[str, bytes] = {}
        self.hidden: set[int] = set()
        self.listed: list[LogRow] | None = None
        self.lying = True
        self.asked: list[wire.GetLog | wire.GetEntries] = []
        self._origin = key_log.log_of(relay.app.store.deployment, self.key.public).name
        self._tasks: set[asyncio.Task[None]] = set()

    def between(self, hostile: HostileRelay) -> Liar:
        """Answer in the place of the relay's own log."""
        hostile.up(wire.GetLog, self._answer)
        hostile.up(wire.GetEntries, self._answer)
        return self

    def log(self, request: wire.GetLog) -> wire.Log | wire.Error:
        """What an honest relay with this log would say."""
        leaves = [key_log.hash_of(row.entry.tag, row.entry.entry) for row in self.rows]
        nodes = Kept([])
        for size, leaf in enumerate(leaves):
            tree.append(nodes, size, leaf)
        newest = Checkpoint(self._origin, len(leaves), tree.root(nodes, len(leaves)))
        size = request.size or len(leaves)
        index = leaves.index(request.leaf) if request.leaf in leaves else 0
        try:
            proofs = tree.consistency(nodes, request.since, size)
            inclusion = tree.inclusion(nodes, index, size) if request.leaf else ()
        except (BadArgument, KeyError):
            return wire.Error(ref=request.ref, code=107, name="bad_request", message="no")
        return wire.Log(
            ref=request.ref,
            key=self.key.public,
            checkpoint=note.sign(newest, self.key).encode(),
            size=size,
            index=index,
            inclusion=inclusion,
            consistency=proofs,
        )

    def page(self, request: wire.GetEntries, asking: bytes) -> wire.Entries:
        """Entries; of ``listed``, where that says something else than ``rows``."""
        rows = self.rows if self.listed is None else self.listed
        end = min(len(rows), request.start + request.limit)
        mine = [
            index
            for index in range(request.start, end)
            if rows[index].account == asking and index not in self.hidden
        ]
        return wire.Entries(
            ref=request.ref,
            start=request.start,
            entries=tuple(row.entry for row in rows[request.start : end]),
            own=tuple(
                wire.Opening(index=index, key=rows[index].key, list=rows[index].list)
                for index in mine
            ),
        )

    def _answer(self, line: Line, frame: wire.GetLog | wire.GetEntries) -> wire.Frame | None:
        if line.name not in self.names or not self.lying:
            return frame
        self.asked.append(frame)
        if isinstance(frame, wire.GetLog):
            answer: wire.Frame = self.log(frame)
        else:
            answer = self.page(frame, self.accounts.get(line.name, b""))
        task = asyncio.get_running_loop().create_task(line.to_client(answer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return None
