"""What every HTTP listener shares: reading a body within its limit, the bearer token's check, and
errors as problems in the form of RFC 9457.

What may live here: these, for any listener. What may not: a route.
"""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from crypto_modes.errors import (
    BadArgument,
    BadConfig,
    CannotOpen,
    Forbidden,
    FrameRefused,
    GrantRefused,
    LouverError,
    RateLimited,
    ReportRefused,
    Unauthorized,
    Unavailable,
)

BODY_LIMIT = 4096

Handler = Callable[[Request, Exception], Awaitable[Response]]

Statuses = tuple[tuple[type[LouverError], HTTPStatus], ...]

_STATUS: Statuses = (
    (Unauthorized, HTTPStatus.UNAUTHORIZED),
    (GrantRefused, HTTPStatus.FORBIDDEN),
    (Forbidden, HTTPStatus.NOT_FOUND),
    (BadConfig, HTTPStatus.CONFLICT),
    (CannotOpen, HTTPStatus.CONFLICT),
    (ReportRefused, HTTPStatus.CONFLICT),
    (BadArgument, HTTPStatus.BAD_REQUEST),
    (RateLimited, HTTPStatus.TOO_MANY_REQUESTS),
    (FrameRefused, HTTPStatus.BAD_REQUEST),
    (Unavailable, HTTPStatus.SERVICE_UNAVAILABLE),
)


def authorize(request: Request, token: str, file: str) -> None:
    """Raises ``Unauthorized`` unless the request has the bearer ``token``, which ``file`` keeps."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    # Bytes: compare_digest refuses text that is not ASCII, and the peer chooses the text.
    right = hmac.compare_digest(given.strip().encode(), token.encode())
    if scheme.lower() != "bearer" or not right:
        raise Unauthorized(
            f"send the token of the file {file}: Authorization: Bearer {token[:4]}..."
        )


async def body_of(request: Request, limit: int = BODY_LIMIT) -> bytes:
    """The request's body, at most ``limit`` bytes."""
    body = b""
    chunks: AsyncIterator[bytes] = request.stream()
    async for chunk in chunks:
        body += chunk
        if len(body) > limit:
            text = f"the body is over {limit // 1024} KiB"
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text)
    return body


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """A refusal in words."""
    title = HTTPStatus(status).phrase
    return JSONResponse(
        {"type": "about:blank", "title": title, "status": int(status), "detail": detail},
        status_code=status,
        headers=headers,
        media_type="application/problem+json",
    )


def handlers(
    program: str, *, advise: bool, before: Statuses = ()
) -> dict[type[Exception], Handler]:
    """What a listener of ``program`` (relay, vault) answers where a route raises. With ``advise``
    an outage is told in the words that are for the operator. ``before`` goes before the usual
    statuses.
    """

    async def failed(request: Request, error: Exception) -> Response:
        matching = (status for kind, status in (*before, *_STATUS) if isinstance(error, kind))
        status = next(matching, HTTPStatus.INTERNAL_SERVER_ERROR)
        headers = {"WWW-Authenticate": "Bearer"} if status == HTTPStatus.UNAUTHORIZED else None
        advice = error.advice if advise and isinstance(error, Unavailable) else ""
        return problem(status, advice or str(error), headers)

    async def broken(request: Request, error: Exception) -> Response:
        # The text of a bug may quote a secret; the log has its place in the code.
        text = f"this {program} failed; its log says where"
        return problem(HTTPStatus.INTERNAL_SERVER_ERROR, text)

    return {HTTPException: _refused, LouverError: failed, Exception: broken}


async def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return problem(error.status_code, error.detail, error.headers)
