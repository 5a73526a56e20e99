"""``smspilot outbox page``: the page of a ledger, served until it is stopped."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from smspilot_async.cli._errors import Exit, Problem
from smspilot_async.cli._interrupts import Interrupts
from smspilot_async.cli._outbox import with_outbox
from smspilot_async.cli._output import note

if TYPE_CHECKING:
    from smspilot_async import Client
    from smspilot_async.outbox import Outbox
    from smspilot_async.page import PageSettings, People

_VARIABLE: Final = "SMSPILOT_PAGE_USERS"
_FILE_VARIABLE: Final = "SMSPILOT_PAGE_USERS_FILE"
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


@attrs.frozen(kw_only=True)
class PageOptions:
    """The options of the command."""

    host: str
    port: int
    users: str | None
    names: Sequence[str]
    proxy_header: str | None
    proxies: Sequence[str]
    is_https: bool
    second_person: bool


def page(ledger: str | None, client: Client, options: PageOptions) -> int:
    """Serve the page of a ledger."""
    try:
        from smspilot_async import page as room  # noqa: PLC0415 - an extra
    except ImportError as missing:
        raise Problem(f"{missing}.") from None
    people = _people(options, room.People)
    more: dict[str, Any] = {"proxies": tuple(options.proxies)} if options.proxies else {}
    settings = room.PageSettings(
        names=tuple(options.names),
        proxy_header=options.proxy_header,
        is_https=options.is_https,
        second_person=options.second_person,
        **more,
    )

    async def run(outbox: Outbox) -> int:
        stop = asyncio.Event()
        with _listening(options) as sock, Interrupts(stop.set, stop.set, announcement=None) as interrupts:
            note(f"the page: {_address(options, settings, sock)}; Ctrl-C or SIGTERM ends it")
            async with client:
                await room.serve(room.create_app(outbox, client, people, settings), sock, stop)
        return Exit.INTERRUPTED if interrupts.exit_code == Exit.INTERRUPTED else Exit.FINE

    return with_outbox(ledger, run)


def _people(options: PageOptions, kind: type[People]) -> People:
    """Return who may use it.

    Raises:
        Problem: No one, or what says so cannot be used.
    """
    path = options.users or os.environ.get(_FILE_VARIABLE)
    try:
        written = _read_private(Path(path)) if path else os.environ.get(_VARIABLE, "")
        people = kind.parse(written)
    except (OSError, UnicodeDecodeError) as wrong:
        raise Problem(f"the file of users cannot be read: {path}: {getattr(wrong, 'strerror', wrong)}.") from None
    except ValueError as wrong:
        raise Problem(f"users of the page: {wrong}.") from None
    if not len(people):
        raise Problem(
            f"who may use the page? Write a line NAME ROLE SECRET for each person into a file for --users, or into "
            f"{_VARIABLE}; roles are view, operate and approve."
        )
    return people


def _read_private(path: Path) -> str:
    """Read a file of secrets. It may be root's and readable for a group: so Kubernetes mounts one.

    Raises:
        Problem: Others can read it.
    """
    if os.name == "posix":
        found = path.stat()
        is_mounted = found.st_uid == 0 and os.geteuid() != 0
        if found.st_mode & (_OTHERS & ~stat.S_IRGRP if is_mounted else _OTHERS):
            raise Problem(f"{path} holds secrets, and others can read it: chmod 600 {path}.")
    return path.read_text(encoding="utf-8")


def _listening(options: PageOptions) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        sock = socket.create_server((options.host, options.port), family=family)
    except OSError as wrong:
        reason = str(wrong.strerror).partition(" (while")[0]
        raise Problem(f"the page cannot listen at {options.host}:{options.port} ({reason}).") from None
    # A socket handed to asyncio keeps Nagle's algorithm, which costs 40 ms a request on a kept-alive connection.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _address(options: PageOptions, settings: PageSettings, sock: socket.socket) -> str:
    if settings.names:
        return f"http{'s' if settings.is_https else ''}://{settings.names[0]}/"
    host = f"[{options.host}]" if ":" in options.host else options.host
    return f"http://{host}:{sock.getsockname()[1]}/"
