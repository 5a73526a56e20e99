"""A client's settings, from its arguments or the environment; validated when the client is created."""

from __future__ import annotations

import os
import ssl
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import attrs

from smspilot_async import text
from smspilot_async._sending.status_callbacks import StatusCallbacks
from smspilot_async._tools.hosts import is_loopback
from smspilot_async._tools.secret import Secret
from smspilot_async._tools.validate import of_type
from smspilot_async.wire import Credentials, RequestStyle, WireFormat

if TYPE_CHECKING:
    import httpx  # noqa: TC004 - only a type

    from smspilot_async._requests.retry import Retry  # noqa: TC004 - only a type

DEFAULT_URL: Final = "https://smspilot.ru/api2.php"


class ExposureWarning(UserWarning):
    """A setting exposes the key or personal data to others."""


@attrs.frozen(repr=False, kw_only=True)
class Settings:
    """A client's validated settings. Its ``repr`` shows nothing, nor do tools that show the fields of attrs classes."""

    credentials: Callable[[], Credentials]
    url: str = attrs.field(repr=False)
    wire: WireFormat
    request_style: RequestStyle
    sender: str | None = attrs.field(repr=False)
    test: bool
    max_connections: int
    timeout: float
    deadline: float
    retry: Retry
    rate_limit: float | None
    packet_size: int
    split_packets: bool
    linger: float
    max_pending: int
    parameters: Mapping[str, str] = attrs.field(repr=False)
    country: text.Country | None
    proxy: str | None = attrs.field(repr=False)
    ssl_context: ssl.SSLContext | None
    transport: httpx.AsyncBaseTransport | None

    @property
    def shown_url(self) -> str:
        """The endpoint without its query, which may be private; URLs with credentials are rejected anyway."""
        return urlsplit(self.url)._replace(query="").geturl()


def credentials_from(
    api_key: Secret[object], login: Secret[str | None], password: Secret[str | None]
) -> Callable[[], Credentials]:
    """Return the credentials: the arguments, ``SMSPILOT_API_KEY``, or the file named by ``SMSPILOT_API_KEY_FILE``.

    Raises:
        ValueError: There are none, or half of a login, or both kinds.
    """
    if login.reveal() is not None or password.reveal() is not None:
        if api_key.reveal() is not None:
            raise ValueError("give an api_key, or login and password, not both")
        if not login.reveal() or not password.reveal():
            raise ValueError("login and password go together")
        fixed = Credentials((("login", _printable(login)), ("password", _printable(password))))
        return lambda: fixed
    source = api_key if api_key.reveal() is not None else _key_from_environment()
    if source.is_callable:
        return lambda: Credentials((("apikey", _printable(source.call())),))
    fixed = Credentials((("apikey", _printable(source)),))
    return lambda: fixed


def _key_from_environment() -> Secret[object]:
    if os.environ.get("SMSPILOT_API_KEY"):
        return Secret(os.environ["SMSPILOT_API_KEY"].strip())
    if path := os.environ.get("SMSPILOT_API_KEY_FILE"):
        return _key_from_file(path)
    raise ValueError("no API key: pass api_key, or set SMSPILOT_API_KEY or SMSPILOT_API_KEY_FILE")


def _key_from_file(path: str) -> Secret[object]:
    """Read a key.

    Raises:
        ValueError: The file cannot be read; a decoder's own error would contain its content.
    """
    try:
        return Secret(Path(path).read_text(encoding="utf-8-sig").strip())
    except (OSError, UnicodeError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or "it is not UTF-8"
    raise ValueError(f"SMSPILOT_API_KEY_FILE cannot be read: {reason}")


def _printable(secret: Secret[Any]) -> str:
    value = secret.reveal()
    if not isinstance(value, str) or not value or not value.isprintable():
        del value  # a traceback may show this frame's variables
        raise ValueError("a key, login or password must be a non-empty string of printable characters")
    return value


def url_from(given: Secret[str | None], *, allow_http: bool) -> str:
    """Return the endpoint: the argument, ``SMSPILOT_URL``, or the default; refuse to send a key in clear.

    Raises:
        ValueError: It is not an http(s) URL, has credentials, or is plain http to another machine without
            ``allow_http`` or ``SMSPILOT_ALLOW_HTTP``; the error does not contain the URL.
        TypeError: It is not a string.
    """
    of_type(str, url=given.reveal())
    endpoint = Secret(os.environ.get("SMSPILOT_URL") or DEFAULT_URL) if given.reveal() is None else given
    allowed = _is_on("SMSPILOT_ALLOW_HTTP") or allow_http
    if problem := _problem_with_url(endpoint.reveal() or "", allow_http=allowed):
        raise ValueError(problem)
    return _with_path(endpoint.reveal() or "")


def _problem_with_url(url: str, *, allow_http: bool) -> str | None:
    """Return what is wrong with an endpoint, without any part of it, which may be a password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "url needs an absolute http or https address of the gateway"
    if "@" in parts.netloc:
        return "url must not hold credentials; pass api_key, or login and password"
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.fragment or not url.isprintable():
        return "url needs an absolute http or https address of the gateway"
    if parts.scheme == "http" and not allow_http and not is_loopback(parts.hostname):
        return "an http: url sends the key and every text in clear; use https (or, if that is acceptable, allow_http)"
    return None


def _with_path(url: str) -> str:
    parts = urlsplit(url)
    return url if parts.path else parts._replace(path="/").geturl()


def test_from(*, test: bool) -> bool:
    """Return whether test mode is on: ``SMSPILOT_TEST`` enables it machine-wide, so that a staging system cannot send.

    Raises:
        ValueError: The variable is neither a yes nor a no.
    """
    return _is_on("SMSPILOT_TEST") or test


def _is_on(variable: str) -> bool:
    value = os.environ.get(variable, "").strip().lower()
    if value in {"1", "true", "yes", "on"}:
        return True
    if value in {"", "0", "false", "no", "off"}:
        return False
    raise ValueError(f"{variable} must be 1 or 0")


def parameters_from(debug_email: Secret[str | None], referral: int | str | None) -> dict[str, str]:
    """Return the URL parameters of every request (API-2, "debug" and "r")."""
    parameters = {}
    if debug_email.reveal() is not None:
        warnings.warn(
            "debug_email has every request, with the key, phones and texts, mailed to that address",
            ExposureWarning,
            stacklevel=3,
        )
        parameters["debug"] = debug_email.reveal() or ""
    if referral is not None:
        parameters["r"] = str(referral)
    return parameters


def style_from(style: RequestStyle) -> RequestStyle:
    """Return the request style; warn about ``"query"``."""
    if style == "query":
        warnings.warn(
            "request_style='query' puts the key, phones and texts into URLs, which servers and proxies log",
            ExposureWarning,
            stacklevel=3,
        )
    return style


def check_callbacks(callbacks: object) -> None:
    """Check that the argument is an inbox.

    Raises:
        TypeError: It is not.
    """
    if callbacks is not None and not isinstance(callbacks, StatusCallbacks):
        raise TypeError(f"callbacks must be a CallbackInbox, not {type(callbacks).__name__}")


def check_sender(sender: str | None) -> None:
    """Check the default sender like that of a message."""
    if sender is not None:
        text.check_sender(sender)
