"""Making and upgrading the ledger's tables: Alembic, with a version table and a lock of its own.

The version of the tables and the oldest version that can still work with them stand in ``ledger``: after an upgrade
workers of the version before go on, correctly if slower, until they are replaced. Everything here is synchronous, and
runs in a thread.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from smspilot_async.outbox._errors import LedgerMissing, LedgerSchemaError, LedgerUnavailable
from smspilot_async.outbox._migrations.engine_tables import prepare_engine
from smspilot_async.outbox._schema import NEEDED, OLDEST_COMPATIBLE, SCHEMA, VERSION, tables_of

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

__all__ = ["VERSION_TABLE", "check_version", "has_ledger", "upgrade", "upgrade_ledger"]

VERSION_TABLE: Final = "alembic_version"
_LOCK_NOT_AVAILABLE: Final = "55P03"
_LOCK: Final = 0x534D5350  # "SMSP": the key of the advisory lock


def upgrade(connection: Connection, to: str = "head") -> None:
    """Bring the tables to this version, or make them, in the connection's transaction; others wait meanwhile.

    Args:
        connection: In a transaction; on SQLite one that has begun with ``BEGIN IMMEDIATE``.
        to: A revision of the tables; by default this version's.

    Raises:
        LedgerUnavailable: On PostgreSQL, a table that is to be rewritten cannot be locked.
    """
    from alembic import command  # noqa: PLC0415 - only upgrades need it, and it is slow to import
    from alembic.config import Config  # noqa: PLC0415

    is_sqlite = connection.dialect.name == "sqlite"
    if not is_sqlite:  # on SQLite the transaction has begun with BEGIN IMMEDIATE
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        connection.execute(sa.text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, to)
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
            raise
        raise LedgerUnavailable(
            "the ledger's tables are in use, and were left as they are: upgrade them when less is under way."
        ) from None


def upgrade_ledger(connection: Connection) -> int:
    """Bring the tables of a ledger to this version, and return the version that they had.

    Raises:
        LedgerMissing: There is no ledger.
        LedgerSchemaError: Its tables are newer than this version of the library.
    """
    ledger = tables_of(connection.dialect.name).ledger
    query = sa.select(ledger.c.version)
    version = connection.execute(query).scalar_one_or_none() if has_ledger(connection) else None
    if version is None:
        raise _missing()
    if version > VERSION:
        raise LedgerSchemaError(
            f"the ledger's tables (version {version}) are newer than this version of smspilot_async ({VERSION}). They "
            "were left as they are."
        )
    upgrade(connection)
    if connection.dialect.name == "postgresql":
        prepare_engine(connection)
    values = {"version": VERSION, "oldest_compatible": OLDEST_COMPATIBLE}
    connection.execute(sa.update(ledger).values(values))
    before: int = version
    return before


def has_ledger(connection: Connection) -> bool:
    """Return whether a ledger stands in this database."""
    tables = tables_of(connection.dialect.name)
    return sa.inspect(connection).has_table(tables.ledger.name, schema=tables.ledger.schema)


def check_version(row: Any, dialect: str) -> None:
    """Check that this code can work with a ledger's tables.

    Args:
        row: The row of ``ledger``; ``None`` where there is none.
        dialect: Of its database.

    Raises:
        LedgerMissing: There is no ledger.
        LedgerSchemaError: It is newer, or older, than this code can work with.
    """
    if row is None:
        raise _missing()
    if row.oldest_compatible > VERSION:
        raise LedgerSchemaError(
            f"the ledger's tables (version {row.version}) are newer than this version of smspilot_async can work with "
            f"(version {VERSION}). Nothing was sent. Install the version that upgraded them."
        )
    if row.version < NEEDED[dialect]:
        raise LedgerSchemaError(
            f"the ledger's tables (version {row.version}) are older than this version of smspilot_async needs "
            f"(version {NEEDED[dialect]}). Nothing was sent. Upgrade them: smspilot outbox upgrade."
        )


def _missing() -> LedgerMissing:
    return LedgerMissing(
        "there is no ledger in this database. Nothing was sent. Make one on purpose: smspilot outbox init."
    )
