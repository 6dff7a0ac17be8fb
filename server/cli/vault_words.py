"""What ``louverd vault status`` says of a vault, for people.

What may live here: wording. What is a problem is said in ``server.vault.state``.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from server.vault.state import State


def lines(state: State) -> Iterator[str]:
    """One thing a line."""
    yield "would open what it is there for" if not state.problems else "something is in the way"
    keys = state.keys
    yield f"keys     {keys.doors} of doors and {keys.team} of the team in files"
    for each in keys.split:
        if each.together:
            yield f"  {each.whose} is together"
        else:
            yield f"  {each.whose}: {each.shares} of {each.needed or 'the needed'} shares are here"
    log = state.log
    yield f"log      {log.entries} entries, the newest {_time(log.newest / 1000)}; {log.key}"
    yield f"         {'takes none now' if log.refuses else 'takes more'}"
    yield f"witnesses {len(state.witnesses)}, of which {state.quorum} must sign"
    for witness in state.witnesses:
        signs = "signs" if witness.signs else "does not sign"
        yield f"  {witness.name} {signs}; {witness.entries} entries, {_time(witness.time)}"
    yield f"relay    {'does not answer' if state.relay.away else 'answers'}; {state.relay.address}"
    yield f"staff    {max(state.staff, 0)}"
    days = state.data_keys.days
    surplus = sum(each.surplus for each in days)
    yield f"data keys {sum(each.unwrapped for each in days)} unwrapped, {surplus} past the log"


def _time(seconds: float) -> str:
    if not seconds:
        return "never"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
