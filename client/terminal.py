"""The chat in a terminal: line by line, nothing drawn, so that it works everywhere.

What may live here: one conversation on a screen, sending what is typed, and what is said of what
arrives. What may not: the commands that start with a slash (``slash``), or how lines are read
(``screen``). The rules of its wording: say who can read, in the mode's own words; say what failed
and what to do; never more than is needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any

from client import mode_words, notice_words, slash, wording
from client.client import Chat
from client.linking import Candidate
from client.messages import (
    ChatState,
    Event,
    HeldBack,
    KeyChange,
    KeyRefusal,
    LogRefusal,
    Message,
    OwnKeyRefusal,
    Proposal,
    RolledBack,
    Sent,
    SplitView,
    StateChange,
    Unreadable,
)
from client.own_lists import OwnLists
from client.reporting import Choice
from client.screen import Console, Screen
from crypto_modes import wire
from crypto_modes.errors import BadArgument, LouverError
from crypto_modes.policy import digest

UNAUDITED = "This composition of end-to-end encryption has not been audited by anyone yet."
# How long leaving waits for messages that the relay has not confirmed; they are kept in any case.
FLUSH_SECONDS = 5.0
# Messages that a command may name by the number they were shown with.
NUMBERED = 1_000


class Talk:
    """One conversation on a screen."""

    def __init__(
        self,
        chat: Chat,
        name: str,
        peer: bytes,
        screen: Screen,
        own_lists: OwnLists | None = None,
    ) -> None:
        self.chat = chat
        self.name = name
        self.peer = peer
        self.screen = screen
        self.unsent = ""  # what the user's own lists warned of, and he has not sent
        self._own_lists = own_lists or OwnLists()
        self.compared = ""  # the safety number that was shown last
        self.proposed = b""  # the digest of the other's proposal that was shown last
        self.reporting: Choice | None = None  # what /report showed last, and has not sent
        self.last = b""  # the id of the user's own last message
        self.candidate: Candidate | None = None  # the device whose code was shown last
        self._modes: wire.Modes = {}  # as they were said last
        self._shown: dict[int, Message] = {}
        self._mine: dict[int, bytes] = {}  # the number -> the id of what was typed here
        self._sending: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until the user leaves, or the relay ends it. Raises what ended the session."""
        await self.show_mode()
        if self.chat.unlinked is not None:
            self.screen.show(f"! No end-to-end encryption yet: {self.chat.unlinked}. Begin: /link")
        pending = await self.chat.proposals.pending(self.peer)
        if pending is not None:
            self.show_proposal(pending)
        self.screen.show("Type a line to send it, /help for commands.")
        messages = asyncio.create_task(self._messages())
        tasks = [asyncio.create_task(self._typed()), messages, asyncio.create_task(self._events())]
        try:
            await asyncio.wait(tasks[:2], return_when=asyncio.FIRST_COMPLETED)
            if messages.done():
                messages.result()
            if self._sending:
                await asyncio.wait(self._sending, timeout=FLUSH_SECONDS)
        finally:
            for task in (*tasks, *self._sending):
                task.cancel()
            await asyncio.gather(*tasks, *self._sending, return_exceptions=True)

    # --- what is typed ---

    async def _typed(self) -> None:
        async for line in self.screen.lines():
            text = line.strip()
            if text == "/quit":
                return
            if text.startswith("/"):
                await self._command(text)
            elif text:
                self.type(line)

    async def _command(self, text: str) -> None:
        word, _, argument = text.partition(" ")
        command = slash.COMMANDS.get(word)
        if command is None:
            if word != "/help":
                self.screen.show(f"! there is no command {wording.plain(word)}")
            self.screen.show(slash.HELP)
            return
        try:
            await command.run(self, argument.strip())
        except LouverError as error:
            self.screen.show(f"! {wording.plain(str(error))}")

    # --- what commands use ---

    def type(self, line: str, *, anyway: bool = False) -> None:
        """Send a line, unless the user's own lists warn of it; typed again it goes."""
        found = self._own_lists.find(line.encode())
        if found and not anyway and line != self.unsent:
            self.unsent = line
            self.screen.show(f"! not sent: your own list has {wording.plain(found)}. /anyway sends")
            return
        self.unsent = ""
        # Without waiting: while the relay is away, lines are kept and go out later.
        self.say(self.chat.send(self.peer, line))

    def say(self, sending: Awaitable[Sent]) -> None:
        """Send without waiting; what fails is shown, what goes out is the user's last message."""
        self.later(self._say(sending), "not sent: ")

    async def _say(self, sending: Awaitable[Sent]) -> None:
        sent = await sending
        self.last = self._mine[sent.seq] = sent.id
        if len(self._mine) > NUMBERED:
            del self._mine[next(iter(self._mine))]

    def later(self, work: Coroutine[Any, Any, object], failed: str = "") -> None:
        """Do something without keeping the user from typing; what goes wrong is shown."""
        task = asyncio.create_task(self._or_show(work, failed))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _or_show(self, work: Coroutine[Any, Any, object], failed: str) -> None:
        try:
            await work
        except LouverError as error:
            self.screen.show(f"! {failed}{wording.plain(str(error))}")

    async def show_mode(self) -> None:
        """Say which mode this conversation is in, and who can read in it."""
        self._modes = (await self.chat.policy(self.peer)).modes
        first, *others = mode_words.shown(self._modes, self.chat.words)
        self.screen.show(f"With {self.name}, {first}.")
        for line in others:
            self.screen.show(f"{line}.")
        if self.chat.proposals.private(self._modes["text"]):
            self.screen.show(UNAUDITED)

    def show_proposal(self, proposal: Proposal) -> None:
        """Say what waits for the agreement of one of the two."""
        self.screen.show(self._proposal_words(proposal))

    def show_message(self, message: Message, *, other: bool = False) -> None:
        """Show a message with its number; ``other``: it is of another conversation."""
        if not other:
            self._shown.pop(message.seq, None)
            self._shown[message.seq] = message
            if len(self._shown) > NUMBERED:
                del self._shown[next(iter(self._shown))]
        self.screen.show(wording.line(message, other=other, number=self._number))
        found = self._own_lists.find(message.content)
        if found:
            self.screen.show(f"! your own list has {wording.plain(found)}; nobody was told")

    def _number(self, message_id: bytes) -> str:
        """How a message is called on this screen."""
        if message_id == self.last:
            return "your last message"
        mine = (f"your #{seq}" for seq, each in self._mine.items() if each == message_id)
        shown = (f"#{seq}" for seq, each in self._shown.items() if each.id == message_id)
        return next(mine, next(shown, wording.UNNUMBERED))

    def target(self, number: str) -> bytes:
        """The id of the message with ``number``: shown here, or typed. Raises ``BadArgument``."""
        mine = self._mine.get(int(number)) if _is_number(number) else None
        return mine or self.message(number).id

    def message(self, number: str) -> Message:
        """The message that was shown with ``number``. Raises ``BadArgument``."""
        if not _is_number(number):
            raise BadArgument("name a message by its number, 7 for #7; /history shows the numbers")
        found = self._shown.get(int(number))
        if found is None:
            raise BadArgument(f"no message #{number} was shown here; /history shows older ones")
        return found

    # --- what arrives ---

    async def _messages(self) -> None:
        async for message in self.chat:
            await self._show(message)

    async def _show(self, message: Message) -> None:
        here = self.peer in (message.sender, message.recipient)
        self.show_message(message, other=not here)
        if here:
            await self.chat.mark_read(message)

    async def _events(self) -> None:
        async for event in self.chat.events():
            text = self._words(event)
            if text:
                self.screen.show(text)

    def _words(self, event: Event) -> str:
        """What an event is to the person at this screen; nothing for most of them."""
        match event:
            case StateChange(ChatState.DISCONNECTED, reason, retry):
                return f"* disconnected: {wording.plain(reason)}; trying again in {retry:.0f} s"
            case StateChange(ChatState.CONNECTED):
                return "* connected again"
            case KeyChange(peer, _) if peer == self.peer:
                return (
                    f"! THE KEY OF {self.name} CHANGED. Nothing is sent or shown until you compare"
                    " /safety with them and /accept."
                )
            case KeyRefusal(peer, reason) if peer == self.peer:
                why = wording.plain(reason)
                return f"! the relay showed keys of {self.name} that are not theirs: {why}"
            case OwnKeyRefusal(reason):
                return f"! YOUR OWN KEY: {reason}"
            case LogRefusal(reason):
                return f"! THE RELAY'S KEY LOG: {wording.plain(reason)}"
            case SplitView(peer, _):
                return f"! {self._split_words(peer)}"
            case Unreadable(_, _, sender, reason) if sender == self.peer:
                return f"! a message from {self.name} was dropped: {wording.plain(reason)}"
            case HeldBack(_, sender, reason) if sender == self.peer:
                return (
                    f"! messages of {self.name} are held back until their keys verify:"
                    f" {wording.plain(reason)}"
                )
            case Proposal(_, policy) if self.peer in (policy.first, policy.second):
                return self._proposal_words(event)
            case RolledBack(by, policy) if self.peer in (policy.first, policy.second):
                return self._rolled_back_words(by, policy)
            case wire.Policy() if self.peer in (event.first, event.second):
                return self._policy_words(event)
            case wire.Notice():
                return f"* the operator says: {wording.plain(event.text)}"
            case wire.Notices():
                said = "; ".join(map(notice_words.headline, event.notices))
                return f"* the relay's moderation: {said}. louver notices shows it" if said else ""
            case wire.Typing() if event.account == self.peer and event.on:
                return f"* {self.name} is typing"
        return ""

    def _policy_words(self, policy: wire.Policy) -> str:
        if policy.modes == self._modes:
            return ""
        said = mode_words.changes(self._modes, policy.modes, self.chat.words)
        self._modes = policy.modes
        return f"* this conversation is now in {said}"

    def _split_words(self, peer: bytes) -> str:
        who = self.name if peer == self.peer else peer.hex()[:8]
        return (
            f"A MESSAGE OF {who} CLAIMS ANOTHER LOG OF KEYS THAN YOU SEE: they invent that, or the"
            " relay shows you different ones. Ask for their louver keys log, and hold it to yours"
            " (--against); compare safety numbers with everybody who matters."
        )

    def _proposal_words(self, proposal: Proposal) -> str:
        policy = proposal.policy
        said = mode_words.changes(self._modes, policy.modes, self.chat.words)
        if proposal.by != self.peer:
            return (
                f"* you have proposed {said}. Nothing changes unless {self.name} agrees"
                f" before {mode_words.until(policy.deadline)}. To take it back: /mode withdraw"
            )
        self.proposed = digest(policy)
        return (
            f"* {self.name} proposes {said}. To agree: /mode agree; to end it: /mode decline."
            " Until you agree, nothing changes"
        )

    def _rolled_back_words(self, by: bytes, policy: wire.Policy) -> str:
        said = mode_words.changes(self._modes, policy.modes, self.chat.words)
        whose = f"{self.name}'s proposal" if by == self.peer else "your proposal"
        return f"* nothing changed: {whose} is over without both of you agreeing ({said})"


async def talk(
    chat: Chat, name: str, screen: Screen | None = None, own_lists: OwnLists | None = None
) -> None:
    """Chat with ``name`` until the user leaves. Raises ``Forbidden`` for an unknown name."""
    peer = await chat.look_up(name)
    await Talk(chat, wording.plain(name), peer, screen or Console("> "), own_lists).run()


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 20
