"""``louver mod case``, ``hold``, and the commands about grants.

What may live here: the options of these commands; what they do is in ``client.moderation.desk``.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from client.cli import options
from client.cli.mod_options import Conversation, Reason, Until, Yes, at_desk, milliseconds

cases = typer.Typer(no_args_is_help=True, help="Cases: the only door to what users wrote.")
holds = typer.Typer(no_args_is_help=True, help="Preservation: what must not be destroyed for now.")
grants = typer.Typer()

Case = Annotated[str, typer.Argument(help="The case's id.")]
Grant = Annotated[str, typer.Argument(help="The grant's id.")]
Hold = Annotated[str, typer.Argument(help="The hold's id.")]
Accounts = Annotated[list[str] | None, typer.Option("--account", help="Name or id; repeatable.")]
Talks = Annotated[
    list[str] | None, typer.Option("--conversation", help="Its id, or alice,bob; repeatable.")
]
Basis = Annotated[str, typer.Option(help="user_report, legal_request, emergency, preservation.")]


@cases.command("open")
def open_case(
    basis: Basis,
    reason: Reason,
    report: Annotated[int, typer.Option(help="The report that began it.")] = 0,
    authority: Annotated[str, typer.Option(help="Who requests.")] = "",
    reference: Annotated[str, typer.Option(help="Their reference.")] = "",
    country: Annotated[str, typer.Option(help="Two letters, such as DE.")] = "",
    served: Annotated[str, typer.Option(help="When it was served: 2026-11-22.")] = "",
    due: Annotated[str, typer.Option(help="Until when it is due.")] = "",
    gag: Annotated[str, typer.Option(help="Until when users may not be told.")] = "",
    since: Annotated[str, typer.Option(help="Messages from then on ...")] = "",
    until: Until = "",
    account: Accounts = None,
    conversation: Talks = None,
    take: Annotated[bool, typer.Option(help="Work on it yourself.")] = True,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Open a case; each basis has its own people and fields."""

    def work(desk: Any, _: Any) -> None:
        times = {"served": served, "due": due, "gag": gag, "since": since, "until": until}
        body = {
            "basis": basis,
            "reason": reason,
            "report": report,
            "authority": authority,
            "reference": reference,
            "country": country,
            "accounts": [desk.account(each) for each in account or ()],
            "conversations": [desk.conversation(each) for each in conversation or ()],
            **{name: milliseconds(text) for name, text in times.items()},
        }
        desk.open_case(body, take=take)

    at_desk(work, profile, home, as_json)


