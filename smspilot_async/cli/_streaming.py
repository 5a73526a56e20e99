"""The commands that run until all is printed, their output is closed, or Ctrl-C: ``track`` and ``listen``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import attrs

from smspilot_async._statuses.not_final import NotFinal
from smspilot_async.cli._errors import Exit, Problem, exit_code, explain_end
from smspilot_async.cli._interrupts import Interrupts
from smspilot_async.cli._language import word
from smspilot_async.cli._output import count, is_output_taken, print_json, print_verbatim
from smspilot_async.cli._queries import error_word, status_as_json
from smspilot_async.errors import SmsPilotError
from smspilot_async.models import SentMessage, status_word

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from smspilot_async import Client
    from smspilot_async.models import InboundMessage, MessageStatus


def track(
    client: Client,
    server_ids: Sequence[str],
    packets: Sequence[str],
    *,
    poll_interval: float | None,
    timeout: float | None,
    as_json: bool,
) -> int:
    """Show each change until all statuses are final."""

    async def follow() -> int:
        messages: list[str | SentMessage] = [*server_ids]
        for packet in packets:
            statuses = await client.check_packet(packet)
            messages += [_in_packet(status, packet) for status in statuses if status.server_id]
        async with client.track(messages, poll_interval=poll_interval, timeout=timeout) as changes:
            for status in changes.statuses.values():
                if not status.is_final:  # final ones come as changes
                    _show_status(status, as_json=as_json)
            async for status in changes:
                _show_status(status, as_json=as_json)
                if not is_output_taken():
                    return Exit.FINE
        if changes.pending:
            line = f"timed out: {count(len(changes.pending), 'message')} without a final status."
            raise Problem(line, Exit.FAILED, error=NotFinal(line))
        return Exit.FINE

    return _follow(client, follow)


def _in_packet(status: MessageStatus, packet: str) -> SentMessage:
    return SentMessage(
        id=status.id,
        server_id=status.server_id,
        server_packet_id=packet,
        status=None if status.status is None or status.status < -1 else status.status,
        error=status.error,
    )


def _show_status(status: MessageStatus, *, as_json: bool) -> None:
    if as_json:
        print_json(status_as_json(status))
        return
    words = (status_word(status.status), error_word(status.error), status.modified and f"({status.modified})")
    print_verbatim(f"{status.server_id}: {' '.join(word(str(each)) for each in words if each)}")


def listen(client: Client, *, poll_interval: float, cursor: str | None, as_json: bool) -> int:
    """Show inbound messages as they arrive, without end."""

    async def follow() -> int:
        async with client.listen(poll_interval=poll_interval, cursor=cursor) as inbox:
            async for message in inbox:
                _show_message(message, as_json=as_json)
                if not is_output_taken():  # the cursor stays before this message, which the next run prints
                    break
        return Exit.FINE

    return _follow(client, follow)


def _show_message(message: InboundMessage, *, as_json: bool) -> None:
    if as_json:
        print_json(attrs.asdict(message, recurse=False))
        return
    created = "" if message.created is None else f"{message.created:%Y-%m-%d %H:%M} "
    print_verbatim(f"{created}{message.phone} {word('to')} {message.num}: {message.text}")


def _follow(client: Client, work: Callable[[], Coroutine[Any, Any, int]]) -> int:
    try:
        return asyncio.run(_until_interrupted(client, work))
    except SmsPilotError as error:
        failure = error
    raise Problem(explain_end(failure), exit_code(failure), error=failure)


async def _until_interrupted(client: Client, work: Callable[[], Coroutine[Any, Any, int]]) -> int:
    async with client:
        working = asyncio.ensure_future(work())
        with Interrupts(working.cancel, working.cancel, announcement=None) as interrupts:
            await asyncio.wait({working})
        if working.cancelled():
            return interrupts.exit_code or Exit.INTERRUPTED
        return working.result()
