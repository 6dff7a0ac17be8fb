"""Make ``backup.json`` beside this file.

Run by hand, from the top of the repository: ``python -m tests.vectors.make_backup``. All values
come from ``tests/backup_oracle.py``, written from ``docs/modes.md`` alone. Bytes are hex.
``expect`` is ``ok`` or the name of the error that reading must raise.
"""

from __future__ import annotations

from typing import Any

from tests import backup_oracle as oracle
from tests.vectors.make_e2ee import TIME, drawn, flipped, write

KEY, SALT = drawn("recovery key", 32), drawn("salt", 32)
ABOUT = oracle.about(
    created=TIME,
    relay=drawn("relay"),
    account=drawn("alice"),
    device=drawn("device"),
    name="alice",
    url="wss://relay.example/",
    key=drawn("account key", 32),
    seed=drawn("account seed", 32),
    version=3,
)
ROWS = [("client_names", b"n" + b"bob", drawn("bob")), ("policies", drawn("talk"), b"a policy")]
RECORDS = [ABOUT, *(oracle.row(*row) for row in ROWS), oracle.end(2)]


def backups() -> list[dict[str, Any]]:
    file = oracle.write(KEY, SALT, RECORDS)
    chunk_key, commit = oracle.keys(KEY, SALT)
    header = b"LOUVERBK\x01" + SALT + commit
    good: dict[str, Any] = {
        "name": "two rows",
        "expect": "ok",
        "key": KEY,
        "text": oracle.text(KEY),
        "salt": SALT,
        "records": RECORDS,
        "file": file,
    }
    wrong = [
        ("another recovery key", {"key": drawn("other", 32)}),
        ("an altered salt", {"file": flipped(file, 10 * 8)}),
        ("an altered commitment", {"file": flipped(file, 50 * 8)}),
        ("another suite", {"file": file[:8] + b"\x02" + file[9:]}),
        ("an altered part", {"file": flipped(file, 80 * 8)}),
        ("cut by a byte", {"file": file[:-1]}),
        ("a header and nothing more", {"file": header}),
        ("a byte more", {"file": file + b"\0"}),
        ("nothing", {"file": b""}),
        (
            "a part that is not the last",
            {"file": header + oracle.part_of(chunk_key, header, 0, b"", False)},
        ),
        ("without its end", {"file": oracle.write(KEY, SALT, RECORDS[:-1])}),
        ("a row less than counted", {"file": oracle.write(KEY, SALT, [ABOUT, *RECORDS[2:]])}),
        ("something after its end", {"file": oracle.write(KEY, SALT, [*RECORDS, RECORDS[1]])}),
        ("without its beginning", {"file": oracle.write(KEY, SALT, RECORDS[1:])}),
    ]
    return [
        good,
        *(
            {**good, "name": name, "expect": "CannotOpen", "records": [], **changed}
            for name, changed in wrong
        ),
    ]


if __name__ == "__main__":
    write("backup", "A recovery key and the file under it.", backups())
