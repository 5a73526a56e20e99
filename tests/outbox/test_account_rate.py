"""The rate of an account, shared by senders on machines that stand still now and then; time is turned by hand."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from manual_clock import ManualClock
from rates import most_in

from smspilot_async.outbox._account_rate import RateShare, Turn
from smspilot_async.outbox._ledger import SECOND

if TYPE_CHECKING:
    from smspilot_async.outbox._ledger import HotPath
    from smspilot_async.outbox._steps import Work

RATE = 300
PACKET = 10
WINDOW = 10.0


@attrs.define
class Account:
    """The row of an account in a database that may take its time."""

    clock: ManualClock
    commit: Callable[[], float]
    tat: int = 0
    lock: asyncio.Lock = attrs.field(factory=asyncio.Lock)

    async def transact(self, work: Work[Any]) -> Any:
        async with self.lock:
            steps = work()
            rows: list[Any] | None = None
            while True:
                try:
                    statement, values = steps.send(cast("Any", rows))
                except StopIteration as done:
                    await self.clock.sleep(self.commit())
                    return done.value
                rows = self._rows(statement, values)

    def _rows(self, statement: str, values: dict[str, Any]) -> list[Any]:
        if statement.startswith("UPDATE"):
            self.tat = values["tat"]
            return []
        return [(self.tat,)] if "tat" in statement else [(int(self.clock.monotonic() * SECOND),)]


@attrs.define
class Fleet:
    """Senders of one account, each with some packets at once.

    Attributes:
        stall: Returns how many seconds a claim takes that begins now.
        left: When each message left.
    """

    clock: ManualClock
    commit: Callable[[], float]
    stall: Callable[[], float]
    left: list[float] = attrs.field(factory=list)

    async def send(
        self, seconds: float, *, senders: int = 3, in_flight: int = 4, rate: float = RATE, looks_for_codes: int = 0
    ) -> None:
        account = Account(self.clock, self.commit)
        until = self.clock.monotonic() + seconds

        async def rest(wait: float) -> bool:
            await self.clock.sleep(wait)
            return self.clock.monotonic() < until

        async def packets(share: RateShare) -> None:
            while self.clock.monotonic() < until and (turn := await share.take(PACKET, is_urgent=False)):
                await self.clock.sleep(self.stall())
                share.used(turn, turn.messages)
                self.left.extend([self.clock.monotonic()] * turn.messages)
                await self.clock.sleep(0.1)

        async def look(share: RateShare) -> None:
            while self.clock.monotonic() < until and (turn := await share.take(75, is_urgent=True)):
                await self.clock.sleep(self.stall())
                share.used(turn, 0)
                await self.clock.sleep(0.1)

        shares = [RateShare(cast("HotPath", account), rate, rest, clock=self.clock.monotonic) for _ in range(senders)]
        work = [packets(share) for share in shares for _ in range(in_flight)]
        looks = [look(share) for share in shares for _ in range(looks_for_codes)]
        await self.clock.drive(_all([*work, *looks]))
        self.left.sort()


async def _all(work: list[Any]) -> None:
    await asyncio.gather(*work)


async def test_the_whole_rate_is_used() -> None:
    fleet = Fleet(ManualClock(), commit=lambda: 0.005, stall=lambda: 0.01)
    await fleet.send(30.0)
    assert len(fleet.left) >= 0.98 * RATE * 30
    assert most_in(fleet.left, WINDOW) <= RATE * WINDOW * 1.01


async def test_claims_of_any_length_cost_little_of_the_rate() -> None:
    chance = random.Random(1)
    fleet = Fleet(ManualClock(), commit=lambda: 0.005, stall=lambda: chance.uniform(0.0, 0.1))
    await fleet.send(30.0, in_flight=12)
    assert len(fleet.left) >= 0.95 * RATE * 30
    assert most_in(fleet.left, WINDOW) <= RATE * WINDOW * 1.01


async def test_a_slow_database_does_not_stop_a_slow_sender() -> None:
    fleet = Fleet(ManualClock(), commit=lambda: 1.5, stall=lambda: 1.5)
    await fleet.send(60.0, senders=1, rate=0.5)
    assert len(fleet.left) >= 15


async def test_a_slow_database_leaves_a_fast_sender_most_of_what_it_can_get() -> None:
    fleet = Fleet(ManualClock(), commit=lambda: 1.1, stall=lambda: 0.01)
    await fleet.send(30.0, senders=1)
    assert len(fleet.left) >= 30 * RATE / 3  # it asks for 1.1 s, and has a second of it then


async def test_places_that_look_for_codes_cost_a_campaign_nothing() -> None:
    fleet = Fleet(ManualClock(), commit=lambda: 0.005, stall=lambda: 0.05)
    await fleet.send(20.0, senders=1, in_flight=8, looks_for_codes=2)
    assert len(fleet.left) >= 0.85 * RATE * 20
    assert most_in(fleet.left, WINDOW) <= RATE * WINDOW * 1.01


async def test_a_code_does_not_pay_for_what_campaigns_sent_late() -> None:
    clock = ManualClock()
    account = Account(clock, lambda: 0.0)
    share = RateShare(cast("HotPath", account), RATE, _sleep_by(clock), clock=clock.monotonic)
    turns = []
    for _ in range(30):
        turn = await clock.drive(share.take(PACKET, is_urgent=False))
        assert turn is not None
        turns.append(turn)
    share.used(turns.pop(), PACKET)
    await clock.advance(2.0)
    for turn in turns:
        share.used(turn, PACKET)  # all of them late
    before = clock.monotonic()
    code = await clock.drive(share.take(1, is_urgent=True))
    assert code is not None
    assert clock.monotonic() == before


def _sleep_by(clock: ManualClock) -> Callable[[float], Any]:
    async def rest(seconds: float) -> bool:
        await clock.sleep(seconds)
        return True

    return rest


@settings(max_examples=10, deadline=None)
@example(stalls=[(5.0, 1.0)], holds_commits=False, seed=0)
@example(stalls=[(2.0, 2.0)], holds_commits=True, seed=0)
@example(stalls=[(2.0, 1.25), (9.0, 0.5)], holds_commits=False, seed=0)  # what was paid for the first counted for both
@given(
    stalls=st.lists(st.tuples(st.floats(2.0, 15.0), st.floats(0.05, 2.0)), min_size=1, max_size=4),
    holds_commits=st.booleans(),
    seed=st.integers(0, 1000),
)
async def test_what_stood_still_is_not_caught_up_with(
    stalls: list[tuple[float, float]], seed: int, *, holds_commits: bool
) -> None:
    clock, chance = ManualClock(), random.Random(seed)
    began = clock.monotonic()

    def rest_of_a_stall() -> float:
        now = clock.monotonic() - began
        return max((at + seconds - now for at, seconds in stalls if at <= now < at + seconds), default=0.0)

    def claim() -> float:
        return chance.uniform(0.005, 0.03) + rest_of_a_stall()

    fleet = Fleet(clock, commit=lambda: 0.005 + (rest_of_a_stall() if holds_commits else 0.0), stall=claim)
    await fleet.send(20.0, in_flight=12)
    assert most_in(fleet.left, WINDOW) <= RATE * WINDOW * 1.01


async def test_what_was_owed_and_never_paid_does_not_count_as_paid() -> None:
    clock, commits = ManualClock(), [0.0]
    share = RateShare(
        cast("HotPath", Account(clock, lambda: commits[-1])), RATE, _sleep_by(clock), clock=clock.monotonic
    )

    async def take() -> Turn:
        turn = await clock.drive(share.take(PACKET, is_urgent=False))
        assert turn is not None
        return turn

    async def stall() -> None:
        turns = [await take() for _ in range(30)]
        share.used(turns.pop(), PACKET)
        await clock.advance(2.0)
        for turn in turns:
            share.used(turn, PACKET)

    await stall()
    await clock.advance(9.9)
    commits.append(0.2)  # the grant of which it would be paid comes after its ten seconds
    share.used(await take(), 0)
    commits.append(0.0)
    await stall()
    before = clock.monotonic()
    await take()
    assert clock.monotonic() - before > 0.9  # of the next second almost everything is owed


@pytest.mark.parametrize("messages", [0, 3])
async def test_what_a_turn_has_no_messages_for_is_given_back(messages: int) -> None:
    clock = ManualClock()
    account = Account(clock, lambda: 0.0)
    share = RateShare(cast("HotPath", account), 20.0, lambda _: asyncio.sleep(0, result=True), clock=clock.monotonic)
    turn = await share.take(5, is_urgent=True)
    assert turn is not None
    share.used(turn, messages)
    again = [await share.take(5, is_urgent=True) for _ in range(2)]
    assert sum(turn.messages for turn in again if turn) == 5 + 5 - messages
    assert account.tat - int(clock.monotonic() * SECOND) <= SECOND // 2
