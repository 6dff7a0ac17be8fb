"""What ``e2ee`` costs against its peers, in one run on one machine: print ratios, assert nothing.

``python -m tests.benchmarks.bench_ratchet [DIRECTORY]``. On 200-byte texts, all with their state in
memory, three of ours:

* *ratchets*: seal and open alone, both ratchets and AEAD, on a text padded before;
* *session*: the same with padding and commitment, as every message has them;
* *mode*: the same as a client does it, who reads and writes state, counters and evidence;

against vodozemac's Olm session (no PQ, no associated data, MACs of 8 bytes), the ``DoubleRatchet``
package (no handshake, no PQ), and libsignal's Node binding, which has a PQ ratchet too and reads
and writes its store as the *mode* does. *Chain* is one direction, *ping-pong* turns the ratchet
with every message, *first* is a handshake from fetched prekeys with the first message. Rounds are
interleaved, the best of each is shown; bytes are those of a whole message, ours padded.

libsignal is AGPL, so it is no dependency and no part of this repository. To compare with it, have
Node 20 and fetch it by hand into a DIRECTORY of your own::

    npm install --prefix DIRECTORY --ignore-scripts @signalapp/libsignal-client@0.103.0
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import doubleratchet
import vodozemac
from doubleratchet.recommended import aead_aes_hmac, kdf_hkdf, kdf_separate_hmacs
from doubleratchet.recommended import diffie_hellman_ratchet_curve25519 as curve25519

from crypto_modes import wire
from crypto_modes.contract import Sealed
from crypto_modes.e2ee import body, header, pqxdh, session
from crypto_modes.e2ee.body import Body
from crypto_modes.e2ee.header import First
from crypto_modes.e2ee.session import Envelope, Session
from crypto_modes.franking import commitment
from crypto_modes.keys import AgreementKey
from tests.e2ee_relay import ALICE, BOB, Device, couple

TEXT = os.urandom(200)
ROUNDS = 25
BURSTS = {"chain": 200, "ping-pong": 50, "first": 4}
DEVICE = b"bobby-phone-0001"
DRIVER = Path(__file__).parent / "libsignal.mjs"

Step = Callable[[], object]
Burst = Callable[[int], float]  # so many messages; the microseconds that one took


class Contender(NamedTuple):
    """Bursts by name, and the bytes of a message in a chain and of a first one (0: has none)."""

    bursts: dict[str, Burst]
    sizes: tuple[float, int]


def timed(step: Step) -> Burst:
    def burst(count: int) -> float:
        begun = time.perf_counter()
        for _ in range(count):
            step()
        return (time.perf_counter() - begun) / count * 1e6

    return burst


def in_turn(there: Step, back: Step) -> Step:
    turn = iter(range(10**9))
    return lambda: back() if next(turn) % 2 else there()


# -- ours ---------------------------------------------------------------------------------------


class Nothing:
    """No skipped key was ever kept."""

    def find(self, chain: bytes, n: int) -> bytes | None:
        return None


PLACE = Envelope(1, bytes(16), bytes(16), ALICE, ALICE, BOB, bytes(32), bytes(32))
PADDED = bytes(32) + body.encode(Body("text", TEXT, b"", 1, bytes(32), 1))


def carry(one: Session, other: Session, place: Envelope, plaintext: bytes) -> bytes:
    copy = one.seal(place, DEVICE, plaintext, one.carry(1, os.urandom))
    return other.open(place, DEVICE, header.parse(copy), Nothing(), os.urandom).plaintext


def send(one: Session, other: Session) -> None:
    """Seal at ``one`` and open at ``other``, with commitment and padding."""
    key, conversation, message_id = os.urandom(32), bytes(16), os.urandom(16)
    message = body.encode(Body("text", TEXT, b"", 1, bytes(32), 1))
    c = commitment(key, conversation, message_id, message)
    place = Envelope(1, conversation, message_id, ALICE, ALICE, BOB, bytes(32), c)
    opened = carry(one, other, place, key + message)
    if commitment(opened[:32], conversation, message_id, opened[32:]) != c:
        raise AssertionError
    body.decode(opened[32:])


def sessions() -> tuple[Session, Session]:
    shared = pqxdh.Shared(os.urandom(32), os.urandom(32), os.urandom(32))
    prekey = AgreementKey(os.urandom(32))
    first = First(bytes(32), 1, 0, 2, 1, bytes(1088))
    one = session.initiate(shared, prekey.public, os.urandom(32), first, 0)
    other = session.respond(shared, prekey.raw, prekey.public, 0)
    send(one, other)
    send(other, one)
    return one, other


def ratchets() -> Contender:
    one, other = sessions()
    there, back = (
        (lambda: carry(one, other, PLACE, PADDED)),
        (lambda: carry(other, one, PLACE, PADDED)),
    )
    return Contender({"chain": timed(there), "ping-pong": timed(in_turn(there, back))}, (0, 0))


def whole_session() -> Contender:
    one, other = sessions()
    there, back = (lambda: send(one, other)), (lambda: send(other, one))
    return Contender({"chain": timed(there), "ping-pong": timed(in_turn(there, back))}, (0, 0))


def mode() -> Contender:
    relay, alice, bob = couple()
    bob.receive(alice.send(BOB))
    alice.receive(bob.send(ALICE))
    prekeys = list(relay.prekeys[BOB, bob.id])
    fresh = [  # as they are when each knows the other's devices, and no session
        {row: value for row, value in end.state.rows.items() if not row[0].endswith("active")}
        for end in (alice, bob)
    ]

    def through(sender: Device, receiver: Device, to: bytes) -> Sealed:
        draft = sender.draft(to, TEXT)
        sealed = sender.needing(lambda: sender.client.seal(draft))
        delivery = wire.Deliver(
            conversation=draft.conversation,
            seq=1,
            id=draft.id,
            sender=draft.sender,
            device=draft.device,
            recipient=to,
            kind="text",
            mode="e2ee",
            epoch=1,
            time=relay.clock.now,
            body=sealed.copies[0].body,
            commitment=sealed.commitment,
        )
        receiver.client.open(delivery)
        return sealed

    def first(count: int) -> float:
        kept = dict(alice.state.rows), dict(bob.state.rows)
        spent = 0.0
        for _ in range(count):
            alice.state.rows, bob.state.rows = dict(fresh[0]), dict(fresh[1])
            relay.prekeys[BOB, bob.id] = list(prekeys)
            spent += timed(lambda: through(alice, bob, BOB))(1)
        alice.state.rows, bob.state.rows = kept
        return spent / count

    current = dict(alice.state.rows), dict(bob.state.rows)
    alice.state.rows, bob.state.rows = map(dict, fresh)
    opening = through(alice, bob, BOB)
    alice.state.rows, bob.state.rows = current
    there, back = (lambda: through(alice, bob, BOB)), (lambda: through(bob, alice, ALICE))
    bursts = {"chain": timed(there), "ping-pong": timed(in_turn(there, back)), "first": first}
    return Contender(bursts, (size_of(there()), size_of(opening)))


def size_of(sealed: Sealed) -> int:
    return len(sealed.copies[0].body) + len(sealed.commitment)


# -- theirs -------------------------------------------------------------------------------------


def olm() -> Contender:
    def begin() -> tuple[Any, Any, Any, Any]:
        alice, bob = vodozemac.Account(), vodozemac.Account()
        bob.generate_one_time_keys(1)
        return alice, bob, bob.curve25519_key, next(iter(bob.one_time_keys.values()))

    def meet(alice: Any, bob: Any, key: Any, one_time: Any) -> tuple[Any, Any, int]:
        one = alice.create_outbound_session(key, one_time)
        message = one.encrypt(TEXT)
        other, _ = bob.create_inbound_session(alice.curve25519_key, message.to_pre_key())
        return one, other, len(message.to_parts()[1])

    def first(count: int) -> float:
        return sum(timed(partial(meet, *begin()))(1) for _ in range(count)) / count

    one, other, opening = meet(*begin())
    one.decrypt(other.encrypt(TEXT))
    there, back = (
        (lambda: other.decrypt(one.encrypt(TEXT))),
        (lambda: one.decrypt(other.encrypt(TEXT))),
    )
    bursts = {"chain": timed(there), "ping-pong": timed(in_turn(there, back)), "first": first}
    return Contender(bursts, (len(one.encrypt(TEXT).to_parts()[1]), opening))


class RootKdf(kdf_hkdf.KDF):
    @staticmethod
    def _get_hash_function() -> Any:
        return doubleratchet.recommended.HashFunction.SHA_256

    @staticmethod
    def _get_info() -> bytes:
        return b"root"


class ChainKdf(kdf_separate_hmacs.KDF):
    @staticmethod
    def _get_hash_function() -> Any:
        return doubleratchet.recommended.HashFunction.SHA_256


class Aead(aead_aes_hmac.AEAD):
    @staticmethod
    def _get_hash_function() -> Any:
        return doubleratchet.recommended.HashFunction.SHA_256

    @staticmethod
    def _get_info() -> bytes:
        return b"message"


class Whole(doubleratchet.DoubleRatchet):
    @staticmethod
    def _build_associated_data(associated_data: bytes, header: Any) -> bytes:
        return associated_data + header.ratchet_pub


def double_ratchet() -> Contender:
    options: dict[str, Any] = {
        "diffie_hellman_ratchet_class": curve25519.DiffieHellmanRatchet,
        "root_chain_kdf": RootKdf,
        "message_chain_kdf": ChainKdf,
        "message_chain_constant": b"\x01\x02",
        "dos_protection_threshold": 100,
        "max_num_skipped_message_keys": 1_000,
        "aead": Aead,
    }

    async def meet() -> tuple[Any, Any, int]:
        prekey = AgreementKey(os.urandom(32))
        begin = {"shared_secret": bytes(32), "message": TEXT, "associated_data": b""}
        to = {"recipient_ratchet_pub": prekey.public}
        one, message = await Whole.encrypt_initial_message(**options, **begin, **to)
        rest = {"shared_secret": bytes(32), "message": message, "associated_data": b""}
        own = {"own_ratchet_priv": prekey.raw}
        other, _ = await Whole.decrypt_initial_message(**options, **rest, **own)
        answer = await other.encrypt_message(TEXT, b"")
        await one.decrypt_message(answer, b"")
        return one, other, len(answer.ciphertext) + 40

    async def pass_on(sender: Any, receiver: Any) -> None:
        await receiver.decrypt_message(await sender.encrypt_message(TEXT, b""), b"")

    def burst(step: Callable[[], Coroutine[Any, Any, None]]) -> Burst:
        async def loop(count: int) -> float:
            begun = time.perf_counter()
            for _ in range(count):
                await step()
            return (time.perf_counter() - begun) / count * 1e6

        return lambda count: asyncio.run(loop(count))

    one, other, size = asyncio.run(meet())
    turn = iter(range(10**9))
    return Contender(
        {
            "chain": burst(lambda: pass_on(one, other)),
            "ping-pong": burst(
                lambda: pass_on(*((other, one) if next(turn) % 2 else (one, other)))
            ),
        },
        (size, 0),
    )


def libsignal(directory: str) -> Contender | None:
    """A process of Node that times itself; None where it is not to be had."""
    node = shutil.which("node")
    if not node or not (Path(directory) / "node_modules/@signalapp/libsignal-client").is_dir():
        print("libsignal is not here; how to fetch it is at the top of this file\n")
        return None
    process = subprocess.Popen(
        [node, str(DRIVER), directory], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def ask(line: str) -> Any:
        if process.stdin is None or process.stdout is None:
            raise AssertionError("both are pipes")
        process.stdin.write(line + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    def burst(name: str) -> Burst:
        return lambda count: float(ask(f"{name} {count}"))

    chained, opening = ask("bytes")
    return Contender({name: burst(name) for name in BURSTS}, (chained, opening))


# -- the run ------------------------------------------------------------------------------------


def best(bursts: dict[str, Burst], count: int) -> dict[str, float]:
    """Microseconds a message: of interleaved rounds the quickest."""
    found = dict.fromkeys(bursts, float("inf"))
    for _ in range(ROUNDS):
        for name, burst in bursts.items():
            found[name] = min(found[name], burst(count))
    return found


def main() -> None:
    made: dict[str, Contender | None] = {
        "vodozemac": olm(),
        "ratchets": ratchets(),
        "session": whole_session(),
        "mode": mode(),
        "DoubleRatchet": double_ratchet(),
        "libsignal": libsignal(sys.argv[1] if len(sys.argv) > 1 else "."),
    }
    here = {name: contender for name, contender in made.items() if contender}
    for title, count in BURSTS.items():
        bursts = {n: each.bursts[title] for n, each in here.items() if title in each.bursts}
        for name, cost in (found := best(bursts, count)).items():
            ratio = cost / found["vodozemac"]
            print(f"{title:10} {name:14} {cost:8.1f} µs   {ratio:6.2f} × vodozemac")
    for name, contender in here.items():
        if any(contender.sizes):
            chained, opening = contender.sizes
            print(f"{'bytes':10} {name:14} {chained:8.0f} in a chain, {opening or '-'} first")


if __name__ == "__main__":
    main()
