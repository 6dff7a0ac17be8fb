"""The commands that a person chats with: enrolling, talking, reading back, blocking.

What may live here: their options. What they do is in ``client.commands`` and ``client.terminal``.
"""

from __future__ import annotations

import importlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.cli import options

if TYPE_CHECKING:
    from client.commands import Terms

app = typer.Typer()


@app.command()
def register(
    name: str,
    url: options.Url,
    ca: options.Ca = None,
    insecure: options.Insecure = False,
    passphrase: options.Passphrase = False,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Make an account at a relay. Its password is asked for, or taken from LOUVER_PASSWORD."""
    enrol = partial(_enrol, register=True, insecure=insecure)
    enrol(name, url, ca, passphrase, options.place(home, profile), as_json)


@app.command()
def login(
    name: str,
    url: options.Url,
    ca: options.Ca = None,
    insecure: options.Insecure = False,
    passphrase: options.Passphrase = False,
    replace_key: options.ReplaceKey = False,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Use an existing account from this device."""
    enrol = partial(_enrol, register=False, insecure=insecure, replace_key=replace_key)
    enrol(name, url, ca, passphrase, options.place(home, profile), as_json)


@app.command()
def chat(
    to: options.To,
    secret: Annotated[
        bool,
        typer.Option("--secret", help="Raise to the strongest mode before the first message."),
    ] = False,
    warn: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Warn me of these words; it tells nobody else."),
    ] = None,
    warn_links: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Warn me of links to these hosts; it tells nobody else."),
    ] = None,
    profile: options.Profile = "default",
    home: options.Home = None,
) -> None:
    """Talk with somebody, line by line."""

    async def work(terms: Terms) -> None:
        from client.commands import opened
        from client.own_lists import OwnLists
        from client.terminal import talk

        lists = OwnLists(warn or (), warn_links or ())
        async with opened(terms) as connected:
            if secret:
                await connected.proposals.raise_to_strongest(to)
            await talk(connected, to, own_lists=lists)

    options.run(work, options.place(home, profile))


@app.command()
def send(
    to: options.To,
    text: Annotated[
        str, typer.Argument(help="The message; - takes it from standard input.", show_default=False)
    ] = "",
    file: Annotated[
        str, typer.Option(metavar="PATH", help="Send a file; - is standard input.")
    ] = "",
    kind: Annotated[
        str, typer.Option(help="What it is: file, image, voice or video; else a guess.")
    ] = "",
    reply_to: Annotated[
        str, typer.Option(metavar="ID", help="The message that it answers, by number or id.")
    ] = "",
    disappear: Annotated[str, typer.Option(metavar="TIME", help="30s, 5m, 1h, 7d …")] = "off",
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Send one message or file. Returns once the relay holds it durably."""
    place = options.place(home, profile)
    work = partial(_commands().send, to=to, text=text, reply_to=reply_to, timer=disappear)
    if file or kind:
        room = importlib.import_module("client.attachment_commands")
        alone = not text and disappear == "off"
        work = partial(room.send, to=to, file=file, kind=kind, reply_to=reply_to, alone=alone)
    options.run(work, place, as_json)


@app.command()
def history(
    peer: options.With,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many.")] = 20,
    before: Annotated[int, typer.Option(min=0, help="Only those with a lower number.")] = 0,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Show the newest messages with somebody."""
    place = options.place(home, profile)
    options.run(lambda terms: _commands().history(terms, peer, limit, before), place, as_json)


@app.command()
def block(
    name: str,
    off: Annotated[bool, typer.Option("--off", help="Unblock.")] = False,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Block somebody: nothing of theirs reaches you."""
    place = options.place(home, profile)
    options.run(lambda terms: _commands().block(terms, name, on=not off), place, as_json)


def _commands() -> Any:
    return importlib.import_module("client.commands")


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

    options.run(work, place, as_json)
