"""The key log as clients ask for it: signed checkpoints, proofs, and its entries page by page.

What may live here: answering the two frames, and signing. What may not: entering, which the store
does together with each list (``Store.put_list``), and the tree itself. Nothing here is on the way
of a message.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from crypto_modes import wire
from crypto_modes.errors import BadArgument, BadConfig, FrameRefused, LogRefused, RateLimited
from crypto_modes.keys import SigningKey
from crypto_modes.transparency import key_log, note
from crypto_modes.transparency.note import Checkpoint
from server.limits import Rates
from server.secrets_file import secret_file
from server.store import LogRow, Store

if TYPE_CHECKING:
    from server.session import Session

SEED_SIZE = 32
# A page stops at this many bytes of one's own lists, so that it stays near the size of a frame.
OPENINGS_BYTES = 24 * 1024


async def signing_key(store: Store, data: Path) -> SigningKey:
    """The key that signs this relay's log, from its own file; made once.

    Clients pin it. So the database remembers which it was, and neither a lost file nor another in
    its place is papered over. Raises ``BadConfig``.
    """
    path, recorded = data / "keylog.key", await store.log_key()
    key = SigningKey(secret_file(path, SEED_SIZE, make=not recorded))
    if recorded not in (b"", key.public):
        raise BadConfig(
            f"{path} is not the key that signed this relay's key log, and every client would take"
            " this relay for an impostor: restore it from its backup"
        )
    if not recorded:
        await store.keep_log_key(key.public)
    return key


class KeyLog:
    """The relay's key log, under a signing key of its own."""

    def __init__(self, store: Store, key: SigningKey, rates: Rates) -> None:
        self._store = store
        self._key = key
        self._rates = rates
        self._origin = key_log.log_of(store.deployment, key.public).name
        self._signed: tuple[tuple[int, bytes], bytes] = ((-1, b""), b"")

    @property
    def vkey(self) -> str:
        """The log's public key, for people to tell each other; see ``note.Verifier``."""
        return key_log.log_of(self._store.deployment, self._key.public).encode()

    async def prove(self, session: Session, frame: wire.GetLog) -> None:
        """Answer with the newest checkpoint and the proofs that were asked for.

        Raises ``LogRefused`` where nothing with this leaf's hash was ever entered.
        """
        try:
            found = await self._store.log_proofs(frame.size, frame.since, frame.leaf)
        except BadArgument as error:
            raise FrameRefused(str(error)) from None
        if frame.leaf and found.index is None:
            raise LogRefused("the key log has no such entry")
        session.link.send(
            wire.Log(
                ref=frame.ref,
                key=self._key.public,
                checkpoint=self._checkpoint(found.newest),
                size=found.size,
                index=found.index or 0,
                inclusion=found.inclusion,
                consistency=found.consistency,
            )
        )

    async def read(self, session: Session, frame: wire.GetEntries) -> None:
        """Answer with a page of entries, those of the asking account with their lists."""
        wait = self._rates.log(session.account, time.monotonic())
        if wait > 0.0:
            raise RateLimited("too many pages of the key log", retry_after=wait)
        rows = await self._store.log_rows(frame.start, frame.limit)
        own = [row for row in rows if row.account == session.account]
        end = _fitting(own)
        session.link.send(
            wire.Entries(
                ref=frame.ref,
                start=frame.start,
                entries=tuple(row.entry for row in rows if end is None or row.index < end),
                own=tuple(
                    wire.Opening(index=row.index, key=row.key, list=row.list)
                    for row in own
                    if end is None or row.index < end
                ),
            )
        )

    def _checkpoint(self, newest: tuple[int, bytes]) -> bytes:
        """The signed note of this size and root; one signature serves until the log grows."""
        if self._signed[0] != newest:
            signed = note.sign(Checkpoint(self._origin, *newest), self._key)
            self._signed = (newest, signed.encode())
        return self._signed[1]


def _fitting(own: list[LogRow]) -> int | None:
    """The index before which a page must end for its openings to fit; None where all do."""
    used = 0
    for row in own:
        size = sum(len(each.signature) + 128 for each in row.list.certificates) + 128
        if used and used + size > OPENINGS_BYTES:
            return row.index
        used += size
    return None
