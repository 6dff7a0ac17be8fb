"""The end of a mode for a whole service: a plan with dates, never a switch.

What may live here: the plan's phases as a table, what each means, and the operator's use cases.
What may not: a conversation's policy, which no operator changes (``crypto_modes.policy``).

::

    planned ──start──► announced ──freeze──► frozen ──final──► ended
       └────────────────── cancel, from each of them ──────────────► cancelled

Users are told from ``announced`` on, with both dates. From ``frozen`` on nothing begins in the
mode, nor is raised to it. In ``ended`` conversations that are still in it can be read and not be
continued. They leave it only as any conversation leaves a mode, by the signatures of both users;
nothing that was sent is ever sealed again more weakly.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Literal, NamedTuple

import msgspec

from crypto_modes import wire
from crypto_modes.contract import Mode
from crypto_modes.errors import BadArgument, NotInThisMode
from server.defaults import Defaults
from server.store import Phase, Store, Sunset
from server.watch import Watch

DAY = 24 * 60 * 60 * 1000
# Time to read the notice before anything is refused, and again before conversations end.
LEAST_NOTICE = 14 * DAY

Event = Literal["start", "freeze", "final", "cancel"]


class Effect(NamedTuple):
    """What holds in a phase: users are ``told``, nothing begins in the mode (``frozen``), nothing
    is sent in it (``closed``).
    """

    told: bool = False
    frozen: bool = False
    closed: bool = False


TRANSITIONS: dict[tuple[Phase, Event], Phase] = {
    ("planned", "start"): "announced",
    ("announced", "freeze"): "frozen",
    ("frozen", "final"): "ended",
    ("planned", "cancel"): "cancelled",
    ("announced", "cancel"): "cancelled",
    ("frozen", "cancel"): "cancelled",
    ("ended", "cancel"): "cancelled",
}
EFFECTS: dict[Phase, Effect] = {
    "planned": Effect(),
    "announced": Effect(told=True),
    "frozen": Effect(told=True, frozen=True),
    "ended": Effect(told=True, frozen=True, closed=True),
    "cancelled": Effect(),
}
# The phases in which a new plan may take the place of an old one.
REPLACEABLE: frozenset[Phase] = frozenset({"planned", "cancelled"})


def due(plan: Sunset, now: int) -> Event | None:
    """The event that the calendar brings to ``plan`` next, if its time (ms) has come."""
    if plan.phase == "announced" and now >= plan.freeze:
        return "freeze"
    if plan.phase == "frozen" and now >= plan.final:
        return "final"
    return None


class SunsetStep(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``/admin/v1/sunset``; times in milliseconds, the rest only to ``plan``."""

    event: Literal["plan", "start", "cancel"]
    mode: wire.Word | None = None
    instead: wire.Word | None = None
    freeze: wire.Count = 0
    final: wire.Count = 0


