"""How what the staff asked for is put: for people lines, for programs one JSON object a line.

Only text lives here; nothing that asks or prints. What users wrote goes through ``wording.plain``:
a terminal obeys what it is sent.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from client import wording
from client.wording import moment, plain
from crypto_modes.disclosure import Disclosure, Opened, Shown
from crypto_modes.grants import RULES, Grant
from crypto_modes.holds import Order
from crypto_modes.reports import SCANNER

Fields = Mapping[str, Any]
# What the relay calls accounts; the vault knows them by their ids alone.
Names = Mapping[bytes, str]


def as_json(answer: object) -> str:
    """One object on one line; bytes as hexadecimal."""
    return wording.as_json(_hex(msgspec.to_builtins(answer, builtin_types=(bytes,))))


def _hex(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {name: _hex(each) for name, each in value.items()}
    return [_hex(each) for each in value] if isinstance(value, list | tuple) else value


# --- one line each, for lists ---


def report(each: Fields) -> str:
    """A report of the queue."""
    who = f", {each['assignee']}" if each["assignee"] else ""
    who += ", found by a list" if each["reporter"] == SCANNER.hex() else ""
    about = f", {each['category']}, {each['evidence']}" if each["category"] else ""
    old = "" if each["settled"] else f", {age(each['time'])} old"
    return (
        f"{each['number']:>6}  {moment(each['time'])}  {state(each)}{who}{old}{about}"
        f"  ({each['messages']} messages)"
    )


def flood(each: Fields, name: str) -> str:
    """A reporter with many reports."""
    return f"{name}  {each['count']} reports in the hour of {_hour(each['hour'])}"


def pressed(each: Fields, name: str) -> str:
    """An account that many report."""
    return (
        f"{name}  {each['reports']} unsettled reports by {each['reporters']} people, the oldest"
        f" {age(each['oldest'])} old"
    )


def standing(each: Fields) -> str:
    """How often an account was reported."""
    states = ", ".join(
        f"{count} {name.replace('_', ' ')}" for name, count in each["states"].items()
    )
    return f"{each['reports']} reports about this account by {each['reporters']} people: {states}."


def backlog(each: Fields) -> str:
    """What somebody has before him."""
    who = f" with {each['assignee']}" if each["assignee"] else ""
    gone = f"; nobody of the staff: louver mod hand-over {each['assignee']}" if each["gone"] else ""
    oldest = f"the oldest {age(each['oldest'])} old"
    return f"{each['count']:>6}  {state(each)}{who}, {oldest}{gone}"


def count(each: Fields) -> str:
    """One number of the transparency report."""
    return f"{each['table']}, {plain(each['name'])}: {each['value']:.15g}"


def age(then: int) -> str:
    """How long ago that is, in its largest unit."""
    minutes = max(0, _now() - then) // 60_000
    for unit, size in (("d", 24 * 60), ("h", 60)):
        if minutes >= 2 * size:
            return f"{minutes // size} {unit}"
    return f"{minutes} min"


def case(each: Fields) -> str:
    """A case."""
    who = f", {each['assignee']}" if each["assignee"] else ""
    due = f"  due {moment(each['due'])}" if each["due"] else ""
    return f"{each['id']}  {moment(each['opened'])}  {each['basis']}  {state(each)}{who}{due}"


def asked(each: Fields) -> str:
    """A grant that was asked for."""
    grant = each["grant"]
    return (
        f"{each['id']}  {grant['basis']}  {state(each)}  {grant['requester']}: messages"
        f" {grant['first']} to {grant['last']}, until {moment(grant['expires'])},"
        f" {len(each['approvals'])} of {needed(grant)} approvals"
    )


def hold(each: Fields) -> str:
    """A preservation."""
    return f"{each['id']}  {state(each)}  {each['target']} {each['place']}"


def appeal(each: Fields) -> str:
    """An appeal."""
    return f"{each['id']}  {moment(each['time'])}  {state(each)}  {plain(each['words'])}"


def colleague(each: Fields) -> str:
    """Somebody of the staff."""
    return f"{each['name']:<20} {each['role']:<10} {each['state']:<8} {plain(each['subject'])}"


def state(each: Fields) -> str:
    """In which state something is."""
    return str(each["state"]).replace("_", " ")


# --- whole, for decisions ---


def fields(each: Fields) -> Iterator[str]:
    """Everything of a record that says something, one line a field."""
    for name, value in each.items():
        # A report has no other name than its number.
        if value in ("", 0, [], {}, None) or name in _UNSAID - {
            "number" if "reporter" in each else ""
        }:
            continue
        if isinstance(value, Mapping):
            yield f"{name.replace('_', ' ')}:"
            yield from (f"  {line}" for line in fields(value))
        elif isinstance(value, list) and isinstance(value[0], Mapping):
            yield f"{name.replace('_', ' ')}:"
            yield from (f"  {line}" for each in value for line in fields(each))
        else:
            yield f"{name.replace('_', ' ')}: {_value(name, value)}"


_UNSAID = frozenset({"number", "version"})
_TIMES = frozenset(
    {"asked", "begun", "closed", "decided", "due", "expires", "gag", "opened", "served", "settled",
     "since", "time", "until"}
)  # fmt: skip


def _value(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name in _TIMES and isinstance(value, int):
        return moment(value)
    if isinstance(value, list):
        return ", ".join(plain(str(each)) for each in value)
    return plain(str(value))


def grant(found: Grant, each: Fields, of: Fields) -> Iterator[str]:
    """A whole grant and its case, for who is asked to sign it."""
    count, minutes = found.last - found.first + 1, (found.expires - _now()) // 60_000
    yield f"Grant {found.id.hex()}"
    yield f"  {found.requester} asks to read {count} message(s), {found.first} to {found.last},"
    yield f"  of the conversation {found.conversation.hex()},"
    yield f"  until {moment(found.expires)}, which is in {minutes} minutes."
    yield f"  The reason given: {plain(found.reason)}"
    yield f"Case {found.case.hex()}, on the basis {found.basis}: {plain(of['reason'])}"
    for name in ("authority", "reference", "country"):
        if of[name]:
            yield f"  {name}: {plain(of[name])}"
    if of["gag"]:
        yield f"  The users concerned are not told before {moment(of['gag'])}."
    names = ", ".join(one["approver"] for one in each["approvals"]) or "nobody yet"
    yield f"Approved by {names}; it needs {RULES[found.basis].approvals} beside who asks."
    if found.basis == "emergency":
        yield "One approval opens an emergency; a second must follow within a day."


def order(found: Order, approvers: int) -> Iterator[str]:
    """A whole order of preservation, for who is asked to sign it."""
    what = "keep from being destroyed" if found.event == "place" else "no longer keep"
    yield f"Order {found.id.hex()}, in the case {found.case.hex()}"
    yield f"  {found.requester} asks to {what}: the {found.target} {found.place.hex()}."
    yield f"  The reason given: {plain(found.reason)}"
    yield f"Approved by {approvers} so far; it needs {RULES['preservation'].approvals}."


def needed(given: Fields) -> int:
    """How many approvals this basis needs."""
    return RULES[given["basis"]].approvals


# --- what the vault showed ---


def disclosed(found: Disclosure, names: Names) -> Iterator[str]:
    """What a grant opened."""
    for each in found.records:
        sender = who(each.sender, names)
        yield f"#{each.seq} {moment(each.time)} {sender} [{each.mode}] {_said(each)}"
    labels = sorted({each.label for each in found.records if each.label})
    yield from (f"Note: {label}." for label in labels)
    unread = sum(not each.readable for each in found.records)
    yield f"{len(found.records)} messages, {unread} of them not readable."
    yield f"This is number {found.receipt.index} in the access log."


def who(account: bytes, names: Names) -> str:
    """An account, by its name where that is known."""
    if account == SCANNER:
        return "the relay's own lists"
    name = names.get(account)
    return f"{plain(name)} ({account.hex()})" if name else account.hex()


def _said(each: Shown) -> str:
    if not each.readable:
        return f"(not readable: {plain(each.reason)})"
    if each.text is not None:
        return plain(each.text)
    return f"({each.kind}, {len(each.content or b'')} bytes)"


def opened(found: Opened, names: Names, number: int) -> Iterator[str]:
    """What a reporter revealed, and what of it is proven; ``number`` is the report's."""
    yield f"Report {number} ({found.report.hex()}), handed in {moment(found.time)}"
    yield f"  by           {who(found.reporter, names)}"
    yield f"  about        {who(found.reported, names)}, for {found.category}"
    yield f"  conversation {found.conversation.hex()}"
    if found.words:
        yield f"  in the reporter's words: {plain(found.words)}"
    for finding in found.findings:
        # 0: the lists held it, so it was never sent and has no number.
        at = f"#{finding.seq}" if finding.seq else "not sent"
        yield f"{at} {finding.state.upper()}{f': {finding.reason}' if finding.reason else ''}"
        if finding.state != "refused":
            yield f"   {plain(finding.content.decode('utf-8', 'replace'))}"
    yield f"This is number {found.receipt.index} in the access log."


def _hour(hour: int) -> str:
    return moment(hour * 3_600_000)


def _now() -> int:
    return time.time_ns() // 1_000_000
