"""Proofs by callbacks that sends were accepted whose answers were lost, or came after their callers had left."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections import OrderedDict, defaultdict
from contextlib import suppress
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs

from smspilot_async._sending.status_callbacks import Sending
from smspilot_async._statuses.rules import STATUS_UNKNOWN
from smspilot_async._statuses.server_ids import NO_ID, is_server_id
from smspilot_async.callbacks._lost_answers import LostAnswers, MemoryLostAnswers
from smspilot_async.callbacks._watching import InboxClosed
from smspilot_async.errors import ClientClosed, OutcomeUnknown, SmsPilotError, send_nonce_of
from smspilot_async.models import Accepted, Message, MessageStatus, SendResult, SentMessage, Unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from smspilot_async._tools.clock import Clock
    from smspilot_async.callbacks._event_log import Bindings, EventLog
    from smspilot_async.callbacks._form import StatusEvent
    from smspilot_async.callbacks._lost_answers import LostAnswer
    from smspilot_async.callbacks._watching import LogReader, Watching

_Outcome: TypeAlias = SentMessage | SmsPilotError
Check: TypeAlias = "Callable[[str], Coroutine[Any, Any, MessageStatus | SmsPilotError]]"
logger: Final = logging.getLogger("smspilot_async")

_SENDS_REMEMBERED: Final = 10_000
_PAUSES: Final = (0.0, 5.0, 30.0, 120.0, 600.0)  # seconds before each attempt to prove what a call says


class _AnyClient:
    """Checks by whichever client of the inbox knows a number, and calls no hooks."""

    def __init__(self) -> None:
        self._checks: list[weakref.WeakMethod[Check]] = []

    def attach(self, check: Check) -> None:
        self._checks = [*(known for known in self._checks if known() is not None), weakref.WeakMethod(check)]

    async def check_one(self, server_id: str) -> MessageStatus | SmsPilotError:
        answer: MessageStatus | SmsPilotError = MessageStatus()
        for known in self._checks:
            if (check := known()) is not None:
                answer = await check(server_id)
                if isinstance(answer, MessageStatus) and answer.status not in {None, STATUS_UNKNOWN}:
                    break
        return MessageStatus() if isinstance(answer, ClientClosed) else answer

    def cleared_up(self, result: Accepted[Message], hooks_done: asyncio.Event) -> None:
        raise NotImplementedError


@attrs.define(eq=False)
class UnansweredSend:
    """A send whose answer was lost, or came after its caller had left.

    Attributes:
        message: The message; ``None`` if another process sent it.
        hooks_done: Set once the hooks were called with the unknown outcome.
        proving: The numbers that calls named for it, and that are being checked, or are not its own.
        outcome: What it turned out to be.
    """

    id: int
    message: Message | None
    sending: Sending
    hooks_done: asyncio.Event
    proving: set[str] = attrs.field(factory=set)
    outcome: _Outcome | None = None


class Proofs:
    """Knows the sends of an inbox that are not answered yet, and proves those whose answers were lost.

    Args:
        reader: Reads the log, and owns the tasks that prove.
        watching: Passes on what other workers store.
        log: Where the calls of a send are looked up.
        bindings: Learns which number belongs to which send.
        clock: The inbox's.
    """

    def __init__(self, reader: LogReader, watching: Watching, log: EventLog, bindings: Bindings, clock: Clock) -> None:
        self._reader = reader
        self._watching = watching
        self._log = log
        self._bindings = bindings
        self._clock = clock
        self._answers: LostAnswers = log if isinstance(log, LostAnswers) else MemoryLostAnswers()
        self._any_client = _AnyClient()
        self._last_nonces: dict[int, bytes] = {}
        self._in_flight: set[bytes] = set()
        self._unanswered: OrderedDict[bytes, UnansweredSend] = OrderedDict()
        self._cleared_up: OrderedDict[bytes, UnansweredSend] = OrderedDict()
        self._proving_for_others: set[tuple[bytes, str]] = set()
        self._waiters: defaultdict[bytes, set[asyncio.Future[_Outcome]]] = defaultdict(set)
        watching.add_listener(self)

    # --- what is sent ----------------------------------------------------------------------------

    def attach(self, check: Check) -> None:
        """Register a client's function for checking a message, for as long as the client lives."""
        self._any_client.attach(check)

    def add_send(self, id_: int, nonce: bytes) -> None:
        """Remember a message that is about to be sent."""
        self._last_nonces[id_] = nonce
        self._in_flight.add(nonce)

    def settle(
        self,
        nonce: bytes,
        id_: int,
        result: SendResult[Message],
        sending: Sending,
        hooks_done: asyncio.Event,
        *,
        is_late: bool,
    ) -> None:
        """Note what became of a send; see ``CallbackInbox.settled``."""
        self._in_flight.discard(nonce)
        if isinstance(result, Unknown):
            self._remember(nonce, UnansweredSend(id_, result.item, sending, hooks_done))
            self._record(partial(self._answers.put_lost, nonce, id_, self._clock.now()))
            self._look_for_calls(nonce)
            return
        if is_late:
            outcome = result.sent if isinstance(result, Accepted) else result.error
            self._remember(nonce, UnansweredSend(id_, result.item, sending, hooks_done, outcome=outcome))
        else:
            self._forget(nonce, id_)
        if isinstance(result, Accepted):
            self._accept(nonce, result.sent)
        elif result.error is not None:
            self._resolve_waiters(nonce, result.error)

    def _accept(self, nonce: bytes, sent: SentMessage) -> None:
        if sent.server_id is not None and sent.server_id not in NO_ID and is_server_id(sent.server_id):
            self._bindings.bind(nonce, sent.server_id)
            self._record(partial(self._log.bind, nonce, sent.server_id))
        self._resolve_waiters(nonce, sent)

    def _record(self, write: Callable[[], None]) -> None:
        """Notify the sink's other workers; a fault of the sink does not keep the result from its caller."""
        try:
            write()
        except Exception as error:  # noqa: BLE001 - the sink's own
            logger.warning("statuses: the sink could not record a number (%s)", type(error).__name__)

    def _resolve_waiters(self, nonce: bytes, outcome: _Outcome) -> None:
        for waiter in self._waiters.pop(nonce, ()):
            if not waiter.done():
                with suppress(RuntimeError):  # its loop is closed, and so is its task
                    waiter.set_result(outcome)

    def _remember(self, nonce: bytes, send: UnansweredSend) -> None:
        """Keep it among the last that wait for proof, or among the last that are resolved: two separate queues."""
        kept = self._unanswered if send.outcome is None else self._cleared_up
        kept[nonce] = send
        if len(kept) > _SENDS_REMEMBERED:
            oldest, forgotten = kept.popitem(last=False)
            self._forget(oldest, forgotten.id)

    def _forget(self, nonce: bytes, id_: int) -> None:
        if self._last_nonces.get(id_) == nonce:
            del self._last_nonces[id_]

    def _knows(self, nonce: bytes) -> bool:
        return nonce in self._cleared_up or nonce in self._unanswered or nonce in self._in_flight

    # --- who waits for proof ---------------------------------------------------------------------

    async def wait_accepted(self, unknown: OutcomeUnknown | int, seconds: float | None) -> SentMessage:
        """Wait until a send is proven; see ``CallbackInbox.wait_accepted``."""
        id_ = unknown.message_id if isinstance(unknown, OutcomeUnknown) else unknown
        nonce = send_nonce_of(unknown) if isinstance(unknown, OutcomeUnknown) else self._last_nonces.get(unknown)
        if nonce is not None and not self._knows(nonce):
            await self._ask_other_workers(nonce)
        cleared_up = None if nonce is None else self._cleared_up.get(nonce)
        if nonce is None or not self._knows(nonce):
            raise LookupError(f"no message {id_} of this inbox is waiting for its answer")
        outcome = None if cleared_up is None else cleared_up.outcome
        if outcome is None:
            outcome = await self._outcome(nonce, seconds)
        if isinstance(outcome, SmsPilotError):
            raise copy(outcome)  # everyone who waits raises their own
        if outcome is not None:
            return outcome
        if isinstance(unknown, OutcomeUnknown):
            raise unknown
        raise TimeoutError(f"it is still unknown what became of message {id_}")

    async def _outcome(self, nonce: bytes, seconds: float | None) -> _Outcome | None:
        """Wait until it is known; return ``None`` once the time is up."""
        waiter: asyncio.Future[_Outcome] = asyncio.get_running_loop().create_future()
        self._waiters[nonce].add(waiter)
        try:
            async with self._clock.timeout_at(float("inf") if seconds is None else self._clock.monotonic() + seconds):
                return await waiter
        except TimeoutError:
            return None
        finally:
            self._waiters[nonce].discard(waiter)
            if not self._waiters[nonce]:
                del self._waiters[nonce]

    async def _ask_other_workers(self, nonce: bytes) -> None:
        """Take over a send of another process, which shares the sink, if its answer was lost."""
        try:
            found = await self._reader.read(partial(self._answers.find_lost, nonce))
        except InboxClosed:
            return
        if found is not None and not self._knows(nonce):
            send = self._send_of_another(found)
            self._remember(nonce, send)
            if send.outcome is None:
                self._look_for_calls(nonce)

    def _send_of_another(self, found: LostAnswer) -> UnansweredSend:
        return UnansweredSend(found.id, None, self._any_client, asyncio.Event(), outcome=found.sent)

    # --- what proves -----------------------------------------------------------------------------

    @property
    def is_waiting(self) -> bool:
        """Return whether a call may still prove something."""
        return bool(self._unanswered)

    def _look_for_calls(self, nonce: bytes) -> None:
        if not self._reader.is_closed and not _is_ending():
            self._watching.follow()
            self._reader.start(self._look_back(nonce))

    async def _look_back(self, nonce: bytes) -> None:
        """Look for calls that came before it was known that the answer is lost."""
        await self._watching.following()
        for stored in await self._reader.read(partial(self._log.of_send, nonce)):
            self.see(stored.event)

    def see(self, event: StatusEvent) -> None:
        """Start to prove the send of a call, if its answer was lost."""
        send, server_id = self._unanswered.get(event.nonce), event.server_id
        assert server_id is not None  # noqa: S101 - it was read from the call
        if send is not None:
            if server_id not in send.proving:
                self._reader.start(self._prove(event.nonce, send, server_id))
        elif self._answers.has_unknown and not self._knows(event.nonce):
            self._reader.start(self._prove_for_another(event.nonce, server_id))

    async def _prove_for_another(self, nonce: bytes, server_id: str) -> None:
        """Prove it for the process that lost the answer, which will read in the sink that it was accepted."""
        if (nonce, server_id) in self._proving_for_others:
            return
        self._proving_for_others.add((nonce, server_id))
        try:
            found = await self._reader.read(partial(self._answers.find_lost, nonce))
            if found is not None and found.sent is None:
                await self._prove(nonce, self._send_of_another(found), server_id)
        except InboxClosed:
            pass
        finally:
            self._proving_for_others.discard((nonce, server_id))

    async def _prove(self, nonce: bytes, send: UnansweredSend, server_id: str) -> None:
        """Believe a call once the gateway itself has echoed our id for the number that the call named."""
        if server_id in send.proving:
            return
        send.proving.add(server_id)
        sent = None
        try:
            sent = await self._echo(nonce, send, server_id)
        finally:
            if sent is None:
                send.proving.discard(server_id)  # the next call is another attempt
        if sent is None or sent.server_id is None:
            return
        if sent.id != send.id or self._bindings.contradicts(nonce, sent.server_id):
            logger.warning("a status callback named a number that is not its message's")
            return
        self._clear_up(nonce, send, sent)

    def _clear_up(self, nonce: bytes, send: UnansweredSend, sent: SentMessage) -> None:
        send.outcome = sent
        self._unanswered.pop(nonce, None)
        self._remember(nonce, send)
        logger.info("a message whose answer was lost was accepted: a status callback proves it")
        self._record(partial(self._answers.accept_lost, nonce, sent))
        if send.message is not None:
            send.sending.cleared_up(Accepted(send.message, sent), send.hooks_done)
        self._accept(nonce, sent)  # after it: hooks that do not wait were called when `wait_accepted` returns

    async def _echo(self, nonce: bytes, send: UnansweredSend, server_id: str) -> SentMessage | None:
        """Return what the gateway knows of a number; ``None`` if it says nothing, or it need not be known any more."""
        for pause in _PAUSES:
            if pause:
                await self._clock.sleep(pause)
            if (proof := await self._proof_of_another(nonce)) is not None:
                return None if send.outcome is not None else proof
            status = await send.sending.check_one(server_id)
            if isinstance(status, ClientClosed) or send.outcome is not None:
                return None
            if not isinstance(status, SmsPilotError) and status.status not in {None, STATUS_UNKNOWN}:
                return SentMessage(id=status.id, server_id=server_id, status=status.status, error=status.error)
        return None

    async def _proof_of_another(self, nonce: bytes) -> SentMessage | None:
        """Return what another process has proven meanwhile."""
        try:
            found = await self._answers.find_lost(nonce)
        except Exception as error:  # noqa: BLE001 - the sink's own; the gateway can be asked all the same
            logger.warning("stored statuses cannot be read (%s)", type(error).__name__)
            return None
        return None if found is None else found.sent


def _is_ending() -> bool:
    """Return whether this task was cancelled, as at the end of its loop, which no new task would outlive."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
