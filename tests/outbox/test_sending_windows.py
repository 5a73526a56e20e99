"""No message is handed over, and no ttl ends, outside its zone's window: three days, eleven zones, a turned clock."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from smspilot_async.outbox._deliver import SendOptions
from smspilot_async.outbox._ledger import SECOND
from smspilot_async.outbox._upkeep import Upkeep, next_interval
from smspilot_async.outbox._windows import SendingWindow

if TYPE_CHECKING:
    from ledgers import Desk

    from smspilot_async import Client
    from smspilot_async.emulator import Emulator
    from smspilot_async.outbox import Outbox
    from smspilot_async.outbox._deliver import Sender

ZONES = (
    *("Europe/Kaliningrad", "Europe/Moscow", "Europe/Samara", "Asia/Yekaterinburg", "Asia/Omsk", "Asia/Krasnoyarsk"),
    *("Asia/Irkutsk", "Asia/Yakutsk", "Asia/Vladivostok", "Asia/Magadan", "Asia/Kamchatka"),
)
WINDOW = SendingWindow("10:00", "20:00", days="mon-sat", column="tz")
TOO_SHORT = SendingWindow("10:00", "10:03", tz="Europe/Moscow")
ALL_DAY = SendingWindow("00:00", "24:00", tz="UTC")
SETTINGS = {"window": WINDOW.to_json()}


def local(desk_us: int, zone: str) -> datetime:
    return datetime.fromtimestamp(desk_us / SECOND, UTC).astimezone(ZoneInfo(zone))


def is_inside(moment: datetime) -> bool:
    return moment.weekday() < 6 and 10 <= moment.hour < 20


async def test_over_three_days_and_eleven_zones_no_message_leaves_and_no_ttl_ends_outside(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    async with outbox._sender(client, SendOptions()) as sender:
        await over_three_days(desk, sender, emulator)


async def over_three_days(desk: Desk, sender: Sender, emulator: Emulator) -> None:
    chance = random.Random(11)
    await desk.campaign(zones=ZONES, settings=SETTINGS)
    streams = {row.id: row.zone for row in await desk.execute(sa.select(desk.tables.stream)) if row.zone}
    start = datetime.fromtimestamp(await desk.now() / SECOND, UTC)
    saturday = start + timedelta(days=(5 - start.weekday()) % 7)
    await desk.turn((saturday.replace(hour=0) - start).total_seconds())
    seen, left = 0, dict.fromkeys(ZONES, 0)
    for _ in range(60):
        await desk.turn(chance.uniform(60, 140 * 60))
        await desk.fill(list(streams), 1)
        sender._upkeep._next_look = 0  # by the machine's clock, which is not turned
        await sender.drain()
        now = await desk.now()
        zones = {
            row[0]: streams[row[1]]
            for row in await desk.execute("SELECT id, stream_id FROM " + desk.tables.message.fullname)
        }
        for message in emulator.messages[seen:]:
            zone = zones[message.id]
            assert is_inside(local(now, zone)), zone
            assert message.ttl is not None
            ends = local(now + message.ttl * 60 * SECOND - 1, zone)
            assert is_inside(ends), zone
            assert ends.date() == local(now, zone).date()
            left[zone] += 1
        seen = len(emulator.messages)
    assert min(left.values()) > 20


async def test_the_zone_whose_window_closes_first_goes_first(desk: Desk) -> None:
    await desk.campaign(rows=1, zones=("Asia/Kamchatka", "Europe/Kaliningrad", "Asia/Omsk"), settings=SETTINGS)
    monday = datetime(2030, 1, 7, 8, 30, tzinfo=UTC)  # 20:30, 10:30, 14:30
    await desk.turn(monday.timestamp() - await desk.now() / SECOND)
    await Upkeep(desk.hot, "desk").do()
    zones = {row.id: row.zone for row in await desk.execute(sa.select(desk.tables.stream))}
    order = []
    while (claim := await desk.claim()).messages:
        order.append(zones[(await desk.row(claim.messages[0].id)).stream_id])
    assert order == ["Asia/Omsk", "Europe/Kaliningrad"]


async def test_before_its_window_was_looked_at_a_stream_is_closed(desk: Desk) -> None:
    await desk.campaign(rows=1, zones=("Europe/Moscow",), settings=SETTINGS)
    assert not (await desk.claim()).messages


async def test_a_window_in_which_no_message_can_arrive_pauses_the_campaign(desk: Desk) -> None:
    number = await desk.campaign(rows=1, settings={"window": TOO_SHORT.to_json()})
    await Upkeep(desk.hot, "desk").do()
    row = await desk.of_campaign(number)
    assert (row.state, row.reason) == ("paused", "window")


@pytest.mark.parametrize(("closes", "last_minutes"), [("20:00", 60), ("10:40", 15), ("10:10", 5)])
def test_the_last_message_has_as_long_a_ttl_as_fits(closes: str, last_minutes: int) -> None:
    window = SendingWindow("10:00", closes, tz="UTC")
    noon = int(datetime(2030, 1, 7, tzinfo=UTC).timestamp()) * SECOND
    begin, end, closing = next_interval(window, noon, "")
    assert begin < end
    assert closing - end == last_minutes * 60 * SECOND


async def test_a_ttl_of_ones_own_stays_where_it_is_shorter(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    await desk.campaign(rows=0, settings={"window": ALL_DAY.to_json()})
    stream: Any = (await desk.execute("SELECT max(id) FROM " + desk.tables.stream.fullname))[0][0]
    await desk.fill(stream, 1, ttl=7)
    await outbox.drain(client)
    assert [message.ttl for message in emulator.messages] == [7]
