"""Status callbacks, handed to an ASGI application in the same process, without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from fastapi import FastAPI

from smspilot_async import Client
from smspilot_async.callbacks import CallbackInbox
from smspilot_async.callbacks.asgi import callback_app
from smspilot_async.emulator import Emulator
from smspilot_async.emulator import _callbacks as callbacks

if TYPE_CHECKING:
    import httpx

PHONE = "79087964781"
FAR = "https://app.example/status"


@attrs.define
class Application:
    """What a user's application would be: it notes the calls, and in which loop, and answers ``OK``."""

    answer: bytes = b"OK"
    scopes: list[MutableMapping[str, Any]] = attrs.Factory(list)
    bodies: list[bytes] = attrs.Factory(list)
    loops: list[asyncio.AbstractEventLoop] = attrs.Factory(list)
    called: asyncio.Event = attrs.Factory(asyncio.Event)
    gate: asyncio.Event | None = None

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        self.loops.append(asyncio.get_running_loop())
        self.bodies.append((await receive())["body"])
        self.called.set()
        if self.gate is not None:
            await self.gate.wait()
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": self.answer})

    @property
    def told(self) -> list[str]:
        """The query or the form of each call."""
        return [(scope["query_string"] or body).decode() for scope, body in zip(self.scopes, self.bodies, strict=True)]


@pytest.fixture
def application(emulator: Emulator) -> Application:
    app = Application()
    emulator.callbacks_to = app
    return app


def outcomes(emulator: Emulator) -> list[tuple[int, int | None, str, str | None]]:
    return [(call.status, call.answer_status, call.answer, call.failure) for call in emulator.callbacks]


@pytest.mark.parametrize("method", ["get", "post"])
async def test_each_change_of_status_is_handed_over(
    method: str, emulator: Emulator, desk: Any, application: Application
) -> None:
    row = desk.one(callback=f"{FAR}/%D1%8F?token=1", callback_method=method)
    emulator.clock.advance(minutes=1)
    assert application.scopes == []
    assert not emulator.state()["settled"]
    await emulator.settled()
    fields = [f"server_id={row['server_id']}&status={status}&error=0" for status in (1, 2)]
    assert application.told == ([f"token=1&{one}" for one in fields] if method == "get" else ["token=1"] * 2)
    assert application.bodies == ([b"", b""] if method == "get" else [one.encode() for one in fields])
    scope = application.scopes[0]
    assert [scope[name] for name in ("type", "method", "scheme", "path", "raw_path", "server")] == [
        "http",
        method.upper(),
        "https",
        "/status/я",
        b"/status/%D1%8F",
        ("app.example", 443),
    ]
    headers = dict(scope["headers"])
    assert headers[b"host"] == b"app.example"
    assert headers.get(b"content-type") == (None if method == "get" else b"application/x-www-form-urlencoded")
    assert outcomes(emulator) == [(1, 200, "OK", None), (2, 200, "OK", None)]
    assert emulator.state()["settled"]


async def test_they_come_in_the_order_in_which_statuses_change(
    emulator: Emulator, desk: Any, application: Application
) -> None:
    first, second = (desk.one(text=text, callback=FAR)["server_id"] for text in ("first", "second"))
    emulator.clock.advance(minutes=1)
    await emulator.settled()
    assert application.told == [
        f"server_id={server_id}&status={status}&error=0" for status in (1, 2) for server_id in (first, second)
    ]


async def test_a_callback_inbox_is_called_for_its_messages_without_a_socket() -> None:
    inbox = CallbackInbox("https://app.example/smspilot", secret="a secret for the tests alone")
    emulator = Emulator(callbacks_to=callback_app(inbox))
    async with inbox, Client(emulator.api_key, transport=emulator.transport, callbacks=inbox) as client:
        sent = await client.send(PHONE, "x")
        emulator.clock.advance(minutes=1)
        await emulator.settled()
        events = [await anext(inbox), await anext(inbox)]
        assert (await client.wait_final(sent, timeout=5)).delivered
    assert [(event.id, event.status) for event in events] == [(sent.id, 1), (sent.id, 2)]
    assert all(call.acknowledged for call in emulator.callbacks)


async def test_a_whole_service_gets_them_in_its_own_loop(served: Emulator) -> None:
    inbox = CallbackInbox("https://app.example/smspilot", secret="a secret for the tests alone")
    service, seen = FastAPI(), []
    service.mount("/smspilot", callback_app(inbox))

    @service.middleware("http")
    async def note(request: Any, go_on: Any) -> Any:
        seen.append((asyncio.get_running_loop(), request.url.path[:14]))
        return await go_on(request)

    served.callbacks_to = service
    async with inbox, Client(served.api_key, url=served.url, callbacks=inbox) as client:
        sent = await client.send(PHONE, "x")
        served.clock.advance(minutes=1)
        await served.settled()
        assert (await anext(inbox)).id == sent.id
    assert seen == [(asyncio.get_running_loop(), "/smspilot/cb1-")] * 2


