"""What the vault's operator asks of the vault that runs, with the token in the vault's settings.

What may live here: those questions. What may not: how an answer is worded.
"""

from __future__ import annotations

from contextlib import closing
from http import HTTPStatus

import msgspec

from crypto_modes.errors import ConnectionLost, VaultUnavailable
from server.calls import Caller
from server.vault.app import relay_token
from server.vault.reconciling import RECONCILED, Reconciled
from server.vault.settings import Settings

SECONDS = 60.0  # a vault that was just started reads its whole log first
ANSWER_LIMIT = 16 << 20


async def reconciled(settings: Settings, address: str = "", authority: str = "") -> Reconciled:
    """Unwrapped and announced data keys of all days. Raises ``BadConfig``, ``VaultUnavailable``.

    ``address`` and ``authority`` (PEM) are needed where the settings do not tell how to get there.
    """
    listen = settings.listen
    scheme = "https" if listen.certificate else "http"
    address = address or f"{scheme}://{listen.address}:{listen.port}"
    headers = {"Authorization": f"Bearer {relay_token(settings)}"}
    authority = authority or listen.certificate
    with closing(Caller(address, authority, seconds=SECONDS, limit=ANSWER_LIMIT)) as caller:
        try:
            status, answer = await caller.ask("GET", RECONCILED, headers=headers)
            if status == HTTPStatus.OK:
                return msgspec.json.decode(answer, type=Reconciled)
            why = f"refused with {status}"
        except ConnectionLost as error:
            why = str(error)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            why = "is no vault"
    raise VaultUnavailable(f"the vault at {address} {why}; is it running, with this token?")
