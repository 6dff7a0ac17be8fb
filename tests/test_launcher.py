"""The launcher: commands, the life of the private environment, the vendored pip.

No test here reaches a package index: environments are filled by a stand-in or from a wheel made
on the spot. The real installation is what every continuous-integration run starts with.
"""

from __future__ import annotations

import ast
import hashlib
import io
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from bootstrap import launcher, pip_run
from bootstrap.environment import DEV, TRY_OUT, Environment
from bootstrap.pip_run import InstallFailed
from bootstrap.progress import Progress

ROOT = Path(__file__).parent.parent
LAUNCHER = ROOT / "louver"


def quiet() -> Progress:
    return Progress(io.StringIO())


class Installs:
    """Stands in for pip: counts, and can fail or be killed."""

    def __init__(self) -> None:
        self.locks: list[str] = []
        self.failure: BaseException | None = None

    def __call__(self, python: Path, root: Path, lock: Path, progress: Progress) -> None:
        self.locks.append(lock.name)
        assert python.exists()
        if self.failure:
            raise self.failure


@pytest.fixture
def installs() -> Installs:
    return Installs()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "a checkout"
    (root / "deploy").mkdir(parents=True)
    for name in ("pyproject.toml", TRY_OUT.lock, DEV.lock):
        (root / name).write_text(name)
    return root


@pytest.fixture
def environment(checkout: Path, installs: Installs) -> Environment:
    return Environment(checkout, installs)


# which command runs what


@pytest.mark.parametrize(
    ("program", "arguments", "extent", "rest"),
    [
        ("louver", ["compare", "--quick"], TRY_OUT, ["louver", "compare", "--quick"]),
        ("louver", [], TRY_OUT, ["louver"]),
        ("louver", ["test", "-k", "x"], DEV, ["-k", "x"]),
        ("louver", ["exec", "ruff", "check"], DEV, ["ruff", "check"]),
        ("louverd", ["serve"], TRY_OUT, ["louverd", "serve"]),
        ("louverd", ["test"], TRY_OUT, ["louverd", "test"]),
    ],
)
def test_plan(program: str, arguments: list[str], extent: object, rest: list[str]) -> None:
    planned, _, handed_on = launcher.plan(program, arguments)
    assert (planned, handed_on) == (extent, rest)


def test_test_runs_everything_but_benchmarks(environment: Environment) -> None:
    command = launcher.suite(environment, ["tests/test_wire.py"])
    assert command[1:5] == ["-m", "pytest", "-n", "3"]
    assert command[-2:] == ["--ignore=tests/benchmarks", "tests/test_wire.py"]
    assert command[-1] == "tests/test_wire.py"


def test_exec_needs_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert launcher.main(str(ROOT), "louver", ["exec"]) == 2
    assert "usage: ./louver exec" in capsys.readouterr().err


def test_scripts_are_given_to_the_interpreter(environment: Environment) -> None:
    environment.ensure(TRY_OUT, quiet())
    script = environment.folder / "bin" / "louver"
    script.write_text("#!/somewhere/python\n")
    program = environment.folder / "bin" / "ruff"
    program.write_bytes(b"\x7fELF")
    odd = environment.folder / "bin" / "pytest"  # what pip writes where a path has a space
    odd.write_text("#!/bin/sh\n'''exec' \"/a \"b\"/python\" \"$0\" \"$@\"\n' '''\nimport sys\n")
    assert environment.script("louver") == [str(environment.python), str(script)]
    assert environment.script("pytest") == [str(environment.python), str(odd)]
    assert environment.script("ruff") == [str(program)]


