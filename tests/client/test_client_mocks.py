"""What a test puts in the place of httpx or httpcore keeps every request at home: one that escapes is a real SMS."""

from __future__ import annotations

import asyncio
import functools
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock, patch

import httpcore
import httpx
import pytest
import respx
from raw_servers import answering, http, raw_server

from smspilot_async import Client, ConnectionFailed, Message, OutcomeUnknown, Retry
from smspilot_async._network.http11 import Connection
from smspilot_async._tools.clock import boot_time

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from pytest_httpx import HTTPXMock

    from smspilot_async._network.base import WriteLimit

KEY = "API-KEY"
ONCE = Retry(attempts=1)
SENT = {
    "send": [{"id": "7", "server_id": "10005", "to": "79087964781", "status": 0, "error": 0}],
    "server_packet_id": "1",
    "balance": "1",
    "cost": "1",
}


class Gateway:
    """A socket that nothing may reach: it listens, and counts who has connected."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.url = f"http://127.0.0.1:{sock.getsockname()[1]}/api2.php"

    @property
    def proxy_url(self) -> str:
        return self.url.removesuffix("/api2.php")

    def connections(self) -> int:
        count = 0
        while True:
            try:
                self._sock.accept()[0].close()
            except BlockingIOError:
                return count
            count += 1


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.settimeout(0)
        gateway = Gateway(sock)
        yield gateway
        assert gateway.connections() == 0


async def bulk(client: Client) -> object:
    async with client.bulk([Message("79087964781", "text", id=7)]) as run:
        return [result async for result in run]


CALLS: list[Any] = [
    pytest.param(lambda client: client.send("79087964781", "text", id=7), id="send"),
    pytest.param(lambda client: client.send_packet([Message("79087964781", "text", id=7)]), id="send_packet"),
    pytest.param(bulk, id="bulk"),
    pytest.param(lambda client: client.balance(), id="balance"),
]
WAYS: list[Any] = [
    pytest.param({}, id="straight"),
    pytest.param({"proxy": "http"}, id="by an http proxy"),
    pytest.param({"proxy": "socks5"}, id="by a SOCKS proxy"),
]


def made(gateway: Gateway, *, proxy: str | None = None, **options: Any) -> Client:
    if proxy is not None:
        options["proxy"] = gateway.proxy_url.replace("http", proxy, 1)
    return Client(KEY, url=gateway.url, retry=ONCE, deadline=2, timeout=2, **options)  # seconds, if it escapes


def test_the_socket_itself_counts(gateway: Gateway) -> None:
    address = gateway.url.removeprefix("http://").removesuffix("/api2.php").split(":")
    for _ in range(2):
        socket.create_connection((address[0], int(address[1]))).close()
    assert gateway.connections() == 2


@pytest.mark.parametrize("using", ["httpcore", "httpx"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("call", CALLS)
async def test_both_mockers_of_respx_keep_requests_at_home(
    gateway: Gateway, using: str, way: dict[str, Any], call: Callable[[Client], Awaitable[object]]
) -> None:
    async with made(gateway, **way) as client:
        with respx.mock(using=using) as router:
            route = router.post(gateway.url).respond(json=SENT | {"balance": "1.50"})
            await call(client)
            await call(client)
        assert route.call_count == 2


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("call", CALLS)
async def test_pytest_httpx_keeps_requests_at_home(
    gateway: Gateway, httpx_mock: HTTPXMock, way: dict[str, Any], call: Callable[[Client], Awaitable[object]]
) -> None:
    httpx_mock.add_response(json=SENT | {"balance": "1.50"}, is_reusable=True)
    async with made(gateway, **way) as client:
        await call(client)
        await call(client)
    assert len(httpx_mock.get_requests(url=gateway.url)) == 2


@pytest.mark.parametrize("call", CALLS)
async def test_httpx_mock_transport_keeps_requests_at_home(
    gateway: Gateway, call: Callable[[Client], Awaitable[object]]
) -> None:
    heard: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        heard.append(request)
        return httpx.Response(200, json=SENT | {"balance": "1.50"})

    async with made(gateway, transport=httpx.MockTransport(answer)) as client:
        await call(client)
    assert [str(request.url) for request in heard] == [gateway.url]


@pytest.mark.parametrize("pool", [httpcore.AsyncConnectionPool, httpcore.AsyncHTTPConnection])
@pytest.mark.parametrize("call", CALLS)
async def test_whatever_replaces_httpcores_pool_keeps_requests_at_home(
    gateway: Gateway,
    monkeypatch: pytest.MonkeyPatch,
    pool: type,
    call: Callable[[Client], Awaitable[object]],
) -> None:
    answered = []

    async def answer(_: object, request: httpcore.Request) -> httpcore.Response:
        answered.append(request)
        return httpcore.Response(200, content=httpx.Response(200, json=SENT | {"balance": "1.50"}).content)

    monkeypatch.setattr(pool, "handle_async_request", answer)
    async with made(gateway) as client:
        await call(client)
    assert len(answered) == 1


class Wrapped:
    """What wrapt puts in a function's place: it claims to be that function, with its type and globals."""

    def __init__(self, genuine: Any, answer: Callable[..., Awaitable[object]]) -> None:
        self.genuine = genuine
        self.answer = answer

    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return type(self.genuine)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.genuine, name)

    def __get__(self, instance: Any, owner: type) -> Any:
        return functools.partial(self.answer, instance)


