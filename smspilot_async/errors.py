"""Every error of this library. Each one answers the question "was it sent?" with its :class:`Outcome`.

    SmsPilotError
    ├── InvalidMessage (ValueError)   refused: a field is wrong
    ├── ClientClosed                  not_sent
    ├── MessageVetoed                 refused by the application's own hook
    │   └── VetoFailed                not_sent: that hook failed
    ├── ConnectionFailed              not_sent: DNS, refused, TLS, proxy, no free connection in time
    ├── GatewayError                  refused or not_sent: the gateway answered with an error code
    │   ├── AuthenticationError       not_sent: the key, the login or this machine's address is not accepted
    │   ├── AccountBlocked            not_sent: the account may not send until the vendor lifts it
    │   ├── InsufficientFunds         not_sent: top up the balance
    │   ├── MessageRefused            refused: this message cannot be sent as it is
    │   │   └── DuplicateMessage      refused: the same text to the same phone, moments ago (or a blacklist)
    │   ├── GatewayBusy               not_sent: try again later
    │   ├── NotFound                  refused: the gateway does not (or no longer) know this id
    │   └── BadRequest                refused: the request itself is wrong
    ├── Unanswered                    unknown: no readable answer; if it was a read, ask again
    │   └── OutcomeUnknown            unknown: the same for a send, after its first byte; it may have been sent
    ├── NotFinal (TimeoutError)       unknown: no final status yet; accepted, where one was reported (in _statuses)
    └── CursorError                   not_sent; of listen: its cursor cannot be used (in _inbound)
        └── CursorInUse               not_sent; of listen: another listener holds the cursor

``refused`` is a decision against the message as it is; ``not_sent`` means that it may be sent again unchanged. Classes
correspond to what a caller does next. The gateway's code, in ``GatewayError.code``, alone selects the class: the
gateway's texts change from version to version. Errors hold plain values only, so all of them can be pickled, and never
a key, a password, a phone or a text.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ERROR_CODES",
    "AccountBlocked",
    "AuthenticationError",
    "BadRequest",
    "ClientClosed",
    "ConnectionFailed",
    "DuplicateMessage",
    "ErrorCode",
    "GatewayBusy",
    "GatewayError",
    "InsufficientFunds",
    "InvalidMessage",
    "MessageRefused",
    "MessageVetoed",
    "NotFound",
    "Outcome",
    "OutcomeUnknown",
    "Reason",
    "SmsPilotError",
    "Unanswered",
    "VetoFailed",
]


class Outcome(enum.StrEnum):
    """The outcome of a message: the same word in errors, results, rows, hooks, logs, files and telemetry."""

    ACCEPTED = "accepted"
    """The gateway accepted it."""
    REFUSED = "refused"
    """Refused as it is: by the gateway, by a check of its fields, or by the application's own hook."""
    NOT_SENT = "not_sent"
    """It was certainly not sent, nor refused: it may be sent again unchanged."""
    UNKNOWN = "unknown"
    """It may have been sent. The gateway cannot be asked; sending it again may send it twice."""


class Reason(enum.StrEnum):
    """Why there is no reliable answer."""

    TIMEOUT = "timeout"
    """The gateway did not answer within the request's timeout."""
    DEADLINE = "deadline"
    """The caller's deadline passed while the request was on the wire; its answer may still reach ``on_result``."""
    CANCELLED = "cancelled"
    """The request was cancelled on the wire, as when its event loop ends."""
    DISCONNECTED = "disconnected"
    """The connection broke before the whole answer had arrived."""
    HTTP_STATUS = "http_status"
    """An HTTP status and a body without an answer, such as a proxy's 502 page."""
    UNREADABLE = "unreadable"
    """The body is not an answer of the gateway: HTML, half a document, not UTF-8."""
    TOO_LARGE = "too_large"
    """The body is larger than any valid answer to this request."""
    MISMATCH = "mismatch"
    """The answer cannot be matched to the messages that were sent."""
    DUPLICATE = "duplicate"
    """The gateway reports a duplicate (243) after an earlier attempt, so that attempt may have been accepted."""
    PARTIAL = "partial"
    """An error document for a packet whose first messages the gateway may already have accepted."""
    SENT_BY_COST = "sent_by_cost"
    """A request that only asked for the price was answered as a real send."""


