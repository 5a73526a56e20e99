"""What both shops share, whatever their framework: an order and the SMS about it are one transaction.

The ledger stands in the shop's own database, made once, on purpose:

    smspilot outbox init --ledger "$SMSPILOT_LEDGER"

Settings come from the environment:

- ``DATABASE_URL``: the shop's database, ``postgresql+psycopg://…`` or ``sqlite+aiosqlite:///shop.db``;
  ``SMSPILOT_LEDGER`` names the same one without the driver;
- ``SMSPILOT_API_KEY`` or ``SMSPILOT_API_KEY_FILE``: the key.

On SQLite one process sends at a time, so there a shop of several workers leaves it to ``smspilot worker``: set
``SENDS=0``.
"""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import attrs
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine

from smspilot_async import Client, Message
from smspilot_async.outbox import Outbox, OutboxMessage

metadata = sa.MetaData()
orders = sa.Table(
    "orders",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("phone", sa.Text, nullable=False),
    sa.Column("goods", sa.Text, nullable=False),
)


@attrs.frozen
class Shop:
    """What the endpoints need: the database, and the outbox in it."""

    engine: AsyncEngine
    outbox: Outbox


@asynccontextmanager
async def open_shop() -> AsyncIterator[Shop]:
    """Open the database and the outbox, and send in the background until the application ends."""
    async with AsyncExitStack() as stack:
        engine = engine_of(os.environ["DATABASE_URL"])
        stack.push_async_callback(engine.dispose)
        async with engine.begin() as connection:
            await connection.run_sync(metadata.create_all)
        outbox = await stack.enter_async_context(Outbox(engine))
        if os.environ.get("SENDS", "1") == "1":
            client = await stack.enter_async_context(Client())
            await stack.enter_async_context(outbox.worker(client))
        yield Shop(engine, outbox)


def engine_of(url: str) -> AsyncEngine:
    """Return the shop's engine. On SQLite a transaction that will write has to say so at its beginning."""
    engine = create_async_engine(url)
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine.sync_engine, "connect")
        def _connected(connection: sa.engine.interfaces.DBAPIConnection, _: object) -> None:
            connection.isolation_level = None  # no BEGIN but ours

        @event.listens_for(engine.sync_engine, "begin")
        def _begin(connection: sa.Connection) -> None:
            if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
                connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


async def place_order(outbox: Outbox, connection: AsyncConnection | AsyncSession, phone: str, goods: str) -> int:
    """Write an order and its SMS in the caller's transaction, and return the order's number.

    Raises:
        InvalidMessage: The phone makes no message; roll back.
    """
    written = await connection.execute(sa.insert(orders).values(phone=phone, goods=goods).returning(orders.c.id))
    number: int = written.scalar_one()
    message = Message(phone, f"Заказ {number} принят: {goods}")
    await outbox.enqueue(message, key=key_of(number), connection=connection)
    return number


def key_of(number: int) -> str:
    """Return the key of an order's SMS: the same order never has a second one."""
    return f"order-{number}-placed"


def shown(record: OutboxMessage) -> dict[str, object]:
    """Return what the shop tells about an SMS."""
    return {"state": record.state, "reason": record.reason, "status": record.status}
