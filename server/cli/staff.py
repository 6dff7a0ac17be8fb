"""``louverd staff``: who may moderate, as the operator changes it.

What may live here: arguments and wording. The relay enters each change in the access log first.
"""

from __future__ import annotations

from typing import Annotated

import typer

from server.cli.options import File, Set, ask

staff = typer.Typer(
    help="Who may moderate. Make the first admin here; admins do the rest with louver mod staff.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(help="The name in the staff.")]
Role = Annotated[str, typer.Option(help="moderator, senior, legal, auditor, operator or admin.")]


@staff.command()
def add(
    name: Name,
    role: Role,
    subject: Annotated[
        str,
        typer.Option(
            help="The human behind the name, such as a mail address; for an identity provider the"
            " `sub` of its tokens. Two accounts of one human count as one."
        ),
    ],
    file: File = None,
    set: Set = None,
) -> None:
    """Invite somebody. They bring a key and a password of their own within a day."""
    asked = {"event": "add", "name": name, "role": role, "subject": subject}
    ask(file, set, "POST", "staff", asked)
    typer.echo(
        f"louverd: tell `invite` to that person alone; next, there: louver mod join {name} --url …",
        err=True,
    )


@staff.command("list")
def list_staff(file: File = None, set: Set = None) -> None:
    """Print everybody who is or was of the staff, as JSON."""
    ask(file, set, "GET", "staff")


@staff.command()
def role(name: Name, role: Role, file: File = None, set: Set = None) -> None:
    """Give somebody another role; their sessions end."""
    ask(file, set, "POST", "staff", {"event": "role", "name": name, "role": role})


@staff.command()
def remove(name: Name, file: File = None, set: Set = None) -> None:
    """Take somebody out, from their next request on. The vault has a list of its own."""
    ask(file, set, "POST", "staff", {"event": "remove", "name": name})
    typer.echo(f"louverd: at the vault too: louverd vault staff remove {name}", err=True)


@staff.command()
def reset(name: Name, file: File = None, set: Set = None) -> None:
    """Invite anew who lost password, key or authenticator. Until then they are out."""
    ask(file, set, "POST", "staff", {"event": "reset", "name": name})
