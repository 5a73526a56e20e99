"""The route to the gateway, one step at a time: DNS, TCP, the proxy's tunnel, TLS.

Each step is made here, without the client, which can only report that it did not arrive. What decides is taken from
the client: which proxy it would use, and which certificates it would trust. Only host and port of the proxy's URL are
shown, because the rest may be a password.
"""

from __future__ import annotations

import asyncio
import base64
import errno
import os
import socket
import ssl
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import proxy_bypass

from smspilot_async._network.base import NotWritten, Progress
from smspilot_async._network.proxies import check_proxy, default_context, proxy_from_environment
from smspilot_async._network.socks import ADVICE, LoginRefused, Socks
from smspilot_async._tools import clock as _clock
from smspilot_async._tools.hosts import is_address
from smspilot_async.cli._output import count
from smspilot_async.cli.doctor._findings import Finding, failed, fine, warning

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from smspilot_async._network.connection import Stream

_PORTS: Final = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
_SOON: Final = 14
"""Days left in which a certificate should have been renewed."""
_LARGEST_HEAD: Final = 64 * 1024
_LOGIN_WANTED: Final = "407"
_LOGIN: Final = "Put a user and password that it accepts into its URL."
_ASK: Final = "Ask its operator."
_DELAY: Final = 0.25
"""Seconds until the next address of a host is tried in parallel, as the client does (RFC 8305)."""

# OpenSSL's verification codes (x509_vfy.h), and what to do about each.
_CERTIFICATE: Final = {
    9: "Set this machine's clock: the certificate is not valid yet by it.",
    10: "If this machine's clock is right, the gateway's operator has to renew it; do not disable the check.",
    18: "Something between here and the gateway answers in its place, or SMSPILOT_URL names your own server: then put "
    "its certificate into a file that SSL_CERT_FILE names.",
    62: "Use the name that the certificate is for in SMSPILOT_URL.",
    64: "Use the name that the certificate is for in SMSPILOT_URL, not an address.",
}
_UNTRUSTED: Final = (
    "Its issuer is not trusted here: if your organisation inspects TLS, put its root certificate into a file that "
    "SSL_CERT_FILE names; otherwise do not continue."
)


class _Refused(Exception):
    """A proxy refuses the connection."""

    def __init__(self, says: str, advice: str) -> None:
        super().__init__(says)
        self.says = says
        self.advice = advice


