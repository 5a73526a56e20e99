"""One connection to the gateway, or to a plain proxy: HTTP/1.1, one request at a time.

By construction it knows whether a byte of a request was handed to the event loop's transport, whether the answer was
whole, and whether anything came behind it. A request is written in one piece, in the step that checks whether it may
still leave; its answer is read as it comes in, without a task or a buffer of its own.
"""

from __future__ import annotations

import asyncio
import select
import socket
import struct
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from smspilot_async._network.answer import Answer
from smspilot_async._network.base import Failure, NotBegun, Reply
from smspilot_async.errors import Reason

if TYPE_CHECKING:
    from smspilot_async._network.base import Progress, WriteLimit
    from smspilot_async._network.connection import Stream

USER_TIMEOUT: Final[int | None] = getattr(socket, "TCP_USER_TIMEOUT", None)
"""How long the system tries to deliver what was written: an option of Linux."""
_LINGER: Final = "hh" if sys.platform == "win32" else "ii"
_HARD, _SOFT = struct.pack(_LINGER, 1, 0), struct.pack(_LINGER, 0, 0)  # hard: closing forgets what was not delivered


class Connection(asyncio.Protocol):
    """A connection for one request at a time.

    A request with a :class:`WriteLimit` is given to the system together with an order to forget what it cannot deliver
    soon. Until it is answered, closing the socket in whatever way, also by a kill, forgets what was not delivered.
    Measured without that: a request that had been written into a cut path arrived 26 s after its sender was killed.

    Args:
        stream: What the connection was opened by; it is not used afterwards.

    Attributes:
        may_stay: It may be used for another request.
        longest_idle: Seconds for which the server lets it be idle, less a margin.
        idle_until: For its keeper: when it is not used any more.

    Raises:
        NotBegun: The peer has closed it already, or sent data unasked.
    """

    def __init__(self, stream: Stream) -> None:
        stream.check_untouched()
        self.may_stay = True
        self.longest_idle = float("inf")
        self.idle_until = 0.0
        self._answer: Answer | None = None
        self._loop = asyncio.get_running_loop()
        self._transport = stream.transport
        self._transports = stream.transports
        self._waiter: asyncio.Future[Reply | Failure] | None = None
        self._why_not = ""  # nothing can be written to it any more
        self._is_hard = False  # closing forgets what was not delivered
        self._is_unanswered = False
        self._poll: Any = None
        self._transport.set_protocol(self)

    # --- asking ----------------------------------------------------------------------------------

    def ask(self, request: bytes, progress: Progress, largest: int) -> asyncio.Future[Reply | Failure]:
        """Write a request, and return a future of its answer; it never has an exception.

        Args:
            request: Head and body.
            progress: Has begun once this returns.
            largest: The maximum size of the answer's body, in bytes.

        Raises:
            NotWritten: It was not begun; :class:`NotBegun` if another connection can be tried.
        """
        if self._why_not:
            raise NotBegun(self._why_not)
        if (limit := progress.limit) is not None:
            self._harden(limit)
        self._answer = Answer(largest)
        waiter = self._loop.create_future()
        progress.begin()  # last: nothing that takes time may come between it and the write
        self._waiter = waiter
        self.may_stay = False  # before the write, which an interrupt may end
        self._is_unanswered = True
        self._transport.write(request)
        return waiter

    def _harden(self, limit: WriteLimit) -> None:
        """Have the system forget what it does not deliver soon, and everything once the socket is closed.

        Raises:
            NotBegun: The socket is closed already.
        """
        self._is_hard = True
        sock = self._transport.get_extra_info("socket")
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _HARD)
            if USER_TIMEOUT is not None:
                sock.setsockopt(socket.IPPROTO_TCP, USER_TIMEOUT, int(limit.unacknowledged * 1000))
        except OSError as error:
            raise NotBegun("the connection was closed") from error

    def time_out(self) -> None:
        """Stop waiting for the answer."""
        self._settle(Failure(Reason.TIMEOUT, "no answer in time"))

    def _settle(self, result: Reply | Failure) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(result)

    # --- called by asyncio -----------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Read a piece of the answer; what was not asked for spoils the connection."""
        answer = self._answer
        if self._waiter is None or answer is None:
            self._end("the other end sent data before the request")
            self.abort()
            return
        result = answer.feed(data)
        if result is None:
            return
        if isinstance(result, Reply):
            self._is_unanswered = False
            # An answer may come before its request is wholly written: the next one would follow the rest of that.
            self.may_stay = answer.may_stay and not self._is_still_writing
            self.longest_idle = answer.longest_idle
        self._settle(result)

    def eof_received(self) -> None:
        """Treat an end of input as the end of the connection: asyncio closes the socket."""
        self._end("the connection was closed")
        if self._waiter is not None and self._answer is not None:
            self._settle(self._answer.end())

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the connection was closed or lost."""
        self._end(str(exc or "the connection was closed"))
        self._settle(Failure(Reason.DISCONNECTED, "the connection broke" if exc else "the connection was closed"))

    @property
    def _is_still_writing(self) -> bool:
        return any(transport.get_write_buffer_size() for transport in self._transports)

    def _end(self, why: str) -> None:
        self._why_not = self._why_not or why
        self.may_stay = False

    # --- kept ------------------------------------------------------------------------------------

    @property
    def is_usable(self) -> bool:
        """Whether an idle connection is open and silent, also as far as the event loop has not reported it yet."""
        return self.may_stay and not self._is_readable()

    def _is_readable(self) -> bool:
        if self._poll is None:
            sock = self._transport.get_extra_info("socket")
            if sock is None or sock.fileno() < 0:
                return True
            if not hasattr(select, "poll"):  # Windows
                return bool(select.select([sock.fileno()], [], [], 0)[0])
            self._poll = select.poll()
            self._poll.register(sock.fileno(), select.POLLIN)
        return bool(self._poll.poll(0))

    def abort(self) -> None:
        """Close it at once; what was not written is forgotten."""
        if self._loop.is_closed():
            return  # it ended with its event loop
        if self._is_hard and not self._is_unanswered:
            with suppress(OSError):
                self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _SOFT)
        self._end("the connection was closed")
        self._transport.abort()
