"""A client's own keys: its account key, its device's keys, its prekeys; modes.md 17 and 19.

What may live here: making, storing, rotating, publishing and using up one's own keys. What may
not: other people's (``peers.py``). Signed prekey and last-resort KEM key are rotated after 7
days and kept for 30; one-time keys are kept until they are used or 90 days old.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from crypto_modes import wire
from crypto_modes.contract import ClientTools, Secretive
from crypto_modes.e2ee import devices
from crypto_modes.e2ee.devices import ML_KEM_768, X25519
from crypto_modes.e2ee.header import First
from crypto_modes.e2ee.pqxdh import Party
from crypto_modes.errors import BadArgument, CannotOpen, KeyRefused
from crypto_modes.keys import AgreementKey, KemKey, SigningKey
from crypto_modes.primitives import H

OWN = "e2ee_own"  # b"" -> Own
PREKEYS = "e2ee_prekeys"  # id u64 -> Stored
REPLAYS = "e2ee_replays"  # last-resort key id u64 || H(first-message block) -> b""

DAY = 24 * 60 * 60 * 1000
ROTATION = 7 * DAY
LIFE = 30 * DAY
ONCE_LIFE = 90 * DAY
ONCE_COUNT = 100
REFILL_BELOW = 50
# One-time keys of one algorithm made in 24 hours, whatever a relay says it has left: each is stored
# here until it is used, for up to 90 days.
MINT_LIMIT = 300
FRAME_PREKEYS = 40  # KEM prekeys have 1.3 KB on the wire: 40 stay under the frame limit

Use = Literal["signed", "once", "last"]


class Own(Secretive, msgspec.Struct, array_like=True):
    """``account_seed`` is empty on a device that was linked without it; ``signed`` and ``last`` are
    prekey ids; ``minted`` counts the one-time keys made since ``minted_since``, by algorithm;
    ``version`` is the highest of the device lists that were signed here, published or not.
    ``first``: nobody wrote to this account before this device had its keys.
    """

    account_key: bytes
    account_seed: bytes
    signing: bytes
    agreement: bytes
    created: int
    next_id: int = 1
    signed: int = 0
    last: int = 0
    rotated: int = 0
    minted: dict[int, int] = {}
    minted_since: int = 0
    version: int = 0
    first: bool = False

    def __repr__(self) -> str:
        return f"<Own {self.account_key[:4].hex()}…>"


class Stored(Secretive, msgspec.Struct, array_like=True, frozen=True):
    """A prekey's secret half beside what was published."""

    secret: bytes
    public: wire.Prekey

    def __repr__(self) -> str:
        return f"<Stored {self.public.id}>"


_own = msgspec.msgpack.Decoder(Own).decode
_stored = msgspec.msgpack.Decoder(Stored).decode
_encode = msgspec.msgpack.Encoder().encode


def _id(number: int) -> bytes:
    return number.to_bytes(8, "big")


