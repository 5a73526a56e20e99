"""Ten thousand forged and foreign rows in one file: each is a bad row by its line, or exactly the right message."""

from __future__ import annotations

import asyncio
import csv
import io
import itertools
import random
from typing import TYPE_CHECKING, Final

import attrs
import pytest
import sqlalchemy as sa

from smspilot_async.outbox import SendingWindow, read_rows
from smspilot_async.outbox._campaign_settings import CampaignSettings
from smspilot_async.outbox._rows import BadRow, Composer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from smspilot_async.outbox import Outbox

TEMPLATE: Final = "{sex:Уважаемый|Уважаемая|Здравствуйте}, {name|друг}! Скидка {{10}} % для {city}."
MAP: Final = {"to": "Телефон", "name": "Имя", "sex": "Пол", "city": "Город", "tz": "Пояс"}
WINDOW: Final = SendingWindow("10:00", "20:00", column="tz")

# What may stand in a cell, and what it means; None makes a bad row.
PHONES: Final[dict[str, Callable[[str], str | None]]] = {
    "{0}": lambda ten: f"7{ten}",
    "7{0}": lambda ten: f"7{ten}",
    "8 {0}": lambda ten: f"7{ten}",
    "+7 ({0:.3}) {0:.3}": lambda _: None,
    "7{0}.0": lambda ten: f"7{ten}",
    "{0},00": lambda ten: f"7{ten}",
    "7{0:.9}E+10": lambda _: None,
    "=7{0}": lambda _: None,
    "'7{0}": lambda _: None,
    "+49 {0}": lambda _: None,
    "8 495 {0:.3} 12 34": lambda _: None,
    "{0}; DROP TABLE message": lambda _: None,
    "": lambda _: None,
    "٧{0}": lambda _: None,
}
SEXES: Final = {"м": "Уважаемый", "Ж.": "Уважаемая", "female": "Уважаемая", "": "Здравствуйте", "=1": "Здравствуйте"}
ZONES: Final = {
    "МСК+2": "+05:00",
    "europe/samara": "Europe/Samara",
    "UTC-3": "-03:00",
    "": None,
    "Омск": None,
    "5": None,
}
NAMES: Final = (
    "Анна",
    "",
    "=HYPERLINK(1)",
    "{city}",
    '"кавычки"',
    "а;б",
    "две\nстроки",
    "\u202eоборот",
    "Ünï",
    "@СУММ(1)",
)
CITIES: Final = ("Томск", "{{", "-1", "")
BROKEN: Final = ('9087964781;"Анна"я;м;Томск;МСК', "9087964781;Анна;м;Томск;МСК;лишнее", '9087964781;"а" б;м;Томск;МСК')


@attrs.frozen
class Truth:
    """What a row means: a message, or none."""

    line: int
    phone: str | None
    text: str
    zone: str | None

    @property
    def is_good(self) -> bool:
        return self.phone is not None and self.zone is not None and bool(self.text)


def forged(path: Path, count: int, seed: int = 1) -> list[Truth]:
    """Write a list of so many rows, and return what each of them means."""
    chance = random.Random(seed)
    text = io.StringIO(newline="")
    text.write("sep=;\r\nТелефон;Имя;Пол;Город;Пояс\r\n")
    truths, line = [], 3
    for number in range(count):
        row = io.StringIO(newline="")
        if chance.random() < 0.05:
            row.write(chance.choice(BROKEN) + "\r\n")
            truths.append(Truth(line, None, "", None))
        else:
            cells, truth = _row(chance, line, f"9{number:09}")
            csv.writer(row, delimiter=";", lineterminator="\r\n").writerow(cells)
            truths.append(truth)
        line += row.getvalue().count("\n")
        text.write(row.getvalue())
    path.write_text(text.getvalue(), encoding="utf-8", newline="")
    return truths


def _row(chance: random.Random, line: int, ten: str) -> tuple[list[str], Truth]:
    written = chance.choice([*PHONES, "7{0}", "{0}", "8 {0}"])
    sex, zone = chance.choice(list(SEXES)), chance.choice([*ZONES, "МСК+2", "UTC-3"])
    name, city = chance.choice(NAMES), chance.choice(CITIES)
    text = f"{SEXES[sex]}, {name or 'друг'}! Скидка {{10}} % для {city}." if city else ""
    return [written.format(ten), name, sex, city, zone], Truth(line, PHONES[written](ten), text, ZONES[zone])


def test_each_of_ten_thousand_rows_is_the_right_message_or_a_bad_row_by_its_line(tmp_path: Path) -> None:
    truths = forged(tmp_path / "forged.csv", 10_000)
    composer = Composer(CampaignSettings(template=TEMPLATE, window=WINDOW.to_json()))
    rows = [composer.compose(line, item) for line, item in read_rows(tmp_path / "forged.csv", map=MAP)]
    assert [row.line for row in rows] == [truth.line for truth in truths]
    good = 0
    for row, truth in zip(rows, truths, strict=True):
        if isinstance(row, BadRow):
            assert not truth.is_good, truth
            assert row.why
        else:
            assert truth.is_good, truth
            assert (row.message.to, row.message.text, row.zone) == (truth.phone, truth.text, truth.zone)
            good += 1
    assert 1_000 < good < 9_000


async def test_the_ledger_has_just_these_messages_and_just_these_bad_rows(outbox: Outbox, tmp_path: Path) -> None:
    truths = await asyncio.to_thread(forged, tmp_path / "forged.csv", 400, seed=2)
    rows = await asyncio.to_thread(read_rows, tmp_path / "forged.csv", map=MAP)
    await outbox.campaigns.create("forged", rows, template=TEMPLATE, window=WINDOW)
    tables = outbox._tables
    message, stream = tables.message, tables.stream
    query = sa.select(message.c.line, message.c.phone, message.c.text, stream.c.zone).join(
        stream, stream.c.id == message.c.stream_id
    )
    async with outbox._reading() as connection:
        found = sorted(tuple(row) for row in await connection.execute(query))
        bad = sorted((await connection.execute(sa.select(tables.bad_row.c.line))).scalars())
    assert found == [(each.line, each.phone, each.text, each.zone) for each in truths if each.is_good]
    assert bad == [each.line for each in truths if not each.is_good]


@pytest.mark.parametrize("seed", range(5))
def test_a_forged_list_is_written_so_that_it_tries_everything(tmp_path: Path, seed: int) -> None:
    truths = forged(tmp_path / "forged.csv", 300, seed)
    assert 20 < sum(each.is_good for each in truths) < 200
    assert any(after.line - before.line > 1 for before, after in itertools.pairwise(truths))
