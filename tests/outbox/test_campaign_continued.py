"""What whoever continues a campaign needs of it: its source, its rows from anywhere, and no old back-off."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from smspilot_async import InvalidMessage, Message, Outcome
from smspilot_async.emulator import Emulator, Fault
from smspilot_async.outbox import Campaign, CampaignExists, CampaignMessage, Outbox, WrongClient

if TYPE_CHECKING:
    from ledgers import Desk

    from smspilot_async import Client

LATER = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)


def phone(number: int) -> str:
    return f"7908796{number:04}"


async def started(outbox: Outbox, client: Client, rows: list[Any], **more: Any) -> Campaign:
    campaign = await outbox.campaigns.create("list", rows, country=None, **more)
    await campaign.estimate(client)
    await campaign.approve()
    await campaign.start()
    return campaign


async def lines(campaign: Campaign, after: CampaignMessage | None = None) -> list[int]:
    return [row.line async for row in campaign.messages(after=after)]


@pytest.mark.parametrize("by", ["ledger", "gateway"])
async def test_a_message_for_later_waits_in_the_ledger_or_is_handed_over(
    outbox: Outbox, client: Client, emulator: Emulator, by: Any
) -> None:
    rows = [(2, Message(phone(1), "x", send_at=LATER)), (3, Message(phone(2), "y", ttl=90))]
    campaign = await started(outbox, client, rows, scheduled_by=by)
    await outbox.drain(client)
    sent = {message.text: (message.send_at, message.ttl) for message in emulator.messages}
    assert sent == ({"y": (None, 90)} if by == "ledger" else {"x": (LATER, None), "y": (None, 90)})
    assert (await campaign.status()).messages["pending"] == (by == "ledger")


async def test_one_that_is_handed_over_too_late_is_refused_and_not_sent_at_once(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    campaign = await started(outbox, client, [Message(phone(1), "x", send_at=LATER)], scheduled_by="gateway")
    await desk.execute("UPDATE " + desk.tables.message.fullname + " SET send_at = 1000000")
    await outbox.drain(client)
    [row] = [row async for row in campaign.messages()]
    assert (row.outcome, row.reason, row.code) == (Outcome.REFUSED, "invalid", 250)
    assert not emulator.messages


async def test_rows_have_the_lines_that_they_are_given_and_are_read_from_any_of_them_on(
    outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    bad = InvalidMessage("no text", field="text", code=220)
    rows = [(2, Message(phone(1), "x")), (5, bad), (6, Message(phone(2), "y")), (9, bad), (12, {"to": "+79087964783"})]
    campaign = await started(outbox, client, rows)
    await outbox.drain(client)
    found = [row async for row in campaign.messages()]
    assert [row.line for row in found] == [2, 5, 6, 9, 12]
    assert await lines(campaign, after=found[0]) == [5, 6, 9, 12]
    assert await lines(campaign, after=found[2]) == [9, 12]
    packets = {message.server_packet_id for message in emulator.messages}
    assert {row.packet for row in found if row.outcome is Outcome.ACCEPTED} == packets


async def test_an_import_is_continued_by_the_same_source_only(outbox: Outbox) -> None:
    def broken() -> Any:
        yield (phone(1), "x")
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        await outbox.campaigns.create("list", broken(), source="a.csv")
    with pytest.raises(CampaignExists, match="with other settings"):
        await outbox.campaigns.create("list", [(phone(1), "x")], source="b.csv")
    campaign = await outbox.campaigns.create("list", [(phone(1), "x")], source="a.csv")
    assert (await campaign.info()).settings.source == "a.csv"


async def test_what_was_put_back_is_due_at_once_when_a_person_resumes(
    outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    emulator.fail_next("send", Fault.TOO_MANY_REQUESTS, retry_after=300)
    rows = [Message(phone(1), "x"), Message(phone(2), "y", send_at=LATER)]
    campaign = await started(outbox, client, rows)
    await outbox.drain(client)
    assert not emulator.messages
    await campaign.pause("lunch")
    await campaign.resume()
    await outbox.drain(client)
    assert [message.text for message in emulator.messages] == ["x"], "the other one waits for its time"


async def test_an_account_that_was_asked_already_is_not_asked_again(
    ledger_url: str, client: Client, emulator: Emulator
) -> None:
    await Outbox.create(ledger_url, client, account_id=7)
    async with Outbox(ledger_url, account_id=7) as outbox:
        await outbox.drain(client)
    async with Outbox(ledger_url, account_id=8) as outbox:
        with pytest.raises(WrongClient, match="the account is 8, the ledger's is 7"):
            await outbox.drain(client)
    assert not emulator.messages


@pytest.mark.parametrize("by", ["me", None])
async def test_who_keeps_messages_for_later_is_one_of_two(outbox: Outbox, by: Any) -> None:
    with pytest.raises(ValueError, match="scheduled_by is 'ledger' or 'gateway'"):
        await outbox.campaigns.create("list", [(phone(1), "x")], scheduled_by=by)
