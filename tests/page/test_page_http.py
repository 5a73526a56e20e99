"""Who gets the page and what it asks of browsers; who may look at the gateway and drive it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from starlette.requests import Request

from smspilot_async import Client, Message
from smspilot_async.emulator import Emulator
from smspilot_async.emulator.server._origin_guard import has_local_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PHONE = "79087964781"
CROSS_SITE = {"sec-fetch-site": "cross-site"}
FOREIGN = (
    CROSS_SITE,
    {"sec-fetch-site": "same-site"},
    {"origin": "http://127.0.0.1:1"},
    {"origin": "null"},
    {"origin": "http://evil.example"},
)
ACTIONS = ("inbound", "status", "fail-next", "no-more-faults", "clock", "release", "reset")


@pytest.fixture
async def http(emulator: Emulator) -> AsyncIterator[httpx.AsyncClient]:
    base = emulator.url.removesuffix("/api2.php")
    async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=5) as http:
        yield http


class TestPage:
    async def test_it_is_one_file_that_loads_nothing(self, http: httpx.AsyncClient) -> None:
        answer = await http.get("/_emulator")
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert not re.search(r"""(?:src|href|action)=["'](?!data:|#)|@import|url\(|import\(""", answer.text)

    async def test_its_policy_lets_only_itself_run(self, http: httpx.AsyncClient) -> None:
        headers = (await http.get("/_emulator")).headers
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}='", policy.pop("script-src"))
        assert re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}='", policy.pop("style-src"))
        assert policy == {
            "default-src": "'none'",
            "connect-src": "'self'",
            "img-src": "data:",
            "base-uri": "'none'",
            "form-action": "'none'",
            "frame-ancestors": "'none'",
            "require-trusted-types-for": "'script'",
            "trusted-types": "'none'",
        }
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"

    async def test_a_link_from_elsewhere_leads_to_it(self, http: httpx.AsyncClient) -> None:
        assert (await http.get("/_emulator", headers=CROSS_SITE)).status_code == 200

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
    async def test_it_is_only_read(self, method: str, http: httpx.AsyncClient) -> None:
        assert (await http.request(method, "/_emulator")).status_code == 405

    @pytest.mark.parametrize(
        ("url", "page"),
        [
            ("http://127.0.0.1:8025/api2.php", "http://127.0.0.1:8025/_emulator"),
            ("http://0.0.0.0:8025/api2.php", "http://127.0.0.1:8025/_emulator"),
            ("http://[::]:8025/api2.php", "http://[::1]:8025/_emulator"),
            ("http://192.168.0.7:8025/api2.php", "http://192.168.0.7:8025/_emulator"),
        ],
    )
    def test_its_address_can_be_opened_on_this_machine(self, url: str, page: str) -> None:
        emulator = Emulator()
        emulator.listens_at(url, lambda: None)
        assert emulator.page_url == page