class Route:
    """The route to one endpoint; each step continues from the one before it.

    Args:
        url: The endpoint.
        timeout: Seconds for each step.
    """

    def __init__(self, url: str, *, timeout: float) -> None:
        self._timeout = timeout
        self._url = url
        self._target = urlsplit(url)
        self._proxy: SplitResult | None = None
        self._wrong_proxy = ""
        self._look_for_proxy()
        self._writer: asyncio.StreamWriter | None = None
        self._reader: asyncio.StreamReader | None = None
        self._beyond_socks: Stream | None = None

    def _look_for_proxy(self) -> None:
        proxy = proxy_from_environment(self._url)
        try:
            check_proxy(proxy)
        except ValueError as wrong:
            self._wrong_proxy = str(wrong)
        else:
            self._proxy = None if proxy is None else urlsplit(proxy)

    async def aclose(self) -> None:
        """Close the connections."""
        if self._writer is not None:
            self._writer.transport.abort()
        if self._beyond_socks is not None:
            self._beyond_socks.abort()

    @property
    def steps(self) -> list[tuple[str, Callable[[], Awaitable[Finding]]]]:
        """The steps, in order. After a failed one, the rest are skipped."""
        return [("dns", self.dns), ("tcp", self.tcp), ("proxy", self.proxy), ("tls", self.tls)]

    # --- the steps -------------------------------------------------------------------------------

    async def dns(self) -> Finding:
        """Resolve the first host: the proxy's if there is one, else the gateway's."""
        if self._wrong_proxy:
            variable = _variable(self._target.scheme)
            says = f"the proxy that {variable} names cannot be used: {self._wrong_proxy}"
            return failed("dns", says, f"Correct {variable}, or unset it.")
        host, port = _address(self._first)
        if is_address(host):
            return fine("dns", f"{self._name} is an address; there is no name to look up", addresses=[host])
        try:
            found = await self._in_time(asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except TimeoutError:
            return failed("dns", f"{self._name}: no answer within {self._timeout:g} s", _FIX_DNS)
        except (OSError, UnicodeError) as wrong:
            return failed("dns", f"{self._name}: {_in_words(wrong)}", self._advice(_FIX_DNS))
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        return fine("dns", f"{self._name} has {count(len(addresses), 'address', 'addresses')}", addresses=addresses)

    async def tcp(self) -> Finding:
        """Connect to it."""
        host, port = _address(self._first)
        start = _clock.current().monotonic()
        connecting = asyncio.open_connection(
            host, port, happy_eyeballs_delay=None if is_address(host) else _DELAY, limit=_LARGEST_HEAD
        )
        try:
            self._reader, self._writer = await self._in_time(connecting)
        except TimeoutError:
            says = f"no connection to {self._name} within {self._timeout:g} s"
            return failed(
                "tcp", says, self._advice("A firewall may drop it: allow connections from this machine to that port.")
            )
        except OSError as wrong:
            says = f"no connection to {self._name}: {_in_words(wrong)}"
            return failed("tcp", says, self._advice("Check that the address is right and that a server listens there."))
        milliseconds = round((_clock.current().monotonic() - start) * 1000)
        return fine("tcp", f"connected to {self._name} in {milliseconds} ms", milliseconds=milliseconds)

    async def proxy(self) -> Finding:
        """Report which proxy is used and why, and open a tunnel through it."""
        if self._proxy is None:
            return fine("proxy", f"none is used: {_why_none(self._target)}", used=False)
        used = f"{self._name} is used, since {_variable(self._target.scheme)} says so"
        facts = {"used": True, "variable": _variable(self._target.scheme)}
        try:
            await self._in_time(self._by_socks(self._proxy) if self._is_socks else self._through_proxy(self._proxy))
        except _Refused as refused:
            says, advice = refused.says, refused.advice
        except TimeoutError:
            says, advice = f"no answer within {self._timeout:g} s", _ASK
        except (OSError, EOFError, ValueError) as wrong:
            says, advice = _in_words(wrong), _ASK
        else:
            return fine("proxy", used, **facts)
        return failed("proxy", f"{used}, but it refuses the connection: {says}", self._advice(advice), **facts)

    async def tls(self) -> Finding:
        """Perform the TLS handshake, and check the certificate."""
        if self._target.scheme == "http":
            return fine("tls", "none: the gateway's address begins with http:", used=False)
        host, _ = _address(self._target)
        try:
            context = await self._context()
        except OSError as wrong:
            says = f"the certificates to trust cannot be read: {_in_words(wrong)}"
            return failed("tls", says, "Correct SSL_CERT_FILE.")
        try:
            return self._certificate(host, await self._in_time(self._shake_hands(context, host)))
        except (OSError, EOFError, NotWritten) as wrong:
            return self._no_tls(host, wrong)

    # --- how -------------------------------------------------------------------------------------

    @property
    def _first(self) -> SplitResult:
        return self._target if self._proxy is None else self._proxy

    @property
    def _is_socks(self) -> bool:
        return self._proxy is not None and self._proxy.scheme.startswith("socks")

    @property
    def _name(self) -> str:
        host, port = _address(self._first)
        name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return name if self._proxy is None else f"the proxy {name}"

    def _advice(self, advice: str) -> str:
        if self._proxy is None:
            return advice
        return f"{advice} Or name another in {_variable(self._target.scheme)}, or exempt the gateway in NO_PROXY."

    async def _in_time(self, work: Awaitable[Any]) -> Any:
        clock = _clock.current()
        async with clock.timeout_at(clock.monotonic() + self._timeout):
            return await work

    async def _through_proxy(self, proxy: SplitResult) -> None:
        """Ask for a tunnel if the client would.

        Raises:
            _Refused: The proxy opens none.
        """
        if proxy.scheme == "https":
            await self._streams()[1].start_tls(await self._context(), server_hostname=_address(proxy)[0])
        if self._target.scheme == "http":
            return
        reader, writer = self._streams()
        writer.write(_connect_request(*_address(self._target), proxy))
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        _, *status = head.split(b"\r\n")[0].decode("ascii", "replace").split(" ")
        if status[:1] != ["200"]:
            advice = _LOGIN if status[:1] == [_LOGIN_WANTED] else _ASK
            raise _Refused(f"HTTP {' '.join(status) or 'without a status'}", advice)

    async def _by_socks(self, proxy: SplitResult) -> None:
        """Connect through a SOCKS proxy as the client does, with a connection of its own.

        Raises:
            _Refused: The proxy refuses.
        """
        try:
            self._beyond_socks = await Socks.at(proxy.geturl()).connect(*_address(self._target), Progress())
        except LoginRefused as refused:
            raise _Refused(str(refused), _LOGIN) from None
        except NotWritten as refused:
            raise _Refused(str(refused).removesuffix(f". {ADVICE}"), _ASK) from None

    async def _shake_hands(self, context: ssl.SSLContext, host: str) -> ssl.SSLObject:
        transport: asyncio.BaseTransport
        if self._beyond_socks is not None:
            await self._beyond_socks.start_tls(context, host)
            transport = self._beyond_socks.transport
        else:
            _, writer = self._streams()
            await writer.start_tls(context, server_hostname=host)
            transport = writer.transport
        tls: ssl.SSLObject = transport.get_extra_info("ssl_object")
        return tls

    async def _context(self) -> ssl.SSLContext:
        return await default_context(self._url, None if self._proxy is None else self._proxy.geturl())

    def _streams(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        assert self._reader is not None  # noqa: S101 - set by the step before
        assert self._writer is not None  # noqa: S101
        return self._reader, self._writer

    def _no_tls(self, host: str, wrong: Exception) -> Finding:
        match wrong:
            case NotWritten(__cause__=OSError() as cause):
                return self._no_tls(host, cause)
            case ssl.SSLCertVerificationError(verify_code=code, verify_message=message):
                advice = _CERTIFICATE.get(code, _UNTRUSTED)
                return failed("tls", f"the certificate of {host} is not accepted: {message}", advice)
            case TimeoutError():
                return failed("tls", f"{host} does not complete the TLS handshake within {self._timeout:g} s", _NO_TLS)
            case _:
                why = str(wrong) if isinstance(wrong, NotWritten) else _in_words(wrong)
                return failed("tls", f"{host} does not speak TLS there: {why}", _NO_TLS)

    def _certificate(self, host: str, tls: ssl.SSLObject) -> Finding:
        certificate = tls.getpeercert() or {}
        expires = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)
        days = (expires - _clock.current().now()).days
        says = f"{tls.version()}, the certificate is for {host} and is valid for {count(days, 'day')}"
        facts = {"version": tls.version(), "expires": expires}
        if days < _SOON:
            return warning("tls", says, "Sends will fail if its operator does not renew it by then.", **facts)
        return fine("tls", says, **facts)


_FIX_DNS: Final = "Check that the name is right, and that this machine can resolve other names."
_NO_TLS: Final = (
    "Check that SMSPILOT_URL names a port that speaks https, and what is between this machine and that port."
)


def _address(parts: SplitResult) -> tuple[str, int]:
    return parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 80)


