"""The mode ``tls``: the body passes through, and nothing that belongs to ``e2ee`` gets in."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from crypto_modes import tls, wire
from crypto_modes.contract import NO_DIGEST, BlobMeta, Evidence, Sealed
from tests.mode_ends import BOB_PHONE, DRAFT, client_tools, meta_of, server_tools
from tests.vector_files import expected, raw, vectors


@pytest.mark.parametrize("vector", vectors("tls"))
def test_vectors(vector: dict[str, Any]) -> None:
    body = raw(vector, "body")["body"] * vector.get("repeat", 1)
    copies = tuple(wire.Copy(bytes.fromhex(each), b"") for each in vector.get("copies", []))
    commitment = bytes.fromhex(vector.get("commitment", ""))
    sealed = Sealed(mode="tls", epoch=1, body=body, copies=copies, commitment=commitment)
    with expected(vector):
        stored = tls.MODE.server(server_tools()).admit(meta_of(DRAFT, "tls"), sealed, NO_DIGEST)
        assert stored.record == body


def test_the_operator_reads_what_it_keeps() -> None:
    server = tls.MODE.server(server_tools())
    sealed = tls.MODE.client(client_tools(DRAFT.sender)).seal(DRAFT)
    stored = server.admit(meta_of(DRAFT, "tls"), sealed, NO_DIGEST)
    assert server.reveal(stored, Evidence()) == DRAFT.content


def test_the_chain_of_other_modes_passes_through() -> None:
    previous = b"\x07" * 32
    sealed = Sealed(mode="tls", epoch=1, body=b"x")
    stored = tls.MODE.server(server_tools()).admit(meta_of(DRAFT, "tls"), sealed, previous)
    assert stored.chain == previous


def test_what_a_message_answers_arrives_with_it() -> None:
    """Beside the text, so that the answered message's id is never shown as a part of it."""
    draft = msgspec.structs.replace(DRAFT, reply_to=b"r" * 16)
    sealed = tls.MODE.client(client_tools(draft.sender)).seal(draft)
    stored = tls.MODE.server(server_tools()).admit(meta_of(draft, "tls"), sealed, NO_DIGEST)
    given = tls.MODE.server(server_tools()).emit(stored, BOB_PHONE)
    opened = tls.MODE.client(client_tools(draft.recipient)).open(given)
    assert (opened.content, opened.kind) == (draft.content, draft.kind)
    assert opened.reply_to == draft.reply_to


def test_attachments_are_kept_as_they_come() -> None:
    place = {"id": bytes(16), "conversation": DRAFT.conversation, "sender": DRAFT.sender}
    meta = BlobMeta(**place, kind="image", mode="tls", epoch=1, size=7, time=1)
    pieces = tls.MODE.server(server_tools()).pieces(meta)
    assert pieces.admit(0, b"a piece") == pieces.emit(3, b"a piece") == b"a piece"
    assert (pieces.head, pieces.overhead) == (b"", 0)
