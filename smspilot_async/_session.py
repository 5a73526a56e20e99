"""Everything of a client that belongs to one event loop: connections, the rate limit, requests under way, retries."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, TypeVar

from smspilot_async import _evidence
from smspilot_async._detached import Detached, PaidSend
from smspilot_async._rate import RateLimit
from smspilot_async._retry import may_repeat
from smspilot_async._transport import Progress, Transport
from smspilot_async.errors import ConnectionFailed, SmsPilotError
from smspilot_async.wire import Envelope, Send, encode, wrap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smspilot_async._clock import Clock
    from smspilot_async._settings import Settings
    from smspilot_async.hooks import Hooks
    from smspilot_async.models import Packet
    from smspilot_async.wire import Command

Answer = TypeVar("Answer")
logger: Final = logging.getLogger("smspilot_async")


class Session:
    """A client's life in one event loop."""

    def __init__(self, settings: Settings, hooks: Sequence[Hooks], clock: Clock) -> None:
        self.clock = clock
        self.retry = settings.retry
        self._settings = settings
        self._hooks = hooks
        self._detached = Detached(clock)
        self._rate = RateLimit(settings.rate_limit, clock)
        self._transport = Transport(
            url=settings.url,
            max_connections=settings.max_connections,
            timeout=settings.timeout,
            proxy=settings.proxy,
            ssl_context=settings.ssl_context,
            foreign=settings.transport,
            clock=clock,
        )

    async def ask(self, command: Command[Answer], deadline: float) -> Answer | SmsPilotError:
        """Ask something that costs nothing, in the caller's task, with retries, for ``deadline`` seconds at most."""
        until = self.clock.monotonic() + deadline
        for attempt in range(1, self.retry.attempts + 1):
            answer = await self.attempt(command, until=until, answer_until=until, progress=Progress())
            if not isinstance(answer, SmsPilotError) or not may_repeat(command, answer):
                break
            if not await self.pause(attempt, answer, until):
                break
        return answer

    async def send(self, command: Send, deadline: float) -> Packet | SmsPilotError:
        """Send a packet in a task of its own, which goes on when the caller does not."""
        until = self.clock.monotonic() + deadline
        return await self._detached.run(PaidSend(self, command, until=until, hooks=self._hooks))

    async def attempt(
        self,
        command: Command[Answer],
        *,
        until: float,
        progress: Progress,
        answer_until: float | None = None,
        tried_before: bool = False,
    ) -> Answer | SmsPilotError:
        """Make one attempt: write, exchange, judge.

        Args:
            command: What to ask.
            until: How long it may wait before it leaves, in the clock's monotonic seconds.
            progress: Tells a caller that cancels how far it came.
            answer_until: How long to wait for the answer; the request's own time-out holds besides.
            tried_before: Whether an earlier attempt of this send reached the gateway.
        """
        if isinstance(command, Send) and not await self._rate.wait(command.size, until):
            detail = f"{command.name}: the rate limit leaves no room before the deadline. Nothing was sent."
            return ConnectionFailed(detail, **_evidence.about(command))
        envelope = self._write(command)
        if not isinstance(envelope, Envelope):
            return envelope
        result = await self._transport.exchange(
            envelope,
            largest=command.largest_answer,
            queue_until=until,
            answer_until=answer_until,
            progress=progress,
        )
        return _evidence.interpret(command, result, now=self.clock.now(), tried_before=tried_before)

    def _write(self, command: Command[Any]) -> Envelope | ConnectionFailed:
        settings = self._settings
        try:
            credentials = settings.credentials()
        except Exception as error:  # noqa: BLE001 - a caller's own function may raise anything
            reason = type(error).__name__
        else:
            return wrap(
                encode(command, credentials, settings.wire),
                url=settings.url,
                wire=settings.wire,
                style=settings.request_style,
                parameters=settings.parameters,
            )
        detail = f"{command.name}: api_key() gave no usable key ({reason}). Nothing was sent."
        return ConnectionFailed(detail, **_evidence.about(command))

    async def pause(self, attempt: int, error: SmsPilotError, until: float) -> bool:
        """Wait before the next attempt; ``False`` if there is none, or no time for it."""
        if attempt >= self.retry.attempts:
            return False
        delay = self.retry.delay(attempt, error)
        if self.clock.monotonic() + delay >= until:
            return False
        await self.clock.sleep(delay)
        return True

    async def flush(self) -> None:
        """Wait for the answers to all paid requests that are under way now."""
        await self._detached.settle(None)

    async def aclose(self, timeout: float | None) -> None:  # noqa: ASYNC109 - a public promise of Client.aclose
        """Wait for paid requests, at most ``timeout`` seconds, and close all connections."""
        await self._detached.settle(timeout)
        await self._transport.aclose()

    def abandon(self) -> None:
        """Let go of what a dead event loop left behind."""
        self._transport.abandon()
