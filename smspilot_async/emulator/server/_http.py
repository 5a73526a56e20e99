"""HTTP as the gateway sees it, without a socket: where a request has its document, and how an answer may end.

The server and the in-process transport both turn their own requests into `HttpRequest`, and send the `Reply`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from enum import Enum, auto
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes, urlsplit

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

API_PATH: Final = "/api2.php"
PAGE_PATH: Final = "/_emulator"
LARGEST_BODY: Final = 8 * 1024 * 1024
HTML: Final = "text/html; charset=utf-8"
_DOCUMENT_STARTS: Final = (b"<?xml", b"{")
_PARAMETERS: Final = (b"xml", b"json")


@attrs.frozen(kw_only=True)
class HttpRequest:
    """A request whose body has been read.

    Attributes:
        client: The address it came from.
        connection: What identifies the connection; `None` where there is none.
        is_too_large: Its body was not read any further.
    """

    method: str
    query: bytes = attrs.field(default=b"", repr=False)
    content_type: str = ""
    body: bytes = attrs.field(default=b"", repr=False)
    client: str = "127.0.0.1"
    connection: Hashable = None
    is_too_large: bool = False


class Ending(Enum):
    """What becomes of the connection."""

    ANSWER = auto()
    HALF_ANSWER = auto()
    CLOSE = auto()
    RESET = auto()


class Hold:
    """An answer held back until a time has passed or it is released, from any thread."""

    def __init__(self, delay: float | None) -> None:
        self._delay = delay
        self._released: Future[None] = Future()

    async def wait(self) -> None:
        """Return when the answer may go."""
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.wrap_future(self._released), self._delay)

    def release(self) -> None:
        """Send the answer."""
        with suppress(InvalidStateError):  # its time was over
            self._released.set_result(None)

    def when_over(self, call: Callable[[], None]) -> None:
        """Call this once the wait is over, in the thread that ends it."""
        self._released.add_done_callback(lambda _released: call())

    @property
    def is_over(self) -> bool:
        """Whether the wait is over."""
        return self._released.done()


@attrs.frozen(kw_only=True)
class Reply:
    """What goes back, and how.

    Attributes:
        command: What it answers, as far as that was understood; so are `count`, the rows of the request, and `to`, the
            phone of a single one.
        fault: The fault that it met.
    """

    status: int = 200
    content_type: str = HTML
    body: bytes = attrs.field(default=b"", repr=False)
    headers: tuple[tuple[str, str], ...] = ()
    ending: Ending = Ending.ANSWER
    hold: Hold | None = None
    command: str = ""
    count: int = 0
    to: str | None = attrs.field(default=None, repr=False)
    fault: str | None = None

    @classmethod
    def page(cls, status: int, title: str, **headers: str) -> Reply:
        """A page of HTML, as web servers and proxies write them."""
        pairs = tuple((name.replace("_", "-"), value) for name, value in headers.items())
        return cls(status=status, body=_page(f"{status} {title}"), headers=pairs)


def _page(title: str) -> bytes:
    return (
        f"<html>\r\n<head><title>{title}</title></head>\r\n"
        f"<body>\r\n<center><h1>{title}</h1></center>\r\n</body>\r\n</html>\r\n"
    ).encode()


def path_of(target: str) -> str:
    """The path of a request target, which a client that takes us for its proxy writes as a whole URL."""
    if target.lower().startswith(("http://", "https://")):
        return urlsplit(target).path or "/"
    return target


def find_document(request: HttpRequest) -> bytes:
    """The document of a request: its body, or a parameter ``xml`` or ``json`` of the body's form or the URL.

    The body's first characters decide; the content type only tells a form from something unreadable.
    """
    if request.body.startswith(_DOCUMENT_STARTS):
        return request.body
    for name, value in _parameters(request):
        if name in _PARAMETERS and value:
            return value
    return request.body


def _parameters(request: HttpRequest) -> Iterator[tuple[bytes, bytes]]:
    if request.content_type.lower().startswith("multipart/form-data"):
        yield from _multipart(request.body, request.content_type)
    elif request.body.startswith((b"xml=", b"json=")) or "urlencoded" in request.content_type.lower():
        yield from _urlencoded(request.body)
    yield from _urlencoded(request.query)


def _urlencoded(form: bytes) -> Iterator[tuple[bytes, bytes]]:
    for pair in form.split(b"&"):
        name, _, value = pair.partition(b"=")
        yield unquote_to_bytes(name), unquote_to_bytes(value.replace(b"+", b" "))


def _multipart(body: bytes, content_type: str) -> Iterator[tuple[bytes, bytes]]:
    _, _, boundary = content_type.partition("boundary=")
    delimiter = b"--" + boundary.partition(";")[0].strip().strip('"').encode()
    for part in body.split(delimiter)[1:-1]:
        head, _, value = part.partition(b"\r\n\r\n")
        yield _field_name(head), value.removesuffix(b"\r\n")


def _field_name(head: bytes) -> bytes:
    _, _, rest = head.replace(b'filename="', b"").partition(b'name="')
    return rest.partition(b'"')[0]
