"""A second reading of the design's page on ``e2ee``, written without the product's code.

Nothing of ``crypto_modes`` may be imported here: handshake, ratchets, copies and franking are
spelt out again in the plainest way, with the crypto library used directly, so that a slip in the
product cannot hide in its own tests. The vectors of ``make_e2ee`` are made with it.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tests.modes_oracle import conversation, enc, padded, sha256

__all__ = ["conversation", "enc", "padded", "sha256"]


def mac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def hkdf(ikm: bytes, salt: bytes, info: bytes, size: int) -> bytes:
    return HKDF(SHA256(), size, salt or None, info).derive(ikm)


def public(private: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def dh(private: bytes, remote: bytes) -> bytes:
    peer = X25519PublicKey.from_public_bytes(remote)
    return X25519PrivateKey.from_private_bytes(private).exchange(peer)


def verifying(seed: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def sign(seed: bytes, data: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).sign(data)


def kem_public(seed: bytes) -> bytes:
    return MLKEM768PrivateKey.from_seed_bytes(seed).public_key().public_bytes_raw()


def kem_open(seed: bytes, ciphertext: bytes) -> bytes:
    return MLKEM768PrivateKey.from_seed_bytes(seed).decapsulate(ciphertext)


def kem_answer(key: bytes) -> tuple[bytes, bytes]:
    """A fresh shared secret, and the ciphertext that takes it to the owner of ``key``."""
    return MLKEM768PublicKey.from_public_bytes(key).encapsulate()


def kem_seal(seed: bytes) -> bytes:
    """A fresh ciphertext to the key of ``seed``."""
    return kem_answer(kem_public(seed))[1]


# -- franking -------------------------------------------------------------------------------


def message(
    kind: str,
    content: bytes,
    reply_to: bytes,
    counter: int,
    previous: bytes,
    position: int,
    log_head: bytes = bytes(40),
    echo: tuple[tuple[bytes, int, bytes], ...] = (),
) -> bytes:
    """``echo``: device, counter and ``H(M)`` each, both whole."""
    said = b"".join(
        device[:8] + counter.to_bytes(8, "big") + digest[:8] for device, counter, digest in echo
    )
    numbers = (counter, previous, position, log_head)
    return padded(enc("louver/v1/message_body", kind, content, reply_to, said, *numbers))


def commitment(key: bytes, conversation_id: bytes, message_id: bytes, text: bytes) -> bytes:
    return mac(key, enc("louver/v1/frank", conversation_id, message_id, text))


def stamp(key: bytes, month: int, committed: bytes, meta: Mapping[str, Any]) -> bytes:
    return mac(
        key,
        enc(
            "louver/v1/stamp",
            month,
            committed,
            meta["conversation"],
            meta["id"],
            meta["sender"],
            meta["device"],
            meta["recipient"],
            meta["seq"],
            meta["time"],
            meta["mode"],
        ),
    )


# -- devices --------------------------------------------------------------------------------


def certificate(account: bytes, seed: bytes, device: Mapping[str, Any]) -> dict[str, Any]:
    """``device`` (ids and public keys) with the account key's signature."""
    return {**device, "signature": sign(seed, certified(account, device))}


def certified(account: bytes, device: Mapping[str, Any]) -> bytes:
    return enc(
        "louver/v1/device",
        account,
        device["device"],
        device["signing"],
        device["agreement"],
        device["created"],
    )


def device_list(
    account: bytes, seed: bytes, version: int, certificates: list[dict[str, Any]]
) -> dict[str, Any]:
    digests = [sha256(certified(account, each)) for each in certificates]
    signature = sign(seed, enc("louver/v1/devices", account, version, *digests))
    return {"version": version, "certificates": certificates, "signature": signature}


def prekey(account: bytes, device: bytes, seed: bytes, fields: Mapping[str, Any]) -> dict[str, Any]:
    kind = bytes((fields["algorithm"],)) + fields["use"].encode()
    signed = enc(
        "louver/v1/prekey", kind, account, device, fields["id"], fields["key"], fields["expires"]
    )
    return {**fields, "signature": sign(seed, signed)}


def safety_number(a: tuple[bytes, bytes], b: tuple[bytes, bytes]) -> str:
    low, high = sorted((a, b))
    fixed = enc("louver/v1/safety", *low, *high)
    value = fixed
    for _ in range(5200):
        value = sha256(value + fixed)
    digits = str(int.from_bytes(value, "big") % 10**60).zfill(60)
    return " ".join(digits[i : i + 5] for i in range(0, 60, 5))


