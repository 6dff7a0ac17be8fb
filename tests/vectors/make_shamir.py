"""Make ``shamir.json`` beside this file.

Run by hand, from the top of the repository: ``python -m tests.vectors.make_shamir``. All values
come from ``tests/shamir_oracle.py``, but for the public halves, which are those of
``tests/reports_oracle.py``. Bytes are hex. ``expect`` is ``ok`` or the name of the error that
decoding and combining ``shares`` must raise.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from tests import reports_oracle
from tests import shamir_oracle as oracle
from tests.vectors.make_e2ee import drawn, flipped, write

SECRET = drawn("vault", 32)
PUBLIC = reports_oracle.public(SECRET)


def shares(threshold: int, count: int, name: str = "rows", secret: bytes = SECRET) -> list[str]:
    rows = [secret, *(drawn(f"{name} {row}", 32) for row in range(1, threshold))]
    public = reports_oracle.public(secret)
    values = [oracle.share(rows, x) for x in range(1, count + 1)]
    return [
        oracle.text(public, threshold, count, x, value) for x, value in enumerate(values, start=1)
    ]


def checked(body: bytes) -> str:
    """A share that says anything at all, with a check that fits."""
    check = hashlib.sha256(oracle.enc("louver/v1/share", body)).digest()[:8]
    return "lvs_" + base64.urlsafe_b64encode(body + check).decode()


def body(share: str) -> bytearray:
    return bytearray(base64.urlsafe_b64decode(share.removeprefix("lvs_"))[:52])


def with_byte(share: str, place: int, value: int) -> str:
    changed = body(share)
    changed[place] = value
    return checked(bytes(changed))


def good() -> list[dict[str, Any]]:
    three, all_of_two = shares(3, 5), shares(2, 2, "two")
    many = shares(32, 32, "many")
    kinds = {
        "the first three of five": three[:3],
        "others, in another order": [three[4], three[1], three[3]],
        "more than are needed": three,
        "two of two": all_of_two,
        "thirty-two of thirty-two": many,
    }
    return [
        {"name": name, "expect": "ok", "secret": SECRET, "shares": given}
        for name, given in kinds.items()
    ]


def bad() -> list[dict[str, Any]]:
    three, again = shares(3, 5), shares(3, 5, "again")
    letter = three[0][:40] + ("A" if three[0][40] != "A" else "B") + three[0][41:]
    false = checked(flipped(bytes(body(three[0])), 8 * 30))
    kinds: dict[str, list[str]] = {
        "none": [],
        "one too few": three[:2],
        "one of them twice": [three[0], three[1], three[1]],
        "one of them mistyped": [letter, three[1], three[2]],
        "one of them cut off": [three[0][:-1], three[1], three[2]],
        "one of them with a letter too many": [three[0] + "A", three[1], three[2]],
        "one of them of another kind": ["lva_" + three[0][4:], three[1], three[2]],
        "one of them with a sign that is no letter": ["lvs_!" + three[0][5:], *three[1:3]],
        "one of them false": [false, three[1], three[2]],
        "of two splittings of one key": [three[0], again[1], again[2]],
        "of another key": [*shares(3, 5, "rows", drawn("another vault", 32))[:1], *three[1:3]],
        "of another threshold": [*shares(2, 5)[:1], *three[1:3]],
        "of another count": [*shares(3, 6)[:1], *three[1:3]],
        "of another format": [with_byte(each, 0, 2) for each in three[:3]],
        "with the index 0, which is the key": [with_byte(three[0], 19, 0), *three[1:3]],
        "with an index over the count": [with_byte(three[0], 19, 6), *three[1:3]],
        "with a threshold of 1": [with_byte(three[0], 17, 1)],
        "with a threshold over the count": [with_byte(each, 17, 6) for each in three],
        "with a count over 32": [with_byte(each, 18, 33) for each in three[:3]],
    }
    return [
        {"name": name, "expect": "KeyRefused", "secret": SECRET, "shares": given}
        for name, given in kinds.items()
    ]


if __name__ == "__main__":
    write("shamir", "Shares of a moderation key; see crypto_modes/shamir.py.", good() + bad())
