"""The databases of ledgers: their URLs, engines and transactions, and one error for whatever is wrong with them."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from smspilot_async.outbox._errors import LedgerUnavailable
from smspilot_async.outbox._extras import require_postgres
from smspilot_async.outbox._sqlite import PRAGMAS
from smspilot_async.outbox._sqlite_errors import unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import URL, Connection, Engine

__all__ = ["DRIVERS", "conninfo", "ledger_url", "noticing", "one_error", "prepare_sqlite"]

_VARIABLE: Final = "SMSPILOT_LEDGER"
DRIVERS: Final = {"sqlite": ("sqlite+pysqlite", "sqlite+aiosqlite"), "postgresql": ("postgresql+psycopg",) * 2}
"""The drivers of synchronous and of asynchronous engines."""


def ledger_url(ledger: str | URL | None) -> URL:
    written = ledger or os.environ.get(_VARIABLE, "")
    if not written:
        raise ValueError(f"no ledger: give its URL, or set {_VARIABLE}")
    try:
        url = sa.make_url(written)
    except SQLAlchemyError:
        url = None
    if url is None or url.get_backend_name() not in DRIVERS:
        raise ValueError("a ledger's URL is sqlite:///PATH or postgresql://…")
    if url.get_backend_name() == "postgresql":
        require_postgres()
    elif url.database in {None, "", ":memory:"}:
        raise ValueError("a SQLite ledger is a file: sqlite:///PATH")
    return url


_NOTICES_A_CUT: Final = {
    "connect_timeout": "5",
    "tcp_user_timeout": "15000",
    "keepalives_idle": "5",
    "keepalives_interval": "3",
    "keepalives_count": "3",
}
"""For libpq: a path that is cut without a sound breaks its connections within some fifteen seconds, not hours."""


def noticing(url: URL) -> URL:
    """Return the URL of a PostgreSQL with time limits for its network, where it sets none."""
    return url.update_query_dict({name: value for name, value in _NOTICES_A_CUT.items() if name not in url.query})


def conninfo(url: URL) -> str:
    return noticing(url).set(drivername="postgresql").render_as_string(hide_password=False)


def prepare_postgresql(engine: Engine) -> None:
    """Let no statement of an engine of ours be compiled: that takes longer than to execute it."""

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("SET jit = off")
        cursor.close()
        connection.commit()


def prepare_sqlite(engine: Engine, *, is_new: bool = False) -> None:
    """Let transactions of an engine of ours begin at once as writers, and be durable when they end."""

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # no BEGIN but ours
        cursor = connection.cursor()
        for pragma in ("PRAGMA journal_mode=WAL", *PRAGMAS) if is_new else PRAGMAS:
            cursor.execute(pragma)
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
            connection.exec_driver_sql("BEGIN IMMEDIATE")


@contextlib.contextmanager
def one_error() -> Iterator[None]:
    """Turn what a database says into one error; its words may quote what was written."""
    problem: LedgerUnavailable
    try:
        yield
    except DBAPIError as error:
        cause = error.orig
        if isinstance(cause, sqlite3.Error):
            problem = unavailable(cause)
        else:
            code = getattr(cause, "sqlstate", None)
            detail = f"{type(cause).__name__}{f', {code}' if code else ''}"
            problem = LedgerUnavailable(f"the ledger cannot be used ({detail}).")
    except OSError as error:
        problem = LedgerUnavailable(
            f"the ledger cannot be used: {error.strerror or type(error).__name__}. Nothing was sent."
        )
    else:
        return
    raise problem
