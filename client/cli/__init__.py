"""``louver``: the commands and their options.

What may live here: the list of command groups, and dispatch to other rooms. A group's options are
in a file of its own beside this one. Every command loads what it needs when it runs, so that
``louver --help`` stays below 150 ms. No other room of the client may import ``typer``.
"""

from __future__ import annotations

import typer

from client.cli import (
    altering,
    attachments,
    audit,
    backup,
    chatting,
    devices,
    export,
    keys,
    mod,
    notices,
    opened,
    policy,
    report,
)
from client.cli.options import Version, elsewhere

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Chat through a Louver relay, and compare what its encryption modes cost and protect.",
    epilog="Exit codes: 0 ok, 1 unexpected, 2 usage or config, 3 not reachable, 5 verification"
    " failed, 130 interrupted. The end-to-end encryption has not been audited yet.",
)


@app.callback()
def _any(version: Version = False) -> None:
    """Declares the options of all commands."""


_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}

# Groups without a name of their own: `louver send`, not `louver chatting send`.
app.add_typer(chatting.app)
app.add_typer(altering.app)
app.add_typer(devices.app)
app.add_typer(notices.app)
app.add_typer(opened.app)
app.add_typer(attachments.app, name="attachments")
app.add_typer(export.app, name="export")
app.add_typer(keys.app, name="keys")
app.add_typer(policy.app, name="policy")
app.add_typer(report.app, name="report")
app.add_typer(backup.app, name="backup")
app.add_typer(mod.app, name="mod")
app.add_typer(audit.app, name="audit")


@app.command(context_settings=_PASS_ON, add_help_option=False)
def compare(context: typer.Context) -> None:
    """Run the same traffic through every mode, and report."""
    elsewhere("client.compare.cli", context.args)


def main() -> None:
    """The entry point of the command ``louver``."""
    app()
