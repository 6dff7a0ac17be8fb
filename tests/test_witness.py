"""The witness, by itself and with the log that needs it: what it signs, refuses and remembers."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

import pytest
from typer.testing import CliRunner

from crypto_modes.errors import BadConfig, ConnectionLost, LogRefused, LogUnavailable
from crypto_modes.keys import SigningKey
from crypto_modes.transparency import note
from crypto_modes.transparency.note import Checkpoint, Note, Signature, Verifier
from crypto_modes.transparency.tiles import Whole
from crypto_modes.transparency.tree import Proof, consistency
from crypto_modes.transparency.witnessing import Request
from server.access_log.durable import DurableLog
from server.access_log.witnesses import Beside, Witnesses
from server.calls import Caller
from server.cli import app
from server.cli.witness import application
from server.hosting import Host
from server.witness import Answer, Witness
from tests import audited_log as liar
from tests import merkle_oracle as oracle
from tests.access_entries import read
from tests.audited_log import LOG

NAME, NOW = "witness.example/w", 1_790_000_000
LEAVES = liar.leaves(9)


def witness_in(place: Path, *logs: Verifier) -> Witness:
    return Witness(place, NAME, logs or (LOG,), lambda: NOW)


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    return witness_in(tmp_path / "witness")


def request(old: int, new: int, leaves: list[bytes] = LEAVES, **changed: object) -> bytes:
    proof = tuple(consistency(Whole(leaves[:new]), old, new)) if old <= new else ()
    made = Request(old, proof, liar.head_of(leaves[:new]))
    return made._replace(**changed).encode()  # type: ignore[arg-type]  # fields by their names


def signed(answer: Answer, new: int, leaves: list[bytes] = LEAVES) -> dict[Verifier, int]:
    assert answer.status == HTTPStatus.OK
    head = liar.head_of(leaves[:new])
    whole = Note.decode(head.encode() + answer.body)
    (cosignature,) = whole.signatures[1:]
    verifier = Verifier(NAME, note.BY_WITNESS, KEYS[NAME])
    assert cosignature.name == NAME
    return whole.verify((verifier,))


KEYS: dict[str, bytes] = {}


@pytest.fixture(autouse=True)
def _key(witness: Witness) -> None:
    KEYS[NAME] = witness.verifier.key


def test_it_signs_what_only_grows(witness: Witness) -> None:
    old = 0
    for new in (0, 1, 1, 4, 9):
        assert list(signed(witness.add_checkpoint(request(old, new)), new).values()) == [NOW]
        old = new


def test_the_proof_in_a_request_is_that_of_the_specification() -> None:
    lines = request(3, 7).decode().split("\n\n", 1)[0].split("\n")
    assert lines[0] == "old 3"
    assert len(lines) == 1 + len(oracle.proof(3, LEAVES[:7]))
    assert Request.decode(request(3, 7)).proof == tuple(oracle.proof(3, LEAVES[:7]))


@pytest.mark.parametrize("at", range(5))
def test_a_changed_history_is_not_signed(witness: Witness, at: int) -> None:
    """The log's own key signed both; the proof is the best there is."""
    signed(witness.add_checkpoint(request(0, 5)), 5)
    other = [*LEAVES[:at], liar.leaf_of(99), *LEAVES[at + 1 :]]
    answer = witness.add_checkpoint(request(5, 9, other))
    assert answer.status == HTTPStatus.UNPROCESSABLE_ENTITY
    split = witness.add_checkpoint(request(5, 5, other))
    assert (split.status, split.body) == (HTTPStatus.CONFLICT, b"5\n")
    signed(witness.add_checkpoint(request(5, 9)), 9)


@pytest.mark.parametrize("old", [0, 3, 4, 6])
def test_from_elsewhere_than_it_was_it_tells_where_it_is(witness: Witness, old: int) -> None:
    signed(witness.add_checkpoint(request(0, 5)), 5)
    answer = witness.add_checkpoint(request(old, 9))
    assert answer == (HTTPStatus.CONFLICT, b"5\n", "text/x.tlog.size")


def test_a_roll_back_is_not_signed(witness: Witness) -> None:
    signed(witness.add_checkpoint(request(0, 5)), 5)
    assert witness.add_checkpoint(request(5, 4)).status == HTTPStatus.BAD_REQUEST
    assert witness.add_checkpoint(request(4, 4)).status == HTTPStatus.CONFLICT


