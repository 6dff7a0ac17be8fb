"""Passwords and bearer tokens: what is kept, what is refused, and what a refusal gives away."""

from __future__ import annotations

import asyncio

import pytest

from crypto_modes.errors import FrameRefused, RateLimited, TokenExpired, Unauthorized
from server.accounts import Passwords, Tokens
from server.store import Device

PEPPER = bytes(range(32))


def device(token: bytes, expires: int = 1_000) -> Device:
    return Device(id=bytes(16), account=bytes(16), token=token, created=0, expires=expires)


@pytest.mark.asyncio
async def test_the_right_password_and_only_it() -> None:
    passwords = Passwords()
    stored = await passwords.hash("correct horse")
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert "correct" not in stored
    assert await passwords.verify(stored, "correct horse")
    assert not await passwords.verify(stored, "correct horse ")
    assert not await passwords.verify(stored, "")
    passwords.close()


@pytest.mark.asyncio
async def test_salts_differ() -> None:
    passwords = Passwords()
    assert await passwords.hash("correct horse") != await passwords.hash("correct horse")
    passwords.close()


@pytest.mark.asyncio
async def test_nobody_has_no_password_not_even_the_dummy_one() -> None:
    passwords = Passwords()
    for guess in ("the password of nobody", "", "anything at all"):
        assert not await passwords.verify("", guess)
    passwords.close()


@pytest.mark.asyncio
@pytest.mark.attack
async def test_37_an_unknown_name_costs_the_same_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 37: what is counted is the work, because a timing would be a test that may fail."""
    from server import accounts

    worked: list[str] = []

    def counted(stored: str, password: str) -> bool:
        worked.append(stored.rpartition("$")[0].rpartition("$")[0])
        return False

    monkeypatch.setattr(accounts, "_matches", counted)
    passwords = Passwords()
    await passwords.verify("", "guess")
    await passwords.verify(await passwords.hash("correct horse"), "guess")
    assert worked[0] == worked[1]
    passwords.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("password", ["", "short", "x" * 7, "x" * 1025])
async def test_passwords_have_bounds(password: str) -> None:
    passwords = Passwords()
    with pytest.raises(FrameRefused, match="8 to 1024"):
        await passwords.hash(password)
    passwords.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("stored", ["plain", "$argon2id$", "$2b$12$abc", "\0"])
async def test_a_damaged_hash_matches_nothing(stored: str) -> None:
    passwords = Passwords()
    assert not await passwords.verify(stored, stored)
    passwords.close()


@pytest.mark.asyncio
async def test_the_queue_is_bounded_and_recovers() -> None:
    passwords = Passwords(workers=1, waiting=2)
    outcomes = await asyncio.gather(
        *(passwords.verify("", "guess") for _ in range(6)), return_exceptions=True
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, RateLimited)]
    assert len(refused) == 3
    assert refused[0].retry_after > 0
    assert await passwords.verify("", "guess") is False
    passwords.close()


def test_a_token_opens_its_device_until_it_expires() -> None:
    tokens = Tokens(PEPPER)
    token, digest = tokens.new()
    bound = device(digest)
    assert token.startswith("lvr_")
    assert len(digest) == 32
    assert tokens.check(token, bound, 999) is bound
    with pytest.raises(TokenExpired):
        tokens.check(token, bound, 1_000)


def test_wrong_and_unknown_are_told_apart_by_nobody() -> None:
    tokens = Tokens(PEPPER)
    _, digest = tokens.new()
    other, _ = tokens.new()
    said = []
    for bound in (device(digest), device(digest, expires=0), None):
        with pytest.raises(Unauthorized) as refused:
            tokens.check(other, bound, 500)
        said.append(str(refused.value))
    assert len(set(said)) == 1
    assert other not in said[0]


@pytest.mark.parametrize("token", ["", "lvr_", "x" * 3072, "lvr_é\r\n", "\0"])
def test_odd_tokens_are_just_wrong(token: str) -> None:
    tokens = Tokens(PEPPER)
    with pytest.raises(Unauthorized):
        tokens.check(token, device(tokens.new()[1]), 0)


def test_no_token_matches_a_device_that_has_none() -> None:
    tokens = Tokens(PEPPER)
    with pytest.raises(Unauthorized):
        tokens.check(tokens.new()[0], device(b""), 0)


def test_the_digest_needs_the_pepper_and_is_not_the_token() -> None:
    token, digest = Tokens(PEPPER).new()
    assert Tokens(bytes(32)).digest(token) != digest
    assert token.encode() not in digest
