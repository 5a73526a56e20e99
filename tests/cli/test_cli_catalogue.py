"""The catalogue of the command's messages is whole, current, compiled, and every message is recognised in print."""

from __future__ import annotations

import gettext
import re
from typing import TYPE_CHECKING, Final

import command_messages
import pytest
from babel.messages.mofile import read_mo

from smspilot_async.cli import _language

if TYPE_CHECKING:
    from collections.abc import Iterator

    from babel.messages.catalog import Message

MEND: Final = (
    "run make translations, then translate what it names in smspilot_async/cli/locale/ru/LC_MESSAGES/smspilot.po"
)
KEPT: Final = [message for message in command_messages.catalogue() if message.id]
place = re.compile(r"(?<!\{)\{(\w+)\}")


def english_of(message: Message) -> tuple[str, ...]:
    return (message.id,) if isinstance(message.id, str) else tuple(message.id)


def russian_of(message: Message) -> tuple[str, ...]:
    return (message.string,) if isinstance(message.string, str) else tuple(message.string or ())


def key(message: Message) -> tuple[str | None, tuple[str, ...]]:
    return message.context, english_of(message)


NOW: Final = [
    (one.context or None, (one.text, one.plural) if one.plural else (one.text,)) for one in command_messages.extract()
]


def test_every_message_of_the_command_is_in_the_catalogue() -> None:
    assert [one for one in NOW if one not in set(map(key, KEPT))] == [], MEND


def test_no_message_is_in_the_catalogue_that_the_command_no_longer_has() -> None:
    assert [key(message) for message in KEPT if key(message) not in set(NOW)] == [], MEND


def test_every_message_is_translated() -> None:
    assert [message.id for message in command_messages.untranslated(command_messages.catalogue())] == [], MEND


def test_no_translation_waits_for_a_review() -> None:
    assert [message.id for message in KEPT if message.fuzzy] == [], MEND


def test_every_translation_has_the_places_of_its_message() -> None:
    wrong = [
        russian
        for message in KEPT
        for russian in russian_of(message)
        if sorted(place.findall(russian)) != sorted(place.findall(english_of(message)[-1]))
    ]
    assert wrong == []


def test_every_count_has_the_three_forms_of_russian() -> None:
    counted = [message for message in KEPT if isinstance(message.id, tuple)]
    assert len(counted) > 10
    assert {len(russian_of(message)) for message in counted} == {3}


@pytest.mark.parametrize("term", ["воркер", "леджер", "кампани", "колбэк", "коллбек", "аутбокс", "бэкап", "провайдер"])
def test_no_word_is_a_calque_where_the_glossary_has_one(term: str) -> None:
    assert [russian for message in KEPT for russian in russian_of(message) if term in russian.lower()] == []


def test_what_is_compiled_is_what_is_written() -> None:
    with command_messages.CATALOGUE.with_suffix(".mo").open("rb") as file:
        compiled = {(one.context, english_of(one)[0]): russian_of(one) for one in read_mo(file) if one.id}
    written = {(message.context, english_of(message)[0]): russian_of(message) for message in KEPT}
    assert compiled == written, MEND


def test_the_standard_library_reads_it() -> None:
    found = gettext.translation(_language.DOMAIN, _language.FOLDER, ["ru"])
    assert found.ngettext("{n} message", "{n} messages", 22) == "{n} сообщения"


@pytest.fixture
def in_russian(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", "ru_RU.UTF-8")
    _language.begin()
    yield
    monkeypatch.setenv("LANG", "C")
    _language.begin()


@pytest.mark.usefixtures("in_russian")
def test_every_message_is_recognised_with_whatever_stands_in_its_places() -> None:
    for message in KEPT:
        if message.context:
            continue
        forms = zip(english_of(message), (russian_of(message)[0], russian_of(message)[-1]), ("1", "5"), strict=False)
        for english, russian, number in forms:
            assert _language.said(filled(english, number)) == filled(russian, number), english


def filled(text: str, number: str) -> str:
    """Put a value into each place: a number where it is counted, and else something that is no word."""
    values = {name: number if name == "n" else f"77{name.title()}" for name in place.findall(text)}
    if not values:
        return text
    return place.sub(lambda found: values[found.group(1)], text).replace("{{", "{").replace("}}", "}")


@pytest.mark.usefixtures("in_russian")
@pytest.mark.parametrize(
    ("english", "russian"),
    [
        ("the gateway is busy: 110, System error", "шлюз занят: 110, системная ошибка"),
        ("1,200 accepted, 3 refused, 0 unknown", "принято\u00a01\u00a0200, отказ\u00a03, неизвестно\u00a00"),
        ("Send 1,200 messages for 2400.50 RUB, as a test? [y/N]",
         "Отправить 1\u00a0200 сообщений за 2400,50 руб., как тест? [y/N, д/н]"),
        ("2.50 RUB: less than the price, so it pauses before all are sent",
         "2,50 руб.: меньше цены, поэтому приостановится раньше, чем уйдут все"),
        ("autumn is paused: first (the first wave is out): 100 accepted; 12 a second",
         "autumn приостановлена: первая волна ушла: принято\u00a0100; 12 в секунду"),
        ("How many.  [default: 30.0; x>=1]", "Сколько.  [по умолчанию: 30.0; x>=1]"),
        ("a name of nothing: known", "a name of nothing: known"),
        ("", ""),
    ],
)  # fmt: skip
def test_what_is_put_together_is_taken_apart(english: str, russian: str) -> None:
    assert _language.said(english) == russian


@pytest.mark.usefixtures("in_russian")
def test_sentences_of_several_messages_are_all_found() -> None:
    assert _language.said(
        "the ledger cannot be used: lock. Another program keeps it locked. Nothing leaves meanwhile; what is on the "
        "wire is recorded once it is back. It is tried again in 5 s."
    ) == (
        "реестр использовать нельзя: lock. Его блокирует другая программа. Пока он недоступен, ничего не уходит; что "
        "уже отправляется, будет записано, когда он вернётся. Новая попытка через 5 с."
    )
