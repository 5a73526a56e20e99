"""Waking the engine's workers from SQL, in whatever transaction makes something due, by whatever driver.

A job is deferred for each slot that no one holds; who holds one looks for itself. A transaction that is about to wake
the same slots is never waited for, since an application's may stay open for long: if it is rolled back, the look of the
workers, every second, finds what is due. Without the engine's tables nothing is done.
"""

from __future__ import annotations

from typing import Final

__all__ = ["JOBS_SCHEMA", "QUEUE", "SEND", "WAKE_FUNCTIONS"]

JOBS_SCHEMA: Final = "smspilot_jobs"
"""Where the tables of the engine are."""
QUEUE: Final = "smspilot"
SEND: Final = "smspilot:send"
"""The task that serves a slot."""

# Its owner's rights, so that who may only enqueue needs none on the engine's tables.
_WAKE: Final = f"""
CREATE FUNCTION smspilot.wake(first integer, last integer, why text, queue text DEFAULT '{QUEUE}') RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {JOBS_SCHEMA}, pg_catalog, pg_temp AS $$
BEGIN
  IF NOT EXISTS (SELECT 1 FROM smspilot.slot s WHERE s.n BETWEEN first AND last AND s.lease <= smspilot.now_us())
    OR to_regclass('{JOBS_SCHEMA}.procrastinate_jobs') IS NULL
    OR NOT pg_try_advisory_xact_lock(hashtextextended('smspilot.wake ' || why, 0))
  THEN RETURN; END IF;
  PERFORM procrastinate_defer_jobs_v1(array_agg(
    ROW(queue, '{SEND}', CASE WHEN free.n < 0 THEN 1 ELSE 0 END, NULL, free.lock, jsonb_build_object('n', free.n), NULL)
      ::procrastinate_job_to_defer_v1
  )) FROM (
    SELECT s.n, format('smspilot:%s:%s', why, s.n) AS lock FROM smspilot.slot s
    WHERE s.n BETWEEN first AND last AND s.lease <= smspilot.now_us()
  ) free
  WHERE NOT EXISTS (SELECT 1 FROM procrastinate_jobs j WHERE j.queueing_lock = free.lock AND j.status = 'todo')
  HAVING count(*) > 0;
END $$
"""
_FOR_MESSAGE: Final = """
CREATE FUNCTION smspilot.wake_for_message() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.stream_id < 2 THEN PERFORM smspilot.wake(-100, -1, 'message');
  ELSE PERFORM smspilot.wake(0, 1000000, 'marketing'); END IF;
  RETURN NULL;
END $$
"""
_FOR_ORDER: Final = """
CREATE FUNCTION smspilot.wake_for_order() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM smspilot.wake(-100, 1000000, 'order'); RETURN NULL; END $$
"""
_TRIGGERS: Final = (
    """
    CREATE TRIGGER wake_for_message AFTER INSERT ON smspilot.message
    FOR EACH ROW WHEN (NEW.stream_id <= 2) EXECUTE FUNCTION smspilot.wake_for_message()
    """,
    """
    CREATE TRIGGER wake_for_order AFTER UPDATE OF state ON smspilot.campaign
    FOR EACH ROW WHEN (NEW.state = 'running' AND OLD.state <> 'running') EXECUTE FUNCTION smspilot.wake_for_order()
    """,
    """
    CREATE TRIGGER wake_for_order AFTER UPDATE OF paused, halted ON smspilot.account
    FOR EACH ROW WHEN (
      (OLD.paused IS NOT NULL AND NEW.paused IS NULL) OR (OLD.halted IS NOT NULL AND NEW.halted IS NULL)
      OR (OLD.halted = 'all' AND NEW.halted = 'marketing')
    )
    EXECUTE FUNCTION smspilot.wake_for_order()
    """,
)
WAKE_FUNCTIONS: Final = (_WAKE, _FOR_MESSAGE, _FOR_ORDER, *_TRIGGERS)