@cases.command("list")
def list_cases(
    state: Annotated[str, typer.Option(help="open, assigned, closed.")] = "",
    mine: Annotated[bool, typer.Option("--mine", help="Only those that you work on.")] = False,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """List cases."""
    who = "me" if mine else ""
    at_desk(
        lambda desk, words: desk.list("/cases", words.case, state=state, assignee=who),
        profile,
        home,
        as_json,
    )


@cases.command()
def show(
    case: Case,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Show a case, its grants and what auditors said."""

    def work(desk: Any, words: Any) -> None:
        desk.show(f"/cases/{case}")
        desk.list("/grants", words.asked, case=case)
        desk.list(f"/cases/{case}/audits", lambda each: f"{each['auditor']}: {each['note']}")

    at_desk(work, profile, home, as_json)


@cases.command()
def take(
    case: Case,
    to: Annotated[str, typer.Option(help="Somebody else of the staff.")] = "",
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Work on a case, or give it to somebody."""
    at_desk(
        lambda desk, _: desk.step(f"/cases/{case}", "assign", {"to": to}), profile, home, as_json
    )


@cases.command()
def release(
    case: Case,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Give a case back to nobody."""
    at_desk(lambda desk, _: desk.step(f"/cases/{case}", "release"), profile, home, as_json)


@cases.command()
def close(
    case: Case,
    outcome: Annotated[str, typer.Option(help="What came of it.")],
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Close a case: no grant is asked for or given under it any more."""
    body = {"outcome": outcome}
    at_desk(lambda desk, _: desk.step(f"/cases/{case}", "close", body), profile, home, as_json)


@cases.command()
def reopen(
    case: Case,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Work on a closed case again."""
    at_desk(lambda desk, _: desk.step(f"/cases/{case}", "reopen"), profile, home, as_json)


@cases.command()
def audit(
    case: Case,
    note: Annotated[str, typer.Option(help="What you found.")],
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Say what you found of a case. For an auditor who took no part in it."""
    at_desk(
        lambda desk, _: desk.make(f"/cases/{case}/audits", {"note": note}), profile, home, as_json
    )


# --- grants: commands of `louver mod` itself ---


@grants.command()
def ask(
    case: Case,
    conversation: Conversation,
    first: Annotated[int, typer.Option("--from", min=1, help="The first message's number.")],
    last: Annotated[int, typer.Option("--to", min=1, help="The last one's; 500 at most.")],
    reason: Reason,
    until: Until = "60m",
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Ask for leave to read some messages under your case."""

    def work(desk: Any, _: Any) -> None:
        body = {
            "case": case,
            "conversation": desk.conversation(conversation),
            "first": first,
            "last": last,
            # A second less than asked: the clocks of two machines are never quite the same.
            "expires": milliseconds(until) - 1000,
            "reason": reason,
        }
        desk.ask(body)

    at_desk(work, profile, home, as_json)


@grants.command("grants")
def list_grants(
    state: Annotated[
        str, typer.Option(help="pending, granted, unreviewed, overdue, declined, disputed …")
    ] = "",
    case: Annotated[str, typer.Option(help="Only those of a case.")] = "",
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """List grants. --state pending: those that wait for an approval."""
    at_desk(
        lambda desk, words: desk.list("/grants", words.asked, state=state, case=case),
        profile,
        home,
        as_json,
    )


@grants.command()
def approve(
    grant: Grant,
    yes: Yes = False,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Read a whole grant, and sign it if you agree."""
    at_desk(lambda desk, _: desk.approve(grant, ask=not yes), profile, home, as_json)


@grants.command()
def decline(
    grant: Grant,
    reason: Reason,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Say no to a grant. In the review of an emergency that is an alert."""
    body = {"reason": reason}
    at_desk(lambda desk, _: desk.step(f"/grants/{grant}", "decline", body), profile, home, as_json)


@grants.command()
def withdraw(
    grant: Grant,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Take back a grant that you asked for."""
    at_desk(lambda desk, _: desk.step(f"/grants/{grant}", "withdraw"), profile, home, as_json)


@grants.command()
def read(
    grant: Grant,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Have the vault open what a grant is about. It enters that in the access log first."""
    at_desk(lambda desk, _: desk.read(grant), profile, home, as_json)


# --- preservation ---


@holds.command("ask")
def ask_hold(
    case: Case,
    reason: Reason,
    account: Annotated[str, typer.Option(help="Keep what this account sent ...")] = "",
    conversation: Annotated[str, typer.Option(help="... or this conversation.")] = "",
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Ask that something is kept from being destroyed."""

    def work(desk: Any, _: Any) -> None:
        target = "account" if account else "conversation"
        place = desk.account(account) or desk.conversation(conversation)
        body = {"case": case, "target": target, "place": place, "reason": reason}
        desk.make("/holds", body)

    at_desk(work, profile, home, as_json)


@holds.command("list")
def list_holds(
    state: Annotated[str, typer.Option(help="asked, in_force, lifting, lifted, declined.")] = "",
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """List holds."""
    at_desk(
        lambda desk, words: desk.list("/holds", words.hold, state=state), profile, home, as_json
    )


@holds.command("approve")
def approve_hold(
    hold: Hold,
    yes: Yes = False,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Read what is asked of a hold, and sign it if you agree. It is to keep or to lift."""
    at_desk(lambda desk, _: desk.approve_hold(hold, ask=not yes), profile, home, as_json)


@holds.command("decline")
def decline_hold(
    hold: Hold,
    reason: Reason,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Say no; where a lift was asked for, the hold goes on."""
    body = {"reason": reason}
    at_desk(lambda desk, _: desk.step(f"/holds/{hold}", "decline", body), profile, home, as_json)


@holds.command()
def lift(
    hold: Hold,
    reason: Reason,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Ask to end a hold; it keeps until two have approved that."""
    body = {"reason": reason}
    at_desk(lambda desk, _: desk.step(f"/holds/{hold}", "lift", body), profile, home, as_json)
