"""``louver mod``: the work on reports, cases, grants, holds, appeals and the staff.

What may live here: the steps of each command over the API and the vault. What may not: options
(``client.cli``), how things are put (``words``), and any judgement: relay and vault judge.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import msgspec

from client.commands import Terms
from client.moderation import words
from client.moderation.asking import Office, Vault, part
from client.moderation.post import Post
from crypto_modes import disclosure, grants
from crypto_modes.contract import ID_SIZE
from crypto_modes.errors import BadArgument, GrantRefused, LouverError
from crypto_modes.grants import Approval, Grant
from crypto_modes.holds import Order
from crypto_modes.policy import conversation_id

Fields = Mapping[str, Any]
T = TypeVar("T", bound=msgspec.Struct)
_ID = re.compile("[0-9a-f]{32}")
# From the weakest to the strongest; a report is as good as its weakest message.
_EVIDENCE = ("claim", "confirmed", "verified")


class Desk:
    """One person's commands. Each prints its result."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._post = Post(terms.place)
        self._office = Office(self._post)

    # --- who and where ---

    def account(self, text: str) -> str:
        """The id of an account that is given by its id or its name; empty for nothing."""
        if not text or _ID.fullmatch(text):
            return text
        return str(self._office.get("/accounts", name=text).json["id"])

    def conversation(self, text: str) -> str:
        """The id of a conversation that is given by it, or as the two who talk: ``alice,bob``."""
        first, comma, second = text.partition(",")
        if not comma:
            return text
        pair = [bytes.fromhex(self.account(each.strip())) for each in (first, second)]
        return conversation_id(*pair).hex()

    def _names(self, *accounts: bytes) -> dict[bytes, str]:
        """What the relay calls these, for people; none where it does not say."""
        if self._terms.json:
            return {}
        # What was opened is entered and shown once: a name that is not to be had must not cost it.
        with suppress(LouverError):
            asked = {each: self._office.get(f"/accounts/{each.hex()}") for each in set(accounts)}
            return {each: answer.json["name"] for each, answer in asked.items()}
        return {}

    # --- looking ---

    def list(self, path: str, line: Callable[[Fields], str], **query: object) -> None:
        """A list, one line each. ``mine`` as an assignee is who asks."""
        if query.get("assignee") == "me":
            query["assignee"] = self._office.name
        for each in self._office.pages(path, **query):
            self._terms.say(words.as_json(each) if self._terms.json else line(each))

    def all(self, path: str, line: Callable[[Fields], str], **query: object) -> None:
        """A list that has no pages."""
        for each in self._office.get(path, **query).json["items"]:
            self._terms.say(words.as_json(each) if self._terms.json else line(each))

    def show(self, path: str) -> None:
        """One thing, whole."""
        self._said(self._office.get(path).json, words.fields)

    # --- steps ---

    def step(self, path: str, verb: str, body: object = None) -> None:
        """Do something to what is there now, and show what became of it."""
        mine = {"to": self._office.name} if body == {"to": ""} else body
        self._said(self._office.step(path, verb, mine), words.fields)

    def make(self, path: str, body: Mapping[str, object]) -> None:
        """Make something new."""
        self._said(self._office.post(path, body).json, words.fields)

    def open_case(self, body: Mapping[str, object], *, take: bool) -> None:
        """Open a case and, with ``take``, work on it oneself."""
        given = {name: value for name, value in body.items() if value not in ("", 0, [])}
        made = self._office.post("/cases", given).json
        if take:
            made = self._office.step(f"/cases/{made['id']}", "assign", {"to": self._office.name})
        self._said(made, words.fields)

    def ask(self, body: Mapping[str, object]) -> None:
        """Ask for a grant, on the basis that the case stands on."""
        basis = self._office.get(f"/cases/{part(str(body['case']))}").json["basis"]
        self._said(self._office.post("/grants", {**body, "basis": basis}).json, words.fields)

    # --- what the vault opens ---

    def open_report(self, number: int, *, note: bool) -> None:
        """Have the vault open a report, which enters that in the log; ``note`` what it says."""
        report = self._office.get(f"/reports/{number}")
        case = bytes.fromhex(report.json["case"]) or bytes(ID_SIZE)
        call = disclosure.ReportCall(bytes.fromhex(report.json["id"]), case)
        found = Vault(self._post).call(disclosure.REPORT, call, disclosure.Opened)
        names = self._names(found.reporter, found.reported)
        shown = {"number": number, **msgspec.structs.asdict(found)}
        self._said(
            shown if self._terms.json else found, lambda each: words.opened(each, names, number)
        )
        if note:
            states = [each.state for each in found.findings]
            proven = [_EVIDENCE.index(each) if each in _EVIDENCE else 0 for each in states]
            body = {
                "account": found.reported.hex(),
                "category": found.category,
                "evidence": _EVIDENCE[min(proven, default=0)],
            }
            self._office.post(f"/reports/{number}/findings", body, report.etag)
            self._stands(body["account"])

    def _stands(self, account: str) -> None:
        """How often this account was reported, this time included, for who is about to judge."""
        if self._terms.json:
            return
        with suppress(LouverError):  # what was opened is shown already
            found = self._office.get(f"/accounts/{account}").json["standing"]
            self._terms.say(words.standing(found))

    def read(self, grant: str) -> None:
        """Have the vault open what a grant is about, which enters that in the log."""
        asked = self._office.get(f"/grants/{part(grant)}").json
        approvals = tuple(
            Approval(each["approver"], bytes.fromhex(each["signature"]))
            for each in asked["approvals"]
        )
        call = disclosure.OpenCall(_grant(asked), approvals)
        found = Vault(self._post).call(disclosure.OPEN, call, disclosure.Disclosure)
        names = self._names(*(each.sender for each in found.records))
        self._said(found, lambda each: words.disclosed(each, names))

    # --- what is signed ---

    def approve(self, grant: str, *, ask: bool) -> None:
        """Show a whole grant, and sign it where the person says so."""
        path = f"/grants/{part(grant)}"
        seen = self._office.get(path)
        found = _grant(seen.json)
        case = self._office.get(f"/cases/{found.case.hex()}").json
        if not self._agreed(words.grant(found, seen.json, case), ask=ask):
            return
        self._sign(path, found, seen.etag)

    def approve_hold(self, hold: str, *, ask: bool) -> None:
        """The same for what is asked of a hold now."""
        path = f"/holds/{part(hold)}"
        seen = self._office.get(path)
        lifting = seen.json["state"] == "lifting"
        order = _built(Order, seen.json["lift" if lifting else "order"])
        given = seen.json["lifts" if lifting else "approvals"]
        if not self._agreed(words.order(order, len(given)), ask=ask):
            return
        self._sign(path, order, seen.etag)

    # --- inside ---

    def _sign(self, path: str, what: Grant | Order, seen: str) -> None:
        approval = grants.approve(what, self._office.name, self._post.key())
        body = {"signature": approval.signature.hex()}
        # With the version that was shown: had it changed since, this would be refused.
        self._said(self._office.post(f"{path}/approve", body, seen).json, words.fields)

    def _agreed(
        self, lines: Iterable[str], *, ask: bool, question: str = "Sign this with your key?"
    ) -> bool:
        # To people in any case; what a program reads is the answer alone.
        for line in lines:
            sys.stderr.write(f"{line}\n")
        if not ask:
            return True
        if not sys.stdin.isatty():
            raise BadArgument("nobody is here to ask; add --yes to do this")
        sys.stderr.write(f"{question} [y/N] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    def _said(self, what: Any, lines: Callable[[Any], Iterator[str]]) -> None:
        if self._terms.json:
            self._terms.say(words.as_json(what))
            return
        for line in lines(what):
            self._terms.say(line)


def _grant(asked: Fields) -> Grant:
    """The grant as it was shown. Raises ``GrantRefused`` where the relay calls another by its id:
    what is signed must be what was looked up."""
    grant = _built(Grant, asked["grant"])
    if grant.id.hex() != asked["id"]:
        raise GrantRefused("the relay showed another grant than the one that was asked for")
    return grant


def _built(kind: type[T], given: Fields) -> T:
    """A struct of what the API shows: hexadecimal where it has bytes."""
    binary = {each.name for each in msgspec.structs.fields(kind) if "bytes" in str(each.type)}
    try:
        built = {
            name: bytes.fromhex(value) if name in binary else value for name, value in given.items()
        }
        return msgspec.convert(built, kind, builtin_types=(bytes,))
    except (ValueError, TypeError):
        raise BadArgument("the relay answered something else than what was asked for") from None
