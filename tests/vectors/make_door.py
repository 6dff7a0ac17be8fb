"""Make ``door.json`` beside this file.

Run by hand, from the top of the repository: ``python -m tests.vectors.make_door``. All values come
from ``tests/modes_oracle.py`` and the HPKE of ``tests/reports_oracle.py``. Encapsulation draws its
own randomness, so a new run gives other bytes that say the same. Bytes are hex. ``expect`` is
``ok`` or the name of the error that opening must raise.
"""

from __future__ import annotations

from typing import Any

from tests import modes_oracle, reports_oracle
from tests.vectors.make_e2ee import drawn, flipped, write

SECRET, OTHER = drawn("vault", 32), drawn("another vault", 32)
KEY = drawn("data key", 32)
PLACE: dict[str, Any] = {
    "deployment": drawn("relay"),
    "conversation": drawn("conversation"),
    "sender": drawn("alice"),
    "epoch": 3,
    "purpose": "moderation",
}


def context(**changes: Any) -> bytes:
    place = PLACE | changes
    return modes_oracle.enc("louver/v1/dek", *(place[name] for name in PLACE))


def wrapped(secret: bytes, key: bytes = KEY, bound: bytes = context()) -> bytes:
    public = reports_oracle.public(secret)
    mark = modes_oracle.sha256(modes_oracle.enc("louver/v1/door", public))[:16]
    return b"\x01" + mark + reports_oracle.to_key(public, key, bound)


def doors() -> list[dict[str, Any]]:
    closed = wrapped(SECRET)
    good = {
        "name": "a data key behind the door",
        "expect": "ok",
        "secret": SECRET,
        "context": context(),
        "key": KEY,
        "wrapped": closed,
    }
    wrong = [
        ("another vault", "secret", OTHER),
        ("made for another vault", "wrapped", wrapped(OTHER)),
        ("another's mark before it", "wrapped", closed[:17] + wrapped(OTHER)[17:]),
        *(
            (f"another {name}", "context", context(**{name: drawn("x")}))
            for name in list(PLACE)[:3]
        ),
        ("another epoch", "context", context(epoch=4)),
        ("the serving door", "context", context(purpose="serving")),
        ("another format", "wrapped", flipped(closed)),
        ("another mark", "wrapped", flipped(closed, 8)),
        ("the ML-KEM ciphertext is altered", "wrapped", flipped(closed, 17 * 8)),
        ("the X25519 key is altered", "wrapped", flipped(closed, (17 + 1088) * 8)),
        ("the tag is altered", "wrapped", flipped(closed, len(closed) * 8 - 8)),
        ("a byte less", "wrapped", closed[:-1]),
        ("a byte more", "wrapped", closed + b"\0"),
        ("a longer key", "wrapped", wrapped(SECRET, KEY + b"\0")),
        ("nothing: there was no door", "wrapped", b""),
    ]
    return [
        good,
        *(
            {**good, "name": name, "expect": "CannotOpen", field: value}
            for name, field, value in wrong
        ),
    ]


if __name__ == "__main__":
    write("door", "The vault's secret key, the context, and a data key wrapped for it.", doors())
