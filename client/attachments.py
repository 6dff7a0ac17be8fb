"""``chat.attachments``: files to somebody, and from somebody to a directory.

What may live here: which file goes to whom in which form, over breaks and restarts. What may not:
its pieces (``transfer``), files on this device (``spool``), the sealed format (``attachments`` of
the modes), the message that refers to it (``outgoing``).

An upload, kept in ``client_uploads`` from ``sealed`` on::

    sealed copy ──begin, put …──► whole at the relay ──keep──► message added ──accepted──► forgotten
"""

from __future__ import annotations

import asyncio
import contextlib
import mimetypes
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from client.memory import Memory
from client.messages import ChatState, Event, Message, NotSent, Sent
from client.outgoing import Outgoing
from client.saving import Saves
from client.session import Session
from client.spool import Copy, Source, Spool
from client.transfer import Progress, Transfer, nobody
from client.trust import Trust
from crypto_modes import content, policy, wire
from crypto_modes.attachments import CHUNK, sealed_size
from crypto_modes.contract import ID_SIZE, NeedPolicy, Secretive
from crypto_modes.errors import (
    BadArgument,
    BelowFloor,
    ConnectionLost,
    LimitExceeded,
    LouverError,
    ModeMismatch,
)
from crypto_modes.padding import padded_size
from crypto_modes.primitives import KEY_SIZE

# A relay that changes its mind about a policy this often never comes to rest.
MOST_TRIES = 5
FAREWELL_SECONDS = 5.0
_TABLE = "client_uploads"
_UNKNOWN_TYPE = "application/octet-stream"


class Upload(Secretive, msgspec.Struct, frozen=True, kw_only=True):
    """A file on its way out. ``message`` (16 bytes) is the id of the message that will refer to
    it, and names its copy; ``written`` is the mode that its sender counted on. ``key`` opens the
    copy, and becomes part of the message where the mode keeps the relay out.
    """

    message: bytes
    blob: bytes
    peer: bytes
    kind: wire.Kind
    written: str
    mode: str
    name: str
    media_type: str
    size: int
    plaintext: bytes
    padded: bytes
    ciphertext: bytes
    key: bytes
    reply_to: bytes = b""

    def __repr__(self) -> str:
        """Never the name or the key."""
        return f"<Upload {self.blob.hex()}>"


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Upload).decode


