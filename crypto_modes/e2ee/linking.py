"""Linking a new device by an existing one: the code, and the three messages; modes.md 17a–17d.

What may live here: pure functions over bytes. What may not: what a client keeps (``linker.py``),
what is handed over (``handover.py``), how the messages travel (through the relay's mailbox).

::

    new device                              relay                       existing device
    offer    = keys, proof, MAC  ─────────► box ─────────►  a person carries the code, and approves
    opens, verifies              ◄───────── box ◄─────────  answer = sealed hand-over
    confirmation                 ─────────► box ─────────►  "linked"

The relay carries all three and knows neither the secret in the code nor a private key. The code
has a digest of the offer too: whoever reads it over a shoulder cannot offer another device with it.
All of what is refused raises ``KeyRefused``, a code that is no code ``BadArgument``.
"""

from __future__ import annotations

import base64
import binascii
from typing import NamedTuple

from crypto_modes import primitives
from crypto_modes.contract import ID_SIZE
from crypto_modes.e2ee.devices import Request
from crypto_modes.encoding import dec, enc, number
from crypto_modes.errors import BadArgument, CannotOpen, FrameRefused, KeyRefused
from crypto_modes.keys import AgreementKey
from crypto_modes.primitives import KEY_SIZE, H, equal

SECRET_SIZE = 16
DIGEST_SIZE = 8  # of the offer in the code: to find another offer takes 2^64 trials in minutes
OFFER_LIMIT = 1024
LABEL_LIMIT = 64  # bytes of the name that a new device gives itself

_VERSION = b"\x01"
_PREFIX = "LOUVER:LINK:"
_GROUP = 4
_CODE_SIZE = len(_VERSION) + SECRET_SIZE + DIGEST_SIZE  # 25 bytes: 40 letters, ten groups
_ONCE = bytes(primitives.NONCE_SIZE)  # each key encrypts one hand-over
_OFFER, _ANSWER = "louver/v1/link/offer", "louver/v1/link/answer"


class Code(NamedTuple):
    """What a person carries from the new device to the existing one, by QR or by hand."""

    secret: bytes
    digest: bytes

    def text(self) -> str:
        """40 letters and digits in ten groups."""
        letters = base64.b32encode(_VERSION + self.secret + self.digest).decode()
        groups = [letters[start : start + _GROUP] for start in range(0, len(letters), _GROUP)]
        return "-".join(groups)

    def box(self, account: bytes) -> bytes:
        """The id of the mailbox that the two devices use, 16 bytes."""
        return Keys.derive(self.secret, account).box

    def qr(self) -> str:
        """The same for a QR code, in its alphanumeric mode, which makes it small."""
        return _PREFIX + self.text().replace("-", "")

    @classmethod
    def read(cls, text: str) -> Code:
        """The code in what was typed or scanned. Raises ``BadArgument``."""
        letters = "".join(text.upper().split()).removeprefix(_PREFIX).replace("-", "")
        try:
            # 0 and 1 are not in the alphabet: who types them has read O and I.
            raw = base64.b32decode(letters, map01="I")
        except (binascii.Error, ValueError):
            raw = b""
        if len(raw) != _CODE_SIZE or not raw.startswith(_VERSION):
            raise BadArgument("this is no code of a new device: it has ten groups of four letters")
        return cls(raw[1 : 1 + SECRET_SIZE], raw[1 + SECRET_SIZE :])

    def __repr__(self) -> str:
        return "<Code>"


class Keys(NamedTuple):
    """What both derive from the secret: the id of the mailbox, and two keys of 32 bytes."""

    box: bytes
    offer: bytes
    seal: bytes

    @classmethod
    def derive(cls, secret: bytes, account: bytes) -> Keys:
        """The keys of one attempt to link a device to ``account``."""
        okm = primitives.hkdf(secret, info=enc("louver/v1/link", account), length=80)
        return cls(okm[:16], okm[16:48], okm[48:])

    def __repr__(self) -> str:
        return "<Keys>"


class Offer(NamedTuple):
    """What the new device says of itself: its request, an ephemeral X25519 key, its name."""

    request: Request
    ephemeral: bytes
    label: str


class Shared(NamedTuple):
    """What both have at the end: the transcript's digest, and the keys of this one exchange."""

    th: bytes
    key: bytes
    commitment: bytes
    confirm: bytes

    def __repr__(self) -> str:
        return "<Shared>"


class Answered(NamedTuple):
    """An answer that was opened: the id of the device that gave it, and what it handed over."""

    device: bytes
    handover: bytes
    shared: Shared

    def __repr__(self) -> str:
        return "<Answered>"


