"""Vault's Transit engine and AWS's KMS on a loopback port, as far as a keyring speaks with them.

What may live here: real HTTP with the paths, bodies, statuses and error names of their public
documentation, over AES-GCM with versions. What may not: anything of the product. ``mood`` says how
the service answers: ``well``, ``down`` (5xx), ``refusing`` (no permission), ``lying`` (not JSON),
``gone`` (every connection is cut).
"""

from __future__ import annotations

import json
import os
import threading
from base64 import b64decode, b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

Mood = Literal["well", "down", "refusing", "lying", "gone"]
Answer = tuple[int, Any]


class FakeService:
    """One key with versions; the newest encrypts. ``asked`` is what it was sent: paths, bodies."""

    def __init__(self) -> None:
        self.versions = {1: os.urandom(32)}
        self.least = 1
        self.mood: Mood = "well"
        self.asked: list[tuple[str, dict[str, Any]]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _handle(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(size) or b"{}")
                if service.mood == "gone":
                    self.close_connection = True
                    return
                status, answer = service.answer(self.path, dict(self.headers), body)
                raw = b"" if status == 204 else json.dumps(answer).encode()
                if service.mood == "lying":
                    raw = b"<html>"
                self.send_response(status)
                self.send_header("Content-Type", service.media_type)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            do_GET = do_POST = do_PUT = _handle  # noqa: N815 - the names that the library looks for

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    media_type = "application/json"

    def answer(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> Answer:
        raise NotImplementedError

    def seal(self, plaintext: bytes, aad: bytes) -> tuple[int, bytes]:
        newest, nonce = max(self.versions), os.urandom(12)
        return newest, nonce + AESGCM(self.versions[newest]).encrypt(nonce, plaintext, aad)

    def unseal(self, version: int, sealed: bytes, aad: bytes) -> bytes | None:
        try:
            return AESGCM(self.versions[version]).decrypt(sealed[:12], sealed[12:], aad)
        except (InvalidTag, KeyError, ValueError):
            return None

    def rotate(self) -> None:
        self.versions[max(self.versions) + 1] = os.urandom(32)

    def stop(self) -> None:
        self.mood = "gone"
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class FakeTransit(FakeService):
    """``POST /v1/transit/{encrypt,decrypt}/louver``, and rotating the key. ``binds`` false is a
    service that is too old to know ``associated_data``."""

    token = "s.right"
    binds = True

    def answer(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> Answer:
        self.asked.append((path, body))
        if self.mood == "down":
            return 503, {"errors": ["Vault is sealed"]}
        if self.mood == "refusing" or headers.get("X-Vault-Token") != self.token:
            return 403, {"errors": ["1 error occurred:\n\t* permission denied\n\n"]}
        aad = b64decode(body.get("associated_data", "")) if self.binds else b""
        match path.removeprefix("/v1/transit/"):
            case "encrypt/louver":
                version, sealed = self.seal(b64decode(body["plaintext"]), aad)
                text = f"vault:v{version}:{b64encode(sealed).decode()}"
                return 200, {"data": {"ciphertext": text, "key_version": version}}
            case "decrypt/louver":
                return self._decrypt(body["ciphertext"], aad)
            case "keys/louver/rotate":
                self.rotate()
                return 204, None
            case "keys/louver":
                return 200, {"data": {"latest_version": max(self.versions)}}
            case "keys/louver/config":
                self.least = body["min_decryption_version"]
                return 204, None
        return 404, {"errors": []}

    def _decrypt(self, text: str, aad: bytes) -> Answer:
        prefix, _, rest = text.partition(":v")
        version, _, encoded = rest.partition(":")
        if prefix != "vault" or not version.isdigit():
            return 400, {"errors": ["invalid ciphertext: no prefix"]}
        if int(version) < self.least:
            return 400, {"errors": ["ciphertext or signature version is disallowed by policy"]}
        try:
            opened = self.unseal(int(version), b64decode(encoded, validate=True), aad)
        except ValueError:
            opened = None
        if opened is None:
            return 400, {"errors": ["cipher: message authentication failed"]}
        return 200, {"data": {"plaintext": b64encode(opened).decode()}}


class FakeKms(FakeService):
    """``TrentService``: Encrypt, Decrypt, GenerateDataKey, RotateKeyOnDemand of one key."""

    media_type = "application/x-amz-json-1.1"
    key = "1234abcd-12ab-34cd-56ef-1234567890ab"

    def answer(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> Answer:
        operation = headers["X-Amz-Target"].removeprefix("TrentService.")
        self.asked.append((operation, body))
        if self.mood == "down":
            return 500, {"__type": "KMSInternalException", "message": "try again"}
        if self.mood == "refusing" or not headers["Authorization"].startswith("AWS4-HMAC-SHA256 "):
            return 400, {"__type": "AccessDeniedException", "message": "not authorized"}
        if body["KeyId"] != self.key:
            return 400, {"__type": "NotFoundException", "message": "no such key"}
        aad = json.dumps(body.get("EncryptionContext", {}), sort_keys=True).encode()
        match operation:
            case "Encrypt":
                return 200, self._blob(b64decode(body["Plaintext"]), aad)
            case "GenerateDataKey":
                key = os.urandom({"AES_256": 32}[body["KeySpec"]])
                return 200, self._blob(key, aad) | {"Plaintext": b64encode(key).decode()}
            case "Decrypt":
                blob = b64decode(body["CiphertextBlob"])
                opened = self.unseal(blob[0], blob[1:], aad)
                if opened is None:
                    return 400, {"__type": "InvalidCiphertextException"}
                return 200, {"Plaintext": b64encode(opened).decode(), "KeyId": self.key}
            case "RotateKeyOnDemand":
                self.rotate()
                return 200, {"KeyId": self.key}
        return 400, {"__type": "UnknownOperationException"}

    def _blob(self, plaintext: bytes, aad: bytes) -> dict[str, Any]:
        version, sealed = self.seal(plaintext, aad)
        blob = bytes([version]) + sealed
        return {"CiphertextBlob": b64encode(blob).decode(), "KeyId": self.key}
