"""Opening what a grant is about: check, fetch, check again, enter in the log, decrypt, show.

What may live here: that one use case, in that order, and the heads by which a rolled-back
conversation is known. What may not: keys (``keys``), transport (``routes``, ``relay``).

No receipt, no plaintext: between fetching and decrypting stands ``log.append``, which returns once
the entry is inside a signed checkpoint. Whatever fails, before it or after it, nothing is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from crypto_modes import at_rest, content, disclosure, door, grants, scope, tls
from crypto_modes.contract import (
    Evidence,
    Need,
    NeedDataKey,
    NeedFrankingKey,
    ServerTools,
)
from crypto_modes.disclosure import Disclosure, Entered, OpenCall, Shown
from crypto_modes.errors import (
    CannotOpen,
    CannotRead,
    Forbidden,
    GrantRefused,
    LogUnavailable,
    LouverError,
)
from crypto_modes.grants import RULES, Grant, Person
from crypto_modes.keyring import dek_context
from crypto_modes.scope import Gap, Handed, Links, Record
from crypto_modes.transparency.access_log import Entry
from server.access_log import AccessLog, Receipt
from server.vault.asking import Asking, Refusals
from server.vault.journal import Journal
from server.vault.keys import Keys
from server.vault.reconciling import DETAIL
from server.vault.revealed import Revealed

END_TO_END = "end-to-end encrypted: only a recipient can reveal this message, by a report"


class Records(Protocol):
    """Who has the records (``relay.Relay``)."""

    async def records(
        self, conversation: bytes, first: int, last: int, known: int, case: bytes
    ) -> Handed: ...
    async def links(self, conversation: bytes, after: int, last: int, case: bytes) -> Links: ...


class Heads:
    """How far each conversation was when the vault last looked, and the head of its chain then: 56
    bytes for each look in the journal ``path``."""

    def __init__(self, path: Path) -> None:
        self._journal = Journal(path, 56)
        self._heads: dict[bytes, tuple[int, bytes]] = {}

    def open(self) -> None:
        """Raises ``BadConfig``."""
        for line in self._journal.read():
            self._heads[line[:16]] = int.from_bytes(line[16:24], "big"), line[24:]
        self._journal.begin(_line(each, *self._heads[each]) for each in self._heads)

    def find(self, conversation: bytes) -> tuple[int, bytes]:
        """Its newest message then, and the head after it; 0 and nothing where there was no look."""
        return self._heads.get(conversation, (0, b""))

    async def keep(self, conversation: bytes, seq: int, head: bytes) -> None:
        """Returns once it is remembered. Raises ``StoreUnavailable``. What is known already stays:
        of two looks at once, the older one may come last."""
        if seq > self.find(conversation)[0]:
            await self._journal.add(_line(conversation, seq, head))
            self._heads[conversation] = seq, head

    def close(self) -> None:
        self._journal.close()


class DoorKeys:
    """``contract.DataKeys`` of one reading: what is behind the moderation door. ``entered`` is the
    time of the reading's entry in the log, 0 while there is none.
    """

    def __init__(self, keys: Keys, handed: Handed, conversation: bytes) -> None:
        self._keys = keys
        self._handed = {each.id: each for each in handed.keys}
        self._records = handed.records
        self._relay = handed.relay
        self._conversation = conversation
        self._opened: dict[bytes, bytes] = {}
        self._closed: dict[bytes, str] = {}
        self.entered = 0

    def current(self, conversation: bytes, sender: bytes, now: int) -> tuple[bytes, bytes]:
        """The vault writes no record. Raises ``Need``, which nobody fulfils."""
        raise Need(NeedDataKey(conversation, sender))

    def find(self, dek_id: bytes) -> bytes:
        """The 32 bytes. Raises ``CannotOpen``, and ``KeyServiceUnavailable`` without the key."""
        # Once for each key, whatever comes of it: so many are announced.
        if dek_id in self._closed:
            raise CannotOpen(self._closed[dek_id])
        if dek_id not in self._opened:
            try:
                self._opened[dek_id] = self._open(dek_id)
            except CannotOpen as error:
                self._closed[dek_id] = str(error)
                raise
        return self._opened[dek_id]

    def needed(self) -> int:
        """How many keys would be unwrapped to open these records. Opens nothing."""
        ids = {
            at_rest.data_key_id(each.body) for each in self._records if each.mode == at_rest.NAME
        }
        doors = (self._handed[each].moderation for each in ids if each in self._handed)
        return sum(map(self._keys.has, doors))

    def check_together(self) -> None:
        """Raises ``KeyServiceUnavailable`` where the key of one of these doors is not there yet."""
        for each in self._handed.values():
            self._keys.check_together(each.moderation)

    def _open(self, dek_id: bytes) -> bytes:
        handed = self._handed.get(dek_id)
        if handed is None:
            raise CannotOpen("its data key was destroyed; nobody can open it")
        if not handed.moderation:
            raise CannotOpen("its data key was made without a moderation door")
        context = dek_context(
            self._relay, self._conversation, handed.sender, handed.epoch, door.PURPOSE
        )
        return self._keys.unwrap(handed.moderation, context, self.entered)


class NoFrankingKeys:
    """``contract.FrankingKeys`` that has none: the relay answers about stamps."""

    def find(self, month: int) -> bytes:
        raise Need(NeedFrankingKey(month))


class Opening:
    """The use case. ``revealed`` are the reported messages that were proven here; ``now`` is the
    clock, in milliseconds."""

    def __init__(
        self,
        *,
        asking: Asking,
        refusals: Refusals,
        relay: Records,
        keys: Keys,
        heads: Heads,
        revealed: Revealed,
        log: AccessLog,
        now: Callable[[], int],
    ) -> None:
        self._revealed = revealed
        self._asking = asking
        self._refusals = refusals
        self._relay = relay
        self._keys = keys
        self._heads = heads
        self._log = log
        self._now = now

    async def open(self, reader: Person, call: OpenCall) -> Disclosure:
        """All messages in the scope of the grant, for ``reader``, who made ``call`` just now.

        Raises ``GrantRefused``, ``CannotOpen``, or ``Unavailable`` where relay, log or key do not
        answer; each is entered in the log, unless it is the log.
        """
        entry = _entry(reader, call, self._now())
        try:
            return await self._open(reader, call, entry)
        except LogUnavailable:
            raise
        except LouverError as error:
            await self._refusals.of(entry, error)
            raise

    async def _open(self, reader: Person, call: OpenCall, entry: Entry) -> Disclosure:
        await self._check(reader, call)
        handed = await self._fetch(call)
        found = DoorKeys(self._keys, handed, call.grant.conversation)
        found.check_together()
        # The relay may have taken its time: who was removed meanwhile, and what ended, is out.
        await self._check(reader, call)
        records = tuple(record.id for record in handed.records)
        size = sum(len(record.body) for record in handed.records)
        detail = {**entry.detail, DETAIL: str(found.needed())}
        changed = {"records": records, "count": len(records), "size": size, "detail": detail}
        entry = msgspec.structs.replace(entry, time=self._now(), **changed)
        receipt = await self._log.append([entry])
        # And so may the log, whose disk and witnesses were waited for.
        await self._check(reader, call)
        found.entered = entry.time
        shown = _show(handed, found)
        await self._tell_unopened(entry, handed, shown)
        return Disclosure(receipt=_entered(receipt), records=shown)

    async def _check(self, reader: Person, call: OpenCall) -> None:
        grant, staff = call.grant, await self._asking.people()
        if staff.get(reader.name) != reader:
            raise GrantRefused(f"{reader.name} is not of the staff")
        if grant.requester != reader.name:
            raise GrantRefused("a grant is for who asked for it, and nobody else")
        grants.check(grant, call.approvals, staff, self._now())
        if not RULES[grant.basis].reads:
            raise GrantRefused(f"the basis {grant.basis} reveals nothing: ask for another grant")
        if grant.basis == "user_report":
            self._revealed.check(grant)

    async def _fetch(self, call: OpenCall) -> Handed:
        grant = call.grant
        seq, head = self._heads.find(grant.conversation)
        handed = await self._relay.records(
            grant.conversation, grant.first, grant.last, seq, grant.case
        )
        if seq:
            scope.check_known(handed, seq, head)
        scope.check(handed, grant)
        for gap in scope.gaps(handed, seq, head):
            await self._cross(gap, grant)
        await self._heads.keep(grant.conversation, handed.newest, handed.head)
        return handed

    async def _cross(self, gap: Gap, grant: Grant) -> None:
        while gap.after < gap.last:
            links = await self._relay.links(grant.conversation, gap.after, gap.next, grant.case)
            gap = scope.follow(gap, links)

    async def _tell_unopened(self, entry: Entry, handed: Handed, shown: tuple[Shown, ...]) -> None:
        """A record that should open and does not was changed or moved by somebody."""
        pairs = zip(handed.records, shown, strict=True)
        closed = [each for record, each in pairs if record.mode in scope.OPEN and not each.readable]
        if closed:
            told = msgspec.structs.replace(entry, records=tuple(each.id for each in closed))
            why = "; ".join(sorted({each.reason for each in closed}))
            await self._refusals.of(told, CannotOpen(why))


def _entry(reader: Person, call: OpenCall, now: int) -> Entry:
    """What the log will say of this reading, but for the records."""
    grant = call.grant
    approvers = ",".join(sorted(each.approver for each in call.approvals))
    return Entry(
        kind="read",
        time=now,
        case=grant.case,
        basis=grant.basis,
        actor=reader.name,
        conversation=grant.conversation,
        grant=grant.id,
        detail={"approvers": approvers, "reason": grant.reason, "outcome": "opened"},
    )


def _entered(receipt: Receipt) -> Entered:
    return Entered(receipt.index, receipt.checkpoint)


def _no_random(size: int) -> bytes:
    raise Forbidden("the vault writes no record")


def _show(handed: Handed, found: DoorKeys) -> tuple[Shown, ...]:
    """Every record, readable or with the reason why not."""
    tools = ServerTools(
        deployment=handed.relay,
        random=_no_random,
        data_keys=found,
        franking_keys=NoFrankingKeys(),
    )
    modes = {mode.name: mode.server(tools) for mode in (tls.MODE, at_rest.MODE)}
    return tuple(_shown(record, modes) for record in handed.records)


def _shown(record: Record, modes: Mapping[str, Any]) -> Shown:
    place = {
        name: getattr(record, name)
        for name in ("seq", "id", "sender", "device", "recipient", "kind", "mode", "time")
    }
    label = disclosure.UNLOCKED if record.mode == tls.NAME else ""
    try:
        text = _plaintext(record, modes)
    except (CannotRead, CannotOpen) as error:
        return Shown(**place, readable=False, reason=str(error), label=label)
    return Shown(**place, readable=True, label=label, **words(record.kind, text))


def _plaintext(record: Record, modes: Mapping[str, Any]) -> bytes:
    mode = modes.get(record.mode)
    if mode is None:
        raise CannotRead(END_TO_END)
    text: bytes = mode.reveal(record.stored, Evidence())
    return text


def words(kind: str, text: bytes) -> dict[str, Any]:
    """How a message is shown: in words where it has any."""
    described = content.describe(text)
    if described is not None:
        return {"text": described}
    if kind == "text":
        try:
            return {"text": text.decode()}
        except UnicodeDecodeError:
            pass
    return {"content": text}


def _line(conversation: bytes, seq: int, head: bytes) -> bytes:
    return conversation + seq.to_bytes(8, "big") + head