def offer(account: bytes, made: Offer, secret: bytes) -> tuple[Code, bytes]:
    """The code to show, and the first message to put into the mailbox."""
    label = made.label.encode()
    if len(label) > LABEL_LIMIT:
        raise BadArgument(f"a device's name has at most {LABEL_LIMIT} bytes")
    body = enc(_OFFER, account, *made.request[:4], made.ephemeral, label, made.request.signature)
    mark = primitives.hmac(Keys.derive(secret, account).offer, body)
    return Code(secret, H(body)[:DIGEST_SIZE]), body + mark


def read_offer(account: bytes, code: Code, raw: bytes) -> Offer:
    """The offer that ``code`` belongs to. Raises ``KeyRefused`` for any other."""
    body, mark = raw[:-KEY_SIZE], raw[-KEY_SIZE:]
    right = primitives.hmac(Keys.derive(code.secret, account).offer, body)
    if len(raw) > OFFER_LIMIT or not equal(mark, right):
        raise KeyRefused("the relay shows a device that does not know this code; do not go on")
    if not equal(H(body)[:DIGEST_SIZE], code.digest):
        raise KeyRefused("this code belongs to another device than the one offered; do not go on")
    items = _items(_OFFER, body, 8)
    named, device, signing, agreement, created, ephemeral, label, signature = items
    if named != account:
        raise KeyRefused("the new device offers itself to another account")
    if (len(device), len(created)) != (ID_SIZE, 8) or len(label) > LABEL_LIMIT:
        raise KeyRefused("a field of this offer has a size that it cannot have")
    request = Request(device, signing, agreement, number(created), signature)
    request.check(account)
    primitives.x25519_check(ephemeral)
    return Offer(request, ephemeral, label.decode(errors="replace"))


def answer(
    account: bytes,
    secret: bytes,
    offered: bytes,
    remote: bytes,
    own: tuple[bytes, AgreementKey],
    handover: bytes,
) -> tuple[bytes, Shared]:
    """The second message, to the ``remote`` ephemeral key of the offer. ``own`` is the existing
    device's id and its ephemeral key.
    """
    device, ephemeral = own
    keys = Keys.derive(secret, account)
    public = ephemeral.public
    shared = _shared(account, keys, offered, (device, public), ephemeral.agree(remote))
    sealed = primitives.aead_seal(shared.key, _ONCE, handover, _aad(shared))
    return enc(_ANSWER, device, public, shared.commitment, sealed), shared


def open_answer(
    account: bytes, secret: bytes, offered: bytes, ephemeral: AgreementKey, raw: bytes
) -> Answered:
    """The hand-over in the answer to this device's offer. Raises ``KeyRefused`` where it does not
    come from whoever holds the code.
    """
    keys = Keys.derive(secret, account)
    device, public, commitment, sealed = _items(_ANSWER, raw, 4)
    if len(device) != ID_SIZE:
        raise KeyRefused("the answer does not say which device it comes from")
    shared = _shared(account, keys, offered, (device, public), ephemeral.agree(public))
    # Before decryption: GCM alone would let one answer open under more than one secret.
    if not equal(commitment, shared.commitment):
        raise KeyRefused("the answer does not come from a device that knows the code")
    try:
        opened = primitives.aead_open(shared.key, _ONCE, sealed, _aad(shared))
    except CannotOpen:
        raise KeyRefused("the answer was altered on its way") from None
    return Answered(device, opened, shared)


def confirmation(shared: Shared, answered: bytes) -> bytes:
    """The third message, 32 bytes: the new device has opened exactly this answer."""
    said = enc("louver/v1/link/confirmed", shared.th, H(answered))
    return primitives.hmac(shared.confirm, said)


def _shared(
    account: bytes, keys: Keys, offered: bytes, own: tuple[bytes, bytes], agreed: bytes
) -> Shared:
    th = H(enc("louver/v1/link/transcript", account, keys.box, offered, *own))
    info = enc("louver/v1/link/keys", th)
    okm = primitives.hkdf(agreed, salt=keys.seal, info=info, length=96)
    return Shared(th, okm[:32], okm[32:64], okm[64:])


def _aad(shared: Shared) -> bytes:
    return enc("louver/v1/link/handed", shared.th, shared.commitment)


def _items(label: str, raw: bytes, count: int) -> list[bytes]:
    try:
        items = dec(label, raw)
    except FrameRefused:
        items = []
    if len(items) != count:
        raise KeyRefused("this is no message of linking a device")
    return items
