"""Runs the hooks of one client: only overridden methods are called, and no exception of a hook breaks a request."""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
import traceback
from contextvars import copy_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import attrs

from smspilot_async.errors import MessageVetoed, VetoFailed
from smspilot_async.hooks import Hooks, Observed, RequestInfo
from smspilot_async.wire import redact

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from contextvars import Context

    from smspilot_async._tools.clock import Clock
    from smspilot_async.hooks import RequestOutcome
    from smspilot_async.models import Message, SendResult

logger: Final = logging.getLogger("smspilot_async")

HOOKS_GRACE: Final = 5.0  # seconds that hooks may take after the timeout for closing a client
_LONG: Final = 30.0  # seconds for which hooks may block something before a warning is logged
# Everything else that a hook raises is only logged, including CancelledError without a cancellation.
_PROGRAM_EXITS: Final = (KeyboardInterrupt, SystemExit, GeneratorExit)


class Watch:
    """Logs the name of a hook that blocks a packet, or the closing of a client, for long.

    The hook is not cancelled: it may be storing a result that is recorded nowhere else. There is one watch per packet:
    a timer per message would cost more than the message.

    Attributes:
        at_work: The hook that was called last, and its method.
    """

    def __init__(self, clock: Clock) -> None:
        self.at_work: tuple[Hooks, str] | None = None
        self._timer = clock.call_at(clock.monotonic() + _LONG, self._warn)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def _warn(self) -> None:
        if self.at_work is not None:
            hook, method = self.at_work
            logger.warning("hook %s.%s: still not finished after %.0f s", type(hook).__name__, method, _LONG)


class HookRunner:
    """Calls the hooks.

    Args:
        hooks: What the application passed; checked here.
        clock: For the deadline of a veto.

    Attributes:
        observes_results, observes_requests, has_veto, observes_packets: Whether any hook overrides the method; a method
            that no hook overrides costs nothing.

    Raises:
        TypeError: One of them is not a :class:`Hooks` instance.
    """

    def __init__(self, hooks: Iterable[Hooks], clock: Clock) -> None:
        self._all = _checked(hooks)
        self._clock = clock
        self._on_result = _overriding("on_result", self._all)
        self._before = _overriding("before_request", self._all)
        self._after = _overriding("after_request", self._all)
        self._veto = _overriding("veto", self._all)
        self._before_packet = _overriding("before_packet", self._all)
        self.observes_results = bool(self._on_result)
        self.observes_requests = bool(self._before or self._after)
        self.has_veto = bool(self._veto)
        self.observes_packets = bool(self._before_packet)

    # --- observers -------------------------------------------------------------------------------

    def client_made(self, client: Observed) -> None:
        """Call ``on_client`` of every hook."""
        _notify(self._all, "on_client", lambda hook: hook.on_client(client))

    async def client_closed(self, until: Callable[[], float]) -> None:
        """Await ``aclose`` of every hook, until a moment in the clock's monotonic seconds."""
        with self.watch() as watch:
            await self._call_each(self._all, "aclose", lambda hook: hook.aclose(), until, watch)

    def watch(self) -> Watch:
        """Return a watch over the hooks that are called in the body of its ``with``."""
        return Watch(self._clock)

    def context(self) -> Context | None:
        """Copy the caller's context variables, if a hook observes requests."""
        return copy_context() if self.observes_requests else None

    def request_begins(self, request: RequestInfo) -> None:
        """Call ``before_request`` of the hooks that override it."""
        _notify(self._before, "before_request", lambda hook: hook.before_request(request))

    def request_ended(self, request: RequestInfo, outcome: RequestOutcome) -> None:
        """Call ``after_request`` of the hooks that override it."""
        _notify(self._after, "after_request", lambda hook: hook.after_request(request, outcome))

    async def result(self, result: SendResult[Message], until: Callable[[], float], watch: Watch) -> None:
        """Call ``on_result``, waiting until a moment in the clock's monotonic seconds, which may change meanwhile."""
        await self._call_each(self._on_result, "on_result", lambda hook: hook.on_result(result), until, watch)

    def result_without_a_loop(self, result: SendResult[Message]) -> None:
        """Call ``on_result`` without an event loop: only of hooks where it is not a coroutine function."""
        at_once = [hook for hook in self._on_result if not inspect.iscoroutinefunction(hook.on_result)]
        _notify(at_once, "on_result", lambda hook: hook.on_result(result))

    async def _call_each(
        self,
        hooks: Iterable[Hooks],
        method: str,
        call: Callable[[Hooks], Awaitable[None] | None],
        until: Callable[[], float],
        watch: Watch,
    ) -> None:
        """Call every hook, even if the one before it was cancelled."""
        cancelled: asyncio.CancelledError | None = None
        for hook in hooks:
            before = _cancellations()
            watch.at_work = hook, method
            try:
                answer = call(hook)
                if inspect.isawaitable(answer):
                    await self._awaited(answer, until())
            except _PROGRAM_EXITS:
                raise
            except asyncio.CancelledError as error:
                if _cancellations() > before:
                    cancelled = error
                else:
                    _log(hook, method, error)
            except BaseException as error:  # noqa: BLE001 - an error of the application must not change the result
                _log(hook, method, error)
        if cancelled is not None:
            raise cancelled

    async def _awaited(self, answer: Awaitable[Any], until: float) -> Any:
        if until == math.inf:
            return await answer
        async with self._clock.timeout_at(until):
            return await answer

    # --- hooks that can stop a message -----------------------------------------------------------

    async def verdict(self, message: Message, id_: int, until: float) -> MessageVetoed | None:
        """Ask the hooks whether a message may be sent; one that raises or does not answer by ``until`` disallows it.

        Args:
            message: The message.
            id_: The id it will be sent with.
            until: In the clock's monotonic seconds.
        """
        for hook in self._veto:
            reason = await self._decided(hook, "veto", lambda hook: hook.veto(message), until)
            if isinstance(reason, _Undecided):
                return veto_failed(reason.why, id_)
            if reason:
                return _vetoed(reason if isinstance(reason, str) else f"{type(hook).__name__}.veto", message, id_)
        return None

    async def before_packet(self, messages: Sequence[Message], until: float) -> str | None:
        """Await ``before_packet`` of the hooks, until the first one that fails.

        Args:
            messages: Those of the packet.
            until: In the clock's monotonic seconds.

        Returns:
            Why the packet must not be sent; ``None`` if it may.
        """
        for hook in self._before_packet:
            answer = await self._decided(hook, "before_packet", lambda hook: hook.before_packet(messages), until)
            if isinstance(answer, _Undecided):
                return answer.why
        return None

    async def _decided(self, hook: Hooks, method: str, call: Callable[[Hooks], Any], until: float) -> Any:
        """Call a hook that can stop a message, and wait for its answer."""
        name = f"{type(hook).__name__}.{method}"
        before = _cancellations()
        try:
            answer = call(hook)
            if inspect.isawaitable(answer):
                answer = await self._awaited(answer, until)
                if self._clock.monotonic() >= until:  # it suppressed the timeout
                    return _Undecided(f"{name} gave no answer in time")
        except _PROGRAM_EXITS:
            raise
        except TimeoutError:
            return _Undecided(f"{name} gave no answer in time")
        except BaseException as error:  # an error of the application; its text may be private
            if isinstance(error, asyncio.CancelledError) and _cancellations() > before:
                raise
            return _Undecided(f"{name} raised {type(error).__name__}")
        return answer


