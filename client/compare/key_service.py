"""A key service on the loopback, of the kind an operator has elsewhere: Vault's Transit engine.

Only what a relay asks of it lives here: encrypting and decrypting data keys under one key, with
their context, over real HTTP. It counts how often it was asked.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from crypto_modes.errors import CannotOpen
from crypto_modes.primitives import KEY_SIZE, NONCE_SIZE, aead_open, aead_seal, equal

NAME = "louver"
_PREFIX = "vault:v1:"
_POLL_SECONDS = 0.05


class KeyService:
    """``address`` to ask with ``token``; ``asked`` counts what was answered."""

    def __init__(self) -> None:
        self.address = ""
        self.token = f"s.{secrets.token_hex(16)}"
        self.asked = 0
        self._key = os.urandom(KEY_SIZE)

    def answer(self, verb: str, body: dict[str, str]) -> dict[str, str]:
        """What ``encrypt`` or ``decrypt`` gives. Raises ``ValueError`` for anything else."""
        self.asked += 1
        bound = b64decode(body.get("associated_data", ""))
        if verb == "encrypt":
            nonce = os.urandom(NONCE_SIZE)
            sealed = nonce + aead_seal(self._key, nonce, b64decode(body["plaintext"]), bound)
            return {"ciphertext": _PREFIX + b64encode(sealed).decode()}
        if verb == "decrypt":
            sealed = b64decode(body["ciphertext"].removeprefix(_PREFIX))
            nonce, text = sealed[:NONCE_SIZE], sealed[NONCE_SIZE:]
            return {"plaintext": b64encode(aead_open(self._key, nonce, text, bound)).decode()}
        raise ValueError(verb)


@contextmanager
def key_service() -> Iterator[KeyService]:
    """A service that answers until the end."""
    service = KeyService()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            place = self.path.removeprefix("/v1/transit/").removesuffix(f"/{NAME}")
            if not equal(self.headers.get("X-Vault-Token", "").encode(), service.token.encode()):
                return self._say(403, {"errors": ["permission denied"]})
            try:
                return self._say(200, {"data": service.answer(place, body)})
            except (CannotOpen, ValueError, KeyError):
                return self._say(400, {"errors": ["cipher: message authentication failed"]})

        do_PUT = do_POST  # noqa: N815  the name that http.server calls

        def _say(self, status: int, answer: dict[str, Any]) -> None:
            raw = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        service.address = f"http://127.0.0.1:{server.server_address[1]}"
        serving = threading.Thread(target=server.serve_forever, args=(_POLL_SECONDS,))
        serving.start()
        try:
            yield service
        finally:
            server.shutdown()
            serving.join()