class Attachments:
    """The attachments of one chat. ``begin`` first, ``close`` last, both called by it."""

    def __init__(
        self,
        memory: Memory,
        session: Session,
        trust: Trust,
        outgoing: Outgoing,
        emit: Callable[[Event], None],
    ) -> None:
        self._memory = memory
        self._session = session
        self._trust = trust
        self._outgoing = outgoing
        self._emit = emit
        self._transfer = Transfer(session)
        self._spool = Spool(memory.store.where, "outbox")
        self._saves = Saves(memory, self._transfer)
        self._tasks: dict[bytes, asyncio.Task[Sent]] = {}

    # --- for the program ---

    async def send(
        self,
        to: bytes | str,
        source: Source,
        *,
        kind: wire.Kind = "file",
        name: str = "",
        media_type: str = "",
        reply_to: bytes = b"",
        progress: Progress | None = None,
    ) -> Sent:
        """Send a file, by path or as a readable stream of bytes, to an account, by id or name;
        returns once the relay durably holds it and the message that refers to it.

        ``kind`` is ``file``, ``image``, ``voice`` or ``video``; ``name`` and ``media_type`` are
        guessed from the path where left out. ``progress(done, total)`` is called in bytes.
        Survives breaks, and goes on when the chat is opened again. Cancelling stops the waiting,
        not the sending: see ``cancel``.

        Raises:
            BadArgument: the source cannot be read, is empty, or the names are none.
            LimitExceeded: larger than this relay takes, or more than its quota.
            StoreUnavailable: no room for the copy that is kept until the relay has all.
            ConnectionLost: the chat was closed, or ``cancel`` called, before all was there.
            LouverError: as ``Chat.send``.
        """
        if kind not in ("file", "image", "voice", "video"):
            raise BadArgument(f"a file is a file, image, voice or video, not {kind!r}")
        peer = await self._trust.account(to)
        mode, _ = await self._mode(peer, kind)
        if not name:
            path = source if isinstance(source, str | os.PathLike) else ""
            name = Path(path).name or kind
        media_type = media_type or mimetypes.guess_type(name)[0] or _UNKNOWN_TYPE
        message, key = os.urandom(ID_SIZE), os.urandom(KEY_SIZE)
        copy = await self._copy(message, source, key)
        upload = Upload(
            message=message,
            blob=os.urandom(ID_SIZE),
            peer=peer,
            kind=kind,
            written=mode,
            mode=mode,
            name=name,
            media_type=media_type.lower(),
            **copy._asdict(),
            key=key,
            reply_to=reply_to,
        )
        try:
            content.encode(self._reference(upload))
            self._keep(upload)
        except LouverError:
            self._spool.remove(message.hex())
            raise
        return await _outcome(self._start(upload, progress))

    def pending(self) -> list[Upload]:
        """The files on their way, of this run and of earlier ones."""
        return [_decode(raw) for _, raw in self._memory.store.scan(_TABLE)]

    async def cancel(self, message: bytes) -> None:
        """Send the file no further whose message would have this id; nothing where it is sent."""
        task = self._tasks.get(message)
        for upload in self.pending():
            if upload.message == message and task is not None:
                task.cancel()
                await asyncio.wait([task])
                await self._forget(upload, drop=True)

    async def save(
        self,
        message: Message,
        place: str | os.PathLike[str],
        *,
        progress: Progress | None = None,
    ) -> Path:
        """Save the attachment of ``message``; where to. ``place`` is a directory, in which it gets
        its sender's name made safe, or a path that does not exist. It has that name only once all
        of it was verified: before, and if anything is wrong, there is nothing. What is interrupted
        goes on when it is saved again.

        Raises:
            BadArgument: no attachment, one that is being saved, or ``place`` cannot be used.
            CannotOpen: what the relay gives is not what was sent.
            Forbidden: the relay has it no more.
            StoreUnavailable: no room here, for the file and once more while it comes.
        """
        attachment = reference_of(message)
        return await self._saves.save(message, attachment, Path(place), progress or nobody)

    async def message(self, peer: bytes | str, message_id: bytes) -> Message | None:
        """The message with ``peer`` that has this id, where this device has kept it."""
        account = await self._trust.account(peer)
        return self._memory.message_with(self._conversation(account), message_id)

    async def drop(self, message: Message) -> None:
        """Delete the file of an own message at the relay, as one does with the message."""
        await self._transfer.step(reference_of(message).blob, "drop")

    # --- for the chat ---

    def begin(self) -> None:
        """Take up what an earlier run left unfinished."""
        found = self.pending()
        self._spool.sweep({each.message.hex() for each in found})
        self._saves.sweep()
        under_way = {entry.frame.id for entry in self._memory.outbound()}
        for upload in found:
            conversation = self._conversation(upload.peer)
            if upload.message in under_way or self._memory.knows(conversation, upload.message):
                self._done(upload)
            else:
                self._start(upload, None)

    async def close(self) -> None:
        """Stop; what is unfinished goes on next time."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        for each in (self._spool, self._saves):
            await asyncio.to_thread(each.close)

    # --- up ---

    def _start(self, upload: Upload, progress: Progress | None) -> asyncio.Task[Sent]:
        task = asyncio.get_running_loop().create_task(self._run(upload, progress or nobody))
        self._tasks[upload.message] = task
        task.add_done_callback(lambda done: self._ended(upload.message, done))
        return task

    def _ended(self, message: bytes, task: asyncio.Task[Sent]) -> None:
        del self._tasks[message]
        if not task.cancelled():
            task.exception()  # seen: nobody has to be waiting

    async def _run(self, upload: Upload, progress: Progress) -> Sent:
        try:
            sent = await self._deliver(upload, progress)
        except LouverError as error:
            if self._session.state is not ChatState.CLOSED:
                await self._forget(upload, drop=True)
                self._emit(NotSent(upload.message, upload.peer, error))
            raise
        await self._forget(upload, drop=False)
        return sent

    async def _deliver(self, upload: Upload, progress: Progress) -> Sent:
        """Transfer the file in the mode in force, then send what refers to it."""
        conversation = self._conversation(upload.peer)
        for _ in range(MOST_TRIES):
            mode, epoch = await self._mode(upload.peer, upload.kind)
            if self._trust.weaker(mode, upload.written):
                raise BelowFloor(
                    f"this was chosen in mode {upload.written}, and the conversation is now in"
                    f" {mode}; send it again if that is meant"
                )
            if mode != upload.mode:
                # What the relay has of it, it has in a form for more readers.
                await self._abandon(upload)
                upload = msgspec.structs.replace(upload, mode=mode, blob=os.urandom(ID_SIZE))
                self._keep(upload)
            try:
                await self._transfer.up(
                    self._beginning(upload, epoch), self._pieces(upload), progress
                )
            except ModeMismatch:
                await self._trust.satisfy(NeedPolicy(conversation, upload.peer, 0))
                continue
            await self._outgoing.room()
            # Looked at last: from here to `add` nothing is waited for, so what refers to the file
            # is written in the mode that the file went in. Else its key could go to more readers.
            if self._trust.pins.to_send(conversation, upload.kind, upload.peer)[0] == mode:
                break
        else:
            raise ModeMismatch("the relay refuses every mode that it says is in force")
        said = content.encode(self._reference(upload))
        added = self._outgoing.add(
            upload.peer, said, upload.kind, upload.reply_to, id=upload.message
        )
        return await asyncio.shield(added)

    def _pieces(self, upload: Upload) -> Callable[[int], Awaitable[bytes]]:
        """What travels at a place."""
        spool, copy = self._spool, upload.message.hex()
        if self._seals(upload.mode):
            return lambda at: asyncio.to_thread(spool.sealed, copy, at)
        size = self._travels(upload)[0]

        async def piece(at: int) -> bytes:
            padded = await asyncio.to_thread(spool.padded, copy, upload.key, upload.size, at)
            return padded[: size - at]

        return piece

    async def _copy(self, message: bytes, source: Source, key: bytes) -> Copy:
        welcome = self._session.welcome
        limits = None if welcome is None else welcome.limits
        if limits is None or not limits.blob:
            raise LimitExceeded("this relay takes no attachments")
        copy = await asyncio.to_thread(self._spool.seal, message.hex(), source, key, limits.blob)
        if not copy.size:
            self._spool.remove(message.hex())
            raise BadArgument("the file is empty")
        return copy

    # --- what travels, and what is said of it ---

    def _seals(self, mode: str) -> bool:
        """Whether this client encrypts: in modes that keep even a compelled operator out."""
        return not self._trust.reads(mode, "compelled_operator")

    def _beginning(self, upload: Upload, epoch: int) -> wire.SetBlob:
        size, digest = self._travels(upload)
        return wire.SetBlob(
            ref=0,
            id=upload.blob,
            do="begin",
            to=upload.peer,
            kind=upload.kind,
            mode=upload.mode,
            epoch=epoch,
            size=size,
            digest=digest,
        )

    def _travels(self, upload: Upload) -> tuple[int, bytes]:
        """Size and H of what goes over the wire: sealed, or padded where the disks at the relay
        are to learn no length, or the file as it is."""
        if self._seals(upload.mode):
            return sealed_size(upload.size), upload.ciphertext
        if not self._trust.reads(upload.mode, "database"):
            return padded_size(upload.size + 1), upload.padded
        return upload.size, upload.plaintext

    def _reference(self, upload: Upload) -> content.Attachment:
        seals = self._seals(upload.mode)
        return content.Attachment(
            blob=upload.blob,
            name=upload.name,
            media_type=upload.media_type,
            size=upload.size,
            ciphertext=self._travels(upload)[1],
            plaintext=upload.plaintext,
            key=upload.key if seals else b"",
            chunk=CHUNK if seals else 0,
        )

    # --- inside ---

    async def _mode(self, peer: bytes, kind: wire.Kind) -> tuple[str, int]:
        """Mode and epoch to send in, as for a message."""
        conversation = self._conversation(peer)
        return await self._trust.resolve(lambda: self._trust.pins.to_send(conversation, kind, peer))

    def _conversation(self, peer: bytes) -> bytes:
        return policy.conversation_id(self._trust.account_id, peer)

    def _keep(self, upload: Upload) -> None:
        self._memory.store.put(_TABLE, upload.message, _encode(upload))

    def _done(self, upload: Upload) -> None:
        self._memory.store.delete(_TABLE, upload.message)
        self._spool.remove(upload.message.hex())

    async def _forget(self, upload: Upload, *, drop: bool) -> None:
        if drop:
            await self._abandon(upload)
        self._done(upload)

    async def _abandon(self, upload: Upload) -> None:
        """Have the relay delete it; what it does not hear of, it forgets after a while."""
        with contextlib.suppress(LouverError, TimeoutError):
            async with asyncio.timeout(FAREWELL_SECONDS):
                await self._transfer.step(upload.blob, "drop")


async def _outcome(task: asyncio.Task[Sent]) -> Sent:
    """What comes of ``task``, which cancelling the wait for it does not end."""
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        waiting = asyncio.current_task()
        if task.cancelled() and waiting is not None and not waiting.cancelling():
            raise ConnectionLost(
                "the chat closed, or gave the file up, before all of it was sent"
            ) from None
        raise


def reference_of(message: Message) -> content.Attachment:
    """What ``message`` says of its file. Raises ``BadArgument`` where it refers to none."""
    what = content.parse(message.content).what
    if not isinstance(what, content.Attachment):
        raise BadArgument("there is no attachment in this message")
    return what