@attrs.frozen
class _Undecided:
    """A hook that can stop a message raised, or did not answer in time."""

    why: str


def veto_failed(reason: str, id_: int | None = None) -> VetoFailed:
    """Return the error of a message that the hooks did not allow."""
    text = f"send: {reason}. Nothing was sent; it can be tried again."
    return VetoFailed(text, reason=reason, command="send", message_id=id_)


def _vetoed(reason: str, message: Message, id_: int) -> MessageVetoed:
    shown = redact(reason, [message.text]) or "…"
    text = f"send of message {id_}: vetoed by the application ({shown}). Nothing was sent."
    return MessageVetoed(text, reason=reason, command="send", message_id=id_)


def _overriding(method: str, hooks: Iterable[Hooks]) -> tuple[Hooks, ...]:
    idle = getattr(Hooks, method)
    return tuple(hook for hook in hooks if getattr(getattr(hook, method), "__func__", None) is not idle)


def _checked(hooks: Iterable[Hooks]) -> tuple[Hooks, ...]:
    try:
        found = tuple(hooks)
    except TypeError:
        raise TypeError(f"hooks must be a list of Hooks objects, not {type(hooks).__name__}") from None
    for hook in found:
        if not isinstance(hook, Hooks):
            kind = hook.__name__ + ", a class" if isinstance(hook, type) else type(hook).__name__
            raise TypeError(f"hooks must hold objects of subclasses of Hooks, not {kind}")
        for method in ("on_client", "before_request", "after_request"):
            if inspect.iscoroutinefunction(getattr(hook, method)):
                raise TypeError(f"hooks: {type(hook).__name__}.{method} must not be a coroutine function")
    return found


def _cancellations() -> int:
    """Count the requests to cancel the running task; a hook may raise CancelledError without one."""
    task = asyncio.current_task()
    return task.cancelling() if task is not None else 0


def _notify(hooks: Iterable[Hooks], method: str, call: Callable[[Hooks], object]) -> None:
    """Call every hook, whatever the one before it raises."""
    for hook in hooks:
        try:
            call(hook)
        except _PROGRAM_EXITS:
            raise
        except BaseException as error:  # noqa: BLE001 - an error of the application
            _log(hook, method, error)


def _log(hook: Hooks, method: str, error: BaseException) -> None:
    where = _where(error)
    logger.error("hook %s.%s raised %s%s", type(hook).__name__, method, type(error).__name__, where and f" ({where})")


def _where(error: BaseException) -> str:
    """Return the line of the application that raised, instead of a traceback, which would show personal data."""
    for frame, line in traceback.walk_tb(error.__traceback__):
        if frame.f_globals.get("__name__") != __name__:
            return f"{Path(frame.f_code.co_filename).name}, line {line}"
    return ""
