"""What each failure of the network proves: nothing was sent, or it may have been."""

from __future__ import annotations

import gc
import gzip
import socket
import tracemalloc
import zlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

import httpcore
import httpx
import pytest
from manual_clock import idle
from outcomes import PHONE, TEXT, begun, failure_of
from raw_servers import (
    Peer,
    answering,
    close_after_request,
    forwarding,
    hang_after_request,
    hang_at_once,
    http,
    raw_server,
    reset_after_head,
    reset_after_request,
    reset_at_once,
)

from smspilot_async import (
    Client,
    ConnectionFailed,
    Message,
    Outcome,
    OutcomeUnknown,
    Reason,
    Retry,
    Unanswered,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from manual_clock import ManualClock
    from tls import Tls


KEY = "K" * 64
ONCE = Retry(attempts=1)
ACCEPTED = b'{"send":[{"id":"0","server_id":"10001","status":"0","error":"0"}],"server_packet_id":"7"}'


def is_certain(error: object) -> bool:
    return isinstance(error, ConnectionFailed) and error.outcome is Outcome.NOT_SENT


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


async def sending(url: str, **options: Any) -> object:
    """Send one message with a client of its own; return the error, or the answer."""
    async with Client(KEY, url=url, **{"retry": ONCE, **options}) as client:
        try:
            return await client.send(PHONE, TEXT)
        except Exception as error:  # noqa: BLE001 - what it is, is the question
            return error


# --- nothing sent --------------------------------------------------------------------------------


async def test_a_refused_connection_sent_nothing() -> None:
    port = free_port()
    error = await sending(f"http://127.0.0.1:{port}/api2.php")
    assert is_certain(error)
    assert f"no connection to 127.0.0.1:{port}: Connection refused" in str(error)


@pytest.fixture
def no_name_resolves(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("no_name_resolves")
async def test_a_name_that_does_not_resolve_sent_nothing_and_is_named() -> None:
    error = await sending("https://gateway.invalid/api2.php")
    assert is_certain(error)
    assert "gateway.invalid cannot be resolved: Name or service not known" in str(error)


@pytest.mark.usefixtures("no_name_resolves")
@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_a_proxy_whose_name_does_not_resolve_is_named_without_its_password(scheme: str) -> None:
    error = await sending("https://gateway.test/api2.php", proxy=f"{scheme}://me:hunter2@proxy.invalid:3128")
    assert is_certain(error)
    assert "proxy.invalid" in str(error)
    assert "Name or service not known" in str(error)
    assert "Errno" not in str(error)
    assert "hunter2" not in str(error)


async def test_an_invalid_host_name_sent_nothing_and_is_named() -> None:
    error = await sending("https://gateway..invalid/api2.php")
    assert is_certain(error)
    assert "gateway..invalid cannot be resolved" in str(error)


@pytest.mark.parametrize("trouble", ["an unknown authority", "another host's certificate"])
async def test_a_certificate_that_proves_nothing_sent_nothing(tls: Tls, trouble: str) -> None:
    host, context = ("127.0.0.1", None) if "authority" in trouble else ("gateway.test", tls.client())

    async with raw_server(answering(http(ACCEPTED)), tls=tls.server(host)) as server:
        assert is_certain(await sending(server.https_url, ssl_context=context))
        assert server.requests == []


async def speaks_plain(peer: Peer) -> None:
    await peer.send(b"SSH-2.0-OpenSSH_9.2\r\n")


@pytest.mark.parametrize("script", [reset_at_once, speaks_plain])
async def test_a_peer_that_does_not_speak_tls_was_sent_nothing(tls: Tls, script: Callable[[Peer], Any]) -> None:
    async with raw_server(script) as server:
        assert is_certain(await sending(server.https_url, ssl_context=tls.client()))


async def test_a_connection_that_is_not_made_in_time_sent_nothing(tls: Tls) -> None:
    async with raw_server(hang_at_once) as server:  # the handshake of TLS never ends
        error = await sending(server.https_url, ssl_context=tls.client(), timeout=0.05)

    assert is_certain(error)


async def test_a_deadline_that_passes_while_connecting_proves_that_nothing_was_sent(
    tls: Tls, manual_clock: ManualClock
) -> None:
    async with (
        raw_server(hang_at_once) as server,
        Client(KEY, url=server.https_url, ssl_context=tls.client()) as client,
    ):
        one = await begun(failure_of(client.send(PHONE, TEXT)))
        packet = await begun(failure_of(client.send_packet([Message(PHONE, TEXT)])))
        await server.has_connection.wait()
        await manual_clock.advance(25)

        assert is_certain(await one)
        assert is_certain(await packet)


async def test_a_proxy_that_is_away_was_sent_nothing_and_is_named() -> None:
    port = free_port()
    error = await sending("https://gateway.test/", proxy=f"http://me:hunter2@127.0.0.1:{port}")

    assert is_certain(error)
    assert f"(by the proxy 127.0.0.1:{port})" in str(error)
    assert "hunter2" not in str(error)


async def close_after_head(peer: Peer) -> None:
    await peer.head()


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(answering(http(b"", status="407 Proxy Authentication Required")), id="wants a password"),
        pytest.param(answering(http(b"<html>", status="502 Bad Gateway")), id="502"),
        pytest.param(answering(http(b"", status="403 Forbidden")), id="403"),
        pytest.param(answering(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), id="no http"),
        pytest.param(close_after_head, id="closes"),
        pytest.param(reset_after_head, id="resets"),
        pytest.param(reset_at_once, id="resets at once"),
    ],
)
async def test_a_proxy_that_fails_before_the_tunnel_is_up_was_sent_nothing(script: Callable[[Peer], Any]) -> None:
    async with raw_server(script) as proxy:
        error = await sending("https://gateway.test/", proxy=proxy.proxy_url)

    assert is_certain(error)
    assert "(by the proxy 127.0.0.1:" in str(error)
    assert not any(head.startswith(b"POST") for head in proxy.heads)


