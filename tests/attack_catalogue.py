"""The known attacks: what each is, which protection stops it, and where that protection is.

What may live here: the table of rows, the search for the tests that carry a row's number, and the
page ``docs/attacks.md`` made of both and of the faults that were planted (``planted.py``)::

    python -m tests.attack_catalogue           # every row with its tests
    python -m tests.attack_catalogue --write   # the page
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.plants import PLANTS

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "attacks.md"


class Row(NamedTuple):
    """``modes`` as T, R and E; ``places`` are ``file:name`` of protections; ``note`` for people."""

    attack: str
    modes: str
    places: str
    note: str = ""


E, C, S = "crypto_modes/e2ee/", "client/", "server/"
ROWS: dict[int, Row] = {
    1: Row("a relay adds a device", "E", f"{E}devices.py:verify_list"),
    2: Row("an identifier taken for a key", "E", f"{E}devices.py:safety_number"),
    3: Row("one object for another", "T R E", "crypto_modes/encoding.py:enc"),
    4: Row("stored bytes changed", "R E", "crypto_modes/primitives.py:aead_open"),
    5: Row("messages reordered", "T R E", f"{C}sequence.py:arrived {E}body.py:note"),
    6: Row(
        "failures that can be told apart",
        "T R E",
        f"{E}receiving.py:open crypto_modes/errors.py:CannotOpen",
        "times are compared by hand: `python -m tests.harness.failures`",
    ),
    7: Row("envelope changed, message reflected, state cloned", "E", f"{E}session.py:aad"),
    8: Row("receipts and retries as an oracle", "E", f"{C}incoming.py:_unreadable"),
    9: Row("sender keys", "E", f"{E}sending.py:seal", "no key is held by more than two devices"),
    10: Row("EC and KEM keys confused", "E", f"{E}devices.py:signed_prekey {E}pqxdh.py:transcript"),
    11: Row("prekeys drained", "E", f"{S}store/sqlite/directory.py:take_bundle"),
    12: Row("a first message replayed", "E", f"{E}identity.py:use_up"),
    13: Row("silent messages that give receipts", "T R E", f"{C}contents.py:take"),
    14: Row("a key swapped by the relay", "E", f"{E}peers.py:learn"),
    15: Row("mode lowered by the relay", "R E", "crypto_modes/pins.py:to_send"),
    16: Row("suite lowered, KEM part stripped", "E", f"{E}identity.py:check_bundle"),
    17: Row("messages replayed", "T R E", f"{C}memory.py:knows {E}ratchet.py:receive"),
    18: Row("messages withheld", "E", f"{E}body.py:answered"),
    19: Row("two histories shown", "R E", f"{E}body.py:note"),
    20: Row("who talks to whom", "E", f"{E}pqxdh.py:transcript"),
    21: Row(
        "impersonation to whose keys leaked",
        "E",
        f"{E}pqxdh.py:respond",
        "who holds the signed prekey too can do it until that is deleted, as in X3DH and PQXDH;"
        " a one-time key does not change that",
    ),
    22: Row("points of small order", "E", "crypto_modes/primitives.py:ed25519_check"),
    23: Row("a ciphertext of two texts", "E", "crypto_modes/franking.py:commitment"),
    24: Row("keys tried on a ciphertext", "R", "crypto_modes/at_rest.py:_open"),
    25: Row("nonces of forked processes", "R", "crypto_modes/at_rest.py:admit"),
    26: Row("a crash between keeping and sending", "E", f"{C}outgoing.py:seal_now"),
    27: Row("a stolen or cloned state", "E", f"{E}sessions.py:opened {E}ratchet.py:_turn"),
    28: Row("headers that cost work", "E", f"{E}ratchet.py:receive {E}pq_ratchet.py:receive"),
    29: Row("frames that cost memory", "T R E", "crypto_modes/wire/codec.py:_decode"),
    30: Row("integers as keys", "T R E", "crypto_modes/wire/codec.py:Codec"),
    31: Row("two readings of one frame", "T R E", "crypto_modes/policy.py:record"),
    32: Row(
        "compression", "T R E", f"{S}gateway/handshake.py:answer {C}connection.py:open_connection"
    ),
    33: Row("lengths", "R E", "crypto_modes/padding.py:pad"),
    34: Row(
        "traffic analysis",
        "T R E",
        "",
        "out of scope, as the threat model says; typing and presence are off by default",
    ),
    35: Row("pages of other origins", "T R E", f"{S}gateway/handshake.py:answer"),
    36: Row("slow and silent connections", "T R E", f"{S}gateway/stalls.py:begin {S}outbox.py:put"),
    37: Row("accounts enumerated", "T R E", f"{S}directory.py:peer {S}limits.py:lookup"),
    38: Row("other people's ids", "T R E", f"{S}conversations.py:peer_of"),
    39: Row("rows of the database swapped", "R", "crypto_modes/at_rest.py:_bind"),
    40: Row("secrets and line breaks in logs", "T R E", f"{S}logs.py:_allow"),
    41: Row("forged reports", "E", "crypto_modes/franking.py:verify"),
    42: Row("revocation that comes late", "T R E", f"{S}delivery.py:event"),
    43: Row(
        "randomness that can be guessed",
        "T R E",
        "tests/shape.py:randomness",
        "a rule over the code, with planted violations: `tests/test_shape.py`",
    ),
    44: Row(
        "comparisons that take a time",
        "T R E",
        "tests/shape.py:comparisons",
        "a rule over the code, with planted violations: `tests/test_shape.py`",
    ),
}
# Rows whose tests are rules over the code, which carry their number in a table of test_shape.
RULES = {43: "tests/test_shape.py::test_the_code_keeps_the_rule", 44: "the same"}
_NUMBERED = re.compile(r"test_((?:\d+_)(?:and_\d+_)*)")


def marked() -> Iterator[tuple[str, set[int]]]:
    """Every test that carries the marker ``attack``, and its rows: in the marker or in its name."""
    for path in sorted((ROOT / "tests").glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            marks = [each for each in node.decorator_list if "mark.attack" in ast.unparse(each)]
            if not marks:
                continue
            found = {
                int(ast.literal_eval(number))
                for mark in marks
                if isinstance(mark, ast.Call)
                for number in mark.args
            }
            named = _NUMBERED.match(node.name)
            if named:
                found |= {int(number) for number in re.findall(r"\d+", named[1])}
            yield f"tests/{path.name}::{node.name}", found


def shown_by() -> dict[int, list[str]]:
    """The tests of each row."""
    rows: dict[int, list[str]] = defaultdict(list)
    for test, numbers in marked():
        for number in numbers:
            rows[number].append(test)
    for number, rule in RULES.items():
        rows[number].append(rule)
    return rows


def page() -> str:
    """``docs/attacks.md``."""
    lines = [
        "# Known attacks",
        "",
        "Attacks on deployed messengers that must fail here. `./louver test -m attack` runs their",
        "tests; each carries the number of its row, and `python -m tests.attack_catalogue` lists",
        "them. T is `tls`, R `at_rest`, E `e2ee`.",
        "",
        "A test that cannot fail proves nothing. So each protection in the last column was taken",
        "away, and the tests that claim to show it failed while two people could still talk:",
        "`python -m tests.plants [ROW …]` does it again, one line each.",
        "",
        "| # | attack | modes | stopped in | seen to fail without |",
        "|---|---|---|---|---|",
    ]
    for number, row in ROWS.items():
        places = ", ".join(f"`{place}`" for place in row.places.split())
        planted = "; ".join(each.without for each in PLANTS if each.row == number)
        lines.append(f"| {number} | {row.attack} | {row.modes} | {places} | {planted} |")
    lines += ["", "Notes:", ""]
    lines += [f"* **{number}**: {row.note}." for number, row in ROWS.items() if row.note]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(page())
    else:
        for number, tests in sorted(shown_by().items()):
            print(f"{number:>2} {ROWS[number].attack}")  # noqa: T201 - the answer
            print("".join(f"     {test}\n" for test in tests), end="")  # noqa: T201 - the answer
