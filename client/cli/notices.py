"""``louver notices`` and ``louver appeal``: what the relay's moderation says, and objecting.

What may live here: their options. What they do is in ``client.notice_commands``.
"""

from __future__ import annotations

import importlib
from typing import Annotated, Any

import typer

from client.cli import options

app = typer.Typer()


@app.command()
def notices(
    after: Annotated[int, typer.Option(min=0, help="Only those with a higher number.")] = 0,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Show what moderation decided about you, and why. Marks it as read.

    This works for a suspended account too.
    """
    place = options.place(home, profile)
    options.run(lambda terms: _commands().show(terms, after=after), place, as_json)


@app.command()
def appeal(
    action: Annotated[str, typer.Argument(help="The decision, as louver notices names it.")],
    words: Annotated[str, typer.Argument(help="What you say against it, 2,000 bytes at most.")],
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Object to a decision, once. Somebody else than who decided looks at it."""
    place = options.place(home, profile)
    options.run(lambda terms: _commands().appeal(terms, action, words), place, as_json)


def _commands() -> Any:
    return importlib.import_module("client.notice_commands")
