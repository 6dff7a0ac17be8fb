"""Attachments at the relay: taken piece by piece, verified, made durable, handed out, deleted.

What may live here: the five steps of a ``blob`` frame and the expiry. What may not: how a mode
stores a piece (``contract.CarriesBlobs``), files, SQL.

An upload::

    (none) ──begin──► partial ──last piece there, digest right, all synced──► whole ──keep──► kept
                         │  └─digest wrong, sync failed──► (none)               │
                         └──────────── untouched for blob_hours ────────────────┴──► (none)

``drop`` leads from everywhere to (none). What is ``partial`` is promised to nobody: after a power
cut it may be shorter or wrong, which the digest finds out. ``whole`` was read back and synced.

Every step runs beside the session, not in its queue, and messages overtake it. At most
``UNDER_WAY`` steps of a connection run at a time, so it holds at most that many pieces in memory;
their rate has a bucket of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import msgspec

from crypto_modes import wire
from crypto_modes.contract import ID_SIZE, BlobMeta, CarriesBlobs, Need, Pieces
from crypto_modes.errors import (
    CannotOpen,
    Forbidden,
    FrameRefused,
    Held,
    KeyServiceUnavailable,
    LimitExceeded,
    LouverError,
    NotInThisMode,
    StoreUnavailable,
)
from crypto_modes.primitives import HASH_SIZE, equal, hashing
from server.sending import TRIES
from server.store import Blob
from server.store.blob_files import BlobFiles
from server.uploads import Upload, parts_of, piece_at, standing

if TYPE_CHECKING:
    from server.conversations import Conversation
    from server.relay import Relay
    from server.session import Session
    from server.settings_tree import Limits

UNDER_WAY = 8
# Uploads in memory: what is forgotten is read again.
CACHE = 4096
EXPIRED_AT_ONCE = 100
# A piece as base64 in JSON, with everything around it.
SMALLEST_FRAME = 45_056
# One answer for what does not exist, belongs to others, or is not there yet.
UNKNOWN = "there is no such attachment, or it is not for you"


def largest(limits: Limits) -> int:
    """The largest attachment of this relay; 0 where there are none, or frames are too small."""
    return limits.blob if limits.frame >= SMALLEST_FRAME else 0


class Blobs:
    """All attachments of one relay."""

    def __init__(self, relay: Relay, files: BlobFiles) -> None:
        self._relay = relay
        self._files = files
        self._steps = {
            "begin": self._begin,
            "put": self._put,
            "keep": self._keep,
            "get": self._get,
            "drop": self._drop,
        }
        self._under_way: dict[Session, int] = {}
        self._uploads: OrderedDict[bytes, Upload] = OrderedDict()
        # One step at a time changes an attachment, in the order they came.
        self._locks: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()

    def take(self, session: Session, frame: wire.SetBlob) -> None:
        """Start one step, answered when it is done. Raises ``LimitExceeded``."""
        count = self._under_way.get(session, 0)
        if count >= UNDER_WAY:
            raise LimitExceeded(f"at most {UNDER_WAY} 'blob' frames may wait for their answers")
        self._under_way[session] = count + 1
        self._relay.spawn(self._answer(session, frame))

    async def expire(self, now: int) -> int:
        """Delete uploads that no message referred to in time; how many. Call it every minute."""
        before = now - self._relay.settings.limits.blob_hours * 3_600_000
        stale = await self._relay.store.stale_blobs(before, EXPIRED_AT_ONCE)
        for each in stale:
            async with self._lock(each.meta.id):
                blob = await self._relay.store.blob(each.meta.id)
                if blob is None or blob.state == "kept" or blob.touched >= before:
                    continue
                if self._is_held(blob):  # to the end of the line, so that others get their turn
                    await self._relay.store.settle_blob(each.meta.id, blob.state, now)
                else:
                    await self._remove(blob)
        return len(stale)

    async def _answer(self, session: Session, frame: wire.SetBlob) -> None:
        try:
            answer = await self._steps[frame.do](session, frame)
            if answer.data:
                # Messages go first: a piece waits until the outbox has room for them, too.
                await session.link.writable()
            session.link.send(answer)
        except LouverError as error:
            session.refuse(frame, error)
        except Exception as error:  # noqa: BLE001 - a bug in one step must not end the relay
            self._relay.observer.fault("blob", error)
            session.refuse(frame, LouverError("the relay failed to handle this; it was logged"))
        finally:
            left = self._under_way.pop(session) - 1
            if left:
                self._under_way[session] = left

    # --- steps ---

    async def _begin(self, session: Session, frame: wire.SetBlob) -> wire.Blob:
        """A new upload, or where one stands."""
        async with self._lock(frame.id):
            upload = await self._find(frame.id)
            if upload is None:
                upload = await self._new(session, frame)
            else:
                self._check_same(upload.blob, session, frame)
                await self._settle(upload, upload.blob.state)
            return await self._finished(upload, frame.ref)

    async def _put(self, session: Session, frame: wire.SetBlob) -> wire.Blob:
        """The next piece; any other changes nothing and is told where the upload stands."""
        async with self._lock(frame.id):
            upload = await self._own(session, frame.id)
            size, offset = upload.blob.meta.size, frame.offset
            if offset % wire.PIECE or not 0 < len(frame.data) == piece_at(size, offset):
                raise FrameRefused(f"pieces have {wire.PIECE} bytes, at multiples of that")
            if upload.blob.state == "partial" and offset == upload.received:
                await self._write(upload, frame.data)
            return await self._finished(upload, frame.ref)

    async def _keep(self, session: Session, frame: wire.SetBlob) -> wire.Blob:
        """A message refers to it from now on."""
        async with self._lock(frame.id):
            upload = await self._own(session, frame.id)
            if upload.blob.state == "partial":
                raise FrameRefused("this upload is not complete; 'put' the rest first")
            await self._settle(upload, "kept")
            return standing(upload, frame.ref)

    async def _get(self, session: Session, frame: wire.SetBlob) -> wire.Blob:
        """One piece, for either of the two users."""
        blob = await self._relay.store.blob(frame.id)
        if blob is None or session.account not in (blob.meta.sender, blob.recipient):
            raise Forbidden(UNKNOWN)
        if blob.state == "partial":
            raise Forbidden(UNKNOWN)
        size = piece_at(blob.meta.size, frame.offset)
        if frame.offset % wire.PIECE or not size:
            raise FrameRefused(f"pieces begin at multiples of {wire.PIECE}, below the size")
        index = frame.offset // wire.PIECE
        pieces = await self._pieces(blob.meta, blob.head)
        place = len(pieces.head) + index * (wire.PIECE + pieces.overhead)
        stored = await self._files.read(frame.id, place, size + pieces.overhead)
        try:
            data = pieces.emit(index, stored)
            if len(data) != size:
                raise CannotOpen("this attachment is damaged at the relay")
        except CannotOpen as error:
            # Its sender may have dropped it meanwhile. Removing holds the lock until it is done.
            async with self._lock(frame.id):
                if await self._relay.store.blob(frame.id) is None:
                    raise Forbidden(UNKNOWN) from None
            self._relay.observer.fault("blob", error)
            raise
        return wire.Blob(
            ref=frame.ref,
            id=frame.id,
            size=blob.meta.size,
            offset=frame.offset,
            state=blob.state,
            data=data,
        )

    async def _drop(self, session: Session, frame: wire.SetBlob) -> wire.Blob:
        """Delete it, whatever its state, for its sender."""
        async with self._lock(frame.id):
            upload = await self._own(session, frame.id)
            # What is preserved is out of both users' reach, and kept; that it is, is not for them.
            held = self._is_held(upload.blob)
            await (self._settle(upload, "partial") if held else self._remove(upload.blob))
            return wire.Blob(ref=frame.ref, id=frame.id, size=0, offset=0, state="dropped")

    # --- parts of steps ---

    def _is_held(self, blob: Blob) -> bool:
        return self._relay.effects.keeping.keeps(blob.meta.sender, blob.meta.conversation)

    def _lock(self, id: bytes) -> asyncio.Lock:
        # The caller's `async with` keeps it alive; with the last one it is forgotten.
        return self._locks.setdefault(id, asyncio.Lock())

    async def _find(self, id: bytes) -> Upload | None:
        """What is known of an upload; what a crash left of its file is cut to whole pieces."""
        upload = self._uploads.get(id)
        if upload is not None:
            self._uploads.move_to_end(id)
            return upload
        blob = await self._relay.store.blob(id)
        if blob is None:
            return None
        received = blob.meta.size
        if blob.state == "partial":
            received = await self._resume(blob)
        return self._remember(Upload(blob, received))

    async def _resume(self, blob: Blob) -> int:
        """How many bytes of an upload are in its file; one that has lost its head begins anew."""
        pieces = await self._pieces(blob.meta, blob.head)
        stored = wire.PIECE + pieces.overhead
        head, size = len(pieces.head), blob.meta.size
        whole = head + sum(part + pieces.overhead for part in parts_of(size))

        def keep(length: int) -> int:
            if length >= whole:
                return whole
            return max(0, head + (length - head) // stored * stored)

        length = await self._files.trim(blob.meta.id, keep)
        if length < max(1, head):
            await self._files.begin(blob.meta.id, pieces.head)
            return 0
        return size if length == whole else (length - head) // stored * wire.PIECE

    def _remember(self, upload: Upload) -> Upload:
        self._uploads[upload.blob.meta.id] = upload
        if len(self._uploads) > CACHE:
            self._uploads.popitem(last=False)
        return upload

    async def _own(self, session: Session, id: bytes) -> Upload:
        upload = await self._find(id)
        if upload is None or upload.blob.meta.sender != session.account:
            raise Forbidden(UNKNOWN)
        return upload

    async def _new(self, session: Session, frame: wire.SetBlob) -> Upload:
        relay = self._relay
        limits = relay.settings.limits
        if not 0 < frame.size <= largest(limits):
            raise LimitExceeded(f"an attachment here has 1 to {largest(limits)} bytes")
        if len(frame.digest) != HASH_SIZE or len(frame.to) != ID_SIZE or frame.mode is None:
            raise FrameRefused("'begin' needs `to` (16), `digest` (32), `size`, `mode`, `epoch`")
        conversation = await self._conversation(session, frame)
        now = _now()
        meta = BlobMeta(
            id=frame.id,
            conversation=conversation.id,
            sender=session.account,
            kind=frame.kind,
            mode=frame.mode,
            epoch=frame.epoch,
            size=frame.size,
            time=now,
        )
        pieces = await self._pieces(meta)
        blob = Blob(
            meta=meta,
            recipient=frame.to,
            digest=frame.digest,
            head=pieces.head,
            state="partial",
            touched=now,
        )
        await relay.store.add_blob(blob, limits.blob_account)
        upload = self._remember(Upload(blob, 0))
        try:
            await self._files.begin(frame.id, pieces.head)
        except StoreUnavailable:
            await self._remove(blob)
            raise
        return upload

    async def _conversation(self, session: Session, frame: wire.SetBlob) -> Conversation:
        """Where it will be sent: only what could be sent there as a message may be uploaded."""
        await self._relay.directory.peer(session.account, frame.to)
        conversation = await self._relay.conversations.load(session.account, frame.to)
        conversation.check(frame.kind, frame.mode or "", frame.epoch)
        self._relay.ending.check_send(frame.mode or "")
        return conversation

    def _check_same(self, blob: Blob, session: Session, frame: wire.SetBlob) -> None:
        meta = blob.meta
        known = (meta.sender, blob.recipient, meta.kind, meta.mode, meta.size)
        given = (session.account, frame.to, frame.kind, frame.mode, frame.size)
        if known != given or not equal(blob.digest, frame.digest):
            raise Forbidden(UNKNOWN)

    async def _write(self, upload: Upload, data: bytes) -> None:
        meta = upload.blob.meta
        pieces = await self._pieces(meta, upload.blob.head)
        index = upload.received // wire.PIECE
        place = len(pieces.head) + index * (wire.PIECE + pieces.overhead)
        await self._files.write(meta.id, place, pieces.admit(index, data))
        upload.received += len(data)

    async def _finished(self, upload: Upload, ref: int) -> wire.Blob:
        """Make an upload ``whole`` once all is there; how it stands."""
        blob = upload.blob
        if blob.state == "partial" and upload.received == blob.meta.size:
            await self._check_whole(blob)
            await self._settle(upload, "whole")
        return standing(upload, ref)

    async def _check_whole(self, blob: Blob) -> None:
        """Read it back, hold it to lists and sync it. What is not as it must be is removed."""
        async with self._relay.scanning.turn(blob) as media:
            if not equal(await self._read_back(blob, media), blob.digest):
                await self._remove(blob)
                raise FrameRefused("what arrived is not what 'begin' announced; begin again")
            try:
                if media is not None:
                    await self._relay.scanning.look(blob, media)
                await self._files.sync(blob.meta.id)
            except (Held, StoreUnavailable):
                # After a failed sync nothing tells what is on the disk: the next one may lie.
                await self._remove(blob)
                raise

    async def _read_back(self, blob: Blob, media: list[bytes] | None) -> bytes:
        """SHA-256 of an upload as it travelled, from what is stored now; ``media`` takes it."""
        pieces = await self._pieces(blob.meta, blob.head)
        digest = hashing()
        parts = (size + pieces.overhead for size in parts_of(blob.meta.size))

        def use(index: int, stored: bytes) -> None:
            piece = pieces.emit(index, stored)
            digest.update(piece)
            if media is not None:
                media.append(piece)

        try:
            await self._files.each(blob.meta.id, len(pieces.head), parts, use)
        except CannotOpen:
            return b""
        return digest.digest()

    async def _settle(self, upload: Upload, state: str) -> None:
        now = _now()
        blob = msgspec.structs.replace(upload.blob, state=state, touched=now)
        await self._relay.store.settle_blob(blob.meta.id, blob.state, now)
        upload.blob = blob

    async def _remove(self, blob: Blob) -> None:
        # The file first: a crash in between leaves a row, which expires; never a file alone.
        self._uploads.pop(blob.meta.id, None)
        await self._files.remove(blob.meta.id)
        await self._relay.store.remove_blob(blob.meta.id)

    async def _pieces(self, meta: BlobMeta, head: bytes = b"") -> Pieces:
        """How its mode stores it. Raises ``NotInThisMode``, ``KeyServiceUnavailable``."""
        mode = self._relay.modes.get(meta.mode)
        if not isinstance(mode, CarriesBlobs):
            raise NotInThisMode(f"mode {meta.mode!r} carries no attachments here")
        for _ in range(TRIES):
            try:
                return mode.pieces(meta, head)
            except Need as need:
                await self._relay.supply(need)
        raise KeyServiceUnavailable("a key of this attachment was fetched, and lost again at once")


def _now() -> int:
    return time.time_ns() // 1_000_000
