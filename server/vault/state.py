"""How a vault is, for who runs it: would it open what it is there for, and if not, why.

What may live here: collecting that, and what of it is a problem. What may not: a secret, a name of
the staff, the words of a command (``server.cli.vault``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import msgspec

from crypto_modes.errors import BadConfig, LogUnavailable
from crypto_modes.transparency.access_log import Opened
from server.access_log.durable import DurableLog
from server.access_log.witnesses import Witnesses
from server.vault.keys import Keys, KeyState
from server.vault.reconciling import Reconciled, Reconciling
from server.vault.staff import Staff

STATE = "/vault/v1/state"


class LogState(msgspec.Struct, frozen=True):
    """Which log, how many entries it has, when the newest was made (milliseconds, 0 for none), and
    why it would take no other, if so."""

    key: str
    entries: int
    newest: int
    refuses: str


class WitnessState(msgspec.Struct, frozen=True):
    """Whether it signed the newest head just now; the newest that it ever signed for this process,
    and when (seconds)."""

    name: str
    signs: bool
    entries: int
    time: int


class RelayState(msgspec.Struct, frozen=True):
    """Where it is, and why it does not answer this vault, if so."""

    address: str
    away: str


class State(msgspec.Struct, frozen=True):
    """All of it. ``problems`` is empty where the vault would open what it is there for."""

    keys: KeyState
    log: LogState
    quorum: int
    witnesses: tuple[WitnessState, ...]
    relay: RelayState
    staff: int
    data_keys: Reconciled
    problems: tuple[str, ...] = ()


class Reachable(Protocol):
    """The relay, as far as it matters here (``relay.Relay``)."""

    @property
    def address(self) -> str: ...
    async def away(self) -> str: ...


class Looking:
    """Looks at everything when it is asked, and so at the relay and the witnesses too."""

    def __init__(
        self,
        *,
        keys: Keys,
        log: DurableLog,
        witnesses: Witnesses,
        relay: Reachable,
        staff: Staff,
        reconciling: Reconciling,
    ) -> None:
        self._keys = keys
        self._log = log
        self._witnesses = witnesses
        self._relay = relay
        self._staff = staff
        self._reconciling = reconciling

    async def state(self) -> State:
        """How it is now; of a log that cannot be read, as it was when that was last tried."""
        # First, for a change of the list is entered when it is read.
        staff = await self._people()
        found = State(
            keys=self._keys.state(),
            log=await self._of_log(),
            quorum=self._witnesses.quorum,
            witnesses=tuple(
                WitnessState(each.verifier.name, each.signs, each.newest, each.time)
                for each in self._witnesses.beside
            ),
            relay=RelayState(self._relay.address, await self._relay.away()),
            staff=staff,
            data_keys=await self._data_keys(),
        )
        return msgspec.structs.replace(found, problems=tuple(problems(found)))

    async def _of_log(self) -> LogState:
        log, refuses = self._log, ""
        newest: list[Opened] = []
        try:
            newest = await log.opened(max(log.size - 1, 0), 1)
            await log.show()
        except LogUnavailable as error:
            refuses = error.advice or str(error)
        times = [each.entry.time for each in newest if each.entry is not None]
        return LogState(log.verifier.encode(), log.size, max(times, default=0), refuses)

    async def _data_keys(self) -> Reconciled:
        try:
            return await self._reconciling.compare()
        except LogUnavailable:
            return self._reconciling.newest

    async def _people(self) -> int:
        try:
            return len(await self._staff.people())
        except (BadConfig, LogUnavailable):
            return -1


def problems(state: State) -> Iterator[str]:
    """What keeps this vault from opening what it is there for, or should be looked at."""
    for each in state.keys.split:
        if not each.together:
            needed = each.needed or "the needed"
            yield f"{each.whose} is not together: {each.shares} of {needed} shares are here"
    if state.log.refuses:
        yield state.log.refuses
    for witness in state.witnesses:
        if not witness.signs:
            yield f"the witness {witness.name} does not sign"
    if state.relay.away:
        yield state.relay.away
    if state.staff == 0:
        yield "the vault knows nobody: louverd vault staff add"
    if state.staff < 0:
        yield "the vault knows nobody: its list of the staff cannot be believed, or not be entered"
    for day in state.data_keys.days:
        if day.surplus:
            yield (
                f"on {day.day} {day.surplus} data keys were unwrapped past the access log:"
                " louverd vault reconcile"
            )
