"""What can be asked of the gateway, as values; :func:`~smspilot_async.wire.encode` writes them down."""

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
    """Who asks: the fields that stand in a JSON document, or as attributes of the XML root. Its ``repr`` tells nothing.

    Attributes:
        fields: ``(("apikey", …),)`` or ``(("login", …), ("password", …))``.
    """

    fields: tuple[tuple[str, str], ...] = attrs.field(repr=False)  # some tools show what attrs would

    def __repr__(self) -> str:
        return f"Credentials({', '.join(name for name, _ in self.fields)}=…)"


class Command(Generic[Answer_co]):
    """One command of the gateway; the type parameter is what it is answered with.

    Attributes:
        name: The command's name, for errors and logs, and the key of its answer.
        answer_base, answer_per_item: The largest answer, in bytes: a base, and so much more per item asked for.
    """

    __slots__ = ()
    name: ClassVar[str]
    answer_base: ClassVar[int] = 64 * 1024
    answer_per_item: ClassVar[int] = 0

    @property
    def size(self) -> int:
        """How many items it carries."""
        return 1

    @property
    def largest_answer(self) -> int:
        """The most bytes that an answer may have."""
        return self.answer_base + self.answer_per_item * self.size


@attrs.frozen
class _Messages:
    """Messages with the ids they travel under, and the sender of those that name none."""

    messages: Sequence[Message]
    ids: Sequence[int]
    sender: str | None = attrs.field(default=None, repr=False)
    callbacks: Mapping[int, str] = attrs.field(factory=dict, kw_only=True, repr=False)
    """By id: the URL to call, for messages that name none."""
    senders: Mapping[int, str] = attrs.field(factory=dict, kw_only=True, repr=False)
    """By id: the sender, before the one of all, for messages that name none."""

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
    """Price a packet of messages. An answer that is a :class:`Packet` was a real send."""

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
        """How many statuses are asked for."""
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
    """Ask about the account."""

    name: ClassVar[str] = "info"
    answer_base: ClassVar[int] = 1024 * 1024


@attrs.frozen
class Inbound(Command[list[InboundMessage]]):
    """Ask for inbound messages: all, those since a time, or (``"new"``) those that no answer carried yet."""

    name: ClassVar[str] = "inbound"
    answer_base: ClassVar[int] = 8 * 1024 * 1024
    since: datetime | Literal["new"] | None = None

    @property
    def is_destructive(self) -> bool:
        """Reading ``"new"`` marks messages as read: a lost answer loses them."""
        return self.since == "new"


def is_repeatable(command: Command[Any]) -> bool:
    """Tell whether asking twice is the same as asking once."""
    return not isinstance(command, Send) and not (isinstance(command, Inbound) and command.is_destructive)
