"""Exporting: what a user takes along, from this device and, where it answers, from the relay.

What may live here: which messages go into an export. What may not: the format (``export_file``), or
the commands (``export_commands``). What is to disappear is not exported: it was written to be gone,
and a file would keep it. What was deleted is gone already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import IO, Protocol

from client.export_file import FORMAT, About, Conversation, Epoch, Line, Proof, Said, write
from client.memory import Memory
from client.messages import Message
from client.trust import Trust, now_ms
from crypto_modes import policy
from crypto_modes.pins import Pins

PAGE = 100


class History(Protocol):
    """``Chat.history``: it takes in what it shows."""

    async def __call__(
        self, peer: bytes | str, *, before: int = 0, limit: int = 50
    ) -> list[Message]: ...


class Exports:
    """The exports of one chat."""

    def __init__(self, memory: Memory, trust: Trust, history: History) -> None:
        self._memory = memory
        self._trust = trust
        self._history = history

    async def write(self, out: IO[bytes], *names: str) -> int:
        """Write the conversations with ``names``, or all that this device knows of, to ``out``; how
        many messages there are. First, what the relay has and this device has not is taken in.
        """
        peers = [await self._trust.account(name) for name in names] or self._memory.peers()
        for peer in peers:
            await self._fetch(peer)
        return write(out, lines(self._memory, peers, self._trust.words, offline=False))

    async def _fetch(self, peer: bytes) -> None:
        before = 0
        while page := await self._history(peer, before=before, limit=PAGE):
            before = page[0].seq
            if before <= 1:
                return


def lines(
    memory: Memory, peers: Iterable[bytes], words: Callable[[str], str], *, offline: bool
) -> Iterator[Line]:
    """The lines of an export of these conversations, without the end."""
    identity = memory.identity()
    pins = Pins(memory.store, identity.account)
    yield About(
        format=FORMAT,
        account=identity.account,
        name=identity.name,
        relay=identity.relay,
        made=now_ms(),
        offline=offline,
    )
    for peer in peers:
        conversation = policy.conversation_id(identity.account, peer)
        epochs = pins.epochs(conversation)
        used = {mode for each in epochs for mode in each.modes.values()}
        said = {mode: words(mode) for mode in sorted(used)}
        yield Conversation(conversation, peer, memory.name_of(peer), said)
        for each in epochs:
            yield Epoch(each, policy.digest(each))
        kept = memory.messages(conversation)
        # What alters a message is one of its own without a time of its own: it goes with the other.
        passing = {message.id for message in kept if message.expires}
        for message in kept:
            if not message.deleted and passing.isdisjoint((message.id, message.target)):
                yield _said(message)


def _said(message: Message) -> Said:
    evidence = message.evidence
    return Said(
        conversation=message.conversation,
        seq=message.seq,
        id=message.id,
        sender=message.sender,
        device=message.device,
        recipient=message.recipient,
        own=message.own,
        name=message.sender_name,
        time=message.time,
        kind=message.kind,
        mode=message.mode,
        epoch=message.epoch,
        what=type(message.what).__name__.lower(),
        text=message.text if message.kind == "text" else "",
        content=message.content,
        target=message.target,
        reply_to=message.reply_to,
        warnings=message.warnings,
        commitment=message.commitment,
        stamp=message.stamp,
        evidence=None if evidence is None else Proof(evidence.message, evidence.key),
    )
