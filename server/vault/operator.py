"""What the vault's operator asks of the vault that runs, with the token in the vault's settings.

What may live here: those questions. What may not: how an answer is worded.
"""

from __future__ import annotations

from contextlib import closing
from http import HTTPStatus
from typing import NamedTuple, TypeVar

import msgspec

from crypto_modes.errors import ConnectionLost, VaultUnavailable
from server.calls import Caller
from server.vault.app import relay_token
from server.vault.reconciling import RECONCILED, Reconciled
from server.vault.settings import Settings
from server.vault.state import STATE, State

SECONDS = 60.0  # a vault that was just started reads its whole log first
ANSWER_LIMIT = 16 << 20


T = TypeVar("T")


class At(NamedTuple):
    """How to get to the vault; ``authority`` is a PEM file. Both are needed where the settings do
    not tell."""

    address: str = ""
    authority: str = ""


async def reconciled(settings: Settings, at: At) -> Reconciled:
    """Unwrapped and announced data keys of all days. Raises ``BadConfig``, ``VaultUnavailable``."""
    return await _ask(settings, at, RECONCILED, Reconciled)


async def state(settings: Settings, at: At) -> State:
    """How it is. Raises ``BadConfig``, and ``VaultUnavailable`` where it does not say."""
    return await _ask(settings, at, STATE, State)


async def _ask(settings: Settings, at: At, path: str, kind: type[T]) -> T:
    listen = settings.listen
    scheme = "https" if listen.certificate else "http"
    address = at.address or f"{scheme}://{listen.address}:{listen.port}"
    headers = {"Authorization": f"Bearer {relay_token(settings)}"}
    authority = at.authority or listen.certificate
    with closing(Caller(address, authority, seconds=SECONDS, limit=ANSWER_LIMIT)) as caller:
        try:
            status, answer = await caller.ask("GET", path, headers=headers)
            if status == HTTPStatus.OK:
                return msgspec.json.decode(answer, type=kind)
            why = f"refused with {status}"
        except ConnectionLost as error:
            why = str(error)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            why = "is no vault"
    raise VaultUnavailable(f"the vault at {address} {why}; is it running, with this token?")
