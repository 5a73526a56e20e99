"""What Alembic runs: the migrations on the connection that it was given, with a version table of the ledger's own."""

from alembic import context

from smspilot_async.outbox._migrations import VERSION_TABLE
from smspilot_async.outbox._schema import SCHEMA

connection = context.config.attributes["connection"]
is_sqlite = connection.dialect.name == "sqlite"
context.configure(
    connection=connection,
    version_table=f"{SCHEMA}_{VERSION_TABLE}" if is_sqlite else VERSION_TABLE,
    version_table_schema=None if is_sqlite else SCHEMA,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