class SmsPilotError(Exception):
    """The base class of all errors of this library.

    Attributes:
        outcome: Whether the message was sent.
        command: The gateway's command that failed (``"send"``, ``"check"``, ...), if there was one.
        message_id: The ``id`` of the message that failed, if the error is about one message.
        packet_size: How many messages the failed request carried, if it carried messages.
    """

    outcome: Outcome = Outcome.NOT_SENT

    def __init__(
        self,
        message: str,
        *,
        command: str | None = None,
        message_id: int | None = None,
        packet_size: int | None = None,
    ) -> None:
        super().__init__(message)
        self.command = command
        self.message_id = message_id
        self.packet_size = packet_size

    @property
    def may_retry(self) -> bool:
        """Whether an automatic retry is safe.

        True if the message was neither sent nor refused, and for a read that was not answered. Whether a retry would
        help is a different question: it does not top up an empty balance.
        """
        return self.outcome is Outcome.NOT_SENT

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by attributes, since the arguments of the constructors are keywords."""
        return _revive, (type(self), self.args, self.__dict__.copy())


def _revive(cls: type[SmsPilotError], args: tuple[Any, ...], attributes: dict[str, Any]) -> SmsPilotError:
    error = cls.__new__(cls, *args)
    error.args = args  # an OSError, which TimeoutError is, leaves them to its constructor
    error.__dict__.update(attributes)
    return error


def set_send_nonce(error: SmsPilotError, nonce: bytes) -> None:
    """Store in an error which send it is about, hidden from users: a message's ``id`` may be used again."""
    vars(error)["_nonce"] = nonce


def send_nonce_of(error: SmsPilotError) -> bytes | None:
    """Return which send an error is about; ``None`` if no inbox tracks that send."""
    return vars(error).get("_nonce")


class InvalidMessage(SmsPilotError, ValueError):
    """A field of a message is invalid; nothing was sent.

    Attributes:
        field: The name of the field, as in :class:`~smspilot_async.Message`.
        code: The gateway's code for this fault.
    """

    outcome = Outcome.REFUSED

    def __init__(self, message: str, *, field: str, code: int, message_id: int | None = None) -> None:
        super().__init__(f"{field}: {message} (the gateway's code {code})", message_id=message_id)
        self.field = field
        self.code = code


class ClientClosed(SmsPilotError):
    """The client was closed; nothing was sent. Enter it again (``async with client:``) to reopen it."""


class MessageVetoed(SmsPilotError):
    """A hook of the application refused the message (:meth:`Hooks.veto`); nothing was sent.

    Attributes:
        reason: The hook's own words.
    """

    outcome = Outcome.REFUSED

    def __init__(
        self, message: str, *, reason: str, command: str | None = "send", message_id: int | None = None
    ) -> None:
        super().__init__(message, command=command, message_id=message_id)
        self.reason = reason


class VetoFailed(MessageVetoed):
    """A hook that may veto raised, or did not answer in time. Nothing was sent; the send can be retried.

    Attributes:
        reason: The hook, and the class of the exception it raised.
    """

    outcome = Outcome.NOT_SENT


class ConnectionFailed(SmsPilotError):
    """No connection to the gateway: DNS, refused, TLS, the proxy, or none was free in time. Nothing was sent."""


class GatewayError(SmsPilotError):
    """The gateway answered with an error code; :data:`ERROR_CODES` lists the known ones.

    Attributes:
        code: The gateway's code; ``None`` if it refused without one.
        description: The gateway's own text, shortened, with anything removed that may be a phone, a key, an address or
            words of a text.
        http_status: The HTTP status of the answer (usually 200, also for errors).
        retry_after: Seconds to wait, if the gateway named them (HTTP 429).
    """

    outcome = Outcome.REFUSED
    description: str

    def __init__(
        self,
        message: str,
        *,
        code: int | None = None,
        description: str = "",
        http_status: int | None = None,
        retry_after: float | None = None,
        command: str | None = None,
        message_id: int | None = None,
        packet_size: int | None = None,
    ) -> None:
        super().__init__(message, command=command, message_id=message_id, packet_size=packet_size)
        self.code = code
        self.description = description
        self.http_status = http_status
        self.retry_after = retry_after


class AuthenticationError(GatewayError):
    """The key or login is wrong or missing, or this address may not use it."""

    outcome = Outcome.NOT_SENT


