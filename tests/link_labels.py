"""An example of each label of linking a device: what makes it of 32 bytes, and what takes it.

What may live here: the table ``LINK`` for ``labels``. What may not: assertions.
"""

from __future__ import annotations

from collections.abc import Callable

from crypto_modes import policy, wire
from crypto_modes.e2ee import devices, handover, linking
from crypto_modes.e2ee.linking import Code, Offer, Shared
from crypto_modes.encoding import enc
from crypto_modes.keys import AgreementKey, SigningKey
from crypto_modes.primitives import H
from tests.mode_ends import ALICE, ALICE_PHONE, BOB, TIME


def request(key: bytes) -> devices.Request:
    plain = devices.Request(
        ALICE_PHONE, SigningKey(key).public, AgreementKey(key).public, TIME, b""
    )
    return plain._replace(signature=SigningKey(key).sign(plain.signed(ALICE)))


def offered(key: bytes) -> tuple[Code, bytes]:
    return linking.offer(ALICE, Offer(request(key), AgreementKey(key).public, "a name"), key[:16])


def answered(key: bytes) -> tuple[bytes, Shared]:
    own = (ALICE_PHONE, AgreementKey(key))
    return linking.answer(ALICE, key[:16], b"offer", AgreementKey(key).public, own, b"handed over")


def certificate(key: bytes) -> wire.Certificate:
    return devices.certify(ALICE, SigningKey(key), request(key))


def listed(key: bytes) -> wire.DeviceList:
    return devices.sign_list(ALICE, SigningKey(key), 1, (certificate(key),))


def shown(key: bytes) -> wire.Policy:
    keys = {ALICE: key, BOB: key}
    return policy.default_policy(keys, dict.fromkeys(wire.KINDS, "tls"), TIME)


def peer(key: bytes) -> handover.Peer:
    return handover.Peer(BOB, "bob", key, shown(key))


def handed(key: bytes) -> handover.Handover:
    return handover.Handover(
        ALICE, SigningKey(key).public, key, listed(key), (peer(key),), handover.LogPin(key, b"note")
    )


def equal_to(
    make: Callable[[bytes], bytes],
) -> tuple[Callable[[bytes], bytes], Callable[[bytes, bytes], object]]:
    return make, lambda key, value: value == make(key)


LINK: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes, bytes], object]]] = {
    "link": equal_to(lambda key: b"".join(linking.Keys.derive(key[:16], ALICE))),
    "link/offer": (
        lambda key: offered(key)[1],
        lambda key, raw: linking.read_offer(ALICE, offered(key)[0], raw),
    ),
    "link/answer": (
        lambda key: answered(key)[0],
        lambda key, raw: linking.open_answer(ALICE, key[:16], b"offer", AgreementKey(key), raw),
    ),
    "link/transcript": equal_to(lambda key: answered(key)[1].th),
    "link/keys": equal_to(lambda key: b"".join(answered(key)[1][1:])),
    "link/handed": equal_to(lambda key: H(linking._aad(answered(key)[1]))),
    "link/confirmed": equal_to(lambda key: linking.confirmation(answered(key)[1], b"answer")),
    "link/handover/2": (
        lambda key: handover.encode(handed(key)),
        lambda key, raw: handover.decode(raw),
    ),
    "link/log": (
        lambda key: enc("louver/v1/link/log", key, b"note"),
        lambda key, raw: handover._read_log(raw),
    ),
    "link/list": (
        lambda key: handover._list(listed(key)),
        lambda key, raw: handover._read_list(raw),
    ),
    "link/certificate": (
        lambda key: handover._certificate(certificate(key)),
        lambda key, raw: handover._read_certificate(raw),
    ),
    "link/peer": (
        lambda key: handover._peer(peer(key)),
        lambda key, raw: handover._read_peer(ALICE, raw),
    ),
    "link/policy": (
        lambda key: handover._policy(shown(key)),
        lambda key, raw: handover._read_policy(ALICE, BOB, raw),
    ),
}
