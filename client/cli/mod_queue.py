"""``louver mod``: the queue of reports, by hand and many at once.

What may live here: the options of these commands; what they do is in ``client.moderation``.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from client.cli import options
from client.cli.mod_options import Facts, Rule, at_desk, before

reports = typer.Typer()

Number = Annotated[int, typer.Argument(min=1, help="The report's number.")]
Account = Annotated[str, typer.Option(help="Only those about this account: name or id.")]
Reporter = Annotated[
    str, typer.Option(help="Only those by this account: name or id, or `lists` for your lists.")
]
Older = Annotated[str, typer.Option(help="Only those that came in before: 24h, 7d, 2026-12-31.")]
_LISTS = "00" * 16  # what reports as the relay's own lists


@reports.command()
def queue(
    state: Annotated[
        str,
        typer.Option(
            help="open (unless said), in_review (with --mine or --assignee), actioned, dismissed,"
            " appealed, upheld, reversed, or all."
        ),
    ] = "",
    mine: Annotated[bool, typer.Option("--mine", help="Only those that you look at.")] = False,
    assignee: Annotated[str, typer.Option(help="Only those that this colleague looks at.")] = "",
    account: Account = "",
    reporter: Reporter = "",
    category: Annotated[str, typer.Option(help="Only of this kind, as its reviewer noted.")] = "",
    evidence: Annotated[str, typer.Option(help="verified, confirmed or claim, as noted.")] = "",
    older: Older = "",
    most: Annotated[int, typer.Option("--limit", min=0, help="How many; 0: all.")] = 50,
    after: Annotated[int, typer.Option(min=0, help="Only those with a higher number.")] = 0,
    floods: Annotated[
        bool, typer.Option("--floods", help="Reporters with many reports in an hour instead.")
    ] = False,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """List reports, those that wait longest first."""

    def work(desk: Any, words: Any) -> None:
        if floods:
            desk.named("/reports/floods", "reporter", words.flood)
            return
        who = "me" if mine else assignee
        query = {
            "state": {"": "in_review" if who else "open", "all": ""}.get(state, state),
            "assignee": who,
            "account": desk.account(account),
            "reporter": _reporter(desk, reporter),
            "category": category,
            "evidence": evidence,
            "until": before(older),
        }
        desk.reports(most, after, **query)

    at_desk(work, profile, home, as_json)


@reports.command()
def backlog(
    profile: options.Profile = "default", home: options.Home = None, as_json: options.Json = False
) -> None:
    """Show who has how much before him, and since when."""
    at_desk(lambda desk, words: desk.all("/reports/backlog", words.backlog), profile, home, as_json)


@reports.command()
def pressed(
    least: Annotated[int, typer.Option(min=1, help="By how many different people.")] = 2,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """List accounts that several people report. Those whom most do come first."""

    def work(desk: Any, words: Any) -> None:
        desk.named("/reports/pressed", "account", words.pressed, least=least)

    at_desk(work, profile, home, as_json)


@reports.command("next")
def take_next(
    note: Annotated[
        bool, typer.Option(help="Note at the report whom it is about, and what is proven.")
    ] = True,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Take the report that waits longest, and open it."""
    at_desk(lambda desk, _: desk.next(note=note), profile, home, as_json)


@reports.command()
def take(
    report: Number,
    to: Annotated[str, typer.Option(help="Somebody else of the staff.")] = "",
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Take a report to look at it, or give it to somebody."""
    at_desk(
        lambda desk, _: desk.step(f"/reports/{report}", "assign", {"to": to}),
        profile,
        home,
        as_json,
    )


@reports.command()
def release(
    report: Number,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Give a report back to the queue."""
    at_desk(lambda desk, _: desk.step(f"/reports/{report}", "release"), profile, home, as_json)


@reports.command("hand-over")
def hand_over(
    name: Annotated[str, typer.Argument(help="Who is away, or no more of the staff.")],
    to: Annotated[str, typer.Option(help="Who takes it all; left out: back to the queue.")] = "",
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Hand somebody's work to another. Open reports and cases go to that person, or to nobody."""
    at_desk(lambda desk, _: desk.hand_over(name, to), profile, home, as_json)


@reports.command("open")
def open_report(
    report: Number,
    note: Annotated[
        bool, typer.Option(help="Note at the report whom it is about, and what is proven.")
    ] = True,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Read what a reporter revealed. The vault enters that in the access log first."""
    at_desk(lambda desk, _: desk.open_report(report, note=note), profile, home, as_json)


@reports.command()
def dismiss(
    report: Number,
    facts: Facts,
    rule: Rule,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Settle a report with nothing. The reporter is told why, and can appeal."""
    body = {"statement": {"facts": facts, "rule": rule}}
    at_desk(
        lambda desk, _: desk.step(f"/reports/{report}", "dismissal", body), profile, home, as_json
    )


@reports.command()
def settle(
    action: Annotated[str, typer.Argument(help="The id of an action that stands.")],
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Settle by an action what else you took about the account."""
    at_desk(lambda desk, _: desk.settle(action), profile, home, as_json)


@reports.command("dismiss-all")
def dismiss_all(
    facts: Facts,
    rule: Rule,
    reporter: Reporter = "",
    account: Account = "",
    older: Older = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do it without asking.")] = False,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Dismiss the open reports of one source. Each gets these reasons and its own entry."""

    def work(desk: Any, _: Any) -> None:
        source = {"reporter": _reporter(desk, reporter), "account": desk.account(account)}
        statement = {"facts": facts, "rule": rule}
        desk.dismiss_all(statement, ask=not yes, until=before(older), **source)

    at_desk(work, profile, home, as_json)


def _reporter(desk: Any, text: str) -> str:
    return _LISTS if text == "lists" else str(desk.account(text))
