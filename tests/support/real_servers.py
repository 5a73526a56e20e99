"""Debian's nginx, haproxy, squid and microsocks, each as a process on a port of this machine."""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nginx import reserved_ports

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

_PATHS: Final = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", "/sbin"])
ACCEPTED: Final = '{"send":[{"id":"0","server_id":"10001","status":"0","error":"0"}],"server_packet_id":"7"}'
"""Says of any single message that it was accepted."""

_NGINX: Final = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
    log_format bodies escape=none '$request_body';
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_body_buffer_size 64k;
    keepalive_requests {requests};
    keepalive_timeout {idle} {idle};
    ssl_certificate {folder}/cert.pem;
    ssl_certificate_key {folder}/key.pem;
    gzip on;
    gzip_types application/json;
    gzip_min_length 1;
    {servers}
    server {{
        listen 127.0.0.1:{inner};
        access_log off;
        keepalive_requests 1000000;
        location / {{ default_type application/json; return 200 '{answer}'; }}
    }}
    upstream inner {{ server 127.0.0.1:{inner}; keepalive 64; }}
}}
"""
_SERVER: Final = """
    server {{
        listen 127.0.0.1:{port} {options};
        {more}
        access_log {folder}/bodies.log bodies;
        location / {{
            proxy_pass http://inner;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
        location /chunked {{
            proxy_pass http://127.0.0.1:{chunked};
        }}
    }}
"""
_HAPROXY: Final = """
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    timeout http-keep-alive {idle}ms
frontend front
    bind 127.0.0.1:{port}
    default_backend back
backend back
    server gateway 127.0.0.1:{upstream}
"""
_SQUID: Final = """
http_port 127.0.0.1:{port}
http_access allow all
cache deny all
access_log none
cache_log /dev/null
cache_store_log none
pid_filename none
netdb_filename none
pinger_enable off
shutdown_lifetime 0 seconds
visible_hostname localhost
"""


class ServerIsMissing(Exception):
    """A program of the system that tests need is not installed."""


def find(name: str) -> str:
    """The path of a program.

    Raises:
        ServerIsMissing: There is none; the message says how to install it.
    """
    found = shutil.which(name, path=_PATHS)
    if found is None:
        raise ServerIsMissing(f"{name} is not installed here. Debian and Ubuntu: .ci/system-packages")
    return found


@asynccontextmanager
async def nginx(
    folder: Path, *, requests: int = 50, idle: str = "5s", chunked: int = 1
) -> AsyncGenerator[dict[str, int]]:
    """Run nginx, which accepts every single message and logs each request's body to ``bodies.log``.

    Args:
        folder: For its files; ``cert.pem`` and ``key.pem`` are in it.
        requests: How many requests a connection takes.
        idle: For how long a connection may be idle, which it says.
        chunked: The port of a gateway whose answers it passes on below ``/chunked``.

    Yields:
        Its ports: ``plain``, ``TLSv1.2``, ``TLSv1.3``.
    """
    with reserved_ports(4) as (plain, old, new, inner):
        ports = {"plain": plain, "TLSv1.2": old, "TLSv1.3": new}
        servers = "".join(
            _SERVER.format(
                port=port,
                folder=folder,
                chunked=chunked,
                options="reuseport" if name == "plain" else "reuseport ssl",
                more="" if name == "plain" else f"ssl_protocols {name};",
            )
            for name, port in ports.items()
        )
        configuration = _NGINX.format(
            folder=folder, requests=requests, idle=idle, servers=servers, inner=inner, answer=ACCEPTED
        ).replace(f"listen 127.0.0.1:{inner};", f"listen 127.0.0.1:{inner} reuseport;")
        (folder / "nginx.conf").write_text(configuration, encoding="utf-8")
        command = ("-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log"))
        async with _running(find("nginx"), *command, port=new):
            yield ports


@asynccontextmanager
async def haproxy(folder: Path, upstream: int, *, idle: int) -> AsyncGenerator[int]:
    """Run haproxy before a port; it closes connections that are idle for so many milliseconds."""
    with reserved_ports(1) as (port,):
        pass
    path = folder / "haproxy.cfg"
    path.write_text(_HAPROXY.format(port=port, upstream=upstream, idle=idle), encoding="utf-8")
    async with _running(find("haproxy"), "-q", "-f", str(path), port=port):
        yield port


@asynccontextmanager
async def squid(folder: Path) -> AsyncGenerator[int]:
    """Run squid, a proxy with CONNECT and without."""
    with reserved_ports(1) as (port,):
        pass
    path = folder / "squid.conf"
    path.write_text(_SQUID.format(port=port), encoding="utf-8")
    async with _running(find("squid"), "-N", "-f", str(path), port=port):
        yield port


@asynccontextmanager
async def microsocks(*login: str) -> AsyncGenerator[int]:
    """Run a SOCKS5 proxy, perhaps with a user and a password."""
    with reserved_ports(1) as (port,):
        pass
    options = ("-u", login[0], "-P", login[1]) if login else ()
    async with _running(find("microsocks"), "-i", "127.0.0.1", "-p", str(port), *options, port=port):
        yield port


@asynccontextmanager
async def _running(*command: str, port: int) -> AsyncGenerator[None]:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                assert process.returncode is None, f"{Path(command[0]).name} did not start"
                await asyncio.sleep(0.02)
            else:
                writer.close()
                await writer.wait_closed()
                break
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
