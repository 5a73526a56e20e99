"""Between HTTP and the gateway's commands: a request is parsed, meets its fault if there is one, and is answered.

A fault either keeps the command from being carried out, or spoils the reply after it was; there is no third kind, and
a client's question "was it sent?" has its answer here.
"""

from __future__ import annotations

from typing import Final

import attrs

from smspilot_async.emulator.gateway import _wire
from smspilot_async.emulator.gateway._errors import Refused, TooManyRequests
from smspilot_async.emulator.gateway._faults import Fault, FaultPlan, Faults
from smspilot_async.emulator.gateway._gateway import Gateway, RequestOrigin
from smspilot_async.emulator.gateway._refusals import LONGEST_PHONE, Refusals
from smspilot_async.emulator.server._http import Ending, Hold, HttpRequest, Reply, find_document

MOST_ROWS: Final = 50_000
"""Rows of one request: each becomes a row of the answer, so that a small body of tiny rows would fill the memory."""
_GARBAGE: Final = b"\x00\xff\x1f\x8b not a document \xc3\x28"
_NOT_EXECUTED: Final = frozenset(
    {
        Fault.RESET_BEFORE_READ,
        Fault.RESET_AFTER_READ,
        Fault.SERVER_ERROR,
        Fault.BUSY,
        Fault.TOO_MANY_REQUESTS,
        Fault.NOT_FOUND,
    }
)
_ENDINGS: Final = {
    Fault.ACCEPT_THEN_RESET: Ending.RESET,
    Fault.ACCEPT_THEN_CLOSE: Ending.CLOSE,
    Fault.ACCEPT_THEN_HALF_ANSWER: Ending.HALF_ANSWER,
}


@attrs.frozen
class _Parsed:
    """A document as far as it was understood: a request, or the code of the complaint about it."""

    wire: _wire.Wire
    request: _wire.Request | None = None
    code: int = 0

    @property
    def fault_name(self) -> str:
        return self.request.fault_name if self.request else ""

    @property
    def rows(self) -> int:
        return len(self.request.rows or ()) if self.request else 0

    def named(self, reply: Reply) -> Reply:
        """The reply, which says what it answers."""
        return attrs.evolve(reply, command=self.fault_name, count=self.rows, to=self._single_phone())

    def _single_phone(self) -> str | None:
        if self.request is None or self.request.command != "send" or self.rows != 1:
            return None
        [row] = self.request.rows or [None]
        return str(row.get("to"))[:LONGEST_PHONE] if isinstance(row, dict) else None


