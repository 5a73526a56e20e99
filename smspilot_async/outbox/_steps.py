"""Short transactions of a sender's own, written once for both databases, without I/O.

A transaction is a generator: it yields statements with their values, is sent the rows of each, and returns what it
found. In a statement ``{t}`` stands before a table's name, ``{now}`` is the database's clock, ``{lock}`` locks rows
until the end of the transaction (on SQLite there is one writer anyway), ``{units}`` is an upper bound of the UTF-16
units of `m.text`, ``{ids}`` are the messages of the attempt `a`, as ``i.value``, ``m.{pending}`` and ``m.{unknown}``
are the predicates of the partial indexes, and ``:name`` is a value.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Generator
from decimal import Decimal
from typing import Any, Final, TypeAlias, TypeVar

import attrs

__all__ = ["POSTGRESQL", "SQLITE", "Steps", "Words", "Work", "money"]

Value = TypeVar("Value")
Steps: TypeAlias = Generator[tuple[str, dict[str, Any]], list[Any], Value]
Work: TypeAlias = Callable[[], Steps[Value]]
"""Begins a transaction; called again where the database asks for a repetition."""

_value = re.compile(r":(\w+)", re.ASCII)


@attrs.frozen
class Words:
    """How a database writes what differs."""

    table: str
    now: str
    lock: str
    units: str
    ids: str
    pending: str
    unknown: str
    value: str

    @functools.cache  # noqa: B019 - there are two, and few statements
    def written(self, template: str) -> str:
        """Return a statement in this database's words."""
        statement = template.replace("{t}", self.table).replace("{now}", self.now).replace("{lock}", self.lock)
        statement = statement.replace("{units}", self.units).replace("{ids}", self.ids)
        statement = statement.replace("{pending}", self.pending).replace("{unknown}", self.unknown)
        return _value.sub(self.value, statement)


SQLITE: Final = Words(
    table="smspilot_",
    now=":now",
    lock="",
    units="(length(m.text) + (length(CAST(m.text AS BLOB)) - length(m.text)) / 3)",
    ids="json_each(a.message_ids) AS i",
    pending="state = 'pending'",
    unknown="state = 'unknown'",
    value=r":\1",
)
POSTGRESQL: Final = Words(
    table="smspilot.",
    now="(SELECT smspilot.now_us())",
    lock="FOR NO KEY UPDATE",
    units="(char_length(m.text) + (octet_length(m.text) - char_length(m.text)) / 3)",
    ids="LATERAL unnest(a.message_ids) AS i(value)",
    pending="is_pending",
    unknown="is_unknown",
    value=r"%(\1)s",
)


def money(value: Any) -> Decimal | None:
    """Return an amount that a database gave: SQLite keeps its digits as text."""
    return None if value is None else Decimal(value)
