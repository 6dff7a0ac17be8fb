"""The other end of ``server.http``: how ``louverd`` asks a running relay on this machine.

Only the request lives here. Who may read the token's file may administrate the relay.
"""

from __future__ import annotations

import http.client
import json

import msgspec

from crypto_modes.errors import BadArgument, BadConfig, ConnectionLost
from server.secrets_file import read_private
from server.settings_tree import Settings

TIMEOUT = 10.0
ANSWER_LIMIT = 1024 * 1024
TOKEN_FILE = "admin.token"  # noqa: S105 - a file's name
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - asked, not bound


class _Problem(msgspec.Struct):
    detail: str = "no reason given"


def ask(settings: Settings, method: str, path: str, body: object = None) -> str:
    """The relay's answer to ``/admin/v1/…``, as JSON text.

    Raises:
        BadConfig: there is no token to ask with.
        BadArgument: the relay refused, with its reason.
        ConnectionLost: no relay answers there.
    """
    internal = settings.internal
    address = _WILDCARDS.get(internal.address, internal.address)
    headers = {"Authorization": f"Bearer {_token(settings)}"}
    connection = http.client.HTTPConnection(address, internal.port, timeout=TIMEOUT)
    try:
        content = b"" if body is None else json.dumps(body).encode()
        connection.request(method, f"/admin/v1/{path}", content, headers)
        response = connection.getresponse()
        answer = response.read(ANSWER_LIMIT)
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "strerror", None) or error
        raise ConnectionLost(
            f"no relay answers on {address}, port {internal.port} ({why}): is it running, and are"
            " internal.address and internal.port set as there?"
        ) from None
    finally:
        connection.close()
    if response.status >= http.HTTPStatus.BAD_REQUEST:
        raise BadArgument(f"the relay refused: {_detail(answer)}")
    return answer.decode()


def _token(settings: Settings) -> str:
    path = settings.data / TOKEN_FILE
    try:
        return read_private(path, 256).decode("ascii", "replace").strip()
    except FileNotFoundError:
        raise BadConfig(
            f"{path} is missing: the relay makes it when it first starts; is data set as there?"
        ) from None


def _detail(answer: bytes) -> str:
    try:
        return msgspec.json.decode(answer, type=_Problem).detail
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return "its answer is not understood; is this another program's port?"
