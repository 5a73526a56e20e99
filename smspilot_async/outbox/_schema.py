"""The ledger's tables, as SQLAlchemy Core, for both databases.

On PostgreSQL they are in the schema ``smspilot``, on SQLite their names begin with ``smspilot_``. Times are whole
microseconds since 1970 by the database's clock, in BIGINT on both: they compare alike, and no zone is needed.
Money is exact: NUMERIC on PostgreSQL, its digits as text on SQLite. The shape is the measured one: packets form at the
claim, from what is due in a stream, and ``message`` carries only what the claim, the outcome and a report need.

`campaign`, `stream`, `grants`, `slot` and `orders` are here from the first version, so that campaigns and workers on
many machines need no second migration. The hot path knows streams, the rows of `campaign` that close them, and the
grants that limit them, and nothing else of campaigns.

The tables are made by :mod:`._migrations`: whoever changes one here writes a migration, and a test compares both.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects.postgresql import ARRAY

from smspilot_async.outbox._states import State

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

__all__ = [
    "CODE",
    "KINDS",
    "MARKETING",
    "NEEDED",
    "OLDEST_COMPATIBLE",
    "SCHEMA",
    "SERVICE",
    "VERSION",
    "WAKE_CHANNEL",
    "Tables",
    "tables_of",
]

VERSION: Final = 2
"""The version of the tables that this code writes."""
NEEDED: Final = {"sqlite": 1, "postgresql": 2}
"""The oldest version of the tables that it works with."""
OLDEST_COMPATIBLE: Final = 1
"""The oldest version of the library's tables whose code can still work with them."""

SCHEMA: Final = "smspilot"
WAKE_CHANNEL: Final = "smspilot_code"
"""Where PostgreSQL notifies senders of a code that was enqueued."""
CODE, SERVICE, MARKETING = 0, 1, 2
KINDS: Final = {"code": CODE, "service": SERVICE, "marketing": MARKETING}
"""Lanes: the lower goes first. The outbox's own streams have these numbers as their ids."""


class Money(sa.types.TypeDecorator[Decimal]):
    """Roubles with every digit that the gateway gave."""

    impl = sa.Numeric
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        kind: Any = sa.Text() if dialect.name == "sqlite" else sa.Numeric()
        return dialect.type_descriptor(kind)

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        return str(value) if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        del dialect
        return None if value is None else Decimal(value)


_ID: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_IDS: Final = ARRAY(sa.BigInteger).with_variant(sa.JSON(), "sqlite")
_TIME: Final = sa.BigInteger
_FOREVER: Final = str(2**63 - 1)

