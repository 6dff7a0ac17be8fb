"""All that one client keeps for ``e2ee``, in one place to hand around.

Only the gathering lives here, and the two tables of counters; each other table belongs to the
file that knows its meaning.
"""

from __future__ import annotations

import msgspec

from crypto_modes import wire
from crypto_modes.contract import KEY_LOG, LOG_HEAD, NO_LOG_HEAD, POSITIONS, ClientTools
from crypto_modes.e2ee.body import Heard, Recent, Said
from crypto_modes.e2ee.handshakes import Handshakes
from crypto_modes.e2ee.identity import Identity
from crypto_modes.e2ee.peers import Peers
from crypto_modes.e2ee.sessions import Sessions
from crypto_modes.pins import Pins

SAID = "e2ee_said"  # conversation -> Said
RECENT = "e2ee_recent"  # conversation || message id -> Recent
HEARD = "e2ee_heard"  # conversation || account || device -> Heard

# A client may have this many messages under way when the relay finds its device lists stale.
RECENT_KEPT = 4_096
RECENT_SWEEP = 1_024

_encode = msgspec.msgpack.Encoder().encode
_decode_said = msgspec.msgpack.Decoder(Said).decode
_decode_recent = msgspec.msgpack.Decoder(Recent).decode
_decode_heard = msgspec.msgpack.Decoder(Heard).decode


class Memory:
    """One client's tools, keys, peers, sessions and counters; all in its ``State``."""

    __slots__ = ("handshakes", "identity", "peers", "pins", "sessions", "tools")

    def __init__(self, tools: ClientTools) -> None:
        self.tools = tools
        self.pins = Pins(tools.state, tools.account)
        self.identity = Identity(tools)
        self.peers = Peers(tools.state, tools.account, self.identity.account_key)
        self.sessions = Sessions(tools.state)
        self.handshakes = Handshakes(tools, self.identity, self.peers)

    def learn(self, frame: wire.Devices) -> None:
        """Verify and keep a device list, and forget the sessions with devices that it no longer
        names, or names with other keys. Raises as ``Peers.learn``.
        """
        for device in self.peers.learn(frame):
            self.sessions.drop(frame.account + device)

    def said(self, conversation: bytes) -> Said:
        """What this device said there."""
        raw = self.tools.state.get(SAID, conversation)
        return Said() if raw is None else _decode_said(raw)

    def recent(self, conversation: bytes, id: bytes) -> Recent | None:
        """What was sealed there under this message id, if it was lately."""
        raw = self.tools.state.get(RECENT, conversation + id)
        return None if raw is None else _decode_recent(raw)

    def keep_recent(self, conversation: bytes, id: bytes, recent: Recent) -> None:
        """Store the same, and now and then forget what is too old to be sealed again."""
        state = self.tools.state
        state.put(RECENT, conversation + id, _encode(recent))
        if recent.counter % RECENT_SWEEP == 0:
            for key, raw in list(state.scan(RECENT, conversation)):
                if _decode_recent(raw).counter <= recent.counter - RECENT_KEPT:
                    state.delete(RECENT, key)

    def position(self, conversation: bytes) -> int:
        """Up to which seq the client has handled everything there."""
        return int.from_bytes(self.tools.state.get(POSITIONS, conversation) or b"", "big")

    def log_head(self) -> bytes:
        """The newest head of the key log that the client has checked; zeros for none."""
        return self.tools.state.get(KEY_LOG, LOG_HEAD) or NO_LOG_HEAD

    def heard(self, conversation: bytes, peer: bytes) -> Heard:
        """What was heard there from ``account || device``."""
        raw = self.tools.state.get(HEARD, conversation + peer)
        return Heard() if raw is None else _decode_heard(raw)

    def keep_said(self, conversation: bytes, said: Said) -> None:
        """Store the same."""
        self.tools.state.put(SAID, conversation, _encode(said))

    def keep_heard(self, conversation: bytes, peer: bytes, heard: Heard) -> None:
        """Store the same."""
        self.tools.state.put(HEARD, conversation + peer, _encode(heard))
