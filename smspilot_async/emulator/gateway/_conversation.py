"""What was said with one phone, both ways, in the order in which it was said.

Times do not give that order, because a clock may stand still. So the gateway counts, for each message that comes in,
how many it had accepted before.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

from smspilot_async.emulator.gateway._messages import AcceptedMessage, InboundSms

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smspilot_async.emulator.gateway._gateway import Gateway

Said: TypeAlias = AcceptedMessage | InboundSms


def said_with(gateway: Gateway, phone: str, start: int, most: int) -> list[Said]:
    """What was said while the messages of these positions were accepted.

    Args:
        gateway: The gateway.
        phone: Digits, in the international form.
        start: The position of an accepted message. What came in after the last of all is said with the position after.
        most: How many positions are looked at.
    """
    said: list[Said] = []
    end = start + most
    incoming = _incoming(gateway, phone, start, end)
    waiting = next(incoming, None)
    for position, message in enumerate(gateway.store.messages[start:end], start):
        while waiting is not None and waiting[0] <= position:
            said.append(waiting[1])
            waiting = next(incoming, None)
        if message.to == phone:
            said.append(message)
    if waiting is not None:
        said += [waiting[1], *(sms for _, sms in incoming)]
    return said


def _incoming(gateway: Gateway, phone: str, start: int, end: int) -> Iterator[tuple[int, InboundSms]]:
    first = bisect_left(gateway.arrivals, start, key=lambda arrival: arrival[0])
    for position, number, account in islice(gateway.arrivals, first, None):
        if position >= end:
            return
        inbox = gateway.inboxes[account].messages
        sms = inbox[bisect_left(inbox, number, key=lambda sms: sms.id)]
        if sms.phone == phone:
            yield position, sms
