"""The relay's key log, as this client holds the relay to it; modes.md 18.

What may live here: the log's pinned key, the newest head that was verified, and proofs asked for
and verified. What may not: what is watched in the log and when (``key_watch``), or the arithmetic
(``crypto_modes/transparency``).

===============  =======  =======================================================================
table            key      value
===============  =======  =======================================================================
key_log          head     newest verified head: size u64 || root 32
key_log          key      the log's public key, 32 bytes, pinned at first sight
key_log          note     the signed checkpoint of that head
key_log          since    u64 ms: since then every checkpoint continued the one before
key_log          proof    a checkpoint signed by that key that is not of this log
key_log_admitted account  digest 32 || index u64: the entry that was proved
key_log_heard    account  head that it said in a message; not held to the log yet
key_log_claims   account  head that it said and that is not of this log
===============  =======  =======================================================================

Two checkpoints that the log's key has signed and that contradict each other prove that the relay
shows two logs, and nothing more is believed of it. A head in a message is signed by nobody: it is
a claim of whoever wrote it, to be shown with his name, and stops nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from client.memory import Memory
from client.session import Session
from crypto_modes import wire
from crypto_modes.contract import KEY_LOG, LOG_HEAD
from crypto_modes.e2ee import devices
from crypto_modes.e2ee.handover import LogPin
from crypto_modes.errors import BadArgument, FrameRefused, LogRefused
from crypto_modes.primitives import ed25519_check, equal
from crypto_modes.transparency import key_log, note, tree
from crypto_modes.transparency.key_log import CLAIMED, HEARD, Head
from crypto_modes.transparency.note import Verifier

_KEY, _NOTE, _SINCE, _PROOF = b"key", b"note", b"since", b"proof"
_ADMITTED = "key_log_admitted"
# What else is known of a log; ``key_watch`` keeps it, and it goes with the log.
OWN = "key_log_own"

_U64 = 8

_TWO_LOGS = (
    "the relay has signed two key logs that contradict each other: it shows different ones to"
    " different people, or was put back to an older state; no new key is believed. Ask the"
    " operator; where he has set the log up again, take its key with louver keys accept-log"
)


class LogState(msgspec.Struct, frozen=True):
    """What is pinned and verified of the relay's log. ``vkey`` names its key as C2SP writes it;
    ``since`` in milliseconds: from then on every checkpoint continued the one before.
    """

    vkey: str
    head: Head
    note: bytes
    since: int


class KeyLog:
    """One relay's log in the eyes of one device. Every verb raises ``LogRefused`` where the relay
    does not prove what it says. ``now()`` gives milliseconds.
    """

    def __init__(self, memory: Memory, session: Session, now: Callable[[], int]) -> None:
        self._store = memory.store
        self._memory = memory
        self._session = session
        self._now = now
        # One question at a time: each answer must continue the head that the one before it left.
        self._asking = asyncio.Lock()

    # --- what is known ---

    def head(self) -> Head:
        """The newest head that was verified."""
        return key_log.head(self._store)

    def state(self) -> LogState:
        """Raises ``LogRefused`` before the first checkpoint."""
        key, signed = self._store.get(KEY_LOG, _KEY), self._store.get(KEY_LOG, _NOTE)
        if key is None or signed is None:
            raise LogRefused("nothing was seen of this relay's key log yet")
        since = int.from_bytes(self._store.get(KEY_LOG, _SINCE) or b"", "big")
        return LogState(self._verifier(key).encode(), self.head(), signed, since)

    def proof(self) -> bytes:
        """A checkpoint (a signed note) by the log's own key that is not of this log; empty where
        none was ever seen.
        """
        return self._store.get(KEY_LOG, _PROOF) or b""

    def pinned(self) -> LogPin | None:
        """What is to be handed over to another device of this user; None before the first head."""
        key, signed = self._store.get(KEY_LOG, _KEY), self._store.get(KEY_LOG, _NOTE)
        return None if key is None or signed is None else LogPin(key, signed)

    def adopt(self, handed: LogPin) -> bytes:
        """Pin what another device of this user has pinned, in the place of what this one met since
        it logged in, blindly; the checkpoint that this one had, or nothing: hold it to the log.

        Inside a transaction. Raises ``LogRefused`` or ``KeyRefused`` for what is no checkpoint of
        this relay's log.
        """
        ed25519_check(handed.key)
        checkpoint = note.open_checkpoint(handed.checkpoint, self._verifier(handed.key))
        met = self._store.get(KEY_LOG, _NOTE) or b""
        self._forget()  # all that was proved was proved to what was met blindly
        self._keep(handed.key, handed.checkpoint, Head(checkpoint.size, checkpoint.root))
        return met

    # --- asking ---

    async def admit(self, shown: wire.Devices) -> None:
        """Refuse a key and list that the log does not hold; what it held once is not asked again.

        Raises ``KeyRefused`` where the list does not even verify, so that nothing is asked then.
        """
        if shown.list is None:
            return
        entry = key_log.entry(shown.account, shown.key, shown.list)
        if (self._store.get(_ADMITTED, shown.account) or b"")[:-_U64] != entry:
            devices.verify_list(shown.account, shown.key, shown.list)
            await self.prove(shown.account, entry)

    async def prove(self, account: bytes, entry: bytes) -> int:
        """The index of this entry of ``account``, proved anew in the newest tree."""
        leaf = key_log.hash_of(key_log.tag(account), entry)
        async with self._asking:
            try:
                log = await self._newest(leaf)
            except FrameRefused as error:
                if error.temporary:
                    raise
                raise LogRefused(
                    f"the relay cannot show these keys in its key log: {error}"
                ) from None
            head = self.head()
            tree.check_inclusion(leaf, log.index, head.size, log.inclusion, head.root)
            self._store.put(_ADMITTED, account, entry + log.index.to_bytes(_U64, "big"))
        return log.index

    async def update(self) -> Head:
        """See the newest checkpoint, and that it continues what was seen before."""
        async with self._asking:
            try:
                await self._newest()
            except FrameRefused as error:
                if error.temporary:
                    raise
                raise LogRefused(f"the relay does not show its key log: {error}") from None
        return self.head()

    async def check_earlier(self, said: Head) -> None:
        """Hold a head, of at most the known size, to the log: it must be one that it once had."""
        async with self._asking:
            head = self.head()
            log = await self._ask(wire.GetLog(ref=0, size=head.size, since=said.size))
            tree.check_consistency(said.size, head.size, log.consistency, said.root, head.root)

    async def compare(self, raw: bytes) -> Head:
        """Hold a checkpoint that somebody else was shown, a signed note, to this log; its head.

        Raises ``LogRefused`` where this log's key has not signed it, which says nothing of the
        relay; and where it has, but not of this log: that is the proof of two, and is kept.
        """
        checkpoint = note.open_checkpoint(raw, Verifier.decode(self.state().vkey))
        said = Head(checkpoint.size, checkpoint.root)
        if said.size > self.head().size:
            await self.update()
        if said.size > self.head().size:
            raise LogRefused("the relay shows you fewer entries than it has signed for others")
        try:
            await self.check_earlier(said)
        except (LogRefused, FrameRefused) as error:
            if error.temporary:
                raise
            self._store.put(KEY_LOG, _PROOF, raw)
            raise LogRefused(_TWO_LOGS) from None
        return said

    async def entries(self, start: int, limit: int) -> wire.Entries:
        """A page of entries, at least one and at most ``limit``; not held to a root yet."""
        page = await self._session.ask(
            wire.GetEntries(ref=0, start=start, limit=limit), wire.Entries
        )
        if page.start != start or not 0 < len(page.entries) <= limit:
            raise LogRefused("the relay does not list the entries of its key log")
        return page

    # --- the person's decisions ---

    def forget(self, vkey: str) -> None:
        """Begin anew with the log under the key ``vkey``, which the operator has told the person
        by another way: a log that was restored from a backup, or set up again.

        Raises ``BadArgument`` for a key of another relay, ``KeyRefused`` for what is none.
        """
        verifier = Verifier.decode(vkey)
        if verifier != self._verifier(verifier.key):
            raise BadArgument(f"this is the key of another log than {self._verifier(b'').name}")
        with self._store.transaction():
            self._forget()
            self._store.put(KEY_LOG, _KEY, verifier.key)

    # --- inside ---

    def _forget(self) -> None:
        for table in (KEY_LOG, _ADMITTED, HEARD, CLAIMED, OWN):
            for row, _ in list(self._store.scan(table)):
                self._store.delete(table, row)

    def _keep(self, key: bytes, signed: bytes, head: Head) -> None:
        if self._store.get(KEY_LOG, _SINCE) is None:
            self._store.put(KEY_LOG, _SINCE, self._now().to_bytes(_U64, "big"))
        self._store.put(KEY_LOG, _KEY, key)
        self._store.put(KEY_LOG, _NOTE, signed)
        if head.size:
            self._store.put(KEY_LOG, LOG_HEAD, head.encode())

    async def _newest(self, leaf: bytes = b"") -> wire.Log:
        """Take the newest checkpoint, and the proofs with it. Raises ``FrameRefused`` too."""
        if self.proof():
            raise LogRefused(_TWO_LOGS)
        known = self.head()
        try:
            log = await self._ask(wire.GetLog(ref=0, since=known.size, leaf=leaf))
        except FrameRefused as error:
            if not error.temporary:
                self._check_not_shrunk(await self._ask(wire.GetLog(ref=0)))
            raise
        if self.head() != known:  # what another device had pinned was adopted meanwhile
            return await self._newest(leaf)
        self._advance(log)
        return log

    async def _ask(self, request: wire.GetLog) -> wire.Log:
        return await self._session.ask(request, wire.Log)

    def _open(self, log: wire.Log) -> tuple[Verifier, note.Checkpoint]:
        pinned = self._store.get(KEY_LOG, _KEY)
        if pinned is None:
            ed25519_check(log.key)
        elif pinned != log.key:
            raise LogRefused(
                "the relay signs its key log with another key than before: somebody sits in"
                " between, or it was set up anew; ask the operator for its key"
            )
        verifier = self._verifier(log.key)
        return verifier, note.open_checkpoint(log.checkpoint, verifier)

    def _check_not_shrunk(self, log: wire.Log) -> None:
        """A relay that cannot prove from where we are may have less than we have seen."""
        known = self.head()
        _, checkpoint = self._open(log)
        if checkpoint.size < known.size:
            key_log.advance(known, checkpoint, ())

    def _advance(self, log: wire.Log) -> None:
        """Believe a checkpoint that continues the known one, and remember it."""
        verifier, checkpoint = self._open(log)
        known = self.head()
        if checkpoint.size == known.size != 0 and not equal(checkpoint.root, known.root):
            self._store.put(KEY_LOG, _PROOF, log.checkpoint)
            raise LogRefused(_TWO_LOGS)
        head = key_log.advance(known, checkpoint, log.consistency)
        if log.size != head.size:
            raise LogRefused("the relay proves something else than was asked for")
        if head == known:
            return
        with self._store.transaction():
            self._keep(verifier.key, log.checkpoint, head)

    def _verifier(self, key: bytes) -> Verifier:
        return key_log.log_of(self._memory.identity().relay, key)
