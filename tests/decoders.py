"""Every decoder of bytes from outside, with seeds to mutate: for fuzzing in CI and by hand.

Only the table ``DECODERS`` and the mutator live here. A decoder may give a value or raise a
``LouverError``; ``Need`` counts as a value. The seeds are the published vectors and real traffic.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from client.unlocking import _new_header, _read_header
from crypto_modes import (
    attachments,
    backup,
    content,
    disclosure,
    grants,
    padding,
    policy,
    reports,
    scanning,
    scope,
    shamir,
    vault,
    wire,
)
from crypto_modes.contract import Meta, Need, Sealed, Stored
from crypto_modes.door import Door
from crypto_modes.e2ee import body, devices, handover, header, linking, session
from crypto_modes.e2ee.sessions import ACTIVE
from crypto_modes.errors import LouverError
from crypto_modes.keys import AgreementKey, SigningKey, TeamKey
from crypto_modes.transparency import access_log, tiles, witnessing
from crypto_modes.transparency.note import Checkpoint, Note, Verifier
from crypto_modes.transparency.tree import Frontier
from server import jwks
from server.gateway import handshake
from server.gateway.inbox import Inbox
from tests import audited_log
from tests.e2ee_relay import ALICE, BOB, couple, talking
from tests.grant_labels import GRANT
from tests.labels import AT_REST, FIRST, STRENGTHS, at_rest_server

VECTORS = Path(__file__).parent / "vectors"
_HEX = re.compile(r"(?:[0-9a-f]{2})+")
KEY = bytes(range(32))


class Decoder(NamedTuple):
    """``read`` takes any bytes; ``seeds`` are some that it should understand, or nearly."""

    read: Callable[[bytes], object]
    seeds: tuple[bytes, ...]


def published(*names: str) -> tuple[bytes, ...]:
    """Every hexadecimal value and every text in these vectors, as bytes."""

    def walk(value: Any) -> Iterator[bytes]:
        if isinstance(value, dict | list):
            for each in value.values() if isinstance(value, dict) else value:
                yield from walk(each)
        elif isinstance(value, str) and value:
            yield bytes.fromhex(value) if _HEX.fullmatch(value) else value.encode()

    found = {each for name in names for each in walk(json.loads((VECTORS / name).read_text()))}
    return tuple(sorted(found, key=len)[-60:])


def text(read: Callable[[str], object]) -> Callable[[bytes], object]:
    """A decoder of text: the bytes are what a person may paste."""
    return lambda data: read(data.decode("utf-8", "replace"))


@cache
def traffic() -> tuple[dict[str, bytes], Stored, Callable[[Stored], object]]:
    """Real bytes of a couple that talks, and the relay's way to read a record."""
    relay, alice, bob = talking()
    stored = alice.send(BOB, b"a text")
    opened = bob.receive(stored)
    assert opened.evidence is not None
    found = {
        "copy": relay.mode.emit(stored, bob.id).body,
        "first": relay.mode.emit(_first(), bob.id).body,
        "record": stored.record,
        "message": opened.evidence.message,
        "session": alice.state.rows[ACTIVE, BOB + bob.id],
        "list": wire.CODECS[wire.MSGPACK].encode(relay.published[ALICE]),
        "listed": wire.CODECS[wire.JSON].encode(relay.published[ALICE]),
    }
    return found, stored, lambda each: relay.mode.emit(each, bob.id)


def _first() -> Stored:
    return couple()[1].send(BOB, b"a first text")


def offered() -> tuple[linking.Code, bytes]:
    """A code and the offer of the new device that shows it."""
    signing, agreement = SigningKey(KEY), AgreementKey(KEY)
    plain = devices.Request(KEY[:16], signing.public, agreement.public, 1, b"")
    request = plain._replace(signature=signing.sign(plain.signed(ALICE)))
    return linking.offer(ALICE, linking.Offer(request, agreement.public, "a phone"), KEY[:16])