async def test_a_proxy_that_hangs_before_the_tunnel_is_up_was_sent_nothing() -> None:
    async with raw_server(hang_after_request) as proxy:
        assert is_certain(await sending("https://gateway.test/", proxy=proxy.proxy_url, timeout=0.1))


async def test_a_tunnel_to_an_untrusted_peer_sent_nothing(tls: Tls) -> None:
    async with (
        raw_server(answering(http(ACCEPTED)), tls=tls.server()) as server,
        raw_server(forwarding(server.port)) as proxy,
    ):
        assert is_certain(await sending("https://127.0.0.1/", proxy=proxy.proxy_url))
        assert server.requests == []


async def test_through_a_tunnel_a_message_is_sent(tls: Tls) -> None:
    async with (
        raw_server(answering(http(ACCEPTED)), tls=tls.server()) as server,
        raw_server(forwarding(server.port)) as proxy,
    ):
        sent = await sending("https://127.0.0.1/", proxy=proxy.proxy_url, ssl_context=tls.client())

    assert getattr(sent, "server_id", None) == "10001"
    assert proxy.heads[0].startswith(b"CONNECT 127.0.0.1:443 ")


@pytest.mark.parametrize("script", [reset_after_head, reset_after_request, close_after_request])
async def test_a_request_that_went_through_a_tunnel_has_an_unknown_outcome(
    tls: Tls, script: Callable[[Peer], Any]
) -> None:
    async with raw_server(script, tls=tls.server()) as server, raw_server(forwarding(server.port)) as proxy:
        error = await sending("https://127.0.0.1/", proxy=proxy.proxy_url, ssl_context=tls.client())

    assert isinstance(error, OutcomeUnknown)
    assert error.reason is Reason.DISCONNECTED


@pytest.mark.parametrize("busy_with", ["send", "balance"])
async def test_a_call_that_gets_no_connection_before_its_deadline_sent_nothing(
    manual_clock: ManualClock, busy_with: str
) -> None:
    async with raw_server(hang_after_request) as server:
        client = Client(KEY, url=server.url, max_connections=1, retry=ONCE, timeout=60)
        held = await begun(failure_of(client.balance(deadline=50)))
        await server.has_request.wait()
        work = client.send(PHONE, TEXT) if busy_with == "send" else client.balance()
        waiting = await begun(failure_of(work))

        await manual_clock.advance(25)

        assert is_certain(await waiting)
        await manual_clock.advance(25)
        assert isinstance(await held, Unanswered)
        assert len(server.requests) == 1
        await client.aclose()


# --- it may have been sent -----------------------------------------------------------------------


async def reset_at_the_first_byte(peer: Peer) -> None:
    await peer.reader.readexactly(1)  # before that, it is known that nothing was sent
    peer.reset()


async def half_an_answer(peer: Peer) -> None:
    await peer.request()
    await peer.send(http(ACCEPTED)[:-20])


