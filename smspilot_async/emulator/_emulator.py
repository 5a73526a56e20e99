"""The emulator as tests use it: on a real socket, or by a transport within the process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from smspilot_async.emulator._core import EmulatorCore, Options
from smspilot_async.emulator._extras import require_server
from smspilot_async.emulator.server._in_process import InProcessTransport

if TYPE_CHECKING:
    from typing import Self

    from smspilot_async.emulator.server._server import Served


class Emulator(EmulatorCore):
    """An emulator of SMSPILOT's gateway, for development and tests.

    Args:
        api_key: The key of its first account. Defaults to a new one, which a `seed` makes repeatable.
        account: The first account itself, if its defaults are not enough.
        profile: Which version's types its answers have: ``"2.6"`` numbers, ``"2.4.16"`` strings.
        clock: Its clock. Defaults to a frozen one that shows the present time.
        seed: Makes everything random repeatable.
        loop_protection: How long the same text to the same phone is refused (243); `None` for never.
        undelivered: The share of messages that end undelivered (-1, with an error 600 to 603).
        handover: The time from acceptance to status 1.
        delivery: The time from acceptance to status 2 or -1. A message that takes longer than its `ttl`, or than a day
            with the operator, expires then: -1 with error 600.
        allow_remote_callbacks: Whether callbacks may leave this machine.
        callbacks_to: An ASGI application in this process, or a local URL, that takes all callbacks, as the attribute
            says.
    """

    @classmethod
    def serve(
        cls, *, host: str = "127.0.0.1", port: int = 0, keep_alive: float = 5.0, **options: Unpack[Options]
    ) -> Served[Self]:
        """Return an emulator on a real socket, for ``with`` or ``async with``.

        A thread with its own event loop serves it, so that it answers whatever the test's loop is doing.

        Args:
            host: The address to listen at.
            port: The port; 0 takes a free one.
            keep_alive: Seconds after which an idle connection is closed.
            options: The arguments of `Emulator`.

        Raises:
            ImportError: The extra ``emulator`` is not installed.
            OSError: On entering: nothing can listen there.
        """
        return require_server()(cls(**options), host=host, port=port, keep_alive=keep_alive)

    @property
    def transport(self) -> InProcessTransport:
        """A transport for ``httpx.AsyncClient`` that reaches this emulator without a socket, faults included."""
        return InProcessTransport(self)
