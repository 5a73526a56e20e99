"""The stream of events: nothing is lost, nothing is held for a slow reader, and no one is held up."""

from __future__ import annotations

import asyncio
import socket
import threading
from decimal import Decimal
from urllib.parse import urlsplit

import httpx
import pytest
from page_events import Received, reading

from smspilot_async import Client, Message
from smspilot_async.emulator import Emulator, Fault
from smspilot_async.emulator.server import _feed, _page
from smspilot_async.emulator.server._feed import Feed

PHONE, OTHER = "79087964781", "79087964782"


class TestStream:
    async def test_it_begins_with_what_is_there(self, emulator: Emulator, client: Client) -> None:
        await client.send(PHONE, "early")
        async with reading(emulator) as reader:
            received = await reader.until_quiet()
        assert received.starts == 1
        [row] = received.messages.values()
        assert row == {
            "server_id": emulator.messages[0].server_id,
            "to": PHONE,
            "text": "early",
            "sender": "SMSPILOT",
            "parts": 1,
            "price": "1.25",
            "status": 0,
            "error": 0,
            "test": False,
            "accepted_at": emulator.messages[0].accepted_at.isoformat(),
        }
        assert received.state == {
            **emulator.state(),
            "speed": 0.0,
            "url": emulator.url,
            "balances": [{"id": 1, "account": f"…{emulator.api_key[-4:]}", "balance": "999998.75"}],
            "unread": 0,
            "faults": [],
        }

    async def test_it_shows_the_balance_of_each_account_and_no_key_or_login_whole(self, emulator: Emulator) -> None:
        async with reading(emulator) as reader:
            await reader.until_quiet()
            emulator.add_account(login="someone@example.com", password="secret", balance=Decimal(5))
            emulator.add_account(login="x", password="secret", balance=Decimal(6))
            emulator.add_account(api_key="SHORT", balance=Decimal("7.50"))
            received = await reader.until_quiet()
        assert received.state is not None
        assert received.state["balances"] == [
            {"id": 1, "account": f"…{emulator.api_key[-4:]}", "balance": "1000000.00"},
            {"id": 2, "account": "s…@example.com", "balance": "5"},
            {"id": 3, "account": "…", "balance": "6"},
            {"id": 4, "account": "…T", "balance": "7.50"},
        ]

    async def test_it_goes_on_with_what_happens(self, emulator: Emulator, client: Client) -> None:
        async with reading(emulator) as reader:
            assert (await reader.until_quiet()).messages == {}
            await client.send(PHONE, "first")
            await reader.until(first=0)
            emulator.clock.advance(seconds=5)
            await reader.until(first=1)
            await client.send_packet([Message(OTHER, "second")], test=True)
            await reader.until(first=1, second=0)

    async def test_everything_else_that_changes_is_reported_too(self, emulator: Emulator, client: Client) -> None:
        async with reading(emulator) as reader:
            await reader.until_quiet()
            emulator.inbound(PHONE, "x")
            assert (await reader.until_quiet()).state["unread"] == 1
            await client.inbound("new")
            assert (await reader.until_quiet()).state["unread"] == 0
            emulator.fail_next("*", Fault.RESET_BEFORE_READ)
            assert (await reader.until_quiet()).state["faults"] == [
                {"command": "*", "fault": "reset-before-read", "times": 1}
            ]
            with pytest.raises(httpx.TransportError):
                async with httpx.AsyncClient(trust_env=False) as http:
                    await http.post(emulator.url, content=b"x")
            assert (await reader.until_quiet()).state["faults"] == []
            emulator.random_faults({Fault.BUSY: 0.5}, command="cost")
            assert (await reader.until_quiet()).state["faults"] == [{"command": "cost", "fault": "busy", "share": 0.5}]
            emulator.no_more_faults()
            assert (await reader.until_quiet()).state["faults"] == []
            emulator.clock.advance(hours=1)
            assert (await reader.until_quiet()).state["now"] == emulator.clock.now().isoformat()

    @pytest.mark.parametrize("in_url", [False, True])
    async def test_a_reader_that_comes_back_gets_only_what_it_missed(
        self, emulator: Emulator, client: Client, *, in_url: bool
    ) -> None:
        await client.send(PHONE, "known")
        async with reading(emulator) as reader:
            received = await reader.until_quiet()
        await client.send(PHONE, "missed")
        async with reading(emulator, received, in_url=in_url) as reader:
            await reader.until(known=0, missed=0)
        assert (received.starts, received.rows) == (1, 2)

    async def test_after_a_reset_it_starts_over(self, emulator: Emulator, client: Client) -> None:
        await client.send(PHONE, "old")
        async with reading(emulator) as reader:
            await reader.until(old=0)
            emulator.reset()
            await client.send(PHONE, "new")
            received = await reader.until(new=0)
        assert received.starts == 2

    async def test_a_cursor_of_another_gateway_says_nothing(self, emulator: Emulator, client: Client) -> None:
        await client.send(PHONE, "here")
        async with Emulator.serve(seed=1) as other, reading(other) as reader:
            received = await reader.until_quiet()
        async with reading(emulator, received) as reader:
            await reader.until(here=0)
        assert received.starts == 2

    async def test_a_reader_is_answered_while_nothing_changes(
        self, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_page, "_HEARTBEAT", 0.01)
        async with reading(emulator) as reader:
            for _ in range(3):
                await reader.until_quiet()

    async def test_a_slow_reader_delays_no_one_and_gets_everything_in_the_end(
        self, emulator: Emulator, client: Client
    ) -> None:
        address = urlsplit(emulator.page_url)
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect((address.hostname, address.port))
            slow.sendall(f"GET {address.path}/events HTTP/1.0\r\nHost: {address.netloc}\r\n\r\n".encode())
            for packet in range(30):
                messages = [Message(PHONE, f"{packet} {n} " + "я" * 600) for n in range(100)]
                assert len((await client.send_packet(messages)).accepted) == 100
            emulator.clock.advance(seconds=5)
            emulator.clock.advance(seconds=60)
            received = await asyncio.to_thread(read_all, slow)
        assert len(received.messages) == 3000
        assert set(received.statuses.values()) == {2}
        assert received.rows < 6000  # what changed while no one read is sent once, since nothing was queued

    async def test_a_reader_that_leaves_is_forgotten(self) -> None:
        async with Emulator.serve() as emulator:
            async with reading(emulator) as reader:
                await reader.until_quiet()
            async with reading(emulator) as reader:
                await reader.until_quiet()
                emulator.drop_connections()
                with pytest.raises((StopAsyncIteration, httpx.TransportError)):
                    await reader.until_quiet()
        assert emulator.feed._wakers == []

    def test_a_server_with_readers_ends_at_once(self) -> None:
        before = threading.active_count()
        with Emulator.serve() as emulator:
            address = urlsplit(emulator.page_url)
            reader = socket.create_connection((address.hostname, address.port), timeout=5)
            reader.sendall(f"GET {address.path}/events HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
            assert reader.recv(65536)
        reader.close()
        assert threading.active_count() == before


def read_all(connection: socket.socket) -> Received:
    """Read events until everything is final."""
    connection.settimeout(10)
    received, text = Received(), b""
    while b"\r\n\r\n" not in text:
        text += connection.recv(65536)
    _, _, text = text.partition(b"\r\n\r\n")
    while not received.state or set(received.statuses.values()) != {2}:
        text += connection.recv(1_000_000)
        *blocks, text = text.split(b"\n\n")
        for block in blocks:
            received.take(block.decode())
    return received


class TestFeed:
    def test_a_message_that_changed_twice_is_named_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_feed, "AT_A_TIME", 2)
        feed = Feed()
        for server_id in ("1", "2", "1"):
            feed.note(server_id)
        first = feed.after("")
        assert first.server_ids == ("2",)
        assert feed.after(first.cursor).server_ids == ("1",)

    def test_it_is_read_in_pieces_that_leave_nothing_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_feed, "AT_A_TIME", 2)
        feed, read, cursor = Feed(), [], ""
        for server_id in "12345":
            feed.note(server_id)
        while not (changes := feed.after(cursor)).are_all:
            read.append(changes.server_ids)
            cursor = changes.cursor
        assert [*read, changes.server_ids] == [("1", "2"), ("3", "4"), ("5",)]
        assert feed.after(changes.cursor).server_ids == ()

    def test_only_the_newest_changes_are_remembered(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_feed, "REMEMBERED", 3)
        feed = Feed()
        behind = feed.after("").cursor
        feed.note("0")
        level = feed.after(behind)
        for server_id in "12345678":
            feed.note(server_id)
        assert not level.starts_over
        assert feed.after(behind) == feed.after("")
        assert feed.after(behind).starts_over
        assert feed.after("").server_ids == ("6", "7", "8")

    def test_who_is_within_the_remembered_goes_on_where_it_was(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_feed, "REMEMBERED", 3)
        feed = Feed()
        for server_id in "1234":
            feed.note(server_id)
        cursor = feed.after("").cursor
        for server_id in "567":
            feed.note(server_id)
        changes = feed.after(cursor)
        assert (changes.starts_over, changes.server_ids) == (False, ("5", "6", "7"))

    @pytest.mark.parametrize("cursor", ["", ".", "0", "x.0", "EPOCH.", "EPOCH.-1", "EPOCH.2", "EPOCH.²", "EPOCH.1.0"])
    def test_a_cursor_that_makes_no_sense_starts_over(self, cursor: str) -> None:
        feed = Feed()
        feed.note("1")
        epoch = feed.after("").cursor.partition(".")[0]
        assert feed.after(cursor.replace("EPOCH", epoch)).starts_over
        assert not feed.after(f"{epoch}.1").starts_over
