"""``louverd reveal``: what the operator of a relay can read with the powers it has anyway.

What may live here: opening the store read-only, asking each mode for each message, writing JSON
lines. It grants nothing: whoever may read the data directory could do the same by hand, which
is the point of measuring it. A composition root of its own, because it must not start a relay.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from crypto_modes import wire
from crypto_modes.content import describe, without_reply
from crypto_modes.contract import (
    Evidence,
    Mode,
    Need,
    NeedDataKey,
    NeedFrankingKey,
    NeedWrappedKey,
    ServerMode,
    ServerTools,
    Stored,
    Want,
)
from crypto_modes.errors import (
    BadConfig,
    CannotOpen,
    CannotRead,
    FrameRefused,
    KeyServiceUnavailable,
    LouverError,
    ReportRefused,
)
from server import logs
from server.keyrings.data_keys import DataKeyCache
from server.keyrings.franking import FrankingKeyFiles
from server.platform_keys import open_keyring
from server.reveal_files import RevealedFile, RevealedFiles
from server.secrets_file import secret_file
from server.settings_tree import Settings
from server.store.blob_files import BlobFiles
from server.store.sqlite import ReadOnlySqliteStore

WARNING = "this uses the operator's own powers: no case, no approval, no receipt"
PAGE = 500
NEEDS_LIMIT = 4
REPORT_LIMIT = 128 * 1024

# What makes one message unreadable; anything else, such as a dead disk, ends the command.
_UNREADABLE = (CannotRead, CannotOpen, FrameRefused, ReportRefused, KeyServiceUnavailable)


class Revealed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of output: a stored message, bytes in base64. ``text`` where the content is
    UTF-8 of kind ``text``, or words for what is structured (replies, edits …); else ``content``.
    ``reason`` where it is not readable.
    """

    conversation: bytes
    seq: int
    id: bytes
    sender: bytes
    recipient: bytes
    mode: str
    kind: str
    time: int
    readable: bool
    text: str | None = None
    content: bytes | None = None
    reason: str = ""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a file of reports, bytes in base64: what a recipient reveals of a message.

    Where the mode does not frank, ``key`` is empty and ``message`` is the content as the
    reporter claims it, or empty to leave it to the relay's own record.
    """

    conversation: wire.Id
    seq: wire.Count
    reporter: wire.Id
    message: bytes = b""
    key: wire.Digest = b""


class Verdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of output for one line of reports; ``sender`` is who wrote what was revealed."""

    line: int
    verified: bool
    conversation: bytes = b""
    seq: int = 0
    reporter: bytes = b""
    sender: bytes = b""
    text: str | None = None
    content: bytes | None = None
    reason: str = ""


class Archive:
    """A relay's data, opened for reading; the relay's ``ends`` of ``modes`` may ask for keys on the
    way. ``files`` are the attachments.
    """

    def __init__(
        self,
        store: ReadOnlySqliteStore,
        blobs: BlobFiles,
        modes: Mapping[str, Mode],
        ends: Mapping[str, ServerMode],
        data_keys: DataKeyCache,
        franking_keys: FrankingKeyFiles,
    ) -> None:
        self._store = store
        self._ends = ends
        self.files = RevealedFiles(store, blobs, modes, ends, self.supply)
        self._data_keys = data_keys
        self._franking_keys = franking_keys

    async def messages(self) -> AsyncIterator[Revealed]:
        """Every stored message, in order of conversation and seq."""
        conversation, seq = b"", 0
        while page := await self._store.scan(conversation, seq, PAGE):
            for stored in page:
                yield await self._reveal(stored)
            conversation, seq = page[-1].meta.conversation, page[-1].meta.seq

    async def verdicts(self, lines: Iterable[bytes]) -> AsyncIterator[Verdict]:
        """Whether each report proves that its sender wrote what it reveals."""
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                report = _report(line)
            except ReportRefused as error:
                yield Verdict(line=number, verified=False, reason=str(error))
            else:
                yield await self._verdict(number, report)

    async def _reveal(self, stored: Stored) -> Revealed:
        meta = stored.meta
        shown: dict[str, Any] = {"readable": True}
        try:
            shown |= _shown(stored, await self._plaintext(stored, Evidence()))
        except _UNREADABLE as error:
            shown = {"readable": False, "reason": _reason(error)}
        return Revealed(
            conversation=meta.conversation,
            seq=meta.seq,
            id=meta.id,
            sender=meta.sender,
            recipient=meta.recipient,
            mode=meta.mode,
            kind=meta.kind,
            time=meta.time,
            **shown,
        )

    async def _verdict(self, number: int, report: Report) -> Verdict:
        place: dict[str, Any] = {
            "line": number,
            "conversation": report.conversation,
            "seq": report.seq,
            "reporter": report.reporter,
        }
        evidence = Evidence(reporter=report.reporter, message=report.message, key=report.key)
        try:
            stored = await self._find(report)
            content = await self._plaintext(stored, evidence)
            _check_claim(stored, report, content)
        except _UNREADABLE as error:
            return Verdict(verified=False, reason=_reason(error), **place)
        return Verdict(verified=True, sender=stored.meta.sender, **place, **_shown(stored, content))

    async def _find(self, report: Report) -> Stored:
        if report.seq > 0:
            for stored in await self._store.after(report.conversation, report.seq - 1, 1):
                if stored.meta.seq == report.seq and stored.meta.recipient == report.reporter:
                    return stored
        raise ReportRefused("this relay keeps no such message to this reporter")

    async def _plaintext(self, stored: Stored, evidence: Evidence) -> bytes:
        mode = self._ends.get(stored.meta.mode)
        if mode is None:
            raise CannotRead(f"the mode {stored.meta.mode!r} is not installed")
        for _ in range(NEEDS_LIMIT):
            try:
                return mode.reveal(stored, evidence)
            except Need as need:
                await self.supply(need.what)
        raise CannotOpen

    async def supply(self, what: Want) -> None:
        """Get a mode the key that it asks for."""
        if isinstance(what, NeedFrankingKey):
            await self._franking_keys.supply(what)
        elif isinstance(what, NeedDataKey | NeedWrappedKey):
            await self._data_keys.supply(what)
        else:
            raise LouverError("a mode asked the relay for something that only a client has")


