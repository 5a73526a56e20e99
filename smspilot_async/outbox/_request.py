"""One request of a ledger's sender: a claimed packet, sent once, and how long it may be on the wire."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from smspilot_async._network.base import longest_unacknowledged
from smspilot_async.errors import InvalidMessage, SmsPilotError
from smspilot_async.models import Message, Packet
from smspilot_async.outbox._ledger import SECOND, MessageAnswer, Why, content_hash, nonce_mark, send_nonce
from smspilot_async.outbox._states import Event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smspilot_async import Client
    from smspilot_async.outbox._ledger import Claim, ClaimedMessage

__all__ = ["lasting", "longest_on_the_wire", "may_probe", "messages_of_claim", "send_once", "start_within"]

_LONGEST_START: Final = 10.0
"""Seconds, from before a claim is asked for, within which its request begins, or never."""


async def send_once(
    client: Client, messages: Sequence[Message], *, token: str, salt: bytes, not_after: float
) -> Packet | SmsPilotError:
    """Send one packet, once: nothing is packed, split or repeated.

    Args:
        client: What sends.
        messages: With the ledger's numbers as their ids.
        token: Of the attempt: by it a callback shows which attempt it is about.
        salt: The ledger's: by it a callback shows which message it is about.
        not_after: If no byte has left by then, none does, in :func:`boot_time`; compared in the step that writes it.
    """
    try:
        return await client._send_once(  # noqa: SLF001 - made for this call
            messages, not_after=not_after, nonce_of=partial(_nonce, token, salt)
        )
    except SmsPilotError as error:
        return error


def _nonce(token: str, salt: bytes, message: Message) -> bytes:
    id_ = message.id or 0
    return send_nonce(token, id_, nonce_mark(salt, id_, content_hash(salt, message.to, message.text)))


def may_probe(client: Client) -> str | None:
    """Return why an unanswered packet of a client may arrive even after its lease; ``None`` if it cannot."""
    return client._late_bytes  # noqa: SLF001 - made for this call


def start_within(client: Client) -> float:
    """Return the seconds, from before a claim is asked for, by which its request has begun or does not begin."""
    return min(_LONGEST_START, _timeout(client))


def longest_on_the_wire(client: Client) -> float:
    """Return the seconds, from before a claim is asked for, after which nothing of its request can arrive any more."""
    timeout = _timeout(client)
    return start_within(client) + timeout + longest_unacknowledged(timeout)


def _timeout(client: Client) -> float:
    return client._settings.timeout  # noqa: SLF001 - it has no public word for it


def lasting(claim: Claim) -> float:
    """Return the seconds for which everything in a packet may still leave."""
    ends = claim.messages.ends
    if claim.expires_at is not None:
        ends.append(claim.expires_at)
    return (min(ends) - claim.intent_at) / SECOND if ends else math.inf


def messages_of_claim(claim: Claim, lease: int) -> tuple[list[Message], list[int], list[MessageAnswer]]:
    """Make the messages of a claim, with how often each was claimed; rows of others that make none are refused."""
    closes_at = None if claim.closes_at is None else claim.closes_at - lease  # the ttl begins later than the intent
    messages: list[Message] = []
    tries: list[int] = []
    invalid: list[MessageAnswer] = []
    for one in claim.messages:
        try:
            messages.append(_message(one, claim.intent_at, closes_at))
        except InvalidMessage as error:
            invalid.append(
                MessageAnswer(id=one.id, event=Event.REFUSED, reason=Why.INVALID, code=error.code, on_wire=False)
            )
        else:
            tries.append(one.tries)
    return messages, tries, invalid


def _message(one: ClaimedMessage, intent_at: int, closes_at: int | None) -> Message:
    ttl = one.ttl
    if closes_at is not None:
        ttl = max(1, min((closes_at - intent_at) // (60 * SECOND), ttl or 1440, 1440))
    if one.valid_until is not None:
        minutes = -(-(one.valid_until - intent_at) // (60 * SECOND))
        ttl = max(1, min(minutes, ttl or 1440, 1440))
    method: Any = one.callback_method
    return Message(
        one.phone,
        one.text,
        sender=one.sender,
        id=one.id,
        callback=one.callback,
        callback_method=method,
        send_at=None if one.send_at is None else datetime.fromtimestamp(one.send_at / SECOND, UTC),
        ttl=ttl,
    )
