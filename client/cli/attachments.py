"""``louver attachments``: files that were received.

What may live here: options. What the commands do is in ``client.attachment_commands``. Sending is
``louver send --file``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from client.cli import options

if TYPE_CHECKING:
    from client.commands import Terms

app = typer.Typer(no_args_is_help=True, help="Save files that were sent to you.")


@app.callback()
def _group() -> None:
    """One command is a group, too."""


@app.command()
def save(
    peer: options.With,
    which: Annotated[str, typer.Argument(metavar="ID", help="The message, by number or id.")],
    place: Annotated[str, typer.Argument(metavar="DIR", help="A directory, or a new file.")],
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Save the file of a message, once all of it is verified. Nothing is ever overwritten."""

    async def work(terms: Terms) -> None:
        from client import attachment_commands

        await attachment_commands.save(terms, peer, which, place)

    options.run(work, options.place(home, profile), as_json)
