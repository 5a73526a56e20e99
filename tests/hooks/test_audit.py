"""The audit log has one line for each outcome, whole, without text and phone, and never stands in a send's way."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import hmac
import json
import os
import threading
import traceback
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from outcomes import OTHER_PHONE, PHONE, TEXT, failure_of

from smspilot_async import Accepted, Client, Message, MessageVetoed, SentMessage
from smspilot_async.audit import AuditLog
from smspilot_async.emulator import Emulator, Fault

if TYPE_CHECKING:
    from pathlib import Path

KEY = "a key of sixteen bytes, or more"
SEVERAL = [Message(PHONE, f"text {number}", id=number + 1) for number in range(500)]


@pytest.fixture
def emulator() -> Emulator:
    """An emulator that takes every message, without a socket."""
    return Emulator(loop_protection=None, seed=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def client_of(emulator: Emulator, *hooks: Any) -> Client:
    return Client(emulator.api_key, transport=emulator.transport, url=emulator.url, hooks=hooks)


def text_of(path: Path) -> str:
    return path.read_text()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text_of(path).splitlines()]


async def test_an_accepted_message_is_on_record(emulator: Emulator, path: Path) -> None:
    async with client_of(emulator, AuditLog(path, key=KEY)) as client:
        sent = await client.send(PHONE, TEXT, id=7)
    (line,) = lines(path)
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "outcome": "accepted",
        "id": 7,
        "server_id": sent.server_id,
        "packet_id": sent.server_packet_id,
        "error": None,
        "code": None,
        "parts": 1,
        "cost": str(sent.price),
        "phone": hmac.new(KEY.encode(), PHONE.encode(), hashlib.sha256).hexdigest()[:32],
    }


async def test_each_outcome_has_its_line(emulator: Emulator, path: Path) -> None:
    class NoNights(AuditLog):
        def veto(self, message: Message) -> str | None:
            return "quiet hours" if message.text == "night" else None

    async with client_of(emulator, NoNights(path, key=KEY)) as client:
        emulator.refuse(code=223, text="buy")
        await failure_of(client.send(PHONE, "buy", id=1))
        emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
        await failure_of(client.send(PHONE, TEXT, id=2))
        assert isinstance(await failure_of(client.send(PHONE, "night", id=3)), MessageVetoed)
    assert [(line["id"], line["outcome"], line["error"], line["code"]) for line in lines(path)] == [
        (1, "refused", "MessageRefused", 223),
        (2, "unknown", "OutcomeUnknown", None),
        (3, "refused", "MessageVetoed", None),
    ]


async def test_nothing_private_is_on_record(emulator: Emulator, path: Path) -> None:
    log = AuditLog(path, key=KEY)
    async with client_of(emulator, log) as client:
        await client.send_packet([Message(PHONE, TEXT), Message(OTHER_PHONE, TEXT)])
    record = text_of(path)
    for secret in (PHONE, OTHER_PHONE, PHONE[1:], TEXT, json.dumps(TEXT)[1:-1], KEY, emulator.api_key):
        assert secret not in record
    assert KEY not in repr(log)
    assert os.stat(path).st_mode & 0o077 == 0  # noqa: PTH116 - in a test
    assert len({line["phone"] for line in lines(path)}) == 2


async def test_closing_loses_nothing_and_a_reopened_client_goes_on(emulator: Emulator, path: Path) -> None:
    client = client_of(emulator, AuditLog(path, key=KEY))
    for _ in range(2):
        async with client:
            await client.send_packet(SEVERAL)
    assert [line["id"] for line in lines(path)] == [message.id for message in SEVERAL] * 2


async def test_two_logs_share_a_file_by_whole_lines(emulator: Emulator, path: Path) -> None:
    first, second = (client_of(emulator, AuditLog(path, key=KEY)) for _ in range(2))
    async with first, second:
        for _ in range(3):
            await first.send_packet(SEVERAL[:100])
            await second.send_packet(SEVERAL[:100])
    assert len(lines(path)) == 600


def test_what_another_process_is_just_writing_is_not_taken_for_half_a_line(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, waits = fcntl.flock, threading.Event()

    def noted(file: int, operation: int) -> None:
        waits.set()
        lock(file, operation)

    log = AuditLog(path, key=KEY)
    with path.open("a") as other:
        lock(other, fcntl.LOCK_EX)
        other.write('{"id":')
        other.flush()
        monkeypatch.setattr(fcntl, "flock", noted)
        log.on_result(Accepted(Message(PHONE, TEXT, id=2), SentMessage(id=2)))
        assert waits.wait(10)
        other.write("1}\n")
    log.close()
    assert [line["id"] for line in lines(path)] == [1, 2]


@pytest.fixture
def torn(path: Path) -> str:
    """Half a line that a kill left."""
    path.write_text('{"time":"2030')
    return path.read_text()


async def test_half_a_line_that_a_kill_left_spoils_no_other(emulator: Emulator, path: Path, torn: str) -> None:
    async with client_of(emulator, AuditLog(path, key=KEY)) as client:
        await client.send(PHONE, TEXT, id=1)
    first, whole = text_of(path).splitlines()
    assert first == torn
    assert json.loads(whole)["id"] == 1


async def test_a_failing_disk_is_reported_once_breaks_no_send_and_loses_nothing_when_it_works_again(
    emulator: Emulator, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write, is_full = os.write, True

    def failing(descriptor: int, data: bytes) -> int:
        if is_full and data.startswith(b'{"time"'):
            raise OSError(28, "No space left on device")
        return write(descriptor, data)

    log = AuditLog(path, key=KEY)
    monkeypatch.setattr("smspilot_async.audit.os.write", failing)
    async with client_of(emulator, log) as client:
        for number in range(5):
            await client.send(PHONE, TEXT, id=number + 1)
            await asyncio.to_thread(log._write_all)  # wait for the thread's step
        assert [record.getMessage() for record in caplog.records] == [
            f"audit log: {path} cannot be written (No space left on device); its lines are buffered"
        ]
        is_full = False
    assert [line["id"] for line in lines(path)] == [1, 2, 3, 4, 5]
    assert len(emulator.messages) == 5


async def test_a_write_that_stops_within_a_line_is_begun_again_with_that_line(
    emulator: Emulator, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, was_short = os.write, False

    def short(descriptor: int, data: bytes) -> int:
        nonlocal was_short
        if data.startswith(b'{"time"') and not was_short:
            was_short = True
            return write(descriptor, data[: len(data) // 2])
        return write(descriptor, data)

    log = AuditLog(path, key=KEY)
    monkeypatch.setattr("smspilot_async.audit.os.write", short)
    async with client_of(emulator, log) as client:
        await client.send_packet(SEVERAL[:11])
    whole = [json.loads(line)["id"] for line in text_of(path).splitlines() if line.endswith("}")]
    assert whole == list(range(1, 12))


async def test_lines_that_never_got_written_are_counted_at_the_end(
    emulator: Emulator, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(_: int, __: bytes) -> int:
        raise OSError(5, "Input/output error")

    log = AuditLog(path, key=KEY)
    monkeypatch.setattr("smspilot_async.audit.os.write", failing)
    async with client_of(emulator, log) as client:
        await client.send_packet(SEVERAL[:3])
    assert caplog.records[-1].getMessage() == "audit log: 3 lines are not written"


@pytest.mark.parametrize("impossible", ["no such folder/audit.jsonl", "a folder"])
async def test_a_file_that_cannot_be_opened_is_an_error_there_and_then(tmp_path: Path, impossible: str) -> None:
    (tmp_path / "a folder").mkdir()
    with pytest.raises(OSError, match=r"audit log: .+ in an existing folder") as caught:
        AuditLog(tmp_path / impossible, key=KEY)
    assert repr(str(tmp_path / impossible)) in str(caught.value)
    assert KEY not in "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())


async def test_a_folder_that_goes_missing_is_reported_and_breaks_no_send(
    emulator: Emulator, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = AuditLog(path, key=KEY)
    path.unlink()  # noqa: ASYNC240 - in a test
    path.parent.rmdir()
    async with client_of(emulator, log) as client:
        await client.send(PHONE, TEXT)
    assert "cannot be written (No such file or directory)" in caplog.text
    assert len(emulator.messages) == 1


@pytest.mark.parametrize("rotate", ["move", "delete"])
async def test_after_a_rotation_lines_go_to_the_new_file(emulator: Emulator, path: Path, rotate: str) -> None:
    log = AuditLog(path, key=KEY)
    async with client_of(emulator, log) as client:
        await client.send(PHONE, TEXT, id=1)
        await asyncio.to_thread(log._write_all)  # wait for the thread's step
        if rotate == "move":
            path.rename(path.with_suffix(".1"))  # noqa: ASYNC240 - in a test
        else:
            path.unlink()  # noqa: ASYNC240 - in a test
        await client.send(PHONE, TEXT, id=2)
    assert [line["id"] for line in lines(path)] == [2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_writes_lines_of_its_own_and_none_of_its_parents(emulator: Emulator, path: Path) -> None:
    log = AuditLog(path, key=KEY)

    async def send(id_: int) -> None:
        await client_of(emulator, log).send(PHONE, TEXT, id=id_)
        await asyncio.sleep(0)

    asyncio.run(send(1))
    log._write_all()
    with log._pen, log._guard:  # as if the parent were writing
        log._unwritten = b'{"id":0}\n'
        child = os.fork()
        if not child:
            status = 1
            try:
                asyncio.run(send(2))
                log.close()
                status = 0
            finally:
                os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert [line["id"] for line in lines(path)] == [1, 2]
    log.close()
    assert [line["id"] for line in lines(path)] == [1, 2, 0]


async def test_one_client_that_closes_reports_no_dropped_lines_of_another(
    emulator: Emulator, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = AuditLog(path, key=KEY)
    result = Accepted(Message(PHONE, TEXT, id=2), SentMessage(id=2))
    write_all = log._write_all

    def overtaken() -> None:
        write_all()
        log._waiting.append((datetime.now(UTC), result))

    async with client_of(emulator, log) as client:
        await client.send(PHONE, TEXT, id=1)
        await asyncio.to_thread(write_all)
        monkeypatch.setattr(log, "_write_all", overtaken)
    assert caplog.text == ""
    await asyncio.to_thread(write_all)
    assert [line["id"] for line in lines(path)] == [1, 2]
    monkeypatch.undo()
    await log.aclose()


def test_dropped_lines_are_reported_when_the_first_one_is(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("smspilot_async.audit._MOST_WAITING", 1)
    log = AuditLog(path, key=KEY)
    with log._pen:  # a disk that hangs
        for id_ in range(5):
            log.on_result(Accepted(Message(PHONE, TEXT, id=id_ + 1), SentMessage(id=id_ + 1)))
        assert caplog.text.count("further lines are dropped") == 1
    log.close()
    assert caplog.text.count("lines are not written") == 1
    log.close()
    assert caplog.text.count("lines are not written") == 1


def test_a_short_key_is_refused(path: Path) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        AuditLog(path, key="short")
