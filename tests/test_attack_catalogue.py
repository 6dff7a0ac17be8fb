"""The list of known attacks is whole: every row has tests, a protection and a planted fault."""

from __future__ import annotations

import ast

import pytest

from tests import attack_catalogue
from tests.attack_catalogue import PAGE, ROOT, ROWS, marked, shown_by
from tests.plants import PLANTS, SOUND, Survivors, place, survivors

OUT_OF_SCOPE = {34}
# Their rule over the code is seen to fail by violations that test_shape plants itself.
RULES = {43, 44}
# Whose faults are planted whenever the tests run; all others by hand.
QUICK = (23, 28)


def test_every_row_has_tests_or_a_reason() -> None:
    found = shown_by()
    assert sorted(ROWS) == list(range(1, 45))
    assert {number for number in ROWS if not found[number]} == OUT_OF_SCOPE
    assert all("out of scope" in ROWS[number].note for number in OUT_OF_SCOPE)


def test_every_attack_test_names_its_row() -> None:
    assert [test for test, rows in marked() if not rows or not rows <= ROWS.keys()] == []


def test_every_protection_is_where_the_list_says() -> None:
    for number, row in ROWS.items():
        for named in row.places.split():
            path, _, name = named.partition(":")
            defined = {
                node.name
                for node in ast.walk(ast.parse((ROOT / path).read_text()))
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            }
            assert name in defined, f"row {number}: {named} is gone"


def test_every_row_has_a_fault_that_can_be_planted() -> None:
    assert {plant.row for plant in PLANTS} == ROWS.keys() - OUT_OF_SCOPE - RULES
    for plant in PLANTS:
        for name in plant.changes:
            place(name)


def test_every_fault_names_attack_tests_that_exist() -> None:
    rows = dict(marked())
    for plant in PLANTS:
        assert plant.tests
        for test in plant.tests:
            assert rows.get(test), f"{test} is gone or has no number"


@pytest.mark.parametrize("row", QUICK)
def test_without_its_protection_a_test_fails(row: int) -> None:
    """The quick form: ``python -m tests.plants`` does it for all rows, in some minutes."""
    plant = next(each for each in PLANTS if each.row == row)
    assert survivors(plant) == []


def test_a_test_that_cannot_fail_would_be_found() -> None:
    """And so would a fault without which nobody could talk: it shows nothing of its own row."""
    watching = Survivors()
    watching.failed |= {"passes": False, "fails": True, SOUND: True}
    assert sorted(watching.found()) == sorted(["passes", SOUND])
    watching.failed |= {"passes": True, SOUND: False}
    assert watching.found() == []


def test_the_page_is_what_the_tables_say() -> None:
    assert PAGE.read_text() == attack_catalogue.page(), (
        "run python -m tests.attack_catalogue --write"
    )
