"""The OpenAPI document says what the control API does: each route, each field, and the form of each answer."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from raw_servers import answering, raw_server
from raw_servers import http as http_answer

from smspilot_async.emulator import TEST_KEY, Emulator
from smspilot_async.emulator.server._operations import control_routes, operations

if TYPE_CHECKING:
    from collections.abc import Iterator

PHONE: Final = "79087964781"
BODIES: Final[dict[str, dict[str, Any]]] = {
    "/status": {"server_id": "100000001", "status": 2, "error": 0},
    "/inbound": {"phone": PHONE, "text": "STOP", "num": "79021121075", "account": 1},
    "/fail-next": {"fault": "slow", "command": "check", "times": 2, "delay": 0.5, "retry_after": 1, "row": 0},
    "/random-faults": {"shares": {"busy": 0.0}, "seed": None},
    "/no-more-faults": {},
    "/refuse": {"code": 204, "to": PHONE, "text": None},
    "/fail-delivery": {"text": "x"},
    "/release": {},
    "/drop-connections": {},
    "/reset": {},
    "/accounts": {"login": "a@example.com", "password": "secret", "balance": "5.00", "prices": {"MTS": 1.5}},
    "/accounts/{account}": {"balance": 7, "allowed_ips": ["127.0.0.1"], "loop_protection": 60},
    "/settings": {"delivery": 90, "loop_protection": None, "profile": "2.6"},
    "/unknowns": {"check_lag": 3, "max_messages": 10, "modified_zone": "+03:00"},
    "/clock": {"advance": 60, "set": "2027-01-31T12:00:00+00:00", "speed": 0},
    "/callbacks-to": {"url": "http://127.0.0.1:8000"},
}
"""For each path that takes a body, one that is right."""
IN_PATHS: Final = {"server_id": "100000001", "number": "1", "phone": PHONE, "account": "1"}


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """One with something in each list."""
    with Emulator.serve(seed=1, delivery=timedelta(seconds=30), allow_remote_callbacks=False) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def document() -> Any:
    """The document, as it is served."""
    with Emulator.serve() as emulator:
        return httpx.get(f"{emulator.page_url}/openapi.json", trust_env=False).json()


async def fill(emulator: Emulator, http: httpx.AsyncClient) -> None:
    """Let something be in each list."""
    async with raw_server(answering(http_answer(b"OK"))) as application:
        callback = f"http://127.0.0.1:{application.port}/sms"
        rows = [{"to": PHONE, "text": "x", "callback": callback, "id": 7, "ttl": 60}, {"to": "5", "text": "y"}]
        await http.post(emulator.url, json={"apikey": emulator.api_key, "send": rows})
        await http.post(emulator.url, json={"apikey": TEST_KEY, "send": rows})
        emulator.inbound(PHONE, "reply")
        emulator.clock.advance(minutes=1)
        await emulator.settled()


def checked(answer: httpx.Response, operation: dict[str, Any], document: Any) -> None:
    """Fail unless an answer has a status, a media type and a form that the document promises."""
    promised = operation["responses"][str(answer.status_code)]["content"]
    [(media_type, content)] = promised.items()
    assert answer.headers["content-type"].partition(";")[0] == media_type
    if "schema" in content:
        schema = {**content["schema"], "components": document["components"]}
        Draft202012Validator(schema).validate(answer.json())


def url_of(emulator: Emulator, path: str) -> str:
    """The URL of a path; what is in its braces is there."""
    return emulator.page_url + re.sub(r"{(\w+)}", lambda name: IN_PATHS[name[1]], path)


def calls(document: Any) -> list[tuple[str, str]]:
    return [(path, method) for path, methods in document["paths"].items() for method in methods]


ALL: Final = [(each.path, each.method.lower()) for each in operations(Emulator())]
FINITE: Final = [call for call in ALL if call[0] != "/events"]


def test_it_is_an_openapi_document(document: Any) -> None:
    validate(document)


def test_it_has_every_route_and_no_other(document: Any) -> None:
    routes = [
        (route.path, method.lower())
        for route in control_routes(Emulator())
        for method in (route.methods or set()) - {"HEAD"}
    ]
    assert sorted(calls(document)) == sorted(routes) == sorted(ALL)


def test_each_operation_has_a_name_of_its_own_and_a_summary(document: Any) -> None:
    every = [document["paths"][path][method] for path, method in calls(document)]
    assert len({operation["operationId"] for operation in every}) == len(every)
    assert all(operation["summary"].endswith(".") for operation in every)


@pytest.mark.parametrize(("path", "method"), FINITE)
async def test_the_answer_is_as_the_document_says(
    path: str, method: str, document: Any, emulator: Emulator, http: httpx.AsyncClient
) -> None:
    await fill(emulator, http)
    url, query = url_of(emulator, path), {"status": "2"} if path == "/wait" else {}
    answer = await http.request(method, url, params=query, json=BODIES[path] if method == "post" else None)
    assert answer.status_code == 200
    checked(answer, document["paths"][path][method], document)


@pytest.mark.parametrize(
    "headers", [{"origin": "http://evil.example"}, {"host": "evil.example"}, {"sec-fetch-site": "cross-site"}]
)
async def test_a_foreign_page_is_turned_away_from_each(
    headers: dict[str, str], document: Any, emulator: Emulator, http: httpx.AsyncClient
) -> None:
    for path, method in FINITE:
        answer = await http.request(method, url_of(emulator, path), headers=headers)
        assert (path, answer.status_code) == (path, 403)
        checked(answer, document["paths"][path][method], document)
    assert (await http.get(f"{emulator.page_url}/events", headers=headers)).status_code == 403


async def test_a_mistake_is_answered_as_the_document_says_and_names_its_fields(
    document: Any, emulator: Emulator, http: httpx.AsyncClient
) -> None:
    for path in BODIES:
        operation = document["paths"][path]["post"]
        answer = await http.post(url_of(emulator, path), json={"nonsense": 1})
        assert answer.status_code == 400
        checked(answer, operation, document)
        _, _, listed = answer.json()["error"].partition("there are ")
        known = set(operation["requestBody"]["content"]["application/json"]["schema"]["properties"])
        assert set(listed.split(", ") if listed else ()) - {"id", "api_key"} == known - {"id", "api_key"}


def test_the_bodies_that_are_sent_here_are_those_of_the_document(document: Any) -> None:
    assert BODIES.keys() == {path for path, method in FINITE if method == "post"}
    for path, body in BODIES.items():
        schema = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        Draft202012Validator(schema).validate(body)


def test_each_list_has_a_limit_and_a_cursor(document: Any) -> None:
    for path, methods in document["paths"].items():
        answer = methods.get("get", {}).get("responses", {}).get("200", {}).get("content", {}).get("application/json")
        if answer and "next" in answer.get("schema", {}).get("properties", {}):
            named = {field["name"] for field in methods["get"]["parameters"]}
            assert (path, named & {"limit", "after"}) == (path, {"limit", "after"})


async def test_what_is_not_there_is_answered_as_the_document_says(
    document: Any, emulator: Emulator, http: httpx.AsyncClient
) -> None:
    found = [path for path in document["paths"] if "404" in document["paths"][path].get("get", {}).get("responses", {})]
    assert set(found) == {"/messages/{server_id}", "/requests/{number}", "/wait"}
    for path in found:
        url = emulator.page_url + re.sub(r"{\w+}", "5", path)
        answer = await http.get(url, params={"timeout": 0} if path == "/wait" else {})
        assert answer.status_code == 404
        checked(answer, document["paths"][path]["get"], document)


async def test_the_events_are_a_stream(document: Any, emulator: Emulator, http: httpx.AsyncClient) -> None:
    [promised] = document["paths"]["/events"]["get"]["responses"]["200"]["content"]
    async with http.stream("GET", f"{emulator.page_url}/events") as answer:
        assert answer.headers["content-type"].partition(";")[0] == promised


def test_no_answer_has_a_password(document: Any) -> None:
    assert "password" not in document["components"]["schemas"]["Account"]["properties"]
    assert json.dumps(document).count('"password"') == len(["POST /accounts", "POST /accounts/{account}"])
