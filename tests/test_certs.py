"""Certificates: what is made, what is refused, and what a handshake with them agrees on."""

from __future__ import annotations

import asyncio
import datetime
import os
import re
import socket
import ssl
import stat
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from crypto_modes.errors import BadConfig
from server.certs import make_dev_certificates, server_context
from server.gateway import Gateway, GatewaySettings
from server.gateway.security import UNREPORTED, Negotiated
from tests.conftest import Running, StartRelay
from tests.gateway_rig import HELLO, Notes, Recorder, encoded, greets, notice


def client_context(ca: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(ca))


def test_dev_certificates_are_for_this_machine_and_the_key_is_private(tmp_path: Path) -> None:
    ca, relay, key = make_dev_certificates(tmp_path / "new" / "certs")
    assert [path.name for path in (ca, relay, key)] == ["ca.pem", "relay.pem", "relay.key"]
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    certificate = x509.load_pem_x509_certificate(relay.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert sorted(str(name.value) for name in names) == ["127.0.0.1", "::1", "localhost"]
    lifetime = certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    assert datetime.timedelta(days=89) < lifetime < datetime.timedelta(days=91)


def test_the_authority_signs_loopback_only_and_its_key_is_nowhere(tmp_path: Path) -> None:
    ca, _relay, key = make_dev_certificates(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ca.pem", "relay.key", "relay.pem"]
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    authority = x509.load_pem_x509_certificate(ca.read_bytes())
    assert private.public_key() != authority.public_key()
    constraints = authority.extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    permitted = constraints.value.permitted_subtrees or []
    assert {str(name.value) for name in permitted} == {"localhost", "127.0.0.1/32", "::1/128"}


@pytest.mark.parametrize("name", ["ca.pem", "relay.pem", "relay.key"])
def test_existing_files_are_not_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("precious")
    with pytest.raises(BadConfig, match=f"{name} exists and is not overwritten"):
        make_dev_certificates(tmp_path)
    assert (tmp_path / name).read_text() == "precious"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_directory_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadConfig, match="cannot write certificates"):
        make_dev_certificates(tmp_path / "file" / "certs")


# What server_context refuses


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    _, certificate, key = make_dev_certificates(tmp_path)
    return certificate, key


def refuses(certificate: Path, key: Path, text: str) -> None:
    with pytest.raises(BadConfig, match=re.escape(text)):
        server_context(certificate, key)


def test_missing_files_are_named_with_the_way_out(pair: tuple[Path, Path], tmp_path: Path) -> None:
    missing = tmp_path / "none.pem"
    refuses(missing, pair[1], f"listen.certificate: {missing} does not exist; `louverd certs dev")
    refuses(pair[0], missing, f"listen.key: {missing} does not exist")


def test_a_directory_is_not_a_file(pair: tuple[Path, Path], tmp_path: Path) -> None:
    refuses(tmp_path, pair[1], f"listen.certificate: cannot read {tmp_path}: Is a directory")


def test_what_is_no_pem_is_named(pair: tuple[Path, Path], tmp_path: Path) -> None:
    noise = tmp_path / "noise.pem"
    noise.write_bytes(os.urandom(100))
    refuses(noise, pair[1], f"listen.certificate: {noise} holds no certificate in PEM form")
    refuses(pair[0], noise, f"listen.key: {noise} holds no private key in PEM form")


def test_a_key_of_another_certificate_is_named(pair: tuple[Path, Path], tmp_path: Path) -> None:
    _, _, other = make_dev_certificates(tmp_path / "other")
    refuses(pair[0], other, f"listen.key: {other} is not the key of {pair[0]}")


def test_an_encrypted_key_is_refused_and_nobody_is_asked(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    encrypted = tmp_path / "encrypted.key"
    private = serialization.load_pem_private_key(pair[1].read_bytes(), None)
    encrypted.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"passphrase"),
        )
    )
    refuses(pair[0], encrypted, f"listen.key: {encrypted} is encrypted")


def test_an_expired_certificate_is_refused(tmp_path: Path) -> None:
    then = datetime.datetime(2020, 2, 29, tzinfo=datetime.UTC)
    issued = trustme.CA().issue_cert("localhost", not_after=then)
    certificate, key = tmp_path / "old.pem", tmp_path / "old.key"
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    refuses(certificate, key, "expired on 2020-02-29")


# Renewal while the relay runs


async def shown(relay: Running) -> bytes:
    """The certificate in the relay's next handshake, in PEM form."""
    place = ("127.0.0.1", relay.port)
    return (await asyncio.to_thread(ssl.get_server_certificate, place)).encode()


def issue(certs: Path, key_type: trustme.KeyType) -> bytes:
    """Put another authority's certificate and key in the relay's place."""
    issued = trustme.CA(key_type=key_type).issue_cert("localhost", key_type=key_type)
    issued.cert_chain_pems[0].write_to_path(certs / "relay.pem")
    issued.private_key_pem.write_to_path(certs / "relay.key")
    return issued.cert_chain_pems[0].bytes()


