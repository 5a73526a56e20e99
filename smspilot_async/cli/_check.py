"""``--check`` of the commands that serve: whether the one that runs here is well, for the probe of a container.

Each asks what only a living one answers, and nothing that costs: the page and the emulator are asked over HTTP, a
worker is looked up in its ledger, where it leaves a sign every two seconds.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from typing import TYPE_CHECKING, Any, Final

from smspilot_async.cli._errors import Exit, Problem
from smspilot_async.cli._outbox import with_outbox
from smspilot_async.cli._output import print_json, print_line

if TYPE_CHECKING:
    from smspilot_async.outbox import Outbox, WorkerInfo

_PATIENCE: Final = 5.0  # seconds
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where it listens, and is to be asked


def emulator(host: str, port: int, *, as_json: bool) -> int:
    """Say whether an emulator answers.

    Raises:
        Problem: It does not.
    """
    return _answering("the emulator", host, port, "/_emulator/health", {"ok": True}, as_json=as_json)


def page(host: str, port: int, *, as_json: bool) -> int:
    """Say whether the page of a ledger answers.

    Raises:
        Problem: It does not.
    """
    return _answering("the page", host, port, "/api/me", {"name": None}, as_json=as_json)


def worker(ledger: str | None, *, as_json: bool) -> int:
    """Say whether a worker of this machine works on a ledger.

    Raises:
        Problem: There is none, it was lost, or the ledger cannot be read.
    """
    host = socket.gethostname()

    async def workers(outbox: Outbox) -> list[WorkerInfo]:
        return [info for info in await outbox.workers() if info.host == host]

    here = with_outbox(ledger, workers)
    if not any(info.is_running for info in here):
        why = f"the last sign of one is of {max(info.seen_at for info in here):%H:%M:%S} UTC" if here else "none began"
        raise Problem(f"no worker of this machine, {host}, works on the ledger: {why}.", Exit.FAILED)
    return _well("the worker", as_json=as_json)


def _answering(what: str, host: str, port: int, path: str, expected: Any, *, as_json: bool) -> int:
    where = _EVERYWHERE.get(host, host)
    try:
        body = _get(where, port, path)
    except (OSError, http.client.HTTPException, UnicodeError) as wrong:
        reason = getattr(wrong, "strerror", None) or type(wrong).__name__
        raise Problem(f"{what} does not answer at {where}:{port} ({reason}).", Exit.FAILED) from None
    if not _says(body, expected):
        raise Problem(f"what answers at {where}:{port} is not {what}.", Exit.FAILED)
    return _well(what, as_json=as_json)


def _get(host: str, port: int, path: str) -> bytes:
    with contextlib.closing(http.client.HTTPConnection(host, port, timeout=_PATIENCE)) as connection:
        connection.request("GET", path)
        return connection.getresponse().read()


def _says(body: bytes, expected: Any) -> bool:
    try:
        return bool(json.loads(body) == expected)
    except ValueError:
        return False


def _well(what: str, *, as_json: bool) -> int:
    if as_json:
        print_json({"well": True})
    else:
        print_line(f"{what} is well.")
    return Exit.FINE
