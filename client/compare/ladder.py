"""The fourth instrument: what each ingredient of a mode costs a message, in CPU.

What may live here: the ingredients' own functions, timed apart from each other. What may not:
what any of them does (``crypto_modes``), or a mode without one of them: none exists, and none is
made for a measurement. Run as ``python -m client.compare.ladder JOB``; prints ``Taken``.

All of it is CPU of both ends and the relay together, a message of 32 bytes, without network, disk
or the event loop. Messages go in turns of two, as people write. Each ingredient's functions run by
themselves, on the sizes that they have in a whole message:

==============  ===================================================================================
floor           the frames, encoded and decoded, and the verbs of ``tls``: no encryption at all
tls             two TLS 1.3 connections' records, written and read by OpenSSL
envelope        ``at_rest``'s verbs at the relay, data key in its cache, less those of ``tls``
ratchet         a session's seal and open, less the post-quantum chains
post_quantum    those chains, with the new key and ciphertext of each epoch of 50 messages
franking        the commitment, made and checked, and the relay's stamp
padding         padding and its removal, and encrypting so much more
key_log         the log's head, written into each message and held to one's own
rest            all else of ``e2ee``: its verbs and frames, less the floor and the above
==============  ===================================================================================
"""

from __future__ import annotations

import os
import ssl
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from client.compare.ends import HEAD, TEXT, OneKey, Way, now
from client.compare.lab import trust
from client.compare.results import RUNGS, RungName
from client.keystore import Keystore
from crypto_modes import at_rest, e2ee, franking, primitives, tls
from crypto_modes.contract import KEY_LOG, LOG_HEAD, NO_DIGEST, Meta, Mode, Sealed, ServerTools
from crypto_modes.e2ee import body, header, pq_ratchet, pqxdh, session
from crypto_modes.e2ee.body import Body
from crypto_modes.e2ee.header import HAS_CIPHERTEXT, HAS_KEY, First
from crypto_modes.e2ee.pq_ratchet import PqChains
from crypto_modes.e2ee.session import Envelope
from crypto_modes.keys import AgreementKey
from crypto_modes.padding import pad, unpad
from crypto_modes.transparency import key_log
from crypto_modes.transparency.key_log import Head

MESSAGES = 100  # a round: two epochs of the post-quantum ratchet
TURN = 2

_ID, _DIGEST, _NONCE = bytes(16), bytes(32), bytes(12)
_PADDED = body.encode(Body("text", TEXT, b"", 1, _DIGEST, 1, log_head=HEAD.encode()))
_BARE = unpad(_PADDED)
_ENVELOPE = Envelope(1, _ID, _ID, _ID, _ID, _ID, _DIGEST, _DIGEST)

# One message; the argument is which of two ends sends it.
Step = Callable[[int], object]


class Job(msgspec.Struct, frozen=True):
    """What the process is told."""

    certificates: str
    rounds: int


class Taken(msgspec.Struct, frozen=True):
    """CPU microseconds a message of each rung, round by round."""

    messages: int
    rungs: dict[RungName, list[float]]


def measure(job: Job) -> Taken:
    """Every piece in every round, in alternating order; a rung is a difference within its round."""
    pieces = _pieces(Path(job.certificates))
    rounds: list[dict[str, float]] = []
    for number in range(job.rounds):
        order = list(pieces) if number % 2 == 0 else list(pieces)[::-1]
        rounds.append({name: _cost(pieces[name]) for name in order})
    rungs = [_rungs(found) for found in rounds]
    return Taken(MESSAGES, {name: [each[name] for each in rungs] for name in RUNGS})


def _rungs(cost: Mapping[str, float]) -> dict[RungName, float]:
    own: dict[RungName, float] = {
        "ratchet": cost["session"] - cost["post_quantum"],
        "post_quantum": cost["post_quantum"],
        "franking": cost["franking"],
        "padding": cost["padded"] - cost["bare"],
        "key_log": cost["key_log"],
    }
    return {
        "floor": cost["floor"],
        "tls": cost["records"],
        "envelope": cost["sealing"] - cost["passing"],
        **own,
        "rest": cost["e2ee"] - cost["floor"] - sum(own.values()),
    }


