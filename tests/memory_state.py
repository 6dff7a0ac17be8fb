"""A client mode's durable memory, kept in a dictionary; conforms to ``contract.State``."""

from __future__ import annotations

from collections.abc import Iterator


class MemoryState:
    """``rows`` maps table and key to value, for tests that look behind the curtain."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, bytes], bytes] = {}

    def get(self, table: str, key: bytes) -> bytes | None:
        return self.rows.get((table, key))

    def put(self, table: str, key: bytes, value: bytes) -> None:
        self.rows[table, key] = value

    def delete(self, table: str, key: bytes) -> None:
        self.rows.pop((table, key), None)

    def scan(self, table: str, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        for (name, key), value in sorted(self.rows.items()):
            if name == table and key.startswith(prefix):
                yield key, value
