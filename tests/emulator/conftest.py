from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import attrs
import httpx
import pytest

from smspilot_async.emulator import Emulator
from smspilot_async.emulator.server._http import HttpRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@attrs.frozen
class Desk:
    """Asks an emulator without HTTP, as a client would that never fails."""

    emulator: Emulator

    def raw(self, body: bytes, *, method: str = "POST", **more: Any) -> bytes:
        return self.emulator.exchange(HttpRequest(method=method, body=body, **more)).body

    def json(self, **fields: Any) -> Any:
        """Ask in JSON under the emulator's key; `None` leaves a field out."""
        fields = {"apikey": self.emulator.api_key, **fields}
        document = json.dumps({name: value for name, value in fields.items() if value is not None})
        return json.loads(self.raw(document.encode()), parse_float=Decimal)

    def send(self, *rows: Any, **fields: Any) -> Any:
        return self.json(send=list(rows), **fields)

    def one(self, to: str = "79087964781", text: str = "Привет", **fields: Any) -> Any:
        """Send one message and return its row."""
        return self.send({"to": to, "text": text, **fields})["send"][0]

    def status(self, server_id: str) -> int:
        status: int = self.json(check=[{"server_id": server_id}])["check"][0]["status"]
        return status

    def code(self, **fields: Any) -> str | None:
        """The code of the error document that a request meets."""
        code: str | None = self.json(**fields).get("error", {}).get("code")
        return code

    def xml(self, document: str) -> ET.Element:
        key = f'apikey="{self.emulator.api_key}"'
        document = document.replace("KEY", key)
        return ET.fromstring(self.raw(f'<?xml version="1.0" encoding="utf-8"?>{document}'.encode()))  # noqa: S314


@pytest.fixture
def emulator() -> Emulator:
    return Emulator(seed=1)


@pytest.fixture
def desk(emulator: Emulator) -> Desk:
    return Desk(emulator)


@pytest.fixture(scope="session")
def desk_of() -> type[Desk]:
    return Desk


@pytest.fixture
def served() -> Iterator[Emulator]:
    with Emulator.serve(seed=1) as emulator:
        yield emulator


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False) as client:
        yield client
