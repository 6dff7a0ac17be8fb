"""Settings: where a value comes from, what wrong ones are told, what a reload may change."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import get_args

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_modes import wire
from crypto_modes.errors import BadConfig
from server.config import (
    OTHER_VARIABLES,
    Settings,
    example,
    flat,
    load,
    origins,
    problems,
    reloadable_changes,
    schema,
)
from server.settings_text import literal
from server.settings_tree import KINDS

ROOT = Path(__file__).parents[1]
PLAIN = ("listen.insecure=true",)
VAULT = [*PLAIN, "moderation.vault=https://v.example"]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.upper().startswith("LOUVER_")]:
        monkeypatch.delenv(name)


def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "louver.toml"
    path.write_text(text)
    return path


def refusal(path: Path | None, *flags: str) -> str:
    with pytest.raises(BadConfig) as refused:
        load(path, flags)
    return str(refused.value)


# Precedence and origins


def test_the_defaults_are_the_agreed_ones() -> None:
    settings = load(None, PLAIN)
    assert settings.mode == "e2ee"
    assert settings.data == Path("louver-data")
    assert (settings.listen.address, settings.listen.port) == ("127.0.0.1", 7443)
    assert settings.internal.port == 7480
    assert settings.store.durability == "full"
    assert settings.limits.frame == wire.FRAME_LIMIT
    assert settings.limits.before_hello == wire.FRAME_LIMIT_BEFORE_HELLO
    assert (settings.features.typing, settings.features.receipts) == (False, True)


def test_flags_beat_environment_beats_file_beats_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = file(tmp_path, "[limits]\npage = 1\nframe = 2000\nconnections = 3\n")
    monkeypatch.setenv("LOUVER_LIMITS__FRAME", "5000")
    monkeypatch.setenv("louver_limits__connections", "6")
    settings = load(path, [*PLAIN, "limits.connections=9", "limits.before_hello=600"])
    limits = settings.limits
    assert (limits.page, limits.frame, limits.connections) == (1, 5000, 9)
    found = origins(settings)
    assert found["limits.page"] == str(path)
    assert found["limits.frame"] == "environment LOUVER_LIMITS__FRAME"
    assert found["limits.connections"] == "flag --set"
    assert found["limits.ping_seconds"] == "default"
    assert set(found) == set(flat(settings))


def test_a_section_in_the_environment_may_be_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOUVER_LISTEN", '{"port": 9, "insecure": true}')
    assert load().listen.port == 9


@pytest.mark.parametrize("where", ["environment", "flag"])
def test_lists_outside_the_file_have_commas(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = list(PLAIN)
    if where == "environment":
        monkeypatch.setenv("LOUVER_LISTEN__ORIGINS", "https://a.example, https://b.example")
    else:
        flags.append("listen.origins=https://a.example,https://b.example")
    assert load(None, flags).listen.origins == ("https://a.example", "https://b.example")


def test_what_the_other_programs_take_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one shell the operator's command and `louver mod` run side by side."""
    taken: set[str] = set()
    for file in (path for room in ("client", "server/cli") for path in (ROOT / room).rglob("*.py")):
        taken |= set(re.findall(r'"(LOUVER_[A-Z_]*[A-Z])"', file.read_text()))
    assert taken == OTHER_VARIABLES
    for name in taken:
        monkeypatch.setenv(name, "x")
    assert load(None, PLAIN).mode == "e2ee"


def test_settings_made_in_code_read_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOUVER_MODE", "tls")
    assert Settings().mode == "e2ee"


def test_settings_cannot_be_changed() -> None:
    settings = load(None, PLAIN)
    with pytest.raises(ValueError, match="frozen"):
        settings.listen.port = 1


# Modes per kind


def test_modes_cover_exactly_the_kinds_of_the_wire() -> None:
    assert KINDS == wire.KINDS == get_args(wire.Kind)
    assert set(type(Settings().modes).model_fields) == set(wire.KINDS)


def test_kinds_without_a_mode_of_their_own_have_the_general_one() -> None:
    settings = load(None, [*PLAIN, "mode=tls", "modes.image=e2ee"])
    assert settings.modes_by_kind() == dict.fromkeys(wire.KINDS, "tls") | {"image": "e2ee"}


def test_modes_of_other_packages_are_known_by_name() -> None:
    assert load(None, [*PLAIN, "mode=rot13"], {"tls", "rot13"}).mode == "rot13"
    assert "none of" in refusal(None, *PLAIN, "mode=rot13")


