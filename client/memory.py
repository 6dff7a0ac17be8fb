"""What the client itself remembers, as typed rows of the key store.

What may live here: the tables of the client's own and their rows. The modes and the pins keep
theirs beside them, under names of their own. Nothing here knows about connections.

====================  ============================================  =========================
table                 key                                           value
====================  ============================================  =========================
client_identity       (empty)                                       Identity
client_names          b"n" || name, b"a" || account                 account, name
client_outgoing       conversation || id                            Outbound
client_messages       conversation || id                            messages.Message
client_cursors        conversation                                  last seq u64
client_releases       blob id                                       nothing: ``releasing.py``
client_saves          conversation || id                            saving.Save
client_team           (empty)                                       the moderation team's key
====================  ============================================  =========================

What alters messages and when they are due is in ``contents.py``.
"""

from __future__ import annotations

import os
from struct import Struct

import msgspec

from client.keystore import Keystore
from client.messages import Message
from crypto_modes import wire
from crypto_modes.contract import ID_SIZE, POSITIONS, Discreet, Secretive
from crypto_modes.errors import BadConfig

_IDENTITY, _NAMES = "client_identity", "client_names"
_OUTGOING, _MESSAGES = "client_outgoing", "client_messages"
_CURSORS = POSITIONS  # the modes read it, too
_TEAM = "client_team"
# Of attachments: kept here, because they follow from what becomes of a message.
RELEASES, SAVES = "client_releases", "client_saves"

_SEQ = Struct(">Q")
_encode = msgspec.msgpack.Encoder().encode


class Identity(Secretive, msgspec.Struct, frozen=True, kw_only=True):
    """Who this device is. ``account``, ``relay`` and ``token`` are empty before the first
    connection; ``relay`` is the id of the one relay this state belongs to."""

    device: bytes
    name: str = ""
    account: bytes = b""
    relay: bytes = b""
    token: str = ""

    def __repr__(self) -> str:
        """Never the token."""
        return f"Identity(name={self.name!r}, …)"


class Outbound(Discreet, frozen=True, kw_only=True):
    """A message sealed and not yet accepted. ``number`` orders them; ``frame`` is what was sent,
    so that a retry sends the same bytes.
    """

    number: int
    peer: bytes
    frame: wire.Send
    content: bytes
    reply_to: bytes = b""


_identity = msgspec.msgpack.Decoder(Identity).decode
_outbound = msgspec.msgpack.Decoder(Outbound).decode
_message = msgspec.msgpack.Decoder(Message).decode


class Memory:
    """Typed access to the client's own tables. Writes join the open transaction of ``store``."""

    __slots__ = ("store",)

    def __init__(self, store: Keystore) -> None:
        self.store = store

    def identity(self) -> Identity:
        """Who this device is; a new device gets its random id here, and keeps it."""
        raw = self.store.get(_IDENTITY, b"")
        if raw is not None:
            return _identity(raw)
        identity = Identity(device=os.urandom(ID_SIZE))
        self.keep_identity(identity)
        return identity

    def keep_identity(self, identity: Identity) -> None:
        self.store.put(_IDENTITY, b"", _encode(identity))

    def adopt(self, name: str) -> Identity:
        """The identity for ``name``. Raises ``BadConfig`` where the store is another user's."""
        identity = self.identity()
        if identity.name not in ("", name):
            raise BadConfig(
                f"this key store is {identity.name}'s, not {name}'s; use another one for {name}"
            )
        return msgspec.structs.replace(identity, name=name)

    # --- names: pinned at first sight, so that no relay can move a name to another account ---

    def account_of(self, name: str) -> bytes | None:
        return self.store.get(_NAMES, b"n" + name.encode())

    def name_of(self, account: bytes) -> str:
        raw = self.store.get(_NAMES, b"a" + account)
        return "" if raw is None else raw.decode()

    def keep_name(self, account: bytes, name: str) -> None:
        """Remember both ways; what is known already stays."""
        if self.account_of(name) is None and not self.name_of(account):
            self.store.put(_NAMES, b"n" + name.encode(), account)
            self.store.put(_NAMES, b"a" + account, name.encode())

    def adopt_name(self, account: bytes, name: str) -> bool:
        """Remember what another device of this user knows, in the place of what this one was told;
        whether that was the same, or nothing.
        """
        other, former = self.account_of(name), self.name_of(account)
        if other is not None and other != account:
            self.store.delete(_NAMES, b"a" + other)
        if former not in ("", name):
            self.store.delete(_NAMES, b"n" + former.encode())
        self.store.put(_NAMES, b"n" + name.encode(), account)
        self.store.put(_NAMES, b"a" + account, name.encode())
        return other in (None, account) and former in ("", name)

    # --- messages on their way out ---

    def outbound(self) -> list[Outbound]:
        """What was sealed and never accepted, oldest first."""
        found = [_outbound(raw) for _, raw in self.store.scan(_OUTGOING)]
        return sorted(found, key=lambda each: each.number)

    def keep_outbound(self, conversation: bytes, entry: Outbound) -> None:
        self.store.put(_OUTGOING, conversation + entry.frame.id, _encode(entry))

    def drop_outbound(self, conversation: bytes, id: bytes) -> None:
        self.store.delete(_OUTGOING, conversation + id)

    # --- messages sent and received ---

    # By id, which the commitment of `e2ee` covers; the relay numbers as it likes, and a number
    # that it gives twice must not put one message, and its evidence, in the place of another.

    def knows(self, conversation: bytes, id: bytes) -> bool:
        """Whether this message was received, or sent and accepted, before."""
        return self.store.get(_MESSAGES, conversation + id) is not None

    def keep_message(self, message: Message) -> None:
        """Keep a message for good; what is kept under its id already stays."""
        if not self.knows(message.conversation, message.id):
            self.store.put(_MESSAGES, message.conversation + message.id, _encode(message))

    def replace_message(self, message: Message) -> None:
        """Keep a message in the place of what is kept under its id."""
        self.store.put(_MESSAGES, message.conversation + message.id, _encode(message))

    def forget_message(self, conversation: bytes, id: bytes) -> None:
        """As if it never came."""
        self.store.delete(_MESSAGES, conversation + id)

    def message_with(self, conversation: bytes, id: bytes) -> Message | None:
        raw = self.store.get(_MESSAGES, conversation + id)
        return None if raw is None else _message(raw)

    def messages(self, conversation: bytes) -> list[Message]:
        """All that is kept of a conversation, by the relay's numbers."""
        kept = [_message(raw) for _, raw in self.store.scan(_MESSAGES, conversation)]
        return sorted(kept, key=lambda message: message.seq)

    def peers(self) -> list[bytes]:
        """The accounts of whom messages are kept, or to whom."""
        return sorted({_message(raw).peer for _, raw in self.store.scan(_MESSAGES)})

    def cursor(self, conversation: bytes) -> int:
        """The highest seq that was handled here; 0 before the first."""
        raw = self.store.get(_CURSORS, conversation)
        return 0 if raw is None else int(_SEQ.unpack(raw)[0])

    def keep_cursor(self, conversation: bytes, seq: int) -> None:
        self.store.put(_CURSORS, conversation, _SEQ.pack(seq))

    # --- the moderation team, pinned at first sight ---

    def team(self) -> bytes:
        """The key that reports of this user were sealed to; empty before the first."""
        return self.store.get(_TEAM, b"") or b""

    def keep_team(self, key: bytes) -> None:
        self.store.put(_TEAM, b"", key)
