"""Scene two of the demo: the shipped list is sent as by ``smspilot bulk``, and followed until every status is final.

The gateway is the emulator, with a typical account: two registered senders, a blacklist, a filter, and a few phones
that are switched off. Its clock is advanced by hand, so that deliveries take no time.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from decimal import Decimal
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any, Final

from smspilot_async import Client
from smspilot_async.cli._output import count, print_line
from smspilot_async.cli.bulk._bulk import BulkOptions, RecipientList, Run
from smspilot_async.cli.bulk._plan import Plan
from smspilot_async.cli.bulk._sending import BulkEngine
from smspilot_async.emulator import Account, Emulator
from smspilot_async.errors import Outcome
from smspilot_async.models import status_word

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from smspilot_async.cli.bulk._summary import Summary
    from smspilot_async.models import MessageStatus

_LIST: Final = "recipients.csv"
_UNDELIVERED: Final = 0.02
_TURNS: Final = (timedelta(seconds=10), timedelta(minutes=1))
_FILTERED: Final = "Cкидка до вечера: Рaспродажа!"  # Latin letters in Cyrillic words: caught by the operators' filters


async def send_the_list(seed: int, *, as_json: bool) -> Mapping[str, Any]:
    """Send the shipped list, wait for the last status, show the summary, and return the figures."""
    async with Emulator.serve(account=_account(), seed=seed, undelivered=_UNDELIVERED) as emulator:
        emulator.refuse(code=248, text=_FILTERED)
        client = Client(emulator.api_key, url=emulator.url)
        recipients = await asyncio.to_thread(_shipped_list)
        plan, run = await _send(client, recipients, as_json=as_json)
        statuses = await _final_statuses(client, emulator, run.summary, as_json=as_json)
    if not as_json:
        _show(run.summary)
    return {
        "plan": plan.as_json(),
        "bill": run.summary.as_json(),
        "statuses": statuses,
        "refusals": _refusals(run.summary),
    }


def _shipped_list() -> RecipientList:
    with as_file(files("smspilot_async.cli").joinpath("demo_data", _LIST)) as path:
        return RecipientList.open(BulkOptions(path=str(path)))


def _account() -> Account:
    return Account(
        api_key="DEMO" * 16,
        name="Demo",
        balance=Decimal("10000.00"),
        prices={"TELE2": Decimal("2.19")},
        senders=("SHOP", "CLINIC"),
        default_sender="SHOP",
        any_sender=False,
        blacklist=("79087901700", "79087905100"),
    )


async def _send(client: Client, recipients: RecipientList, *, as_json: bool) -> tuple[Plan, Run]:
    options, plan = BulkOptions(path=_LIST), Plan()
    async with client:
        await plan.price_by(client, recipients)
    if not as_json:
        plan.show_facts()
        plan.show_samples()
        print_line()
    run = Run(options, BulkEngine(client, in_flight=1))  # one at a time, so that the seed decides everything
    await run.send(client, recipients, total=plan.messages)
    return plan, run


async def _final_statuses(client: Client, emulator: Emulator, summary: Summary, *, as_json: bool) -> Mapping[str, int]:
    counts: Mapping[str, int] = {}
    async with client:
        for turn in _TURNS:
            emulator.clock.advance(seconds=turn.total_seconds())
            statuses = [status for packet in summary.packets for status in await client.check_packet(packet)]
            counts = _counts(statuses)
            if not as_json:
                words = ", ".join(f"{number:,} {status}" for status, number in counts.items())
                print_line(f"After {turn.total_seconds():.0f} more seconds: {words}")
    return counts


def _counts(statuses: Iterable[MessageStatus]) -> Mapping[str, int]:
    return dict(Counter(status_word(status.status) for status in statuses).most_common())


def _refusals(summary: Summary) -> list[Mapping[str, Any]]:
    return [
        {"outcome": outcome, "reason": reason, "lines": lines}
        for (outcome, reason), lines in summary.reasons.items()
        if outcome is not Outcome.UNKNOWN
    ]


def _show(summary: Summary) -> None:
    print_line()
    summary.show()
    summary.show_reasons()
    print_line()
    print_line(f"All {count(summary.read, 'row')} are accounted for.")
