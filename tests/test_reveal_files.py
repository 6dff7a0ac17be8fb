"""``louverd reveal --files``: which attachments the operator's own powers read, and their bytes."""

from __future__ import annotations

import io
import json
import os
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pytest

from client.attachments import reference_of
from crypto_modes import wire
from crypto_modes.errors import BadConfig
from server.app import installed_modes
from server.reveal import print_lines
from tests.blob_client import announce, upload
from tests.conftest import Running, StartRelay
from tests.test_client import enter
from tests.test_client_attachments import sent_file

pytestmark = pytest.mark.asyncio

# What a padded file ends with, inside the file: only the last mark is the padding's.
BODY = os.urandom(3 * wire.PIECE) + b"\x80" + bytes(40) + b"\x80" + bytes(7)


async def attachments(relay: Running, directory: Path | None = None) -> list[dict[str, Any]]:
    out = io.BytesIO()
    await print_lines(relay.app.settings, installed_modes(), None, out, directory)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    return [line for line in lines if "attachment" in line]


def contents(directory: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in directory.iterdir()}


@pytest.mark.parametrize("mode", ["tls", "at_rest"])
async def test_the_operator_has_the_files_of_tls_and_at_rest(
    start_relay: StartRelay, tmp_path: Path, mode: str
) -> None:
    relay = await start_relay(mode)
    place = tmp_path / "files"
    bodies = [BODY, b"x", bytes(300)]
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        sent = [await sent_file(alice, bob, body) for body in bodies]
        blobs = [reference_of(message).blob for message in sent]
        lines = {b64decode(line["attachment"]): line for line in await attachments(relay)}
        assert {blob: line["size"] for blob, line in lines.items()} == {
            blob: len(body) for blob, body in zip(blobs, bodies, strict=True)
        }
        first = lines[blobs[0]]
        assert (first["readable"], first["mode"], first["kind"]) == (True, mode, "file")
        assert first["sender"] == b64encode(alice.account).decode()
        assert not {"file", "reason"} & set(first)
        lines = {b64decode(line["attachment"]): line for line in await attachments(relay, place)}
        assert lines[blobs[0]]["file"] == str(place / blobs[0].hex())
    wanted = {blob.hex(): body for blob, body in zip(blobs, bodies, strict=True)}
    assert contents(place) == wanted
    assert {each.stat().st_mode & 0o777 for each in place.iterdir()} == {0o600}
    # Once more: what is there stays as it is.
    (place / blobs[1].hex()).write_bytes(b"kept")
    await attachments(relay, place)
    assert contents(place) == wanted | {blobs[1].hex(): b"kept"}


async def test_files_of_e2ee_are_never_readable(start_relay: StartRelay, tmp_path: Path) -> None:
    relay = await start_relay("e2ee")
    place = tmp_path / "files"
    async with enter(relay, "alice") as alice, enter(relay, "bob") as bob:
        await sent_file(alice, bob, BODY)
    (line,) = await attachments(relay, place)
    assert (line["readable"], line["mode"]) == (False, "e2ee")
    assert "its key is inside the message" in line["reason"]
    assert contents(place) == {}


async def test_what_is_wrong_with_one_file_is_said_and_the_others_are_read(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    relay = await start_relay("at_rest")
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    data = b"y" * 255 + b"\x80"
    names = ("good", "flipped", "lost", "unpadded", "partial")
    blobs = {name: await upload(alice, bob, data) for name in names[:3]}
    blobs["unpadded"] = await upload(alice, bob, b"z" * 256)
    begin = await announce(alice, bob, data)
    await alice.ask(begin, wire.Blob)
    blobs["partial"] = begin.id
    stored = {
        name: relay.data / "blobs" / blob.hex()[:2] / blob.hex() for name, blob in blobs.items()
    }
    raw = bytearray(stored["flipped"].read_bytes())
    raw[-1] ^= 1
    stored["flipped"].write_bytes(raw)
    stored["lost"].unlink()
    place = tmp_path / "files"
    found = {b64decode(line["attachment"]): line for line in await attachments(relay, place)}
    reasons = {name: found[blob].get("reason", "") for name, blob in blobs.items()}
    assert reasons == {
        "good": "",
        "flipped": "its file is damaged, or sealed under another key",
        "lost": "its file is not there",
        "unpadded": "its padding is none",
        "partial": "its upload was never completed",
    }
    assert contents(place) == {blobs["good"].hex(): b"y" * 255}


async def test_a_file_in_tls_is_held_to_what_its_sender_announced(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    relay = await start_relay("tls")
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    blob = await upload(alice, bob, b"as it was sent")
    (relay.data / "blobs" / blob.hex()[:2] / blob.hex()).write_bytes(b"as it was Sent")
    (line,) = await attachments(relay, tmp_path / "files")
    assert (line["readable"], line["reason"]) == (False, "its file is damaged")
    assert contents(tmp_path / "files") == {}


async def test_without_the_platform_key_nothing_of_at_rest_is_readable_any_more(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    """And a directory that others may enter is none for what was said in private."""
    relay = await start_relay("at_rest")
    open_to_all = tmp_path / "open"
    open_to_all.mkdir(mode=0o755)
    with pytest.raises(BadConfig, match="others may enter"):
        await attachments(relay, open_to_all)
    (relay.data / "kek").unlink()
    with pytest.raises(BadConfig, match="kek is missing"):
        await attachments(relay, tmp_path / "files")