def _connect_request(host: str, port: int, proxy: SplitResult) -> bytes:
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if proxy.username:
        credentials = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(credentials.encode()).decode()}")
    return "\r\n".join([*lines, "", ""]).encode()


def _variable(scheme: str) -> str:
    """Return the name of the variable that decides, as written in this environment."""
    wanted = (f"{scheme}_proxy", "all_proxy")
    found = [name for low in wanted for name in (low, low.upper()) if os.environ.get(name)]
    return found[0] if found else "the system's setting"


def _why_none(target: SplitResult) -> str:
    scheme, variable = target.scheme, _variable(target.scheme)
    if variable in os.environ and proxy_bypass(target.netloc):
        return f"{variable} names one, but NO_PROXY exempts this host"
    if variable in os.environ:
        return f"{variable} names one, but it is not used for this machine itself"
    return f"neither {scheme.upper()}_PROXY nor ALL_PROXY is set"


def _in_words(wrong: BaseException) -> str:
    """Return the system's reason, without anything that was sent."""
    match wrong:
        case ssl.SSLError():
            return (wrong.reason or "no TLS").replace("_", " ").lower()
        case asyncio.IncompleteReadError():
            return "the connection was closed"
        case socket.gaierror():
            return str(wrong.strerror)
        case OSError(errno=int(number)):
            return os.strerror(number) if number in errno.errorcode else str(wrong.strerror)
        case OSError():
            return "could not connect"
        case _:
            return "the answer is not HTTP"
