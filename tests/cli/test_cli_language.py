"""The command in the user's language: a person reads Russian where the locale says so, a program always the same."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import pytest
from cli_running import KEY, command, environment, numbered, run, write_list

from smspilot_async import cli
from smspilot_async.cli import _language
from smspilot_async.emulator import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smspilot_async.emulator import Emulator

PHONE: Final = "79087964781"
VARIABLES: Final = ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")
NO_GATEWAY: Final = "http://127.0.0.1:1/"


@pytest.fixture(autouse=True)
def no_language(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    yield
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    _language.begin()  # English again, for the tests of other files


@pytest.fixture
def russian(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "ru_RU.UTF-8")


def process(*arguments: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command in a process of its own, in an environment without any other word about the language."""
    inherited = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    return subprocess.run(  # noqa: S603
        command(*arguments), env={**inherited, **variables}, capture_output=True, check=False, timeout=60
    )


# --- which language ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "language"),
    [
        ({}, None),
        ({"LANG": "ru_RU.UTF-8"}, "ru"),
        ({"LANG": "ru"}, "ru"),
        ({"LANG": "ru_UA.KOI8-U"}, "ru"),
        ({"LANG": "C"}, None),
        ({"LANG": "C.UTF-8"}, None),
        ({"LANG": "POSIX"}, None),
        ({"LANG": "en_GB.UTF-8"}, None),
        ({"LANG": "de_DE.UTF-8"}, None),
        ({"LC_MESSAGES": "ru_RU.UTF-8", "LANG": "en_US.UTF-8"}, "ru"),
        ({"LC_MESSAGES": "en_US.UTF-8", "LANG": "ru_RU.UTF-8"}, None),
        ({"LC_ALL": "ru_RU.UTF-8", "LC_MESSAGES": "en_US.UTF-8"}, "ru"),
        ({"LC_ALL": "C", "LANG": "ru_RU.UTF-8"}, None),
        ({"LC_ALL": "", "LANG": "ru_RU.UTF-8"}, "ru"),
        ({"LANGUAGE": "ru:en", "LANG": "en_US.UTF-8"}, "ru"),
        ({"LANGUAGE": "de:ru", "LANG": "en_US.UTF-8"}, "ru"),
        ({"LANGUAGE": "en:ru", "LANG": "ru_RU.UTF-8"}, None),
        ({"LANGUAGE": "ru", "LANG": "C"}, None),
        ({"LANGUAGE": "ru"}, None),
    ],
)
def test_the_variables_are_read_as_gettext_reads_them(variables: dict[str, str], language: str | None) -> None:
    assert _language.language_of(variables) == language


def test_help_in_russian_where_the_locale_says_so_although_the_system_has_no_such_locale() -> None:
    ended = process("--help", LANG="ru_RU.UTF-8")
    shown = ended.stdout.decode("utf-8")
    assert ended.returncode == 0
    assert shown.startswith("Использование: smspilot [ПАРАМЕТРЫ] КОМАНДА [АРГУМЕНТЫ]...\n")
    assert "  3    неизвестно, отправлено ли сообщение\n" in shown
    assert "\nКоманды:\n  balance   Показать баланс в рублях.\n" in shown
    assert "-h, --help  Показать эту справку и выйти." in shown
    assert "Usage" not in shown


def test_help_in_english_in_the_locale_c() -> None:
    ended = process("--help", LANG="C")
    assert ended.stdout.startswith(b"Usage: smspilot [OPTIONS] COMMAND [ARGS]...\n")
    assert ended.stdout.isascii()
    assert b"  3    it is not known whether a message was sent\n" in ended.stdout


def test_an_error_of_a_process_is_in_russian_on_stderr() -> None:
    ended = process(
        "send", PHONE, "Hi", "--deadline", "0.3", "--url", NO_GATEWAY, LC_ALL="ru_RU.UTF-8", SMSPILOT_API_KEY=KEY
    )
    assert ended.returncode == 4
    assert ended.stdout == b""
    assert ended.stderr.decode("utf-8") == (
        f"smspilot: сообщение на {PHONE}: нет соединения с 127.0.0.1:1: в соединении отказано. Ничего не отправлено; "
        "можно попробовать ещё раз. Чтобы найти место сбоя и узнать, что делать, выполните: smspilot doctor.\n"
    )


