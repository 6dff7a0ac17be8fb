"""Secret files: made once, private, whole, never replaced."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from crypto_modes.errors import BadConfig
from server.secrets_file import (
    new_token,
    private_directory,
    read_private,
    secret_file,
    token_file,
)


def test_a_new_secret_is_random_and_private(tmp_path: Path) -> None:
    first = secret_file(tmp_path / "data" / "a", 32)
    second = secret_file(tmp_path / "data" / "b", 32)
    assert len(first) == 32
    assert first != second
    assert stat.S_IMODE((tmp_path / "data" / "a").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


def test_the_same_secret_is_read_again_and_no_draft_remains(tmp_path: Path) -> None:
    first = secret_file(tmp_path / "pepper", 32)
    assert secret_file(tmp_path / "pepper", 32) == first
    assert [entry.name for entry in tmp_path.iterdir()] == ["pepper"]


def test_a_lost_secret_is_told_and_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "volume" / "pepper"
    with pytest.raises(BadConfig, match=r"volume/pepper is missing.*restore it from its backup"):
        secret_file(path, 32, make=False)
    assert not path.parent.exists()
    made = secret_file(path, 32)
    assert secret_file(path, 32, make=False) == made


def test_a_generous_umask_does_not_widen_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        secret_file(tmp_path / "pepper", 32)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "pepper").stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o644])
def test_wider_permissions_are_refused_with_the_cure(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "pepper"
    secret_file(path, 32)
    path.chmod(mode)
    with pytest.raises(BadConfig, match="chmod 600"):
        secret_file(path, 32)


@pytest.mark.parametrize("size", [0, 31, 33, 100_000])
def test_another_size_is_refused_and_left_alone(tmp_path: Path, size: int) -> None:
    path = tmp_path / "pepper"
    path.touch(0o600)
    path.write_bytes(bytes(size))
    with pytest.raises(BadConfig, match="instead of 32"):
        secret_file(path, 32)
    assert path.stat().st_size == size


def test_links_pipes_and_directories_are_refused(tmp_path: Path) -> None:
    secret_file(tmp_path / "real", 32)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "folder").mkdir(0o700)
    for name in ("link", "dangling", "pipe", "folder"):
        with pytest.raises(BadConfig):
            secret_file(tmp_path / name, 32)
    assert not (tmp_path / "nothing").exists()


def test_an_impossible_directory_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadConfig, match="secret file"):
        secret_file(tmp_path / "file" / "pepper", 32)


@pytest.mark.parametrize("mode", [0o750, 0o701, 0o704, 0o770])
def test_a_directory_that_others_may_enter_is_refused(tmp_path: Path, mode: int) -> None:
    private_directory(tmp_path / "new" / "data", "data")
    assert stat.S_IMODE((tmp_path / "new" / "data").stat().st_mode) == 0o700
    (tmp_path / "new" / "data").chmod(mode)
    with pytest.raises(BadConfig, match=r"^data: others may enter .*data; run: chmod 700 "):
        private_directory(tmp_path / "new" / "data", "data")


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "data"):
        with pytest.raises(BadConfig, match=f"^data: cannot use {path} as a directory"):
            private_directory(path, "data")


def test_processes_that_race_agree_on_one_secret(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        found = set(pool.map(lambda _: secret_file(tmp_path / "pepper", 32), range(64)))
    assert len(found) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["pepper"]


def test_a_token_is_text_that_people_can_paste(tmp_path: Path) -> None:
    token = token_file(tmp_path / "admin-token", "lva_")
    assert token.startswith("lva_")
    assert len(token) == 47
    assert token_file(tmp_path / "admin-token", "lva_") == token
    assert (tmp_path / "admin-token").read_text() == token + "\n"


@pytest.mark.parametrize(
    "text", ["", "lva_short\n", "lvr_" + "x" * 43, "é" * 47, "lva_" + "x" * 500]
)
def test_a_file_without_a_token_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "admin-token"
    path.touch(0o600)
    path.write_text(text)
    with pytest.raises(BadConfig, match="no token"):
        token_file(path, "lva_")


def test_a_missing_private_file_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_private(tmp_path / "nothing", 100)


def test_tokens_do_not_repeat() -> None:
    assert len({new_token("lvr_") for _ in range(1000)}) == 1000
