"""The moderation API: who may call what, versions, requests sent twice, pages, problems."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from crypto_modes import grants
from crypto_modes.errors import StoreUnavailable
from crypto_modes.grants import ROLES
from crypto_modes.reports import CATEGORIES
from server.moderation.api import routes
from server.moderation.api.roles import ALLOWED, OPEN
from server.moderation.api.shapes import shown
from server.moderation.records import Asked
from tests.moderation_office import OfficeRig, office, stored
from tests.moderation_rig import ALICE, BOB, DAY, KEYS, MINUTE, NOW, STAFF, TALK, sealed

OF_ROLE = {role: next(name for name, (_, r) in STAFF.items() if r == role) for role in ROLES}
ID = "00" * 16
STATEMENT = {"facts": "said so", "rule": "be kind"}
LEGAL = {
    "basis": "legal_request",
    "reason": "order",
    "authority": "court",
    "reference": "1/26",
    "country": "DE",
    "served": NOW - DAY,
    "due": NOW + DAY,
    "accounts": [BOB.hex()],
}
# A body that each route takes, so that what refuses is never the body.
BODIES: dict[str, object] = {
    "invite": {"name": "nina", "subject": "nina n.", "role": "moderator"},
    "set_role": {"role": "auditor"},
    "assign_report": {"to": "mara"},
    "note_findings": {"account": BOB.hex(), "category": CATEGORIES[0], "evidence": "verified"},
    "act_on_report": {"kind": "warn", "account": BOB.hex(), "statement": STATEMENT},
    "dismiss_report": {"statement": STATEMENT},
    "settle_report": {"action": ID},
    "open_case": LEGAL,
    "assign_case": {"to": "lena"},
    "close_case": {"outcome": "done"},
    "act_on_case": {"kind": "warn", "account": BOB.hex(), "statement": STATEMENT},
    "audit_case": {"note": "all good"},
    "ask_grant": {
        "case": ID,
        "basis": "legal_request",
        "conversation": TALK.hex(),
        "first": 1,
        "last": 2,
        "expires": NOW + MINUTE,
        "reason": "why",
    },
    "approve_grant": {"signature": "00" * 64},
    "decline_grant": {"reason": "no"},
    "ask_hold": {"case": ID, "target": "account", "place": BOB.hex(), "reason": "keep"},
    "ask_lift": {"reason": "over"},
    "approve_hold": {"signature": "00" * 64},
    "decline_hold": {"reason": "no"},
    "decide_appeal": {"outcome": "upheld", "reason": "stays"},
}


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[OfficeRig]:
    async with office(tmp_path) as opened:
        yield opened


def guarded() -> dict[str, tuple[str, str]]:
    """Method and a path of each guarded route, about things that do not exist."""
    found = {}
    for route in routes():
        if route.name not in OPEN:
            path = route.path.format(number=1, name="adam", **dict.fromkeys(_IDS, ID))
            path += QUERIES.get(route.name, "")
            (method,) = route.methods
            found[route.name] = (method, path)
    return found


_IDS = ("account", "case", "grant", "hold", "action")
QUERIES = {"find_account": "?name=bob", "show_transparency": "?first=0&end=1"}


# --- who may call what ---


@pytest.mark.asyncio
async def test_every_route_is_in_the_table_and_behind_a_session(api: OfficeRig) -> None:
    found = guarded()
    assert set(found) == set(ALLOWED)
    for name, (method, path) in found.items():
        for token in ("", "lvs_" + "x" * 43):
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            answer = await api("", method, path, BODIES.get(name), **headers)
            assert (name, answer.status) == (name, 401)
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.asyncio
@pytest.mark.parametrize("role", ROLES)
async def test_each_role_reaches_its_routes_and_no_other(api: OfficeRig, role: str) -> None:
    for name, (method, path) in guarded().items():
        who = OF_ROLE[role]
        answer = await api(who, method, path, BODIES.get(name), match="*")
        refused = answer.status == 403 and f"a {role} may not" in answer.json["detail"]
        if role not in ALLOWED[name]:
            assert refused, (name, answer)
        else:
            # A use case may still say no to the role, by the basis; the table says yes.
            assert answer.status not in (401, 422, 500), (name, answer)
        api.log_in(who)  # some of these end a session


@pytest.mark.asyncio
async def test_a_refused_step_is_entered_and_a_refused_look_is_not(api: OfficeRig) -> None:
    before = len(api.rig.log.entries)
    assert (await api("otto", "GET", "/reports")).status == 403
    assert len(api.rig.log.entries) == before
    assert (await api("otto", "POST", "/cases", LEGAL)).status == 403
    entry = api.rig.log.entries[-1]
    assert (entry.kind, entry.actor) == ("refused", "otto")
    assert entry.detail["role"] == "operator"


@pytest.mark.asyncio
async def test_the_transparency_report_is_what_the_log_counts(api: OfficeRig) -> None:
    await queued(api, 3)
    span = f"?first={NOW}&end={NOW + 1}"
    for who in ("anna", "adam"):
        found = (await api(who, "GET", f"/transparency{span}")).json
        assert {"table": "reports", "name": "received", "value": 3} in found["rows"]
        assert found["size"] == len(api.rig.log.entries)
    assert (await api("mara", "GET", f"/transparency{span}")).status == 403
    assert (await api("anna", "GET", f"/transparency?first={NOW}&end={NOW}")).status == 400
    api.rig.log.down = True
    answer = await api("anna", "GET", f"/transparency{span}")
    assert (answer.status, answer.json["status"]) == (503, 503)


# --- the story of a report, by HTTP alone ---


async def queued(api: OfficeRig, count: int = 1) -> None:
    api.rig.relay.incoming += [sealed(number) for number in range(1, count + 1)]
    await api.rig.moderation.queue.sync()


async def step(
    api: OfficeRig, who: str, path: str, body: object, seen: Any, want: int = 200
) -> Any:
    answer = await api(who, "POST", path, body, match=seen.etag)
    assert answer.status == want, answer
    return answer


@pytest.mark.asyncio
async def test_a_report_goes_from_the_queue_to_an_appeal_that_is_decided(api: OfficeRig) -> None:
    await queued(api)
    seen = await api("mara", "GET", "/reports/1")
    assert (seen.status, seen.json["state"], seen.json["reporter"]) == (200, "open", ALICE.hex())
    seen = await step(api, "mara", "/reports/1/assign", {"to": "mara"}, seen)
    seen = await step(api, "mara", "/reports/1/findings", BODIES["note_findings"], seen)
    assert seen.json["account"] == BOB.hex()
    acted = await step(api, "mara", "/reports/1/action", BODIES["act_on_report"], seen, 201)
    assert (acted.json["kind"], acted.json["state"]) == ("warn", "in_force")
    action = acted.json["id"]
    assert (await api("mara", "GET", "/reports/1")).json["state"] == "actioned"
    found = await api("sven", "GET", f"/accounts/{BOB.hex()}")
    assert (found.json["name"], found.json["standing"]["reporters"]) == ("bob", 1)
    assert (await api("sven", "GET", "/accounts?name=bob")).json == found.json
    assert (await api("sven", "GET", "/accounts?name=nobody")).status == 404

    await api.rig.moderation.appeals.file(BOB, bytes.fromhex(action), "it was a joke")
    seen = await api("sven", "GET", f"/appeals/{action}")
    body = {"outcome": "reversed", "reason": "it was"}
    refused = await api("mara", "POST", f"/appeals/{action}/decision", body, match=seen.etag)
    assert refused.status == 403
    await step(api, "sven", f"/appeals/{action}/decision", body, seen)
    assert (await api("sven", "GET", f"/actions/{action}")).json["state"] == "reversed"
    assert (await api("sven", "GET", "/appeals?state=open")).json["items"] == []


@pytest.mark.asyncio
async def test_a_grant_is_asked_for_signed_by_two_and_shown_with_their_signatures(
    api: OfficeRig,
) -> None:
    case = await api("lena", "POST", "/cases", LEGAL)
    path = f"/cases/{case.json['id']}"
    await step(api, "lena", f"{path}/assign", {"to": "lena"}, case)
    asked = await api("lena", "POST", "/grants", {**_asking(), "case": case.json["id"]})
    assert (asked.status, asked.json["state"]) == (201, "pending")
    kept = await api.rig.store.get(Asked, bytes.fromhex(asked.json["id"]))
    assert kept is not None
    own = grants.approve(kept.grant, "lena", KEYS["lena"]).signature.hex()
    answer = await api(
        "lena", "POST", f"/grants/{kept.id.hex()}/approve", {"signature": own}, match="*"
    )
    assert answer.status == 403
    for who in ("sven", "sara"):
        signature = grants.approve(kept.grant, who, KEYS[who]).signature.hex()
        asked = await step(
            api, who, f"/grants/{kept.id.hex()}/approve", {"signature": signature}, asked
        )
    assert asked.json["state"] == "granted"
    assert [each["approver"] for each in asked.json["approvals"]] == ["sven", "sara"]
    audit = await api("anna", "POST", f"{path}/audits", {"note": "all as it should be"})
    assert audit.status == 201
    listed = (await api("anna", "GET", f"{path}/audits")).json
    assert (listed["items"], listed["next"]) == ([audit.json | {"number": 1}], None)


def _asking() -> dict[str, object]:
    asking = BODIES["ask_grant"]
    assert isinstance(asking, dict)
    return asking


# --- versions ---


@pytest.mark.asyncio
async def test_a_step_names_the_version_it_was_decided_on(api: OfficeRig) -> None:
    await queued(api)
    seen = await api("mara", "GET", "/reports/1")
    assert seen.etag == '"1"'
    body = {"to": "mara"}
    assert (await api("mara", "POST", "/reports/1/assign", body)).status == 428
    moved = await api("mara", "POST", "/reports/1/assign", body, match=seen.etag)
    assert (moved.status, moved.etag) == (200, '"2"')
    late = await api("milo", "POST", "/reports/1/assign", {"to": "milo"}, match=seen.etag)
    assert (late.status, late.json["title"]) == (412, "Precondition Failed")
    assert (await api("mara", "GET", "/reports/1")).json["assignee"] == "mara"
    for odd in ("2", 'W/"2"', '"-1"', '"0"', '"1", "2"', '"x"'):
        assert (await api("milo", "POST", "/reports/1/assign", body, match=odd)).status == 412
    taken = await api("milo", "POST", "/reports/1/assign", {"to": "milo"}, match="*")
    assert (taken.status, taken.json["assignee"]) == (200, "milo")


# --- sent twice ---


@pytest.mark.asyncio
async def test_a_request_that_is_sent_twice_is_carried_out_once(api: OfficeRig) -> None:
    first = await api("lena", "POST", "/cases", LEGAL, once="k1")
    again = await api("lena", "POST", "/cases", LEGAL, once="k1")
    assert (again.status, again.json, again.etag) == (201, first.json, first.etag)
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert len((await api("lena", "GET", "/cases")).json["items"]) == 1
    other = await api("lena", "POST", "/cases", {**LEGAL, "reason": "other"}, once="k1")
    assert other.status == 422
    # Another person's key is another key.
    theirs = await api("luca", "POST", "/cases", LEGAL, once="k1")
    assert theirs.json["id"] != first.json["id"]


@pytest.mark.asyncio
async def test_what_failed_may_be_tried_again_with_the_same_key(api: OfficeRig) -> None:
    api.rig.log.down = True
    down = await api("lena", "POST", "/cases", LEGAL, once="k1")
    assert (down.status, down.json["detail"]) == (503, "the log is down")
    api.rig.log.down = False
    assert (await api("lena", "POST", "/cases", LEGAL, once="k1")).status == 201
    wrong = {**LEGAL, "served": 0}
    assert (await api("lena", "POST", "/cases", wrong, once="k2")).status == 400
    assert (await api("lena", "POST", "/cases", LEGAL, once="k2")).status == 201
    for _ in range(2):  # what is no request at all was not carried out either
        assert (await api("lena", "POST", "/cases", {"basis": 7}, once="k3")).status == 422
    assert (await api("lena", "POST", "/cases", LEGAL, once="k3")).status == 201


@pytest.mark.asyncio
async def test_a_request_that_was_cut_off_is_not_carried_out_again(
    api: OfficeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = api.rig.store.put

    async def cut(*records: object) -> None:
        raise RuntimeError("the power went") if len(records) == 1 else StoreUnavailable("gone")

    async def first_passes(*records: Any) -> None:
        await put(*records)
        monkeypatch.setattr(api.rig.store, "put", cut)

    monkeypatch.setattr(api.rig.store, "put", first_passes)
    broken = await api("lena", "POST", "/cases", LEGAL, once="k1")
    assert broken.status == 500
    assert "power" not in broken.json["detail"]
    monkeypatch.undo()
    again = await api("lena", "POST", "/cases", LEGAL, once="k1")
    assert (again.status, "cut off" in again.json["detail"]) == (409, True)
    api.rig.now += DAY
    await api.once.forget()
    api.log_in("lena")
    assert (
        await api("lena", "POST", "/cases", LEGAL | {"due": api.rig.now}, once="k1")
    ).status == 201


@pytest.mark.asyncio
async def test_answers_with_secrets_are_not_kept(api: OfficeRig, tmp_path: Path) -> None:
    first = await api("adam", "POST", "/staff", BODIES["invite"], once="k1")
    again = await api("adam", "POST", "/staff", BODIES["invite"], once="k1")
    assert (first.status, again.status) == (201, 409)
    kept = stored(tmp_path)
    assert first.json["invite"].encode() not in kept


# --- pages ---


@pytest.mark.asyncio
async def test_pages_follow_each_other_without_gap_or_overlap(api: OfficeRig) -> None:
    await queued(api, 7)
    after, seen, sizes = 0, [], []
    while after is not None:
        page = (await api("mara", "GET", f"/reports?after={after}&limit=3")).json
        seen += [each["number"] for each in page["items"]]
        sizes.append(len(page["items"]))
        after = page["next"]
    assert (seen, sizes) == (list(range(1, 8)), [3, 3, 1])
    await step(
        api, "mara", "/reports/4/assign", {"to": "milo"}, await api("mara", "GET", "/reports/4")
    )
    mine = (await api("mara", "GET", "/reports?assignee=milo")).json["items"]
    assert [each["number"] for each in mine] == [4]
    assert (await api("mara", "GET", "/reports?limit=201")).status == 422
    assert (await api("mara", "GET", "/reports?state=lost")).status == 422


# --- problems ---


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/cases", {**LEGAL, "extra": 1}, 422, "body.extra"),
        ("/cases", {**LEGAL, "served": "1"}, 422, "body.served"),
        ("/cases", {**LEGAL, "accounts": ["ABCD"]}, 422, "32 lower-case hexadecimal"),
        ("/cases", {**LEGAL, "accounts": [ID] * 21}, 422, "body.accounts"),
        ("/cases", {**LEGAL, "served": NOW + DAY}, 400, "served in the future"),
        ("/cases", {**LEGAL, "reason": "x" * 40_000}, 413, "32 KiB"),
        ("/cases/xyz/reopen", None, 422, "path.case"),
        (f"/cases/{ID}/reopen", None, 404, "no such case"),
        ("/nothing", None, 404, "Not Found"),
        ("/sessions/current", None, 405, "Method Not Allowed"),
    ],
)
async def test_every_error_is_a_problem_that_says_what_to_do(
    api: OfficeRig, path: str, body: object, status: int, words: str
) -> None:
    answer = await api("lena", "POST", path, body, match="*")
    assert (answer.status, answer.json["status"]) == (status, status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert words in answer.json["detail"]


@pytest.mark.asyncio
async def test_what_was_sent_is_not_repeated(api: OfficeRig) -> None:
    body = {"name": "adam", "password": ["hunter2"], "code": "123456"}
    answer = await api("", "POST", "/sessions", body)
    assert answer.status == 422
    assert "hunter2" not in str(answer.json)


@pytest.mark.asyncio
async def test_nothing_is_to_be_kept_by_anything_between(api: OfficeRig) -> None:
    assert (await api("mara", "GET", "/reports")).headers["cache-control"] == "no-store"


def test_bytes_are_shown_in_hexadecimal_wherever_they_are() -> None:
    nested = {"id": b"\x01", "list": [b"\x02", {"deep": b"\x03"}], "text": "t", "none": None}
    assert shown(nested) == {
        "id": "01",
        "list": ["02", {"deep": "03"}],
        "text": "t",
        "none": None,
    }
