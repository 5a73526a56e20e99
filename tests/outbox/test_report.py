"""A campaign's report as files, on both databases: counted right, without phones, and as a stream."""

from __future__ import annotations

import asyncio
import csv
import os
import re
import stat
import tracemalloc
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from smspilot_async.cli._app import app
from smspilot_async.outbox import CampaignMissing, SendingWindow
from smspilot_async.outbox._lists import recipient_phone
from smspilot_async.outbox._report import phone_as_text
from smspilot_async.outbox._report_data import gather
from smspilot_async.outbox._states import State

if TYPE_CHECKING:
    from pathlib import Path

    from smspilot_async import Client
    from smspilot_async.emulator import Emulator
    from smspilot_async.outbox import Campaign, Outbox

SENT: Final = 6
TEMPLATE: Final = "Привет, {name|друг}!"


def phone(number: int) -> str:
    return f"7908796{number:04}"


@pytest.fixture
async def campaign(outbox: Outbox, client: Client, emulator: Emulator) -> Campaign:
    """Six messages sent, of which the gateway refused one; two opted out; a landline and a repeat."""
    rows: list[Any] = [{"to": phone(number), "name": f"Имя {number}"} for number in range(8)]
    rows += [{"to": "8 495 123-45-67"}, {"to": phone(0)}]
    campaign = await outbox.campaigns.create("promo-11", rows, template=TEMPLATE, budget=Decimal(100), actor="anna")
    await outbox.suppress([phone(6), phone(7)])
    await campaign.estimate(client)
    await campaign.approve(actor="boris")
    await campaign.start(actor="boris")
    emulator.refuse(code=204, to=phone(5))
    await outbox.drain(client)
    emulator.clock.advance(minutes=5)
    return campaign


async def read_csv(path: Path) -> list[dict[str, str]]:
    text = (await asyncio.to_thread(path.read_bytes)).decode("utf-8")
    assert text.startswith("\ufeff")
    return list(csv.DictReader(text[1:].splitlines(), delimiter=";"))


async def test_the_page_counts_what_the_ledger_has(outbox: Outbox, campaign: Campaign) -> None:
    data = await gather(campaign._access, "promo-11")
    assert (data.rows, data.bad, data.duplicates) == (10, 1, 1)
    assert {state.value: data.count_state(state) for state in State if data.count_state(state)} == {
        "accepted": 5,
        "refused": 3,
    }
    assert data.bad_rows == {111: 1}
    assert data.spent == Decimal("6.25")
    assert data.planned is not None
    assert data.budget == 100
    assert [order.actor for order in data.orders if order.action in {"approve", "start"}] == ["boris", "boris"]
    assert data.series is not None
    assert sum(data.series.sent.values()) == 5
    assert data.is_test is False
    assert data.created_by == "anna"
    message = outbox._tables.message
    arrived = sa.update(message).values(status=2, status_at=message.c.settled_at + 90_000_000)
    async with outbox._writing() as connection:
        await connection.execute(arrived.where(message.c.state == "accepted"))
    data = await gather(campaign._access, "promo-11")
    assert data.series is not None
    assert sum(data.series.delivered.values()) == 5
    assert data.count(where=lambda group: group.is_delivered) == 5


async def test_a_plot_for_a_notebook_counts_what_was_sent_and_delivered(
    outbox: Outbox, campaign: Campaign, tmp_path: Path
) -> None:
    plot = await campaign.plot()
    said = "Messages of a campaign that were sent, and those that were delivered, in a minute: 5 sent, 0 delivered."
    assert plot.get_label() == said
    assert [text.get_text() for text in plot.legends[0].get_texts()] == ["sent 5", "delivered 0"]
    (axes,) = plot.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("time, Europe/Moscow", "messages in a minute")
    await asyncio.to_thread(plot.savefig, tmp_path / "campaign.png")
    draft = await outbox.campaigns.create("promo-12", [{"to": phone(1)}], template=TEMPLATE)
    assert str((await draft.plot()).get_label()).endswith("in a minute: 0 sent, 0 delivered.")


