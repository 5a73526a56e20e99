"""The command ``send``: send one message, and report what is known about it."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from smspilot_async.cli._errors import Exit, Problem, exit_code, explain, explain_end
from smspilot_async.cli._interrupts import Interrupts
from smspilot_async.cli._output import NOTHING_HANDED_OVER, lost_output, money, note, print_facts, print_json
from smspilot_async.errors import InvalidMessage, OutcomeUnknown, Reason, SmsPilotError
from smspilot_async.models import Message, status_word
from smspilot_async.text import dialled

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from smspilot_async import Client
    from smspilot_async.models import SentMessage
    from smspilot_async.text import Country


def make_message(to: str, text: str, *, country: Country | None = None, **fields: Any) -> Message:
    """Return the message of the arguments; a phone without ``+`` is read as written in `country`.

    Raises:
        Problem: One of them is wrong.
    """
    try:
        return Message(to if country is None else dialled(to, country), text, **fields)
    except InvalidMessage as wrong:
        error = wrong
    raise Problem(explain(error), error=error)


def send(message: Message, client: Client, *, as_json: bool) -> int:
    """Send a message and return the exit code.

    Raises:
        Problem: It was not accepted, or that is unknown.
    """
    return asyncio.run(_send(message, client, as_json=as_json))


async def _send(message: Message, client: Client, *, as_json: bool) -> int:
    is_test = client.is_test
    async with client:
        with Interrupts(stop=_keep_waiting, quit=partial(_give_up, client)) as interrupts:
            failure = await _failure(client.send_message(message), partial(_show, is_test=is_test, as_json=as_json))
    if failure is None:
        return interrupts.exit_code or Exit.FINE
    raise Problem(
        explain_end(failure, about=f"the message to {message.to}"),
        exit_code(failure),
        error=failure,
        outcome=failure.outcome.value,
        test=is_test,
        to=message.to,
    )


async def _failure(
    sending: Coroutine[Any, Any, SentMessage], show: Callable[[SentMessage], None]
) -> SmsPilotError | None:
    try:
        sent = await sending
    except SmsPilotError as error:
        return error
    except asyncio.CancelledError:  # Ctrl-C where the loop supports no signal handlers
        return OutcomeUnknown(
            "interrupted before the gateway's answer came; it may have been sent.", reason=Reason.CANCELLED
        )
    show(sent)
    if lost_output() is not None:
        note(f"the message was accepted: server id {sent.server_id}, packet {sent.server_packet_id}.")
    return None


def _keep_waiting() -> None: ...


_closing: set[asyncio.Future[None]] = set()  # a reference, because the loop keeps only weak ones


def _give_up(client: Client) -> None:
    # The client knows what has left: closing it ends the request with its true outcome.
    _closing.add(asyncio.ensure_future(client.aclose(timeout=0.0)))


def _show(sent: SentMessage, *, is_test: bool, as_json: bool) -> None:
    if as_json:
        print_json({"outcome": sent.outcome.value, "test": is_test, **sent_as_json(sent)})
        return
    print_facts(
        {
            "test": NOTHING_HANDED_OVER if is_test else None,
            "server id": sent.server_id,
            "packet": sent.server_packet_id,
            "to": sent.to,
            "from": sent.sender,
            "status": status_word(sent.status),
            "send at": sent.send_at and sent.send_at.isoformat(" "),
            "parts": sent.parts,
            "price": money(sent.price),
            "operator": " ".join(filter(None, (sent.country, sent.operator))),
        }
    )


def sent_as_json(sent: SentMessage) -> Mapping[str, Any]:
    """Return the gateway's answer about one message as JSON data."""
    return attrs.asdict(sent, recurse=False, filter=_without(attrs.fields(type(sent)).failure))


def _without(left_out: attrs.Attribute[Any]) -> Callable[[attrs.Attribute[Any], Any], bool]:
    return lambda attribute, _: attribute.name != left_out.name
