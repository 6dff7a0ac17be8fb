"""The vault without a grant: all that it holds and all that it answers, searched for canaries.

What may live here: asking as nobody and as each of the staff without approval, looking at the
process and its files, and the verdict. What may not: the granted reading (``court``), whose answers
come here only as the proof that the same search hears.

Three artefacts, each with a control of its own: *answers*, and *files* of the data directory with
what the process printed, both of which show the place that a stranger named in a call that was
refused; *memory*, which has the name of its directory. Memory is looked at before the first grant:
afterwards the vault has read, as it may.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import urlsplit

import msgspec

from client.compare import probes, proc
from client.compare.canary import ASKED, HOME, Canaries
from client.compare.office import Staff
from client.compare.results import Exposure
from client.compare.search import OVERLAP, Found, Searcher
from client.moderation.asking import signed
from crypto_modes import disclosure
from crypto_modes.disclosure import OpenCall, ReportCall, ShareCall
from crypto_modes.grants import Grant
from crypto_modes.keys import SigningKey

WHO = "vault_without_grant"
# Every request is refused and entered, durably: as many conversations as make the point.
CONVERSATIONS = 8
_CONTROLS = {"answers": ASKED, "files": ASKED, "memory": HOME}
_LOG = "/log/v1/opened"
_SECONDS = 20.0
_HOUR = 3_600_000


class Ungranted:
    """What one vault gives; ``ask`` before the first grant, ``look`` after the last."""

    def __init__(self, staff: Staff, canaries: Canaries) -> None:
        self._staff = staff
        self._canaries = canaries
        self._searchers = {name: Searcher(canaries) for name in _CONTROLS}
        self._blind = ""
        self._granted = Found()
        self._opened: frozenset[int] = frozenset()

    def ask(self, conversations: Sequence[bytes]) -> None:
        """Everything at the vault's port, as nobody and as the staff; then its memory."""
        stranger = SigningKey.generate(os.urandom)
        some = conversations[:CONVERSATIONS]
        place = f"{_LOG}?start={self._canaries.make(ASKED)}"
        self._hear("GET", place, b"", {})
        for path in ("/healthz", disclosure.STATUS, "/vault/v1/reconciled", "/log/v1/checkpoint"):
            self._hear("GET", path, b"", {})
        for path, call in _calls(some[:1], "nobody"):
            self._hear("POST", path, call, {})
            self._hear("POST", path, call, signed(stranger, path, call, "nobody"))
        for number, (name, desk) in enumerate(self._staff.desks.items()):
            # One of the staff tries every conversation, the others one: each try is entered.
            for path, call in _calls(some[: 1 if number else None], name):
                self._hear("POST", path, call, signed(desk.post.key(), path, call, name))
        auditor = self._staff.desks["auda"]
        self._hear("GET", _LOG, b"", signed(auditor.post.key(), _LOG, b"", auditor.name))
        try:
            for chunk in proc.memory(self._staff.pid, OVERLAP):
                self._searchers["memory"].feed(chunk, headless=False)
        except PermissionError:
            self._blind = "memory not searched: this system forbids reading a child's"

    def granted(self, answers: Iterable[bytes], texts: Iterable[bytes]) -> None:
        """The vault's ``answers`` under grants, and the ``texts`` that were read in them: the
        search must find in the one every canary of the other."""
        heard, told = Searcher(self._canaries), Searcher(self._canaries)
        for answer in answers:
            heard.feed(answer, headless=False)
        for text in texts:
            told.feed(text, headless=False)
        self._granted, self._opened = heard.found, frozenset(told.found.numbers)

    def look(self) -> None:
        """The data directory, and all that the process printed."""
        searcher = self._searchers["files"]
        held = sorted(path for path in self._staff.data.rglob("*") if path.is_file())
        for path in (*held, self._staff.printed):
            searcher.feed(path.read_bytes())

    def exposure(self, declared: bool, planted: Iterable[int]) -> Exposure:
        """The verdict."""
        wanted, everything = frozenset(planted), Found()
        deaf = sorted(name for name in _CONTROLS if not self._heard(name))
        for searcher in self._searchers.values():
            everything.numbers |= searcher.found.numbers
            everything.searched += searcher.found.searched
            for form, numbers in searcher.found.forms.items():
                everything.forms[form] |= numbers
        again = wanted & self._opened
        missed = again - self._granted.numbers
        told = [self._blind] if self._blind else []
        if again:
            told.append(f"with grants, the same search found {len(again - missed)} of {len(again)}")
        return probes.verdict(
            declared, everything, wanted, heard=not deaf and not missed, note="; ".join(told)
        )

    def _heard(self, name: str) -> bool:
        if name == "memory" and self._blind:
            return True
        return _CONTROLS[name] in self._searchers[name].found.numbers

    def _hear(self, method: str, place: str, body: bytes, headers: Mapping[str, str]) -> None:
        got = answer(self._staff.vault, method, place, body, headers)
        self._searchers["answers"].feed(got, headless=False)


def answer(address: str, method: str, place: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """All that is answered, status and headers too, whatever it is."""
    parts = urlsplit(address)
    there = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_SECONDS)
    with contextlib.closing(there):
        there.request(method, place, body, {"Content-Type": "application/json", **headers})
        got = there.getresponse()
        return b"%d %s\n" % (got.status, str(got.headers).encode()) + got.read()


def _calls(conversations: Sequence[bytes], name: str) -> Iterable[tuple[str, bytes]]:
    """Every call there is, well-formed and without any approval."""
    expires = time.time_ns() // 1_000_000 + _HOUR
    for conversation in conversations:
        grant = Grant(
            case=os.urandom(16),
            basis="legal_request",
            conversation=conversation,
            first=1,
            last=100,
            expires=expires,
            requester=name,
            reason="nobody approved this",
        )
        yield disclosure.OPEN, msgspec.json.encode(OpenCall(grant))
    yield disclosure.REPORT, msgspec.json.encode(ReportCall(os.urandom(16), os.urandom(16)))
    yield disclosure.SHARES, msgspec.json.encode(ShareCall("no share"))
