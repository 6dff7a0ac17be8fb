"""``louver mod``: coming to the desk, actions, appeals, numbers and the staff.

What may live here: the options of these commands. Reports are in ``mod_queue``, cases, grants and
holds in ``mod_cases``; what a command does is in ``client.moderation``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.cli import mod_cases, mod_queue, options
from client.cli.mod_options import (
    Conversation,
    Facts,
    Reason,
    Rule,
    Seqs,
    Until,
    at_desk,
    milliseconds,
)

if TYPE_CHECKING:
    from client.commands import Terms

app = typer.Typer(
    no_args_is_help=True,
    help="The moderation team's work. Reports, cases, grants, actions, appeals.",
)
staff = typer.Typer(no_args_is_help=True, help="Who is of the staff; changing that is for admins.")
app.add_typer(mod_cases.cases, name="case")
app.add_typer(mod_cases.holds, name="hold")
app.add_typer(staff, name="staff")
app.registered_commands += mod_queue.reports.registered_commands
app.registered_commands += mod_cases.grants.registered_commands

RelayUrl = Annotated[str, typer.Option("--url", help="The relay's internal listener.")]
VaultUrl = Annotated[str, typer.Option("--vault", help="The vault: https://HOST:PORT")]
VaultCa = Annotated[Path | None, typer.Option("--vault-ca", help="PEM file of the vault's CA.")]


# --- coming to the desk ---


@app.command()
def keygen(
    profile: options.Profile = "default", home: options.Home = None, as_json: options.Json = False
) -> None:
    """Make your own signing key, or show its public half."""
    _entering(lambda room, terms: room.keygen(terms), profile, home, as_json)


@app.command()
def join(
    name: Annotated[str, typer.Argument(help="Your name in the staff.")],
    url: RelayUrl,
    vault: VaultUrl = "",
    ca: options.Ca = None,
    vault_ca: VaultCa = None,
    password: Annotated[
        bool, typer.Option(help="Without: an identity provider vouches for you.")
    ] = True,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Join the staff by an invitation. Key and password are your own."""

    def work(room: Any, terms: Terms) -> None:
        addresses = room.known(terms, name, url, vault, (_path(ca), _path(vault_ca)))
        room.join(terms, addresses, password=password)

    _entering(work, profile, home, as_json)


