"""An example of each label of moderation: what makes it, and what takes it.

What may live here: the table ``GRANTS`` for ``labels``. What may not: assertions.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from crypto_modes import grants, shamir
from crypto_modes.grants import Approval, Grant, Person
from crypto_modes.holds import Order
from crypto_modes.keys import SigningKey
from crypto_modes.transparency import access_log
from crypto_modes.transparency.access_log import Entry, Leaf
from server import scanning
from server.moderation import once, second_factor, sessions
from server.moderation import staff as staff_rooms
from server.moderation.api import guard
from tests.mode_ends import ALICE, DRAFT, TIME, meta_of

GRANT = Grant(
    case=ALICE,
    basis="user_report",
    conversation=ALICE,
    first=1,
    last=2,
    expires=TIME + 1,
    requester="mara",
    reason="what was answered",
)
ORDER = Order(
    case=ALICE,
    event="place",
    target="account",
    place=ALICE,
    requester="mara",
    reason="a court asks for it",
    nonce=ALICE,
)
PLACE = "/vault/v1/open"
META = meta_of(DRAFT, "tls")


def staff(key: bytes) -> dict[str, Person]:
    """Mara asks and Sven approves, both with the key ``key``."""
    public = SigningKey(key).public
    return {
        "mara": Person(name="mara", subject="m", role="moderator", key=public),
        "sven": Person(name="sven", subject="s", role="senior", key=public),
    }


def take_approval(key: bytes, mark: bytes) -> None:
    grants.check_approval(GRANT, Approval("sven", mark), staff(key))


def take_order(key: bytes, mark: bytes) -> None:
    grants.check_approval(ORDER, Approval("sven", mark), staff(key))


def take_request(key: bytes, mark: bytes) -> None:
    request = grants.Request(name="mara", time=TIME, nonce=ALICE, signature=mark)
    grants.check_signed(request, PLACE, b"body", staff(key), TIME)


def equal_to(
    make: Callable[[bytes], bytes],
) -> tuple[Callable[[bytes], bytes], Callable[[bytes, bytes], object]]:
    return make, lambda key, value: value == make(key)


def entry(key: bytes) -> Entry:
    return Entry(kind="read", time=TIME, conversation=key[:16])


def take_days(key: bytes, value: bytes) -> None:
    log = access_log.log_of(SigningKey(key).public)
    access_log.check_days(log, ALICE, 1, (key,), value)


GRANTS: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes, bytes], object]]] = {
    "grant": (
        lambda key: grants.approve(GRANT, "sven", SigningKey(key)).signature,
        take_approval,
    ),
    "staff/request": (
        lambda key: (
            grants.sign_request(SigningKey(key), PLACE, b"body", "mara", TIME, ALICE).signature
        ),
        take_request,
    ),
    "grant/id": equal_to(
        lambda key: (
            Grant(
                case=key[:16],
                basis="user_report",
                conversation=ALICE,
                first=1,
                last=2,
                expires=TIME,
                requester="mara",
                reason="x",
            ).id
        )
    ),
    "hold": (
        lambda key: grants.approve(ORDER, "sven", SigningKey(key)).signature,
        take_order,
    ),
    "hold/id": equal_to(lambda key: msgspec.structs.replace(ORDER, place=key[:16]).id),
    "staff/asked": equal_to(lambda key: guard.asked("/reports", "", key)),
    "staff/once": equal_to(lambda key: once.place_of("mara", key.hex())),
    "staff/invite": equal_to(lambda key: staff_rooms._digest(key.hex())),
    "staff/session": equal_to(lambda key: sessions._digest(key.hex())),
    "staff/code": equal_to(lambda key: second_factor.secret_of(key, ALICE, 1)),
    "scanning/held": equal_to(lambda key: scanning.held_digest(key, META, b"text")),
    "scanning/report": equal_to(lambda key: scanning.report_id(key, META)),
    "share": equal_to(shamir._check),
    "share/key": equal_to(shamir.mark),
    "access": equal_to(lambda key: Leaf(TIME, ALICE, key).hash),
    "access/entry": equal_to(lambda key: entry(key).encode()),
    "access/commitment": equal_to(lambda key: access_log.commitment(ALICE, entry(key))),
    "access/day": equal_to(lambda key: access_log.day_key(key, ALICE, 1)),
    "access/day_keys": (
        lambda key: access_log.sign_days(SigningKey(key), ALICE, 1, (key,)),
        take_days,
    ),
    "access/mark": equal_to(lambda key: access_log.mark(key, 1)),
}
