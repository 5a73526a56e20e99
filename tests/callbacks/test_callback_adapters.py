"""The adapters on real servers, called by the emulator over HTTP."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from aiohttp import web
from calling import SECRET
from outcomes import PHONE, TEXT

from smspilot_async import Accepted, Client, OutcomeUnknown, Unknown
from smspilot_async.callbacks import CallbackInbox, SQLiteSink
from smspilot_async.callbacks import aiohttp as aiohttp_adapter
from smspilot_async.callbacks import asgi as asgi_adapter
from smspilot_async.emulator import Fault

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from pathlib import Path

    from listeners import Listener

    from smspilot_async.emulator import Emulator


async def test_a_standalone_server_does_not_start_with_a_sink_that_cannot_be_opened(tmp_path: Path) -> None:
    said: list[MutableMapping[str, Any]] = []
    app = asgi_adapter.callback_app(inbox_in(tmp_path / "no folder" / "statuses.db"))

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "lifespan.startup"}

    async def send(event: MutableMapping[str, Any]) -> None:
        said.append(event)

    await app({"type": "lifespan"}, receive, send)
    [failed] = said
    assert failed["type"] == "lifespan.startup.failed"
    assert "statuses.db cannot be opened" in failed["message"]


async def test_an_aiohttp_server_does_not_start_with_a_sink_that_cannot_be_opened(tmp_path: Path) -> None:
    outer = web.Application()
    outer.add_subapp("/smspilot", aiohttp_adapter.callback_app(inbox_in(tmp_path / "no folder" / "statuses.db")))
    runner = web.AppRunner(outer)
    with pytest.raises(sqlite3.OperationalError, match=r"statuses\.db cannot be opened"):
        await runner.setup()
    await runner.cleanup()


def inbox_in(path: Path) -> CallbackInbox:
    return CallbackInbox("https://app.example/smspilot", secret=SECRET, sink=SQLiteSink(path))


@pytest.mark.parametrize("method", ["get", "post"])
async def test_a_message_gets_a_url_of_its_own_and_its_statuses_arrive(
    method: str, emulator: Emulator, inbox: CallbackInbox
) -> None:
    async with Client(emulator.api_key, url=emulator.url, callbacks=inbox) as client:
        sent = await client.send(PHONE, TEXT, callback_method=method)  # type: ignore[arg-type]
        emulator.clock.advance(minutes=1)
        await emulator.settled()
        events = [await anext(inbox), await anext(inbox)]
    assert [(event.id, event.server_id, event.status) for event in events] == [
        (sent.id, sent.server_id, 1),
        (sent.id, sent.server_id, 2),
    ]
    assert all(call.acknowledged for call in emulator.callbacks)


async def test_a_call_that_comes_as_multipart_form_data_arrives_too(emulator: Emulator, inbox: CallbackInbox) -> None:
    async with Client(emulator.api_key, url=emulator.url, callbacks=inbox) as client, httpx.AsyncClient() as gateway:
        sent = await client.send(PHONE, TEXT)
        fields = {"server_id": sent.server_id or "", "status": "2", "error": "0"}
        parts = {name: (None, value) for name, value in fields.items()}
        answer = await gateway.post(emulator.messages[0].callback or "", files=parts)
        assert (answer.status_code, answer.text) == (200, "OK")
        event = await anext(inbox)
    assert (event.id, event.server_id, event.status) == (sent.id, sent.server_id, 2)


async def test_track_gets_every_change_by_call_and_polls_nothing(emulator: Emulator, inbox: CallbackInbox) -> None:
    async with Client(emulator.api_key, url=emulator.url, callbacks=inbox) as client:
        sent = await client.send(PHONE, TEXT)
        emulator.fail_next("check", Fault.RESET_AFTER_READ, times=1000)
        async with client.track(sent, source=inbox) as changes:
            emulator.clock.advance(minutes=1)
            assert [status.status async for status in changes] == [1, 2]


async def test_a_lost_answer_is_found_again_by_the_call(
    emulator: Emulator, inbox: CallbackInbox, listener: Listener
) -> None:
    async with Client(emulator.api_key, url=emulator.url, callbacks=inbox, hooks=[listener]) as client:
        emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
        with pytest.raises(OutcomeUnknown) as caught:
            await client.send(PHONE, TEXT)
        emulator.clock.advance(minutes=1)
        sent = await inbox.wait_accepted(caught.value)
        assert sent.server_id == emulator.messages[0].server_id
        unknown, accepted = await listener.heard(2)
        assert client.health().open_unknowns == 0
    assert isinstance(unknown, Unknown)
    assert isinstance(accepted, Accepted)
    assert accepted.item is unknown.item
    assert accepted.sent == sent
