"""Connections through a SOCKS5 proxy: RFC 1928, and RFC 1929 for a user and a password.

The proxy resolves the gateway's name, with ``socks5:`` as with ``socks5h:``.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

import attrs

from smspilot_async._network.base import NotBegun, ProxyRefused, Unreachable
from smspilot_async._network.connection import connect

if TYPE_CHECKING:
    from typing import Self

    from smspilot_async._network.base import Progress
    from smspilot_async._network.connection import Stream

_PORT: Final = 1080
_VERSION: Final = 5
_NO_LOGIN, _LOGIN, _NO_METHOD = 0, 2, 0xFF
_LOGIN_VERSION: Final = 1
_CONNECT: Final = b"\x05\x01\x00"
_IPV4, _NAME, _IPV6 = 1, 3, 4
_LONGEST: Final = 255  # bytes of a user, and of a password
_REFUSALS: Final = {
    1: "it failed",
    2: "its rules do not allow that",
    3: "the network cannot be reached",
    4: "the host cannot be reached, or its name is unknown",
    5: "the connection was refused",
    6: "the connection timed out",
    7: "it does not support connections",
    8: "it does not support this kind of address",
}
ADVICE: Final = "Ask its administrator, or exempt the gateway in NO_PROXY"


class LoginRefused(ProxyRefused):
    """The proxy requires a user and a password, or refused them."""


@attrs.frozen
class Socks:
    """A SOCKS5 proxy.

    Attributes:
        host, port: Where it listens.
        login: A user and a password, for a proxy that requires them.
    """

    host: str
    port: int
    login: tuple[bytes, bytes] | None = attrs.field(default=None, repr=False)

    @classmethod
    def at(cls, url: str) -> Self:
        """Return the proxy of this URL."""
        proxy = urlsplit(url)
        user, password = unquote(proxy.username or ""), unquote(proxy.password or "")
        login = (user.encode(), password.encode()) if user or password else None
        return cls(proxy.hostname or "", proxy.port or _PORT, login)

    async def connect(self, host: str, port: int, progress: Progress) -> Stream:
        """Connect to a host through the proxy.

        Raises:
            Unreachable: The proxy cannot be reached.
            ProxyRefused: It refused; the text says what to do.
        """
        try:
            stream = await connect(self.host, self.port)
        except Unreachable as error:
            raise Unreachable(f"the SOCKS proxy cannot be reached: {error}") from error
        try:
            progress.report(stream)
            await self._introduce(stream)
            await _ask_for(stream, host, port)
        except (NotBegun, EOFError) as error:
            stream.abort()
            raise ProxyRefused("the SOCKS proxy hung up before it had connected to the gateway") from error
        except BaseException:
            stream.abort()
            raise
        return stream

    async def _introduce(self, stream: Stream) -> None:
        methods = bytes([_NO_LOGIN] if self.login is None else [_NO_LOGIN, _LOGIN])
        stream.write(bytes([_VERSION, len(methods)]) + methods)
        version, method = await stream.read_exactly(2)
        if version != _VERSION:
            raise ProxyRefused("the proxy does not speak SOCKS5: an http proxy's URL begins with http:")
        if method == _NO_METHOD and self.login is None:
            raise LoginRefused("the SOCKS proxy requires a user and a password: put them into its URL")
        if method not in methods:
            raise ProxyRefused("the SOCKS proxy requires a login method other than a password")
        if method == _LOGIN and self.login is not None:
            await _log_in(stream, *self.login)


async def _log_in(stream: Stream, user: bytes, password: bytes) -> None:
    if max(len(user), len(password)) > _LONGEST:
        raise LoginRefused("the user and the password of a SOCKS proxy have at most 255 bytes each")
    stream.write(bytes([_LOGIN_VERSION, len(user)]) + user + bytes([len(password)]) + password)
    _, status = await stream.read_exactly(2)
    if status != 0:
        raise LoginRefused("the SOCKS proxy refused the user or the password: correct them in its URL")


async def _ask_for(stream: Stream, host: str, port: int) -> None:
    stream.write(_CONNECT + _address(host) + port.to_bytes(2))
    version, reply, _, kind = await stream.read_exactly(4)
    if version != _VERSION:
        raise ProxyRefused("the proxy does not speak SOCKS5")
    if reply != 0:
        why = _REFUSALS.get(reply, "it does not say why")
        raise ProxyRefused(
            f"the SOCKS proxy did not connect to {host}, port {port}: {why} (SOCKS reply {reply}). {ADVICE}"
        )
    await _skip_address(stream, kind)


def _address(host: str) -> bytes:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.encode("ascii")
        return bytes([_NAME, len(name)]) + name
    return bytes([_IPV4 if address.version == 4 else _IPV6]) + address.packed  # noqa: PLR2004 - IPv4


async def _skip_address(stream: Stream, kind: int) -> None:
    """Read the address that the proxy connects from: everything after it is the gateway's."""
    lengths = {_IPV4: 4, _IPV6: 16}
    length = (await stream.read_exactly(1))[0] if kind == _NAME else lengths.get(kind)
    if length is None:
        raise ProxyRefused("the proxy does not speak SOCKS5")
    await stream.read_exactly(length + 2)
