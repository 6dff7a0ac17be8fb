"""The protocol by hand, in `tls` and `at_rest`: URL CA NAME PEER TEXT."""

import asyncio
import os
import ssl
import sys
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it ships no types
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol


class Plain:
    def __init__(self, socket: ClientConnection) -> None:
        self.socket, self.ref, self.inbox = socket, 0, list[dict[str, Any]]()

    async def receive(self) -> dict[str, Any]:
        frame: dict[str, Any] = msgpack.unpackb(await self.socket.recv())
        self.inbox += [frame] if frame["type"] == "deliver" else []
        return frame

    async def ask(self, type: str, **fields: Any) -> dict[str, Any]:
        self.ref += 1
        await self.socket.send(msgpack.packb({"type": type, "ref": self.ref, **fields}))
        while (frame := await self.receive()).get("ref") != self.ref:
            pass  # something unasked; a message is in the inbox
        if frame["type"] == "error":
            raise RuntimeError(f"{frame['name']}: {frame['message']}")
        return frame

    async def enter(self, name: str, password: str, device: bytes) -> None:
        token = await self.ask("register", name=name, password=password, device=device)
        await self.ask("hello", token=token["token"], device=device)

    async def send(self, name: str, text: str) -> dict[str, Any]:
        to = (await self.ask("devices", name=name))["account"]
        policy = await self.ask("policy", peer=to)
        how = {"mode": policy["modes"]["text"], "epoch": policy["epoch"]}
        return await self.ask("send", id=os.urandom(16), to=to, body=text.encode(), **how)

    async def next(self) -> dict[str, Any]:
        while not self.inbox:
            await self.receive()
        got = self.inbox.pop(0)
        ack = {"type": "ack", "conversation": got["conversation"], "seq": got["seq"]}
        await self.socket.send(msgpack.packb(ack))
        return got


async def main(url: str, ca: str, name: str, peer: str, text: str) -> None:
    tls, protocol = ssl.create_default_context(cafile=ca), Subprotocol("louver.v1.msgpack")
    async with connect(url, ssl=tls, subprotocols=[protocol], compression=None) as socket:
        me = Plain(socket)
        await me.enter(name, "a long password", os.urandom(16))
        print("accepted as number", (await me.send(peer, text))["seq"])
        print("received:", (await me.next())["body"].decode())


asyncio.run(main(*sys.argv[1:6]))