async def test_no_report_shows_a_phone_or_a_text_unless_asked(campaign: Campaign, tmp_path: Path) -> None:
    for suffix in ("html", "csv", "parquet"):
        await campaign.report(tmp_path / f"report.{suffix}")
    for suffix in ("html", "csv", "parquet"):
        content = await asyncio.to_thread((tmp_path / f"report.{suffix}").read_bytes)
        for number in range(8):
            assert phone(number).encode() not in content
            assert phone_as_text(phone(number)).encode() not in content
            assert f"Имя {number}".encode() not in content


async def test_a_table_has_a_row_for_each_row_of_the_list_in_its_order(campaign: Campaign, tmp_path: Path) -> None:
    await campaign.report(tmp_path / "report.csv")
    rows = await read_csv(tmp_path / "report.csv")
    assert [int(row["line"]) for row in rows] == [1, 2, 3, 4, 5, 6, 7, 8, 9]  # the tenth repeats the first
    assert [row["outcome"] for row in rows] == ["accepted"] * 5 + ["refused"] * 4
    assert rows[5]["why"] == "204: Sender unregistered"
    assert rows[6]["why"] == "on a suppression list"
    assert "landline" in rows[8]["why"]
    assert (rows[0]["price"], rows[0]["parts"], rows[0]["code"]) == ("1,25", "1", "")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", rows[0]["settled_at"])
    assert "to" not in rows[0]


async def test_phones_that_are_asked_for_are_texts_that_can_be_read_again(campaign: Campaign, tmp_path: Path) -> None:
    await campaign.report(tmp_path / "report.csv", phones=True)
    await campaign.report(tmp_path / "report.parquet", phones=True)
    rows = await read_csv(tmp_path / "report.csv")
    assert [recipient_phone(row["to"], "RU") for row in rows[:8]] == [phone(number) for number in range(8)]
    assert rows[0]["to"] == "7 908 796-00-00"
    table = await asyncio.to_thread(pq.read_table, tmp_path / "report.parquet")
    assert table.column("to").to_pylist() == [*(phone(number) for number in range(8)), None]


async def test_parquet_has_types(campaign: Campaign, tmp_path: Path) -> None:
    await campaign.report(tmp_path / "report.parquet")
    table = await asyncio.to_thread(pq.read_table, tmp_path / "report.parquet")
    first = table.to_pylist()[0]
    assert first["price"] == Decimal("1.25")
    assert first["settled_at"].tzinfo is not None
    assert table.column("outcome").to_pylist() == ["accepted"] * 5 + ["refused"] * 4
    assert table.column("code").to_pylist()[5] == 204


async def test_a_report_replaces_an_older_one_and_only_its_owner_reads_it(campaign: Campaign, tmp_path: Path) -> None:
    for suffix in ("html", "csv", "parquet"):
        path = tmp_path / f"report.{suffix}"
        await asyncio.to_thread(path.write_text, "old")
        await campaign.report(path)
        assert stat.S_IMODE((await asyncio.to_thread(path.stat)).st_mode) == 0o600
        assert await asyncio.to_thread(path.read_bytes) != b"old"
    names = await asyncio.to_thread(os.listdir, tmp_path)
    assert sorted(name for name in names if "report" in name) == ["report.csv", "report.html", "report.parquet"]


