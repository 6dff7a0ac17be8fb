"""Care for the platform's keys while the relay runs: rotation by re-wrapping, and shredding.

What may live here: the use cases behind ``louverd keys`` and the work that a rotation leaves.
Messages are never touched: what a rotation changes is what wraps their data keys, and what
shredding destroys is those data keys. ::

    in force ──rotate──► turning ──every stored key wrapped anew──► retiring ──► in force
                         ▲     │
                         └─────┘ an outage, a crash, a restart: goes on where it was

Nothing is refused meanwhile: old and new generation both unwrap until the last key is over.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

import msgspec

from crypto_modes.errors import BadArgument, CannotOpen, Forbidden, LouverError
from crypto_modes.keyring import dek_context
from crypto_modes.policy import conversation_id
from server.keeping import Keeping
from server.keyrings.checked import SERVING, CheckedKeyring
from server.keyrings.data_keys import DataKeyCache
from server.store import Store, WrappedKey
from server.watch import Watch

PAGE = 16  # also how many requests of a rotation the provider gets at once


class KeyCare:
    """Conforms to ``key_routes.Kept``. ``provider`` is its name in the settings."""

    def __init__(
        self,
        store: Store,
        keyring: CheckedKeyring,
        cache: DataKeyCache,
        watch: Watch,
        provider: str,
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._cache = cache
        self._watch = watch
        self._provider = provider
        # Filled by moderation, before anybody connects.
        self.keeping = Keeping(store)
        self._work: asyncio.Task[None] | None = None

    async def status(self) -> Mapping[str, object]:
        """See ``key_routes.Kept``."""
        counts = await self._store.count_data_keys()
        kept = await self._store.platform_key()
        return {
            "provider": self._provider,
            "generation": self._keyring.generation,
            "rotating": kept is not None and not kept.retired,
            "data_keys": counts.all,
            "still_to_wrap": counts.behind,
            "behind_moderation_door": counts.moderation,
            "shredded": counts.shredded,
        }

    async def rotate(self) -> Mapping[str, object]:
        """See ``key_routes.Kept``."""
        kept = await self._store.platform_key()
        if kept is not None and not kept.retired:
            raise BadArgument("a rotation is under way; `louverd keys status` shows how far it is")
        await self._keyring.rotate()
        self._watch.changed("key rotation begun", count=self._keyring.generation)
        await self.resume()
        return await self.status()

    async def shred(self, account: str, peer: str) -> Mapping[str, object]:
        """See ``key_routes.Kept``."""
        ids = [await self._account(name) for name in (account, peer) if name]
        await self.keeping.check_shred(ids)
        if len(ids) == 2:
            count = await self._store.shred_data_keys(conversation_id(*ids), b"")
        else:
            count = await self._store.shred_data_keys(b"", ids[0])
        # After the store, so that nothing fetches from there what was just forgotten.
        self._cache.flush()
        self._watch.changed("keys shredded", count=count)
        return {"shredded": count}

    async def resume(self) -> None:
        """Go on with a rotation that an outage or a restart has left; call it every minute."""
        if self._work is not None and not self._work.done():
            return
        kept = await self._store.platform_key()
        if kept is not None and not kept.retired:
            self._work = asyncio.create_task(self._finish())

    async def close(self) -> None:
        """Stop; the rest is done after the next start."""
        if self._work is not None:
            self._work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._work

    async def _finish(self) -> None:
        try:
            left = await self._rewrap_all()
            if left == 0:
                await self._keyring.retire()
                self._watch.changed("key rotation done", count=self._keyring.generation)
        except LouverError as error:
            self._watch.fault("key rotation", error)

    async def _rewrap_all(self) -> int:
        """Wrap every key of older generations anew; how many could not be opened, and stay."""
        after, left = b"", 0
        while page := await self._store.data_keys_behind(after, PAGE):
            left += sum(await asyncio.gather(*map(self._rewrap, page)))
            after = page[-1].dek_id
        if left:
            # The old generation stays as well: it may be the only one that ever opens them.
            self._watch.fault("key rotation", CannotOpen(f"{left} data keys do not open"))
        return left

    async def _rewrap(self, stored: WrappedKey) -> int:
        place = self._store.deployment, stored.conversation, stored.sender, stored.epoch
        context = dek_context(*place, SERVING)
        generation = self._keyring.generation
        try:
            key = await self._keyring.unwrap(stored.serving, context)
        except CannotOpen:
            return 1
        serving = await self._keyring.wrap(key, context)
        changed = msgspec.structs.replace(stored, serving=serving, generation=generation)
        await self._store.rewrap_data_key(stored, changed)
        return 0

    async def _account(self, name: str) -> bytes:
        account = await self._store.account_named(name)
        if account is None:
            raise Forbidden(f"there is no account {name!r}")
        return account.id
