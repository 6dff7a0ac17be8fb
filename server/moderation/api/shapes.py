"""The shapes of the moderation API: bodies of requests, and records as JSON.

What may live here: pydantic models of what is asked, how a record is shown. What may not: routes.
Ids, keys and signatures are lower-case hexadecimal, times are milliseconds since 1970. What is
shown is described from the very structs that are kept, so that the description cannot lag behind.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from crypto_modes.errors import BadArgument
from crypto_modes.grants import Basis, Role
from crypto_modes.holds import Target
from crypto_modes.reports import Category
from server.moderation.appeals import Outcome
from server.moderation.records import Evidence

T = TypeVar("T")
TEXT = 2_000
NAME_PATTERN = "^[a-z0-9][a-z0-9._-]{0,31}$"
_NEVER = 1 << 53  # JSON's integers are exact up to here
_HEX = re.compile("(?:[0-9a-f]{2})*")


def _reading(size: int) -> BeforeValidator:
    """What makes ``size`` bytes of text."""
    digits = 2 * size

    def read(text: object) -> bytes:
        if not isinstance(text, str) or len(text) != digits or not _HEX.fullmatch(text):
            raise ValueError(f"must be {digits} lower-case hexadecimal digits")
        return bytes.fromhex(text)

    return BeforeValidator(read)


def _written(size: int) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^[0-9a-f]{{{2 * size}}}$"})


Id = Annotated[bytes, _reading(16), _written(16)]
Key = Annotated[bytes, _reading(32), _written(32)]
Signature = Annotated[bytes, _reading(64), _written(64)]
Time = Annotated[int, Field(ge=0, lt=_NEVER)]
Seq = Annotated[int, Field(ge=1, lt=_NEVER)]
Text = Annotated[str, Field(min_length=1, max_length=TEXT)]
Words = Annotated[str, Field(max_length=TEXT)]
Short = Annotated[str, Field(max_length=200)]
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Subject = Annotated[str, Field(min_length=1, max_length=255)]


class Body(BaseModel):
    """What is sent; nothing that is not named here is taken, and no text for a number."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class Login(Body):
    """By password and code, or by an ID token of the identity provider."""

    name: Name | None = None
    password: Annotated[str, Field(max_length=1024)] = ""
    code: Annotated[str, Field(max_length=16)] = ""
    id_token: Annotated[str, Field(max_length=4096)] = ""


class Joining(Body):
    """What somebody brings who was invited; the header ``Louver-Request`` proves the key."""

    invite: Annotated[str, Field(max_length=128)]
    key: Key
    password: Annotated[str, Field(max_length=1024)] = ""


class Inviting(Body):
    """A new account of the staff; ``subject`` is the human behind it."""

    name: Name
    subject: Subject
    role: Role


class NewRole(Body):
    """Another role."""

    role: Role


class Assignment(Body):
    """To whom."""

    to: Name


class FindingsBody(Body):
    """What the vault has shown of a report."""

    account: Id
    category: Category
    evidence: Evidence


class StatementBody(Body):
    """The reasons that the user gets."""

    facts: Text
    rule: Text
    automated: bool = False
    redress: Words = ""


class MeasureBody(Body):
    """What shall be done."""

    kind: Literal["warn", "mute", "suspend", "remove"]
    account: Id
    until: Time = 0
    conversation: Id | None = None
    seqs: Annotated[list[Seq], Field(max_length=20)] = []
    statement: StatementBody


class Dismissal(Body):
    """Why a report leads to nothing."""

    statement: StatementBody


class Settlement(Body):
    """By which action a report is settled, too."""

    action: Id


class OpeningBody(Body):
    """A new case; which fields a basis needs is in docs/moderation.md."""

    basis: Basis
    reason: Text
    report: Time = 0
    authority: Short = ""
    reference: Short = ""
    country: Annotated[str, Field(pattern="^([A-Z]{2})?$")] = ""
    served: Time = 0
    due: Time = 0
    gag: Time = 0
    since: Time = 0
    until: Time = 0
    accounts: Annotated[list[Id], Field(max_length=20)] = []
    conversations: Annotated[list[Id], Field(max_length=20)] = []


class Closing(Body):
    """What came of a case."""

    outcome: Text


class Note(Body):
    """What an auditor found."""

    note: Text


class Asking(Body):
    """A grant that somebody asks for; he is the requester."""

    case: Id
    basis: Basis
    conversation: Id
    first: Seq
    last: Seq
    expires: Time
    reason: Annotated[str, Field(min_length=1, max_length=500)]


class Signed(Body):
    """An approval: the Ed25519 signature of the whole grant or order."""

    signature: Signature


class Reason(Body):
    """Why not."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]


class HoldBody(Body):
    """What shall be kept, and why."""

    case: Id
    target: Target
    place: Id
    reason: Annotated[str, Field(min_length=1, max_length=500)]


class Decision(Body):
    """About an appeal."""

    outcome: Outcome
    reason: Text


def read(body: Body, into: type[T], **more: object) -> T:
    """The struct that a use case wants. Raises ``BadArgument``."""
    given = body.model_dump(exclude_none=True) | more
    try:
        return msgspec.convert(given, into, builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        raise BadArgument(f"this cannot be: {error}") from None


def shown(record: object) -> Any:
    """A record as JSON can say it: bytes in hexadecimal."""
    return _hex(msgspec.to_builtins(record, builtin_types=(bytes,)))


def _hex(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {name: _hex(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_hex(each) for each in value]
    return value


def components(kinds: Iterable[type]) -> dict[str, Any]:
    """JSON Schemas of records by name, as ``shown`` writes them."""
    _, found = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    described: dict[str, Any] = _as_shown(found)
    return described


def _as_shown(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_as_shown(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("contentEncoding") == "base64":
        kept = {name: schema[name] for name in ("default", "description") if name in schema}
        return {"type": "string", "pattern": "^([0-9a-f]{2})*$", **kept}
    return {name: _as_shown(each) for name, each in schema.items()}
