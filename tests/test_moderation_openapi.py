"""The moderation API against its own description, by requests that schemathesis makes of it.

Few examples of each route, always the same ones: a search that is wide and not deep. Every answer
must be a described one, in the described shape; nothing may be a 500.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS

from crypto_modes.grants import ROLES
from server.moderation.api import routes
from server.moderation.api.roles import ALLOWED, OPEN
from tests.moderation_office import office
from tests.moderation_rig import PEOPLE

EXAMPLES = 3
# Nothing is sent with these that could be wrong.
UNMISTAKABLE = frozenset({"list_staff", "log_out", "renew", "show_backlog", "who_am_i"})
CHECKED = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
)


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    async def made(data: Path) -> dict[str, Any]:
        async with office(data) as api:
            return dict(api.app.openapi())

    return asyncio.run(made(tmp_path_factory.mktemp("described")))


def test_the_description_has_every_route_with_its_guard(described: dict[str, Any]) -> None:
    assert described["openapi"].startswith("3.1.")
    found = {
        operation["operationId"]: operation
        for path in described["paths"].values()
        for operation in path.values()
    }
    assert set(found) == {*ALLOWED, *OPEN} == {route.name for route in routes()}
    for name, operation in found.items():
        assert operation.get("security", described["security"]) == (
            [] if name in OPEN else [{"session": []}]
        )
        assert operation["summary"]
        assert {"401", "403", "422"} <= set(operation["responses"])


def test_every_reference_leads_somewhere(described: dict[str, Any]) -> None:
    def references(part: Any) -> list[str]:
        if isinstance(part, dict):
            own = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
            return own + [each for value in part.values() for each in references(value)]
        return (
            [each for value in part for each in references(value)] if isinstance(part, list) else []
        )

    known = {f"#/components/schemas/{name}" for name in described["components"]["schemas"]}
    assert set(references(described)) <= known


class Served:
    """The API on a loop of its own, for requests that are made synchronously."""

    def __init__(self, data: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._stack = AsyncExitStack()
        self.api = self._loop.run_until_complete(self._stack.enter_async_context(office(data)))
        # Without the scheme of sessions: every request has one, else nothing would be reached.
        found = {**self.api.app.openapi(), "security": []}
        self.schema = schemathesis.openapi.from_dict(found)
        self.schema.config.update(base_url="http://relay")

    def send(self, case: schemathesis.Case, token: str) -> httpx.Response:
        given = case.as_transport_kwargs()
        headers = {**given.get("headers", {}), "Authorization": f"Bearer {token}", "If-Match": "*"}
        body = {"json": given["json"]} if "json" in given else {"content": given.get("data")}
        request = self.api.http.build_request(
            given["method"], given["url"], params=given.get("params"), headers=headers, **body
        )
        return self._loop.run_until_complete(self.api.http.send(request))

    def close(self) -> None:
        self._loop.run_until_complete(self._stack.aclose())
        self._loop.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = Served(tmp_path_factory.mktemp("served"))
    yield made
    made.close()


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        pytest.param(name, mode, id=f"{name}-{mode.value}")
        for name in sorted({*ALLOWED, *OPEN})
        for mode in GenerationMode
        if mode is GenerationMode.POSITIVE or name not in UNMISTAKABLE
    ],
)
def test_requests_made_of_the_description_are_answered_as_it_says(
    served: Served, name: str, mode: GenerationMode
) -> None:
    operation = served.schema.find_operation_by_id(name)
    role = ALLOWED.get(name, ROLES)[0]
    who = next(each for each, person in PEOPLE.items() if person.role == role)

    @settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: schemathesis.Case) -> None:
        served.api.log_in(who)
        answer = served.send(case, served.api.tokens[who])
        case.validate_response(answer, checks=CHECKS.get_by_names(CHECKED))

    ask()
