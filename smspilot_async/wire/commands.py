"""The gateway's commands, as values; :func:`~smspilot_async.wire.encode` encodes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar, Generic, Literal, TypeAlias, TypeVar

import attrs

from smspilot_async.models import AccountInfo, InboundMessage, Message, MessageStatus, Packet

Answer_co = TypeVar("Answer_co", covariant=True)

WireFormat: TypeAlias = Literal["json", "xml"]


@attrs.frozen(repr=False)
class Credentials:
    """Credentials: the fields of a JSON document, or attributes of the XML root. Their ``repr`` shows no values.

    Attributes:
        fields: ``(("apikey", …),)`` or ``(("login", …), ("password", …))``.
    """

    fields: tuple[tuple[str, str], ...] = attrs.field(repr=False)  # some tools show what attrs would

    def __repr__(self) -> str:
        return f"Credentials({', '.join(name for name, _ in self.fields)}=…)"


class Command(Generic[Answer_co]):
    """One command of the gateway; the type parameter is the type of its answer.

    Attributes:
        name: The command's name, for errors and logs, and the key of its answer.
        answer_base, answer_per_item: The largest answer, in bytes: a base, plus a number per item.
    """

    __slots__ = ()
    name: ClassVar[str]
    answer_base: ClassVar[int] = 64 * 1024
    answer_per_item: ClassVar[int] = 0

    @property
    def size(self) -> int:
        """The number of items in it."""
        return 1

    @property
    def largest_answer(self) -> int:
        """The maximum size of an answer, in bytes."""
        return self.answer_base + self.answer_per_item * self.size


@attrs.frozen
class _Messages:
    """Messages with the ids they are sent with, and the sender of those without one."""

    messages: Sequence[Message]
    ids: Sequence[int]
    sender: str | None = attrs.field(default=None, repr=False)
    callbacks: Mapping[int, str] = attrs.field(factory=dict, kw_only=True, repr=False)
    """By id: the callback URL, for messages without one."""
    senders: Mapping[int, str] = attrs.field(factory=dict, kw_only=True, repr=False)
    """By id: the sender, which takes precedence over the common one, for messages without one."""

    @property
    def size(self) -> int:
        return len(self.messages)


@attrs.frozen
class Send(_Messages, Command[Packet]):
    """Send a packet of messages."""

    name: ClassVar[str] = "send"
    # Ten parts of text, every character escaped (\uXXXX, &quot;), and the fields around it.
    answer_per_item: ClassVar[int] = 16 * 1024
    test: bool = False


@attrs.frozen
class Cost(_Messages, Command[Decimal | Packet]):
    """Ask for the price of a packet of messages. If the answer is a :class:`Packet`, it was a real send."""

    name: ClassVar[str] = "cost"
    answer_per_item: ClassVar[int] = 16 * 1024


@attrs.frozen
class Check(Command[list[MessageStatus]]):
    """Ask for the statuses of messages."""

    name: ClassVar[str] = "check"
    answer_per_item: ClassVar[int] = 1024
    server_ids: Sequence[str]

    @property
    def size(self) -> int:
        """The number of statuses requested."""
        return len(self.server_ids)


@attrs.frozen
class CheckPacket(Command[list[MessageStatus]]):
    """Ask for the statuses of all messages of a packet."""

    name: ClassVar[str] = "check"
    answer_base: ClassVar[int] = 8 * 1024 * 1024
    server_packet_id: str


@attrs.frozen
class Balance(Command[Decimal]):
    """Ask for the balance, in roubles (``"rur"``) or as a rough count of SMS (``"sms"``)."""

    name: ClassVar[str] = "balance"
    unit: Literal["rur", "sms"] = "rur"


@attrs.frozen
class Info(Command[AccountInfo]):
    """Ask for the account's data."""

    name: ClassVar[str] = "info"
    answer_base: ClassVar[int] = 1024 * 1024


@attrs.frozen
class Inbound(Command[list[InboundMessage]]):
    """Ask for inbound messages: all, those since a time, or (``"new"``) those that no answer has contained yet."""

    name: ClassVar[str] = "inbound"
    answer_base: ClassVar[int] = 8 * 1024 * 1024
    since: datetime | Literal["new"] | None = None

    @property
    def is_destructive(self) -> bool:
        """Reading ``"new"`` marks messages as read: a lost answer loses them."""
        return self.since == "new"


def is_repeatable(command: Command[Any]) -> bool:
    """Return whether the command has no side effects, so that it may be repeated."""
    return not isinstance(command, Send) and not (isinstance(command, Inbound) and command.is_destructive)
