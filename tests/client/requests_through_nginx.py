"""A million messages through nginx, which closes each connection after 50 requests; its log says how often each came.

requests_through_nginx.py [--count 1000000] [--at-once 64] [--server plain|TLSv1.2|TLSv1.3]
"""

from __future__ import annotations

import argparse
import asyncio
import re
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import trustme
from real_servers import nginx
from tls import Tls

from smspilot_async import Client, Retry
from smspilot_async._network.ways import Way

if TYPE_CHECKING:
    from smspilot_async._network.base import Progress
    from smspilot_async._network.http11 import Connection

_mark: Final = re.compile(rb"mark (\d+)\.")


def write_certificate(folder: Path, tls: Tls) -> None:
    """Write the server's certificate for 127.0.0.1."""
    issued = tls.authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    for number, blob in enumerate(issued.cert_chain_pems):
        blob.write_to_path(str(folder / "cert.pem"), append=number > 0)


def marks_in(folder: Path) -> Counter[int]:
    """Return how often each message arrived, by nginx's log."""
    marks = Counter[int]()
    with (folder / "bodies.log").open("rb") as bodies:
        for line in bodies:
            marks.update(map(int, _mark.findall(line)))
    return marks


async def requests_through_nginx(
    port: int, version: str, tls: Tls, *, count: int, at_once: int, proxy: str | None = None
) -> dict[str, float]:
    """Send so many messages, each in a request of its own. Any error ends it.

    Returns:
        How many ``connections`` were opened, and ``open_files`` and ``memory`` (KiB) more at the end than at a tenth.
    """
    numbers = iter(range(count))
    figures = {"connections": 0.0, "open_files": 0.0, "memory": 0.0}
    before: list[tuple[int, int]] = []
    way_open = Way.open

    async def counting(way: Way, progress: Progress) -> Connection:
        figures["connections"] += 1
        return await way_open(way, progress)

    async def work(client: Client) -> None:
        for number in numbers:
            await client.send("79087964781", f"mark {number}.")
            if number == count // 10:
                before.append(_now())

    scheme = "http" if version == "plain" else "https"
    with patch.object(Way, "open", counting):
        async with Client(
            "K" * 64,
            url=f"{scheme}://127.0.0.1:{port}/",
            ssl_context=tls.client(),
            retry=Retry(attempts=1),
            packet_size=1,
            max_connections=at_once,
            proxy=proxy,
        ) as client:
            await asyncio.gather(*(work(client) for _ in range(at_once)))
            files, memory = _now()
    figures["open_files"], figures["memory"] = files - before[0][0], memory - before[0][1]
    return figures


def _now() -> tuple[int, int]:
    return len(list(Path("/proc/self/fd").iterdir())), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


async def _main(count: int, at_once: int, version: str) -> int:
    tls = Tls(trustme.CA())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_certificate(folder, tls)
        began = time.perf_counter()
        async with nginx(folder, requests=50) as ports:
            figures = await requests_through_nginx(ports[version], version, tls, count=count, at_once=at_once)
        marks = await asyncio.to_thread(marks_in, folder)
    lost, twice = count - len(marks), sum(times > 1 for times in marks.values())
    print(f"{count} messages in {time.perf_counter() - began:.0f} s: {lost} lost, {twice} twice; {figures}")  # noqa: T201
    is_flat = figures["open_files"] <= at_once and figures["memory"] < 50_000
    return int(bool(lost or twice or not is_flat))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--server", choices=["plain", "TLSv1.2", "TLSv1.3"], default="plain")
    options = parser.parse_args()
    sys.exit(asyncio.run(_main(options.count, options.at_once, options.server)))
