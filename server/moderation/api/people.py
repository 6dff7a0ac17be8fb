"""Routes about the staff: logging in, joining, and who is of it.

======  =========================  ====================================================
POST    /sessions                  log in: name, password and code, or an ID token
POST    /sessions/renew            another token for this session
GET     /sessions/current          who one is
DELETE  /sessions/current          log out
POST    /join                      come in by an invitation; signed with the key one brings
GET     /staff                     everybody who is or was of the staff
POST    /staff                     invite somebody
GET     /staff/NAME                one of them
POST    /staff/NAME/role           another role
POST    /staff/NAME/reset          invite him anew: lost password, key or second factor
POST    /staff/NAME/remove         out
======  =========================  ====================================================
"""

from __future__ import annotations

import base64
from typing import Annotated

import msgspec
from fastapi import APIRouter, Header, Path, Request
from starlette.responses import JSONResponse, Response

from crypto_modes import grants
from crypto_modes.errors import BadArgument, Unauthorized
from crypto_modes.grants import Person
from server.moderation.api import described
from server.moderation.api.guard import Change, Guarded, Look, Make, Office, bearer
from server.moderation.api.shapes import (
    NAME_PATTERN,
    Inviting,
    Joining,
    Login,
    NewRole,
    shown,
)
from server.moderation.roster import Member
from server.moderation.sessions import Session
from server.moderation.staff import Proof

router = APIRouter(route_class=Guarded, tags=["staff"])
Called = Annotated[str, Path(pattern=NAME_PATTERN)]


class Colleague(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who is or was of the staff. ``key`` is empty until he has joined, ``since`` when his
    state began."""

    version: int
    state: str
    name: str
    subject: str
    role: str
    key: bytes
    since: int


class Invited(msgspec.Struct, frozen=True, kw_only=True):
    """``invite`` is told to him and nobody else; it works once, until ``expires``."""

    member: Colleague
    invite: str
    expires: int


class Joined(msgspec.Struct, frozen=True, kw_only=True):
    """``authenticator`` is an ``otpauth://`` address, shown this once; empty without a password."""

    member: Colleague
    authenticator: str


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """A session; ``token`` goes into the header Authorization, until ``expires``."""

    token: str
    expires: int
    person: Person


class Staffing(msgspec.Struct, frozen=True, kw_only=True):
    """Everybody."""

    items: tuple[Colleague, ...]


SHOWN = (Colleague, Invited, Joined, Opened, Person, Staffing)


@router.post("/sessions", **described.one(Opened, 201))
async def log_in(request: Request, body: Login) -> Response:
    """Log in. An unknown name, a wrong password and a wrong or used code get the same answer."""
    office: Office = request.app.state.office
    if body.id_token:
        return _opened(*await office.staff.login_with(body.id_token))
    if body.name is None:
        raise BadArgument("log in with name, password and code, or with an id_token")
    return _opened(*await office.staff.login(body.name, body.password, body.code))


@router.post("/sessions/renew", **described.one(Opened, 201))
async def renew(request: Request, step: Look) -> Response:
    """Another token; the one it was asked with is worth nothing then."""
    return _opened(*step.office.sessions.renew(bearer(request)))


@router.get("/sessions/current", **described.one(Person))
async def who_am_i(step: Look) -> Response:
    """Who one is logged in as."""
    return JSONResponse(shown(step.who))


@router.delete("/sessions/current", status_code=204)
async def log_out(request: Request, step: Look) -> Response:
    """Log out."""
    step.office.sessions.end(bearer(request))
    return Response(status_code=204)


@router.post("/join", **described.one(Joined, 201))
async def join(
    request: Request,
    body: Joining,
    signed: Annotated[
        str,
        Header(
            alias="Louver-Request",
            max_length=1024,
            description="A grants.Request in JSON, base64url: the body signed with the key.",
        ),
    ],
) -> Response:
    """Bring key and password for an invitation."""
    office: Office = request.app.state.office
    proof = Proof(_request(signed), request.url.path, await request.body())
    member, address = await office.staff.join(body.invite, body.key, body.password, proof)
    joined = Joined(member=colleague(member), authenticator=address)
    return JSONResponse(shown(joined), 201)


@router.get("/staff", **described.one(Staffing))
async def list_staff(step: Look) -> Response:
    """Everybody, by name."""
    members = step.office.staff.page(step.who)
    return JSONResponse(shown(Staffing(items=tuple(map(colleague, members)))))


@router.post("/staff", **described.one(Invited, 201))
async def invite(step: Make, body: Inviting) -> Response:
    """Invite somebody."""
    member, invite = await step.office.staff.invite(step.who, body.name, body.subject, body.role)
    return invited(member, invite, 201)


@router.get("/staff/{name}", **described.one(Colleague))
async def show_member(step: Look, name: Called) -> Response:
    """One of them."""
    return _member(step.office.staff.get(step.who, name))


@router.post("/staff/{name}/role", **described.one(Colleague))
async def set_role(step: Change, name: Called, body: NewRole) -> Response:
    """Another role; his sessions end."""
    staff = step.office.staff
    return _member(await staff.set_role(step.who, name, body.role, step.version))


@router.post("/staff/{name}/reset", **described.one(Invited))
async def reset_member(step: Change, name: Called) -> Response:
    """Invite him anew; until he has joined he is out."""
    return invited(*await step.office.staff.reset(step.who, name, step.version))


@router.post("/staff/{name}/remove", **described.one(Colleague))
async def remove_member(step: Change, name: Called) -> Response:
    """Out, from his next request on."""
    return _member(await step.office.staff.remove(step.who, name, step.version))


def invited(member: Member, invite: str, status: int = 200) -> Response:
    """The answer that has an invitation in it."""
    told = Invited(member=colleague(member), invite=invite, expires=member.invited)
    return JSONResponse(shown(told), status)


def colleague(member: Member) -> Colleague:
    """Without what nobody else may see."""
    fields = msgspec.structs.asdict(member)
    return Colleague(**{name: fields[name] for name in Colleague.__struct_fields__})


def _opened(token: str, session: Session) -> Response:
    opened = Opened(token=token, expires=session.expires, person=session.person)
    return JSONResponse(shown(opened), 201)


def _member(member: Member) -> Response:
    return JSONResponse(shown(colleague(member)), headers={"ETag": f'"{member.version}"'})


def _request(text: str) -> grants.Request:
    try:
        padded = text + "=" * (-len(text) % 4)
        return msgspec.json.decode(base64.urlsafe_b64decode(padded), type=grants.Request)
    except (ValueError, msgspec.MsgspecError, RecursionError):
        raise Unauthorized("the header Louver-Request is no signed request") from None
