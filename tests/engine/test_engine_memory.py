"""A long campaign needs no more memory than a short one."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from smspilot_async._sending.pending import PendingMessage
from smspilot_async._sending.submission import Submission

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smspilot_async import Client

SCRIPT = r"""
import asyncio, re, resource, sys
import httpx
from smspilot_async import Accepted, Client

find = re.compile(rb'"id":\s*"?(\d+)').findall

class Answering(httpx.AsyncBaseTransport):
    async def handle_async_request(self, request):
        await asyncio.sleep(0)
        rows = b",".join(
            b'{"id":"%s","server_id":"%s","status":"0","error":"0","parts":"1","price":"1.25"}' % (id_, id_)
            for id_ in find(request.content)
        )
        body = b'{"send":[%s],"server_packet_id":"1","balance":"1.00","cost":"1.00"}' % rows
        return httpx.Response(200, stream=httpx.ByteStream(body))

async def main(count):
    async with Client("KEY", transport=Answering()) as client:
        async with client.bulk((f"7908{number:07}", f"text {number}") for number in range(count)) as run:
            async for result in run:
                assert isinstance(result, Accepted), result
    assert run.stats.accepted == count, run.stats

asyncio.run(main(int(sys.argv[1])))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


async def peak_kib(messages: int) -> int:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SCRIPT, str(messages), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return int(out)


@pytest.mark.usefixtures("uncounted")
async def test_ten_times_the_messages_need_the_same_memory() -> None:
    short, long = await asyncio.gather(peak_kib(20_000), peak_kib(200_000))
    assert long - short < 10 * 1024


@pytest.fixture
def no_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def held() -> list[object]:
    return [thing for thing in gc.get_objects() if type(thing) in {Submission, PendingMessage}]


@pytest.mark.usefixtures("no_collection")
async def test_a_packet_is_freed_without_the_garbage_collector(client: Client) -> None:
    of_other_tests = held()
    async with client.bulk([("79087964781", str(number)) for number in range(500)], packet_size=50) as run:
        async for _ in run:
            pass
    await client.send("79087964781", "text")
    await asyncio.gather(*(client.send("79087964781", str(number)) for number in range(20)))
    known = set(map(id, of_other_tests))
    assert [thing for thing in held() if id(thing) not in known] == []
