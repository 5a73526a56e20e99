"""procrastinate around a sender of a fleet: its jobs wake slots, and do periodically what one worker at a time does.

Nothing is decided here. A job that is lost, doubled or stuck costs a second at most: the look, every second, defers one
for each slot that has something due and no holder. The engine's own worker ends where the database is away for some
seconds, or its row is deleted; then it is begun again, and what the sender has under way goes on meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from procrastinate import App, PsycopgConnector
from procrastinate.exceptions import ConnectorException

from smspilot_async.outbox._duties import Duty
from smspilot_async.outbox._fleet_slots import queue_of
from smspilot_async.outbox._migrations.wake_functions import JOBS_SCHEMA, QUEUE, SEND

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smspilot_async.outbox._fleet import FleetSender

__all__ = ["Engine"]

logger: Final = logging.getLogger("smspilot_async.outbox")

_AGAIN: Final = 1.0
_GRACE: Final = 1.0
"""Seconds that jobs have when the engine ends; what a sender has under way does not end with them."""
_POLL: Final = 1.0
"""Seconds between two looks for jobs; a notification comes before."""
_POLL_POOLED: Final = 0.2
_PERIODIC: Final = 4
_LOOK, _SWEEP = 1.0, 600.0  # seconds between two of each
_MINUTE: Final = 60


class Engine:
    """The engine of one worker.

    Args:
        sender: Serves slots.
        duties: What one worker at a time does, beside sending.
        conninfo: How to connect, as libpq writes it.
        is_pooled: Through pgbouncer in transaction mode, which notifies of nothing: jobs are looked for more often.
    """

    def __init__(self, sender: FleetSender, duties: Sequence[Duty], conninfo: str, *, is_pooled: bool) -> None:
        self._is_pooled = is_pooled
        self._sender = sender
        self._conninfo = conninfo
        self._duties = duties

    async def run(self) -> None:
        """Run it until this is cancelled, again and again where it ends by itself."""
        while True:
            app = self._app()
            try:
                async with app.open_async(), self._sender.shown():
                    await app.run_worker_async(
                        queues=[QUEUE, queue_of(self._sender.name)],
                        name=self._sender.name,
                        concurrency=self._sender.concurrency + _PERIODIC,
                        fetch_job_polling_interval=_POLL_POOLED if self._is_pooled else _POLL,
                        listen_notify=not self._is_pooled,
                        shutdown_graceful_timeout=_GRACE,
                        delete_jobs="always",
                        install_signal_handlers=False,
                    )
            except (ConnectorException, OSError) as error:
                logger.warning("the engine cannot be used (%s); it is begun again", type(error).__name__)
            await asyncio.sleep(_AGAIN)

    def _app(self) -> App:
        options = (
            f"-c search_path={JOBS_SCHEMA} -c application_name=smspilot-engine -c statement_timeout=10s -c jit=off"
        )
        pooled: dict[str, Any] = {"prepare_threshold": None}  # and the search path is a setting of the role
        session = pooled if self._is_pooled else {"options": options}
        app = App(
            connector=PsycopgConnector(conninfo=self._conninfo, kwargs=session, min_size=1, max_size=3, timeout=5.0),
            periodic_defaults={"max_delay": 5.0},
        )

        @app.task(name=SEND, queue=QUEUE)
        async def send(n: int) -> None:
            await self._sender.serve(n)

        look, sweep = Duty("look", self._sender.look, _LOOK), Duty("sweep", self._sender.sweep, _SWEEP)
        for duty in (look, sweep, *self._duties):
            _periodically(app, duty)
        return app


def _periodically(app: App, duty: Duty) -> None:
    name = f"smspilot:{duty.what}"

    async def task(timestamp: int) -> None:
        del timestamp
        await duty.attempt()

    app.periodic(cron=_cron(int(duty.pause)))(app.task(name=name, queue=QUEUE, queueing_lock=name)(task))


def _cron(seconds: int) -> str:
    return f"* * * * * */{seconds}" if seconds < _MINUTE else f"*/{seconds // _MINUTE} * * * *"
