"""Certificates, device lists, prekeys, safety numbers: what verifies, and all that must not."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from nacl import bindings

from crypto_modes import e2ee, primitives, wire
from crypto_modes.e2ee import devices
from crypto_modes.e2ee.devices import Request
from crypto_modes.errors import KeyRefused
from crypto_modes.keys import AgreementKey, SigningKey
from tests import e2ee_oracle as oracle
from tests.vector_files import expected, raw, vectors

ACCOUNT = b"alice-account-01"
KEY, SIGNING, AGREEMENT = SigningKey(b"a" * 32), SigningKey(b"s" * 32), AgreementKey(b"x" * 32)


@pytest.mark.parametrize("vector", vectors("e2ee_devices"))
def test_device_lists(vector: dict[str, Any]) -> None:
    fields = raw(vector, "account", "key")
    names = ("device", "signing", "agreement", "signature")
    listed = wire.DeviceList(
        version=vector["list"]["version"],
        certificates=tuple(
            wire.Certificate(**raw(each, *names)) for each in vector["list"]["certificates"]
        ),
        signature=bytes.fromhex(vector["list"]["signature"]),
    )
    with expected(vector):
        e2ee.verify_list(fields["account"], fields["key"], listed)


@pytest.mark.parametrize("vector", vectors("e2ee_prekeys"))
def test_prekeys(vector: dict[str, Any]) -> None:
    fields = raw(vector, "account", "device", "signing")
    prekey = wire.Prekey(**raw(vector["prekey"], "key", "signature"))
    with expected(vector):
        e2ee.verify_prekey(fields["account"], fields["device"], fields["signing"], prekey)


def mixed_order() -> tuple[bytes, wire.DeviceList]:
    """A key that is a good one plus a point of order eight, and a list that verifies under it.

    Verification multiplies the key with a hash; where that is a multiple of eight, the small
    part vanishes. So one private key has eight public ones, of which only one is sound.
    """
    small = bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")
    secret = bindings.crypto_core_ed25519_scalar_reduce(bytes(range(64)))
    sound = bindings.crypto_scalarmult_ed25519_base_noclamp(secret)
    key = bindings.crypto_core_ed25519_add(sound, small)
    certificates = (devices.certify(ACCOUNT, KEY, request()),)
    signed = devices.signed_list(ACCOUNT, 1, certificates)
    for attempt in range(1, 200):
        nonce = bindings.crypto_core_ed25519_scalar_reduce(bytes((attempt,)) * 64)
        point = bindings.crypto_scalarmult_ed25519_base_noclamp(nonce)
        digest = hashlib.sha512(point + key + signed).digest()
        factor = bindings.crypto_core_ed25519_scalar_reduce(digest)
        if factor[0] % 8 == 0:
            product = bindings.crypto_core_ed25519_scalar_mul(factor, secret)
            signature = point + bindings.crypto_core_ed25519_scalar_add(nonce, product)
            listed = wire.DeviceList(version=1, certificates=certificates, signature=signature)
            return key, listed
    raise AssertionError


@pytest.mark.attack
def test_22_an_account_key_with_a_small_part_is_refused() -> None:
    key, listed = mixed_order()
    signed = devices.signed_list(ACCOUNT, 1, listed.certificates)
    primitives.ed25519_verify(key, listed.signature, signed)
    with pytest.raises(KeyRefused, match="not a valid Ed25519 key"):
        e2ee.verify_list(ACCOUNT, key, listed)


def request() -> Request:
    public = (b"alice-laptop-002", SIGNING.public, AGREEMENT.public, 7)
    unsigned = Request(*public, b"")
    return Request(*public, SIGNING.sign(unsigned.signed(ACCOUNT)))


def test_a_request_becomes_a_certificate_and_a_list() -> None:
    certificate = devices.certify(ACCOUNT, KEY, request())
    listed = devices.sign_list(ACCOUNT, KEY, 1, (certificate,))
    e2ee.verify_list(ACCOUNT, KEY.public, listed)
    again = oracle.certificate(
        ACCOUNT,
        KEY.raw,
        {
            "device": b"alice-laptop-002",
            "signing": SIGNING.public,
            "agreement": AGREEMENT.public,
            "created": 7,
        },
    )
    assert certificate.signature == again["signature"]
    assert listed.signature == oracle.device_list(ACCOUNT, KEY.raw, 1, [again])["signature"]


@pytest.mark.parametrize("place", range(5))
def test_a_request_proves_that_its_keys_are_held(place: int) -> None:
    fields: list[Any] = list(request())
    fields[place] = 8 if place == 3 else bytes(len(fields[place]))
    with pytest.raises(KeyRefused):
        devices.certify(ACCOUNT, KEY, Request(*fields))
    with pytest.raises(KeyRefused):
        devices.certify(b"another-account!", KEY, request())


def test_safety_numbers_are_the_same_from_both_sides_and_the_second_reading() -> None:
    alice, bob = (ACCOUNT, KEY.public), (b"bobby-account-02", SIGNING.public)
    number = devices.safety_number(alice, bob)
    assert number == devices.safety_number(bob, alice) == oracle.safety_number(alice, bob)
    groups = number.split(" ")
    assert [len(group) for group in groups] == [5] * 12
    assert number.replace(" ", "").isdigit()
    text = devices.safety_text(alice, bob)
    assert text == devices.safety_text(bob, alice)
    assert text == ":".join(("louver:safety:1", *(each.hex() for each in (*alice, *bob))))
    assert KEY.public.hex() in text


@pytest.mark.attack
def test_2_safety_numbers_depend_on_every_field_and_its_place() -> None:
    alice, bob = (ACCOUNT, KEY.public), (b"bobby-account-02", SIGNING.public)
    other = [
        devices.safety_number((ACCOUNT, SIGNING.public), (bob[0], KEY.public)),
        devices.safety_number((KEY.public, ACCOUNT), bob),
        devices.safety_number((ACCOUNT + KEY.public[:1], KEY.public[1:]), bob),
        devices.safety_number(alice, (bob[0], AGREEMENT.public)),
    ]
    assert len({devices.safety_number(alice, bob), *other}) == 5
