"""``louver``: the commands and their options.

What may live here: options, exit codes, dispatch. Every command loads what it needs when it
runs, so that ``louver --help`` stays below 150 ms. No other file of the client may import
``typer``.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from client.commands import Terms

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Chat through a Louver relay, and compare what its encryption modes cost and protect.",
    epilog="Exit codes: 0 ok, 1 unexpected, 2 usage or config, 3 not reachable, 5 verification"
    " failed, 130 interrupted. The end-to-end encryption has not been audited yet.",
)

_Profile = Annotated[str, typer.Option("--profile", help="Which of your users, if several.")]
_Home = Annotated[Path | None, typer.Option("--home", help="Directory of the profile.")]
_Json = Annotated[bool, typer.Option("--json", help="One JSON object per line.")]
_Url = Annotated[str, typer.Option("--url", help="The relay: wss://HOST:PORT")]
_Ca = Annotated[Path | None, typer.Option("--ca", help="PEM file of the authority to trust.")]
_Insecure = Annotated[bool, typer.Option("--insecure", help="Allow ws:// on this machine.")]
_Passphrase = Annotated[
    bool,
    typer.Option("--passphrase", help="Guard the key store by a passphrase, not by a key file."),
]
_ReplaceKey = Annotated[
    bool,
    typer.Option("--replace-key", help="Make new keys for the account: everybody is warned."),
]
_To = Annotated[str, typer.Option("--to", help="The name of the other user.")]
_With = Annotated[str, typer.Option("--with", help="The name of the other user.")]

_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


@app.command()
def register(
    name: str,
    url: _Url,
    ca: _Ca = None,
    insecure: _Insecure = False,
    passphrase: _Passphrase = False,
    profile: _Profile = "default",
    home: _Home = None,
    as_json: _Json = False,
) -> None:
    """Make an account at a relay. Its password is asked for, or taken from LOUVER_PASSWORD."""
    enrol = partial(_enrol, register=True, insecure=insecure)
    enrol(name, url, ca, passphrase, _place(home, profile), as_json)


@app.command()
def login(
    name: str,
    url: _Url,
    ca: _Ca = None,
    insecure: _Insecure = False,
    passphrase: _Passphrase = False,
    replace_key: _ReplaceKey = False,
    profile: _Profile = "default",
    home: _Home = None,
    as_json: _Json = False,
) -> None:
    """Use an existing account from this device."""
    enrol = partial(_enrol, register=False, insecure=insecure, replace_key=replace_key)
    enrol(name, url, ca, passphrase, _place(home, profile), as_json)


@app.command()
def chat(to: _To, profile: _Profile = "default", home: _Home = None) -> None:
    """Talk with somebody, line by line."""

    async def work(terms: Terms) -> None:
        from client.commands import opened
        from client.terminal import talk

        async with opened(terms) as connected:
            await talk(connected, to)

    _run(work, _place(home, profile))


@app.command()
def send(
    to: _To,
    text: Annotated[str, typer.Argument(help="The message; - takes it from standard input.")],
    profile: _Profile = "default",
    home: _Home = None,
    as_json: _Json = False,
) -> None:
    """Send one message, and return once the relay holds it durably."""
    _run(lambda terms: _commands().send(terms, to, text), _place(home, profile), as_json)


@app.command()
def history(
    peer: _With,
    limit: Annotated[int, typer.Option(min=1, max=500)] = 20,
    before: Annotated[int, typer.Option(min=0, help="Only what is older than this seq.")] = 0,
    profile: _Profile = "default",
    home: _Home = None,
    as_json: _Json = False,
) -> None:
    """Show the newest messages with somebody."""
    place = _place(home, profile)
    _run(lambda terms: _commands().history(terms, peer, limit, before), place, as_json)


@app.command()
def block(
    name: str,
    off: Annotated[bool, typer.Option("--off", help="Unblock.")] = False,
    profile: _Profile = "default",
    home: _Home = None,
    as_json: _Json = False,
) -> None:
    """Block somebody: nothing of theirs reaches you."""
    place = _place(home, profile)
    _run(lambda terms: _commands().block(terms, name, on=not off), place, as_json)


@app.command()
def devices(
    name: Annotated[str | None, typer.Argument(help="Whose; without it, your own.")] = None,
    profile: _Profile = "default",
    home: _Home = None,
    as_json: _Json = False,
) -> None:
    """Show the verified devices of an account."""
    _run(lambda terms: _commands().devices(terms, name), _place(home, profile), as_json)


@app.command(context_settings=_PASS_ON, add_help_option=False)
def compare(context: typer.Context) -> None:
    """Run the same traffic through every mode and report; --help says more."""
    _elsewhere("client.compare.cli", context.args)


@app.command(context_settings=_PASS_ON, add_help_option=False)
def report(context: typer.Context) -> None:
    """Render the report of an earlier comparison again."""
    _elsewhere("client.compare.cli", ["report", *context.args])


def main() -> None:
    """The entry point of the command ``louver``."""
    app()


def _commands() -> Any:
    return importlib.import_module("client.commands")


def _place(home: Path | None, profile: str) -> Path | tuple[str]:
    # A profile's name is judged inside `_run`, where errors become one sentence.
    return home if home is not None else (profile,)


def _enrol(
    name: str,
    url: str,
    ca: Path | None,
    passphrase: bool,
    place: Path | tuple[str],
    as_json: bool,
    **how: bool,
) -> None:
    trusted = str(ca.absolute()) if ca is not None else ""

    async def work(terms: Terms) -> None:
        from client.profile import Profile, guard_for

        guard = guard_for(passphrase=passphrase)
        await _commands().enrol(terms, Profile(url=url, name=name, ca=trusted, guard=guard), **how)

    _run(work, place, as_json)


def _run(
    work: Callable[[Terms], Coroutine[Any, Any, None]],
    place: Path | tuple[str],
    as_json: bool = False,
) -> None:
    """Run a command and exit with its code; what fails is said in one sentence."""
    import asyncio

    from client import profile, wording
    from client.commands import Terms
    from crypto_modes.errors import LouverError

    try:
        where = place if isinstance(place, Path) else profile.directory(None, place[0])
        asyncio.run(work(Terms(where, as_json)))
    except LouverError as error:
        sys.stderr.write(f"louver: {wording.plain(str(error))}\n")
        raise typer.Exit(wording.exit_code(error)) from None
    except KeyboardInterrupt:
        raise typer.Exit(wording.INTERRUPTED) from None


def _elsewhere(module: str, arguments: list[str]) -> None:
    """Hand over to a room of its own; its ``run`` returns the exit code."""
    try:
        run = importlib.import_module(module).run
    except ModuleNotFoundError as error:
        sys.stderr.write(
            f"louver: a package is missing for this: {error.name}; install louver[try-out]\n"
        )
        raise typer.Exit(2) from None
    raise typer.Exit(run(arguments))


if __name__ == "__main__":
    main()
