"""Every primitive against Wycheproof, the standard library, and keys that must not be taken."""

from __future__ import annotations

import hashlib
import hmac
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_modes import primitives
from crypto_modes.errors import BadArgument, CannotOpen, KeyRefused, LouverError
from crypto_modes.keys import AgreementKey, KemKey, SecretKey, SigningKey
from tests import wycheproof

SMALL_ORDER_X25519 = [
    "00" * 32,
    "01" + "00" * 31,
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
]
SMALL_ORDER_ED25519 = [
    "01" + "00" * 31,
    "00" * 32,
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
]


def taken(call: Callable[[], Any]) -> Any:
    """What ``call`` returns, or None where it refuses with one of the project's errors."""
    try:
        return call()
    except LouverError:
        return None


def passes(call: Callable[[], object]) -> bool:
    """Whether ``call`` does not refuse."""
    try:
        call()
    except LouverError:
        return False
    return True


def raw(case: dict[str, Any], *names: str) -> list[bytes]:
    return [bytes.fromhex(case[name]) for name in names]


def run(name: str, judge: Callable[[dict[str, Any], dict[str, Any]], bool | None]) -> None:
    """Hold every case to its result; ``judge`` gives None for what the door has no parameter for.

    Some of each file must be judged, or the test would pass on an empty one.
    """
    judged = 0
    for group, case in wycheproof.cases(name):
        verdict = judge(group, case)
        if verdict is not None:
            judged += 1
            assert verdict, (case["tcId"], case.get("comment"), case["result"])
    assert judged >= 3


def test_aes_gcm() -> None:
    def judge(group: dict[str, Any], case: dict[str, Any]) -> bool | None:
        if (group["keySize"], group["ivSize"], group["tagSize"]) != (256, 96, 128):
            return None
        key, nonce, aad, text, body, tag = raw(case, "key", "iv", "aad", "msg", "ct", "tag")
        opened = taken(lambda: primitives.aead_open(key, nonce, body + tag, aad))
        if case["result"] == "invalid":
            return opened is None
        return opened == text and primitives.aead_seal(key, nonce, text, aad) == body + tag

    run("aes_gcm_test.json", judge)


