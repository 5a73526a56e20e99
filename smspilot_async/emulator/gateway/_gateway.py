"""The gateway's commands, without HTTP and without threads: a request in, an answer out, and the state between them.

The order of things in a send decides what a client may conclude: all messages are judged first, then those that passed
are accepted one after another, then the answer is made. Faults and switches act between these steps.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Hashable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING, Any, Final

import attrs

from smspilot_async.emulator._clock import Clock
from smspilot_async.emulator.gateway import _test_key
from smspilot_async.emulator.gateway._accounts import Account, AccountStore
from smspilot_async.emulator.gateway._errors import Refused
from smspilot_async.emulator.gateway._inbound import Inbox
from smspilot_async.emulator.gateway._limits import Limits
from smspilot_async.emulator.gateway._messages import (
    ACCEPTED,
    DELIVERED,
    MESSAGE_FIELDS,
    SCHEDULED,
    UNDELIVERED,
    UNKNOWN,
    WITH_OPERATOR,
    AcceptedMessage,
    InboundSms,
    StatusChange,
)
from smspilot_async.emulator.gateway._settings import Settings
from smspilot_async.emulator.gateway._store import MessageStore
from smspilot_async.emulator.gateway._unknowns import MOSCOW, Unknowns
from smspilot_async.emulator.gateway._validation import Draft, as_text, as_whole, read_moment, validate
from smspilot_async.emulator.gateway._wire import Answer, Fields, Request, Rows, Single, Value, says_yes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


TRIAL_MESSAGES: Final = 2
EXPIRED: Final = 600
DELIVERY_ERRORS: Final = (EXPIRED, 601, 602, 603)
_OPERATORS_DAY: Final = timedelta(days=1)
_DEFAULTS_AT_TOP: Final = ("from", "ttl", "callback", "callback_method")
_WIRE_MOMENT: Final = "%Y-%m-%d %H:%M:%S"
_WIRE_MINUTE: Final = "%Y-%m-%d %H:%M"
_NUMBER: Final = re.compile(r"[0-9]+", re.ASCII)


@attrs.frozen
class Rule:
    """A rule for messages to a phone, or with a text, or both; with neither, for every message."""

    code: int
    to: str | None = attrs.field(default=None, repr=False)
    text: str | None = attrs.field(default=None, repr=False)

    def meets(self, to: str, text: str) -> bool:
        """Whether the rule applies to a message."""
        return self.to in (None, to) and self.text in (None, text)


@attrs.frozen(kw_only=True)
class RequestOrigin:
    """Where a request comes from.

    Attributes:
        busy_row: The message of the packet that a fault answers with error 110.
    """

    client: str = "127.0.0.1"
    connection: Hashable = None
    busy_row: int | None = None


@attrs.define
class _Packet:
    """What is known of a packet while its messages are judged one after another."""

    account: Account
    test: bool
    priced_only: bool
    now: datetime
    left: Decimal
    phones: set[str] = attrs.Factory(set)
    pairs: set[tuple[str, str]] = attrs.Factory(set)


@attrs.define(kw_only=True)
class Gateway:
    """State and commands.

    Attributes:
        refusals: Messages that are refused.
        failures: Messages that are accepted and not delivered.
        arrivals: Of each inbound message how many were accepted before it, its id and its account's.
    """

    clock: Clock
    accounts: AccountStore
    random: Random
    settings: Settings
    unknowns: Unknowns = attrs.Factory(Unknowns)
    store: MessageStore = attrs.Factory(MessageStore)
    inboxes: defaultdict[int, Inbox] = attrs.field(factory=lambda: defaultdict(Inbox))
    refusals: list[Rule] = attrs.Factory(list)
    failures: list[Rule] = attrs.Factory(list)
    arrivals: list[tuple[int, int, int]] = attrs.Factory(list)
    limits: Limits = attrs.field(init=False)
    _sent: dict[tuple[int, str, str], datetime] = attrs.field(factory=dict, repr=False)
    _next_inbound: int = 1
    _unstored: _test_key.TestKeyMessages = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.limits = Limits(self.unknowns)
        self._unstored = _test_key.TestKeyMessages(self.clock.now())

    def answer(self, request: Request, origin: RequestOrigin) -> Answer:
        """Carry out a command.

        Raises:
            Refused: The answer is an error document.
            TooManyRequests: The answer is not a document of the gateway at all, but status 429.
        """
        account = self.accounts.authenticate(request.fields, origin.client)
        self.limits.count_request(account.id, origin.connection, self.clock.now())
        match request.command:
            case "send":
                return self._send(request, account, origin.busy_row)
            case "check":
                return self._check(request, account)
            case "inbound":
                return self._inbound(request, account)
            case "balance":
                return self._balance(request, account)
            case _:
                return self._info(account)

    def receive(self, phone: str, text: str, num: str, account: Account) -> InboundSms:
        """Receive a message at the account's service number."""
        sms = InboundSms(
            id=self._next_inbound, phone=phone, num=num, text=text, created=self.clock.now(), account=account.id
        )
        self._next_inbound += 1
        self.inboxes[account.id].add(sms)
        self.arrivals.append((len(self.store.messages), sms.id, account.id))
        return sms

    # --- send -------------------------------------------------------------------------------------------------------

    def _send(self, request: Request, account: Account, busy_row: int | None) -> Answer:
        rows = self._rows_to_send(request)
        if account.trial and self.unknowns.trial_refuses_packet and len(rows) > TRIAL_MESSAGES:
            raise Refused(242)
        packet = _Packet(
            account=account,
            test=account.is_for_tests or says_yes(request.fields.get("test")),
            priced_only=request.is_priced_only,
            now=self.clock.now(),
            left=account.balance,
        )
        if not packet.priced_only:
            self.limits.count_messages(account.id, len(rows), packet.now)
        verdicts = [110 if at == busy_row else self._verdict(packet, at, row) for at, row in enumerate(rows)]
        self._refuse_packet(packet, verdicts)
        if packet.priced_only:
            return Single("cost", _total(verdicts))
        return self._accepted(packet, rows, verdicts)

    def _rows_to_send(self, request: Request) -> list[Mapping[str, Any]]:
        rows = request.rows
        if not rows or not all(isinstance(row, dict) for row in rows):
            raise Refused(240)
        if self.unknowns.max_messages is not None and len(rows) > self.unknowns.max_messages:
            raise Refused(240)
        return _with_defaults(rows, request.fields) if self.unknowns.defaults_at_top else rows

    def _verdict(self, packet: _Packet, at: int, row: Mapping[str, Any]) -> Draft | int:
        try:
            draft = validate(row, packet.account, self.unknowns)
            self._check_in_packet(packet, at, draft)
        except Refused as refusal:
            return refusal.code
        return draft

    def _check_in_packet(self, packet: _Packet, at: int, draft: Draft) -> None:
        if packet.account.trial and at >= TRIAL_MESSAGES:
            raise Refused(242)
        for rule in self.refusals:
            if rule.meets(draft.to, draft.text):
                raise Refused(rule.code)
        if draft.to in packet.account.blacklist:
            raise Refused(243)
        self._check_repetition(packet, draft)
        if not packet.test and not packet.priced_only:
            if draft.price > packet.left:
                raise Refused(112)
            packet.left -= draft.price

    def _check_repetition(self, packet: _Packet, draft: Draft) -> None:
        if self.unknowns.duplicate_phones_refused and draft.to in packet.phones:
            raise Refused(214)
        packet.phones.add(draft.to)
        window = self._window(packet.account)
        if window is None or packet.test or packet.priced_only:
            return
        last = self._sent.get((packet.account.id, draft.to, draft.text))
        if (last is not None and packet.now - last < window) or (draft.to, draft.text) in packet.pairs:
            raise Refused(243)
        packet.pairs.add((draft.to, draft.text))

    def _window(self, account: Account) -> timedelta | None:
        return self.settings.loop_protection if account.loop_protection == "emulator" else account.loop_protection

    def _refuse_packet(self, packet: _Packet, verdicts: list[Draft | int]) -> None:
        bad = [verdict for verdict in verdicts if isinstance(verdict, int)]
        if bad and self.unknowns.one_bad_refuses_packet:
            raise Refused(bad[0])
        if len(bad) == len(verdicts) and (self.unknowns.all_bad_refuses_packet or packet.priced_only):
            raise Refused(bad[0])  # a price has no rows to say it in

    def _accepted(self, packet: _Packet, rows: list[Mapping[str, Any]], verdicts: list[Draft | int]) -> Rows:
        number = self._open_packet(packet.account)
        answer: list[dict[str, Value]] = []
        accepted = 0
        for row, verdict in zip(rows, verdicts, strict=True):
            if isinstance(verdict, int):
                answer.append(self._refused_row(row, verdict))
                continue
            if accepted == self.unknowns.partly_accepted:
                raise Refused(self.unknowns.partly_accepted_code)
            answer.append(self._accepted_row(self._accept(packet, number, verdict)))
            accepted += 1
        head: dict[str, Value] = {
            "server_packet_id": number,
            "balance": packet.account.balance,
            "cost": _total(verdicts),
        }
        return Rows("send", self._apply_unknowns(answer), head)

    def _open_packet(self, account: Account) -> str:
        return self._unstored.open_packet() if account.is_for_tests else self.store.open_packet()

    def _next_server_id(self, account: Account) -> str:
        if account.is_for_tests:
            return self._unstored.next_server_id(self.clock.now())
        return self.store.next_server_id()

    def _accept(self, packet: _Packet, number: str, draft: Draft) -> AcceptedMessage:
        now, account = packet.now, packet.account
        waits = draft.send_at is not None and draft.send_at > now
        first = StatusChange(now, SCHEDULED if waits else ACCEPTED)
        message = AcceptedMessage(
            server_id=self._next_server_id(account),
            server_packet_id=number,
            id=draft.id,
            to=draft.to,
            text=draft.text,
            sender=draft.sender,
            parts=draft.parts,
            price=draft.price,
            status=first.status,
            send_at=draft.send_at,
            ttl=draft.ttl,
            callback=draft.callback,
            callback_method=draft.callback_method,
            country=draft.country,
            operator=draft.operator,
            test=packet.test,
            account=account.id,
            accepted_at=now,
            modified=now,
            history=(first,),
        )
        if packet.test:
            self.store.add_test(message, is_stored=not account.is_for_tests)
            return message
        account.balance -= draft.price
        self._sent[account.id, draft.to, draft.text] = now
        self.store.add(message, self._future(message, waits=waits))
        return message

    def _future(self, message: AcceptedMessage, *, waits: bool) -> Iterable[StatusChange]:
        start = message.accepted_at
        if waits and message.send_at is not None:
            start = message.send_at
            yield StatusChange(start, ACCEPTED)
        handover, delivery = self.settings.handover, self.settings.delivery
        life = handover + _OPERATORS_DAY
        if message.ttl is not None:
            life = min(life, timedelta(minutes=message.ttl))
        if handover < life:
            yield StatusChange(start + handover, WITH_OPERATOR)
        error = self._delivery_error(message)
        if delivery > life:
            yield StatusChange(start + life, UNDELIVERED, EXPIRED)
        else:
            yield StatusChange(start + delivery, UNDELIVERED if error else DELIVERED, error)

    def _delivery_error(self, message: AcceptedMessage) -> int:
        for rule in self.failures:
            if rule.meets(message.to, message.text):
                return rule.code
        undelivered = self.settings.undelivered
        if undelivered and self.random.random() < undelivered:
            return self.random.choice(DELIVERY_ERRORS)
        return 0

    def _accepted_row(self, message: AcceptedMessage) -> dict[str, Value]:
        return {
            "id": message.id or 0,
            "server_id": message.server_id,
            "from": message.sender,
            "to": message.to,
            "text": message.text,
            "parts": message.parts,
            "price": message.price,
            "status": message.status,
            "error": 0,
            "send_datetime": None if message.send_at is None else message.send_at.strftime(_WIRE_MOMENT),
            "country": message.country,
            "operator": message.operator,
        }

    def _refused_row(self, row: Mapping[str, Any], code: int) -> dict[str, Value]:
        return {
            "id": as_whole(row.get("id")) or 0,
            "server_id": "0",
            "from": as_text(row.get("from")),
            "to": as_text(row.get("to")),
            "text": as_text(row.get("text")),
            "parts": 0,
            "price": Decimal("0.00"),
            "status": UNKNOWN,
            "error": code,
            "send_datetime": None,
            "country": "",
            "operator": "",
        }

    def _apply_unknowns(self, rows: list[dict[str, Value]]) -> list[dict[str, Value]]:
        if self.unknowns.ids_zero:
            rows = [{**row, "id": 0} for row in rows]
        rows = rows[: max(0, len(rows) - self.unknowns.rows_missing)]
        if self.unknowns.rows_reordered:
            self.random.shuffle(rows)
        return rows

    # --- check ------------------------------------------------------------------------------------------------------

    def _check(self, request: Request, account: Account) -> Rows:
        asked = self._ids_of_packet(request, account) if request.asks_for_packet else self._ids_of_rows(request.rows)
        found = [(number, self._own(number, account)) for number in asked]
        if not account.is_for_tests:
            self._refuse_missing(found)
        return Rows("check", [self._status_row(number, message, account) for number, message in found])

    def _ids_of_packet(self, request: Request, account: Account) -> list[str]:
        packet = as_text(request.fields.get("server_packet_id"))
        if not packet:
            raise Refused(300)
        if account.is_for_tests and _NUMBER.fullmatch(packet):
            return self._unstored.server_ids
        asked = self.store.packet(packet)
        if not asked or not any(self._own(number, account) for number in asked):
            raise Refused(304)
        return asked

    def _ids_of_rows(self, rows: list[Any] | None) -> list[str]:
        if not rows or not all(isinstance(row, dict) for row in rows):
            raise Refused(303)
        asked = [as_text(row.get("server_id")) for row in rows]
        if not all(asked):
            raise Refused(300)
        if not all(map(_NUMBER.fullmatch, asked)):
            raise Refused(301)
        return asked

    def _own(self, number: str, account: Account) -> AcceptedMessage | None:
        message = self.store.find(number, self.clock.now())
        return message if message is not None and message.account == account.id else None

    def _refuse_missing(self, found: list[tuple[str, AcceptedMessage | None]]) -> None:
        known = sum(message is not None for _, message in found)
        if known == 0 or (known < len(found) and self.unknowns.missing_id_refuses_check):
            raise Refused(302)

    def _status_row(self, number: str, message: AcceptedMessage | None, account: Account) -> dict[str, Value]:
        if account.is_for_tests:
            return self._unstored_row(number, self._unstored.accepted_at(number))
        if message is None:
            return self._row_of_check(0, number, UNKNOWN, self.clock.now())
        if message.test:
            return self._unstored_row(number, message.accepted_at)
        lag = self.unknowns.check_lag
        if lag is not None and self.clock.now() - message.accepted_at < lag:
            return self._row_of_check(0, number, UNKNOWN, message.accepted_at)
        return self._row_of_check(message.id or 0, number, message.status, message.modified)

    def _unstored_row(self, number: str, since: datetime) -> dict[str, Value]:
        now, settings = self.clock.now(), self.settings
        last = _test_key.status_of(number, since, now, handover=settings.handover, delivery=settings.delivery)
        return self._row_of_check(0, number, last.status, last.at)

    def _row_of_check(self, own: int, number: str, status: int, modified: datetime) -> dict[str, Value]:
        return {
            "id": 0 if self.unknowns.ids_zero else own,
            "server_id": number,
            "status": status,
            "modified": modified.astimezone(self.unknowns.modified_zone).strftime(_WIRE_MOMENT),
        }

    # --- the rest ---------------------------------------------------------------------------------------------------

    def _inbound(self, request: Request, account: Account) -> Rows:
        since = as_text(request.fields.get("since"))
        inbox, now = self.inboxes[account.id], self.clock.now()
        if since == "new":
            taken = inbox.read_new(now)
        else:
            moment = read_moment(since) if since else datetime.min.replace(tzinfo=UTC)
            if moment is None:
                raise Refused(500)
            taken = inbox.read_since(moment, now)
        return Rows("inbound", list(map(_inbound_row, taken)), api_key=as_text(request.fields.get("apikey")))

    def _balance(self, request: Request, account: Account) -> Single:
        unit = request.fields.get("return")
        if unit is True or as_text(unit).lower() == "sms":
            return Single("balance", _sms_left(account), always_number=True)
        return Single("balance", account.balance, always_number=True)

    def _info(self, account: Account) -> Fields:
        fields: dict[str, Value] = {
            "id": account.id,
            "tariff_id": account.tariff_id,
            "email": account.email,
            "phone": account.phone,
            "balance": account.balance,
            "date": account.registered.strftime(_WIRE_MINUTE),
            "senders": ",".join(account.senders),
            "default_sender": account.default_sender,
            "any_sender": int(account.any_sender),
        }
        # What the vendor's test key shows is known from live answers alone, and they had a name.
        has_name = self.settings.profile != "2.4.16" or account.is_for_tests
        return Fields("info", {**fields, "name": account.name} if has_name else fields)


def _inbound_row(sms: InboundSms) -> dict[str, Value]:
    return {
        "id": sms.id,
        "phone": sms.phone,
        "num": sms.num,
        "text": sms.text,
        "created": sms.created.astimezone(MOSCOW).strftime(_WIRE_MINUTE),
        "seen": int(sms.seen),
    }


def _with_defaults(rows: list[Mapping[str, Any]], fields: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    defaults = {name: fields[name] for name in _DEFAULTS_AT_TOP if name in fields}
    return [defaults | {name: value for name, value in row.items() if value not in (None, "")} for row in rows]


def _total(verdicts: list[Draft | int]) -> Decimal:
    return sum((verdict.price for verdict in verdicts if isinstance(verdict, Draft)), Decimal("0.00"))


def _sms_left(account: Account) -> int:
    return int(account.balance // account.price) if account.price else 0


def matcher(**wanted: Any) -> Callable[[AcceptedMessage], bool]:
    """A test for messages that have these values.

    Raises:
        TypeError: A message has no such field.
    """
    if unknown := sorted(wanted.keys() - MESSAGE_FIELDS):
        raise TypeError(f"a message has no field {unknown[0]!r}")
    return lambda message: all(getattr(message, name) == value for name, value in wanted.items())
