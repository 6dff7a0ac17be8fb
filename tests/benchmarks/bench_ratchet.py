"""What ``e2ee`` costs against vodozemac, in one run on one machine: print ratios, assert nothing.

``python -m tests.benchmarks.bench_ratchet``. Three things are timed on 200-byte texts: our session
alone (two ratchets, padding, franking, AEAD; as vodozemac's, held in memory), the whole mode
(the same, and reading and writing its state, counters and evidence; state in a dictionary),
and vodozemac's Olm session. *Chain* is seal and open in one direction; *ping-pong* turns the
ratchet with every message. The rounds are interleaved, the best of each is shown.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import vodozemac

from crypto_modes import wire
from crypto_modes.e2ee import body, header, pqxdh, session
from crypto_modes.e2ee.body import Body
from crypto_modes.e2ee.header import First
from crypto_modes.e2ee.session import Envelope, Session
from crypto_modes.franking import commitment
from crypto_modes.keys import AgreementKey
from tests.e2ee_relay import ALICE, BOB, Device, couple

TEXT = os.urandom(200)
ROUNDS = 7
MESSAGES = 1_000
DEVICE = b"bobby-phone-0001"

Step = Callable[[], None]


class Nothing:
    """No skipped key was ever kept."""

    def find(self, chain: bytes, n: int) -> bytes | None:
        return None


def send(one: Session, other: Session) -> None:
    """Seal at ``one`` and open at ``other``, with commitment and padding."""
    key, conversation, message_id = os.urandom(32), bytes(16), os.urandom(16)
    message = body.encode(Body("text", TEXT, b"", 1, bytes(32), 1))
    c = commitment(key, conversation, message_id, message)
    place = Envelope(1, conversation, message_id, ALICE, ALICE, BOB, bytes(32), c)
    copy = one.seal(place, DEVICE, key + message)
    opened = other.open(place, DEVICE, header.parse(copy), Nothing(), os.urandom).plaintext
    if commitment(opened[:32], conversation, message_id, opened[32:]) != c:
        raise AssertionError
    body.decode(opened[32:])


def session_steps() -> tuple[Step, Step]:
    shared = pqxdh.Shared(os.urandom(32), os.urandom(32), os.urandom(32))
    prekey = AgreementKey(os.urandom(32))
    first = First(bytes(32), 1, 0, 2, 1, bytes(1088))
    one = session.initiate(shared, prekey.public, os.urandom(32), first, 0)
    other = session.respond(shared, prekey.raw, prekey.public, 0)
    send(one, other)
    send(other, one)
    turn = iter(range(10**9))

    def ping_pong() -> None:
        if next(turn) % 2:
            send(other, one)
        else:
            send(one, other)

    return lambda: send(one, other), ping_pong


def mode_steps() -> tuple[Step, Step]:
    relay, alice, bob = couple()
    bob.receive(alice.send(BOB))
    alice.receive(bob.send(ALICE))

    def carry(sender: Device, receiver: Device, to: bytes) -> None:
        draft = sender.draft(to, TEXT)
        sealed = sender.client.seal(draft)
        receiver.client.open(
            wire.Deliver(
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
        )

    turn = iter(range(10**9))

    def ping_pong() -> None:
        if next(turn) % 2:
            carry(bob, alice, ALICE)
        else:
            carry(alice, bob, BOB)

    return lambda: carry(alice, bob, BOB), ping_pong


def olm_steps() -> tuple[Step, Step]:
    alice, bob = vodozemac.Account(), vodozemac.Account()
    bob.generate_one_time_keys(1)
    one_time = next(iter(bob.one_time_keys.values()))
    one = alice.create_outbound_session(bob.curve25519_key, one_time)
    first = one.encrypt(b"first").to_pre_key()
    if first is None:  # it always is one
        raise AssertionError
    other, _ = bob.create_inbound_session(alice.curve25519_key, first)
    one.decrypt(other.encrypt(b"answer"))
    turn = iter(range(10**9))

    def ping_pong() -> None:
        if next(turn) % 2:
            one.decrypt(other.encrypt(TEXT))
        else:
            other.decrypt(one.encrypt(TEXT))

    def chain() -> None:
        other.decrypt(one.encrypt(TEXT))

    return chain, ping_pong


def best(steps: dict[str, Step]) -> dict[str, float]:
    """Microseconds per message: of interleaved rounds the quickest."""
    found = dict.fromkeys(steps, float("inf"))
    for _ in range(ROUNDS):
        for name, step in steps.items():
            begun = time.perf_counter()
            for _ in range(MESSAGES):
                step()
            found[name] = min(found[name], (time.perf_counter() - begun) / MESSAGES * 1e6)
    return found


def main() -> None:
    makers = {"vodozemac": olm_steps, "session": session_steps, "mode": mode_steps}
    made = {name: maker() for name, maker in makers.items()}
    for place, title in enumerate(("chain", "ping-pong")):
        found = best({name: steps[place] for name, steps in made.items()})
        for name, cost in found.items():
            ratio = cost / found["vodozemac"]
            print(f"{title:10} {name:10} {cost:7.1f} µs   {ratio:5.2f} × vodozemac")


if __name__ == "__main__":
    main()
