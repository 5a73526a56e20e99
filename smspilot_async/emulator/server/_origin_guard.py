"""Who may use the emulator: programs, and its own page, but no page from elsewhere.

A hostile page that is open in a browser while the emulator runs must not read, drive or fill it. Such a page shows in
the request's ``Origin``, ``Referer`` or ``Sec-Fetch-Site``; and where a foreign name was made to point at this machine
(DNS rebinding), in that name. Programs send none of these and are let in, whatever their content type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from starlette.requests import Request

from smspilot_async._tools.hosts import is_address, is_loopback

if TYPE_CHECKING:
    from starlette.types import Scope

_FROM_BROWSERS: Final = frozenset({b"origin", b"referer", b"sec-fetch-site"})
_OWN_SITES: Final = (None, "same-origin", "none")


def is_same_origin(request: Request) -> bool:
    """Whether the request does not come from a foreign page in a browser."""
    if not has_local_name(request) or request.headers.get("sec-fetch-site") not in _OWN_SITES:
        return False
    named = (request.headers.get(name) for name in ("origin", "referer"))
    return all(page is None or _site(page) == request.headers.get("host") for page in named)


def _site(url: str) -> str:
    try:
        return urlsplit(url).netloc
    except ValueError:  # brackets around what is not an address
        return ""


def is_allowed(scope: Scope) -> bool:
    """Whether a request to the gateway's address is a program's, whatever name it calls it by, or our own page's."""
    return _FROM_BROWSERS.isdisjoint(name for name, _ in scope["headers"]) or is_same_origin(Request(scope))


def has_local_name(request: Request) -> bool:
    """Whether a request calls this machine by its own name or address, and by no name that may be anyone's.

    From other machines, which reach it only where that was allowed, an address or a name without a dot will do, such as
    that of a container: a page from elsewhere has neither, even where its name was made to point here.
    """
    name = request.url.hostname or ""
    if request.client is None or not is_loopback(request.client.host):
        return bool(name) and (is_address(name) or "." not in name)
    return is_loopback(name)
