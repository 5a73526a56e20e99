"""The first tables."""

import sqlalchemy as sa
from alembic import op

from smspilot_async.outbox._migrations.enqueue_function import ENQUEUE
from smspilot_async.outbox._schema import CODE, SCHEMA, WAKE_CHANNEL, tables_of

revision = "0001"
down_revision = None

# The database's clock, in microseconds since 1970: the one place that says what time it is.
_NOW = f"""
CREATE FUNCTION {SCHEMA}.now_us() RETURNS bigint LANGUAGE sql VOLATILE AS
$$ SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint $$
"""

# A code does not wait for the next look at what is due. Only for codes: commits that notify are serialized.
_WAKE = (
    f"""
    CREATE FUNCTION {SCHEMA}.wake_for_code() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_notify('{WAKE_CHANNEL}', ''); RETURN NULL; END $$
    """,
    f"""
    CREATE TRIGGER wake_for_code AFTER INSERT ON {SCHEMA}.message
    FOR EACH ROW WHEN (NEW.stream_id = {CODE}) EXECUTE FUNCTION {SCHEMA}.wake_for_code()
    """,
)


def upgrade() -> None:
    """Make them."""
    connection = op.get_bind()
    tables_of(connection.dialect.name).metadata.create_all(connection)
    if connection.dialect.name == "postgresql":
        op.execute(_NOW)
        op.execute(sa.text(ENQUEUE.replace(":", r"\:")))
        for statement in _WAKE:
            op.execute(statement)
