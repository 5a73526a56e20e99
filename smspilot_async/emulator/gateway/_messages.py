"""What the gateway remembers: accepted messages, and those that came in.

They are frozen: a change of status makes a new one, so that one that a test holds does not change.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, Literal

import attrs

from smspilot_async.emulator.server._fields import plain

KEPT: Final = timedelta(days=40)

UNKNOWN: Final = -2
UNDELIVERED: Final = -1
ACCEPTED: Final = 0
WITH_OPERATOR: Final = 1
DELIVERED: Final = 2
SCHEDULED: Final = 3
FINAL: Final = frozenset({UNKNOWN, UNDELIVERED, DELIVERED})


@attrs.frozen
class StatusChange:
    """One step in a message's life."""

    at: datetime
    status: int
    error: int = 0


@attrs.frozen(kw_only=True)
class AcceptedMessage:
    """A message that the gateway took and will charge for.

    Attributes:
        server_id: The gateway's number for it.
        server_packet_id: The gateway's number for its packet.
        id: The number that the client gave it, or `None`.
        to: Digits, in the international form.
        sender: The sender's name, the account's default filled in.
        price: Roubles for all its parts.
        status: As of now; `error` says why it is -1.
        send_at: When it is to go out, in UTC; `None` for at once.
        ttl: Minutes.
        callback: The URL that is called at each change of status.
        test: Whether it came in a test packet, or under the test key, and goes nowhere.
        account: The `id` of the account that sent it.
        history: Every status it has had, the first one included.
    """

    server_id: str
    server_packet_id: str
    id: int | None
    to: str = attrs.field(repr=False)
    text: str = attrs.field(repr=False)
    sender: str = attrs.field(repr=False)
    parts: int
    price: Decimal
    status: int
    error: int = 0
    send_at: datetime | None = None
    ttl: int | None = None
    callback: str | None = attrs.field(default=None, repr=False)
    callback_method: Literal["get", "post"] = "get"
    country: str = ""
    operator: str = ""
    test: bool = False
    account: int = 1
    accepted_at: datetime
    modified: datetime
    history: tuple[StatusChange, ...] = attrs.field(repr=False)


MESSAGE_FIELDS: Final = frozenset(field.name for field in attrs.fields(AcceptedMessage))


def as_json(record: attrs.AttrsInstance) -> dict[str, Any]:
    """A message, or another record, as plain data: times in ISO 8601, money as text."""
    return attrs.asdict(record, value_serializer=lambda _owner, _field, value: _scalar(value))


def _scalar(value: Any) -> Any:
    return plain(value) if isinstance(value, datetime | Decimal) else value


@attrs.frozen(kw_only=True)
class InboundSms:
    """A message that was sent to the account's service number.

    Attributes:
        phone: Who sent it.
        num: The service number it came to.
        created: When, to the second; the wire shows Moscow time to the minute.
        seen: Whether an answer has carried it.
    """

    id: int
    phone: str = attrs.field(repr=False)
    num: str
    text: str = attrs.field(repr=False)
    created: datetime
    seen: bool = False
    account: int = 1
