"""The SQL function of PostgreSQL that enqueues, from a plain cursor: the library's rules, keys and hashes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from ledgers import PHONE, Desk
from psycopg import errors

from smspilot_async import InvalidMessage, Message, Outcome
from smspilot_async.outbox import KeyReused, Outbox
from smspilot_async.outbox._ledger import key_hash
from smspilot_async.text import normalize_phone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smspilot_async import Client
    from smspilot_async.emulator import Emulator

pytestmark = pytest.mark.parametrize("ledger_url", ["postgresql"], indirect=True)


@pytest.fixture
def cursor(outbox: Outbox) -> Iterator[psycopg.Cursor[Any]]:
    """A cursor of an application's transaction."""
    with psycopg.connect(outbox._url.render_as_string()) as connection, connection.cursor() as cursor:
        yield cursor


def enqueue(cursor: psycopg.Cursor[Any], phone: str | None, text: str | None, key: str | None, **more: Any) -> Any:
    named = "".join(f", {name} => %({name})s" for name in more)
    values = {"phone": phone, "text": text, "key": key, **more}
    query = f"SELECT id, is_new FROM smspilot.smspilot_enqueue(%(phone)s, %(text)s, %(key)s{named})"
    return cursor.execute(query.encode(), values).fetchone()


async def test_what_the_function_enqueues_is_sent_once_after_the_commit(
    outbox: Outbox, cursor: psycopg.Cursor[Any], client: Client, emulator: Emulator
) -> None:
    id_, is_new = enqueue(cursor, "8 (908) 796-47-81", "Ваш код 1234", "login-7", kind="code", valid_for=90)
    assert is_new
    await outbox.drain(client)
    assert not emulator.messages
    cursor.connection.commit()
    await outbox.drain(client)
    record = await outbox.get("login-7")
    assert record is not None
    assert (record.id, record.kind, record.outcome) == (id_, "code", Outcome.ACCEPTED)
    assert [(message.to, message.text, message.ttl) for message in emulator.messages] == [(PHONE, "Ваш код 1234", 2)]


async def test_a_rollback_leaves_nothing(outbox: Outbox, cursor: psycopg.Cursor[Any]) -> None:
    enqueue(cursor, PHONE, "Ready", "1")
    cursor.connection.rollback()
    assert await outbox.get("1") is None


async def test_a_key_means_the_same_to_the_function_and_to_the_library(
    outbox: Outbox, cursor: psycopg.Cursor[Any]
) -> None:
    id_, _ = enqueue(cursor, PHONE, "Готово: 100 %", "1")
    assert enqueue(cursor, "+7 908 796-47-81", "Готово: 100 %", "1") == (id_, False)
    cursor.connection.commit()
    record = await outbox.enqueue(Message(PHONE, "Готово: 100 %"), key="1")
    assert (record.id, record.is_new) == (id_, False)
    with pytest.raises(KeyReused):
        await outbox.enqueue(Message(PHONE, "Other"), key="1")
    with (
        pytest.raises(errors.UniqueViolation, match=f"message {id_} already") as caught,
        cursor.connection.transaction(),
    ):
        enqueue(cursor, PHONE, "Other", "1")
    assert PHONE not in str(caught.value)
    assert enqueue(cursor, PHONE, "Other", "2")[1] is True


async def test_a_spent_key_stays_spent(desk: Desk, cursor: psycopg.Cursor[Any]) -> None:
    id_ = await desk.pending("Ready")
    message, spent = desk.tables.message, desk.tables.spent_key
    row = await desk.row(id_)
    hashed = key_hash(desk.outbox._row.salt, row.key)
    await desk.execute(spent.insert().values(key_hash=hashed, hash=row.hash, message_id=id_, state="accepted", at=1))
    await desk.execute(message.delete())
    assert enqueue(cursor, PHONE, "Ready", row.key) == (id_, False)
    with pytest.raises(errors.UniqueViolation):
        enqueue(cursor, PHONE, "Other", row.key)


PHONES = (
    *("79087964781", "+7 908 796 47 81", "8(908)796-47-81", "87012345678", "+84 912 345 678", "84912345678"),
    *("49 30 123456", "+375.29.1234567", "7908796478", "09087964781", "0049301234567", "790879647811"),
    *("123456", "1234567", "1234567890123456", "", "+", "phone", "79087964781.0", "7.9E+10", "79087964781,00"),
    *("7908796‑4781", "++79087964781", "+8 908 796 47 81", "８９０８７９６４７８１"),
)


def test_a_phone_is_read_as_the_library_reads_it(cursor: psycopg.Cursor[Any]) -> None:
    def by_the_function(phone: str) -> str | None:
        cursor.connection.rollback()
        try:
            enqueue(cursor, phone, "Ready", "1")
        except errors.InvalidParameterValue:
            return None
        found: Any = cursor.execute("SELECT phone FROM smspilot.message").fetchone()
        return str(found[0])

    def by_the_library(phone: str) -> str | None:
        try:
            return normalize_phone(phone)
        except InvalidMessage:
            return None

    assert {phone: by_the_function(phone) for phone in PHONES} == {phone: by_the_library(phone) for phone in PHONES}


WRONG: tuple[dict[str, Any], ...] = (
    *({"phone": None}, {"text": None}, {"text": ""}, {"text": "x" * 1531}),
    *({"key": None}, {"key": ""}, {"key": "x" * 201}, {"kind": "offer"}, {"kind": None}, {"kind": "code"}),
    *({"valid_for": 0}, {"valid_for": -1}, {"valid_for": float("nan")}, {"valid_for": float("inf")}),
    *({"ttl": 0}, {"ttl": 1441}, {"sender": "ab"}, {"sender": "МАГАЗИН"}),
    *({"callback": "example.com"}, {"callback_method": "put"}),
)


def test_what_sql_can_check_is_refused(cursor: psycopg.Cursor[Any]) -> None:
    for wrong in WRONG:
        with pytest.raises(errors.InvalidParameterValue):
            enqueue(cursor, **{"phone": PHONE, "text": "Ready", "key": "1", **wrong})
        cursor.connection.rollback()


async def test_what_it_cannot_check_is_refused_when_it_would_leave(
    outbox: Outbox, cursor: psycopg.Cursor[Any], client: Client, emulator: Emulator
) -> None:
    enqueue(cursor, PHONE, "я" * 671, "1")
    cursor.connection.commit()
    await outbox.drain(client)
    record = await outbox.get("1")
    assert record is not None
    assert (record.outcome, record.reason) == (Outcome.REFUSED, "invalid")
    assert not emulator.messages
