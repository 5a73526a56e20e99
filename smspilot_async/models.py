"""Messages, answers and results: frozen attrs classes, validated when they are created.

Phones and texts are personal data: no ``repr`` here shows them, nor does a notebook unless asked to. Unknown fields of
the gateway's answers are kept in ``extra``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import IntEnum
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Literal, TypeAlias, TypeVar
from urllib.parse import urlsplit

import attrs

from smspilot_async import text as _text
from smspilot_async._tools import clock as _clock
from smspilot_async.errors import InvalidMessage, Outcome, OutcomeUnknown, SmsPilotError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from smspilot_async._tools.history import History
    from smspilot_async.text import TextSize

__all__ = [
    "MOSCOW",
    "Accepted",
    "AccountInfo",
    "CallbackMethod",
    "DeliveryStatus",
    "InboundMessage",
    "Message",
    "MessageStatus",
    "NotSent",
    "Packet",
    "Refused",
    "SendResult",
    "Sendable",
    "SentMessage",
    "Unknown",
]

MOSCOW: Final = timezone(timedelta(hours=3), "MSK")
"""The zone of ``InboundMessage.created``: UTC+3, fixed."""

CallbackMethod: TypeAlias = Literal["get", "post"]

_LARGEST_ID: Final = 2**63 - 1
_SHORTEST_TTL, _LONGEST_TTL = 1, 1440
_digits = re.compile(r"[0-9]+", re.ASCII).fullmatch
_attribute_setter: Final = object.__setattr__.__get__
_not_in_a_url = re.compile("[\x00-\x20\x7f\ud800-\udfff\ufffe\uffff]").search


class DeliveryStatus(IntEnum):
    """A message's delivery status, as the gateway numbers it; any other number stays a plain ``int``.

    Whether a message was sent at all is a different question: see :class:`~smspilot_async.Outcome`.
    """

    UNKNOWN = -2
    """Refused, or not known to the gateway, which keeps messages for about 40 days. Final."""
    NOT_DELIVERED = -1
    """Not delivered; ``error`` may say why. Final."""
    ACCEPTED = 0
    """Accepted by the gateway."""
    WITH_OPERATOR = 1
    """Passed on to the operator."""
    DELIVERED = 2
    """Delivered to the phone. Final."""
    SCHEDULED = 3
    """Waiting for its ``send_at``."""


_FINAL: Final = frozenset({DeliveryStatus.UNKNOWN, DeliveryStatus.NOT_DELIVERED, DeliveryStatus.DELIVERED})
_STATUS_WORDS: Final[Mapping[int, str]] = {
    DeliveryStatus.UNKNOWN: "not taken, or not known to the gateway",
    DeliveryStatus.NOT_DELIVERED: "not delivered",
    DeliveryStatus.ACCEPTED: "accepted",
    DeliveryStatus.WITH_OPERATOR: "with the operator",
    DeliveryStatus.DELIVERED: "delivered",
    DeliveryStatus.SCHEDULED: "scheduled",
}
KNOWN_STATUSES: Final[Mapping[int | None, DeliveryStatus]] = {status.value: status for status in DeliveryStatus}


def _as_status(number: int | None) -> DeliveryStatus | int | None:
    return KNOWN_STATUSES.get(number, number)


def _id(value: Any) -> int:
    number = int(value) if isinstance(value, str) and len(value) < 20 and _digits(value) else value  # noqa: PLR2004
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= _LARGEST_ID:
        raise InvalidMessage("an id must be a whole number from 0 to 2^63-1", field="id", code=230)
    return number


def _check_sender(value: Any) -> None:
    if not isinstance(value, str):
        raise InvalidMessage(f"a sender must be a str, not {type(value).__name__}", field="sender", code=115)
    _text.check_sender(value)


def _check_send_at(value: Any) -> None:
    if not isinstance(value, datetime) or value.tzinfo is None or value.utcoffset() is None:
        raise InvalidMessage(
            "needs a datetime with a time zone, such as datetime(..., tzinfo=UTC)", field="send_at", code=250
        )
    try:
        value.astimezone(UTC)
    except OverflowError:
        raise InvalidMessage("is out of range in GMT", field="send_at", code=250) from None
    if value < _clock.current().now():
        raise InvalidMessage(f"{value.isoformat()} has passed", field="send_at", code=250)


def _check_callback(value: Any) -> None:
    if not is_web_address(value):
        raise InvalidMessage("needs an absolute http or https URL", field="callback", code=260)


def is_web_address(value: Any) -> bool:
    """Return whether the value is an absolute http or https URL."""
    if not isinstance(value, str) or _not_in_a_url(value):
        return False
    try:
        parts = urlsplit(value)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _check_callback_method(value: Any) -> None:
    if not isinstance(value, str) or value not in {"get", "post"}:
        raise InvalidMessage("must be 'get' or 'post'", field="callback_method", code=260)


def _check_ttl(value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not _SHORTEST_TTL <= value <= _LONGEST_TTL:
        raise wrong_ttl()


def wrong_ttl() -> InvalidMessage:
    """Return the error of a ttl that is not a whole number of minutes, or out of range."""
    allowed = f"{_SHORTEST_TTL} to {_LONGEST_TTL}"
    return InvalidMessage(f"must be a whole number of minutes from {allowed}", field="ttl", code=270)


@attrs.frozen(repr=False, init=False)
class Message:
    """One SMS to send. Every field is validated here, before anything is sent or paid for.

    Attributes:
        to: The phone, normalised to digits by :func:`~smspilot_async.text.normalize_phone`.
        text: 1 to 10 parts: up to 1530 septets of GSM-7 or 670 units of UCS-2; see
            :func:`~smspilot_async.text.measure`.
        sender: 3 to 11 Latin letters, digits, ``-`` or ``.``, or 10 to 16 digits; ``None`` for the account's default.
        id: Your own whole number for it, echoed in answers. By default the client assigns a unique one.
        send_at: When to send, with a time zone and not in the past; fractions of a second are dropped.
        callback: An absolute http(s) URL that the gateway calls at each change of status.
        callback_method: ``"get"`` (the gateway's default) or ``"post"``.
        ttl: Minutes within which it may be delivered, 1 to 1440.

    Raises:
        InvalidMessage: A field is invalid; the error has its name and the gateway's code for the fault.
    """

    # Private fields have repr=False even though __repr__ is written by hand: some tools show the fields attrs would.
    to: str = attrs.field(repr=False)
    text: str = attrs.field(repr=False)
    sender: str | None = attrs.field(default=None, kw_only=True, repr=False)
    id: int | None = attrs.field(default=None, kw_only=True)
    send_at: datetime | None = attrs.field(default=None, kw_only=True)
    callback: str | None = attrs.field(default=None, kw_only=True, repr=False)
    callback_method: CallbackMethod | None = attrs.field(default=None, kw_only=True)
    ttl: int | None = attrs.field(default=None, kw_only=True)

    def __init__(
        self,
        to: str | int,
        text: str,
        *,
        sender: str | None = None,
        id: int | str | None = None,  # noqa: A002 - the gateway's own word for it
        send_at: datetime | None = None,
        callback: str | None = None,
        callback_method: CallbackMethod | None = None,
        ttl: int | None = None,
    ) -> None:
        # Written by hand, as attrs would write it, so that the frame in a traceback holds nothing of the message.
        put = _attribute_setter(self)
        try:
            put("to", _text.normalize_phone(to))
            put("id", None if id is None else _id(id))
            _text.check_text(text)
            put("text", text)
            if sender is not None:
                _check_sender(sender)
            put("sender", sender)
            if send_at is not None:
                _check_send_at(send_at)
            put("send_at", send_at)
            if callback is not None:
                _check_callback(callback)
            put("callback", callback)
            if callback_method is not None:
                _check_callback_method(callback_method)
            put("callback_method", callback_method)
            if ttl is not None:
                _check_ttl(ttl)
            put("ttl", ttl)
        except InvalidMessage as error:
            problem = error.with_traceback(None)
        else:
            return
        del to, text, sender, callback
        raise problem

    @property
    def size(self) -> TextSize:
        """The text's alphabet, length and number of parts."""
        return _text.measure(self.text)

    def __repr__(self) -> str:
        shown = [f"id={self.id!r}", *(f"{name}=…" for name in ("to", "text"))]
        shown += [f"{name}=…" for name in ("sender", "callback") if getattr(self, name) is not None]
        if self.send_at is not None:
            shown.append(f"send_at={self.send_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}")
        if self.ttl is not None:
            shown.append(f"ttl={self.ttl}")
        return f"Message({', '.join(shown)})"


Sendable: TypeAlias = Message | Mapping[str, Any] | tuple[str, str]
"""What a message can be made from: a :class:`Message`, a mapping with its fields, or a pair ``(to, text)``."""


def status_word(status: int | None) -> str:
    """Return a status in words; an unknown one as its number, ``None`` as an empty string."""
    return "" if status is None else _STATUS_WORDS.get(status, f"status {status}")


_display: dict[str, Callable[[Any], Any]] = {}


def display_with(
    *,
    page: Callable[[Any], str],
    rows: Callable[[Any], list[dict[str, Any]]],
    figure: Callable[[History], Figure],
) -> None:
    """Register the display of answers, which imports the models; so the models need not import it."""
    _display.update(page=page, rows=rows, figure=figure)


def figure_of(history: History) -> Figure:
    """Return the figure of what was counted over time.

    Raises:
        ImportError: The extra ``notebook`` is not installed.
    """
    figure: Figure = _display["figure"](history)
    return figure


class Displayed:
    """Shows itself as a table at the end of a notebook cell: personal data masked, everything escaped."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return str(_display["page"](self))


def _extra() -> Any:
    return attrs.field(factory=dict, kw_only=True, repr=False, hash=False)


def _private(default: Any = None) -> Any:
    return attrs.field(default=default, repr=False)


@attrs.frozen(kw_only=True, slots=False)  # one is made for each message: with slots, a frozen one takes a third longer
class SentMessage(Displayed):
    """The gateway's answer about one message of a packet: accepted, refused, not sent, or unknown.

    Attributes:
        id: Your id for the message (or the client's); ``None`` if the answer could not be matched to one.
        server_id: The gateway's id for it, to pass to :meth:`~smspilot_async.Client.check`.
        server_packet_id: The gateway's id for its packet.
        sender, to, text: As the gateway echoes them.
        parts: The number of SMS it was split into.
        price: In roubles, with the gateway's digits.
        status: As answered, a :class:`DeliveryStatus`: -2 refused, 0 accepted, 3 scheduled; an unknown number is kept
            as it is.
        error: 0, or the gateway's code (:data:`~smspilot_async.errors.ERROR_CODES`).
        send_at: When it is scheduled, aware, UTC.
        country: ISO code.
        operator: The operator's name.
        extra: Fields that this library does not know.
        failure: Why it was not accepted: a :class:`~smspilot_async.errors.GatewayError` if the gateway refused it, a
            :class:`~smspilot_async.errors.MessageVetoed` if a hook did, an
            :class:`~smspilot_async.errors.OutcomeUnknown` if its outcome is unknown; ``None`` if it was accepted.
    """

    id: int | None = None
    server_id: str | None = None
    server_packet_id: str | None = None
    sender: str | None = _private()
    to: str | None = _private()
    text: str | None = _private()
    parts: int | None = None
    price: Decimal | None = None
    status: DeliveryStatus | int | None = attrs.field(default=None, converter=_as_status)
    error: int | None = None
    send_at: datetime | None = None
    country: str | None = None
    operator: str | None = None
    extra: Mapping[str, Any] = _extra()
    failure: SmsPilotError | None = attrs.field(default=None, eq=False)

    @property
    def outcome(self) -> Outcome:
        """Its outcome: ``accepted``, or that of its ``failure``."""
        return Outcome.ACCEPTED if self.failure is None else self.failure.outcome

    @property
    def accepted(self) -> bool:
        """The gateway accepted it."""
        return self.failure is None

    @property
    def refused(self) -> bool:
        """The gateway, or one of your hooks, refused it."""
        return self.outcome is Outcome.REFUSED

    @property
    def not_sent(self) -> bool:
        """It was not sent, nor refused: it may be sent again unchanged."""
        return self.outcome is Outcome.NOT_SENT

    @property
    def unknown(self) -> bool:
        """It may have been sent."""
        return self.outcome is Outcome.UNKNOWN


@attrs.frozen(kw_only=True)
class Packet(Displayed):
    """The answer to one packet, in the order in which its messages were passed.

    Attributes:
        messages: One entry per message, accepted or not: check each one's ``accepted``.
        server_packet_id: The gateway's id, for :meth:`~smspilot_async.Client.check_packet`. Messages that had to be
            sent again separately (error 110) carry their own in ``SentMessage.server_packet_id``.
        balance: The account's balance after it, in roubles.
        cost: Its cost, in roubles.
        extra: Fields that this library does not know.
    """

    messages: tuple[SentMessage, ...]
    server_packet_id: str | None = None
    balance: Decimal | None = None
    cost: Decimal | None = None
    extra: Mapping[str, Any] = _extra()

    @property
    def accepted(self) -> tuple[SentMessage, ...]:
        """The messages that the gateway accepted."""
        return tuple(message for message in self.messages if message.accepted)

    @property
    def refused(self) -> tuple[SentMessage, ...]:
        """The messages that were refused; each one's ``failure`` says why."""
        return tuple(message for message in self.messages if message.refused)

    @property
    def not_sent(self) -> tuple[SentMessage, ...]:
        """The messages that were not sent, and may be sent again unchanged; each one's ``failure`` says why."""
        return tuple(message for message in self.messages if message.not_sent)

    @property
    def unknown(self) -> tuple[SentMessage, ...]:
        """The messages that may have been sent."""
        return tuple(message for message in self.messages if message.unknown)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return its messages as rows for pandas and polars, phones and texts included (:func:`to_dicts`)."""
        return list(_display["rows"](self))


@attrs.frozen(kw_only=True, slots=False)  # the same: a hundred come with each packet that is asked about
class MessageStatus(Displayed):
    """The delivery status of one message.

    Attributes:
        id: Your id; 0 if none was given, and always 0 with the vendor's test key.
        server_id: The gateway's id.
        status: A :class:`DeliveryStatus`: -2 unknown to the gateway or refused, -1 not delivered, 0 accepted, 1 with
            the operator, 2 delivered, 3 scheduled; an unknown number is kept as it is.
        error: Delivery error (600 expired, 601 undeliverable, ...), if the gateway reports one.
        modified: When it last changed, **without a time zone**: the gateway does not say which one it uses.
        extra: Fields that this library does not know.
    """

    id: int | None = None
    server_id: str | None = None
    status: DeliveryStatus | int | None = attrs.field(default=None, converter=_as_status)
    error: int | None = None
    modified: datetime | None = None
    extra: Mapping[str, Any] = _extra()

    @property
    def is_final(self) -> bool:
        """It will not change again: delivered (2), not delivered (-1), or unknown (-2)."""
        return self.status in _FINAL

    @property
    def delivered(self) -> bool:
        """It reached the phone."""
        return self.status == DeliveryStatus.DELIVERED


@attrs.frozen(kw_only=True)
class InboundMessage(Displayed):
    """An SMS received by one of the account's numbers.

    Attributes:
        id: The gateway's id for it.
        phone: The phone it was sent from.
        num: The service number it was sent to.
        text: Its text, including the prefix.
        created: When it arrived, aware, Moscow time (UTC+3), to the minute.
        seen: Whether an earlier answer contained it.
        extra: Fields that this library does not know.
    """

    id: int | None = None
    phone: str | None = _private()
    num: str | None = _private()
    text: str | None = _private()
    created: datetime | None = None
    seen: bool | None = None
    extra: Mapping[str, Any] = _extra()


@attrs.frozen(kw_only=True)
class AccountInfo(Displayed):
    """The account, as the gateway describes it; its fields depend on the gateway's version.

    Attributes:
        id: The contract's number.
        tariff_id: The tariff's number.
        name: The customer's name, if given.
        email: The customer's email address.
        phone: The customer's phone.
        balance: In roubles.
        date: When the account was registered, **without a time zone**: the gateway does not say which one it uses.
        senders: Sender names that may be used.
        default_sender: The sender name of messages without one.
        any_sender: Whether any other name may be used, too.
        extra: Fields that this library does not know.
    """

    id: int | None = None
    tariff_id: int | None = None
    name: str | None = _private()
    email: str | None = _private()
    phone: str | None = _private()
    balance: Decimal | None = None
    date: datetime | None = None
    senders: tuple[str, ...] = _private(())  # a sender may be a phone
    default_sender: str | None = _private()
    any_sender: bool | None = None
    extra: Mapping[str, Any] = _extra()


Item_co = TypeVar("Item_co", covariant=True)


@attrs.frozen
class Accepted(Displayed, Generic[Item_co]):
    """The gateway accepted the message.

    Attributes:
        item: What the caller passed in.
        sent: The gateway's answer.
    """

    outcome: ClassVar[Literal[Outcome.ACCEPTED]] = Outcome.ACCEPTED

    item: Item_co = attrs.field(repr=False)
    sent: SentMessage


@attrs.frozen
class Refused(Displayed, Generic[Item_co]):
    """The message was refused by the gateway, or it was invalid or vetoed by a hook and therefore not sent.

    Attributes:
        item: What the caller passed in.
        error: Why.
        sent: The gateway's answer about it, if there is one.
    """

    outcome: ClassVar[Literal[Outcome.REFUSED]] = Outcome.REFUSED

    item: Item_co = attrs.field(repr=False)
    error: SmsPilotError
    sent: SentMessage | None = None


@attrs.frozen
class Unknown(Displayed, Generic[Item_co]):
    """The message may have been sent; no answer says whether it was. Never send it again automatically.

    Attributes:
        item: What the caller passed in.
        error: Why the outcome is unknown.
        sent: The gateway's answer about it, if there is one.
    """

    outcome: ClassVar[Literal[Outcome.UNKNOWN]] = Outcome.UNKNOWN

    item: Item_co = attrs.field(repr=False)
    error: OutcomeUnknown
    sent: SentMessage | None = None


@attrs.frozen
class NotSent(Displayed, Generic[Item_co]):
    """The message was not sent, nor refused: it may be sent again unchanged.

    Attributes:
        item: What the caller passed in.
        error: Why, if something went wrong.
        sent: The gateway's answer about it, if there is one (110, insufficient funds).
    """

    outcome: ClassVar[Literal[Outcome.NOT_SENT]] = Outcome.NOT_SENT

    item: Item_co = attrs.field(repr=False)
    error: SmsPilotError | None = None
    sent: SentMessage | None = None


SendResult: TypeAlias = Accepted[Item_co] | Refused[Item_co] | Unknown[Item_co] | NotSent[Item_co]
"""The result of one message: exactly one of these four."""
