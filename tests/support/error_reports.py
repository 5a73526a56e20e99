"""What tools that look into failures report of them: run as a program, it fails in every way, and prints what leaks.

It is a process of its own because sentry-sdk changes other packages when it starts. Frames of this file are the
caller's own, and may show what they like; those of all others may not.
"""

from __future__ import annotations

import asyncio
import html
import io
import json
import logging
import pickle
import socket
import sys
import traceback
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import sentry_sdk
import sentry_sdk.transport
from aiohttp import web
from manual_clock import ManualClock, idle
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from raw_servers import Peer, answering, hang_after_request, http, raw_server, reset_after_request
from rich.traceback import Traceback
from serving import free_socket, on_aiohttp

from smspilot_async import Client, Hooks, Message, Retry, SendResult, SentMessage
from smspilot_async._tools import clock as _clock
from smspilot_async.callbacks import CallbackInbox, StatusEvent
from smspilot_async.callbacks.aiohttp import callback_app as callback_app_of_aiohttp
from smspilot_async.callbacks.asgi import callback_app as callback_app_of_asgi
from smspilot_async.otel import OpenTelemetryHooks
from smspilot_async.text import normalize_phone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from sentry_sdk.envelope import Envelope

    Options: TypeAlias = dict[str, Any]
    Call: TypeAlias = Callable[[Client], Awaitable[object]]

KEY: Final = "KeyMarkerQ7" + "Z" * 53
PASSWORD: Final = "PassMarkerQ8"
PHONE: Final = "79995550123"
TEXT: Final = "TextMarkerQ9 Привет"
SENDER: Final = "SenderMark"
CALLBACK: Final = "https://example.com/CallbackMarker?token=TokenMarker"
MARKERS: Final = (
    *("KeyMarkerQ7", PASSWORD, "9995550123", "999 555-01-23", "TextMarkerQ9", "Привет"),
    *(SENDER, "CallbackMarker", "TokenMarker"),
)


FORM: Final = b"server_id=1&status=2&phone=" + PHONE.encode()


class AppError(Exception):
    """The application's own."""


def message(**more: Any) -> Message:
    fields: dict[str, Any] = {"to": PHONE, "text": TEXT, "sender": SENDER, "callback": CALLBACK}
    return Message(**(fields | more))


def made(url: str, **options: Any) -> Client:
    """A client that tries everything once, so that nothing has to wait."""
    hooks = [OpenTelemetryHooks(tracer_provider=spans), *options.pop("hooks", ())]
    return Client(KEY, url=url, hooks=hooks, retry=Retry(attempts=1), **options)


# --- calls ---------------------------------------------------------------------------------------


async def send(client: Client) -> None:
    await client.send(PHONE, TEXT, sender=SENDER, callback=CALLBACK)


async def send_message(client: Client) -> None:
    await client.send_message(message())


async def send_packet(client: Client) -> None:
    packet = await client.send_packet([message(id=1), message(id=2)])
    raise packet.messages[0].failure or AssertionError("it was accepted")


async def bulk(client: Client) -> None:
    items: list[Any] = [message(id=1), {"to": PHONE, "text": TEXT}, (PHONE, TEXT)]
    async with client.bulk(items) as run:
        async for result in run:
            raise getattr(result, "error", None) or AssertionError("it was accepted")


async def cost(client: Client) -> None:
    await client.cost([message()])


async def balance(client: Client) -> None:
    await client.balance()


CALLS: Final = (send, send_message, send_packet, bulk, cost, balance)


# --- what happens to them ------------------------------------------------------------------------


async def refused(call: Call, options: Options) -> None:
    words = f"key {KEY} ({PHONE})"
    if call is not balance:  # which knows no message, and so not its text
        words += f": {TEXT}, for +7 999 555-01-23 from {SENDER}, {CALLBACK}"
    document = json.dumps({"error": {"code": "223", "description": words}, "apikey": KEY})
    async with raw_server(answering(http(document.encode()))) as server, made(server.url, **options) as client:
        await call(client)