def test_english_where_the_terminal_cannot_show_russian() -> None:
    ended = process("--help", LANG="ru_RU.UTF-8", PYTHONIOENCODING="ascii")
    assert ended.returncode == 0
    assert ended.stdout.startswith(b"Usage: smspilot [OPTIONS]")
    assert b"\\u" not in ended.stdout


@pytest.mark.parametrize(
    ("encoding", "is_english"),
    [("utf-8", False), ("cp1251", False), ("ascii", True), ("latin-1", True), ("cp1252", True), ("koi8-r", True)],
)
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.usefixtures("russian")
def test_both_streams_have_to_show_russian(
    stream: str, encoding: str, *, is_english: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, stream, io.TextIOWrapper(io.BytesIO(), encoding))
    _language.begin()
    assert _language.is_english() == is_english


def test_english_loads_no_catalogue_and_russian_no_babel() -> None:
    script = """
import os, sys
from smspilot_async.cli import _app, _language
for language in ("C", "ru_RU.UTF-8"):
    os.environ["LC_ALL"] = language
    _language.begin()
    print(_language.is_english(), _language._catalogue.cache_info().misses, "babel" in sys.modules)
"""
    environ = {**os.environ, "PYTHONUTF8": "1"}
    ended = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, check=True, text=True)  # noqa: S603
    assert ended.stdout.splitlines() == ["True 0 False", "False 1 False"]


# --- errors --------------------------------------------------------------------------------------


@attrs.frozen
class Wrong:
    """A command that fails, and the last line that it prints in each language."""

    arguments: Sequence[str]
    english: str
    russian: str