def sealed_report() -> bytes:
    """A sealed report as the operator hands it on; what is sealed in it opens nowhere."""
    ids = {"relay": KEY[:16], "reporter": ALICE, "id": KEY[16:]}
    return reports.Sealed(**ids, time=1, tags=(KEY,), sealed=bytes(300)).to_json()


def e2ee_record(raw: bytes) -> object:
    _, stored, emit = traffic()
    return emit(msgspec.structs.replace(stored, record=raw))


def at_rest_record(raw: bytes) -> object:
    meta: Meta = AT_REST
    return at_rest_server(KEY).emit(Stored(meta, raw), KEY[:16])


def offered_policy(raw: bytes) -> object:
    frame = wire.CODECS[wire.MSGPACK].decode_server(raw)
    return policy.check_link(FIRST, frame, STRENGTHS) if isinstance(frame, wire.Policy) else frame


def listed(raw: bytes) -> object:
    frame = wire.CODECS[wire.MSGPACK].decode_server(raw)
    if isinstance(frame, wire.Devices) and frame.list is not None:
        devices.verify_list(frame.account, frame.key, frame.list)
    return frame


def frames(name: str) -> tuple[bytes, ...]:
    """A few frames in one codec, among them the largest kinds."""
    codec = wire.CODECS[name]
    ids = {"id": KEY[:16], "to": BOB}
    copy = wire.Copy(KEY[:16], bytes(400))
    made: tuple[wire.Frame, ...] = (
        wire.Hello(ref=1, token="t", device=ALICE),
        wire.Send(ref=2, mode="tls", epoch=1, body=b"text", **ids),
        wire.Send(ref=2, mode="e2ee", epoch=1, copies=(copy,) * 3, commitment=KEY, **ids),
        wire.Ack(conversation=ALICE, seq=1),
        wire.Error(ref=3, code=107, name="bad_request", message="no"),
        msgspec.structs.replace(FIRST, ref=4),
    )
    return tuple(codec.encode(each) for each in made)


ABOUT = backup.About(
    created=1,
    relay=KEY[:16],
    account=ALICE,
    device=KEY[:16],
    name="alice",
    url="wss://localhost",
    key=KEY,
    seed=KEY,
    version=1,
)
TEAM = TeamKey(KEY)
LINKS = scanning.Links("a list", "flag", ["bad.example", "münchen.example/x"])
LEAF = access_log.Leaf(1, KEY[:16], KEY)


def backed_up() -> tuple[bytes, bytes, bytes]:
    """A backup, and two of its records: whose it is, and a row."""
    records = tuple(backup.records(ABOUT, [("a table", b"key", b"value")]))
    return b"".join(backup.seal(KEY, KEY, records)), records[0], records[1]


def backup_row(raw: bytes) -> object:
    """A record in place of the only row of a backup that really is under this key."""
    about, _, end = backup.records(ABOUT, [("a table", b"key", b"value")])
    return [*backup.contents((about, raw, end))[1]]


def filed() -> tuple[content.Attachment, bytes]:
    """A sealed file of two chunks, and the reference to it."""
    sealer = attachments.Sealer(KEY, KEY[:16], bits=min(attachments.BITS_TAKEN))
    file = sealer.update(bytes(5000)) + b"".join(sealer.finish())
    told = {"ciphertext": sealer.ciphertext, "plaintext": sealer.plaintext, "key": KEY}
    names = {"blob": KEY[:16], "name": "a file", "media_type": "image/png"}
    return content.Attachment(**names, **told, size=sealer.size, chunk=4096), file


def from_a_socket(raw: bytes) -> object:
    """WebSocket frames of a client; whatever they are, no message is over the limit."""
    inbox = Inbox(text=False, limit=1024, chatter=64)
    messages = inbox.feed(raw)
    while inbox.waiting:
        messages += inbox.feed(b"")
    assert all(len(each) <= inbox.limit for each in messages)
    return messages, inbox.answers()


def masked(opcode: int, body: bytes) -> bytes:
    return bytes((opcode, 0x80 | len(body))) + bytes(4) + body


def issuer_keys() -> bytes:
    key = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    return json.dumps({"keys": [key | {"kid": "1", "use": "sig"}]}).encode()