class Ending:
    """The plan of this service, if it has one. ``load`` first; ``tick`` about once a minute."""

    def __init__(
        self,
        store: Store,
        registry: Mapping[str, Mode],
        defaults: Defaults,
        tell: Callable[[wire.Notice], None],
        watch: Watch,
    ) -> None:
        self._store = store
        self._registry = registry
        self._defaults = defaults
        self._tell = tell
        self._watch = watch
        self._changing = asyncio.Lock()
        self._plan: Sunset | None = None
        # What the hot path compares; empty where nothing is closed.
        self._closed = ""

    async def load(self, now: int) -> None:
        """Take up the stored plan, and what the calendar brought while the relay was down."""
        self._plan = await self._store.sunset()
        await self._take_effect()
        await self.tick(now)

    # --- what the operator does ---

    async def plan(self, mode: str, instead: str, freeze: int, final: int) -> None:
        """Write a plan down; nobody is told yet. Raises ``BadArgument``."""
        if mode not in self._registry or instead not in self._registry or mode == instead:
            known = ", ".join(self._registry)
            raise BadArgument(f"a plan ends one mode and names another instead; known: {known}")
        if final - freeze < LEAST_NOTICE:
            raise BadArgument("the final date is at least 14 days after the freeze")
        async with self._changing:
            if self._plan is not None and self._plan.phase not in REPLACEABLE:
                raise BadArgument(f"a plan is {self._plan.phase} already; cancel it first")
            made = Sunset(mode=mode, instead=instead, freeze=freeze, final=final)
            await self._keep(made)

    async def start(self, now: int) -> None:
        """Announce the plan to all users. Raises ``BadArgument`` where that is too late for its
        dates.
        """
        async with self._changing:
            plan = self._known()
            if plan.phase == "planned" and plan.freeze - now < LEAST_NOTICE:
                raise BadArgument("the freeze must be at least 14 days away; plan later dates")
            await self._step(plan, "start")

    async def cancel(self) -> None:
        """Let the mode go on, wherever the plan stands. Raises ``BadArgument``."""
        async with self._changing:
            await self._step(self._known(), "cancel")

    async def tick(self, now: int) -> None:
        """Do what the calendar brings."""
        async with self._changing:
            while self._plan is not None and (event := due(self._plan, now)) is not None:
                await self._step(self._plan, event)

    async def status(self) -> Mapping[str, object]:
        """The plan, and how many conversations are still in its mode."""
        plan = self._plan
        if plan is None:
            return {"phase": "none"}
        left = await self._store.conversations_in(plan.mode)
        return {**msgspec.structs.asdict(plan), "conversations": left}

    # --- what users meet ---

    def notice(self) -> wire.Notice | None:
        """What everybody is told on connecting; None where there is nothing to tell."""
        plan = self._plan
        if plan is None or not EFFECTS[plan.phase].told:
            return None
        dates = {"freeze": plan.freeze, "final": plan.final}
        return wire.Notice(topic="sunset", text=self._words(plan), dates=dates)

    def check_send(self, mode: str) -> None:
        """Refuse a message in a mode that has ended. Raises ``NotInThisMode``."""
        if self._closed and mode == self._closed:
            raise NotInThisMode(
                f"mode {mode} has ended here, so this conversation can only be read; with the"
                " other's consent it can go on in another mode"
            )

    def check_change(self, older: wire.Modes, newer: wire.Modes) -> None:
        """Refuse to raise a conversation to a mode that is to end. Raises ``NotInThisMode``."""
        plan = self._plan
        if plan is None or not EFFECTS[plan.phase].frozen:
            return
        if any(mode == plan.mode != older.get(kind) for kind, mode in newer.items()):
            raise NotInThisMode(
                f"mode {plan.mode} ends here on {_day(plan.final)}: since {_day(plan.freeze)}"
                " nothing new can begin in it"
            )

    # --- inside ---

    def _known(self) -> Sunset:
        if self._plan is None:
            raise BadArgument("there is no plan; make one first: louverd sunset plan")
        return self._plan

    async def _step(self, plan: Sunset, event: Event) -> None:
        phase = TRANSITIONS.get((plan.phase, event))
        if phase is None:
            raise BadArgument(f"a plan that is {plan.phase} does not {event}")
        told = EFFECTS[plan.phase].told
        await self._keep(msgspec.structs.replace(plan, phase=phase))
        notice = self.notice()
        if notice is None and told:
            text = f"The operator does not end mode {plan.mode} after all: it goes on as before."
            notice = wire.Notice(topic="sunset", text=text)
        if notice is not None:
            self._tell(notice)

    async def _keep(self, plan: Sunset) -> None:
        """Durable first: what users were told must survive a restart."""
        await self._store.put_sunset(plan)
        self._plan = plan
        self._watch.changed(f"sunset {plan.phase}", mode=plan.mode)
        await self._take_effect()

    async def _take_effect(self) -> None:
        plan = self._plan
        effect = EFFECTS[plan.phase] if plan is not None else Effect()
        self._closed = plan.mode if plan is not None and effect.closed else ""
        instead = {plan.mode: plan.instead} if plan is not None and effect.frozen else {}
        await self._defaults.replace(instead)

    def _words(self, plan: Sunset) -> str:
        freeze, final = _day(plan.freeze), _day(plan.final)
        words = self._registry[plan.mode].words
        began = "nothing new can begin" if plan.phase == "announced" else "nothing new begins"
        return (
            f"The operator ends mode {plan.mode} here ({words}). From {freeze} on {began} in it;"
            f" from {final} on conversations in it can be read, and not be continued. What was"
            " sent in it stays as it was sent. You can keep a copy (louver export), and agree"
            f" with the other on another mode (/mode {plan.instead}); nobody decides that for you."
        )


def _day(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d")
