"""The command ``bulk`` against a gateway on a socket; the gateway's record is the judge of what was sent."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import errno
import gc
import inspect
import os
import re
import time
from collections import Counter
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cli_running import PHONES, Ran, numbered, run, write_list

from smspilot_async import Client, GatewayError, Reason, Retry, Unanswered
from smspilot_async._tools import clock as _clock
from smspilot_async._tools.clock import Clock
from smspilot_async.cli.bulk import _bulk
from smspilot_async.cli.bulk._list import BulkOptions
from smspilot_async.cli.bulk._results import COLUMNS, Results
from smspilot_async.emulator import Fault
from smspilot_async.outbox import Outbox
from smspilot_async.outbox._deliver import Sender

if TYPE_CHECKING:
    from smspilot_async.emulator import Emulator

RESULTS = Path("list.csv.results.csv")
ONE, TWO = PHONES[1], PHONES[2]


def bulk(*options: str | Path, stdin: str | None = None) -> Ran:
    return run("bulk", "list.csv", *options, stdin=stdin)


def results(path: str | Path = RESULTS) -> list[dict[str, str]]:
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def outcomes(path: str | Path = RESULTS) -> dict[str, int]:
    return dict(Counter(row["outcome"] for row in results(path)))


def sent(gateway: Emulator) -> list[tuple[str, str]]:
    return [(message.to, message.text) for message in gateway.messages]


# --- a list goes out ------------------------------------------------------------------------------


def test_while_it_sends_the_garbage_collector_spares_what_is_loaded(
    gateway: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    spared: list[int] = []
    deliver = Sender._deliver

    async def deliver_(*arguments: Any, **more: Any) -> None:
        spared.append(gc.get_freeze_count())
        await deliver(*arguments, **more)

    monkeypatch.setattr(Sender, "_deliver", deliver_)
    write_list(numbered(3))
    assert bulk("--yes").exit_code == 0
    assert len(gateway.messages) == 3
    assert spared > [10_000]
    assert gc.get_freeze_count() == 0


def test_a_list_goes_out_in_packets_and_every_row_is_in_the_results(gateway: Emulator) -> None:
    rows = numbered(250)
    write_list(rows)
    ran = bulk("--yes")
    assert ran.exit_code == 0
    assert sorted(sent(gateway)) == rows
    packets = Counter(message.server_packet_id for message in gateway.messages)
    assert sorted(packets.values()) == [50, 100, 100]
    assert len({message.id for message in gateway.messages}) == 250
    assert [int(row["line"]) for row in results()] == list(range(2, 252))
    for row, message in zip(results(), sorted(gateway.messages, key=attrgetter("to")), strict=True):
        assert row == {
            **dict.fromkeys(COLUMNS, ""),
            "list_to": message.to,
            "text": message.text,
            "line": row["line"],
            "to": message.to,
            "outcome": "accepted",
            "server_id": message.server_id,
            "packet": message.server_packet_id,
            "parts": "1",
            "price": "1.25",
        }
    assert "accepted  250 of 250 rows" in ran.stdout
    assert "cost      312.50 RUB" in ran.stdout
    assert "balance   999687.50 RUB" in ran.stdout
    assert ran.stderr == f"list.csv: reading 251 lines, and asking what they cost\nresults: {RESULTS}\n"


def test_a_template_is_filled_and_the_optional_columns_are_used(gateway: Emulator) -> None:
    soon = (datetime.now(UTC) + timedelta(days=1)).replace(microsecond=0, second=0)
    Path("list.csv").write_text(
        f"To;Name;From;Send_at;TTL\n{ONE};Иван;SHOP;{soon + timedelta(hours=3):%d.%m.%Y %H:%M};90\n"
        f"{TWO};Ann {{to}};;;\n",
        encoding="cp1251",
    )
    options = ("--template", "Привет, {name}! {{}}", "--encoding", "cp1251", "--tz", "+03:00", "--from", "CLINIC")
    assert bulk("--yes", *options).exit_code == 0
    first, second = gateway.messages
    assert (first.text, first.sender, first.send_at, first.ttl) == ("Привет, Иван! {}", "SHOP", soon, 90)
    assert (second.text, second.sender, second.send_at, second.ttl) == ("Привет, Ann {to}! {}", "CLINIC", None, None)


class _Jumping(Clock):
    """A clock that only sleeps turn, at once."""

    seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        await asyncio.sleep(0)


@pytest.fixture
def jumping(monkeypatch: pytest.MonkeyPatch) -> _Jumping:
    clock = _Jumping()
    monkeypatch.setattr(_clock, "_current", ContextVar[Clock]("jumping clock", default=clock))
    monkeypatch.setattr(_bulk, "noting", lambda _: contextlib.nullcontext())
    return clock


@pytest.mark.parametrize(("rate", "count"), [("40", 80), ("2.5", 6)])
def test_a_rate_limit_holds_the_sending_back(
    gateway: Emulator, monkeypatch: pytest.MonkeyPatch, rate: str, count: int
) -> None:
    sent_at: list[float] = []
    deliver = Sender._deliver

    async def noting(sender: Sender, claim: Any, *more: Any) -> None:
        sent_at.extend([time.monotonic()] * len(claim.messages))
        await deliver(sender, claim, *more)

    monkeypatch.setattr(Sender, "_deliver", noting)
    write_list(numbered(count))
    assert bulk("--yes", "--rate-limit", rate).exit_code == 0
    assert len(gateway.messages) == len(sent_at) == count
    for first, last in zip(sent_at, sent_at[int(float(rate)) + 1 :], strict=False):
        assert last - first >= 0.6, "a quarter of a second's messages may leave at once"


def test_a_rate_limit_holds_the_pricing_back(gateway: Emulator, jumping: _Jumping) -> None:
    write_list(numbered(250))
    assert bulk("--dry-run", "--rate-limit", "50").exit_code == 0
    assert round(jumping.seconds) == 4  # five packets of 50: the last one begins after as many seconds as came before
    bulk("--dry-run", "--rate-limit", "2.5")
    assert round(jumping.seconds) == 4 + 99
    assert not gateway.messages


@pytest.mark.parametrize("patience", ["0", "0.4"])
def test_a_gateway_that_stays_busy_is_asked_until_patience_ends(gateway: Emulator, patience: str) -> None:
    write_list(numbered(80))
    gateway.fail_next("send", Fault.BUSY, times=1000)
    began = time.monotonic()
    ran = bulk("--yes", "--patience", patience)
    assert time.monotonic() - began >= float(patience)
    assert ran.exit_code == 4
    assert outcomes() == {"not_sent": 80}
    reasons = {(row["error_code"], row["error"]) for row in results()}
    assert reasons == {("110", "the gateway is busy: 110, System error")}
    assert "stopped early, with 80 rows not sent: send of a packet of 80 messages: " in ran.stderr
    assert "--resume sends what was not sent" in ran.stderr


def test_the_default_of_patience_is_in_the_help_and_is_that_of_the_library() -> None:
    text = " ".join(run("bulk", "--help").stdout.split())
    assert "--patience SECONDS How long to retry while the gateway is busy (110, HTTP 429). [default: 600.0;" in text
    assert inspect.signature(Client.bulk).parameters["patience"].default == 600


def test_a_message_for_which_the_gateway_is_busy_is_left_and_not_refused(gateway: Emulator) -> None:
    write_list(numbered(5))
    gateway.fail_next("send", Fault.BUSY_MESSAGE)
    ran = bulk("--yes", "--patience", "0")
    assert ran.exit_code == 4
    assert outcomes() == {"accepted": 4, "not_sent": 1}
    assert [row["error_code"] for row in results() if row["outcome"] == "not_sent"] == ["110"]
    assert bulk("--yes", "--resume").exit_code == 0
    assert sorted(sent(gateway)) == numbered(5)


@pytest.mark.parametrize(("options", "most"), [((), 4), (("--in-flight", "1"), 1), (("--in-flight", "2"), 2)])
def test_so_many_packets_are_on_the_wire_at_once(
    gateway: Emulator, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], most: int
) -> None:
    asked: list[int] = []
    worker_of_outbox = Outbox.worker

    def noting(outbox: Outbox, client: Client, *, in_flight: int, **more: Any) -> Any:
        asked.append(in_flight)
        return worker_of_outbox(outbox, client, in_flight=in_flight, **more)

    monkeypatch.setattr(Outbox, "worker", noting)
    write_list(numbered(250))
    assert bulk("--yes", *options).exit_code == 0
    assert (asked, len(gateway.messages)) == ([most], 250)


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "inf", "many"])
def test_an_invalid_rate_limit_is_refused(gateway: Emulator, rate: str) -> None:
    write_list(numbered(1))
    ran = bulk("--yes", f"--rate-limit={rate}")
    assert ran.exit_code == 2
    assert "'--rate-limit'" in ran.stderr
    assert not gateway.messages


# --- whose phones they are --------------------------------------------------------------------------


WORLD = [
    ("908 796-47-81", "79087964781"),
    ("+7 908 796-47-82", "79087964782"),
    ("8 495 123-45-67", "74951234567"),
    ("+90 532 123 45 67", "905321234567"),
    ("+84 95 123-45-67", "84951234567"),
    ("+90 532 123 45 68", "905321234568"),
]
RUSSIAN = ["79087964781", "79087964782"]
FOREIGN = ["905321234567", "84951234567", "905321234568"]


def write_world() -> None:
    write_list([(written, "x") for written, _ in WORLD])


def test_phones_of_a_list_are_russian_unless_they_say_otherwise(gateway: Emulator) -> None:
    write_world()
    assert bulk("--yes").exit_code == 1  # the gateway refuses the landline
    assert sorted(to for to, _ in sent(gateway)) == sorted([*RUSSIAN, *FOREIGN])
    assert [row["to"] for row in results()] == [digits for _, digits in WORLD]


def test_the_plan_names_landlines_and_foreign_numbers_by_country(gateway: Emulator) -> None:
    write_world()
    ran = bulk("--dry-run")
    facts = " ".join(ran.stdout.split())
    assert "abroad 3 messages: Turkey 2 (lines 5, 7), Vietnam 1 (lines 6); --only RU leaves them out" in facts
    assert "landlines 1 message to Russian landlines, which the gateway may refuse: lines 4" in facts
    assert not gateway.messages


def test_a_program_gets_them_too(gateway: Emulator) -> None:
    write_world()
    [plan] = bulk("--dry-run", "--json").events
    assert plan["foreign"] == [
        {"country": "TR", "name": "Turkey", "messages": 2, "lines": [5, 7]},
        {"country": "VN", "name": "Vietnam", "messages": 1, "lines": [6]},
    ]
    assert plan["landlines"] == [4]
    assert not gateway.messages


def test_the_plan_says_nothing_of_a_list_of_mobiles(gateway: Emulator) -> None:
    write_list(numbered(2))
    ran = bulk("--dry-run")
    assert "abroad" not in ran.stdout
    assert "landlines" not in ran.stdout
    assert not gateway.messages


def test_a_list_with_many_countries_names_those_with_most_numbers(gateway: Emulator) -> None:
    write_list([(f"+{code} 12345678", str(number)) for number in range(2) for code in range(30, 39 + number)])
    facts = " ".join(bulk("--dry-run").stdout.split())
    assert "abroad 19 messages: Belgium 2" in facts
    assert "and 2 more countries; --only RU" in facts
    assert not gateway.messages


def test_only_one_country_is_sent_to_and_the_others_are_refused_rows(gateway: Emulator) -> None:
    write_world()
    assert bulk("--yes", "--only", "RU").exit_code == 1
    assert sorted(to for to, _ in sent(gateway)) == RUSSIAN
    refused = {row["line"]: (row["to"], row["error_code"], row["error"]) for row in results() if int(row["line"]) > 4}
    assert refused == {
        "5": (WORLD[3][0], "213", "to: a number of Turkey, excluded by --only RU"),
        "6": (WORLD[4][0], "213", "to: a number of Vietnam, excluded by --only RU"),
        "7": (WORLD[5][0], "213", "to: a number of Turkey, excluded by --only RU"),
    }


def test_without_a_country_phones_are_taken_as_they_are(gateway: Emulator) -> None:
    write_list([("908 796-47-81", "x"), ("8 495 123-45-67", "x")])
    facts = " ".join(bulk("--yes", "--country", "none").stdout.split())
    assert sorted(to for to, _ in sent(gateway)) == ["84951234567", "9087964781"]
    assert "abroad 2 messages: Turkey 1 (lines 2), Vietnam 1 (lines 3)" in facts


@pytest.mark.parametrize("option", ["--country", "--only"])
def test_another_country_is_refused(gateway: Emulator, option: str) -> None:
    write_list(numbered(1))
    ran = bulk("--yes", option, "DE")
    assert (ran.exit_code, option in ran.stderr) == (2, True)
    assert not gateway.messages


def test_bad_rows_stop_nothing_and_are_refused_with_their_line(gateway: Emulator) -> None:
    write_list([(ONE, "x"), ("abc", "x"), (TWO, ""), (TWO, "y\nz"), (PHONES[3], "я" * 700), (PHONES[4], "last")])
    ran = bulk("--yes")
    assert ran.exit_code == 1
    assert sent(gateway) == [(ONE, "x"), (TWO, "y\nz"), (PHONES[4], "last")]
    found = [(row["line"], row["to"], row["outcome"], row["error_code"]) for row in results()]
    assert found == [
        ("2", ONE, "accepted", ""),
        ("3", "abc", "refused", "111"),
        ("4", TWO, "refused", "220"),
        ("5", TWO, "accepted", ""),
        ("7", PHONES[3], "refused", "221"),
        ("8", PHONES[4], "accepted", ""),
    ]
    assert "bad rows    3" in ran.stdout
    assert "   3  to: a phone is digits" in ran.stdout


def test_a_list_of_only_bad_rows_is_recorded_and_nothing_is_asked(gateway: Emulator) -> None:
    write_list([("abc", "x")] * 30)
    ran = bulk()
    assert ran.exit_code == 1
    assert outcomes() == {"refused": 30}
    assert "... and 10 more bad rows" in ran.stdout
    assert not gateway.messages


def test_messages_that_the_gateway_refuses_are_refused_with_its_code(gateway: Emulator) -> None:
    gateway.refuse(code=243, to=TWO)
    write_list([(ONE, "x"), (TWO, "x")])
    ran = bulk("--yes")
    assert ran.exit_code == 1
    assert [(row["outcome"], row["error_code"], row["error"]) for row in results()] == [
        ("accepted", "", ""),
        ("refused", "243", "refused by the gateway: 243, Loop protection, blacklist"),
    ]
    assert "refused by the gateway: 243, Loop protection, blacklist  3" in ran.stdout


def test_repeats_are_shown_and_not_sent(gateway: Emulator) -> None:
    write_list([(ONE, "x"), (TWO, "x"), (f"+{ONE}", "x"), (ONE, "y"), (ONE, "x")])
    ran = bulk("--yes")
    assert ran.exit_code == 0
    assert sent(gateway) == [(ONE, "x"), (TWO, "x"), (ONE, "y")]
    assert [(row["outcome"], row["error"]) for row in results()][2::2] == [("not_sent", "duplicate of line 2")] * 2
    assert "2 with the phone and text of an earlier row, not sent;" in " ".join(ran.stdout.split())
    assert "lines 4, 6" in ran.stdout


def test_repeats_are_sent_when_they_are_wanted(gateway: Emulator) -> None:
    gateway.account.loop_protection = None
    write_list([(ONE, "x"), (ONE, "x")])
    ran = bulk("--yes", "--keep-duplicates")
    assert ran.exit_code == 0
    assert sent(gateway) == [(ONE, "x")] * 2
    assert "sent anyway" in ran.stdout


def test_a_test_run_sends_nothing(gateway: Emulator) -> None:
    write_list(numbered(3))
    assert bulk("--yes", "--test").exit_code == 0
    assert (len(gateway.messages), len(gateway.test_messages)) == (0, 3)


@pytest.mark.parametrize("how", ["option", "environment"])
def test_a_test_run_says_so_before_and_after(gateway: Emulator, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    options = ["--test"] if how == "option" else []
    if how == "environment":
        monkeypatch.setenv("SMSPILOT_TEST", "1")
    row = re.compile("^test +nothing is handed to operators$", re.MULTILINE)
    write_list([(ONE, "x")])
    assert len(row.findall(bulk("--dry-run", *options).stdout)) == 1
    assert len(row.findall(bulk("--yes", *options).stdout)) == 2
    events = bulk("--yes", "--json", "--results", "other.csv", *options).events
    assert {event["event"]: event.get("test") for event in events} == {"plan": True, "result": None, "bill": True}
    assert not gateway.messages


def test_a_run_that_is_no_test_says_so(gateway: Emulator) -> None:
    write_list([(ONE, "x")])
    assert "handed to operators" not in bulk("--yes", "--results", "other.csv").stdout
    write_list([(ONE, "y")])
    events = bulk("--yes", "--json").events
    assert {event["event"]: event.get("test") for event in events} == {"plan": False, "result": None, "bill": False}
    assert len(gateway.messages) == 2


def test_the_environment_can_force_test_mode(gateway: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMSPILOT_TEST", "1")
    write_list(numbered(3))
    assert bulk("--yes").exit_code == 0
    assert not gateway.messages


def test_xml_does_as_well(gateway: Emulator) -> None:
    write_list([(ONE, " <&> "), (TWO, "x")])
    assert bulk("--yes", "--wire", "xml").exit_code == 0
    assert sent(gateway) == [(ONE, " <&> "), (TWO, "x")]


def test_a_list_may_come_from_stdin(gateway: Emulator) -> None:
    ran = run("bulk", "-", "--yes", "--results", "r.csv", stdin=f"to,text\n{ONE},x\n")
    assert ran.exit_code == 0
    assert (sent(gateway), outcomes("r.csv")) == ([(ONE, "x")], {"accepted": 1})
    ran = run("bulk", "-", "--yes", stdin=f"to,text\n{ONE},x\n")
    assert (ran.exit_code, ran.stderr) == (
        2,
        "smspilot: a list from stdin needs --results FILE, for its results.\n",
    )


def test_no_results_are_put_beside_a_name_that_the_shell_lends(gateway: Emulator) -> None:
    reading, writing = os.pipe()
    os.write(writing, f"to,text\n{ONE},x\n".encode())
    os.close(writing)
    ran = run("bulk", f"/dev/fd/{reading}", "--yes")
    os.close(reading)
    assert ran.exit_code == 2
    assert f"a list from /dev/fd/{reading} needs --results FILE" in ran.stderr
    assert sent(gateway) == []


def test_beside_a_list_in_memory_results_are_put_as_beside_any_other() -> None:
    assert BulkOptions(path="/dev/shm/people.csv").results_path == "/dev/shm/people.csv.results.csv"  # noqa: S108


# --- the plan -------------------------------------------------------------------------------------


def test_a_dry_run_shows_the_plan_and_sends_nothing(gateway: Emulator) -> None:
    rows = [(phone, "я" * 71) for phone in PHONES[:150]]
    write_list([*rows, rows[0]], header="to,text,city")
    ran = bulk("--dry-run")
    assert ran.exit_code == 0
    plan = " ".join(ran.stdout.split())
    assert "rows 151 to be sent 150 messages in 300 parts bad rows none duplicates 1 with" in plan
    assert "not used city price 375.00 RUB balance 1000000.00 RUB" in plan
    assert ran.stdout.count("я" * 20) >= 3
    assert not gateway.messages
    assert not RESULTS.exists()


def test_a_dry_run_with_bad_rows_is_exit_1(gateway: Emulator) -> None:
    write_list([("abc", "x"), (ONE, "x")])
    assert bulk("--dry-run").exit_code == 1
    assert not gateway.messages


def test_the_plan_is_one_json_document(gateway: Emulator) -> None:
    write_list([("abc", "x"), (ONE, "Ann"), (ONE, "Ann"), (TWO, " ")], header="to,name")
    plan = bulk("--dry-run", "--json", "--template", "Hi, {name}!").json
    assert plan["event"] == "plan"
    assert plan["dry_run"] is True
    assert (plan["rows"], plan["messages"], plan["parts"], plan["price"]) == (4, 2, 2, "2.50")
    assert [(row["line"], row["code"]) for row in plan["bad_rows"]] == [(2, 111)]
    assert plan["duplicates"] == [{"line": 4, "of": 3}]
    assert plan["empty_placeholders"] == [5]
    assert plan["samples"][0] == {"line": 3, "to": ONE, "text": "Hi, Ann!"}
    assert not gateway.messages


def test_the_plan_names_gateway_account_mode_and_sender_before_it_asks(
    gateway: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_bulk, "on_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    gateway.account.email = "someone@example.com"
    write_list(numbered(2))
    ran = bulk(stdin="n\n")
    assert [line.split(maxsplit=1) for line in ran.stdout.splitlines()[:3]] == [
        ["gateway", gateway.url],
        ["account", f"contract {gateway.account.id}, s…@example.com"],
        ["live", "the address is not smspilot.ru's: an emulator reaches no phones, a relay to the gateway does"],
    ]
    assert "sender      SMSPILOT (the account's default)\n" in ran.stdout
    assert "someone" not in ran.stdout + ran.stderr
    assert not gateway.messages


def test_the_plan_counts_the_senders_where_there_are_several(gateway: Emulator) -> None:
    write_list([(ONE, "x", "CLINIC"), (TWO, "y", ""), (PHONES[3], "z", "")], header="to,text,from")
    assert "sender SHOP: 2 messages, CLINIC: 1 message " in " ".join(bulk("--dry-run", "--from", "SHOP").stdout.split())
    plan = bulk("--dry-run", "--json").json
    assert plan["senders"] == [{"sender": None, "messages": 2}, {"sender": "CLINIC", "messages": 1}]
    assert (plan["gateway"], plan["mode"]) == (gateway.url, "other")
    assert plan["account"] == {"contract": gateway.account.id, "email": "d…@example.com"}


@pytest.mark.parametrize(
    "error", [GatewayError("info: unknown", code=14), Unanswered("info: no answer", reason=Reason.TIMEOUT)]
)
def test_a_list_is_sent_even_if_the_gateway_does_not_describe_the_account(
    gateway: Emulator, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def not_told(_: Client) -> Any:
        raise error

    monkeypatch.setattr(Client, "info", not_told)
    write_list(numbered(2))
    ran = bulk("--yes")
    assert ran.exit_code == 0
    assert "account     not given by the gateway\n" in ran.stdout
    assert len(gateway.messages) == 2


def test_empty_gaps_are_pointed_out(gateway: Emulator) -> None:
    write_list([(ONE, ""), (TWO, "")], header="to,name")
    assert "empty gaps  lines 2-3" in bulk("--dry-run", "--template", "Hi, {name}!").stdout
    assert not gateway.messages


def test_texts_are_shown_without_markup_and_escapes(gateway: Emulator) -> None:
    write_list([(ONE, "[red]x[/red]\nÜ\t")])
    assert r"[red]x[/red]\nÜ\t" in bulk("--dry-run").stdout
    assert not gateway.messages


def test_more_than_max_cost_sends_nothing(gateway: Emulator) -> None:
    write_list(numbered(2))
    ran = bulk("--yes", "--max-cost", "2.49")
    assert ran.exit_code == 2
    assert ran.stderr.endswith("\nsmspilot: the price is 2.50 RUB, more than --max-cost 2.49: nothing was sent.\n")
    assert not gateway.messages
    assert not RESULTS.exists()
    assert bulk("--yes", "--max-cost", "2.50").exit_code == 0


@pytest.mark.parametrize("limit", ["much", "-1", "NaN", "Infinity"])
def test_a_max_cost_that_is_no_amount_is_refused(gateway: Emulator, limit: str) -> None:
    write_list(numbered(1))
    assert bulk("--yes", "--max-cost", limit).exit_code == 2
    assert not gateway.messages


def test_a_packet_that_cannot_be_priced_is_said_and_is_no_way_around_max_cost(gateway: Emulator) -> None:
    gateway.refuse(code=223, text="spam")
    write_list([(phone, "spam") for phone in PHONES[:2]])
    ran = bulk("--yes", "--max-cost", "100")
    assert ran.exit_code == 2
    assert "--max-cost cannot be enforced: 2 messages could not be priced" in ran.stderr
    ran = bulk("--yes")
    assert ran.exit_code == 1
    assert "0 RUB without 2 messages that could not be priced" in " ".join(ran.stdout.split())


def test_yes_does_not_start_what_the_balance_does_not_cover_and_a_person_may(
    gateway: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.account.balance = Decimal("2.50")
    write_list(numbered(800))
    ran = bulk("--yes")
    assert ran.exit_code == 2
    assert "the balance of 2.50 RUB does not cover the price of 1000.00 RUB: nothing was sent" in ran.stderr
    assert not gateway.messages
    assert not RESULTS.exists()
    monkeypatch.setattr(_bulk, "on_terminal", lambda: True)
    ran = bulk(stdin="y\n")
    assert "does not cover the price of 1000.00 RUB: the gateway will refuse messages beyond it" in ran.stderr
    assert ran.exit_code == 4
    found = outcomes()
    assert (found["accepted"], sum(found.values())) == (2, 800)
    assert found["not_sent"] == 798
    assert {row["error_code"] for row in results() if row["error_code"]} == {"112"}
    assert f"stopped early, with {found['not_sent']} rows not sent" in ran.stderr


def test_too_little_money_for_the_last_rows_leaves_them_unsent(
    gateway: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_bulk, "on_terminal", lambda: True)
    gateway.account.balance = Decimal("2.50")
    write_list(numbered(3))
    assert bulk(stdin="y\n").exit_code == 4
    assert outcomes() == {"accepted": 2, "not_sent": 1}


@pytest.mark.parametrize("as_json", [False, True])
def test_no_price_no_sending(gateway: Emulator, monkeypatch: pytest.MonkeyPatch, *, as_json: bool) -> None:
    monkeypatch.setenv("SMSPILOT_API_KEY", "wrong")
    write_list(numbered(1))
    ran = bulk("--yes", *(["--json"] if as_json else []))
    assert ran.exit_code == 4
    assert "APIKEY is invalid" in ran.stderr
    assert not gateway.messages
    assert not RESULTS.exists()
    if as_json:
        assert ran.json["error"]["type"] == "AuthenticationError"


# --- the question ---------------------------------------------------------------------------------


def test_without_a_terminal_and_without_yes_nothing_is_sent(gateway: Emulator) -> None:
    write_list(numbered(2))
    ran = bulk(stdin="y\n")
    assert ran.exit_code == 2
    assert "--yes sends without asking. Nothing was sent." in ran.stderr
    assert "to be sent  2 messages" in ran.stdout
    assert not gateway.messages
    assert not RESULTS.exists()


@pytest.mark.parametrize(("answer", "exit_code", "count"), [("y\n", 0, 2), ("n\n", 2, 0), ("\n", 2, 0), ("", 130, 0)])
def test_at_a_terminal_the_user_decides(
    gateway: Emulator, monkeypatch: pytest.MonkeyPatch, answer: str, exit_code: int, count: int
) -> None:
    monkeypatch.setattr(_bulk, "on_terminal", lambda: True)
    write_list(numbered(2))
    ran = bulk(stdin=answer)
    assert ran.exit_code == exit_code
    assert "Send 2 messages for 2.50 RUB?" in ran.stderr
    assert len(gateway.messages) == count
    assert RESULTS.exists() == (count > 0)


def test_a_question_that_cannot_be_asked_sends_nothing(gateway: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object, **__: object) -> bool:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(_bulk, "on_terminal", lambda: True)
    monkeypatch.setattr("click.confirm", gone)
    write_list(numbered(2))
    ran = bulk()
    assert (ran.exit_code, ran.stderr.splitlines()[-1]) == (
        2,
        "smspilot: you cannot confirm (Input/output error); --yes sends without asking. Nothing was sent.",
    )
    assert not gateway.messages


def test_at_a_terminal_the_question_says_that_it_is_a_test(gateway: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_bulk, "on_terminal", lambda: True)
    write_list(numbered(2))
    assert "Send 2 messages for 2.50 RUB, as a test?" in bulk("--test", stdin="y\n").stderr
    assert len(gateway.test_messages) == 2


# --- what can go wrong on the way -----------------------------------------------------------------


def test_an_unknown_packet_is_listed_and_never_sent_again(gateway: Emulator) -> None:
    write_list(numbered(300))
    gateway.fail_next("send", Fault.ACCEPT_THEN_RESET)
    ran = bulk("--yes")
    assert ran.exit_code == 3
    assert outcomes() == {"unknown": 100, "accepted": 200}
    assert max(Counter(sent(gateway)).values()) == 1
    assert len(gateway.messages) == 300
    unknown = [int(row["line"]) for row in results() if row["outcome"] == "unknown"]
    assert f"unknown   100 - these may have been sent: lines {unknown[0]}-{unknown[-1]}" in ran.stdout
    lines = f"{unknown[0]}-{unknown[-1]}"
    assert re.search(rf" 100  unknown  may have been sent \(the connection broke before the +{lines}\n", ran.stdout)
    assert "100 messages may or may not have been sent" in ran.stderr
    assert "the vendor's cabinet lists what arrived" in ran.stderr
    assert "check --packet" not in ran.stderr, "no answer named one"


def test_where_an_answer_named_the_packet_of_unknown_messages_it_is_said_how_to_ask_about_it(gateway: Emulator) -> None:
    write_list(numbered(3))
    gateway.unknowns.rows_missing = 1
    ran = bulk("--yes")
    assert ran.exit_code == 3
    named = {row["packet"] for row in results() if row["outcome"] == "unknown"}
    assert named == {gateway.messages[0].server_packet_id}
    assert "may have been sent (the answer does not fit the messages)" in ran.stdout
    assert "smspilot check --packet" in ran.stderr
    assert run("check", "--packet", *named).exit_code == 0


def test_three_unknown_packets_in_a_row_end_the_sending(gateway: Emulator) -> None:
    write_list(numbered(500))
    gateway.fail_next("send", Fault.SERVER_ERROR, times=9)
    ran = bulk("--yes", "--in-flight", "1")  # of several in flight, those that are on the wire by then are unknown too
    assert ran.exit_code == 3
    assert outcomes() == {"unknown": 300, "not_sent": 200}
    assert "stopped early, with 200 rows not sent" in ran.stderr
    assert not gateway.messages


def test_a_packet_refused_for_one_bad_message_loses_only_that_one(gateway: Emulator) -> None:
    gateway.unknowns.one_bad_refuses_packet = True
    rows = numbered(150)
    gateway.refuse(code=212, to=rows[3][0])
    write_list(rows)
    ran = bulk("--yes")
    assert ran.exit_code == 1
    assert outcomes() == {"refused": 1, "accepted": 149}
    assert results()[3]["error_code"] == "212"


@pytest.mark.parametrize("as_json", [False, True])
def test_a_gateway_that_has_gone_leaves_everything_unsent(
    gateway: Emulator, monkeypatch: pytest.MonkeyPatch, *, as_json: bool
) -> None:
    async def then_gone(client: Client, *_: Any, **__: Any) -> Any:
        hooks = client._hooks._all
        client._sessions = Client("k", url="http://127.0.0.1:9/", retry=Retry(attempts=1), hooks=hooks)._sessions
        return Decimal("1.25")

    monkeypatch.setattr(Client, "cost", then_gone)
    write_list(numbered(450))
    ran = bulk("--yes", *(["--json"] if as_json else []))
    assert ran.exit_code == 4
    assert outcomes() == {"not_sent": 450}
    assert not gateway.messages
    if as_json:
        bill = ran.events[-1]
        assert bill["stopped_by"]["type"] == "ConnectionFailed"
        assert bill["balance"] is None
        assert bill["ledger"] == f"{RESULTS}.ledger"
    else:
        assert "balance   not known" in ran.stdout
        assert f"ledger: {RESULTS}.ledger; --resume sends what was not sent" in ran.stderr
        assert "smspilot doctor" in ran.stderr


def test_a_wrong_key_in_the_middle_is_exit_4(gateway: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    cost = Client.cost

    async def then_blocked(client: Client, messages: Any) -> Any:
        price = await cost(client, messages)
        gateway.account.blocked = 106
        return price

    monkeypatch.setattr(Client, "cost", then_blocked)
    write_list(numbered(3))
    ran = bulk("--yes")
    assert ran.exit_code == 4
    assert outcomes() == {"not_sent": 3}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a full disk at hand")
def test_a_full_disk_stops_the_sending_and_what_is_not_written_is_said(
    gateway: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: str, _: Any) -> Any:
        return Results(path, Path("/dev/full").open("w", encoding="utf-8"))

    monkeypatch.setattr(Results, "create", full)
    write_list(numbered(1000))
    gateway.random_faults({Fault.SLOW: 1.0}, command="send", delay=0.3)
    ran = bulk("--yes", "--in-flight", "1")
    assert ran.exit_code == 4
    assert 100 <= len(gateway.messages) < 1000
    assert "No space left on device" in ran.stderr
    assert ran.stderr.count('"outcome": "accepted"') == len(gateway.messages)


def test_the_run_in_json_lines(gateway: Emulator) -> None:
    write_list([(ONE, "x"), ("abc", "x"), (TWO, "y")])
    ran = bulk("--yes", "--json")
    assert ran.exit_code == 1
    kinds = [event["event"] for event in ran.events]
    assert kinds == ["plan", "result", "result", "result", "bill"]
    by_line = {event["line"]: event for event in ran.events[1:-1]}
    assert {line: event["outcome"] for line, event in by_line.items()} == {2: "accepted", 3: "refused", 4: "accepted"}
    assert by_line[2]["server_id"] == gateway.messages[0].server_id
    bill = ran.events[-1]
    assert (bill["read"], bill["accepted"], bill["refused"], bill["cost"]) == (3, 2, 1, "2.50")
    assert bill["results"] == str(RESULTS)


# --- one clear line, nothing sent, nothing half-written -------------------------------------------


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        (b"", [], "list.csv is empty"),
        (b"to,text\n", [], "has a header and no rows"),
        (b"to,text\n\n , \n", [], "has a header and no rows"),
        (b"phone,text\n1,x\n", [], "no column 'to'"),
        (b"to,name\n1,x\n", [], "no column 'text'"),
        (b"to,to\n1,x\n", [], "twice"),
        (b"to,name\n1,x\n", ["--template", "{nope}"], "no column matches {nope}"),
        (b"to,name\n1,x\n", ["--template", "{"], "a lone {"),
        ("to,text\n1,Привет\n".encode("cp1251"), [], "add --encoding cp1251"),
        ("to,text\n1,Привет\n".encode(), ["--encoding", "cp1251"], "omit --encoding cp1251"),
        ("to,text\n1,Привет\n".encode("utf-16"), [], "UTF-16"),
        (b"to,text\n1,x\n", ["--encoding", "nope"], "no such encoding"),
        (b"to,text\n1,x\n", ["--tz", "Mars/Base"], "not a time zone"),
        (b"to,text\n1,x\n", ["--results", "list.csv"], "list.csv already exists"),
        (b"to,text\n1,x\n", ["--results", "no/such/folder.csv"], "the results cannot be written"),
        (b"to,text\n1,x\n", ["--results", "."], ". already exists"),
    ],
)
def test_a_list_or_option_that_does_not_do(gateway: Emulator, content: bytes, options: list[str], words: str) -> None:
    Path("list.csv").write_bytes(content)
    ran = bulk("--yes", *options)
    assert ran.exit_code == 2
    assert words in " ".join(ran.stderr.split())
    assert ran.stdout == ""
    assert sorted(path.name for path in Path().iterdir()) == ["list.csv"]
    assert not gateway.messages


@pytest.mark.parametrize("path", ["none.csv", "."])
def test_a_list_that_cannot_be_read(gateway: Emulator, path: str) -> None:
    ran = run("bulk", path, "--yes")
    assert (ran.exit_code, ran.stderr.count("\n")) == (2, 1)
    assert not gateway.messages
    assert list(Path().iterdir()) == []


def test_sending_the_same_list_again_by_mistake_is_refused(gateway: Emulator) -> None:
    write_list(numbered(2))
    assert bulk("--yes").exit_code == 0
    ran = bulk("--yes")
    assert ran.exit_code == 2
    assert "it may be the results of a run that has sent this list" in ran.stderr
    assert len(gateway.messages) == 2
    assert bulk("--dry-run").exit_code == 0


def test_a_list_that_does_not_do_says_that_nothing_was_sent_and_what_to_do(gateway: Emulator) -> None:
    Path("list.csv").write_text("phone,text\n79087964781,x\n", encoding="utf-8")
    ran = run("bulk", "list.csv", "--yes")
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert "it has: phone, text. Call the column with the phones 'to'. Nothing was sent." in ran.stderr
    assert not gateway.messages
