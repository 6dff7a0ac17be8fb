"""Preservation: an account or a conversation whose data must not be destroyed for now.

What may live here: asking for a hold, its two approvals, and lifting it, which needs two as well.
What a hold blocks at the relay (shredding keys, dropping attachments, removing messages) asks
``keeps`` or what ``Hooks.hold`` has set. A hold shows nobody anything.
"""

from __future__ import annotations

from crypto_modes import grants
from crypto_modes.errors import BadArgument, Forbidden, GrantRefused, LouverError
from crypto_modes.grants import APPROVERS, RULES, Approval, Person
from crypto_modes.holds import Order
from server.moderation.cases import OF_A_CASE, part_of
from server.moderation.desk import Desk, changed
from server.moderation.records import Case, Event, Hold, WrongState
from server.moderation.states import follow

NEEDED = RULES["preservation"].approvals
KEEPING = ("in_force", "lifting")
_PAGE = 100


class Holds:
    """As ``Cases``; beside its errors all raise ``GrantRefused``, and every refusal is entered."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    # --- looking ---

    async def get(self, who: Person, hold: bytes) -> Hold:
        """One hold."""
        self._desk.look(who)
        return await self._desk.find(Hold, hold)

    async def page(
        self, who: Person, after: int = 0, limit: int = 50, *, case: bytes = b"", state: str = ""
    ) -> list[Hold]:
        """Holds with a higher number; of a case or in a state where named."""
        self._desk.look(who)
        where: dict[str, bytes | str] = {"case": case, "state": state}
        named = {name: value for name, value in where.items() if value}
        return await self._desk.store.find(Hold, after, limit, **named)

    async def keeps(self, account: bytes, conversation: bytes) -> bool:
        """Whether what ``account`` wrote in ``conversation`` must be kept."""
        for place in (account, conversation):
            for state in KEEPING:
                if await self._desk.store.find(Hold, 0, 1, place=place, state=state):
                    return True
        return False

    # --- steps ---

    async def ask(self, who: Person, order: Order) -> Hold:
        """Ask for a hold (``place``), under a case of preservation that one works on and that names
        the account or conversation."""
        desk = self._desk
        async with desk.lock:
            case = await desk.find(Case, order.case)
            try:
                await self._check_request(who, order, case, "place")
            except LouverError as error:
                await desk.refuse(who, error, **_about(order))
            hold = Hold(
                id=order.id,
                case=case.id,
                target=order.target,
                place=order.place,
                time=desk.now(),
                subject=who.subject,
                order=order,
            )
            if await desk.store.get(Hold, hold.id) is not None:
                raise WrongState("this very hold was asked for before; look it up")
            await self._enter(who, order, "asked")
            await desk.store.put(hold)
        return hold

    async def ask_lift(self, who: Person, hold: bytes, order: Order, version: int = 0) -> Hold:
        """Ask to end a hold; it keeps until two have approved that."""
        desk = self._desk
        async with desk.lock:
            found = await desk.find(Hold, hold, version)
            case = await desk.find(Case, found.case)
            try:
                if (order.case, order.target, order.place) != (case.id, found.target, found.place):
                    raise GrantRefused("this order is about something else than the hold")
                await self._check_request(who, order, case, "lift")
            except LouverError as error:
                await desk.refuse(who, error, **_about(order))
            state = follow("hold", found.state, "ask")
            after = changed(
                found, state=state, lift=order, lifter=who.subject, lifts=(), lifters=()
            )
            await self._enter(who, order, "lift asked")
            await desk.store.put(after)
        return after

    async def approve(self, who: Person, hold: bytes, approval: Approval, version: int = 0) -> Hold:
        """Approve what is asked for now, to keep or to lift; the second approval does it."""
        desk = self._desk
        async with desk.lock:
            found = await desk.find(Hold, hold, version)
            placing = found.state == "asked"
            order = found.order if placing else found.lift or found.order
            try:
                await self._check_approval(who, found, order, approval)
            except LouverError as error:
                await desk.refuse(who, error, **_about(order))
            given = found.approvers if placing else found.lifters
            enough = len(given) + 1 >= NEEDED
            event = "approve" if not enough else "place" if placing else "lift"
            state = follow("hold", found.state, event)
            after = _approved(found, who, approval, state)
            await self._enter(who, order, state if enough else "approved")
            if enough and placing:
                # First felt, then kept: in between nothing must be lost.
                await desk.hooks.hold(after, on=True)
            await desk.store.put(after)
            if enough and not placing:
                await self._lifted(after)
            if enough:
                name = "hold.placed" if placing else "hold.lifted"
                desk.heard(Event(name=name, time=desk.now(), id=hold, case=found.case))
        return after

    async def decline(self, who: Person, hold: bytes, reason: str, version: int = 0) -> Hold:
        """An approver says no; where a lift was asked for, the hold goes on."""
        if not 0 < len(reason) <= grants.REASON_LIMIT:
            raise BadArgument(f"say why, in 1 to {grants.REASON_LIMIT} characters")
        desk = self._desk
        async with desk.lock:
            found = await desk.find(Hold, hold, version)
            order = found.lift or found.order
            await desk.allow(who, APPROVERS, "decline a hold", **_about(order))
            if who.subject == (found.lifter or found.subject):
                error = Forbidden("who has asked does not decline")
                await desk.refuse(who, error, **_about(order))
            after = changed(
                found,
                state=follow("hold", found.state, "decline"),
                lift=None,
                lifter="",
                lifts=(),
                lifters=(),
            )
            await self._enter(who, order, "declined")
            await desk.store.put(after)
        return after

    async def restore(self) -> None:
        """Tell the relay of all that must be kept; call it before anybody connects."""
        for state in KEEPING:
            after = 0
            while page := await self._desk.store.find(Hold, after, _PAGE, state=state):
                after = page[-1].number
                for hold in page:
                    await self._desk.hooks.hold(hold, on=True)

    # --- inside ---

    async def _check_request(self, who: Person, order: Order, case: Case, event: str) -> None:
        desk = self._desk
        if order.requester != who.name or desk.staff().get(who.name) != who:
            raise GrantRefused("an order names the person who asks for it, and you are another")
        if who.role not in RULES["preservation"].requesters:
            raise GrantRefused(f"a {who.role} may not ask for preservation")
        if order.event != event:
            raise GrantRefused(f"this order is to {order.event}, not to {event}")
        if case.basis != "preservation":
            raise GrantRefused(f"this case stands on {case.basis}, not on preservation")
        if case.state != "assigned" or case.assignee != who.name:
            raise GrantRefused("only the assignee of an open case asks for holds under it")
        named = case.accounts if order.target == "account" else case.conversations
        if order.place not in named:
            raise GrantRefused(f"this {order.target} is none that the case names")
        if await part_of(desk, case, who.subject) not in ("", "requester"):
            raise GrantRefused("you approved or audited something in this case; another must ask")
        if len(await desk.store.find(Hold, 0, OF_A_CASE, case=case.id)) >= OF_A_CASE:
            raise GrantRefused(f"{OF_A_CASE} holds were asked for in this case; open another case")

    async def _check_approval(
        self, who: Person, hold: Hold, order: Order, approval: Approval
    ) -> None:
        desk, placing = self._desk, hold.state == "asked"
        if approval.approver != who.name or desk.staff().get(who.name) != who:
            raise GrantRefused("an approval names the person who gives it, and you are another")
        follow("hold", hold.state, "approve")
        grants.check_approval(order, approval, desk.staff())
        if who.subject == (hold.subject if placing else hold.lifter):
            raise GrantRefused(f"{who.name} is the person who asked; somebody else must approve")
        if who.subject in (hold.approvers if placing else hold.lifters):
            raise GrantRefused(f"{who.name} has approved this already, maybe under another account")
        case = await desk.find(Case, hold.case)
        if await part_of(desk, case, who.subject) not in ("", "approver"):
            raise GrantRefused(
                f"{who.name} has asked or audited in this case; a third person must approve"
            )

    async def _lifted(self, hold: Hold) -> None:
        """No longer felt, unless another hold is about the same."""
        if not await self.keeps(hold.place, hold.place):
            await self._desk.hooks.hold(hold, on=False)

    async def _enter(self, who: Person, order: Order, event: str) -> None:
        detail = {"event": event, "reason": order.reason}
        await self._desk.enter("hold", who.name, detail=detail, **_about(order))


def _approved(hold: Hold, who: Person, approval: Approval, state: str) -> Hold:
    if hold.state == "asked":
        approvals, approvers = (*hold.approvals, approval), (*hold.approvers, who.subject)
        return changed(hold, state=state, approvals=approvals, approvers=approvers)
    lifts, lifters = (*hold.lifts, approval), (*hold.lifters, who.subject)
    return changed(hold, state=state, lifts=lifts, lifters=lifters)


def _about(order: Order) -> dict[str, object]:
    place = {"account": order.place} if order.target == "account" else {"conversation": order.place}
    return {"case": order.case, "basis": "preservation", "grant": order.id, **place}
