"""Many requests at once, cancelled, reset and delayed at random: each answer is the one to its own request.

swapped_answers.py [--count 100000] [--at-once 1000] [--seed 0]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from collections import Counter
from typing import cast

from smspilot_async import Client, Retry, SmsPilotError


class _Gateway(asyncio.Protocol):
    """Answers a check with the id that was asked for, and does it badly at random."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        if not found or len(body) < int(head.lower().rpartition(b"content-length: ")[2].split()[0]):
            return
        self._data = b""
        mark = json.loads(body)["check"][0]["server_id"]
        answer = json.dumps({"check": [{"server_id": str(mark), "status": "2", "error": "0"}]}).encode()
        framed = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer)
        match self._dice.randrange(20):
            case 0:
                self._transport.abort()
            case 1:
                self._transport.write(framed[: self._dice.randrange(len(framed))])
                self._transport.abort()
            case 2:
                self._transport.write(framed * 2)  # the second one would be the next request's
            case 3:
                self._transport.write(framed)
                self._later(0.001, framed)
            case 4 | 5 | 6 | 7:
                self._later(self._dice.random() / 200, framed)
            case 8:
                cut = self._dice.randrange(len(framed))
                self._transport.write(framed[:cut])
                self._later(0.001, framed[cut:])
            case _:
                self._transport.write(framed)

    def _later(self, seconds: float, data: bytes) -> None:
        asyncio.get_running_loop().call_later(seconds, self._transport.write, data)


async def swapped_answers(count: int, *, at_once: int, seed: int) -> Counter[str]:
    """Ask so many questions; return how they ended. An answer to another question fails."""
    dice = random.Random(seed)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Gateway(dice), "127.0.0.1", 0, backlog=4096)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/api2.php"
    marks = iter(range(10_001, 10_001 + count))
    counts = Counter[str]()

    async def ask(client: Client) -> None:
        for mark in marks:
            question = asyncio.ensure_future(client.check([str(mark)]))
            if dice.randrange(5) == 0:
                loop.call_later(dice.random() / 100, question.cancel)
            (result,) = await asyncio.gather(question, return_exceptions=True)
            if isinstance(result, list):
                assert [status.server_id for status in result] == [str(mark)]
                counts["answered"] += 1
            else:
                assert isinstance(result, SmsPilotError | asyncio.CancelledError), result
                counts["cancelled" if isinstance(result, asyncio.CancelledError) else "failed"] += 1

    async with Client("K" * 64, url=url, max_connections=at_once // 2, retry=Retry(attempts=1)) as client:
        await asyncio.gather(*(ask(client) for _ in range(at_once)))
    server.close()
    await asyncio.sleep(0.02)  # what was to be written later
    assert counts.total() == count
    return counts


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--at-once", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(dict(asyncio.run(swapped_answers(options.count, at_once=options.at_once, seed=options.seed))))  # noqa: T201
