"""The staff: joining, second factors, sessions that end at once, and who may change whom."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pyotp
import pytest
import pytest_asyncio

from crypto_modes.errors import LogUnavailable, TokenExpired, Unauthorized
from crypto_modes.keys import SigningKey
from server.accounts import Passwords
from server.moderation import second_factor, sqlite
from server.moderation.records import Case
from server.moderation.roster import Roster
from server.moderation.sessions import LIFE, LONGEST, OF_ONE_PERSON
from server.moderation.staff import INVITE_LIFE, LOGIN_BURST, Hasher
from tests.moderation_office import PASSWORD, PEPPER, OfficeRig, office, stored
from tests.moderation_rig import MINUTE, PEOPLE, rig

NINA = {"name": "nina", "subject": "nina n.", "role": "moderator"}
KEY = SigningKey(b"n" * 32)
_: type[Hasher] = Passwords


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[OfficeRig]:
    async with office(tmp_path) as opened:
        yield opened


# --- one-time codes ---

# RFC 6238, Appendix B, SHA-1: seconds and 8 digits, of which the last 6 are the code of 6.
RFC_SECRET = b"12345678901234567890"
RFC_6238 = [
    (59, "94287082"),
    (1111111109, "07081804"),
    (1111111111, "14050471"),
    (1234567890, "89005924"),
    (2000000000, "69279037"),
    (20000000000, "65353130"),
]


@pytest.mark.parametrize(("seconds", "digits"), RFC_6238)
def test_codes_are_those_of_the_rfc(seconds: int, digits: str) -> None:
    assert second_factor.code_at(RFC_SECRET, seconds // 30) == digits[2:]
    assert second_factor.step_of(RFC_SECRET, digits[2:], seconds * 1000, 0) == seconds // 30


def test_a_code_holds_for_its_step_and_one_on_each_side() -> None:
    now = 2_000_000_000
    code = second_factor.code_at(RFC_SECRET, now // 30)
    steps = {
        late: second_factor.step_of(RFC_SECRET, code, (now + 30 * late) * 1000, 0)
        for late in range(-3, 4)
    }
    assert [late for late, step in steps.items() if step] == [-1, 0, 1]


@pytest.mark.parametrize("code", ["", "12345", "0000000", "abcdef", "２７９０３７", "\x00" * 6])
def test_what_is_no_code_is_none(code: str) -> None:
    assert second_factor.step_of(RFC_SECRET, code, 2_000_000_000_000, 0) == 0


def test_secrets_differ_by_person_and_generation_and_need_the_pepper() -> None:
    of = second_factor.secret_of
    made = {
        of(PEPPER, b"a" * 16, 1),
        of(PEPPER, b"a" * 16, 2),
        of(PEPPER, b"b" * 16, 1),
        of(bytes(32), b"a" * 16, 1),
    }
    assert len(made) == 4
    assert {len(secret) for secret in made} == {20}


def test_an_authenticator_app_reads_the_same_code_from_the_address() -> None:
    address = second_factor.enrolment(RFC_SECRET, "nina", "Louver")
    app = pyotp.parse_uri(address)
    assert (app.name, app.issuer) == ("nina", "Louver")
    assert isinstance(app, pyotp.TOTP)
    assert app.at(59) == "287082"


# --- joining ---


async def joined(api: OfficeRig, role: str = "moderator") -> str:
    """Nina, who has joined; her authenticator's address."""
    asked = await api("adam", "POST", "/staff", {**NINA, "role": role})
    assert asked.status == 201
    answer = await api.join("nina", asked.json["invite"], KEY)
    assert answer.status == 201, answer
    return str(answer.json["authenticator"])


