"""What must not leave does not, and each of these tests fails once its rule is taken out of the claim.

A rule is a message that must not leave, and the words of the claim that keep it back, on each database. What must hold
is tried twice: with the claim as it is, and with the rule broken on purpose, where the message must leave. So no rule
can be lost unnoticed, and none of these tests passes because nothing would have left anyway.
"""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
import pytest
import sqlalchemy as sa
from ledgers import PHONE, accepted

from smspilot_async.emulator import Fault
from smspilot_async.outbox import _deliver, _faults, _grants, _postgres, _sqlite_claim
from smspilot_async.outbox._grants import learn_prices
from smspilot_async.outbox._ledger import BRAKE_LONGEST, MAX_UNKNOWNS, SECOND, Answer, ClaimRequest, MessageAnswer
from smspilot_async.outbox._states import Event
from smspilot_async.outbox._upkeep import Upkeep

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ledgers import Desk
    from postgres import Postgres

    from smspilot_async import Client
    from smspilot_async.emulator import Emulator
    from smspilot_async.outbox import Outbox

Scene: TypeAlias = "Callable[[Desk], Awaitable[object]]"
FAR = 2**62


@attrs.frozen
class Rule:
    """A message that must not leave, and the words that keep it back: one spelling, or one for each database."""

    scene: Scene
    sqlite: str
    postgresql: str
    broken: str = "true"


async def suppressed(desk: Desk) -> None:
    await desk.outbox.suppress([PHONE])
    await desk.pending(kind="marketing")


async def suppressed_everything(desk: Desk) -> None:
    await desk.outbox.suppress([PHONE], everything=True)
    await desk.pending()


async def closed_window(desk: Desk) -> None:
    await desk.campaign(rows=1)
    await desk.execute(sa.update(desk.tables.stream).values(open_from=FAR, open_until=FAR + 1))


async def window_over(desk: Desk) -> None:
    await desk.campaign(rows=1)
    await desk.execute(sa.update(desk.tables.stream).values(open_until=1))


async def window_not_looked_at(desk: Desk) -> None:
    await desk.campaign(rows=1, settings={"window": "{}"})


async def expired(desk: Desk) -> None:
    await desk.pending(kind="code", valid_for=60)
    await desk.turn(61)


async def not_due(desk: Desk) -> None:
    await desk.campaign(rows=1)
    await desk.execute(sa.update(desk.tables.message).values(due=FAR))


async def campaign_expired(desk: Desk) -> None:
    await desk.campaign(rows=1, expires_at=1)


async def campaign_not_begun(desk: Desk) -> None:
    await desk.campaign(rows=1, starts_at=FAR)


async def campaign_paused(desk: Desk) -> None:
    await desk.campaign(rows=1, state="paused")


async def no_grant(desk: Desk) -> None:
    await desk.campaign(rows=1, first=5)


async def halted(desk: Desk) -> None:
    await desk.pending(kind="marketing")
    await desk.execute(sa.update(desk.tables.account).values(halted="marketing"))


async def halted_everything(desk: Desk) -> None:
    await desk.pending(kind="code", valid_for=60)
    await desk.execute(sa.update(desk.tables.account).values(halted="all"))


async def account_paused(desk: Desk) -> None:
    await desk.pending()
    await desk.hot.pause("InsufficientFunds 112")


async def braked(desk: Desk) -> None:
    await desk.pending()
    for _ in range(MAX_UNKNOWNS):
        await desk.hot.count_unknown()


LISTS = ("x.list = 'all' OR :lane = :marketing", "x.list = 'all' OR due.lane = %(marketing)s")
HALT = ("a.halted IS NULL OR (a.halted = 'marketing' AND s.lane < :marketing)",
        "a.halted IS NULL OR (a.halted = 'marketing' AND s.lane < %(marketing)s)")  # fmt: skip
