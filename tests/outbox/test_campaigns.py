"""A campaign from its list to its end: imported, estimated, approved, started in waves, stopped, sent again."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from smspilot_async import Message, Outcome
from smspilot_async.emulator import Emulator, Fault
from smspilot_async.outbox import (
    Campaign,
    CampaignExists,
    CampaignMissing,
    CampaignStateError,
    Outbox,
    Resend,
    Selection,
    SendingWindow,
    UnexpectedCount,
)
from smspilot_async.outbox._ledger import MessageAnswer
from smspilot_async.outbox._states import CampaignEvent, CampaignState, Event, campaign_moves

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ledgers import Desk

    from smspilot_async import Client

BY_ZONE = SendingWindow("10:00", "20:00", column="Zone")
IN_MOSCOW = SendingWindow("10:00", "20:00", tz="Europe/Moscow")
TEMPLATE = "Привет, {name|друг}!"


def phone(number: int) -> str:
    return f"7908796{number:04}"


def people(count: int) -> list[dict[str, Any]]:
    return [{"to": phone(number), "name": f"Имя {number}"} for number in range(count)]


async def made(outbox: Outbox, rows: Any, name: str = "promo-11", **more: Any) -> Campaign:
    return await outbox.campaigns.create(name, rows, **{"template": TEMPLATE, **more})


async def approved(outbox: Outbox, client: Client, rows: Any, name: str = "promo-11", **more: Any) -> Campaign:
    campaign = await made(outbox, rows, name, **more)
    await campaign.estimate(client)
    await campaign.approve()
    return campaign


async def states(campaign: Campaign) -> dict[str, int]:
    return {state: count for state, count in (await campaign.status()).messages.items() if count}


# --- the import ----------------------------------------------------------------------------------


async def test_a_row_is_a_message_a_bad_row_with_its_line_or_a_repeat(outbox: Outbox) -> None:
    rows = [
        {"to": "8 (908) 796-47-81", "name": "Анна"},
        {"to": "9087964782", "name": ""},
        {"to": "79087964783.0", "name": "Пётр"},
        {"to": "+7 908 796-47-81", "name": "Анна ещё раз"},
        {"to": "8 495 123-45-67"},
        {"to": "+49 151 12345678"},
        {"to": "no phone"},
        {"name": "Без телефона"},
        (79087964784, "a pair"),
        Message("79087964785", "Уже готово"),
        17,
    ]
    campaign = await made(outbox, rows)
    info = await campaign.info()
    assert (info.state, info.rows, info.messages, info.bad, info.duplicates) == ("draft", 11, 5, 5, 1)
    found = [row async for row in campaign.messages()]
    assert [(row.line, row.to, row.state) for row in found] == [
        (1, "79087964781", "pending"),
        (2, "79087964782", "pending"),
        (3, "79087964783", "pending"),
        (5, None, "refused"),
        (6, None, "refused"),
        (7, None, "refused"),
        (8, None, "refused"),
        (9, "79087964784", "pending"),
        (10, "79087964785", "pending"),
        (11, None, "refused"),
    ]
    bad = {row.line: (row.code, row.why) for row in found if row.reason == "invalid"}
    assert {line: code for line, (code, _) in bad.items()} == {5: 111, 6: 213, 7: 111, 8: 108, 11: 240}
    assert "landline" in str(bad[5][1])
    shown = await campaign.preview(rows=50, seed=1)
    texts = {row.line: row.text for row in shown.rows}
    assert (texts[1], texts[2], texts[10]) == ("Привет, Анна!", "Привет, друг!", "Уже готово")


async def test_a_preview_has_as_many_rows_as_were_asked_for_if_there_are_so_many(outbox: Outbox) -> None:
    campaign = await made(outbox, people(3))
    for seed in range(10):
        for asked, lines in ((2, 2), (3, 3), (5, 3)):
            shown = [row.line for row in (await campaign.preview(rows=asked, seed=seed)).rows]
            assert (len(shown), shown) == (lines, sorted(set(shown)))


async def test_a_field_without_a_fallback_and_a_text_too_long_are_bad_rows(outbox: Outbox) -> None:
    rows = [{"to": phone(1), "name": ""}, {"to": phone(2), "name": "Анна" * 30}, {"to": phone(3), "name": "Анна"}]
    campaign = await made(outbox, rows, template="Привет, {name}!", max_parts=1)
    bad = [(row.line, row.why) async for row in campaign.messages(outcome="invalid")]
    assert [line for line, _ in bad] == [1, 2]
    assert "name" in str(bad[0][1])
    assert "max_parts" in str(bad[1][1])


@pytest.mark.parametrize(("unique", "messages", "duplicates"), [("phone", 2, 2), ("text", 3, 1), (None, 4, 0)], ids=str)
async def test_what_a_row_may_not_repeat(outbox: Outbox, unique: Any, messages: int, duplicates: int) -> None:
    rows = [(phone(1), "Да"), (phone(1), "Да"), (phone(1), "Нет"), (phone(2), "Да")]
    info = await (await made(outbox, rows, template=None, unique=unique)).info()
    assert (info.messages, info.duplicates) == (messages, duplicates)


async def test_an_asynchronous_list_has_a_stream_for_each_zone_and_kind(desk: Desk) -> None:
    async def rows() -> AsyncIterator[Any]:
        for number, (zone, kind) in enumerate([("MSK+2", ""), ("+05:00", ""), ("MSK", "service"), ("nowhere", "")]):
            yield {"to": phone(number), "text": "Да", "zone": zone, "kind": kind}

    campaign = await made(desk.outbox, rows(), template=None, window=BY_ZONE)
    stream = desk.tables.stream
    query = sa.select(stream.c.zone, stream.c.lane).where(stream.c.campaign_id == campaign.id).order_by(stream.c.id)
    assert [tuple(row) for row in await desk.execute(query)] == [("+05:00", 2), ("Europe/Moscow", 1)]
    assert [row.line async for row in campaign.messages(outcome="refused")] == [4]


NASTY = [
    "\0",
    "\ud800",
    "\N{ZERO WIDTH SPACE}",
    "'; DROP TABLE message; --",
    "=1+1",
    "🙂" * 20,
    "{name}",
    "\x1f1:",
    "а" * 300,
]


async def test_whatever_stands_in_a_list_each_of_its_rows_is_accounted_for(outbox: Outbox) -> None:
    """Forged rows, with all that a database, a spreadsheet or a template may stumble over, in cells and in columns."""
    chance = random.Random(11)
    cells: list[Any] = [*NASTY, "", None, 0, 1.5, True, b"bytes", [], "Анна", "м", "MSK+2", "+05:00", "nowhere"]

    def rows() -> Any:
        for _ in range(2_000):
            columns = chance.sample(["name", "sex", "Zone", "ttl", "sender", "kind", *NASTY], 5)
            row = {column: chance.choice(cells) for column in columns}
            yield {**row, "Zone": chance.choice(["MSK", "MSK+2", *NASTY[:3]]), "to": phone(chance.randrange(1_500))}

    text = "{sex:Уважаемый|Уважаемая|Здравствуйте} {name|друг}!"
    campaign = await made(outbox, rows(), template=text, window=BY_ZONE, unique=None, max_parts=3)
    info = await campaign.info()
    found = [row async for row in campaign.messages()]
    assert [row.line for row in found] == [*range(1, 2_001)]
    assert Counter(row.state for row in found) == {"pending": info.messages, "refused": info.bad}
    assert min(info.messages, info.bad) > 100
    assert all(row.why for row in found if row.state == "refused")


async def test_an_import_that_ended_half_way_goes_on_with_the_same_list_only(outbox: Outbox) -> None:
    everyone = people(1300)

    def until_it_breaks() -> Any:
        yield from everyone[:1200]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await made(outbox, until_it_breaks())
    campaign = await outbox.campaigns.get("promo-11")
    assert ((await campaign.info()).state, (await campaign.info()).rows) == ("importing", 1000)
    others: list[tuple[Any, dict[str, Any]]] = [(everyone[1:], {}), (everyone[:900], {}), (everyone, {"max_parts": 1})]
    for rows, settings in others:
        with pytest.raises(CampaignExists):
            await made(outbox, rows, **settings)
    assert (await made(outbox, everyone)).id == campaign.id
    info = await campaign.info()
    assert (info.state, info.rows, info.messages, info.duplicates) == ("draft", 1300, 1300, 0)
    assert [row.line async for row in campaign.messages()] == [*range(1, 1301)]
    with pytest.raises(CampaignExists, match="already"):
        await made(outbox, everyone)


async def test_two_imports_of_one_campaign_do_not_mix(outbox: Outbox) -> None:
    ended = await asyncio.gather(*(made(outbox, people(1200)) for _ in range(2)), return_exceptions=True)
    assert Counter(type(one) for one in ended)[Campaign] == 1
    campaign = await outbox.campaigns.get("promo-11")
    assert (await campaign.info()).messages == 1200
    assert len({row.to async for row in campaign.messages()}) == 1200


async def test_a_cancelled_import_ends(outbox: Outbox) -> None:
    async def rows() -> AsyncIterator[Any]:
        for number, row in enumerate(people(1200)):
            if number == 700:
                await (await outbox.campaigns.get("promo-11")).cancel("wrong list")
            yield row

    with pytest.raises(CampaignStateError, match="cancelled"):
        await made(outbox, rows())


# --- from draft to end ---------------------------------------------------------------------------


async def test_a_campaign_is_sent_once_it_is_approved_and_started(
    outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    campaign = await made(outbox, people(5))
    await outbox.drain(client)
    with pytest.raises(CampaignStateError, match="draft"):
        await campaign.start()
    await campaign.estimate(client)
    with pytest.raises(CampaignStateError, match="estimated"):
        await campaign.start()
    await campaign.approve(actor="boris")
    await outbox.drain(client)
    assert not emulator.messages
    await campaign.start()
    async with campaign.running(client) as run:
        seen = [progress async for progress in run]
    assert (seen[-1].state, seen[-1].messages["accepted"]) == ("finished", 5)
    assert {message.text for message in emulator.messages} == {f"Привет, Имя {number}!" for number in range(5)}
    assert [info.state for info in await outbox.campaigns.list()] == ["finished"]
    with pytest.raises(CampaignStateError, match="finished"):
        await campaign.pause("too late")


async def test_its_progress_says_what_was_spent_to_the_kopeck(
    outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    before = emulator.account.balance
    campaign = await approved(outbox, client, [*people(3), {"to": phone(3), "name": "Имя " * 20}])
    assert (await campaign.status()).spent == 0
    emulator.refuse(code=204, to=phone(0))
    await campaign.start()
    await outbox.drain(client)
    assert await states(campaign) == {"accepted": 3, "refused": 1}
    assert (await campaign.status()).spent == before - emulator.account.balance > 0


async def test_codes_and_services_go_beside_a_campaign(outbox: Outbox, client: Client, emulator: Emulator) -> None:
    campaign = await approved(outbox, client, people(3))
    await campaign.start()
    await outbox.enqueue(Message(phone(9), "1234"), key="code", kind="code", valid_for=600)
    await outbox.drain(client)
    assert len(emulator.messages) == 4
    assert (await campaign.info()).state == "finished"


async def test_a_paused_campaign_sends_nothing_until_it_is_resumed(
    outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    campaign = await approved(outbox, client, people(3))
    await campaign.start()
    await campaign.pause("wrong text", actor="anna")
    await outbox.drain(client)
    info = await campaign.info()
    assert (info.state, info.reason, len(emulator.messages)) == ("paused", "wrong text", 0)
    with pytest.raises(CampaignStateError, match="wrong text"):
        async with campaign.running(client):
            pass
    await campaign.resume()
    await outbox.drain(client)
    assert len(emulator.messages) == 3


async def test_a_wrong_campaign_half_sent_is_cancelled_and_put_right(
    outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    campaign = await approved(outbox, client, people(100), template="Скидка 90 %, {name}!")
    await campaign.start()
    emulator.fail_next("send", Fault.SLOW)
    draining = asyncio.create_task(outbox.drain(client, packet_size=10, in_flight=1))
    await emulator.wait_for(to=phone(0))
    await (await outbox.campaigns.get("promo-11")).cancel("wrong price", actor="anna")  # from anywhere
    emulator.release()
    sent = (await draining).accepted
    assert sent == 10
    assert await states(campaign) == {"accepted": 10, "not_sent": 90}
    assert {row.reason async for row in campaign.messages(outcome="cancelled")} == {"cancelled"}
    sorry = await outbox.campaigns.create(
        "sorry", from_=campaign, select="accepted", template="{name}, скидка 9 %, простите."
    )
    await sorry.estimate(client)
    with pytest.raises(CampaignStateError, match="overlap"):
        await sorry.approve()
    await sorry.approve(overlap_ok=True)
    await sorry.start()
    await outbox.drain(client)
    texts = Counter(message.text for message in emulator.messages)
    assert sum(texts.values()) == 20
    assert texts["Имя 7, скидка 9 %, простите."] == 1


async def test_a_cancelled_campaigns_messages_are_seen_as_cancelled_before_they_are_settled(desk: Desk) -> None:
    campaign = await made(desk.outbox, people(3))
    await campaign.cancel()
    assert await states(campaign) == {"not_sent": 3}
    assert [row.outcome async for row in campaign.messages(outcome="cancelled")] == [Outcome.NOT_SENT] * 3
    assert [row async for row in campaign.messages(outcome="pending")] == []
    assert {row.state for row in await desk.execute(sa.select(desk.tables.message))} == {"pending"}


async def test_a_campaign_that_expired_refuses_what_is_left(desk: Desk, client: Client, emulator: Emulator) -> None:
    now = (await (await made(desk.outbox, people(1), "clock")).status()).at
    campaign = await approved(desk.outbox, client, people(3), expires_at=now + timedelta(days=365))
    await campaign.start()
    await desk.turn(366 * 86_400)
    assert await states(campaign) == {"refused": 3}
    await desk.outbox.drain(client)
    assert (await campaign.info()).state == "finished"
    assert [row.reason async for row in campaign.messages(outcome="expired")] == ["expired"] * 3
    assert not emulator.messages
    with pytest.raises(CampaignStateError, match="expired"):
        await campaign.retry("expired", expect=3)


# --- approval ------------------------------------------------------------------------------------


async def test_a_campaign_that_expired_before_its_start_is_not_started(desk: Desk, client: Client) -> None:
    now = (await (await made(desk.outbox, people(1), "clock")).status()).at
    campaign = await approved(desk.outbox, client, people(3), expires_at=now + timedelta(days=1))
    await desk.turn(2 * 86_400)
    with pytest.raises(CampaignStateError, match="expired"):
        await campaign.start()
    assert await states(campaign) == {"pending": 3}


async def test_what_was_approved_cannot_be_changed_without_another_approval(outbox: Outbox, client: Client) -> None:
    campaign = await approved(outbox, client, people(3), budget=Decimal(10))
    changes: list[dict[str, Any]] = [{"budget": Decimal(20)}, {"rate_limit": 5.0}, {"window": IN_MOSCOW}]
    for change in changes:
        await campaign.change(**change)
        assert (await campaign.info()).state == "draft"
        await campaign.estimate(client)
        await campaign.approve()
    assert (await campaign.info()).budget == Decimal(20)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE {t}message SET text = 'Другой' WHERE line = 2",
        "UPDATE {t}message SET phone = '79087964799' WHERE line = 2",
        "DELETE FROM {t}message WHERE line = 3",
        "UPDATE {t}campaign SET budget = '1000000'",
    ],
)
async def test_what_was_changed_behind_the_back_of_an_approval_is_not_started(
    desk: Desk, client: Client, emulator: Emulator, sql: str
) -> None:
    campaign = await approved(desk.outbox, client, people(3))
    await desk.execute(sql.format(t="smspilot_" if desk.outbox._dialect == "sqlite" else "smspilot."))
    with pytest.raises(CampaignStateError, match="not what was approved"):
        await campaign.start()
    assert (await campaign.info()).state == "draft"
    await desk.outbox.drain(client)
    assert not emulator.messages


async def test_a_second_person_is_another_one(outbox: Outbox, client: Client) -> None:
    campaign = await made(outbox, people(1), actor="anna")
    await campaign.estimate(client)
    with pytest.raises(CampaignStateError, match="another person"):
        await campaign.approve(actor="anna", second_person=True)
    await campaign.approve(actor="boris", second_person=True)


async def test_every_order_is_written_down(desk: Desk, client: Client) -> None:
    campaign = await made(desk.outbox, people(2), actor="anna")
    await campaign.estimate(client, actor="anna")
    await campaign.approve(actor="boris")
    await campaign.start(first=1, actor="boris")
    await campaign.pause("lunch", actor="clara")
    await campaign.resume(actor="clara")
    await campaign.cancel("wrong text", actor="clara")
    orders = desk.tables.orders
    rows = await desk.execute(sa.select(orders).where(orders.c.campaign_id == campaign.id).order_by(orders.c.id))
    assert [(row.actor, row.action.removeprefix("campaign "), row.why) for row in rows] == [
        ("anna", "create", None),
        ("anna", "imported", None),
        ("anna", "estimate", None),
        ("boris", "approve", None),
        ("boris", "start", None),
        ("clara", "pause", "lunch"),
        ("clara", "resume", None),
        ("clara", "cancel", "wrong text"),
    ]


async def test_a_name_without_a_campaign(outbox: Outbox) -> None:
    with pytest.raises(CampaignMissing):
        await outbox.campaigns.get("nothing")


# --- races ---------------------------------------------------------------------------------------

ORDERS = {
    CampaignEvent.CHANGE: lambda campaign: campaign.change(rate_limit=5.0),
    CampaignEvent.APPROVE: lambda campaign: campaign.approve(),
    CampaignEvent.START: lambda campaign: campaign.start(),
    CampaignEvent.PAUSE: lambda campaign: campaign.pause("wait"),
    CampaignEvent.RESUME: lambda campaign: campaign.resume(),
    CampaignEvent.CANCEL: lambda campaign: campaign.cancel(),
}


async def stand(desk: Desk, campaign: Campaign, state: CampaignState) -> None:
    table = desk.tables.campaign
    values: dict[str, Any] = {"state": state.value}
    if state is CampaignState.APPROVED:
        row = await campaign._row()
        values["digest"] = await campaign._digest(row)
    await desk.execute(sa.update(table).where(table.c.id == campaign.id).values(**values))


@pytest.mark.parametrize("event", ORDERS)
async def test_an_order_is_given_where_the_table_says_and_nowhere_else(desk: Desk, event: CampaignEvent) -> None:
    campaign = await made(desk.outbox, people(1))
    for state in CampaignState:
        await stand(desk, campaign, state)
        if state in campaign_moves(event):
            await ORDERS[event](campaign)
            assert (await campaign.info()).state == campaign_moves(event)[state]
        else:
            with pytest.raises(CampaignStateError):
                await ORDERS[event](campaign)
            assert (await campaign.info()).state == state


# --- sent again ----------------------------------------------------------------------------------


async def test_a_retry_reaches_exactly_those_and_once(outbox: Outbox, client: Client, emulator: Emulator) -> None:
    campaign = await approved(outbox, client, people(10))
    emulator.refuse(code=204, to=phone(3))
    emulator.refuse(code=204, to=phone(4))
    await campaign.start()
    await outbox.drain(client)
    assert await states(campaign) == {"accepted": 8, "refused": 2}
    reached = [message.to for message in emulator.messages]
    emulator.reset()
    for wrong in (1, 3, 10):
        with pytest.raises(UnexpectedCount, match="2 messages"):
            await campaign.retry("204", expect=wrong)
    assert (await campaign.info()).state == "finished"
    assert await campaign.count_retried("204") == 2
    assert await campaign.retry("204", expect=2, actor="anna") == 2
    assert (await campaign.info()).state == "running"
    await outbox.drain(client)
    assert await states(campaign) == {"accepted": 10}
    reached += [message.to for message in emulator.messages]
    assert Counter(reached) == dict.fromkeys(map(phone, range(10)), 1)
    with pytest.raises(UnexpectedCount):
        await campaign.retry("204", expect=2)
    assert (await campaign.info()).state == "finished"


async def test_what_was_accepted_is_never_retried(outbox: Outbox, client: Client) -> None:
    campaign = await approved(outbox, client, people(2))
    await campaign.start()
    await outbox.drain(client)
    for words in ("accepted", "delivered", "undelivered"):
        assert await campaign.count_retried(words) == 0


async def test_an_unknown_message_is_retried_only_when_its_last_request_cannot_arrive(
    desk: Desk, client: Client, emulator: Emulator
) -> None:
    campaign = await approved(desk.outbox, client, people(1))
    await campaign.start()
    emulator.fail_next("send", Fault.RESET_BEFORE_READ)
    await desk.outbox.drain(client)
    assert await states(campaign) == {"unknown": 1}
    await campaign.retry("unknown", expect=1)
    await desk.outbox.drain(client)
    assert await states(campaign) == {"pending": 1}
    await desk.turn(600)
    await desk.outbox.drain(client)
    assert await states(campaign) == {"accepted": 1}


async def test_what_is_put_back_is_given_up_some_time_after_it_was_first_put_back_and_not_after_its_import(
    desk: Desk, client: Client, emulator: Emulator
) -> None:
    campaign = await made(desk.outbox, people(1))
    await desk.turn(30 * 86_400)
    await campaign.estimate(client)
    await campaign.approve()
    await campaign.start()
    emulator.fail_next("send", Fault.TOO_MANY_REQUESTS, times=10)
    await desk.outbox.drain(client)
    assert await states(campaign) == {"pending": 1}
    await desk.turn(90_000)
    await desk.outbox.drain(client)
    assert await states(campaign) == {"not_sent": 1}


# --- the unknown ---------------------------------------------------------------------------------


async def unknown_of(desk: Desk, client: Client, emulator: Emulator, count: int, **more: Any) -> Campaign:
    """A campaign whose only packet had no answer."""
    campaign = await approved(desk.outbox, client, people(count), **more)
    await campaign.start()
    emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
    await desk.outbox.drain(client)
    assert await states(campaign) == {"unknown": count}
    return campaign


async def test_unknown_messages_are_settled_by_count_and_sent_again_only_if_that_says_they_were_not_sent(
    desk: Desk, client: Client, emulator: Emulator
) -> None:
    campaign = await unknown_of(desk, client, emulator, 3)
    assert (await campaign.info()).state == "finished"
    assert await campaign.count_unsettled() == 0  # its request may still arrive
    await desk.turn(600)
    with pytest.raises(UnexpectedCount):
        await campaign.settle("unknown", as_="assume_sent", expect=2)
    one = Selection("unknown", lines=(2,))
    assert await campaign.settle(one, as_="assume_sent", expect=1, actor="anna") == 1
    assert await campaign.settle("unknown", as_="not_sent", expect=2, actor="anna") == 2
    assert await states(campaign) == {"unknown": 1, "not_sent": 2}
    assert await campaign.count_retried("unknown") == 0
    assert await campaign.retry("not_sent", expect=2) == 2
    await desk.outbox.drain(client)
    assert await states(campaign) == {"unknown": 1, "accepted": 2}


async def test_a_follow_up_leaves_unknowns_out_unless_they_are_named(
    desk: Desk, client: Client, emulator: Emulator
) -> None:
    campaign = await unknown_of(desk, client, emulator, 2)
    without = await desk.outbox.campaigns.create("without", from_="promo-11", template="{name}, ещё раз")
    named = await desk.outbox.campaigns.create("named", from_=campaign, select="unknown", template="{name}, ещё раз")
    assert ((await without.info()).messages, (await named.info()).messages) == (0, 2)
    assert [row.text for row in (await named.preview(seed=1)).rows][:1] == ["Имя 0, ещё раз"]


async def test_a_follow_up_reaches_who_was_not_reached(desk: Desk, client: Client) -> None:
    campaign = await approved(desk.outbox, client, people(4))
    await campaign.start()
    await desk.outbox.drain(client)
    message = desk.tables.message
    for line, status in ((2, -1), (3, 2), (4, -2)):
        await desk.execute(sa.update(message).where(message.c.line == line).values(status=status))
    again = await desk.outbox.campaigns.create("again", from_=campaign)
    assert [(row.line, row.to) async for row in again.messages()] == [(2, phone(1)), (4, phone(3))]
    assert [row.text for row in (await again.preview(rows=20, seed=1)).rows] == ["Привет, Имя 1!", "Привет, Имя 3!"]


async def test_a_campaign_is_not_finished_before_its_policy_has_sent_its_unknowns_again(
    desk: Desk, client: Client, emulator: Emulator
) -> None:
    campaign = await unknown_of(desk, client, emulator, 2, unknown=Resend())
    assert (await campaign.info()).state == "running"
    await desk.turn(600)
    async with asyncio.timeout(30), campaign.running(client) as run:
        last = [progress async for progress in run][-1]
    assert (last.state, await states(campaign)) == ("finished", {"accepted": 2})


async def test_a_campaign_runs_again_if_a_message_is_put_back_after_its_end(
    desk: Desk, client: Client, emulator: Emulator
) -> None:
    """Its owner was stopped for longer than its lease, and says then that nothing was sent."""
    campaign = await approved(desk.outbox, client, people(1))
    await campaign.start()
    claim = await desk.claim(lease=1)
    await desk.turn(60)
    await desk.outbox.drain(client)
    assert (await states(campaign), (await campaign.info()).state) == ({"unknown": 1}, "finished")
    await desk.record(claim.attempt_id, MessageAnswer(id=claim.messages[0].id, event=Event.PUT_BACK))
    await desk.outbox.drain(client)
    await desk.outbox.drain(client)
    assert (await states(campaign), (await campaign.info()).state) == ({"accepted": 1}, "finished")
    assert len(emulator.messages) == 1
