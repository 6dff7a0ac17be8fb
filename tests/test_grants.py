"""Grants: what one needs, and every way in which one does not hold."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_modes import grants
from crypto_modes.errors import GrantRefused
from crypto_modes.grants import BASES, ROLES, RULES, Approval, Basis, Grant, Person, Role
from crypto_modes.keys import SigningKey

NOW = 1_790_000_000_000
CASE, CONVERSATION = b"c" * 16, b"v" * 16
PLACE = "/vault/v1/open"

ROLE_OF: dict[str, Role] = {
    "mara": "moderator",
    "sven": "senior",
    "saida": "senior",
    "lena": "legal",
    "luis": "legal",
    "auda": "auditor",
    "otto": "operator",
    "anna": "admin",
}
KEYS = {name: SigningKey(bytes([number]) * 32) for number, name in enumerate(ROLE_OF)}
STAFF = {
    name: Person(name=name, subject=f"idp|{name}", role=role, key=KEYS[name].public)
    for name, role in ROLE_OF.items()
}


def grant(basis: Basis = "legal_request", requester: str = "lena", **changed: object) -> Grant:
    made = Grant(
        case=CASE,
        basis=basis,
        conversation=CONVERSATION,
        first=1,
        last=20,
        expires=NOW + 60_000,
        requester=requester,
        reason="order 17/2026 of the court",
    )
    return msgspec.structs.replace(made, **changed)


def approved(asked: Grant, *names: str) -> list[Approval]:
    return [grants.approve(asked, name, KEYS[name]) for name in names]


def refused(
    asked: Grant, approvals: list[Approval], staff: dict[str, Person] = STAFF, now: int = NOW
) -> str:
    with pytest.raises(GrantRefused) as caught:
        grants.check(asked, approvals, staff, now)
    return str(caught.value)


@pytest.mark.parametrize(
    ("basis", "requester", "approvers"),
    [
        ("user_report", "mara", ["sven"]),
        ("user_report", "sven", ["lena"]),
        ("legal_request", "lena", ["luis", "sven"]),
        ("emergency", "sven", ["saida"]),
        ("preservation", "lena", ["luis", "sven"]),
    ],
)
def test_each_basis_has_its_path(basis: Basis, requester: str, approvers: list[str]) -> None:
    asked = grant(basis, requester)
    found = grants.check(asked, approved(asked, *approvers), STAFF, NOW)
    assert [person.name for person in found] == approvers
    assert "needs the approval" in refused(asked, approved(asked, *approvers[1:]))


def test_only_the_roles_of_a_basis_ask_and_only_two_roles_approve() -> None:
    for basis in BASES:
        for name, person in STAFF.items():
            asked = grant(basis, name)
            if person.role in RULES[basis].requesters:
                assert grants.check_request(asked, STAFF, NOW) == person
            else:
                assert "may not ask" in refused(asked, [])
    asked = grant()
    for name, person in STAFF.items():
        if person.role not in ("senior", "legal"):
            assert "approves nothing" in refused(asked, approved(asked, name))
    assert set(ROLES) == {person.role for person in STAFF.values()}


def test_nobody_approves_his_own_request_under_any_name() -> None:
    asked = grant()
    assert "person who asked" in refused(asked, approved(asked, "lena", "sven"))
    twin = Person(name="lena2", subject="idp|lena", role="senior", key=KEYS["otto"].public)
    approvals = [*approved(asked, "sven"), grants.approve(asked, "lena2", KEYS["otto"])]
    assert "person who asked" in refused(asked, approvals, STAFF | {"lena2": twin})


def test_one_person_with_two_accounts_approves_once() -> None:
    asked = grant()
    twin = Person(name="sven2", subject="idp|sven", role="legal", key=KEYS["otto"].public)
    approvals = [*approved(asked, "sven"), grants.approve(asked, "sven2", KEYS["otto"])]
    assert "2 different people" in refused(asked, approvals, STAFF | {"sven2": twin})
    assert "2 different people" in refused(asked, approved(asked, "sven", "sven"))


@pytest.mark.parametrize(
    "changed",
    [
        {"case": bytes(16)},
        {"basis": "preservation"},
        {"conversation": bytes(16)},
        {"first": 2},
        {"last": 21},
        {"expires": NOW + 60_001},
        {"requester": "luis"},
        {"reason": "another"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_an_approval_is_for_one_grant_to_the_byte(changed: dict[str, object]) -> None:
    asked = grant()
    approvals = approved(asked, "sven", "saida")
    altered = msgspec.structs.replace(asked, **changed)
    assert altered.id != asked.id
    assert "is not for this grant" in refused(altered, approvals)


def test_one_approval_that_does_not_hold_spoils_the_others() -> None:
    asked = grant("user_report", "mara")
    assert grants.check(asked, approved(asked, "sven"), STAFF, NOW)
    assert "not for this grant" in refused(
        asked, [*approved(asked, "sven"), Approval("saida", bytes(64))]
    )
    assert "not of the staff" in refused(asked, [Approval("nobody", bytes(64))])
    assert "at most" in refused(asked, approved(asked, "sven") * 9)


def test_a_grant_ends_on_the_millisecond_and_is_never_for_long() -> None:
    asked = grant()
    approvals = approved(asked, "sven", "saida")
    assert grants.check(asked, approvals, STAFF, asked.expires - 1)
    assert "has expired" in refused(asked, approvals, now=asked.expires)
    hour = grant(expires=NOW + 3_600_000)
    assert grants.check(hour, approved(hour, "sven", "saida"), STAFF, NOW)
    longer = grant(expires=NOW + 3_600_001)
    assert "60 minutes" in refused(longer, approved(longer, "sven", "saida"))


@pytest.mark.parametrize(("first", "last"), [(2, 1), (1, 501), (7, 507)])
def test_a_scope_has_an_end(first: int, last: int) -> None:
    asked = grant(first=first, last=last)
    assert "1 to 500" in refused(asked, approved(asked, "sven", "saida"))
    for fits in (grant(first=7, last=506), grant(first=7, last=7)):
        assert grants.check(fits, approved(fits, "sven", "saida"), STAFF, NOW)


def test_a_grant_has_no_more_approvals_than_the_limit() -> None:
    asked = grant()
    most = approved(asked, "sven", "saida") * (grants.APPROVALS_LIMIT // 2)
    assert len(grants.check(asked, most, STAFF, NOW)) == grants.APPROVALS_LIMIT
    assert "at most 8" in refused(asked, [*most, most[0]])


def test_who_left_the_staff_neither_asks_nor_approves() -> None:
    asked = grant()
    approvals = approved(asked, "sven", "saida")
    for name in ("lena", "saida"):
        staff = {each: person for each, person in STAFF.items() if each != name}
        assert "not of the staff" in refused(asked, approvals, staff)


def test_a_request_names_its_account_also_where_two_have_one_key() -> None:
    staff = STAFF | {"otto": msgspec.structs.replace(STAFF["otto"], key=KEYS["mara"].public)}
    request = grants.sign_request(KEYS["mara"], PLACE, b"body", "mara", NOW, CASE)
    assert grants.check_signed(request, PLACE, b"body", staff, NOW).name == "mara"
    other = msgspec.structs.replace(request, name="otto")
    with pytest.raises(GrantRefused, match="not signed"):
        grants.check_signed(other, PLACE, b"body", staff, NOW)


def test_a_request_is_from_one_person_to_one_place_now() -> None:
    request = grants.sign_request(KEYS["mara"], PLACE, b"body", "mara", NOW, CASE)
    assert grants.check_signed(request, PLACE, b"body", STAFF, NOW).name == "mara"
    later = NOW + grants.REQUEST_SECONDS * 1000
    assert grants.check_signed(request, PLACE, b"body", STAFF, later)
    wrong = [
        (request, "/vault/v1/report", b"body", NOW),
        (request, PLACE, b"Body", NOW),
        (request, PLACE, b"body", later + 1),
        (request, PLACE, b"body", NOW - grants.REQUEST_SECONDS * 1000 - 1),
        (msgspec.structs.replace(request, name="sven"), PLACE, b"body", NOW),
        (msgspec.structs.replace(request, name="nobody"), PLACE, b"body", NOW),
        (msgspec.structs.replace(request, time=NOW + 1), PLACE, b"body", NOW),
        (msgspec.structs.replace(request, nonce=bytes(16)), PLACE, b"body", NOW),
        (msgspec.structs.replace(request, signature=bytes(64)), PLACE, b"body", NOW),
    ]
    for each, place, body, now in wrong:
        with pytest.raises(GrantRefused):
            grants.check_signed(each, place, body, STAFF, now)


@given(
    st.tuples(st.binary(min_size=16, max_size=16), st.integers(1, 2**53 - 1), st.text(min_size=1)),
    st.tuples(st.binary(min_size=16, max_size=16), st.integers(1, 2**53 - 1), st.text(min_size=1)),
)
def test_two_grants_have_one_encoding_only_if_they_are_one(
    one: tuple[bytes, int, str], other: tuple[bytes, int, str]
) -> None:
    first, second = (
        grant(conversation=each[0], first=each[1], last=each[1], reason=each[2])
        for each in (one, other)
    )
    assert (first.encode() == second.encode()) == (first == second)
