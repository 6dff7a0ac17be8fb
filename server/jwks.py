"""External tokens: JWTs (RFC 7519) of the operator's identity provider, checked by its JWKS.

What may live here: reading the provider's keys and verifying with them. The algorithm follows
from the key, never from the token's header, so no token can choose how it is checked
(RFC 8725, 3.1). Symmetric algorithms do not exist here: a public key must not become a secret.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
import urllib.request
from collections.abc import Callable, Mapping
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec

from crypto_modes.errors import BadConfig, TokenExpired, Unauthorized, Unavailable

if TYPE_CHECKING:
    from jwt import PyJWK

    from server.settings_tree import Accounts

SIZE_LIMIT = 256 * 1024
KEYS_LIMIT = 100
TOKEN_LIMIT = 3072
SUBJECT_LIMIT = 255
RSA_BITS = 2048
TIMEOUT = 5.0
ASK_AGAIN = 60.0
MAX_AGE = 3600.0
KEEP_UNREACHABLE = 24 * 3600.0
LEEWAY = 30.0

# By the names of the library's errors, whose texts might repeat what the token says.
_WRONG = {
    "ImmatureSignatureError": "it is not valid yet; do the clocks here and there differ?",
    "InvalidAudienceError": "it is for another program: its `aud` is not the audience set here",
    "InvalidIssuerError": "it is of another provider: its `iss` is not the issuer set here",
    "InvalidSignatureError": "its signature is not by the key that it names",
    "MissingRequiredClaimError": "it lacks one of `exp`, `sub`, `iss` and `aud`",
}
_ALGORITHMS = {("OKP", "Ed25519"): "EdDSA", ("EC", "P-256"): "ES256", ("RSA", ""): "RS256"}


class External(msgspec.Struct, frozen=True):
    """Whom the provider vouches for: ``sub``, stable and unique there; ``name`` is its
    ``preferred_username``, or empty; ``expires`` in seconds since 1970.
    """

    subject: str
    name: str
    expires: int


class Jwks:
    """The provider's keys: read when first needed, after an hour, and when a token names an
    unknown key, but never more than once a minute.
    """

    def __init__(
        self,
        fetch: Callable[[], bytes],
        *,
        issuer: str = "",
        audience: str = "",
        id_tokens: bool = False,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """With ``id_tokens`` only those of OpenID Connect are taken, made for ``audience``."""
        _require_library()
        self._fetch = fetch
        self._issuer = issuer
        self._audience = audience
        self._id_tokens = id_tokens
        self._now = now
        self._keys: dict[str, PyJWK] = {}
        self._read = self._asked = float("-inf")
        self._problem = ""
        self._reading = asyncio.Lock()

    async def verify(self, token: str) -> External:
        """Whom ``token`` speaks for.

        Raises:
            Unauthorized: not signed by the provider, not for us, or not usable.
            TokenExpired: past its ``exp``.
            Unavailable: the provider's keys could not be read, and none are known.
        """
        if len(token) > TOKEN_LIMIT:
            raise Unauthorized("this token is longer than 3,072 characters")
        key = await self._key_for(_key_id(token))
        claims = _claims(token, key, self._issuer, self._audience)
        if self._id_tokens:
            _check_id_token(token, claims, self._audience)
        return _external(claims)

    async def read(self) -> None:
        """Read the keys now, for a start that should fail early. Raises ``Unavailable``."""
        async with self._reading:
            await self._read_now()
        if self._problem:
            raise Unavailable(f"the identity provider's keys cannot be read: {self._problem}")

    async def _key_for(self, kid: str) -> PyJWK:
        if self._find(kid) is None or self._now() - self._read > MAX_AGE:
            await self._read_again()
        key = self._find(kid)
        if key is not None:
            return key
        if self._problem:
            raise Unavailable(f"the identity provider's keys cannot be read: {self._problem}")
        raise Unauthorized("this token is signed by a key that the provider does not publish")

    def _find(self, kid: str) -> PyJWK | None:
        if not kid and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid)

    async def _read_again(self) -> None:
        async with self._reading:
            # Asked under the lock: of many callers that missed at once, one reads for all.
            if self._now() - self._asked >= ASK_AGAIN:
                await self._read_now()

    async def _read_now(self) -> None:
        self._asked = self._now()
        try:
            self._keys = keys_of(await asyncio.to_thread(self._fetch))
            self._read = self._now()
            self._problem = ""
        except (OSError, HTTPException, BadConfig) as error:
            self._problem = str(error)
            # An unreachable provider cannot withdraw a key: trust it no longer than a day.
            if self._now() - self._read > KEEP_UNREACHABLE:
                self._keys = {}


def jwks_from(accounts: Accounts) -> Jwks | None:
    """What the settings ask for; None without an identity provider."""
    if not accounts.jwks:
        return None
    return Jwks(source(accounts.jwks), issuer=accounts.issuer, audience=accounts.audience)


def source(where: str, context: ssl.SSLContext | None = None) -> Callable[[], bytes]:
    """What reads the JWKS at ``where``, an https:// address or a file. Blocks; ``OSError``."""
    if where.startswith("https://"):
        return lambda: _over_https(where, context)
    return lambda: _from_file(Path(where))