class TestVisitors:
    @pytest.mark.parametrize("path", ["", "/events", "/messages", "/messages/100000001", "/inbound", "/state"])
    async def test_a_foreign_name_for_this_machine_opens_nothing(self, path: str, http: httpx.AsyncClient) -> None:
        for name in ("evil.example", "evil.example:8025", "127.0.0.1.evil.example", "localhost.evil.example"):
            answer = await http.get(f"/_emulator{path}", headers={"host": name})
            assert answer.status_code == 403
            assert PHONE not in answer.text

    @pytest.mark.parametrize("name", ["localhost:8025", "LOCALHOST", "127.0.0.1", "[::1]:8025", "127.1.2.3:80"])
    async def test_this_machine_s_own_names_do(self, name: str, http: httpx.AsyncClient) -> None:
        assert (await http.get("/_emulator", headers={"host": name})).status_code == 200
        assert (await http.get("/_emulator/state", headers={"host": name})).status_code == 200

    @pytest.mark.parametrize("headers", FOREIGN)
    @pytest.mark.parametrize("path", ["/events", "/messages", "/state"])
    async def test_a_foreign_page_reads_nothing(
        self, path: str, headers: dict[str, str], http: httpx.AsyncClient
    ) -> None:
        assert (await http.get(f"/_emulator{path}", headers=headers)).status_code == 403

    @pytest.mark.parametrize("headers", FOREIGN)
    @pytest.mark.parametrize("action", ACTIONS)
    async def test_a_foreign_page_drives_nothing(
        self, action: str, headers: dict[str, str], emulator: Emulator, client: Client, http: httpx.AsyncClient
    ) -> None:
        sent = await client.send(PHONE, "x")
        emulator.fail_next("info", "busy")
        before = emulator.overview(), emulator.messages
        body = {"phone": PHONE, "text": "x", "server_id": sent.server_id, "status": 2, "fault": "busy", "advance": 60}
        answer = await http.post(f"/_emulator/{action}", json=body, headers=headers)
        assert answer.status_code == 403
        assert (emulator.overview(), emulator.messages) == before

    @pytest.mark.parametrize(
        "content_type", ["application/json", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
    )
    async def test_programs_are_let_in_whatever_they_call_their_body(
        self, content_type: str, emulator: Emulator, http: httpx.AsyncClient
    ) -> None:
        body = b'{"phone": "79087964781", "text": "x"}'
        answer = await http.post("/_emulator/inbound", content=body, headers={"content-type": content_type})
        assert answer.status_code == 200
        assert len(emulator.inbound_messages) == 1

    @pytest.mark.parametrize("client", ["127.0.0.1", "::1", "172.17.0.1"])
    @pytest.mark.parametrize(
        ("name", "from_here", "from_elsewhere"),
        [
            ("localhost", True, True),
            ("127.0.0.1", True, True),
            ("192.168.1.7", False, True),
            ("[fd00::7]", False, True),
            ("emulator", False, True),
            ("emulator.internal", False, False),  # for all that is known, a page from elsewhere has this name
            ("", False, False),
        ],
    )
    def test_by_what_name_it_may_be_called(
        self, client: str, name: str, *, from_here: bool, from_elsewhere: bool
    ) -> None:
        scope = {"type": "http", "client": (client, 1), "path": "/", "query_string": b"", "scheme": "http"}
        request = Request({**scope, "headers": [(b"host", name.encode() + b":8025")]})
        assert has_local_name(request) is (from_elsewhere if client == "172.17.0.1" else from_here)


class TestControl:
    async def test_one_message_with_its_callbacks(
        self, emulator: Emulator, client: Client, http: httpx.AsyncClient
    ) -> None:
        sent = await client.send(PHONE, "x", callback="http://example.com/status", callback_method="post")
        emulator.clock.advance(seconds=5)
        received = (await http.get(f"/_emulator/messages/{sent.server_id}")).json()
        assert (received["message"]["text"], [change["status"] for change in received["message"]["history"]]) == (
            "x",
            [0, 1],
        )
        assert received["callbacks"] == [
            {
                "server_id": sent.server_id,
                "url": "http://example.com/status",
                "method": "post",
                "status": 1,
                "error": 0,
                "at": emulator.clock.now().isoformat(),
                "answer_status": None,
                "answer": "",
                "failure": "not loopback",
                "called": None,
                "acknowledged": False,
            }
        ]

    async def test_a_status_is_set(self, emulator: Emulator, client: Client, http: httpx.AsyncClient) -> None:
        sent = await client.send(PHONE, "x")
        body: dict[str, Any] = {"server_id": sent.server_id, "status": -1, "error": 602}
        assert (await http.post("/_emulator/status", json=body)).json() == {"ok": True}
        assert [(message.status, message.error) for message in emulator.messages] == [(-1, 602)]

    async def test_mistakes_are_explained(self, client: Client, emulator: Emulator, http: httpx.AsyncClient) -> None:
        await client.send_packet([Message(PHONE, "x")], test=True)
        [message] = emulator.test_messages
        for body, error in [
            ({"status": 2}, "server_id is missing"),
            (
                {"server_id": message.server_id, "status": 2},
                "the status of a test message does not change",
            ),
        ]:
            answer = await http.post("/_emulator/status", json=body)
            assert (answer.status_code, answer.json()) == (400, {"error": error})

    async def test_what_came_in_is_listed(self, emulator: Emulator, client: Client, http: httpx.AsyncClient) -> None:
        emulator.inbound(PHONE, "old")
        await client.inbound("new")
        emulator.inbound(PHONE, "new")
        received = (await http.get("/_emulator/inbound")).json()["inbound"]
        assert [(sms["phone"], sms["text"], sms["seen"]) for sms in received] == [
            (PHONE, "old", True),
            (PHONE, "new", False),
        ]

    async def test_faults_are_forgotten(self, emulator: Emulator, http: httpx.AsyncClient) -> None:
        emulator.fail_next("send", "busy", times=2)
        emulator.fail_next("*", "slow")
        assert emulator.overview()["faults"] == [
            {"command": "send", "fault": "busy", "times": 2},
            {"command": "*", "fault": "slow", "times": 1},
        ]
        assert (await http.post("/_emulator/no-more-faults")).json() == {"ok": True}
        assert emulator.overview()["faults"] == []
