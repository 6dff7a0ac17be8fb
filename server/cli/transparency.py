"""``louverd transparency``: the transparency report, from a copy of the access log.

What may live here: arguments. What is counted is in ``server.transparency``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer


def transparency(
    copy: Annotated[Path, typer.Argument(help="A copy with entries, of `louver audit fetch`.")],
    key: Annotated[str, typer.Option(envvar="LOUVER_LOG_KEY", help="The log's public key.")],
    first: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First day.")],
    end: Annotated[
        datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="Day after the last.")
    ],
    form: Annotated[
        Literal["csv", "json", "html"], typer.Option("--format", help="csv, json or html.")
    ] = "html",
) -> None:
    """Write a transparency report, from the access log alone. All of that is verified first."""
    from crypto_modes.transparency.note import Verifier
    from server import transparency as reporting

    if end <= first:
        raise typer.BadParameter("--to is after --from")
    span = f"{first.date()} up to {end.date()} (UTC, the last day not included)"
    found = reporting.report(copy, Verifier.decode(key), _milliseconds(first), _milliseconds(end))
    if form == "html":
        typer.echo(reporting.as_html(found, span), nl=False)
    else:
        typer.echo((reporting.as_csv if form == "csv" else reporting.as_json)(found), nl=False)


def _milliseconds(day: datetime) -> int:
    return int(day.replace(tzinfo=UTC).timestamp() * 1000)
