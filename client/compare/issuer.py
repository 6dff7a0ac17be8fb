"""A throw-away identity provider: one Ed25519 key, its JWKS file, and tokens for made-up users.

Nothing else lives here. It stands in for an operator's provider, because registering with
passwords would measure Argon2id instead of messages.
"""

from __future__ import annotations

import json
import os
import time
from base64 import urlsafe_b64encode
from pathlib import Path

from crypto_modes import primitives

ISSUER = "https://compare.louver.invalid"
_KEY_ID = "compare"
_LIFE = 6 * 3600


class Issuer:
    """Signs tokens; the private key lives in this object only."""

    def __init__(self, jwks: Path) -> None:
        self._seed = os.urandom(32)
        public = primitives.ed25519_public(self._seed)
        key = {"kty": "OKP", "crv": "Ed25519", "kid": _KEY_ID, "alg": "EdDSA", "use": "sig"}
        jwks.write_text(json.dumps({"keys": [{**key, "x": _b64(public)}]}))
        self.jwks = jwks

    def token(self, name: str) -> str:
        """A token for the user ``name``, good for six hours."""
        now = int(time.time())
        claims = {"iss": ISSUER, "sub": name, "preferred_username": name}
        times = {"iat": now, "nbf": now - 5, "exp": now + _LIFE}
        head = {"alg": "EdDSA", "kid": _KEY_ID, "typ": "JWT"}
        signed = f"{_b64(_json(head))}.{_b64(_json({**claims, **times}))}"
        return f"{signed}.{_b64(primitives.ed25519_sign(self._seed, signed.encode()))}"


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