@pytest.mark.asyncio
async def test_somebody_is_invited_joins_and_logs_in(api: OfficeRig) -> None:
    app = pyotp.parse_uri(await joined(api))
    assert isinstance(app, pyotp.TOTP)
    body = {"name": "nina", "password": PASSWORD, "code": app.at(api.rig.now // 1000)}
    opened = await api("", "POST", "/sessions", body)
    assert opened.status == 201
    assert opened.json["token"].startswith("lvs_")
    api.tokens["nina"] = opened.json["token"]
    who = await api("nina", "GET", "/sessions/current")
    assert who.json == {**NINA, "key": KEY.public.hex()}
    assert "nina" in api.rig.desk.staff()
    events = [
        (each.actor, each.detail["event"]) for each in api.rig.log.entries if each.kind == "staff"
    ]
    assert events == [("adam", "add"), ("nina", "join")]


@pytest.mark.asyncio
async def test_an_invitation_works_once_for_a_day_and_for_one_name(api: OfficeRig) -> None:
    invite = (await api("adam", "POST", "/staff", NINA)).json["invite"]
    assert (await api.join("nina", "lvi_" + "x" * 43, KEY)).status == 401
    assert (await api.join("adam", invite, KEY)).status == 401
    assert (await api.join("nobody", invite, KEY)).status == 401
    assert (await api.join("nina", invite, KEY)).status == 201
    assert (await api.join("nina", invite, KEY)).status == 401
    assert api.hasher.hashed == 1  # a flood of strangers keeps nobody from logging in
    later = (await api("adam", "POST", "/staff", {**NINA, "name": "nino"})).json
    api.rig.now = later["expires"]
    assert (await api.join("nino", later["invite"], KEY)).status == 401
    assert later["expires"] == api.roster.get("nino").since + INVITE_LIFE


@pytest.mark.asyncio
async def test_who_joins_shows_that_the_key_is_his(api: OfficeRig) -> None:
    invite = (await api("adam", "POST", "/staff", NINA)).json["invite"]
    body = {"invite": invite, "key": KEY.public.hex(), "password": PASSWORD}
    other = api.proof("nina", SigningKey(b"o" * 32), body)
    refused = await api("", "POST", "/join", body, **{"Louver-Request": other})
    assert (refused.status, "not signed" in refused.json["detail"]) == (403, True)
    garbled = await api("", "POST", "/join", body, **{"Louver-Request": "!!!"})
    assert garbled.status == 401
    assert (await api.join("nina", invite, KEY)).status == 201


@pytest.mark.asyncio
async def test_no_stored_byte_lets_anybody_in(api: OfficeRig, tmp_path: Path) -> None:
    asked = await api("adam", "POST", "/staff", NINA)
    await api.join("nina", asked.json["invite"], KEY)
    member = api.roster.get("nina")
    secret = second_factor.secret_of(PEPPER, member.id, member.generation)
    kept = stored(tmp_path)
    assert member.id in kept
    for kept_nowhere in (asked.json["invite"].encode(), secret, api.tokens["adam"].encode()):
        assert kept_nowhere not in kept


@pytest.mark.asyncio
async def test_a_file_from_before_there_was_a_staff_is_upgraded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tmp_path / "schema"
    before.mkdir()
    (before / "001.sql").write_bytes((sqlite.SCHEMA / "001.sql").read_bytes())
    with monkeypatch.context() as patched:
        patched.setattr(sqlite, "SCHEMA", before)
        async with rig(tmp_path) as old:
            case = await old.opened()
    async with office(tmp_path) as api:
        assert await api.rig.store.get(Case, case.id) == case
        assert api.roster.people() == PEOPLE


# --- logging in ---


async def log_in(api: OfficeRig, name: str, password: str, code: str) -> tuple[int, str]:
    body = {"name": name, "password": password, "code": code}
    answer = await api("", "POST", "/sessions", body)
    return answer.status, answer.json.get("detail", "")


@pytest.mark.asyncio
async def test_unknown_and_wrong_get_the_same_answer_and_the_same_work(api: OfficeRig) -> None:
    answers = [
        await log_in(api, "nobody", PASSWORD, "000000"),
        await log_in(api, "mara", "wrong", api.code("mara")),
        await log_in(api, "mara", PASSWORD, "000000"),
    ]
    assert len(set(answers)) == 1
    assert answers[0][0] == 401
    assert len(api.hasher.verified) == 3
    assert (await log_in(api, "mara", PASSWORD, api.code("mara")))[0] == 201


@pytest.mark.asyncio
async def test_a_code_works_once_and_none_from_before_it(api: OfficeRig) -> None:
    now, before, after = (api.code("mara", later) for later in (0, -1, 1))
    assert (await log_in(api, "mara", PASSWORD, now))[0] == 201
    assert (await log_in(api, "mara", PASSWORD, now))[0] == 401
    assert (await log_in(api, "mara", PASSWORD, before))[0] == 401
    assert (await log_in(api, "mara", PASSWORD, after))[0] == 201


@pytest.mark.asyncio
async def test_a_used_code_stays_used_after_a_restart(api: OfficeRig) -> None:
    code = api.code("mara")
    assert (await log_in(api, "mara", PASSWORD, code))[0] == 201
    again = Roster(api.rig.store)
    await again.load()
    assert again.people() == api.roster.people() == PEOPLE
    assert again.get("mara").used == api.rig.now // 30_000


@pytest.mark.asyncio
async def test_guessing_is_slow_for_each_name(api: OfficeRig) -> None:
    for _ in range(LOGIN_BURST):
        assert (await log_in(api, "mara", PASSWORD, "000000"))[0] == 401
    right = api.code("mara")
    assert (await log_in(api, "mara", PASSWORD, right))[0] == 429
    assert len(api.hasher.verified) == LOGIN_BURST
    assert (await log_in(api, "milo", PASSWORD, api.code("milo")))[0] == 201
    api.rig.now += MINUTE
    assert (await log_in(api, "mara", PASSWORD, api.code("mara")))[0] == 201


@pytest.mark.asyncio
async def test_a_provider_vouches_by_subject_and_not_for_two_accounts(api: OfficeRig) -> None:
    async def with_token(token: str) -> tuple[int, str]:
        answer = await api("", "POST", "/sessions", {"id_token": token})
        return answer.status, answer.json.get("detail", "")

    assert (await with_token("good milo m."))[0] == 201
    # Providers call people by what nobody knows by heart, and the admin has to enter that.
    status, said = await with_token("good 00u1x")
    assert (status, "calls you '00u1x'" in said) == (401, True)
    assert (await with_token("bad milo m."))[0] == 401
    # mara m. has two accounts: which one is meant, nobody can know.
    status, said = await with_token("good mara m.")
    assert (status, "several accounts" in said) == (401, True)
    assert (await api("", "POST", "/sessions", {})).status == 400


# --- sessions ---


@pytest.mark.asyncio
async def test_a_session_lasts_a_quarter_of_an_hour_and_is_renewed_for_half_a_day(
    api: OfficeRig,
) -> None:
    began = api.rig.now
    first = api.tokens["mara"]
    api.rig.now += LIFE - 1
    renewed = await api("mara", "POST", "/sessions/renew")
    assert (renewed.status, renewed.json["expires"]) == (201, api.rig.now + LIFE)
    with pytest.raises(Unauthorized):
        api.sessions.find(first)
    while renewed.status == 201:
        api.tokens["mara"], expires = renewed.json["token"], renewed.json["expires"]
        api.rig.now = expires - 1
        renewed = await api("mara", "POST", "/sessions/renew")
        if renewed.status == 201 and renewed.json["expires"] == began + LONGEST:
            break
    api.tokens["mara"] = renewed.json["token"]
    api.rig.now = began + LONGEST
    over = await api("mara", "GET", "/sessions/current")
    assert (over.status, "log in again" in over.json["detail"]) == (401, True)


@pytest.mark.asyncio
async def test_logging_out_ends_this_session_alone(api: OfficeRig) -> None:
    other, _ = api.sessions.begin(PEOPLE["mara"])
    assert (await api("mara", "DELETE", "/sessions/current")).status == 204
    assert (await api("mara", "GET", "/sessions/current")).status == 401
    assert api.sessions.find(other).person == PEOPLE["mara"]


def _open(api: OfficeRig, token: str) -> bool:
    try:
        api.sessions.find(token)
    except (Unauthorized, TokenExpired):
        return False
    return True


@pytest.mark.asyncio
async def test_one_person_has_few_sessions_and_the_oldest_goes(api: OfficeRig) -> None:
    made = [api.sessions.begin(PEOPLE["mara"])[0] for _ in range(OF_ONE_PERSON)]
    assert not _open(api, api.tokens["mara"])
    assert all(_open(api, token) for token in made)


# --- leaving: the very next request, whatever was open ---


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/staff/mara/remove", None),
        ("/staff/mara/reset", None),
        ("/staff/mara/role", {"role": "auditor"}),
    ],
)
async def test_the_next_request_after_a_change_is_refused(
    api: OfficeRig, path: str, body: object
) -> None:
    assert (await api("mara", "GET", "/reports")).status == 200
    assert (await api("adam", "POST", path, body, match="*")).status == 200
    assert (await api("mara", "GET", "/reports")).status == 401
    person = api.rig.desk.staff().get("mara")
    assert (person is None) == (path != "/staff/mara/role")


