"""Who may look at the emulator and drive it: programs, and its own page, but no page from elsewhere.

Whoever opens a hostile page while the emulator runs should not have it read or driven by that page. A browser gives
such a page away by the origin it names, or by how it calls the site; and where a foreign name was made to point at this
machine (DNS rebinding), by that name. Programs send none of this and are let in, whatever their content type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from smspilot_async.emulator._callbacks import is_loopback

if TYPE_CHECKING:
    from starlette.requests import Request

_OWN_SITES: Final = (None, "same-origin", "none")


def is_ours(request: Request) -> bool:
    """Whether this is no foreign page in a browser."""
    if not has_our_name(request) or request.headers.get("sec-fetch-site") not in _OWN_SITES:
        return False
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


def has_our_name(request: Request) -> bool:
    """Whether a request from this machine calls it by its own name or address."""
    if request.client is None or not is_loopback(request.client.host):
        return True  # others reach it only where that was allowed, and by names that nobody here knows
    return is_loopback(request.url.hostname or "")
