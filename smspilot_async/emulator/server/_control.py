"""The control API: what the Python object can do, for tests in any other language.

`_operations` lists what can be asked; here is what becomes of it. All answers are JSON; bodies are JSON objects,
whatever their content type. Lists are paged: `limit` is the size of a page (1000 by default, 10,000 at most), and
``next`` is the `after` of the next one, or `null` at the end.

A mistake answers 400 and ``{"error": "..."}``; what is not there 404, and a wrong method 405, in the same form. A
browser's page from elsewhere is turned away (403, `_origin_guard`).
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

import attrs

from smspilot_async.emulator._core import SERVICE_NUMBER, EmulatorCore
from smspilot_async.emulator.gateway._accounts import Account
from smspilot_async.emulator.gateway._conversation import said_with
from smspilot_async.emulator.gateway._faults import COMMANDS, Fault
from smspilot_async.emulator.gateway._messages import MESSAGE_FIELDS, SCHEDULED, UNKNOWN, AcceptedMessage, as_json
from smspilot_async.emulator.gateway._requests import RecordedRequest, summary, whole_request
from smspilot_async.emulator.server._arguments import (
    Mistake,
    check_names,
    moment,
    one_of,
    record_fields,
    rule,
    seconds,
    shares,
    take_timeout,
    text,
    whole,
)
from smspilot_async.emulator.server._fields import as_plain, plain
from smspilot_async.emulator.server._lists import (
    AT_ONCE,
    LOOKED_AT,
    Listed,
    inbound_of,
    messages_of,
    newest,
    test_messages_of,
)

if TYPE_CHECKING:
    from smspilot_async.emulator._callbacks import CallbackCall
    from smspilot_async.emulator.gateway._conversation import Said

MOST_FAULTS: Final = 1_000_000
FASTEST: Final = 100_000.0  # seconds per second
HIDDEN: Final = ("password",)
UNCHANGING: Final = ("id", "api_key")
ASKED_FOR: Final = sorted(MESSAGE_FIELDS - {"history"})


@attrs.frozen
class Control:
    """What can be asked of one emulator. Each method takes the fields of a query, a path or a body."""

    emulator: EmulatorCore

    # --- what is there ----------------------------------------------------------------------------------------------

    async def messages(self, query: dict[str, Any]) -> bytes:
        """The accepted messages."""
        return await _page_of_messages(Listed("messages", messages_of(self.emulator), as_json), query)

    async def test_messages(self, query: dict[str, Any]) -> bytes:
        """The messages of test packets and of the vendor's test key."""
        return await _page_of_messages(Listed("messages", test_messages_of(self.emulator), as_json), query)

    async def message(self, asked: dict[str, Any]) -> dict[str, Any]:
        """One message, and its callbacks."""
        message, calls = self._find(asked["server_id"]), []
        async for _, call in self._calls().numbered():
            if call.server_id == message.server_id:
                calls.append(_call(call))
        return {"message": as_json(message), "callbacks": calls[-AT_ONCE:]}

    async def requests(self, query: dict[str, Any]) -> bytes:
        """The requests to the gateway's address."""
        read = newest(self.emulator.requests, lambda request: request.number)
        query = dict(query)
        wanted = query.pop("refused", None)
        if wanted not in (None, "true", "false"):
            raise Mistake("refused must be true or false")

        def meets(request: RecordedRequest) -> bool:
            return wanted is None or request.was_refused == (wanted == "true")

        return await Listed("requests", read, summary).page(query, meets)

    def request(self, asked: dict[str, Any]) -> dict[str, Any]:
        """One of them, word for word."""
        for request in self.emulator.requests:
            if str(request.number) == asked["number"]:
                return {"request": whole_request(request)}
        raise Mistake(f"there is no request {asked['number']}, or it is forgotten", 404)

    async def refusals(self, query: dict[str, Any]) -> bytes:
        """What was refused."""
        read = newest(self.emulator.refusals, lambda refusal: refusal.number)
        return await Listed("refusals", read, as_json).page(query)

    async def callbacks(self, query: dict[str, Any]) -> bytes:
        """The callbacks that are over."""
        return await self._calls().page(query)

    async def inbound_messages(self, query: dict[str, Any]) -> bytes:
        """What came in."""
        return await Listed("inbound", inbound_of(self.emulator), as_json).page(query)

    async def conversation(self, asked: dict[str, Any]) -> bytes:
        """What was said with one phone."""
        query = dict(asked)
        phone = query.pop("phone")
        said: list[Said] = []
        position, end = 0, 0
        while position <= end:

            def look(gateway: Any, at: int = position) -> tuple[list[Said], int]:
                return said_with(gateway, phone, at, LOOKED_AT), len(gateway.store.messages)

            piece, end = self.emulator.inspect(look)
            said += piece
            position += LOOKED_AT
            await asyncio.sleep(0)
        numbered = list(enumerate(said, 1))
        return await Listed("conversation", lambda after, most: numbered[after : after + most], _said).page(query)

    async def wait(self, query: dict[str, Any]) -> dict[str, Any]:
        """The first message that has some values."""
        wanted = dict(query)
        patience = take_timeout(wanted)
        _check_message_fields(wanted)
        message = await self.emulator.first_message(lambda message: _has(message, wanted), patience)
        if message is None:
            raise Mistake(f"no message with this {' and '.join(wanted)} within {patience:g} s", 404)
        return {"message": as_json(message)}

    async def settled(self, query: dict[str, Any]) -> dict[str, Any]:
        """Whether all callbacks are answered, now or in a while."""
        wanted = dict(query)
        patience = take_timeout(wanted)
        check_names(wanted, ("timeout",))
        try:
            async with asyncio.timeout(patience):
                await self.emulator.called_back()
        except TimeoutError:
            return {"settled": False}
        return {"settled": True}

    # --- what befalls it --------------------------------------------------------------------------------------------

    def status(self, body: dict[str, Any]) -> dict[str, Any]:
        """Move a message to a status."""
        check_names(body, ("server_id", "status", "error"))
        server_id, status = text(body, "server_id"), whole(body, "status", least=UNKNOWN, most=SCHEDULED)
        error = whole({"error": 0, **body}, "error", least=0)
        message = self._find(server_id)
        if message.test:
            raise Mistake("the status of a test message does not change")
        self.emulator.set_status(message.server_id, status, error)
        return {"ok": True}

    def inbound(self, body: dict[str, Any]) -> dict[str, Any]:
        """Receive an SMS."""
        check_names(body, ("phone", "text", "num", "account"))
        num = text({"num": SERVICE_NUMBER, **body}, "num")
        account = self._account(body["account"]) if body.get("account") is not None else None
        sms = self.emulator.inbound(text(body, "phone"), text(body, "text"), num=num, account=account)
        return {"id": sms.id}

    def fail_next(self, body: dict[str, Any]) -> dict[str, Any]:
        """Plan a fault."""
        check_names(body, ("fault", "command", "times", "delay", "retry_after", "status", "row"))
        body = {"command": "*", "times": 1, "delay": None, "retry_after": 1, "status": None, "row": 0, **body}
        self.emulator.fail_next(
            one_of(body, "command", COMMANDS),
            one_of(body, "fault", [fault.value for fault in Fault]),
            times=whole(body, "times", least=1, most=MOST_FAULTS),
            delay=None if body["delay"] is None else seconds(body, "delay"),
            retry_after=whole(body, "retry_after", least=0),
            status=None if body["status"] is None else whole(body, "status", least=100, most=599),
            row=whole(body, "row", least=0),
        )
        return {"ok": True}

    def random_faults(self, body: dict[str, Any]) -> dict[str, Any]:
        """Let a share of the requests fail."""
        check_names(body, ("shares", "command", "seed", "delay", "retry_after", "row"))
        body = {"command": "*", "seed": None, "delay": 0.05, "retry_after": 1, "row": 0, **body}
        given = shares(body)
        try:
            self.emulator.random_faults(
                given,
                command=one_of(body, "command", COMMANDS),
                seed=None if body["seed"] is None else whole(body, "seed", least=0),
                delay=None if body["delay"] is None else seconds(body, "delay"),
                retry_after=whole(body, "retry_after", least=0),
                row=whole(body, "row", least=0),
            )
        except ValueError as wrong:
            raise Mistake(str(wrong)) from None
        return {"ok": True}

    def no_more_faults(self, body: dict[str, Any]) -> dict[str, Any]:
        """Cancel all faults."""
        check_names(body, ())
        self.emulator.no_more_faults()
        return {"ok": True}

    def refuse(self, body: dict[str, Any]) -> dict[str, Any]:
        """Refuse messages."""
        check_names(body, ("code", "to", "text"))
        self.emulator.refuse(code=whole(body, "code", least=1), **rule(body))
        return {"ok": True}

    def fail_delivery(self, body: dict[str, Any]) -> dict[str, Any]:
        """Do not deliver messages."""
        check_names(body, ("code", "to", "text"))
        self.emulator.fail_delivery(code=whole({"code": 601, **body}, "code", least=1), **rule(body))
        return {"ok": True}

    def turn_clock(self, body: dict[str, Any]) -> dict[str, Any]:
        """Advance or set the clock, or change its speed."""
        check_names(body, ("advance", "set", "speed"))
        clock = self.emulator.clock
        if not body:
            raise Mistake("advance, set or speed is missing")
        speed = seconds(body, "speed", most=FASTEST) if "speed" in body else None
        try:
            if "set" in body:
                clock.set(moment(body, "set"))
            if "advance" in body:
                clock.advance(seconds=seconds(body, "advance"))
        except OverflowError:
            raise Mistake("that time is out of range") from None
        if speed is not None:
            clock.speed = speed
        return self.clock({})

    def clock(self, _query: dict[str, Any]) -> dict[str, Any]:
        """The time."""
        return {"now": self.emulator.clock.now().isoformat(), "speed": self.emulator.clock.speed}

    def release(self, body: dict[str, Any]) -> dict[str, Any]:
        """Send the answers that are held back."""
        check_names(body, ())
        self.emulator.release()
        return {"ok": True}

    def nothing(self, body: dict[str, Any]) -> dict[str, Any]:
        """What happens comes after the answer."""
        check_names(body, ())
        return {"ok": True}

    def reset(self, body: dict[str, Any]) -> dict[str, Any]:
        """Forget everything."""
        check_names(body, ())
        self.emulator.reset()
        return {"ok": True}

    # --- how it is set up -------------------------------------------------------------------------------------------

    async def accounts(self, query: dict[str, Any]) -> bytes:
        """The accounts."""
        accounts = sorted(self.emulator.accounts, key=lambda account: account.id)
        return await Listed("accounts", newest(accounts, lambda account: account.id), _account).page(query)

    def add_account(self, body: dict[str, Any]) -> dict[str, Any]:
        """Add an account."""
        fields = record_fields(Account, body)
        try:
            account = self.emulator.add_account(**fields)
        except ValueError as wrong:
            raise Mistake(str(wrong)) from None
        return {"account": _account(account)}

    def change_account(self, body: dict[str, Any]) -> dict[str, Any]:
        """Change an account."""
        account = self._account(body.pop("account"))
        for name in UNCHANGING:
            if name in body:
                raise Mistake(f"the {name} of an account cannot be changed; add another account")
        self._change(account, body)
        return {"account": _account(account)}

    def settings(self, _query: dict[str, Any]) -> dict[str, Any]:
        """The settings."""
        return {"settings": as_plain(self.emulator.settings)}

    def change_settings(self, body: dict[str, Any]) -> dict[str, Any]:
        """Change the settings."""
        self._change(self.emulator.settings, body)
        return self.settings({})

    def unknowns(self, _query: dict[str, Any]) -> dict[str, Any]:
        """The switches."""
        return {"unknowns": as_plain(self.emulator.unknowns)}

    def change_unknowns(self, body: dict[str, Any]) -> dict[str, Any]:
        """Change the switches."""
        self._change(self.emulator.unknowns, body)
        return self.unknowns({})

    def callbacks_to(self, _query: dict[str, Any]) -> dict[str, Any]:
        """Where callbacks go."""
        destination = self.emulator.callbacks_to
        is_url = isinstance(destination, str)
        return {"url": destination if is_url else None, "in_process": destination is not None and not is_url}

    def send_callbacks_to(self, body: dict[str, Any]) -> dict[str, Any]:
        """Send callbacks to a local URL, or to their own."""
        check_names(body, ("url",))
        if "url" not in body:
            raise Mistake("url is missing")
        try:
            self.emulator.callbacks_to = None if body["url"] is None else text(body, "url")
        except ValueError as wrong:
            raise Mistake(str(wrong)) from None
        return self.callbacks_to({})

    def _change(self, target: attrs.AttrsInstance, body: dict[str, Any]) -> None:
        for name, value in record_fields(type(target), body).items():
            setattr(target, name, value)
        self.emulator.feed.note()

    # --- looking up -------------------------------------------------------------------------------------------------

    def _calls(self) -> Listed[CallbackCall]:
        made = self.emulator.callbacks
        return Listed("callbacks", lambda after, most: list(enumerate(made[after : after + most], after + 1)), _call)

    def _find(self, server_id: str) -> AcceptedMessage:
        for message in self.emulator.look_up([server_id]):
            return message
        raise Mistake(f"there is no message {server_id}", 404)

    def _account(self, number: Any) -> Account:
        for account in self.emulator.accounts:
            if str(account.id) == str(number):
                return account
        raise Mistake(f"there is no account {number}", 404)


