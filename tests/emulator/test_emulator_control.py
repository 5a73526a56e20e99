"""The control API: whatever Python can do to the emulator, a test in another language does over HTTP."""

from __future__ import annotations

import asyncio
import inspect
import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import attrs
import httpx
import pytest
from raw_servers import answering, raw_server
from raw_servers import http as http_answer

from smspilot_async.emulator import TEST_KEY, Account, Emulator, Fault, Settings, Unknowns
from smspilot_async.emulator.gateway import _refusals, _store
from smspilot_async.emulator.server import _lists
from smspilot_async.emulator.server._fields import as_plain, plain, read_fields
from smspilot_async.emulator.server._operations import control_routes

if TYPE_CHECKING:
    from collections.abc import Callable

PHONE, OTHER = "79087964781", "79087964782"
NOW: Final = "2026-01-31T12:00:00+00:00"

COUNTERPARTS: Final = {
    "account": "GET /accounts",
    "accounts": "GET /accounts",
    "add_account": "POST /accounts",
    "api_key": "GET /accounts",
    "callbacks": "GET /callbacks",
    "callbacks_to": "POST /callbacks-to",
    "clock": "POST /clock",
    "conversation": "GET /conversations/{phone}",
    "drop_connections": "POST /drop-connections",
    "fail_delivery": "POST /fail-delivery",
    "fail_next": "POST /fail-next",
    "inbound": "POST /inbound",
    "inbound_messages": "GET /inbound",
    "look_up": "GET /messages/{server_id}",
    "messages": "GET /messages",
    "no_more_faults": "POST /no-more-faults",
    "on_request": "GET /requests",
    "overview": "GET /events",
    "random_faults": "POST /random-faults",
    "refusals": "GET /refusals",
    "refuse": "POST /refuse",
    "release": "POST /release",
    "requests": "GET /requests",
    "reset": "POST /reset",
    "set_status": "POST /status",
    "settings": "POST /settings",
    "settled": "GET /settled",
    "state": "GET /state",
    "subscribe": "GET /events",
    "test_messages": "GET /test-messages",
    "unknowns": "POST /unknowns",
    "wait_for": "GET /wait",
}
WITHOUT: Final = {
    "serve": "whoever asks over HTTP is served",
    "url": "whoever asks knows where",
    "page_url": "it stands where the control API does",
    "transport": "a Python object, for a client in the same process",
    "tick": "a server does it by itself",
    "feed": "the server's own, for GET /events",
    "called_back": "the server's own, for GET /settled",
    "exchange": "the server's own: what the gateway's address does",
    "first_message": "the server's own, for GET /wait",
    "forget_connection": "the server's own",
    "headers_of": "the server's own",
    "inspect": "the server's own, for lists",
    "listens_at": "the server's own",
    "resets_unread": "the server's own",
}


@attrs.frozen
class Remote:
    """The control API, as a program in another language would use it."""

    emulator: Emulator
    http: httpx.AsyncClient

    async def get(self, path: str, **query: Any) -> Any:
        return self._told(await self.http.get(f"{self.emulator.page_url}/{path}", params=query))

    async def post(self, path: str, **body: Any) -> Any:
        return self._told(await self.http.post(f"{self.emulator.page_url}/{path}", json=body))

    async def gateway(self, **fields: Any) -> Any:
        return (await self.http.post(self.emulator.url, json={"apikey": self.emulator.api_key, **fields})).json()

    async def send(self, text: str, **row: Any) -> Any:
        [told] = (await self.gateway(send=[{"to": PHONE, "text": text, **row}]))["send"]
        return told

    def _told(self, answer: httpx.Response) -> Any:
        told = answer.json()
        return told if answer.status_code == 200 else (answer.status_code, told["error"])


@pytest.fixture
def remote(served: Emulator, http: httpx.AsyncClient) -> Remote:
    return Remote(served, http)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - in the server's thread, which sets no event
        await asyncio.sleep(0)