def test_hmac() -> None:
    def judge(group: dict[str, Any], case: dict[str, Any]) -> bool:
        key, text, tag = raw(case, "key", "msg", "tag")
        same = primitives.hmac(key, text)[: group["tagSize"] // 8] == tag
        return same is (case["result"] == "valid")

    run("hmac_sha256_test.json", judge)


def test_hkdf() -> None:
    def judge(group: dict[str, Any], case: dict[str, Any]) -> bool:
        ikm, salt, info, okm = raw(case, "ikm", "salt", "info", "okm")
        size = case["size"]
        got = taken(lambda: primitives.hkdf(ikm, salt=salt, info=info, length=size))
        return bool(got == okm) if case["result"] == "valid" else got is None

    run("hkdf_sha256_test.json", judge)


def test_x25519() -> None:
    def judge(group: dict[str, Any], case: dict[str, Any]) -> bool:
        private, public, shared = raw(case, "private", "public", "shared")
        got = taken(lambda: primitives.x25519(private, public))
        return got is None if shared == bytes(32) else bool(got == shared)

    run("x25519_test.json", judge)


def test_ed25519() -> None:
    def judge(group: dict[str, Any], case: dict[str, Any]) -> bool:
        public = bytes.fromhex(group["publicKey"]["pk"])
        text, signature = raw(case, "msg", "sig")
        verified = passes(lambda: primitives.ed25519_verify(public, signature, text))
        return verified is (case["result"] == "valid")

    run("ed25519_test.json", judge)


def test_ml_kem_keys_from_seeds() -> None:
    def judge(group: dict[str, Any], case: dict[str, Any]) -> bool:
        return primitives.kem_public(bytes.fromhex(case["seed"])) == bytes.fromhex(case["ek"])

    run("mlkem_768_keygen_seed_test.json", judge)


def test_ml_kem_refuses_bad_encapsulation_keys() -> None:
    def judge(group: dict[str, Any], case: dict[str, Any]) -> bool:
        key = bytes.fromhex(case["ek"])
        valid = case["result"] == "valid"
        checked = passes(lambda: primitives.kem_check(key))
        sealed = passes(lambda: primitives.kem_encapsulate(key))
        return (checked, sealed) == (valid, valid)

    run("mlkem_768_encaps_test.json", judge)


def test_ml_kem_decapsulation() -> None:
    def judge(group: dict[str, Any], case: dict[str, Any]) -> bool:
        seed, ciphertext, shared = raw(case, "seed", "c", "K")
        if len(seed) != primitives.KEM_SEED_SIZE:
            return taken(lambda: KemKey(seed)) is None
        got = taken(lambda: primitives.kem_decapsulate(seed, ciphertext))
        return bool(got == shared) if case["result"] == "valid" else got is None

    run("mlkem_768_test.json", judge)


@pytest.mark.parametrize("named", ["/nonexistent", "", "none"])
def test_vectors_that_are_asked_for_and_missing_are_a_failure(
    monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.setenv("LOUVER_WYCHEPROOF", named)
    with pytest.raises(AssertionError, match="with its path in LOUVER_WYCHEPROOF"):
        test_hmac()


def test_a_clone_without_vectors_says_what_was_not_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("LOUVER_WYCHEPROOF", raising=False)
    assert wycheproof.folder(tmp_path) == tmp_path
    with pytest.raises(pytest.skip.Exception, match="not held to Wycheproof"):
        wycheproof.folder(tmp_path / "absent")


@given(key=st.binary(max_size=130), data=st.binary(max_size=300))
def test_hmac_is_the_standard_one(key: bytes, data: bytes) -> None:
    assert primitives.hmac(key, data) == hmac.digest(key, data, "sha256")
    pair = primitives.hmac_pair(key, data, b"\x02")
    assert pair == (hmac.digest(key, data, "sha256"), hmac.digest(key, b"\x02", "sha256"))


@pytest.mark.parametrize("size", [0, 32, 63, 64, 65, 200])
def test_hmac_hashes_a_key_that_is_longer_than_a_block_of_64_bytes(size: int) -> None:
    key = bytes(range(1, 201))[:size]
    expected = tuple(hmac.digest(key, data, "sha256") for data in (b"one", b"two"))
    assert primitives.hmac_pair(key, b"one", b"two") == expected
    assert (primitives.hmac(key, b"one"), primitives.hmac(key, b"two")) == expected


def test_hkdf_without_salt_has_one_of_zeros() -> None:
    key = hmac.digest(bytes(32), b"ikm", "sha256")
    expected = hmac.digest(key, b"info\x01", "sha256")
    for salt in ({}, {"salt": b""}, {"salt": bytes(32)}):
        assert primitives.hkdf(b"ikm", info=b"info", length=32, **salt) == expected


@given(ikm=st.binary(max_size=64), salt=st.binary(max_size=80), length=st.integers(1, 200))
def test_hkdf_is_rfc_5869(ikm: bytes, salt: bytes, length: int) -> None:
    key = hmac.digest(salt or bytes(32), ikm, "sha256")
    okm, block = b"", b""
    for counter in range(1, 8):
        block = hmac.digest(key, block + b"info" + bytes((counter,)), "sha256")
        okm += block
    assert primitives.hkdf(ikm, salt=salt, info=b"info", length=length) == okm[:length]


def test_h_is_sha256() -> None:
    assert primitives.H(b"louver") == hashlib.sha256(b"louver").digest()


@pytest.mark.parametrize("length", [0, -1, 255 * 32 + 1])
def test_hkdf_has_a_last_block(length: int) -> None:
    with pytest.raises(BadArgument, match="HKDF gives 1 to 8160 bytes"):
        primitives.hkdf(b"ikm", info=b"", length=length)


@pytest.mark.parametrize(("key", "nonce"), [(16, 12), (32, 8), (31, 12), (32, 16)])
def test_aead_takes_one_size_of_key_and_nonce(key: int, nonce: int) -> None:
    for door in (primitives.aead_seal, primitives.aead_open):
        with pytest.raises(BadArgument, match="32-byte key and a 12-byte nonce"):
            door(bytes(key), bytes(nonce), bytes(32), b"")


def test_aead_open_refuses_too_little_to_hold_a_tag() -> None:
    with pytest.raises(CannotOpen):
        primitives.aead_open(bytes(32), bytes(12), b"short", b"")


@pytest.mark.attack(22)
@pytest.mark.parametrize("public", SMALL_ORDER_X25519)
def test_small_order_agreement_keys_are_refused(public: str) -> None:
    with pytest.raises(KeyRefused, match="small order"):
        AgreementKey(bytes(range(32))).agree(bytes.fromhex(public))
    with pytest.raises(KeyRefused):
        primitives.x25519_check(bytes.fromhex(public))


@pytest.mark.attack(22)
@pytest.mark.parametrize("public", SMALL_ORDER_ED25519)
def test_small_order_signing_keys_are_refused(public: str) -> None:
    key = bytes.fromhex(public)
    with pytest.raises(KeyRefused, match="not a valid Ed25519 key"):
        primitives.ed25519_check(key)
    # R = identity and S = 0 verifies every message under a small-order key, if it is let in.
    universal = b"\x01" + bytes(63)
    with pytest.raises(KeyRefused):
        primitives.ed25519_verify(key, universal, b"any message")


def test_a_signature_ends_where_it_ends() -> None:
    """The library takes signature and message as one: no byte of one is the other's."""
    seed, message = bytes(range(32)), b"a message"
    public = primitives.ed25519_public(seed)
    signature = primitives.ed25519_sign(seed, message)
    primitives.ed25519_verify(public, signature, message)
    for cut, rest in (
        (signature[:63], signature[63:] + message),
        (signature + message[:1], message[1:]),
        (b"", signature + message),
    ):
        with pytest.raises(KeyRefused, match="64"):
            primitives.ed25519_verify(public, cut, rest)
    for wrong in (public[:31], public + b"\0"):
        with pytest.raises(KeyRefused, match="32 bytes"):
            primitives.ed25519_verify(wrong, signature, message)


@pytest.mark.parametrize("size", [0, 31, 33, 1184])
def test_keys_of_other_sizes_are_refused(size: int) -> None:
    for door in (primitives.x25519_check, primitives.ed25519_check):
        with pytest.raises(KeyRefused):
            door(bytes(size))
    with pytest.raises(KeyRefused):
        primitives.kem_check(bytes(size) if size != 1184 else b"\xff" * size)


def test_an_elliptic_curve_key_is_no_kem_key() -> None:
    with pytest.raises(KeyRefused, match="1184 bytes"):
        primitives.kem_encapsulate(AgreementKey(bytes(range(32))).public)


@pytest.mark.parametrize("kind", [SigningKey, AgreementKey, KemKey])
def test_secret_keys_do_not_print_or_pickle(kind: type[SecretKey]) -> None:
    secret = bytes(range(7, 7 + kind.size))
    key = kind(secret)
    assert secret.hex() not in repr(key)
    assert repr(secret) not in repr(key)
    assert repr(key) == f"<{kind.__name__} of {key.public[:4].hex()}…>"
    with pytest.raises(TypeError, match="on purpose"):
        pickle.dumps(key)
    with pytest.raises(BadArgument, match=f"{kind.size} bytes"):
        kind(secret[1:])


def test_keys_do_their_one_thing() -> None:
    one, other = AgreementKey(b"1" * 32), AgreementKey(b"2" * 32)
    assert one.agree(other.public) == other.agree(one.public)
    signing = SigningKey(b"3" * 32)
    primitives.ed25519_verify(signing.public, signing.sign(b"text"), b"text")
    with pytest.raises(KeyRefused, match="does not verify"):
        primitives.ed25519_verify(signing.public, signing.sign(b"text"), b"texts")
    kem = KemKey(b"4" * 64)
    secret, ciphertext = primitives.kem_encapsulate(kem.public)
    assert kem.decapsulate(ciphertext) == secret
    assert kem.decapsulate(bytes(1088)) != secret
    with pytest.raises(KeyRefused, match="1088 bytes"):
        kem.decapsulate(ciphertext[1:])


# --- HPKE ---

# Secret keys of the vectors in draft-ietf-hpke-pq, and SHA-256 of the public keys beside them.
HPKE_KEYS = [
    (
        "3ec47fa82dd5689d27c6190e724c74ec8f608df3331ce331929e37b829676630",
        "ad8aaf3f00d8a39bfeec2947a7d5dde68be08bba19bd301a348a45dc5fcc8341",
    ),
    (
        "8f908710ee25a3aa6fd3ed80eb5bf102963547bf4fe36d86f772432ac383e6e9",
        "404a519065c5818eaf431ba78a961e2c59919cc8b2bce92c6b76e438dcc345bd",
    ),
]


@pytest.mark.parametrize(("secret", "digest"), HPKE_KEYS)
def test_hpke_keys_are_those_of_the_draft(secret: str, digest: str) -> None:
    public = primitives.hpke_public(bytes.fromhex(secret))
    assert len(public) == primitives.HPKE_KEY_SIZE == 1216
    assert primitives.H(public).hex() == digest


def test_hpke_opens_what_was_sealed_and_nothing_else() -> None:
    secret = bytes(range(32))
    public = primitives.hpke_public(secret)
    sealed = primitives.hpke_seal(public, b"text", b"info")
    assert len(sealed) == 4 + primitives.HPKE_OVERHEAD == 1140
    assert primitives.hpke_open(secret, sealed, b"info") == b"text"
    assert primitives.hpke_seal(public, b"text", b"info") != sealed
    for key, data, info in (
        (bytes(32), sealed, b"info"),
        (secret, sealed, b"other"),
        (secret, sealed, b""),
        (secret, sealed[:-1], b"info"),
        (secret, sealed[:1120], b"info"),
        (secret, b"", b"info"),
        # The X25519 half of the encapsulated key of small order: nothing agreed, nothing opened.
        (secret, sealed[:1088] + bytes(32) + sealed[1120:], b"info"),
    ):
        with pytest.raises(CannotOpen):
            primitives.hpke_open(key, data, info)


@pytest.mark.attack(22)
def test_hpke_refuses_halves_of_a_key_that_protect_nothing() -> None:
    public = primitives.hpke_public(bytes(32))
    for bad in (
        public[:1184] + bytes(32),
        public[:1184] + b"\x01" + bytes(31),
        b"\xff" * 1184 + public[1184:],
        public[:-1],
        public + b"\0",
        b"",
    ):
        with pytest.raises(KeyRefused):
            primitives.hpke_check(bad)
        with pytest.raises(KeyRefused):
            primitives.hpke_seal(bad, b"text", b"info")


@pytest.mark.parametrize("size", [0, 31, 33])
def test_hpke_secret_keys_have_one_size(size: int) -> None:
    with pytest.raises(BadArgument):
        primitives.hpke_public(bytes(size))
