"""What both services share, whatever their framework: send one-time codes, and record what became of each.

All workers share two SQLite files: ``calls.db`` is the library's, for the gateway's callbacks, ``codes.db`` is this
service's own. It holds no phones and no codes, only the state of each message: ``sending``, which is written before
anything is sent, then ``accepted``, ``refused``, ``not_sent`` or ``unknown``.

Settings come from the environment:

- ``SMSPILOT_API_KEY`` or ``SMSPILOT_API_KEY_FILE``: the key;
- ``SERVICE_URL``: where the gateway reaches this service, such as ``https://codes.example``;
- ``CALLBACK_SECRET``: at least 16 characters, the same for all workers;
- ``STATE_DIRECTORY``: the folder of both files (default: the current one); systemd sets it;
- ``CHECK_EVERY``: seconds between checks of messages that no callback has finished (60);
- ``GRACE``: seconds that the process has between SIGTERM and SIGKILL (25).
"""

import asyncio
import logging
import os
import sqlite3
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Self

import attrs

from smspilot_async import (
    Accepted,
    Client,
    Hooks,
    Message,
    NotSent,
    Outcome,
    Refused,
    SendResult,
    SmsPilotError,
    Unknown,
)
from smspilot_async.callbacks import CallbackInbox, SQLiteSink, redact_access_logs

CALLBACK_PATH = "/smspilot"
NO_ANSWER_AFTER = 60.0  # seconds after which no answer can arrive: the sending process was killed
DAY = 24 * 3600.0

STATES = {Outcome.NOT_SENT: "not_sent", Outcome.REFUSED: "refused", Outcome.UNKNOWN: "unknown"}
logger = logging.getLogger("codes")


class Codes(Hooks):
    """Sends one-time codes and records their states; each worker has one, with its client and its inbox."""

    def __init__(self) -> None:
        folder = Path(os.environ.get("STATE_DIRECTORY", "."))
        url, secret = os.environ["SERVICE_URL"] + CALLBACK_PATH, os.environ["CALLBACK_SECRET"]
        # The workers share one store, so it is enough that one of them records each status.
        self.inbox = CallbackInbox(url, secret=secret, sink=SQLiteSink(folder / "calls.db"), competing=True)
        # A third of the grace for callers to get their answer, then half of it for what is still on the wire.
        grace = float(os.environ.get("GRACE", "25"))
        self._drain = grace / 2
        self.client = Client(callbacks=self.inbox, hooks=[self], deadline=grace / 3)
        self._store = CodeStore(folder / "codes.db")
        self._check_every = float(os.environ.get("CHECK_EVERY", "60"))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Run while the application does, and close after it: the client first, then what receives its results."""
        redact_access_logs()
        await self.inbox.open()  # a sink that cannot be opened is an error now, not at the first callback
        receiving, polling = asyncio.create_task(self._receive()), asyncio.create_task(self._poll())
        try:
            yield self
        finally:
            polling.cancel()
            await self.client.aclose(timeout=self._drain)  # its last results are still stored
            await self.inbox.aclose()  # ends the receiving
            await asyncio.wait([receiving, polling])
            await self._store.close()

    async def send(self, phone: str, code: str) -> dict[str, Any]:
        """Send a code.

        Returns:
            Its ``id`` and ``state``. If that is ``unknown``, never resend it automatically: it may arrive.

        Raises:
            InvalidMessage: A field is wrong; nothing was sent.
        """
        message = Message(phone, f"Ваш код {code}", ttl=10)
        id_ = await self._store.begin()
        try:
            await self.client.send_message(attrs.evolve(message, id=id_))
        except SmsPilotError as error:
            return {"id": id_, "state": STATES[error.outcome]}
        return {"id": id_, "state": "accepted"}

    async def state_of(self, id_: int) -> dict[str, Any] | None:
        """Return the ``state`` of a code and, once it is known, its delivery ``status``."""
        return await self._store.state_of(id_)

    async def on_result(self, result: SendResult[Message]) -> None:
        """Record how a send ended, even if its caller is gone, or when a callback proves it later."""
        id_ = result.item.id
        match result:
            case Accepted(_, sent):
                await self._store.settle(id_, "accepted", sent.server_id, sent.status)
            case Refused():
                await self._store.settle(id_, "refused")
            case NotSent():
                await self._store.settle(id_, "not_sent")
            case Unknown():
                await self._store.settle(id_, "unknown")

    async def _receive(self) -> None:
        """Record the statuses from the gateway's callbacks; whichever worker is called, one of them gets each."""
        async for event in self.inbox:
            try:
                await self._store.record_callback(event.id, event.status)
            except sqlite3.Error as error:
                logger.warning("a status could not be stored: %s", type(error).__name__)

    async def _poll(self) -> None:
        """Poll for what callbacks did not bring: they get lost, and whether the gateway repeats one is not known."""
        while True:
            await asyncio.sleep(self._check_every)
            try:
                if open_ := await self._store.open_since(self._check_every):
                    for status in await self.client.check(open_):
                        await self._store.record_check(status.server_id, status.status)
            except (SmsPilotError, sqlite3.Error) as error:
                logger.warning("polling for statuses failed: %s; trying again", type(error).__name__)


