"""Callbacks to a local URL: the scheme, host and port of each callback's URL are replaced, and nothing else of it.

A callback's path may be signed, and is what tells the application which message it is about; so it travels unchanged,
percent signs and all.
"""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from smspilot_async._tools.hosts import is_loopback


def local_base(url: str, *, allow_remote: bool) -> str:
    """A URL that can take callbacks, without the slash at its end.

    Raises:
        ValueError: It has more than a scheme, a host and a port, or leads beyond this machine and may not.
    """
    parts = _split(url)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError("callbacks go to a URL such as http://127.0.0.1:8000: a scheme, a host and a port")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("callbacks keep their own path: give the URL without one, such as http://127.0.0.1:8000")
    if not allow_remote and not is_loopback(parts.hostname):
        raise ValueError(
            f"{parts.hostname} is another machine, which callbacks may reach only if that is allowed (allow_remote)"
        )
    return f"{parts.scheme}://{parts.netloc}"


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        has_port = parts.port is None or parts.port > 0
    except ValueError:  # brackets around what is not an address, a port out of range
        return None
    return parts if has_port else None


def moved(url: str, base: str) -> str:
    """A callback's URL at another scheme, host and port."""
    _, _, rest = url.partition("://")
    slash = min((at for at in map(rest.find, "/?#") if at >= 0), default=len(rest))
    return base + rest[slash:]