def _from_file(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(SIZE_LIMIT + 1)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The operator named an address; the answer may not name another."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> None:
        return None


def _over_https(url: str, context: ssl.SSLContext | None) -> bytes:
    trusted = context or ssl.create_default_context()
    opener = urllib.request.build_opener(
        urllib.request.HTTPSHandler(context=trusted), _NoRedirect()
    )
    with opener.open(url, timeout=TIMEOUT) as answer:
        content: bytes = answer.read(SIZE_LIMIT + 1)
        return content


def keys_of(content: bytes) -> dict[str, PyJWK]:
    """The usable signing keys of a JWKS by ``kid``; keys of other kinds are left out.

    Raises:
        BadConfig: no JWKS, too large, or without any usable key.
    """
    if len(content) > SIZE_LIMIT:
        raise BadConfig("the JWKS is over 256 KiB")
    try:
        listed = json.loads(content)["keys"]
        entries = [entry for entry in listed[:KEYS_LIMIT] if isinstance(entry, dict)]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BadConfig('the JWKS is no JSON object with a list "keys"') from None
    keys = {str(entry.get("kid", "")): key for entry in entries if (key := _key(entry))}
    if not keys:
        raise BadConfig("the JWKS has no key for EdDSA, ES256 or RS256 (2,048 bits or more)")
    return keys


def _key(entry: Mapping[str, Any]) -> PyJWK | None:
    from jwt import PyJWK, PyJWTError

    algorithm = _ALGORITHMS.get((str(entry.get("kty")), str(entry.get("crv", ""))))
    if algorithm is None or entry.get("alg", algorithm) != algorithm:
        return None
    if entry.get("use", "sig") != "sig" or "d" in entry:
        return None
    try:
        key = PyJWK.from_dict(dict(entry), algorithm)
    except (PyJWTError, ValueError, TypeError):
        return None
    return None if algorithm == "RS256" and key.key.key_size < RSA_BITS else key


def _key_id(token: str) -> str:
    import jwt

    try:
        return str(jwt.get_unverified_header(token).get("kid", ""))
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise Unauthorized("this is no signed token") from None


def _claims(token: str, key: PyJWK, issuer: str, audience: str) -> dict[str, Any]:
    import jwt

    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[key.algorithm_name],
            issuer=issuer or None,
            audience=audience or None,
            leeway=LEEWAY,
            options={"require": ["exp", "sub"], "verify_aud": bool(audience)},
        )
    except jwt.ExpiredSignatureError:
        raise TokenExpired("this token has expired; get a new one") from None
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
        name = type(error).__name__
        raise Unauthorized(f"this token is refused: {_WRONG.get(name, name)}") from None
    return claims


def _check_id_token(token: str, claims: Mapping[str, Any], audience: str) -> None:
    """Raises ``Unauthorized`` for a token to call something with (RFC 9068), and for one that was
    made for another program and names this one beside it (OpenID Connect Core 1.0, 3.1.3.7)."""
    import jwt

    kind = str(jwt.get_unverified_header(token).get("typ", "")).lower()
    if kind.removeprefix("application/") == "at+jwt":
        raise Unauthorized("this is an access token; log in with the provider's ID token")
    several = isinstance(claims.get("aud"), list) and len(claims["aud"]) > 1
    if claims.get("azp", None if several else audience) != audience:
        raise Unauthorized(
            "this token is refused: it was made for another program (its `azp`), not for the"
            " audience set here"
        )


def _external(claims: Mapping[str, Any]) -> External:
    subject, name = claims["sub"], claims.get("preferred_username", "")
    if not 0 < len(subject) <= SUBJECT_LIMIT:
        raise Unauthorized("the token's subject must have 1 to 255 characters")
    return External(subject, name if isinstance(name, str) else "", int(claims["exp"]))


def _require_library() -> None:
    try:
        import jwt  # noqa: F401 - an extra: only relays with external accounts need it
    except ImportError:
        raise BadConfig(
            "tokens of an identity provider need the extra package: pip install 'louver[jwt]'"
        ) from None
