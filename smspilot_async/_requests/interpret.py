"""What an answer, or the lack of one, proves: pure functions from HTTP replies to answers and errors.

Nothing is raised here. An error is returned as a value and raised later, outside of any ``except`` block, so that it
holds no exception of a parser or httpx, and no bytes of a request.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs

from smspilot_async._network.base import Failure, Reply
from smspilot_async.errors import (
    ERROR_CODES,
    AccountBlocked,
    AuthenticationError,
    BadRequest,
    ConnectionFailed,
    GatewayBusy,
    GatewayError,
    MessageRefused,
    Outcome,
    OutcomeUnknown,
    Reason,
    SmsPilotError,
    Unanswered,
)
from smspilot_async.models import Packet, SentMessage
from smspilot_async.wire import (
    Balance,
    Check,
    CheckPacket,
    Command,
    Cost,
    ErrorDocument,
    Send,
    UnreadableAnswer,
    decode,
    excerpt,
    redact,
)
from smspilot_async.wire.commands import is_repeatable

if TYPE_CHECKING:
    from collections.abc import Sequence

Answer = TypeVar("Answer")

_DUPLICATE: Final = 243
_OK: Final = 200
_TOO_MANY_REQUESTS: Final = 429
_ELSEWHERE: Final = {301, 302, 303, 307, 308, 404, 405, 410}  # the url is probably not the gateway's
_REFUSED: Final = -2
_UNDELIVERED: Final = -1
_NEVER_OF_A_SEND: Final = frozenset({300, 301, 302, 303, 304, 500})  # the codes of check and inbound
# The gateway reads the document and the account before it looks at messages, and checks a message before it accepts it;
# 110 means that the gateway's backend was unavailable, 112 that the account is empty. 241 (not enough for all of it)
# and unknown codes may be raised when the first messages of a packet have already been accepted.
_PROVES_NOTHING_WAS_TAKEN: Final = (BadRequest, AuthenticationError, AccountBlocked, MessageRefused, GatewayBusy)
_NO_MONEY: Final = 112


def interpret(
    command: Command[Answer],
    result: Reply | Failure,
    *,
    now: datetime,
    tried_before: bool = False,
    secrets: Sequence[str] = (),
) -> Answer | SmsPilotError:
    """Turn the end of an HTTP exchange into an answer or an error.

    Args:
        command: The command of the request.
        result: The reply or the failure.
        now: The current time, for a ``Retry-After`` that is a date; aware.
        tried_before: Whether an earlier attempt of the same send may have reached the gateway.
        secrets: The key, or login and password, of the request: no error contains them.
    """
    if isinstance(result, Failure):
        return _failed(command, result)
    answer = _decoded(command, result.body)
    if isinstance(answer, UnreadableAnswer):
        return _with_excerpt(_unreadable(command, result, answer, now), command, result, secrets)
    if isinstance(answer, ErrorDocument):
        error = _interpret_error_document(command, result, answer, now, tried_before=tried_before, secrets=secrets)
        return _with_excerpt(error, command, result, secrets)
    if isinstance(answer, Packet):
        return _packet(command, answer, tried_before=tried_before)  # type: ignore[return-value]
    return answer


def _decoded(command: Command[Answer], body: bytes) -> Answer | ErrorDocument | UnreadableAnswer:
    try:
        return decode(command, body)
    except (ErrorDocument, UnreadableAnswer) as outcome:
        return outcome.with_traceback(None)


# --- no answer -----------------------------------------------------------------------------------


def _failed(command: Command[Any], failure: Failure) -> SmsPilotError:
    if not failure.request_started:
        return ConnectionFailed(
            f"{_subject(command)}: {failure.detail}. Nothing was sent; it can be tried again.", **about(command)
        )
    return _unanswered(command, failure.reason, failure.detail, failure.http_status)


def _unreadable(command: Command[Any], reply: Reply, answer: UnreadableAnswer, now: datetime) -> SmsPilotError:
    if reply.status == _TOO_MANY_REQUESTS:
        return _too_many_requests(command, reply, now)
    if reply.status >= 300:  # noqa: PLR2004 - redirects are not followed: a POST would be sent twice
        advice = "; check that the url is the gateway's" if reply.status in _ELSEWHERE else ""
        return _unanswered(command, Reason.HTTP_STATUS, f"HTTP {reply.status} with {answer}{advice}", reply.status)
    return _unanswered(command, Reason.UNREADABLE, str(answer), reply.status)


def _too_many_requests(command: Command[Any], reply: Reply, now: datetime) -> GatewayBusy:
    return GatewayBusy(
        f"{_subject(command)}: too many requests (HTTP 429). Nothing was sent; wait and try again.",
        http_status=reply.status,
        retry_after=retry_after(reply, now),
        **about(command),
    )


def _unanswered(command: Command[Any], reason: Reason, detail: str, status: int | None) -> Unanswered:
    if isinstance(command, Send):
        return unknown(command, reason, detail, http_status=status)
    return Unanswered(
        f"{_subject(command)}: no readable answer ({detail}). {_advice_after(command)}",
        reason=reason,
        http_status=status,
        is_repeatable=is_repeatable(command),
        **about(command),
    )


def _advice_after(command: Command[Any]) -> str:
    if is_repeatable(command):
        return "Ask again."
    return "It may have marked messages as read: query them by date."


def unknown(command: Send, reason: Reason, detail: str, **more: Any) -> OutcomeUnknown:
    """Return the error of a send that may have reached the gateway."""
    return OutcomeUnknown(
        f"{_subject(command)}: the outcome is unknown ({detail}). It may have been sent: do not send it again before "
        "you know; the vendor's cabinet lists what arrived.",
        reason=reason,
        **about(command),
        **more,
    )


_SAYS_NOTHING_OF_OTHERS: Final = (Send, Cost, Check, CheckPacket, Balance)
_UNREAD: Final = frozenset({Reason.HTTP_STATUS, Reason.UNREADABLE})


def _with_excerpt(error: SmsPilotError, command: Command[Any], reply: Reply, secrets: Sequence[str]) -> SmsPilotError:
    """Add to an error an excerpt of an answer that could not be read, without anything that may be private.

    Queries of inbound messages and of the account get none: what is private in their answers cannot be recognised.
    """
    if isinstance(error, Unanswered) and error.reason in _UNREAD and isinstance(command, _SAYS_NOTHING_OF_OTHERS):
        error.excerpt = excerpt(reply.body, [*_texts(command), *_senders(command), *secrets])
    return error


# --- error documents -----------------------------------------------------------------------------


def _interpret_error_document(
    command: Command[Any],
    reply: Reply,
    document: ErrorDocument,
    now: datetime,
    *,
    tried_before: bool,
    secrets: Sequence[str],
) -> SmsPilotError:
    code, error = document.code, error_class(document.code)
    description = redact(document.description, [*_texts(command), *secrets])
    is_trusted = _is_trusted(command, reply.status, code)
    if reply.status == _TOO_MANY_REQUESTS and (error is GatewayError or not is_trusted):
        error = GatewayBusy
    elif not is_trusted:
        return _untrusted_document(command, reply, code, description)
    elif isinstance(command, Send):
        if code == _DUPLICATE and tried_before:
            return _duplicate_of_ours(command)
        if command.size > 1 and code != _NO_MONEY and not issubclass(error, _PROVES_NOTHING_WAS_TAKEN):
            return partly_taken(command, code, reply.status, description)
    fate = "It was not sent. " if isinstance(command, Send) else ""
    return error(
        _in_a_sentence(_subject(command), error, code, description, fate=fate),
        code=code,
        description=description,
        http_status=reply.status,
        retry_after=retry_after(reply, now),
        **about(command),
    )


def _is_trusted(command: Command[Any], status: int, code: int | None) -> bool:
    """Return whether an error document can be the gateway's own, and not that of a proxy on the way.

    A proxy may write ``{"error": {"code": 502}}``, or ``{"error": "Bad Gateway"}``, for a send that was accepted.
    The gateway itself answers errors with HTTP 200 (protocol page, "Transport"), but any status may carry one.
    """
    is_success = 200 <= status < 300  # noqa: PLR2004
    if isinstance(command, Send):
        return code is not None and code not in _NEVER_OF_A_SEND and (is_success or code in ERROR_CODES)
    return is_success or code in ERROR_CODES


def _untrusted_document(command: Command[Any], reply: Reply, code: int | None, description: str) -> SmsPilotError:
    detail = (
        f"HTTP {reply.status} with an error document ({_in_words(code, description)}) that may not be the gateway's"
    )
    reason = Reason.UNREADABLE if reply.status == _OK else Reason.HTTP_STATUS
    return _unanswered(command, reason, detail, reply.status)


def partly_taken(command: Send, code: int | None, status: int | None, description: str) -> OutcomeUnknown:
    """Return the error of a packet whose first messages may have been accepted before the error occurred."""
    detail = f"error {_in_words(code, description)}, for the whole packet, whose first messages may have been accepted"
    return unknown(command, Reason.PARTIAL, detail, code=code, http_status=status)


def _duplicate_of_ours(command: Send, id_: int | None = None) -> OutcomeUnknown:
    about_one = {} if id_ is None else {"message_id": id_}
    detail = "error 243, duplicate, after an earlier attempt: that one was probably accepted"
    error = unknown(command, Reason.DUPLICATE, detail, code=_DUPLICATE)
    error.__dict__.update(about_one)
    return error


def error_class(code: int | None) -> type[GatewayError]:
    """Return the error class of a code; unknown codes are plain :class:`GatewayError`."""
    known = ERROR_CODES.get(code) if code is not None else None
    return known.error if known else GatewayError


def _in_words(code: int | None, description: str) -> str:
    """Return a code with the vendor's text for it or, if the code is unknown, with what the gateway said."""
    if code is not None and code in ERROR_CODES:
        return f"{code}, {ERROR_CODES[code].text}"
    words = "no code" if code is None else f"{code}, which this library does not know"
    return f"{words}: {description.rstrip('.')}" if description else words