async def answered_with_itself(call: Call, options: Options) -> None:
    """The answer is a page that repeats the request, as it came and as pages write it."""

    async def script(peer: Peer) -> None:
        while True:
            request = await peer.request()
            page = b"<html><pre>" + request + html.escape(request.decode()).encode() + b"</pre></html>"
            await peer.send(http(page, status="502 Bad Gateway"))

    async with raw_server(script) as server, made(server.url, **options) as client:
        await call(client)


async def not_connected(call: Call, options: Options) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    async with made(f"http://127.0.0.1:{port}/", **options) as client:
        await call(client)


async def reset(call: Call, options: Options) -> None:
    async with raw_server(reset_after_request) as server, made(server.url, **options) as client:
        await call(client)


async def cancelled(call: Call, options: Options) -> None:
    async with raw_server(hang_after_request) as server, made(server.url, **options) as client:
        task: asyncio.Future[object] = asyncio.ensure_future(call(client))
        await server.has_request.wait()
        task.cancel()
        await clock.advance(60)  # what is paid goes on, and is waited for
        await task


async def out_of_time(call: Call, options: Options) -> None:
    async with raw_server(hang_after_request) as server, made(server.url, **options) as client:
        task: asyncio.Future[object] = asyncio.ensure_future(call(client))
        await server.has_request.wait()
        await clock.advance(60)
        await task


async def not_allowed(call: Call, options: Options) -> None:
    """A hook that has a veto raises; a call that sends nothing fails otherwise."""

    class Never(Hooks):
        def veto(self, message: Message) -> str:
            raise AppError(message.to, message.text)

    async with made("http://127.0.0.1:1/", hooks=[Never()], **options) as client:
        await call(client)


ENDS: Final = (refused, answered_with_itself, not_connected, reset, cancelled, out_of_time, not_allowed)
STYLES: Final[tuple[Options, ...]] = (
    {},
    {"wire": "xml", "request_style": "form"},
    {"request_style": "query"},
)


# --- failures that no gateway is needed for ------------------------------------------------------

LONG: Final = TEXT * 400
NOWHERE: Final = "http://127.0.0.1:1/"


async def text_too_long() -> None:
    await made(NOWHERE).send(PHONE, LONG, sender=SENDER, callback=CALLBACK)


async def no_phone() -> None:
    await made(NOWHERE).send(f"+{PHONE}, {TEXT}", TEXT)


async def no_sender() -> None:
    await made(NOWHERE).send(PHONE, TEXT, sender=f"{SENDER} {SENDER}")


async def no_callback() -> None:
    await made(NOWHERE).send(PHONE, TEXT, callback=f"{CALLBACK} ")


async def no_message() -> None:
    message(text=LONG)


async def no_phone_by_itself() -> None:
    normalize_phone(f"{PHONE} {TEXT}")


async def no_message_for_a_packet() -> None:
    await made(NOWHERE).send_packet([message(), (f"{PHONE}x", TEXT)])


async def nothing_like_a_message() -> None:
    await made(NOWHERE).send_message((PHONE, TEXT))  # type: ignore[arg-type] # a mistake


async def no_size_of_a_packet() -> None:
    made(NOWHERE).bulk([(PHONE, TEXT)], packet_size=0)


async def pairs_that_are_refused() -> None:
    await made(NOWHERE).send_packet([(PHONE, TEXT), {"to": PHONE, "text": TEXT}])


async def an_async_source_of_a_packet_that_breaks_off() -> None:
    async def source() -> AsyncIterator[tuple[str, str]]:
        yield PHONE, TEXT
        raise AppError

    await made(NOWHERE).send_packet(source())


async def a_maker_that_fails() -> None:
    def make(_: tuple[str, str]) -> Message:
        raise AppError

    async with made(NOWHERE).bulk([(PHONE, TEXT)], message=make) as run:
        async for _ in run:
            pass


async def invalid_items() -> None:
    items: list[Any] = [(PHONE, LONG), {"to": PHONE, TEXT: TEXT}]
    async with made(NOWHERE).bulk(items) as run:
        async for result in run:
            raise getattr(result, "error", None) or AssertionError("it was accepted")


async def a_source_that_breaks_off() -> None:
    def source() -> Iterator[tuple[str, str]]:
        yield PHONE, TEXT
        raise AppError

    async with made(NOWHERE).bulk(source()) as run:
        async for _ in run:
            pass


