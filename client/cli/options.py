"""What the commands of ``louver`` share: their options, and how one is run and ends.

What may live here: option types, exit codes. What may not: a command, or what one does.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from client.commands import Terms

Profile = Annotated[str, typer.Option("--profile", help="Which of your users, if several.")]
Home = Annotated[Path | None, typer.Option("--home", help="Directory of the profile.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object per line.")]
Url = Annotated[str, typer.Option("--url", help="The relay: wss://HOST:PORT")]
Ca = Annotated[Path | None, typer.Option("--ca", help="PEM file of the authority to trust.")]
Insecure = Annotated[bool, typer.Option("--insecure", help="Allow ws:// on this machine.")]
Passphrase = Annotated[
    bool,
    typer.Option("--passphrase", help="Guard the key store by a passphrase, not by a key file."),
]
ReplaceKey = Annotated[
    bool,
    typer.Option("--replace-key", help="Make new keys for the account: everybody is warned."),
]


def _tell_version(asked: bool) -> None:
    from importlib.metadata import version

    if asked:
        typer.echo(f"louver {version('louver')}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option("--version", callback=_tell_version, is_eager=True, help="Show it and exit."),
]
To = Annotated[str, typer.Option("--to", help="The name of the other user.")]
With = Annotated[str, typer.Option("--with", help="The name of the other user.")]


def place(home: Path | None, profile: str) -> Path | tuple[str]:
    """Where a profile lives; a name is looked at by ``run``."""
    # A profile's name is judged inside `run`, where errors become one sentence.
    return home if home is not None else (profile,)


def run(
    work: Callable[[Terms], Coroutine[Any, Any, None]],
    where: Path | tuple[str],
    as_json: bool = False,
) -> None:
    """Run a command and exit with its code; what fails is said in one sentence."""

    def begun(terms: Terms) -> None:
        import asyncio

        asyncio.run(work(terms))

    run_plainly(begun, where, as_json)


def run_plainly(
    work: Callable[[Terms], None], where: Path | tuple[str], as_json: bool = False
) -> None:
    """The same for a command that waits for nothing but its own answer."""
    from client import dumps, profile, wording
    from client.commands import Terms
    from crypto_modes.errors import LouverError

    dumps.forbid()
    try:
        directory = where if isinstance(where, Path) else profile.directory(None, where[0])
        work(Terms(directory, as_json))
    except LouverError as error:
        sys.stderr.write(f"louver: {wording.plain(str(error))}\n")
        raise typer.Exit(wording.exit_code(error)) from None
    except KeyboardInterrupt:
        raise typer.Exit(wording.INTERRUPTED) from None


def elsewhere(module: str, arguments: list[str]) -> None:
    """Hand over to a room of its own; its ``run`` returns the exit code."""
    try:
        run = importlib.import_module(module).run
    except ModuleNotFoundError as error:
        sys.stderr.write(
            f"louver: a package is missing for this: {error.name}; install louver[try-out]\n"
        )
        raise typer.Exit(2) from None
    raise typer.Exit(run(arguments))
