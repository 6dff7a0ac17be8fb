"""The parts of the page about what one message costs: by its place in a conversation, and by the
ingredients of its mode.

What may live here: choosing and wording, as in ``page``.
"""

from __future__ import annotations

from typing import Any

from client.compare import words
from client.compare.results import STEPS, Results
from client.compare.words import estimate, number

Part = dict[str, Any]


def steps(results: Results) -> list[Part]:
    """A row for each step that was measured in every mode."""
    every = [mode.steps for mode in results.modes.values()]
    rows: list[Part] = []
    for step in STEPS:
        if not all(step in taken for taken in every):
            continue
        name, what = words.STEP[step]
        cells = []
        for got in (taken[step] for taken in every):
            rest = f"{number(got.latency_ms.value)} ms · {number(got.wire_bytes)} bytes"
            cells.append({"cpu": f"{number(got.client_cpu_us.value)} µs", "rest": rest})
        rows.append({"name": name, "what": what, "cells": cells})
    return rows


def steps_table(results: Results) -> Part:
    """The same with intervals, mode by mode."""
    rows = [
        [f"{name}, {words.STEP[step][0].lower()}", f"{got.pairs} × {got.messages}",
         estimate(got.client_cpu_us), estimate(got.latency_ms), number(got.wire_bytes)]
        for name, mode in results.modes.items()
        for step, got in mode.steps.items()
    ]  # fmt: skip
    heads = ["a message of", "pairs × messages", "clients µs CPU (95 %)", "latency ms (95 %)",
             "wire bytes"]  # fmt: skip
    return {"heads": heads, "rows": rows}


def ladder(results: Results) -> Part | None:
    """Each ingredient's price, and what a message costs with all up to it."""
    if results.ladder is None:
        return None
    rows, said = [], []
    for rung, below in words.below(results.ladder).items():
        got = results.ladder.cpu_us[rung]
        name, what = words.RUNG[rung]
        rows.append([f"{name}: {what}", estimate(got), number(below + got.value)])
        said.append(f"{name} {number(got.value)}")
    heads = ["ingredient", "µs of CPU a message (95 %)", "with all before it"]
    text = f"Microseconds a message: {', '.join(said)}."
    table = {"heads": heads, "rows": rows}
    return {"about": words.LADDER_TEXT, "text": text, "table": table, "relay": _relay(results)}


def _relay(results: Results) -> Part | None:
    """What a saturated relay takes in each of its settings; None where only ``--full`` would."""
    got = results.ladder
    if got is None or not got.relay_cpu_us:
        return None
    rows = [[words.FLOOR[name], estimate(price)] for name, price in got.relay_cpu_us.items()]
    text = words.FLOORS_TEXT
    if got.key_calls is not None:
        text += f" The key service was asked {got.key_calls:.2g} times a message."
    return {"text": text, "table": {"heads": ["relay", "µs of CPU a message (95 %)"], "rows": rows}}
