"""The page: true to the results, self-contained, escaped; and its sentence claims no more."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser

import msgspec
import pytest
from rich.console import Console

from client.compare import page as parts
from client.compare import report, terminal, words
from client.compare.results import Access, Interval, Results
from tests.compare_results import made_up, raw

_VOID = {"meta", "br", "link", "img"}


@pytest.fixture(scope="module")
def page() -> str:
    return report.html(made_up(), raw())


class _Balance(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_with_unique_ids(page: str) -> None:
    parser = _Balance()
    parser.feed(page)
    assert parser.open == []
    assert len(parser.ids) == len(set(parser.ids))


def test_the_page_needs_no_network_and_no_script(page: str) -> None:
    body = re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)
    assert not re.search(r"https?://|<script|<link|<img|@import|\burl\((?!#)", body)
    assert "default-src 'none'" in page


def test_the_first_screen_has_the_numbers(page: str) -> None:
    found = made_up()
    head = page[page.index("<header>") : page.index("</header>")]
    for name, mode in found.modes.items():
        assert name in head
        assert words.number(mode.latency_ms.p50) in head
        assert words.number(mode.throughput.per_core_second) in head
        assert mode.words in head
    assert head.count("0 of 300 forgeries accepted (altered text, reporter, place).") == 2
    assert "0 of 300 forgeries accepted (altered text, reporter, place, key)." in head
    assert "0 of 300 (text 75, reporter 75, place 75, key 75)" in page


@pytest.mark.parametrize(
    "told",
    ["Not audited: e2ee", "This measures access, not safety", "who writes to whom, when", "size",
     "devices", "team of this relay only"],
)  # fmt: skip
def test_the_first_screen_tells_what_no_number_says(page: str, told: str) -> None:
    assert told in page[page.index("<header>") : page.index("</header>")]


def test_the_drill_shows_the_verdict_on_the_messages_with_and_without_the_relay(page: str) -> None:
    drill = page[page.index("A user&#39;s report</h3>") : page.index("Scanning</h3>")]
    assert drill.count(">9 confirmed<") == drill.count(">9 claim<") == 2
    assert drill.count(">9 verified<") == 2


def test_only_where_e2ee_runs_its_composition_matters() -> None:
    less = msgspec.structs.replace(made_up(), modes={"tls": made_up().modes["tls"]}, ratios={})
    assert not any("e2ee" in limit for limit in words.limits(less))


def test_a_quick_run_says_that_it_is_one_short_round() -> None:
    found = made_up()
    assert words.cautions(found) == []
    one = [round_ for round_ in found.rounds if round_.round == 0]
    quick = msgspec.structs.replace(found, rounds=one, argv=["--quick"])
    assert "One short round of each mode" in words.cautions(quick)[0]


def test_a_repeated_round_is_told_on_page_and_terminal() -> None:
    found = made_up()
    first = found.rounds[0]
    void = msgspec.structs.replace(first, valid=False, kept=False)
    again = msgspec.structs.replace(first, attempt=1)
    found = msgspec.structs.replace(found, rounds=[void, again, *found.rounds[1:]])
    told = "Round 1 was repeated in every mode: at first tls was void"
    html = report.html(found, raw())
    assert told in html[: html.index("</header>")].replace("&#39;", "'")
    table = html[html.index("How to reproduce") :]
    assert "<td>repeated</td><td>void</td>" in table
    assert '<th scope="row">1, again</th>' in table
    assert told in _printed(found)


def test_a_noisy_p99_is_told_as_no_effect() -> None:
    found = made_up()
    noisy = Interval(value=3.0, low=2.5, high=3.5, noisy=True)
    ratios = {**found.ratios, "e2ee/tls": {**found.ratios["e2ee/tls"], "latency_ms.p99": noisy}}
    found = msgspec.structs.replace(found, ratios=ratios)
    html = report.html(found, raw())
    assert "<td>3, machine too noisy to tell</td>" in html
    assert "too busy" in html[: html.index("</header>")]
    assert "(too noisy to tell)" in html[html.index("<svg") :]
    assert "to tell the p99 of e2ee/tls apart" in " ".join(_printed(found).split())
    assert not noisy.tells


def test_the_printed_command_can_be_pasted() -> None:
    condition = "e2ee.latency_ms.p99<50"
    found = msgspec.structs.replace(made_up(), argv=["--threshold", condition])
    assert "./louver compare --threshold &#39;e2ee.latency_ms.p99&lt;50&#39;" in report.html(
        found, raw()
    )


def test_without_the_histogram_library_one_sentence_says_so(page: str) -> None:
    found = made_up()
    machine = msgspec.structs.replace(found.machine, hdrhistogram="absent")
    assert "hdrhistogram is not installed" not in page
    html = report.html(msgspec.structs.replace(found, machine=machine), raw())
    assert "hdrhistogram is not installed" in html


def test_a_mode_nobody_here_knows_gets_a_colour_and_a_louver() -> None:
    found, seven = made_up(), [f"mode{n}" for n in range(7)]
    modes = dict(zip(seven, [*found.modes.values()] * 3, strict=False))
    ratios = {"mode6/mode0": found.ratios["e2ee/tls"]}
    many = msgspec.structs.replace(found, modes=modes, ratios=ratios)
    shown = parts.page(many)["modes"]
    assert [m["place"] for m in shown] == [1, 2, 3, 4, 5, 6, 1]
    assert [m["slats"] for m in shown[:3]] == [0, 1, 2]
    css = re.findall(r"--mode(\d):", report.html(found, raw()))
    assert {str(m["place"]) for m in shown} == set(css)


def _printed(found: Results) -> str:
    console = Console(width=300, record=True, file=io.StringIO())
    terminal.show(console, found)
    return console.export_text()


def test_every_picture_has_its_numbers_as_a_table(page: str) -> None:
    assert page.count("<svg viewBox") == 5
    assert page.count("The numbers as a table") >= 4


def test_what_was_not_measured_is_never_a_number(page: str) -> None:
    drill = page[page.index("Scanning</h3>") : page.index("A legal request</h3>")]
    assert drill.count("not measured") >= 3
    assert not re.search(r"<td[^>]*>\s*\d", drill)


def test_the_first_screen_says_what_the_staff_gets(page: str) -> None:
    head = page[page.index("<header>") : page.index("</header>")]
    for told in (
        "database 100% (none in the log); order 100% (2 approvals, all in the log)",
        "database 0%; order 100% (2 approvals, all in the log)",
        "database 0%; order 0%",
    ):
        assert told in head
    assert "2 approvals, all in the log" in " ".join(_printed(made_up()).split())


def test_a_legal_request_shows_approvals_log_and_refusals(page: str) -> None:
    drill = page[page.index("A legal request</h3>") : page.index("How to read this")]
    for cell in (">2<", ">100%<", ">3<"):
        assert drill.count(cell) >= 3


def test_on_a_phone_every_number_of_the_drill_names_its_mode(page: str) -> None:
    drill = page[page.index('<div class="drill">') : page.index("How to read this")]
    cells = re.findall(r"<td([^>]*)>", drill)
    modes = list(made_up().modes)
    assert len(cells) % len(modes) == 0
    assert cells == [f' data-label="{mode}"' for mode in modes] * (len(cells) // len(modes))


def test_print_shows_tables_whole_in_one_column(page: str) -> None:
    css = page[page.index("@media print") : page.index("</style>")]
    assert ".scroll { overflow: visible; }" in css
    assert ".grid { grid-template-columns: 1fr; }" in css


def test_colours_follow_the_page(page: str) -> None:
    assert "#a1000" not in page
    assert "#b1000" not in page
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_what_came_from_outside_is_escaped() -> None:
    evil = "<script>alert(1)</script>"
    found = msgspec.structs.replace(made_up(), argv=["--trace", evil], problems=[evil])
    html = report.html(found, raw())
    assert evil not in html
    assert "&lt;script&gt;" in html
    assert "This run is not valid" in html
    assert "times as long" not in html


def test_the_same_results_give_the_same_page(page: str) -> None:
    assert report.html(made_up(), raw()) == page


def _with_interval(low: float, high: float) -> Results:
    found = made_up()
    ratios = dict(found.ratios)
    changed = {"latency_ms.p50": Interval(value=1.1, low=low, high=high)}
    ratios["e2ee/tls"] = {**ratios["e2ee/tls"], **changed}
    return msgspec.structs.replace(found, ratios=ratios)


def test_the_sentence_claims_a_difference_only_where_the_interval_does() -> None:
    assert "could not tell e2ee and tls apart" in words.sentence(_with_interval(0.9, 1.3))
    assert "1.1 times as long" in words.sentence(_with_interval(1.05, 1.3))


def test_the_sentence_names_who_kept_the_operator_out() -> None:
    found = made_up()
    assert "e2ee is the only mode" in words.sentence(found)
    open_modes = {name: found.modes[name] for name in ("tls", "at_rest")}
    ratios = {"at_rest/tls": found.ratios["at_rest/tls"]}
    less = msgspec.structs.replace(found, modes=open_modes, ratios=ratios)
    assert "in every mode somebody" in words.sentence(less)


def test_a_stolen_device_is_told_apart_from_who_reads_at_the_relay(page: str) -> None:
    found = made_up()
    head = page[page.index("<header>") : page.index("</header>")]
    after = (
        "what came next, but not what came before or what came after two answers"
        " (its own history apart)"
    )
    assert (
        f"not from wire, disk, backup, logs, memory, vault, operator; with a stolen device {after}"
        in (words.who_can_read(found.modes["e2ee"]))
    )
    assert after in head
    assert "with a stolen device everything" in words.who_can_read(found.modes["tls"])
    assert words.readers(found.modes["e2ee"]) == []
    heat = page[page.index('<table class="heat"') :]
    assert heat.count("could not; its own history shows 8") == 1
    assert heat[: heat.index("</table>")].count("in-process: nothing to tap") == 3


def test_the_ladder_shows_every_rung_and_the_relay_where_it_was_measured(page: str) -> None:
    ladder = page[page.index("What each ingredient costs") : page.index("Who can read</h2>")]
    for name, what in words.RUNG.values():
        assert f"{name}: {what}".replace("'", "&#39;") in ladder
    assert "asked 0.002 times a message" in ladder
    found = made_up()
    assert found.ladder is not None
    quick = msgspec.structs.replace(found.ladder, relay_cpu_us={})
    html = report.html(msgspec.structs.replace(found, ladder=quick), raw())
    assert "At the relay alone" not in html
    html = report.html(msgspec.structs.replace(found, ladder=None), raw())
    assert "What each ingredient costs" not in html


@pytest.mark.parametrize(
    ("part", "of", "text"),
    [(1.0, 12, "12 of 12"), (299 / 300, 300, "299 of 300"), (None, 12, "–"), (0.0, 0, "–")],
)
def test_few_messages_make_no_percentage(part: float | None, of: int, text: str) -> None:
    assert words.share(part, of) == text


def test_proof_is_told_by_what_it_rests_on() -> None:
    record = Access(measured=True, labelled=8, verifiable=1.0, basis="record", forged_submitted=3)
    assert "own record only" in words.proof(record)[0]
    partly = msgspec.structs.replace(record, verifiable=0.5)
    assert "4 of 8" in words.proof(partly)[0]
    assert words.proof(Access(measured=False))[0] == "not measured"