class CodeStore:
    """The state of each code, in SQLite, written in a thread of its own: a disk must not block the event loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1)
        self._database: sqlite3.Connection | None = None

    async def begin(self) -> int:
        """Record that a message is about to be sent, and return its id."""
        ((id_,),) = await self._run("INSERT INTO codes (began) VALUES (?) RETURNING id", time.time())
        return int(id_)

    async def settle(
        self, id_: int | None, state: str, server_id: str | None = None, status: int | None = None
    ) -> None:
        """Record how a send ended; a callback may have brought a status before."""
        await self._run(
            "UPDATE codes SET state = ?, server_id = ?, status = coalesce(status, ?) WHERE id = ?",
            *(state, server_id, status, id_),
        )

    async def record_callback(self, id_: int | None, status: int | None) -> None:
        """Record a status from a callback."""
        await self._run(f"{_NOTE} AND id = ?", status, id_)

    async def record_check(self, server_id: str | None, status: int | None) -> None:
        """Record a status from a check."""
        await self._run(f"{_NOTE} AND server_id = ?", status, server_id)

    async def open_since(self, seconds: float) -> list[str]:
        """Return the gateway's numbers of messages that were begun so long ago and have no final status."""
        rows = await self._run(_OPEN, time.time() - DAY, time.time() - seconds)
        return [server_id for (server_id,) in rows]

    async def state_of(self, id_: int) -> dict[str, Any] | None:
        """Return what is known of a message."""
        for state, status, began in await self._run("SELECT state, status, began FROM codes WHERE id = ?", id_):
            is_lost = state == "sending" and time.time() > began + NO_ANSWER_AFTER
            return {"id": id_, "state": "unknown" if is_lost else state, "status": status}
        return None

    async def close(self) -> None:
        """Close the file."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)

    async def _run(self, query: str, *values: object) -> list[Any]:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._execute, query, values)

    def _execute(self, query: str, values: tuple[object, ...]) -> list[Any]:
        if self._database is None:
            self._database = opened(self._path)
        return self._database.execute(query, values).fetchall()

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None


def opened(path: Path) -> sqlite3.Connection:
    """Open the file, which the first worker creates."""
    database = sqlite3.connect(path, timeout=30, isolation_level=None)
    try:
        # Of workers that start at the same time, one switches the file for all; the others are refused, and may go on.
        with suppress(sqlite3.OperationalError):
            database.execute("PRAGMA journal_mode = WAL")
        # A power failure may lose the last rows. Nothing is sent from this file, so nothing is sent twice.
        database.execute("PRAGMA synchronous = NORMAL")
        database.executescript(_TABLE)
    except sqlite3.Error:
        database.close()
        raise
    return database


_TABLE = """
CREATE TABLE IF NOT EXISTS codes (
    id INTEGER PRIMARY KEY AUTOINCREMENT, began REAL NOT NULL,
    state TEXT NOT NULL DEFAULT 'sending', server_id TEXT, status INTEGER
);
CREATE INDEX IF NOT EXISTS codes_server_id ON codes (server_id);
CREATE INDEX IF NOT EXISTS codes_began ON codes (began);
"""
# Delivered (2) and not delivered (-1) are final. The gateway may answer -2, "unknown", about what it has just accepted.
_NOTE = "UPDATE codes SET status = ?1 WHERE ?1 <> -2 AND coalesce(status, 0) NOT IN (-1, 2)"
_OPEN = "SELECT server_id FROM codes WHERE began BETWEEN ? AND ? AND state = 'accepted' AND status NOT IN (-1, 2)"
