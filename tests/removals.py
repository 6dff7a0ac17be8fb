"""How protections are taken away: functions from what stands in the product to what is planted.

Only these functions live here; ``planted.py`` says where each is planted and what must notice.
They import the product when they are called and not before, so that nothing is imported too early.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from hashlib import sha256
from typing import Any

import msgspec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

Change = Callable[[Any], Any]


def always(value: object) -> Change:
    """A function that says the same whatever it is given."""
    return lambda real: lambda *given, **named: value


def put(value: object) -> Change:
    """A constant."""
    return lambda real: value


# What content is told apart by when it is parsed: without these nobody could say anything.
_CONTENT = re.compile(
    "louver/v1/(reply|disappearing|attachment_reference|reaction|edit|deletion|timer)"
)


def unlabelled(real: Any) -> Any:
    def enc(label: str, *items: Any) -> bytes:
        return real(label if _CONTENT.fullmatch(label) else "louver/v1/x", *items)  # type: ignore[no-any-return]  # as it is

    return enc


def admitting_all(real: Any) -> Any:
    async def admit(self: Any, shown: Any) -> None:
        pass

    return admit


def without_aad(real: Any) -> Any:
    return lambda key, nonce, data, aad: real(key, nonce, data, b"")


def at_once(value: object) -> Change:
    """A coroutine that does nothing, and says ``value``."""

    async def said(*given: Any, **named: Any) -> object:
        return value

    return lambda real: said


def any_log(real: Any) -> Any:
    """A log under whatever key its answer names."""

    def opened(self: Any, log: Any) -> Any:
        self._store.delete("key_log", b"key")
        return real(self, log)

    return opened


def known_at_all(real: Any) -> Any:
    return lambda self, time: time is not None


class Nobody(Exception):
    """What no code raises: a clause that would catch errors catches none."""


def telling(real: Any) -> Any:
    def tell(self: Any, delivery: Any, reason: str) -> None:
        from crypto_modes import wire

        self._session.post(wire.Read(conversation=delivery.conversation, seq=delivery.seq))
        real(self, delivery, reason)

    return tell


def one_for_all(real: Any) -> Any:
    made: dict[bytes, bytes] = {}

    def seal(self: Any, envelope: Any, device: bytes, plaintext: bytes, *rest: Any) -> bytes:
        return made.setdefault(envelope.message, real(self, envelope, device, plaintext, *rest))

    return seal


def unsigned_kind(real: Any) -> Any:
    def signed(account: bytes, device: bytes, prekey: Any) -> bytes:
        from crypto_modes.encoding import enc

        return enc("louver/v1/prekey", account, device, prekey.id, prekey.key, prekey.expires)

    return signed


def without_kem_key(real: Any) -> Any:
    return lambda context, prekeys, *rest: real(context, prekeys._replace(kem=b""), *rest)


def without_parties(real: Any) -> Any:
    def transcript(context: Any, *rest: Any) -> Any:
        nobody = type(context.initiator)(b"", b"", b"", b"", b"")
        return real(context._replace(initiator=nobody, responder=nobody), *rest)

    return transcript


def without_first_dh(real: Any) -> Any:
    return lambda th, agreed, secret: real(th, agreed[1:], secret)


def for_nobody(real: Any) -> Any:
    return lambda account, *rest: real(b"", *rest)


def any_length(real: Any) -> Any:
    return lambda decoder, data, limit: real(decoder, data, len(data))


def untyped(real: Any) -> Any:
    """Decode whatever comes, make texts of its keys, and only then hold it to the types."""

    def decode(decoder: Any, data: bytes, limit: int) -> Any:
        try:
            anything = msgspec.msgpack.decode(data)
        except msgspec.DecodeError:
            return real(decoder, data, limit)
        again = msgspec.msgpack.encode(with_text_keys(anything))
        return real(decoder, again, limit + len(again))

    return decode


def with_text_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): with_text_keys(each) for key, each in value.items()}
    return [with_text_keys(each) for each in value] if isinstance(value, list) else value


def compressing(real: Any) -> Any:
    return lambda url, **named: real(url, **(named | {"compression": "deflate"}))


def offering_compression(real: Any) -> Any:
    factory = ServerPerMessageDeflateFactory()
    return lambda **named: real(**named, extensions=[factory])


def telling_who_blocks(real: Any) -> Any:
    async def peer(self: Any, own: bytes, account: bytes) -> Any:
        from crypto_modes.errors import Forbidden

        entry = await self.entry(account)
        if own in entry.blocks:
            raise Forbidden("this account has blocked you")
        return await real(self, own, account)

    return peer


def anybodys(real: Any) -> Any:
    async def peer_of(self: Any, own: bytes, to: bytes, conversation: bytes) -> bytes:
        if len(to) == 16 or len(conversation) != 16:
            return await real(self, own, to, conversation)  # type: ignore[no-any-return]  # as it is
        parties = await self._store.parties(conversation)
        return parties[0] if parties else await real(self, own, to, conversation)

    return peer_of


def without_created(real: Any) -> Any:
    return lambda policy: real(msgspec.structs.replace(policy, created=0))


def one_salt(real: Any) -> Any:
    def begin(self: Any, tools: Any) -> None:
        real(self, tools)
        self._random = bytes

    return begin


def anybodys_upload(real: Any) -> Any:
    async def own(self: Any, session: Any, upload: bytes) -> Any:
        return await self._find(upload) or await real(self, session, upload)

    return own


def bound_to_nothing(real: Any) -> Any:
    return lambda self, meta, dek_id: b"no additional data"


def any_context(real: Any) -> Any:
    return lambda kek, salt, context: real(kek, salt, b"")


def saying_why(real: Any) -> Any:
    def unpad(padded: bytes) -> bytes:
        from crypto_modes.errors import CannotOpen

        try:
            return real(padded)  # type: ignore[no-any-return]  # as it is
        except CannotOpen:
            raise CannotOpen("the padding is wrong") from None

    return unpad


def kept_after_sending(real: Any) -> Any:
    begun = set()

    @contextmanager
    def transaction(self: Any) -> Iterator[None]:
        rows = self._rows

        def commit() -> None:
            begun.discard(rows)
            rows.commit()

        if rows not in begun:
            begun.add(rows)
            rows.begin()
            asyncio.get_running_loop().call_later(0.02, commit)
        yield

    return transaction


def acked_unread(real: Any) -> Any:
    from crypto_modes import wire

    def delivered(self: Any, delivery: Any) -> None:
        self._session.post(wire.Ack(conversation=delivery.conversation, seq=delivery.seq))
        real(self, delivery)

    return delivered


def row_by_row(real: Any) -> Any:
    return lambda self: nullcontext()


def keeping_used_keys(real: Any) -> Any:
    def opened(
        self: Any, peer: bytes, session: Any, unsealed: Any, *rest: Any, **named: Any
    ) -> Any:
        return real(self, peer, session, unsealed._replace(used=[]), *rest, **named)

    return opened


def turning_with_old_keys(real: Any) -> Any:
    return lambda self, remote, fresh: real(self, remote, sha256(self.private).digest())


def by_key_alone(real: Any) -> Any:
    return lambda first, second: real((b"", first[1]), (b"", second[1]))


def unauthenticated(real: Any) -> Any:
    """AES-256-CTR as in GCM, without a look at the tag."""

    def opens(key: bytes, nonce: bytes, data: bytes, aad: bytes) -> bytes:
        counter = modes.CTR(nonce + b"\0\0\0\2")
        return Cipher(algorithms.AES(key), counter).decryptor().update(data[:-16])

    return opens


def in_order(real: Any) -> Any:
    def note(self: Any, seq: int) -> Any:
        real(self, seq)
        from client.sequence import Arrival

        return Arrival()

    return note


def unpinned(real: Any) -> Any:
    def key(self: Any, account: bytes) -> Any:
        return real(self, account) if account == self._account else None

    return key


def deaf_to_revocation(real: Any) -> Any:
    def event(self: Any, each: Any) -> None:
        from server.bus import Revoked

        if type(each) is not Revoked:
            real(self, each)

    return event


def shown_all_the_same(real: Any) -> Any:
    def keep(self: Any, message: Any, *rest: Any, **named: Any) -> Any:
        return real(self, message, *rest, **named) or message

    return keep


def barely_padded(body: bytes) -> bytes:
    """The least that a relay takes, and from there on every length as it is."""
    return (body + b"\x80").ljust(256, b"\0")


def unpadded(padded: bytes) -> bytes:
    return padded.rstrip(b"\0")[:-1]


def stated_head(real: Any) -> Any:
    """The vault believes the relay what the head is."""
    return lambda previous, record: record.chain


def once_a_call(real: Any) -> Any:
    """A check that is made the first time for each grant, and then taken as made."""
    made: list[object] = []

    async def check(self: object, reader: object, call: object) -> None:
        if not any(each is call for each in made):
            made.append(call)
            await real(self, reader, call)

    return check


def remembered(real: Any) -> Any:
    """What was read once is in force for good."""

    async def people(self: Any) -> Any:
        if not hasattr(self, "_remembered"):
            self._remembered = await real(self)
        return self._remembered

    return people


def from_now_on(real: Any) -> Any:
    """The vault forgets as its clock says now, whatever it was before."""

    def forget(self: Any) -> None:
        self._since = 0
        real(self)

    return forget
