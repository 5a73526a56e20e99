"""Every command but ``bulk``, against a gateway on a socket: what a person reads, what a program reads, exit codes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cli_running import KEY, command, run, write_list

from smspilot_async import Client, __version__
from smspilot_async.cli import _app
from smspilot_async.emulator import TEST_KEY, Fault

if TYPE_CHECKING:
    import click

    from smspilot_async.emulator import Emulator

ONE = "79087964781"
NASTY = "[bold]x[/bold]\x1b[31m"


# --- send -----------------------------------------------------------------------------------------


def test_send_shows_what_the_gateway_answered(gateway: Emulator) -> None:
    ran = run("send", "+7 908 796-47-81", "Привет", "--from", "SHOP", "--id", "77")
    [message] = gateway.messages
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert (message.to, message.text, message.sender, message.id) == (ONE, "Привет", "SHOP", 77)
    assert re.search(rf"server id +{message.server_id}\n", ran.stdout)
    assert "1.25 RUB" in ran.stdout


def test_send_prints_json(gateway: Emulator) -> None:
    answer = run("send", ONE, "Привет", "--json").json
    [message] = gateway.messages
    assert answer["outcome"] == "accepted"
    assert (answer["server_id"], answer["price"], answer["parts"]) == (message.server_id, "1.25", 1)


def test_send_takes_every_field(gateway: Emulator) -> None:
    at = (datetime.now(UTC) + timedelta(days=1)).replace(microsecond=0)
    local = (at + timedelta(hours=3)).strftime("%Y-%m-%d %H:%M:%S")
    more = ("--callback", "http://127.0.0.1:1/cb", "--callback-method", "post", "--ttl", "60")
    assert run("send", ONE, "x", "--send-at", local, "--tz", "+3", *more).exit_code == 0
    [message] = gateway.messages
    assert (message.send_at, message.ttl) == (at, 60)
    assert (message.callback, message.callback_method) == ("http://127.0.0.1:1/cb", "post")


def test_send_reads_the_text_from_stdin(gateway: Emulator) -> None:
    assert run("send", ONE, "-", stdin="  two\nlines\n").exit_code == 0
    assert gateway.messages[0].text == "  two\nlines"


def test_a_text_on_stdin_that_is_not_utf8_is_refused(gateway: Emulator) -> None:
    assert run("send", ONE, "-", stdin="Привет".encode("cp1251")).exit_code == 2
    assert not gateway.messages


@pytest.mark.parametrize("wire", ["json", "xml"])
def test_send_speaks_both_wires(gateway: Emulator, wire: str) -> None:
    assert run("send", ONE, "Привет & <пока>", "--wire", wire).exit_code == 0
    assert gateway.messages[0].text == "Привет & <пока>"


@pytest.mark.parametrize(
    ("written", "options", "reached"),
    [
        ("908 796-47-81", (), "79087964781"),
        ("8 908 796-47-81", (), "79087964781"),
        ("+90 532 123 45 67", (), "905321234567"),
        ("908 796-47-81", ("--country", "none"), "9087964781"),
    ],
)
def test_a_phone_is_russian_unless_it_says_otherwise(
    gateway: Emulator, written: str, options: tuple[str, ...], reached: str
) -> None:
    assert run("cost", written, "x", *options).exit_code == 0
    assert run("send", written, "x", *options).exit_code == 0
    assert [message.to for message in gateway.messages] == [reached]


def test_a_spreadsheet_s_float_is_no_phone(gateway: Emulator) -> None:
    ran = run("send", "79087964781.0", "x")
    assert (ran.exit_code, "a spreadsheet wrote it" in ran.stderr) == (2, True)
    assert not gateway.messages


def test_send_in_test_mode_reaches_no_phone(gateway: Emulator) -> None:
    assert run("send", ONE, "x", "--test").exit_code == 0
    assert (len(gateway.messages), len(gateway.test_messages)) == (0, 1)


TEST_ONLY = "nothing is handed to operators"


@pytest.mark.parametrize("how", ["option", "environment"])
def test_a_test_says_that_it_is_one(gateway: Emulator, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    options = ["--test"] if how == "option" else []
    if how == "environment":
        monkeypatch.setenv("SMSPILOT_TEST", "1")
    assert run("send", ONE, "x", *options).stdout.startswith(f"test       {TEST_ONLY}\n")
    assert run("send", ONE, "y", *options, "--json").json["test"] is True
    gateway.refuse(code=243)
    assert run("send", ONE, "z", *options, "--json").json["test"] is True
    assert not gateway.messages


def test_what_is_sent_says_that_it_is_no_test(gateway: Emulator) -> None:
    assert TEST_ONLY not in run("send", ONE, "x").stdout
    assert run("send", ONE, "y", "--json").json["test"] is False
    assert len(gateway.messages) == 2


def test_a_price_asked_in_test_mode_says_so(gateway: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("cost", ONE, "x", "--json").json["test"] is False
    monkeypatch.setenv("SMSPILOT_TEST", "1")
    assert run("cost", ONE, "x").stdout == f"1.25 RUB for 1 part\ntest: {TEST_ONLY}\n"
    assert run("cost", ONE, "x", "--json").json["test"] is True
    assert not gateway.messages


def test_a_test_mode_that_is_neither_on_nor_off_sends_nothing(
    gateway: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMSPILOT_TEST", "perhaps")
    ran = run("send", ONE, "x")
    assert (ran.exit_code, ran.stderr) == (2, "smspilot: SMSPILOT_TEST must be 1 or 0.\n")
    assert not gateway.messages + gateway.test_messages


def test_a_refused_message_is_exit_1_and_one_line(gateway: Emulator) -> None:
    gateway.refuse(code=223)
    ran = run("send", ONE, "x")
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert ran.stderr.startswith(f"smspilot: the message to {ONE}: refused by the gateway with 223")
    assert "It was not sent." in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_a_refused_message_in_json(gateway: Emulator) -> None:
    gateway.refuse(code=243)
    ran = run("send", ONE, "x", "--json")
    assert ran.exit_code == 1
    assert ran.json["outcome"] == "refused"
    assert (ran.json["error"]["type"], ran.json["error"]["code"]) == ("DuplicateMessage", 243)
    assert ran.json["error"]["outcome"] == "refused"


def test_too_little_money_is_exit_4(gateway: Emulator) -> None:
    gateway.account.balance = Decimal(0)
    assert run("send", ONE, "x").exit_code == 4


@pytest.mark.parametrize(
    ("fault", "reason"), [(Fault.ACCEPT_THEN_RESET, "disconnected"), (Fault.ACCEPT_THEN_HTML, "unreadable")]
)
def test_an_unknown_outcome_is_exit_3_and_sent_once(gateway: Emulator, fault: Fault, reason: str) -> None:
    gateway.fail_next("send", fault)
    ran = run("send", ONE, "x", "--json")
    assert ran.exit_code == 3
    assert "may have been sent" in ran.stderr
    assert (ran.json["outcome"], ran.json["error"]["reason"]) == ("unknown", reason)
    assert len(gateway.messages) == 1


def test_no_connection_is_exit_4_and_nothing_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smspilot_async.cli._connection._DEADLINE", 0.2)
    ran = run("send", ONE, "x", "--url", "http://127.0.0.1:9/", "--json", "--key-file", _key_file())
    assert ran.exit_code == 4
    assert "Nothing was sent" in ran.stderr
    assert ran.json["outcome"] == "not_sent"


@pytest.mark.parametrize(
    "arguments",
    [
        ("send", ONE, "x"),
        ("cost", ONE, "x"),
        ("check", "1"),
        ("track", "--packet", "1"),
        ("balance",),
        ("bulk", "list.csv", "--yes"),
    ],
)
def test_where_nothing_can_be_reached_the_line_names_the_doctor(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smspilot_async.cli._connection._DEADLINE", 0.2)
    write_list([(ONE, "x")])
    ran = run(*arguments, "--url", "http://127.0.0.1:9/", "--key-file", _key_file())
    assert ran.exit_code == 4
    assert ran.stderr.endswith(" smspilot doctor.\n")


@pytest.mark.usefixtures("gateway")
def test_a_wrong_key_is_exit_4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMSPILOT_API_KEY", "another")
    ran = run("send", ONE, "x")
    assert ran.exit_code == 4
    assert "101" in ran.stderr
    assert "another" not in ran.stderr
    assert "doctor" not in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("send", "12", "x"), "to: a phone has 7 to 15 digits"),
        (("send", ONE, ""), "text: a text is required"),
        (("send", ONE, "x", "--from", "!"), "sender:"),
        (("send", ONE, "x", "--ttl", "9999"), "ttl:"),
        (("send", ONE, "x", "--id", "-1"), "id:"),
        (("send", ONE, "x", "--send-at", "2031-01-01 10:00"), "names no time zone"),
        (("send", ONE, "x", "--send-at", "2001-01-01 10:00Z"), "has passed"),
        (("send", ONE, "x", "--tz", "Mars"), "is not a time zone"),
        (("send", ONE), "Missing argument"),
        (("send", ONE, "x", "--key", "K"), "No such option"),
        (("check",), "Name the messages"),
        (("check", "1", "--packet", "2"), "Name the messages"),
        (("check", "a b"), "server_ids:"),
        (("inbound", "--since", "yesterday"), "is not a time"),
        (("balance", "--url", "http://example.com"), "http: url"),
        (("balance", "--url", "nonsense"), "url needs an absolute"),
        (("emulator", "--host", "0.0.0.0"), "--allow-remote"),  # noqa: S104 - it is refused
        (("nonsense",), "No such command"),
    ],
)
def test_wrong_use_is_exit_2_and_sends_nothing(gateway: Emulator, arguments: tuple[str, ...], words: str) -> None:
    ran = run(*arguments)
    assert ran.exit_code == 2
    assert words in " ".join(ran.stderr.split())
    assert not gateway.messages


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("send", "12", "x"), "a phone has 7 to 15 digits"),
        (("send", ONE), "Missing argument"),
        (("send", ONE, "x", "--nope"), "No such option"),
        (("send", ONE, "x", "--send-at", "soon"), "is not a time"),
        (("send", ONE, "x", "--key-file", "none.txt"), "No such file"),
        (("check",), "Name the messages"),
        (("balance", "--url", "nonsense"), "url needs an absolute"),
        (("bulk", "none.csv"), "there is no file none.csv"),
        (("bulk",), "Missing argument"),
        (("emulator", "--host", "0.0.0.0"), "--allow-remote"),  # noqa: S104 - it is refused
        (("doctor", "--timeout", "0"), "0.0 is not in the range"),
        (("nonsense",), "No such command"),
        (("--nope",), "No such option"),
    ],
)
@pytest.mark.usefixtures("gateway")
def test_wrong_use_is_json_of_the_same_shape_where_json_was_asked_for(arguments: tuple[str, ...], words: str) -> None:
    ran = run(*arguments, "--json")
    assert ran.exit_code == 2
    error = ran.json["error"]
    assert list(error) == ["type", "outcome", "code", "reason", "message"]
    assert words in error["message"]
    assert words in " ".join(ran.stderr.split())
    assert error["outcome"] == ("refused" if error["code"] else "not_sent")
    assert ran.json.get("event") == ("error" if arguments[0] == "bulk" else None)


@pytest.mark.parametrize(
    "arguments",
    [
        ("balance",),
        ("info",),
        ("check", "1"),
        ("track", "1", "--poll-interval", "0.01"),
        ("inbound",),
        ("cost", ONE, "x"),
        ("send", ONE, "x"),
    ],
)
def test_an_error_of_the_gateway_is_json_of_the_same_shape(gateway: Emulator, arguments: tuple[str, ...]) -> None:
    gateway.account.blocked = 105
    ran = run(*arguments, "--json")
    assert ran.exit_code == 4
    error = ran.json["error"]
    assert list(error) == ["type", "outcome", "code", "reason", "message"]
    assert (error["type"], error["code"]) == ("AccountBlocked", 105)


@pytest.mark.usefixtures("gateway")
def test_wrong_use_is_said_after_how_the_command_is_used() -> None:
    assert run("send", ONE).stderr.splitlines() == [
        "Usage: app send [OPTIONS] TO TEXT",
        "Try 'app send --help' for help.",
        "",
        "Error: Missing argument 'TEXT'.",
    ]


def test_the_command_alone_shows_its_help_in_lines() -> None:
    ran = run()
    shown = (ran.stdout or ran.stderr).splitlines()  # before click 8.2 it was no error
    assert shown[0].startswith("Usage: ")
    assert "  send      Send TEXT to the phone TO." in shown


def test_what_is_no_option_is_taken_for_none(gateway: Emulator) -> None:
    gateway.account.blocked = 105
    assert run("send", ONE, "--", "--json").stdout == ""


def test_a_track_that_runs_out_of_time_is_json_too(gateway: Emulator) -> None:
    run("send", ONE, "x")
    ran = run("track", gateway.messages[0].server_id, "--timeout", "0.05", "--json")
    assert ran.exit_code == 4
    assert "timed out" in ran.events[-1]["error"]["message"]


# --- questions ------------------------------------------------------------------------------------


def test_cost_sends_nothing(gateway: Emulator) -> None:
    assert run("cost", ONE, "я" * 71).stdout == "2.50 RUB for 2 parts\n"
    assert run("cost", ONE, "x", "--json").json == {"test": False, "cost": "1.25", "currency": "RUB", "parts": 1}
    assert not gateway.messages


def test_balance(gateway: Emulator) -> None:
    gateway.account.balance = Decimal("1234.50")
    assert run("balance").stdout == "1234.50 RUB\n"
    assert run("balance", "--json").json == {"balance": "1234.50", "currency": "RUB"}
    assert run("balance", "--sms").stdout == "987 SMS\n"
    assert run("balance", "--sms", "--json").json == {"balance_sms": 987}


def test_check_by_message_and_by_packet(gateway: Emulator) -> None:
    run("send", ONE, "x")
    gateway.fail_delivery(code=601)
    run("send", ONE, "y")
    gateway.clock.advance(minutes=5)
    first, second = gateway.messages
    ran = run("check", first.server_id, second.server_id)
    assert ran.exit_code == 0
    assert "delivered" in ran.stdout
    assert "not delivered" in ran.stdout
    statuses = run("check", "--packet", first.server_packet_id, "--json").json
    assert [(each["server_id"], each["status"], each["is_final"]) for each in statuses] == [(first.server_id, 2, True)]


@pytest.mark.usefixtures("gateway")
def test_a_packet_that_is_not_known_is_exit_4() -> None:
    ran = run("check", "--packet", "1", "--json")
    assert ran.exit_code == 4
    assert ran.json["error"]["type"] == "NotFound"
    assert ran.stderr.startswith("smspilot: check: refused by the gateway with 304")


def test_info(gateway: Emulator) -> None:
    gateway.account.name = NASTY
    ran = run("info")
    assert ran.exit_code == 0
    assert r"name            [bold]x[/bold]\x1b[31m" in ran.stdout
    assert "any sender      yes" in ran.stdout
    assert run("info", "--json").json["name"] == NASTY


def test_inbound(gateway: Emulator) -> None:
    sms = gateway.inbound(ONE, f"STOP {NASTY}")
    ran = run("inbound")
    assert ran.exit_code == 0
    assert r"STOP [bold]x[/bold]\x1b[31m" in ran.stdout
    assert [each["text"] for each in run("inbound", "--since", "new", "--json").json] == []
    gateway.inbound(ONE, "more")
    assert [each["text"] for each in run("inbound", "--since", "new", "--json").json] == ["more"]
    since = (sms.created - timedelta(minutes=5)).strftime("%Y-%m-%d %H:%M:%S")
    assert len(run("inbound", "--since", since, "--tz", "UTC", "--json").json) == 2


@pytest.mark.parametrize(("zone", "found"), [((), 1), (("--tz", "+12"), 2), (("--tz", "UTC"), 0)])
def test_inbound_since_a_date_begins_at_its_midnight_in_the_zone_or_in_moscow(
    gateway: Emulator, zone: tuple[str, ...], found: int
) -> None:
    gateway.clock.set(datetime(2026, 11, 27, 13, 0, tzinfo=UTC))  # in Moscow 16 h, in +12 the next day
    gateway.inbound(ONE, "the evening before")
    gateway.clock.set(datetime(2026, 11, 27, 21, 30, tzinfo=UTC))  # in Moscow it is the 28th
    gateway.inbound(ONE, "after midnight")
    assert len(run("inbound", "--since", "2026-11-28", *zone, "--json").json) == found


def test_a_lost_answer_to_inbound_new_says_how_to_get_it_back(gateway: Emulator) -> None:
    gateway.inbound(ONE, "STOP")
    gateway.fail_next("inbound", Fault.ACCEPT_THEN_RESET)
    ran = run("inbound", "--since", "new")
    assert ran.exit_code == 4
    assert "ask for them by time" in ran.stderr
    assert len(run("inbound", "--since", "2001-01-01 00:00Z", "--json").json) == 1


def test_a_question_that_stays_unanswered_is_exit_4(gateway: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smspilot_async.cli._connection._DEADLINE", 0.2)
    gateway.fail_next("balance", Fault.SERVER_ERROR, times=10)
    ran = run("balance")
    assert (ran.exit_code, ran.stdout, ran.stderr.count("\n")) == (4, "", 1)


# --- the key, and what else can be wrong ------------------------------------------------------------


def _key_file(content: str | bytes = KEY + "\n") -> str:
    path = Path("key.txt")
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def test_the_key_may_be_in_a_file(gateway: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SMSPILOT_API_KEY")
    assert run("balance", "--key-file", _key_file()).exit_code == 0
    monkeypatch.setenv("SMSPILOT_API_KEY_FILE", _key_file())
    assert run("balance").exit_code == 0
    assert gateway.api_key == KEY


def test_no_key_is_exit_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SMSPILOT_API_KEY", raising=False)
    monkeypatch.delenv("SMSPILOT_API_KEY_FILE", raising=False)
    ran = run("balance")
    assert ran.exit_code == 2
    assert ran.stderr.startswith("smspilot: no API key: put it into SMSPILOT_API_KEY, or")


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("http://192.168.0.1/api2.php", "use https:, or a tunnel that starts on this machine"),
        ("https://someone:else@gateway.test/", "put the API key into SMSPILOT_API_KEY, or"),
    ],
)
def test_an_address_that_is_refused_comes_with_advice_that_the_command_can_follow(
    monkeypatch: pytest.MonkeyPatch, url: str, advice: str
) -> None:
    monkeypatch.setenv("SMSPILOT_API_KEY", KEY)
    ran = run("balance", "--url", url)
    assert ran.exit_code == 2
    assert advice in ran.stderr
    for argument in ("allow_http", "api_key,", "password", "someone", "else"):
        assert argument not in ran.stderr


@pytest.mark.parametrize(
    ("path", "words"), [("none.txt", "cannot be read: none.txt: No such file"), (None, "is not UTF-8 text")]
)
def test_a_key_file_that_does_not_do_is_exit_2(path: str | None, words: str) -> None:
    ran = run("balance", "--key-file", path or _key_file(b"\xff\xfe"))
    assert ran.exit_code == 2
    assert words in ran.stderr


def test_a_fault_of_this_program_is_one_line_without_its_words(
    gateway: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> Any:
        raise RuntimeError(f"with {gateway.api_key} in it")

    monkeypatch.setattr(Client, "balance", broken)
    monkeypatch.setattr(Client, "send_message", broken)
    ran = run("balance")
    assert ran.exit_code == 4
    assert re.fullmatch(
        r"smspilot: a bug in this program, please report it: RuntimeError at .*_queries\.py:\d+\.\n", ran.stderr
    )
    ran = run("send", ONE, "x")
    assert ran.exit_code == 3
    assert ran.stderr.endswith("What it was sending may have been sent.\n")


@pytest.mark.usefixtures("gateway")
def test_an_interrupted_question_is_exit_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "balance", interrupted)
    ran = run("balance")
    assert (ran.exit_code, ran.stderr) == (130, "smspilot: interrupted.\n")


# --- the program ----------------------------------------------------------------------------------


def test_the_version_names_what_matters() -> None:
    ran = run("--version")
    assert ran.exit_code == 0
    libraries = r"Python 3\.\d+\.\S+, httpx \d\S+, JSON by (msgspec \d\S+|the standard library)"
    assert re.fullmatch(rf"smspilot {re.escape(__version__)} \({libraries}\)\n", ran.stdout)


@pytest.mark.parametrize(("wanted", "named"), [("stdlib", "the standard library"), ("msgspec", "msgspec 0.")])
def test_the_version_names_the_json_library_in_use(wanted: str, named: str) -> None:
    ran = subprocess.run(  # noqa: S603 - the program that runs here is ours
        command("--version"), env={**os.environ, "SMSPILOT_JSON": wanted}, capture_output=True, text=True, check=True
    )
    assert f"JSON by {named}" in ran.stdout


@pytest.mark.parametrize(
    "name", ["send", "cost", "check", "balance", "info", "inbound", "bulk", "doctor", "emulator", "demo"]
)
def test_every_command_explains_itself_and_knows_json(name: str) -> None:
    ran = run(name, "--help")
    assert ran.exit_code == 0
    assert "--json" in ran.stdout
    assert all(len(line) <= 100 for line in ran.stdout.splitlines())


COMMANDS = [_app.app, *_app.app.commands.values()]


@pytest.mark.parametrize("named", COMMANDS, ids=lambda named: named.name)
def test_help_breaks_no_word_and_cuts_no_sentence_in_a_narrow_terminal(named: click.Command) -> None:
    shown = {}
    for columns in (60, 100):
        context = named.context_class(named, info_name=named.name, terminal_width=columns - 2)
        shown[columns] = named.get_help(context)
        assert max(map(len, shown[columns].splitlines())) <= columns
    assert shown[60].split() == shown[100].split()
    assert not re.search(r"(?<!\])\.\.\.$", shown[60], re.MULTILINE), "a sentence is cut"


def test_help_is_as_wide_as_the_terminal() -> None:
    ran = subprocess.run(  # noqa: S603 - the program that runs here is ours
        command("bulk", "--help"), env={**os.environ, "COLUMNS": "60"}, capture_output=True, text=True, check=True
    )
    assert 50 < max(map(len, ran.stdout.splitlines())) <= 60


@pytest.mark.parametrize("named", COMMANDS, ids=lambda named: named.name)
def test_an_option_says_what_it_takes(named: click.Command) -> None:
    assert not re.search("FLOAT|INTEGER|RANGE", run(*filter(None, [named.name]), "--help").stdout)


@pytest.mark.parametrize(
    "arguments",
    [("track", "1", "--every", "1"), ("listen", "--every", "1"), ("doctor", "--sender", "SHOP")],
)
def test_one_thing_has_one_name(arguments: tuple[str, ...]) -> None:
    ran = run(*arguments)
    assert ran.exit_code == 2
    assert "No such option" in ran.stderr


def test_a_deadline_ends_a_question(gateway: Emulator) -> None:
    gateway.fail_next("balance", Fault.SLOW)
    ran = run("balance", "--deadline", "0.1")
    gateway.release()
    assert ran.exit_code == 4
    assert "no answer in time" in ran.stderr


def test_no_command_takes_the_key_as_an_argument() -> None:
    names = {
        option
        for command in _app.app.commands.values()
        if command.name != "emulator"  # its key opens nothing
        for parameter in command.params
        for option in parameter.opts
    }
    assert not {"--key", "--api-key", "--apikey", "--password"} & names


def test_the_emulator_is_served_as_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr("smspilot_async.emulator.run", lambda **options: asked.update(options))
    assert run("emulator", "--port", "0", "--key", "K", "--seed", "7", "--speed", "60", "--json").exit_code == 0
    assert asked == {
        "host": "127.0.0.1",
        "port": 0,
        "key": "K",
        "key_is_secret": False,
        "out": None,
        "seed": 7,
        "json": True,
        "allow_remote": False,
        "profile": "2.6",
        "speed": 60.0,
        "balance": None,
        "delivery": timedelta(seconds=30),
        "undelivered": 0.0,
        "loop_protection": timedelta(minutes=5),
        "accounts": [],
        "callbacks_to": None,
        "quiet": False,
    }


def test_the_emulator_is_set_up_as_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr("smspilot_async.emulator.run", lambda **options: asked.update(options))
    logins = ("--login", "a@example.com:secret", "--login", "b@example.com:with:colons")
    callbacks = ("--callbacks-to", "http://127.0.0.1:8000", "-q")
    ran = run("emulator", "--balance", "2.50", "--delivery", "0.5", "--loop-protection", "0", *logins, *callbacks)
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert (asked["callbacks_to"], asked["quiet"]) == ("http://127.0.0.1:8000", True)
    assert (asked["balance"], asked["delivery"]) == (Decimal("2.50"), timedelta(seconds=0.5))
    assert asked["loop_protection"] is None
    assert [(account.login, account.password, account.balance) for account in asked["accounts"]] == [
        ("a@example.com", "secret", Decimal("2.50")),
        ("b@example.com", "with:colons", Decimal("2.50")),
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--login", "a@example.com"), "--login needs an e-mail address and a password, such as someone@example.com:"),
        (("--login", "a:secret"), "--login needs an e-mail address and a password"),
        (("--login", "@:secret"), "--login needs an e-mail address and a password"),
        (("--login", "a@b:se cret"), "--login needs an e-mail address and a password"),
        (("--login", "a@b:secret", "--login", "a@b:other"), "--login names the same account twice"),
        (("--balance", "much"), "'much' is not an amount of roubles"),
        (("--delivery", "soon"), "'soon' is not a number of seconds"),
        (("--delivery", "-1"), "'-1' is not a number of seconds"),
        (("--loop-protection", "nan"), "'nan' is not a number of seconds"),
        (("--loop-protection", "1e300"), "'1e300' is not a number of seconds"),
        (
            ("--callbacks-to", "http://127.0.0.1/sms"),
            "--callbacks-to: callbacks keep their own path: give the URL without",
        ),
        (("--callbacks-to", "https://shop.example"), "--callbacks-to: shop.example is another machine"),
    ],
)
def test_an_emulator_that_cannot_be_set_up_so_says_why(options: tuple[str, ...], said: str) -> None:
    ran = run("emulator", "--port", "0", *options)
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert said in ran.stderr
    assert "cret" not in ran.stderr.replace("someone@example.com:secret", "")


def test_a_port_that_is_taken_is_exit_2(gateway: Emulator) -> None:
    port = gateway.url.split(":")[2].split("/")[0]
    ran = run("emulator", "--port", port)
    assert ran.exit_code == 2
    assert ran.stderr == (
        f"smspilot: the emulator cannot listen at 127.0.0.1:{port} (Address already in use); "
        "choose another port with --port, 0 for any free one.\n"
    )


@pytest.mark.parametrize("key", ["", " ", "\t\n", " K", "K\n"])
def test_an_emulator_with_an_unusable_key_is_not_served(key: str) -> None:
    ran = run("emulator", "--port", "0", "--key", key)
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert ran.stderr == ("smspilot: --key needs a key without white space; omit the option to get a new one.\n")


def test_an_emulator_has_the_vendors_test_key_already() -> None:
    ran = run("emulator", "--port", "0", "--key", TEST_KEY)
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert ran.stderr == (
        "smspilot: --key cannot be the vendor's test key, which every emulator accepts anyway: choose another.\n"
    )


@pytest.mark.parametrize("options", [(), ("--allow-remote",)])
@pytest.mark.parametrize("host", ["nohost.invalid", "nohost..invalid"])
def test_an_emulator_at_a_host_that_is_not_found_says_what_to_do(host: str, options: tuple[str, ...]) -> None:
    ran = run("emulator", "--port", "0", "--host", host, *options)
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert ran.stderr == (
        f"smspilot: the emulator cannot listen at {host}: no such host; "
        "check --host, or omit it to listen at 127.0.0.1.\n"
    )


def test_an_emulator_at_an_address_of_another_machine_says_what_to_do() -> None:
    ran = run("emulator", "--port", "0", "--host", "192.0.2.1", "--allow-remote")
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert ran.stderr == (
        "smspilot: the emulator cannot listen at 192.0.2.1:0 (Cannot assign requested address); "
        "check --host, or omit it to listen at 127.0.0.1.\n"
    )


@pytest.mark.parametrize("name", ["emulator", "demo"])
def test_a_missing_extra_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    ran = run(name)
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert ran.stderr == f"smspilot: {name} needs: pip install 'smspilot-async[cli,emulator]'\n"


def test_json_escapes_what_a_terminal_would_obey(gateway: Emulator) -> None:
    gateway.inbound(ONE, "\x9b31m")
    ran = run("inbound", "--json")
    assert "\x9b" not in ran.stdout
    assert json.loads(ran.stdout)[0]["text"] == "\x9b31m"
