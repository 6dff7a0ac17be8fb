"""The provider in force, held to what it wrapped before: the wrong key wraps nothing.

What may live here: the check, the generation, and turning it. A key-encryption key that is missing
is noticed by its provider. One that is *wrong* would go on as if nothing had happened: new
conversations would be wrapped by it, and be lost when the right one is put back. So known bytes are
wrapped when a key comes into force, and kept beside the data keys::

    context = enc("louver/v1/kek/proof", deployment, generation)
    proof   = wrap(H(context), context)

A provider must open the proof, and must *not* open it in another context, before it wraps
anything. One that cannot be reached yet wraps nothing either.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from crypto_modes.encoding import enc
from crypto_modes.errors import BadConfig, CannotOpen, KeyServiceRefuses
from crypto_modes.keyring import Keyring, dek_context
from crypto_modes.primitives import H, equal
from server.store import PlatformKey, WrappedKey

SERVING = "serving"
_TEXT = "the relay cannot use its keys now; wait until its operator has helped"
_WRONG = (
    "the platform key is not the one that the stored keys were made with: put back the key that"
    " keys.db belongs to, or the keys.db that belongs to it, from their backups"
)
_UNBOUND = (
    "keys.provider: this key service binds no context to what it wraps; anyone who may write the"
    " database could move keys between conversations: use a newer one"
)


class ProofTable(Protocol):
    """The part of a ``Store`` that keeps the proof."""

    @property
    def deployment(self) -> bytes: ...
    async def some_data_key(self) -> WrappedKey | None: ...
    async def platform_key(self) -> PlatformKey | None: ...
    async def put_platform_key(self, key: PlatformKey) -> None: ...


class CheckedKeyring:
    """``provider`` as ``Keyring``, with the ``generation`` in force."""

    def __init__(self, store: ProofTable, provider: Keyring, generation: int = 1) -> None:
        self._store = store
        self._provider = provider
        self._lock = asyncio.Lock()
        self._checked = False
        self.generation = generation

    async def check(self) -> None:
        """Hold the provider to its proof, once; make the proof where nothing depends on one.

        Raises:
            BadConfig: it is another key than the stored keys were made with.
            KeyServiceUnavailable: it cannot be asked now; nothing is wrapped until it can.
        """
        async with self._lock:
            if not self._checked:
                await self._check()
                self._checked = True

    async def generate(self, context: bytes) -> tuple[bytes, bytes]:
        await self._ready()
        return await self._provider.generate(context)

    async def wrap(self, key: bytes, context: bytes) -> bytes:
        await self._ready()
        return await self._provider.wrap(key, context)

    async def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        return await self._provider.unwrap(wrapped, context)

    async def rotate(self, generation: int = 0) -> None:
        """Bring the next generation into force. New keys are wrapped by it from now on; those that
        are stored wait for ``rewrapped``.
        """
        await self._ready()
        async with self._lock:
            generation = self.generation + 1
            await self._provider.rotate(generation)
            await self._keep(generation, retired=False)

    async def retire(self, generation: int = 0) -> None:
        """Destroy the generations before the one in force: nothing stored needs them."""
        await self._provider.retire(self.generation)
        async with self._lock:
            kept = await self._store.platform_key()
            if kept is not None and kept.generation == self.generation:
                done = PlatformKey(generation=kept.generation, proof=kept.proof)
                await self._store.put_platform_key(done)

    async def close(self) -> None:
        await self._provider.close()

    async def _ready(self) -> None:
        if self._checked:
            return
        try:
            await self.check()
        except BadConfig as error:
            raise KeyServiceRefuses(_TEXT, advice=str(error)) from None

    async def _check(self) -> None:
        sample = await self._store.some_data_key()
        kept = await self._store.platform_key()
        if sample is None:
            kept = await self._keep(self.generation, retired=True)
        elif kept is None:
            # Made by a Louver that kept no proof: one of its keys must do.
            await self._prove_by(sample)
            kept = await self._keep(self.generation, retired=True)
        context = self._context(kept.generation)
        try:
            opened = await self._provider.unwrap(kept.proof, context)
        except CannotOpen:
            raise BadConfig(_WRONG) from None
        if not equal(opened, H(context)):
            raise BadConfig(_WRONG)
        try:
            await self._provider.unwrap(kept.proof, context + b"\0")
        except CannotOpen:
            return
        raise BadConfig(_UNBOUND)

    async def _prove_by(self, stored: WrappedKey) -> None:
        place = self._store.deployment, stored.conversation, stored.sender, stored.epoch
        try:
            await self._provider.unwrap(stored.serving, dek_context(*place, SERVING))
        except CannotOpen:
            raise BadConfig(_WRONG) from None

    async def _keep(self, generation: int, *, retired: bool) -> PlatformKey:
        context = self._context(generation)
        proof = await self._provider.wrap(H(context), context)
        made = PlatformKey(generation=generation, proof=proof, retired=retired)
        await self._store.put_platform_key(made)
        self.generation = generation
        return made

    def _context(self, generation: int) -> bytes:
        return enc("louver/v1/kek/proof", self._store.deployment, generation)
