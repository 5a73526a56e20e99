"""What a client was told, by its arguments or by the environment where they are silent; checked when it is made."""

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
from smspilot_async._network.proxies import is_loopback
from smspilot_async._sending.status_callbacks import StatusCallbacks
from smspilot_async._tools.secret import Secret
from smspilot_async._tools.validate import of_type
from smspilot_async.wire import Credentials, RequestStyle, WireFormat

if TYPE_CHECKING:
    import httpx  # noqa: TC004 - only a type

    from smspilot_async._requests.retry import Retry  # noqa: TC004 - only a type

DEFAULT_URL: Final = "https://smspilot.ru/api2.php"


class ExposureWarning(UserWarning):
    """A setting was chosen that shows the key or people's data to others."""


@attrs.frozen(repr=False, kw_only=True)
class Settings:
    """A client's settings, checked. Its ``repr`` shows nothing, nor do tools that show the fields of attrs' classes."""

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
        """The endpoint, without a query, which may hold anything; one with credentials is refused."""
        return urlsplit(self.url)._replace(query="").geturl()


def credentials_from(
    api_key: Secret[object], login: Secret[str | None], password: Secret[str | None]
) -> Callable[[], Credentials]:
    """Find out who asks: explicit credentials, ``SMSPILOT_API_KEY``, or the file that ``SMSPILOT_API_KEY_FILE`` names.

    Raises:
        ValueError: if there are none, or half of a login, or two kinds at once.
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
        ValueError: if the file cannot be read; a decoder's own error would hold its content.
    """
    try:
        return Secret(Path(path).read_text(encoding="utf-8-sig").strip())
    except (OSError, UnicodeError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or "it is not UTF-8"
    raise ValueError(f"SMSPILOT_API_KEY_FILE can not be read: {reason}")


def _printable(secret: Secret[Any]) -> str:
    value = secret.reveal()
    if not isinstance(value, str) or not value or not value.isprintable():
        del value  # not in this frame, which a traceback would show
        raise ValueError("a key, login or password is a string of printable characters, and not empty")
    return value


def url_from(given: Secret[str | None], *, allow_http: bool) -> str:
    """Take the endpoint from the argument, ``SMSPILOT_URL``, or the default, and refuse to send a key in clear.

    Raises:
        ValueError: if it is no http(s) URL, holds credentials, or is plain http beyond this machine without
            ``allow_http``; without the URL.
        TypeError: if it is no string.
    """
    of_type(str, url=given.reveal())
    endpoint = Secret(os.environ.get("SMSPILOT_URL") or DEFAULT_URL) if given.reveal() is None else given
    if problem := _problem_with_url(endpoint.reveal() or "", allow_http=allow_http):
        raise ValueError(problem)
    return _with_path(endpoint.reveal() or "")


def _problem_with_url(url: str, *, allow_http: bool) -> str | None:
    """Say what is wrong with an endpoint, in words that hold nothing of it: it may be a password's."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "url needs an absolute http or https address of the gateway"
    if "@" in parts.netloc:
        return "url must not hold credentials; pass api_key, or login and password"
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.fragment or not url.isprintable():
        return "url needs an absolute http or https address of the gateway"
    if parts.scheme == "http" and not allow_http and not is_loopback(parts.hostname):
        return "an http: url sends the key and every text in clear; use https (or, knowing that, allow_http)"
    return None


def _with_path(url: str) -> str:
    parts = urlsplit(url)
    return url if parts.path else parts._replace(path="/").geturl()


def test_from(*, test: bool) -> bool:
    """``SMSPILOT_TEST`` switches test mode on for a whole machine, so that a staging system can not send.

    Raises:
        ValueError: if the variable is neither a yes nor a no.
    """
    value = os.environ.get("SMSPILOT_TEST", "").strip().lower()
    if value in {"1", "true", "yes", "on"}:
        return True
    if value in {"", "0", "false", "no", "off"}:
        return test
    raise ValueError("SMSPILOT_TEST is 1 or 0")


def parameters_from(debug_email: Secret[str | None], referral: int | str | None) -> dict[str, str]:
    """Collect the URL parameters that go with every request (API-2, "debug" and "r")."""
    parameters = {}
    if debug_email.reveal() is not None:
        warnings.warn(
            "debug_email mails every request, with the key, phones and texts, to that address",
            ExposureWarning,
            stacklevel=3,
        )
        parameters["debug"] = debug_email.reveal() or ""
    if referral is not None:
        parameters["r"] = str(referral)
    return parameters


def style_from(style: RequestStyle) -> RequestStyle:
    """Check the request style; ``"query"`` is allowed, with a warning."""
    if style == "query":
        warnings.warn(
            "request_style='query' puts the key, phones and texts into URLs, which servers and proxies log",
            ExposureWarning,
            stacklevel=3,
        )
    return style


def check_callbacks(callbacks: object) -> None:
    """Refuse what is no inbox.

    Raises:
        TypeError: naming the setting.
    """
    if callbacks is not None and not isinstance(callbacks, StatusCallbacks):
        raise TypeError(f"callbacks must be a CallbackInbox, not {type(callbacks).__name__}")


def check_sender(sender: str | None) -> None:
    """Check the default sender by the rules of a message's own."""
    if sender is not None:
        text.check_sender(sender)
