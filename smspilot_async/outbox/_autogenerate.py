"""For an application's own Alembic: its autogenerate drops every table that it does not know, the ledger's too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from smspilot_async.outbox._migrations import VERSION_TABLE
from smspilot_async.outbox._migrations.wake_functions import JOBS_SCHEMA
from smspilot_async.outbox._schema import SCHEMA, tables_of

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["include_name"]

_SCHEMAS: Final = frozenset({SCHEMA, JOBS_SCHEMA})
_ON_SQLITE: Final = frozenset(
    {table.name for table in tables_of("sqlite").metadata.tables.values()} | {f"{SCHEMA}_{VERSION_TABLE}"}
)


def include_name(name: str | None, type_: str, parent_names: Mapping[str, Any]) -> bool:
    """Return whether a name of the database is the application's: ``include_name`` of an Alembic environment.

    ::

        context.configure(connection=connection, target_metadata=metadata, include_name=outbox.include_name)

    Args:
        name: The name of a schema, a table, a column, an index or a constraint.
        type_: Which of them.
        parent_names: Where it stands.
    """
    if type_ == "schema":
        return name not in _SCHEMAS
    table = name if type_ == "table" else parent_names.get("table_name")
    return parent_names.get("schema_name") not in _SCHEMAS and table not in _ON_SQLITE