# What wrong settings are told


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mdoe = 'tls'", "unknown key mdoe; did you mean mode?"),
        ("[listen]\nprot = 1", "unknown key listen.prot; did you mean listen.port?"),
        ("[limts]\nframe = 1", "unknown key limts; did you mean limits?"),
        ("port = 1", "unknown key port; did you mean listen.port or internal.port?"),
        ("[store]\nxyz = 1", "unknown key store.xyz; known here: durability"),
        ("[listen]\nport = 70000", "listen.port must be less than or equal to 65535, not 70000"),
        ("[listen]\nport = 'x'", "must be a whole number, not 'x'; for example port = 7443 under"),
        ("[listen]\ninsecure = 'so'", "listen.insecure must be true or false or 'anywhere'"),
        ("[listen]\naddress = 'me'", "listen.address must be an IP address or localhost"),
        ("[listen]\norigins = ['*']", "listen.origins must be an origin such as"),
        ("[listen]\norigins = ['https://a/b']", "without a path, not 'https://a/b'"),
        ("features = true", "features must be a section of keys, not True"),
        ("[features]\ntyping = 'perhaps'", "features.typing must be true or false"),
        ("[log]\nlevel = 'loud'", "log.level must be 'debug', 'info', 'warning' or 'error'"),
        ("[limits]\nping_seconds = 0", "limits.ping_seconds must be greater than or equal to 0.1"),
        ("[modes]\nimage = 'E2EE'", "modes.image must be a lower-case name, not 'E2EE'"),
        ("mode = ''", "mode must be text with at least 1 character"),
        ("data = 3", "data must be a path, not 3"),
    ],
)
def test_a_wrong_value_is_named_with_its_file_and_its_cure(
    tmp_path: Path, text: str, said: str
) -> None:
    path = file(tmp_path, text)
    message = refusal(path)
    assert message.startswith(f"{path}: ")
    assert said in message
    assert "\n" not in message


def test_environment_and_flags_are_told_in_their_own_form(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(None, "limits.page=x").endswith("for example --set limits.page=100")
    monkeypatch.setenv("LOUVER_LISTEN__PORT", "x")
    assert refusal(None) == (
        "environment LOUVER_LISTEN__PORT: listen.port must be a whole number, not 'x';"
        " for example LOUVER_LISTEN__PORT=7443"
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("LOUVER_MOED", "did you mean LOUVER_MODE?"),
        ("LOUVER_LISTN__PORT", "did you mean LOUVER_LISTEN?"),
        ("LOUVER_LISTEN__PROT", "did you mean listen.port?"),
        ("LOUVER_LISTEN", "set single keys"),
        ("LOUVER_MOD_PASWORD", "did you mean LOUVER_MOD_PASSWORD?"),
        ("LOUVER_MOD_CODES", "did you mean LOUVER_MOD_CODE?"),
    ],
)
def test_misspelt_variables_are_not_ignored(
    name: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "x")
    assert said in refusal(None, *PLAIN)


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    path = file(tmp_path, "mdoe = 1\n[listen]\nport = -1\n[log]\nlevel = 'x'\n")
    assert len(refusal(path).splitlines()) == 3


@pytest.mark.parametrize("flag", ["", "=", "port", "a.b.c=1", ".port=1", "listen.=1"])
def test_a_flag_is_key_and_value(flag: str) -> None:
    assert "key=value" in refusal(None, flag)


def test_a_flag_cannot_be_value_and_section() -> None:
    assert "both" in refusal(None, "listen=1", "listen.port=2")


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"= 1", "is not TOML"), (b"\xff\xfe", "is not TOML"), (b"#" * 2_000_000, "over 1 MiB")],
)
def test_a_file_that_is_no_settings_file(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "louver.toml"
    path.write_bytes(content)
    assert said in refusal(path)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    assert "config init" in refusal(tmp_path / "none.toml")
    assert "cannot read" in refusal(tmp_path)


@given(st.text(max_size=80))
def test_no_value_breaks_a_message_into_lines(text: str) -> None:
    with pytest.raises(BadConfig) as refused:
        load(None, [f"listen.port=x{text}"])
    assert len(str(refused.value).splitlines()) == 1


# Rules across keys


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "listen.certificate is missing; `louverd certs dev"),
        (["listen.insecure=true", "listen.address=0.0.0.0"], "can be reached from other machines"),
        (["listen.insecure=true", "listen.address=::"], "--set listen.insecure=anywhere"),
        (["listen.certificate=/nowhere"], "listen.key is missing"),
        (["listen.certificate=/nowhere"], "names '/nowhere', which is no file"),
        (["listen.key=/nowhere"], "listen.certificate is missing"),
        (["listen.insecure=true", "listen.key=/nowhere"], "contradicts"),
        ([*PLAIN, "mode=tsl"], "is none of tls, at_rest, e2ee; for example --set mode=tls"),
        ([*PLAIN, "modes.call=x"], "modes.call names no mode"),
        ([*PLAIN, "accounts.registration=external"], "needs it"),
        ([*PLAIN, "accounts.audience=x"], "accounts.audience means nothing without"),
        ([*PLAIN, "accounts.jwks=http://id.example"], "must be a file or an https:// address"),
        ([*PLAIN, "accounts.jwks=/nowhere"], "accounts.jwks names '/nowhere'"),
        ([*PLAIN, "moderation.vault=http://v.example"], "moderation.vault must be an https://"),
        ([*PLAIN, "moderation.vault_authority=/nowhere"], "means nothing without an https://"),
        ([*PLAIN, "moderation.jwks=https://id.example"], "moderation.jwks means nothing without"),
        ([*VAULT, "moderation.jwks=https://id.example"], "moderation.audience is missing"),
        ([*VAULT, "moderation.jwks=http://id.example"], "must be a file or an https:// address"),
        ([*VAULT, "moderation.jwks=/nowhere"], "moderation.jwks names '/nowhere'"),
        ([*VAULT, "moderation.webhook=http://x.example"], "moderation.webhook must be an https"),
        ([*VAULT, "moderation.webhook_key=/nowhere"], "moderation.webhook_key names '/nowhere'"),
        ([*VAULT, "moderation.webhook_types=user"], "names two types"),
        (
            [*PLAIN, "moderation.vault=https://v.example", "moderation.vault_authority=/nowhere"],
            "moderation.vault_authority names '/nowhere'",
        ),
        ([*PLAIN, "limits.frame=2000"], "limits.before_hello is over limits.frame (2000)"),
        ([*PLAIN, "limits.outbox_bytes=70000"], "holds not even two frames"),
        ([*PLAIN, "internal.port=7443"], "internal.port is also listen.port"),
    ],
)
def test_keys_must_fit_together(flags: list[str], said: str) -> None:
    assert said in refusal(None, *flags)


