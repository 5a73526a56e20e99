"""HTTP answers as strange servers and proxies write them, and what is to be made of them."""

from __future__ import annotations

import gzip
import zlib
from typing import Final

import attrs


@attrs.frozen
class Strange:
    """One answer, to a request that asks for ``BODY``.

    Attributes:
        data: What the server sends.
        body: What is read; ``None`` where it is no answer.
        stays: The connection may be used again.
        closes: The server closes the connection after it.
        status: Of the answer.
    """

    data: bytes
    body: bytes | None = b'{"balance":"15"}'
    stays: bool = True
    closes: bool = False
    status: int = 200


BODY: Final = b'{"balance":"15"}'
LENGTH: Final = b"Content-Length: 16\r\n"
CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"
ANOTHER: Final = b'HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{"mark":"forged"}'


def answer(headers: bytes = LENGTH, body: bytes = BODY, line: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return line + b"\r\n" + headers + b"\r\n" + body


def chunks(*sizes_and_data: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    pairs = zip(sizes_and_data[::2], sizes_and_data[1::2], strict=True)
    return b"".join(size + b"\r\n" + data + b"\r\n" for size, data in pairs) + end


IN_CHUNKS: Final = chunks(b"7", BODY[:7], b"9", BODY[7:])

STRANGE: Final = {
    # ordinary, in other words
    "a length": Strange(answer()),
    "odd casing": Strange(answer(b"cOnTeNt-LeNgTh: 16\r\nX-a: B\r\n")),
    "no space": Strange(answer(b"Content-Length:16\r\n")),
    "much space": Strange(answer(b"Content-Length:   16  \r\n")),
    "no reason": Strange(answer(line=b"HTTP/1.1 200 ")),
    "a reason of many words": Strange(answer(line=b"HTTP/1.1 200 Alles in Ordnung \xe4")),
    "chunks": Strange(answer(CHUNKED, IN_CHUNKS)),
    "chunks in odd casing": Strange(answer(b"TRANSFER-encoding: ChunKed\r\n", IN_CHUNKS)),
    "chunk extensions": Strange(answer(CHUNKED, chunks(b"7;a=b", BODY[:7], b'9;c="d"', BODY[7:]))),
    "sizes with zeros": Strange(answer(CHUNKED, chunks(b"0010", BODY, end=b"000\r\n\r\n"))),
    "sizes in both cases": Strange(answer(CHUNKED, chunks(b"a", BODY[:10], b"6", BODY[10:]))),
    "trailers": Strange(answer(CHUNKED, chunks(b"10", BODY, end=b"0\r\nX-Sum: 1\r\nDate: x\r\n\r\n"))),
    "until the end": Strange(answer(b""), stays=False, closes=True),
    "HTTP/1.0": Strange(answer(line=b"HTTP/1.0 200 OK"), stays=False, closes=True),
    "HTTP/1.0 that stays": Strange(answer(LENGTH + b"Connection: keep-alive\r\n", line=b"HTTP/1.0 200 OK")),
    "a close": Strange(answer(LENGTH + b"Connection: close\r\n"), stays=False, closes=True),
    "a close among others": Strange(answer(LENGTH + b"Connection: x, Close\r\n"), stays=False, closes=True),
    "no more requests": Strange(answer(LENGTH + b"Keep-Alive: timeout=5, max=0\r\n"), stays=False),
    "an interim answer": Strange(b"HTTP/1.1 100 Continue\r\n\r\n" + answer()),
    "many of them": Strange(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 20 + answer()),
    "no content": Strange(answer(b"", b"", b"HTTP/1.1 204 No Content"), body=b"", status=204),
    "not modified, with a length": Strange(answer(LENGTH, b"", b"HTTP/1.1 304 No"), body=b"", status=304),
    "no content, with a length": Strange(
        answer(LENGTH, b"", b"HTTP/1.1 204 No Content"), body=b"", status=204, stays=False
    ),
    "no content, in chunks": Strange(
        answer(CHUNKED, b"", b"HTTP/1.1 204 No Content"), body=b"", status=204, stays=False
    ),
    "chunks in HTTP/1.0 that stays": Strange(
        answer(CHUNKED + b"Connection: keep-alive\r\n", IN_CHUNKS, b"HTTP/1.0 200 OK"), stays=False
    ),
    "an empty body": Strange(answer(b"Content-Length: 0\r\n", b""), body=b""),
    "an empty body in chunks": Strange(answer(CHUNKED, b"0\r\n\r\n"), body=b""),
    "a repeated header": Strange(answer(LENGTH + b"X-A: 1\r\nX-A: 2\r\nDate: a\r\nDate: b\r\n")),
    "an empty header": Strange(answer(LENGTH + b"X-A:\r\nX-B: \r\n")),
    "bytes that are no text": Strange(answer(LENGTH + b"X-A: \xff\xfe\r\n")),
    "an upgrade on offer": Strange(answer(LENGTH + b"Upgrade: h2c\r\nConnection: Upgrade\r\n")),
    "gzip": Strange(
        answer(b"Content-Encoding: gzip\r\nContent-Length: %d\r\n" % len(gzip.compress(BODY)), gzip.compress(BODY))
    ),
    "deflate in chunks": Strange(
        answer(
            CHUNKED + b"Content-Encoding: deflate\r\n",
            chunks(b"%x" % len(zlib.compress(BODY)), zlib.compress(BODY)),
        )
    ),
    "a large head": Strange(answer(LENGTH + b"X-A: " + b"a" * 30_000 + b"\r\n")),
    # more than an answer
    "another answer behind it": Strange(answer() + ANOTHER, stays=False),
    "another behind chunks": Strange(answer(CHUNKED, IN_CHUNKS) + ANOTHER, stays=False),
    "another without a body behind chunks": Strange(
        answer(CHUNKED + b"Connection: close\r\n", IN_CHUNKS) + answer(b"Content-Length: 0\r\n", b""), stays=False
    ),
    "the head of another behind chunks": Strange(answer(CHUNKED, IN_CHUNKS) + answer(LENGTH, b""), stays=False),
    "a line end behind it": Strange(answer() + b"\r\n", stays=False),
    "a line end behind chunks": Strange(answer(CHUNKED, IN_CHUNKS) + b"\r\n", stays=False),
    "a line end behind trailers": Strange(
        answer(CHUNKED, chunks(b"10", BODY, end=b"0\r\nX-Sum: 1\r\n\r\n")) + b"\r\n", stays=False
    ),
    "a line feed behind chunks": Strange(answer(CHUNKED, IN_CHUNKS) + b"\n", stays=False),
    "noise behind chunks": Strange(answer(CHUNKED, IN_CHUNKS) + b"\0", stays=False),
    "line ends as a body, and one behind it": Strange(
        answer(b"Content-Length: 4\r\n", b"\r\n\r\n") + b"\r\n", body=b"\r\n\r\n", stays=False
    ),
    "another behind no content": Strange(
        answer(b"", b"", b"HTTP/1.1 204 No Content") + ANOTHER, body=b"", stays=False, status=204
    ),
    # no answer
    "a length and chunks": Strange(answer(LENGTH + CHUNKED, IN_CHUNKS), None, closes=True),
    "chunks and a length": Strange(answer(CHUNKED + LENGTH, IN_CHUNKS), None, closes=True),
    "two lengths": Strange(answer(LENGTH + b"Content-Length: 17\r\n"), None, closes=True),
    "the same length twice": Strange(answer(LENGTH + LENGTH), None, closes=True),
    "two lengths in one": Strange(answer(b"Content-Length: 16, 16\r\n"), None, closes=True),
    "a length with a sign": Strange(answer(b"Content-Length: +16\r\n"), None, closes=True),
    "a negative length": Strange(answer(b"Content-Length: -1\r\n"), None, closes=True),
    "a length in hex": Strange(answer(b"Content-Length: 0x10\r\n"), None, closes=True),
    "an empty length": Strange(answer(b"Content-Length:\r\n"), None, closes=True),
    "an endless length": Strange(answer(b"Content-Length: %s\r\n" % (b"9" * 30)), None, closes=True),
    "a space before the colon": Strange(answer(b"Content-Length : 16\r\n"), None, closes=True),
    "a folded header": Strange(answer(LENGTH + b"X-A: 1\r\n 2\r\n"), None, closes=True),
    "a folded length": Strange(answer(b"Content-Length:\r\n 16\r\n"), None, closes=True),
    "line feeds": Strange(answer().replace(b"\r\n", b"\n"), None, closes=True),
    "one line feed": Strange(answer(b"X-A: 1\n" + LENGTH), None, closes=True),
    "a zero byte in a header": Strange(answer(LENGTH + b"X-A: \0\r\n"), None, closes=True),
    "gzip as a transfer": Strange(answer(b"Transfer-Encoding: gzip, chunked\r\n", IN_CHUNKS), None, closes=True),
    "identity as a transfer": Strange(answer(b"Transfer-Encoding: identity\r\n"), None, closes=True),
    "chunked twice": Strange(answer(CHUNKED + CHUNKED, IN_CHUNKS), None, closes=True),
    "an encoding unknown": Strange(answer(LENGTH + b"Content-Encoding: br\r\n"), None, closes=True),
    "no size": Strange(answer(CHUNKED, chunks(b"", BODY)), None, closes=True),
    "a size of letters": Strange(answer(CHUNKED, chunks(b"xyz", BODY)), None, closes=True),
    "a size with a sign": Strange(answer(CHUNKED, chunks(b"+10", BODY)), None, closes=True),
    "a size in hex, twice": Strange(answer(CHUNKED, chunks(b"0x10", BODY)), None, closes=True),
    "an endless size": Strange(answer(CHUNKED, chunks(b"f" * 20, BODY)), None, closes=True),
    "a size too small": Strange(answer(CHUNKED, chunks(b"f", BODY)), None, closes=True),
    "a size too large": Strange(answer(CHUNKED, chunks(b"11", BODY)), None, closes=True),
    "a length in the trailers": Strange(
        answer(CHUNKED, chunks(b"10", BODY, end=b"0\r\nContent-Length: 3\r\n\r\n")), None, closes=True
    ),
    "half of it": Strange(answer()[:-3], None, closes=True),
    "half of the chunks": Strange(answer(CHUNKED, IN_CHUNKS[:-7]), None, closes=True),
    "chunks without the last": Strange(answer(CHUNKED, IN_CHUNKS[:-5]), None, closes=True),
    "half of a head": Strange(b"HTTP/1.1 200 OK\r\nContent-Le", None, closes=True),
    "half of a gzip": Strange(answer(b"Content-Encoding: gzip\r\n", gzip.compress(BODY)[:-9]), None, closes=True),
    "a head without end": Strange(answer(b"X-A: " + b"a" * 200_000 + b"\r\n" + LENGTH), None, closes=True),
    "interim answers without end": Strange(b"HTTP/1.1 100 Continue\r\n\r\n" * 5_000 + answer(), None, closes=True),
    "HTTP/2": Strange(answer(line=b"HTTP/2.0 200 OK"), None, closes=True),
    "HTTP/3.7": Strange(answer(line=b"HTTP/3.7 200 OK"), None, closes=True),
    "another protocol": Strange(b"SSH-2.0-OpenSSH_9.2\r\n", None, closes=True),
    "a status of two digits": Strange(answer(line=b"HTTP/1.1 20 OK"), None, closes=True),
    "a status of letters": Strange(answer(line=b"HTTP/1.1 two OK"), None, closes=True),
    "another protocol instead": Strange(
        answer(b"Upgrade: x\r\nConnection: upgrade\r\n", b"", b"HTTP/1.1 101 Switching"), None, closes=True
    ),
    "nothing": Strange(b"", None, closes=True),
}
