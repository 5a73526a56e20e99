"""Lists, files and conversations: in order, in pieces, and without holding up the gateway, however long they are."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest

from smspilot_async.emulator import AcceptedMessage, Emulator, InboundSms, StatusChange
from smspilot_async.emulator.gateway import _conversation
from smspilot_async.emulator.server import _control, _lists
from smspilot_async.emulator.server._app import create_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from smspilot_async.emulator.gateway._gateway import Gateway

PHONE, OTHER = "79087964781", "79087964782"
NOW: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)
MANY: Final = 20_000


def fill(emulator: Emulator, count: int) -> None:
    """Let an emulator have accepted many messages, to two phones by turns."""

    def add(gateway: Gateway) -> None:
        for number in range(count):
            gateway.store.add(message(number))

    emulator.inspect(add)


def message(number: int) -> AcceptedMessage:
    return AcceptedMessage(
        server_id=str(100_000_001 + number),
        server_packet_id="5001",
        id=None,
        to=(PHONE, OTHER)[number % 2],
        text=f"message {number}",
        sender="SMSPILOT",
        parts=1,
        price=Decimal("1.25"),
        status=2,
        accepted_at=NOW,
        modified=NOW,
        history=(StatusChange(NOW, 2),),
    )


@pytest.fixture
async def here(emulator: Emulator) -> AsyncIterator[httpx.AsyncClient]:
    """Asks the control API in the test's own loop, so that the test knows how often that had its turn."""
    transport = httpx.ASGITransport(create_app(emulator), client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1/_emulator") as http:
        yield http


async def turns_during(work: Any) -> tuple[Any, int]:
    """The result of some work, and how many turns the loop had meanwhile."""
    task, turns = asyncio.ensure_future(work), 0
    while not task.done():
        await asyncio.sleep(0)
        turns += 1
    return task.result(), turns


class TestLongLists:
    @pytest.mark.parametrize("path", ["messages?limit=10000", "messages.csv", "messages.json"])
    async def test_the_loop_has_its_turns_while_one_is_read(
        self, path: str, emulator: Emulator, here: httpx.AsyncClient
    ) -> None:
        fill(emulator, 10_000)
        answer, turns = await turns_during(here.get(path))
        assert answer.status_code == 200
        assert turns >= 10_000 / _lists.WRITTEN

    @pytest.mark.parametrize("path", ["messages?status=-1", f"conversations/{PHONE[:-1]}5"])
    async def test_and_while_one_is_looked_through(
        self, path: str, emulator: Emulator, here: httpx.AsyncClient
    ) -> None:
        fill(emulator, MANY)
        answer, turns = await turns_during(here.get(path))
        assert list(answer.json().values()) == [[], None]
        assert turns >= MANY / _lists.LOOKED_AT

    async def test_and_while_one_message_is_waited_for(self, emulator: Emulator) -> None:
        fill(emulator, MANY)
        found, turns = await turns_during(emulator.wait_for(text=f"message {MANY - 1}"))
        assert found.server_id == emulator.messages[-1].server_id
        assert turns >= MANY / _lists.LOOKED_AT

    async def test_the_gateway_answers_meanwhile(self, emulator: Emulator, here: httpx.AsyncClient, desk: Any) -> None:
        fill(emulator, MANY)
        reading = asyncio.ensure_future(here.get("messages.json"))
        while len(emulator.requests) < 10:
            await asyncio.sleep(0)
            desk.json(balance="rur")
        assert not reading.done()
        assert len((await reading).json()) == MANY

    @pytest.mark.parametrize("to", [None, OTHER])
    async def test_all_pieces_together_are_the_list(
        self, to: str | None, emulator: Emulator, here: httpx.AsyncClient
    ) -> None:
        fill(emulator, 5000)
        texts: list[str] = []
        after: int | None = 0
        while after is not None:
            query: dict[str, str | int] = {"limit": 700, "after": after}
            piece = (await here.get("messages", params=query | ({"to": to} if to else {}))).json()
            texts += [message["text"] for message in piece["messages"]]
            after = piece["next"]
        assert texts == [message.text for message in emulator.messages if to in (None, message.to)]

    async def test_what_comes_while_one_is_read_is_at_its_end(
        self, emulator: Emulator, here: httpx.AsyncClient, desk: Any
    ) -> None:
        fill(emulator, 3 * _lists.WRITTEN)
        reading = asyncio.ensure_future(here.get("messages.json"))
        await asyncio.sleep(0)
        emulator.inspect(lambda gateway: setattr(gateway.store, "_next_server_id", 200_000_001))
        desk.one(text="the last")
        assert (await reading).json()[-1]["text"] == "the last"


class TestFiles:
    async def test_messages_as_csv_have_all_fields_but_the_history(
        self, emulator: Emulator, here: httpx.AsyncClient, desk: Any
    ) -> None:
        desk.one(text='Привет; "x"\nи ещё')
        answer = await here.get("messages.csv")
        assert answer.headers["content-disposition"] == 'attachment; filename="messages.csv"'
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        [row] = csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"), newline=""))
        assert (row["to"], row["text"], row["price"], row["ttl"]) == (PHONE, 'Привет; "x"\nи ещё', "1.25", "")
        [message] = emulator.messages
        assert row["accepted_at"] == message.accepted_at.isoformat()

    async def test_no_cell_is_run_as_a_formula(self, emulator: Emulator, here: httpx.AsyncClient, desk: Any) -> None:
        desk.one(text='=HYPERLINK("http://evil.example")')
        [row] = csv.DictReader(io.StringIO((await here.get("messages.csv")).content.decode("utf-8-sig")))
        assert row["text"] == '\'=HYPERLINK("http://evil.example")'
        assert len(emulator.messages) == 1

    async def test_requests_have_their_texts_and_no_key(
        self, emulator: Emulator, here: httpx.AsyncClient, desk: Any
    ) -> None:
        desk.json(balance="rur")
        desk.json(apikey="wrong-and-long-enough", balance="rur")
        for name in ("requests.csv", "requests.json"):
            text = (await here.get(name)).text
            assert not any(key in text for key in (emulator.api_key, "wrong-and-long"))
        rows = (await here.get("requests.json")).json()
        assert [(row["command"], row["code"]) for row in rows] == [("balance", None), ("balance", 101)]
        assert json.loads(rows[1]["answer"])["error"]["code"] == "101"
        [_, row] = csv.DictReader(io.StringIO((await here.get("requests.csv")).content.decode("utf-8-sig"), newline=""))
        assert row["request"].startswith("POST /api2.php")

    async def test_one_of_nothing_is_empty(self, here: httpx.AsyncClient) -> None:
        assert (await here.get("messages.json")).json() == []
        assert len((await here.get("requests.csv")).text.splitlines()) == 1


class TestConversations:
    def test_they_are_in_the_order_in_which_they_were_said_though_the_clock_stands_still(
        self, emulator: Emulator, desk: Any
    ) -> None:
        emulator.inbound(PHONE, "1")
        desk.one(text="2")
        desk.one(to=OTHER, text="not here")
        emulator.inbound(PHONE, "3")
        emulator.inbound(OTHER, "not here")
        emulator.inbound(PHONE, "4", account=emulator.add_account())
        desk.one(text="5")
        desk.one(text="6")
        emulator.inbound(PHONE, "7")
        said = emulator.conversation(PHONE)
        assert [each.text for each in said] == list("1234567")
        assert [type(each) for each in said[:2]] == [InboundSms, AcceptedMessage]
        assert emulator.conversation("79087964789") == ()

    async def test_over_http_they_are_the_same_in_pieces(
        self, emulator: Emulator, here: httpx.AsyncClient, desk: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_control, "LOOKED_AT", 2)  # so that a conversation goes on over several looks
        for number in range(6):
            desk.one(text=f"out {number}")
            emulator.inbound(PHONE, f"in {number}")
        said: list[dict[str, Any]] = []
        after: int | None = 0
        while after is not None:
            query = {"limit": 5, "after": after}
            piece = (await here.get(f"conversations/{PHONE}", params=query)).json()
            said += piece["conversation"]
            after = piece["next"]
        assert [(each["message"] or each["inbound"])["text"] for each in said] == [
            each.text for each in emulator.conversation(PHONE)
        ]
        assert [each["direction"] for each in said] == ["out", "in"] * 6

    @pytest.mark.parametrize("most", [1, 2, 3, 100])
    def test_looks_leave_nothing_out_and_show_nothing_twice(self, most: int, emulator: Emulator, desk: Any) -> None:
        emulator.inbound(PHONE, "first")
        for number in range(4):
            desk.one(to=(PHONE, OTHER)[number % 2], text=str(number))
            emulator.inbound(PHONE, f"after {number}")

        def looks(gateway: Gateway) -> list[str]:
            starts = range(0, len(gateway.store.messages) + 1, most)
            return [each.text for at in starts for each in _conversation.said_with(gateway, PHONE, at, most)]

        assert emulator.inspect(looks) == [each.text for each in emulator.conversation(PHONE)]

    def test_a_reset_forgets_them(self, emulator: Emulator, desk: Any) -> None:
        desk.one()
        emulator.inbound(PHONE, "x")
        emulator.reset()
        assert emulator.conversation(PHONE) == ()