_NAMES: Final = {
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Tables:
    """The tables, under the names that they have on one database.

    Args:
        schema: Their schema; ``None`` for a prefix instead.
    """

    def __init__(self, schema: str | None) -> None:
        self.metadata: Final = sa.MetaData(schema=schema, naming_convention=_NAMES)
        self._prefix: Final = "" if schema else f"{SCHEMA}_"
        self.ledger: Final = self._table(
            "ledger",
            sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
            sa.Column("uid", sa.Text, nullable=False),  # of this ledger, and of no other
            sa.Column("version", sa.Integer, nullable=False),
            sa.Column("oldest_compatible", sa.Integer, nullable=False),
            sa.Column("account_id", sa.BigInteger, nullable=False),  # the gateway's number for the contract
            sa.Column("endpoint", sa.Text, nullable=False),
            sa.Column("is_test", sa.Boolean, nullable=False),
            sa.Column("home", sa.Text, nullable=False),  # where it was made, or adopted: JSON
            sa.Column("salt", sa.LargeBinary, nullable=False),
            # Senders may know attempts up to this number that are not here: purged, or given up by `adopt`.
            sa.Column("attempts_gone", sa.BigInteger, nullable=False, server_default="0"),
            sa.Column("created_at", _TIME, nullable=False),
            comment="One row: what this ledger is, and what it is bound to",
        )

        self.account: Final = self._table(
            "account",
            sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
            sa.Column("tat", _TIME, nullable=False, server_default="0"),  # of the rate, which is granted for a second
            sa.Column("paused", sa.Text),  # why nothing may leave: an account error
            sa.Column("paused_at", _TIME),
            sa.Column("halted", sa.Text),  # by an order: 'all' or 'marketing'
            sa.Column("halted_why", sa.Text),
            sa.Column("unknowns", sa.Integer, nullable=False, server_default="0"),  # packets in a row without an answer
            sa.Column("brake_until", _TIME, nullable=False, server_default="0"),
            sa.Column("brake_pause", _TIME, nullable=False, server_default="0"),
            sa.Column("called_at", _TIME),  # when the last callback came, to some ten seconds
            comment="One row: what holds for everything that this account sends",
        )

        self.campaign: Final = self._table(
            "campaign",
            sa.Column("id", _ID, primary_key=True),
            sa.Column("name", sa.Text, nullable=False, unique=True),
            sa.Column("state", sa.Text, nullable=False),
            sa.Column("reason", sa.Text),
            sa.Column("starts_at", _TIME, nullable=False, server_default="0"),
            sa.Column("expires_at", _TIME, nullable=False, server_default=_FOREVER),
            sa.Column("budget", Money),
            sa.Column("spent", Money, nullable=False, server_default="0"),  # by attempts that are counted
            sa.Column("tat", _TIME, nullable=False, server_default="0"),  # of its own rate
            sa.Column("first", sa.BigInteger),  # start(first=…): so many leave, then it pauses
            sa.Column("digest", sa.Text),  # what was approved
            sa.Column("settings", sa.Text, nullable=False, server_default="{}"),  # template, window, rate, policy: JSON
            sa.Column("rate_limit", sa.Float(), self._setting("rate_limit", "DOUBLE PRECISION")),
            sa.Column("is_windowed", sa.Boolean, self._has_setting("window")),
            sa.Column("created_at", _TIME, nullable=False),
            sa.Column("created_by", sa.Text, nullable=False, server_default=""),
            sa.Column("started_at", _TIME),  # first; waves and retries leave it
            sa.Column("finished_at", _TIME),  # or cancelled; last
            sa.Column("taken", sa.BigInteger, nullable=False, server_default="0"),  # rows of the list, good and bad
            sa.Column("taken_hash", sa.LargeBinary),  # of those rows: a killed import continues with the same list only
            sa.Column("counts", sa.Text, nullable=False, server_default="{}"),  # of the import: JSON
            sa.Column("estimate", sa.Text),  # JSON
            # Its messages lie between these numbers, among others' perhaps: what reads them all need not read the rest.
            sa.Column("first_id", sa.BigInteger, nullable=False, server_default="0"),
            sa.Column("last_id", sa.BigInteger, nullable=False, server_default="0"),
        )

        self.bad_row: Final = self._table(
            "bad_row",
            sa.Column("campaign_id", _ID, sa.ForeignKey(self.campaign.c.id), primary_key=True),
            sa.Column("line", sa.BigInteger, primary_key=True, autoincrement=False),
            sa.Column("code", sa.Integer),  # with which the gateway would have refused it
            sa.Column("field", sa.Text),
            sa.Column("why", sa.Text, nullable=False),
            comment="Rows of lists that make no message; neither phones nor texts",
        )

        self.stream: Final = self._table(
            "stream",
            sa.Column("id", _ID, primary_key=True),
            sa.Column("campaign_id", _ID, sa.ForeignKey(self.campaign.c.id)),
            sa.Column("lane", sa.SmallInteger, nullable=False),
            sa.Column("zone", sa.Text, nullable=False, server_default=""),
            sa.Column("open_from", _TIME, nullable=False, server_default="0"),
            sa.Column("open_until", _TIME, nullable=False, server_default=_FOREVER),
            sa.Column("closes_at", _TIME),  # of its window: no ttl ends later
            # No pending message of the stream lies below it. It stays at 0 where rows may still be added, for
            # transactions commit out of order, and on SQLite, whose index keeps no dead entries.
            sa.Column("floor_due", _TIME, nullable=False, server_default="0"),
            sa.Column("floor_id", sa.BigInteger, nullable=False, server_default="0"),
            comment="What is due together: a kind of the outbox, or a campaign in one zone",
        )

        self.message: Final = self._table(
            "message",
            sa.Column("id", _ID, primary_key=True),  # also its number on the wire
            sa.Column("stream_id", _ID, nullable=False),
            sa.Column("state", sa.Text, nullable=False, server_default=State.PENDING.value),
            sa.Column("reason", sa.Text),
            sa.Column("code", sa.Integer),
            sa.Column("attempt_id", sa.BigInteger),  # the last one
            sa.Column("due", _TIME, nullable=False),
            sa.Column("wanted_at", _TIME, nullable=False),  # when it was first due; give_up_after counts from here
            sa.Column("valid_until", _TIME),  # it never leaves later
            sa.Column("most", sa.Integer),  # the largest packet it may leave in, after a packet was refused as a whole
            sa.Column("tries", sa.Integer, nullable=False, server_default="0"),  # how often it was claimed
            sa.Column(
                "on_wire", sa.Integer, nullable=False, server_default="0"
            ),  # how often the gateway may have seen it
            sa.Column("phone", sa.Text, nullable=False),
            sa.Column("text", sa.Text),  # erased once a code is final
            sa.Column("hash", sa.LargeBinary, nullable=False),  # of phone and text, with the ledger's salt
            sa.Column("sender", sa.Text),
            sa.Column("ttl", sa.SmallInteger),
            sa.Column("callback", sa.Text),
            sa.Column("callback_method", sa.Text),
            sa.Column("send_at", _TIME),  # which the gateway is given, where it keeps the message until then
            sa.Column("key", sa.Text, unique=True),
            sa.Column("line", sa.BigInteger),  # of a campaign's list
            sa.Column("extra", sa.Text),  # the row's own columns: JSON
            sa.Column("created_at", _TIME, nullable=False),
            sa.Column("settled_at", _TIME),
            sa.Column(
                "resends", sa.SmallInteger, nullable=False, server_default="0"
            ),  # while it was unknown: then it stays so,
            # unless it is accepted: what is decided against it now says nothing of the first time
            sa.Column("sent_twice", sa.Boolean, nullable=False, server_default=sa.false()),
            sa.Column("server_id", sa.Text),
            sa.Column("parts", sa.SmallInteger),
            sa.Column("price", Money),
            sa.Column("status", sa.SmallInteger),
            sa.Column("status_error", sa.Integer),
            sa.Column("status_at", _TIME),
            sqlite_autoincrement=True,
        )
        self.is_pending: Final = self._state_condition(State.PENDING)
        self.is_unknown: Final = self._state_condition(State.UNKNOWN)
        # Half of a page is room for new versions of rows. A table's `postgresql_with` came with SQLAlchemy 2.1 only.
        with_room = sa.DDL("ALTER TABLE %(fullname)s SET (fillfactor = 50)")  # type: ignore[no-untyped-call]
        event.listen(self.message, "after_create", with_room.execute_if(dialect="postgresql"))
        sa.Index(
            "ix_smspilot_message_pending",
            self.message.c.stream_id,
            self.message.c.due,
            self.message.c.id,
            postgresql_where=self.is_pending,
            sqlite_where=self.is_pending,
        )
        sa.Index("ix_smspilot_message_hash", self.message.c.hash)  # who else had this phone and text
        sa.Index(
            "ix_smspilot_message_unknown",
            self.message.c.id,
            postgresql_where=self.is_unknown,
            sqlite_where=self.is_unknown,
        )

        self.attempt: Final = self._table(
            "attempt",
            sa.Column("id", _ID, primary_key=True),
            sa.Column("token", sa.Text, nullable=False, unique=True),  # made by its owner, before it asked
            sa.Column("sender", sa.Text, nullable=False),  # who: host, process, slot
            sa.Column("stream_id", _ID),
            sa.Column("intent_at", _TIME, nullable=False),
            sa.Column("lease", _TIME, nullable=False),  # until when its owner may still have it on the wire
            sa.Column("message_ids", _IDS, nullable=False),
            sa.Column("hash", sa.LargeBinary),
            sa.Column("outcome", sa.Text),  # NULL while it is under way; 'void' of a tombstone
            sa.Column("evidence", sa.Text),
            sa.Column("recorded_at", _TIME),
            sa.Column("server_packet_id", sa.Text),
            sa.Column("cost", Money),
            # What it takes from its campaign's budget: reserved with the intent, settled by the answer.
            sa.Column("amount", Money),
            sa.Column("is_counted", sa.Boolean, nullable=False, server_default=sa.false()),  # in the campaign's `spent`
            # When the statuses of its messages are asked for next; NULL once all are final, or 40 days are over.
            sa.Column("next_poll", _TIME, server_default="0"),
            sa.Column("polls", sa.Integer, nullable=False, server_default="0"),
            sa.Column("doubtful", sa.Text),  # messages that the gateway did not know at the last poll: JSON
            comment="One for each request that may reach the wire; never deleted but by purge",
            sqlite_autoincrement=True,
        )
        sa.Index(
            "ix_smspilot_attempt_lease",
            self.attempt.c.lease,
            postgresql_where=self.attempt.c.outcome.is_(None),
            sqlite_where=self.attempt.c.outcome.is_(None),
        )

        sa.Index(
            "ix_smspilot_attempt_uncounted",
            self.attempt.c.stream_id,
            postgresql_where=sa.and_(self.attempt.c.amount.is_not(None), ~self.attempt.c.is_counted),
            sqlite_where=sa.text("amount IS NOT NULL AND NOT is_counted"),
        )
        sa.Index(
            "ix_smspilot_attempt_next_poll",
            self.attempt.c.next_poll,
            postgresql_where=self.attempt.c.next_poll.is_not(None),
            sqlite_where=self.attempt.c.next_poll.is_not(None),
        )

        self.orders: Final = self._table(
            "orders",
            sa.Column("id", _ID, primary_key=True),
            sa.Column("at", _TIME, nullable=False),
            sa.Column("actor", sa.Text, nullable=False),
            sa.Column("action", sa.Text, nullable=False),
            sa.Column("why", sa.Text),
            sa.Column("detail", sa.Text),
            sa.Column("count", sa.BigInteger),
            sa.Column("campaign_id", _ID),
            comment="Who ordered what, why and when; append-only",
        )

        self.grants: Final = self._table(
            "grants",
            sa.Column("campaign_id", _ID, primary_key=True, autoincrement=False),
            sa.Column("owner", sa.Text, primary_key=True),
            sa.Column("messages", sa.Integer),  # NULL: as many as it likes
            sa.Column("amount", Money),  # of the budget; NULL where there is none
            sa.Column("is_whole", sa.Boolean, nullable=False, server_default=sa.false()),  # all that the budget has
            sa.Column("until", _TIME, nullable=False),
            comment="What a sender may use up of a campaign's rate, first wave and budget in about a second",
        )

        self.price: Final = self._table(
            "price",
            sa.Column("prefix", sa.Text, primary_key=True),  # of phones
            sa.Column("country", sa.Text, nullable=False),
            sa.Column("amount", Money),  # NULL: not seen yet
            comment="The dearest price of a part that was seen for each country",
        )

        self.slot: Final = self._table(
            "slot",
            sa.Column("n", sa.Integer, primary_key=True, autoincrement=False),  # below 0: for codes and services
            sa.Column("owner", sa.Text),
            sa.Column("lease", _TIME, nullable=False, server_default="0"),
            sa.Column("wanted_by", sa.Text),  # a sender that has fewer than its share
            sa.Column("wanted_until", _TIME, nullable=False, server_default="0"),
            comment="Connections of the account, shared by all machines",
        )

        self.worker: Final = self._table(
            "worker",
            sa.Column("name", sa.Text, primary_key=True),  # as in `attempt.sender` and `slot.owner`
            sa.Column("version", sa.Text, nullable=False),
            sa.Column("started_at", _TIME, nullable=False),
            sa.Column("seen_at", _TIME, nullable=False),
            sa.Column("rate_limit", sa.Float()),  # messages a second of the account, as this one was told
            comment="Processes that send; nothing is decided by it",
        )

        self.suppression: Final = self._table(
            "suppression",
            sa.Column("phone", sa.Text, primary_key=True),
            sa.Column("list", sa.Text, primary_key=True),  # 'marketing' or 'all'
            sa.Column("at", _TIME, nullable=False),
            sa.Column("source", sa.Text),
            comment="Who must not get marketing, or anything",
        )

        self.spent_key: Final = self._table(
            "spent_key",
            sa.Column("key_hash", sa.LargeBinary, primary_key=True),
            sa.Column("hash", sa.LargeBinary, nullable=False),
            sa.Column("message_id", sa.BigInteger, nullable=False),
            sa.Column("state", sa.Text, nullable=False),
            sa.Column("at", _TIME, nullable=False),
            comment="Keys of messages that were purged",
        )

    def _state_condition(self, state: State) -> sa.ColumnElement[bool]:
        """Return the condition that a message is in a state, as the predicate of the partial index has it.

        On PostgreSQL it is a generated column: `state` changes with every outcome, and an index that used it would keep
        the update from being a HOT one, which writes to no index.
        """
        if self._prefix:
            return self.message.c.state == sa.literal_column(f"'{state.value}'")
        name, expression = f"is_{state.value}", sa.Computed(f"state = '{state.value}'", persisted=True)
        self.message.append_column(sa.Column(name, sa.Boolean, expression))
        return self.message.c[name]

    def _setting(self, name: str, type_: str) -> sa.Computed:
        """Return a column's expression that takes a value out of a campaign's settings, so that no claim reads JSON."""
        return sa.Computed(f"CAST({self._path_of(name)} AS {type_})", persisted=True)

    def _has_setting(self, name: str) -> sa.Computed:
        return sa.Computed(f"{self._path_of(name)} IS NOT NULL", persisted=True)

    def _path_of(self, name: str) -> str:
        return f"json_extract(settings, '$.{name}')" if self._prefix else f"(CAST(settings AS json) ->> '{name}')"

    def _table(self, name: str, *columns: Any, **options: Any) -> sa.Table:
        return sa.Table(f"{self._prefix}{name}", self.metadata, *columns, **options)


POSTGRESQL: Final = Tables(SCHEMA)
SQLITE: Final = Tables(None)


def tables_of(dialect: str) -> Tables:
    """Return the tables as they are named on a database."""
    return SQLITE if dialect == "sqlite" else POSTGRESQL