async def an_async_source_that_breaks_off() -> None:
    async def source() -> AsyncIterator[tuple[str, str]]:
        yield PHONE, TEXT
        raise AppError

    async with made(NOWHERE).bulk(source()) as run:
        async for _ in run:
            pass


async def a_journal_that_fails() -> None:
    async def before_packet(_: object) -> None:
        raise AppError

    async with made(NOWHERE).bulk([(PHONE, TEXT)], before_packet=before_packet) as run:
        async for _ in run:
            pass


async def a_failed_message_that_is_waited_for() -> None:
    sent = SentMessage(id=1, to=PHONE, text=TEXT, failure=AppError())  # type: ignore[arg-type] # any error
    await made(NOWHERE).wait_final(sent)


async def a_write_that_is_cancelled() -> None:
    """More than the system's buffers hold, to a peer that reads nothing."""

    async def read_nothing(_: Peer) -> None:
        await asyncio.Event().wait()

    async with raw_server(read_nothing) as server, made(server.url) as client:
        task = asyncio.ensure_future(client.cost([message(text=TEXT * 30)] * 10_000))
        await server.has_connection.wait()
        await idle()
        task.cancel()
        await task


async def an_invalid_proxy() -> None:
    Client(KEY, proxy=f"ftp://user:{PASSWORD}@127.0.0.1:1")


async def a_proxy_with_a_password_that_looks_like_a_port() -> None:
    Client(KEY, proxy=f"http://user:{PASSWORD}@@127.0.0.1:{PASSWORD}")


async def a_url_with_a_password() -> None:
    Client(KEY, url=f"https://user:{PASSWORD}@example.com/")


async def a_url_with_a_password_that_looks_like_a_path() -> None:
    Client(KEY, url=f"https://user:{PASSWORD}/{PASSWORD}@example.com/")


async def a_url_with_a_password_and_a_bracket() -> None:
    Client(KEY, url=f"https://user:{PASSWORD}@[example.com/")


async def another_argument_beside_good_ones() -> None:
    proxy = f"http://user:{PASSWORD}@127.0.0.1:1"
    Client(KEY, proxy=proxy, debug_email=f"{PASSWORD}@example.com", transport="none")  # type: ignore[arg-type] # a mistake


# --- callbacks -----------------------------------------------------------------------------------


class Full:
    """A sink that fails."""

    async def store(self, event: StatusEvent) -> bool:
        raise AppError(PHONE, TEXT, event)


class Hanging:
    """A sink that never ends."""

    def __init__(self) -> None:
        self.is_reached = asyncio.Event()

    async def store(self, event: StatusEvent) -> bool:
        self.is_reached.set()
        await asyncio.Event().wait()
        raise AppError(event)


class Inbox(CallbackInbox):
    """An inbox that says when its adapter is done with a call."""

    def __init__(self, url: str = "https://app.example", sink: Full | Hanging | None = None) -> None:
        super().__init__(f"{url}/sms", secret=PASSWORD * 2, sink=sink)
        self.is_done = asyncio.Event()

    def path(self) -> str:
        [url] = self.urls_for([(7, message(callback=None))]).values()
        return "/" + url.partition("://")[2].partition("/")[2]

    def wake(self) -> None:
        super().wake()
        self.is_done.set()


async def called_by_asgi(inbox: Inbox, method: str, send: Callable[[Any], Awaitable[None]]) -> None:
    """Call the ASGI adapter as a server does."""

    async def receive() -> Any:
        return {"type": "http.request", "body": FORM if method == "POST" else b""}

    query = FORM if method == "GET" else b""
    scope = {"type": "http", "method": method, "path": inbox.path(), "query_string": query}
    await answered_by_asgi(inbox, scope, receive, send)


async def a_sink_that_fails_behind_asgi(method: str) -> None:
    """It is logged, and the gateway is answered with 503."""
    events: list[Any] = []

    async def send(event: Any) -> None:
        events.append(event)

    async with Inbox(sink=Full()) as inbox:
        await called_by_asgi(inbox, method, send)
    raise AppError(events[0]["status"])


async def an_asgi_server_that_fails(method: str) -> None:
    async def send(event: Any) -> None:
        raise AppError(event["type"])

    async with Inbox() as inbox:
        await called_by_asgi(inbox, method, send)