class AccountBlocked(GatewayError):
    """The account is blocked; the vendor's support can unblock it."""

    outcome = Outcome.NOT_SENT


class InsufficientFunds(GatewayError):
    """The balance does not cover the messages."""

    outcome = Outcome.NOT_SENT


class MessageRefused(GatewayError):
    """The gateway refused this message as it is: its phone, sender, text or time."""


class DuplicateMessage(MessageRefused):
    """Loop protection: the same text went to the same phone moments ago; or the phone is on a blacklist (243)."""


class GatewayBusy(GatewayError):
    """The gateway asks to try again later (110, or HTTP 429)."""

    outcome = Outcome.NOT_SENT


class NotFound(GatewayError):
    """The gateway does not know the id; it keeps messages for about 40 days."""


class BadRequest(GatewayError):
    """The gateway considers the request malformed."""


class Unanswered(SmsPilotError):
    """The gateway gave no readable answer: timeout, reset, 5xx, HTML, too large. A read can be repeated.

    Attributes:
        reason: What was wrong with the answer.
        http_status: The HTTP status, if one arrived.
        excerpt: The first words of an answer that could not be read, such as a proxy's page, at most 200 characters:
            without markup, and without anything that may be a key, a phone, an address or words of a text. Empty if
            nothing arrived, or if the answer may hold other people's texts. It is in no other text of the error.
    """

    outcome = Outcome.UNKNOWN
    excerpt: str = ""

    def __init__(
        self,
        message: str,
        *,
        reason: Reason,
        http_status: int | None = None,
        command: str | None = None,
        message_id: int | None = None,
        packet_size: int | None = None,
        is_repeatable: bool = True,
    ) -> None:
        super().__init__(message, command=command, message_id=message_id, packet_size=packet_size)
        self.reason = reason
        self.http_status = http_status
        self._is_repeatable = is_repeatable

    @property
    def may_retry(self) -> bool:
        """Whether asking again is safe; not after ``inbound("new")``, which may have marked messages as read."""
        return self._is_repeatable