def _in_a_sentence(
    subject: str, error: type[GatewayError], code: int | None, description: str = "", *, fate: str = "It was not sent. "
) -> str:
    known = ERROR_CODES.get(code) if code is not None else None
    advice = known.advice if known else "Look the code up in the vendor's list."
    verb = "refused by the gateway with" if error.outcome is Outcome.REFUSED else "the gateway answered"
    return f"{subject}: {verb} {_in_words(code, description)}. {fate}{advice}"


def _texts(command: Command[Any]) -> Sequence[str]:
    return [message.text for message in command.messages] if isinstance(command, (Send, Cost)) else ()


def _senders(command: Command[Any]) -> Sequence[str]:
    if not isinstance(command, (Send, Cost)):
        return ()
    return [sender for sender in (command.sender, *(message.sender for message in command.messages)) if sender]


def retry_after(reply: Reply, now: datetime) -> float | None:
    """Read ``Retry-After``: seconds, or a date. Returns seconds from now, never below zero."""
    value = (reply.retry_after or "").strip()
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds())


# --- answers to a send ---------------------------------------------------------------------------


def _packet(command: Command[Any], packet: Packet, *, tried_before: bool) -> Packet | SmsPilotError:
    if isinstance(command, Cost):
        return OutcomeUnknown(
            f"{_subject(command)}: only the price was requested, but the gateway answered as if it had sent the "
            "messages. Treat them as sent, and ask the vendor.",
            reason=Reason.SENT_BY_COST,
            server_packet_id=packet.server_packet_id,
            **about(command),
        )
    assert isinstance(command, Send)  # noqa: S101 - nothing else is answered with a packet
    rows = match(command, packet.messages)
    if rows is None:
        detail = f"an answer about {len(packet.messages)} messages that cannot be matched to those sent"
        return unknown(command, Reason.MISMATCH, detail, server_packet_id=packet.server_packet_id)
    interpreted = [
        row if row.id == id_ and _is_accepted(row) else _interpret_row(command, id_, row, tried_before=tried_before)
        for id_, row in zip(command.ids, rows, strict=True)
    ]
    return attrs.evolve(packet, messages=tuple(interpreted))