def scanned(raw: bytes) -> object:
    """What lists find in a message that the relay can read."""
    return LINKS.scan(scanning.comparable(scanning.words_of(raw)))


def handshaken(raw: bytes) -> object:
    """The answer to a request, once all of its head is there."""
    found = handshake.split_head(raw)
    return found and handshake.answer(found[0], handshake.Policy(frozenset(), secure=True))


UPGRADE = b"""GET / HTTP/1.1\r
Host: localhost\r
Origin: https://localhost\r
Connection: Upgrade\r
Upgrade: websocket\r
Sec-WebSocket-Version: 13\r
Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r
Sec-WebSocket-Protocol: louver.v1.msgpack\r
\r
"""


def outside() -> dict[str, Decoder]:
    """Decoders of files, and of what comes before or instead of frames."""
    whole, about, row = backed_up()
    reference, file = filed()
    clear = msgspec.structs.replace(reference, key=b"", chunk=0, ciphertext=reference.plaintext)
    wrapped = Door(TEAM.public).wrap(KEY, b"c")
    socket = masked(0x82, b"a message"), masked(0x02, b"a") + masked(0x80, b"b"), masked(0x89, b"")
    return {
        "recovery key": Decoder(text(backup.recovery_key), (backup.recovery_text(KEY).encode(),)),
        "backup": Decoder(
            lambda data: [*backup.contents(backup.open_(KEY, BytesIO(data).read))[1]], (whole,)
        ),
        "backup's owner": Decoder(backup.About.decode, (about,)),
        "backup's row": Decoder(backup_row, (row,)),
        "attachment": Decoder(lambda data: [*attachments.opened((data,), reference)], (file,)),
        "attachment in the clear": Decoder(
            lambda data: [*attachments.opened((data,), clear)], (bytes(5000),)
        ),
        "leaf of the access log": Decoder(access_log.Leaf.decode, (LEAF.encode(),)),
        "path of a tile": Decoder(text(tiles.Tile.decode), (b"tile/entries/x001/234.p/7",)),
        "leaves of a tile": Decoder(
            lambda data: tiles.unbundle(data, 2), (tiles.bundle((LEAF.encode(), b"another")),)
        ),
        "scanned message": Decoder(scanned, (b"see www.bad.example", "MÜNCHEN.example/x".encode())),
        "wrapped data key": Decoder(lambda data: vault.unwrap(TEAM, data, b"c"), (wrapped,)),
        "keys of an issuer": Decoder(jwks.keys_of, (issuer_keys(),)),
        "token of an issuer": Decoder(text(jwks._key_id), (b"eyJhbGciOiJFUzI1NiJ9.e30.AAAA",)),
        "websocket frames": Decoder(from_a_socket, socket),
        "websocket handshake": Decoder(handshaken, (UPGRADE,)),
    }


def at_the_vault() -> dict[str, Decoder]:
    """What people and the relay send to the vault."""
    request = grants.Request(name="lena", time=1, nonce=KEY[:16], signature=KEY * 2)
    stored = at_rest_server(KEY).admit(
        AT_REST, Sealed(mode="at_rest", epoch=1, body=b"text"), bytes(32)
    )
    handed = scope.Handed(
        relay=KEY[:16], before=KEY, newest=1, head=KEY, records=(scope.record_of(stored),)
    )
    return {
        "share of a key": Decoder(text(shamir.decode), published("shamir.json")),
        "signed call": Decoder(
            text(disclosure.from_header), (disclosure.to_header(request).encode(),)
        ),
        "records of the relay": Decoder(scope.Handed.from_json, (handed.to_json(),)),
        "call of the vault": Decoder(
            lambda data: disclosure.decode(data, disclosure.OpenCall),
            (msgspec.json.encode(disclosure.OpenCall(GRANT)),),
        ),
    }


