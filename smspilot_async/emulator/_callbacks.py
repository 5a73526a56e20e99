"""Calling the applications back whenever a message's status changes: over real HTTP, or in the same process.

Calls over HTTP run in a thread with a loop of its own that lives only as long as there is something to call, so that an
emulator without a server needs no closing. The calls for one message go out one after another, in the order of its
statuses. Calls to an application in the same process wait until somebody makes them in the loop that is its own.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections import deque
from concurrent.futures import Future
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from functools import cache, partial
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import attrs
import httpx

from smspilot_async._tools.hosts import is_loopback
from smspilot_async.emulator._local_url import local_base, moved
from smspilot_async.emulator.server._asgi_client import ask

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from smspilot_async.emulator.gateway._messages import AcceptedMessage
    from smspilot_async.emulator.server._asgi_client import Application

    _Clients = asyncio.LifoQueue[httpx.AsyncClient]

PATIENCE: Final = 10.0
_AT_A_TIME: Final = 8
_REMEMBERED_TEXT: Final = 200
_LARGEST_ANSWER: Final = 64 * 1024


@attrs.frozen(kw_only=True)
class CallbackCall:
    """A call that was made, or not made and why.

    Attributes:
        at: By the emulator's clock.
        answer_status: The HTTP status of the answer, if one came within 10 seconds.
        answer: The beginning of its text. No more than 64 KiB of it are read.
        failure: What went wrong instead of an answer: an exception's name, or ``"not loopback"``. Of an application in
            the same process it may be that application's own.
        called: The URL that was called instead of `url`, if all callbacks go to a local one.
    """

    server_id: str
    url: str = attrs.field(repr=False)
    method: str
    status: int
    error: int
    at: datetime
    answer_status: int | None = None
    answer: str = attrs.field(default="", repr=False)
    failure: str | None = None
    called: str | None = attrs.field(default=None, repr=False)

    @property
    def acknowledged(self) -> bool:
        """Whether the application answered as it should: ``OK``."""
        return self.answer_status == httpx.codes.OK and self.answer.strip() == "OK"


def call_for(message: AcceptedMessage, url: str) -> CallbackCall:
    """The call that reports a message's current status."""
    return CallbackCall(
        server_id=message.server_id,
        url=url,
        method=message.callback_method,
        status=message.status,
        error=message.error,
        at=message.modified,
    )


@attrs.define(eq=False)
class _CallQueue:
    """The calls for one message, which go out one after another.

    Attributes:
        is_forgotten: There was a reset: what is on the wire is not recorded, and nothing more goes out.
    """

    server_id: str
    calls: deque[CallbackCall]
    is_forgotten: bool = False