@attrs.define
class Pipeline:
    """Answers requests, with the faults that wait for them.

    Attributes:
        faults: Those that wait, and the sources of random ones.
        refusals: What was refused, by the gateway or by a fault that does as if.
    """

    faults: Faults = attrs.Factory(Faults)
    refusals: Refusals = attrs.Factory(Refusals)
    _holds: list[Hold] = attrs.Factory(list)

    def answer(self, http: HttpRequest, gateway: Gateway) -> Reply:
        """The reply to a request to the gateway's address."""
        if http.is_too_large:
            return Reply.page(413, "Request Entity Too Large")
        if http.method == "HEAD":
            return Reply(content_type=_wire.Wire.JSON.content_type)  # whatever it carries is not carried out
        if http.method not in ("GET", "POST"):
            return Reply.page(405, "Method Not Allowed", Allow="GET, POST")
        limit = gateway.unknowns.max_bytes
        if limit is not None and len(http.body) > limit:
            return Reply.page(413, "Request Entity Too Large")
        parsed = _parse(find_document(http))
        if parsed.rows > MOST_ROWS:
            return parsed.named(Reply.page(413, "Request Entity Too Large"))
        return parsed.named(self._answer(http, parsed, gateway))

    def release(self) -> None:
        """Send the answers that are held back."""
        for hold in self._holds:
            hold.release()
        self._holds.clear()

    def _answer(self, http: HttpRequest, parsed: _Parsed, gateway: Gateway) -> Reply:
        plan = self.faults.take(parsed.fault_name)
        if plan is None:
            return self._execute(http, parsed, gateway)
        return attrs.evolve(self._fail(http, parsed, gateway, plan), fault=str(plan.fault))

    def _fail(self, http: HttpRequest, parsed: _Parsed, gateway: Gateway, plan: FaultPlan) -> Reply:
        if plan.fault in _NOT_EXECUTED:
            return self._reject(plan, parsed, gateway)
        busy_row = plan.row if plan.fault is Fault.BUSY_MESSAGE else None
        reply = self._execute(http, parsed, gateway, busy_row)
        return self._hold(plan, reply) if plan.fault is Fault.SLOW else _damage(plan, reply)

    def _execute(self, http: HttpRequest, parsed: _Parsed, gateway: Gateway, busy_row: int | None = None) -> Reply:
        if parsed.request is None:
            return self._refuse(parsed.code, parsed, gateway)
        origin = RequestOrigin(client=http.client, connection=http.connection, busy_row=busy_row)
        try:
            answer = gateway.answer(parsed.request, origin)
        except Refused as refusal:
            return self._refuse(refusal.code, parsed, gateway)
        except TooManyRequests as limit:
            return self._too_many_requests(limit.retry_after, parsed, gateway)
        if isinstance(answer, _wire.Rows) and answer.name == "send":
            self._note_rows(answer, parsed, gateway)
        return _document(answer, parsed.wire, gateway)

    def _reject(self, plan: FaultPlan, parsed: _Parsed, gateway: Gateway) -> Reply:
        match plan.fault:
            case Fault.BUSY:
                return self._refuse(110, parsed, gateway)
            case Fault.TOO_MANY_REQUESTS:
                return self._too_many_requests(plan.retry_after, parsed, gateway)
            case Fault.NOT_FOUND:
                return Reply.page(404, "Not Found")
            case Fault.SERVER_ERROR:
                return Reply.page(plan.status or 503, "Service Temporarily Unavailable")
            case _:
                return Reply(ending=Ending.RESET)

    def _refuse(self, code: int, parsed: _Parsed, gateway: Gateway) -> Reply:
        self.refusals.note(code, parsed.fault_name, gateway.clock.now())
        reply = _document(_wire.error(code, gateway.settings.profile), parsed.wire, gateway)
        return attrs.evolve(reply, status=gateway.unknowns.error_status)

    def _too_many_requests(self, retry_after: int, parsed: _Parsed, gateway: Gateway) -> Reply:
        self.refusals.note(429, parsed.fault_name, gateway.clock.now())
        return Reply.page(429, "Too Many Requests", Retry_After=str(retry_after))

    def _note_rows(self, answer: _wire.Rows, parsed: _Parsed, gateway: Gateway) -> None:
        for row in answer.rows:
            if code := row["error"]:
                self.refusals.note(int(code), parsed.fault_name, gateway.clock.now(), row)

    def _hold(self, plan: FaultPlan, reply: Reply) -> Reply:
        hold = Hold(plan.delay)
        self._holds = [*(held for held in self._holds if not held.is_over), hold]
        return attrs.evolve(reply, hold=hold)


def _parse(document: bytes) -> _Parsed:
    try:
        wire = _wire.sniff(document)
    except Refused as refusal:
        return _Parsed(_wire.guess(document), code=refusal.code)
    try:
        return _Parsed(wire, _wire.read(document, wire))
    except Refused as refusal:
        return _Parsed(wire, code=refusal.code)


def _damage(plan: FaultPlan, reply: Reply) -> Reply:
    match plan.fault:
        case Fault.ACCEPT_THEN_GARBAGE:
            return attrs.evolve(reply, body=_GARBAGE)
        case Fault.ACCEPT_THEN_HTML:
            return Reply.page(200, "OK")
        case Fault.ACCEPT_THEN_SERVER_ERROR:
            return Reply.page(plan.status or 502, "Bad Gateway")
        case _:
            return attrs.evolve(reply, ending=_ENDINGS.get(plan.fault, Ending.ANSWER))


def _document(answer: _wire.Answer, wire: _wire.Wire, gateway: Gateway) -> Reply:
    return Reply(content_type=wire.content_type, body=_wire.write(answer, wire, gateway.settings.profile))
