"""What the key store keeps its rows in, and the one engine that needs no disk.

What may live here: the Protocol of an engine, and the engine in memory, for load tests and
for tests. The engine on disk is in ``keystore.py``. An engine knows no table by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol


class Rows(Protocol):
    """Tables of byte strings. Outside ``begin`` … ``commit`` every write is durable at once."""

    def get(self, table: str, key: bytes) -> bytes | None: ...
    def put(self, table: str, key: bytes, value: bytes) -> None: ...
    def delete(self, table: str, key: bytes) -> None: ...
    def scan(self, table: str, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Every row whose key starts with ``prefix``, in the order of keys."""

    def begin(self) -> None: ...
    def commit(self) -> None: ...
    def rollback(self) -> None: ...
    def settle(self) -> None:
        """Let go of what was deleted or replaced, as far as the engine can."""

    def close(self) -> None: ...


class MemoryRows:
    """Dictionaries, and a log of what to put back on a rollback."""

    __slots__ = ("_tables", "_undo")

    def __init__(self) -> None:
        self._tables: dict[str, dict[bytes, bytes]] = {}
        self._undo: list[tuple[str, bytes, bytes | None]] | None = None

    def get(self, table: str, key: bytes) -> bytes | None:
        rows = self._tables.get(table)
        return None if rows is None else rows.get(key)

    def put(self, table: str, key: bytes, value: bytes) -> None:
        rows = self._tables.setdefault(table, {})
        if self._undo is not None:
            self._undo.append((table, key, rows.get(key)))
        rows[key] = value

    def delete(self, table: str, key: bytes) -> None:
        before = self._tables.setdefault(table, {}).pop(key, None)
        if self._undo is not None and before is not None:
            self._undo.append((table, key, before))

    def scan(self, table: str, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        rows = self._tables.get(table, {})
        # A list, because the caller may write while it iterates.
        return iter(sorted(row for row in rows.items() if row[0].startswith(prefix)))

    def begin(self) -> None:
        self._undo = []

    def commit(self) -> None:
        self._undo = None

    def rollback(self) -> None:
        undo, self._undo = self._undo or [], None
        for table, key, before in reversed(undo):
            if before is None:
                self._tables[table].pop(key, None)
            else:
                self._tables[table][key] = before

    def settle(self) -> None:
        """Nothing: only references to what was replaced were kept, and those are gone."""

    def close(self) -> None:
        self._tables.clear()