async def half_a_status_line(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"HTTP/1.1 2")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        pytest.param(reset_at_the_first_byte, Reason.DISCONNECTED, id="reset before the headers are read"),
        pytest.param(reset_after_head, Reason.DISCONNECTED, id="reset before the body is read"),
        pytest.param(reset_after_request, Reason.DISCONNECTED, id="reset after the body"),
        pytest.param(close_after_request, Reason.DISCONNECTED, id="closed after the body"),
        pytest.param(half_an_answer, Reason.DISCONNECTED, id="half an answer"),
        pytest.param(half_a_status_line, Reason.DISCONNECTED, id="half a status line"),
        pytest.param(answering(b"SSH-2.0-OpenSSH\r\n\r\n"), Reason.DISCONNECTED, id="no http"),
        pytest.param(answering(http(b"<html>ok</html>")), Reason.UNREADABLE, id="HTML"),
        pytest.param(answering(http(b"")), Reason.UNREADABLE, id="nothing"),
        pytest.param(answering(http(ACCEPTED[:-9])), Reason.UNREADABLE, id="half a document"),
        pytest.param(answering(http(b"\xff\xfe{}")), Reason.UNREADABLE, id="not UTF-8"),
        pytest.param(answering(http(b"<html>", status="502 Bad Gateway")), Reason.HTTP_STATUS, id="502"),
        pytest.param(answering(http(b"", status="204 No Content")), Reason.UNREADABLE, id="204"),
        pytest.param(answering(http(b" " * 200_000)), Reason.TOO_LARGE, id="too large"),
        pytest.param(
            answering(http(gzip.compress(b" " * 200_000), headers=b"Content-Encoding: gzip\r\n")),
            Reason.TOO_LARGE,
            id="too large, compressed",
        ),
        pytest.param(
            answering(http(b"no gzip", headers=b"Content-Encoding: gzip\r\n")), Reason.UNREADABLE, id="broken gzip"
        ),
        pytest.param(
            answering(http(gzip.compress(ACCEPTED)[:-30], headers=b"Content-Encoding: gzip\r\n")),
            Reason.UNREADABLE,
            id="half a gzip",
        ),
        pytest.param(
            answering(http(ACCEPTED, headers=b"Content-Encoding: br\r\n")), Reason.UNREADABLE, id="an encoding unknown"
        ),
    ],
)
async def test_an_unreadable_answer_leaves_the_outcome_unknown(script: Callable[[Peer], Any], reason: Reason) -> None:
    async with raw_server(script) as server:
        error = await sending(server.url, retry=Retry())

    assert isinstance(error, OutcomeUnknown)
    assert error.reason is reason
    assert server.connections == 1


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
@pytest.mark.parametrize("style", ["body", "form"])
async def test_a_redirect_is_never_followed(status: str, style: Any) -> None:
    async with raw_server(answering(http(ACCEPTED))) as other:
        redirect = http(b"", status=status, headers=f"Location: {other.url}\r\n".encode())
        async with raw_server(answering(redirect)) as server:
            error = await sending(server.url, request_style=style, retry=Retry())

    assert isinstance(error, OutcomeUnknown)
    assert (error.reason, error.http_status) == (Reason.HTTP_STATUS, int(status[:3]))
    assert (server.connections, other.connections) == (1, 0)


async def test_a_forward_proxy_that_answers_502_may_have_passed_the_request_on() -> None:
    async with raw_server(answering(http(b"<html>", status="502 Bad Gateway"))) as proxy:
        error = await sending("http://gateway.test/api2.php", allow_http=True, proxy=proxy.proxy_url, retry=Retry())

    assert isinstance(error, OutcomeUnknown)
    assert error.http_status == 502
    assert len(proxy.requests) == 1
    assert proxy.requests[0].startswith(b"POST http://gateway.test/api2.php HTTP/1.1\r\n")


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\n", http(ACCEPTED)[:-1]])
async def test_an_answer_that_stops_coming_is_a_timeout(manual_clock: ManualClock, answer: bytes) -> None:
    async def stall(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer)
        await peer.hang()

    async with raw_server(stall) as server, Client(KEY, url=server.url, timeout=10) as client:
        call = await begun(failure_of(client.send(PHONE, TEXT)))
        await server.has_request.wait()
        await manual_clock.advance(10)
        error = await call

    assert isinstance(error, OutcomeUnknown)
    assert error.reason is Reason.TIMEOUT