@asynccontextmanager
async def archive(settings: Settings, modes: Mapping[str, Mode]) -> AsyncIterator[Archive]:
    """Open the data of ``settings``, also while a relay runs on it.

    Raises ``BadConfig`` where there is none or its key file is missing.
    """
    data = settings.data
    async with AsyncExitStack() as closing:
        store = ReadOnlySqliteStore(data)
        await store.open()
        closing.push_async_callback(store.close)
        # Never made here: a new key would hide that the old one is lost.
        keyring = await open_keyring(settings, store, make=False)
        closing.push_async_callback(keyring.close)
        data_keys = DataKeyCache(store, keyring, now=_now_ms, monotonic=_monotonic_ms)
        closing.push_async_callback(data_keys.close)
        franking_keys = FrankingKeyFiles(data / "franking", _now_ms)
        tools = ServerTools(
            deployment=store.deployment,
            random=os.urandom,
            data_keys=data_keys,
            franking_keys=franking_keys,
        )
        opened = {name: mode.server(tools) for name, mode in modes.items()}
        blobs = BlobFiles(data / "blobs")
        closing.push_async_callback(blobs.close)
        yield Archive(store, blobs, modes, opened, data_keys, franking_keys)


async def print_lines(
    settings: Settings,
    modes: Mapping[str, Mode],
    reports: Path | None,
    out: BinaryIO,
    directory: Path | None = None,
) -> None:
    """Write every message and every attachment, or the verdict on every line of ``reports``, as
    JSON lines to ``out``; one log line says how many. Attachments that are readable are written to
    ``directory``, if there is one. Raises ``BadConfig`` where something cannot be opened.
    """
    lines = _lines(reports)
    async with archive(settings, modes) as opened:
        logs.configure("info", settings.log.format, secret_file(settings.data / "log.key", 32))
        if lines is not None:
            await _print("reports verified", opened.verdicts(lines), out)
            return
        await _print("messages revealed", opened.messages(), out)
        await _print("attachments revealed", opened.files.each(directory), out)


async def _print(
    event: str, found: AsyncIterator[Revealed | RevealedFile | Verdict], out: BinaryIO
) -> None:
    count = readable = 0
    async for line in found:
        out.write(msgspec.json.encode(line) + b"\n")
        count += 1
        readable += line.verified if isinstance(line, Verdict) else line.readable
    out.flush()
    logs.logger().warning(event, count=count, readable=readable)


def _lines(reports: Path | None) -> list[bytes] | None:
    if reports is None:
        return None
    try:
        return reports.read_bytes().splitlines()
    except OSError as error:
        raise BadConfig(f"cannot read {reports}: {error.strerror}") from None


def _reason(error: LouverError) -> str:
    """Whoever runs this command is the operator, so the cure comes with it."""
    advice = error.advice if isinstance(error, KeyServiceUnavailable) else ""
    return advice or str(error)


def _shown(stored: Stored, content: bytes) -> dict[str, Any]:
    words = describe(content)
    if words is not None:
        return {"text": words}
    if stored.meta.kind == "text":
        try:
            return {"text": content.decode()}
        except UnicodeDecodeError:
            pass
    return {"content": content}


def _check_claim(stored: Stored, report: Report, content: bytes) -> None:
    """Without a stamp the relay's own record is the proof, so a claim must be what it says: with
    what it answers, or without."""
    if not stored.stamp and report.message not in (b"", content, without_reply(content)[0]):
        raise ReportRefused("the relay's own record says otherwise")


def _report(line: bytes) -> Report:
    if len(line) > REPORT_LIMIT:
        raise ReportRefused("this line is over 128 KiB")
    try:
        return msgspec.json.decode(line, type=Report)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise ReportRefused(f"this line is no report: {error}") from None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000
