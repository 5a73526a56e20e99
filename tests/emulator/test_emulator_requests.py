"""What the emulator was asked and answered, word for word: in Python, over HTTP, and a line each in a terminal."""

from __future__ import annotations

import io
import json
import threading
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote, quote_plus

import httpx
import pytest

from smspilot_async._tools.masks import masked_phone
from smspilot_async.emulator import Clock, Emulator, Fault, RecordedRequest
from smspilot_async.emulator import _terminal as terminal
from smspilot_async.emulator.gateway import _requests
from smspilot_async.emulator.gateway._masking import masked_secrets
from smspilot_async.emulator.server._http import HttpRequest

PHONE, OTHER = "79087964781", "79087964782"
KEY: Final = "ABCDEFGH" * 8


class TestRecord:
    def test_a_send_is_recorded_with_what_became_of_it(self, emulator: Emulator, desk: Any) -> None:
        desk.send({"to": PHONE, "text": "good"}, {"to": "5", "text": "bad"}, {"to": OTHER, "text": "good"})
        [record] = emulator.requests
        assert (record.number, record.method, record.command, record.count) == (1, "POST", "send", 3)
        assert (record.accepted, record.refused, record.code) == (2, 1, 215)
        assert (record.status, record.ending) == (200, "answer")
        assert record.was_refused
        assert record.at == emulator.clock.now()
        assert record.seconds is not None
        assert record.seconds > 0
        assert json.loads(record.answer)["send"][1]["error"] == 215

    def test_it_is_there_word_for_word_but_for_its_key(self, emulator: Emulator) -> None:
        body = json.dumps({"apikey": emulator.api_key, "send": [{"to": PHONE, "text": "Привет"}]}, ensure_ascii=False)
        emulator.exchange(HttpRequest(method="POST", query=b"a=1", content_type="text/plain", body=body.encode()))
        [record] = emulator.requests
        masked = body.replace(emulator.api_key, f"…{emulator.api_key[-4:]}")
        assert record.request == f"POST /api2.php?a=1\nContent-Type: text/plain\n\n{masked}"
        assert record.request_bytes == len(body.encode())
        assert record.answer_bytes == len(record.answer.encode())

    @pytest.mark.parametrize(
        ("fields", "recorded"),
        [
            ({"balance": "rur"}, ("balance", 0, 0, None)),
            ({"check": [{"server_id": 1}, {"server_id": 2}]}, ("check", 2, 1, 302)),
            ({"cost": 1, "send": [{"to": PHONE, "text": "x"}]}, ("cost", 1, 0, None)),
            ({"apikey": "wrong", "info": True}, ("info", 0, 1, 101)),
            ({"nonsense": 1}, ("", 0, 1, 14)),
        ],
    )
    def test_each_command_is(self, fields: dict[str, Any], recorded: Any, emulator: Emulator, desk: Any) -> None:
        desk.json(**fields)
        [record] = emulator.requests
        assert (record.command, record.count, record.refused, record.code) == recorded
        assert record.was_refused == bool(record.refused)

    def test_a_refusal_names_its_request(self, emulator: Emulator, desk: Any) -> None:
        desk.json(balance="rur")
        desk.send({"to": "5", "text": "x"})
        desk.json(apikey="wrong", balance="rur")
        assert [(refusal.code, refusal.request) for refusal in emulator.refusals] == [(215, 2), (101, 3)]

    @pytest.mark.parametrize(
        ("fault", "left"),
        [
            (Fault.ACCEPT_THEN_RESET, (1, None, "reset")),
            (Fault.ACCEPT_THEN_CLOSE, (1, None, "close")),
            (Fault.ACCEPT_THEN_HALF_ANSWER, (1, 200, "half-answer")),
            (Fault.ACCEPT_THEN_SERVER_ERROR, (1, 502, "answer")),
            (Fault.RESET_AFTER_READ, (0, None, "reset")),
            (Fault.BUSY, (0, 200, "answer")),
            (Fault.TOO_MANY_REQUESTS, (0, 429, "answer")),
        ],
    )
    def test_a_fault_is_named_with_what_it_left(
        self, fault: Fault, left: tuple[int, int | None, str], emulator: Emulator
    ) -> None:
        emulator.fail_next("send", fault)
        emulator.exchange(HttpRequest(method="POST", body=packet(emulator, {"to": PHONE, "text": "x"})))
        [record] = emulator.requests
        assert (record.fault, record.accepted, record.status, record.ending) == (fault.value, *left)
        assert record.was_refused
        assert bool(record.answer) == (record.status is not None)

    def test_of_half_an_answer_that_half_is_recorded(self, emulator: Emulator, desk: Any) -> None:
        emulator.fail_next("balance", Fault.ACCEPT_THEN_HALF_ANSWER)
        answer = desk.raw(packet(emulator, balance="rur"))
        assert emulator.requests[0].answer.encode() == answer[: len(answer) // 2]

    async def test_one_that_is_reset_before_it_is_read_is_recorded_without_its_text(
        self, served: Emulator, http: httpx.AsyncClient
    ) -> None:
        served.fail_next("*", Fault.RESET_BEFORE_READ)
        with pytest.raises(httpx.NetworkError):
            await http.post(served.url, content=packet(served, balance="rur"))
        [record] = served.requests
        assert (record.method, record.fault, record.ending, record.request) == ("", "reset-before-read", "reset", "")

    async def test_one_that_is_too_large_is_recorded_without_its_body(
        self, served: Emulator, http: httpx.AsyncClient
    ) -> None:
        await http.post(served.url, content=b"x" * (8 * 1024 * 1024 + 1))
        [record] = served.requests
        assert (record.status, record.request_bytes, record.was_refused) == (413, 0, True)

    def test_an_answer_that_is_held_back_takes_as_long_as_it_does(self, emulator: Emulator, desk: Any) -> None:
        heard: list[RecordedRequest] = []
        emulator.on_request(heard.append)
        emulator.fail_next("*", Fault.SLOW)
        desk.json(balance="rur")
        desk.json(balance="rur")
        assert [record.seconds is None for record in emulator.requests] == [True, False]
        assert [record.number for record in heard] == [2]
        emulator.release()
        assert [record.number for record in emulator.requests] == [1, 2]
        assert emulator.requests[0].seconds is not None
        assert emulator.requests[0].seconds > (emulator.requests[1].seconds or 0)
        assert [record.number for record in heard] == [2, 1]

    async def test_what_a_foreign_page_asks_for_is_not(self, served: Emulator, http: httpx.AsyncClient) -> None:
        await http.post(served.url, content=b"{}", headers={"origin": "http://evil.example"})
        assert served.requests == ()

    async def test_the_transport_without_a_socket_is_recorded_too(self, emulator: Emulator) -> None:
        async with httpx.AsyncClient(transport=emulator.transport) as client:
            await client.post(emulator.url, content=packet(emulator, balance="rur"))
        assert [record.command for record in emulator.requests] == ["balance"]

    def test_a_listener_that_ends_hears_no_more(self, emulator: Emulator, desk: Any) -> None:
        heard: list[RecordedRequest] = []
        stop = emulator.on_request(heard.append)
        desk.json(balance="rur")
        stop()
        stop()  # the second time does nothing
        desk.json(balance="rur")
        assert len(heard) == 1

    def test_its_repr_shows_no_phone_text_or_key(self, emulator: Emulator, desk: Any) -> None:
        desk.send({"to": PHONE, "text": "geheim"})
        assert not any(private in repr(emulator.requests) for private in (PHONE, "geheim", emulator.api_key[-4:]))


class TestMemory:
    def test_of_many_the_newest_are_kept(self, emulator: Emulator, desk: Any) -> None:
        for _ in range(_requests.KEPT + 5):
            desk.json(balance="rur")
        assert len(emulator.requests) == _requests.KEPT
        assert [emulator.requests[0].number, emulator.requests[-1].number] == [6, _requests.KEPT + 5]
        assert emulator.state()["requests"] == _requests.KEPT + 5
        emulator.reset()
        assert (emulator.requests, emulator.state()["requests"]) == ((), 0)

    def test_of_a_long_one_the_beginning_is_kept(self, emulator: Emulator, desk: Any) -> None:
        desk.send({"to": PHONE, "text": "x" * 1_000_000})
        [record] = emulator.requests
        assert record.request_bytes > 1_000_000
        assert record.kept_bytes < 3 * _requests.SHOWN_BYTES
        assert record.request.endswith("xxx…")

    def test_together_they_take_so_many_bytes_at_most(
        self, emulator: Emulator, desk: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_requests, "KEPT_BYTES", 100_000)
        for _ in range(50):
            desk.send({"to": PHONE, "text": "x" * 20_000})
            assert sum(record.kept_bytes for record in emulator.requests) <= 100_000
        assert len(emulator.requests) > 2

    def test_one_that_is_forgotten_while_it_is_held_back_is_forgotten(self, emulator: Emulator, desk: Any) -> None:
        emulator.fail_next("*", Fault.SLOW)
        desk.json(balance="rur")
        emulator.reset()  # which releases it, too
        assert emulator.requests == ()


class TestMasking:
    @pytest.mark.parametrize(
        "text",
        [
            '{"apikey": "SECRET", "send": []}',
            '{"apikey":"SECRET\\" more","x":1}',
            '{"login": "a@example.com", "password": "SECRET, with } all <sorts>"}',
            '{"apikey": "SECRET cut off',
            '{"apikey": SECRET, "x": 1}',
            "<?xml version='1.0'?><send apikey=\"SECRET\"><sms/></send>",
            "<send login='a' password = 'SECRET >'>",
            "<answer><apikey>SECRET</apikey></answer>",
            "apikey=SECRET&send=x",
            f"json={quote(json.dumps({'apikey': 'SECRET', 'password': 'SECRET too'}))}&x=1",
            f"json={quote_plus(json.dumps({'apikey': 'SECRET one', 'send': []}))}",
            "xml=" + quote('<send apikey="SECRET" test="1">'),
            json.dumps({"quoted": json.dumps({"apikey": "SECRET", "x": 1})}),
            '--b\r\nContent-Disposition: form-data; name="apikey"\r\n\r\nSECRET\r\n--b--',
            '{"APIKEY": "SECRET"}',
            "password=with%2CSECRET%26SECRET&x=1",
            "x=1&password=with,SECRET",
            "password=%22quoted%22SECRET",
            "GET /api2.php?password=with%7DSECRET\n\n",
            "<password>with a SECRET</password>",
            "<password>with&lt;SECRET</password>",
            "<password>\n  SECRET\n</password>",
            "<password><![CDATA[with <SECRET>]]></password>",
            "xml=" + quote("<password>with a SECRET</password><apikey><![CDATA[SECRET]]></apikey>"),
        ],
    )
    def test_keys_and_passwords_are_masked_in_whatever_form_they_come(self, text: str) -> None:
        assert "SECRET" not in masked_secrets(text)
        assert "…" in masked_secrets(text)

    @pytest.mark.parametrize("text", [f"a stray {KEY} here", f'{{"apikee": "{KEY}"}}', f"%22{KEY}%22"])
    def test_a_key_of_the_gateway_s_form_is_masked_wherever_it_is(self, text: str) -> None:
        assert masked_secrets(text) == text.replace(KEY, "…EFGH")

    @pytest.mark.parametrize(
        "text",
        [
            '{"send": [{"to": "79087964781", "text": "Ваш код 1234"}]}',
            '<send><sms to="79087964781">text</sms></send>',
            "to=79087964781&text=x",
        ],
    )
    def test_the_rest_is_left_as_it_is(self, text: str) -> None:
        assert masked_secrets(text) == text

    def test_so_is_what_follows_a_masked_field_or_element(self) -> None:
        assert masked_secrets("password=a%2Cb&to=79087964781") == "password=…&to=79087964781"
        assert masked_secrets("<password>a b</password> <to>1</to>") == "<password>…</password> <to>1</to>"

    def test_what_is_around_a_key_is_left_as_it_is(self) -> None:
        text = '{"apikey": "K", "send": [{"to": "79087964781", "text": "a, \\"b\\""}], "password":"P"}'
        assert masked_secrets(text) == text.replace('"K"', '"…"').replace('"P"', '"…"')

    def test_a_wrong_key_is_masked_too(self, emulator: Emulator, desk: Any) -> None:
        desk.json(apikey="a-real-key-that-does-not-belong-here", balance="rur")
        [record] = emulator.requests
        assert "a-real-key" not in record.request
        assert "…here" in record.request

    def test_the_key_in_an_answer_of_the_older_profile_is(self) -> None:
        emulator = Emulator(profile="2.4.16", api_key=KEY)
        emulator.inbound(PHONE, "x")
        emulator.exchange(HttpRequest(method="POST", body=packet(emulator, inbound=True)))
        [record] = emulator.requests
        assert '"apikey"' in record.answer
        assert KEY not in record.answer

    @pytest.mark.parametrize(("phone", "masked"), [(PHONE, "7908•••••81"), ("5", "•"), ("123456", "••••••"), ("", "")])
    def test_a_phone_is(self, phone: str, masked: str) -> None:
        assert masked_phone(phone) == masked

    @pytest.mark.parametrize("phone", ["\x1b[2J7908", "79087\r\n", "\u202e7908796\u202e"])
    def test_what_was_sent_as_a_phone_controls_no_terminal(self, phone: str) -> None:
        assert masked_phone(phone).isprintable()


class TestOverHttp:
    async def test_they_are_listed_without_and_shown_with_their_texts(
        self, served: Emulator, http: httpx.AsyncClient
    ) -> None:
        await http.post(served.url, content=packet(served, {"to": PHONE, "text": "x"}))
        await http.post(served.url, content=b"nonsense")
        url = f"{served.page_url}/requests"
        listed = (await http.get(url)).json()
        assert [(each["number"], each["command"], each["code"]) for each in listed["requests"]] == [
            (1, "send", None),
            (2, "", 11),
        ]
        assert "request" not in listed["requests"][0]
        assert served.api_key not in json.dumps((await http.get(f"{url}/1")).json())
        whole = (await http.get(f"{url}/2")).json()["request"]
        assert whole["request"] == "POST /api2.php\n\nnonsense"
        assert json.loads(whole["answer"])["error"]["code"] == "11"

    @pytest.mark.parametrize(("refused", "numbers"), [("true", [2]), ("false", [1, 3])])
    async def test_those_that_were_refused_or_the_rest_are_listed(
        self, refused: str, numbers: list[int], served: Emulator, http: httpx.AsyncClient
    ) -> None:
        for body in (packet(served, balance="rur"), b"nonsense", packet(served, balance="rur")):
            await http.post(served.url, content=body)
        listed = (await http.get(f"{served.page_url}/requests", params={"refused": refused})).json()
        assert [each["number"] for each in listed["requests"]] == numbers

    async def test_nonsense_is_explained(self, served: Emulator, http: httpx.AsyncClient) -> None:
        answer = await http.get(f"{served.page_url}/requests", params={"refused": "maybe"})
        assert (answer.status_code, answer.json()["error"]) == (400, "refused must be true or false")


class TestTerminal:
    @pytest.mark.parametrize(
        ("fields", "line"),
        [
            ({"send": [{"to": PHONE, "text": "x"}]}, "send 1 7908•••••81 1 accepted"),
            ({"send": [{"to": PHONE, "text": "x"}, {"to": "5", "text": "y"}]}, "send 2 1 accepted, 1 refused (215)"),
            ({"send": [{"to": "5", "text": "x"}]}, "send 1 • refused (215)"),
            ({"send": [{"to": "5", "text": "x"}] * 3}, "send 3 3 refused (215)"),
            ({"cost": 1, "send": [{"to": PHONE, "text": "x"}]}, "cost 1 7908•••••81 OK"),
            ({"balance": "rur"}, "balance OK"),
            ({"apikey": "wrong", "check": [{"server_id": 1}]}, "check 1 refused (101)"),
            ({"nonsense": 1}, "? refused (14)"),
        ],
    )
    def test_a_line_says_what_was_asked_and_what_became_of_it(
        self, fields: dict[str, Any], line: str, desk_of: Any
    ) -> None:
        emulator = Emulator(clock=Clock(datetime(2026, 1, 31, 12, 0, 5, tzinfo=UTC)))
        desk_of(emulator).json(**fields)
        written = terminal.line_of(emulator.requests[0])
        at = emulator.clock.now().astimezone().strftime("%H:%M:%S")
        words = " ".join(written.split())
        assert words.startswith(f"{at} {line} ")
        assert words.endswith((" ms", " s"))  # by a clock that runs, on a machine that may be busy

    @pytest.mark.parametrize(
        ("fault", "line"),
        [
            (Fault.ACCEPT_THEN_RESET, "1 accepted, fault accept-then-reset"),
            (Fault.BUSY, "refused (110), fault busy"),
            (Fault.NOT_FOUND, "fault not-found"),
        ],
    )
    def test_a_fault_is_named(self, fault: Fault, line: str, emulator: Emulator) -> None:
        emulator.fail_next("send", fault)
        emulator.exchange(HttpRequest(method="POST", body=packet(emulator, {"to": PHONE, "text": "x"})))
        assert f" {line}  " in terminal.line_of(emulator.requests[0])

    def test_without_a_fault_the_http_status_says_what_was_wrong(self, emulator: Emulator) -> None:
        emulator.exchange(HttpRequest(method="PUT"))
        assert " HTTP 405  " in terminal.line_of(emulator.requests[0])

    def test_no_line_shows_a_key_a_text_or_a_whole_phone(self, emulator: Emulator, desk: Any) -> None:
        desk.send({"to": PHONE, "text": "geheim"}, test=1)
        desk.json(apikey="wrong-key", send=[{"to": PHONE, "text": "geheim"}])
        for record in emulator.requests:
            line = terminal.line_of(record)
            assert not any(private in line for private in (PHONE, "geheim", "wrong-key", emulator.api_key[-4:]))

    def test_they_are_written_in_order_and_all_before_it_closes(
        self, emulator: Emulator, desk: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(terminal, "_PATIENCE", 60.0)
        out = io.StringIO()
        lines = terminal.RequestLines(out)
        emulator.on_request(lines.add)
        for number in range(100):
            desk.send(*[{"to": PHONE, "text": "x"}] * (number + 1), test=1)
        assert out.getvalue() == ""
        lines.begin()
        lines.close()
        assert [int(line.split()[2]) for line in out.getvalue().splitlines()] == list(range(1, 101))

    def test_a_terminal_that_is_stopped_holds_nothing_up_and_is_told_what_it_missed(
        self, emulator: Emulator, desk: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        goes_on, is_writing = threading.Event(), threading.Event()

        class Stopped(io.StringIO):
            def write(self, text: str) -> int:
                is_writing.set()
                goes_on.wait(10)
                return super().write(text)

        monkeypatch.setattr(terminal, "WAITING", 5)
        monkeypatch.setattr(terminal, "_PATIENCE", 60.0)
        out = Stopped()
        lines = terminal.RequestLines(out)
        lines.begin()
        emulator.on_request(lines.add)
        desk.json(balance="rur")
        is_writing.wait(10)
        for _ in range(20):
            desk.json(balance="rur")
        goes_on.set()
        lines.close()
        written = out.getvalue().splitlines()
        assert written[1] == "… 15 more requests came faster than they could be shown"
        assert len(written) == 7

    def test_one_that_is_gone_is_left_alone(self, emulator: Emulator, desk: Any) -> None:
        class Closed(io.StringIO):
            def write(self, _text: str) -> int:
                raise BrokenPipeError

        lines = terminal.RequestLines(Closed())
        lines.begin()
        emulator.on_request(lines.add)
        desk.json(balance="rur")
        lines.close()
        desk.json(balance="rur")
        assert len(emulator.requests) == 2


def packet(emulator: Emulator, *rows: dict[str, Any], **fields: Any) -> bytes:
    """A document under the emulator's key."""
    return json.dumps({"apikey": emulator.api_key, **({"send": rows} if rows else {}), **fields}).encode()
