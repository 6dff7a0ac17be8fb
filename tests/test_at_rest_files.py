"""Files of the mode ``at_rest``: to the byte, under the sender's data key, in their own place."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from crypto_modes import at_rest
from crypto_modes.contract import BlobMeta, ServerMode
from crypto_modes.errors import CannotOpen
from crypto_modes.padding import pad
from tests import attachments_oracle
from tests import modes_oracle as oracle
from tests.mode_ends import ALICE, BOB, DEPLOYMENT, DRAFT, TIME, server_tools
from tests.test_at_rest import FixedKeys

FILE = BlobMeta(
    id=b"f" * 16,
    conversation=DRAFT.conversation,
    sender=ALICE,
    kind="file",
    mode="at_rest",
    epoch=3,
    size=73_728,
    time=TIME,
)
DEK_ID, DEK, SALT = b"d" * 16, b"k" * 32, b"s" * 16
BODY = bytes(range(256)) * 280  # 71,680 bytes: padded to 73,728, two chunks and a part


def filing(dek: bytes = DEK) -> ServerMode:
    keys = FixedKeys(DEK_ID, dek)
    return at_rest.MODE.server(
        server_tools(data_keys=keys, random=lambda size: SALT[:size].ljust(size, b"!"))
    )


def place_of(meta: BlobMeta) -> bytes:
    """What modes.md binds a file to, without the product's code."""
    fields = meta.conversation, meta.sender, meta.id, meta.kind, meta.size, meta.time
    label = "louver/v1/at_rest/blob"
    return oracle.enc(label, DEPLOYMENT, 1, meta.mode, meta.epoch, *fields, DEK_ID)


def admitted(server: ServerMode) -> tuple[bytes, list[bytes]]:
    """The head and the chunks of a file of ``BODY``."""
    text = pad(BODY)
    assert len(text) == FILE.size
    pieces = server.pieces(FILE)
    parts = [text[at : at + 32_768] for at in range(0, len(text), 32_768)]
    return pieces.head, [pieces.admit(index, part) for index, part in enumerate(parts)]


def test_files_are_sealed_as_the_second_reading_has_them() -> None:
    head, chunks = admitted(filing())
    file = attachments_oracle.seal(DEK, SALT, BODY, context=place_of(FILE))
    assert head + b"".join(chunks) == DEK_ID + file


def test_files_open_piece_by_piece_in_any_order() -> None:
    head, chunks = admitted(filing())
    opened = filing().pieces(FILE, head)
    parts = {index: opened.emit(index, chunks[index]) for index in (2, 0, 1)}
    assert parts[0] + parts[1] + parts[2] == pad(BODY)
    assert opened.head == head
    with pytest.raises(CannotOpen):
        opened.emit(0, chunks[1])


@pytest.mark.parametrize(
    "changes",
    [
        {"id": b"g" * 16},
        {"conversation": bytes(16)},
        {"sender": BOB},
        {"kind": "image"},
        {"mode": "tls"},
        {"epoch": 4},
        {"size": FILE.size - 1},
        {"time": FILE.time + 1},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_file_opens_in_no_other_place(changes: dict[str, Any]) -> None:
    head, _ = admitted(filing())
    with pytest.raises(CannotOpen):
        filing().pieces(msgspec.structs.replace(FILE, **changes), head)


def test_a_file_is_sealed_under_the_data_key_of_its_sender_then() -> None:
    asked = []

    class Asked(FixedKeys):
        def current(self, conversation: bytes, sender: bytes, now: int) -> tuple[bytes, bytes]:
            asked.append((conversation, sender, now))
            return self.dek_id, self.dek

        def find(self, dek_id: bytes) -> bytes:
            asked.append(dek_id)
            return self.dek

    server = at_rest.MODE.server(server_tools(data_keys=Asked(DEK_ID, DEK)))
    server.pieces(FILE, server.pieces(FILE).head)
    assert asked == [(FILE.conversation, FILE.sender, FILE.time), DEK_ID]
