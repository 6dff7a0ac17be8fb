"""The transparency report: its counts, from entries made by hand, and the three forms."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from client.moderation import words
from crypto_modes.transparency import access_log
from crypto_modes.transparency.access_log import DAY, Entry, Leaf, Opened
from server import transparency
from server.access_log.counts import HOUR, Counted, Row, count
from server.cli import app
from tests import audited_log as liar
from tests.access_entries import TIME
from tests.audited_log import LOG

CASE, GRANT, OTHER = b"c" * 16, b"g" * 16, b"h" * 16
START = TIME // DAY * DAY
RECORDS = tuple(bytes((number,)) * 16 for number in range(5))


def entry(kind: str, hours: float = 1, **fields: Any) -> Entry:
    detail = fields.pop("detail", {})
    made = Entry(kind=kind, time=START + int(hours * HOUR), detail=detail)  # type: ignore[arg-type]  # a word of the table
    return msgspec.structs.replace(made, **fields)


STORY = [
    entry("report", 1, detail={"report": "1"}),
    entry("report", 2, detail={"report": "2"}),
    entry("report", 3, detail={"report": "3"}),
    entry("read", 4, basis="user_report", detail={"report": "aa", "outcome": "unsealed"}),
    entry("read", 4, basis="user_report", detail={"report": "aa", "outcome": "opened"}),
    entry("read", 4, basis="user_report", detail={"report": "bb", "outcome": "unsealed"}),
    entry("request", 5, basis="legal_request", grant=GRANT,
          detail={"authority": "=court", "country": "NO"}),
    entry("request", 5, basis="user_report", grant=OTHER),
    entry("refused", 5, basis="legal_request"),
    entry("approval", 6, grant=GRANT, detail={"outcome": "pending"}),
    entry("approval", 6, grant=GRANT, detail={"outcome": "granted"}),
    entry("approval", 6, grant=OTHER, detail={"outcome": "declined"}),
    entry("read", 7, basis="legal_request", case=CASE, grant=GRANT, count=4, size=40,
          records=RECORDS[:4]),
    entry("read", 8, basis="legal_request", case=CASE, grant=GRANT, count=2, size=20,
          records=RECORDS[3:]),
    entry("action", 11, case=CASE, count=2,
          detail={"event": "taken", "kind": "mute", "report": "1", "category": "spam"}),
    entry("action", 5, detail={"event": "taken", "kind": "none", "report": "2",
                               "category": "<b>hate"}),
    entry("case", 15, detail={"event": "settled", "report": "3", "category": "spam"}),
    entry("action", 12, case=CASE, detail={"event": "undone", "kind": "mute"}),
    entry("appeal", 12),
    entry("decision", 13, detail={"outcome": "reversed"}),
    entry("notice", 14, detail={"topic": "action"}),
    entry("alert", 15),
]  # fmt: skip


def counted(first: float = 0, end: float = 24) -> dict[tuple[str, str], float]:
    rows = count(STORY, START + int(first * HOUR), START + int(end * HOUR))
    return {(row.table, row.name): row.value for row in rows}


def test_every_number_of_a_story() -> None:
    assert counted() == {
        ("requests by basis", "legal_request"): 1,
        ("requests by basis", "user_report"): 1,
        ("requests by authority", "=court"): 1,
        ("requests by authority", "not said"): 1,
        ("requests by country", "NO"): 1,
        ("requests by country", "not said"): 1,
        ("grants", "granted"): 1,
        ("grants", "declined"): 1,
        ("grants", "steps refused by the rules"): 1,
        ("readings by basis", "legal_request"): 2,
        ("readings", "of reports"): 2,
        ("readings", "records opened"): 6,
        ("readings", "bytes opened"): 60,
        # five different records were opened in this case, and two messages acted upon
        ("readings", "over-collection: records opened, not acted upon"): 3,
        ("reports", "received"): 3,
        ("reports settled by category", "<b>hate"): 1,
        ("reports settled by category", "spam"): 2,
        ("reports", "median hours until settled"): 10.0,
        ("actions", "mute"): 1,
        ("actions", "none"): 1,
        ("appeals", "made"): 1,
        ("appeals decided", "reversed"): 1,
        ("notices sent", "action"): 1,
        ("alerts", "emergencies without a second approval"): 1,
    }


def test_only_what_lies_in_the_time_counts_and_earlier_reports_are_known() -> None:
    assert counted(11, 12) == {
        ("grants", "granted"): 0,
        ("grants", "declined"): 0,
        ("grants", "steps refused by the rules"): 0,
        ("readings", "of reports"): 0,
        ("readings", "records opened"): 0,
        ("readings", "bytes opened"): 0,
        ("readings", "over-collection: records opened, not acted upon"): 0,
        ("reports", "received"): 0,
        ("reports settled by category", "spam"): 1,
        ("reports", "median hours until settled"): 10.0,
        ("actions", "mute"): 1,
        ("appeals", "made"): 0,
        ("alerts", "emergencies without a second approval"): 0,
    }


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    leaves, shown = [], []
    for number, each in enumerate(STORY):
        salt = liar.salt(number)
        leaves.append(Leaf(each.time, b"m" * 16, access_log.commitment(salt, each)).encode())
        shown.append(Opened(number, salt, each))
    place = liar.save(liar.files_of(leaves), tmp_path / "copy")
    (place / "entries.json").write_bytes(msgspec.json.encode(shown))
    return place


def run(copy: Path, *more: str) -> tuple[int, str, str]:
    asked = ["transparency", str(copy), "--key", LOG.encode(), "--from", "2026-09-21", "--to",
             "2026-09-22", *more]  # fmt: skip
    done = CliRunner().invoke(app, asked)
    return done.exit_code, done.stdout, str(done.exception or done.stderr)


def test_the_three_forms_say_the_same(copy: Path) -> None:
    told = msgspec.json.decode(run(copy, "--format", "json")[1])
    assert (told["size"], told["erased"], told["log"]) == (len(STORY), 0, LOG.name)
    assert {(row["table"], row["name"]): row["value"] for row in told["rows"]} == counted()
    lines = list(csv.reader(io.StringIO(run(copy, "--format", "csv")[1])))
    assert lines[0] == ["table", "name", "value"]
    # a spreadsheet would take an authority's name for a formula
    assert ["requests by authority", "'=court", "1"] in lines
    assert len(lines) == 1 + len(counted())
    code, page, _ = run(copy)
    assert code == 0
    assert page.count("<tr>") == len(counted())
    assert "&lt;b&gt;hate" in page
    assert "<b>" not in page
    assert "2026-09-21 up to 2026-09-22" in page
    assert "access, not safety" in page


def test_large_counts_are_not_rounded() -> None:
    rows = (Row("readings", "bytes opened", 1_234_567), Row("reports", "median hours", 10.25))
    found = Counted(first=0, end=1, log="log", size=1, root="", erased=0, rows=rows)
    for written in (transparency.as_csv(found), transparency.as_html(found, "")):
        assert "1234567" in written
        assert "10.25" in written
    fields = {"table": "readings", "name": "bytes opened", "value": 1_234_567.0}
    assert words.count(fields).endswith(": 1234567")


def test_an_entry_that_is_not_the_one_entered_is_not_counted(copy: Path) -> None:
    path = copy / "entries.json"
    honest = path.read_bytes()
    path.write_bytes(honest.replace(b'"mute"', b'"none"', 1))
    code, out, error = run(copy)
    assert (code, out) == (1, "")
    assert "is not the one entered there" in error
    path.write_bytes(msgspec.json.encode(msgspec.json.decode(honest)[:-1]))
    assert "one entry for each" in run(copy)[2]
    path.unlink()
    assert "louver audit fetch" in run(copy)[2]


def test_the_days_are_in_order(copy: Path) -> None:
    assert run(copy, "--to", "2026-09-21")[0] == 2
