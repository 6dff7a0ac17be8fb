"""The pictures of the report: matplotlib figures as inline SVG that follow the page's colours.

Only drawing lives here. Figures are drawn in stand-in colours, which are then replaced by the
page's CSS variables, so that one picture serves light, dark and print. Text stays text.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from client.compare import measures, words
from client.compare.measures import Raw
from client.compare.results import Results
from client.compare.stats import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import Locator

_INK, _MUTED, _GRID, _PAPER = "#b10001", "#b10002", "#b10003", "#b10004"
_VARIABLES = {_INK: "--ink", _MUTED: "--muted", _GRID: "--line", _PAPER: "--card"}
_MODE = "#a1000{}"
_COLOURS = 6
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "louver",
    "font.size": 10,
    "text.color": _INK,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": False,
    "grid.color": _GRID,
    "grid.linewidth": 0.8,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "xtick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
}
_PERCENTILES = (0, 50, 90, 99, 99.9, 99.99)
_NAMES = {
    "latency_ms.p50": "latency p50",
    "latency_ms.p99": "latency p99",
    "first_message_ms.p50": "first message p50",
    "throughput.messages_per_second": "throughput",
    "server_cpu_us_per_message": "relay CPU",
    "client_cpu_us_per_message": "client CPU",
}


def colours(modes: Sequence[str]) -> dict[str, str]:
    """The stand-in colour of each mode, by its place."""
    return {mode: _MODE.format(i % _COLOURS + 1) for i, mode in enumerate(modes)}


def percentile_curves(results: Results, raw: Raw) -> str:
    """Latency over percentile, one bold line per mode and a thin one per round."""
    figure, axes = _figure(4.6, 3.2)
    for mode, colour in colours(list(results.modes)).items():
        rounds = raw.latency(mode)
        for blocks in rounds:
            _curve(axes, np.concatenate(blocks), color=colour, alpha=0.3, linewidth=0.8)
        _curve(axes, measures.flat(rounds), color=colour, linewidth=2.2, label=mode)
    axes.set_xscale("log")
    axes.set_yscale("log")
    ticks = [p for p in _PERCENTILES if 1 / (1 - p / 100) <= 1.2 * axes.get_xlim()[1]]
    axes.set_xticks([1 / (1 - p / 100) for p in ticks], [f"{p:g}" if p else "min" for p in ticks])
    axes.minorticks_off()
    _plain_log(axes, "y")
    axes.set_xlabel("percentile of messages")
    axes.set_ylabel("milliseconds")
    axes.legend(frameon=False, loc="upper left", labelcolor="linecolor", handlelength=1.2)
    return _svg(figure, "latency")


def intervals(results: Results) -> str:
    """Each mode's measures over the first mode's, with 95 % intervals; hollow: too noisy."""
    names = [name for name in _NAMES if any(name in r for r in results.ratios.values())]
    figure, axes = _figure(4.6, 0.9 + 0.38 * len(names))
    shades = colours(list(results.modes))
    for index, (pair, ratios) in enumerate(results.ratios.items()):
        mode = pair.split("/")[0]
        offset = (index - (len(results.ratios) - 1) / 2) * 0.3
        for row, name in enumerate(names):
            got = ratios[name]
            low, high = got.low or got.value, got.high or got.value
            if not got.noisy:
                ends, at = [low, high], [row + offset] * 2
                axes.plot(ends, at, color=shades[mode], linewidth=2.2, alpha=0.5)
            label = mode if row == 0 else None
            style: dict[str, Any] = {
                "linestyle": "none",
                "marker": "o",
                "markersize": 6,
                "color": shades[mode],
                "fillstyle": "none" if got.noisy else "full",
            }
            axes.plot([got.value], [row + offset], label=label, **style)
    axes.axvline(1, color=_MUTED, linewidth=1)
    axes.set_xscale("log")
    noisy = {name for got in results.ratios.values() for name in names if got[name].noisy}
    labels = [_NAMES[name] + ("\n(too noisy to tell)" if name in noisy else "") for name in names]
    axes.set_yticks(range(len(names)), labels)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", labelcolor=_INK)
    _plain_log(axes, "x", "×")
    base = next(iter(results.modes))
    axes.set_xlabel(f"times {base}, with 95 % interval")
    axes.legend(
        frameon=False,
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=len(results.ratios) or 1,
        labelcolor="linecolor",
        handletextpad=0.2,
    )
    return _svg(figure, "ratios")


def throughput(results: Results, raw: Raw) -> str:
    """Durable messages per second of relay CPU, and what one process sustained."""
    modes = list(results.modes)
    figure, axes = _figure(4.6, 0.9 + 0.62 * len(modes))
    for row, (mode, colour) in enumerate(colours(modes).items()):
        got = results.modes[mode].throughput
        axes.barh(row, got.per_core_second, height=0.56, color=colour)
        axes.annotate(
            f"{got.per_core_second:,.0f}",
            (got.per_core_second, row),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=_INK,
            fontweight="bold",
        )
        slices = [float(b[0, 0] / b[0, 1]) for blocks in raw.rate(mode) for b in blocks if b[0, 1]]
        axes.plot(slices, [row] * len(slices), "|", color=_PAPER, markersize=10, alpha=0.8)
    _bars(axes, modes)
    axes.set_xlabel("per second of relay CPU; ticks: per second of time")
    return _svg(figure, "throughput")


def cpu_split(results: Results) -> str:
    """CPU per message at the offered rate, relay beside clients."""
    modes = list(results.modes)
    figure, axes = _figure(4.6, 0.9 + 0.62 * len(modes))
    for row, (mode, colour) in enumerate(colours(modes).items()):
        got = results.modes[mode]
        server, client = got.server_cpu_us_per_message, got.client_cpu_us_per_message
        axes.barh(row, server, height=0.56, color=colour)
        axes.barh(row, client, left=server, height=0.56, color=colour, alpha=0.35)
        axes.annotate(
            f"{server:,.0f} + {client:,.0f}",
            (server + client, row),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=_INK,
        )
    _bars(axes, modes)
    axes.set_xlabel("µs of CPU per message: relay (solid) + both clients (light)")
    return _svg(figure, "cpu")


def ladder(results: Results) -> str:
    """What each ingredient adds to a message, standing on those before it."""
    got = results.ladder
    if got is None:
        return ""
    figure, axes = _figure(4.6, 0.9 + 0.4 * len(got.cpu_us))
    shades = colours(list(results.modes))
    below = words.below(got)
    for row, (rung, price) in enumerate(got.cpu_us.items()):
        mode = {"floor": "tls", "tls": "tls", "envelope": "at_rest"}.get(rung, "e2ee")
        colour = shades.get(mode, _MUTED)
        axes.barh(row, below[rung], height=0.6, color=_GRID)
        axes.barh(row, price.value, left=below[rung], height=0.6, color=colour)
        top = below[rung] + max(price.value, 0)
        text = f"{price.value:.1f}" if price.value < 10 else f"{price.value:.0f}"
        axes.annotate(
            text, (top, row), xytext=(6, 0), textcoords="offset points", va="center", color=_INK
        )
    _bars(axes, [words.RUNG[rung][0] for rung in got.cpu_us])
    axes.set_xlabel("µs of CPU a message; grey: below it")
    return _svg(figure, "ladder")


def _curve(axes: Axes, samples: Array, **style: Any) -> None:
    if not samples.size:
        return
    # The largest of n samples stands at percentile 100 (1 - 1/2n): a log axis has no 100.
    far = 2 * samples.size
    at = np.geomspace(1, far, 160)
    axes.plot(at, np.quantile(samples, np.minimum(1 - 1 / at, 1.0)), **style)


def _bars(axes: Axes, modes: Sequence[str]) -> None:
    axes.set_yticks(range(len(modes)), list(modes))
    axes.tick_params(axis="y", labelcolor=_INK, labelsize=11)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.24)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.xaxis.set_major_locator(_locator())


def _locator() -> Locator:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(4)


def _plain_log(axes: Axes, which: str, unit: str = "") -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    axis = axes.yaxis if which == "y" else axes.xaxis
    low, high = axis.get_view_interval()
    steps = (1, 2, 5) if high / low < 300 else (1,)
    axis.set_major_locator(LogLocator(subs=steps, numticks=20))
    axis.set_major_formatter(lambda value, _: f"{value:g}{unit}")
    axis.set_minor_formatter(NullFormatter())


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.add_subplot()


def _svg(figure: Figure, name: str) -> str:
    """The figure as an element to put into HTML; ``name`` keeps its ids apart from others'."""
    from matplotlib import rc_context

    out = io.StringIO()
    with rc_context(_STYLE):
        metadata: Mapping[str, None] = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(out, format="svg", transparent=True, metadata=metadata)
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(url\(#|href="#)', rf"\1{name}-", text)
    text = re.sub(r"font-family: [^;\"]*", "font-family: var(--sans)", text)
    text = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', r"<svg \1 aria-hidden='true'>", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    for place in range(1, _COLOURS + 1):
        text = text.replace(_MODE.format(place), f"var(--mode{place})")
    return text
