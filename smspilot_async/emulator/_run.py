"""The emulator as a program: it serves in real time until it is stopped."""

from __future__ import annotations

import json as json_module
import signal
import socket
import sys
import threading
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TextIO

from smspilot_async._tools.hosts import is_loopback
from smspilot_async.emulator._clock import Clock
from smspilot_async.emulator._emulator import Emulator
from smspilot_async.emulator._terminal import RequestLines
from smspilot_async.emulator.gateway._accounts import Account
from smspilot_async.emulator.gateway._messages import AcceptedMessage, as_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from decimal import Decimal

    from smspilot_async.emulator.gateway._wire import Profile


def run(
    host: str = "127.0.0.1",
    port: int = 8025,
    *,
    key: str | None = None,
    key_is_secret: bool = False,
    seed: int | None = None,
    json: bool = False,
    allow_remote: bool = False,
    profile: Profile = "2.6",
    speed: float = 1.0,
    balance: Decimal | None = None,
    delivery: timedelta = timedelta(seconds=30),
    undelivered: float = 0.0,
    loop_protection: timedelta | None = timedelta(minutes=5),
    accounts: Iterable[Account] = (),
    callbacks_to: str | None = None,
    quiet: bool = False,
    out: TextIO | None = None,
) -> None:
    """Serve an emulator until Ctrl-C or SIGTERM.

    Prints the address with the key, and where its page is, once it listens, and then a line for each request: its time
    by the emulator's clock, command, count, outcome and duration, without keys and texts, phones masked. With `json` it
    prints one object when it listens, and one for each message that is accepted.

    Args:
        host: The address to listen at.
        port: The port; 0 takes a free one.
        key: The account's key; a new one by default.
        key_is_secret: Do not print the key.
        seed: Makes everything random repeatable, the key included.
        json: Print JSON lines.
        allow_remote: Listen at, and call back, other addresses than this machine's own.
        profile: Which version's types the answers have.
        speed: How many seconds pass per second.
        balance: The account's roubles; 1,000,000 by default.
        delivery: The time from acceptance to the last status.
        undelivered: The share of messages that end undelivered (-1).
        loop_protection: How long the same text to the same phone is refused (243); `None` for never.
        accounts: Other accounts.
        callbacks_to: A local URL that takes all callbacks, as the attribute of `Emulator` says.
        quiet: Print no line for each request.
        out: Where to print; the standard output by default.

    Raises:
        ValueError: The host, or that of `callbacks_to`, is not this machine's own, and that is not allowed; or that URL
            cannot take callbacks; or two accounts have the same key or login.
        OSError: Nothing can listen there, or there is no such host.
        ImportError: The extra ``emulator`` is not installed.
    """
    _look_up(host)
    if not allow_remote and not is_loopback(host):
        raise ValueError(f"{host} can be reached from other machines, which must be allowed (allow_remote)")
    served = Emulator.serve(
        host=host,
        port=port,
        api_key=key,
        account=None if balance is None else Account(balance=balance),
        seed=seed,
        profile=profile,
        clock=Clock(speed=speed),
        loop_protection=loop_protection,
        delivery=delivery,
        undelivered=undelivered,
        allow_remote_callbacks=allow_remote,
        callbacks_to=callbacks_to,
    )
    stream = out if out is not None else sys.stdout
    with _until_ended() as ended, served as emulator:
        for account in accounts:
            emulator.add_account(account)
        with _request_lines(emulator, None if json or quiet else stream) as begin:
            _announce(emulator, None if key_is_secret else emulator.api_key, _Printer(stream), as_json=json)
            begin()
            ended.wait()


@contextmanager
def _request_lines(emulator: Emulator, out: TextIO | None) -> Iterator[Callable[[], None]]:
    """Lines of all requests, to be written from when what this yields is called."""
    if out is None:
        yield lambda: None
        return
    lines = RequestLines(out)
    stop = emulator.on_request(lines.add)
    try:
        yield lines.begin
    finally:
        stop()
        lines.close()


def _look_up(host: str) -> None:
    try:
        socket.getaddrinfo(host or None, 0)
    except (OSError, UnicodeError):  # the codec of international names has limits of its own
        reason = f"the emulator cannot listen at {host}: no such host"
    else:
        return
    raise socket.gaierror(socket.EAI_NONAME, reason)


def _announce(emulator: Emulator, key: str | None, printer: _Printer, *, as_json: bool) -> None:
    if not as_json:
        printer.line(f"SMSPILOT emulator listens at {emulator.url} with {f'the key {key}' if key else 'its own key'}")
        printer.line(f"See it at work in a browser: {emulator.page_url}")
        return
    printer.json({"event": "listening", "url": emulator.url, "page": emulator.page_url, "api_key": key})
    emulator.subscribe(printer.accepted)


class _Printer:
    """Writes lines, and stops silently once the reader is gone."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def line(self, text: str) -> None:
        with suppress(OSError, ValueError):
            self._out.write(text + "\n")
            self._out.flush()

    def json(self, value: dict[str, Any]) -> None:
        self.line(json_module.dumps(value))

    def accepted(self, message: AcceptedMessage) -> None:
        if len(message.history) == 1:
            self.json({"event": "accepted", **as_json(message)})


@contextmanager
def _until_ended() -> Iterator[threading.Event]:
    """Signals end the wait instead of the program, so that the server is closed properly."""
    ended = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield ended
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda *_signal: ended.set())
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