RULES = {
    "suppressed": Rule(suppressed, *LISTS, broken="x.list = 'all'"),
    "suppressed for everything": Rule(suppressed_everything, *LISTS, broken="false"),
    "before its window": Rule(closed_window, "s.open_from <= :now", "s.open_from <= clock.now"),
    "after its window": Rule(window_over, ":now < s.open_until", "clock.now < s.open_until"),
    "window not looked at": Rule(window_not_looked_at, *["(NOT c.is_windowed OR s.closes_at IS NOT NULL)"] * 2),
    "expired": Rule(expired, "m.valid_until <= :now", "due.valid_until <= due.now", broken="false"),
    "not due": Rule(not_due, "m.due <= :now", "m.due <= clock.now|m.due <= (SELECT now FROM open_stream)"),
    "campaign expired": Rule(campaign_expired, ":now < c.expires_at", "clock.now < c.expires_at"),
    "campaign not begun": Rule(campaign_not_begun, "c.starts_at <= :now", "c.starts_at <= clock.now"),
    "campaign paused": Rule(campaign_paused, *["c.state = 'running'"] * 2),
    "no grant": Rule(
        no_grant,
        "c.first IS NULL",
        "c.first IS NULL|((SELECT is_limited FROM open_stream) IS NOT TRUE OR EXISTS (SELECT 1 FROM granted))",
    ),
    "halted": Rule(halted, *HALT),
    "halted for everything": Rule(halted_everything, *HALT, broken="a.halted IS NULL OR s.lane < 2"),
    "account paused": Rule(account_paused, *["a.paused IS NULL"] * 2),
    "brake": Rule(braked, "a.unknowns < :most_unknowns", "a.unknowns < %(most_unknowns)s"),
}


def break_rule(monkeypatch: pytest.MonkeyPatch, rule: Rule) -> None:
    """Take a rule out of the claim of both databases."""
    for words in rule.postgresql.split("|"):
        assert words in _postgres._CLAIM
        monkeypatch.setattr(_postgres, "_CLAIM", _postgres._CLAIM.replace(words, rule.broken))
    assert rule.sqlite in _sqlite_claim._OPEN_STREAM + _sqlite_claim._DUE
    for name in ("_OPEN_STREAM", "_DUE"):
        monkeypatch.setattr(_sqlite_claim, name, getattr(_sqlite_claim, name).replace(rule.sqlite, rule.broken))


@pytest.mark.parametrize("name", RULES)
async def test_what_a_rule_keeps_back_does_not_leave(desk: Desk, name: str) -> None:
    await RULES[name].scene(desk)
    assert not (await desk.claim()).messages


@pytest.mark.parametrize("name", RULES)
async def test_no_sender_is_woken_for_it_unless_the_claim_decides_about_it(desk: Desk, name: str) -> None:
    await RULES[name].scene(desk)
    decided = {"suppressed", "suppressed for everything", "expired", "no grant"}
    _, is_due = await desk.hot.account_and_due()
    assert is_due is (name in decided)


