"""An emulator in a process of its own, on a host of its own: gateway_process.py ADDRESS PORT KEY STORE DELAY.

What it accepts stands in the store, a line for each message, written before anything is answered: its number and when.
It says when it is ready, and ends when its standard input does.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from typing import TYPE_CHECKING

from smspilot_async.emulator import Emulator, Fault

if TYPE_CHECKING:
    from smspilot_async.emulator import AcceptedMessage


def main(address: str, port: str, key: str, path: str, delay: str) -> None:
    gc.disable()  # it remembers each message, and would stop for a tenth of a second to look for garbage among them
    store = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def keep(message: AcceptedMessage) -> None:
        if message.status == 0:
            os.write(store, f"{message.id} {time.time():.4f}\n".encode())

    with Emulator.serve(host=address, port=int(port), loop_protection=None, api_key=key, seed=1) as emulator:
        emulator.subscribe(keep)
        emulator.random_faults({Fault.SLOW: 1.0}, delay=float(delay), command="send", seed=1)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        os.read(0, 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
