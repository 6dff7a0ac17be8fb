"""Certificates: load an operator's for TLS, or make throw-away ones for trying out.

What may live here: certificate files and the TLS context made from them. What may not: sockets.
This is the one file outside ``crypto_modes/primitives.py`` that imports ``cryptography``, for
X.509 only: nothing that protects a message is made here, and ``primitives`` stays free of
certificates and clocks.
"""

from __future__ import annotations

import datetime
import os
import ssl
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from crypto_modes.errors import BadConfig

# TLS 1.2, where it is asked for, with forward secrecy and authenticated encryption only.
_TLS12_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
_LIFETIME = datetime.timedelta(days=90)
_SKEW = datetime.timedelta(hours=1)
_HOST = "localhost"


def server_context(certificate: Path, key: Path, *, tls12: bool = False) -> ssl.SSLContext:
    """A context that speaks TLS 1.3 alone, or 1.2 as well if ``tls12`` says so.

    Without compression, renegotiation and early data; without tickets, because no client of
    ours resumes a session and a stolen ticket key would open past ones.

    Raises:
        BadConfig: a file is missing, unreadable, no PEM, encrypted or expired, or the key is
            another certificate's.
    """
    for setting, path in (("listen.certificate", certificate), ("listen.key", key)):
        _require_readable(setting, path)
    _require_valid_now(certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2 if tls12 else ssl.TLSVersion.TLSv1_3
    context.set_ciphers(_TLS12_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    context.num_tickets = 0
    _load(context, certificate, key)
    return context


class ServerCertificate:
    """The certificate a relay shows, in a ``context`` that listeners keep for their whole life."""

    def __init__(self, certificate: Path, key: Path, *, tls12: bool = False) -> None:
        """Raises ``BadConfig`` like ``server_context``."""
        self._certificate, self._key = certificate, key
        self.context = server_context(certificate, key, tls12=tls12)
        self._kind = _kind_of(certificate)

    def reload(self) -> None:
        """Show from the next handshake on what the files hold now.

        Raises ``BadConfig`` where they cannot be used; then the old certificate stays.
        """
        # Into a context of its own first: a pair that does not fit would leave the one in use
        # with a new certificate and an old key.
        server_context(self._certificate, self._key)
        if (kind := _kind_of(self._certificate)) != self._kind:
            # OpenSSL keeps one certificate for each kind of key, and would go on offering the old.
            raise BadConfig(
                f"listen.certificate: {self._certificate} has another kind of key ({kind} instead"
                f" of {self._kind}); restart the relay to use it"
            )
        _load(self.context, self._certificate, self._key)


def make_dev_certificates(directory: Path) -> tuple[Path, Path, Path]:
    """Make a throw-away CA and the relay's certificate for this machine, valid for 90 days.

    Writes ``ca.pem`` (for clients), ``relay.pem`` and ``relay.key`` into ``directory``, which is
    made if missing, and returns the three paths. The CA's own key is never written, so it can
    sign nothing else, and the CA is constrained to loopback names besides.

    Raises:
        BadConfig: one of the files exists, or the directory cannot be written.
    """
    paths = (directory / "ca.pem", directory / "relay.pem", directory / "relay.key")
    for path in paths:
        if path.exists():
            raise BadConfig(
                f"{path} exists and is not overwritten; remove it or name another --dir"
            )
    now = datetime.datetime.now(datetime.UTC)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    relay_key = ec.generate_private_key(ec.SECP256R1())
    authority = _authority(authority_key, now)
    relay = _relay(relay_key, authority, authority_key, now)
    pem = serialization.Encoding.PEM
    private = relay_key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    contents = (authority.public_bytes(pem), relay.public_bytes(pem), private)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path, content, mode in zip(paths, contents, (0o644, 0o644, 0o600), strict=True):
            _write_new(path, content, mode)
    except OSError as error:
        raise BadConfig(f"cannot write certificates to {directory}: {error.strerror}") from None
    return paths


def _authority(key: ec.EllipticCurvePrivateKey, now: datetime.datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Louver throw-away CA")])
    loopback = [
        x509.DNSName(_HOST),
        x509.IPAddress(IPv4Network("127.0.0.1/32")),
        x509.IPAddress(IPv6Network("::1/128")),
    ]
    return (
        _dated(name, name, key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.NameConstraints(loopback, None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _relay(
    key: ec.EllipticCurvePrivateKey,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    now: datetime.datetime,
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _HOST)])
    names = [
        x509.DNSName(_HOST),
        x509.IPAddress(IPv4Address("127.0.0.1")),
        x509.IPAddress(IPv6Address("::1")),
    ]
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    return (
        _dated(name, authority.subject, key.public_key(), now)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(issuer, critical=False)
        .sign(authority_key, hashes.SHA256())
    )


def _dated(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime.datetime,
) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=key,
        serial_number=x509.random_serial_number(),
        not_valid_before=now - _SKEW,
        not_valid_after=now + _LIFETIME,
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _write_new(path: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _load(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Put a certificate and its key into ``context``. Raises ``BadConfig``."""

    def refuse_to_ask() -> str:
        # Without this, OpenSSL would wait for a passphrase on the terminal of a service.
        raise BadConfig(f"listen.key: {key} is encrypted; give the relay an unencrypted copy")

    try:
        context.load_cert_chain(certificate, key, password=refuse_to_ask)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise BadConfig(f"listen.key: {key} is not the key of {certificate}") from None
        raise BadConfig(f"listen.key: {key} holds no private key in PEM form") from None


def _require_readable(setting: str, path: Path) -> None:
    try:
        with path.open("rb"):
            return
    except FileNotFoundError:
        raise BadConfig(
            f"{setting}: {path} does not exist; "
            f"`louverd certs dev --dir {path.parent}` makes one for trying out"
        ) from None
    except OSError as error:
        raise BadConfig(f"{setting}: cannot read {path}: {error.strerror}") from None


def _kind_of(certificate: Path) -> str:
    """The kind of a certificate's key, such as ``EllipticCurve`` or ``RSA``."""
    first = x509.load_pem_x509_certificates(certificate.read_bytes())[0]
    return type(first.public_key()).__name__.removesuffix("PublicKey")


def _require_valid_now(certificate: Path) -> None:
    try:
        first = x509.load_pem_x509_certificates(certificate.read_bytes())[0]
    except ValueError:
        raise BadConfig(
            f"listen.certificate: {certificate} holds no certificate in PEM form"
        ) from None
    if first.not_valid_after_utc <= datetime.datetime.now(datetime.UTC):
        raise BadConfig(
            f"listen.certificate: {certificate} expired on {first.not_valid_after_utc:%Y-%m-%d}; "
            "no client would connect; renew it"
        )
