"""The tables of procrastinate, the engine of workers on many machines: in a schema of their own beside the ledger.

Its distribution brings them as SQL files, one for each of its releases that changed something. Which of them a database
has is written down here, so that ``smspilot outbox upgrade`` applies what a later release adds.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from smspilot_async.outbox._migrations.wake_functions import JOBS_SCHEMA

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

__all__ = ["has_engine_tables", "is_engine_installed", "prepare_engine"]

_APPLIED: Final = f"{JOBS_SCHEMA}.applied_migrations"


def is_engine_installed() -> bool:
    """Return whether the extra ``workers`` is installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("procrastinate", "psycopg"))


def has_engine_tables(connection: Connection) -> bool:
    """Return whether a database has the engine's tables."""
    return connection.execute(sa.text("SELECT to_regclass(:name)"), {"name": _APPLIED}).scalar_one() is not None


def prepare_engine(connection: Connection) -> None:
    """Make the engine's tables, or bring them to the installed version, in the connection's transaction.

    Without the extra nothing is done. Others that upgrade wait: the caller holds the ledger's lock.
    """
    if not is_engine_installed():
        return
    from procrastinate.schema import SchemaManager  # noqa: PLC0415 - an extra

    files = sorted(Path(SchemaManager.get_migrations_path()).glob("*.sql"), key=lambda file: file.name)
    path = connection.exec_driver_sql("SHOW search_path").scalar_one()
    if has_engine_tables(connection):
        known = set(connection.exec_driver_sql(f"SELECT name FROM {_APPLIED}").scalars())
        new = [file for file in files if file.name not in known]
        scripts = [file.read_text(encoding="utf-8") for file in new]
    else:
        connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {JOBS_SCHEMA}")
        connection.exec_driver_sql(f"CREATE TABLE {_APPLIED} (name text PRIMARY KEY)")
        new, scripts = files, [str(SchemaManager.get_schema())]
    connection.exec_driver_sql(f"SET LOCAL search_path = {JOBS_SCHEMA}")
    driver: Any = connection.connection.driver_connection
    for script in scripts:
        driver.execute(script.encode())  # not by SQLAlchemy: a script is several statements, with percent signs
    connection.exec_driver_sql(f"SET LOCAL search_path = {path}")
    for file in new:
        connection.execute(sa.text(f"INSERT INTO {_APPLIED} (name) VALUES (:name)"), {"name": file.name})