def test_strangers_are_told_so(witness: Witness) -> None:
    strange = SigningKey(b"x" * 32)
    other = liar.head_of(LEAVES[:1], strange)
    assert witness.add_checkpoint(request(0, 1, note=other)).status == HTTPStatus.NOT_FOUND
    head = liar.head_of(LEAVES[:1])
    forged = Note(head.text, (Signature(LOG.name, LOG.id, b"\0" * 64),))
    assert witness.add_checkpoint(request(0, 1, note=forged)).status == HTTPStatus.FORBIDDEN
    mine = note.sign(Checkpoint(LOG.name, 1, b"r" * 32), strange)
    assert witness.add_checkpoint(request(0, 1, note=mine)).status == HTTPStatus.FORBIDDEN


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"old 0\n\n",
        b"old 0\n" + liar.head_of(LEAVES).encode(),
        request(0, 1).replace(b"old 0", b"old 00"),
        request(0, 1).replace(b"old 0", b"old -1"),
        request(0, 1).replace(b"old 0", b"OLD 0"),
        request(3, 7).replace(b"=\n", b"\n", 1),
        request(0, 1).replace(b"old 0\n", b"old 0\n" + b"A" * 43 + b"=\n" * 65),
        request(0, 1) + b"x",
        b"\xff" * 100,
    ],
)
def test_what_is_no_request_is_refused(witness: Witness, body: bytes) -> None:
    assert witness.add_checkpoint(body).status == HTTPStatus.BAD_REQUEST
    with pytest.raises(LogRefused):
        Request.decode(body)


def test_it_remembers_before_it_signs(
    witness: Witness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed(witness.add_checkpoint(request(0, 3)), 3)
    again = witness_in(tmp_path / "witness")
    assert again.verifier == witness.verifier
    assert again.add_checkpoint(request(0, 5)).status == HTTPStatus.CONFLICT

    def fsync(_: int) -> None:
        raise OSError(errno.EIO, "planted")

    monkeypatch.setattr(os, "fsync", fsync)
    assert again.add_checkpoint(request(3, 5)).status == HTTPStatus.SERVICE_UNAVAILABLE
    monkeypatch.undo()
    # What a second try would prove of the first nobody knows.
    assert again.add_checkpoint(request(3, 5)).status == HTTPStatus.SERVICE_UNAVAILABLE


@pytest.mark.parametrize("name", ["", "a b", "a+b", "x" * 101])
def test_a_name_must_fit_a_signature_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadConfig, match="a name without spaces"):
        Witness(tmp_path / "w", name, (LOG,))


def test_a_lost_memory_is_told(witness: Witness, tmp_path: Path) -> None:
    heads = tmp_path / "witness" / "heads.json"
    heads.write_bytes(b"[")
    with pytest.raises(BadConfig, match="cannot be read"):
        witness_in(tmp_path / "witness")
    heads.unlink()
    with pytest.raises(BadConfig, match=r"heads.json is missing"):
        witness_in(tmp_path / "witness")


# with a log


class Direct:
    """A witness in the same process; ``down`` while it does not answer."""

    def __init__(self, witness: Witness) -> None:
        self.witness = witness
        self.down = False
        self.lie: Callable[[bytes], bytes] = lambda body: body
        self.asked = 0

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        assert (method, path) == ("POST", "/add-checkpoint")
        self.asked += 1
        if self.down:
            raise ConnectionLost("planted")
        answer = self.witness.add_checkpoint(body)
        return answer.status, self.lie(answer.body)


class Scene:
    """A log with one witness in the next room."""

    def __init__(self, place: Path) -> None:
        self.data, self.place = place / "vault", place / "beside"

    @asynccontextmanager
    async def log(self, quorum: int) -> AsyncIterator[tuple[DurableLog, Direct]]:
        first = DurableLog(self.data)
        await first.open()
        await first.close()
        self.witness = Witness(self.place, NAME, (first.verifier,), lambda: NOW)
        direct = Direct(self.witness)
        beside = Witnesses([Beside(self.witness.verifier, direct)], quorum)
        log = DurableLog(self.data, witnesses=beside, interval=0.01)
        await log.open()
        try:
            yield log, direct
        finally:
            await log.close()


async def contradicted(log: DurableLog) -> None:
    """Returns once a witness has said that there were other entries."""
    async with asyncio.timeout(30):
        while log._contradicted is None:
            await asyncio.sleep(0.01)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


@pytest.mark.asyncio
async def test_with_a_quorum_a_receipt_bears_the_witness(scene: Scene) -> None:
    async with scene.log(1) as (log, _):
        for number in range(3):
            receipt = await log.append([read(number)])
            found = Note.decode(receipt.checkpoint).verify((scene.witness.verifier,))
            assert list(found.values()) == [NOW]
            assert note.open_checkpoint(receipt.checkpoint, log.verifier).size == number + 1
            assert log.checkpoint == receipt.checkpoint


@pytest.mark.asyncio
async def test_without_its_quorum_the_log_takes_nothing_and_heals(scene: Scene) -> None:
    async with scene.log(1) as (log, direct):
        await log.append([read(0)])
        direct.down = True
        with pytest.raises(LogUnavailable) as caught:
            await log.append([read(1)])
        assert "witness_quorum is 1" in caught.value.advice
        direct.down = False
        assert (await log.append([read(2)])).index == 2


