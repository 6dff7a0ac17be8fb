"""Which session a message belongs to, and where sessions are kept: Sesame; modes.md 27.

What may live here: the tables of sessions and skipped keys in a client's ``State``, and the
rules of which session is active. What may not: cryptography. Per device one session is active;
up to five inactive ones only receive; one unused for 30 days is gone. A session that opens a
new message becomes active again: its peer was using it a moment ago. A late message says
nothing about the sender's present choice and changes nothing.

Two ends that begin at once would follow each other for ever, each to the session that the other
is leaving. So sessions *cross* where the peer's begins while one's own is unanswered; then of two
that both ends have sent on, both keep the one with the smaller id:

* Each end first goes to the session that the other began: that one, the other surely has.
* Whoever has sent on it and hears the own one instead has crossed again. So has the other, or will
  when it reads: both compare the same two ids, and only one of them moves. One round trip.
* Whoever has sent nothing on it follows: nobody can be on the way to it.
* Once the peer has answered on the active session, it has left the other one for good. What comes
  there then is what it is anywhere: a session that takes a working one's place, and shows.
* Only an end whose state went back goes on where the other is not. After ``CROSSING_LIMIT``
  messages it is followed, and this shows too.

No one's session is reset by that, so no warning tells of one. Which of the two wins is no question
of security: both were agreed on with the same device's keys. Source: Signal, "The Sesame
Algorithm", revision 2, for all but the crossing.
"""

from __future__ import annotations

from struct import Struct

from crypto_modes.contract import State
from crypto_modes.e2ee import session as sessions
from crypto_modes.e2ee.ratchet import SKIP_LIMIT
from crypto_modes.e2ee.session import Session, Unsealed

ACTIVE = "e2ee_active"  # account || device -> session
INACTIVE = "e2ee_inactive"  # account || device || session id -> session
SKIPPED = "e2ee_skipped"  # account || device || session id || chain || n u32 -> key || time u64
CROSSED = "e2ee_crossed"  # account || device || id of an own session -> id of the one it crossed

DAY = 24 * 60 * 60 * 1000
INACTIVE_LIMIT = 5
CROSSING_LIMIT = 256  # no less than a relay has under way to one connection
SESSION_LIFE = 30 * DAY
SKIPPED_LIFE = 7 * DAY
_PEER_SIZE = 32

_N = Struct(">I").pack
_SKIPPED = Struct(">32sQ")


class _Kept:
    """A session's skipped keys; those past their time are not found."""

    __slots__ = ("_now", "_prefix", "_state")

    def __init__(self, state: State, prefix: bytes, now: int) -> None:
        self._state = state
        self._prefix = prefix
        self._now = now

    def find(self, chain: bytes, n: int) -> bytes | None:
        raw = self._state.get(SKIPPED, self._prefix + chain + _N(n))
        if raw is None:
            return None
        key, time = _SKIPPED.unpack(raw)
        return key if self._now - time <= SKIPPED_LIFE else None