@app.command()
def login(
    name: Annotated[str, typer.Argument(help="Your name, on another machine than before.")] = "",
    url: RelayUrl = "",
    vault: VaultUrl = "",
    ca: options.Ca = None,
    vault_ca: VaultCa = None,
    token: Annotated[
        bool, typer.Option("--id-token", help="With an ID token of the identity provider.")
    ] = False,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Log in for a quarter of an hour. It goes on while you work, for 12 hours at most."""

    def work(room: Any, terms: Terms) -> None:
        addresses = room.known(terms, name, url, vault, (_path(ca), _path(vault_ca)))
        room.login(terms, addresses, token=token)

    _entering(work, profile, home, as_json)


@app.command()
def logout(profile: options.Profile = "default", home: options.Home = None) -> None:
    """End the session."""
    _entering(lambda room, terms: room.logout(terms), profile, home)


@app.command()
def whoami(
    profile: options.Profile = "default", home: options.Home = None, as_json: options.Json = False
) -> None:
    """Say who is logged in here."""
    _entering(lambda room, terms: room.who(terms), profile, home, as_json)


@app.command()
def share(
    file: Annotated[
        Path | None, typer.Argument(help="The file with your share; left out: it is asked for.")
    ] = None,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Hand in your share of a key of the vault's. Its officers have one each."""
    _entering(lambda room, terms: room.share(terms, file), profile, home, as_json)


# --- accounts, actions, appeals, numbers ---


@app.command()
def account(
    account: Annotated[str, typer.Argument(help="Its name or its id.")],
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Show an account's name, and how many reported it."""
    at_desk(lambda desk, _: desk.show(f"/accounts/{desk.account(account)}"), profile, home, as_json)


@app.command()
def act(
    kind: Annotated[str, typer.Argument(help="warn, mute, suspend or remove.")],
    account: Annotated[str, typer.Option(help="About which account: name or id.")],
    facts: Facts,
    rule: Rule,
    report: Annotated[int, typer.Option(help="The report that this settles.")] = 0,
    case: Annotated[str, typer.Option(help="Or the case that it is done under.")] = "",
    until: Until = "",
    conversation: Conversation = "",
    seq: Seqs = None,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Act about an account or its messages. The user gets the reasons, and can appeal."""

    def work(desk: Any, _: Any) -> None:
        body: dict[str, object] = {
            "kind": kind,
            "account": desk.account(account),
            "statement": {"facts": facts, "rule": rule},
        }
        more = {"until": milliseconds(until), "conversation": desk.conversation(conversation)}
        more["seqs"] = seq
        body |= {name: value for name, value in more.items() if value}
        if bool(report) == bool(case):
            raise typer.BadParameter("name a report (--report N) or a case (--case ID)")
        desk.step(f"/reports/{report}" if report else f"/cases/{case}", "action", body)

    at_desk(work, profile, home, as_json)


@app.command()
def appeals(
    state: Annotated[str, typer.Option(help="open, upheld, reversed.")] = "open",
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """List what users say against actions."""
    at_desk(
        lambda desk, words: desk.list("/appeals", words.appeal, state=state),
        profile,
        home,
        as_json,
    )


@app.command()
def decide(
    action: Annotated[str, typer.Argument(help="The action's id, which is the appeal's.")],
    outcome: Annotated[str, typer.Argument(help="upheld or reversed.")],
    reason: Reason,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Decide about an appeal against somebody else's action."""
    body = {"outcome": outcome, "reason": reason}
    at_desk(
        lambda desk, _: desk.step(f"/appeals/{action}", "decision", body), profile, home, as_json
    )


@app.command()
def transparency(
    first: Annotated[str, typer.Option("--from", help="First moment, such as 2027-01-01.")],
    end: Annotated[str, typer.Option("--to", help="The moment after the last.")],
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Count what the access log says of a time. For auditors and admins."""
    span = {"first": milliseconds(first), "end": milliseconds(end)}
    at_desk(lambda desk, _: desk.numbers(span), profile, home, as_json)


# --- the staff ---


@staff.command("list")
def list_staff(
    profile: options.Profile = "default", home: options.Home = None, as_json: options.Json = False
) -> None:
    """List everybody who is or was of the staff."""
    at_desk(lambda desk, words: desk.all("/staff", words.colleague), profile, home, as_json)


Named = Annotated[str, typer.Argument(help="The name in the staff.")]
Role = Annotated[str, typer.Option(help="moderator, senior, legal, auditor, operator or admin.")]


@staff.command()
def add(
    name: Named,
    role: Role,
    subject: Annotated[str, typer.Option(help="The human behind it, such as a mail address.")],
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Invite somebody; tell the invitation to that person alone."""
    body = {"name": name, "role": role, "subject": subject}
    at_desk(lambda desk, _: desk.make("/staff", body), profile, home, as_json)


@staff.command()
def role(
    name: Named,
    role: Role,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Give somebody another role; their sessions end."""
    at_desk(
        lambda desk, _: desk.step(f"/staff/{name}", "role", {"role": role}), profile, home, as_json
    )


@staff.command()
def remove(
    name: Named,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Take somebody out, from their next request on."""
    at_desk(lambda desk, _: desk.step(f"/staff/{name}", "remove"), profile, home, as_json)


@staff.command()
def reset(
    name: Named,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Invite somebody anew who lost a key or password. Until they join they are out."""
    at_desk(lambda desk, _: desk.step(f"/staff/{name}", "reset"), profile, home, as_json)


def _entering(
    work: Callable[[Any, Terms], None], profile: str, home: Path | None, as_json: bool = False
) -> None:
    options.run_plainly(
        lambda terms: work(importlib.import_module("client.moderation.entering"), terms),
        options.place(home, profile),
        as_json,
    )


def _path(file: Path | None) -> str:
    return "" if file is None else str(file.absolute())
