"""``louver mod``: what is done to many reports at once, and which comes next.

What may live here: lists with an end, the next report, a flood dismissed, a colleague's work handed
over. Each report is a step of its own, with its own entry in the access log and its own reasons;
what somebody else has changed since it was listed is left alone. What may not: options, judgement.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from client.moderation import words
from client.moderation.asking import Overtaken, part
from client.moderation.desk import Desk, Fields
from crypto_modes.errors import BadArgument, GrantRefused


class Many(Desk):
    """As ``Desk``."""

    def reports(self, most: int, after: int = 0, **query: object) -> None:
        """The queue after a number: ``most`` lines (0: all), and where the next ones begin."""
        found = self._reports(after=after, **query)
        last = after
        for each in islice(found, most or None):
            self._terms.say(words.as_json(each) if self._terms.json else words.report(each))
            last = int(each["number"])
        if most and next(found, None) is not None:
            sys.stderr.write(f"There are more: --after {last}\n")

    def named(self, path: str, key: str, line: Callable[[Fields, str], str], **query: Any) -> None:
        """A list about accounts, each by its name where it has one."""
        items = self._office.get(path, **query).json["items"]
        names = self._names(*(bytes.fromhex(each[key]) for each in items))
        for each in items:
            name = words.who(bytes.fromhex(each[key]), names)
            self._terms.say(words.as_json(each) if self._terms.json else line(each, name))

    def numbers(self, span: Fields) -> None:
        """The transparency report of a time."""
        found = self._office.get("/transparency", **span).json
        self._said(found, lambda each: map(words.count, each["rows"]))

    def next(self, *, note: bool) -> None:
        """Take the report that waits longest, and open it; of two who ask each gets another."""
        for each in self._reports(state="open"):
            try:
                self._assign("reports", each["number"], each["version"], self._office.name)
            except Overtaken:
                continue
            self.open_report(int(each["number"]), note=note)
            return
        sys.stderr.write("Nothing is open.\n")

    def dismiss_all(self, statement: Fields, *, ask: bool, **query: object) -> None:
        """Dismiss every report that ``query`` finds, is open or before oneself, each with these
        reasons."""
        if not any(query.get(name) for name in ("reporter", "account")):
            raise BadArgument("say whose flood: --reporter NAME, or --account NAME")
        found = [
            *self._reports(state="open", **query),
            *self._reports(state="in_review", assignee="me", **query),
        ]
        seen = [words.report(each) for each in found]
        lines = [*seen, f"{len(seen)} reports."]
        if not self._agreed(lines, ask=ask and bool(found), question="Dismiss all of these?"):
            return

        def dismiss(each: Any) -> None:
            seen = f'"{each["version"]}"'
            if each["state"] == "open":
                seen = self._assign("reports", each["number"], each["version"], self._office.name)
            body = {"statement": statement}
            self._office.post(f"/reports/{each['number']}/dismissal", body, seen)

        self._each(found, dismiss)

    def settle(self, action: str) -> None:
        """Settle by ``action`` whatever lies before oneself about the same account."""
        account = self._office.get(f"/actions/{part(action)}").json["account"]
        found = list(self._reports(state="in_review", assignee="me", account=account))
        body = {"action": action}
        self._each(
            found,
            lambda it: self._office.post(
                f"/reports/{it['number']}/settlement", body, f'"{it["version"]}"'
            ),
        )

    def hand_over(self, name: str, to: str) -> None:
        """Give what ``name`` looks at or works on to ``to`` or, where empty, back to nobody."""
        reports = list(self._reports(state="in_review", assignee=name))
        self._each(reports, lambda it: self._assign("reports", it["number"], it["version"], to))
        cases = list(self._office.pages("/cases", state="assigned", assignee=name))
        if not reports and not cases:
            sys.stderr.write(
                f"Nothing lies before {name}; `louver mod backlog` says who has what.\n"
            )
        self._each(cases, lambda it: self._assign("cases", it["id"], it["version"], to))

    # --- inside ---

    def _reports(self, **query: object) -> Iterator[Any]:
        """Reports as they are listed."""
        if query.get("assignee") == "me":
            query["assignee"] = self._office.name
        return self._office.pages("/reports", **query)

    def _assign(self, kind: str, key: str | int, version: int, to: str) -> str:
        """Give it to somebody or, where empty, to nobody, as it was listed; its new version."""
        path, seen = f"/{kind}/{key}", f'"{version}"'
        if to:
            return self._office.post(f"{path}/assign", {"to": to}, seen).etag
        return self._office.post(f"{path}/release", None, seen).etag

    def _each(self, found: list[Any], step: Callable[[Any], object]) -> None:
        """One step after the other; what is not to be done is told, and the rest goes on."""
        for each in found:
            said = f"{each.get('number') if 'reporter' in each else each['id']}"
            try:
                step(each)
            except (Overtaken, GrantRefused) as error:
                sys.stderr.write(f"{said}: left as it is, {error}\n")
                continue
            self._terms.say(words.as_json({"done": said}) if self._terms.json else f"{said} done")
