"""Lists of pictures: what is near is found, what is no picture says so, and what follows.

PDQ itself is not tested here: its library is an extra that is built from source. A stand-in that
hashes the mean of each of 256 fields takes its place.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import struct
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from crypto_modes import wire
from crypto_modes.errors import BadArgument, BadConfig
from crypto_modes.scanning import Hit
from server.pictures import DISTANCE, Pictures
from server.scanning import Listed
from server.store import Blob
from tests.conftest import StartRelay
from tests.flows import until
from tests.raw_client import RawClient, Refused
from tests.test_scanning import Lists


def compute(pixels: Any) -> tuple[Any, int]:
    """As ``pdqhash.compute``: 256 bits and a quality."""
    fields = np.asarray(Image.fromarray(pixels).convert("L").resize((16, 16)), dtype=float)
    quality = 100 if fields.std() > 4 else 0
    return (fields > np.median(fields)).astype(int).ravel(), quality


@pytest.fixture(autouse=True)
def pdq(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pdqhash", SimpleNamespace(compute=compute))  # type: ignore[arg-type]  # a stand-in


def picture(seed: int, size: int = 64, kind: str = "PNG") -> bytes:
    """A smooth random picture."""
    small = np.random.default_rng(seed).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    raw = io.BytesIO()
    Image.fromarray(small).resize((size, size)).save(raw, kind)
    return raw.getvalue()


def hashed(raw: bytes) -> str:
    bits, _ = compute(np.asarray(Image.open(io.BytesIO(raw)).convert("RGB")))
    return f"{int(''.join(map(str, bits)), 2):064x}"


def test_a_picture_is_found_in_another_size_and_format() -> None:
    listed = Pictures("list", "hold", [hashed(picture(1)), hashed(picture(2))])
    assert [hit.entry for hit in listed.scan_media(picture(1, 200, "JPEG"))] == [hashed(picture(1))]
    assert listed.scan_media(picture(3)) == ()


def test_near_is_thirty_one_bits_of_256() -> None:
    seen = int(hashed(picture(1)), 16)
    for away, found in ((DISTANCE, 1), (DISTANCE + 1, 0)):
        entry = f"{seen ^ ((1 << away) - 1):064x}"
        assert len(Pictures("list", "flag", [entry]).scan_media(picture(1))) == found


def test_what_says_nothing_matches_nothing() -> None:
    raw = io.BytesIO()
    Image.new("RGB", (64, 64), "white").save(raw, "PNG")
    assert Pictures("list", "flag", ["0" * 64, "f" * 64]).scan_media(raw.getvalue()) == ()


# One that the library would give to another program, of which everybody knows the holes.
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.mark.parametrize(
    "raw",
    [b"", b"text", picture(1)[:200], b"\x89PNG\r\n\x1a\n" + bytes(50), POSTSCRIPT],
)
def test_what_is_no_picture_is_said(raw: bytes) -> None:
    with pytest.raises(BadArgument, match="no picture"):
        Pictures("list", "flag", ["0" * 64]).scan_media(raw)


def test_no_other_format_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[object] = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *given, **more: ran.append(given))
    with pytest.raises(BadArgument, match="no picture"):
        Pictures("list", "flag", ["0" * 64]).scan_media(POSTSCRIPT)
    assert not ran


def test_whatever_a_decoder_raises_the_picture_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: object, **more: object) -> None:
        raise struct.error("planted")

    monkeypatch.setattr(Image, "open", broken)
    with pytest.raises(BadArgument, match="no picture"):
        Pictures("list", "flag", ["0" * 64]).scan_media(picture(1))


def test_a_bomb_is_not_decoded() -> None:
    raw = io.BytesIO()
    Image.new("1", (8_000, 7_000)).save(raw, "PNG")
    with pytest.raises(BadArgument, match="50 million pixels"):
        Pictures("list", "flag", ["0" * 64]).scan_media(raw.getvalue())


@pytest.mark.parametrize("entry", ["0" * 63, "0" * 65, "x" * 64])
def test_an_entry_is_a_hash(entry: str) -> None:
    with pytest.raises(BadConfig, match="no PDQ hash"):
        Pictures("list", "flag", [entry])


def test_without_the_library_no_relay_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pdqhash", None)
    with pytest.raises(BadConfig, match=r"louver\[scanners-images\]"):
        Pictures("list", "flag", ["0" * 64])


# --- at the relay ---


async def upload(alice: RawClient, bob: RawClient, raw: bytes, kind: Any = "image") -> wire.Blob:
    """A picture, piece by piece. Raises ``Refused``."""
    step = {"ref": alice.ref(), "id": os.urandom(16)}
    policy = await alice.policy(bob)
    begin = wire.SetBlob(
        **step,
        do="begin",
        to=bob.account,
        kind=kind,
        mode=policy.modes[kind],
        epoch=policy.epoch,
        size=len(raw),
        digest=hashlib.sha256(raw).digest(),
    )
    await alice.ask(begin, wire.Blob)
    for start in range(0, len(raw), wire.PIECE):
        step["ref"] = alice.ref()
        put = wire.SetBlob(**step, do="put", offset=start, data=raw[start : start + wire.PIECE])
        answer = await alice.ask(put, wire.Blob)
    return answer


def settings(lists: Lists, action: str, entry: str) -> dict[str, Any]:
    (lists.directory / "pictures.txt").write_text(entry)
    named = f"{action}:minors:pictures:{lists.directory}/pictures.txt"
    return {"moderation": lists.moderation, "scanning": {"lists": (named,)}}


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", ["tls", "at_rest"])
async def test_a_held_picture_is_refused_and_gone(
    start_relay: StartRelay, tmp_path: Path, mode: str
) -> None:
    lists = Lists(tmp_path)
    relay = await start_relay(mode=mode, **settings(lists, "hold", hashed(picture(1))))
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    assert (await upload(alice, bob, picture(2))).state == "whole"
    with pytest.raises(Refused) as refused:
        await upload(alice, bob, picture(1, 300))
    assert refused.value.error.code == 131
    (report,) = await lists.found(relay, 1)
    assert (report.reported, report.category) == (alice.account, "minors")
    assert report.words == f"hold: '{hashed(picture(1))}' of pictures.txt"
    (blob,) = (each for each in (relay.data / "blobs").rglob("*") if each.is_file())
    assert blob.stat().st_size >= len(picture(2))
    assert (await upload(alice, bob, picture(1), "file")).state == "whole"
    # Let go it may come again, which is under another id; that very picture and no other like it.
    (kept,) = await relay.app.store.reports(0, 2)
    await relay.app.scanning.release(kept.id)
    assert (await upload(alice, bob, picture(1, 300))).state == "whole"
    with pytest.raises(Refused):
        await upload(alice, bob, picture(1, 200))
    await lists.found(relay, 2)


@pytest.mark.asyncio
async def test_a_flagged_or_broken_picture_goes_on(start_relay: StartRelay, tmp_path: Path) -> None:
    lists = Lists(tmp_path)
    relay = await start_relay(**settings(lists, "flag", hashed(picture(1))))
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    for raw in (picture(1), b"no picture at all", picture(2)):
        assert (await upload(alice, bob, raw)).state == "whole"
    first, second = await lists.found(relay, 2)
    assert first.words.endswith("of pictures.txt")
    assert "this is no picture" in second.words
    assert second.category == "other"


class Slow:
    """A list that takes until ``go``; ``begun`` counts the pictures that it was given."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.begun = 0

    def scan_media(self, media: bytes) -> Sequence[Hit]:
        self.begun += 1
        self.go.wait(60)
        return ()


