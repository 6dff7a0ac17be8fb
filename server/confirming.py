"""Confirming: what the platform alone knows of reported messages, told to the moderation team.

What may live here: asking the franking keys about stamps, and the relay's own records about
messages without one. What may not: judging a report (``crypto_modes.verdicts``), or its text: the
relay is asked about context, commitment and stamp, or about the digest of a text, and answers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Protocol

import msgspec

from crypto_modes import franking, verdicts
from crypto_modes.contract import Evidence, Need, NeedFrankingKey, ServerMode, Stored
from crypto_modes.errors import BadArgument, CannotOpen, CannotRead, ReportRefused
from crypto_modes.primitives import equal
from crypto_modes.reports import MESSAGES_LIMIT
from crypto_modes.verdicts import Answer, Question
from server.store import Store

TRIES = 4


class Questions(msgspec.Struct, frozen=True):
    """What the team asks about one report: one question for each message."""

    questions: Annotated[tuple[Question, ...], msgspec.Meta(max_length=MESSAGES_LIMIT)]


class FrankingKeys(Protocol):
    """The relay's monthly keys, loaded where they exist and never made for the asking."""

    def find(self, month: int) -> bytes: ...
    async def supply(self, need: NeedFrankingKey) -> None: ...


class Confirming:
    """Answers for one relay. ``supply`` fetches what a mode needs to read its own records."""

    def __init__(
        self,
        store: Store,
        modes: Mapping[str, ServerMode],
        supply: Callable[[Need], Awaitable[None]],
        keys: FrankingKeys,
    ) -> None:
        self._store = store
        self._modes = modes
        self._supply = supply
        self._keys = keys
        # Whether what an account sent into a conversation is preserved; set by who knows.
        self.keeps: Callable[[bytes, bytes], bool] = _kept_by_nobody

    async def answers_to(self, body: bytes) -> bytes:
        """The answers to ``Questions`` in JSON, one for each, in JSON.

        Raises ``BadArgument`` for what are none. Raises ``StoreUnavailable`` or
        ``KeyServiceUnavailable`` where nothing can be answered, which is not a no.
        """
        try:
            asked = msgspec.json.decode(body, type=Questions)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise BadArgument(f"these are no questions about a report: {error}") from None
        return msgspec.json.encode([await self._answer(each) for each in asked.questions])

    async def _answer(self, question: Question) -> Answer:
        try:
            if question.commitment:
                return await self._stamped(question)
            return await self._kept(question)
        except (ReportRefused, BadArgument, CannotRead) as error:
            return Answer("no", str(error))

    async def _stamped(self, question: Question) -> Answer:
        try:
            return await stamped(self._keys, question)
        except ReportRefused:
            if not self.keeps(question.sender, question.conversation):
                raise
        # A key kept longer would prove everybody's messages of that month; the record is of this
        # one. What is not preserved stays beyond proof, as it was promised.
        for stored in await self._store.after(question.conversation, question.seq - 1, 1):
            told, here = (question.commitment, question.stamp), (stored.commitment, stored.stamp)
            if verdicts.asks_about(question, stored.meta) and told == here:
                return Answer("kept", "its month's key is destroyed; the preserved record says so")
        raise ReportRefused("this relay preserves no such message")

    async def _kept(self, question: Question) -> Answer:
        stored = await self._find(question)
        text = await self._plaintext(stored)
        if not equal(verdicts.digest(text), question.digest):
            return Answer("no", "the relay's own record says otherwise")
        return Answer("yes")

    async def _find(self, question: Question) -> Stored:
        if question.seq > 0:
            for stored in await self._store.after(question.conversation, question.seq - 1, 1):
                if verdicts.asks_about(question, stored.meta) and not stored.stamp:
                    return stored
        raise ReportRefused("this relay keeps no such message to this reporter")

    async def _plaintext(self, stored: Stored) -> bytes:
        mode = self._modes.get(stored.meta.mode)
        if mode is None:
            raise ReportRefused(f"the mode {stored.meta.mode!r} is not installed")
        for _ in range(TRIES):
            try:
                return mode.reveal(stored, Evidence())
            except Need as need:
                await self._supply(need)
            except CannotOpen:
                break
        raise ReportRefused("the relay's record of this message does not open")


def _kept_by_nobody(account: bytes, conversation: bytes) -> bool:
    return False


async def stamped(keys: FrankingKeys, question: Question) -> Answer:
    """Whether the key of that month made this stamp. Raises ``ReportRefused`` once destroyed."""
    month = franking.month_of(question.time)
    try:
        key = keys.find(month)
    except Need:
        await keys.supply(NeedFrankingKey(month))
        key = keys.find(month)
    return verdicts.answer(key, question)
