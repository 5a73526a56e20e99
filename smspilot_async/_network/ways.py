"""Ways to the gateway: straight, through a SOCKS5 proxy, and through an HTTP proxy by CONNECT or with absolute targets.

Once a way is made, all connections are alike.
"""

from __future__ import annotations

import base64
import logging
import re
from typing import TYPE_CHECKING, Final

import httpx

from smspilot_async._network.answer import LARGEST_HEAD
from smspilot_async._network.base import NotBegun, ProxyRefused
from smspilot_async._network.connection import connect
from smspilot_async._network.http11 import Connection
from smspilot_async._network.socks import Socks

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

    from smspilot_async._network.base import Progress
    from smspilot_async._network.connection import Stream

_logger: Final = logging.getLogger("smspilot_async")
_PORTS: Final = {"http": 80, "https": 443}
_not_a_header: Final = re.compile(rb"[\r\n\0]")
_status_line: Final = re.compile(rb"HTTP/1\.[01] (\d{3})(?: ([^\r\n]*))?\r\n")
_SUCCESS: Final = b"2"


class Way:
    """How connections to one endpoint are opened, and what the head of a request on them is.

    Args:
        url: The endpoint.
        context: For TLS, also with an https proxy.
        proxy: A proxy's URL.

    Attributes:
        context, proxy: The same.
    """

    def __init__(self, url: httpx.URL, context: ssl.SSLContext, proxy: str | None) -> None:
        self._url = url
        self.context = context
        self.proxy = proxy
        self._host, self._port = _host_and_port(url)
        context.set_alpn_protocols(["http/1.1"])  # a context of the user's may offer HTTP/2
        is_socks = proxy is not None and proxy.lower().startswith("socks")
        self._socks = Socks.at(proxy) if proxy is not None and is_socks else None
        self._proxy = httpx.Proxy(proxy) if proxy is not None and not is_socks else None
        self._is_absolute = self._proxy is not None and url.scheme == "http"

    async def open(self, progress: Progress) -> Connection:
        """Open a connection.

        Raises:
            NotWritten: That failed, or was called off.
        """
        progress.report()
        if self._socks is not None:
            stream = await self._socks.connect(self._host, self._port, progress)
        else:
            stream = await connect(
                *((self._host, self._port) if self._proxy is None else _host_and_port(self._proxy.url))
            )
        try:
            progress.report(stream)
            if self._proxy is not None:
                await self._through(stream, self._proxy)
            if self._url.scheme == "https":
                await stream.start_tls(self.context, self._host)
            connection = Connection(stream)
        except BaseException:
            stream.abort()
            raise
        _logger.debug("opened a connection to %s, port %s", self._host, self._port)
        return connection

    async def _through(self, stream: Stream, proxy: httpx.Proxy) -> None:
        if proxy.url.scheme == "https":
            await stream.start_tls(self.context, _host_and_port(proxy.url)[0])
        if self._is_absolute:
            return
        target = f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"
        head = [f"CONNECT {target} HTTP/1.1", f"Host: {target}", "Accept: */*", *_login(proxy), "", ""]
        try:
            stream.write("\r\n".join(head).encode())
            answer = await stream.read_until(b"\r\n\r\n", LARGEST_HEAD)
        except (NotBegun, EOFError) as error:
            raise ProxyRefused("the proxy hung up before it had connected to the gateway") from error
        line = _status_line.match(answer)
        if line is None:
            raise ProxyRefused("the proxy does not speak HTTP")
        status, phrase = line[1], line[2] or b""
        if not status.startswith(_SUCCESS):
            words = b" ".join([status, phrase]).decode("ascii", "replace").strip()
            raise ProxyRefused(f"the proxy refused the connection: {words}")

    def head(self, method: bytes, target: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        """Return a request's head, without the empty line that ends it.

        Raises:
            ValueError: A header would not be one line.
        """
        if self._is_absolute:
            target = b"%b://%b%b" % (self._url.raw_scheme, self._url.netloc, target)
        lines = [b"%b %b HTTP/1.1\r\n" % (method, target)]
        for name, value in headers:
            if _not_a_header.search(name) or _not_a_header.search(value):
                raise ValueError("a header would not be one line")
            lines.append(b"%b: %b\r\n" % (name, value))
        if self._is_absolute and self._proxy is not None:
            lines += [line.encode() + b"\r\n" for line in _login(self._proxy)]
        return b"".join(lines)


def _host_and_port(url: httpx.URL) -> tuple[str, int]:
    return url.raw_host.decode("ascii"), url.port or _PORTS[url.scheme]


def _login(proxy: httpx.Proxy) -> list[str]:
    if proxy.raw_auth is None:
        return []
    return [f"Proxy-Authorization: Basic {base64.b64encode(b':'.join(proxy.raw_auth)).decode()}"]
