"""The probe of a vault without a grant, against a made-up vault: it hears answers, files and
memory, and says so where it does not. The real vault is asked in ``test_compare_lab``."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast

import pytest

from client.compare.canary import HOME, Canaries
from client.compare.office import Desk, Staff
from client.compare.ungranted import Ungranted
from client.moderation.asking import Office, Vault
from client.moderation.post import Addresses, Post

RUN = Canaries("vault")
PLANTED = (1, 2, 3)


class _Vault(BaseHTTPRequestHandler):
    """Refuses all but a signed look at its log, in which it enters what it refused."""

    entered: list[str]
    says: str

    def do_GET(self) -> None:
        signed = "Louver-Request" in self.headers
        if signed:
            self._answer(200, json.dumps(self.entered) + self.says)
        else:
            self.entered.append(self.path)
            self._answer(403, "refused")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(403, "refused")

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextmanager
def _probed(place: Path, says: str = "", named: str = "") -> Iterator[Ungranted]:
    """The probe of a vault that ``says`` this in its log, in a process with this name in memory."""
    handler = type("Handler", (_Vault,), {"entered": [], "says": says})
    data = place / "data"
    data.mkdir()
    (place / "vault.log").write_text("ready\n")
    auda = Post(place / "auda")
    auda.remember(Addresses(name="auda", url="http://127.0.0.1:1"))
    auda.key(make=True)
    desk = Desk(auda, Office(auda), cast("Vault", None))
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), handler) as server,
        subprocess.Popen(["sh", "-c", "read line", named], stdin=subprocess.PIPE) as child,
    ):
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        try:
            address = f"http://127.0.0.1:{server.server_address[1]}"
            probe = Ungranted(Staff({"auda": desk}, address, place, child.pid), RUN)
            probe.ask([bytes(16)])
            (data / "entries").write_text("\n".join(handler.entered))
            probe.look()
            yield probe
        finally:
            server.shutdown()


def test_a_vault_that_gives_nothing_away(tmp_path: Path) -> None:
    with _probed(tmp_path, named=RUN.make(HOME)) as probe:
        got = probe.exposure(False, PLANTED)
        assert (got.recovered, got.ok) == (0, True)
        assert probe.exposure(True, PLANTED).ok is False


@pytest.mark.parametrize("where", ["answers", "files", "memory"])
def test_what_it_gives_away_is_found(where: str, tmp_path: Path) -> None:
    leak = RUN.make(2)
    named = RUN.make(HOME) + (leak if where == "memory" else "")
    with _probed(tmp_path, says=leak if where == "answers" else "", named=named) as probe:
        if where == "files":
            (tmp_path / "data" / "cache").write_text(leak.encode().hex())
            probe.look()
        got = probe.exposure(False, PLANTED)
    assert (got.recovered, got.ok) == (1, False)


def test_where_it_cannot_hear_its_silence_is_void(tmp_path: Path) -> None:
    with _probed(tmp_path) as probe:  # its directory has no name to be found in memory
        got = probe.exposure(False, PLANTED)
    assert got.ok is False
    assert "control" in got.note


def test_with_a_grant_the_same_search_must_find(tmp_path: Path) -> None:
    texts = [f"{RUN.make(1)} it said".encode(), b"nothing in it"]
    with _probed(tmp_path, named=RUN.make(HOME)) as probe:
        probe.granted([json.dumps({"text": texts[0].decode()}).encode()], texts)
        told = probe.exposure(False, PLANTED)
        assert (told.ok, told.note) == (True, "with grants, the same search found 1 of 1")
        probe.granted([b"sealed in a way that the search does not know"], texts)
        assert probe.exposure(False, PLANTED).ok is False
