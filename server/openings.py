"""Was my conversation opened? The vault's access log, handed on to the users of a conversation.

What may live here: the one use case, and the way to the vault. What may not: the answer, which the
client finds itself in leaves that it verifies. The conversation is that of the account that asks
with the one it names, so that nobody is given the keys of another's days. The relay could hide
leaves and keys no better than the log can: it signed the root over all leaves, and the keys.
"""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Protocol

from crypto_modes import wire
from crypto_modes.errors import Forbidden, FrameRefused, LogRefused, RateLimited, VaultUnavailable
from crypto_modes.policy import conversation_id
from crypto_modes.transparency.note import Checkpoint, Note
from crypto_modes.transparency.tiles import ENTRIES, WIDTH, Tile
from server.access_log.exchange import DayKeys
from server.limits import Rates
from server.moderation.vault_client import VaultLog
from server.secrets_file import token_file
from server.vault_records import TOKEN_FILE, TOKEN_PREFIX

if TYPE_CHECKING:
    from server.session import Session
    from server.settings_tree import Settings


class Vault(Protocol):
    """What is asked of the vault; each raises ``VaultUnavailable``."""

    async def checkpoint(self) -> bytes: ...
    async def tile(self, tile: Tile) -> bytes: ...
    async def day_keys(self, conversation: bytes, first: int) -> DayKeys: ...


class Openings:
    """``vault`` is None where this relay has none: then there is nothing to ask."""

    def __init__(self, rates: Rates) -> None:
        self.vault: Vault | None = None
        self._rates = rates

    async def show(self, session: Session, frame: wire.GetOpened) -> None:
        """Answer with a page of leaves and, with the first one, the days' keys."""
        if self.vault is None:
            raise Forbidden("this relay has no vault that keeps an access log")
        if frame.start % WIDTH:
            raise FrameRefused(f"pages of the access log begin at multiples of {WIDTH}")
        wait = self._rates.log(session.account, time.monotonic())
        if wait > 0.0:
            raise RateLimited("too many pages of the access log", retry_after=wait)
        conversation = conversation_id(session.account, frame.peer)
        days = await self.vault.day_keys(conversation, frame.first)
        checkpoint = await self.vault.checkpoint()
        newest = _size(checkpoint)
        size = frame.size or newest
        if size > newest or frame.start > size:
            raise FrameRefused(f"the access log has {newest} leaves; ask for no more")
        width = min(WIDTH, size - frame.start)
        leaves = b""
        if width:
            leaves = await self.vault.tile(Tile(ENTRIES, frame.start // WIDTH, width))
        session.link.send(
            wire.Opened(
                ref=frame.ref,
                key=days.log,
                checkpoint=checkpoint,
                start=frame.start,
                leaves=leaves,
                first=days.first,
                keys=() if frame.start else days.keys,
                signature=b"" if frame.start else days.signature,
            )
        )


def open_vault(settings: Settings, openings: Openings, closing: AsyncExitStack) -> VaultLog | None:
    """The way to the vault that the settings name, None for none. Raises ``BadConfig``."""
    moderation = settings.moderation
    if not moderation.vault:
        return None
    token = token_file(settings.data / TOKEN_FILE, TOKEN_PREFIX)
    vault = VaultLog(moderation.vault, token, moderation.vault_authority)
    closing.callback(vault.close)
    openings.vault = vault
    return vault


def _size(checkpoint: bytes) -> int:
    try:
        return Checkpoint.decode(Note.decode(checkpoint).text).size
    except LogRefused as error:
        raise VaultUnavailable("the vault shows no access log now; try again") from error
