"""``louver``: the commands and their options.

What may live here: the list of command groups, and dispatch to other rooms. A group's options are
in a file of its own beside this one. Every command loads what it needs when it runs, so that
``louver --help`` stays below 150 ms. No other room of the client may import ``typer``.
"""

from __future__ import annotations

import importlib
import sys

import typer

from client.cli import chatting, devices, policy

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Chat through a Louver relay, and compare what its encryption modes cost and protect.",
    epilog="Exit codes: 0 ok, 1 unexpected, 2 usage or config, 3 not reachable, 5 verification"
    " failed, 130 interrupted. The end-to-end encryption has not been audited yet.",
)

_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}

# Groups without a name of their own: `louver send`, not `louver chatting send`.
app.add_typer(chatting.app)
app.add_typer(devices.app)
app.add_typer(policy.app, name="policy")


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
