"""The page of a ledger on a socket, and what a browser sends it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import attrs
import httpx
from serving import free_socket, on_uvicorn

from smspilot_async.page import PageSettings, People, create_app
from smspilot_async.page._serve import UVICORN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from smspilot_async import Client
    from smspilot_async.outbox import Outbox

ANNA: Final = "anna-secret-0123456789"
BORIS: Final = "boris-secret-0123456789"
VERA: Final = "vera-secret-0123456789"
PEOPLE: Final = f"anna operate {ANNA}\nboris approve {BORIS}\nvera view {VERA}\n"


@contextlib.asynccontextmanager
async def open_page(outbox: Outbox, client: Client, settings: PageSettings) -> AsyncIterator[str]:
    """The page of a ledger, served; its address."""
    sock, base = free_socket()
    async with on_uvicorn(create_app(outbox, client, People.parse(PEOPLE), settings), sock, **UVICORN):
        yield base


@attrs.define
class Browser:
    """What a browser sends for the page's own script."""

    http: httpx.AsyncClient
    token: str = ""

    @classmethod
    @contextlib.asynccontextmanager
    async def opened(cls, base: str) -> AsyncIterator[Browser]:
        async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=60) as http:
            yield cls(http)

    @classmethod
    @contextlib.asynccontextmanager
    async def logged_in(cls, base: str, secret: str) -> AsyncIterator[Browser]:
        async with cls.opened(base) as browser:
            assert (await browser.post("/api/login", {"secret": secret})).status_code == 200
            await browser.learn_token()
            yield browser

    async def learn_token(self) -> None:
        self.token = (await self.http.get("/api/me")).json()["token"]

    async def post(self, path: str, fields: Any, headers: dict[str, str] | None = None) -> httpx.Response:
        return await self.http.post(path, json=fields, headers=headers)

    async def order(self, order: str, /, *, headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
        """Give an order, with the page's token unless other headers are given."""
        return await self.post(f"/api/{order}", fields, {"x-csrf-token": self.token, **(headers or {})})

    async def upload(self, content: bytes, *, file: str = "list.csv", **more: Any) -> httpx.Response:
        headers = {"x-csrf-token": self.token, "content-type": "application/octet-stream", **more.get("headers", {})}
        return await self.http.post("/api/upload", params={"file": file}, content=content, headers=headers)