@cache
def decoders() -> dict[str, Decoder]:
    """The table; made on first use, because its seeds take a moment."""
    real, _, _ = traffic()
    msgpack, json_ = wire.CODECS[wire.MSGPACK], wire.CODECS[wire.JSON]
    linked = published("e2ee_linking.json")
    code, offer = offered()
    record = at_rest_server(KEY).admit(
        AT_REST, Sealed(mode="at_rest", epoch=1, body=b"text"), bytes(32)
    )
    return {
        "client frame, msgpack": Decoder(msgpack.decode_client, frames(wire.MSGPACK)),
        "client frame, json": Decoder(json_.decode_client, frames(wire.JSON)),
        "server frame, msgpack": Decoder(msgpack.decode_server, frames(wire.MSGPACK)),
        "server frame, json": Decoder(json_.decode_server, (*frames(wire.JSON), real["listed"])),
        "ref of a frame": Decoder(lambda data: wire.ref_of(data, json_), frames(wire.JSON)),
        "policy": Decoder(offered_policy, frames(wire.MSGPACK)),
        "device list": Decoder(listed, (real["list"],)),
        "e2ee header": Decoder(header.parse, (real["copy"], real["first"])),
        "e2ee body": Decoder(body.decode, (real["message"], *published("e2ee_bodies.json"))),
        "e2ee session": Decoder(session.from_bytes, (real["session"],)),
        "e2ee record": Decoder(e2ee_record, (real["record"],)),
        "linking code": Decoder(text(linking.Code.read), (*linked, code.text().encode())),
        "linking offer": Decoder(
            lambda data: linking.read_offer(ALICE, code, data), (*linked, offer)
        ),
        "hand-over": Decoder(handover.decode, linked),
        "padding": Decoder(padding.unpad, (real["message"],)),
        "at_rest record": Decoder(at_rest_record, (record.record,)),
        "content": Decoder(content.parse, published("content.json")),
        "attachment head": Decoder(
            lambda data: attachments.Chunks.read(KEY, data),
            (attachments.Chunks(KEY, KEY[:16], min(attachments.BITS_TAKEN), b"").head,),
        ),
        "report": Decoder(reports.decode, published("reports.json")),
        "sealed report": Decoder(reports.Sealed.from_json, (sealed_report(),)),
        "log key": Decoder(text(Verifier.decode), published("transparency_note.json")),
        "note": Decoder(Note.decode, published("transparency_note.json")),
        "checkpoint": Decoder(text(Checkpoint.decode), published("transparency_note.json")),
        "request to a witness": Decoder(witnessing.Request.decode, (asked_of_a_witness(),)),
        "frontier": Decoder(Frontier.decode, (Frontier(5, (KEY, KEY)).encode(),)),
        "key store header": Decoder(
            lambda data: _read_header(data, Path("store")),
            (msgspec.msgpack.encode(_new_header("argon2id")),),
        ),
        **outside(),
        **at_the_vault(),
    }


def asked_of_a_witness() -> bytes:
    head = audited_log.head_of(audited_log.leaves(2))
    return witnessing.Request(1, (KEY,), head).encode()


def careless() -> Decoder:
    """The planted fault: a decoder that lets out what it was told is wrong."""
    return Decoder(msgspec.msgpack.decode, (b"\x93\x01\x02\x03",))


def outcome(decoder: Decoder, data: bytes) -> BaseException | None:
    """What a decoder must not raise, if it did."""
    try:
        decoder.read(data)
    except (LouverError, Need):
        return None
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the finding
        return error
    return None


def mutated(seed: bytes, chance: random.Random) -> bytes:
    """``seed`` with some bytes changed, cut, repeated, moved or put in; as fuzzers do."""
    data = bytearray(seed)
    for _ in range(chance.randint(1, 4)):
        at = chance.randint(0, len(data))
        size = chance.choice((1, 1, 2, 4, 8, 32))
        match chance.randrange(6):
            case 0:
                data[at : at + size] = chance.randbytes(len(data[at : at + size]))
            case 1:
                del data[at : at + size]
            case 2:
                data[at:at] = data[at : at + size] * chance.randint(1, 3)
            case 3:
                data[at : at + size] = chance.choice((b"\xff", b"\x00", b"\x80")) * size
            case 4:
                data[at:at] = chance.randbytes(size)
            case _:
                del data[at:]
    return bytes(data)