# -- handshake ------------------------------------------------------------------------------


def handshake(given: Mapping[str, Any]) -> tuple[bytes, bytes, bytes]:
    """``(th, EC root, PQ root)`` from *both* sides' private keys, as nobody in life has them."""
    a, b = given["initiator"], given["responder"]
    spk, opk, kem = given["signed"], given["once"], given["kem"]
    ek = public(given["ephemeral"])
    th = sha256(
        enc(
            "louver/v1/pqxdh",
            1,
            a["account"],
            b["account"],
            a["device"],
            b["device"],
            verifying(a["account_seed"]),
            verifying(a["signing_seed"]),
            public(a["agreement_private"]),
            verifying(b["account_seed"]),
            verifying(b["signing_seed"]),
            public(b["agreement_private"]),
            public(spk),
            public(opk) if opk else b"",
            kem_public(kem),
            ek,
            given["ciphertext"],
            given["conversation"],
            given["policy"],
        )
    )
    secret = b"\xff" * 32
    secret += dh(a["agreement_private"], public(spk))
    secret += dh(given["ephemeral"], public(b["agreement_private"]))
    secret += dh(given["ephemeral"], public(spk))
    if opk:
        secret += dh(given["ephemeral"], public(opk))
    secret += kem_open(kem, given["ciphertext"])
    info = enc("louver/v1/PQXDH_X25519_SHA256_MLKEM768", th)
    sk = hkdf(secret, bytes(32), info, 64)
    return th, sk[:32], sk[32:]


# -- one copy on a first chain ----------------------------------------------------------------


def root_step(root: bytes, private: bytes, remote: bytes) -> tuple[bytes, bytes]:
    okm = hkdf(dh(private, remote), root, enc("louver/v1/root"), 64)
    return okm[:32], okm[32:]


def ec_key(chain: bytes, n: int) -> bytes:
    for _ in range(n):
        chain = mac(chain, b"\x02")
    return mac(chain, b"\x01")


def pq_chains(root: bytes, th: bytes) -> tuple[bytes, bytes]:
    """The initiator's and the responder's chain of epoch 0."""
    okm = hkdf(root, b"", enc("louver/v1/pq_epoch", 0, th), 96)
    return okm[32:64], okm[64:]


def pq_key(chain: bytes, n: int) -> bytes:
    for _ in range(n):
        chain = mac(chain, enc("louver/v1/pq_next"))
    return mac(chain, enc("louver/v1/pq_message"))


def copy(
    th: bytes, mk_ec: bytes, mk_pq: bytes, head: bytes, plaintext: bytes, place: Mapping[str, Any]
) -> bytes:
    """A device's copy; ``place`` holds the fields of the AAD."""
    key = hkdf(mk_ec, mk_pq, enc("louver/v1/message", th), 32)
    return head + AESGCM(key).encrypt(bytes(12), plaintext, aad(th, head, place))


def aad(th: bytes, head: bytes, place: Mapping[str, Any]) -> bytes:
    return enc(
        "louver/v1/e2ee/aad",
        th,
        1,
        "e2ee",
        place["epoch"],
        place["conversation"],
        place["message"],
        place["sender"],
        place["device"],
        place["recipient"],
        place["recipient_device"],
        place["policy"],
        sha256(head),
        place["commitment"],
    )


def fixed_header(
    session: bytes, remote: bytes, numbers: tuple[int, int, int, int], flags: int = 0
) -> bytes:
    """58 bytes; ``numbers`` are pn, n, pq_epoch, pq_n."""
    head = bytes((1, flags)) + session + remote
    return head + b"".join(number.to_bytes(4, "big") for number in numbers)


# -- a session ----------------------------------------------------------------------------------


