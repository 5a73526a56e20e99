"""The first tables, as fixed SQL: what :mod:`smspilot_async.outbox._schema` says later is the affair of later ones."""

from pathlib import Path

import sqlalchemy as sa
from alembic import op

from smspilot_async.outbox._migrations.enqueue_function import ENQUEUE
from smspilot_async.outbox._migrations.wake_functions import WAKE_FUNCTIONS

revision = "0001"
down_revision = None

# The database's clock, in microseconds since 1970: the one place that says what time it is.
_NOW = """
CREATE FUNCTION smspilot.now_us() RETURNS bigint LANGUAGE sql VOLATILE AS
$$ SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint $$
"""

# A code does not wait for the next look at what is due. Only for codes: commits that notify are serialized.
_WAKE = (
    """
    CREATE FUNCTION smspilot.wake_for_code() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_notify('smspilot_code', ''); RETURN NULL; END $$
    """,
    """
    CREATE TRIGGER wake_for_code AFTER INSERT ON smspilot.message
    FOR EACH ROW WHEN (NEW.stream_id = 0) EXECUTE FUNCTION smspilot.wake_for_code()
    """,
)


def upgrade() -> None:
    """Make them."""
    dialect = op.get_bind().dialect.name
    tables = Path(__file__).with_name(f"v0001_{dialect}.sql").read_text(encoding="utf-8")
    functions = (_NOW, ENQUEUE, *_WAKE, *WAKE_FUNCTIONS) if dialect == "postgresql" else ()
    for statement in (*tables.split(";\n"), *functions):
        if statement.strip():
            op.execute(sa.text(statement.replace(":", r"\:")))
