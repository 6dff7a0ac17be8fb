"""From ``louverd staff add`` to a moderator at work: a whole relay, an access log by HTTP, and the
team's commands; and the relay that has no vault."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

import pytest

from client.commands import Terms
from client.moderation import entering
from client.moderation.desk import Desk
from crypto_modes.errors import BadConfig
from server.moderation import second_factor, webhook
from server.moderation.api import PREFIX
from server.settings_tree import Moderation
from tests.conftest import Running, StartRelay
from tests.moderation_office import PASSWORD
from tests.vault_log import TOKEN, fetch, serving

pytestmark = pytest.mark.asyncio


async def louverd(relay: Running, *arguments: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "server", "staff", *arguments),
        *("--set", f"data={relay.data}", "--set", f"internal.port={relay.app.internal.port}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, said = await process.communicate()
    return process.returncode, out.decode(), said.decode()


def known_to_the_vault(data: Path) -> Path:
    """A relay's directory with the token that the log expects."""
    data.mkdir(mode=0o700)
    (data / "vault.token").touch(0o600)
    (data / "vault.token").write_text(f"{TOKEN}\n")
    return data


async def test_the_operator_makes_an_admin_who_makes_the_team(
    start_relay: StartRelay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = known_to_the_vault(tmp_path / "relay")
    async with serving(tmp_path / "log") as log:
        log.now[0] = time.time_ns() // 1_000_000
        relay = await start_relay(data=data, moderation=Moderation(vault=log.url))
        code, out, said = await louverd(
            relay, "add", "adam", "--role", "admin", "--subject", "adam a."
        )
        assert code == 0, said
        assert "louver mod join adam" in said
        url = f"http://127.0.0.1:{relay.app.internal.port}"
        lines: list[str] = []
        terms = Terms(tmp_path / "adam", True, lines.append)
        monkeypatch.setenv(entering.INVITE, json.loads(out)["invite"])
        monkeypatch.setenv(entering.PASSWORD, PASSWORD)
        addresses = entering.known(terms, "adam", url, "", ("", ""))
        assert addresses is not None
        await asyncio.to_thread(entering.join, terms, addresses, password=True)
        monkeypatch.setenv(entering.CODE, _code(json.loads(lines[-1])["authenticator"]))
        await asyncio.to_thread(entering.login, terms, None, token=False)
        body = {"name": "mara", "role": "moderator", "subject": "mara m."}
        await asyncio.to_thread(lambda: Desk(terms).make("/staff", body))
        assert json.loads(lines[-1])["member"]["state"] == "invited"
        await asyncio.to_thread(lambda: Desk(terms).show("/sessions/current"))
        assert json.loads(lines[-1])["role"] == "admin"
        status, described = await asyncio.to_thread(fetch, f"{url}{PREFIX}/openapi.json")
        assert (status, json.loads(described)["openapi"][:4]) == (200, "3.1.")
        # What was entered of it stands in the vault's log: three changes of the staff.
        entries = await log.log.opened(0, 10)
        assert [(each.entry.kind, each.entry.actor) for each in entries] == [
            ("staff", "operator"),
            ("staff", "adam"),
            ("staff", "adam"),
        ]
        for each in (entering.INVITE, entering.PASSWORD, entering.CODE):
            monkeypatch.delenv(each)  # they are the desk's; louverd would ask what they are
        code, _, said = await louverd(relay, "remove", "adam")
        assert code == 0, said
        assert "louverd vault staff remove adam" in said
        with pytest.raises(Exception, match="log in"):
            await asyncio.to_thread(lambda: Desk(terms).show("/sessions/current"))
        # After a restart everybody is who he was, by the same second factor.
        pepper = (data / "staff.key").read_bytes()
        await relay.restart()
        assert (data / "staff.key").read_bytes() == pepper
        code, out, _ = await louverd(relay, "list")
        states = [(each["name"], each["state"]) for each in json.loads(out)["items"]]
        assert states == [("adam", "removed"), ("mara", "invited")]
        await relay.app.stop()
        (data / "staff.key").unlink()
        with pytest.raises(BadConfig, match=r"staff\.key is missing"):
            await relay.start_again(0)
        (data / "staff.key").touch(0o600)
        (data / "staff.key").write_bytes(pepper)
        await relay.start_again(0)


def _code(address: str) -> str:
    """What an app shows that read this address."""
    import pyotp

    app = pyotp.parse_uri(address)
    assert isinstance(app, pyotp.TOTP)
    return second_factor.code_at(app.byte_secret(), time.time_ns() // 30_000_000_000)


async def test_without_a_vault_there_is_no_staff_and_nothing_is_loaded(
    start_relay: StartRelay,
) -> None:
    relay = await start_relay()
    code, _, said = await louverd(relay, "list")
    assert (code, "set moderation.vault" in said) == (2, True)
    url = f"http://127.0.0.1:{relay.app.internal.port}"
    status, _ = await asyncio.to_thread(fetch, f"{url}{PREFIX}/reports")
    assert status == 404
    assert relay.app.moderation.desk.staff() == {}
    checked = "import server.app, sys; sys.exit('fastapi' in sys.modules or 'pyotp' in sys.modules)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", checked)
    assert await process.wait() == 0


async def test_the_webhook_has_a_secret_that_a_console_can_be_given(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    settings = Moderation(vault="http://127.0.0.1:1", webhook="http://127.0.0.1:1/api/v1/report")
    relay = await start_relay(moderation=settings)
    text = (relay.data / "webhook.secret").read_text()
    assert len(webhook.secret_bytes(text.strip())) == 32
    await relay.restart()
    assert (relay.data / "webhook.secret").read_text() == text
