"""Checks of many messages, split over several requests: by packet, and by id.

The client passes the function that makes a request, ``Ask``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, TypeVar

import attrs

from smspilot_async._statuses.rules import STATUS_UNKNOWN
from smspilot_async._statuses.server_ids import packet_id
from smspilot_async._tools.stream import ResultStream
from smspilot_async.errors import (
    AccountBlocked,
    AuthenticationError,
    ClientClosed,
    InvalidMessage,
    NotFound,
    SmsPilotError,
)
from smspilot_async.models import Displayed, MessageStatus, Packet
from smspilot_async.wire import Check, CheckPacket

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterable, Sequence

    from smspilot_async.wire import Command

__all__ = ["PacketCheck", "PacketChecks"]

Answer = TypeVar("Answer")
_CHUNK: Final = 100
# Polling again will not help, and polling for 40 days would hide the error.
_NOT_RETRIED: Final = (AuthenticationError, AccountBlocked, ClientClosed)


class Ask(Protocol):
    """Makes a request, on connections that are not reserved for sends."""

    async def __call__(self, command: Command[Answer], until: float | None = None) -> Answer | SmsPilotError:
        """Make a request, until a moment in the clock's monotonic seconds; by default within the client's deadline."""
        raise NotImplementedError


# --- by packet -----------------------------------------------------------------------------------


@attrs.frozen
class PacketCheck(Displayed):
    """The statuses of the messages of one packet, or why there are none.

    Attributes:
        server_packet_id: The gateway's id for the packet; ``None`` if the given packet has none.
        statuses: One entry per message; empty if the check failed.
        error: Why it failed: :class:`~smspilot_async.NotFound` if the gateway does not know the packet,
            :class:`~smspilot_async.Unanswered` if the check can be repeated.
    """

    server_packet_id: str | None
    statuses: tuple[MessageStatus, ...] = attrs.field(default=(), repr=lambda statuses: f"({len(statuses)})")
    error: SmsPilotError | None = attrs.field(default=None, eq=False)


class PacketChecks(ResultStream["str | int | Packet", PacketCheck]):
    """Checks of packets, in order of arrival; returned by :meth:`Client.check_packets`."""

    def __init__(
        self,
        source: Iterable[str | int | Packet] | AsyncIterable[str | int | Packet],
        ask: Ask,
        *,
        in_flight: int,
    ) -> None:
        super().__init__(source, partial(_check_packet, ask), in_flight=in_flight)


async def _check_packet(ask: Ask, given: str | int | Packet) -> PacketCheck:
    number = packet_id(given)
    if isinstance(number, InvalidMessage):
        return PacketCheck(str(given) if isinstance(given, (str, int)) else None, error=number)
    answer = await ask(CheckPacket(number))
    if isinstance(answer, SmsPilotError):
        return PacketCheck(number, error=answer)
    return PacketCheck(number, tuple(answer))


# --- by id ---------------------------------------------------------------------------------------

_Chunk: TypeAlias = "Sequence[str]"


async def check_ids(
    ids: Sequence[str],
    ask: Ask,
    *,
    in_flight: int,
    until: float | None = None,
    failures: list[SmsPilotError] | None = None,
) -> dict[str, MessageStatus]:
    """Check many messages, in requests of a hundred ids.

    A request that the gateway refuses because it does not know an id (301, 302) is repeated in halves until that id is
    alone; then it gets the status -2, which the gateway itself uses for that.

    Args:
        ids: Unique ids.
        ask: Makes a request.
        in_flight: The maximum number of concurrent requests.
        until: When to give up, in the clock's monotonic seconds.
        failures: Errors of failed requests are added here; the ids of those requests are missing from the result.

    Raises:
        SmsPilotError: A request failed, and there is no ``failures``; :class:`NotFound` only if there is one id.
    """
    found: dict[str, MessageStatus] = {}
    chunks: list[_Chunk] = [ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK)]
    note = partial(_note, found, is_alone=len(ids) == 1, failures=failures)
    while chunks:
        if len(chunks) == 1:  # the usual case: tasks and a queue for it cost as much as the request
            chunks = note(*await _check_chunk(ask, until, chunks[0]))
            continue
        halves: list[_Chunk] = []
        async with ResultStream(chunks, partial(_check_chunk, ask, until), in_flight=in_flight) as answers:
            async for chunk, answer in answers:
                halves += note(chunk, answer)
        chunks = halves
    return found


def _note(
    found: dict[str, MessageStatus],
    chunk: _Chunk,
    answer: list[MessageStatus] | SmsPilotError,
    *,
    is_alone: bool,
    failures: list[SmsPilotError] | None,
) -> list[_Chunk]:
    """Add what an answer says to ``found``; return what is to be asked for again.

    Raises:
        SmsPilotError: The request failed.
    """
    if not isinstance(answer, SmsPilotError):
        found |= _by_id(chunk, answer)
    elif not isinstance(answer, NotFound):
        note_failure(answer, failures)
    elif is_alone and failures is None:
        raise answer
    elif len(chunk) == 1:
        found[chunk[0]] = MessageStatus(server_id=chunk[0], status=STATUS_UNKNOWN, error=answer.code)
    else:
        middle = len(chunk) // 2
        return [chunk[:middle], chunk[middle:]]
    return []


async def check(ids: Sequence[str], ask: Ask, *, in_flight: int, until: float) -> list[MessageStatus]:
    """Check messages like :func:`check_ids`, and return their statuses in the order of the ids.

    An id that is missing from the answers has the status ``None``.
    """
    found = await check_ids(list(dict.fromkeys(ids)), ask, in_flight=in_flight, until=until)
    return [found.get(id_) or MessageStatus(server_id=id_) for id_ in ids]


async def _check_chunk(
    ask: Ask, until: float | None, chunk: _Chunk
) -> tuple[_Chunk, list[MessageStatus] | SmsPilotError]:
    return chunk, await ask(Check(chunk), until)


def note_failure(error: SmsPilotError, failures: list[SmsPilotError] | None) -> None:
    """Add the error of a request that will be repeated to ``failures``.

    Raises:
        SmsPilotError: There is no ``failures``, or repeating the request will not help.
    """
    if failures is None or isinstance(error, _NOT_RETRIED):
        raise error
    failures.append(error)


def _by_id(asked: _Chunk, rows: Sequence[MessageStatus]) -> dict[str, MessageStatus]:
    """Match rows to ids; a row without an id is matched by position, if there are as many rows as ids."""
    if len(rows) == len(asked):
        rows = [
            row if row.server_id is not None else attrs.evolve(row, server_id=id_)
            for id_, row in zip(asked, rows, strict=True)
        ]
    found = {row.server_id: row for row in rows if row.server_id is not None}
    return {id_: found[id_] for id_ in asked if id_ in found}
