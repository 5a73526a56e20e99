"""A client's connection to the emulator, to be ended in other ways than HTTP has."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uvicorn.protocols.http.h11_impl import H11Protocol


class ClientConnection:
    """A client's connection, to be ended in other ways than HTTP has."""

    def __init__(self, protocol: H11Protocol) -> None:
        self._protocol = protocol

    def reset(self) -> None:
        """Send a TCP RST, as a crashing peer or a firewall does."""
        transport = self._protocol.transport
        sock = transport.get_extra_info("socket")
        with contextlib.suppress(OSError):  # the client may have been faster
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

    def close(self) -> None:
        """Send what is written, then a FIN."""
        self._protocol.transport.close()