class TestEverything:
    def test_each_public_name_has_its_counterpart_or_says_why_not(self) -> None:
        emulator = Emulator()
        public = {name for name in dir(emulator) if not name.startswith("_")}
        assert public == COUNTERPARTS.keys() | WITHOUT.keys()
        assert not COUNTERPARTS.keys() & WITHOUT.keys()
        routes = {f"{method} {route.path}" for route in control_routes(emulator) for method in route.methods or ()}
        assert set(COUNTERPARTS.values()) <= routes

    @pytest.mark.parametrize("name", ["fail_next", "random_faults", "refuse", "fail_delivery", "inbound", "set_status"])
    async def test_each_argument_is_a_field(self, name: str, remote: Remote) -> None:
        arguments = inspect.signature(getattr(Emulator, name)).parameters.keys() - {"self"}
        path = COUNTERPARTS[name].removeprefix("POST /")
        status, error = await remote.post(path, nonsense=1)
        assert status == 400
        assert error == f"there is no field 'nonsense'; there are {error.partition('there are ')[2]}"
        assert arguments == set(error.partition("there are ")[2].split(", "))

    @pytest.mark.parametrize(("path", "cls"), [("accounts", Account), ("settings", Settings), ("unknowns", Unknowns)])
    async def test_each_attribute_is_a_field(self, path: str, cls: Any, remote: Remote) -> None:
        error = (await remote.post(path, nonsense=1))[1]
        attributes = {field.name for field in attrs.fields(cls) if field.init}
        assert set(error.partition("there are ")[2].split(", ")) == attributes

    def test_what_it_is_started_with_can_be_set_but_for_what_it_is_made_of(self) -> None:
        options = inspect.signature(Emulator).parameters.keys()
        settings = {field.name for field in attrs.fields(Settings)}
        assert options - settings == {"api_key", "account", "clock", "seed", "allow_remote_callbacks", "callbacks_to"}


class TestWhatIsThere:
    async def test_lists_come_in_pieces(self, remote: Remote) -> None:
        for number in range(5):
            await remote.send(str(number))
        first = await remote.get("messages", limit=2)
        assert [message["text"] for message in first["messages"]] == ["0", "1"]
        second = await remote.get("messages", limit=2, after=first["next"])
        assert [message["text"] for message in second["messages"]] == ["2", "3"]
        last = await remote.get("messages", limit=2, after=second["next"])
        assert ([message["text"] for message in last["messages"]], last["next"]) == (["4"], None)

    async def test_a_piece_that_is_full_with_the_last_one_is_the_last(self, remote: Remote) -> None:
        for number in range(4):
            await remote.send(str(number))
        assert (await remote.get("messages", limit=4))["next"] is None
        assert (await remote.get("messages", limit=3))["next"] == int(remote.emulator.messages[2].server_id)

    async def test_a_filter_counts_before_the_limit(self, remote: Remote) -> None:
        for number in range(6):
            await remote.send(str(number), to=(PHONE, OTHER)[number % 2])
        first = await remote.get("messages", to=OTHER, limit=2)
        second = await remote.get("messages", to=OTHER, limit=2, after=first["next"])
        texts = [message["text"] for piece in (first, second) for message in piece["messages"]]
        assert (texts, second["next"]) == (["1", "3", "5"], None)

    async def test_without_a_limit_there_is_one(self, remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_lists, "AT_ONCE", 3)
        for number in range(4):
            remote.emulator.inbound(PHONE, str(number))
        told = await remote.get("inbound")
        assert ([sms["id"] for sms in told["inbound"]], told["next"]) == ([1, 2, 3], 3)

    @pytest.mark.parametrize("path", ["messages", "test-messages", "inbound", "callbacks", "refusals", "accounts"])
    async def test_each_list_takes_a_limit_and_a_place_to_go_on(self, path: str, remote: Remote) -> None:
        told = await remote.get(path, limit=10_000, after=0)
        assert set(told) == {path.removeprefix("test-"), "next"}
        for query in ({"limit": 0}, {"limit": 10_001}, {"limit": "x"}):
            assert await remote.get(path, **query) == (400, "limit must be a whole number from 1 to 10000")
        assert await remote.get(path, after=-1) == (400, "after must be a whole number from 0")
        assert (await remote.get(path, nonsense=1))[0] == 400

    async def test_test_messages_are_kept_apart(self, remote: Remote) -> None:
        await remote.gateway(test=1, send=[{"to": PHONE, "text": "test"}])
        await remote.gateway(apikey=TEST_KEY, send=[{"to": OTHER, "text": "test key"}])
        told = (await remote.get("test-messages"))["messages"]
        assert [message["text"] for message in told] == ["test", "test key"]
        assert [message["text"] for message in (await remote.get("test-messages", to=OTHER))["messages"]] == [
            "test key"
        ]
        assert (await remote.get("messages"))["messages"] == []

    async def test_test_messages_come_in_pieces_though_many_have_the_same_number(
        self, remote: Remote, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_store, "KEPT_TESTS", 4)
        for number in range(6):
            await remote.gateway(apikey=TEST_KEY, send=[{"to": PHONE, "text": str(number)}])
        first = await remote.get("test-messages", limit=3)
        second = await remote.get("test-messages", limit=3, after=first["next"])
        pieces = [[message["text"] for message in piece["messages"]] for piece in (first, second)]
        assert (pieces, second["next"]) == ([["2", "3", "4"], ["5"]], None)

    async def test_callbacks_are_listed_with_their_answers(self, remote: Remote) -> None:
        async with raw_server(answering(http_answer(b"OK"), http_answer(b"no"))) as application:
            await remote.send("x", callback=f"http://127.0.0.1:{application.port}/")
            await remote.post("clock", advance=60)
            assert await remote.get("settled") == {"settled": True}
        first = await remote.get("callbacks", limit=1)
        [call] = first["callbacks"]
        assert (call["status"], call["answer"], call["acknowledged"], first["next"]) == (1, "OK", True, 1)
        [call] = (await remote.get("callbacks", after=1))["callbacks"]
        assert (call["status"], call["answer"], call["acknowledged"]) == (2, "no", False)

    async def test_history_is_shown_and_not_asked_for(self, remote: Remote) -> None:
        assert (await remote.get("messages", history="x"))[0] == 400


