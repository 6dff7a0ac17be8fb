"""The mode ``at_rest``: encrypted on disk, on the bus and in backups; readable in the relay.

What may live here: the record format, the hash chain and the five verbs of this mode. What may
not: where data keys come from (``tools.data_keys``).

A record is 82 bytes over the padded body::

    0x01 || alg || dek_id(16) || salt(16) || commit(32) || ciphertext || tag(16)

    key(32) || commit(32) = HKDF(DEK, salt, enc("louver/v1/at_rest", alg, dek_id), 64)
    ciphertext || tag     = AES-256-GCM(key, nonce = 0*12, pad(body), aad)
    aad   = enc("louver/v1/at_rest/aad", deployment, version, mode, epoch, conversation, seq,
                sender, device, message_id, kind, time, dek_id)
    chain = H(enc("louver/v1/chain", previous, seq, H(record)))

The nonce is zero because each key seals one record: it comes from 16 fresh random bytes. So
processes need not agree on a counter, and a restored snapshot cannot repeat one. The
commitment ties the record to one key before anything is decrypted: no ciphertext opens under
two keys, and trying keys on it tells nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from crypto_modes import content, wire
from crypto_modes.attachments import BITS, Chunks, count_of
from crypto_modes.contract import (
    DIGEST_SIZE,
    NO_DIGEST,
    VERSION,
    BlobMeta,
    ClientMode,
    ClientTools,
    Draft,
    Evidence,
    Meta,
    Pieces,
    Sealed,
    ServerMode,
    ServerTools,
    Stored,
)
from crypto_modes.encoding import enc
from crypto_modes.errors import BadArgument, CannotOpen
from crypto_modes.padding import pad, unpad
from crypto_modes.primitives import NONCE_SIZE, TAG_SIZE, H, aead_open, aead_seal, equal, hkdf
from crypto_modes.tls import TlsClient, check_body, deliver

NAME = "at_rest"
FORMAT = 0x01
AES_256_GCM = 0x01
OVERHEAD = 82

_PREFIX = bytes((FORMAT, AES_256_GCM))
_DEK_ID = slice(2, 18)
_SALT = slice(18, 34)
_COMMIT = slice(34, 66)
_HEADER = 66
_NONCE = bytes(NONCE_SIZE)

# `enc` with so many items costs more than the encryption. All their sizes are fixed, so the same
# bytes come from parts encoded once and one Struct; the tests hold them equal to `enc`.
_INFO = enc("louver/v1/at_rest", AES_256_GCM, bytes(16))[:-16]
_AAD = {
    kind: struct.Struct(f">IQ I16s IQ I16s I16s I16s I{len(kind)}s IQ I16s").pack
    for kind in wire.KINDS
}
_CHAIN = enc("louver/v1/chain")
_LINK = struct.Struct(">I32s IQ I32s").pack
_UNLIKE_ID = (16).__ne__


class AtRestClient(TlsClient):
    """The ends of ``at_rest``: the relay seals, so the body travels as it is, inside TLS."""

    def seal(self, draft: Draft) -> Sealed:
        """The content as it is, and what it answers."""
        body = content.with_reply(draft.content, draft.reply_to)
        return Sealed(mode=NAME, epoch=draft.epoch, body=body)


class AtRestServer:
    """The middle of ``at_rest``: plaintext lives only between the socket and this class."""

    __slots__ = ("_bound", "_data_keys", "_deployment", "_random")

    def __init__(self, tools: ServerTools) -> None:
        self._bound = enc("louver/v1/at_rest/aad", tools.deployment, VERSION, NAME)
        self._deployment = tools.deployment
        self._random: Callable[[int], bytes] = tools.random
        self._data_keys = tools.data_keys

    def admit(self, meta: Meta, sealed: Sealed, previous: bytes) -> Stored:
        """Encrypt under the sender's data key, bound to ``meta``, and extend the hash chain.

        Raises:
            Need: there is no usable data key yet.
            FrameRefused: copies, a commitment, or a body over the limit.
        """
        check_body(sealed)
        dek_id, dek = self._data_keys.current(meta.conversation, meta.sender, meta.time)
        salt = self._random(16)
        key, commit = _derive(dek, salt, dek_id)
        aad = self._bind(meta, dek_id)
        text = aead_seal(key, _NONCE, pad(sealed.body), aad)
        record = b"".join((_PREFIX, dek_id, salt, commit, text))
        return Stored(meta, record, chain=link(previous, meta.seq, record))

    def emit(self, stored: Stored, device: bytes) -> wire.Deliver:
        """Decrypt for delivery. Raises ``Need`` or ``CannotOpen``."""
        return deliver(stored, self._open(stored))

    def reveal(self, stored: Stored, evidence: Evidence) -> bytes:
        """The relay can read; that it does so only under a granted case is the caller's rule."""
        return self._open(stored)

    def pieces(self, meta: BlobMeta, head: bytes = b"") -> Pieces:
        """Attachments in the sealed format of ``attachments``, under the sender's data key.

        Raises ``Need`` or ``CannotOpen``. It is asked anew for every few pieces, so that a key that
        was taken away is away for attachments under way as well.
        """
        if head:
            dek_id = head[:16]
            chunks = Chunks.read(self._data_keys.find(dek_id), head[16:], self._place(meta, dek_id))
        else:
            dek_id, dek = self._data_keys.current(meta.conversation, meta.sender, meta.time)
            chunks = Chunks(dek, self._random(16), BITS, self._place(meta, dek_id))
        return SealedPieces(dek_id, chunks, meta.size)

    def _place(self, meta: BlobMeta, dek_id: bytes) -> bytes:
        """What the key of an attachment is bound to: its file passes for no other's."""
        return enc(
            "louver/v1/at_rest/blob", self._deployment, VERSION, meta.mode, meta.epoch,
            meta.conversation, meta.sender, meta.id, meta.kind, meta.size, meta.time, dek_id,
        )  # fmt: skip

    def _open(self, stored: Stored) -> bytes:
        record = stored.record
        if len(record) < OVERHEAD or record[:2] != _PREFIX:
            raise CannotOpen
        dek_id = record[_DEK_ID]
        key, commit = _derive(self._data_keys.find(dek_id), record[_SALT], dek_id)
        if not equal(commit, record[_COMMIT]):
            raise CannotOpen
        return unpad(aead_open(key, _NONCE, record[_HEADER:], self._bind(stored.meta, dek_id)))

    def _bind(self, meta: Meta, dek_id: bytes) -> bytes:
        """The AAD: whoever edits the database can move a record nowhere else.

        Raises ``CannotOpen`` for fields that no message has: then the database was edited.
        """
        ids = meta.conversation, meta.sender, meta.device, meta.id, dek_id
        if any(map(_UNLIKE_ID, map(len, ids))):
            raise CannotOpen
        try:
            return self._bound + _AAD[meta.kind](
                8, meta.epoch, 16, meta.conversation, 8, meta.seq, 16, meta.sender,
                16, meta.device, 16, meta.id, len(meta.kind), meta.kind.encode(),
                8, meta.time, 16, dek_id,
            )  # fmt: skip
        except (KeyError, struct.error):
            raise CannotOpen from None


