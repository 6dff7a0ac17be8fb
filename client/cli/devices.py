"""The commands about one's own devices: link this one, approve, show and remove others.

What may live here: their options. What they do is in ``client.device_commands``.
"""

from __future__ import annotations

import importlib
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from client.cli import options


class _Named(TyperGroup):
    """``louver devices`` and ``louver devices NAME`` are short for ``louver devices show …``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or args[0] not in {*self.commands, *ctx.help_option_names}:
            args = ["show", *args]
        return super().parse_args(ctx, args)


app = typer.Typer()
devices = typer.Typer(cls=_Named, help="Show, link and remove the devices of your account.")
app.add_typer(devices, name="devices")

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
WithAccountKey = Annotated[
    bool,
    typer.Option(
        "--with-account-key",
        help="Also hand over the account key: the new device then links and removes others, too.",
    ),
]


@app.command()
def link(
    approve: Annotated[
        str | None, typer.Option("--approve", help="The same as: louver devices link CODE")
    ] = None,
    label: Annotated[
        str | None, typer.Option("--label", help="What this device calls itself.")
    ] = None,
    with_account_key: WithAccountKey = False,
    yes: Yes = False,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Link this device to its account. You take a code to another device of yours."""
    place = options.place(home, profile)
    if approve is None:
        options.run(lambda terms: _commands().link(terms, label), place, as_json)
        return
    how = {"with_account_key": with_account_key, "yes": yes}
    options.run(lambda terms: _commands().approve(terms, approve, **how), place, as_json)


@devices.command()
def show(
    name: Annotated[str | None, typer.Argument(help="Whose; without it, your own.")] = None,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Show the verified devices of an account."""
    place = options.place(home, profile)
    options.run(lambda terms: _commands().show(terms, name), place, as_json)


@devices.command("link")
def approve(
    code: Annotated[str, typer.Argument(help="The code that the new device shows.")],
    with_account_key: WithAccountKey = False,
    yes: Yes = False,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Link a new device, on which `louver link` shows a code."""
    place = options.place(home, profile)
    how = {"with_account_key": with_account_key, "yes": yes}
    options.run(lambda terms: _commands().approve(terms, code, **how), place, as_json)


@devices.command()
def remove(
    id: Annotated[str, typer.Argument(help="The device's id, or the first 8 digits of it.")],
    yes: Yes = False,
    profile: options.Profile = "default",
    home: options.Home = None,
    as_json: options.Json = False,
) -> None:
    """Remove a device from the account, at once and for good."""
    place = options.place(home, profile)
    options.run(lambda terms: _commands().remove(terms, id, yes=yes), place, as_json)


def _commands() -> Any:
    return importlib.import_module("client.device_commands")
