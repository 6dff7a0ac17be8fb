"""First contact and steady cost apart: the script, its arithmetic, and where it is shown."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
from rich.console import Console

from client.compare import measures, page, report, results, stats, steps, terminal, words
from client.compare.results import STEPS, Estimate
from client.compare.steps import SCRIPT, Taken
from tests.compare_results import made_up, raw
from tests.e2ee_ends import End
from tests.test_e2ee_session import couple


def test_the_script_has_every_step_and_each_turn_changes_the_writer() -> None:
    assert set(SCRIPT) == set(STEPS)
    talk = "".join(SCRIPT.values())
    after = talk[talk.index(SCRIPT["pq_epoch"] + SCRIPT["turn"]) :]
    assert all(one != other for one, other in pairwise(after))
    assert set(SCRIPT["chain"]) == {SCRIPT["first_contact"]}


def test_the_pq_ratchet_changes_its_epoch_in_that_step_and_in_no_other() -> None:
    a, b = (End(each) for each in couple())
    epochs = {}
    for step, writers in SCRIPT.items():
        for writer in writers:
            sender, recipient = (a, b) if writer == "a" else (b, a)
            assert recipient.open(sender.seal(steps.TEXT)) == steps.TEXT
        epochs[step] = (a.pq.epoch, b.pq.epoch)
    before, after = (0, 0), (1, 1)
    assert epochs == dict.fromkeys(SCRIPT, before) | {"pq_epoch": after, "turn": after}


def _taken(mode: str, pair: int, cpu: float, size: float = 0.0) -> Taken:
    return Taken(mode, pair, "chain", 48, cpu_us=cpu, latency_ms=cpu / 100, wire_bytes=size)


def test_the_tapped_pair_gives_bytes_and_the_others_give_times() -> None:
    taken = [_taken("e2ee", 0, 0.0, 1370.04), _taken("tls", 1, 9e9)]
    taken += [_taken("e2ee", pair, cpu) for pair, cpu in enumerate((300, 100, 200), 1)]
    (got,) = measures.steps(taken, "e2ee", seed=1).values()
    assert (got.pairs, got.messages, got.wire_bytes) == (3, 48, 1370.0)
    assert (got.client_cpu_us.value, got.latency_ms.value) == (200, 2)


def test_a_median_has_an_interval_around_it_where_there_is_something_to_draw() -> None:
    got = stats.median(np.arange(101.0), seed=1)
    assert got.value == 50
    assert got.low is not None
    assert got.high is not None
    assert 25 < got.low < 50 < got.high < 75
    assert got == stats.median(np.arange(101.0), seed=1)
    assert stats.median(np.array([3.0, 5.0]), seed=1) == Estimate(value=4)


def test_modes_take_turns_in_going_first() -> None:
    assert [list(steps._alternating(("x", "y"), number)) for number in (1, 2, 3)] == [
        ["x", "y"],
        ["y", "x"],
        ["x", "y"],
    ]


def test_page_and_terminal_show_each_step_of_each_mode() -> None:
    found = made_up()
    html = report.html(found, raw())
    section = html[html.index("First contact, and after") : html.index("Who can read</h2>")]
    console = Console(width=200, record=True, file=io.StringIO())
    terminal.show(console, found)
    printed = console.export_text()
    for mode in found.modes.values():
        for got in mode.steps.values():
            assert f"<b>{page.number(got.client_cpu_us.value)} µs</b>" in section
            assert f"{page.number(got.wire_bytes)} bytes" in section
            assert page.number(got.wire_bytes) in printed
    assert words.estimate(found.modes["e2ee"].steps["chain"].client_cpu_us) in section


def test_results_of_before_have_no_steps_and_are_shown_without(tmp_path: Path) -> None:
    document = msgspec.json.decode(results.encode(made_up()))
    for mode in document["modes"].values():
        del mode["steps"]
    (tmp_path / results.FILE).write_bytes(msgspec.json.encode(document))
    old = results.read(tmp_path)
    assert "First contact, and after" not in report.html(old, raw())
    assert terminal._steps(old) is None


def test_a_threshold_may_be_about_a_step() -> None:
    results.check_path("steps.first_contact.client_cpu_us.value")
    found = results.lookup(made_up(), "e2ee.steps.first_contact.client_cpu_us.value")
    assert found == made_up().modes["e2ee"].steps["first_contact"].client_cpu_us.value


@pytest.mark.parametrize("step", STEPS)
def test_every_step_has_words(step: results.StepName) -> None:
    assert all(page.words.STEP[step])