async def _page_of_messages(listed: Listed[AcceptedMessage], query: dict[str, Any]) -> bytes:
    wanted = {name: value for name, value in query.items() if name not in ("limit", "after")}
    _check_message_fields(wanted)
    paging = {name: query[name] for name in query.keys() - wanted.keys()}
    return await listed.page(paging, (lambda message: _has(message, wanted)) if wanted else None)


def _call(call: CallbackCall) -> dict[str, Any]:
    return {**as_json(call), "acknowledged": call.acknowledged}


def _said(said: Said) -> dict[str, Any]:
    is_out = isinstance(said, AcceptedMessage)
    return {
        "direction": "out" if is_out else "in",
        "message": as_json(said) if is_out else None,
        "inbound": None if is_out else as_json(said),
    }


def _account(account: Account) -> dict[str, Any]:
    return as_plain(account, without=HIDDEN)


def _check_message_fields(query: dict[str, Any]) -> None:
    if unknown := sorted(query.keys() - set(ASKED_FOR)):
        raise Mistake(f"a message has no field {unknown[0]!r}; it has {', '.join(ASKED_FOR)}")


def _has(message: AcceptedMessage, wanted: dict[str, Any]) -> bool:
    return all(_as_query(getattr(message, name)) == value for name, value in wanted.items())


def _as_query(value: Any) -> str:
    value = plain(value)
    return value if isinstance(value, str) else json.dumps(value)
