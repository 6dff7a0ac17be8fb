"""``louverd`` as its operator meets it: transcripts of commands, and one relay's whole life.

A transcript is what was typed after ``$``, what was answered (``!`` marks standard error) and
``?`` with the exit code where it is not 0. ``…`` stands for anything up to the end of a line.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from server.cli import main

ROOT = Path(__file__).parents[1]

TRANSCRIPTS = {
    "the first steps": """\
$ louverd config init
wrote louver.toml; next: louverd certs dev --dir certs
             then: louverd serve --config louver.toml
$ louverd config check -c louver.toml
! louverd: louver.toml: listen.certificate names 'certs/relay.pem', which is no file…
! louverd: louver.toml: listen.key names 'certs/relay.key', which is no file…
? 2
$ louverd certs dev --dir certs
wrote certs/ca.pem
wrote certs/relay.pem
wrote certs/relay.key
$ louverd config check -c louver.toml
good; new conversations: e2ee; data in louver-data
$ louverd config check -c louver.toml --set mode=at_rest --set modes.call=e2ee
good; new conversations: at_rest, e2ee; data in louver-data
""",
    "nothing is overwritten": """\
$ louverd config init mine.toml
wrote mine.toml; next: louverd certs dev --dir certs
             then: louverd serve --config mine.toml
$ louverd config init mine.toml
! louverd: mine.toml exists; name another file or remove it
? 2
$ louverd config init nowhere/louver.toml
! louverd: cannot write nowhere/louver.toml: No such file or directory
? 2
""",
    "mistakes": """\
$ louverd config check -c none.toml
! louverd: cannot read none.toml: No such file or directory; `louverd config init` makes…
? 2
$ louverd config check --set listen.prot=7
! louverd: flag --set: unknown key listen.prot; did you mean listen.port?
? 2
$ louverd serve --set mode=tsl --set listen.insecure=true
! louverd: flag --set: mode names no mode: 'tsl' is none of tls, at_rest, e2ee; for…
? 2
$ louverd serve --set listen.insecure=true --set listen.address=0.0.0.0
! louverd: flag --set: listen.insecure is true, but 0.0.0.0 can be reached from other…
? 2
$ louverd revoke
! louverd: name an account (--account NAME), a device (--device HEX), or both
? 2
""",
    "a certificate that is none": """\
$ louverd config init fake.pem
wrote fake.pem; next: louverd certs dev --dir certs
             then: louverd serve --config fake.pem
$ louverd config check --set listen.certificate=fake.pem --set listen.key=fake.pem
! louverd: listen.certificate…
? 2
""",
    "no relay here": """\
