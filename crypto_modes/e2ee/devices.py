"""Devices: certificates, signed device lists, signed prekeys and safety numbers; modes.md 17–19.

What may live here: pure functions that sign or verify, for client and relay alike. What may
not: what a client remembers (``peers.py``, ``identity.py``). All of them raise ``KeyRefused``
for what does not verify, and say what is wrong: these are public values, so that is no oracle.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from crypto_modes import primitives, wire
from crypto_modes.encoding import enc
from crypto_modes.errors import KeyRefused
from crypto_modes.keys import SigningKey
from crypto_modes.primitives import H

DEVICE_LIMIT = 10
SAFETY_ROUNDS = 5_200

X25519: Literal[5] = 0x05
ML_KEM_768: Literal[8] = 0x08
_KEY_SIZES = {X25519: primitives.KEY_SIZE, ML_KEM_768: primitives.KEM_KEY_SIZE}
_USES = frozenset(
    {("signed", X25519), ("once", X25519), ("once", ML_KEM_768), ("last", ML_KEM_768)}
)


def signed_certificate(account: bytes, certificate: wire.Certificate) -> bytes:
    """What the account key signs to certify a device."""
    return enc(
        "louver/v1/device",
        account,
        certificate.device,
        certificate.signing,
        certificate.agreement,
        certificate.created,
    )


def signed_list(account: bytes, version: int, certificates: tuple[wire.Certificate, ...]) -> bytes:
    """What the account key signs to name its devices, each by the digest of its certificate."""
    digests = [H(signed_certificate(account, each)) for each in certificates]
    return enc("louver/v1/devices", account, version, *digests)


def signed_prekey(account: bytes, device: bytes, prekey: wire.Prekey) -> bytes:
    """What a device signs to publish a prekey.

    The type names algorithm and use: an elliptic-curve key can never be taken for a KEM key, nor
    a one-time key be served as the signed one.
    """
    kind = bytes((prekey.algorithm,)) + prekey.use.encode()
    return enc("louver/v1/prekey", kind, account, device, prekey.id, prekey.key, prekey.expires)


def verify_list(account: bytes, key: bytes, devices: wire.DeviceList) -> None:
    """Hold a device list to the account key (32 bytes): its signature, then each certificate.

    Raises ``KeyRefused``.
    """
    certificates = devices.certificates
    if not 0 < len(certificates) <= DEVICE_LIMIT or devices.version < 1:
        raise KeyRefused(f"a device list names 1 to {DEVICE_LIMIT} devices, from version 1")
    for field in ("device", "signing", "agreement"):
        if len({getattr(each, field) for each in certificates}) < len(certificates):
            raise KeyRefused(f"two devices on one list share their {field!r}")
    primitives.ed25519_check(key)
    signed = signed_list(account, devices.version, certificates)
    primitives.ed25519_verify(key, devices.signature, signed)
    for certificate in certificates:
        primitives.ed25519_check(certificate.signing)
        primitives.x25519_check(certificate.agreement)
        signed = signed_certificate(account, certificate)
        primitives.ed25519_verify(key, certificate.signature, signed)


def verify_prekey(account: bytes, device: bytes, signing: bytes, prekey: wire.Prekey) -> None:
    """Hold a prekey to the device's signing key (``IKs``, 32 bytes, from a verified list).

    Raises ``KeyRefused``. Whether it has expired is for the caller, who knows the time.
    """
    if (prekey.use, prekey.algorithm) not in _USES:
        raise KeyRefused(f"a prekey for {prekey.use!r} cannot have this algorithm")
    if len(prekey.key) != _KEY_SIZES[prekey.algorithm]:
        raise KeyRefused("a prekey's size does not fit its algorithm")
    signed = signed_prekey(account, device, prekey)
    primitives.ed25519_verify(signing, prekey.signature, signed)
    if prekey.algorithm == X25519:
        primitives.x25519_check(prekey.key)
    else:
        primitives.kem_check(prekey.key)


class Request(NamedTuple):
    """A new device's request to be certified: its public keys and proof that it holds them."""

    device: bytes
    signing: bytes
    agreement: bytes
    created: int
    signature: bytes

    def signed(self, account: bytes) -> bytes:
        """What the new device signs."""
        return enc("louver/v1/request", account, *self[:4])

    def check(self, account: bytes) -> None:
        """Hold the request to its own keys. Raises ``KeyRefused`` where it proves nothing."""
        primitives.ed25519_check(self.signing)
        primitives.x25519_check(self.agreement)
        primitives.ed25519_verify(self.signing, self.signature, self.signed(account))


def certify(account: bytes, key: SigningKey, request: Request) -> wire.Certificate:
    """The certificate for ``request``. Raises ``KeyRefused`` where it proves nothing."""
    request.check(account)
    unsigned = wire.Certificate(
        device=request.device,
        signing=request.signing,
        agreement=request.agreement,
        created=request.created,
        signature=b"",
    )
    return wire.Certificate(
        device=request.device,
        signing=request.signing,
        agreement=request.agreement,
        created=request.created,
        signature=key.sign(signed_certificate(account, unsigned)),
    )


def sign_list(
    account: bytes, key: SigningKey, version: int, certificates: tuple[wire.Certificate, ...]
) -> wire.DeviceList:
    """The signed list. ``version`` must be above every version ever signed before."""
    signature = key.sign(signed_list(account, version, certificates))
    return wire.DeviceList(version=version, certificates=certificates, signature=signature)


def safety_number(first: tuple[bytes, bytes], second: tuple[bytes, bytes]) -> str:
    """60 digits in 12 groups of 5 that both users see alike if nobody sits between them.

    Each argument is ``(account, account key)``; their order does not matter. 5,200 rounds of
    ``H`` make a search for a look-alike that much dearer; 60 digits hold 199 bits.
    """
    pairs = sorted((first, second))
    value = fixed = enc("louver/v1/safety", *pairs[0], *pairs[1])
    for _ in range(SAFETY_ROUNDS):
        value = H(value + fixed)
    digits = f"{int.from_bytes(value, 'big') % 10**60:060d}"
    return " ".join(digits[start : start + 5] for start in range(0, 60, 5))


def safety_text(first: tuple[bytes, bytes], second: tuple[bytes, bytes]) -> str:
    """The same pairs in full, for a QR code: what is compared by a machine need not be short."""
    pairs = sorted((first, second))
    return "louver:safety:1:" + ":".join(item.hex() for pair in pairs for item in pair)