async def an_asgi_call_that_is_cancelled(method: str) -> None:
    async def send(event: Any) -> None:
        raise AppError(event["type"])

    sink = Hanging()
    async with Inbox(sink=sink) as inbox:
        task = asyncio.ensure_future(called_by_asgi(inbox, method, send))
        await sink.is_reached.wait()
        task.cancel()
        await task


async def an_asgi_body_that_is_cut_short_by_the_server() -> None:
    """The task is cancelled while the rest of the body is awaited."""
    is_awaited = asyncio.Event()
    pieces = [{"type": "http.request", "body": FORM, "more_body": True}]

    async def receive() -> Any:
        if pieces:
            return pieces.pop()
        is_awaited.set()
        return await asyncio.Future()

    async def send(event: Any) -> None:
        raise AppError(event["type"])

    async with Inbox() as inbox:
        scope = {"type": "http", "method": "POST", "path": inbox.path(), "query_string": b""}
        task = asyncio.ensure_future(answered_by_asgi(inbox, scope, receive, send))
        await is_awaited.wait()
        task.cancel()
        await task


async def answered_by_asgi(inbox: Inbox, *call: Any) -> None:
    await callback_app_of_asgi(inbox)(*call)


async def called_over_aiohttp(
    sink: Full | None,
    half: int = 0,
    prepare: Callable[[web.Request, web.StreamResponse], Awaitable[None]] | None = None,
) -> None:
    """Call the aiohttp adapter over a socket.

    Args:
        sink: The inbox's.
        half: How many bytes of the form are held back, by a peer that goes away.
        prepare: What the application does with each response.
    """
    sock, url = free_socket()
    async with Inbox(url, sink) as inbox:
        app = web.Application()
        called = callback_app_of_aiohttp(inbox)
        if prepare is not None:
            called.on_response_prepare.append(prepare)
        app.add_subapp("/sms", called)
        async with on_aiohttp(app, sock):
            reader, writer = await asyncio.open_connection(*sock.getsockname())
            head = f"POST {inbox.path()} HTTP/1.1\r\nHost: app.example\r\nContent-Length: {len(FORM)}\r\n"
            writer.write(f"{head}Connection: close\r\n\r\n".encode() + FORM[: len(FORM) - half])
            if half:
                await writer.drain()
                writer.close()
            else:
                answer = await reader.read()
                writer.close()
                raise AppError(answer[:12])
            await inbox.is_done.wait()
    raise AppError


async def a_sink_that_fails_behind_aiohttp() -> None:
    await called_over_aiohttp(Full())


async def a_gateway_that_leaves_aiohttp_in_the_middle() -> None:
    await called_over_aiohttp(None, half=9)


async def an_aiohttp_application_that_fails() -> None:
    async def prepare(request: web.Request, _: web.StreamResponse) -> None:
        raise AppError(request.method)

    await called_over_aiohttp(None, prepare=prepare)


CALLBACKS: Final = (a_sink_that_fails_behind_asgi, an_asgi_server_that_fails, an_asgi_call_that_is_cancelled)


# --- the application's own code ------------------------------------------------------------------


async def a_hook_that_fails() -> None:
    class Failing(Hooks):
        def on_result(self, result: SendResult[Message]) -> None:
            raise AppError(PHONE, TEXT, KEY, result)

    async with made(NOWHERE, hooks=[Failing()]) as client:
        await send(client)


async def a_key_that_cannot_be_had() -> None:
    def key() -> str:
        raise AppError(KEY)

    await Client(key, url=NOWHERE, retry=Retry(attempts=1)).send(PHONE, TEXT)


ALONE: Final = (
    *(text_too_long, no_phone, no_sender, no_callback, no_message, no_phone_by_itself, no_message_for_a_packet),
    *(nothing_like_a_message, no_size_of_a_packet, pairs_that_are_refused, invalid_items, a_source_that_breaks_off),
    *(an_async_source_that_breaks_off, an_async_source_of_a_packet_that_breaks_off, a_maker_that_fails),
    *(a_journal_that_fails, a_failed_message_that_is_waited_for, a_write_that_is_cancelled, an_invalid_proxy),
    *(a_proxy_with_a_password_that_looks_like_a_port, a_url_with_a_password, another_argument_beside_good_ones),
    *(a_url_with_a_password_that_looks_like_a_path, a_url_with_a_password_and_a_bracket),
    an_asgi_body_that_is_cut_short_by_the_server,
    *(a_sink_that_fails_behind_aiohttp, a_gateway_that_leaves_aiohttp_in_the_middle, an_aiohttp_application_that_fails),
    *(a_hook_that_fails, a_key_that_cannot_be_had),
)