async def test_an_answer_that_drips_does_not_outlast_the_timeout(manual_clock: ManualClock) -> None:
    async def drip(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(1000):
            await manual_clock.sleep(1)
            await peer.send(b" ")

    async with raw_server(drip) as server, Client(KEY, url=server.url, timeout=10) as client:
        call = await begun(failure_of(client.send(PHONE, TEXT)))
        await server.has_request.wait()
        await manual_clock.advance(10)
        error = await call

    assert isinstance(error, OutcomeUnknown)
    assert error.reason is Reason.TIMEOUT


@pytest.mark.parametrize(
    "date",
    ["", "yesterday", "Mon, 01 Jan 99999999999999 00:00:00 GMT", "Tue, 15 Jan 2030 12:00:00 -0000", "\xff"],
)
async def test_an_odd_date_does_not_cost_the_answer_it_came_with(date: str) -> None:
    answer = http(ACCEPTED, headers=b"Date: " + date.encode("latin-1") + b"\r\n")
    async with raw_server(answering(answer)) as server, Client(KEY, url=server.url) as client:
        sent = await client.send(PHONE, TEXT)

    assert sent.server_id == "10001"
    assert client.gateway_time is None or client.gateway_time.utcoffset() is not None


async def test_a_client_knows_the_gateways_time_from_an_answer() -> None:
    async with raw_server(
        answering(
            http(ACCEPTED, headers=b"Date: Tue, 15 Jan 2030 12:00:00 GMT\r\n"),
            http(ACCEPTED, headers=b"Date: soon\r\n"),
        )
    ) as server:
        client = Client(KEY, url=server.url)
        assert client.gateway_time is None
        for _ in range(2):
            await client.send(PHONE, TEXT)
            assert client.gateway_time == datetime(2030, 1, 15, 12, 0, tzinfo=UTC)
        await client.aclose()

    assert client.gateway_time == datetime(2030, 1, 15, 12, 0, tzinfo=UTC)


# --- compressed without being asked for --------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [("gzip", gzip.compress), ("x-gzip", gzip.compress), ("deflate", zlib.compress), ("GZip", gzip.compress)],
)
async def test_an_answer_that_is_compressed_all_the_same_is_understood(
    encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    answer = http(compress(ACCEPTED), headers=f"Content-Encoding: {encoding}\r\n".encode())
    async with raw_server(answering(answer)) as server:
        sent = await sending(server.url)

    assert getattr(sent, "server_id", None) == "10001"
    assert b"\r\naccept-encoding: identity\r\n" in server.heads[0].lower()


def bomb() -> bytes:
    squeezed = zlib.compressobj(9, zlib.DEFLATED, 31)
    return squeezed.compress(b" " * 100_000_000) + squeezed.flush()


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        pytest.param([bomb()], Reason.TOO_LARGE, id="a bomb"),
        pytest.param([gzip.compress(b"{")] + [bytes(100_000)] * 300, Reason.UNREADABLE, id="an end, and then more"),
    ],
)
async def test_an_answer_that_grows_without_end_is_cut_off_in_bounded_memory(
    pieces: list[bytes], reason: Reason
) -> None:
    async def pour(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in pieces:
            await peer.send(b"%x\r\n" % len(piece) + piece + b"\r\n")
        await peer.send(b"0\r\n\r\n")

    async with raw_server(pour) as server:
        tracemalloc.start()
        error = await sending(server.url)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert getattr(error, "reason", None) is reason
    assert peak < 6_000_000


# --- idle connections ----------------------------------------------------------------------------


@pytest.mark.parametrize(("idle_seconds", "connections"), [(0.0, 1), (3.5, 1), (4.5, 2), (60.0, 2)])
async def test_no_connection_is_used_that_was_idle_for_more_than_four_seconds(
    manual_clock: ManualClock, idle_seconds: float, connections: int
) -> None:
    async with raw_server(answering(http(ACCEPTED))) as server, Client(KEY, url=server.url) as client:
        await client.send(PHONE, TEXT)
        await manual_clock.advance(idle_seconds)
        await client.send(PHONE, TEXT)

    assert server.connections == connections
    assert len(server.requests) == 2


async def test_an_idle_connection_that_the_server_closed_is_not_used() -> None:
    async def one_answer_each(peer: Peer) -> None:
        await peer.request()
        await peer.send(http(ACCEPTED))

    async with raw_server(one_answer_each) as server, Client(KEY, url=server.url) as client:
        for _ in range(3):
            await client.send(PHONE, TEXT)
            await idle()

    assert server.connections == 3


@pytest.mark.parametrize("ending", ["close", "reset"])
async def test_an_idle_connection_that_closes_under_a_request_leaves_its_outcome_unknown_and_is_not_repeated(
    ending: str,
) -> None:
    async def answers_once(peer: Peer) -> None:
        await peer.request()
        await peer.send(http(ACCEPTED))
        await peer.head()  # the next request is on its way when the server gives the connection up
        if ending == "reset":
            peer.reset()

    async with raw_server(answers_once) as server, Client(KEY, url=server.url) as client:
        await client.send(PHONE, TEXT)
        error = await failure_of(client.send(PHONE, TEXT))

    assert isinstance(error, OutcomeUnknown)
    assert error.reason is Reason.DISCONNECTED
    assert server.connections == 1


async def test_a_read_under_which_an_idle_connection_closes_is_asked_again(manual_clock: ManualClock) -> None:
    async def answers_once(peer: Peer) -> None:
        await peer.request()
        await peer.send(http(b'{"balance":1.5}'))
        await peer.head()

    async with raw_server(answers_once) as server, Client(KEY, url=server.url) as client:
        await client.balance()
        await manual_clock.drive(client.balance())

    assert server.connections == 2


# --- the user's transports -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError("refused"),
        httpx.ConnectTimeout("slow"),
        httpx.PoolTimeout("busy"),
        httpx.ProxyError("407 denied"),
        httpx.ReadTimeout("slow"),
        httpx.WriteError("broken"),
        httpx.UnsupportedProtocol("gopher"),
        OSError("away"),
        TimeoutError("slow"),
        RuntimeError("a bug"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_transport_that_reports_nothing_proves_nothing(error: Exception, manual_clock: ManualClock) -> None:
    calls = []

    def fail(request: httpx.Request) -> NoReturn:
        calls.append(request)
        raise error

    client = Client(KEY, transport=httpx.MockTransport(fail))
    failure = await manual_clock.drive(failure_of(client.send(PHONE, TEXT)))

    assert isinstance(failure, OutcomeUnknown)
    assert len(calls) == 1
    assert str(error) not in str(failure)


@pytest.mark.parametrize("fate", [reset_after_request, close_after_request, hang_after_request, reset_at_once])
async def test_what_a_failed_request_said_is_freed_at_once_without_the_garbage_collector(
    fate: Callable[[Peer], Awaitable[None]],
) -> None:
    """Since Python 3.13 a failure of httpx holds on to its own frames, in a cycle, and with them to the request."""
    gc.collect()
    gc.disable()
    try:
        async with raw_server(fate) as server:
            await sending(server.url, timeout=0.05)

            held = [one for one in gc.get_objects() if issubclass(type(one), (httpx.Request, httpcore.Request))]
            assert held == []
    finally:
        gc.enable()


async def test_a_failure_that_its_transport_made_its_own_cause_ends_as_any_other(manual_clock: ManualClock) -> None:
    """Where this breaks, it hangs."""

    def fail(_: httpx.Request) -> NoReturn:
        error = httpx.ReadError("broken")
        raise error from error

    client = Client(KEY, transport=httpx.MockTransport(fail))
    assert isinstance(await manual_clock.drive(failure_of(client.send(PHONE, TEXT))), OutcomeUnknown)


class Reporting(httpx.AsyncBaseTransport):
    """Reports some of httpcore's events, and fails to connect."""

    def __init__(self, *events: str) -> None:
        self.events = events

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        for event in self.events:
            await request.extensions["trace"](event, {"request": request})
        raise httpx.ConnectError("refused")


@pytest.mark.parametrize(
    ("events", "certain"),
    [
        ((), False),
        (("connection.connect_tcp.started", "connection.connect_tcp.failed"), True),
        (("connection.connect_tcp.started", "http11.send_request_headers.started"), False),
    ],
)
async def test_a_transport_that_reports_is_believed(events: tuple[str, ...], *, certain: bool) -> None:
    assert is_certain(await sending("https://gateway.test/", transport=Reporting(*events))) is certain


async def test_a_transport_of_the_callers_own_is_left_open() -> None:
    class Counting(httpx.MockTransport):
        closed = 0

        async def aclose(self) -> None:
            self.closed += 1

    transport = Counting(lambda _: httpx.Response(200, content=ACCEPTED))
    async with Client(KEY, transport=transport) as client:
        await client.send(PHONE, TEXT)

    assert transport.closed == 0


async def test_a_transport_that_is_not_asynchronous_is_an_error_of_ours() -> None:
    class Sync(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            response = httpx.Response(200, stream=iter_stream())
            response.request = request
            return response

    assert isinstance(await sending("https://gateway.test/", transport=Sync()), OutcomeUnknown)


def iter_stream() -> Any:
    class Stream(httpx.SyncByteStream):
        def __iter__(self) -> Any:
            yield ACCEPTED

    return Stream()


# --- requests that cannot be made ----------------------------------------------------------------


async def test_a_request_that_http_has_no_form_for_was_not_sent() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise AssertionError(request.method)

    with pytest.warns(UserWarning, match="debug_email"):
        client = Client(KEY, debug_email="x" * 70_000, retry=ONCE, transport=httpx.MockTransport(answer))

    assert is_certain(await failure_of(client.send(PHONE, TEXT)))
