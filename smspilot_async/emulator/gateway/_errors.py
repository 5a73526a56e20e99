"""The gateway's error codes and their texts.

The codes and texts are the protocol's; a code without a text of its own can still be produced, because the live
gateway knows more codes than any document. `Refused` carries a code from the rule that fired to the answer.
"""

from __future__ import annotations

from typing import Final

TEXTS: Final[dict[int, tuple[str, str]]] = {
    10: ("INPUT data is required", "Проверьте правильность отправляемого http-запроса"),
    11: ("Unknown INPUT format", "Тело запроса должно начинаться на <?xml или {"),
    12: ("XML structure is invalid", "Проверьте структуру XML"),
    13: ("JSON structure is invalid", "Проверьте структуру JSON"),
    14: ("Unknown COMMAND", "Проверьте написание названия команды"),
    100: ("APIKEY is required", "Укажите API-ключ"),
    101: ("APIKEY is invalid", "Неправильный API-ключ"),
    102: ("APIKEY not found", "API-ключ не найден"),
    105: ("APIKEY is blocked (balance)", "API-ключ заблокирован, пополните баланс"),
    106: ("APIKEY is blocked (spam)", "API-ключ заблокирован за спам"),
    107: ("APIKEY is blocked (untrusted)", "API-ключ заблокирован, нет доверия"),
    108: ("Phone is required", "Укажите номер телефона"),
    110: ("System error", "Шлюз недоступен, подождите и попытайтесь снова"),
    111: ("Invalid phone", "Исправьте номер телефона"),
    112: ("No money", "Пополните баланс"),
    113: ("IP restriction", "Доступ с этого IP-адреса запрещён"),
    115: ("Invalid sender", "Исправьте имя отправителя"),
    122: ("APIKEY is temporarily blocked", "API-ключ временно заблокирован"),
    200: ("Sender is required", "Укажите имя отправителя"),
    201: ("Sender is invalid", "Неправильное имя отправителя"),
    204: ("Sender (from) unregistered", "Имя отправителя ещё не зарегистрировано"),
    212: ("Phone is deprecated", "Исключите этот номер из списка рассылки"),
    213: ("Unsupported zone", "Не поддерживается отправка в эту страну или этому оператору"),
    214: ("Phone is duplicated", "Номер телефона повторяется"),
    215: ("Invalid phone length", "Проверьте длину номера телефона"),
    220: ("TEXT is required", "Введите текст сообщения"),
    221: ("TEXT too long", "Сделайте текст короче"),
    223: ("TEXT is an advertisement", "Запрет на рекламу"),
    224: ("Spam protection", "Защита от спама"),
    225: ("Spam protection", "Защита от спама"),
    226: ("Shared sender disabled", "Общее имя отправителя отключено"),
    230: ("ID is invalid", "Ваш ID сообщения должен быть числом"),
    231: ("PACKET_ID is invalid", "Неправильный PACKET_ID"),
    240: ("Invalid INPUT list", "Нужен список сообщений для отправки"),
    241: ("You don't have enough money", "Недостаточно средств"),
    242: ("SMS count limit (trial)", "Тестовый доступ, можно только 2 сообщения в списке"),
    243: ("Loop protection, blacklist", "Защита от дубликатов, чёрный список"),
    247: ("Filter", "Сообщение отклонено фильтром"),
    248: ("Cyrillic and Latin in one word", "Кириллица и латиница в одном слове"),
    250: ("Invalid SEND_DATETIME", "Неправильное время отправки"),
    260: ("Invalid callback URL", "Укажите правильный адрес скрипта"),
    270: ("Invalid ttl", "Укажите время жизни сообщения в минутах"),
    275: ("Invalid list fields", "Неправильные поля списка"),
    300: ("SMS server_id is required", "Укажите список ID для проверки статуса"),
    301: ("SMS server_id is invalid", "Неправильный ID сообщения для проверки статуса"),
    302: ("SMS server_id not found", "Сообщение не найдено или уже удалено с сервера"),
    303: ("Invalid IDs list", "Пустой или неправильный список ID сообщений"),
    304: ("SERVER_PACKET_ID is invalid", "Исправьте server_packet_id"),
    400: ("User not found", "Не найден пользователь"),
    401: ("Invalid login details", "Неправильный логин или пароль"),
    500: ("Invalid -since- format, right is YYYY-MM-DD HH:II:SS", "Укажите правильный формат даты параметра since"),
    600: ("Expired", "Не удалось доставить за указанное время"),
    601: ("Undeliverable", "Невозможно доставить"),
    602: ("Destination unreachable", "Направление не поддерживается"),
    603: ("Rejected", "Отказано оператором"),
}


def texts(code: int) -> tuple[str, str]:
    """The English and the Russian description of a code."""
    return TEXTS.get(code, ("Error", "Ошибка"))


class Refused(Exception):
    """The gateway refuses a document or one message of it.

    Args:
        code: The protocol's error code.
    """

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class TooManyRequests(Exception):
    """The gateway was asked too often, or over too many connections.

    Args:
        retry_after: Whole seconds after which asking again may help.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__(retry_after)
        self.retry_after = retry_after