class Sessions:
    """All sessions of one client. ``peer`` is ``account || device``, 32 bytes, throughout."""

    __slots__ = ("_state",)

    def __init__(self, state: State) -> None:
        self._state = state

    def active(self, peer: bytes, now: int) -> Session | None:
        """The session to send with."""
        raw = self._state.get(ACTIVE, peer)
        if raw is None:
            return None
        session = sessions.from_bytes(raw)
        return session if now - session.used <= SESSION_LIFE else None

    def find(self, peer: bytes, id: bytes, now: int) -> Session | None:
        """The session, active or not, that a header names."""
        session = self.active(peer, now)
        if session is not None and session.id == id:
            return session
        raw = self._state.get(INACTIVE, peer + id)
        if raw is None:
            return None
        session = sessions.from_bytes(raw)
        return session if now - session.used <= SESSION_LIFE else None

    def kept(self, peer: bytes, session: Session, now: int) -> _Kept:
        """Where this session's skipped keys are looked up."""
        return _Kept(self._state, peer + session.id, now)

    def sent(self, peer: bytes, session: Session, now: int) -> None:
        """Store a session that sealed; a new one becomes active."""
        session.used = now
        self._activate(peer, session, self._state.get(ACTIVE, peer), now)

    def opened(
        self,
        peer: bytes,
        session: Session,
        unsealed: Unsealed,
        now: int,
        *,
        begins: bool,
        late: bool,
    ) -> Session | None:
        """Store a session that opened a message, and the skipped keys that came or went.

        ``begins``: the message began the session. ``late``: it was written before others that
        came already. The session whose place it took as the active one, if it did and the two
        had not crossed.
        """
        session.used = now
        prefix = peer + session.id
        for chain, n in unsealed.used:
            self._state.delete(SKIPPED, prefix + chain + _N(n))
            session.skipped -= 1
        if session.skipped and now - session.oldest > SKIPPED_LIFE:
            self._forget(session, prefix, now - SKIPPED_LIFE)
        if unsealed.fresh:
            self._keep(session, prefix, unsealed, now)
        raw = self._state.get(ACTIVE, peer)
        if raw is None or raw.startswith(session.id):
            self._activate(peer, session, raw, now)
            return None
        active = sessions.from_bytes(raw)
        crossed = self._state.get(CROSSED, prefix) == active.id
        if late or (crossed and _stays(active, session)):
            self._state.put(INACTIVE, prefix, sessions.to_bytes(session))
            self._thin(peer, now)
            return None
        self._activate(peer, session, raw, now)
        if begins and not active.answered:
            self._state.put(CROSSED, peer + active.id, session.id)
        return None if crossed and _crossing(active, session) else active

    def drop(self, peer: bytes) -> None:
        """Forget everything shared with ``account || device``, or with a whole ``account``."""
        for table in (ACTIVE, INACTIVE, SKIPPED, CROSSED):
            for key, _ in list(self._state.scan(table, peer)):
                self._state.delete(table, key)

    def purge(self, now: int) -> None:
        """Delete what is past its time: idle sessions with their skipped keys, and old keys of the
        others. Opening does the same for the session at hand; who is silent needs this.
        """
        for table in (ACTIVE, INACTIVE):
            for key, raw in list(self._state.scan(table)):
                session = sessions.from_bytes(raw)
                prefix = key[:_PEER_SIZE] + session.id
                if now - session.used > SESSION_LIFE:
                    self._state.delete(table, key)
                    self._state.delete(CROSSED, prefix)
                    self._forget(session, prefix, now)
                elif session.skipped and now - session.oldest > SKIPPED_LIFE:
                    self._forget(session, prefix, now - SKIPPED_LIFE)
                    self._state.put(table, key, sessions.to_bytes(session))

    def _activate(self, peer: bytes, session: Session, former: bytes | None, now: int) -> None:
        self._state.put(ACTIVE, peer, sessions.to_bytes(session))
        if former is not None and former.startswith(session.id):
            return
        self._state.delete(INACTIVE, peer + session.id)
        self._state.delete(CROSSED, peer + session.id)
        if former is not None:
            self._state.put(INACTIVE, peer + sessions.id_of(former), former)
            self._thin(peer, now)

    def _thin(self, peer: bytes, now: int) -> None:
        rows = [(key, sessions.from_bytes(raw)) for key, raw in self._state.scan(INACTIVE, peer)]
        rows.sort(key=lambda row: row[1].used, reverse=True)
        for place, (key, session) in enumerate(rows):
            if place >= INACTIVE_LIMIT or now - session.used > SESSION_LIFE:
                self._state.delete(INACTIVE, key)
                self._state.delete(CROSSED, key)
                for skipped, _ in list(self._state.scan(SKIPPED, key)):
                    self._state.delete(SKIPPED, skipped)

    def _keep(self, session: Session, prefix: bytes, unsealed: Unsealed, now: int) -> None:
        for each in unsealed.fresh:
            row = _SKIPPED.pack(each.key, now)
            self._state.put(SKIPPED, prefix + each.chain + _N(each.n), row)
        if not session.skipped:
            session.oldest = now
        session.skipped += len(unsealed.fresh)
        # Both ratchets skip the same messages, so a message takes two keys.
        if session.skipped > 2 * SKIP_LIMIT:
            self._forget(session, prefix, now, excess=session.skipped - 2 * SKIP_LIMIT)

    def _forget(
        self, session: Session, prefix: bytes, until: int, excess: int | None = None
    ) -> None:
        """Delete keys as old as ``until``, all of them or the ``excess`` oldest."""
        rows = []
        for key, raw in self._state.scan(SKIPPED, prefix):
            number = int.from_bytes(key[-4:], "big")
            rows.append((_SKIPPED.unpack(raw)[1], number, key))
        rows.sort()
        old = [row for row in rows if row[0] <= until][:excess]
        for _, _, key in old:
            self._state.delete(SKIPPED, key)
        session.skipped = len(rows) - len(old)
        session.oldest = rows[len(old)][0] if len(old) < len(rows) else 0


def _crossing(active: Session, own: Session) -> bool:
    """Whether the peer may not know yet that ``active``, which crossed our ``own``, is in use."""
    # The first answer to what was sent on a session turns its ratchet, which counts that.
    if active.chains.previous:
        return False
    return not active.chains.sent or own.chains.received <= CROSSING_LIMIT


def _stays(active: Session, own: Session) -> bool:
    """Whether the peer will come to ``active`` from our ``own``, on which it has just written."""
    return _crossing(active, own) and active.chains.sent > 0 and active.id < own.id