async def test_what_is_no_report_is_refused(campaign: Campaign, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a report is \.html, \.csv or \.parquet, not '\.docx'"):
        await campaign.report(tmp_path / "report.docx")
    with pytest.raises(OSError, match="No such file"):
        await campaign.report(tmp_path / "no" / "report.csv")
    with pytest.raises(CampaignMissing):
        await gather(campaign._access, "promo-12")


async def test_cells_are_never_formulas(outbox: Outbox, campaign: Campaign, tmp_path: Path) -> None:
    message = outbox._tables.message
    async with outbox._writing() as connection:
        await connection.execute(sa.update(message).values(server_id="=cmd|'/C calc'!A0", reason="+1+1", code=None))
    await campaign.report(tmp_path / "report.csv")
    for row in await read_csv(tmp_path / "report.csv"):
        assert not any(cell.startswith(("=", "+", "-", "@")) for cell in row.values())


async def test_windows_and_zones_are_on_the_page(outbox: Outbox, tmp_path: Path) -> None:
    window = SendingWindow("10:00", "20:00", column="zone")
    rows = [{"to": phone(number), "zone": zone} for number, zone in enumerate(["MSK", "МСК+2", "МСК+2"])]
    campaign = await outbox.campaigns.create("zones", rows, template="Hello", window=window)
    data = await gather(campaign._access, "zones")
    assert {zone: sum(group.messages for group in groups) for zone, groups in data.zones().items()} == {
        "+05:00": 2,
        "Europe/Moscow": 1,
    }
    assert data.window == window
    assert data.series is None
    await campaign.report(tmp_path / "report.html")
    assert "in the zone of each row" in await asyncio.to_thread((tmp_path / "report.html").read_text)


@pytest.mark.parametrize("suffix", ["html", "csv", "parquet"])
async def test_memory_stays_flat_however_many_rows_there_are(outbox: Outbox, tmp_path: Path, suffix: str) -> None:
    peaks: list[int] = []
    for count in (3_000, 9_000):
        campaign = await outbox.campaigns.create(f"of {count}", [{"to": "79087964781"}], template="Hello")
        await _multiply(outbox, campaign, count)
        await campaign.report(tmp_path / f"warm.{suffix}") if not peaks else None
        tracemalloc.start()
        await campaign.report(tmp_path / f"report.{suffix}")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.5 + 2**20


async def _multiply(outbox: Outbox, campaign: Campaign, count: int) -> None:
    """Copy the campaign's only message, inside the database."""
    tables = outbox._tables
    message = tables.message
    copied = [column for column in message.c if column.computed is None]
    columns = [column for column in copied if column.name not in {"id", "key", "line"}]
    numbers = sa.text(
        f"(WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) SELECT i FROM n) numbers"
    )
    async with outbox._writing() as connection:
        row = (await connection.execute(sa.select(tables.campaign).where(tables.campaign.c.id == campaign.id))).one()
        source = sa.select(sa.literal_column("numbers.i"), *columns).select_from(message, numbers)
        await connection.execute(
            sa.insert(message).from_select(
                ["line", *(column.name for column in columns)], source.where(message.c.id == row.first_id)
            )
        )
        highest = (await connection.execute(sa.select(sa.func.max(message.c.id)))).scalar_one()
        await connection.execute(
            sa.update(tables.campaign).where(tables.campaign.c.id == campaign.id).values(last_id=highest)
        )


async def test_the_command_writes_it(campaign: Campaign, emulator: Emulator, ledger_url: str, tmp_path: Path) -> None:
    del campaign
    environment = {"SMSPILOT_URL": emulator.url, "SMSPILOT_API_KEY": emulator.api_key, "SMSPILOT_LEDGER": ledger_url}

    async def run(*arguments: str) -> tuple[int, str]:
        ended = await asyncio.to_thread(CliRunner(env=environment).invoke, app, ["campaign", "report", *arguments])
        return ended.exit_code, ended.output

    path = f"{tmp_path}/report.csv"
    assert await run("promo-11", path, "--phones") == (0, f"The report is in {path}.\n")
    assert (await read_csv(tmp_path / "report.csv"))[0]["to"] == "7 908 796-00-00"
    assert (await run("promo-11", "report.docx"))[0] == 2
    code, said = await run("promo-11", f"{tmp_path}/no/report.csv")
    assert code == 4
    assert "the report cannot be written to" in said
    assert (await run("promo-12", f"{tmp_path}/report.csv"))[0] == 2