@pytest.mark.asyncio
@pytest.mark.parametrize("lie", [lambda _: b"", lambda body: body[:-9] + b"AAAAAAA=\n"])
async def test_a_signature_that_does_not_hold_is_none(
    scene: Scene, lie: Callable[[bytes], bytes]
) -> None:
    async with scene.log(1) as (log, direct):
        direct.lie = lie
        with pytest.raises(LogUnavailable):
            await log.append([read(0)])


@pytest.mark.asyncio
async def test_of_a_witness_one_signature_is_kept_and_nothing_else(scene: Scene) -> None:
    async with scene.log(1) as (log, direct):
        direct.lie = lambda body: body + body + "— other AAAAAAAA\n".encode()
        receipt = await log.append([read(0)])
    names = [each.name for each in Note.decode(receipt.checkpoint).signatures]
    assert names == [log.verifier.name, NAME]


@pytest.mark.asyncio
async def test_without_a_quorum_the_witness_sees_each_head_in_the_end(scene: Scene) -> None:
    async with scene.log(0) as (log, direct):
        direct.down = True
        for number in range(5):
            await log.append([read(number)])
        seen = direct.asked
        async with asyncio.timeout(30):
            while direct.asked == seen:
                await asyncio.sleep(0.01)
        direct.down = False  # and nothing new is entered: the head is shown again all the same
        trusted, beside = log.verifier, scene.witness.verifier
        async with asyncio.timeout(30):
            while beside not in Note.decode(log.checkpoint).verify((trusted, beside)):
                await asyncio.sleep(0.01)
        assert note.open_checkpoint(log.checkpoint, trusted).size == 5


@pytest.mark.asyncio
@pytest.mark.parametrize("quorum", [0, 1])
async def test_a_disk_put_back_as_a_whole_is_found_by_the_witness(
    scene: Scene, quorum: int, tmp_path: Path
) -> None:
    """Head and database from one backup agree with each other, and nobody here can tell."""
    async with scene.log(1) as (log, _):
        await log.append([read(0)])
    shutil.copytree(scene.data, tmp_path / "backup")
    async with scene.log(1) as (log, _):
        await log.append([read(1)])
    shutil.rmtree(scene.data)
    shutil.copytree(tmp_path / "backup", scene.data)
    async with scene.log(quorum) as (log, _):
        await contradicted(log)
        for _ in range(2):
            with pytest.raises(LogUnavailable) as caught:
                await log.append([read(2)])
            assert "put back to an older state" in caught.value.advice
        assert log.size <= 2


@pytest.mark.asyncio
@pytest.mark.parametrize("since", [1, 2])
async def test_a_disk_put_back_that_has_grown_since_is_found_too(
    scene: Scene, since: int, tmp_path: Path
) -> None:
    """As long as the witness was away, the log grew to its old size, and beyond it."""
    async with scene.log(1) as (log, _):
        await log.append([read(0)])
    shutil.copytree(scene.data, tmp_path / "backup")
    async with scene.log(1) as (log, _):
        await log.append([read(1)])
    shutil.rmtree(scene.data)
    shutil.copytree(tmp_path / "backup", scene.data)
    alone = DurableLog(scene.data)
    await alone.open()
    for number in range(since):
        await alone.append([read(8 + number)])
    await alone.close()
    async with scene.log(0) as (log, _):
        await contradicted(log)
        with pytest.raises(LogUnavailable) as caught:
            await log.append([read(2)])
        assert "has grown since" in caught.value.advice
        assert log.size == 1 + since


@pytest.mark.asyncio
async def test_over_http_it_is_asked_as_the_specification_says(tmp_path: Path) -> None:
    witness = witness_in(tmp_path / "w")
    host = Host(application(witness), "127.0.0.1", 0, section="witness")
    await host.start()
    caller = Caller(f"http://127.0.0.1:{host.port}/", seconds=10, limit=4096)
    beside = Beside(witness.verifier, caller)
    whole = Whole(LEAVES)

    async def prove(old: int, new: int) -> Proof:
        return consistency(whole, old, new)

    found = await beside.sign(liar.head_of(LEAVES[:4]), prove)
    assert found is not None
    whole_note = Note(liar.head_of(LEAVES[:4]).text, (found,))
    assert whole_note.verify((witness.verifier,)) == {witness.verifier: NOW}
    # Another asker does not know where the witness is, and is told.
    again = await Beside(witness.verifier, caller).sign(liar.head_of(LEAVES), prove)
    assert again is not None
    assert (await caller.ask("GET", "/add-checkpoint"))[0] == 405
    assert (await caller.ask("POST", "/add-checkpoint", b"x" * 200_000))[0] == 413
    caller.close()
    await host.stop()


def test_the_command_shows_the_key_to_configure(tmp_path: Path) -> None:
    asked = ["witness", "--name", NAME, "--log", LOG.encode(), "--dir", str(tmp_path / "w")]
    done = CliRunner().invoke(app, [*asked, "--show"])
    assert done.exit_code == 0
    assert Verifier.decode(done.stdout.strip()).name == NAME
    assert CliRunner().invoke(app, [*asked[:-3], "x", "--show"]).exit_code == 2
