"""The proof of a platform key: the wrong one wraps nothing, whenever it turns up."""

from __future__ import annotations

import pytest

from crypto_modes.errors import BadConfig, KeyServiceRefuses, KeyServiceUnavailable
from crypto_modes.keyring import dek_context
from server.keyrings.checked import CheckedKeyring
from server.store import PlatformKey, WrappedKey
from tests.keys import MemoryKeyring, MemoryKeys

pytestmark = pytest.mark.asyncio


class Proofs(MemoryKeys):
    """A store that keeps the proof too."""

    kept: PlatformKey | None = None

    async def some_data_key(self) -> WrappedKey | None:
        return self.rows[0] if self.rows else None

    async def platform_key(self) -> PlatformKey | None:
        return self.kept

    async def put_platform_key(self, key: PlatformKey) -> None:
        self.kept = key


def row(serving: bytes, sender: bytes = b"a" * 16) -> WrappedKey:
    return WrappedKey(
        dek_id=b"k" * 16, conversation=b"c" * 16, sender=sender, epoch=1, created=1, serving=serving
    )


async def test_an_unreachable_provider_wraps_nothing_before_it_was_checked() -> None:
    store, right, wrong = Proofs(), MemoryKeyring(), MemoryKeyring()
    await CheckedKeyring(store, right).check()
    store.rows.append(row(b"w" * 16))
    wrong.away = True
    keyring = CheckedKeyring(store, wrong)
    with pytest.raises(KeyServiceUnavailable):
        await keyring.check()
    with pytest.raises(KeyServiceUnavailable):
        await keyring.generate(b"context")
    wrong.away = False
    for call in (keyring.generate(b"context"), keyring.wrap(b"k" * 32, b"context")):
        with pytest.raises(KeyServiceRefuses, match="wait") as refused:
            await call
        assert "not the one" in refused.value.advice
    with pytest.raises(KeyServiceRefuses):
        await keyring.rotate()
    assert wrong._known == {}


async def test_keys_of_a_louver_that_kept_no_proof_are_proof_enough() -> None:
    store, right = Proofs(), MemoryKeyring()
    place = store.deployment, b"c" * 16, b"a" * 16, 1
    wrapped = await right.wrap(b"k" * 32, dek_context(*place, "serving"))
    store.rows.append(row(wrapped))
    wrong = MemoryKeyring()
    with pytest.raises(BadConfig, match="not the one"):
        await CheckedKeyring(store, wrong).check()
    assert store.kept is None
    await CheckedKeyring(store, right).check()
    assert store.kept is not None
    with pytest.raises(BadConfig):
        await CheckedKeyring(store, wrong).check()


class Unbound(MemoryKeyring):
    """A service too old to know what binds."""

    async def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        return self._known[wrapped][0]


async def test_a_service_that_binds_no_context_is_refused() -> None:
    with pytest.raises(BadConfig, match="binds no context"):
        await CheckedKeyring(Proofs(), Unbound()).check()
