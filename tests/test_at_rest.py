"""The mode ``at_rest``: its records to the byte, its chain, and the attacks on stored data."""

from __future__ import annotations

import multiprocessing
import os
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from crypto_modes import at_rest, content, wire
from crypto_modes.contract import (
    NO_DIGEST,
    Evidence,
    Meta,
    Need,
    NeedDataKey,
    NeedWrappedKey,
    Sealed,
    ServerMode,
    Stored,
)
from crypto_modes.errors import BadArgument, CannotOpen, FrameRefused, LimitExceeded
from crypto_modes.padding import pad
from crypto_modes.primitives import aead_open
from tests import modes_oracle as oracle
from tests.gcm_collision import colliding
from tests.mode_ends import BOB, DEPLOYMENT, DRAFT, ReadyKeys, client_tools, meta_of, server_tools
from tests.vector_files import expected, raw, vectors

META = meta_of(DRAFT, "at_rest")
SIZE_LIMIT = wire.CONTENT_LIMIT

ids = st.binary(min_size=16, max_size=16)
counts = st.integers(min_value=0, max_value=2**63 - 1)
metas = st.builds(
    Meta,
    conversation=ids,
    seq=counts,
    id=ids,
    sender=ids,
    device=ids,
    recipient=ids,
    kind=st.sampled_from(wire.KINDS),
    mode=st.just("at_rest"),
    epoch=counts,
    time=counts,
)


class FixedKeys:
    """One data key, known beforehand."""

    def __init__(self, dek_id: bytes, dek: bytes) -> None:
        self.dek_id, self.dek = dek_id, dek

    def current(self, conversation: bytes, sender: bytes, now: int) -> tuple[bytes, bytes]:
        return self.dek_id, self.dek

    def find(self, dek_id: bytes) -> bytes:
        return self.dek


def relay(**changes: Any) -> ServerMode:
    return at_rest.MODE.server(server_tools(**changes))


def sealed(body: bytes) -> Sealed:
    return Sealed(mode="at_rest", epoch=1, body=body)


def conversation_of(server: ServerMode, count: int) -> list[Stored]:
    """``count`` messages, admitted one after the other."""
    stored: list[Stored] = []
    for seq in range(1, count + 1):
        previous = stored[-1].chain if stored else NO_DIGEST
        meta = msgspec.structs.replace(META, seq=seq, id=seq.to_bytes(16, "big"))
        stored.append(server.admit(meta, sealed(b"message %d" % seq), previous))
    return stored


@pytest.mark.parametrize("vector", vectors("at_rest"))
def test_vectors_open(vector: dict[str, Any]) -> None:
    names = "deployment", "dek_id", "dek", "salt", "body", "record", "previous", "chain"
    given_ = raw(vector, *names)
    fields = raw(vector["meta"], "conversation", "id", "sender", "device", "recipient")
    keys = FixedKeys(given_["dek_id"], given_["dek"])
    server = relay(
        data_keys=keys, deployment=given_["deployment"], random=lambda size: given_["salt"]
    )
    with expected(vector):
        assert server.reveal(Stored(Meta(**fields), given_["record"]), Evidence()) == given_["body"]
        stored = server.admit(Meta(**fields), sealed(given_["body"]), given_["previous"])
        assert (stored.record, stored.chain) == (given_["record"], given_["chain"])


@given(metas, st.binary(max_size=2000), st.binary(min_size=16, max_size=16))
def test_an_independent_reading_of_the_design_opens_every_record(
    meta: Meta, body: bytes, deployment: bytes
) -> None:
    keys = FixedKeys(os.urandom(16), os.urandom(32))
    stored = relay(data_keys=keys, deployment=deployment).admit(meta, sealed(body), NO_DIGEST)
    fields = msgspec.structs.asdict(meta)
    assert oracle.at_rest_open(deployment, fields, keys.dek, stored.record) == body
    assert stored.chain == oracle.chain(NO_DIGEST, meta.seq, stored.record)


