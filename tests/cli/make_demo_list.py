"""Writes the demo's list of recipients: always the same one. Run it after a change here; a test compares the two.

Every phone is made up, in the range that the vendor's document uses for its examples (or no mobile phone at all).
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from random import Random

LIST = Path(__file__).parents[2] / "smspilot_async" / "cli" / "demo_data" / "recipients.csv"
ROWS = 1200

CYRILLIC = ("Анна", "Борис", "Вера", "Глеб", "Дарья", "Егор", "Жанна", "Зоя", "Иван", "Кира", "Лев", "Мария", "Никита")
LATIN = ("Alice", "Bob", "Chloe", "Daniel", "Emma", "Felix", "Grace", "Henry", "Irene", "Jack", "Karl", "Laura", "Mark")

CYRILLIC_TEXTS = (
    "{name}, ваш заказ №{number} готов. Ждём вас до 21:00.",
    "{name}, напоминаем: завтра в {hour}:30 приём у врача. Если не придёте, позвоните нам, пожалуйста.",
    "Ваш код {number}. Никому его не сообщайте.",
    "{name}, курьер будет у вас сегодня с {hour}:00. Заказ №{number}, {price} руб.",
    "{name}, спасибо за покупку! 😊 Чек №{number} на {price} руб. мы отправили вам на почту.",
)
LATIN_TEXTS = (
    "Hi {name}, your order {number} is ready. We are open till 9 pm.",
    "Your code is {number}. Do not share it with anyone.",
    "{name}, the courier comes today at {hour}:00. Order {number}, {price} RUB [cash or card].",
    'Dear {name}, thank you for your review of "{number} nights"! Here is a coupon of {price} RUB for you.',
)
LONG = "Это объявление длиннее десяти частей SMS, и отправить его нельзя. "

# Where the list is as people's lists are: line of the file, and what stands there instead.
PHONES = {
    57: "8 908 796-47-8l",  # the letter l
    203: "",
    390: "790879647",
    611: "see card",
    840: "+7 908 796 47",
    77: "7 495 000 00 01",  # fixed lines
    505: "+7 (495) 000-00-02",
    1101: "74950000003",
}
TEXTS = {131: "", 720: LONG * 12}
SENDERS = {266: "МАГАЗИН", 908: "X", 345: "UNKNOWN", 346: "UNKNOWN"}
TTLS = {333: "сутки", 1002: "14400"}
EXTRA_CELLS = {451: ("and a text, with a comma",)}
SPOOFS = {600, 601}  # Latin letters within a Cyrillic word
REPEATS = {150: 149, 700: 64, 999: 64}


def rows() -> list[list[str]]:
    random = Random(20180906)
    made: list[list[str]] = [["to", "name", "text", "from", "ttl"]]
    for line in range(2, ROWS + 2):
        made.append(_row(line, random) if line not in REPEATS else made[REPEATS[line] - 1])
    return made


def _row(line: int, random: Random) -> list[str]:
    latin = random.random() < 0.4
    name = random.choice(LATIN if latin else CYRILLIC)
    template = random.choice(LATIN_TEXTS if latin else CYRILLIC_TEXTS)
    text = template.format(
        name=name, number=1000 + line, hour=random.randrange(10, 20), price=random.randrange(300, 9000, 10)
    )
    text = "Cкидка до вечера: Рaспродажа!" if line in SPOOFS else TEXTS.get(line, text)
    sender = SENDERS.get(line, random.choice(("", "", "SHOP", "CLINIC")))
    ttl = TTLS.get(line, random.choice(("", "", "", "60", "720")))
    return [PHONES.get(line, _phone(line, random)), name, text, sender, ttl, *EXTRA_CELLS.get(line, ())]


def _phone(line: int, random: Random) -> str:
    last = f"{600_000 + line * 17:06d}"[-5:]
    return random.choice(
        (f"790879{last}", f"+790879{last}", f"890879{last}", f"+7 908 79{last[0]}-{last[1:3]}-{last[3:]}")
    )


def written() -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows())
    return file.getvalue()


if __name__ == "__main__":
    LIST.write_text(written(), encoding="utf-8")
