"""A gateway that dies and comes back: an emulator in a process that kills itself once it has accepted a mortal message.

Run as a program, ``mortal_gateway.py PORT STORE``, in a session of its own; it ends when its standard input does. What
it accepted stands in the store, a line for each message, written before anything is answered.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Final

from smspilot_async.emulator import Emulator

if TYPE_CHECKING:
    from smspilot_async.emulator import AcceptedMessage

MORTAL: Final = "die"
"""A message with this word in its text is accepted, and then no one answers."""
SLOW: Final = "hold"
"""One with this word is accepted, and answered when it is too late."""
TOO_LATE: Final = 1.5  # seconds; the proxy waits for much less


def live(port: int, store: int) -> None:
    """Serve, until a message is the end of it."""

    def keep(message: AcceptedMessage) -> None:
        if message.status != 0:
            return
        os.write(store, f"{message.id}\n".encode())
        if MORTAL in message.text:
            os.kill(os.getpid(), signal.SIGKILL)
        if SLOW in message.text:
            time.sleep(TOO_LATE)

    with Emulator.serve(port=port, loop_protection=None, api_key="KEY") as emulator:
        emulator.subscribe(keep)
        os.read(0, 1)
        os.killpg(0, signal.SIGKILL)


def main(port: int, path: str) -> None:
    store = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    while True:
        if not (child := os.fork()):
            live(port, store)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
