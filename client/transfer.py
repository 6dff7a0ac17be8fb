"""The pieces of an attachment on their way to the relay and back.

What may live here: the steps of a ``blob`` frame, in windows. What may not: files, keys, messages.
At most ``WINDOW`` pieces wait for their answers, and messages go between them. Every request is
made again after a break (``Session.ask``), and every answer says where the relay stands.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from client.session import Session
from crypto_modes import wire
from crypto_modes.attachments import sealed_size
from crypto_modes.content import Attachment
from crypto_modes.errors import CannotOpen, FrameRefused, LouverError
from crypto_modes.padding import padded_size

WINDOW = 4
# So often an upload begins again that the relay has lost, or stands where it stood.
MOST_TRIES = 5

Progress = Callable[[int, int], None]
# Called in a thread with a place, the size of the whole, and the piece there.
Keep = Callable[[int, int, bytes], None]


def nobody(_done: int, _total: int) -> None:
    """Progress that nobody watches."""


class Transfer:
    """Pieces over one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def step(self, blob: bytes, do: str, **fields: Any) -> wire.Blob:
        """One step and its answer. Raises the relay's refusal."""
        request = wire.SetBlob(ref=0, id=blob, do=do, **fields)  # type: ignore[arg-type]  # a literal
        return await self._ask(request)

    async def up(
        self,
        begin: wire.SetBlob,
        piece: Callable[[int], Awaitable[bytes]],
        progress: Progress,
    ) -> None:
        """Upload what ``begin`` announces, from where the relay stands, and have it kept.

        ``piece`` gives what travels at a place. Raises the relay's refusal.
        """
        for attempt in range(1, MOST_TRIES + 1):
            try:
                await self._put(begin.id, await self._ask(begin), begin.size, piece, progress)
                break
            except FrameRefused as error:
                # It has not what was announced, after a power cut say, and wants it anew.
                if type(error) is not FrameRefused or attempt == MOST_TRIES:
                    raise
        await self.step(begin.id, "keep")

    async def down(self, attachment: Attachment, at: int, keep: Keep, progress: Progress) -> int:
        """Download from the place ``at`` on, as it travels; how large the whole is.

        Raises ``CannotOpen`` or the relay's refusal.
        """
        sizes = _sizes(attachment)
        size = at + 1
        while at < size:
            places = range(at, min(size, at + WINDOW * wire.PIECE), wire.PIECE)
            for answer in await _all(
                self.step(attachment.blob, "get", offset=place) for place in places
            ):
                size = answer.size
                if size not in sizes or len(answer.data) != min(wire.PIECE, size - at):
                    raise CannotOpen("the relay gives another file than was sent")
                await asyncio.to_thread(keep, at, size, answer.data)
                at += len(answer.data)
            progress(at, size)
        return size

    async def _put(
        self,
        blob: bytes,
        answer: wire.Blob,
        size: int,
        piece: Callable[[int], Awaitable[bytes]],
        progress: Progress,
    ) -> None:
        """Put what is missing, a window at a time, going back to where the relay says it stands."""
        stalls = 0
        while answer.state == "partial":
            start = answer.offset
            if start % wire.PIECE or not 0 <= start < size:
                raise LouverError("the relay names a place in an upload that is none")
            progress(start, size)
            places = range(start, min(size, start + WINDOW * wire.PIECE), wire.PIECE)
            pieces = [await piece(at) for at in places]
            answers = await _all(
                self.step(blob, "put", offset=at, data=data)
                for at, data in zip(places, pieces, strict=True)
            )
            answer = max(answers, key=lambda each: (each.state != "partial", each.offset))
            stalls = 0 if answer.offset > start else stalls + 1
            if stalls == MOST_TRIES:
                raise LouverError("the relay takes the pieces of an upload and has them not")
        progress(size, size)

    async def _ask(self, request: wire.SetBlob) -> wire.Blob:
        answer = await self._session.ask(request, wire.Blob)
        if answer.id != request.id:
            raise FrameRefused("the relay answered for another attachment")
        return answer


def _sizes(attachment: Attachment) -> set[int]:
    """How large the file at the relay may be: where it may read, its mode pads or does not."""
    if attachment.key:
        return {sealed_size(attachment.size, attachment.chunk)}
    return {attachment.size, padded_size(attachment.size + 1)}


async def _all(steps: Iterable[Awaitable[wire.Blob]]) -> list[wire.Blob]:
    """The answers of all ``steps``; the first refusal, once every step has ended."""
    answers = []
    for each in await asyncio.gather(*steps, return_exceptions=True):
        if isinstance(each, BaseException):
            raise each
        answers.append(each)
    return answers