@pytest.mark.parametrize("name", RULES)
async def test_without_its_rule_it_would_leave(desk: Desk, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await RULES[name].scene(desk)
    break_rule(monkeypatch, RULES[name])
    assert (await desk.claim()).messages


# --- the rules that count ------------------------------------------------------------------------


async def within_the_budget(desk: Desk) -> bool:
    """Whether a campaign whose budget pays for two messages lets no third one leave."""
    await desk.hot.transact(lambda: learn_prices({"RU": Decimal("1.25")}))
    await desk.campaign(rows=5, budget=Decimal("2.51"))
    upkeep = Upkeep(desk.hot, "desk")
    left = 0
    for _ in range(3):
        upkeep._next_grants = 0
        await upkeep.do()
        claim = await desk.claim()
        left += len(claim.messages)
        if claim.attempt_id is not None:
            answers = [
                MessageAnswer(id=one.id, event=Event.ACCEPTED, server_id="1", parts=1, price=Decimal("1.25"))
                for one in claim.messages
            ]
            await desk.record(claim.attempt_id, *answers)
    return left <= 2


async def test_no_message_leaves_beyond_the_budget(desk: Desk) -> None:
    assert await within_the_budget(desk)


@pytest.mark.parametrize("place", ["grant", "claim"])
async def test_without_the_budgets_rule_more_would_leave(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    if place == "grant":
        monkeypatch.setattr(_grants, "_amount", lambda *_: Decimal(100))
    else:
        monkeypatch.setattr(_sqlite_claim, "affordable", lambda _, rows, __, **___: (rows, Decimal(0)))
        broken = _postgres._CLAIM.replace("total <= g.amount", "true")
        assert broken != _postgres._CLAIM
        monkeypatch.setattr(_postgres, "_CLAIM", broken)
    assert not await within_the_budget(desk)


async def stopped_for_its_sender(desk: Desk, outbox: Outbox, client: Client, emulator: Emulator) -> bool:
    """Whether a campaign whose sender is not registered stops within 20 answers and what is in flight."""
    emulator.refuse(code=204)
    number = await desk.campaign(rows=100)
    await outbox.drain(client, packet_size=5, in_flight=2)
    states = await desk.states()
    row = await desk.of_campaign(number)
    return (row.state, row.reason) == ("paused", "fault 204") and states["refused"] <= _faults.MOST + 2 * 5


async def test_a_sender_that_is_not_registered_stops_the_campaign(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    assert await stopped_for_its_sender(desk, outbox, client, emulator)


async def test_without_its_rule_every_message_would_be_refused(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_faults, "FAULTS", frozenset())
    assert not await stopped_for_its_sender(desk, outbox, client, emulator)


# --- the brake, over 40 minutes ------------------------------------------------------------------

PACKET, IN_FLIGHT = 5, 2


async def unknowns_of_an_outage(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> int:
    """Send beside a gateway that says 503 for 40 minutes, and return how many messages are unknown after it."""
    monkeypatch.setattr(_deliver, "POLL", 0.01)
    emulator.random_faults({Fault.SERVER_ERROR: 1.0}, command="send")
    await desk.campaign(rows=300)
    async with outbox.worker(client, packet_size=PACKET, in_flight=IN_FLIGHT):
        for _ in range(int(40 * 60 / 20)):
            await desk.turn(20)
            await asyncio.sleep(0.05)
    return (await desk.states())["unknown"]


async def test_an_outage_of_40_minutes_leaves_few_messages_unknown(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = await unknowns_of_an_outage(desk, outbox, client, emulator, monkeypatch)
    probes = 40 * 60 * SECOND // BRAKE_LONGEST
    assert probes <= unknown - MAX_UNKNOWNS * PACKET
    assert unknown <= (IN_FLIGHT + MAX_UNKNOWNS) * PACKET + 15


async def test_without_the_brake_everything_would_be_unknown(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_rule(monkeypatch, RULES["brake"])
    monkeypatch.setattr(_deliver, "MAX_UNKNOWNS", 10**9)
    monkeypatch.setattr("smspilot_async.outbox._ledger.MAX_UNKNOWNS", 10**9)
    emulator.random_faults({Fault.SERVER_ERROR: 1.0}, command="send")
    await desk.campaign(rows=100)
    await outbox.drain(client, packet_size=PACKET, in_flight=IN_FLIGHT)
    assert (await desk.states())["unknown"] == 100


# --- several senders -----------------------------------------------------------------------------


@pytest.mark.parametrize("ledger_url", ["postgresql"], indirect=True)  # one process at a time sends from SQLite
async def test_four_senders_with_four_places_each_meet_no_deadlock(
    desk: Desk, postgres: Postgres, ledger_url: str
) -> None:
    await desk.campaign(rows=1000, settings={"rate_limit": 100_000}, budget=Decimal(100_000))
    await desk.hot.transact(lambda: learn_prices({"RU": Decimal(1)}))
    hots = [desk.outbox._hot_path() for _ in range(4)]
    upkeeps = [Upkeep(hot, f"sender {number}") for number, hot in enumerate(hots)]

    async def place(number: int) -> int:
        hot, upkeep, done = hots[number % 4], upkeeps[number % 4], 0
        for turn in range(40):
            await upkeep.do()
            request = ClaimRequest(token=f"{number}-{turn}", sender=f"sender {number % 4}", size=20, lease=SECOND)
            claim = await hot.claim(request)
            if claim.attempt_id is None:
                upkeep.hurry()
                await asyncio.sleep(0.01)
                continue
            done += len(claim.messages)
            rows = [
                accepted(one.id, str(one.id)) if one.id % 7 else MessageAnswer(id=one.id, event=Event.PUT_BACK)
                for one in reversed(claim.messages)
            ]
            answer = Answer(
                attempt_id=claim.attempt_id, outcome="answered", evidence=None, rows=rows, give_up_after=10**12
            )
            await hot.record(answer)
            await hot.recover()
        return done

    done = await asyncio.gather(*(place(number) for number in range(16)))
    for hot in hots:
        await hot.aclose()
    assert sum(done) >= 1000
    name = sa.make_url(ledger_url).database
    found: list[Any] = await asyncio.to_thread(
        postgres.execute, f"SELECT deadlocks FROM pg_stat_database WHERE datname = '{name}'"
    )
    assert found[0][0] == 0
