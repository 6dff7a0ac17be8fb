"""Who may call which route of the moderation API, as one table.

Only the table lives here. It is the first gate and the coarse one: each use case judges again, by
basis, assignment and part in the case. The names are those of the functions behind the routes.
"""

from __future__ import annotations

from collections.abc import Mapping

from crypto_modes.grants import APPROVERS, ROLES, RULES, Role
from server.moderation.actions import LEGAL_TAKERS, TAKERS
from server.moderation.appeals import DECIDERS
from server.moderation.cases import AUDITORS, WORKERS
from server.moderation.desk import LOOKERS
from server.moderation.numbers import COUNTERS
from server.moderation.queue import REVIEWERS
from server.moderation.staff import ADMINS

_REQUESTERS: tuple[Role, ...] = tuple(
    dict.fromkeys(role for rule in RULES.values() for role in rule.requesters)
)
_PRESERVERS = RULES["preservation"].requesters

# Without a session: these are how one gets one.
OPEN = frozenset({"log_in", "join"})

ALLOWED: Mapping[str, tuple[Role, ...]] = {
    "renew": ROLES,
    "who_am_i": ROLES,
    "log_out": ROLES,
    "list_staff": ROLES,
    "show_member": ROLES,
    "invite": ADMINS,
    "reset_member": ADMINS,
    "set_role": ADMINS,
    "remove_member": ADMINS,
    "list_reports": LOOKERS,
    "list_floods": LOOKERS,
    "show_backlog": LOOKERS,
    "list_pressed": LOOKERS,
    "show_report": LOOKERS,
    "find_account": LOOKERS,
    "show_account": LOOKERS,
    "assign_report": REVIEWERS,
    "release_report": REVIEWERS,
    "note_findings": REVIEWERS,
    "act_on_report": TAKERS,
    "dismiss_report": TAKERS,
    "settle_report": TAKERS,
    "list_cases": LOOKERS,
    "show_case": LOOKERS,
    "list_audits": LOOKERS,
    "open_case": _REQUESTERS,
    "assign_case": WORKERS,
    "release_case": WORKERS,
    "close_case": WORKERS,
    "reopen_case": WORKERS,
    "act_on_case": LEGAL_TAKERS,
    "audit_case": AUDITORS,
    "list_grants": LOOKERS,
    "show_grant": LOOKERS,
    "ask_grant": _REQUESTERS,
    "approve_grant": APPROVERS,
    "decline_grant": APPROVERS,
    "withdraw_grant": _REQUESTERS,
    "list_holds": LOOKERS,
    "show_hold": LOOKERS,
    "ask_hold": _PRESERVERS,
    "ask_lift": _PRESERVERS,
    "approve_hold": APPROVERS,
    "decline_hold": APPROVERS,
    "list_actions": LOOKERS,
    "show_action": LOOKERS,
    "list_appeals": LOOKERS,
    "show_appeal": LOOKERS,
    "decide_appeal": DECIDERS,
    "show_transparency": COUNTERS,
}
