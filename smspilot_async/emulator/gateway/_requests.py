"""What the gateway was asked and what it answered, word for word: the newest requests, within a limit of memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs

from smspilot_async.emulator.gateway._masking import masked_secrets
from smspilot_async.emulator.gateway._messages import as_json
from smspilot_async.emulator.server._http import API_PATH, Ending

if TYPE_CHECKING:
    from smspilot_async.emulator.server._http import HttpRequest, Reply

KEPT: Final = 1000
KEPT_BYTES: Final = 8 * 1024 * 1024
"""Of requests and answers together; the oldest are forgotten."""
SHOWN_BYTES: Final = 16 * 1024
"""Of one request, and of one answer: the beginning."""

_OK: Final = 200
End = Literal["answer", "half-answer", "close", "reset"]
_ENDS: Final[dict[Ending, End]] = {
    Ending.ANSWER: "answer",
    Ending.HALF_ANSWER: "half-answer",
    Ending.CLOSE: "close",
    Ending.RESET: "reset",
}
_WITH_ANSWER: Final = (Ending.ANSWER, Ending.HALF_ANSWER)


@attrs.frozen(kw_only=True)
class RecordedRequest:
    """A request to the gateway's address, and what became of it.

    Attributes:
        number: They are counted from 1 since the start, or the last reset.
        at: When it came, by the emulator's clock.
        method: As HTTP has it; empty for one that was reset before it was read.
        command: ``"send"``, ``"cost"`` for a send that only asks for the price, ``"check"``, ``"inbound"``,
            ``"balance"``, ``"info"``; empty if the document could not be read.
        count: The messages of a send, the ids of a check.
        accepted: How many messages the gateway took, test messages included.
        refused: How many messages it refused; 1 for a request that was refused as a whole.
        code: The error code of the first refusal, or 429 for the HTTP status of that number; `None` without one.
        fault: The planned or random fault that it met, such as ``"accept-then-reset"``.
        status: The HTTP status of the answer; `None` if there was none.
        ending: What became of the connection: ``"answer"``, ``"half-answer"``, ``"close"`` or ``"reset"``.
        seconds: Real time from the request to its answer; `None` while a fault holds that back.
        to: The phone, if it was a send of one message.
        request_bytes: The length of its body; of more than 8 MiB, which are not read, 0.
        answer_bytes: The length of the answer's body.
    """

    number: int
    at: datetime
    method: str
    command: str
    count: int
    accepted: int
    refused: int
    code: int | None
    fault: str | None
    status: int | None
    ending: End
    seconds: float | None
    to: str | None = attrs.field(default=None, repr=False)
    request_bytes: int
    answer_bytes: int
    _head: str = attrs.field(alias="head", repr=False)
    _body: bytes = attrs.field(alias="body", repr=False)
    _answer: bytes = attrs.field(alias="answer", repr=False)

    @property
    def was_refused(self) -> bool:
        """Whether anything of it was refused, or it met a fault."""
        return self.refused > 0 or self.fault is not None or self.ending != "answer" or self.status != _OK

    @property
    def request(self) -> str:
        """The request as it came: method, target and content type, an empty line, and the first 16 KiB of the body.

        Keys and passwords are masked; phones and texts are not.
        """
        return masked_secrets(self._head) + _text(self._body, self.request_bytes)

    @property
    def answer(self) -> str:
        """The first 16 KiB of the answer's body, keys masked."""
        return _text(self._answer, self.answer_bytes)

    @property
    def kept_bytes(self) -> int:
        """What remembering it takes."""
        return len(self._head) + len(self._body) + len(self._answer)


SUMMARY_FIELDS: Final = [field.name for field in attrs.fields(RecordedRequest) if not field.name.startswith("_")]


def summary(record: RecordedRequest) -> dict[str, Any]:
    """A request as plain data, without its text."""
    shown = as_json(record)
    return {name: shown[name] for name in SUMMARY_FIELDS}


def whole_request(record: RecordedRequest) -> dict[str, Any]:
    """A request as plain data, word for word."""
    return {**summary(record), "request": record.request, "answer": record.answer}


@attrs.define
class RequestLog:
    """The newest requests, and how many there were.

    Attributes:
        listeners: Called with each request once it is answered.
    """

    count: int = 0
    listeners: list[Callable[[RecordedRequest], None]] = attrs.Factory(list)
    _kept: deque[RecordedRequest] = attrs.Factory(deque)
    _bytes: int = 0

    @property
    def kept(self) -> tuple[RecordedRequest, ...]:
        """The newest, in order."""
        return tuple(self._kept)

    def add(self, record: RecordedRequest) -> None:
        """Remember the next one; its number is `count` + 1."""
        self.count = record.number
        self._kept.append(record)
        self._bytes += record.kept_bytes
        while len(self._kept) > KEPT or self._bytes > KEPT_BYTES:
            self._bytes -= self._kept.popleft().kept_bytes

    def finish(self, record: RecordedRequest, seconds: float) -> None:
        """Note that one is answered. It may be forgotten meanwhile."""
        answered = attrs.evolve(record, seconds=seconds)
        position = record.number - self._kept[0].number if self._kept else -1
        if 0 <= position < len(self._kept) and self._kept[position] is record:
            self._kept[position] = answered
        for listener in tuple(self.listeners):
            listener(answered)

    def clear(self) -> None:
        """Forget them all, and count anew."""
        self.count = 0
        self._kept.clear()
        self._bytes = 0


def record_of(
    http: HttpRequest,
    reply: Reply,
    *,
    number: int,
    at: datetime,
    accepted: int = 0,
    refused: int = 0,
    code: int | None = None,
) -> RecordedRequest:
    """The record of a request whose answer is still to go out; the arguments are attributes of the record."""
    answer = _sent(reply)
    return RecordedRequest(
        number=number,
        at=at,
        method=http.method,
        command=reply.command,
        count=reply.count,
        accepted=accepted,
        refused=refused,
        code=code,
        fault=reply.fault,
        status=reply.status if reply.ending in _WITH_ANSWER else None,
        ending=_ENDS[reply.ending],
        seconds=None,
        to=reply.to,
        request_bytes=len(http.body),
        answer_bytes=len(answer),
        head=_head(http),
        body=http.body[:SHOWN_BYTES],
        answer=answer[:SHOWN_BYTES],
    )


def _sent(reply: Reply) -> bytes:
    """The body, as far as it goes out."""
    if reply.ending is Ending.HALF_ANSWER:
        return reply.body[: len(reply.body) // 2]
    return reply.body if reply.ending is Ending.ANSWER else b""


def _head(http: HttpRequest) -> str:
    if not http.method:
        return ""
    query = f"?{http.query[:SHOWN_BYTES].decode(errors='replace')}" if http.query else ""
    kind = f"Content-Type: {http.content_type[:200]}\n" if http.content_type else ""
    return f"{http.method} {API_PATH}{query}\n{kind}\n"


def _text(body: bytes, size: int) -> str:
    text = masked_secrets(body.decode(errors="replace"))
    return text if len(body) == size else f"{text}…"
