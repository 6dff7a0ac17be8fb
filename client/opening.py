"""Opening a chat: ``connect``, and what it is given by default.

What may live here: the way from an address and a key store to a ``Chat``. What may not: what a chat
can do (``client``).
"""

from __future__ import annotations

import ssl as tls
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import entry_points

from client.client import Chat
from client.connection import Protocol, check_url
from client.credentials import Credentials
from client.entrance import Dial
from client.keystore import Keystore
from crypto_modes import registry
from crypto_modes.contract import Mode
from crypto_modes.errors import BadConfig


@asynccontextmanager
async def connect(
    url: str,
    *,
    name: str,
    keystore: Keystore,
    credentials: Credentials | None = None,
    ssl: tls.SSLContext | None = None,
    ca: str | None = None,
    protocol: Protocol = "msgpack",
    modes: Mapping[str, Mode] | None = None,
    replace_key: bool = False,
) -> AsyncIterator[Chat]:
    """Connect to the relay at ``url`` as ``name``; the chat and the key store close on leaving.

    ``credentials`` are needed until the key store holds a token. TLS 1.3 with the system's
    authorities, or those of the PEM file ``ca``, or your own ``ssl`` context; ``ws://`` works
    on the loopback only. ``modes`` are the installed ones. On a new device of an account whose
    keys are elsewhere ``chat.unlinked`` says so, unless ``replace_key`` makes new ones: then
    nobody sends to this account until they have accepted that.

    Raises:
        ConnectionLost: nobody answers there. Later breaks are healed without a word.
        Unauthorized, Forbidden, CannotResume: why the relay does not let this device in.
        BadArgument, BadConfig: the call, or what is on disk, cannot be used.
    """
    secure, _ = check_url(url)
    context = (ssl or tls_context(ca)) if secure else None
    dial = Dial(url, name, credentials, protocol, context)
    chat = Chat(dial, keystore, modes if modes is not None else installed_modes())
    try:
        await chat.start(replace_key=replace_key)
        await chat.backups.take_place()
        yield chat
    finally:
        await chat.close()


def tls_context(ca: str | None = None) -> tls.SSLContext:
    """TLS 1.3, trusting the authorities of the PEM file ``ca``, or the system's.

    Raises ``BadConfig`` where the file cannot be used. Make one and share it: it takes long.
    """
    try:
        context = tls.create_default_context(cafile=ca)
    except (OSError, tls.SSLError) as error:
        why = error.strerror or error
        raise BadConfig(f"cannot use the certificate file {ca}: {why}") from None
    context.minimum_version = tls.TLSVersion.TLSv1_3
    return context


def installed_modes() -> dict[str, Mode]:
    """The built-in modes and those that other packages registered. Raises ``BadConfig``."""
    found = [entry.load() for entry in entry_points(group=registry.GROUP)]
    return registry.registry((*registry.BUILTIN, *found))
