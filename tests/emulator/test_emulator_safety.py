"""What a hostile page, document or application cannot do to the emulator and the machine that it runs on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from smspilot_async.emulator import TEST_KEY, Emulator
from smspilot_async.emulator.gateway import _pipeline, _store, _xml
from smspilot_async.emulator.gateway._xml import _MOST_ATTRIBUTES

if TYPE_CHECKING:
    import httpx

PHONE = "79087964781"
FOREIGN_PAGES = (
    {"origin": "http://evil.example"},
    {"origin": "null"},
    {"origin": "http://[evil"},
    {"origin": "http://127.0.0.1:1"},
    {"referer": "http://evil.example/page"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"host": "evil.example", "origin": "http://evil.example"},
    {"host": "evil.example", "sec-fetch-site": "same-origin"},
    {"host": "evil.example", "referer": "http://evil.example/page"},
)


def document(**fields: Any) -> bytes:
    return json.dumps({"apikey": TEST_KEY, "send": [{"to": PHONE, "text": "x"}], **fields}).encode()


class TestForeignPages:
    @pytest.mark.parametrize("headers", FOREIGN_PAGES)
    async def test_they_send_nothing(self, headers: dict[str, str], served: Emulator, http: httpx.AsyncClient) -> None:
        answers = [
            await http.post(served.url, content=document(), headers=headers),
            await http.get(served.url, params={"json": document().decode()}, headers=headers),
        ]
        assert [answer.status_code for answer in answers] == [403, 403]
        assert served.test_messages == ()

    async def test_they_use_up_no_fault(self, served: Emulator, http: httpx.AsyncClient) -> None:
        served.fail_next("*", "reset-before-read")
        await http.post(served.url, content=document(), headers=FOREIGN_PAGES[0])
        assert served.state()["pending_faults"] == 1

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"host": "smspilot.ru"},
            {"host": "localhost:1", "origin": "http://localhost:1"},
            {"host": "localhost:1", "referer": "http://localhost:1/test.html", "sec-fetch-site": "same-origin"},
            {"sec-fetch-site": "none"},
        ],
    )
    async def test_programs_and_own_pages_do(
        self, headers: dict[str, str], served: Emulator, http: httpx.AsyncClient
    ) -> None:
        assert (await http.post(served.url, content=document(), headers=headers)).status_code == 200
        assert len(served.test_messages) == 1

    @pytest.mark.parametrize("path", ["", "/state", "/events"])
    async def test_a_forwarded_address_lets_none_in(self, path: str, served: Emulator, http: httpx.AsyncClient) -> None:
        headers = {"host": "evil.example", "x-forwarded-for": "198.51.100.7", "x-forwarded-proto": "https"}
        assert (await http.get(served.page_url + path, headers=headers)).status_code == 403

    async def test_nor_through_an_account_s_own_gate(self, served: Emulator, http: httpx.AsyncClient) -> None:
        served.account.allowed_ips = ("198.51.100.7",)
        body = {"apikey": served.api_key, "balance": "rur"}
        answer = await http.post(served.url, json=body, headers={"x-forwarded-for": "198.51.100.7"})
        assert answer.json()["error"]["code"] == "113"

    async def test_the_referer_counts_for_the_control_api_too(self, served: Emulator, http: httpx.AsyncClient) -> None:
        for referer, status in [("http://evil.example/", 403), (served.page_url, 200)]:
            answer = await http.get(f"{served.page_url}/state", headers={"referer": referer})
            assert answer.status_code == status


class TestMemory:
    def test_of_messages_that_cost_nothing_the_newest_are_kept(
        self, emulator: Emulator, desk: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_store, "KEPT_TESTS", 10)
        for number in range(25):
            desk.send({"to": PHONE, "text": str(number)}, test=1)
        kept = emulator.test_messages
        assert [message.text for message in kept] == [str(number) for number in range(15, 25)]
        store = emulator._gateway.store
        assert (len(store._tests), len(store._packets)) == (10, 10)
        assert emulator.look_up([kept[0].server_id]) == [kept[0]]
        assert emulator.state()["test_messages"] == 25

    def test_no_message_that_costs_money_is_forgotten(
        self, emulator: Emulator, desk: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_store, "KEPT_TESTS", 1)
        for number in range(25):
            desk.one(text=str(number))
        assert len(emulator.messages) == 25

    async def test_a_packet_of_more_rows_than_anybody_sends_is_too_large(
        self, emulator: Emulator, desk: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_pipeline, "MOST_ROWS", 3)
        row = {"to": PHONE, "text": "x"}
        assert len(desk.send(*[row] * 3, test=1)["send"]) == 3
        assert b"413 Request Entity Too Large" in desk.raw(document(send=[row] * 4))
        assert b"413 Request Entity Too Large" in desk.raw(document(send=None, check=[{"server_id": 1}] * 4))
        assert len(emulator.test_messages) == 3

    def test_the_longest_callback_is_an_address(self, emulator: Emulator, desk: Any) -> None:
        url = "http://127.0.0.1:1/"
        assert desk.one(text="long", callback=url.ljust(2048, "x"))["error"] in (0, "0")
        assert desk.one(text="too long", callback=url.ljust(2049, "x"))["error"] in (260, "260")
        assert len(emulator.messages) == 1

    @pytest.mark.parametrize(
        "content",
        [
            b"<a/>" * 100_000,
            b"<sms " + b" ".join(b'a%d=""' % number for number in range(_MOST_ATTRIBUTES + 1)) + b"/>",
            (b"<sms " + b" ".join(b'a%d=""' % number for number in range(100)) + b"/>") * 1000,
        ],
        ids=["elements", "attributes of one", "attributes of many"],
    )
    def test_a_swarm_in_xml_is_no_document(self, content: bytes, desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        made = 0

        class Counted(_xml.Node):
            def __init__(self, *args: Any) -> None:
                nonlocal made
                made += 1
                super().__init__(*args)

        monkeypatch.setattr(_xml, "Node", Counted)
        body = b'<?xml version="1.0"?><send apikey="x">' + content + b"</send>"
        assert b"XML structure is invalid" in desk.raw(body)
        assert made <= 1000 + len(body) // 16

    def test_the_rows_of_a_large_packet_are_none(self, desk: Any) -> None:
        rows = '<sms to="79087964781">x</sms>' * 3000
        assert len(desk.xml(f'<send apikey="{TEST_KEY}">{rows}</send>')) == 3000