@pytest.mark.asyncio
async def test_a_step_under_way_is_refused_when_its_person_is_removed(api: OfficeRig) -> None:
    """The use case judges by the roster as it is when its turn comes, not by the session."""
    who = PEOPLE["mara"]
    await api("adam", "POST", "/staff/mara/remove", match="*")
    with pytest.raises(Exception, match="not of the staff"):
        await api.rig.moderation.queue.assign(who, 1, "milo")


@pytest.mark.asyncio
async def test_a_session_from_before_does_not_come_back_with_the_role(api: OfficeRig) -> None:
    for role in ("auditor", "moderator"):
        path = "/staff/mara/role"
        assert (await api("adam", "POST", path, {"role": role}, match="*")).status == 200
    assert api.roster.people()["mara"] == PEOPLE["mara"]
    assert (await api("mara", "GET", "/sessions/current")).status == 401
    assert (await api("milo", "GET", "/sessions/current")).status == 200


@pytest.mark.asyncio
async def test_an_old_session_does_not_come_back_with_the_same_key(api: OfficeRig) -> None:
    await joined(api)
    api.log_in("nina")
    again = await api("adam", "POST", "/staff/nina/reset", match="*")
    assert (await api.join("nina", again.json["invite"], KEY)).status == 201
    assert api.roster.people()["nina"].key == KEY.public
    assert (await api("nina", "GET", "/sessions/current")).status == 401


