"""What may be said beside a plain message: ``chat.compose.reply``, ``react``, ``edit`` and so on.

What may live here: the public verbs, each checked by the rules that the other end holds it to. What
may not: those rules (``alterations``), or what becomes of what arrives (``contents``).

``peer`` is an account id or a name, ``target`` the id of a message that this device has. All return
once the relay holds them, and raise what ``Chat.send`` raises.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from client.alterations import Attempt, refusal
from client.contents import Contents
from client.memory import Memory
from client.messages import Message, Sent
from client.trust import Trust, now_ms
from crypto_modes import policy, wire
from crypto_modes.content import Alteration, Deletion, Edit, Plain, Reaction, Timer, encode
from crypto_modes.errors import BadArgument


class Send(Protocol):
    """``Chat.send``."""

    def __call__(
        self,
        to: bytes | str,
        content: bytes | str,
        *,
        kind: wire.Kind = "text",
        reply_to: bytes = b"",
    ) -> Awaitable[Sent]: ...


class Compose:
    """The other things that a user may say in a conversation."""

    def __init__(self, memory: Memory, trust: Trust, contents: Contents, send: Send) -> None:
        self._memory = memory
        self._trust = trust
        self._contents = contents
        self._send = send

    async def reply(self, peer: bytes | str, target: bytes, text: str, *, seconds: int = 0) -> Sent:
        """Answer a message. ``seconds`` as in ``disappearing``."""
        await self._target(peer, target)
        content = encode(Plain(text.encode()), seconds)
        return await self._send(peer, content, reply_to=target)

    async def disappearing(self, peer: bytes | str, text: str, seconds: int) -> Sent:
        """Send a text that leaves both ends' stores: here so long after the relay has it, there so
        long after it was first shown. The peer may have kept a copy; the relay keeps its own.
        """
        return await self._send(peer, encode(Plain(text.encode()), seconds))

    async def react(self, peer: bytes | str, target: bytes, emoji: str) -> Sent:
        """Put an emoji at a message, in the place of one's former one; empty takes it back."""
        return await self._alter(peer, Reaction(target, emoji))

    async def edit(self, peer: bytes | str, target: bytes, text: str) -> Sent:
        """Put another text in the place of an own one, within a day."""
        return await self._alter(peer, Edit(target, text))

    async def delete(self, peer: bytes | str, target: bytes) -> Sent:
        """Take an own message back, within a day: from this store, and from the peer's if their
        program obeys. The relay keeps its copy, and the peer may have kept one. A file is deleted
        at the relay, soon.
        """
        return await self._alter(peer, Deletion(target))

    async def timer(self, peer: bytes | str, seconds: int) -> Sent:
        """From now on messages of both users disappear after ``seconds``; 0: they stay."""
        return await self._send(peer, encode(Timer(seconds)))

    async def timer_of(self, peer: bytes | str) -> int:
        """After how many seconds new texts disappear; 0: they stay."""
        conversation = await self._conversation(peer)
        mode = self._trust.pins.floor(conversation, "text") or ""
        return self._contents.timer(conversation, mode)

    async def versions(self, peer: bytes | str, target: bytes) -> list[Message]:
        """A message as it was sent, and each of its edits, oldest first, with their evidence."""
        return self._contents.versions(await self._conversation(peer), target)

    async def _alter(self, peer: bytes | str, what: Alteration) -> Sent:
        target = await self._target(peer, what.target)
        content = encode(what)
        mode = self._trust.pins.floor(target.conversation, target.kind) or target.mode
        attempt = Attempt(what, self._trust.account_id, mode, now_ms())
        reason = refusal(attempt, target, self._trust.weaker)
        if reason:
            raise BadArgument(reason)
        # In the kind of what it alters: it is protected as that is, and padded as that is.
        return await self._send(peer, content, kind=target.kind)

    async def _target(self, peer: bytes | str, target: bytes) -> Message:
        found = self._memory.message_with(await self._conversation(peer), target)
        if found is None or found.deleted:
            raise BadArgument("that message is not on this device")
        return found

    async def _conversation(self, peer: bytes | str) -> bytes:
        return policy.conversation_id(self._trust.account_id, await self._trust.account(peer))