@given(metas, st.binary(max_size=2000))
def test_every_record_of_an_independent_writer_opens(meta: Meta, body: bytes) -> None:
    keys = FixedKeys(os.urandom(16), os.urandom(32))
    fields = msgspec.structs.asdict(meta)
    record = oracle.at_rest_seal(DEPLOYMENT, fields, keys.dek_id, keys.dek, os.urandom(16), body)
    delivered = relay(data_keys=keys).emit(Stored(meta, record), b"d" * 16)
    assert (delivered.body, delivered.seq, delivered.sender) == (body, meta.seq, meta.sender)


def test_the_client_sends_the_text_and_the_relay_keeps_none_of_it() -> None:
    travelling = at_rest.MODE.client(client_tools(DRAFT.sender)).seal(DRAFT)
    assert travelling == Sealed(mode="at_rest", epoch=1, body=DRAFT.content)
    answer = msgspec.structs.replace(DRAFT, reply_to=b"r" * 16)
    answering = at_rest.MODE.client(client_tools(DRAFT.sender)).seal(answer)
    assert answering.body == content.with_reply(DRAFT.content, b"r" * 16)
    stored = relay().admit(META, travelling, NO_DIGEST)
    assert DRAFT.content not in stored.record
    assert len(stored.record) == at_rest.OVERHEAD + len(pad(DRAFT.content))


@pytest.mark.parametrize(
    ("refused", "error"),
    [
        (Sealed(mode="at_rest", epoch=1, body=bytes(SIZE_LIMIT + 1)), LimitExceeded),
        (Sealed(mode="at_rest", epoch=1, commitment=bytes(32)), FrameRefused),
        (Sealed(mode="at_rest", epoch=1, copies=(wire.Copy(bytes(16), b""),)), FrameRefused),
    ],
    ids=["too large", "a commitment", "copies"],
)
def test_what_the_relay_does_not_take(refused: Sealed, error: type[Exception]) -> None:
    with pytest.raises(error):
        relay().admit(META, refused, NO_DIGEST)


class NoKeys:
    """Data keys of which none was fetched yet."""

    def current(self, conversation: bytes, sender: bytes, now: int) -> tuple[bytes, bytes]:
        raise Need(NeedDataKey(conversation, sender))

    def find(self, dek_id: bytes) -> bytes:
        raise Need(NeedWrappedKey(dek_id))


@pytest.mark.parametrize("size", [0, 2, 17, 65, 81])
def test_a_record_cut_short_asks_for_no_key(size: int) -> None:
    record = relay().admit(META, sealed(b"x"), NO_DIGEST).record
    with pytest.raises(CannotOpen):
        relay(data_keys=NoKeys()).emit(Stored(META, record[:size]), b"d" * 16)


def test_missing_keys_are_asked_for() -> None:
    server = relay(data_keys=NoKeys())
    with pytest.raises(Need) as caught:
        server.admit(META, sealed(b"x"), NO_DIGEST)
    assert caught.value.what == NeedDataKey(META.conversation, META.sender)
    record = relay().admit(META, sealed(b"x"), NO_DIGEST).record
    with pytest.raises(Need) as caught:
        server.emit(Stored(META, record), b"d" * 16)
    assert caught.value.what == NeedWrappedKey(record[2:18])


@pytest.mark.attack(4)
def test_no_byte_of_a_record_can_be_changed() -> None:
    keys = FixedKeys(os.urandom(16), os.urandom(32))
    server = relay(data_keys=keys)
    record = server.admit(META, sealed(b"x"), NO_DIGEST).record
    for place in range(len(record)):
        altered = bytearray(record)
        altered[place] ^= 1 << place % 8
        with pytest.raises(CannotOpen):
            server.emit(Stored(META, bytes(altered)), b"d" * 16)