def match(command: Send, rows: Sequence[SentMessage]) -> Sequence[SentMessage] | None:
    """Return the rows of an answer in the order of the messages; ``None`` if they cannot be matched.

    Rows are matched by id if the ids are unique and equal to those sent; otherwise by position, if neither id nor phone
    contradicts it. An id of 0 or none is ignored, and texts are never compared.
    """
    if len(rows) != command.size:
        return None
    given, answered = list(command.ids), [row.id for row in rows]
    told_apart = set(answered) - {None, 0}
    if len(told_apart) == command.size and answered == given:
        return rows
    if len(told_apart) == command.size and told_apart == set(given):
        by_id = dict(zip(answered, rows, strict=True))
        return [by_id[id_] for id_ in given]
    fits = all(
        row.id in {None, 0, id_} and _is_same_phone(row.to, message.to)
        for row, id_, message in zip(rows, command.ids, command.messages, strict=True)
    )
    return rows if fits else None


def _is_same_phone(answered: str | None, sent: str) -> bool:
    """Compare the last ten digits: the gateway turns a domestic 8… into 7…."""
    return not answered or answered == sent or answered.strip()[-10:] == sent[-10:]


def _interpret_row(command: Send, id_: int, row: SentMessage, *, tried_before: bool) -> SentMessage:
    failure = None if _is_accepted(row) else _row_failure(command, id_, row, tried_before=tried_before)
    return attrs.evolve(row, id=id_, failure=failure)


