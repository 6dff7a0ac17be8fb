"""Examples of the labels in what leaves as a file: reports and backups.

Only the table's parts for ``tests/labels.py`` live here: what is only derived, and what is sealed
with what opens it.
"""

from __future__ import annotations

import io
from collections.abc import Callable

from crypto_modes import backup, reports, verdicts
from crypto_modes.keys import TeamKey
from crypto_modes.primitives import H, hpke_seal
from crypto_modes.reports import Item, Report
from tests.mode_ends import ALICE, BOB, DRAFT, TIME, meta_of

ID = b"i" * 16
META = meta_of(DRAFT, "e2ee")


def item(key: bytes) -> Item:
    names = "id", "sender", "device", "recipient", "kind", "mode", "time", "conversation", "seq"
    told = {name: getattr(META, name) for name in names}
    return Item(**told, message=b"M", key=key, commitment=key, stamp=key)


def report(key: bytes) -> Report:
    return Report(
        relay=ID,
        reporter=BOB,
        reported=ALICE,
        category="spam",
        words="",
        created=TIME,
        items=(item(key),),
    )


def about(key: bytes) -> backup.About:
    return backup.About(
        created=TIME,
        relay=ID,
        account=ALICE,
        device=ID,
        name="alice",
        url="",
        key=key,
        seed=key,
        version=1,
    )


def record(number: int) -> Callable[[bytes], bytes]:
    """The digest of a backup's record: what it is, a row, its end."""
    return lambda key: H(
        [*backup.records(about(key), [("names", key, key)] * (key[0] + 1))][number]
    )


DERIVED: dict[str, Callable[[bytes], bytes]] = {
    "report": lambda key: H(reports.encode(report(key))),
    "report/item": lambda key: H(reports._encode_item(item(key))),
    "report/tag": lambda key: reports.tags(report(key))[0],
    "report/team": lambda key: reports.fingerprint(key).encode(),
    "report/text": verdicts.digest,
    "recovery": backup._check,
    "backup": lambda key: b"".join(backup._head(key, key)),
    "backup/about": record(0),
    "backup/row": record(1),
    "backup/end": record(-1),
}
SEALED: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes, bytes], object]]] = {
    "report/seal": (
        lambda key: hpke_seal(TeamKey(key).public, b"text", reports._info(ID, BOB, ())),
        lambda key, raw: TeamKey(key).open(raw, reports._info(ID, BOB, ())),
    ),
    "backup/chunk": (
        lambda key: backup._seal(key, ID, 0, b"text", last=True),
        lambda key, raw: b"".join(backup._chunks(key, ID, io.BytesIO(raw).read)),
    ),
}