@pytest.mark.parametrize(
    "changes",
    [
        {"sender": META.sender[:-1]},
        {"device": META.device + b"\0"},
        {"kind": "rot13"},
        {"seq": -1},
        {"time": 2**64},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_fields_that_no_message_has_are_refused(changes: dict[str, Any]) -> None:
    server = relay()
    stored = server.admit(META, sealed(b"x"), NO_DIGEST)
    with pytest.raises(CannotOpen):
        server.emit(Stored(msgspec.structs.replace(META, **changes), stored.record), b"d" * 16)


@pytest.mark.attack(24)
def test_a_ciphertext_for_two_keys_opens_under_the_committed_one_alone() -> None:
    dek_id, salt = os.urandom(16), os.urandom(16)
    deks = os.urandom(32), os.urandom(32)
    fields = msgspec.structs.asdict(META)
    aad = oracle.at_rest_aad(DEPLOYMENT, fields, dek_id)
    derived = [oracle.at_rest_keys(dek, dek_id, salt) for dek in deks]
    # One in 256 would be a padded body by chance under the committed key.
    padded = True
    while padded:
        text = colliding(derived[0][0], derived[1][0], bytes(12), aad, [os.urandom(16)] * 15)
        plain = AESGCM(derived[0][0]).decrypt(bytes(12), text, aad)
        padded = plain.rstrip(b"\0").endswith(b"\x80")
    for key, _ in derived:
        assert AESGCM(key).decrypt(bytes(12), text, aad)
    record = b"\x01\x01" + dek_id + salt + derived[0][1] + text
    opened: list[str] = []
    for dek in deks:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(at_rest, "aead_open", _noted(opened, aead_open))
            with pytest.raises(CannotOpen):
                relay(data_keys=FixedKeys(dek_id, dek)).emit(Stored(META, record), b"d" * 16)
    # Under the committed key it decrypts (to bytes that are no padded body); under the other
    # it is not even tried, so trying keys on a record tells nothing.
    assert opened == ["decrypted"]


def _noted(opened: list[str], open_: Callable[..., bytes]) -> Callable[..., bytes]:
    def noting(*arguments: bytes) -> bytes:
        plain = open_(*arguments)
        opened.append("decrypted")
        return plain

    return noting


# Row 25 counts 1,000,000 records; a fiftieth of it is what every run affords,
# LOUVER_ATTACK_FULL=1 in the environment makes all (two minutes).
FULL = os.environ.get("LOUVER_ATTACK_FULL") == "1"
WORKERS, PER_WORKER = 8, 125_000 if FULL else 2_500


def _salts(random_bytes: Callable[[int], bytes], keys: ReadyKeys, answer: Any) -> None:
    server = relay(data_keys=keys, random=random_bytes)
    records = [server.admit(META, sealed(b"x"), NO_DIGEST).record for _ in range(PER_WORKER)]
    # dek_id and salt name the key of a record; its nonce is always zero.
    answer.send_bytes(b"".join(record[2:34] for record in records))


def repeated_pairs(random_bytes: Callable[[int], bytes]) -> int:
    """How many (key, nonce) pairs occur twice in records of processes forked from one image."""
    keys = ReadyKeys()
    keys.current(META.conversation, META.sender, 0)
    fork = multiprocessing.get_context("fork")
    seen: Counter[bytes] = Counter()
    for _ in range(WORKERS):
        receiving, sending = fork.Pipe(duplex=False)
        worker = fork.Process(target=_salts, args=(random_bytes, keys, sending))
        worker.start()
        pairs = receiving.recv_bytes()
        worker.join()
        seen.update(pairs[i : i + 32] for i in range(0, len(pairs), 32))
    assert len({pair[:16] for pair in seen}) == 1, "all workers must share one data key"
    return seen.total() - len(seen)


@pytest.mark.attack(25)
def test_forked_processes_never_repeat_a_key_and_nonce() -> None:
    assert repeated_pairs(os.urandom) == 0


@pytest.mark.attack(25)
def test_the_detector_sees_a_generator_that_was_forked() -> None:
    assert repeated_pairs(random.Random(7).randbytes) == (WORKERS - 1) * PER_WORKER


@pytest.mark.attack(33)
def test_lengths_say_little() -> None:
    server = relay()
    sizes = {
        len(server.admit(META, sealed(bytes(size)), NO_DIGEST).record)
        for size in range(1, SIZE_LIMIT + 1)
    }
    # The minimum, eight sizes in each of six octaves, and one for the largest body and its mark.
    assert len(sizes) == 50
    assert min(sizes) == at_rest.OVERHEAD + 256


@pytest.mark.attack(39)
def test_no_record_opens_in_the_place_of_another() -> None:
    server = relay()
    stored = conversation_of(server, 100)
    opened = 0
    for target in stored:
        for source in stored:
            try:
                server.emit(Stored(target.meta, source.record), b"d" * 16)
                opened += 1
                assert target is source
            except CannotOpen:
                assert target is not source
    assert opened == 100


@pytest.mark.attack(39)
@pytest.mark.parametrize(
    "changes",
    [
        {"conversation": b"another-convers1"},
        {"sender": BOB},
        {"device": b"another-device-1"},
        {"id": b"another-message1"},
        {"seq": 2},
        {"epoch": 2},
        {"kind": "image"},
        {"time": META.time + 1},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_record_is_bound_to_what_stands_beside_it(changes: dict[str, Any]) -> None:
    server = relay(data_keys=FixedKeys(os.urandom(16), os.urandom(32)))
    record = server.admit(META, sealed(b"x"), NO_DIGEST).record
    with pytest.raises(CannotOpen):
        server.reveal(Stored(msgspec.structs.replace(META, **changes), record), Evidence())


def test_a_record_is_bound_to_its_deployment() -> None:
    keys = FixedKeys(os.urandom(16), os.urandom(32))
    record = relay(data_keys=keys).admit(META, sealed(b"x"), NO_DIGEST).record
    with pytest.raises(CannotOpen):
        relay(data_keys=keys, deployment=b"x" * 16).emit(Stored(META, record), b"d" * 16)


def test_the_chain_of_an_honest_store_verifies_in_parts() -> None:
    stored = conversation_of(relay(), 10)
    head = at_rest.verify_chain(stored)
    assert head == stored[-1].chain
    assert at_rest.verify_chain(stored[4:], stored[3].chain, 4) == head
    assert at_rest.verify_chain([]) == NO_DIGEST


def replaced(stored: list[Stored], place: int, **changes: Any) -> list[Stored]:
    altered = msgspec.structs.replace(stored[place], **changes)
    return [*stored[:place], altered, *stored[place + 1 :]]


# What a database's administrator may do to six messages, given an older version of the third.
EDITS: dict[str, Callable[[list[Stored], Stored], list[Stored]]] = {
    "an older record": lambda stored, old: replaced(stored, 2, record=old.record),
    "an older row": lambda stored, old: replaced(stored, 2, record=old.record, chain=old.chain),
    "one deleted": lambda stored, old: [*stored[:2], *stored[3:]],
    "one repeated": lambda stored, old: [*stored[:3], *stored[2:]],
    "two swapped": lambda stored, old: [stored[1], stored[0], *stored[2:]],
    "the first deleted": lambda stored, old: stored[1:],
    "a forged link": lambda stored, old: replaced(stored, 4, chain=bytes(32)),
}


@pytest.mark.attack(39)
@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_edits_of_the_database_break_the_chain(
    edit: Callable[[list[Stored], Stored], list[Stored]],
) -> None:
    server = relay()
    stored = conversation_of(server, 6)
    # It opens, since it once stood there; only the chain says that it is not the newest.
    old = server.admit(stored[2].meta, sealed(b"yesterday"), stored[1].chain)
    assert server.reveal(old, Evidence()) == b"yesterday"
    with pytest.raises(CannotOpen, match="message"):
        at_rest.verify_chain(edit(stored, old))


@pytest.mark.attack(39)
def test_a_cut_off_end_shows_against_a_head_kept_elsewhere() -> None:
    stored = conversation_of(relay(), 6)
    assert at_rest.verify_chain(stored[:5]) != stored[-1].chain


def test_messages_of_other_modes_leave_the_head_as_it_is() -> None:
    server = relay()
    first, *_ = conversation_of(server, 1)
    plain = Stored(msgspec.structs.replace(META, seq=2, mode="tls"), b"text", chain=first.chain)
    third = server.admit(msgspec.structs.replace(META, seq=3), sealed(b"x"), plain.chain)
    assert at_rest.verify_chain([first, plain, third]) == third.chain
    with pytest.raises(CannotOpen, match="message 2 is missing"):
        at_rest.verify_chain([first, third])


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_head_has_32_bytes(size: int) -> None:
    with pytest.raises(BadArgument):
        relay().admit(META, sealed(b"x"), bytes(size))
