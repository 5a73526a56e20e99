"""What a person on call sees at first, on both databases."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from ledgers import PHONE

from smspilot_async import Client, Message, Retry, __version__
from smspilot_async.cli._app import app
from smspilot_async.emulator import Account, Emulator, Fault

if TYPE_CHECKING:
    from ledgers import Desk

    from smspilot_async.outbox import Outbox, Overview


def due(seen: Overview) -> dict[str, tuple[int, int]]:
    """What is due: how many of each kind, and for how many seconds the oldest has been."""
    return {one.kind: (one.messages, int(one.oldest.total_seconds())) for one in seen.waiting if one.oldest is not None}


async def test_it_shows_since_when_the_oldest_of_each_kind_is_due(desk: Desk, outbox: Outbox) -> None:
    assert due(await outbox.overview()) == {}
    await desk.pending(kind="code", valid_for=3600)
    await desk.turn(100)
    await desk.pending()
    await desk.pending()
    await desk.turn(10)
    assert due(await outbox.overview()) == {"code": (1, 110), "service": (2, 10)}


async def test_what_may_not_leave_is_not_due(desk: Desk, outbox: Outbox) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    await outbox.enqueue(Message(PHONE, "Later", send_at=later), key="later")
    paused = await desk.campaign("paused", rows=2)
    await desk.campaign("running", rows=3)
    closed = await desk.campaign("closed", rows=4)
    campaign, stream = desk.tables.campaign, desk.tables.stream
    await desk.execute(sa.update(campaign).where(campaign.c.id == paused).values(state="paused", reason="budget"))
    await desk.execute(sa.update(stream).where(stream.c.campaign_id == closed).values(open_until=0))
    seen = await outbox.overview()
    assert {kind: number for kind, (number, _) in due(seen).items()} == {"marketing": 3}
    assert [(one.name, one.state, one.reason) for one in seen.campaigns] == [
        ("paused", "paused", "budget"),
        ("running", "running", None),
        ("closed", "running", None),
    ]


async def test_a_request_beyond_its_lease_is_counted_until_it_is_recovered(desk: Desk, outbox: Outbox) -> None:
    for _ in range(3):
        await desk.pending()
    await desk.claim(2, lease=30)
    await desk.claim(1, lease=300)
    seen = await outbox.overview()
    assert (seen.requests, seen.in_flight, seen.expired, seen.unknown) == (2, 3, 0, 0)
    await desk.turn(31)
    assert (await outbox.overview()).expired == 1
    await desk.hot.recover()
    seen = await outbox.overview()
    assert (seen.requests, seen.expired, seen.unknown, seen.unsettled) == (1, 0, 2, 2)


async def test_what_was_settled_by_an_order_still_counts_as_unknown(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    await desk.pending()
    emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
    await outbox.drain(client)
    await desk.turn(120)
    await outbox.settle(as_="assume_sent", expect=1)
    seen = await outbox.overview()
    assert (seen.unknown, seen.unsettled) == (1, 0)


async def test_pace_and_balance_say_for_how_long_the_money_lasts(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    for number in range(6):
        await desk.pending(f"text {number}")
    assert (await outbox.drain(client)).accepted == 6
    seen = await outbox.overview(client)
    spent = sum((message.price for message in emulator.messages), Decimal(0))
    assert (seen.per_second, seen.spent_per_hour) == (0.1, spent)
    assert seen.balance == (await client.info()).balance
    assert seen.balance is not None
    assert seen.hours_left == pytest.approx(float(seen.balance / spent))
    await desk.turn(61)
    seen = await outbox.overview()
    assert (seen.per_second, seen.spent_per_hour, seen.balance, seen.hours_left) == (0.0, spent, None, None)
    await desk.turn(3600)
    assert (await outbox.overview()).spent_per_hour == 0


async def test_no_other_account_s_balance_is_shown(outbox: Outbox, emulator: Emulator) -> None:
    stranger = emulator.add_account(Account(api_key="B" * 64))
    async with Client(stranger.api_key, url=emulator.url) as client:
        assert (await outbox.overview(client)).balance is None


async def test_a_gateway_that_does_not_answer_takes_nothing_else_away(
    desk: Desk, outbox: Outbox, emulator: Emulator
) -> None:
    await desk.pending()
    emulator.fail_next("info", Fault.SERVER_ERROR)
    async with Client(emulator.api_key, url=emulator.url, retry=Retry(attempts=1)) as client:
        seen = await outbox.overview(client)
    assert (seen.balance, due(seen)) == (None, {"service": (1, 0)})


async def test_the_clocks_of_machine_and_database_are_compared(desk: Desk, outbox: Outbox) -> None:
    assert abs((await outbox.overview()).drift) < timedelta(seconds=2)
    await desk.turn(90)  # on SQLite there is no other clock
    behind = 90 if outbox._dialect == "postgresql" else 0
    assert round((await outbox.overview()).drift.total_seconds() / 10) * 10 == -behind


async def test_workers_are_named_with_their_version_and_seen_to_be_lost(
    desk: Desk, outbox: Outbox, emulator: Emulator
) -> None:
    assert (await outbox.overview()).workers == ()
    worker = desk.tables.worker
    async with (
        Client(emulator.api_key, url=emulator.url, rate_limit=30) as limited,
        outbox.worker(limited),
    ):
        await _eventually(outbox)
        assert (await outbox.overview()).rate_limit == 30.0
        ((name, version, is_running),) = [
            (one.name, one.version, one.is_running) for one in (await outbox.overview()).workers
        ]
        assert (version, is_running) == (__version__, True)
        assert name
    assert (await outbox.overview()).workers == ()
    now = await desk.now()
    await desk.execute(
        worker.insert().values(name="gone:1", version="0.1", started_at=now - 90_000_000, seen_at=now - 60_000_000)
    )
    (lost,) = (await outbox.overview()).workers
    assert (lost.name, lost.is_running) == ("gone:1", False)


async def _eventually(outbox: Outbox) -> None:
    async with asyncio.timeout(30):
        while not (await outbox.overview()).workers:  # noqa: ASYNC110 - a row in a database
            await asyncio.sleep(0.01)


async def test_the_screen_says_all_of_it(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator, ledger_url: str
) -> None:
    await desk.pending()
    emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
    await outbox.drain(client)
    await desk.campaign("promo-11", rows=2)
    await outbox.halt("looking into it", actor="anna")

    async def shown(*arguments: str, **environment: str) -> str:
        settings = {"SMSPILOT_LEDGER": ledger_url, "SMSPILOT_URL": emulator.url, "COLUMNS": "150"}
        arguments = ("outbox", *arguments)
        result = await asyncio.to_thread(CliRunner().invoke, app, arguments, env={**settings, **environment})
        assert result.exit_code == 0, result.output
        return result.output

    screen = await shown("status", SMSPILOT_API_KEY=emulator.api_key)
    balance = (await client.info()).balance
    for line in (
        "halted       marketing: looking into it; smspilot outbox release lets it go on",
        "unknown      1, 1 not settled",
        "due          2 marketing, the oldest for ",
        "on the wire  0 messages in 0 requests",
        "campaigns    promo-11 running",
        "workers      none",
        "pace         0.0 messages a second in the last minute",
        f"balance      {balance:f} RUB",
        "statuses     1 packet followed; last callback never",
    ):
        assert line in screen
    assert emulator.url in screen
    found: dict[str, Any] = json.loads(await shown("status", "--json"))
    assert (found["messages"]["unknown"], found["unsettled"], found["halted"]) == (1, 1, "marketing")
    assert found["balance"] is None
    assert [one["messages"] for one in found["waiting"]] == [0, 0, 2]


async def test_the_log_says_who_ordered_what_why_and_when(desk: Desk, outbox: Outbox, ledger_url: str) -> None:
    await outbox.halt("wrong text", actor="anna")
    between = datetime.fromtimestamp(await desk.now() / 1_000_000, UTC) + timedelta(seconds=1)
    await desk.turn(5)
    await outbox.release("mended", actor="boris")
    assert [(order.actor, order.action, order.why) for order in await outbox.log(since=between)] == [
        ("boris", "release", "mended")
    ]
    environment = {"SMSPILOT_LEDGER": ledger_url}
    written = f"{between:%Y-%m-%d %H:%M:%S} +00:00"
    for arguments, actors in (
        ([], ["boris", "anna"]),
        (["--since", written], ["boris"]),
        (["--limit", "1"], ["boris"]),
    ):
        command = ["outbox", "log", "--json", *arguments]
        result = await asyncio.to_thread(CliRunner().invoke, app, command, env=environment)
        assert [json.loads(line)["actor"] for line in result.output.splitlines()] == actors
    with pytest.raises(ValueError, match="zone"):
        await outbox.log(since=datetime(2026, 11, 28))  # noqa: DTZ001 - the point
