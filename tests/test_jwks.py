"""External tokens: only the provider's asymmetric signatures, only for us, only in time."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from crypto_modes.errors import BadConfig, TokenExpired, Unauthorized, Unavailable
from server.jwks import SIZE_LIMIT, Jwks, keys_of, source

ED = ed25519.Ed25519PrivateKey.generate()
EC = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
WEAK = rsa.generate_private_key(public_exponent=65537, key_size=1024)


def entry(algorithm: Any, key: Any, **more: str) -> dict[str, Any]:
    described: dict[str, Any] = json.loads(algorithm.to_jwk(key.public_key()))
    return {**described, **more}


ENTRIES = [
    entry(OKPAlgorithm, ED, kid="ed", alg="EdDSA", use="sig"),
    entry(ECAlgorithm, EC, kid="ec"),
    entry(RSAAlgorithm, RSA, kid="rsa", use="sig"),
]


def jwks(*entries: dict[str, Any]) -> bytes:
    return json.dumps({"keys": entries}).encode()


def token(key: Any = ED, algorithm: str = "EdDSA", kid: str | None = "ed", **claims: Any) -> str:
    content = {"sub": "u-1", "exp": int(time.time()) + 600, **claims}
    content = {name: value for name, value in content.items() if value is not None}
    return jwt.encode(content, key, algorithm, headers={"kid": kid} if kid else None)


def known(
    *entries: dict[str, Any], issuer: str = "", audience: str = "", id_tokens: bool = False
) -> Jwks:
    content = jwks(*(entries or ENTRIES))
    return Jwks(lambda: content, issuer=issuer, audience=audience, id_tokens=id_tokens)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("key", "algorithm", "kid"), [(ED, "EdDSA", "ed"), (EC, "ES256", "ec"), (RSA, "RS256", "rsa")]
)
async def test_every_allowed_algorithm(key: Any, algorithm: str, kid: str) -> None:
    external = await known().verify(token(key, algorithm, kid, preferred_username="alice"))
    assert external.subject == "u-1"
    assert external.name == "alice"
    assert external.expires > time.time()


@pytest.mark.asyncio
async def test_one_key_needs_no_id_but_several_do() -> None:
    assert (await known(ENTRIES[0]).verify(token(kid=None))).subject == "u-1"
    with pytest.raises(Unauthorized, match="does not publish"):
        await known().verify(token(kid=None))


def _none() -> str:
    return jwt.encode({"sub": "u-1", "exp": time.time() + 600}, "", "none", headers={"kid": "ed"})


def _public_key_as_secret() -> str:
    """The classic confusion: HMAC under the bytes of the published key."""
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"ed"}').rstrip(b"=")
    body = base64.urlsafe_b64encode(b'{"sub":"u-1","exp":99999999999}').rstrip(b"=")
    secret = ED.public_key().public_bytes_raw()
    import hmac

    tag = base64.urlsafe_b64encode(hmac.digest(secret, head + b"." + body, "sha256")).rstrip(b"=")
    return (head + b"." + body + b"." + tag).decode()


def _tampered() -> str:
    head, _, tag = token().split(".")
    forged = base64.urlsafe_b64encode(b'{"sub":"u-2","exp":99999999999}').rstrip(b"=").decode()
    return f"{head}.{forged}.{tag}"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "made",
    [
        _none,
        _public_key_as_secret,
        _tampered,
        lambda: token(key=ed25519.Ed25519PrivateKey.generate()),
        lambda: token(key=RSA, algorithm="RS256", kid="ed"),
        lambda: token(key=RSA, algorithm="RS512", kid="rsa"),
        lambda: token(key=RSA, algorithm="PS256", kid="rsa"),
        lambda: token(kid="unknown"),
        lambda: token(exp=None),
        lambda: token(sub=None),
        lambda: token(sub=""),
        lambda: token(sub="x" * 256),
        lambda: token(exp="soon"),
        lambda: token(nbf=int(time.time()) + 600),
        lambda: "",
        lambda: "a.b.c",
        lambda: "lvr_" + "x" * 43,
        lambda: "x" * 100_000,
        lambda: "é" * 20,
    ],
)
async def test_everything_else_is_refused(made: Callable[[], str]) -> None:
    with pytest.raises(Unauthorized):
        await known().verify(made())


@pytest.mark.asyncio
async def test_expired_is_said_so() -> None:
    with pytest.raises(TokenExpired):
        await known().verify(token(exp=int(time.time()) - 60))


@pytest.mark.asyncio
async def test_issuer_and_audience_are_checked_where_configured() -> None:
    strict = known(issuer="https://id.example", audience="louver")
    good = token(iss="https://id.example", aud=["louver", "other"])
    assert (await strict.verify(good)).subject == "u-1"
    for claims in (
        {},
        {"iss": "https://id.example"},
        {"aud": "louver"},
        {"iss": "https://evil.example", "aud": "louver"},
        {"iss": "https://id.example", "aud": "other"},
    ):
        with pytest.raises(Unauthorized):
            await strict.verify(token(**claims))
    assert (await known().verify(token(aud="whatever", iss="whoever"))).subject == "u-1"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"aud": "other"}, "`aud` is not the audience"),
        ({"iss": "https://evil.example"}, "`iss` is not the issuer"),
        ({"aud": None}, "lacks one of"),
        ({"nbf": int(time.time()) + 600}, "not valid yet"),
        ({"sub": 7}, "InvalidSubjectError"),
    ],
)
async def test_a_refusal_says_what_to_change_and_nothing_of_the_token(
    claims: dict[str, Any], said: str
) -> None:
    fits = {"iss": "https://id.example", "aud": "louver"}
    with pytest.raises(Unauthorized, match=said) as refused:
        await known(issuer="https://id.example", audience="louver").verify(token(**fits | claims))
    assert "evil" not in str(refused.value)


@pytest.mark.asyncio
async def test_an_id_token_is_none_of_another_program_and_no_access_token() -> None:
    strict = known(audience="louver", id_tokens=True)
    for claims in (
        {"aud": "louver"},
        {"aud": "louver", "azp": "louver"},
        {"aud": ["louver"]},
        {"aud": ["louver", "other"], "azp": "louver"},
    ):
        assert (await strict.verify(token(**claims))).subject == "u-1"
    for claims in (
        {"aud": "louver", "azp": "other"},
        {"aud": ["louver", "other"], "azp": "other"},
        {"aud": ["louver", "other"]},
    ):
        with pytest.raises(Unauthorized, match="another program"):
            await strict.verify(token(**claims))
    content = {"sub": "u-1", "exp": int(time.time()) + 600, "aud": "louver"}
    for kind in ("at+jwt", "application/at+jwt"):
        made = jwt.encode(content, ED, "EdDSA", {"kid": "ed", "typ": kind})
        with pytest.raises(Unauthorized, match="access token"):
            await strict.verify(made)
        assert (await known(audience="louver").verify(made)).subject == "u-1"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys": 3}',
        b'{"keys": []}',
        b'{"keys": [1, "x", null]}',
        b'{"keys": [{"kty": ["RSA"]}]}',
        b'{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "short"}]}',
        b'{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "ed", "alg": "HS256"}]}',
        b"[" * 100_000,
        b"\xff\xfe",
        b" " * (SIZE_LIMIT + 1),
        jwks(entry(RSAAlgorithm, WEAK, kid="weak")),
        jwks({**ENTRIES[0], "use": "enc"}),
        jwks({**ENTRIES[2], "alg": "RS512"}),
        jwks({**ENTRIES[0], "d": "cHJpdmF0ZQ"}),
    ],
)
def test_a_jwks_without_a_usable_key_is_refused(content: bytes) -> None:
    with pytest.raises(BadConfig, match="JWKS"):
        keys_of(content)


class Provider:
    """A provider whose answers and clock a test controls."""

    def __init__(self, *entries: dict[str, Any]) -> None:
        self.content = jwks(*entries)
        self.asked = 0
        self.time = 1000.0
        self.up = True
        self.jwks = Jwks(self.fetch, now=lambda: self.time)

    def fetch(self) -> bytes:
        self.asked += 1
        if not self.up:
            raise OSError("no route to host")
        return self.content


@pytest.mark.asyncio
async def test_unknown_keys_ask_the_provider_once_a_minute_at_most() -> None:
    provider = Provider(ENTRIES[0])
    await provider.jwks.verify(token())
    for _ in range(50):
        with pytest.raises(Unauthorized):
            await provider.jwks.verify(token(kid="made-up"))
    assert provider.asked == 1
    provider.time += 61
    provider.content = jwks(*ENTRIES)
    assert (await provider.jwks.verify(token(EC, "ES256", "ec"))).subject == "u-1"
    assert provider.asked == 2


@pytest.mark.asyncio
async def test_many_at_once_ask_once() -> None:
    provider = Provider(*ENTRIES)
    await asyncio.gather(*(provider.jwks.verify(token()) for _ in range(20)))
    assert provider.asked == 1


@pytest.mark.asyncio
async def test_a_withdrawn_key_stops_working_within_the_hour() -> None:
    provider = Provider(*ENTRIES)
    await provider.jwks.verify(token())
    provider.content = jwks(ENTRIES[1])
    provider.time += 3601
    with pytest.raises(Unauthorized):
        await provider.jwks.verify(token())


@pytest.mark.asyncio
async def test_a_provider_that_is_down_is_temporary_and_forgotten_after_a_day() -> None:
    provider = Provider(*ENTRIES)
    provider.up = False
    with pytest.raises(Unavailable, match="no route"):
        await provider.jwks.verify(token())
    with pytest.raises(Unavailable):
        await provider.jwks.read()
    provider.up = True
    provider.time += 61
    await provider.jwks.verify(token())
    provider.up = False
    provider.time += 23 * 3600
    assert (await provider.jwks.verify(token())).subject == "u-1"
    provider.time += 2 * 3600
    with pytest.raises(Unavailable):
        await provider.jwks.verify(token())


@pytest.mark.asyncio
async def test_a_file_is_read_and_a_missing_one_is_said(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    with pytest.raises(Unavailable, match="No such file"):
        await Jwks(source(str(path))).read()
    path.write_bytes(jwks(*ENTRIES))
    assert (await Jwks(source(str(path))).verify(token())).subject == "u-1"


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        answers = {"/jwks": jwks(*ENTRIES), "/huge": b" " * (SIZE_LIMIT * 2)}
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", "/jwks")
        else:
            self.send_response(200 if self.path in answers else 404)
        self.end_headers()
        self.wfile.write(answers.get(self.path, b""))

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


@pytest.fixture
def provider_url() -> Iterator[tuple[str, ssl.SSLContext]]:
    authority = trustme.CA()
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server_context)
    client_context = ssl.create_default_context()
    authority.configure_trust(client_context)
    server = HTTPServer(("127.0.0.1", 0), Answer)
    server.socket = server_context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}", client_context
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.asyncio
async def test_over_https(provider_url: tuple[str, ssl.SSLContext]) -> None:
    url, context = provider_url
    assert (await Jwks(source(f"{url}/jwks", context)).verify(token())).subject == "u-1"
    for path in ("/away", "/huge", "/missing"):
        with pytest.raises(Unavailable):
            await Jwks(source(url + path, context)).read()
    with pytest.raises(Unavailable, match=r"(?i:certificate)"):
        await Jwks(source(f"{url}/jwks")).read()
