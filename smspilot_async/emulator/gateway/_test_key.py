"""The vendor's public test key, for which nothing is sent, charged or stored.

Its account and its numbers are what the vendor's page and other clients' tests show. Since nothing is stored, a check
is answered whatever it asks about, with statuses by a rule; the vendor does not say by which, so this one is made up:
the last digit of a number says what its message is at first, and from there it moves to its end.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

import attrs

from smspilot_async.emulator.gateway._accounts import TEST_KEY, Account
from smspilot_async.emulator.gateway._messages import (
    ACCEPTED,
    DELIVERED,
    FINAL,
    UNDELIVERED,
    WITH_OPERATOR,
    StatusChange,
)

_PACKET: Final = "123456"
_FIRST_SERVER_ID: Final = 10_000
_ACCOUNT: Final = 1_000_000
_AT_FIRST: Final = (DELIVERED, DELIVERED, WITH_OPERATOR, ACCEPTED, UNDELIVERED)


def new_account() -> Account:
    """The account that every emulator has for the key."""
    return Account(
        api_key=TEST_KEY,
        id=_ACCOUNT,
        name="Букин Геннадий",
        balance=Decimal("20006.97"),
        senders=("INFORM",),
        default_sender="INFORM",
    )


@attrs.define
class TestKeyMessages:
    """The messages under the key: only those of its last packet have a time of their own.

    Attributes:
        began: When all others were accepted, whether they were ever sent or not.
    """

    began: datetime
    _last: dict[str, datetime] = attrs.Factory(dict)

    @property
    def server_ids(self) -> list[str]:
        """What any packet holds: the messages of the last one. Before the first one it is a message all the same."""
        return list(self._last) or [str(_FIRST_SERVER_ID)]

    def open_packet(self) -> str:
        """The number of a new packet."""
        self._last = {}
        return _PACKET

    def next_server_id(self, now: datetime) -> str:
        """The number of a new message: they count from the same one in each packet."""
        server_id = str(_FIRST_SERVER_ID + len(self._last))
        self._last[server_id] = now
        return server_id

    def accepted_at(self, server_id: str) -> datetime:
        """When a message was accepted."""
        return self._last.get(server_id, self.began)


def status_of(
    server_id: str, since: datetime, now: datetime, *, handover: timedelta, delivery: timedelta
) -> StatusChange:
    """The last change of a message that was accepted at `since` and not stored."""
    first = StatusChange(since, _AT_FIRST[int(server_id[-1]) % len(_AT_FIRST)])
    if first.status in FINAL:
        return first
    if now >= since + delivery:
        return StatusChange(since + delivery, DELIVERED)
    if first.status == ACCEPTED and now >= since + handover:
        return StatusChange(since + handover, WITH_OPERATOR)
    return first
