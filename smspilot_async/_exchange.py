"""One HTTP request, from its first byte to what its answer means; the hooks and the client's pulse hear of its end."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from typing import TYPE_CHECKING, Generic, TypeVar

from smspilot_async import _evidence
from smspilot_async._transport import Failure, Progress, Reply
from smspilot_async.errors import Reason, SmsPilotError
from smspilot_async.hooks import RequestInfo, RequestOutcome

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextvars import Context

    from smspilot_async._session import Session
    from smspilot_async.wire import Command, Envelope

Answer = TypeVar("Answer")


class Exchange(Generic[Answer]):
    """One request of a command. The caller holds a place in the session's ``slots``.

    Args:
        session: The client's life in this loop.
        command: What is asked.
        envelope: The same, written down.
        attempt: 1 for the first.
        contexts: Of the callers it serves; the running one, if there are none.

    Attributes:
        progress: Tells a caller that cancels how far it came.
    """

    def __init__(
        self,
        session: Session,
        command: Command[Answer],
        envelope: Envelope,
        *,
        attempt: int,
        contexts: Sequence[Context] = (),
    ) -> None:
        self.progress = Progress()
        self._session = session
        self._command = command
        self._envelope = envelope
        self._seconds = 0.0
        self._told = self._described(attempt, contexts) if session.telling.hears_requests else None

    async def reply(self, answer_until: float | None = None) -> Reply | Failure:
        """Make the request; ``answer_until`` is in the clock's monotonic seconds, the time-out holds besides."""
        session = self._session
        if self._told is not None:
            session.telling.request_begins(self._told)
        started = session.clock.monotonic()
        try:
            return await session.exchange(self._command, self._envelope, self.progress, answer_until)
        except (asyncio.CancelledError, GeneratorExit):  # the latter where its event loop was closed
            cut = Failure(Reason.CANCELLED, "it was cancelled", nothing_left=self.progress.nothing_left)
            self._seconds = session.clock.monotonic() - started
            self._tell_end(cut, _evidence.interpret(self._command, cut, now=session.clock.now()))
            raise
        finally:
            self._seconds = session.clock.monotonic() - started

    def answer(self, reply: Reply | Failure, *, tried_before: bool = False) -> Answer | SmsPilotError:
        """Tell what the reply means; ``tried_before``: an earlier attempt of this very send reached the gateway."""
        session = self._session
        answer = _evidence.interpret(
            self._command,
            reply,
            now=session.clock.now(),
            tried_before=tried_before,
            secrets=self._envelope.secrets,
        )
        session.pulse.note(self._command, answer)
        self._tell_end(reply, answer)
        return answer

    def _described(self, attempt: int, contexts: Sequence[Context]) -> RequestInfo:
        envelope = self._envelope
        return RequestInfo(
            command=self._command.name,
            wire=self._session.wire,
            messages=self._command.size,
            attempt=attempt,
            size=len(envelope.body) or len(envelope.url),
            method=envelope.method,
            url=self._session.shown_url,
            contexts=tuple(contexts) or (copy_context(),),
        )

    def _tell_end(self, reply: Reply | Failure, answer: object) -> None:
        if self._told is None:
            return
        error = answer if isinstance(answer, SmsPilotError) else None
        status = reply.status if isinstance(reply, Reply) else reply.http_status
        outcome = RequestOutcome(error=error, http_status=status, seconds=self._seconds)
        self._session.telling.request_ended(self._told, outcome)
