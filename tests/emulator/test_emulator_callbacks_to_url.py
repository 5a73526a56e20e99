"""All callbacks sent to a local URL, wherever their own lead: "webhooks at home"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from raw_servers import answering, raw_server
from raw_servers import http as http_answer
from serving import free_socket, on_uvicorn

from smspilot_async import Client
from smspilot_async.callbacks import CallbackInbox
from smspilot_async.callbacks.asgi import callback_app
from smspilot_async.emulator import Emulator
from smspilot_async.emulator._local_url import moved

if TYPE_CHECKING:
    import httpx

PHONE = "79087964781"
LOCAL = "http://127.0.0.1:8000"


@pytest.mark.parametrize(
    ("url", "called"),
    [
        ("https://shop.example/sms/status", "/sms/status"),
        ("https://shop.example:8443/sms?order=7&x=%D1%8F+1", "/sms?order=7&x=%D1%8F+1"),
        ("http://shop.example/cb1-a%2Fb%20c/=;:@,~", "/cb1-a%2Fb%20c/=;:@,~"),
        ("https://shop.example//two//slashes/", "//two//slashes/"),
        ("https://shop.example", ""),
        ("https://shop.example?x=http://other.example/y", "?x=http://other.example/y"),
    ],
)
def test_scheme_host_and_port_are_replaced_and_the_rest_stays(url: str, called: str) -> None:
    assert moved(url, LOCAL) == LOCAL + called


@pytest.mark.parametrize("method", ["get", "post"])
async def test_a_callback_to_a_public_host_is_made_here(method: str, emulator: Emulator, desk: Any) -> None:
    async with raw_server(answering(http_answer(b"OK"), http_answer(b"OK"))) as application:
        emulator.callbacks_to = f"http://127.0.0.1:{application.port}"
        url = "https://shop.example/sms/3f%2F9a?order=7"
        desk.one(callback=url, callback_method=method)
        emulator.clock.advance(minutes=1)
        await emulator.settled()
        heads = [request.split(b"\r\n")[0].decode() for request in application.requests]
    assert [head.split()[1].partition("&server_id")[0] for head in heads] == ["/sms/3f%2F9a?order=7"] * 2
    assert [call.acknowledged for call in emulator.callbacks] == [True, True]
    assert {call.url for call in emulator.callbacks} == {url}
    assert {call.called for call in emulator.callbacks} == {f"http://127.0.0.1:{application.port}/sms/3f%2F9a?order=7"}


async def test_a_signed_path_is_verified_by_the_inbox_behind_a_local_server(served: Emulator) -> None:
    inbox = CallbackInbox("https://app.example", secret="a secret for the tests alone")
    sock, url = free_socket()
    async with inbox, on_uvicorn(callback_app(inbox), sock, lifespan="off"):
        served.callbacks_to = url
        async with Client(served.api_key, url=served.url, callbacks=inbox) as client:
            sent = await client.send(PHONE, "x")
            served.clock.advance(minutes=1)
            await served.settled()
            events = [await anext(inbox), await anext(inbox)]
    assert [(event.id, event.status) for event in events] == [(sent.id, 1), (sent.id, 2)]


async def test_a_message_without_a_callback_makes_none(emulator: Emulator, desk: Any) -> None:
    emulator.callbacks_to = LOCAL
    desk.one()
    emulator.clock.advance(minutes=1)
    await emulator.settled()
    assert emulator.callbacks == ()


async def test_none_calls_the_urls_themselves_again(emulator: Emulator, desk: Any) -> None:
    emulator.callbacks_to = LOCAL
    emulator.callbacks_to = None
    desk.one(callback="https://shop.example/sms")
    emulator.clock.advance(minutes=1)
    await emulator.settled()
    assert [(call.failure, call.called) for call in emulator.callbacks] == [("not loopback", None)] * 2


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("127.0.0.1:8000", "a scheme, a host and a port"),
        ("ftp://127.0.0.1", "a scheme, a host and a port"),
        ("http://", "a scheme, a host and a port"),
        ("http://127.0.0.1:99999", "a scheme, a host and a port"),
        ("http://[::1", "a scheme, a host and a port"),
        ("http://user:secret@127.0.0.1", "a scheme, a host and a port"),
        ("http://127.0.0.1:8000/sms", "keep their own path"),
        ("http://127.0.0.1:8000?x=1", "keep their own path"),
        ("https://shop.example", "shop.example is another machine"),
        ("http://127.0.0.1.evil.example", "is another machine"),
    ],
)
async def test_a_url_that_cannot_take_them_is_refused_and_changes_nothing(
    url: str, reason: str, served: Emulator, http: httpx.AsyncClient
) -> None:
    with pytest.raises(ValueError, match=reason) as refused:
        served.callbacks_to = url
    assert "secret" not in str(refused.value)
    with pytest.raises(ValueError, match=reason):
        Emulator(callbacks_to=url)
    answer = await http.post(f"{served.page_url}/callbacks-to", json={"url": url})
    assert answer.status_code == 400
    assert served.callbacks_to is None


@pytest.mark.parametrize("url", [LOCAL, f"{LOCAL}/", "http://localhost:8000", "https://[::1]:8443", "http://127.1.2.3"])
def test_this_machine_s_own_are_taken(url: str) -> None:
    assert Emulator(callbacks_to=url).callbacks_to == url.rstrip("/")


def test_another_machine_is_where_that_is_allowed() -> None:
    url = "http://staging.example:8000"
    assert Emulator(callbacks_to=url, allow_remote_callbacks=True).callbacks_to == url


async def test_over_http_it_is_shown_and_set(served: Emulator, http: httpx.AsyncClient) -> None:
    url = f"{served.page_url}/callbacks-to"
    assert (await http.post(url, json={"url": f"{LOCAL}/"})).json() == {"url": LOCAL, "in_process": False}
    assert served.callbacks_to == LOCAL
    assert (await http.post(url, json={"url": None})).json() == {"url": None, "in_process": False}

    async def application(_scope: Any, _receive: Any, _send: Any) -> None:
        """Is only there."""

    served.callbacks_to = application
    assert (await http.get(url)).json() == {"url": None, "in_process": True}
    assert (await http.post(url, json={})).status_code == 400