async def canned(*_: Any, **__: Any) -> httpx.Response:
    return httpx.Response(200, json=SENT | {"balance": "1.50"})


class CannedTransport(httpx.AsyncBaseTransport):
    def __init__(self, **_: Any) -> None:
        pass

    handle_async_request = canned


class CannedPool(httpcore.AsyncConnectionPool):
    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:  # noqa: ARG002
        return httpcore.Response(200, content=httpx.Response(200, json=SENT | {"balance": "1.50"}).content)


MOCKS: dict[str, Callable[[], Any]] = {
    "a mock with the method's signature": lambda: patch.object(
        httpx.AsyncHTTPTransport, "handle_async_request", autospec=True, side_effect=canned
    ),
    "a wrapper that claims to be the method": lambda: patch.object(
        httpx.AsyncHTTPTransport,
        "handle_async_request",
        Wrapped(httpx.AsyncHTTPTransport.__dict__["handle_async_request"], canned),
    ),
    "httpx's transport itself": lambda: patch("httpx.AsyncHTTPTransport", CannedTransport),
    "httpcore's pool itself": lambda: patch("httpcore.AsyncConnectionPool", CannedPool),
}


@pytest.mark.parametrize("kind", MOCKS)
@pytest.mark.parametrize("call", CALLS)
async def test_a_mock_of_any_kind_keeps_requests_at_home(
    gateway: Gateway, kind: str, call: Callable[[Client], Awaitable[object]]
) -> None:
    async with made(gateway) as client:
        with MOCKS[kind]():
            await call(client)


async def test_what_replaces_httpcores_network_keeps_requests_at_home(gateway: Gateway) -> None:
    refused = AsyncMock(side_effect=httpcore.ConnectError("no network in tests"))
    async with made(gateway) as client:
        with patch.object(httpcore.AnyIOBackend, "connect_tcp", refused), pytest.raises(ConnectionFailed):
            await client.send("79087964781", "text")
    assert refused.await_count == 1


@pytest.mark.parametrize("using", ["httpcore", "httpx"])
async def test_a_request_that_a_mock_does_not_know_stays_at_home_too(gateway: Gateway, using: str) -> None:
    async with made(gateway) as client:
        with respx.mock(using=using), pytest.raises(OutcomeUnknown):
            await client.send("79087964781", "text")


@pytest.mark.parametrize("using", ["httpcore", "httpx"])
async def test_what_a_mock_lets_pass_arrives_and_so_does_what_comes_after_it(using: str) -> None:
    script = answering(http(httpx.Response(200, json=SENT).content))
    async with raw_server(script) as server, Client(KEY, url=server.url, retry=ONCE) as client:
        for _ in range(2):
            with respx.mock(using=using) as router:
                router.post(server.url).pass_through()
                await client.send("79087964781", "text", id=7)
            await client.send("79087964781", "text", id=7)
    assert len(server.requests) == 4


@pytest.mark.parametrize("using", ["httpcore", "httpx"])
async def test_a_mock_keeps_what_goes_by_a_transport_of_the_users_own(gateway: Gateway, using: str) -> None:
    async with httpx.AsyncHTTPTransport() as own, made(gateway, transport=own) as client:
        with respx.mock(using=using) as router:
            route = router.post(gateway.url).respond(json=SENT)
            await client.send("79087964781", "text", id=7)
    assert route.call_count == 1


# --- transports of the user's ----------------------------------------------------------------------


class TakesOver(httpx.AsyncBaseTransport):
    """Sends by another transport if the gateway cannot be reached."""

    def __init__(self, other: Callable[[httpx.Request], Awaitable[httpx.Response]]) -> None:
        self.httpcores = httpx.AsyncHTTPTransport()
        self.other = other

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return await self.httpcores.handle_async_request(request)
        except httpx.ConnectError:
            return await self.other(request)


async def loses(_: httpx.Request) -> httpx.Response:
    raise httpx.ReadError("reset")


async def hangs(_: httpx.Request) -> httpx.Response:
    await asyncio.sleep(60)
    raise AssertionError


