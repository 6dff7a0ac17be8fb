"""The states of everything that moderation keeps, as tables: (state, event) → state.

Only the tables and the one function that follows them live here. What is not in a table cannot be
done, whoever asks.
"""

from __future__ import annotations

from collections.abc import Mapping

from server.moderation.records import WrongState

Table = Mapping[tuple[str, str], str]

CASES: Table = {
    ("open", "assign"): "assigned",
    ("assigned", "assign"): "assigned",
    ("assigned", "release"): "open",
    ("open", "close"): "closed",
    ("assigned", "close"): "closed",
    ("closed", "reopen"): "open",
}

# `begin`: one approval opens an emergency; the second is asked for afterwards, within a day.
GRANTS: Table = {
    ("pending", "approve"): "pending",
    ("pending", "grant"): "granted",
    ("pending", "begin"): "unreviewed",
    ("pending", "decline"): "declined",
    ("pending", "withdraw"): "withdrawn",
    ("unreviewed", "grant"): "granted",
    ("unreviewed", "decline"): "disputed",
    ("unreviewed", "overdue"): "overdue",
    ("overdue", "grant"): "granted",
    ("overdue", "decline"): "disputed",
}

REPORTS: Table = {
    ("open", "assign"): "in_review",
    ("in_review", "assign"): "in_review",
    ("in_review", "release"): "open",
    ("in_review", "note"): "in_review",
    ("in_review", "act"): "actioned",
    ("in_review", "dismiss"): "dismissed",
    ("actioned", "appeal"): "appealed",
    ("dismissed", "appeal"): "appealed",
    ("appealed", "uphold"): "upheld",
    ("appealed", "reverse"): "reversed",
    # What was dismissed wrongly is work again.
    ("reversed", "assign"): "in_review",
}

ACTIONS: Table = {
    ("in_force", "appeal"): "appealed",
    ("appealed", "uphold"): "upheld",
    ("appealed", "reverse"): "reversed",
}

APPEALS: Table = {
    ("open", "uphold"): "upheld",
    ("open", "reverse"): "reversed",
}

HOLDS: Table = {
    ("asked", "approve"): "asked",
    ("asked", "place"): "in_force",
    ("asked", "decline"): "declined",
    ("in_force", "ask"): "lifting",
    ("lifting", "approve"): "lifting",
    ("lifting", "lift"): "lifted",
    ("lifting", "decline"): "in_force",
}

TABLES: Mapping[str, Table] = {
    "case": CASES,
    "grant": GRANTS,
    "report": REPORTS,
    "action": ACTIONS,
    "appeal": APPEALS,
    "hold": HOLDS,
}


def follow(noun: str, state: str, event: str) -> str:
    """The state after ``event``. Raises ``WrongState``."""
    after = TABLES[noun].get((state, event))
    if after is None:
        possible = sorted(each for before, each in TABLES[noun] if before == state)
        raise WrongState(
            f"this {noun} is {state.replace('_', ' ')}, where {event!r} is not possible"
            + (f", only {' or '.join(possible)}" if possible else "")
        )
    return after