def test_a_test_without_a_loop_settles_in_one(emulator: Emulator, desk: Any) -> None:
    emulator.callbacks_to = application = Application()
    desk.one(callback=FAR)
    emulator.clock.advance(minutes=1)
    asyncio.run(emulator.settled())
    assert len(application.scopes) == 2


async def test_what_it_raises_and_what_it_leaves_out_is_noted(emulator: Emulator, desk: Any) -> None:
    async def fails(_scope: Any, _receive: Any, _send: Any) -> None:
        raise LookupError("secret")

    async def says_nothing(_scope: Any, _receive: Any, _send: Any) -> None:
        pass

    async def hangs_up(_scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 503})
        await send({"type": "http.response.body", "body": b"later"})
        await receive()
        assert (await receive())["type"] == "http.disconnect"

    for app in (fails, says_nothing, hangs_up):
        emulator.callbacks_to = app
        desk.one(text=app.__name__, callback=FAR)
        emulator.clock.advance(seconds=10)
        await emulator.settled()
        emulator.callbacks_to = None
        emulator.clock.advance(minutes=1)
    assert [outcome for outcome in outcomes(emulator) if outcome[3] != "not loopback"] == [
        (1, None, "", "LookupError"),
        (1, None, "", "NoAnswer"),
        (1, 503, "later", None),
    ]


async def test_an_answer_without_an_end_is_read_for_a_while(emulator: Emulator, desk: Any) -> None:
    sent = 0

    async def endless(_scope: Any, _receive: Any, send: Any) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200})
        while True:
            await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})
            sent += 1000

    emulator.callbacks_to = endless
    desk.one(callback=FAR)
    emulator.clock.advance(seconds=10)
    await emulator.settled()
    assert outcomes(emulator) == [(1, 200, "x" * 200, None)]
    assert sent == 65_000


async def test_one_that_does_not_answer_is_not_waited_for_for_ever(
    emulator: Emulator, desk: Any, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "PATIENCE", 0)
    application.gate = asyncio.Event()
    desk.one(callback=FAR)
    emulator.clock.advance(seconds=10)
    await emulator.settled()
    assert outcomes(emulator) == [(1, None, "", "TimeoutError")]


async def test_who_gives_up_gives_up_one_call_and_the_next_makes_the_rest(
    emulator: Emulator, desk: Any, application: Application
) -> None:
    application.gate = asyncio.Event()
    desk.one(callback=FAR)
    emulator.clock.advance(minutes=1)
    settling, waiting = asyncio.create_task(emulator.settled()), asyncio.create_task(emulator.settled())
    await application.called.wait()
    settling.cancel()
    application.gate.set()
    await waiting
    assert settling.cancelled()
    assert outcomes(emulator) == [(1, None, "", "CancelledError"), (2, 200, "OK", None)]


async def test_two_who_wait_make_each_call_once(emulator: Emulator, desk: Any, application: Application) -> None:
    for number in range(5):
        desk.one(text=str(number), callback=FAR)
    emulator.clock.advance(minutes=1)
    await asyncio.gather(emulator.settled(), emulator.settled())
    assert len(application.told) == len(set(application.told)) == len(emulator.callbacks) == 10


async def test_a_reset_forgets_those_that_wait_and_the_one_on_its_way(
    emulator: Emulator, desk: Any, application: Application
) -> None:
    application.gate = asyncio.Event()
    desk.one(callback=FAR)
    emulator.clock.advance(minutes=1)
    settling = asyncio.create_task(emulator.settled())
    await application.called.wait()
    emulator.reset()
    desk.one(text="after", callback=FAR)
    emulator.clock.advance(seconds=10)
    application.gate.set()
    await settling
    assert len(application.told) == 2
    assert outcomes(emulator) == [(1, 200, "OK", None)]


async def test_asking_over_http_makes_none_but_waits(served: Emulator, desk_of: Any, http: httpx.AsyncClient) -> None:
    served.callbacks_to = application = Application()
    desk_of(served).one(callback=FAR)
    served.clock.advance(minutes=1)
    settled = f"{served.page_url}/settled"
    assert (await http.get(settled, params={"timeout": 0})).json() == {"settled": False}
    asking = asyncio.create_task(http.get(settled, params={"timeout": 60}))
    await served.settled()
    assert (await asking).json() == {"settled": True}
    assert set(application.loops) == {asyncio.get_running_loop()}