class TestWaiting:
    async def test_a_message_that_is_there_is_reported_at_once(self, remote: Remote) -> None:
        await remote.send("x")
        told = await remote.get("wait", to=PHONE, status=0)
        assert told == {"message": (await remote.get("messages"))["messages"][0]}

    async def test_a_message_that_comes_is_reported_when_it_does(self, remote: Remote) -> None:
        await remote.send("x")
        waiting = asyncio.create_task(remote.get("wait", to=PHONE, status=2, timeout=60))
        await until(lambda: bool(remote.emulator._listeners))
        assert not waiting.done()
        await remote.post("clock", advance=60)
        assert (await waiting)["message"]["status"] == 2
        assert remote.emulator._listeners == []

    async def test_a_message_that_does_not_come_is_not_found(self, remote: Remote) -> None:
        assert await remote.get("wait", to=PHONE, status=2, timeout=0) == (
            404,
            "no message with this to and status within 0 s",
        )

    @pytest.mark.parametrize("seconds", ["x", -1, 601, "nan", "inf"])
    async def test_a_time_without_sense_is_explained(self, seconds: Any, remote: Remote) -> None:
        for path in ("wait", "settled"):
            assert await remote.get(path, timeout=seconds) == (400, "timeout must be seconds, from 0 to 600")

    async def test_an_unknown_field_is_explained(self, remote: Remote) -> None:
        assert (await remote.get("wait", phone=PHONE))[1].startswith("a message has no field 'phone'; it has ")
        assert (await remote.get("settled", phone=PHONE))[1] == "there is no field 'phone'; there are timeout"

    async def test_who_leaves_is_waited_for_no_longer(self, remote: Remote) -> None:
        waiting = asyncio.create_task(remote.get("wait", to=PHONE, timeout=600))
        await until(lambda: bool(remote.emulator._listeners))
        waiting.cancel()
        await until(lambda: not remote.emulator._listeners)

    async def test_a_foreign_page_waits_for_nothing(self, remote: Remote) -> None:
        answer = await remote.http.get(f"{remote.emulator.page_url}/wait", headers={"origin": "http://evil.example"})
        assert answer.status_code == 403

    async def test_callbacks_on_the_way_are_not_settled(self, remote: Remote) -> None:
        arrived, answer = asyncio.Event(), asyncio.Event()

        async def slow(peer: Any) -> None:
            await peer.request()
            arrived.set()
            await answer.wait()
            await peer.send(http_answer(b"OK"))

        async with raw_server(slow) as application:
            await remote.send("x", callback=f"http://127.0.0.1:{application.port}/")
            await remote.post("clock", advance=6)
            await arrived.wait()
            assert await remote.get("settled", timeout=0) == {"settled": False}
            answer.set()
            assert await remote.get("settled", timeout=60) == {"settled": True}

    def test_a_server_with_who_waits_ends_at_once(self) -> None:
        async def leave() -> None:
            async with Emulator.serve() as emulator:
                reader, writer = await asyncio.open_connection("127.0.0.1", int(emulator.url.split(":")[2][:-9]))
                writer.write(b"GET /_emulator/wait?timeout=600 HTTP/1.1\r\nHost: localhost\r\n\r\n")
                await until(lambda: bool(emulator._listeners))
            assert await reader.read() == b""
            writer.close()

        asyncio.run(asyncio.wait_for(leave(), 30))


