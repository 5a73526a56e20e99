"""The commands that only ask: ``cost``, ``check``, ``balance``, ``info``, ``inbound``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import attrs

from smspilot_async.cli._errors import Exit, Problem, error_as_json, exit_code, explain, explain_end
from smspilot_async.cli._output import (
    NOTHING_HANDED_OVER,
    count,
    is_output_taken,
    money,
    note,
    print_facts,
    print_json,
    print_line,
    print_table,
)
from smspilot_async.errors import ERROR_CODES, SmsPilotError, Unanswered
from smspilot_async.models import status_word

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from datetime import datetime

    from smspilot_async import Client, PacketCheck
    from smspilot_async.models import Message, MessageStatus

Answer = TypeVar("Answer")

_MARKED: Final = "The gateway may already have marked new messages as read: ask for them by time, with --since."


def ask(client: Client, question: Callable[[], Coroutine[Any, Any, Answer]], *, lost: str = "") -> Answer:
    """Run a request and return its answer.

    Args:
        client: The client to close afterwards.
        question: Makes the request.
        lost: What to add to the message if the answer was lost.

    Raises:
        Problem: The gateway did not answer, or refused the request.
    """
    try:
        return asyncio.run(_ask(client, question))
    except SmsPilotError as error:
        failure = error
    line = explain_end(failure)
    line = f"{line} {lost}" if lost and isinstance(failure, Unanswered) else line
    raise Problem(line, exit_code(failure), error=failure)


async def _ask(client: Client, question: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
    async with client:
        return await question()


def cost(client: Client, message: Message, *, as_json: bool) -> int:
    """Price one message."""
    price = ask(client, lambda: client.cost([message]))
    parts, is_test = message.size.parts, client.is_test
    if as_json:
        print_json({"test": is_test, "cost": price, "currency": "RUB", "parts": parts})
    else:
        print_line(f"{money(price)} for {count(parts, 'part')}")
        if is_test:
            print_line(f"test: {NOTHING_HANDED_OVER}")
    return Exit.FINE


def check(client: Client, server_ids: Sequence[str], packet: str | None, *, as_json: bool) -> int:
    """Show the statuses of messages, or of a packet."""
    statuses = ask(client, lambda: client.check(server_ids) if packet is None else client.check_packet(packet))
    if as_json:
        print_json([status_as_json(status) for status in statuses])
    else:
        print_table(("server id", "id", "status", "error", "modified"), map(_status_row, statuses))
    return Exit.FINE


def check_packets(client: Client, packets: Sequence[str], *, as_json: bool) -> int:
    """Show the statuses of several packets, also if some of them fail."""

    async def answers() -> dict[str, PacketCheck]:
        async with client.check_packets(packets) as checks:
            return {str(check.server_packet_id): check async for check in checks}

    found = ask(client, answers)
    in_order = [(packet, found[packet]) for packet in packets]
    if as_json:
        print_json([_check_as_json(packet, check) for packet, check in in_order])
    else:
        rows = [(packet, *_status_row(status)) for packet, check in in_order for status in check.statuses]
        print_table(("packet", "server id", "id", "status", "error", "modified"), rows)
    failures = [(packet, check.error) for packet, check in in_order if check.error is not None]
    for packet, error in failures:
        note(explain(error, about=f"packet {packet}"))
    return max((exit_code(error) for _, error in failures), default=Exit.FINE)


def _check_as_json(packet: str, check: PacketCheck) -> dict[str, Any]:
    return {
        "packet": packet,
        "statuses": [status_as_json(status) for status in check.statuses],
        "error": None if check.error is None else error_as_json(check.error),
    }


def status_as_json(status: MessageStatus) -> dict[str, Any]:
    """Return a status as JSON data."""
    return {**attrs.asdict(status, recurse=False), "is_final": status.is_final, "delivered": status.delivered}


def _status_row(status: MessageStatus) -> tuple[object, ...]:
    return status.server_id, status.id, status_word(status.status), error_word(status.error), status.modified


def error_word(code: int | None) -> str:
    """Return an error code with its text; an unknown code alone."""
    if not code:
        return ""
    return f"{code} {ERROR_CODES[code].text}" if code in ERROR_CODES else str(code)


def balance(client: Client, *, sms: bool, as_json: bool) -> int:
    """Show the balance."""
    if sms:
        left = ask(client, client.balance_sms)
        print_json({"balance_sms": left}) if as_json else print_line(f"{left:,} SMS")
    else:
        amount = ask(client, client.balance)
        print_json({"balance": amount, "currency": "RUB"}) if as_json else print_line(money(amount))
    return Exit.FINE


def info(client: Client, *, as_json: bool) -> int:
    """Show the account."""
    account = ask(client, client.info)
    if as_json:
        print_json(account)
        return Exit.FINE
    print_facts(
        {
            "contract": account.id,
            "tariff": account.tariff_id,
            "name": account.name,
            "e-mail": account.email,
            "phone": account.phone,
            "balance": money(account.balance),
            "registered": account.date,
            "senders": ", ".join(account.senders),
            "default sender": account.default_sender,
            "any sender": None if account.any_sender is None else "yes" if account.any_sender else "no",
            **account.extra,
        }
    )
    return Exit.FINE


def inbound(client: Client, since: datetime | Literal["new"] | None, *, as_json: bool) -> int:
    """Show messages that came in."""
    messages = ask(client, lambda: client.inbound(since), lost=_MARKED if since == "new" else "")
    if as_json:
        print_json([attrs.asdict(message, recurse=False) for message in messages])
    else:
        print_table(
            ("created", "from", "to", "text"),
            [
                (message.created and f"{message.created:%Y-%m-%d %H:%M}", message.phone, message.num, message.text)
                for message in messages
            ],
        )
    if since == "new" and not is_output_taken():
        note(_MARKED)
    return Exit.FINE
