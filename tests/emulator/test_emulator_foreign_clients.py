"""What others have written for the gateway works against the emulator as it is, in both profiles.

sms-pilot-py is the one client on Python's index: it runs here unmodified, and takes the emulator for its HTTP proxy.
The requests of others (Ruby's Net::HTTP, PHP's streams, Node) are sent in their form to the byte, and their answers
held to what those clients' tests and examples expect of the vendor's test key.
"""

from __future__ import annotations

import json
import socket
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs
import pytest
import sms_pilot  # type: ignore[import-untyped]
from sms_pilot import exception

from smspilot_async.emulator import TEST_KEY, Emulator

if TYPE_CHECKING:
    from collections.abc import Iterator

PHONE = "79087964781"
PROFILES = ("2.4.16", "2.6")
SmsPilot: Any = sms_pilot.SmsPilot  # it is typed by what it may answer, and not by what it does here


@pytest.fixture(params=PROFILES)
def gateway(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    with Emulator.serve(seed=1, profile=request.param) as emulator:
        yield emulator


class TestSmsPilotPy:
    @pytest.fixture(autouse=True)
    def _by_way_of_the_emulator(self, gateway: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("http_proxy", gateway.url.removesuffix("/api2.php"))

    def test_it_sends_a_packet(self, gateway: Emulator) -> None:
        client = SmsPilot(gateway.api_key, "SHOP")
        client.add_message(PHONE, "Привет").add_message(int(PHONE) + 1, "Hello", sender="TAXI", ttl=10, id=77)
        answer = client.send_messages()
        assert [(message.id, message.to, message.sender) for message in gateway.messages] == [
            (1, PHONE, "SHOP"),
            (77, "79087964782", "TAXI"),
        ]
        assert [(sent.id, str(sent.server_id), sent.text, sent.price) for sent in answer.send] == [
            (1, "100000001", "Привет", 1.25),
            (77, "100000002", "Hello", 1.25),
        ]
        assert (answer.server_packet_id, answer.balance, answer.cost) == (5001, 999_997.5, 2.5)
        assert [sent.get_status_verbose() for sent in answer.send] == ["Новое", "Новое"]

    def test_it_names_a_callback(self, gateway: Emulator) -> None:
        callback = sms_pilot.Callback("http://127.0.0.1:1/status", "post")
        SmsPilot(gateway.api_key, callback=callback).add_message(PHONE, "text").send_messages()
        (message,) = gateway.messages
        assert (message.callback, message.callback_method) == ("http://127.0.0.1:1/status", "post")

    def test_it_sends_as_a_test_and_asks_for_a_price(self, gateway: Emulator) -> None:
        SmsPilot(gateway.api_key, test=True).add_message(PHONE, "text").send_messages()
        priced = SmsPilot(gateway.api_key, cost=True).add_message(PHONE, "text").send_messages()
        assert priced.cost == 1.25
        assert (len(gateway.test_messages), gateway.messages) == (1, ())

    def test_it_asks_for_the_balance(self, gateway: Emulator) -> None:
        client = SmsPilot(gateway.api_key)
        assert (client.get_balance(), client.get_balance(in_rur=False)) == (1_000_000.0, 800_000)

    def test_the_vendors_test_key_is_as_its_own_suite_expects(self) -> None:
        client = SmsPilot(TEST_KEY, "INFORM")
        assert client.user_info().name == "Букин Геннадий"
        for text in "abc":
            client.add_message(PHONE, text)
        answer = client.send_messages()
        assert answer.server_packet_id == 123456
        assert [sent.server_id for sent in answer.send] == [10000, 10001, 10002]
        assert [sent.get_status_verbose() for sent in answer.send] == ["Новое"] * 3

    def test_it_is_answered_with_why_it_is_refused(self, gateway: Emulator) -> None:
        with pytest.raises(exception.SmsPilotAPIError, match=r"^101: "):
            SmsPilot("WRONG").user_info()
        gateway.unknowns.all_bad_refuses_packet = True
        gateway.account.any_sender = False
        with pytest.raises(exception.SenderNotRegistered):
            SmsPilot(gateway.api_key, "OTHER").add_message(PHONE, "text").send_messages()
        gateway.fail_next("send", "busy")
        with pytest.raises(exception.ApiSystemError):
            SmsPilot(gateway.api_key, "SMSPILOT").add_message(PHONE, "text").send_messages()
        gateway.account.blocked = 106
        with pytest.raises(exception.ApiKeyBlocked):
            SmsPilot(gateway.api_key).get_balance()

    def test_its_checks_are_no_checks_by_the_vendors_document(self) -> None:
        client = SmsPilot(TEST_KEY)
        with pytest.raises(exception.SmsPilotAPIError, match=r"^303: "):  # it sends an object in place of a list
            client.check_by_server_id([10000, 10001])
        with pytest.raises(exception.SmsPilotAPIError, match=r"^300: "):  # and writes "pocket" for "packet"
            client.check_by_server_pocket_id(123456)

    def test_what_it_asks_by_the_older_api_is_not_there(self) -> None:
        with pytest.raises(exception.SmsPilotAPIError, match="SomeError"):
            SmsPilot(TEST_KEY).send_message(PHONE, "text")


RUBY = (
    "POST /api2.php HTTP/1.1\r\nContent-Type: application/json\r\n"
    "Accept-Encoding: gzip;q=1.0,deflate;q=0.6,identity;q=0.3\r\nAccept: */*\r\nUser-Agent: Ruby\r\n"
    "Connection: close\r\nHost: smspilot.ru\r\nContent-Length: {length}\r\n\r\n"
)
PHP = (
    "POST /api2.php HTTP/1.1\r\nHost: smspilot.ru\r\nConnection: close\r\nContent-Length: {length}\r\n"
    "Content-Type: application/json\r\n\r\n"
)
PHP_5 = PHP.replace("HTTP/1.1", "HTTP/1.0").replace("Connection: close\r\n", "")
# Of a client that writes its header in single quotes, in which PHP knows no line ends.
PHP_IN_SINGLE_QUOTES = PHP.replace("application/json", r"application/json\r\n")
NODE = (
    "POST /api2.php HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n"
    "Host: smspilot.ru\r\nConnection: keep-alive\r\n\r\n"
)
CLIENTS = {"Ruby": RUBY, "PHP": PHP, "PHP 5": PHP_5, "PHP in single quotes": PHP_IN_SINGLE_QUOTES, "Node": NODE}


@attrs.frozen
class Foreign:
    """Sends documents in another client's form."""

    emulator: Emulator
    head: str

    def ask(self, document: str) -> Any:
        """The answer to a document, in which ``KEY`` is the vendor's test key."""
        body = document.replace("KEY", TEST_KEY).encode()
        address = urlsplit(self.emulator.url)
        with closing(socket.create_connection((address.hostname, address.port), timeout=5)) as connection:
            connection.sendall(self.head.format(length=len(body)).encode() + body)
            with connection.makefile("rb") as answer:
                return self._read(answer)

    def _read(self, answer: Any) -> Any:
        head = b"".join(iter(answer.readline, b"\r\n")).lower()
        assert head.startswith(b"http/1.1 200 ok")
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        body = answer.read(length)
        asks_to_close = "close" in self.head or "HTTP/1.0" in self.head
        assert (b"connection: close" in head) == asks_to_close
        if asks_to_close:
            assert answer.read() == b""  # such a client waits for the end
        return json.loads(body)


@pytest.fixture(params=CLIENTS)
def foreign(request: pytest.FixtureRequest, gateway: Emulator) -> Foreign:
    return Foreign(gateway, CLIENTS[request.param])


class TestOthers:
    def test_a_message_without_anything_else(self, foreign: Foreign) -> None:
        answer = foreign.ask('{"send":[{"text":"Test","to":"79087964781","from":null,"id":null}],"apikey":"KEY"}')
        assert [(row["to"], row["text"]) for row in answer["send"]] == [(PHONE, "Test")]

    def test_several_messages(self, foreign: Foreign) -> None:
        answer = foreign.ask(
            '{"send":[{"to":"79087964781","text":"a"},{"to":79087964782,"text":"\\u041f\\u0440","id":1},'
            '{"from":"","to":"79087964783","text":"Привет!\\n\\/"}],"apikey":"KEY"}'
        )
        assert [(row["to"], row["text"], row["from"]) for row in answer["send"]] == [
            (PHONE, "a", "INFORM"),
            ("79087964782", "Пр", "INFORM"),
            ("79087964783", "Привет!\n/", "INFORM"),
        ]
        assert [int(row["id"]) for row in answer["send"]] == [0, 1, 0]
        assert (str(answer["server_packet_id"]), float(answer["balance"])) == ("123456", 20006.97)

    def test_a_sender_beside_the_key(self, foreign: Foreign) -> None:
        document = '{"apikey":"KEY","from":"SHOP","send":[{"to":"79087964781","text":"a"}]}'
        assert foreign.ask(document)["send"][0]["from"] == "INFORM"
        foreign.emulator.unknowns.defaults_at_top = True
        assert foreign.ask(document)["send"][0]["from"] == "SHOP"

    def test_a_message_for_later(self, foreign: Foreign) -> None:
        later = int(foreign.emulator.clock.now().timestamp()) + 24 * 3600
        document = f'{{"apikey":"KEY","send":[{{"to":"79131437355","text":"a","send_datetime":{later}}}]}}'
        assert str(foreign.ask(document)["send"][0]["status"]) == "3"

    def test_statuses_by_numbers(self, foreign: Foreign) -> None:
        answer = foreign.ask('{"check":[{"server_id":10000},{"server_id":10001},{"server_id":10002}],"apikey":"KEY"}')
        assert [str(row["server_id"]) for row in answer["check"]] == ["10000", "10001", "10002"]

    def test_statuses_of_a_packet_that_was_never_sent(self, foreign: Foreign) -> None:
        answer = foreign.ask('{"check":true,"server_packet_id":1234,"apikey":"KEY"}')
        assert [str(row["status"]) for row in answer["check"]] == ["2"]

    def test_balance_account_and_inbound_messages(self, foreign: Foreign) -> None:
        assert foreign.ask('{"balance":true,"apikey":"KEY"}')["balance"] == 16005
        assert foreign.ask('{"balance":[{"balance":true}],"apikey":"KEY"}')["balance"] == 20006.97
        assert foreign.ask('{"info":true,"apikey":"KEY"}')["info"]["name"] == "Букин Геннадий"
        assert foreign.ask('{"inbound":true,"apikey":"KEY"}')["inbound"] == []

    def test_a_wrong_key(self, foreign: Foreign) -> None:
        assert foreign.ask('{"info":true,"apikey":"some wrong api key"}')["error"]["code"] == "101"
