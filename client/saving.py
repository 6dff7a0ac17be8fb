"""Saving the file of a message: over breaks, restarts and kills, and nothing of it in the clear
before it is to be there.

What may live here: what is known of a file on its way in, and the steps. What may not: its pieces
(``transfer``), files on this device (``spool``), the sealed format (``attachments`` of the modes).

A save, kept in ``client_saves`` under conversation || message id from ``coming`` on::

    coming ──get …──► all here ──opened into a hidden file──► verified, named ──► forgotten

What has come lies beside the key store, sealed under a key that only the key store has, also in
modes in which it travels in the clear. So what is interrupted goes on, whatever interrupted it, and
a stolen disk shows nothing of it; it goes after a week, and with its message. The hidden file is
beside the target, and its path is kept before its first byte: what a kill leaves of it is removed
at the next start.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from client.memory import SAVES, Memory
from client.messages import Message
from client.spool import Saving, Spool, Target, target_of
from client.transfer import WINDOW, Progress, Transfer
from client.trust import now_ms
from crypto_modes import wire
from crypto_modes.attachments import Opener
from crypto_modes.content import Attachment
from crypto_modes.contract import ID_SIZE, Secretive
from crypto_modes.errors import BadArgument, CannotOpen, Forbidden, StoreUnavailable
from crypto_modes.primitives import KEY_SIZE

KEPT_MS = 7 * 24 * 60 * 60 * 1000
# What makes worthless what has come. After anything else the next try goes on from there.
_ENDS = (CannotOpen, Forbidden, StoreUnavailable)
_GONE = "the relay has this file no more: its sender took it back, or its time was up"


class Save(Secretive, msgspec.Struct, frozen=True):
    """A file on its way in: ``key`` (32 bytes) opens what has come, ``begun`` in ms, ``part`` is
    the path of the hidden file, where there may be one.
    """

    key: bytes
    begun: int
    part: str = ""

    def __repr__(self) -> str:
        """Never the key."""
        return f"<Save {self.begun}>"


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Save).decode


class Saves:
    """The files that one chat saves. ``sweep`` first, ``close`` last."""

    def __init__(self, memory: Memory, transfer: Transfer, now: Callable[[], int] = now_ms) -> None:
        self._memory = memory
        self._transfer = transfer
        self._now = now
        self._spool = Spool(memory.store.where, "inbox")
        self._under_way: set[bytes] = set()

    async def save(
        self, message: Message, attachment: Attachment, place: Path, progress: Progress
    ) -> Path:
        """See ``Attachments.save``."""
        row = message.conversation + message.id
        target = await asyncio.to_thread(target_of, place)
        if row in self._under_way:
            raise BadArgument("this file is being saved already")
        self._under_way.add(row)
        try:
            path = await self._save(row, attachment, target, progress)
        except _ENDS as error:
            self._forget(row)
            if isinstance(error, Forbidden):
                raise Forbidden(_GONE) from None
            raise
        finally:
            self._under_way.discard(row)
        self._forget(row)
        return path

    def sweep(self) -> None:
        """Remove what an earlier run left in the clear, and what nobody goes on with."""
        going_on = set()
        for row, raw in list(self._memory.store.scan(SAVES)):
            kept = _decode(raw)
            if kept.part:
                # Where that fails now, the path is known for another try.
                with contextlib.suppress(OSError):
                    Path(kept.part).unlink(missing_ok=True)
                    self._keep(row, msgspec.structs.replace(kept, part=""))
            message = self._memory.message_with(row[:ID_SIZE], row[ID_SIZE:])
            if message is None or message.deleted or self._now() - kept.begun > KEPT_MS:
                self._memory.store.delete(SAVES, row)
            else:
                going_on.add(row.hex())
        self._spool.sweep(going_on)

    def close(self) -> None:
        """Of a key store in memory, what has come goes with it."""
        self._spool.close()

    # --- inside ---

    async def _save(
        self, row: bytes, attachment: Attachment, target: Target, progress: Progress
    ) -> Path:
        raw = self._memory.store.get(SAVES, row)
        kept = Save(os.urandom(KEY_SIZE), self._now()) if raw is None else _decode(raw)
        self._keep(row, kept)
        size = await self._fetch(row.hex(), kept.key, attachment, progress)
        self._keep(row, msgspec.structs.replace(kept, part=str(target.part)))
        saving = await asyncio.to_thread(Saving, target)
        try:
            await self._open(row.hex(), kept.key, attachment, size, saving)
            return await asyncio.to_thread(saving.finish, attachment.name)
        finally:
            saving.close()

    async def _fetch(
        self, name: str, key: bytes, attachment: Attachment, progress: Progress
    ) -> int:
        """Have all of it here, sealed; how large it is."""

        def keep(at: int, size: int, piece: bytes) -> None:
            self._spool.put(name, key, at, piece, last=at + len(piece) == size)

        at = await asyncio.to_thread(self._spool.standing, name)
        return await self._transfer.down(attachment, at, keep, progress)

    async def _open(
        self, name: str, key: bytes, attachment: Attachment, size: int, saving: Saving
    ) -> None:
        """Verify it, from what is here, and write what is in it to ``saving``."""
        opener = Opener(attachment)

        def some(start: int) -> None:
            for at in range(start, min(size, start + WINDOW * wire.PIECE), wire.PIECE):
                piece = self._spool.get(name, key, at, last=at + wire.PIECE >= size)
                saving.write(opener.update(piece))

        for start in range(0, size, WINDOW * wire.PIECE):
            await asyncio.to_thread(some, start)
        await asyncio.to_thread(lambda: saving.write(opener.finish()))

    def _keep(self, row: bytes, save: Save) -> None:
        self._memory.store.put(SAVES, row, _encode(save))

    def _forget(self, row: bytes) -> None:
        self._memory.store.delete(SAVES, row)
        self._spool.remove(row.hex())
