"""The Transit key provider: a key in HashiCorp Vault's or OpenBao's Transit engine.

Only this provider lives here. The key never leaves the service; what is wrapped is its text
``vault:v1:…``. The context goes along as ``associated_data``, which AES-256-GCM authenticates; a
service too old to know that field would ignore it, which the check at the start finds out
(``server/keyrings/checked.py``). The client library blocks, so it runs on threads of its own.

Of the key's policy the relay needs ``update`` on ``MOUNT/encrypt/NAME`` and ``MOUNT/decrypt/NAME``;
for ``louverd keys rotate`` besides ``update`` on ``MOUNT/keys/NAME/rotate`` and ``…/config``.
"""

from __future__ import annotations

import asyncio
import os
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hvac  # type: ignore[import-untyped]  # the library has no types
from hvac import exceptions

from crypto_modes.errors import (
    BadConfig,
    CannotOpen,
    KeyServiceRefuses,
    KeyServiceUnavailable,
)
from crypto_modes.primitives import KEY_SIZE
from server.secrets_file import read_private

THREADS = 4
TIMEOUT = 5.0
WRAPPED_LIMIT = 1024
_TOKEN_LIMIT = 4096
_TEXT = "the relay cannot use its keys now; try again"


class TransitKeyring:
    """The key ``name`` under ``mount`` of the service at ``address``; conforms to ``Keyring``.

    ``token`` is a file that only this user may read; an agent may put another token there at any
    time. ``authorities`` is a file of certificates, or empty for the system's.
    """

    def __init__(
        self, address: str, name: str, *, mount: str, token: Path, authorities: str = ""
    ) -> None:
        self._address = address
        self._name = name
        self._mount = mount
        self._token = token
        self._verify: str | bool = authorities or True
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="transit")
        self._mine = threading.local()
        self._clients: list[Any] = []
        self._closed = False
        self._read_token()  # tell a missing one at the start

    async def generate(self, context: bytes) -> tuple[bytes, bytes]:
        # Made here: what the service would send back is no more random, and travels once more.
        key = os.urandom(KEY_SIZE)
        return key, await self.wrap(key, context)

    async def wrap(self, key: bytes, context: bytes) -> bytes:
        plaintext, bound = _base64(key), _base64(context)
        answer = await self._ask(
            lambda transit: transit.encrypt_data(
                self._name, plaintext=plaintext, associated_data=bound, mount_point=self._mount
            )
        )
        return _field(answer, "ciphertext").encode()

    async def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        if len(wrapped) > WRAPPED_LIMIT or not wrapped.startswith(b"vault:"):
            raise CannotOpen
        text, bound = wrapped.decode("ascii", "replace"), _base64(context)
        try:
            answer = await self._ask(
                lambda transit: transit.decrypt_data(
                    self._name, ciphertext=text, associated_data=bound, mount_point=self._mount
                )
            )
        except _Rejected:
            raise CannotOpen from None
        try:
            key = b64decode(_field(answer, "plaintext"), validate=True)
        except ValueError:
            raise _not_understood() from None
        if len(key) != KEY_SIZE:
            raise CannotOpen
        return key

    async def rotate(self, generation: int) -> None:
        await self._ask(lambda transit: transit.rotate_key(self._name, mount_point=self._mount))

    async def retire(self, generation: int) -> None:
        """Let the service open nothing that was wrapped before its newest version."""

        def least(transit: Any) -> object:
            newest = transit.read_key(self._name, mount_point=self._mount)["data"]["latest_version"]
            return transit.update_key_configuration(
                self._name, min_decryption_version=newest, mount_point=self._mount
            )

        await self._ask(least)

    async def close(self) -> None:
        self._closed = True
        await asyncio.to_thread(self._pool.shutdown)
        for client in self._clients:
            client.adapter.close()

    async def _ask(self, call: Callable[[Any], Any]) -> Any:
        if self._closed:
            raise KeyServiceUnavailable("the keyring is closed")
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._try, call)

    def _try(self, call: Callable[[Any], Any]) -> Any:
        """On a thread of the pool. The second try has the token that an agent may have renewed."""
        client = self._client()
        try:
            try:
                return call(client.secrets.transit)
            except (exceptions.Forbidden, exceptions.Unauthorized):
                client.token = self._read_token()
                return call(client.secrets.transit)
        except exceptions.InvalidRequest as error:
            raise _Rejected(_TEXT, advice=f"Transit rejects the request: {error}") from None
        except (
            exceptions.Forbidden,
            exceptions.Unauthorized,
            exceptions.InvalidPath,
            exceptions.UnsupportedOperation,
            BadConfig,
        ) as error:
            raise KeyServiceRefuses(_TEXT, advice=f"Transit refuses: {error}") from None
        # The library's own errors, and those of its sockets, which are OSErrors.
        except (exceptions.VaultError, OSError, ValueError, LookupError, TypeError) as error:
            raise KeyServiceUnavailable(
                _TEXT, advice=f"Transit at {self._address} does not answer: {error}"
            ) from None

    def _client(self) -> Any:
        """This thread's own: the sessions of the library's sockets are not for several at once."""
        if not hasattr(self._mine, "client"):
            # No redirects: they would carry the token to wherever the answer points.
            self._mine.client = hvac.Client(
                url=self._address,
                token=self._read_token(),
                verify=self._verify,
                timeout=TIMEOUT,
                allow_redirects=False,
            )
            self._clients.append(self._mine.client)
        return self._mine.client

    def _read_token(self) -> str:
        try:
            token = read_private(self._token, _TOKEN_LIMIT).decode("ascii", "replace").strip()
        except FileNotFoundError:
            token = ""
        if not token:
            raise BadConfig(
                f"keys.token: {self._token} is missing or empty; put Vault's token there"
            )
        return token


class _Rejected(KeyServiceRefuses):
    """Status 400: for a ciphertext, that it does not open."""


def _base64(data: bytes) -> str:
    return b64encode(data).decode()


def _field(answer: Any, name: str) -> str:
    value = answer.get("data", {}).get(name) if isinstance(answer, dict) else None
    if not isinstance(value, str) or not 0 < len(value) <= WRAPPED_LIMIT:
        raise _not_understood()
    return value


def _not_understood() -> KeyServiceUnavailable:
    return KeyServiceUnavailable(_TEXT, advice="Transit's answer is not understood; is it one?")
