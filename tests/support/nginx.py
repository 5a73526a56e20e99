"""Debian's nginx as a proxy between a client and a gateway that dies, with error pages of its own."""

from __future__ import annotations

import asyncio
import shutil
import socket
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence
    from pathlib import Path

READ_TIMEOUT: Final = 0.5
"""Seconds that it waits for the gateway's answer, before it answers 504 itself."""

_MAIN: Final = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_max_body_size 8m;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {servers}
}}
"""
_SERVER: Final = """
    server {{
        listen 127.0.0.1:{port} reuseport;
        location / {{
            proxy_pass http://127.0.0.1:{upstream};
            proxy_read_timeout {timeout}ms;
            error_page 502 504 {kept} /page;
        }}
        location = /page {{
            internal;
            default_type application/json;
            return 200 '{body}';
        }}
    }}
"""


class NginxIsMissing(Exception):
    """The tests of error pages need nginx, and this machine has none."""


def find_nginx() -> str:
    """The path of nginx.

    Raises:
        NginxIsMissing: There is none; the message says how to install it.
    """
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise NginxIsMissing(
            "error pages of proxies are tested with nginx, which is not installed here. Debian and Ubuntu: "
            "apt-get install nginx-light"
        )
    return found


@asynccontextmanager
async def error_pages(folder: Path, upstream: int, pages: Sequence[tuple[str, str]]) -> AsyncGenerator[list[str]]:
    """Run nginx before a port of this machine.

    Args:
        folder: For its files.
        upstream: The gateway's port.
        pages: What is answered where the gateway does not: the page, and the status in place of 502 and 504
            (``"=200"``; empty to keep them).

    Yields:
        A URL of the gateway for each page.
    """
    with reserved_ports(len(pages)) as ports:
        servers = "".join(
            _SERVER.format(port=port, upstream=upstream, timeout=int(READ_TIMEOUT * 1000), kept=kept, body=body)
            for port, (body, kept) in zip(ports, pages, strict=True)
        )
        configuration = folder / "nginx.conf"
        configuration.write_text(_MAIN.format(folder=folder, servers=servers), encoding="utf-8")
        process = await asyncio.create_subprocess_exec(
            *(find_nginx(), "-p", str(folder), "-c", str(configuration), "-e", str(folder / "error.log"))
        )
        try:
            for port in ports:
                await _listens(process, port)
            yield [f"http://127.0.0.1:{port}/api2.php" for port in ports]
        finally:
            process.terminate()
            await process.wait()


@contextmanager
def reserved_ports(count: int) -> Iterator[list[int]]:
    """Ports that no one else is given, and that a server can still take: bound, and not listening."""
    with ExitStack() as stack:
        socks = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in socks:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind(("127.0.0.1", 0))
        yield [sock.getsockname()[1] for sock in socks]


async def _listens(process: asyncio.subprocess.Process, port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            assert process.returncode is None, "nginx did not start"
            await asyncio.sleep(0.01)
        else:
            writer.close()
            await writer.wait_closed()
            return