class OutcomeUnknown(Unanswered):
    """A request to send left this machine, and no answer says whether it was accepted. It is never retried.

    Attributes:
        code: The gateway's code, if it answered with one (243, or an error document for a packet).
        server_packet_id: The packet's id, if the answer still named it: pass it to ``check_packet``.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: Reason,
        code: int | None = None,
        server_packet_id: str | None = None,
        http_status: int | None = None,
        command: str | None = "send",
        message_id: int | None = None,
        packet_size: int | None = None,
    ) -> None:
        super().__init__(
            message,
            reason=reason,
            http_status=http_status,
            command=command,
            message_id=message_id,
            packet_size=packet_size,
            is_repeatable=False,
        )
        self.code = code
        self.server_packet_id = server_packet_id


@attrs.frozen
class ErrorCode:
    """One row of the gateway's list of error codes.

    Attributes:
        code: The number.
        text: The vendor's text, in English.
        error: The class that is raised for it.
        advice: What to do about it.
    """

    code: int
    text: str
    error: type[GatewayError]
    advice: str


_FIX_REQUEST = "This looks like a bug in the client library, or in something between it and the gateway; report it."
_FIX_KEY = "Check the API key (or login and password) in the vendor's cabinet."
_SUPPORT = "Write to the vendor's support."
_PAY = "Top up the balance; then the messages that were not sent can be sent."
_FIX_PHONE = "Correct the phone number, or remove it from the list."
_FIX_SENDER = "Use a sender name that is registered in the vendor's cabinet, or none for the account's default."
_FIX_TEXT = "Change the text."
_LATER = "Wait and try again."
_DUPLICATE = "Do not send it again before the account's duplicate window has passed; check whether it was already sent."
_FIX_IDS = "Check the ids; the gateway keeps messages for about 40 days."
_DELIVERY = "The message was not delivered."
_TEMPLATE = "Make the text match a template that is registered in the vendor's cabinet."

_CATALOGUE: Final[tuple[tuple[type[GatewayError], str, dict[int, str]], ...]] = (
    (
        BadRequest,
        _FIX_REQUEST,
        {
            10: "INPUT data is required",
            11: "Unknown INPUT format",
            12: "XML structure is invalid",
            13: "JSON structure is invalid",
            14: "Unknown COMMAND",
            231: "PACKET_ID is invalid",
            240: "Invalid INPUT list",
            275: "Invalid list fields",
            300: "SMS server_id is required",
            303: "Invalid IDs list",
            500: "Invalid -since- format",
        },
    ),
    (
        AuthenticationError,
        _FIX_KEY,
        {
            100: "APIKEY is required",
            101: "APIKEY is invalid",
            102: "APIKEY not found",
            400: "User not found",
            401: "Invalid login details",
        },
    ),
    (
        AuthenticationError,
        "Allow this machine's address in the vendor's cabinet, under settings, API.",
        {113: "IP restriction"},
    ),
    (
        AccountBlocked,
        _SUPPORT,
        {
            105: "APIKEY is blocked (balance)",
            106: "APIKEY is blocked (spam)",
            107: "APIKEY is blocked (untrusted)",
            122: "APIKEY is temporarily blocked",
        },
    ),
    (InsufficientFunds, _PAY, {112: "No money", 241: "You don't have enough money"}),
    (GatewayBusy, _LATER, {110: "System error"}),
    (
        MessageRefused,
        _FIX_PHONE,
        {
            108: "Phone is required",
            111: "Invalid phone",
            212: "Phone is deprecated",
            213: "Unsupported zone",
            215: "Invalid phone length",
            605: "Recipient has disabled such messages",
        },
    ),
    (MessageRefused, "Send it in a packet of its own.", {214: "Phone is duplicated"}),
    (
        MessageRefused,
        _FIX_SENDER,
        {
            115: "Invalid sender",
            200: "Sender is required",
            201: "Sender is invalid",
            204: "Sender unregistered",
            226: "Shared sender disabled",
            640: "Sender is not allowed",
            641: "Sender is not allowed",
            642: "Sender is not allowed",
            643: "Sender is not allowed",
            644: "Sender is not allowed",
            645: "Sender is not allowed",
        },
    ),
    (
        MessageRefused,
        _FIX_TEXT,
        {
            220: "TEXT is required",
            221: "TEXT too long",
            223: "TEXT is an advertisement",
            224: "Spam protection",
            225: "Spam protection",
            247: "Filter",
            248: "Cyrillic and Latin in one word",
        },
    ),
    (
        MessageRefused,
        _TEMPLATE,
        {
            630: "TEXT does not match a template",
            631: "TEXT does not match a template",
            632: "TEXT does not match a template",
            633: "TEXT does not match a template",
            634: "TEXT does not match a template",
        },
    ),
    (MessageRefused, "Use a whole number as the message's id.", {230: "ID is invalid"}),
    (
        MessageRefused,
        "A trial account sends two messages at a time; ask the vendor for full access.",
        {242: "SMS count limit (trial)"},
    ),
    (DuplicateMessage, _DUPLICATE, {243: "Loop protection, blacklist"}),
    (MessageRefused, "Use a time in the near future, in GMT.", {250: "Invalid SEND_DATETIME"}),
    (MessageRefused, "Use a plain absolute URL; some accounts take http only.", {260: "Invalid callback URL"}),
    (MessageRefused, "Use a ttl in minutes within the gateway's limits (10 to 1440).", {270: "Invalid ttl"}),
    (
        NotFound,
        _FIX_IDS,
        {
            301: "SMS server_id is invalid",
            302: "SMS server_id not found",
            304: "SERVER_PACKET_ID is invalid",
        },
    ),
    (
        MessageRefused,
        _DELIVERY,
        {
            600: "Expired",
            601: "Undeliverable",
            602: "Destination unreachable",
            603: "Rejected",
            604: "Cancelled",
        },
    ),
)

ERROR_CODES: Final[Mapping[int, ErrorCode]] = {
    code: ErrorCode(code, text, error, advice)
    for error, advice, texts in _CATALOGUE
    for code, text in sorted(texts.items())
}
"""The known codes: from the vendor's document 2.4.16, and seen live since."""

_ACCOUNT_ERRORS: Final = (AuthenticationError, AccountBlocked, InsufficientFunds)


_ACCOUNT_CODES: Final = frozenset({112, 241})


def is_account_error(error: SmsPilotError) -> bool:
    """Return whether every other message of this account would fail the same way."""
    return isinstance(error, _ACCOUNT_ERRORS) or getattr(error, "code", None) in _ACCOUNT_CODES
