"""On PostgreSQL, columns for the states that indexes know: an outcome leaves indexes and pages alone.

The table is written anew, and locked meanwhile.
"""

from alembic import op

revision = "0002"
down_revision = "0001"

_STATEMENTS = (
    "DROP INDEX smspilot.ix_smspilot_message_pending",
    "DROP INDEX smspilot.ix_smspilot_message_unknown",
    """
    ALTER TABLE smspilot.message
      ADD COLUMN is_pending BOOLEAN GENERATED ALWAYS AS (state = 'pending') STORED,
      ADD COLUMN is_unknown BOOLEAN GENERATED ALWAYS AS (state = 'unknown') STORED,
      SET (fillfactor = 50)
    """,
    "CREATE INDEX ix_smspilot_message_pending ON smspilot.message (stream_id, due, id) WHERE is_pending",
    "CREATE INDEX ix_smspilot_message_unknown ON smspilot.message (id) WHERE is_unknown",
)


def upgrade() -> None:
    """Make them."""
    if op.get_bind().dialect.name == "postgresql":
        for statement in _STATEMENTS:
            op.execute(statement)