@pytest.mark.asyncio
async def test_a_picture_that_takes_too_long_passes_and_others_wait_outside_of_memory(
    start_relay: StartRelay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists, slow = Lists(tmp_path), Slow()
    relay = await start_relay(**settings(lists, "flag", hashed(picture(1))))
    scanning = relay.app.scanning
    scanning.lists = {"slow": Listed("spam", media=slow)}
    scanning._seconds = 0.1
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    try:
        assert (await upload(alice, bob, picture(0))).state == "whole"
        # It was given up and is still being compared: until it is gone no other is read, and a
        # crowd carries none past the lists.
        read, blobs = [], relay.app.relay.blobs
        whole = blobs._read_back

        async def note(blob: Blob, media: list[bytes] | None) -> bytes:
            read.append(blob.meta.kind)
            return await whole(blob, media)

        monkeypatch.setattr(blobs, "_read_back", note)
        for number in (1, 2):
            with pytest.raises(Refused, match="try again") as refused:
                await upload(alice, bob, picture(number))
            assert refused.value.error.temporary
        assert (await upload(alice, bob, picture(1), "file")).state == "whole"
        assert read == ["file"]
    finally:
        slow.go.set()
    (found,) = await lists.found(relay, 1)
    assert found.words == "flag: 'not compared in time' of "


@pytest.mark.asyncio
async def test_who_waited_comes_in_once_the_place_is_free(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    lists, slow = Lists(tmp_path), Slow()
    relay = await start_relay(**settings(lists, "flag", hashed(picture(1))))
    relay.app.scanning.lists = {"slow": Listed("spam", media=slow)}
    relay.app.scanning._seconds = 60.0
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    first = asyncio.create_task(upload(alice, bob, picture(0)))
    await until(lambda: slow.begun == 1)
    second = asyncio.create_task(upload(bob, alice, picture(1)))
    third = asyncio.create_task(upload(await relay.enter("carol"), alice, picture(2)))
    slow.go.set()
    for each in (first, second, third):
        assert (await each).state == "whole"
    assert slow.begun == 3
    await lists.found(relay, 0)