class End:
    """One end of a session, read from items 22 to 26 and 29 in the plainest way: it remembers where
    every chain began and counts from there, forgets nothing, and lets nothing be lost.
    """

    def __init__(self, th: bytes, roots: tuple[bytes, bytes], *, first: bool) -> None:
        self.th = th
        self.ec_root, self.pq_root = roots
        self.first = first  # A, who began
        self.private, self.remote = b"", b""
        self.ec_send, self.ec_sent, self.previous = b"", 0, 0
        self.ec_receive: dict[bytes, bytes] = {}  # the other's ratchet key -> the chain's beginning
        self.epoch, self.epochs = 0, {0: pq_chains(self.pq_root, th)}
        self.pq_root = hkdf(self.pq_root, b"", enc("louver/v1/pq_epoch", 0, th), 96)[:32]
        self.pq_sent, self.pq_expected, self.since = 0, 0, 0
        self.offered, self.asked, self.answer = b"", b"", b""  # KEM seed, ek, ct
        self.carrier_at: int | None = None  # how many messages ago
        self.encapsulate = kem_answer

    def write_to(self, prekey: bytes, private: bytes) -> None:
        """A's beginning: B's signed prekey, and a ratchet key."""
        self.private, self.remote = private, prekey
        self.ec_root, self.ec_send = root_step(self.ec_root, private, prekey)

    def seal(
        self,
        text: bytes,
        place: Mapping[str, Any],
        *,
        block: bytes = b"",
        time: int = 0,
        seed: bytes = b"",
    ) -> bytes:
        """``block`` is the first-message block, ``seed`` the KEM key to propose if one is due."""
        flags, part = (4, block) if block else self._part(time, seed)
        sealed = self.at(text, place, (self.ec_sent, self.epoch, self.pq_sent), flags, part)
        self.ec_sent, self.pq_sent = self.ec_sent + 1, self.pq_sent + 1
        return sealed

    def at(
        self, text: bytes, place: Mapping[str, Any], at: Any, flags: int = 0, part: bytes = b""
    ) -> bytes:
        """The copy that has the numbers n, epoch and pq_n ``at``, and carries ``part``."""
        n, epoch, pq_n = at
        head = fixed_header(self.th[:8], public(self.private), (self.previous, *at), flags) + part
        mine = self.epochs[epoch][0 if self.first else 1]
        return copy(self.th, ec_key(self.ec_send, n), pq_key(mine, pq_n), head, text, place)

    def open(self, sealed: bytes, place: Mapping[str, Any], fresh: bytes) -> bytes:
        """``fresh`` is the ratchet key to take if this is the other's next one."""
        flags, remote = sealed[1], sealed[10:42]
        n, epoch, pq_n = (int.from_bytes(sealed[i : i + 4], "big") for i in range(46, 58, 4))
        part = sealed[58 : 58 + {0: 0, 1: 1184, 2: 1088, 4: 1152}[flags]]
        head, rest = sealed[: 58 + len(part)], sealed[58 + len(part) :]
        if remote not in self.ec_receive:
            self.ec_root, self.ec_receive[remote] = root_step(self.ec_root, self.private, remote)
            self.previous, self.ec_sent, self.private = self.ec_sent, 0, fresh
            self.ec_root, self.ec_send = root_step(self.ec_root, fresh, remote)
        if epoch == self.epoch + 1 and self.answer:
            self._enter()
        theirs = self.epochs[epoch][1 if self.first else 0]
        keys = ec_key(self.ec_receive[remote], n), pq_key(theirs, pq_n)
        key = hkdf(*keys, enc("louver/v1/message", self.th), 32)
        text = AESGCM(key).decrypt(bytes(12), rest, aad(self.th, head, place))
        if epoch == self.epoch:
            self.pq_expected = max(self.pq_expected, pq_n + 1)
            if flags == 1 and not self.asked:
                self.asked = part
            if flags == 2:
                secret, ek = kem_open(self.offered, part), kem_public(self.offered)
                self._derive(secret, ek, part)
                self._enter()
        return text

    def _part(self, time: int, seed: bytes) -> tuple[int, bytes]:
        self.since = self.since or time
        old = self.pq_sent + self.pq_expected >= 50 or time - self.since >= 24 * 3600 * 1000
        proposes = self.first == ((self.epoch + 1) % 2 == 0)
        if proposes and not self.offered and old:
            self.offered = seed
        if self.asked and not self.answer:
            secret, self.answer = self.encapsulate(self.asked)
            self._derive(secret, self.asked, self.answer)
        part = (1, kem_public(self.offered)) if self.offered else (2, self.answer)
        if not part[1]:
            return 0, b""
        ago = self.carrier_at
        if ago is None or ago >= 64 or (ago >= 8 and self.ec_sent == 0):
            self.carrier_at = 1
            return part
        self.carrier_at = ago + 1
        return 0, b""

    def _derive(self, secret: bytes, ek: bytes, ct: bytes) -> None:
        info = enc("louver/v1/pq_epoch", self.epoch + 1, sha256(ek + ct))
        okm = hkdf(secret, self.pq_root, info, 96)
        self.pq_root, self.epochs[self.epoch + 1] = okm[:32], (okm[32:64], okm[64:])

    def _enter(self) -> None:
        self.epoch += 1
        self.pq_sent, self.pq_expected, self.since = 0, 0, 0
        self.offered, self.asked, self.answer, self.carrier_at = b"", b"", b"", None
