"""On PostgreSQL, columns for the states that partial indexes are about, so that an outcome is a HOT update.

An update is one (PostgreSQL writes to no index, and the new version stays in its page) where no column changes that an
index uses as a key or in its predicate. `state` was in two predicates. The table is rewritten, and locked meanwhile.
"""

from alembic import op

revision = "0002"
down_revision = "0001"

_STATEMENTS = (
    "SET LOCAL statement_timeout = 0",  # a rewrite may take minutes, and the role may have a limit
    "SET LOCAL lock_timeout = '3s'",  # rather than make everyone else wait behind it
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
    "ANALYZE smspilot.message",  # without statistics the planner takes half of the rows for pending
    "SET LOCAL lock_timeout TO DEFAULT",
    "SET LOCAL statement_timeout TO DEFAULT",
)


def upgrade() -> None:
    """Make them."""
    if op.get_bind().dialect.name == "postgresql":
        for statement in _STATEMENTS:
            op.execute(statement)
