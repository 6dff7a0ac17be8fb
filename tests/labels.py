"""One example of every label in the code: how its object is made, and who takes it.

What may live here: the table ``EXAMPLES`` from each label under ``louver/v1/`` to an object made
under a given key and the product's own verifier of it, and the list of labels that the code uses.
What may not: assertions. A new label needs an entry: ``test_attack_confusion`` asks for it.

A value that is only derived (a key, a digest) is taken where it is equal.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from client import keystore, unlocking
from client.tally import Tally
from crypto_modes import at_rest, attachments, door, franking, policy, wire
from crypto_modes.contract import BlobMeta, Evidence, Meta, Sealed, Stored
from crypto_modes.e2ee import body, devices, header, pq_ratchet, pqxdh, ratchet, session
from crypto_modes.e2ee.header import First
from crypto_modes.e2ee.session import Envelope
from crypto_modes.encoding import LABEL_PREFIX
from crypto_modes.errors import LouverError
from crypto_modes.keyring import dek_context
from crypto_modes.keys import SigningKey
from crypto_modes.primitives import H, aead_open, aead_seal, hkdf, hmac
from crypto_modes.transparency import key_log
from server.accounts import Tokens
from server.keyrings import passphrase
from server.keyrings.checked import CheckedKeyring
from server.keyrings.file import FileKeyring
from server.store import Device
from tests.content_labels import CONTENT
from tests.file_labels import DERIVED, SEALED
from tests.grant_labels import GRANTS
from tests.link_labels import LINK
from tests.mode_ends import ALICE, ALICE_PHONE, BOB, BOB_PHONE, DRAFT, TIME, meta_of, server_tools

T = TypeVar("T")
ROOT = Path(__file__).parent.parent
ROOMS = ("client", "crypto_modes", "server")

ID, DIGEST = b"i" * 16, b"d" * 32
META = meta_of(DRAFT, "e2ee")
STRENGTHS = {"tls": 10, "at_rest": 20, "e2ee": 30}


class Example(NamedTuple):
    """``make(key)`` gives the object, ``take(key, object)`` raises or is false for a wrong one."""

    make: Callable[[bytes], bytes]
    take: Callable[[bytes, bytes], object]


def labels() -> Iterator[tuple[str, str]]:
    """Every label in the code with its file, as often as it is written there (not in words)."""
    for path in (path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))):
        tree = ast.parse(path.read_text())
        words = {id(each.value) for each in ast.walk(tree) if isinstance(each, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                label = node.value.startswith(LABEL_PREFIX) and node.value != LABEL_PREFIX
                if label and id(node) not in words:
                    yield node.value, str(path.relative_to(ROOT))


def derived(make: Callable[[bytes], bytes]) -> Example:
    """A key or digest: whoever has the same one agrees."""
    return Example(make, lambda key, value: value == make(key))


# --- signatures: the key is a seed ---


def signature(key: bytes, message: bytes) -> bytes:
    return SigningKey(key).sign(message)


def certificate(key: bytes, mark: bytes = b"") -> wire.Certificate:
    signing, agreement = SigningKey(bytes(31) + b"\1").public, bytes(31) + b"\x09"
    return wire.Certificate(
        device=ALICE_PHONE, signing=signing, agreement=agreement, created=TIME, signature=mark
    )


def certified(key: bytes) -> bytes:
    return signature(key, devices.signed_certificate(ALICE, certificate(key)))


def take_list(key: bytes, mark: bytes, list_mark: bytes = b"") -> None:
    certificates = (certificate(key, mark),)
    signed = list_mark or signature(key, devices.signed_list(ALICE, 1, certificates))
    listed = wire.DeviceList(version=1, certificates=certificates, signature=signed)
    devices.verify_list(ALICE, SigningKey(key).public, listed)


def listed(key: bytes) -> bytes:
    return signature(key, devices.signed_list(ALICE, 1, (certificate(key),)))


def prekey(mark: bytes = b"") -> wire.Prekey:
    public = bytes(31) + b"\x09"
    return wire.Prekey(id=1, algorithm=5, use="once", key=public, expires=TIME, signature=mark)


def request(key: bytes, mark: bytes = b"") -> devices.Request:
    return devices.Request(ALICE_PHONE, SigningKey(key).public, bytes(31) + b"\x09", TIME, mark)


FIRST = policy.default_policy({ALICE: b"", BOB: b""}, dict.fromkeys(wire.KINDS, "tls"), TIME)


def next_policy(key: bytes, mark: bytes = b"") -> wire.Policy:
    keys = {ALICE: SigningKey(key).public, BOB: b""}
    after = policy.successor(FIRST, {"text": "e2ee"}, TIME, keys)
    marks = (mark, b"") if after.first == ALICE else (b"", mark)
    return msgspec.structs.replace(after, signatures=marks)


def take_policy(key: bytes, mark: bytes) -> bool:
    return policy.check_link(FIRST, next_policy(key, mark), STRENGTHS) == 0


# --- MACs ---


def take_stamp(key: bytes, mark: bytes) -> None:
    committed = franking.commitment(DIGEST, META.conversation, META.id, b"M")
    evidence = Evidence(reporter=BOB, message=b"M", key=DIGEST)
    franking.verify(key, META, committed, mark, evidence)


def stamped(key: bytes) -> bytes:
    committed = franking.commitment(DIGEST, META.conversation, META.id, b"M")
    return franking.stamp(key, META, committed)


def take_commitment(key: bytes, mark: bytes) -> None:
    evidence = Evidence(reporter=BOB, message=b"M", key=key)
    franking.verify(DIGEST, META, mark, franking.stamp(DIGEST, META, mark), evidence)


def take_token(key: bytes, mark: bytes) -> None:
    device = Device(id=ID, account=ALICE, token=mark, expires=2 * TIME, created=TIME)
    Tokens(key).check("a token", device, TIME)


def tallied(key: bytes) -> bytes:
    tally = Tally(key)
    tally.flip("table", DIGEST, b"value")
    return tally.total


# --- ciphertexts ---


class OneKey:
    """One data key for everything."""

    def __init__(self, key: bytes) -> None:
        self.key = key

    def current(self, conversation: bytes, sender: bytes, now: int) -> tuple[bytes, bytes]:
        return ID, self.key

    def find(self, dek_id: bytes) -> bytes:
        return self.key


def at_rest_server(key: bytes) -> at_rest.AtRestServer:
    return at_rest.AtRestServer(server_tools(data_keys=OneKey(key)))


AT_REST: Meta = meta_of(DRAFT, "at_rest")


def record(key: bytes) -> bytes:
    sealed = Sealed(mode="at_rest", epoch=1, body=b"text")
    return at_rest_server(key).admit(AT_REST, sealed, bytes(32)).record


BLOB = BlobMeta(
    id=ID,
    conversation=META.conversation,
    sender=ALICE,
    kind="file",
    mode="at_rest",
    epoch=1,
    size=5,
    time=TIME,
)


def stored_piece(key: bytes) -> bytes:
    pieces = at_rest_server(key).pieces(BLOB)
    return pieces.head + pieces.admit(0, b"piece")


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]  # what the coroutine returns
    raise AssertionError("it waits")


def keyring(key: bytes) -> FileKeyring:
    made = FileKeyring.__new__(FileKeyring)
    made._keks = [key]
    return made


class Proved(NamedTuple):
    """What of a store names the relay."""

    deployment: bytes


CONTEXT = dek_context(ID, ID, ALICE, 1, "serving")


def sealed_rows(key: bytes) -> keystore._SealedRows:
    made = keystore._SealedRows.__new__(keystore._SealedRows)
    made._row_key = made._index_key = key
    return made


def row_keys(key: bytes) -> bytes:
    rows = keystore._SealedRows(None, key)  # type: ignore[arg-type]  # it touches no database yet
    return rows._row_key + rows._index_key


def stored_row(key: bytes) -> bytes:
    return sealed_rows(key)._seal(bytes(4) + b"value", keystore._place("table", DIGEST))


def ends(key: bytes) -> tuple[session.Session, session.Session]:
    shared = pqxdh.Shared(key, key, key)
    public = ratchet.x25519_public(key)
    first = First(bytes(32), 1, 0, 2, 1, bytes(1088))
    one = session.initiate(shared, public, DIGEST, first, 0)
    return one, session.respond(shared, key, public, 0)


PLACE = Envelope(1, ID, ID, ALICE, ALICE_PHONE, BOB, DIGEST, DIGEST)


class NothingKept:
    def find(self, chain: bytes, n: int) -> bytes | None:
        return None


def copy(key: bytes) -> bytes:
    return ends(key)[0].seal(PLACE, BOB_PHONE, bytes(64))


def take_copy(key: bytes, raw: bytes) -> None:
    ends(key)[1].open(PLACE, BOB_PHONE, header.parse(raw), NothingKept(), os.urandom)


def wrapping(key: bytes) -> tuple[bytes, bytes]:
    given = unlocking._Header(format=unlocking.FORMAT, kdf="file", salt=ID)
    return unlocking._wrapping_key(key, given)


ONCE = bytes(12)


def party(key: bytes) -> pqxdh.Party:
    return pqxdh.Party(ALICE, ALICE_PHONE, key, key, key)


def transcript(key: bytes) -> bytes:
    context = pqxdh.Context(party(key), party(key), ID, DIGEST)
    return pqxdh.transcript(context, pqxdh.Prekeys(key, key, key), key, key)


def chains(key: bytes) -> bytes:
    made = pq_ratchet.start(key, key, initiator=True)
    return made.root + made.sending + made.receiving


def said(make: Callable[[bytes], bytes], heard: Callable[[bytes], object]) -> Example:
    """Content that nobody signs by itself; ``heard`` is false for what says something else."""
    return Example(make, lambda _, raw: bool(heard(raw)))


EXAMPLES: dict[str, Example] = {
    "device": Example(certified, take_list),
    "devices": Example(listed, lambda key, mark: take_list(key, certified(key), mark)),
    "prekey": Example(
        lambda key: signature(key, devices.signed_prekey(ALICE, ALICE_PHONE, prekey())),
        lambda key, mark: devices.verify_prekey(
            ALICE, ALICE_PHONE, SigningKey(key).public, prekey(mark)
        ),
    ),
    "request": Example(
        lambda key: signature(key, request(key).signed(ALICE)),
        lambda key, mark: devices.certify(ALICE, SigningKey(key), request(key, mark)),
    ),
    "policy": Example(lambda key: signature(key, policy.record(next_policy(key))), take_policy),
    "stamp": Example(stamped, take_stamp),
    "frank": Example(
        lambda key: franking.commitment(key, META.conversation, META.id, b"M"), take_commitment
    ),
    "token": Example(lambda key: Tokens(key).digest("a token"), take_token),
    "keystore/tally": derived(tallied),
    "keystore/slot": derived(lambda key: sealed_rows(key)._slot("table", b"key")),
    "at_rest/aad": Example(
        record, lambda key, raw: at_rest_server(key).emit(Stored(AT_REST, raw), BOB_PHONE)
    ),
    "at_rest": derived(lambda key: b"".join(at_rest._derive(key, ID, ID))),
    "attachment": derived(lambda key: attachments.Chunks(key, ID, 15, b"").head),
    "at_rest/blob": Example(
        stored_piece,
        lambda key, raw: at_rest_server(key).pieces(BLOB, raw[:67]).emit(0, raw[67:]),
    ),
    "wrap": Example(
        lambda key: at_once(keyring(key).wrap(DIGEST, CONTEXT)),
        lambda key, raw: at_once(keyring(key).unwrap(raw, CONTEXT)),
    ),
    "dek": Example(
        lambda key: aead_seal(key, ONCE, DIGEST, CONTEXT),
        lambda key, raw: aead_open(key, ONCE, raw, CONTEXT),
    ),
    "door": derived(door.mark),
    "kek": derived(lambda key: b"".join(passphrase._derive(key, ID, 1, 64, 1))),
    "kek/proof": derived(lambda key: H(CheckedKeyring(Proved(key), None)._context(1))),  # type: ignore[arg-type]  # no provider is asked
    "keystore/row": Example(
        stored_row, lambda key, raw: sealed_rows(key)._unseal("table", DIGEST, raw)
    ),
    "keystore/seal": Example(
        lambda key: sealed_rows(key)._seal(DIGEST, keystore._SEAL_PLACE),
        lambda key, raw: sealed_rows(key)._open(raw, keystore._SEAL_PLACE),
    ),
    "keystore/wrap": derived(lambda key: b"".join(wrapping(key))),
    "keystore/rows": derived(row_keys),
    "e2ee/aad": Example(copy, take_copy),
    "message": derived(
        lambda key: hkdf(key, salt=key, info=session._MESSAGE_INFO + key, length=32)
    ),
    "root": derived(lambda key: b"".join(ratchet._kdf_root(key, key))),
    "pq_epoch": derived(chains),
    "pq_message": derived(lambda key: hmac(key, pq_ratchet._MESSAGE)),
    "pq_next": derived(lambda key: hmac(key, pq_ratchet._NEXT)),
    "PQXDH_X25519_SHA256_MLKEM768": derived(
        lambda key: b"".join(pqxdh._derive(key, [key], key)[1:])
    ),
    "pqxdh": derived(transcript),
    "message_body": derived(lambda key: H(body.encode(body.Body("text", b"M", b"", 1, key, 1)))),
    "key_log": derived(lambda key: key_log.hash_of(key, key)),
    "key_log/account": derived(key_log.tag),
    "key_log/entry": derived(
        lambda key: key_log.entry(
            ALICE, key, wire.DeviceList(version=1, certificates=(), signature=b"")
        )
    ),
    "safety": derived(lambda key: devices.safety_number((ALICE, key), (BOB, key)).encode()),
    "conversation": derived(lambda key: policy.conversation_id(key[:16], BOB)),
    "chain/heads": derived(lambda key: at_rest.heads_digest([(ID, 1, key)])),
    "chain": derived(lambda key: at_rest.link(key, 1, b"record")),
    **{label: said(*both) for label, both in CONTENT.items()},
    **{label: Example(*both) for label, both in (LINK | GRANTS).items()},
    **{label: derived(make) for label, make in DERIVED.items()},
    **{label: Example(*both) for label, both in SEALED.items()},
    "policy/modes": derived(lambda key: H(policy.record(next_policy(key)))),
}


def takes(example: Example, key: bytes, value: bytes) -> bool:
    """Whether the verifier takes ``value``; what it refuses, it refuses as one of our errors."""
    try:
        return example.take(key, value) is not False
    except LouverError:
        return False
