"""Through servers as they are installed: nginx, haproxy, squid, and a SOCKS5 proxy."""

from __future__ import annotations

import asyncio
import gzip
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from raw_servers import http, raw_server
from real_servers import ACCEPTED, haproxy, microsocks, nginx, squid
from requests_through_nginx import marks_in, requests_through_nginx, write_certificate

from smspilot_async import Client, ConnectionFailed, Retry

if TYPE_CHECKING:
    from pathlib import Path

    from raw_servers import Peer
    from tls import Tls

PHONE = "79087964781"
ONCE = Retry(attempts=1)
KEY = "K" * 64


@pytest.fixture
def folder(tmp_path: Path, tls: Tls) -> Path:
    write_certificate(tmp_path, tls)
    return tmp_path


@pytest.mark.parametrize("version", ["plain", "TLSv1.2", "TLSv1.3"])
async def test_through_nginx_every_message_goes_once(folder: Path, tls: Tls, version: str) -> None:
    """A sample of what `make requests-through-nginx` does with a million."""
    async with nginx(folder, requests=50) as ports:
        figures = await requests_through_nginx(ports[version], version, tls, count=300, at_once=8)
    assert marks_in(folder) == Counter(dict.fromkeys(range(300), 1))
    assert 300 / 50 <= figures["connections"] <= 300 / 50 + 8


async def test_an_idle_connection_is_given_up_before_nginx_does(folder: Path) -> None:
    async with nginx(folder, idle="1s") as ports:
        url = f"http://127.0.0.1:{ports['plain']}/"
        async with Client(KEY, url=url, retry=ONCE) as client:
            for pause in (0.0, 0.5, 0.95, 1.3):
                await asyncio.sleep(pause)
                await client.send(PHONE, f"mark {int(pause * 100)}.")
    assert len(marks_in(folder)) == 4


@pytest.mark.parametrize("compressed", [False, True])
async def test_what_nginx_passes_on_in_chunks_is_read(folder: Path, *, compressed: bool) -> None:
    async def old_server(peer: Peer) -> None:
        await peer.request()
        body = gzip.compress(ACCEPTED.encode()) if compressed else ACCEPTED.encode()
        encoding = b"Content-Encoding: gzip\r\n" if compressed else b""
        await peer.send(b"HTTP/1.0 200 OK\r\n" + encoding + b"\r\n" + body)

    async with raw_server(old_server) as gateway, nginx(folder, chunked=gateway.port) as ports:
        url = f"http://127.0.0.1:{ports['plain']}/chunked"
        async with Client(KEY, url=url, retry=ONCE) as client:
            for number in range(3):
                await client.send(PHONE, f"mark {number}.")
    assert len(gateway.requests) == 3


async def test_an_idle_connection_that_haproxy_closed_is_not_used(tmp_path: Path) -> None:
    async def gateway(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(http(ACCEPTED.encode()))

    async with (
        raw_server(gateway) as server,
        haproxy(tmp_path, server.port, idle=200) as port,
        Client(KEY, url=f"http://127.0.0.1:{port}/", retry=ONCE) as client,
    ):
        for pause in (0.0, 0.0, 0.6, 0.6):
            await asyncio.sleep(pause)
            await client.send(PHONE, "text")
    assert len(server.requests) == 4


@pytest.mark.parametrize("version", ["plain", "TLSv1.2", "TLSv1.3"])
async def test_through_squid_every_message_goes_once(folder: Path, tls: Tls, version: str) -> None:
    async with nginx(folder) as ports, squid(folder) as proxy:
        url = f"http://127.0.0.1:{proxy}"
        await requests_through_nginx(ports[version], version, tls, count=60, at_once=3, proxy=url)
    assert marks_in(folder) == Counter(dict.fromkeys(range(60), 1))


async def test_squid_says_why_it_does_not_connect(tmp_path: Path) -> None:
    async with (
        squid(tmp_path) as proxy,
        Client(KEY, url="https://127.0.0.1:1/", proxy=f"http://127.0.0.1:{proxy}", retry=ONCE) as client,
    ):
        with pytest.raises(ConnectionFailed, match=r"the proxy refused the connection: 50[03]"):
            await client.send(PHONE, "text")


@pytest.mark.parametrize("login", [(), ("me", "hunter2")])
async def test_through_a_socks_proxy_every_message_goes_once(folder: Path, tls: Tls, login: tuple[str, ...]) -> None:
    async with nginx(folder) as ports, microsocks(*login) as proxy:
        credentials = f"{':'.join(login)}@" if login else ""
        url = f"socks5://{credentials}127.0.0.1:{proxy}"
        await requests_through_nginx(ports["TLSv1.3"], "TLSv1.3", tls, count=60, at_once=3, proxy=url)
        if login:
            with pytest.raises(ConnectionFailed, match="refused the user or the password"):
                await requests_through_nginx(
                    ports["TLSv1.3"], "TLSv1.3", tls, count=1, at_once=1, proxy=url.replace("hunter2", "hunter3")
                )
    assert marks_in(folder) == Counter(dict.fromkeys(range(60), 1))
