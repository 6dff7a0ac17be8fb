"""The KMS key provider: a symmetric key in AWS Key Management Service.

Only this provider lives here. The key never leaves the service. Its encryption context is
``{"louver": H(context) in hex}``: what KMS is told in it stands in the clear in the audit log of
the cloud account, and who writes to whom has no business there. The hash binds as well.

The relay's role needs ``kms:Encrypt``, ``kms:Decrypt`` and ``kms:GenerateDataKey`` on the key, and
for ``louverd keys rotate`` besides ``kms:RotateKeyOnDemand``. Credentials are found as by every
AWS program.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

from aiobotocore.config import AioConfig  # type: ignore[import-untyped]  # the library has no types
from aiobotocore.session import get_session  # type: ignore[import-untyped]  # nor these
from botocore.exceptions import (  # type: ignore[import-untyped]  # nor these
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
)

from crypto_modes.errors import BadConfig, CannotOpen, KeyServiceRefuses, KeyServiceUnavailable
from crypto_modes.primitives import KEY_SIZE, H

CONNECT_SECONDS, READ_SECONDS, TRIES = 2, 5, 2
WRAPPED_LIMIT = 6144  # KMS's own
_TEXT = "the relay cannot use its keys now; try again"

# What another ciphertext, another context or another key gives.
_CANNOT_OPEN = frozenset({"InvalidCiphertextException", "IncorrectKeyException"})
# What passes by itself; all other answers say that the key is not ours to use.
_PASSING = frozenset(
    {
        "DependencyTimeoutException",
        "InternalFailure",
        "KMSInternalException",
        "KeyUnavailableException",
        "LimitExceededException",
        "RequestTimeout",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "ThrottlingException",
    }
)


class KmsKeyring:
    """The key ``name`` (id, ARN or alias) in ``region``; conforms to ``Keyring``.

    ``address`` is another endpoint than AWS's own, or empty. ``open`` comes before all else.
    """

    def __init__(self, name: str, *, region: str, address: str = "") -> None:
        self._name = name
        self._region = region
        self._address = address
        self._closing = AsyncExitStack()
        self._kms: Any = None

    async def open(self) -> None:
        """Raises ``BadConfig`` where the library cannot make a client; asks the service nothing."""
        config = AioConfig(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": TRIES},
        )
        client = get_session().create_client(
            "kms",
            region_name=self._region or None,
            endpoint_url=self._address or None,
            config=config,
        )
        try:
            self._kms = await self._closing.enter_async_context(client)
        except (NoRegionError, ValueError) as error:
            raise BadConfig(f"keys.region or keys.address: {error}") from None

    async def generate(self, context: bytes) -> tuple[bytes, bytes]:
        answer = await self._ask(
            "generate_data_key",
            KeyId=self._name,
            KeySpec="AES_256",
            EncryptionContext=_context(context),
        )
        return _bytes(answer, "Plaintext", KEY_SIZE), _bytes(answer, "CiphertextBlob")

    async def wrap(self, key: bytes, context: bytes) -> bytes:
        bound = _context(context)
        answer = await self._ask(
            "encrypt", KeyId=self._name, Plaintext=key, EncryptionContext=bound
        )
        return _bytes(answer, "CiphertextBlob")

    async def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        if not 0 < len(wrapped) <= WRAPPED_LIMIT:
            raise CannotOpen
        # The key is named although KMS would find it: a ciphertext of another key of the account,
        # put into our database, must not open.
        answer = await self._ask(
            "decrypt",
            KeyId=self._name,
            CiphertextBlob=wrapped,
            EncryptionContext=_context(context),
        )
        return _bytes(answer, "Plaintext", KEY_SIZE)

    async def rotate(self, generation: int) -> None:
        await self._ask("rotate_key_on_demand", KeyId=self._name)

    async def retire(self, generation: int) -> None:
        """KMS keeps old key material for as long as the key lives: nothing can be destroyed."""

    async def close(self) -> None:
        self._kms = None
        await self._closing.aclose()

    async def _ask(self, operation: str, **parameters: object) -> Any:
        if self._kms is None:
            raise KeyServiceUnavailable("the keyring is closed")
        try:
            return await getattr(self._kms, operation)(**parameters)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            if code in _CANNOT_OPEN:
                raise CannotOpen from None
            if code in _PASSING or status >= 500:
                raise KeyServiceUnavailable(_TEXT, advice=f"KMS fails: {error}") from None
            raise KeyServiceRefuses(_TEXT, advice=f"KMS refuses: {error}") from None
        except (NoCredentialsError, CredentialRetrievalError, ParamValidationError) as error:
            raise KeyServiceRefuses(_TEXT, advice=f"KMS cannot be asked: {error}") from None
        except (BotoCoreError, OSError) as error:
            raise KeyServiceUnavailable(_TEXT, advice=f"KMS does not answer: {error}") from None


def _context(context: bytes) -> dict[str, str]:
    return {"louver": H(context).hex()}


def _bytes(answer: Any, name: str, size: int = 0) -> bytes:
    value = answer.get(name)
    if not isinstance(value, bytes) or not value or (size and len(value) != size):
        raise KeyServiceUnavailable(_TEXT, advice="KMS's answer is not understood")
    return value