class TestRules:
    async def test_messages_are_refused(self, remote: Remote) -> None:
        assert await remote.post("refuse", code=204, to=OTHER) == {"ok": True}
        assert await remote.post("refuse", code=248, text="bad") == {"ok": True}
        assert [
            (await remote.send(*row, to=to))["error"] for *row, to in [("x", OTHER), ("bad", PHONE), ("x", PHONE)]
        ] == [
            204,
            248,
            0,
        ]
        assert await remote.post("refuse", code=112) == {"ok": True}
        assert (await remote.send("any"))["error"] == 112

    async def test_messages_are_not_delivered(self, remote: Remote) -> None:
        assert await remote.post("fail-delivery", to=OTHER) == {"ok": True}
        assert await remote.post("fail-delivery", code=603, text="third") == {"ok": True}
        for text, to in [("first", PHONE), ("second", OTHER), ("third", PHONE)]:
            await remote.send(text, to=to)
        await remote.post("clock", advance=60)
        assert [(message.status, message.error) for message in remote.emulator.messages] == [
            (2, 0),
            (-1, 601),
            (-1, 603),
        ]

    @pytest.mark.parametrize(
        ("path", "body", "error"),
        [
            ("refuse", {}, "code is missing"),
            ("refuse", {"code": "x"}, "code must be a whole number from 1"),
            ("refuse", {"code": 204, "to": []}, "to must be a string"),
            ("fail-delivery", {"code": None}, "code must be a whole number from 1"),
            ("random-faults", {}, "shares is missing"),
            ("random-faults", {"shares": ["busy"]}, 'shares must be an object such as {"busy": 0.02}'),
            ("random-faults", {"shares": {"busy": "x"}}, 'shares must be an object such as {"busy": 0.02}'),
            ("random-faults", {"shares": {"busy": 2}}, "the shares of random faults must be positive"),
            ("random-faults", {"shares": {"nonsense": 0.1}}, "there is no fault 'nonsense'; there are "),
            ("random-faults", {"shares": {}, "command": "x"}, "there is no command 'x'; there are "),
            ("inbound", {"phone": PHONE, "text": "x", "account": 5}, "there is no account 5"),
        ],
    )
    async def test_a_mistake_is_explained(self, path: str, body: Any, error: str, remote: Remote) -> None:
        before = remote.emulator.overview()
        status, told = await remote.post(path, **body)
        assert status in (400, 404)
        assert told.startswith(error)
        assert remote.emulator.overview() == before

    async def test_faults_are_drawn(self, remote: Remote) -> None:
        assert await remote.post("random-faults", shares={"busy": 1}, command="info", seed=3) == {"ok": True}
        assert (await remote.gateway(info=True))["error"]["code"] == "110"
        assert (await remote.send("x"))["error"] == 0
        assert remote.emulator.overview()["faults"] == [{"command": "info", "fault": "busy", "share": 1}]

    async def test_the_seed_draws_the_same_faults_as_in_python(self, remote: Remote) -> None:
        there = Emulator(api_key=remote.emulator.api_key)
        there.random_faults({Fault.BUSY: 0.5}, seed=7)
        await remote.post("random-faults", shares={"busy": 0.5}, seed=7)
        for _ in range(20):
            here = "error" in await remote.gateway(info=True)
            plan = there._pipeline.faults.take("info")
            assert here == (plan is not None)


