"""The plan of a run: rows, faults, repeats, parts, price. It is made before anything is sent.

The list is read once for the counts and the price; only line numbers and three samples of it are kept.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import attrs

from smspilot_async._numbering import PhoneKind, kind_of
from smspilot_async._requests.rate_limit import RateLimit
from smspilot_async._tools import clock as clocks
from smspilot_async._tools.template import column_list
from smspilot_async.cli._connection import Mode
from smspilot_async.cli._language import word
from smspilot_async.cli._output import (
    count,
    lines_as_ranges,
    money,
    one_line,
    print_facts,
    print_line,
    print_table,
)
from smspilot_async.cli.bulk._sending import PACKET_SIZE
from smspilot_async.errors import MessageRefused, SmsPilotError
from smspilot_async.models import AccountInfo

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence

    from smspilot_async import Client
    from smspilot_async.cli.bulk._recipients import Recipient
    from smspilot_async.models import Message

_SAMPLES: Final = 3
_SHOWN_FAULTS: Final = 20
_SHOWN_COUNTRIES: Final = 8
_SHOWN_SENDERS: Final = 5
_PRICED_AT_ONCE: Final = 4


@attrs.frozen
class Fault:
    """A bad row."""

    line: int
    code: int
    reason: str


@attrs.frozen
class Sample:
    """A message as it would be sent."""

    line: int
    to: str = attrs.field(repr=False)
    text: str = attrs.field(repr=False)


@attrs.frozen
class Target:
    """Where a run would send to, and from whose account.

    Attributes:
        url: The gateway's address.
        mode: What happens to messages there.
        account: What the gateway says about the account; ``None`` if it says nothing.
    """

    url: str
    mode: Mode
    account: AccountInfo | None = None

    def as_json(self) -> Mapping[str, Any]:
        """Return it as JSON data."""
        account = self.account and {"contract": self.account.id, "email": masked(self.account.email)}
        return {"gateway": self.url, "mode": self.mode, "account": account}

    def facts(self, senders: Counter[str]) -> Mapping[str, object]:
        """Return what a person needs to see before confirming."""
        return {
            "gateway": self.url,
            "account": self._account_line(),
            "test" if self.mode in {Mode.TEST, Mode.TEST_KEY} else "live": self.mode.words,
            "sender": self._sender_line(senders),
        }

    def _account_line(self) -> str:
        if self.account is None:
            return "not given by the gateway"
        contract = "" if self.account.id is None else f"contract {self.account.id}"
        return ", ".join(filter(None, (contract, masked(self.account.email)))) or "not given by the gateway"

    def _sender_line(self, senders: Counter[str]) -> str:
        names = [(self._sender_name(name), number) for name, number in senders.most_common()]
        if len(names) == 1:
            return names[0][0]
        shown = ", ".join(f"{name}: {count(number, 'message')}" for name, number in names[:_SHOWN_SENDERS])
        return f"{shown}{_and_more(len(names) - _SHOWN_SENDERS, 'sender')}"

    def _sender_name(self, name: str) -> str:
        default = self.account and self.account.default_sender
        return name or (f"{default} (the account's default)" if default else "the account's default")


def masked(email: str | None) -> str:
    """Return as much of an e-mail address as its owner needs to recognise it."""
    name, at, domain = (email or "").partition("@")
    return f"{name[:1]}…{at}{domain}" if at else ""


@attrs.define
class Plan:
    """What a run would do.

    Attributes:
        target: Where it would send to.
        test: Whether nothing will be handed to operators.
        rows: Rows of the list, without
        settled: those that an earlier run has sent, or may have sent.
        sendable: Rows that make a message, repeats among them.
        messages: Messages that would be sent.
        faults: The bad rows.
        duplicates: Line of a repeated message, and the line it repeats.
        gaps: Lines where a column of the template is empty.
        foreign: Lines of messages to other countries, by country.
        landlines: Lines of messages to Russian landlines.
        senders: The number of messages with each sender's name; ``""`` for the account's default.
        parts: SMS that would be paid for.
        price: Roubles, as priced by the gateway; ``None`` while unknown.
        unpriced: Messages that the gateway did not price, and
        unpriced_before: those of an earlier run, and
        price_error: why.
        spent: Roubles that earlier runs of the list have cost, and at most may have cost.
        balance: Roubles on the account.
        samples: The first messages, rendered.
    """

    target: Target
    keep_duplicates: bool = False
    test: bool = False
    rows: int = 0
    settled: int = 0
    messages: int = 0
    faults: list[Fault] = attrs.Factory(list)
    duplicates: list[tuple[int, int]] = attrs.Factory(list)
    gaps: list[int] = attrs.Factory(list)
    foreign: dict[PhoneKind, list[int]] = attrs.Factory(dict)
    landlines: list[int] = attrs.Factory(list)
    senders: Counter[str] = attrs.Factory(Counter)
    parts: int = 0
    price: Decimal | None = None
    unpriced: int = 0
    unpriced_before: int = 0
    price_error: SmsPilotError | None = None
    spent: Decimal = Decimal(0)
    balance: Decimal | None = None
    samples: list[Sample] = attrs.Factory(list)

    def sendable(self, rows: Iterable[Recipient]) -> Iterator[Message]:
        """Count the rows, and yield the messages that would be sent."""
        for row in rows:
            self.rows += 1
            if row.message is None:
                self._add_fault(row)
            elif self._is_wanted(row):
                self._add(row, row.message)
                yield row.message

    def _add_fault(self, row: Recipient) -> None:
        if row.error is not None:
            self.faults.append(Fault(row.line, row.error.code, str(row.error)))

    def _is_wanted(self, row: Recipient) -> bool:
        if row.duplicate_of is not None:
            self.duplicates.append((row.line, row.duplicate_of))
        return row.duplicate_of is None or self.keep_duplicates

    def _add(self, row: Recipient, message: Message) -> None:
        self.messages += 1
        self.parts += message.size.parts
        self.senders[message.sender or ""] += 1
        if row.gaps:
            self.gaps.append(row.line)
        kind = kind_of(message.to)
        if kind.country != "RU":
            self.foreign.setdefault(kind, []).append(row.line)
        elif kind.line == "landline":
            self.landlines.append(row.line)
        if len(self.samples) < _SAMPLES:
            self.samples.append(Sample(row.line, message.to, message.text))

    async def price_by(
        self,
        client: Client,
        rows: Iterable[Recipient],
        *,
        doubtful: Iterable[Recipient] = (),
        rate_limit: float | None = None,
    ) -> None:
        """Read the rows, and ask the gateway for their price and for the balance.

        Args:
            client: Of the account.
            rows: What is to be sent.
            doubtful: Rows that an earlier run may have sent: their price counts as spent.
            rate_limit: Messages a second, at most, as for sending.

        Raises:
            SmsPilotError: The gateway cannot be reached, or refuses the key.
        """
        pricing = _Pricing(client, rate_limit)
        self.balance = await client.balance()
        self.price = await pricing.price(self.sendable(rows))
        self.unpriced, self.price_error = pricing.unpriced, pricing.error
        self.spent += await pricing.price(row.message for row in doubtful if row.message is not None)
        self.unpriced_before, self.price_error = pricing.unpriced - self.unpriced, pricing.error

    @property
    def is_covered(self) -> bool:
        """Whether the balance is sufficient, as far as is known."""
        return self.test or self.price is None or self.balance is None or self.price <= self.balance

    @property
    def cost(self) -> Decimal | None:
        """The price with what earlier runs have cost; ``None`` while it is unknown."""
        return None if self.price is None else self.spent + self.price

    def as_json(self) -> Mapping[str, Any]:
        """Return it as JSON data."""
        return {
            **self.target.as_json(),
            "test": self.test,
            "rows": self.rows,
            "settled_before": self.settled,
            "messages": self.messages,
            "bad_rows": [attrs.asdict(fault) for fault in self.faults],
            "duplicates": [{"line": line, "of": first} for line, first in self.duplicates],
            "empty_placeholders": self.gaps,
            "foreign": [
                {"country": kind.country, "name": kind.name, "messages": len(lines), "lines": lines}
                for kind, lines in self._by_country()
            ],
            "landlines": self.landlines,
            "senders": [{"sender": name or None, "messages": number} for name, number in self.senders.most_common()],
            "parts": self.parts,
            "price": self.price,
            "unpriced": self.unpriced,
            "spent_before": self.spent,
            "balance": self.balance,
            "covered": self.is_covered,
            "samples": [attrs.asdict(sample) for sample in self.samples],
        }

    def show(self, *, unused: Sequence[str] = ()) -> None:
        """Print it for a person."""
        self.show_facts(unused=unused)
        self._show_faults()
        self.show_samples()

    def show_facts(self, *, unused: Sequence[str] = ()) -> None:
        """Print the figures."""
        print_facts(
            {
                **self.target.facts(self.senders),
                "rows": f"{self.rows:,}",
                "done before": f"{count(self.settled, 'more row')}, not sent again" if self.settled else None,
                "to be sent": f"{count(self.messages, 'message')} in {count(self.parts, 'part')}",
                "bad rows": f"{len(self.faults):,}" if self.faults else "none",
                "duplicates": self._duplicates_line(),
                "abroad": self._abroad_line() if self.foreign else None,
                "landlines": self._landlines_line() if self.landlines else None,
                "empty gaps": f"lines {lines_as_ranges(self.gaps)}" if self.gaps else None,
                "not used": column_list(unused) if unused else None,
                "price": self._price_line(),
                "spent before": money(self.spent) if self.spent else None,
                "balance": money(self.balance),
            }
        )

    def _duplicates_line(self) -> str:
        if not self.duplicates:
            return "none"
        lines = lines_as_ranges(line for line, _ in self.duplicates)
        fate = "sent anyway" if self.keep_duplicates else "not sent; --keep-duplicates sends them"
        return f"{len(self.duplicates):,} with the phone and text of an earlier row, {fate}: lines {lines}"

    def _by_country(self) -> list[tuple[PhoneKind, list[int]]]:
        return sorted(self.foreign.items(), key=lambda item: (-len(item[1]), item[0].name))

    def _abroad_line(self) -> str:
        countries = self._by_country()
        shown = ", ".join(
            f"{word(kind.name)} {len(lines):,} (lines {lines_as_ranges(lines)})"
            for kind, lines in countries[:_SHOWN_COUNTRIES]
        )
        more = len(countries) - _SHOWN_COUNTRIES
        others = _and_more(more, "country", "countries")
        total = count(sum(len(lines) for _, lines in countries), "message")
        return f"{total}: {shown}{others}; --only RU leaves them out"

    def _landlines_line(self) -> str:
        total = count(len(self.landlines), "message")
        return f"{total} to Russian landlines, which the gateway may refuse: lines {lines_as_ranges(self.landlines)}"

    def _price_line(self) -> str:
        if not self.unpriced:
            return money(self.price)
        missing = count(self.unpriced, "message")
        return f"{money(self.price)} without {missing} that could not be priced: {self.price_error}"

    def _show_faults(self) -> None:
        if not self.faults:
            return
        print_line()
        print_table(
            ("line", "bad row, refused"),
            [(fault.line, one_line(fault.reason)) for fault in self.faults[:_SHOWN_FAULTS]],
            right=("line",),
        )
        more = len(self.faults) - _SHOWN_FAULTS
        if more > 0:
            print_line(f"... and {count(more, 'more bad row')}")

    def show_samples(self) -> None:
        """Print the first messages."""
        if self.samples:
            print_line()
            print_table(
                ("line", "to", "text"), [(each.line, each.to, each.text) for each in self.samples], right=("line",)
            )


def _and_more(number: int, one: str, many: str | None = None) -> str:
    return f" and {count(number, f'more {one}', many and f'more {many}')}" if number > 0 else ""


class _Pricing:
    """Asks what messages cost, some packets at a time, and at most so many messages a second."""

    def __init__(self, client: Client, rate_limit: float | None) -> None:
        self.unpriced = 0
        self.error: SmsPilotError | None = None
        self._client = client
        self._size = PACKET_SIZE if rate_limit is None else max(1, min(PACKET_SIZE, int(rate_limit)))
        self._rate = RateLimit(rate_limit, clocks.current())

    async def price(self, messages: Iterable[Message]) -> Decimal:
        packets = self._packets(iter(messages))
        return sum(await _gather(*(self._prices(packets) for _ in range(_PRICED_AT_ONCE))), Decimal(0))

    def _packets(self, messages: Iterator[Message]) -> Iterator[list[Message]]:
        while packet := list(itertools.islice(messages, self._size)):
            yield packet

    async def _prices(self, packets: Iterator[list[Message]]) -> Decimal:
        total = Decimal(0)
        for packet in packets:
            await self._rate.wait(len(packet), math.inf)
            try:
                total += await self._client.cost(packet)
            except MessageRefused as refused:
                # One bad message may keep the gateway from pricing its packet; the others are still to be sent.
                self.unpriced += len(packet)
                self.error = refused
        return total


async def _gather(*coroutines: Coroutine[Any, Any, Decimal]) -> list[Decimal]:
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