def test_what_is_started_writes_nothing_into_the_home(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.delenv("MPLCONFIGDIR", raising=False)
    assert "MPLCONFIGDIR" not in launcher.variables(environment)  # nowhere to write
    environment.folder.mkdir()
    found = launcher.variables(environment)
    assert found["MPLCONFIGDIR"] == str(environment.folder / "matplotlib")
    assert "PYTHONPATH" not in found
    monkeypatch.setenv("MPLCONFIGDIR", "/chosen")
    assert launcher.variables(environment)["MPLCONFIGDIR"] == "/chosen"


# the environment's life


def test_the_second_run_does_nothing(environment: Environment, installs: Installs) -> None:
    environment.ensure(TRY_OUT, quiet())
    environment.ensure(TRY_OUT, quiet())
    assert installs.locks == ["requirements.lock"]


def test_an_interrupted_environment_is_made_from_nothing(
    environment: Environment, installs: Installs
) -> None:
    installs.failure = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        environment.ensure(TRY_OUT, quiet())
    debris = environment.folder / "lib" / "half-written"
    debris.write_text("")
    installs.failure = None
    environment.ensure(TRY_OUT, quiet())
    assert not debris.exists()
    assert environment.serves(TRY_OUT)


@pytest.mark.parametrize("changed", ["pyproject.toml", TRY_OUT.lock])
def test_a_changed_input_makes_it_anew(
    environment: Environment, installs: Installs, changed: str
) -> None:
    environment.ensure(TRY_OUT, quiet())
    (environment.root / changed).write_text("other")
    environment.ensure(TRY_OUT, quiet())
    assert len(installs.locks) == 2


def test_a_moved_checkout_makes_it_anew(environment: Environment, installs: Installs) -> None:
    environment.ensure(TRY_OUT, quiet())
    moved = environment.root.rename(environment.root.with_name("moved"))
    Environment(moved, installs).ensure(TRY_OUT, quiet())
    assert len(installs.locks) == 2


def test_a_vanished_interpreter_makes_it_anew(environment: Environment, installs: Installs) -> None:
    environment.ensure(TRY_OUT, quiet())
    environment.python.unlink()
    environment.ensure(TRY_OUT, quiet())
    assert len(installs.locks) == 2


def test_development_is_added_to_the_try_out(environment: Environment, installs: Installs) -> None:
    environment.ensure(TRY_OUT, quiet())
    kept = environment.folder / "lib" / "kept"
    kept.write_text("")
    environment.ensure(DEV, quiet())
    assert kept.exists()
    environment.ensure(TRY_OUT, quiet())  # the larger one serves it too
    assert installs.locks == ["requirements.lock", "requirements-dev.lock"]


def test_a_failed_addition_leaves_the_try_out(environment: Environment, installs: Installs) -> None:
    environment.ensure(TRY_OUT, quiet())
    installs.failure = InstallFailed("offline")
    with pytest.raises(InstallFailed):
        environment.ensure(DEV, quiet())
    assert environment.serves(TRY_OUT)
    assert not environment.serves(DEV)


def test_neither_ensurepip_nor_pip_is_needed(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ensurepip", "pip"):
        monkeypatch.setitem(sys.modules, name, None)
    environment.ensure(TRY_OUT, quiet())
    assert environment.serves(TRY_OUT)


def test_two_at_once_install_once(checkout: Path) -> None:
    inside, waiting = threading.Event(), threading.Event()
    locks: list[str] = []

    class Tells(Progress):
        def note(self, text: str) -> None:
            if "waiting" in text:
                waiting.set()

    def slow(python: Path, root: Path, lock: Path, progress: Progress) -> None:
        locks.append(lock.name)
        inside.set()
        assert waiting.wait(10), "the second one never had to wait"

    first = threading.Thread(target=Environment(checkout, slow).ensure, args=(TRY_OUT, quiet()))
    first.start()
    assert inside.wait(10)
    Environment(checkout, slow).ensure(TRY_OUT, Tells(io.StringIO()))
    first.join()
    assert locks == ["requirements.lock"]


def test_an_unwritable_checkout_is_a_sentence(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (checkout / ".louver").write_text("in the way")
    assert launcher.main(str(checkout), "louver", ["compare"]) == 2
    said = capsys.readouterr().err
    assert f"louver: cannot make the private environment: {checkout / '.louver'}" in said
    assert "Errno" not in said


def test_a_disk_that_runs_nothing_is_a_sentence(
    environment: Environment, installs: Installs, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted = SimpleNamespace(f_flag=os.ST_NOEXEC | os.ST_NOSUID)
    monkeypatch.setattr(os, "statvfs", lambda path: mounted)
    with pytest.raises(InstallFailed, match="noexec"):
        environment.ensure(TRY_OUT, quiet())
    assert (installs.locks, environment.folder.exists()) == ([], False)


# the vendored pip


def make_wheel(folder: Path) -> str:
    """A wheel of a package ``slat`` 1.0; returns its digest."""
    folder.mkdir()
    path = folder / "slat-1.0-py3-none-any.whl"
    info = "slat-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("slat.py", "")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: slat\nVersion: 1.0\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", f"slat.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n")
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def only_these_settings(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return monkeypatch


def test_pip_installs_into_the_environment_whatever_the_user_set(
    environment: Environment, only_these_settings: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.ensure(TRY_OUT, quiet())
    digest = make_wheel(tmp_path / "wheels")
    lock = tmp_path / "lock"
    lock.write_text(f"slat==1.0 --hash=sha256:{digest}\n")
    elsewhere = tmp_path / "elsewhere"
    for name, value in {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(tmp_path / "wheels"),
        "PIP_TARGET": str(elsewhere),
        "PIP_USER": "1",
    }.items():
        only_these_settings.setenv(name, value)
    pip_run.install_locked(environment.python, lock, quiet())
    assert list(environment.folder.glob("lib*/**/slat.py"))
    assert not elsewhere.exists()


def test_a_package_that_is_not_the_locked_one_is_refused(
    environment: Environment, only_these_settings: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.ensure(TRY_OUT, quiet())
    make_wheel(tmp_path / "wheels")
    lock = tmp_path / "lock"
    lock.write_text(f"slat==1.0 --hash=sha256:{'0' * 64}\n")
    only_these_settings.setenv("PIP_NO_INDEX", "1")
    only_these_settings.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    with pytest.raises(InstallFailed, match="not the one that was locked"):
        pip_run.install_locked(environment.python, lock, quiet())
    assert not list(environment.folder.glob("lib*/**/slat.py"))


def test_offline_is_a_sentence(
    environment: Environment, only_these_settings: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.ensure(TRY_OUT, quiet())
    lock = tmp_path / "lock"
    lock.write_text(f"slat==1.0 --hash=sha256:{'0' * 64}\n")
    only_these_settings.setenv("PIP_RETRIES", "0")
    only_these_settings.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/")
    only_these_settings.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(InstallFailed, match="package index cannot be reached"):
        pip_run.install_locked(environment.python, lock, quiet())


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("ERROR: No matching distribution found for numpy==2.4.6", "not offered ready-made"),
        ("ERROR: [Errno 28] No space left on device", "the disk is full"),
        ("ERROR: the roof is on fire", pip_run.UNEXPLAINED),
    ],
)
def test_failures_are_explained_and_quoted(said: str, sentence: str) -> None:
    explained = pip_run.explain(["Collecting numpy", said])
    assert explained.startswith(sentence) or sentence in explained
    assert said in explained


def test_a_changed_pip_is_refused(tmp_path: Path) -> None:
    pip_run.check(pip_run.WHEEL)
    changed = tmp_path / pip_run.WHEEL.name
    changed.write_bytes(pip_run.WHEEL.read_bytes() + b"\0")
    with pytest.raises(InstallFailed, match="was changed"):
        pip_run.check(changed)


# an old Python


def run_as_old(folders: list[Path], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the launcher by a Python that believes to be 3.9, with only ``folders`` on PATH."""
    pretend = (
        "import runpy, sys; sys.version_info = (3, 9); sys.argv = sys.argv[1:]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    return subprocess.run(
        [sys.executable, "-c", pretend, str(LAUNCHER), *arguments],
        env={"PATH": os.pathsep.join(map(str, folders))},
        capture_output=True,
        text=True,
        check=False,
    )


def write_program(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_an_old_python_alone_gets_a_sentence(tmp_path: Path) -> None:
    write_program(tmp_path / "stub" / "python3.12", "exit 127")
    done = run_as_old([tmp_path / "stub"], "compare")
    assert done.returncode == 2
    assert "Louver needs Python 3.11 or newer" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_old_python_hands_over_to_a_newer_one(tmp_path: Path) -> None:
    write_program(tmp_path / "a" / "python3.12", "exit 127")  # a version manager's stub
    write_program(tmp_path / "b" / "python3.11", 'if [ "$1" = -c ]; then exit 0; fi; echo "$@"')
    done = run_as_old([tmp_path / "a", tmp_path / "b"], "compare", "--quick")
    assert done.stdout == f"{LAUNCHER} compare --quick\n"


def test_the_launcher_parses_on_any_python() -> None:
    tree = ast.parse(LAUNCHER.read_text(), feature_version=(3, 7))
    newer = (ast.JoinedStr, ast.AnnAssign, ast.NamedExpr, ast.AsyncFunctionDef, ast.YieldFrom)
    assert not [node for node in ast.walk(tree) if isinstance(node, newer)]
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    assert not [each.name for each in functions if each.returns or each.args.kwonlyargs]


def test_louverd_is_the_same_launcher() -> None:
    assert (ROOT / "louverd").resolve() == LAUNCHER