class TestSetUp:
    async def test_accounts_are_listed_without_their_passwords(self, remote: Remote) -> None:
        remote.emulator.add_account(login="someone@example.com", password="secret", balance=Decimal("5.50"))
        answer = await remote.http.get(f"{remote.emulator.page_url}/accounts")
        assert "secret" not in answer.text
        told = answer.json()
        assert [
            (account["id"], account["api_key"], account["login"], account["balance"]) for account in told["accounts"]
        ] == [
            (1, remote.emulator.api_key, None, "1000000.00"),
            (2, None, "someone@example.com", "5.50"),
        ]

    async def test_an_account_with_a_login_is_added_and_used(self, remote: Remote) -> None:
        told = await remote.post("accounts", login="someone@example.com", password="secret", balance="2.50", trial=True)
        assert (told["account"]["id"], told["account"]["balance"], told["account"]["trial"]) == (2, "2.50", True)
        credentials = {"apikey": None, "login": "someone@example.com", "password": "secret"}
        assert await remote.gateway(balance="rur", **credentials) == {"balance": 2.5}
        await remote.post("inbound", phone=PHONE, text="for two", account=2)
        assert [sms["text"] for sms in (await remote.gateway(inbound=True, **credentials))["inbound"]] == ["for two"]
        assert (await remote.gateway(inbound=True))["inbound"] == []

    async def test_an_account_without_a_key_gets_one(self, remote: Remote) -> None:
        key = (await remote.post("accounts"))["account"]["api_key"]
        assert await remote.gateway(balance="rur", apikey=key) == {"balance": 1000000.0}
        assert (await remote.post("accounts", api_key=key))[0] == 400

    async def test_an_account_changes(self, remote: Remote) -> None:
        told = await remote.post(
            "accounts/1", balance="1.25", blacklist=[OTHER], prices={"MTS": 9.5}, loop_protection=None
        )
        assert (told["account"]["balance"], told["account"]["prices"]) == ("1.25", {"MTS": "9.5"})
        account = remote.emulator.account
        assert (account.balance, account.blacklist, account.prices) == (
            Decimal("1.25"),
            (OTHER,),
            {"MTS": Decimal("9.5")},
        )
        assert account.loop_protection is None
        assert (await remote.send("x", to=OTHER))["error"] == 243
        assert (await remote.send("x"))["error"] == 0
        assert (await remote.send("y"))["error"] == 112
        await remote.post("accounts/1", blocked=105)
        assert (await remote.gateway(info=True))["error"]["code"] == "105"

    @pytest.mark.parametrize(
        ("path", "body", "told"),
        [
            ("accounts/5", {"balance": "1"}, (404, "there is no account 5")),
            ("accounts/1000000", {"balance": "1"}, (404, "there is no account 1000000")),
            ("accounts/1", {"api_key": "x"}, (400, "the api_key of an account cannot be changed; add another account")),
            ("accounts/1", {"id": 2}, (400, "the id of an account cannot be changed; add another account")),
            ("accounts/1", {"balance": "x"}, (400, 'balance must be an amount, such as "12.50"')),
            ("accounts/1", {"balance": "NaN"}, (400, 'balance must be an amount, such as "12.50"')),
            ("accounts/1", {"balance": True}, (400, 'balance must be an amount, such as "12.50"')),
            ("accounts/1", {"blocked": "105"}, (400, "blocked must be a whole number from 0 or null")),
            ("accounts/1", {"trial": 1}, (400, "trial must be true or false")),
            ("accounts/1", {"senders": "SMSPILOT"}, (400, "senders must be a list of strings")),
            ("accounts/1", {"prices": ["MTS"]}, (400, 'prices must be amounts by name, such as {"MTS": "1.50"}')),
            (
                "accounts/1",
                {"registered": "2026-01-31T12:00:00Z"},
                (400, "registered must be a time without a zone, such as 2026-01-31T12:00:00"),
            ),
            (
                "accounts/1",
                {"loop_protection": "x"},
                (400, "loop_protection must be seconds (0 to 10000000000) or 'emulator' or null"),
            ),
            ("settings", {"profile": "3"}, (400, "profile must be '2.4.16' or '2.6'")),
            ("settings", {"undelivered": 2}, (400, "undelivered must be a share from 0 to 1")),
            ("settings", {"delivery": -1}, (400, "delivery must be seconds (0 to 10000000000)")),
            ("settings", {"delivery": 1e11}, (400, "delivery must be seconds (0 to 10000000000)")),
            ("clock", {"speed": 100_001}, (400, "speed must be seconds, 0 to 100000")),
            ("clock", {"speed": -1}, (400, "speed must be seconds, 0 to 100000")),
            ("settings", {"delivery": 1e300}, (400, "delivery must be seconds (0 to 10000000000)")),
            ("unknowns", {"limit_answer": 500}, (400, "limit_answer must be 429 or 110")),
            ("unknowns", {"modified_zone": "MSK"}, (400, 'modified_zone must be an offset, such as "+03:00"')),
            ("unknowns", {"modified_zone": ""}, (400, 'modified_zone must be an offset, such as "+03:00"')),
            ("unknowns", {"max_messages": True}, (400, "max_messages must be a whole number from 0 or null")),
        ],
    )
    async def test_a_mistake_is_explained_and_changes_nothing(
        self, path: str, body: dict[str, Any], told: Any, remote: Remote
    ) -> None:
        before = [await remote.get(name) for name in ("accounts", "settings", "unknowns")]
        assert await remote.post(path, **{"any_sender": False} if path == "accounts/1" else {}, **body) == told
        assert [await remote.get(name) for name in ("accounts", "settings", "unknowns")] == before

    async def test_settings_change_and_come_back_with_a_reset(self, remote: Remote) -> None:
        before = await remote.get("settings")
        assert before["settings"] == {
            "profile": "2.6",
            "loop_protection": 300.0,
            "undelivered": 0.0,
            "handover": 5.0,
            "delivery": 30.0,
        }
        told = await remote.post("settings", loop_protection=None, handover=0, delivery=1.5, undelivered=1)
        assert told["settings"] == {
            **before["settings"],
            "loop_protection": None,
            "handover": 0.0,
            "delivery": 1.5,
            "undelivered": 1.0,
        }
        assert [(await remote.send("again"))["error"] for _ in range(2)] == [0, 0]
        await remote.post("clock", advance=2)
        assert [message.status for message in remote.emulator.messages] == [-1, -1]
        await remote.post("settings", profile="2.4.16")
        assert (await remote.gateway(send=[{"to": PHONE, "text": "typed"}]))["send"][0]["error"] == "0"
        await remote.post("reset")
        assert await remote.get("settings") == before
        assert remote.emulator.settings == Settings()

    async def test_switches_change_and_come_back_with_a_reset(self, remote: Remote) -> None:
        told = await remote.post("unknowns", ids_zero=True, modified_zone="+05:30", check_lag=60, max_messages=1)
        unknowns = remote.emulator.unknowns
        assert unknowns == Unknowns(
            ids_zero=True,
            modified_zone=timezone(timedelta(hours=5, minutes=30)),
            check_lag=timedelta(minutes=1),
            max_messages=1,
        )
        assert told == await remote.get("unknowns")
        assert (told["unknowns"]["modified_zone"], told["unknowns"]["check_lag"]) == ("+05:30", 60.0)
        assert (await remote.send("x", id=5))["id"] == 0
        await remote.post("reset")
        assert remote.emulator.unknowns == Unknowns()

    async def test_what_is_shown_can_be_set_again(self, remote: Remote) -> None:
        for path in ("settings", "unknowns"):
            told = await remote.get(path)
            assert await remote.post(path, **told[path]) == told

    async def test_the_page_is_notified_of_a_change(self, remote: Remote) -> None:
        cursors: list[bool] = []
        with remote.emulator.feed.watched(lambda: cursors.append(True)):
            await remote.post("accounts/1", balance="1")
        assert cursors

    async def test_the_clock_runs_at_a_speed(self, remote: Remote) -> None:
        await remote.send("x")
        told = await remote.post("clock", speed=100_000)
        assert told["speed"] == 100_000
        assert (await remote.get("wait", status=2, timeout=60))["message"]["to"] == PHONE  # no one else asks it
        assert (await remote.post("clock", speed=0))["speed"] == 0
        assert await remote.get("clock") == await remote.get("clock")

    async def test_connections_are_dropped_after_the_answer(self, remote: Remote) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(remote.emulator.url.split(":")[2][:-9]))
        writer.write(b"POST /_emulator/drop-connections HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200 OK" in (answer := await reader.read())
        assert answer.endswith(b'{"ok": true}')
        writer.close()
        assert (await remote.post("drop-connections", all=True))[0] == 400


class TestRefusals:
    async def test_each_says_what_was_refused_and_why(self, remote: Remote) -> None:
        remote.emulator.clock.set(datetime.fromisoformat(NOW))
        remote.emulator.refuse(code=248, text="смeсь")
        rows = [{"to": PHONE, "text": "good"}, {"to": OTHER, "text": "смeсь"}, {"to": "5", "text": "x"}]
        await remote.gateway(send=rows)
        await remote.gateway(cost=1, send=[{"to": PHONE, "text": ""}])
        await remote.gateway(apikey="wrong", balance="rur")
        await remote.http.post(remote.emulator.url, content=b"nonsense")
        told = (await remote.get("refusals"))["refusals"]
        assert [list(refusal.values()) for refusal in told] == [
            [1, NOW, "send", 248, "Cyrillic and Latin in one word", OTHER, "смeсь", 1],
            [2, NOW, "send", 215, "Invalid phone length", "5", "x", 1],
            [3, NOW, "cost", 220, "TEXT is required", None, None, 2],
            [4, NOW, "balance", 101, "APIKEY is invalid", None, None, 3],
            [5, NOW, "", 11, "Unknown INPUT format", None, None, 4],
        ]
        assert list(told[0]) == ["number", "at", "command", "code", "reason", "to", "text", "request"]
        assert remote.emulator.state()["refusals"] == 5

    @pytest.mark.parametrize(("fault", "code"), [("busy", 110), ("too-many-requests", 429), ("busy-message", 110)])
    async def test_faults_refuse_too(self, fault: str, code: int, remote: Remote) -> None:
        remote.emulator.fail_next("send", fault)
        await remote.http.post(
            remote.emulator.url, json={"apikey": remote.emulator.api_key, "send": [{"to": PHONE, "text": "x"}]}
        )
        [refusal] = remote.emulator.refusals
        assert (refusal.command, refusal.code) == ("send", code)

    async def test_a_limit_is_one(self, remote: Remote) -> None:
        remote.emulator.unknowns.requests_per_second = 0
        await remote.http.post(remote.emulator.url, json={"apikey": remote.emulator.api_key, "info": True})
        [refusal] = remote.emulator.refusals
        assert (refusal.command, refusal.code, refusal.reason) == ("info", 429, "Too Many Requests")

    def test_of_many_the_newest_are_kept(self, emulator: Emulator, desk: Any) -> None:
        for number in range(_refusals.KEPT // 100 + 1):
            desk.send(*({"to": "5", "text": f"{number} {row}"} for row in range(100)))
        assert len(emulator.refusals) == _refusals.KEPT
        assert [emulator.refusals[0].number, emulator.refusals[-1].number] == [101, _refusals.KEPT + 100]
        emulator.reset()
        assert (emulator.refusals, emulator.state()["refusals"]) == ((), 0)

    def test_of_long_ones_the_beginning_is_kept(self, emulator: Emulator, desk: Any) -> None:
        desk.send({"to": "5" * 1000, "text": "x" * 1_000_000})
        [refusal] = emulator.refusals
        assert (len(refusal.to or ""), len(refusal.text or "")) == (40, 1000)

    def test_none_shows_a_phone_a_text_or_a_key(self, emulator: Emulator, desk: Any) -> None:
        desk.send({"to": "5", "text": "geheim"})
        desk.json(apikey="K" * 64, info=True)
        assert "geheim" not in repr(emulator.refusals)
        assert "KKK" not in json.dumps(list(map(attrs.asdict, emulator.refusals)), default=str)


class TestFields:
    def test_a_zone_given_by_name_is_shown_by_name(self) -> None:
        assert plain(ZoneInfo("Europe/Moscow")) == "Europe/Moscow"
        assert plain(timezone(-timedelta(hours=9, minutes=30))) == "-09:30"
        assert plain(UTC) == "+00:00"

    def test_every_field_of_an_account_goes_there_and_back(self) -> None:
        account = Account(
            api_key="x",
            registered=datetime(2020, 1, 2, 3, 4),  # noqa: DTZ001 - it has none
            loop_protection=timedelta(seconds=90),
            allowed_ips={"127.0.0.1"},
            prices={"MTS": Decimal("2.10")},
        )
        told = json.loads(json.dumps(as_plain(account)))
        again = Account(**read_fields(Account, told))
        assert as_plain(again) == as_plain(account)
        assert (again.loop_protection, again.registered) == (account.loop_protection, account.registered)
