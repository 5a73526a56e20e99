"""The key, the password, phones and texts: in no repr, log, error, pickle or warning; the key in no frame of ours."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import pickle
import socket
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpcore
import httpx
import pytest
from outcomes import begun
from raw_servers import (
    Peer,
    answering,
    close_after_request,
    hang_after_request,
    http,
    raw_server,
    reset_after_request,
    reset_at_once,
)

import smspilot_async
from smspilot_async import Client, Message, Packet, Retry
from smspilot_async._tools.secret import Secret
from smspilot_async.emulator import Account, Emulator, Fault
from smspilot_async.wire import Envelope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
    from types import FrameType, TracebackType

    from listeners import Listener
    from manual_clock import ManualClock
    from tls import Tls

KEY = "KeyMarkerQ7" + "Z" * 53
LOGIN, PASSWORD = "login-marker@example.com", "PassMarkerQ8"
PHONE, TEXT = "79995550123", "TextMarkerQ9 Привет"
FROM, CALLBACK = "SenderMark", "https://example.com/CallbackMarker?token=TokenMarker"
ASKED_BY, ASKED = "79995550777", "InboundMarker"
MARKERS = [
    "KeyMarkerQ7",
    "PassMarkerQ8",
    "9995550123",
    "999 555-01-23",
    "TextMarkerQ9",
    "Привет",
    "SenderMark",
    "CallbackMarker",
    "TokenMarker",
    "9995550777",
    "InboundMarker",
]
OURS = str(Path(smspilot_async.__file__).parent)
ONCE = Retry(attempts=1)


def shown(place: str, text: str, markers: list[str] = MARKERS) -> list[str]:
    """What a place gives away; Cyrillic also as JSON, URLs and bytes write it."""
    escaped = {marker: json.dumps(marker).strip('"') for marker in markers}
    return [f"{marker} in {place}" for marker in markers if marker in text or escaped[marker] in text]


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and all that it drags along."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]


def frames(trace: TracebackType | None) -> Iterator[FrameType]:
    while trace is not None:
        yield trace.tb_frame
        trace = trace.tb_next


def leaks_of(error: BaseException) -> list[str]:
    """Everything that an error gives away, itself or by what hangs on to it."""
    leaks = []
    for one in chain(error):
        leaks += shown(f"str of {type(one).__name__}", f"{one} {one!r} {one.args!r} {vars(one)!r}")
        leaks += shown("its pickle", pickle.dumps(one).decode("latin-1"))
        if type(one).__module__.partition(".")[0] in {"httpx", "httpcore", "h11", "anyio"}:
            leaks.append(f"a {type(one).__module__} error")
        for frame in frames(one.__traceback__):
            leaks += _leaks_of_frame(frame)
    return leaks


def _leaks_of_frame(frame: FrameType) -> list[str]:
    if not frame.f_code.co_filename.startswith(OURS):
        return [] if frame.f_code.co_filename == __file__ else [f"a frame of {frame.f_code.co_filename}"]
    own_arguments = {"to", "text", "sender", "callback"} if frame.f_code.co_name == "send" else set()
    leaks = []
    for name, value in frame.f_locals.items():
        if name not in own_arguments:
            leaks += shown(f"{name} of {frame.f_code.co_name}", repr(value))
        if isinstance(value, (httpx.Request, httpx.Response, httpcore.Request, Envelope, bytes)):
            leaks.append(f"{type(value).__name__} in {frame.f_code.co_name}")
    return leaks


def leaks_of_logs(records: list[logging.LogRecord]) -> list[str]:
    leaks = []
    for record in records:
        leaks += shown(f"log of {record.name}", f"{record.getMessage()} {record.args!r} {vars(record)!r}")
    return leaks


@pytest.fixture(autouse=True)
def _everything_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    for name in ("", "smspilot_async", "httpx", "httpcore", "asyncio"):
        caplog.set_level(logging.DEBUG, logger=name)
    yield
    assert leaks_of_logs(caplog.records) == []


def message(**more: Any) -> Message:
    return Message(PHONE, TEXT, sender=FROM, callback=CALLBACK, **more)


CALLS: dict[str, Callable[[Client], Awaitable[object]]] = {
    "send": lambda client: client.send(PHONE, TEXT, sender=FROM, callback=CALLBACK),
    "send_packet": lambda client: client.send_packet([message(id=1), message(id=2)]),
    "cost": lambda client: client.cost([message()]),
    "check": lambda client: client.check(["1"]),
    "balance": lambda client: client.balance(),
    "info": lambda client: client.info(),
    "inbound": lambda client: client.inbound(),
}


async def leaks_of_calls(client: Client, names: Iterable[str] = tuple(CALLS)) -> list[str]:
    """Make calls, and return what their results and errors reveal."""
    leaks = shown("repr of the client", repr(client))
    for name in names:
        try:
            answer = await CALLS[name](client)
        except Exception as error:  # noqa: BLE001 - whichever
            leaks += leaks_of(error)
        else:
            rows = answer.messages if isinstance(answer, Packet) else answer if isinstance(answer, list) else [answer]
            leaks += shown(f"repr of the answer to {name}", f"{answer!r} {rows!r}")
            failures = [getattr(row, "failure", None) for row in rows]
            leaks += [leak for failure in failures if failure is not None for leak in leaks_of(failure)]
    return leaks


STYLES = [
    pytest.param({}, id="JSON body"),
    pytest.param({"wire": "xml"}, id="XML body"),
    pytest.param({"request_style": "form"}, id="JSON form"),
    pytest.param({"wire": "xml", "request_style": "query"}, id="XML query"),
    pytest.param({"request_style": "query"}, id="JSON query"),
]


@pytest.fixture(params=STYLES)
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    options: dict[str, Any] = request.param
    return options


def made(**options: Any) -> Client:
    """A client that logs in with the marked key, unless the options differ."""
    options = {"retry": ONCE, **options}
    if "login" not in options:
        options["api_key"] = KEY
    if options.get("request_style") != "query":
        return Client(**options)
    with pytest.warns(smspilot_async.ExposureWarning) as caught:
        client = Client(**options)
    assert shown("a warning", " ".join(str(warning.message) for warning in caught)) == []
    return client


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator.serve(api_key=KEY, loop_protection=None) as emulator:
        emulator.inbound(ASKED_BY, ASKED)
        yield emulator


async def half_an_answer(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{")


def test_the_search_itself_finds_what_leaks() -> None:
    def fail() -> None:
        try:
            raise httpx.ConnectError(KEY)  # noqa: TRY301 - as short as it gets
        except httpx.ConnectError:
            raise LookupError(json.dumps(TEXT)) from None

    with pytest.raises(LookupError) as caught:
        fail()

    leaks = " ".join(leaks_of(caught.value))
    assert "KeyMarkerQ7 in str of ConnectError" in leaks
    assert "KeyMarkerQ7 in its pickle" in leaks
    assert "Привет in str of LookupError" in leaks
    assert "a httpx error" in leaks
    assert leaks_of_logs([logging.LogRecord("x", logging.INFO, "", 0, "%s", (PHONE,), None)]) != []


# --- over the wire -------------------------------------------------------------------------------


async def test_successes_show_nothing(emulator: Emulator, options: dict[str, Any], listener: Listener) -> None:
    async with made(url=emulator.url, hooks=[listener], **options) as client:
        assert await leaks_of_calls(client) == []
        assert shown("results", repr(listener.results)) == []
    assert len(emulator.messages) == 3


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.SLOW])
async def test_faults_show_nothing(
    emulator: Emulator, options: dict[str, Any], listener: Listener, fault: Fault
) -> None:
    async with made(url=emulator.url, hooks=[listener], **options) as client:
        emulator.fail_next("*", fault, times=99)
        assert await leaks_of_calls(client) == []
        assert len(listener.results) == 3
        assert [leak for result in listener.results for leak in leaks_of(getattr(result, "error", Exception()))] == []
        assert shown("results", repr(listener.results)) == []


@pytest.mark.parametrize("code", [101, 106, 112, 115, 110, 243, 999_999])
async def test_refusals_show_nothing(emulator: Emulator, options: dict[str, Any], code: int) -> None:
    async with made(url=emulator.url, **options) as client:
        emulator.refuse(code=code)
        assert await leaks_of_calls(client) == []
        emulator.account.blocked = code
        assert await leaks_of_calls(client) == []


async def test_refusals_in_the_gateways_own_words_show_nothing(options: dict[str, Any]) -> None:
    words = f"{TEXT}, for +7 999 555-01-23 ({PHONE}) from {FROM}: key {KEY}, password {PASSWORD}Q8Q8Q8Q8Q8, {CALLBACK}"
    document = json.dumps({"error": {"code": "223", "description": words}, "apikey": KEY})
    async with raw_server(answering(http(document.encode()))) as server, made(url=server.url, **options) as client:
        leaks = await leaks_of_calls(client, ["send", "send_packet", "cost"])

    assert [leak for leak in leaks if "SenderMark" not in leak] == []  # a sender is no secret


async def test_a_login_shows_nothing(emulator: Emulator, options: dict[str, Any]) -> None:
    emulator.add_account(Account(login=LOGIN, password=PASSWORD))
    async with made(url=emulator.url, login=LOGIN, password=PASSWORD, **options) as client:
        assert await leaks_of_calls(client) == []
    async with made(url=emulator.url, login=LOGIN, password=PASSWORD + "wrong", **options) as client:
        assert await leaks_of_calls(client) == []


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(reset_at_once, id="reset"),
        pytest.param(reset_after_request, id="reset after"),
        pytest.param(close_after_request, id="closed"),
        pytest.param(half_an_answer, id="half"),
        pytest.param(answering(http(b" " * 9_000_000)), id="too large"),
        pytest.param(answering(http(b"{}", headers=b"Content-Encoding: gzip\r\n")), id="broken gzip"),
        pytest.param(answering(http(KEY.encode())), id="no document"),
        pytest.param(answering(http(f'{{"send":"{KEY} {PHONE} {TEXT}"'.encode())), id="a broken document"),
        pytest.param(answering(http(f'{{"send":{{"{TEXT}":"{KEY}"}}}}'.encode())), id="an odd document"),
    ],
)
async def test_broken_answers_show_nothing(options: dict[str, Any], script: Any) -> None:
    async with raw_server(script) as server, made(url=server.url, **options) as client:
        assert await leaks_of_calls(client) == []


async def test_connections_that_fail_show_nothing(options: dict[str, Any], tls: Tls) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        free = sock.getsockname()[1]
    async with raw_server(answering(http(b"{}")), tls=tls.server()) as untrusted:
        for way in (
            {"url": f"http://127.0.0.1:{free}/"},
            {"url": untrusted.https_url},
            {"url": "https://gateway.test/", "proxy": f"http://user:PassMarkerQ8@127.0.0.1:{free}"},
        ):
            async with made(**way, **options) as client:
                assert await leaks_of_calls(client) == []


@pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "502 Bad Gateway", "403 Forbidden"])
async def test_proxies_that_fail_show_nothing(options: dict[str, Any], status: str) -> None:
    async with raw_server(answering(http(b"", status=status))) as proxy:
        through = proxy.proxy_url.replace("http://", "http://user:PassMarkerQ8@")
        for url in ("https://gateway.test/", "http://gateway.test/"):
            async with made(url=url, allow_http=True, proxy=through, **options) as client:
                assert await leaks_of_calls(client) == []


async def test_timeouts_and_deadlines_show_nothing(
    manual_clock: ManualClock, options: dict[str, Any], listener: Listener
) -> None:
    async with (
        raw_server(hang_after_request) as server,
        made(url=server.url, hooks=[listener], **options) as client,
    ):
        leaks = asyncio.ensure_future(leaks_of_calls(client))
        for _ in CALLS:
            await server.has_request.wait()
            server.has_request.clear()
            await manual_clock.advance(25)
        await manual_clock.advance(30)
        assert await leaks == []
    assert shown("results", repr(listener.results)) == []


async def test_cancellation_shows_nothing(emulator: Emulator, options: dict[str, Any], listener: Listener) -> None:
    async with made(url=emulator.url, hooks=[listener], **options) as client:
        for name, accepted in (("send", {"to": PHONE}), ("send_packet", {"id": 2})):
            emulator.fail_next("send", Fault.SLOW)
            call = await begun(CALLS[name](client))  # type: ignore[arg-type]
            await emulator.wait_for(timeout=5.0, **accepted)
            call.cancel()
            await asyncio.wait({call})
            emulator.release()
        await listener.heard(3)
        assert shown("tasks", repr(asyncio.all_tasks())) == []


async def test_a_hook_that_fails_shows_nothing(emulator: Emulator) -> None:
    class Failing(smspilot_async.Hooks):
        def on_result(self, result: smspilot_async.SendResult[Message]) -> None:
            raise ValueError(result.item.text, result.item.to, KEY)

    async with made(url=emulator.url, hooks=[Failing()]) as client:
        assert await leaks_of_calls(client) == []


async def test_a_key_that_cannot_be_had_shows_nothing() -> None:
    def key() -> str:
        raise ValueError(KEY)

    async with Client(key, url="http://127.0.0.1:1/", retry=ONCE) as client:
        assert await leaks_of_calls(client) == []
    async with Client(lambda: KEY + "\n", url="http://127.0.0.1:1/", retry=ONCE) as client:
        assert await leaks_of_calls(client) == []


# --- making a client -----------------------------------------------------------------------------


WRONG = [
    {"wire": "yaml"},
    {"request_style": "pigeon"},
    {"timeout": 0},
    {"deadline": None},
    {"max_connections": 0.5},
    {"rate_limit": -1},
    {"linger": -1},
    {"sender": "Ш"},
    {"url": "http://example.com"},
    {"url": "nonsense"},
    {"url": "https://x:port/"},
    {"proxy": "nonsense"},
    {"proxy": "socks4://127.0.0.1:1080"},
    {"login": "me"},
    {"login": "me", "password": PASSWORD},
    {"hooks": 1},
    {"no_such_option": 1},
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
@pytest.mark.parametrize("source", ["argument", "environment", "file"])
def test_no_frame_shows_the_key_of_a_client_that_could_not_be_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wrong: dict[str, Any], source: str
) -> None:
    given: dict[str, Any] = {}
    (tmp_path / "key").write_text(KEY)
    match source:
        case "argument":
            given["api_key"] = KEY
        case "environment":
            monkeypatch.setenv("SMSPILOT_API_KEY", KEY)
        case "file":
            monkeypatch.setenv("SMSPILOT_API_KEY_FILE", str(tmp_path / "key"))
    if source != "argument" and wrong == {"login": "me", "password": PASSWORD}:
        return  # that is right

    assert_no_frame_shows_it(given | wrong)


@pytest.mark.parametrize(
    "given",
    [
        {"api_key": f"{KEY}\n"},
        {"api_key": KEY.encode()},
        {"api_key": [KEY]},
        {"login": LOGIN, "password": f"{PASSWORD}\x00"},
        {"login": f"{LOGIN}\x00", "password": PASSWORD},
        {"password": PASSWORD},
        {"api_key": KEY, "password": PASSWORD},
    ],
    ids=str,
)
def test_no_frame_shows_a_key_that_is_wrong_itself(given: dict[str, Any]) -> None:
    assert_no_frame_shows_it(given)


@pytest.mark.parametrize("variable", ["SMSPILOT_API_KEY", "SMSPILOT_API_KEY_FILE"])
def test_no_frame_shows_a_key_of_the_environment_that_is_wrong_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    (tmp_path / "key").write_bytes(KEY.encode() + b"\xff")
    monkeypatch.setenv(variable, str(tmp_path / "key") if "FILE" in variable else f"{KEY}\x01{KEY}")

    assert_no_frame_shows_it({})


def assert_no_frame_shows_it(given: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError, ImportError)) as caught:
        Client(**given)

    text = "".join(
        line
        for one in chain(caught.value)
        for summary in traceback.TracebackException.from_exception(one, capture_locals=True).stack
        if summary.filename != __file__
        for line in [repr(summary.locals)]
    )
    assert shown("a frame", text) == []
    assert shown("the error", "".join(traceback.format_exception_only(caught.value))) == []


def test_settings_show_nothing() -> None:
    client = Client(KEY, sender=FROM)

    parts = [client, client._settings, client._settings.credentials, vars(client), client._settings.credentials()]
    assert shown("reprs", repr(parts)) == []
    assert "…" in repr(Secret(KEY))
    gc.collect()
