"""The example shops: an order and its SMS stand or fall together, on both databases and in both frameworks."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, TypeAlias

import httpx
import pytest
import sqlalchemy as sa
from aiohttp.test_utils import TestClient, TestServer

from examples import aiohttp_shop, fastapi_shop, shop
from smspilot_async import Client
from smspilot_async.emulator import Fault
from smspilot_async.outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from service_process import Framework

    from smspilot_async.emulator import Emulator

    Ask: TypeAlias = Callable[[str, str, Any], Awaitable[tuple[int, Any]]]

PHONE = "79087964781"


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The shop's database, which holds the ledger too."""
    if request.param == "sqlite":
        ledger, driver = f"sqlite:///{tmp_path}/shop.db", "sqlite+aiosqlite"
    else:
        ledger, driver = request.getfixturevalue("postgres").database(), "postgresql+psycopg"
    url = sa.make_url(ledger).set(drivername=driver).render_as_string(hide_password=False)
    monkeypatch.setenv("DATABASE_URL", url)
    return ledger


@pytest.fixture
async def gateway(emulator: Emulator, database: str, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    monkeypatch.setenv("SMSPILOT_URL", emulator.url)
    monkeypatch.setenv("SMSPILOT_API_KEY", emulator.api_key)
    async with Client() as client:
        await Outbox.create(database, client)
    return emulator


@contextlib.asynccontextmanager
async def serving(framework: Framework) -> AsyncIterator[Ask]:
    """The application, in this loop: what it says to a method, a path and a document."""
    if framework == "fastapi":
        app = fastapi_shop.app
        async with app.router.lifespan_context(app) as state:
            transport = httpx.ASGITransport(_with_state(app, state), raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://shop") as http:

                async def ask(method: str, path: str, document: Any = None) -> tuple[int, Any]:
                    reply = await http.request(method, path, json=document)
                    return reply.status_code, reply.json() if reply.status_code < 500 else None

                yield ask
        return
    async with TestClient(TestServer(aiohttp_shop.make_app())) as client:

        async def ask_aiohttp(method: str, path: str, document: Any = None) -> tuple[int, Any]:
            async with client.request(method, path, json=document) as reply:
                is_json = reply.content_type == "application/json"
                return reply.status, await reply.json() if is_json else None

        yield ask_aiohttp


def _with_state(app: Any, state: Any) -> Any:
    async def with_state(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "state": dict(state)}, receive, send)

    return with_state


async def until_settled(ask: Ask, number: int) -> Any:
    async with asyncio.timeout(20):
        while True:
            _, answer = await ask("GET", f"/orders/{number}/sms", None)
            if answer["state"] not in {"pending", "in_flight"}:
                return answer
            await asyncio.sleep(0.02)


async def test_an_order_and_its_sms_are_committed_together(framework: Framework, gateway: Emulator) -> None:
    async with serving(framework) as ask:
        status, answer = await ask("POST", "/orders", {"phone": PHONE, "goods": "чай"})
        assert (status, answer) == (201, {"order": 1})
        assert (await until_settled(ask, 1))["state"] == "accepted"
    [message] = gateway.messages
    assert (message.to, message.text) == (PHONE, "Заказ 1 принят: чай")


async def test_a_request_that_fails_after_enqueueing_sends_nothing(
    framework: Framework, gateway: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def place_and_fail(*arguments: Any) -> int:
        await shop.place_order(*arguments)
        raise RuntimeError("the warehouse is on fire")

    for module in (fastapi_shop, aiohttp_shop):
        monkeypatch.setattr(module, "place_order", place_and_fail)
    async with serving(framework) as ask:
        status, _ = await ask("POST", "/orders", {"phone": PHONE, "goods": "чай"})
        assert status == 500
        monkeypatch.undo()
        assert (await ask("GET", "/orders/1/sms", None))[0] == 404
    assert gateway.messages == ()


async def test_a_phone_that_makes_no_message_leaves_no_order(framework: Framework, gateway: Emulator) -> None:
    async with serving(framework) as ask:
        answer = await ask("POST", "/orders", {"phone": "позвоните", "goods": "чай"})
        assert answer == (422, {"detail": {"field": "to"}})
        _, answer = await ask("POST", "/orders", {"phone": PHONE, "goods": "чай"})
        await until_settled(ask, answer["order"])
    assert len(gateway.messages) == 1


async def test_an_answer_that_is_lost_is_shown_as_unknown_and_not_sent_again(
    framework: Framework, gateway: Emulator
) -> None:
    gateway.fail_next("send", Fault.ACCEPT_THEN_RESET)
    async with serving(framework) as ask:
        await ask("POST", "/orders", {"phone": PHONE, "goods": "чай"})
        assert (await until_settled(ask, 1))["state"] == "unknown"
    async with serving(framework) as ask:
        assert (await ask("GET", "/orders/1/sms", None))[1]["state"] == "unknown"
    assert len(gateway.messages) == 1
