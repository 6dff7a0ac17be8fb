"""Bytes to frames and back, for both subprotocols, by typed decoding only.

Never decode untyped: a megabyte of nested empties blocks an event loop for 100 ms, and a map
with integer keys floods its hash table. A typed decoder allocates only what a frame may hold.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

import msgspec

from crypto_modes.errors import FrameRefused, LimitExceeded, UnknownType
from crypto_modes.wire.client_frames import ClientFrame
from crypto_modes.wire.parts import FRAME_LIMIT, Frame, Ref
from crypto_modes.wire.server_frames import ServerFrame

MSGPACK = "louver.v1.msgpack"
JSON = "louver.v1.json"

T_co = TypeVar("T_co", covariant=True)


class _Decoder(Protocol[T_co]):
    def decode(self, data: bytes, /) -> T_co: ...


class Codec:
    """One subprotocol: ``name`` as negotiated, ``text`` whether its WebSocket frames are text."""

    __slots__ = ("_client", "_server", "encode", "name", "text")

    def __init__(
        self,
        name: str,
        encoder: msgspec.msgpack.Encoder | msgspec.json.Encoder,
        client: _Decoder[ClientFrame],
        server: _Decoder[ServerFrame],
    ) -> None:
        self.name = name
        self.text = name == JSON
        self.encode = encoder.encode
        self._client = client
        self._server = server

    def decode_client(self, data: bytes, limit: int = FRAME_LIMIT) -> ClientFrame:
        """The frame a client sent. Raises ``LimitExceeded``, ``UnknownType``, ``FrameRefused``."""
        return _decode(self._client, data, limit)

    def decode_server(self, data: bytes) -> ServerFrame:
        """The frame a relay sent. Raises ``UnknownType`` or ``FrameRefused``."""
        return _decode(self._server, data, len(data))


def _decode(decoder: _Decoder[T_co], data: bytes, limit: int) -> T_co:
    if len(data) > limit:
        raise LimitExceeded(f"a frame of {len(data)} bytes is over the limit of {limit}")
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        text = str(error)
        if "$.type" in text:
            raise UnknownType(text) from None
        raise FrameRefused(text) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise FrameRefused(str(error)) from None


CODECS: dict[str, Codec] = {
    MSGPACK: Codec(
        MSGPACK,
        msgspec.msgpack.Encoder(),
        msgspec.msgpack.Decoder(ClientFrame),
        msgspec.msgpack.Decoder(ServerFrame),
    ),
    JSON: Codec(
        JSON,
        msgspec.json.Encoder(),
        msgspec.json.Decoder(ClientFrame),
        msgspec.json.Decoder(ServerFrame),
    ),
}


def ref_of(data: bytes, codec: Codec) -> int:
    """The ``ref`` of a frame that could not be decoded, or 0, so that its error can name it."""
    try:
        if codec.text:
            return msgspec.json.decode(data, type=_OnlyRef).ref
        return msgspec.msgpack.decode(data, type=_OnlyRef).ref
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return 0


class _OnlyRef(msgspec.Struct):
    ref: Ref = 0


def size_of(frame: Frame) -> int:
    """The size of a frame in MessagePack, in bytes."""
    return len(CODECS[MSGPACK].encode(frame))