class CallbackSender:
    """Makes calls in the background and remembers how they went.

    Args:
        allow_remote: Whether other hosts than this one may be called.
        on_made: Called with each call that is over, in the thread that made it; it must be quick, and not ask here.
    """

    def __init__(self, *, allow_remote: bool, on_made: Callable[[CallbackCall], None]) -> None:
        self._destination: Application | str | None = None
        self._allow_remote = allow_remote
        self._on_made = on_made
        self._lock = threading.Lock()
        self._queues: dict[str, _CallQueue] = {}
        self._unstarted: list[_CallQueue] = []
        self._in_process_calls: deque[tuple[CallbackCall, Application]] = deque()
        self._is_sending_in_process = False
        self._open = 0  # lanes that have not ended, forgotten ones with a call on the wire included
        self._running = False
        self._wake: Callable[[], object] | None = None
        self._idle: list[Future[None]] = []
        self._made: list[CallbackCall] = []

    @property
    def destination(self) -> Application | str | None:
        """What takes the calls from now on, wherever their URLs lead: an application in the same process, or a URL.

        Raises:
            ValueError: On setting: it is a URL that cannot take them.
        """
        return self._destination

    @destination.setter
    def destination(self, destination: Application | str | None) -> None:
        if isinstance(destination, str):
            destination = local_base(destination, allow_remote=self._allow_remote)
        self._destination = destination

    @property
    def made(self) -> tuple[CallbackCall, ...]:
        """The calls that are over, in the order in which they ended."""
        with self._lock:
            return tuple(self._made)

    @property
    def count(self) -> int:
        """How many calls are over."""
        return len(self._made)

    def clear(self) -> None:
        """Forget all calls: those that are over, those that wait, and what becomes of those on the wire."""
        with self._lock:
            self._made.clear()
            for queue in self._queues.values():
                queue.is_forgotten = True
            self._queues.clear()
            self._open -= len(self._unstarted)
            self._unstarted.clear()
            self._in_process_calls = deque()

    def submit(self, call: CallbackCall) -> None:
        """Make a call soon."""
        destination = self._destination
        if isinstance(destination, str):
            call = attrs.evolve(call, called=moved(call.url, destination))
        elif destination is not None:
            with self._lock:
                self._in_process_calls.append((call, destination))
            return
        elif not self._allow_remote and not is_loopback(urlsplit(call.url).hostname or ""):
            self._remember(attrs.evolve(call, failure="not loopback"))
            return
        with self._lock:
            if queue := self._queues.get(call.server_id):
                queue.calls.append(call)
            else:
                queue = self._queues[call.server_id] = _CallQueue(call.server_id, deque([call]))
                self._unstarted.append(queue)
                self._open += 1
                self._wake_worker()

    def idle(self) -> Future[None]:
        """Is done when no call waits or is on its way; then, or when one that was handed over was given up."""
        future: Future[None] = Future()
        future.set_running_or_notify_cancel()  # who waits may give up, and the thread that ends the wait must not fail
        with self._lock:
            if self._running or self._in_process_calls:
                self._idle.append(future)
            else:
                future.set_result(None)
        return future

    async def send_in_process(self) -> None:
        """Make the calls to applications in this process, in order, unless another task is at it."""
        while work := self._next_in_process():
            queue, call, application = work
            made = attrs.evolve(call, failure="CancelledError")
            try:
                made = await _send_in_process(call, application)
            finally:
                self._finish_in_process(queue, made)

    def _next_in_process(self) -> tuple[deque[tuple[CallbackCall, Application]], CallbackCall, Application] | None:
        with self._lock:
            if self._is_sending_in_process or not self._in_process_calls:
                return None
            self._is_sending_in_process = True
            return self._in_process_calls, *self._in_process_calls[0]

    def _finish_in_process(self, queue: deque[tuple[CallbackCall, Application]], made: CallbackCall) -> None:
        with self._lock:
            self._is_sending_in_process = False
            queue.popleft()
            if queue is self._in_process_calls:  # and there was no reset meanwhile
                self._made.append(made)
                self._on_made(made)
        self._end_waits()

    def _end_waits(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for future in idle:
            future.set_result(None)

    def _wake_worker(self) -> None:
        if self._wake is not None:
            self._wake()
        elif not self._running:
            self._running = True
            threading.Thread(target=self._work, name="smspilot-callbacks", daemon=True).start()

    def _work(self) -> None:
        while self._has_work():
            asyncio.run(self._call_all())

    def _has_work(self) -> bool:
        with self._lock:
            if self._open:
                return True
            self._running = False
        self._end_waits()
        return False

    async def _call_all(self) -> None:
        news = asyncio.Event()
        self._listen(partial(asyncio.get_running_loop().call_soon_threadsafe, news.set))
        async with _clients() as clients, asyncio.TaskGroup() as group:
            while self._has_open_queues():
                for queue in self._take_unstarted():
                    task = group.create_task(self._send_queue(queue, clients))
                    task.add_done_callback(lambda _task: news.set())
                await news.wait()
                news.clear()

    def _listen(self, wake: Callable[[], object]) -> None:
        with self._lock:
            self._wake = wake

    def _has_open_queues(self) -> bool:
        with self._lock:
            if not self._open:
                self._wake = None  # from here on a new call has to wait for the next turn of the thread
            return bool(self._open)

    def _take_unstarted(self) -> list[_CallQueue]:
        with self._lock:
            taken, self._unstarted = self._unstarted, []
        return taken

    async def _send_queue(self, queue: _CallQueue, clients: _Clients) -> None:
        client = await clients.get()
        while call := self._next_call(queue):
            self._remember(await _send(call, client), queue)
        clients.put_nowait(client)

    def _remember(self, made: CallbackCall, queue: _CallQueue | None = None) -> None:
        with self._lock:
            if queue is not None:
                queue.calls.popleft()
                if queue.is_forgotten:
                    return
            self._made.append(made)
            self._on_made(made)  # still locked: after a reset no call from before it is reported

    def _next_call(self, queue: _CallQueue) -> CallbackCall | None:
        with self._lock:
            if queue.calls and not queue.is_forgotten:
                return queue.calls[0]
            self._open -= 1
            if not queue.is_forgotten:
                del self._queues[queue.server_id]
            return None


@asynccontextmanager
async def _clients() -> AsyncIterator[_Clients]:
    """Those that are free; each makes one call at a time, so that its pool has not much to look through."""
    clients: _Clients = asyncio.LifoQueue()
    async with AsyncExitStack() as stack:
        for _ in range(_AT_A_TIME):
            client = httpx.AsyncClient(verify=_tls(), trust_env=False, timeout=PATIENCE)
            clients.put_nowait(await stack.enter_async_context(client))
        yield clients


async def _send(call: CallbackCall, client: httpx.AsyncClient) -> CallbackCall:
    try:
        async with asyncio.timeout(PATIENCE):
            response = await client.send(_hidden(_request(call)), stream=True)
            try:
                answer = await _beginning(response)
            finally:
                await response.aclose()
    except Exception as failure:  # noqa: BLE001 - whatever it is, it is this call's and not the others'
        return attrs.evolve(call, failure=type(failure).__name__)
    return _answered(call, response.status_code, answer)


async def _send_in_process(call: CallbackCall, application: Application) -> CallbackCall:
    try:
        async with asyncio.timeout(PATIENCE):
            status, answer = await ask(application, _request(call), largest=_LARGEST_ANSWER)
    except Exception as failure:  # noqa: BLE001 - the application's own
        return attrs.evolve(call, failure=type(failure).__name__)
    return _answered(call, status, answer)


def _answered(call: CallbackCall, status: int, answer: bytes) -> CallbackCall:
    text = answer.decode(errors="replace")  # whatever encoding the application names: it need not be one
    return attrs.evolve(call, answer_status=status, answer=text[:_REMEMBERED_TEXT])


async def _beginning(response: httpx.Response) -> bytes:
    """As much of an answer as is read; the whole one may never end, or be a bomb once it is unpacked."""
    read = bytearray()
    async for piece in response.aiter_raw():
        read += piece
        if len(read) > _LARGEST_ANSWER:
            break
    return bytes(read)


def _request(call: CallbackCall) -> httpx.Request:
    fields = {"server_id": call.server_id, "status": str(call.status), "error": str(call.error)}
    posted = call.method == "post"
    url = httpx.URL(call.called or call.url)
    url = url if posted else url.copy_merge_params(fields)
    headers = {"accept": "*/*", "accept-encoding": "identity"}
    return httpx.Request(call.method.upper(), url, data=fields if posted else None, headers=headers)


def _hidden(request: httpx.Request) -> httpx.Request:
    """The same request, of which httpx logs no path: it may be a secret, and travels as the target."""
    request.extensions["target"] = request.url.raw_path
    request.url = request.url.copy_with(raw_path=b"/")
    return request


@cache
def _tls() -> ssl.SSLContext:
    # Making one takes longer than all the rest of a call.
    return ssl.create_default_context()