async def json_that_is_no_json() -> None:
    """Not ours: its frames show the text, so that the search must find it."""
    json.loads(json.dumps(TEXT)[:-1])


# --- reports -------------------------------------------------------------------------------------


class Kept(sentry_sdk.transport.Transport):
    """Keeps what sentry-sdk would send."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Any] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        self.events += filter(None, [item.get_event() for item in envelope.items])


kept: Final = Kept()
spans: Final = TracerProvider()
exporter: Final = InMemorySpanExporter()
log: Final = io.StringIO()
clock: Final = ManualClock()


def sentry(error: BaseException) -> str:
    """What sentry-sdk sends by its defaults."""
    kept.events.clear()
    sentry_sdk.capture_exception(error)
    [event] = kept.events
    return shown(event)


def shown(event: Any) -> str:
    """An event of sentry-sdk, without our caller's frames and what it reads from a server's request itself."""
    event.pop("request", None)
    for value in event.get("exception", {"values": []})["values"]:
        trace = value.get("stacktrace", {"frames": []})
        trace["frames"] = [frame for frame in trace["frames"] if frame["abs_path"] != __file__]
    return json.dumps(event, ensure_ascii=False, default=repr)


def rich(error: BaseException) -> str:
    """What rich would draw of an error with its variables, without our caller's frames."""
    trace = Traceback.extract(
        type(error), error, error.__traceback__, show_locals=True, locals_max_string=2000, locals_max_length=100
    )
    for stack in trace.stacks:
        stack.frames = [frame for frame in stack.frames if frame.filename != __file__]
    return repr(trace)


def plain(error: BaseException) -> str:
    return "".join(traceback.format_exception_only(error)) + repr(vars(error))


def pickled(error: BaseException) -> str:
    return pickle.dumps(error).decode("utf-8", "replace")


def leaks(error: BaseException) -> list[str]:
    """Everything that the tools reveal of an error."""
    found = []
    for tool in (sentry, rich, plain, pickled):
        report = tool(error)
        found += [f"{marker} in {tool.__name__}" for marker in MARKERS if marker in report]
    return found


async def leaks_of(failure: Callable[[], Awaitable[None]]) -> list[str]:
    """Let something fail in a span of its caller's, and return what leaks."""
    log.truncate(0)
    exporter.clear()
    kept.events.clear()
    found, logged = ["it did not fail"], ""
    try:
        with spans.get_tracer("caller").start_as_current_span("caller"):
            await failure()
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - whichever
        logged = "".join(map(shown, kept.events))
        found = leaks(error)
    texts = {
        "log": log.getvalue(),
        "sentry's events of logged errors": logged,
        "spans": "".join(span.to_json() for span in exporter.get_finished_spans()),
    }
    return found + [f"{marker} in {place}" for place, text in texts.items() for marker in MARKERS if marker in text]


def failures() -> Iterator[tuple[str, Callable[[], Awaitable[None]]]]:
    for end in ENDS:
        for call in CALLS:
            if end is not not_allowed or call not in {cost, balance}:
                for number, options in enumerate(STYLES):
                    yield f"{call.__name__} {end.__name__} {number}", partial(end, call, dict(options))
    for called in CALLBACKS:
        for method in ("GET", "POST"):
            yield f"{called.__name__} {method}", partial(called, method)
    for alone in (*ALONE, json_that_is_no_json):
        yield alone.__name__, alone


async def main() -> None:
    found = {name: await leaks_of(failure) for name, failure in failures()}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.basicConfig(stream=log, level=logging.DEBUG, format="%(name)s %(message)s %(args)r")
    spans.add_span_processor(SimpleSpanProcessor(exporter))
    sentry_sdk.init(dsn="https://public@sentry.example/1", transport=kept)
    with _clock.use(clock):
        asyncio.run(main())