@pytest.mark.parametrize(
    "flags",
    [
        ["listen.insecure=true"],
        ["listen.insecure=true", "listen.address=localhost"],
        ["listen.insecure=true", "listen.address=::1"],
        ["listen.insecure=anywhere", "listen.address=0.0.0.0"],
        [*PLAIN, "listen.port=0", "internal.port=0"],
        [*PLAIN, "accounts.registration=external", "accounts.jwks=https://id.example/jwks"],
    ],
)
def test_these_do_fit(flags: list[str]) -> None:
    assert problems(load(None, flags)) == []


def test_unchecked_settings_can_still_be_shown() -> None:
    settings = load(None, ["mode=tsl"], checked=False)
    assert len(problems(settings)) == 2


# Reload


def reloaded(*flags: str) -> Settings:
    return load(None, [*PLAIN, *flags])


def test_what_may_change_is_told_with_both_values() -> None:
    changes = reloadable_changes(
        reloaded(),
        reloaded("mode=tls", "modes.call=e2ee", "limits.page=7", "features.typing=true"),
    )
    assert changes == {
        "mode": ("e2ee", "tls"),
        "modes.call": ("", "e2ee"),
        "limits.page": (100, 7),
        "features.typing": (False, True),
    }
    changes = reloadable_changes(
        reloaded(), reloaded("log.level=debug", "listen.origins=https://a.example")
    )
    assert set(changes) == {"log.level", "listen.origins"}


def test_nothing_new_is_no_change() -> None:
    assert reloadable_changes(reloaded(), reloaded()) == {}


@pytest.mark.parametrize(
    "flag",
    ["data=x", "listen.port=1", "listen.tls12=true", "store.durability=relaxed", "log.format=text"],
)
def test_the_rest_needs_a_restart_and_says_so(flag: str) -> None:
    with pytest.raises(BadConfig, match=f"{flag.partition('=')[0]} needs a restart"):
        reloadable_changes(reloaded(), reloaded("mode=tls", flag))


# Example and schema


def test_the_example_in_the_repository_is_this_one() -> None:
    assert (ROOT / "deploy" / "louver.example.toml").read_text() == example()


def test_the_example_names_every_key_with_its_default() -> None:
    text = example().replace("\n# ", "\n")
    values = [
        f"{key.rpartition('.')[2]} = {literal(value)}" for key, value in flat(Settings()).items()
    ]
    skipped = {'certificate = ""', 'key = ""'}
    assert [value for value in values if value not in skipped and value not in text] == []


def test_the_example_runs_once_its_certificates_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = file(tmp_path, example())
    message = refusal(path)
    assert "certs/relay.pem" in message
    (tmp_path / "certs").mkdir()
    (tmp_path / "certs" / "relay.pem").touch()
    (tmp_path / "certs" / "relay.key").touch()
    assert load(path).listen.certificate == "certs/relay.pem"


def test_the_schema_accepts_the_example_and_refuses_unknown_keys() -> None:
    content = tomllib.loads(example())
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(content, json.loads(json.dumps(schema())))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"mdoe": "tls"}, schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"listen": {"port": 70000}}, schema())
