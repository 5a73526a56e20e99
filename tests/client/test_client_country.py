"""How a client with a default country reads the phones that it is given, and which ones it leaves alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from smspilot_async import Client, InvalidMessage, Message, Refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from smspilot_async.emulator import Emulator

TEXT = "Hello"


@pytest.fixture
async def russian(emulator: Emulator) -> AsyncIterator[Client]:
    async with Client(emulator.api_key, url=emulator.url, country="RU") as client:
        yield client


def reached(emulator: Emulator) -> list[str]:
    return [message.to for message in emulator.messages]


async def test_send_reads_a_phone_as_a_russian_means_it(russian: Client, emulator: Emulator) -> None:
    for written in ("908 796-47-81", "8 908 796-47-82", "007 908 796-47-83", "+90 532 123 45 67"):
        await russian.send(written, TEXT)
    assert reached(emulator) == ["79087964781", "79087964782", "79087964783", "905321234567"]


async def test_send_sends_nothing_to_what_is_no_phone(russian: Client, emulator: Emulator) -> None:
    for written in ("79087964781.0", "234-56-78"):
        with pytest.raises(InvalidMessage):
            await russian.send(written, TEXT)
    assert not emulator.messages


async def test_a_ready_message_keeps_its_phone(russian: Client, emulator: Emulator) -> None:
    ready = Message("9087964781", TEXT)
    await russian.send_message(ready)
    async with russian.bulk([ready]) as run:
        assert [result.item async for result in run] == [ready]
    assert reached(emulator) == ["9087964781"] * 2  # in Turkey


ROWS: list[Any] = [
    ("908 796-47-81", TEXT),
    ["908 796-47-82", TEXT],
    {"to": "908 796-47-83", "text": TEXT},
    ("+90 532 123 45 67", TEXT),
    ("908 796-47", TEXT),
]
READ = ["79087964781", "79087964782", "79087964783", "905321234567"]


async def test_the_rows_of_a_run_are_read_as_the_client_reads(russian: Client, emulator: Emulator) -> None:
    async with russian.bulk(ROWS) as run:
        refused = [result.item async for result in run if isinstance(result, Refused)]
    assert refused == ROWS[-1:]
    assert sorted(reached(emulator)) == sorted(READ)


async def test_a_run_may_have_a_country_of_its_own(client: Client, emulator: Emulator) -> None:
    async with client.bulk(ROWS, country="RU") as run:
        assert len([result async for result in run]) == len(ROWS)
    assert sorted(reached(emulator)) == sorted(READ)


async def test_without_a_country_nothing_is_guessed(client: Client, emulator: Emulator) -> None:
    await client.send("908 796-47-81", TEXT)
    async with client.bulk([("908 796-47-82", TEXT)]) as run:
        assert len([result async for result in run]) == 1
    assert reached(emulator) == ["9087964781", "9087964782"]  # in Turkey


def test_another_country_is_refused(client: Client) -> None:
    with pytest.raises(ValueError, match="country must be 'RU' or None, not 'DE'"):
        Client("KEY", country="DE")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="country must be 'RU' or None, not 'ru'"):
        client.bulk([], country="ru")  # type: ignore[call-overload]
