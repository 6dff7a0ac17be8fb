"""The way in: a socket, a token where there is none yet, hello and welcome.

What may live here: exchanging credentials for a token, and opening a session with it. Nothing
here outlives the welcome; coming back after a break is ``session.py``'s.
"""

from __future__ import annotations

import asyncio
import ssl as tls
from importlib.metadata import PackageNotFoundError, version
from typing import TypeVar

import msgspec

from client import refusals
from client.connection import Connection, Protocol, open_connection
from client.credentials import Credentials, Password, check_name
from client.memory import Identity, Memory
from crypto_modes import wire
from crypto_modes.errors import (
    BadArgument,
    CannotResume,
    ConnectionLost,
    Forbidden,
    FrameRefused,
    RateLimited,
    TokenExpired,
    Unauthorized,
)

ENTER_SECONDS = 15.0

T = TypeVar("T", bound=wire.Frame)


class Dial(msgspec.Struct, frozen=True):
    """Where the relay is, how to speak to it, and as whom."""

    url: str
    name: str
    credentials: Credentials | None = None
    protocol: Protocol = "msgpack"
    ssl: tls.SSLContext | None = None


async def enter(dial: Dial, memory: Memory) -> tuple[Connection, wire.Welcome]:
    """An open connection that was welcomed; with a new token where the old one is void.

    Raises ``ConnectionLost``, or the typed reason why the relay does not let us in.
    """
    identity = memory.adopt(dial.name)
    try:
        return await _knock(dial, memory, identity)
    except (Unauthorized, TokenExpired):
        if not identity.token or dial.credentials is None:
            raise
    return await _knock(dial, memory, msgspec.structs.replace(identity, token=""))


async def _knock(dial: Dial, memory: Memory, identity: Identity) -> tuple[Connection, wire.Welcome]:
    if not identity.token and dial.credentials is None:
        raise BadArgument(f"this device has no token of {dial.name!r} yet: register or log in")
    connection = await open_connection(dial.url, protocol=dial.protocol, ssl=dial.ssl)
    try:
        async with asyncio.timeout(ENTER_SECONDS):
            if not identity.token and dial.credentials is not None:
                identity = await _log_in(connection, identity, dial.credentials)
                memory.keep_identity(identity)
            welcome = await _hello(connection, identity)
    except TimeoutError:
        await connection.close()
        raise ConnectionLost("the relay did not let us in in time") from None
    except BaseException:
        await connection.close()
        raise
    if not identity.relay:
        memory.keep_identity(msgspec.structs.replace(identity, relay=welcome.relay))
    return connection, welcome


async def _log_in(connection: Connection, identity: Identity, credentials: Credentials) -> Identity:
    """Exchange the credentials for a token; registering where they say so."""
    check_name(identity.name)
    fields: dict[str, object] = {"ref": 1, "name": identity.name, "device": identity.device}
    if isinstance(credentials, Password):
        fields["password"] = credentials.text
    else:
        fields["token"] = credentials.token
    try:
        login = msgspec.convert(fields, wire.Login)
    except msgspec.ValidationError as error:
        raise BadArgument(f"not a password or token that a relay takes: {error}") from None
    answer = await _register_or_log_in(connection, login, register=credentials.register)
    if identity.account not in (b"", answer.account):
        raise CannotResume("this name is another account now; use a new key store for it")
    return msgspec.structs.replace(identity, token=answer.token, account=answer.account)


async def _register_or_log_in(
    connection: Connection, login: wire.Login, *, register: bool
) -> wire.Token:
    if not register:
        return await exchange(connection, login, wire.Token)
    registration = wire.Register(
        ref=login.ref,
        name=login.name,
        device=login.device,
        password=login.password,
        token=login.token,
    )
    try:
        return await exchange(connection, registration, wire.Token)
    except Forbidden as taken:
        # Perhaps by ourselves, in an attempt whose answer was lost: then we can log in.
        try:
            return await exchange(connection, login, wire.Token)
        except Unauthorized:
            raise taken from None


async def _hello(connection: Connection, identity: Identity) -> wire.Welcome:
    hello = wire.Hello(
        ref=2,
        token=identity.token,
        device=identity.device,
        client="louver",
        version=_version(),
        resume=identity.relay,
    )
    welcome = await exchange(connection, hello, wire.Welcome)
    if welcome.account != identity.account or welcome.device != identity.device:
        raise CannotResume("the relay takes this device for another one")
    if identity.relay not in (b"", welcome.relay):
        raise CannotResume("this is another relay than the one this key store belongs to")
    return welcome


async def exchange(connection: Connection, frame: wire.Frame, kind: type[T]) -> T:
    """One question before hello, and its answer. Raises the refusal as a typed error."""
    connection.send(frame)
    answer = await connection.receive()
    if isinstance(answer, kind):
        return answer
    if isinstance(answer, wire.Error):
        raise refusals.from_frame(answer)
    if isinstance(answer, wire.Bye):
        raise RateLimited(f"the relay said: {answer.reason}", retry_after=answer.reconnect_after)
    raise FrameRefused(f"the relay answered with the wrong frame, {type(answer).__name__}")


def _version() -> str:
    try:
        return version("louver")
    except PackageNotFoundError:  # run from a checkout
        return "source"
