"""What scanning held back, and what was let go: rows in, structs out.

Only functions over a connection live here, run inside their caller's transaction.
"""

from __future__ import annotations

import apsw

from crypto_modes.errors import Forbidden
from server.store import HeldMessage


def put(db: apsw.Connection, held: HeldMessage) -> None:
    """See ``Store.put_report``; again is no harm."""
    db.execute(
        "INSERT INTO held (report, digest, sender) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", held
    )


def release(db: apsw.Connection, report: bytes) -> HeldMessage:
    """See ``Store.release_held``."""
    for row in db.execute("SELECT report, digest, sender FROM held WHERE report = ?", (report,)):
        db.execute(
            "UPDATE held SET released = (SELECT max(released) + 1 FROM held)"
            " WHERE report = ? AND released = 0",
            (report,),
        )
        return HeldMessage(*row)
    raise Forbidden("no message is held under this report")


def released(db: apsw.Connection, limit: int) -> list[bytes]:
    """See ``Store.released``."""
    sql = "SELECT digest FROM held WHERE released > 0 ORDER BY released DESC LIMIT ?"
    return [digest for (digest,) in db.execute(sql, (limit,))][::-1]
