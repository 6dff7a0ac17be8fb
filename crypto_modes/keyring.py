"""The platform-key Protocol: who may wrap and unwrap data keys, and the context they bind.

Only the Protocol and the context live here; the providers that speak to files, Vault or a
cloud's key service live in ``server/keyrings``.
"""

from __future__ import annotations

from typing import Protocol

from crypto_modes.encoding import enc


def dek_context(
    deployment: bytes, conversation: bytes, sender: bytes, epoch: int, purpose: str
) -> bytes:
    """The encryption context of a wrapped data key; modes.md, `at_rest`.

    ``purpose`` is ``serving`` or ``moderation``: a key wrapped for one door opens no other.
    """
    return enc("louver/v1/dek", deployment, conversation, sender, epoch, purpose)


class Keyring(Protocol):
    """A key-encryption key behind a service, in generations from 1.

    All but ``close`` raise ``KeyServiceUnavailable`` while the service cannot be reached, and its
    kind ``KeyServiceRefuses`` where it answers that the key is not ours to use.
    """

    async def generate(self, context: bytes) -> tuple[bytes, bytes]:
        """A fresh 32-byte data key: ``(plaintext, wrapped)``."""

    async def wrap(self, key: bytes, context: bytes) -> bytes:
        """``key`` wrapped under the current key-encryption key, bound to ``context``."""

    async def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """The 32-byte key. Raises ``CannotOpen`` where ``wrapped`` was not made for ``context``."""

    async def rotate(self, generation: int) -> None:
        """Wrap under a new key-encryption key from now on, the ``generation``-th; what the older
        ones wrapped still opens. Once this returns the new one is durable. Doing it again, after a
        crash say, does no harm.
        """

    async def retire(self, generation: int) -> None:
        """Nothing stored is wrapped under a generation before this one: destroy those, as far as
        the service can. What they wrapped is in backups only, and does not open any more.
        """

    async def close(self) -> None:
        """Release connections and forget key material."""
