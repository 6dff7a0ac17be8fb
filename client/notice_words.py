"""How notices of the relay's moderation are put for people.

Pure functions only. What a notice quotes was written by others, and may not steer the terminal.
"""

from __future__ import annotations

import time

from client.wording import plain
from crypto_modes import wire

_ACTIONS = {
    "warn": "You were warned",
    "suspend": "Your account is suspended",
}
_BASES = {
    "legal_request": "a legal request",
    "emergency": "an emergency",
}


def headline(told: wire.Told) -> str:
    """One notice in one sentence."""
    match told.topic:
        case "action":
            return _action(told)
        case "decision" if told.outcome == "reversed":
            return "Your appeal was right: the decision was reversed"
        case "decision":
            return "Your appeal was looked at, and the decision stays"
        case "report" if told.outcome == "acted":
            return "Your report was looked at, and something was done"
        case "report":
            return "Your report was looked at, and nothing was done"
        case "released":
            return "What you sent and a list held for review may go: send it again"
        case "opened":
            ground = _BASES.get(told.basis, plain(told.basis))
            return (
                f"Leave was given to read up to {told.count} messages of your conversation"
                f" {told.conversation.hex()}, on the ground of {ground}"
            )
    return f"A notice of the kind {plain(told.topic)!r}, which this version does not know"


def lines(told: wire.Told) -> list[str]:
    """One notice with its reasons, and what can be done about it."""
    new = "" if told.read else "  [new]"
    said = [f"{_moment(told.time)}  {headline(told)}{new}"]
    for name, text in (("Why", told.facts), ("Rule", told.rule), ("Redress", told.redress)):
        if text:
            said.append(f"  {name}: {plain(text)}")
    if told.automated:
        said.append("  Decided by a machine.")
    if told.action and told.topic != "decision":
        said.append(f"  To object: louver appeal {told.action.hex()} 'YOUR WORDS'")
    return said


def _action(told: wire.Told) -> str:
    if told.kind == "mute":
        return f"You may not send messages until {_moment(told.until)}"
    if told.kind == "remove":
        return f"{told.count} of your messages were removed"
    return _ACTIONS.get(told.kind, f"An action of the kind {plain(told.kind)!r}")


def _moment(milliseconds: int) -> str:
    """With the year, for notices stay; in the user's own time zone."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(milliseconds / 1000))
