"""The laboratory against the real relay: one small comparison from end to end."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import jsonschema
import msgspec
import pytest

from client.compare import campaign, lab, measures, record, results
from client.compare.cli import run
from client.compare.issuer import ISSUER, Issuer
from client.compare.lab import Lab, LabFailure
from client.compare.measures import Raw
from client.compare.plan import QUICK
from client.compare.steps import SCRIPT
from crypto_modes import primitives
from tests.compare_results import made_up


def test_settings_ask_for_what_the_report_claims(tmp_path: Path) -> None:
    relay = lab.Relay("at_rest", tmp_path, 1, 2, 0, tmp_path, 3)
    settings = tomllib.loads(Lab(tmp_path)._settings(relay, "debug", None, {}))
    assert "scanning" not in settings
    watched = tomllib.loads(Lab(tmp_path)._settings(relay, "debug", ["HARM-0001"], {}))
    assert watched["scanning"]["lists"] == [f"flag:other:words:{tmp_path}/phrases.txt"]
    assert watched["moderation"]["vault"] == "http://127.0.0.1:3"
    assert settings["mode"] == "at_rest"
    assert settings["store"] == {"durability": "full"}
    assert settings["accounts"]["issuer"] == ISSUER
    assert "insecure" not in settings["listen"]


def test_settings_of_the_environment_do_not_reach_the_relay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOUVER_MODE", "tls")
    assert "LOUVER_MODE" not in lab.environment()


def test_tokens_are_signed_by_the_published_key(tmp_path: Path) -> None:
    issuer = Issuer(tmp_path / "jwks.json")
    (key,) = json.loads(issuer.jwks.read_text())["keys"]
    import jwt

    claims = jwt.decode(issuer.token("alice"), jwt.PyJWK(key), algorithms=["EdDSA"], issuer=ISSUER)
    assert claims["preferred_username"] == "alice"
    assert len(primitives.ed25519_public(issuer._seed)) == 32


@pytest.mark.asyncio
async def test_a_relay_that_cannot_start_says_why(tmp_path: Path) -> None:
    bench = Lab(tmp_path)  # no certificates were made
    with pytest.raises(LabFailure, match="did not start"):
        async with bench.relay("tls", "broken"):
            pass


@pytest.mark.asyncio
async def test_a_failing_command_says_why() -> None:
    with pytest.raises(LabFailure, match="louverd config show"):
        await lab.louverd("config", "show", "--config", "/no/such/file.toml")


def test_e2ee_from_end_to_end(tmp_path: Path) -> None:
    """One short round of one mode: real relay, real clients, probes, drill, report."""
    words = "--modes e2ee --quick --users 4 --rate 100 --duration 1 --threshold e2ee.lost<=0"
    out = tmp_path / "report"
    code = run([*words.split(), "--out", str(out)])
    found = results.read(out)
    mode = found.modes["e2ee"]
    # A busy machine may make the generator late (exit 4); nothing may go wrong (exit 5).
    assert code in (campaign.OK, campaign.INVALID), found.problems
    assert (mode.lost, mode.duplicated, mode.reordered, mode.altered) == (0, 0, 0, 0)
    # Every attempt at a round, and the search for who can read.
    passes = len(found.rounds) + 1
    assert mode.delivered == passes * (found.trace.messages + found.trace.conversations)
    readers = {who for who, got in mode.exposure.items() if got.recovered}
    assert readers == {"stolen_device_future"}
    blind = {who for who, got in mode.exposure.items() if not got.measured}
    assert "bus" in blind <= {"bus", "relay_memory"}  # a kernel may forbid the memory
    assert all(got.ok for got in mode.exposure.values() if got.measured)
    report = mode.moderation["user_report"]
    assert (report.verifiable, report.basis) == (1.0, "commitment")
    assert report.labels == report.labels_alone == {"verified": report.labelled}
    assert (report.forged_submitted, report.forged_accepted) == (QUICK.forgeries, 0)
    for path in ("scan", "legal_request", "insider"):
        assert mode.moderation[path].readable == 0.0
    asked = mode.moderation["legal_request"]
    assert (asked.approvals, asked.logged, asked.refused) == (2, 1.0, 5)
    assert mode.throughput.messages_per_second > 0
    sizes = {step: got.wire_bytes for step, got in mode.steps.items()}
    kem = primitives.KEM_KEY_SIZE, primitives.KEM_CIPHERTEXT_SIZE
    assert sizes["first_contact"] > sizes["turn"] + sum(kem)
    # About two public keys and ciphertexts more: the PQ ratchet's epoch did change there.
    more = len(SCRIPT["pq_epoch"]) * (sizes["pq_epoch"] - sizes["turn"])
    assert 1.5 < more / sum(kem) < 2.5
    schema = results.shipped_schema()
    jsonschema.validate(json.loads((out / results.FILE).read_text()), schema)
    raw = Raw(*record.read(out))
    assert measures.flat(raw.latency("e2ee")).size == mode.latency_ms.count
    for name in ("index.html", "trace.jsonl", "latency-e2ee.hlog"):
        assert (out / name).stat().st_size > 100


@pytest.mark.parametrize(
    ("valid", "problems", "crossed", "code"),
    [
        (True, [], False, campaign.OK),
        (True, [], True, campaign.CROSSED),
        (False, ["late"], True, campaign.INVALID),
        (False, ["late", "tls: 1 lost"], True, campaign.WRONG),
        (True, ["tls: 1 lost"], False, campaign.WRONG),
    ],
)
def test_the_worst_finding_gives_the_exit_code(
    valid: bool, problems: list[str], crossed: bool, code: int
) -> None:
    found = made_up()
    threshold = results.Threshold(text="x", value=1.0, crossed=crossed)
    found = msgspec.structs.replace(found, problems=problems, thresholds=[threshold])
    taken = campaign.Taken(rounds=[msgspec.structs.replace(found.rounds[0], valid=valid)])
    assert campaign._code(found, taken) == code


def test_only_a_kept_round_that_is_void_makes_the_measurement_invalid() -> None:
    one = made_up().rounds[0]
    given_up = msgspec.structs.replace(one, valid=False, kept=False)
    kept = msgspec.structs.replace(one, valid=False)
    assert campaign._void(campaign.Taken(rounds=[given_up, one])) == []
    assert campaign._void(campaign.Taken(rounds=[given_up, kept])) == [kept]
