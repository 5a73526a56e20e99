"""What a client was told, by its arguments or by the environment where they are silent; checked when it is made."""

from __future__ import annotations

import ipaddress
import os
import ssl
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar
from urllib.parse import urlsplit

import attrs

from smspilot_async import text
from smspilot_async.wire import Credentials, RequestStyle, WireFormat

if TYPE_CHECKING:
    import httpx  # noqa: TC004 - only a type

    from smspilot_async._retry import Retry  # noqa: TC004 - only a type

Value_co = TypeVar("Value_co", covariant=True)
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


class Secret(Generic[Value_co]):
    """A value that shows itself to nobody who only looks: its ``repr``, and so a frame in a traceback, hides it."""

    __slots__ = ("_value",)

    def __init__(self, value: Value_co) -> None:
        self._value = value

    def __repr__(self) -> str:
        return "Secret(…)"

    def reveal(self) -> Value_co:
        """Return the value."""
        return self._value

    @property
    def is_callable(self) -> bool:
        """The value is a function that returns the secret of the moment."""
        return callable(self._value)

    def call(self) -> Secret[object]:
        """Ask that function."""
        assert callable(self._value)  # noqa: S101 - whoever calls this asked before
        return Secret(self._value())


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


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, by its name or address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


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


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuse anything but the allowed words.

    Raises:
        ValueError: naming the setting and what it takes.
    """
    if value not in allowed:
        raise ValueError(f"{name} is one of {', '.join(map(repr, allowed))}, not {value!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def of_type(kind: type, **values: object) -> None:
    """Refuse what is of another type: used later, in the middle of a send, it could not tell whether something left.

    Raises:
        TypeError: naming the setting.
    """
    for name, value in values.items():
        if value is not None and not isinstance(value, kind):
            given = type(value).__name__
            del value, values  # the right ones among them may be private
            raise TypeError(f"{name} must be {kind.__name__}, not {given}")


def check_callbacks(callbacks: object) -> None:
    """Refuse what is no inbox.

    Raises:
        TypeError: naming the setting.
    """
    if callbacks is not None:
        from smspilot_async.callbacks import CallbackInbox  # noqa: PLC0415 - nobody else needs SQLite loaded

        of_type(CallbackInbox, callbacks=callbacks)


def positive(**values: float | None) -> None:
    """Refuse numbers that are not above zero.

    Raises:
        ValueError: naming the setting.
    """
    for name, value in values.items():
        if value is not None and (not _is_number(value) or not value > 0):
            raise ValueError(f"{name} must be a number above 0, not {value!r}")


def required(**values: float | None) -> None:
    """Refuse ``None`` where others take it for "for ever": an unanswered request must end some time.

    Raises:
        ValueError: naming the setting.
    """
    for name, value in values.items():
        if value is None:
            raise ValueError(f"{name} must be a number of seconds")


def whole(**values: int) -> None:
    """Refuse numbers that are not whole, or not above zero.

    Raises:
        ValueError: naming the setting.
    """
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value <= 0:  # type: ignore[redundant-expr] # unchecked
            raise ValueError(f"{name} must be a whole number above 0, not {value!r}")


def not_negative(**values: float) -> None:
    """Refuse numbers below zero.

    Raises:
        ValueError: naming the setting.
    """
    for name, value in values.items():
        if not _is_number(value) or not value >= 0:
            raise ValueError(f"{name} must be a number, 0 or above, not {value!r}")


def check_sender(sender: str | None) -> None:
    """Check the default sender by the rules of a message's own."""
    if sender is not None:
        text.check_sender(sender)