@pytest.mark.asyncio
async def test_a_reload_shows_the_renewed_certificate(start_relay: StartRelay) -> None:
    relay = await start_relay(tls=True)
    alice, bob = await relay.enter("alice"), await relay.enter("bob")
    certs = Path(relay.app.settings.listen.certificate).parent
    before = await shown(relay)
    renewed = issue(certs, trustme.KeyType.ECDSA)
    assert await shown(relay) == before
    assert await relay.app.reload(relay.app.settings) == []
    assert (await shown(relay)).split() == renewed.split() != before.split()
    assert (await alice.say(bob, "connections of before go on")).seq == 1


def harm(certificate: Path, key: Path, damage: str) -> None:
    if damage == "no certificate":
        certificate.write_text("half a file")
    elif damage == "another key":
        key.write_bytes(make_dev_certificates(certificate.parent / "other")[2].read_bytes())
    elif damage == "no file":
        key.unlink()
    else:
        issue(certificate.parent, trustme.KeyType.RSA)


@pytest.mark.asyncio
@pytest.mark.parametrize("damage", ["no certificate", "another key", "no file", "another kind"])
async def test_a_renewal_that_cannot_be_used_leaves_everything_as_it_was(
    start_relay: StartRelay, damage: str
) -> None:
    relay = await start_relay(tls=True)
    listen = relay.app.settings.listen
    before = await shown(relay)
    harm(Path(listen.certificate), Path(listen.key), damage)
    limits = relay.app.settings.limits.model_copy(update={"page": 7})
    changed = relay.app.settings.model_copy(update={"limits": limits})
    with pytest.raises(BadConfig, match=r"^listen\.(certificate|key): .*relay\."):
        await relay.app.reload(changed)
    assert await shown(relay) == before
    assert relay.app.settings.limits.page != 7


# What a handshake agrees on


async def shake(
    directory: Path,
    client: ssl.SSLContext,
    *,
    tls12: bool = False,
    host: str = "localhost",
) -> tuple[str, Gateway]:
    """A message over TLS: the version that was agreed on, and the gateway."""
    from websockets.asyncio.client import connect
    from websockets.typing import Subprotocol

    context = server_context(directory / "relay.pem", directory / "relay.key", tls12=tls12)
    gateway = Gateway(GatewaySettings(port=0), lambda link: Recorder(link, greets), Notes())
    await gateway.start(context)
    try:
        async with connect(
            f"wss://127.0.0.1:{gateway.port}/",
            ssl=client,
            server_hostname=host,
            subprotocols=[Subprotocol("louver.v1.msgpack")],
            proxy=None,
        ) as websocket:
            await websocket.send(encoded(HELLO))
            assert await websocket.recv() == encoded(notice("welcome"))
            tls = websocket.transport.get_extra_info("ssl_object")
            assert tls.compression() is None
            assert not tls.session or not tls.session.has_ticket
            return tls.version(), gateway
    finally:
        await gateway.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
async def test_tls_13_is_agreed_on_and_reported(tmp_path: Path, host: str) -> None:
    make_dev_certificates(tmp_path)
    version, gateway = await shake(tmp_path, client_context(tmp_path / "ca.pem"), host=host)
    assert version == "TLSv1.3"
    (agreed,) = gateway.negotiated
    assert agreed.version == "TLSv1.3"
    assert agreed.cipher.startswith("TLS_")
    reported = hasattr(ssl.SSLObject, "group")
    assert (agreed.group == UNREPORTED) is not reported


@pytest.mark.asyncio
async def test_another_name_is_not_trusted(tmp_path: Path) -> None:
    make_dev_certificates(tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError):
        await shake(tmp_path, client_context(tmp_path / "ca.pem"), host="relay.example")


@pytest.mark.asyncio
@pytest.mark.parametrize("tls12", [False, True])
async def test_tls_12_is_spoken_only_where_it_was_asked_for(tmp_path: Path, tls12: bool) -> None:
    make_dev_certificates(tmp_path)
    client = client_context(tmp_path / "ca.pem")
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    if tls12:
        version, gateway = await shake(tmp_path, client, tls12=True)
        assert version == "TLSv1.2"
        (agreed,) = gateway.negotiated
        assert isinstance(agreed, Negotiated)
        assert re.fullmatch(r"ECDHE-.*(GCM|POLY1305).*", agreed.cipher)
    else:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await shake(tmp_path, client)


@pytest.mark.asyncio
@pytest.mark.parametrize("cipher", ["AES128-SHA", "ECDHE-ECDSA-AES128-SHA", "DHE-RSA-AES128-SHA"])
async def test_weak_suites_are_refused_even_with_tls_12(tmp_path: Path, cipher: str) -> None:
    make_dev_certificates(tmp_path)
    client = client_context(tmp_path / "ca.pem")
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers(f"{cipher}:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await shake(tmp_path, client, tls12=True)


@pytest.mark.asyncio
async def test_a_tls_handshake_that_stalls_is_cut_off(tmp_path: Path) -> None:
    make_dev_certificates(tmp_path)
    context = server_context(tmp_path / "relay.pem", tmp_path / "relay.key")
    settings = GatewaySettings(port=0, header_seconds=0.3)
    gateway = Gateway(settings, lambda link: Recorder(link, None), Notes())
    await gateway.start(context)
    with socket.create_connection(("127.0.0.1", gateway.port)) as raw:
        raw.setblocking(False)
        async with asyncio.timeout(30):
            assert await asyncio.get_running_loop().sock_recv(raw, 1) == b""
    await gateway.close()
