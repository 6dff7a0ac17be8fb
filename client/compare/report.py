"""``report/index.html``: one file, made from the raw data beside it, any number of times.

What may live here: putting page, pictures and template together and writing the file. What may
not: wording (``page``, ``words``) and drawing (``plots``).
"""

from __future__ import annotations

from pathlib import Path

from client.compare import plots, record, results
from client.compare.measures import Raw
from client.compare.page import page
from client.compare.results import Results

INDEX = "index.html"


def render(directory: Path) -> Path:
    """Render the report of the results in ``directory`` and give its path.

    Raises:
        BadArgument: results or raw data are missing or damaged.
    """
    found = results.read(directory)
    raw = Raw(*record.read(directory))
    path = directory / INDEX
    path.write_text(html(found, raw), encoding="utf-8")
    return path


def html(found: Results, raw: Raw) -> str:
    """The page. Everything that came from outside is escaped; only our own pictures are not."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("client.compare"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    loader = environment.loader
    assert loader is not None  # noqa: S101  given above; tells the type checker
    css = loader.get_source(environment, "report.css")[0]
    drawn = {
        "latency": plots.percentile_curves(found, raw),
        "ratios": plots.intervals(found) if found.ratios else "",
        "throughput": plots.throughput(found, raw),
        "cpu": plots.cpu_split(found),
        "ladder": plots.ladder(found),
    }
    # Safe: matplotlib escapes the text it draws, and the style sheet is ours.
    safe = {name: Markup(svg) for name, svg in drawn.items()}  # noqa: S704  matplotlib escaped it
    template = environment.get_template("report.html.j2")
    return template.render(page=page(found), plots=safe, css=Markup(css))  # noqa: S704  ours
