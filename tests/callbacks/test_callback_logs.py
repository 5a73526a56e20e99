"""Callback paths stand in no log, and in no repr."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import httpx
import hypercorn
import pytest
from aiohttp import web
from hypercorn.asyncio import serve
from serving import free_socket, on_uvicorn

from smspilot_async.callbacks import CallbackInbox, RedactCallbackPaths, redact_access_logs
from smspilot_async.callbacks import aiohttp as aiohttp_adapter
from smspilot_async.callbacks import asgi as asgi_adapter
from smspilot_async.callbacks._signing import Signer, redact

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "a secret for the tests alone"
LOGGERS = ("uvicorn.access", "aiohttp.access", "hypercorn.access")


@pytest.fixture(autouse=True)
def _redacted() -> Iterator[None]:
    redact_access_logs(*LOGGERS)
    redact_access_logs(*LOGGERS)
    yield
    for name in LOGGERS:
        logger = logging.getLogger(name)
        (known,) = [one for one in logger.filters if isinstance(one, RedactCallbackPaths)]
        logger.removeFilter(known)


async def call(url: str, **headers: str) -> None:
    async with httpx.AsyncClient() as http:
        response = await http.get(url, params={"server_id": "5", "status": "2"}, headers=headers)
        assert response.text == "OK"


def everything(records: list[logging.LogRecord]) -> str:
    return "\n".join(f"{record.getMessage()} {vars(record)}" for record in records)


async def test_uvicorns_access_log_shows_no_path(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "uvicorn.access")
    sock, url = free_socket()
    async with CallbackInbox(url, secret=SECRET) as inbox, on_uvicorn(asgi_adapter.callback_app(inbox), sock):
        await call(inbox.account_url)
    records = [record for record in caplog.records if record.name == "uvicorn.access"]
    assert "GET /cb0-…?server_id=5&status=2 HTTP/1.1" in everything(records)
    assert inbox.account_url[-30:] not in everything(records)


async def test_aiohttps_access_log_shows_no_path(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aiohttp.access")
    sock, url = free_socket()
    async with CallbackInbox(url, secret=SECRET) as inbox:
        runner = web.AppRunner(aiohttp_adapter.callback_app(inbox))
        await runner.setup()
        await web.SockSite(runner, sock).start()
        await call(inbox.account_url)
        await runner.cleanup()
    records = [record for record in caplog.records if record.name == "aiohttp.access"]
    assert "GET /cb0-…?server_id=5&status=2 HTTP/1.1" in everything(records)
    assert inbox.account_url[-30:] not in everything(records)


async def test_hypercorns_access_log_shows_no_path(caplog: pytest.LogCaptureFixture) -> None:
    access = logging.getLogger("hypercorn.access")
    caplog.set_level(logging.INFO, access.name)
    sock, url = free_socket()
    config = hypercorn.Config()
    config.bind = [f"fd://{sock.detach()}"]
    config.errorlog = None
    config.accesslog = access
    config.access_log_format = '"%(R)s" %(U)s %({referer}i)s %({x-missing}i)s'
    async with CallbackInbox(url, secret=SECRET) as inbox:
        app: Any = asgi_adapter.callback_app(inbox)  # hypercorn has types of its own for the same thing
        over = asyncio.Event()
        serving = asyncio.create_task(serve(app, config, shutdown_trigger=over.wait))
        await call(inbox.account_url, referer=inbox.account_url)
        over.set()
        await serving
    [record] = [record for record in caplog.records if record.name == access.name]
    assert record.getMessage() == f'"GET /cb0-…?server_id=5&status=2 1.1" /cb0-… {url}/cb0-… -'
    assert inbox.account_url[-30:] not in everything([record])


@pytest.mark.parametrize(
    "alias",
    ["%63b1-", "c%621-", "cb%31-", "cb1%2D", "cb1%2d", "%63%62%30%2d", "%63%62%31%2D"],
)
def test_a_path_is_redacted_however_it_is_encoded(alias: str) -> None:
    assert unquote(alias) in {Signer(SECRET).sign(1, 0)[:4], Signer(SECRET).account_segment[:4]}
    tail = "%78%79" + "x" * 54
    assert redact(f"GET /smspilot/{alias}{tail}?status=2") == f"GET /smspilot/{alias}…?status=2"


def test_every_form_in_which_a_record_may_hold_a_path_is_redacted() -> None:
    path = "/cb1-" + "x" * 56
    record = logging.LogRecord("any", logging.INFO, "", 0, f"{path} %s %s", (path, {"deep": path.encode()}), None)
    record.request = {"path": path}
    assert RedactCallbackPaths().filter(record)
    assert "xxx" not in everything([record])


async def test_an_inbox_shows_neither_secret_nor_path() -> None:
    inbox = CallbackInbox("https://app.example/sms", secret=SECRET)
    assert repr(inbox) == "<CallbackInbox, open>"
    await inbox.aclose()
    assert repr(inbox) == "<CallbackInbox, closed>"