async def is_refused(_: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused")


@pytest.mark.parametrize(
    ("other", "error"), [(loses, OutcomeUnknown), (hangs, OutcomeUnknown), (is_refused, ConnectionFailed)]
)
async def test_a_connection_that_failed_proves_nothing_about_what_was_tried_instead(
    other: Callable[[httpx.Request], Awaitable[httpx.Response]], error: type[Exception]
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        async with Client(KEY, url=url, transport=TakesOver(other), timeout=0.3, retry=ONCE) as client:
            with pytest.raises(error):
                await client.send("79087964781", "text")


# --- what only watches, or wraps, what is below ---------------------------------------------------


@pytest.fixture
def watched() -> list[str]:
    """The methods that were passed, in order."""
    return []


def watch(monkeypatch: pytest.MonkeyPatch, owner: type, watched: list[str], *, times: int = 1) -> None:
    """Wrap a class's method as instrumentation does: with all of its names."""
    genuine = owner.handle_async_request  # type: ignore[attr-defined]

    @functools.wraps(genuine)
    async def wrapper(self: Any, request: Any) -> Any:
        watched.append(owner.__name__)
        for _ in range(times - 1):
            await genuine(self, request)
        return await genuine(self, request)

    monkeypatch.setattr(owner, "handle_async_request", wrapper)


PATCHED = [
    httpx.AsyncHTTPTransport,
    httpcore.AsyncConnectionPool,
    httpcore.AsyncHTTPConnection,
    httpcore.AsyncHTTP11Connection,
]


@pytest.mark.parametrize("owner", PATCHED)
async def test_what_watches_requests_sees_each_and_lets_it_pass(
    owner: type, watched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    watch(monkeypatch, owner, watched)
    script = answering(http(httpx.Response(200, json=SENT).content))
    async with raw_server(script) as server, Client(KEY, url=server.url, retry=ONCE) as client:
        for _ in range(2):
            await client.send("79087964781", "text", id=7)
    assert watched == [owner.__name__] * 2
    assert len(server.requests) == 2
    assert server.connections == (2 if "HTTPConnection" in owner.__name__ or "11" in owner.__name__ else 1)


@pytest.mark.parametrize("owner", PATCHED[:2])
async def test_what_wraps_requests_cannot_repeat_one(
    owner: type, watched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    watch(monkeypatch, owner, watched, times=2)
    script = answering(http(httpx.Response(200, json=SENT).content))
    async with raw_server(script) as server, Client(KEY, url=server.url, retry=ONCE) as client:
        with pytest.raises(OutcomeUnknown, match="something has repeated the request"):
            await client.send("79087964781", "text", id=7)
    assert len(server.requests) == 1


async def test_what_watches_httpx_does_not_loosen_the_limits_of_a_paid_request(
    watched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    watch(monkeypatch, httpx.AsyncHTTPTransport, watched)
    limits: list[object] = []
    harden = Connection._harden

    def hardening(self: Connection, limit: WriteLimit) -> None:
        limits.append(limit)
        harden(self, limit)

    monkeypatch.setattr(Connection, "_harden", hardening)
    script = answering(http(httpx.Response(200, json=SENT).content))
    async with raw_server(script) as server, Client(KEY, url=server.url) as client:
        message = Message("79087964781", "text", id=7)
        await client._send_once([message], not_after=boot_time() + 10, nonce_of=lambda _: b"")
        await client._send_once([message], not_after=boot_time() - 1, nonce_of=lambda _: b"")
    assert len(limits) == len(server.requests) == 1


def test_below_httpcores_connections_nothing_is_promised(watched: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert Client(KEY)._late_bytes is None
    watch(monkeypatch, httpcore.AsyncHTTPConnection, watched)
    assert "httpcore" in (Client(KEY)._late_bytes or "")


async def test_a_mock_of_the_proxy_alone_keeps_requests_at_home(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = []

    async def answer(_: object, request: httpcore.Request) -> httpcore.Response:
        answered.append(request)
        return httpcore.Response(200, content=httpx.Response(200, json=SENT).content)

    monkeypatch.setattr(httpcore.AsyncHTTPProxy, "handle_async_request", answer)
    async with made(gateway, proxy="http") as client:
        await client.send("79087964781", "text", id=7)
    assert len(answered) == 1


async def test_what_a_mock_below_lets_pass_does_not_go_around_a_socks_proxy(
    gateway: Gateway, watched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    watch(monkeypatch, httpcore.AsyncHTTPConnection, watched)
    async with made(gateway, proxy="socks5") as client:
        with pytest.raises(ConnectionFailed, match="know no SOCKS proxy"):
            await client.send("79087964781", "text", id=7)
    assert watched


async def test_a_wrapper_that_sends_requests_elsewhere_is_followed(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = httpx.AsyncHTTPTransport.handle_async_request

    async def elsewhere(self: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        request.url = httpx.URL(server.url)
        return await genuine(self, request)

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", elsewhere)
    async with raw_server(answering(http(httpx.Response(200, json=SENT).content))) as server:
        async with made(gateway) as client:
            await client.send("79087964781", "text", id=7)
        assert len(server.requests) == 1


LATE_IMPORT = f"""
import asyncio, sys
import respx

async def main(using, url):
    with respx.mock(using=using) as router:
        import smspilot_async  # as an application does that is only loaded in its test
        route = router.post(url).respond(json={SENT!r})
        async with smspilot_async.Client("API-KEY", url=url) as client:
            await client.send("79087964781", "text", id=7)
        assert route.call_count == 1

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("using", ["httpcore", "httpx"])
def test_a_mock_that_was_there_before_the_library_was_imported_keeps_requests_at_home(
    gateway: Gateway, using: str
) -> None:
    command = [sys.executable, "-c", LATE_IMPORT, using, gateway.url]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own script
    assert ran.returncode == 0, ran.stderr
