"""One WebSocket to the relay: frames in, frames out, and what its end meant.

What may live here: opening a socket safely, the codec, the writer, the meaning of close codes.
What may not: what frames mean, and whether to come back; that is ``session.py``. Nothing else in
the client's library may import ``websockets``.

Reading is pulled: nobody calls ``receive``, nothing is read, and the relay feels it. Writing is
queued without waiting; what bounds the queue is that every message and request waits for an
answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl as tls
from ipaddress import ip_address
from typing import Literal
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidStatus,
    InvalidURI,
    NegotiationError,
)
from websockets.typing import Subprotocol

from client.refusals import from_close
from crypto_modes import wire
from crypto_modes.errors import BadArgument, ConnectionLost, Forbidden, FrameRefused, LouverError
from crypto_modes.wire.codec import Codec

Protocol = Literal["msgpack", "json"]

OPEN_SECONDS = 10.0
CLOSE_SECONDS = 2.0
# A page of history is the largest frame; the relay keeps it near 256 KiB.
RECEIVE_LIMIT = 1024 * 1024
_ABNORMAL = 1006


class Connection:
    """An open connection. Made by ``open_connection``."""

    __slots__ = ("_codec", "_out", "_socket", "_writer")

    def __init__(self, socket: ClientConnection, codec: Codec) -> None:
        self._socket = socket
        self._codec = codec
        self._out: asyncio.Queue[wire.Frame] = asyncio.Queue()
        self._writer = asyncio.get_running_loop().create_task(self._write())

    def send(self, frame: wire.Frame) -> None:
        """Queue a frame; dropped where the connection is gone, as ``receive`` will tell."""
        self._out.put_nowait(frame)

    async def receive(self) -> wire.ServerFrame:
        """The next frame.

        Raises:
            ConnectionLost: the connection broke, or the relay said to come back.
            LouverError: the typed reason why coming back is pointless.
        """
        try:
            data = await self._socket.recv(decode=False)
        except ConnectionClosed as closed:
            raise _closed(closed) from None
        try:
            return self._codec.decode_server(data)
        except FrameRefused as error:
            await self._socket.close(1007, "invalid frame")
            raise ConnectionLost(f"the relay sent an invalid frame: {error}") from None

    async def close(self) -> None:
        """Flush what is queued, then close."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._out.join()
        self._writer.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._writer
        await self._socket.close()

    async def _write(self) -> None:
        encode, text = self._codec.encode, self._codec.text
        gone = False
        while True:
            frame = await self._out.get()
            if not gone:
                try:
                    await self._socket.send(encode(frame), text=text)
                except ConnectionClosed:
                    gone = True  # receive() tells; go on emptying, so that nobody waits
            self._out.task_done()


async def open_connection(
    url: str, *, protocol: Protocol = "msgpack", ssl: tls.SSLContext | None = None
) -> Connection:
    """Connect to ``url`` and negotiate the subprotocol.

    ``ssl`` is used for ``wss://``. Compression is off, because a compressed length tells about
    the text. Keepalive is the relay's: its pings are answered.

    Raises:
        ConnectionLost: nobody answers there, or not yet.
        Forbidden: the relay refused the upgrade, or speaks another protocol.
        BadArgument: not a URL that may be used.
    """
    codec = wire.CODECS[wire.JSON if protocol == "json" else wire.MSGPACK]
    secure, loopback = check_url(url)
    try:
        socket = await connect(
            url,
            ssl=ssl if secure else None,
            subprotocols=[Subprotocol(codec.name)],
            compression=None,
            open_timeout=OPEN_SECONDS,
            close_timeout=CLOSE_SECONDS,
            ping_interval=None,
            max_size=RECEIVE_LIMIT,
            proxy=None if loopback else True,
        )
    except (OSError, EOFError, TimeoutError, InvalidHandshake, InvalidURI) as error:
        raise _not_opened(url, error) from None
    if socket.subprotocol != codec.name:
        await socket.close(1002)
        raise Forbidden(f"{url} is no Louver relay: it does not speak {codec.name}")
    return Connection(socket, codec)


def check_url(url: str) -> tuple[bool, bool]:
    """Whether ``url`` is encrypted, and whether it is this machine.

    Raises ``BadArgument`` for anything but ``wss://``, or ``ws://`` on the loopback: tokens and
    messages in ``tls`` and ``at_rest`` must not cross a network in the clear.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    loopback = host == "localhost"
    with contextlib.suppress(ValueError):
        loopback = loopback or ip_address(host).is_loopback
    if parts.scheme not in ("ws", "wss") or not host:
        raise BadArgument(f"{url!r} is no relay's address; write wss://HOST:PORT")
    if parts.scheme == "ws" and not loopback:
        raise BadArgument("ws:// is unencrypted and only for this machine; write wss://")
    return parts.scheme == "wss", loopback


def _closed(closed: ConnectionClosed) -> LouverError:
    if closed.rcvd is None:
        return from_close(_ABNORMAL, "no close frame")
    return from_close(closed.rcvd.code, closed.rcvd.reason)


def _not_opened(url: str, error: Exception) -> LouverError:
    match error:
        case tls.SSLCertVerificationError():
            reason = error.verify_message
            return Forbidden(
                f"the certificate of {url} is not trusted: {reason}; if the relay has an"
                " authority of its own, trust its file: --ca ca.pem"
            )
        case tls.SSLError():
            return ConnectionLost(f"no TLS at {url}; this may be another program's port")
        case InvalidStatus() if error.response.status_code < 500:
            said = bytes(error.response.body or b"").decode("utf-8", "replace").strip()
            return Forbidden(f"{url} refused: {said[:300] or error}")
        case NegotiationError():
            return Forbidden(f"{url} is no Louver relay: {error}")
        case InvalidURI():
            return BadArgument(str(error))
        case TimeoutError():
            return ConnectionLost(f"{url} did not answer within {OPEN_SECONDS:.0f} s")
        case OSError():
            return ConnectionLost(
                f"nobody answers at {url} ({error.strerror or error}); the relay is not running, or"
                " this is not its address"
            )
    return ConnectionLost(f"{url} does not answer as a WebSocket ({error}); write wss://")