$ louverd status
! louverd: louver-data/admin.token is missing: the relay makes it when it first starts…
? 2
$ louverd modes set tls
! louverd: louver-data/admin.token is missing: the relay makes it when it first starts…
? 2
$ louverd reveal
! louverd: this uses the operator's own powers: no case, no approval, no receipt
! louverd: there is no database at louver-data/louver.db…
? 2
""",
}


def like(pattern: str, line: str) -> bool:
    return line.startswith(pattern[:-1]) if pattern.endswith("…") else line == pattern


def typed(command: str, capfd: pytest.CaptureFixture[str], monkeypatch: Any) -> list[str]:
    """The lines that a command answers, marked as in a transcript."""
    monkeypatch.setattr(sys, "argv", command.split())
    with pytest.raises(SystemExit) as ended:
        main()
    shown = capfd.readouterr()
    lines = [*shown.out.splitlines(), *(f"! {line}" for line in shown.err.splitlines())]
    return lines + ([f"? {ended.value.code}"] if ended.value.code else [])


@pytest.fixture
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.upper().startswith("LOUVER_")]:
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("_place")
@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_transcript(
    name: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in TRANSCRIPTS[name].split("$ ")[1:]:
        command, *expected = part.splitlines()
        answered = typed(command, capfd, monkeypatch)
        assert len(answered) == len(expected), (command, answered)
        for pattern, line in zip(expected, answered, strict=True):
            assert like(pattern, line), command


@pytest.mark.usefixtures("_place")
def test_show_can_be_read_back_and_tells_origins(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from server.config import flat, load

    monkeypatch.setenv("LOUVER_LIMITS__PAGE", "7")
    flags = ["listen.insecure=true", "listen.origins=https://a.example,https://b.example"]
    command = "louverd config show --origins " + " ".join(f"--set {flag}" for flag in flags)
    lines = typed(command, capfd, monkeypatch)
    assert "limits.page = 7  # environment LOUVER_LIMITS__PAGE" in lines
    assert "listen.insecure = true  # flag --set" in lines
    assert "listen.port = 7443  # default" in lines
    Path("shown.toml").write_text("\n".join(lines))
    assert flat(load(Path("shown.toml"))) == flat(load(None, flags))


@pytest.mark.usefixtures("_place")
def test_schema_is_json(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    shown = json.loads("\n".join(typed("louverd config schema", capfd, monkeypatch)))
    assert shown["properties"]["mode"]["default"] == "e2ee"


@pytest.mark.parametrize("command", ["louverd nonsense", "louverd serve --nonsense"])
def test_usage_mistakes_are_2_and_no_traceback(
    command: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = typed(command, capfd, monkeypatch)
    assert lines[-1] == "? 2"
    assert not any("Traceback" in line for line in lines)


def test_a_bug_is_one_sentence_with_its_place_but_not_its_text(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise RuntimeError("CANARY")

    monkeypatch.setattr("server.cli.app", fail)
    (line, code) = typed("louverd", capfd, monkeypatch)
    assert line.startswith("! louverd: unexpected RuntimeError in test_louverd_cli.py, line")
    assert "CANARY" not in line
    assert code == "? 1"


def test_help_imports_nothing_slow() -> None:
    program = (
        "import sys; sys.argv = ['louverd', '--help']\n"
        "from server.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "slow = {'pydantic', 'msgspec', 'apsw', 'starlette', 'uvicorn', 'structlog',"
        " 'cryptography', 'prometheus_client', 'websockets', 'rich'} & set(sys.modules)\n"
        "sys.exit(', '.join(slow) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "reveal" in done.stdout


@pytest.mark.usefixtures("_place")
def test_the_operator_hears_the_cure_that_clients_do_not(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("louver-data").mkdir(0o700)
    database = Path("louver-data/louver.db")
    database.touch(0o600)
    database.write_bytes(b"no database at all\n" * 100)
    line, code = typed("louverd serve --set listen.insecure=true", capfd, monkeypatch)[-2:]
    assert line.startswith("! louverd: louver-data/louver.db is damaged: keep a copy")
    assert code == "? 1"


@pytest.mark.usefixtures("_place")
def test_settings_that_the_machine_refuses_are_one_sentence_and_2(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("file").touch()
    Path("open").mkdir()
    Path("open").chmod(0o755)
    serve = "louverd serve --set listen.insecure=true --set internal.port=0 --set"
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        refused = {
            "data=file": "data: cannot use file as a directory (File exists)…",
            "data=file/data": "data: cannot use file/data as a directory (Not a directory)…",
            "data=open": "data: others may enter open; run: chmod 700 'open'",
            f"listen.port={port}": "cannot listen on listen.address 127.0.0.1, listen.port"
            f" {port}: Address already in use",
        }
        for setting, sentence in refused.items():
            line, code = typed(f"{serve} {setting}", capfd, monkeypatch)[-2:]
            assert like(f"! louverd: {sentence}", line)
            assert code == "? 2"


class Louverd:
    """``louverd serve`` as a process of its own."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("LOUVER_")}
        self.env["PYTHONPATH"] = str(ROOT)
        self.config = place / "louver.toml"
        self.config.write_text(
            'mode = "tls"\n[listen]\ninsecure = true\nport = 0\n[internal]\nport = 0\n'
        )
        self.process = subprocess.Popen(
            [sys.executable, "-m", "server", "serve", "-c", "louver.toml"],
            cwd=place,
            env=self.env,
            stderr=subprocess.PIPE,
            text=True,
        )

    def line(self, event: str) -> dict[str, Any]:
        """The next log line of this event."""
        assert self.process.stderr is not None
        for text in self.process.stderr:
            line: dict[str, Any] = json.loads(text)
            if line["event"] == event:
                return line
        raise AssertionError(f"the relay ended without {event!r}")

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "server", *command, "-c", "louver.toml"],
            cwd=self.place,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=120,
        )


