"""How the page is served: under which names, behind which proxy, and what an approval needs."""

from __future__ import annotations

from typing import Final

import attrs

from smspilot_async._tools.hosts import is_loopback

__all__ = ["PageSettings"]

_LOOPBACK: Final = ("127.0.0.1", "::1")


def _lower(names: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    return tuple(name.strip().casefold() for name in names)


@attrs.frozen(kw_only=True)
class PageSettings:
    """How the page is served.

    Attributes:
        names: Under which it may be called, beside this machine's own: ``("sms.example.com",)``.
        proxy_header: In which a trusted proxy names the person; ``None`` if none does.
        proxies: Addresses from which that header is believed.
        is_https: The browser speaks HTTPS with the proxy: the cookie is never sent without it.
        second_person: A campaign is approved by another person than the one who made it.
    """

    names: tuple[str, ...] = attrs.field(default=(), converter=_lower)
    proxy_header: str | None = None
    proxies: tuple[str, ...] = _LOOPBACK
    is_https: bool = False
    second_person: bool = False

    def is_own_name(self, host: str) -> bool:
        """Return whether the page is meant by a name in a ``Host`` header."""
        name = _without_port(host.casefold())
        return is_loopback(name) or name in self.names


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