WRONG: Final = [
    Wrong(["send"], "Error: Missing argument 'TO'.", "Ошибка: Не хватает аргумента 'КОМУ'."),
    Wrong(["send", PHONE, "Hi", "--ttl", "x"], "Error: Invalid value for '--ttl': 'x' is not a valid integer.",
          "Ошибка: Неверное значение '--ttl': 'x' – не целое число."),
    Wrong(["send", PHONE, "Hi", "--send-at", "завтра"],
          "Error: Invalid value for '--send-at': 'завтра' is not a time: write it as 2026-12-31 18:00 or 31.12.2026 "
          "18:00.",
          "Ошибка: Неверное значение '--send-at': 'завтра' – не время: пишите 2026-12-31 18:00 или 31.12.2026 18:00."),
    Wrong(["balance", "--key-file", "нет.txt"],
          "smspilot: the file with the key cannot be read: нет.txt: No such file or directory.",
          "smspilot: файл с ключом не читается: нет.txt: нет такого файла или папки."),
    Wrong(["send", "123", "Hi"],
          "smspilot: to: a phone has 7 to 15 digits, this one 3 (the gateway's code 215). Nothing was sent.",
          "smspilot: to: в номере от 7 до 15 цифр, а здесь 3 (код шлюза 215). Ничего не отправлено."),
    Wrong(["send", PHONE, ""], "smspilot: text: a text is required (the gateway's code 220). Nothing was sent.",
          "smspilot: text: нужен текст (код шлюза 220). Ничего не отправлено."),
    Wrong(["bulk", "нет.csv"], "smspilot: there is no file нет.csv. Nothing was sent.",
          "smspilot: файла нет.csv нет. Ничего не отправлено."),
    Wrong(["track", "1", "--timeout", "0"], "Error: Invalid value for '--timeout': 0.0 is not in the range x>0.",
          "Ошибка: Неверное значение '--timeout': 0.0 вне пределов x>0."),
    Wrong(["send", PHONE, "Hi", "--url", "http://gateway.example/"],
          "smspilot: an http: url beyond this machine would show the key and every text to everyone on the way: use "
          "https:, or a tunnel that starts on this machine, such as ssh -L, and its address http://127.0.0.1:PORT/. "
          "For an emulator in another container set SMSPILOT_ALLOW_HTTP=1.",
          "smspilot: http: за пределами этой машины показал бы ключ и все тексты каждому на пути: используйте https: "
          "или туннель, который начинается на этой машине, например ssh -L, и его адрес http://127.0.0.1:PORT/. "
          "Для эмулятора в другом контейнере задайте SMSPILOT_ALLOW_HTTP=1."),
    Wrong(["worker", "--unknown", "guess"],
          "smspilot: --unknown guess is not a policy: write hold, assume_sent, resend or probe:300, with the seconds "
          "of the account's loop-protection window.",
          "smspilot: --unknown guess – нет такого правила: пишите hold, assume_sent, resend или probe:300, с числом "
          "секунд защиты от повторов у аккаунта."),
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: " ".join(wrong.arguments)[:40])
def test_the_same_error_in_both_languages(wrong: Wrong, gateway: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    for language, line in (("C", wrong.english), ("ru_RU.UTF-8", wrong.russian)):
        monkeypatch.setenv("LANG", language)
        ended = run(*wrong.arguments)
        assert ended.stderr.splitlines()[-1] == line
        assert ended.exit_code == 2
    assert gateway.messages == ()


@pytest.mark.usefixtures("gateway", "russian")
def test_a_refusal_by_the_gateway() -> None:
    run("send", PHONE, "Hi")
    again = run("send", PHONE, "Hi")
    assert again.exit_code == 1
    assert again.stderr == (
        f"smspilot: сообщение на {PHONE}: отказ шлюза, код 243, защита от повторов, чёрный список. Не отправлено. Не "
        "отправляйте снова, пока не пройдёт время защиты от повторов; проверьте, не отправлено ли оно уже.\n"
    )


@pytest.mark.usefixtures("gateway", "russian")
def test_a_key_that_is_not_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMSPILOT_API_KEY", "0" * 64)
    assert run("balance").stderr == (
        "smspilot: balance: шлюз ответил: 101, неверный ключ API. Проверьте ключ API (или логин и пароль) в личном "
        "кабинете SMSPILOT.\n"
    )


@pytest.mark.usefixtures("russian")
def test_an_unknown_outcome(gateway: Emulator) -> None:
    gateway.fail_next("send", Fault.ACCEPT_THEN_RESET)
    ended = run("send", PHONE, "Hi")
    assert ended.exit_code == 3
    assert f"smspilot: сообщение на {PHONE}: неизвестно, отправлено ли (" in ended.stderr
    assert (
        "Сообщение могло быть отправлено: не отправляйте снова, пока не выясните; что дошло, видно в личном кабинете "
        "SMSPILOT.\n" in ended.stderr
    )
    assert len(gateway.messages) == 1


@pytest.mark.usefixtures("russian")
def test_an_install_without_the_command_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    cli._say_what_is_missing(["emulator"])
    said = "для командной строки smspilot нужно: pip install 'smspilot-async[cli,emulator]'\n"
    assert capsys.readouterr() == ("", said)


@pytest.mark.usefixtures("gateway", "russian")
def test_a_ledger_and_a_campaign_answer_in_russian() -> None:
    write_list([*numbered(22), ("123", "Hi")])
    ledger = ("--ledger", "sqlite:///осень")
    assert run("campaign", "list", *ledger).stderr == (
        "smspilot: реестра осень нет. Ничего не отправлено. Создать его намеренно: smspilot outbox init.\n"
    )
    assert run("outbox", "init", *ledger).stdout.startswith("Реестр создан для этого аккаунта, http://127.0.0.1:")
    assert "сообщений        22\n" in run("campaign", "create", "осень", "list.csv", *ledger).stdout
    assert run("campaign", "start", "осень", *ledger).stderr == (
        "smspilot: рассылка 'осень' – черновик; запущена она может быть, только пока она утверждена. Ничего не "
        "сделано. Сначала оцените и утвердите её.\n"
    )
    assert run("outbox", "suppress", PHONE, *ledger).stdout == (
        "В список тех, кому не отправляется реклама, добавлено: 1 номер.\n"
    )


# --- results -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("gateway", "russian")
def test_facts_numbers_and_words_of_a_result() -> None:
    lines = dict(line.split("  ", 1) for line in run("send", PHONE, "Hi").stdout.splitlines())
    facts = {name: value.strip() for name, value in lines.items()}
    assert (facts["статус"], facts["кому"], facts["цена"]) == ("принято", PHONE, "1,25 руб.")


@pytest.mark.usefixtures("russian")
def test_what_others_have_written_is_never_translated(gateway: Emulator) -> None:
    gateway.inbound("79087964782", "accepted")
    gateway.inbound("79087964783", "Nothing was sent.")
    shown = run("inbound").stdout
    assert "accepted" in shown
    assert "Nothing was sent." in shown


@pytest.mark.usefixtures("gateway", "russian")
def test_neither_is_the_text_of_a_test_message() -> None:
    Path("list.csv").write_text(f"to,text\n{PHONE},Nothing was sent\n", encoding="utf-8")
    ledger = ("--ledger", "sqlite:///shop.db")
    run("outbox", "init", *ledger)
    run("campaign", "create", "tea", "list.csv", *ledger)
    shown = run("campaign", "test", "tea", "--to", PHONE, *ledger).stdout
    assert shown.startswith("Строка 2 отправлена на ваш номер, server id ")
    assert shown.endswith(": Nothing was sent\n")


@pytest.mark.usefixtures("gateway", "russian")
def test_a_list_is_planned_and_counted_in_russian() -> None:
    write_list([*numbered(21), ("123", "Hi")])
    ended = run("bulk", "list.csv", "--yes")
    assert ended.exit_code == 1
    assert "к отправке       21 сообщение, 21 часть\n" in ended.stdout
    assert re.search(r"^принято +21, всего 22 строки$", ended.stdout, re.MULTILINE)
    assert "to: в номере от 7 до 15 цифр, а здесь 3" in ended.stdout
    assert ended.stderr.startswith("list.csv: читаю и узнаю цену, 23 строки\n")


@pytest.mark.usefixtures("gateway", "russian")
def test_doctor_in_russian() -> None:
    shown = run("doctor").stdout
    assert "ключ        в порядке    шлюз его принимает, аккаунт не заблокирован\n" in shown
    assert "режим" in shown
    assert shown.endswith("Всё в порядке.\n")


@pytest.mark.parametrize(("answer", "sent"), [("y", 2), ("д", 2), ("Да", 2), ("n", 0), ("н", 0), ("", 0)])
@pytest.mark.usefixtures("russian")
def test_a_question_is_answered_in_either_language(
    answer: str, sent: int, gateway: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smspilot_async.cli.bulk._bulk.on_terminal", lambda: True)
    write_list(numbered(2))
    ended = run("bulk", "list.csv", stdin=f"что?\n{answer}\n")
    assert "Отправить 2 сообщения за 2,50 руб.? [y/N, д/н]" in ended.stderr
    assert "Ошибка: ответьте y или n (д или н)\n" in ended.stderr
    assert len(gateway.messages) == sent


# --- what a program reads ------------------------------------------------------------------------


COMMANDS_WITH_JSON: Final = [
    ["balance"],
    ["info"],
    ["cost", PHONE, "Hi"],
    ["send", "123", "Hi"],
    ["send", PHONE, "Hi", "--id", "5", "--deadline", "0.3", "--url", NO_GATEWAY],
    ["send", PHONE],
    ["check", "1", "2"],
    ["bulk", "list.csv", "--dry-run"],
    ["bulk", "list.csv"],
    ["bulk", "нет.csv"],
    ["campaign", "list"],
]


@pytest.mark.parametrize("arguments", COMMANDS_WITH_JSON, ids=" ".join)
@pytest.mark.usefixtures("gateway")
def test_json_is_the_same_in_both_languages(arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    write_list([*numbered(3), ("123", "Hi")])
    monkeypatch.setenv("LANG", "C")
    english = run(*arguments, "--json")
    monkeypatch.setenv("LANG", "ru_RU.UTF-8")
    russian = run(*arguments, "--json")
    assert english.stdout
    assert (russian.stdout, russian.exit_code) == (english.stdout, english.exit_code)


def test_json_of_a_process_has_the_same_bytes_in_both_languages(gateway: Emulator) -> None:
    english, russian = (
        process("check", "1", "2", "--json", **environment(gateway, LANG=language, PYTHONUTF8="1"))
        for language in ("C", "ru_RU.UTF-8")
    )
    assert english.stdout
    assert russian.stdout == english.stdout


@pytest.mark.usefixtures("gateway")
def test_the_rows_of_results_are_the_same_in_both_languages(monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    for language in ("C", "ru_RU.UTF-8"):
        monkeypatch.setenv("LANG", language)
        write_list([("123", "Hi"), (PHONE, "")])
        run("bulk", "list.csv", "--yes", "--results", f"{language}.csv")
        written.append(Path(f"{language}.csv").read_bytes())
    assert written[0] == written[1]
    assert b"a phone has 7 to 15 digits" in written[0]
