"""Makes requests to the gateway, from the command to the interpreted answer, and reports each to hooks and health."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextvars import copy_context
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs

from smspilot_async._network.base import Failure, Progress, Reply, free_frames
from smspilot_async._requests import interpret
from smspilot_async._requests.retry import Retry, may_repeat
from smspilot_async.errors import ClientClosed, ConnectionFailed, Reason, SmsPilotError
from smspilot_async.hooks import RequestInfo, RequestOutcome
from smspilot_async.wire import Credentials, Envelope, RequestStyle, WireFormat, encode, wrap

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextvars import Context

    from smspilot_async._health import HealthRecorder
    from smspilot_async._network.base import WriteLimit
    from smspilot_async._network.transport import Transport
    from smspilot_async._requests.fairness import Fairness
    from smspilot_async._requests.hook_runner import HookRunner
    from smspilot_async._requests.slots import Slots
    from smspilot_async._tools.clock import Clock
    from smspilot_async.wire import Command

Answer = TypeVar("Answer")


@attrs.frozen(repr=False, kw_only=True)
class RequestFormat:
    """How commands are encoded as HTTP requests.

    Attributes:
        credentials: Returns the current key, or login and password.
        url: The endpoint.
        shown_url: The same without its query, which may be private.
        wire: The format of documents.
        style: How the document travels.
        parameters: URL parameters that go with every request.
    """

    credentials: Callable[[], Credentials]
    url: str
    shown_url: str
    wire: WireFormat
    style: RequestStyle
    parameters: Mapping[str, str]

    def write(self, command: Command[Any]) -> Envelope | ConnectionFailed:
        """Encode a command as an HTTP request, with the current key."""
        try:
            credentials = self.credentials()
        except Exception as error:  # noqa: BLE001 - a caller's own function may raise anything
            reason = type(error).__name__
        else:
            return wrap(
                encode(command, credentials, self.wire),
                url=self.url,
                wire=self.wire,
                style=self.style,
                parameters=self.parameters,
                secrets=tuple(value for _, value in credentials.fields),
            )
        detail = f"{command.name}: api_key() returned no usable key ({reason}). Nothing was sent."
        return ConnectionFailed(detail, **interpret.about(command))


class Requester:
    """Makes requests to the gateway, in one event loop.

    Args:
        format: How commands are encoded.
        transport: The connections.
        slots: Limits concurrent requests.
        fairness: Gives sends precedence over background work.
        hooks: Called for each request.
        health: Records how each request ended.
        retry: The schedule of retries.
        clock: The client's.

    Attributes:
        gateway_date: The gateway's own time, from its last answer; aware, UTC.
        is_closed: No requests are accepted; connections may still be closing.
    """

    def __init__(
        self,
        format: RequestFormat,  # noqa: A002 - the format of requests
        transport: Transport,
        *,
        slots: Slots,
        fairness: Fairness,
        hooks: HookRunner,
        health: HealthRecorder,
        retry: Retry,
        clock: Clock,
    ) -> None:
        self.format = format
        self.slots = slots
        self.fairness = fairness
        self.hooks = hooks
        self.health = health
        self.retry = retry
        self.clock = clock
        self.gateway_date: datetime | None = None
        self.is_closed = False
        self._transport = transport
        self._date = ""

    async def ask(
        self, command: Command[Answer], deadline: float, *, background: bool = False
    ) -> Answer | SmsPilotError:
        """Make a free request in the caller's task, with retries, for ``deadline`` seconds at most.

        Args:
            command: Any command but a send.
            deadline: Seconds.
            background: Do not use the connections that are reserved for sends.
        """
        until = self.clock.monotonic() + deadline
        attempt = 0
        while True:
            attempt += 1
            answer = await self._ask_once(command, until, background=background, attempt=attempt)
            if not isinstance(answer, SmsPilotError) or not may_repeat(command, answer):
                return answer
            delay = self.retry.delay(attempt, answer)
            if attempt >= self.retry.attempts or self.clock.monotonic() + delay >= until or self.is_closed:
                return answer
            await self.clock.sleep(delay)

    async def _ask_once(
        self, command: Command[Answer], until: float, *, background: bool, attempt: int
    ) -> Answer | SmsPilotError:
        envelope = self.format.write(command)
        if not isinstance(envelope, Envelope):
            return envelope
        if not await self._slot_before(until, background=background):
            detail = f"{command.name}: no connection was free in time. Nothing was sent; it can be tried again."
            return ConnectionFailed(detail, **interpret.about(command))
        try:
            if self.is_closed:
                return ClientClosed(f"{command.name}: the client was closed meanwhile.", **interpret.about(command))
            exchange = self.begin(command, envelope, attempt=attempt)
            reply = await exchange.reply(until)
            try:
                if background:
                    await self.fairness.take()
            finally:  # even if this is cancelled here, hooks are called with the gateway's answer
                answer = exchange.answer(reply)
        finally:
            self.slots.release(background=background)
        return answer

    async def _slot_before(self, until: float, *, background: bool) -> bool:
        if self.slots.take(background=background):
            return True
        try:
            async with self.clock.timeout_at(until):
                await self.slots.acquire(background=background)
        except TimeoutError:
            return False
        return True

    def begin(
        self,
        command: Command[Answer],
        envelope: Envelope,
        *,
        attempt: int,
        contexts: Sequence[Context] = (),
        limit: WriteLimit | None = None,
    ) -> Exchange[Answer]:
        """Return one request of a command, to be made by a caller that holds a slot.

        Args:
            command: The command.
            envelope: The encoded command.
            attempt: 1 for the first.
            contexts: Context variables of the callers it serves; by default the current ones.
            limit: How late the request may leave, and arrive.
        """
        return Exchange(self, command, envelope, attempt=attempt, contexts=contexts, limit=limit)

    async def exchange(
        self, command: Command[Any], envelope: Envelope, progress: Progress, answer_until: float | None = None
    ) -> Reply | Failure:
        """Make one HTTP exchange; the caller holds a slot.

        Args:
            command: The command, which limits the size of the answer.
            envelope: The encoded command.
            progress: Updated with how far the request got, also for a caller that cancels.
            answer_until: When to stop waiting for the answer, in the clock's monotonic seconds; the timeout applies,
                too.
        """
        try:
            reply = await self._transport.exchange(
                envelope, largest=command.largest_answer, progress=progress, answer_until=answer_until
            )
        except BaseException as error:
            free_frames(error)  # cancelled or interrupted: the frames of httpcore and of this library hold the request
            raise
        if isinstance(reply, Reply) and reply.date and reply.date != self._date:
            self._date = reply.date  # parsed once a second, not with every answer
            if (date := _http_date(reply.date)) is not None:
                self.gateway_date = self.health.gateway_time = date
        return reply


class Exchange(Generic[Answer]):
    """One request of a command. The caller holds one of the requester's slots.

    Args:
        requester: The requester.
        command: The command.
        envelope: The encoded command.
        attempt: 1 for the first.
        contexts: Context variables of the callers it serves; by default the current ones.
        limit: How late the request may leave, and arrive.

    Attributes:
        progress: How far the request got, also for a caller that cancels.
    """

    def __init__(
        self,
        requester: Requester,
        command: Command[Answer],
        envelope: Envelope,
        *,
        attempt: int,
        contexts: Sequence[Context] = (),
        limit: WriteLimit | None = None,
    ) -> None:
        self.progress = Progress(limit)
        self._requester = requester
        self._command = command
        self._envelope = envelope
        self._seconds = 0.0
        self._info = self._request_info(attempt, contexts) if requester.hooks.observes_requests else None

    async def reply(self, answer_until: float | None = None) -> Reply | Failure:
        """Make the request; ``answer_until`` is in the clock's monotonic seconds, and the timeout applies, too."""
        requester = self._requester
        if self._info is not None:
            requester.hooks.request_begins(self._info)
        started = requester.clock.monotonic()
        try:
            return await requester.exchange(self._command, self._envelope, self.progress, answer_until)
        except (asyncio.CancelledError, GeneratorExit):  # the latter if its event loop was closed
            cut = Failure(Reason.CANCELLED, "it was cancelled", request_started=self.progress.request_started)
            self._seconds = requester.clock.monotonic() - started
            self._notify_ended(cut, interpret.interpret(self._command, cut, now=requester.clock.now()))
            raise
        finally:
            self._seconds = requester.clock.monotonic() - started

    def answer(self, reply: Reply | Failure, *, tried_before: bool = False) -> Answer | SmsPilotError:
        """Interpret the reply; ``tried_before``: an earlier attempt of the same send may have reached the gateway."""
        requester = self._requester
        answer = interpret.interpret(
            self._command,
            reply,
            now=requester.clock.now(),
            tried_before=tried_before,
            secrets=self._envelope.secrets,
        )
        requester.health.note(self._command, answer)
        self._notify_ended(reply, answer)
        return answer

    def _request_info(self, attempt: int, contexts: Sequence[Context]) -> RequestInfo:
        envelope = self._envelope
        return RequestInfo(
            command=self._command.name,
            wire=self._requester.format.wire,
            messages=self._command.size,
            attempt=attempt,
            size=len(envelope.body) or len(envelope.url),
            method=envelope.method,
            url=self._requester.format.shown_url,
            contexts=tuple(contexts) or (copy_context(),),
        )

    def _notify_ended(self, reply: Reply | Failure, answer: object) -> None:
        if self._info is None:
            return
        error = answer if isinstance(answer, SmsPilotError) else None
        status = reply.status if isinstance(reply, Reply) else reply.http_status
        outcome = RequestOutcome(error=error, http_status=status, seconds=self._seconds)
        self._requester.hooks.request_ended(self._info, outcome)


def _http_date(value: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return moment.replace(tzinfo=moment.tzinfo or UTC)