@pytest.mark.asyncio
async def test_a_reset_makes_the_lost_password_and_app_worthless(api: OfficeRig) -> None:
    old = api.code("mara")
    await api("adam", "POST", "/staff/mara/reset", match="*")
    assert (await log_in(api, "mara", PASSWORD, old))[0] == 401
    assert api.code("mara") != old
    assert (await log_in(api, "mara", PASSWORD, api.code("mara")))[0] == 401


@pytest.mark.asyncio
async def test_nobody_changes_himself_under_any_account_and_names_are_given_once(
    api: OfficeRig,
) -> None:
    own = await api("adam", "POST", "/staff/adam/role", {"role": "senior"}, match="*")
    assert own.status == 403
    assert api.rig.log.entries[-1].kind == "refused"
    await joined(api, "admin")
    api.log_in("nina")
    twin = {"name": "adam2", "subject": "adam a.", "role": "admin"}
    invite = (await api("nina", "POST", "/staff", twin)).json["invite"]
    await api.join("adam2", invite, SigningKey(b"2" * 32))
    api.log_in("adam2")
    assert (
        await api("adam2", "POST", "/staff/adam/role", {"role": "senior"}, match="*")
    ).status == 403
    assert (await api("nina", "POST", "/staff/adam/remove", match="*")).status == 200
    again = await api("nina", "POST", "/staff", {**NINA, "name": "adam"})
    assert (again.status, "not given twice" in again.json["detail"]) == (409, True)
    assert (await api("nina", "POST", "/staff/adam/reset", match="*")).status == 409


@pytest.mark.asyncio
async def test_without_the_log_the_staff_stays_as_it_is(api: OfficeRig) -> None:
    api.rig.log.down = True
    assert (await api("adam", "POST", "/staff/mara/remove", match="*")).status == 503
    assert "mara" in api.roster.people()
    with pytest.raises(LogUnavailable):
        await api.staff.invite(None, "nina", "nina n.", "admin")
    assert api.roster.find("nina") is None


@pytest.mark.asyncio
async def test_the_operators_tool_adds_the_first_admin_and_is_named_in_the_log(
    api: OfficeRig,
) -> None:
    member, invite = await api.staff.invite(None, "nina", "nina n.", "admin")
    assert (member.state, invite.startswith("lvi_")) == ("invited", True)
    assert api.rig.log.entries[-1].actor == "operator"


@pytest.mark.asyncio
async def test_nobody_is_shown_a_password_or_an_invitation(api: OfficeRig) -> None:
    await api("adam", "POST", "/staff", NINA)
    for each in (await api("otto", "GET", "/staff")).json["items"]:
        assert set(each) == {"version", "state", "name", "subject", "role", "key", "since"}
