"""Which way requests take: proxies from the environment or by argument, TLS, and whether an address can be used."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from smspilot_async._tools.validate import of_type

if TYPE_CHECKING:
    from smspilot_async._tools.secret import Secret


async def default_context(url: str, proxy: str | None) -> ssl.SSLContext:
    """Make the TLS context of a client that was given none: certifi's roots, or ``SSL_CERT_FILE``'s."""
    if not url.startswith("https:") and not (proxy or "").startswith("https:"):
        return httpx.create_ssl_context(verify=False)  # no TLS on the way; spares reading the roots
    return await asyncio.to_thread(httpx.create_ssl_context)


def proxy_from_environment(url: str) -> str | None:
    """Find the proxy that the environment names for this endpoint; none has a way to an emulator on this machine."""
    parts = urlsplit(url)
    if is_loopback(parts.hostname or "") or proxy_bypass(parts.netloc):
        return None
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy


def check_network(
    proxy: Secret[str | None], ssl_context: ssl.SSLContext | None, transport: httpx.AsyncBaseTransport | None
) -> None:
    """Refuse settings of the network that could only fail later.

    Raises:
        ValueError: see :func:`check_proxy`.
        TypeError: a proxy, context or transport that is none.
    """
    of_type(str, proxy=proxy.reveal())
    check_proxy(proxy.reveal())
    of_type(ssl.SSLContext, ssl_context=ssl_context)
    of_type(httpx.AsyncBaseTransport, transport=transport)


def check_url(url: str) -> None:
    """Refuse an endpoint that httpx can not use.

    Raises:
        ValueError: without the URL.
    """
    is_usable = _is_usable(url)
    del url  # a traceback would show it
    if not is_usable:
        raise ValueError("url is not an address that a connection can be made to")


def check_proxy(proxy: str | None) -> None:
    """Refuse a proxy that httpx can not use.

    Raises:
        ValueError: naming what is wrong, without the proxy's credentials.
    """
    if proxy is None:
        return
    scheme = proxy.partition(":")[0].lower()
    if scheme not in {"http", "https", "socks5", "socks5h"} or not _is_usable(proxy):
        del proxy, scheme  # a traceback would show its password
        raise ValueError("proxy needs a URL that begins with http:, https: or socks5:")


def _host_and_port(url: str) -> str:
    """Name a proxy without its user and password."""
    return httpx.URL(url).netloc.decode()


def _is_usable(url: str) -> bool:
    try:
        return bool(httpx.URL(url).host)
    except (httpx.InvalidURL, ValueError):
        return False


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, by its name or address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
