"""Proactive scanning: the operator's lists on what the relay can read, before it is sealed.

What may live here: reading the lists, what becomes of a hit, and letting go of what was held. What
may not: how a list is matched (``crypto_modes.scanning``), who reviews (``moderation``), or any
mode in which the relay cannot read: there nothing is scanned, and nothing here asks for it.

Whatever is found is sealed to the moderation team's key like a user's report, so that the relay
keeps no second copy of a text and nobody sees it but through the vault::

    flag    the message goes on; a sealed report lies in the queue
    hold    it is refused (131); the report lies in the queue; once a moderator released it, the
            same message from the same sender into the same conversation passes
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from crypto_modes import reports, scanning
from crypto_modes.contract import ID_SIZE, Meta, Mode
from crypto_modes.encoding import enc
from crypto_modes.errors import BadArgument, BadConfig, Held, LouverError, Unavailable
from crypto_modes.primitives import hmac
from crypto_modes.reports import CATEGORIES, SCANNER, Category, Item, Report
from crypto_modes.scanning import ACTIONS, Hit, Links, MediaScanner, TextScanner, Words
from server.limits import Buckets
from server.pictures import Pictures
from server.settings_tree import Settings
from server.store import Blob, HeldMessage, SealedReport, Store
from server.watch import Watch

WAITS = "this message is held for review; send it again once you hear that it may go"
LIST_LIMIT = 16 * 2**20
# A larger picture is not compared: it would be in memory as a whole.
PICTURE_LIMIT = 20 * 2**20
# Of all hits; and of one sender, so that nobody fills the queue with his own.
KEPT_LIMIT = 1_000_000
SENDER_RATE, SENDER_BURST = 1 / 60, 20
# What was let go is remembered, the latest of it.
RELEASED_LIMIT = 10_000

_KINDS = ("words", "links", "pictures")


class Listed(NamedTuple):
    """One list: its scanner, one of the two, and the category of what it finds."""

    category: Category
    text: TextScanner | None = None
    media: MediaScanner | None = None


class Scanning:
    """The lists of one relay. ``secret``, 32 bytes, hides from a copy of the database what was
    held. Raises ``BadConfig`` for lists that cannot be used."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        registry: Mapping[str, Mode],
        team: bytes,
        secret: bytes,
        observer: Watch,
    ) -> None:
        self._store = store
        self._team = team
        self._secret = secret
        self._observer = observer
        self._seconds = settings.scanning.seconds
        # Of its own: what was given up goes on to its end, and must neither have company nor take
        # the threads of others.
        self._looking = ThreadPoolExecutor(1, "pictures")
        self._turn = asyncio.Semaphore(1)
        self._comparing: asyncio.Future[list[Hit]] | None = None
        self._senders = Buckets[bytes](SENDER_RATE, SENDER_BURST)
        self._readable = frozenset(
            name for name, mode in registry.items() if mode.visibility["relay_memory"]
        )
        self._released: dict[bytes, None] = {}
        self._work: set[asyncio.Task[None]] = set()
        self.lists = self.read(settings)

    def use(self, lists: dict[str, Listed], settings: Settings) -> None:
        """Take over reloaded settings, with the lists that ``read`` gave."""
        self.lists = lists
        self._seconds = settings.scanning.seconds

    def read(self, settings: Settings) -> dict[str, Listed]:
        """The lists as their files are now, for ``lists``. Raises ``BadConfig``."""
        if settings.scanning.lists and not self._team:
            raise BadConfig(
                "scanning.lists needs moderation.key: what is found is sealed to the team"
            )
        return dict(_listed(each) for each in settings.scanning.lists)

    def scan(self, mode: str, content: bytes) -> Sequence[Hit]:
        """What the lists find in a message; nothing where the mode keeps the relay out."""
        if not self.lists or mode not in self._readable:
            return ()
        text = scanning.comparable(scanning.words_of(content))
        if not text:
            return ()
        return [hit for each in self.lists.values() if each.text for hit in each.text.scan(text)]

    def flag(self, meta: Meta, content: bytes, hits: Sequence[Hit]) -> None:
        """Report what was accepted nevertheless. It does not wait and does not fail its message."""
        self._spawn(self._report(meta, content, hits, b""))

    def still(self, meta: Meta, content: bytes, hits: Sequence[Hit]) -> Sequence[Hit]:
        """The hits that count: none of what a reviewer has let go, who need not see it twice."""
        return () if held_digest(self._secret, meta, content) in self._released else hits

    def hold(self, meta: Meta, content: bytes, hits: Sequence[Hit]) -> None:
        """Report what is refused. It does not wait."""
        digest = held_digest(self._secret, meta, content)
        self._spawn(self._report(meta, content, hits, digest))

    def looks_at(self, blob: Blob) -> bool:
        """Whether there is any list to hold an attachment to, and it is of a size to be read."""
        pictures = any(each.media for each in self.lists.values())
        meta = blob.meta
        readable = meta.kind == "image" and meta.mode in self._readable
        return pictures and readable and meta.size <= PICTURE_LIMIT

    @asynccontextmanager
    async def turn(self, blob: Blob) -> AsyncIterator[list[bytes] | None]:
        """The place for the pieces of a picture that ``look`` is to see; None for anything else.

        There is one, so that one picture is in memory, whoever sends how many, and it is free once
        the comparing has ended, given up or not. Waiting takes ``scanning.seconds`` at most: then
        it raises ``Unavailable``, for a crowd must not carry a picture past the lists.
        """
        if not self.looks_at(blob):
            yield None
            return
        try:
            async with asyncio.timeout(self._seconds):
                await self._turn.acquire()
        except TimeoutError:
            raise Unavailable(
                "other pictures are being looked at; try again", retry_after=self._seconds
            ) from None
        try:
            yield []
        finally:
            if self._comparing is None:
                self._turn.release()
            else:
                self._comparing.add_done_callback(self._compared)

    async def look(self, blob: Blob, pieces: list[bytes]) -> None:
        """Hold a picture to the lists, before anybody can get it, in one's turn. Raises ``Held``.

        In a thread, for ``scanning.seconds``: one that takes longer passes and is reported as not
        compared, so that one made for it stops no others for long.
        """
        media = b"".join(pieces)
        pieces.clear()
        loop = asyncio.get_running_loop()
        self._comparing = loop.run_in_executor(self._looking, self._compare, media)
        del media  # the thread has it, until its end
        try:
            async with asyncio.timeout(self._seconds):
                hits = await asyncio.shield(self._comparing)
        except TimeoutError:
            hits = [Hit("flag", "", "not compared in time")]
        except BadArgument as error:
            hits = [Hit("flag", "", str(error))]
        if hits:
            content = f"picture {blob.meta.id.hex()}".encode()
            about = _unplaced(blob)
            # By what it is: who sends it again uploads it again, under another id.
            digest = held_digest(self._secret, about, blob.digest)
            if digest in self._released:
                return
            if scanning.held(hits):
                self._spawn(self._report(about, content, hits, digest))
                raise Held(WAITS)
            self.flag(about, content, hits)

    def _compare(self, media: bytes) -> list[Hit]:
        lists = self.lists.values()
        return [hit for each in lists if each.media for hit in each.media.scan_media(media)]

    def _compared(self, ended: asyncio.Future[list[Hit]]) -> None:
        if not ended.cancelled():
            ended.exception()  # of one that was given up, nobody asks
        self._comparing = None
        self._turn.release()

    async def open(self) -> None:
        """Remember what was released before the last stop."""
        self._released.update(dict.fromkeys(await self._store.released(RELEASED_LIMIT)))

    async def release(self, report: bytes) -> bytes:
        """Let what the report is about pass from now on; who sent it. Raises ``Forbidden`` where
        nothing is held under it."""
        held = await self._store.release_held(report)
        self._released[held.digest] = None
        while len(self._released) > RELEASED_LIMIT:
            del self._released[next(iter(self._released))]
        self._observer.changed("held message released")
        return held.sender

    async def close(self) -> None:
        """Wait for the reports under way, and not for a picture that was given up."""
        if self._comparing is not None:
            self._comparing.cancel()
        if self._work:
            await asyncio.wait(self._work)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(self._quietly(work))
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _quietly(self, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except LouverError as error:
            self._observer.fault("scanning", error)

    async def _report(self, meta: Meta, content: bytes, hits: Sequence[Hit], digest: bytes) -> None:
        self._observer.scanned(hits[0].action)
        if self._senders.take(meta.sender, time.monotonic()) > 0.0:
            return
        report = self._about(meta, content, hits)
        sealed = SealedReport(
            id=report_id(self._secret, meta),
            reporter=SCANNER,
            time=report.created,
            tags=reports.tags(report),
            sealed=reports.seal(self._team, report),
        )
        # Both or neither: dismissing a report that holds nothing would let nothing go.
        held = HeldMessage(sealed.id, digest, meta.sender) if digest else None
        await self._store.put_report(sealed, KEPT_LIMIT, held)

    def _about(self, meta: Meta, content: bytes, hits: Sequence[Hit]) -> Report:
        words = "; ".join(f"{hit.action}: {hit.entry!r} of {hit.list}" for hit in hits)
        item = Item(
            conversation=meta.conversation,
            seq=meta.seq,
            id=meta.id,
            sender=meta.sender,
            device=meta.device,
            recipient=meta.recipient,
            kind=meta.kind,
            mode=meta.mode,
            time=meta.time,
            message=content,
        )
        return Report(
            relay=self._store.deployment,
            reporter=SCANNER,
            reported=meta.sender,
            category=self.lists[hits[0].list].category if hits[0].list in self.lists else "other",
            words=words.encode()[: reports.WORDS_LIMIT].decode(errors="ignore"),
            created=meta.time,
            items=(item,),
        )


def held_digest(secret: bytes, meta: Meta, content: bytes) -> bytes:
    """By which a held message is known again under another id, 32 bytes."""
    place = enc("louver/v1/scanning/held", meta.conversation, meta.sender, content)
    return hmac(secret, place)


def report_id(secret: bytes, meta: Meta) -> bytes:
    """The id of the report about a message, 16 bytes: the same however often it is sent."""
    return hmac(secret, enc("louver/v1/scanning/report", meta.conversation, meta.id))[:16]


def _unplaced(blob: Blob) -> Meta:
    """The context of a picture that no message refers to yet."""
    meta = blob.meta
    return Meta(
        meta.conversation,
        0,
        meta.id,
        meta.sender,
        bytes(ID_SIZE),
        blob.recipient,
        meta.kind,
        meta.mode,
        meta.epoch,
        meta.time,
    )


def _listed(setting: str) -> tuple[str, Listed]:
    """A list by its setting, ``hold:minors:words:lists/x.txt``. Raises ``BadConfig``."""
    action, category, kind, file = (*setting.split(":", 3), "", "", "")[:4]
    if action not in ACTIONS or category not in CATEGORIES or kind not in _KINDS or not file:
        raise BadConfig(
            f"scanning.lists: {setting!r} is not {'|'.join(ACTIONS)}:CATEGORY:"
            f"{'|'.join(_KINDS)}:FILE, with one of the categories {', '.join(CATEGORIES)}"
        )
    name = Path(file).name
    entries = scanning.parse_list(name, _read(file))
    if kind == "pictures":
        return name, Listed(category, media=Pictures(name, action, entries))
    scanner = Words if kind == "words" else Links
    return name, Listed(category, text=scanner(name, action, entries))


def _read(file: str) -> bytes:
    try:
        with Path(file).open("rb") as opened:
            raw = opened.read(LIST_LIMIT + 1)
    except OSError as error:
        raise BadConfig(f"scanning.lists: cannot read {file}: {error.strerror}") from None
    if len(raw) > LIST_LIMIT:
        raise BadConfig(f"scanning.lists: {file} has more than {LIST_LIMIT // 2**20} MiB")
    return raw
