"""The witnesses of an access log: who else signs that it only grew.

What may live here: asking them, and what their answers mean. What may not: the log itself. Each
checkpoint goes to each witness with the proof from where that one was; its signature counts once
it is verified. A witness that has seen more entries than there are, or others, has seen entries
that are gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Protocol

from crypto_modes.errors import ConnectionLost, LogRefused, LogUnavailable
from crypto_modes.transparency.note import Checkpoint, Note, Signature, Verifier
from crypto_modes.transparency.tree import Proof
from crypto_modes.transparency.witnessing import Request
from server.access_log.disk import WIRE_TEXT

ANSWER_LIMIT = 4096

# The proof that the log of so many leaves is the beginning of that of so many.
Prove = Callable[[int, int], Awaitable[Proof]]


class Contradicted(LogUnavailable):
    """A witness has signed entries that the log does not have: it was put back to an older state,
    or changed."""


class Asker(Protocol):
    """How one witness is asked; ``server.calls.Caller`` is."""

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Status and body. Raises ``ConnectionLost``."""


class Beside:
    """One witness: its key, and the way to it. ``signs`` says whether it did when it was last
    asked; ``newest`` is the largest size that it signed since this process began, ``time`` when
    (seconds), 0 for none.
    """

    def __init__(self, verifier: Verifier, asker: Asker) -> None:
        self.verifier = verifier
        self.signs = False
        self.newest = self.time = 0
        self._asker = asker
        self._seen = 0

    async def sign(self, head: Note, prove: Prove) -> Signature | None:
        """This witness's signature of ``head``, or None where it did not give one.

        Raises ``Contradicted``.
        """
        self.signs = False
        found = await self._sign(head, prove)
        self.signs = found is not None
        return found

    async def _sign(self, head: Note, prove: Prove) -> Signature | None:
        size = Checkpoint.decode(head.text).size
        try:
            status, body = await self._ask(head, size, prove)
            if status == HTTPStatus.CONFLICT:
                self._seen = self._told(body, size)
                status, body = await self._ask(head, size, prove)
            self._check_same(status, body, size)
            if status != HTTPStatus.OK:
                return None
            signed = Note.decode(head.encode() + body)
            self.time = signed.verify((self.verifier,))[self.verifier]
        except (ConnectionLost, LogRefused):
            return None
        self._seen = self.newest = size
        own = (self.verifier.name, self.verifier.id)
        # Of what it answered, one signature that was verified, and nothing else.
        return next(each for each in signed.signatures if (each.name, each.id) == own)

    async def _ask(self, head: Note, size: int, prove: Prove) -> tuple[int, bytes]:
        proof = await prove(self._seen, size)
        body = Request(self._seen, proof, head).encode()
        return await self._asker.ask("POST", "/add-checkpoint", body)

    def _check_same(self, status: int, body: bytes, size: int) -> None:
        """Asked from where it said that it is, a witness refuses for one reason alone: it has
        signed other entries, so that this log was put back and has grown since."""
        other = status == HTTPStatus.CONFLICT and self._told(body, size) == self._seen == size
        if other or status == HTTPStatus.UNPROCESSABLE_ENTITY:
            raise Contradicted(
                WIRE_TEXT,
                advice=f"the witness {self.verifier.name} has signed other entries of this log than"
                f" the first {self._seen} that it has: it was put back to an older state and has"
                " grown since, or was changed. Restore the newest copy; until then nothing may be"
                " opened",
            )

    def _told(self, body: bytes, size: int) -> int:
        text = body.decode("ascii", "replace").strip()
        if not text.isdecimal() or len(text) > 18:
            raise LogRefused("a witness told no size")
        if int(text) > size:
            raise Contradicted(
                WIRE_TEXT,
                advice=f"the witness {self.verifier.name} has signed this log with {text} entries,"
                f" and it has {size}: it was put back to an older state. Restore the newest copy;"
                " while entries are missing, nothing may be opened",
            )
        return int(text)


class Witnesses:
    """All of them; ``quorum`` of them must have signed before an entry counts, 0: none must."""

    def __init__(self, beside: Sequence[Beside] = (), quorum: int = 0) -> None:
        self.beside = beside
        self.quorum = quorum

    def __len__(self) -> int:
        return len(self.beside)

    async def sign(self, head: Note, prove: Prove) -> Note:
        """``head`` with the signatures of all who gave theirs.

        Raises ``LogUnavailable`` where fewer than ``quorum`` did, and ``Contradicted``.
        """
        found = await asyncio.gather(*(each.sign(head, prove) for each in self.beside))
        added = [each for each in found if each is not None]
        if len(added) < self.quorum:
            raise LogUnavailable(
                WIRE_TEXT,
                retry_after=1.0,
                advice=f"{len(added)} witnesses signed the access log's head, and witness_quorum"
                f" is {self.quorum}: see that they run and know this log's key",
            )
        return Note(head.text, (*head.signatures, *added))
