"""Reporting: from messages that this user received to a sealed report at the relay.

What may live here: choosing what is revealed, believing the team's key, handing in. What may not:
the format of a report (``crypto_modes.reports``), or asking the user (``cli``, ``slash``).

A report reveals the messages it names, who wrote and received them and when, the category and the
words, and that this account reports: to the holders of the team's key. To the relay it reveals that
this account reports something, when, and about how many messages. To the reported user: nothing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal

import msgspec

from client.memory import Memory
from client.messages import Message
from client.session import Session
from client.trust import Trust, now_ms
from crypto_modes import policy, reports, wire
from crypto_modes.content import with_reply
from crypto_modes.contract import ID_SIZE
from crypto_modes.errors import BadArgument, Forbidden, KeyChanged, KeyRefused
from crypto_modes.primitives import hpke_check
from crypto_modes.reports import Category, Item, Report


class Team(msgspec.Struct, frozen=True):
    """The moderation team as the relay shows it. ``state``: ``first`` seen now, ``known`` since an
    earlier report, or ``changed`` since then.
    """

    key: bytes
    fingerprint: str
    state: Literal["first", "known", "changed"]


class Filed(msgspec.Struct, frozen=True):
    """The relay holds the report durably. ``blocked``: and the reported account is blocked."""

    id: bytes
    time: int
    blocked: bool = False


class Choice(msgspec.Struct, frozen=True):
    """What a user is about to report, and why."""

    messages: tuple[Message, ...]
    category: Category
    words: str = ""


class Reports:
    """The reports of one chat."""

    def __init__(self, memory: Memory, session: Session, trust: Trust) -> None:
        self._memory = memory
        self._session = session
        self._trust = trust

    async def team(self) -> Team:
        """Who would read a report. Raises ``Forbidden`` where this relay has no team, and
        ``KeyRefused`` where it shows what is no key.
        """
        shown = await self._session.ask(wire.GetTeam(ref=0), wire.Team)
        if not shown.key:
            raise Forbidden("this relay has no moderation team to report to")
        hpke_check(shown.key)
        known = self._memory.team()
        state: Literal["first", "known", "changed"] = "known" if known == shown.key else "changed"
        return Team(shown.key, reports.fingerprint(shown.key), state if known else "first")

    async def received(self, peer: bytes | str) -> list[Message]:
        """What this device keeps of ``peer``'s messages and can show, oldest first."""
        account = await self._trust.account(peer)
        conversation = policy.conversation_id(self._trust.account_id, account)
        kept = self._memory.messages(conversation)
        return [each for each in kept if not each.own and each.opened and not each.deleted]

    def compose(self, messages: Sequence[Message], category: Category, words: str = "") -> Report:
        """The report exactly as it would be revealed; nothing is sent.

        Raises ``BadArgument`` for a message that cannot be reported, with the reason, and
        ``LimitExceeded`` for more than 20 messages or too many words.
        """
        welcome = self._session.welcome
        if welcome is None or not messages:
            raise BadArgument("there is nothing to report, or nobody to report it to yet")
        report = Report(
            relay=welcome.relay,
            reporter=self._trust.account_id,
            reported=messages[0].sender,
            category=category,
            words=words,
            created=now_ms(),
            items=tuple(map(_item, messages)),
        )
        reports.encode(report)  # raises what is wrong with it, before anybody is asked
        return report

    async def send(
        self,
        messages: Sequence[Message],
        category: Category,
        words: str = "",
        *,
        also_block: bool = False,
        team: str = "",
    ) -> Filed:
        """Report messages of one sender to the moderation team; and block him only if asked to.

        ``team`` is the fingerprint that the user compared: then no other key will do, and a key
        that changed is taken. What is sent is ``compose``'s report.

        Raises:
            KeyChanged: the team's key is not the one of an earlier report, and not ``team``.
            KeyRefused: the team's key is not ``team``.
            Forbidden: this relay has no team, or one of the messages was reported before.
            RateLimited: too many reports; ``retry_after`` says when.
        """
        report = self.compose(messages, category, words)
        found = await self.team()
        _check(found, team)
        frame = wire.Report(
            ref=0,
            id=os.urandom(ID_SIZE),
            tags=reports.tags(report),
            sealed=reports.seal(found.key, report),
        )
        self._memory.keep_team(found.key)
        taken = await self._session.ask(frame, wire.Reported)
        if also_block:
            block = wire.Block(ref=0, account=report.reported, on=True)
            await self._session.ask(block, wire.Blocked)
        return Filed(taken.id, taken.time, also_block)


def _check(found: Team, compared: str) -> None:
    if compared and "".join(compared.split()).lower() != found.fingerprint.replace(" ", ""):
        raise KeyRefused(
            f"the moderation team's key has the fingerprint {found.fingerprint}, not the one that"
            " you compared; nothing was sent"
        )
    if found.state == "changed" and not compared:
        raise KeyChanged(
            f"the moderation team's key changed; its fingerprint is now {found.fingerprint}:"
            " compare it with what the operator publishes, then give it with the report"
        )


def _item(message: Message) -> Item:
    """A message as it is reported. Raises ``BadArgument`` with the reason why it cannot be."""
    if message.own:
        raise BadArgument("only messages of the other user can be reported, not your own")
    if message.deleted:
        raise BadArgument("one of these messages was deleted or disappeared: nothing of it is left")
    if not message.opened:
        raise BadArgument("this device could not open one of these messages: it has no text")
    evidence = message.evidence
    if evidence is None and message.commitment:
        raise BadArgument("this device holds no proof of one of these messages")
    return Item(
        conversation=message.conversation,
        seq=message.seq,
        id=message.id,
        sender=message.sender,
        device=message.device,
        recipient=message.recipient,
        kind=message.kind,
        mode=message.mode,
        time=message.time,
        # Where nothing is franked: what the relay delivered, and so what it can confirm.
        message=with_reply(message.content, message.reply_to)
        if evidence is None
        else evidence.message,
        key=b"" if evidence is None else evidence.key,
        commitment=message.commitment,
        stamp=message.stamp,
    )