class Identity:
    """The own keys of one client, in its ``State``.

    ``used``: a one-time key was used up since the last publication. Only a hint when to refill.
    """

    __slots__ = ("_tools", "used")

    def __init__(self, tools: ClientTools) -> None:
        self._tools = tools
        self.used = False

    def load(self) -> Own | None:
        """The own keys, or None before the first ``make`` or ``join``."""
        raw = self._tools.state.get(OWN, b"")
        return None if raw is None else _own(raw)

    def require(self) -> Own:
        """The own keys. Raises ``BadArgument`` before there are any."""
        own = self.load()
        if own is None:
            raise BadArgument("this client has no keys yet; publish them first")
        return own

    def account_key(self) -> bytes | None:
        """The own account's key, 32 bytes, made here or given in person; None before."""
        own = self.load()
        return None if own is None else own.account_key

    def make(self, account: SigningKey) -> Own:
        """Fresh device keys, of a new account."""
        if self.load() is not None:
            raise BadArgument("this client has its keys already")
        own = self.draft()
        own.account_key, own.account_seed = account.public, account.raw
        self.save(own)
        return own

    def draft(self) -> Own:
        """Fresh device keys of no account yet; nothing is stored."""
        random, now = self._tools.random, self._tools.now()
        keys = SigningKey.generate(random).raw, AgreementKey.generate(random).raw
        return Own(b"", b"", *keys, now)

    def next_version(self, known: int) -> int:
        """The version for the next device list, above ``known`` and all that were ever signed
        here: two lists of one version would be a fork. Counted before it is used.
        """
        own = self.require()
        own.version = max(own.version, known) + 1
        self.save(own)
        return own.version

    def account_signer(self) -> SigningKey:
        """The account key, to sign with. Raises ``BadArgument`` on a device that lacks it."""
        own = self.require()
        if not own.account_seed:
            raise BadArgument(
                "this device does not hold the account key, so it cannot do this: use the device"
                " that it was linked by, or link it again with the account key"
            )
        return SigningKey(own.account_seed)

    def request(self, own: Own) -> devices.Request:
        """The request for this device's certificate, with proof that it holds the keys."""
        signing, agreement = SigningKey(own.signing), AgreementKey(own.agreement)
        public = (self._tools.device, signing.public, agreement.public, own.created)
        unsigned = devices.Request(*public, b"")
        return devices.Request(*public, signing.sign(unsigned.signed(self._tools.account)))

    def publishable(self, left: wire.Published | None) -> tuple[wire.Prekey, ...]:
        """The prekeys to publish now, made and stored where needed.

        The first time all; after that the current signed and last-resort keys when ``left`` is
        None or they were just rotated, and one-time keys when the relay has few.
        """
        own, now = self.require(), self._tools.now()
        self.used = False
        first = not own.next_id > 1
        rotated = now - own.rotated >= ROTATION
        if not 0 <= now - own.minted_since < DAY:
            own.minted, own.minted_since = {}, now
        fresh: list[wire.Prekey] = []
        if rotated:
            self.purge()
            fresh += self._renew(own)
        elif left is None:
            fresh += [self._find(own.signed).public, self._find(own.last).public]
        counts = (0, 0) if first else (ONCE_COUNT, ONCE_COUNT)
        if left is not None:
            counts = (left.once, left.kem)
        fresh += self._refill(own, X25519, counts[0]) + self._refill(own, ML_KEM_768, counts[1])
        self.save(own)
        return tuple(fresh)

    def secrets(self, first: First) -> tuple[AgreementKey, AgreementKey | None, KemKey]:
        """The secret halves a first message names. Raises ``CannotOpen``, also for a replay."""
        signed, kem = self._find(first.signed), self._find(first.kem)
        once = self._find(first.once) if first.once else None
        kinds = [(each.public.use, each.public.algorithm) for each in (signed, kem)]
        if kinds[0] != ("signed", X25519) or kinds[1][1] != ML_KEM_768:
            raise CannotOpen
        if once is not None and (once.public.use, once.public.algorithm) != ("once", X25519):
            raise CannotOpen
        if self._tools.state.get(REPLAYS, _replay(first)) is not None:
            raise CannotOpen
        one_time = None if once is None else AgreementKey(once.secret)
        return AgreementKey(signed.secret), one_time, KemKey(kem.secret)

    def use_up(self, first: First) -> None:
        """After a first message opened: delete its one-time keys, remember it otherwise."""
        state = self._tools.state
        self.used = True
        if first.once:
            state.delete(PREKEYS, _id(first.once))
        if self._find(first.kem).public.use == "once":
            state.delete(PREKEYS, _id(first.kem))
        else:
            state.put(REPLAYS, _replay(first), b"")

    def _find(self, id: int) -> Stored:
        raw = self._tools.state.get(PREKEYS, _id(id))
        if raw is None:
            raise CannotOpen
        return _stored(raw)

    def _refill(self, own: Own, algorithm: Literal[5, 8], count: int) -> list[wire.Prekey]:
        made = own.minted.get(algorithm, 0)
        wanted = min(ONCE_COUNT - count, MINT_LIMIT - made) if count < REFILL_BELOW else 0
        fresh = [self._prekey(own, "once", algorithm) for _ in range(wanted)]
        own.minted[algorithm] = made + len(fresh)
        return fresh

    def _renew(self, own: Own) -> list[wire.Prekey]:
        signed = self._prekey(own, "signed", X25519)
        last = self._prekey(own, "last", ML_KEM_768)
        own.signed, own.last, own.rotated = signed.id, last.id, self._tools.now()
        return [signed, last]

    def _prekey(self, own: Own, use: Use, algorithm: Literal[5, 8]) -> wire.Prekey:
        random = self._tools.random
        key: AgreementKey | KemKey
        key = AgreementKey.generate(random) if algorithm == X25519 else KemKey.generate(random)
        unsigned = wire.Prekey(
            id=own.next_id,
            algorithm=algorithm,
            use=use,
            key=key.public,
            expires=self._tools.now() + (ONCE_LIFE if use == "once" else LIFE),
            signature=b"",
        )
        account, device = self._tools.account, self._tools.device
        signature = SigningKey(own.signing).sign(devices.signed_prekey(account, device, unsigned))
        prekey = msgspec.structs.replace(unsigned, signature=signature)
        own.next_id += 1
        self._tools.state.put(PREKEYS, _id(prekey.id), _encode(Stored(key.raw, prekey)))
        return prekey

    def purge(self) -> None:
        """Delete expired prekeys, and the replay memory of last-resort keys with them."""
        state, now = self._tools.state, self._tools.now()
        for key, raw in list(state.scan(PREKEYS)):
            if _stored(raw).public.expires < now:
                state.delete(PREKEYS, key)
                for replay, _ in list(state.scan(REPLAYS, key)):
                    state.delete(REPLAYS, replay)

    def save(self, own: Own) -> None:
        """Store the own keys."""
        self._tools.state.put(OWN, b"", _encode(own))


def _replay(first: First) -> bytes:
    return _id(first.kem) + H(first.encode())


def check_bundle(party: Party, bundle: wire.Bundle, now: int) -> None:
    """Hold a peer's bundle to its certified device: signatures, uses, dates.

    A bundle without a KEM key is not a legal frame, so a relay cannot strip the post-quantum
    part. Raises ``KeyRefused``.
    """
    if bundle.signed.use != "signed" or bundle.kem.algorithm != ML_KEM_768:
        raise KeyRefused("a bundle has a signed X25519 and an ML-KEM-768 prekey")
    present = [bundle.signed, bundle.kem]
    if bundle.once is not None:
        if (bundle.once.use, bundle.once.algorithm) != ("once", X25519):
            raise KeyRefused("a bundle's one-time key is an X25519 key")
        present.append(bundle.once)
    for prekey in present:
        devices.verify_prekey(party.account, party.device, party.signing, prekey)
        if prekey.expires < now:
            raise KeyRefused("a prekey of this device has expired; its owner must come online")


def batches(prekeys: tuple[wire.Prekey, ...]) -> list[tuple[wire.Prekey, ...]]:
    """Prekeys in portions that fit a frame."""
    starts = range(0, len(prekeys), FRAME_PREKEYS)
    return [prekeys[start : start + FRAME_PREKEYS] for start in starts]
