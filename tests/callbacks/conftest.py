from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest
from aiohttp import web
from fastapi import FastAPI
from serving import free_socket, on_aiohttp, on_uvicorn

from smspilot_async.callbacks import CallbackInbox
from smspilot_async.callbacks import aiohttp as aiohttp_adapter
from smspilot_async.callbacks import asgi as asgi_adapter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SECRET = "a secret for the tests alone"
Adapter = Literal["fastapi", "asgi", "aiohttp"]


@pytest.fixture(params=["fastapi", "asgi", "aiohttp"])
def adapter(request: pytest.FixtureRequest) -> Adapter:
    name: Adapter = request.param
    return name


@pytest.fixture
async def inbox(adapter: Adapter) -> AsyncIterator[CallbackInbox]:
    """An inbox in memory, which a real server serves."""
    sock, url = free_socket()
    inbox = CallbackInbox(f"{url}/smspilot", secret=SECRET)
    if adapter == "aiohttp":
        outer = web.Application()
        outer.add_subapp("/smspilot", aiohttp_adapter.callback_app(inbox))
        serving = on_aiohttp(outer, sock)
    else:
        app = FastAPI()
        app.mount("/smspilot", asgi_adapter.callback_app(inbox))
        serving = on_uvicorn(app if adapter == "fastapi" else asgi_adapter.callback_app(inbox), sock)
    async with inbox, serving:
        yield inbox