class SealedPieces:
    """The pieces of an attachment, each a chunk; ``head`` is ``dek_id(16) || head of the file``."""

    __slots__ = ("_chunks", "_last", "head")

    overhead = TAG_SIZE

    def __init__(self, dek_id: bytes, chunks: Chunks, size: int) -> None:
        self.head = dek_id + chunks.head
        self._chunks = chunks
        self._last = count_of(size, chunks.size) - 1

    def admit(self, index: int, piece: bytes) -> bytes:
        """The piece as a chunk."""
        return self._chunks.seal(index, piece, last=index == self._last)

    def emit(self, index: int, stored: bytes) -> bytes:
        """The chunk as a piece. Raises ``CannotOpen``."""
        return self._chunks.open(index, stored, last=index == self._last)


def _derive(dek: bytes, salt: bytes, dek_id: bytes) -> tuple[bytes, bytes]:
    """The key of one record and its commitment, 32 bytes each."""
    okm = hkdf(dek, salt=salt, info=_INFO + dek_id, length=64)
    return okm[:32], okm[32:]


def link(previous: bytes, seq: int, record: bytes) -> bytes:
    """The head of the hash chain after ``record``, 32 bytes."""
    return link_digest(previous, seq, H(record))


def link_digest(previous: bytes, seq: int, digest: bytes) -> bytes:
    """The same for a record of which only ``digest`` is there, H of it, 32 bytes."""
    if len(previous) != DIGEST_SIZE:
        raise BadArgument(f"the head of a chain has {DIGEST_SIZE} bytes")
    return H(_CHAIN + _LINK(32, previous, 8, seq, 32, digest))


def heads_digest(heads: Iterable[tuple[bytes, int, bytes]]) -> bytes:
    """One digest, 32 bytes, over conversations, numbers of messages and the heads after them, in
    ascending order: ``H(enc("louver/v1/chain/heads", conversation, seq, head, …))``."""
    return H(enc("louver/v1/chain/heads", *(part for head in heads for part in head)))


def data_key_id(record: bytes) -> bytes:
    """The id of the data key of a record, 16 bytes; empty for what is no record."""
    return record[_DEK_ID] if len(record) >= OVERHEAD and record[:2] == _PREFIX else b""


def verify_chain(stored: Iterable[Stored], previous: bytes = NO_DIGEST, seq: int = 0) -> bytes:
    """Check messages in order of ``seq`` against their hash chain; the head after the last.

    ``previous`` and ``seq`` are the head and number before the first. Messages of other modes
    keep the head as it is. A cut-off end shows only against a head that was kept elsewhere.

    Raises:
        CannotOpen: a message is missing, repeated, moved or replaced; the text says which.
    """
    for message in stored:
        meta = message.meta
        if meta.seq != seq + 1:
            raise CannotOpen(f"message {seq + 1} is missing: after {seq} comes {meta.seq}")
        seq = meta.seq
        if meta.mode == NAME:
            previous = link(previous, seq, message.record)
        if not equal(previous, message.chain):
            raise CannotOpen(f"message {seq} or one before it is not what was stored")
    return previous


class AtRest:
    """The mode as it is registered."""

    name = NAME
    strength = 20
    words = "Stored encrypted; the operator can read"
    visibility: Mapping[str, bool] = MappingProxyType(
        {
            "network_tap": False,
            "database": False,
            "backup": False,
            "bus": False,
            "logs": False,
            "relay_memory": True,
            "vault_without_grant": False,
            "compelled_operator": True,
            "stolen_device_past": True,
            "stolen_device_future": True,
            "stolen_device_healed": True,
        }
    )

    def server(self, tools: ServerTools) -> ServerMode:
        """The relay's side."""
        return AtRestServer(tools)

    def client(self, tools: ClientTools) -> ClientMode:
        """The ends' side."""
        return AtRestClient()


MODE = AtRest()
