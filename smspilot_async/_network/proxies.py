"""Proxies from the environment or by argument, TLS contexts, and checks of addresses."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from smspilot_async._tools.hosts import is_loopback
from smspilot_async._tools.validate import of_type

if TYPE_CHECKING:
    from smspilot_async._tools.secret import Secret


async def default_context(url: str, proxy: str | None) -> ssl.SSLContext:
    """Return the default TLS context: with certifi's roots, or those of ``SSL_CERT_FILE``."""
    if not url.startswith("https:") and not (proxy or "").startswith("https:"):
        return httpx.create_ssl_context(verify=False)  # TLS is not used; saves reading the roots
    return await asyncio.to_thread(httpx.create_ssl_context)


def proxy_from_environment(url: str) -> str | None:
    """Return the environment's proxy for this endpoint; none for an emulator on this machine."""
    parts = urlsplit(url)
    if is_loopback(parts.hostname or "") or proxy_bypass(parts.netloc):
        return None
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy


def check_network(
    proxy: Secret[str | None], ssl_context: ssl.SSLContext | None, transport: httpx.AsyncBaseTransport | None
) -> None:
    """Check network settings that would otherwise fail later.

    Raises:
        ValueError: See :func:`check_proxy`.
        TypeError: A proxy, context or transport has the wrong type.
    """
    of_type(str, proxy=proxy.reveal())
    check_proxy(proxy.reveal())
    of_type(ssl.SSLContext, ssl_context=ssl_context)
    of_type(httpx.AsyncBaseTransport, transport=transport)


def check_url(url: str) -> None:
    """Check that httpx can use an endpoint.

    Raises:
        ValueError: It cannot; the error does not contain the URL.
    """
    is_usable = _is_usable(url)
    del url  # a traceback would show it
    if not is_usable:
        raise ValueError("url is not an address that can be connected to")


def check_proxy(proxy: str | None) -> None:
    """Check that httpx can use a proxy.

    Raises:
        ValueError: It cannot; the error does not contain the proxy's credentials.
    """
    if proxy is None:
        return
    scheme = proxy.partition(":")[0].lower()
    if scheme not in {"http", "https", "socks5", "socks5h"} or not _is_usable(proxy):
        del proxy, scheme  # a traceback would show its password
        raise ValueError("proxy needs a URL that begins with http:, https: or socks5:")


def _host_and_port(url: str) -> str:
    """Return a proxy's host and port, without its user and password."""
    return httpx.URL(url).netloc.decode()


def _is_usable(url: str) -> bool:
    try:
        return bool(httpx.URL(url).host)
    except (httpx.InvalidURL, ValueError):
        return False
