"""SOCKS5 proxies (RFC 1928, RFC 1929) that follow a script, for ``raw_server``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raw_servers import Peer, Script

NO_LOGIN, LOGIN, NO_METHOD = 0, 2, 0xFF
HERE = b"\x01\x7f\x00\x00\x01"  # 127.0.0.1, as the protocol writes it


def socks(port: int, *, login: tuple[str, str] | None = None, reply: int = 0, address: bytes = HERE) -> Script:
    """Play a SOCKS5 proxy: whatever host is asked for, the way leads to a port of this machine.

    Args:
        port: To which it connects.
        login: The user and password that it wants.
        reply: What it answers to being asked to connect; anything but 0 is the end.
        address: From where it says to connect: the kind, and the address itself.
    """

    async def script(peer: Peer) -> None:
        if await greeted(peer, login) and await asked(peer, reply, address):
            await peer.splice(port)

    return script


async def greeted(peer: Peer, login: tuple[str, str] | None = None) -> bool:
    """Negotiate the login; return whether it may go on."""
    _, count = await peer.reader.readexactly(2)
    offered = await peer.reader.readexactly(count)
    method = NO_LOGIN if login is None else LOGIN
    if method not in offered:
        await peer.send(bytes([5, NO_METHOD]))
        return False
    await peer.send(bytes([5, method]))
    if login is None:
        return True
    is_right = await _login(peer) == login
    await peer.send(bytes([1, 0 if is_right else 1]))
    return is_right


async def _login(peer: Peer) -> tuple[str, str]:
    await peer.reader.readexactly(1)
    return await _text(peer), await _text(peer)


async def asked(peer: Peer, reply: int = 0, address: bytes = HERE) -> bool:
    """Hear where to connect to (it is kept in the server's ``requests``), and answer."""
    *_, kind = await peer.reader.readexactly(4)
    if kind == 3:
        host = await _text(peer)
    else:
        host = (await peer.reader.readexactly(4 if kind == 1 else 16)).hex()
    port = int.from_bytes(await peer.reader.readexactly(2))
    peer.server.requests.append(f"{host} {port}".encode())
    await peer.send(bytes([5, reply, 0]) + address + b"\x00\x50")
    return reply == 0


async def _text(peer: Peer) -> str:
    [length] = await peer.reader.readexactly(1)
    return (await peer.reader.readexactly(length)).decode()
