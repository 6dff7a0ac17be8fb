"""The commands about other people's keys, and the relay's log of them.

What may live here: their options. What they do is in ``client.key_commands``.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.cli import options

if TYPE_CHECKING:
    from client.commands import Terms

app = typer.Typer(no_args_is_help=True, help="Compare and verify the keys of others.")

Name = Annotated[str, typer.Argument(help="The name of the other user.")]


@app.command()
def show(
    name: Name,
    qr: Annotated[bool, typer.Option("--qr", help="Also as a QR code.")] = False,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Show the safety number with somebody. Compare it by voice or in person."""
    place = options.place(home, profile)
    options.run(lambda terms: _commands().show(terms, name, as_qr=qr), place, as_json)


@app.command()
def verify(
    name: Name,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Prove that somebody's keys are what all see in the key log."""
    place = options.place(home, profile)
    options.run(lambda terms: _commands().verify(terms, name), place, as_json)


@app.command()
def log(
    against: Annotated[
        Path | None, typer.Option(help="Hold what this command told somebody else to it.")
    ] = None,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Show the key log's own key, pinned here, and its checkpoint."""
    options.run(
        lambda terms: _commands().log(terms, against), options.place(home, profile), as_json
    )


@app.command()
def accept_log(
    key: Annotated[str, typer.Argument(help="NAME+ID+KEY, told by the operator another way.")],
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Take a log that was set up again. Forgets the one before."""
    place = options.place(home, profile)
    options.run(lambda terms: _commands().accept_log(terms, key), place, as_json)


@app.command()
def save(
    file: Annotated[Path, typer.Argument(help="Where to write; it must not exist.")],
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Write the relay's log of keys to a file, to audit it."""
    place = options.place(home, profile)
    options.run(lambda terms: _commands().save(terms, file), place, as_json)


@app.command()
def audit(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Of louver keys save.")],
    account: Annotated[
        str, typer.Option(metavar="ID", help="32 hex digits: it must have an entry.")
    ] = "",
    key: Annotated[str, typer.Option(help="NAME+ID+KEY: the log must be under this one.")] = "",
    as_json: options.Json = False,
) -> None:
    """Check saved logs without a relay. Signature, entries, and that one continues the other."""

    async def work(terms: Terms) -> None:
        _commands().audit(terms, files, account, key)

    options.run(work, Path(), as_json)


def _commands() -> Any:
    return importlib.import_module("client.key_commands")
