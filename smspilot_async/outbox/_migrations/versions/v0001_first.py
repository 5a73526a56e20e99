"""The first tables."""

from alembic import op

from smspilot_async.outbox._schema import SCHEMA, tables_of

revision = "0001"
down_revision = None

# The database's clock, in microseconds since 1970: the one place that says what time it is.
_NOW = f"""
CREATE FUNCTION {SCHEMA}.now_us() RETURNS bigint LANGUAGE sql VOLATILE AS
$$ SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint $$
"""


def upgrade() -> None:
    """Make them."""
    connection = op.get_bind()
    tables_of(connection.dialect.name).metadata.create_all(connection)
    if connection.dialect.name == "postgresql":
        op.execute(_NOW)
