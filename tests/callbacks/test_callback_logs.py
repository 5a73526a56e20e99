"""Callback paths stand in no log, and in no repr."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import httpx
import pytest
from aiohttp import web
from serving import free_socket, on_uvicorn

from smspilot_async.callbacks import CallbackInbox, RedactCallbackPaths, redact_access_logs
from smspilot_async.callbacks import aiohttp as aiohttp_face
from smspilot_async.callbacks import asgi as asgi_face

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "a secret for the tests alone"
LOGGERS = ("uvicorn.access", "aiohttp.access")


@pytest.fixture(autouse=True)
def _redacted() -> Iterator[None]:
    redact_access_logs(*LOGGERS)
    redact_access_logs(*LOGGERS)
    yield
    for name in LOGGERS:
        logger = logging.getLogger(name)
        (known,) = [one for one in logger.filters if isinstance(one, RedactCallbackPaths)]
        logger.removeFilter(known)


async def call(url: str) -> None:
    async with httpx.AsyncClient() as http:
        response = await http.get(url, params={"server_id": "5", "status": "2"})
        assert response.text == "OK"


def everything(records: list[logging.LogRecord]) -> str:
    return "\n".join(f"{record.getMessage()} {vars(record)}" for record in records)


async def test_uvicorns_access_log_shows_no_path(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "uvicorn.access")
    sock, url = free_socket()
    async with CallbackInbox(url, secret=SECRET) as inbox, on_uvicorn(asgi_face.callback_app(inbox), sock):
        await call(inbox.account_url)
    records = [record for record in caplog.records if record.name == "uvicorn.access"]
    assert "GET /cb0-…?server_id=5&status=2 HTTP/1.1" in everything(records)
    assert inbox.account_url[-30:] not in everything(records)


async def test_aiohttps_access_log_shows_no_path(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aiohttp.access")
    sock, url = free_socket()
    async with CallbackInbox(url, secret=SECRET) as inbox:
        runner = web.AppRunner(aiohttp_face.callback_app(inbox))
        await runner.setup()
        await web.SockSite(runner, sock).start()
        await call(inbox.account_url)
        await runner.cleanup()
    records = [record for record in caplog.records if record.name == "aiohttp.access"]
    assert "GET /cb0-…?server_id=5&status=2 HTTP/1.1" in everything(records)
    assert inbox.account_url[-30:] not in everything(records)


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
