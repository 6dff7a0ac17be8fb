"""The moderation API as OpenAPI 3.1 describes it, beyond what the routes' types say.

What may live here: the answers of routes in words and schemas. What may not: a route.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from server.moderation.api.shapes import components

_JSON, _PROBLEM = "application/json", "application/problem+json"
_REFUSALS = {
    400: "This cannot be; `detail` says why",
    401: "Not logged in",
    403: "Not for you",
    404: "There is no such thing",
    409: "Not in this state",
    412: "Changed since you looked at it",
    413: "Too large",
    422: "Not what is asked for here",
    428: "Say which version you looked at",
    429: "Too many tries",
    503: "The access log, the vault or the store does not answer; nothing was done",
}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": text,
        "content": {_PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for status, text in _REFUSALS.items()
}
_ETAG = {"ETag": {"description": "The version, for If-Match", "schema": {"type": "string"}}}
_SCHEMES = {"session": {"type": "http", "scheme": "bearer", "description": "From /sessions."}}
_PROBLEM_SCHEMA = {
    "title": "Problem",
    "description": "RFC 9457",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
}


def one(kind: type, status: int = 200) -> dict[str, Any]:
    """The decorator's arguments of a route that answers with one record."""
    content = {_JSON: {"schema": _reference(kind)}}
    said = {"description": f"The {kind.__name__.lower()}", "content": content, "headers": _ETAG}
    return {"status_code": status, "responses": {status: said}}


def many(kind: type) -> dict[str, Any]:
    """Of one that answers with a page."""
    schema = {
        "type": "object",
        "required": ["items", "next"],
        "properties": {
            "items": {"type": "array", "items": _reference(kind)},
            "next": {"type": ["integer", "null"], "description": "For `after`"},
        },
    }
    said = {"description": "A page, ascending", "content": {_JSON: {"schema": schema}}}
    return {"responses": {200: said}}


def describe(app: FastAPI, kinds: Iterable[type], open_routes: frozenset[str]) -> dict[str, Any]:
    """The whole description."""
    found: dict[str, Any] = get_openapi(
        title=app.title, version=app.version, summary=app.summary, routes=app.routes
    )
    parts = found.setdefault("components", {})
    parts.setdefault("schemas", {}).update(components(kinds), Problem=_PROBLEM_SCHEMA)
    parts["securitySchemes"] = _SCHEMES
    found["security"] = [{"session": []}]
    for path in found["paths"].values():
        for operation in path.values():
            if operation["operationId"] in open_routes:
                operation["security"] = []
    return found


def _reference(kind: type) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}
