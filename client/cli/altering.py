"""The commands that alter a message which was sent before: reactions, edits, deletions.

What may live here: their options. What they do is in ``client.alter_commands``.
"""

from __future__ import annotations

import importlib
from typing import Annotated, Any

import typer

from client.cli import options

app = typer.Typer()

Which = Annotated[
    str, typer.Argument(metavar="ID", help="The message, by number or id, as history shows.")
]


@app.command()
def react(
    to: options.To,
    which: Which,
    emoji: Annotated[str, typer.Argument(help="None takes yours back.", show_default=False)] = "",
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Put an emoji at a message."""
    place = options.place(home, profile)
    options.run(lambda terms: _commands().react(terms, to, which, emoji), place, as_json)


@app.command()
def edit(
    to: options.To,
    which: Which,
    text: Annotated[str, typer.Argument(help="The new text; - takes it from standard input.")],
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Put another text in the place of one of yours, within a day."""
    place = options.place(home, profile)
    options.run(lambda terms: _commands().edit(terms, to, which, text), place, as_json)


@app.command()
def delete(
    to: options.To,
    which: Which,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Take one of your messages back, within a day."""
    place = options.place(home, profile)
    options.run(lambda terms: _commands().delete(terms, to, which), place, as_json)


def _commands() -> Any:
    return importlib.import_module("client.alter_commands")
