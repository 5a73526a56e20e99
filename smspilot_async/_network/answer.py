"""Reads one HTTP/1.1 answer from bytes, in whatever pieces they come: sans-I/O, on httptools.

httptools reads heads and chunks. What decides where an answer ends is counted here: httptools does not say how much of
a piece it has used, and whether anything came behind an answer must be known. Anything ambiguous (two lengths, a length
and chunks, bare line feeds, folded headers) is no answer: a proxy on the way might have read it differently.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Final

import httptools

from smspilot_async._network.base import Failure, Reply
from smspilot_async.errors import Reason

if TYPE_CHECKING:
    from collections.abc import Callable

LARGEST_HEAD: Final = 64 * 1024
"""Bytes of all heads of an answer, and of what surrounds its chunks."""
_LARGEST_OVERHEAD: Final = 16  # bytes around each byte of a body, in tiny chunks
_END_OF_HEAD: Final = b"\r\n\r\n"
_CHUNKED, _UNTIL_CLOSE = -1, -2  # in place of a length
_LONGEST_LENGTH: Final = 18  # digits
_SAFE_PART: Final = 0.8  # of the seconds for which the server keeps a connection
_SWITCHING, _FIRST_FINAL, _NO_CONTENT, _NOT_MODIFIED = 101, 200, 204, 304
_AUTODETECT_GZIP: Final = zlib.MAX_WBITS | 32
NOT_HTTP: Final = "the answer is not HTTP"


class Answer:
    """One answer to a request other than HEAD or CONNECT.

    Args:
        largest: The maximum size of its decoded body, in bytes.

    Attributes:
        status: Of the final answer; 0 until its head was read.
        may_stay: The server keeps the connection open, and nothing came behind the answer.
        longest_idle: Seconds for which the server lets the connection be idle, less a margin.
    """

    __slots__ = (
        "_body",
        "_decompress",
        "_head_size",
        "_headers",
        "_is_complete",
        "_is_head_read",
        "_joined",
        "_largest",
        "_left",
        "_parser",
        "_raw",
        "_seam",
        "_size",
        "longest_idle",
        "may_stay",
        "status",
    )

    def __init__(self, largest: int) -> None:
        self.status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self.may_stay = False
        self.longest_idle = float("inf")
        self._largest = largest
        self._parser: Any = httptools.HttpResponseParser(self)
        self._joined: dict[bytes, bytes] = {}  # the headers, repeated ones as one
        self._is_head_read = False  # of an interim answer, too
        self._is_complete = False
        self._seam = b""  # the last bytes before this piece
        self._head_size = 0
        self._left = 0  # bytes of the body, or how it ends otherwise
        self._raw = 0  # bytes of a chunked body, with what is around the chunks
        self._size = 0
        self._body: list[bytes] = []
        self._decompress: Callable[[bytes, int], bytes] | None = None

    def feed(self, data: bytes) -> Reply | Failure | None:
        """Read a piece. Not to be called again once it has returned a result."""
        try:
            result = self._feed_body(data) if self.status else self._feed_head(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            result = _not_http()
        if result is not None:
            self._parser = None  # it references this object
        return result

    def end(self) -> Reply | Failure:
        """Return what the answer is if the connection was closed here."""
        self._parser = None
        self.may_stay = False
        if self.status and self._left == _UNTIL_CLOSE:
            return self._reply()
        return Failure(Reason.DISCONNECTED, "the connection was closed in the middle of the answer")

    # --- called by httptools ---------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Note that something came behind the answer."""
        if self._is_complete:
            self.may_stay = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; those behind a chunked body are not needed."""
        if not self._is_head_read:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Note the end of a head, and whether the connection stays: later httptools does not know that any more."""
        if not self._is_complete:  # else it is the head of what came behind the answer
            self._is_head_read = True
            self.may_stay = self._parser.should_keep_alive()

    def on_body(self, piece: bytes) -> None:
        """Keep a piece of a chunked body, and not of what came behind the answer."""
        if not self._is_complete:
            self._body.append(piece)

    def on_message_complete(self) -> None:
        """Note the end of a chunked body."""
        self._is_complete = True

    # --- the head --------------------------------------------------------------------------------

    def _feed_head(self, data: bytes) -> Reply | Failure | None:
        while data:
            joined = self._seam + data if self._seam else data
            end = joined.find(_END_OF_HEAD)
            if end < 0:
                self._head_size += len(data)
                self._parser.feed_data(data)
                self._seam = joined[-3:]
                return _not_http() if self._is_head_read or self._head_size > LARGEST_HEAD else None
            end += len(_END_OF_HEAD) - len(self._seam)
            self._head_size += end
            self._seam = b""
            head, data = (data, b"") if end == len(data) else (data[:end], data[end:])
            self._parser.feed_data(head)
            if not self._is_head_read or self._head_size > LARGEST_HEAD:
                return _not_http()
            status = self._parser.get_status_code()
            if status >= _FIRST_FINAL:
                return self._begin_body(status, data)
            if status == _SWITCHING:
                return _not_http()
            self._parser = httptools.HttpResponseParser(self)  # that was an interim answer
            self._headers.clear()
            self._is_head_read = self._is_complete = False
        return None

    def _begin_body(self, status: int, data: bytes) -> Reply | Failure | None:
        self._is_complete = False
        failure = self._read_headers(status)
        if failure is not None:
            return failure
        self.status = status
        return self._feed_body(data) if data or self._left == 0 else None

    def _read_headers(self, status: int) -> Failure | None:
        """Find out where the body ends, how it is encoded, and whether the connection stays."""
        headers = self._joined
        for name, value in self._headers:
            low = name.lower()
            value = value.strip(b" \t")  # noqa: PLW2901 - httptools leaves what stands behind it
            headers[low] = headers[low] + b", " + value if low in headers else value
        length = headers.get(b"content-length")
        transfer = headers.get(b"transfer-encoding")
        if self._parser.get_http_version() not in {"1.0", "1.1"}:
            return _not_http()
        if length is not None and (transfer is not None or not length.isdigit() or len(length) > _LONGEST_LENGTH):
            return _not_http()
        if transfer is not None and transfer.lower() != b"chunked":
            return _not_http()
        if status in {_NO_CONTENT, _NOT_MODIFIED}:
            self._left = 0
        elif transfer is not None:
            self._left = _CHUNKED
        else:
            self._left = _UNTIL_CLOSE if length is None else int(length)
        encoding = headers.get(b"content-encoding", b"").decode("latin-1")
        self._decompress = decompressor(encoding)
        if self._decompress is None:
            return Failure(Reason.UNREADABLE, "an encoding that was not requested", http_status=status)
        if self._decompress is plain and self._left > self._largest:
            return self._too_large(status)
        self.may_stay &= self._left != _UNTIL_CLOSE and not self._may_have_more(status, length, transfer)
        if b"keep-alive" in headers:
            self._heed(headers[b"keep-alive"])
        return None

    def _may_have_more(self, status: int, length: bytes | None, transfer: bytes | None) -> bool:
        """Return whether the server may see the end of the answer later than this library."""
        if status == _NO_CONTENT and length not in {None, b"0"}:
            return True
        return transfer is not None and (self._left == 0 or self._parser.get_http_version() == "1.0")

    def _heed(self, keep_alive: bytes) -> None:
        """Read for how long the server keeps an idle connection, such as ``timeout=5, max=100``."""
        for part in keep_alive.lower().split(b","):
            name, _, value = part.strip().partition(b"=")
            if not value.isdigit() or len(value) > _LONGEST_LENGTH:
                continue
            if name == b"timeout":
                self.longest_idle = int(value) * _SAFE_PART
            if name == b"max" and int(value) == 0:
                self.may_stay = False

    # --- the body --------------------------------------------------------------------------------

    def _feed_body(self, data: bytes) -> Reply | Failure | None:
        if self._left == _CHUNKED:
            return self._feed_chunks(data)
        if self._left == _UNTIL_CLOSE:
            return self._add(data)
        if len(data) > self._left:
            self.may_stay = False
            data = data[: self._left]
        self._left -= len(data)
        failure = self._add(data)
        if failure is not None or self._left:
            return failure
        return self._reply()

    def _feed_chunks(self, data: bytes) -> Reply | Failure | None:
        self._raw += len(data)
        self._seam = (self._seam + data)[-5:]
        pieces, self._body = self._body, []
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            if not self._is_complete:
                raise
            self.may_stay = False  # what came behind it is not HTTP
        new, self._body = self._body, pieces
        for piece in new:
            self._raw -= len(piece)
            if (failure := self._add(piece)) is not None:
                return failure
        if self._is_complete:
            # httptools skips line ends behind an answer; a chunked one ends with exactly two.
            if not self._seam.endswith(_END_OF_HEAD) or self._seam[:1] in b"\r\n":
                self.may_stay = False
            return self._reply()
        return _not_http() if self._raw > LARGEST_HEAD + _LARGEST_OVERHEAD * self._size else None

    def _add(self, data: bytes) -> Failure | None:
        if not data:
            return None
        assert self._decompress is not None  # noqa: S101 - set with the status
        try:
            piece = self._decompress(data, self._largest + 1 - self._size)
        except zlib.error:
            return Failure(Reason.UNREADABLE, "broken compression", http_status=self.status)
        self._size += len(piece)
        if self._size > self._largest:
            return self._too_large(self.status)
        self._body.append(piece)
        return None

    def _too_large(self, status: int) -> Failure:
        return Failure(Reason.TOO_LARGE, f"an answer of over {self._largest} bytes", http_status=status)

    def _reply(self) -> Reply | Failure:
        if isinstance(self._decompress, _Inflate) and self._decompress.is_cut:
            return Failure(Reason.UNREADABLE, "broken compression", http_status=self.status)
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        return Reply(self.status, body, self._header(b"retry-after"), self._header(b"date"))

    def _header(self, name: bytes) -> str | None:
        value = self._joined.get(name)
        return None if value is None else value.decode("latin-1")


def _not_http() -> Failure:
    return Failure(Reason.DISCONNECTED, NOT_HTTP)


class _Inflate:
    """Decompresses gzip or deflate that was not requested, to at most the given number of bytes."""

    __slots__ = ("_has_begun", "_zlib")

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(_AUTODETECT_GZIP)
        self._has_begun = False

    @property
    def is_cut(self) -> bool:
        """Whether it has begun, and its end has not come."""
        return self._has_begun and not self._zlib.eof

    def __call__(self, chunk: bytes, room: int) -> bytes:
        self._has_begun = True
        if self._zlib.eof:
            return b""  # zlib would buffer everything after the end
        return self._zlib.decompress(chunk, room)


def plain(chunk: bytes, _room: int) -> bytes:
    """Return a piece of an answer that is not compressed."""
    return chunk


def decompressor(encoding: str) -> Callable[[bytes, int], bytes] | None:
    """Return what decodes a body, piece by piece, to at most the given number of bytes; ``None`` if nothing does."""
    match encoding.strip().lower():
        case "" | "identity":
            return plain
        case "gzip" | "x-gzip" | "deflate":
            return _Inflate()
    return None