@pytest.fixture
def louverd(tmp_path: Path) -> Iterator[Louverd]:
    running = Louverd(tmp_path)
    yield running
    if running.process.poll() is None:
        running.process.kill()
    running.process.wait(30)
    assert running.process.stderr is not None
    running.process.stderr.close()


def test_a_relays_life(louverd: Louverd) -> None:
    """Ready; asked; told a new mode by SIGHUP; told one it must refuse; ended by SIGTERM."""
    port = louverd.line("internal listener ready")["port"]
    louverd.line("relay ready")
    louverd.env["LOUVER_INTERNAL__PORT"] = str(port)
    asked = louverd.run("status")
    assert json.loads(asked.stdout)["modes"]["text"] == "tls", asked.stderr
    set_ = louverd.run("modes", "set", "e2ee", "--kind", "image=tls")
    defaults = json.loads(set_.stdout)["modes"]
    assert (defaults["text"], defaults["image"]) == ("e2ee", "tls")
    assert json.loads(louverd.run("status").stdout)["modes"] == defaults
    assert 'mode = "e2ee", image = "tls" under [modes]' in set_.stderr
    assert louverd.run("sunset", "status").stderr == "louverd: there is no plan\n"
    plan = ("--mode", "e2ee", "--instead", "at_rest", "--freeze", "2099-01-01")
    planned = louverd.run("sunset", "plan", *plan, "--final", "2099-02-01")
    assert json.loads(planned.stdout)["phase"] == "planned", planned.stderr
    assert json.loads(louverd.run("sunset", "start").stdout)["phase"] == "announced"
    status = louverd.run("sunset", "status")
    assert json.loads(status.stdout)["freeze"] == 4_070_908_800_000
    dates = "freeze 2099-01-01T00:00:00Z, final 2099-02-01T00:00:00Z"
    assert status.stderr == f"louverd: the end of e2ee is announced: {dates}\n"
    assert json.loads(louverd.run("sunset", "cancel").stdout)["phase"] == "cancelled"
    refused = louverd.run("revoke", "--account", "nobody")
    assert refused.returncode == 2
    assert refused.stderr.startswith("louverd: the relay refused: ")
    text = louverd.config.read_text()
    louverd.config.write_text(text.replace('"tls"', '"at_rest"'))
    louverd.process.send_signal(signal.SIGHUP)
    assert louverd.line("settings reloaded")["count"] == 1
    assert json.loads(louverd.run("status").stdout)["modes"]["text"] == "at_rest"
    louverd.config.write_text(text.replace("insecure = true", "insecure = true\ntls12 = true"))
    louverd.process.send_signal(signal.SIGHUP)
    assert "listen.tls12 needs a restart" in louverd.line("reload failed")["problem"]
    assert json.loads(louverd.run("status").stdout)["modes"]["text"] == "at_rest"
    louverd.process.send_signal(signal.SIGTERM)
    assert louverd.process.wait(30) == 0
    gone = louverd.run("status")
    assert gone.returncode == 3
    assert f"no relay answers on 127.0.0.1, port {port} (Connection refused)" in gone.stderr


def test_a_second_relay_on_the_same_data_is_refused(louverd: Louverd) -> None:
    louverd.line("relay ready")
    second = louverd.run("serve")
    assert second.returncode in {1, 2}
    assert second.stderr.startswith("louverd: ")
    assert len(second.stderr.splitlines()) == 1
