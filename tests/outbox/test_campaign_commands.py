"""``smspilot campaign`` as a marketer types it, in processes of their own; and an import that is killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from smspilot_async.cli._app import app
from smspilot_async.cli.campaign import _create
from smspilot_async.emulator import Account, Emulator, Fault
from smspilot_async.outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from smspilot_async import Client

COMMAND = [sys.executable, "-m", "smspilot_async"]
OWN_PHONE = "79087969999"

LIST = """sep=;
Телефон;Имя;Пол
8 (908) 796-00-00;Анна;ж
9087960001;Пётр;м
79087960002.0;;
+7 908 796-00-00;Анна ещё раз;ж
8 495 123-45-67;Городской;м
+49 151 12345678;Ганс;м
;Без телефона;ж
"=7908796";Формула;м
"""


def russian_list(path: Path, people: int) -> Path:
    """A messy list, as a spreadsheet saves it in Russia."""
    more = "".join(f"7908796{number:04};Имя {number};м\n" for number in range(3, people))
    path.write_bytes((LIST + more).replace("\n", "\r\n").encode("cp1251"))
    return path


@pytest.fixture
def environment(emulator: Emulator, ledger_url: str) -> dict[str, str]:
    settings = {"SMSPILOT_URL": emulator.url, "SMSPILOT_API_KEY": emulator.api_key, "SMSPILOT_LEDGER": ledger_url}
    return {**os.environ, **settings, "PYTHONWARNINGS": "error", "COLUMNS": "120"}


@pytest.fixture
def run(environment: dict[str, str]) -> Callable[..., Any]:
    """Run a command to its end, in a thread of this process."""

    async def run_(*arguments: str, code: int = 0) -> str:
        ended = await asyncio.to_thread(CliRunner(env=environment).invoke, app, arguments)
        assert ended.exit_code == code, ended.output
        return ended.output

    return run_


@pytest.fixture
async def start(environment: dict[str, str]) -> AsyncIterator[Callable[..., Any]]:
    """Start a command in a process of its own, which does not outlive the test."""
    started: list[asyncio.subprocess.Process] = []

    async def start_(*arguments: str) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *COMMAND, *arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        started.append(process)
        return process

    yield start_
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def walk_to_its_start(run: Callable[..., Any], emulator: Emulator, path: Path) -> None:
    """From nothing to a campaign that is approved: each order that comes too early names the one before it."""
    await run("outbox", "init")
    text = "{Пол:Уважаемый|Уважаемая|Здравствуйте} {Имя|друг}, скидка!"
    create = ["create", "promo-11", str(path), "--template", text]
    assert "add --encoding cp1251" in await run("campaign", *create, code=2)
    assert "--map to=COLUMN" in await run("campaign", *create, "--encoding", "cp1251", code=2)
    create += ["--map", "to=Телефон", "--encoding", "cp1251"]
    assert "landline" in await run("campaign", *create, "--as", "anna")
    assert "campaign test promo-11 --to PHONE" in await run("campaign", "preview", "promo-11")
    preview = json.loads(await run("campaign", "preview", "promo-11", "--rows", "200", "--json"))
    texts = {row["line"]: row["text"] for row in preview["rows"]}
    assert texts.get(3, "Уважаемая Анна, скидка!") == "Уважаемая Анна, скидка!"
    tested = await run("campaign", "test", "promo-11", "--to", OWN_PHONE, "--line", "5")
    assert "Здравствуйте друг, скидка!" in tested
    assert [(message.to, message.text) for message in emulator.messages] == [(OWN_PHONE, "Здравствуйте друг, скидка!")]
    assert "is a draft, and can be approved only while it is estimated. Nothing was done. Estimate it first." in (
        await run("campaign", "approve", "promo-11", code=2)
    )
    assert "Estimate, approve and start it first." in await run("campaign", "run", "promo-11", code=2)
    estimate = json.loads(await run("campaign", "estimate", "promo-11", "--rate", "10", "--json"))
    assert (estimate["messages"], estimate["bad"], estimate["duplicates"], estimate["fits"]) == (60, 4, 1, 60)
    assert [line for line, _ in estimate["bad_rows"]] == [7, 8, 9, 10]
    assert float(estimate["price"]) > 0
    assert "Approve it first." in await run("campaign", "start", "promo-11", code=2)
    await run("campaign", "approve", "promo-11", "--second-person", "--as", "anna", code=2)
    await run("campaign", "approve", "promo-11", "--second-person", "--as", "boris")


async def until(ledger_url: str, accepted: int) -> None:
    """Wait until so many messages of the campaign are accepted."""
    async with Outbox(ledger_url) as outbox, asyncio.timeout(60):
        async for progress in (await outbox.campaigns.get("promo-11")).progress(interval=0.05):
            if progress.messages["accepted"] >= accepted:
                return


async def stopped(process: asyncio.subprocess.Process) -> int:
    process.send_signal(signal.SIGTERM)
    return await asyncio.wait_for(process.wait(), 30)


async def send_the_first_wave(run: Callable[..., Any], emulator: Emulator) -> None:
    await run("campaign", "start", "promo-11", "--first", "10")
    wave = await run("campaign", "run", "promo-11", "--packet-size", "10", "--in-flight", "1")
    assert "The first wave is out." in wave
    assert "The rest waits until: smspilot campaign resume promo-11" in wave
    assert len(emulator.messages) == 1 + 10
    assert "paused: first (the first wave is out)" in await run("campaign", "status", "promo-11")
    assert "Resume it first." in await run("campaign", "run", "promo-11", code=2)
    await run("campaign", "resume", "promo-11")


async def test_the_whole_walk(
    run: Callable[..., Any], start: Callable[..., Any], emulator: Emulator, ledger_url: str, tmp_path: Path
) -> None:
    await walk_to_its_start(run, emulator, russian_list(tmp_path / "клиенты.csv", 60))
    emulator.refuse(code=204, to="79087960050")
    await send_the_first_wave(run, emulator)
    # a process sends, is paused from elsewhere, and is killed with a packet on the wire
    emulator.fail_next("send", Fault.SLOW)
    sending = await start("campaign", "run", "promo-11", "--packet-size", "10", "--in-flight", "1")
    await emulator.wait_for(to="79087960010", timeout=60)
    paused = await run("campaign", "pause", "promo-11", "phone the shop", "--as", "clara")
    assert "10 messages in flight" in paused
    sending.send_signal(signal.SIGKILL)
    await sending.wait()
    emulator.release()
    assert "phone the shop" in await run("campaign", "status", "promo-11")
    # someone does not want it, and a worker goes on; what was on the wire stays unknown until its lease is over
    emulator.inbound("79087960059", "СТОП")
    emulator.inbound("79087960058", "СТОП, это кто?")
    working = await start("worker", "--opt-outs")
    async with asyncio.timeout(60):
        while "opt_out, 1 phone" not in await run("outbox", "log"):
            pass
    await run("campaign", "resume", "promo-11")
    await until(ledger_url, 48)
    assert await stopped(working) == 0
    listed = [json.loads(line) for line in (await run("campaign", "messages", "promo-11", "--json")).splitlines()]
    assert Counter(row["state"] for row in listed) == {"accepted": 48, "in_flight": 10, "refused": 6}
    assert [row["to"] for row in listed if row["reason"] == "suppressed"] == ["79087960059"]
    assert "79087960059" not in {message.to for message in emulator.messages}
    lines = (await run("campaign", "messages", "promo-11", "--outcome", "refused")).splitlines()
    assert [line.split()[:3] for line in lines][1:4] == [
        ["7", "refused", "to:"],
        ["8", "refused", "to:"],
        ["9", "refused", "to:"],
    ]
    assert lines[0].split() == ["line", "to", "state", "why", "server", "id", "parts", "price", "status"]
    # what was refused is sent again, once, by an order; whom STOP protects is not
    reached = Counter(message.to for message in emulator.messages)
    emulator.reset()
    assert "--expect 1" in await run("campaign", "retry", "promo-11", "--select", "204", code=2)
    await run("campaign", "retry", "promo-11", "--select", "204", "--expect", "2", code=2)
    await run("campaign", "retry", "promo-11", "--select", "204", "--expect", "1", "--why", "registered")
    await run("campaign", "retry", "promo-11", "--select", "suppressed", "--expect", "1", "--why", "by mistake")
    working = await start("worker")
    await until(ledger_url, 49)
    assert await stopped(working) == 0
    reached += Counter(message.to for message in emulator.messages)
    assert max(reached.values()) == 1
    assert set(reached) == {OWN_PHONE, *(f"7908796{number:04}" for number in range(59))}
    assert "promo-11" in await run("campaign", "list")
    assert "would be settled" not in await run("campaign", "settle", "promo-11", "--to", "not_sent", code=2)
    report = tmp_path / "report.csv"
    await run("campaign", "report", "promo-11", str(report))
    assert len(report.read_text("utf-8-sig").splitlines()) == 1 + 64
    assert await run("campaign", "report", "promo-11", str(tmp_path / "report.doc"), code=2)
    cancelled = await run("campaign", "cancel", "promo-11", "enough")
    assert "49 had been accepted" in cancelled


async def test_a_killed_import_goes_on_where_it_stood(
    run: Callable[..., Any], start: Callable[..., Any], ledger_url: str, tmp_path: Path
) -> None:
    await run("outbox", "init")
    path = tmp_path / "list.csv"
    rows = "".join(f"7908{number:07},Имя {number}\n" for number in range(5_000))
    path.write_text(f"to,name\n{rows}", encoding="utf-8")
    create = ["campaign", "create", "big", str(path), "--template", "Привет, {name}!"]
    importing = await start(*create)
    async with Outbox(ledger_url) as outbox:
        while not any(info.rows for info in await outbox.campaigns.list()):  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.01)
        importing.send_signal(signal.SIGKILL)
        await importing.wait()
        info = await (await outbox.campaigns.get("big")).info()
        assert (info.state, 0 < info.rows < 5_000) == ("importing", True)
    assert "5,000" in await run(*create)
    async with Outbox(ledger_url) as outbox:
        campaign = await outbox.campaigns.get("big")
        info = await campaign.info()
        assert (info.state, info.rows, info.messages, info.duplicates) == ("draft", 5_000, 5_000, 0)
        assert [row.line async for row in campaign.messages()] == [*range(2, 5_002)]


async def test_orders_of_a_campaign_that_is_not_there(run: Callable[..., Any]) -> None:
    await run("outbox", "init")
    for arguments in (["status"], ["pause", "why"], ["cancel"], ["messages"], ["start"], ["preview"]):
        command, *rest = arguments
        assert "no campaign" in await run("campaign", command, "nothing", *rest, code=2)
    assert "There are no campaigns" in await run("campaign", "list")


async def test_a_list_may_be_a_query_or_another_campaign(
    run: Callable[..., Any], emulator: Emulator, tmp_path: Path
) -> None:
    await run("outbox", "init")
    path = tmp_path / "crm.db"
    with contextlib.closing(sqlite3.connect(path)) as crm:
        crm.execute("CREATE TABLE client (phone, name)")
        crm.executemany("INSERT INTO client VALUES (?, ?)", [(f"7908796{number:04}", "Анна") for number in range(3)])
        crm.commit()
    query = ["--sql", "SELECT phone, name FROM client ORDER BY phone", "--database", f"sqlite:///{path}"]
    window = ["--window", "00:00-24:00", "--tz", "Europe/Moscow", "--unknown", "probe", "--dup-window", "300"]
    text = ["--template", "Привет, {name}!", "--map", "to=phone"]
    made = json.loads(await run("campaign", "create", "one", *query, *window, *text, "--json"))
    assert (made["state"], made["messages"], made["settings"]["unknown"]["policy"]) == ("draft", 3, "probe")
    for command in (["estimate", "one", "--rate", "5"], ["approve", "one"], ["start", "one", "--first", "1"]):
        await run("campaign", *command)
    assert "1 accepted" in await run("campaign", "run", "one")
    assert "first" in await run("campaign", "status", "one")
    await run("campaign", "cancel", "one", "enough")
    more = ["--from", "one", "--select", "cancelled", "--template", "{name}, простите"]
    assert json.loads(await run("campaign", "create", "two", *more, "--json"))["messages"] == 2
    assert len(emulator.messages) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        ["FILE", "--from", "promo"],
        ["--sql", "SELECT 1"],
        ["no such file.csv"],
        ["FILE", "--window", "10:00"],
        ["FILE", "--window", "10:00-10:00", "--tz", "MSK"],
        ["FILE", "--window", "10:00-20:00"],
        ["FILE", "--days", "mon-fri"],
        ["FILE", "--map", "to=Нет такой"],
        ["FILE", "--map", "to"],
        ["FILE", "--template", "{"],
        ["FILE", "--unknown", "probe"],
        ["FILE", "--starts-at", "2026-12-31 10:00"],
        ["FILE", "--budget", "0"],
        ["FILE", "--encoding", "klingon"],
        ["--from", "nothing"],
    ],
    ids=lambda wrong: " ".join(wrong)[:40],
)
async def test_what_cannot_be_a_campaign_is_refused_in_one_line(tmp_path: Path, client: Any, wrong: list[str]) -> None:
    url = f"sqlite:///{tmp_path}/sms.db"
    await Outbox.create(url, client)
    path = tmp_path / "list.csv"
    path.write_text("to,text\n79087964781,Да\n", encoding="utf-8")
    arguments = [str(path) if word == "FILE" else word for word in wrong]
    runner = CliRunner(env={"SMSPILOT_LEDGER": url})
    ended = await asyncio.to_thread(runner.invoke, app, ["campaign", "create", "promo", *arguments])
    assert ended.exit_code == 2, ended.output
    assert "bug" not in ended.output
    async with Outbox(url) as outbox:
        assert await outbox.campaigns.list() == []


async def test_a_long_import_says_how_far_it_is(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_create, "_A_LINE_EACH", 0.02)
    await run("outbox", "init")
    path = tmp_path / "list.csv"
    path.write_text("to,text\n" + "".join(f"7908{number:07},Да\n" for number in range(3_000)), encoding="utf-8")
    assert "rows imported" in await run("campaign", "create", "promo", str(path))


TROUBLES: dict[str, tuple[Any, int, str]] = {
    "none": (lambda _: None, 0, "finished: 90 accepted"),
    "a refusal": (lambda emulator: emulator.refuse(code=223, to="79087960003"), 1, "1 refused"),
    "no answer": (lambda emulator: emulator.fail_next("send", Fault.ACCEPT_THEN_RESET), 3, "30 unknown"),
    "a fault": (lambda emulator: emulator.refuse(code=204), 4, "paused: fault 204 (Sender unregistered)"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_the_exit_code_of_a_run_says_how_it_ended(
    tmp_path: Path, client: Any, emulator: Emulator, trouble: str
) -> None:
    url = f"sqlite:///{tmp_path}/sms.db"
    await Outbox.create(url, client)
    async with Outbox(url) as outbox:
        rows = [(f"7908796{number:04}", "Да") for number in range(90)]
        campaign = await outbox.campaigns.create("promo", rows)
        await campaign.estimate(client)
        await campaign.approve()
        await campaign.start()
    cause, code, said = TROUBLES[trouble]
    cause(emulator)
    settings = {"SMSPILOT_LEDGER": url, "SMSPILOT_URL": emulator.url, "SMSPILOT_API_KEY": emulator.api_key}
    arguments = ["campaign", "run", "promo", "--packet-size", "30", "--in-flight", "1"]
    ended = await asyncio.to_thread(CliRunner(env=settings).invoke, app, arguments)
    assert (ended.exit_code, said in ended.output) == (code, True), ended.output
    shown = await asyncio.to_thread(CliRunner(env=settings).invoke, app, ["campaign", "status", "promo"])
    assert ("30 messages may have been sent: " in shown.output) == (trouble == "no answer")


async def test_hours_are_changed_in_part_and_the_approval_is_void(run: Callable[..., Any], tmp_path: Path) -> None:
    await run("outbox", "init")
    path = tmp_path / "list.csv"
    path.write_text("to,text\n79087964781,Да\n", encoding="utf-8")
    window = ["--window", "10:00-20:00", "--days", "mon-sat", "--tz", "Asia/Omsk"]
    await run("campaign", "create", "promo", str(path), *window)
    for change, expected in (
        (["--window", "11:00-18:00"], ("11:00", "18:00", "mon-sat", "Asia/Omsk")),
        (["--days", "пн-пт"], ("11:00", "18:00", "mon-fri", "Asia/Omsk")),
        (["--window", "09:00 – 21:00", "--tz", "MSK+2"], ("09:00", "21:00", "mon-fri", "+05:00")),
    ):
        await run("campaign", "estimate", "promo")
        await run("campaign", "approve", "promo")
        assert "is a draft again" in await run("campaign", "change", "promo", *change)
        shown = json.loads(await run("campaign", "list", "--json"))[0]
        kept = json.loads(shown["settings"]["window"])
        assert (shown["state"], *(kept[name] for name in ("opens", "closes", "days"))) == ("draft", *expected[:3])
        assert kept["tz"] == expected[3]
        await run("campaign", "start", "promo", code=2)


async def test_hours_that_make_no_window_change_nothing(run: Callable[..., Any], tmp_path: Path) -> None:
    await run("outbox", "init")
    path = tmp_path / "list.csv"
    path.write_text("to,text,tz\n79087964781,Да,MSK\n", encoding="utf-8")
    await run("campaign", "create", "zones", str(path), "--window", "10:00-20:00", "--tz-column", "tz")
    await run("campaign", "create", "none", str(path))
    for name, change, why in (
        ("zones", ["--window", "10:00-10:00"], "has no length"),
        ("zones", ["--window", "10:00"], "is like 10:00-20:00"),
        ("none", ["--days", "mon-fri"], "belong to a --window"),
        ("none", ["--window", "10:00-20:00"], "needs tz"),
        ("none", [], "Say what to change"),
    ):
        assert why in await run("campaign", "change", name, *change, code=2)
    await run("campaign", "change", "zones", "--window", "12:00-20:00")
    await run("campaign", "change", "none", "--window", "12:00-20:00", "--tz", "MSK")


@pytest.mark.parametrize("world", ["test", "url", "account"])
async def test_a_live_campaign_is_not_run_in_another_world(
    outbox: Outbox, client: Client, emulator: Emulator, environment: dict[str, str], world: str
) -> None:
    campaign = await outbox.campaigns.create("promo", [("79087964781", "Да")])
    await campaign.estimate(client)
    await campaign.approve()
    await campaign.start()
    stranger = emulator.add_account(Account(api_key="B" * 64))
    async with Emulator.serve(port=0, account=Account(api_key=emulator.api_key)) as other:
        settings, words = {
            "test": ({"SMSPILOT_TEST": "1"}, "the client is test, the ledger is live"),
            "url": ({"SMSPILOT_URL": other.url}, "the endpoint is"),
            "account": ({"SMSPILOT_API_KEY": stranger.api_key or ""}, "the account is"),
        }[world]
        runner = CliRunner(env={**environment, **settings})
        ended = await asyncio.to_thread(runner.invoke, app, ["campaign", "run", "promo"])
        assert (ended.exit_code, words in ended.output, "Nothing was sent." in ended.output) == (2, True, True)
        assert not other.messages
        assert not other.test_messages
    assert not emulator.messages
    assert not emulator.test_messages
    assert (await campaign.status()).messages["pending"] == 1


async def test_an_estimate_says_that_the_budget_or_the_balance_is_too_small(
    run: Callable[..., Any], emulator: Emulator, tmp_path: Path
) -> None:
    await run("outbox", "init")
    path = tmp_path / "list.csv"
    path.write_text("to\n" + "".join(f"7908796478{number}\n" for number in range(4)), encoding="utf-8")
    for name, budget, balance, short in (
        ("small", "2", 100, ["budget"]),
        ("enough", "5", 5, []),
        ("poor", "5", 3, ["balance"]),
    ):
        emulator.account.balance = Decimal(balance)
        await run("campaign", "create", name, str(path), "--template", "Привет", "--budget", budget)
        lines = (await run("campaign", "estimate", name)).splitlines()
        assert [line.split()[0] for line in lines if "less than the price" in line] == short
    assert not emulator.messages
