"""``smspilot worker --metrics``: the ledger's metrics from a port of the worker's own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import httpx
import pytest

from smspilot_async.cli._errors import Problem
from smspilot_async.cli._metrics import serving_metrics
from smspilot_async.outbox import LedgerUnavailable

if TYPE_CHECKING:
    from ledgers import Desk

    from smspilot_async import Client
    from smspilot_async.outbox import Outbox


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


async def test_prometheus_reads_them_there(desk: Desk, outbox: Outbox, client: Client) -> None:
    await desk.pending()
    port = free_port()
    async with serving_metrics(outbox, client, str(port)), httpx.AsyncClient(trust_env=False, timeout=60) as http:
        for _ in range(2):
            answer = await http.get(f"http://127.0.0.1:{port}/metrics")
            assert answer.status_code == 200
            assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
            assert 'smspilot_ledger_due{kind="service"} 1.0' in answer.text
            assert "smspilot_ledger_balance_roubles" in answer.text
        assert (await http.get(f"http://127.0.0.1:{port}/")).status_code == 404
        assert (await http.post(f"http://127.0.0.1:{port}/metrics")).status_code == 404
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_a_ledger_that_is_away_is_no_metrics(
    outbox: Outbox, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_: object) -> None:
        raise LedgerUnavailable("the ledger cannot be used (OperationalError).")

    port = free_port()
    monkeypatch.setattr(outbox, "overview", away)
    async with serving_metrics(outbox, client, f"127.0.0.1:{port}"), httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(f"http://127.0.0.1:{port}/metrics")).status_code == 503


async def test_what_is_no_request_harms_nothing(outbox: Outbox, client: Client) -> None:
    port = free_port()
    async with serving_metrics(outbox, client, str(port)):
        for sent in (b"", b"GET", b"\r\n\r\n", b"x" * 40_000, b"\xff\x00\r\n\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            writer.write_eof()
            with contextlib.suppress(ConnectionError):  # too large: it was closed before all of it was read
                assert b"200" not in await reader.read()
            writer.close()
        async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
            assert (await http.get(f"http://127.0.0.1:{port}/metrics")).status_code == 200


@pytest.mark.parametrize("address", ["here", "127.0.0.1:", "70000", "203.0.113.1:0"])
async def test_where_nothing_can_listen_the_worker_says_so(outbox: Outbox, client: Client, address: str) -> None:
    with pytest.raises(Problem, match="--metrics"):
        async with serving_metrics(outbox, client, address):
            pass