def _cost(step: Step) -> float:
    begun = time.process_time_ns()
    for number in range(MESSAGES):
        step(number // TURN % 2)
    return (time.process_time_ns() - begun) / MESSAGES / 1000


def _pieces(certificates: Path) -> dict[str, Step]:
    floor = Way(tls.MODE)
    return {
        "floor": floor.carry,
        "records": _records(certificates, floor),
        "passing": _verbs(tls.MODE),
        "sealing": _verbs(at_rest.MODE),
        "session": _session(),
        "post_quantum": _post_quantum(),
        "franking": _franking(),
        "padded": lambda _: unpad(_through(pad(_BARE))),
        "bare": lambda _: _through(_BARE),
        "key_log": _key_log(),
        "e2ee": Way(e2ee.MODE).carry,
    }


def _records(certificates: Path, way: Way) -> Step:
    """The two frames of a message of ``tls`` through a TLS connection each: written and read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "relay.pem", certificates / "relay.key")
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        trust(certificates).wrap_bio(back, there, server_hostname="127.0.0.1"),
        context.wrap_bio(there, back, server_side=True),
    )
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    client, relay = ends
    sent, delivered = way.sent, way.delivered

    def step(_: int) -> None:
        client.write(sent)
        relay.read(len(sent))
        relay.write(delivered)
        client.read(len(delivered))

    return step


def _verbs(mode: Mode) -> Step:
    """The relay's two verbs."""
    keys = OneKey()
    side = mode.server(
        ServerTools(deployment=_ID, random=os.urandom, data_keys=keys, franking_keys=keys)
    )
    sealed, meta = Sealed(mode=mode.name, epoch=1, body=TEXT), _meta(mode.name)
    return lambda _: side.emit(side.admit(meta, sealed, NO_DIGEST), _ID)


def _session() -> Step:
    """A session's seal and open, both ratchets in it, of what is neither padded nor franked."""
    shared = pqxdh.Shared(os.urandom(32), os.urandom(32), os.urandom(32))
    prekey = AgreementKey(os.urandom(32))
    first = First(bytes(32), 1, 0, 2, 1, bytes(1088))
    ends = (
        session.initiate(shared, prekey.public, os.urandom(32), first, 0),
        session.respond(shared, prekey.raw, prekey.public, 0),
    )

    def step(sender: int) -> None:
        one, other = ends[sender], ends[1 - sender]
        copy = one.seal(_ENVELOPE, _ID, _BARE, one.carry(now(), os.urandom))
        other.open(_ENVELOPE, _ID, header.parse(copy), _Nothing(), os.urandom)

    _settle(step)
    return step


def _post_quantum() -> Step:
    """The same messages through the post-quantum chains alone."""
    secret, th = os.urandom(32), os.urandom(32)
    ends = tuple(pq_ratchet.start(secret, th, initiator=first) for first in (True, False))
    before = [1]

    def step(sender: int) -> None:
        one, other = ends[sender], ends[1 - sender]
        turned, before[0] = before[0] != sender, sender
        flag, part = one.carry(now(), os.urandom, turned=turned, room=True)
        _, epoch, n = one.send()
        _take(other, epoch, n, flag, part)

    _settle(step)
    return step


def _take(end: PqChains, epoch: int, n: int, flag: int, part: bytes) -> None:
    key = part if flag == HAS_KEY else b""
    ciphertext = part if flag == HAS_CIPHERTEXT else b""
    if part:
        end.check(epoch, key, ciphertext)
    end.receive(epoch, n)
    if part:
        end.take(epoch, key, ciphertext)


def _franking() -> Step:
    key, stamping, meta = os.urandom(32), os.urandom(32), _meta("e2ee")

    def step(_: int) -> None:
        made = franking.commitment(key, _ID, _ID, _PADDED)
        franking.stamp(stamping, meta, made)
        if not primitives.equal(franking.commitment(key, _ID, _ID, _PADDED), made):
            raise RuntimeError("a commitment is not what it was")

    return step


def _key_log() -> Step:
    state = Keystore.in_memory()
    state.put(KEY_LOG, LOG_HEAD, HEAD.encode())

    def step(_: int) -> None:
        said = key_log.head(state).encode()
        key_log.heard(state, _ID, Head.decode(said))

    return step


def _through(message: bytes) -> bytes:
    """Sealed and opened under a key that is there."""
    sealed = primitives.aead_seal(_DIGEST, _NONCE, message, _ID)
    return primitives.aead_open(_DIGEST, _NONCE, sealed, _ID)


def _settle(step: Step) -> None:
    """The first message each way, whose header is larger, is no part of a running conversation."""
    for turn in range(4):
        step(turn % 2)


def _meta(mode: str) -> Meta:
    return Meta(_ID, 1, _ID, _ID, _ID, _ID, "text", mode, 1, now())


class _Nothing:
    """No skipped key was ever kept."""

    def find(self, chain: bytes, n: int) -> bytes | None:
        return None


def main() -> None:
    """Take the job file from the command line, measure, print."""
    job = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Job)
    sys.stdout.buffer.write(msgspec.json.encode(measure(job)) + b"\n")


if __name__ == "__main__":
    main()
