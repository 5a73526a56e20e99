"""``smspilot worker --metrics``: the ledger's metrics for Prometheus, from a port of the worker's own.

One answer to one question: ``GET /metrics``. They hold nothing private but figures, and are served on this machine
unless another address is named.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from smspilot_async.cli._errors import Problem
from smspilot_async.errors import SmsPilotError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from smspilot_async import Client
    from smspilot_async.outbox import Outbox

_LARGEST: Final = 16 * 1024
_PATIENCE: Final = 10.0  # seconds for a request to come
_HOST: Final = "127.0.0.1"
_OK, _NOT_FOUND, _AWAY = "200 OK", "404 Not Found", "503 Service Unavailable"


@contextlib.asynccontextmanager
async def serving_metrics(outbox: Outbox, client: Client, address: str | None) -> AsyncIterator[None]:
    """Serve the metrics of a ledger while a block runs.

    Args:
        outbox: Open.
        client: Is asked for the balance.
        address: ``PORT`` or ``ADDRESS:PORT``; ``None`` for no metrics.

    Raises:
        Problem: Nothing can listen there.
    """
    if address is None:
        yield
        return

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                asked = await reader.readuntil(b"\r\n\r\n")
            status, text = await _answer(outbox, client, asked.split(b" ", 2)[:2])
            head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
            writer.write(f"{head}Content-Length: {len(text)}\r\nConnection: close\r\n\r\n".encode() + text)
            await writer.drain()
        writer.close()

    host, _, port = address.rpartition(":")
    try:
        server = await asyncio.start_server(answer, host.strip("[]") or _HOST, int(port), limit=_LARGEST)
    except (OSError, ValueError, OverflowError) as wrong:
        raise Problem(
            f"--metrics {address}: cannot listen there ({getattr(wrong, 'strerror', None) or wrong})."
        ) from None
    try:
        yield
    finally:
        server.close()


async def _answer(outbox: Outbox, client: Client, asked: list[bytes]) -> tuple[str, bytes]:
    from smspilot_async.outbox import prometheus  # noqa: PLC0415 - an extra

    if asked != [b"GET", b"/metrics"]:
        return _NOT_FOUND, b""
    try:
        return _OK, prometheus(await outbox.overview(client)).encode()
    except SmsPilotError as error:  # the worker waits for its database; Prometheus sees that there is nothing to see
        return _AWAY, f"{error}\n".encode()