def _is_accepted(row: SentMessage) -> bool:
    """Return whether a row is clearly accepted, as almost all are."""
    return not row.error and row.status != _REFUSED and row.server_id is not None and row.server_id != "0"


def _row_failure(command: Send, id_: int, row: SentMessage, *, tried_before: bool) -> SmsPilotError | None:
    if row.error == _DUPLICATE and tried_before:
        return _duplicate_of_ours(command, id_)
    about_it: dict[str, Any] = {**about(command), "message_id": id_}
    has_no_number = row.server_id in {None, "0"}
    if row.error:
        if row.status is not None and row.status > _UNDELIVERED and not has_no_number:
            return _contradiction(row, about_it)
        error = error_class(row.error)
        return error(_in_a_sentence(f"send of message {id_}", error, row.error), code=row.error, **about_it)
    if row.status == _REFUSED:
        return MessageRefused(_in_a_sentence(f"send of message {id_}", MessageRefused, None), **about_it)
    if row.error is None and row.status is None and has_no_number:
        return _contradiction(row, about_it)
    return None


def _contradiction(row: SentMessage, about_it: dict[str, Any]) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"send of message {about_it['message_id']}: the answer says neither that it was accepted nor that it was "
        f"refused (status {row.status}, error {row.error}). It may have been sent: check before sending it again.",
        reason=Reason.UNREADABLE,
        code=row.error,
        server_packet_id=row.server_packet_id,
        **about_it,
    )


# --- words ---------------------------------------------------------------------------------------


def about(command: Command[Any]) -> dict[str, Any]:
    """Return the keyword arguments that every error takes: what it is about."""
    fields: dict[str, Any] = {"command": command.name}
    if isinstance(command, (Send, Cost)):
        fields["packet_size"] = command.size
        fields["message_id"] = command.ids[0] if command.size == 1 else None
    return fields


def _subject(command: Command[Any]) -> str:
    if not isinstance(command, (Send, Cost)):
        return command.name
    if command.size == 1:
        return f"{command.name} of message {command.ids[0]}"
    return f"{command.name} of a packet of {command.size} messages"
