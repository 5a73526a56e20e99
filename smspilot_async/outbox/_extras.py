"""What durable sending needs beyond the base install, said in one line where it is missing."""

from __future__ import annotations

import importlib.util
from typing import Final

_OUTBOX: Final = ("sqlalchemy", "greenlet", "aiosqlite", "alembic")


def require_outbox() -> None:
    """Check that the extra ``outbox`` is installed.

    Raises:
        ImportError: It is not.
    """
    _require(_OUTBOX, "a ledger", "outbox")


def require_postgres() -> None:
    """Check that the extra ``postgres`` is installed.

    Raises:
        ImportError: It is not.
    """
    _require(("psycopg",), "a ledger on PostgreSQL", "outbox,postgres")


def require_workers() -> None:
    """Check that the extra ``workers`` is installed.

    Raises:
        ImportError: It is not.
    """
    _require(("procrastinate", "psycopg"), "a worker on the engine", "outbox,workers")


def require_xlsx() -> None:
    """Check that the extra ``xlsx`` is installed.

    Raises:
        ImportError: It is not.
    """
    _require(("python_calamine",), "a list in a spreadsheet", "outbox,xlsx")


def require_parquet() -> None:
    """Check that the extra ``parquet`` is installed.

    Raises:
        ImportError: It is not.
    """
    _require(("pyarrow",), "Parquet", "outbox,parquet")


def require_report() -> None:
    """Check that the extra ``report`` is installed.

    Raises:
        ImportError: It is not.
    """
    _require(("matplotlib",), "a report with plots", "outbox,report")


def _require(modules: tuple[str, ...], what: str, extras: str) -> None:
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f"{what} needs {missing[0]}, which this brings: pip install 'smspilot-async[{extras}]'", name=missing[0]
        )
