"""Messages per second beside other ways to send SMS from Python: time on the clock, not CPU.

- Twilio's asynchronous client, one message a request, as many at once as aiohttp's pool holds (100).
- A ``gather`` over httpx, one message a request, with the server taking 50 to 200 ms. httpx's default limits, but
  for the pool's timeout, without which it completes nothing (see ``checks``).
- sms-pilot-py, the other package for this gateway, sending packets of the same size. It is synchronous: one packet at a
  time. Its address is a class attribute, so a subclass points it at the server here.

A server that answers at once shows what the clients themselves cost, one that takes 50 to 200 ms is more like a real
gateway.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import httpx

from benchmarks.bench import Bench, Goal, Run, Side, at_least
from benchmarks.messages import CREDENTIALS, HEADERS, KEY, pair, pairs
from benchmarks.side import Figures, Options, expect, measured, peer
from smspilot_async import Accepted, Client, Message
from smspilot_async.wire import Send, decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable

_SIZE = 200
_IN_FLIGHT = 8
_AT_ONCE = 1000  # of those that send one message a request


def run(bench: Bench) -> None:
    _beside(
        bench,
        "server answers at once",
        {
            "twilio": ("twilio, one a request", bench.amount(5_000, 1_000), at_least(12)),
            "sms_pilot_py": ("sms-pilot-py, packets of 200", bench.amount(20_000, 5_000), at_least(1.5)),
        },
        bench.endpoint(),
        ours=bench.amount(50_000, 10_000),
    )
    _beside(
        bench,
        "server takes 50-200 ms",
        {
            "twilio": ("twilio, one a request", bench.amount(4_000, 1_000), at_least(12)),
            "gather": ("gather over httpx, one a request", bench.amount(2_000, 1_000), at_least(20)),
            "sms_pilot_py": ("sms-pilot-py, packets of 200", bench.amount(2_000, 500), at_least(1.5)),
        },
        bench.endpoint("50-200"),
        ours=bench.amount(40_000, 10_000),
    )


def _beside(bench: Bench, where: str, peers: dict[str, tuple[str, int, Goal]], url: str, ours: int) -> None:
    sides = {"smspilot": Side("benchmarks.peers:smspilot", {"url": url, "messages": ours})}
    for name, (_, messages, _) in peers.items():
        sides[name] = Side(f"benchmarks.peers:{name}", {"url": url, "messages": messages})
    runs, missing = bench.in_turn(sides)
    for name, (beside, _, goal) in peers.items():
        what = f"bulk, packets of {_SIZE}, {_IN_FLIGHT} in flight, {where}"
        if name in missing:
            bench.leave_out("peers", what, beside, goal, missing[name])
            continue
        bench.compare(
            "peers",
            what,
            runs,
            ours=_rate_of("smspilot"),
            theirs=_rate_of(name),
            unit="messages/s",
            beside=beside,
            goal=goal,
        )


def _rate_of(side: str) -> Callable[[Run], float]:
    return lambda run: run[side]["messages"] / run[side]["seconds"]


# --- the sides -----------------------------------------------------------------------------------


async def smspilot(options: Options) -> Figures:
    figures: Figures = {"messages": options["messages"]}
    async with Client(KEY, url=options["url"]) as client:
        await _bulk(client, _SIZE * _IN_FLIGHT)
        with measured(figures):
            accepted = await _bulk(client, options["messages"])
    expect(accepted, options["messages"])
    return figures


async def _bulk(client: Client, count: int) -> int:
    accepted = 0
    async with client.bulk(pairs(count), packet_size=_SIZE, in_flight=_IN_FLIGHT) as run:
        async for result in run:
            accepted += isinstance(result, Accepted)
    return accepted


async def twilio(options: Options) -> Figures:
    rest = peer("twilio.rest", "twilio")
    http_client = peer("twilio.http.async_http_client", "twilio")
    async with http_client.AsyncTwilioHttpClient() as http:
        client = rest.Client("AC" + "0" * 32, "token", http_client=http)
        client.api.base_url = options["url"].removesuffix("/api2.php")

        async def send(number: int) -> str:
            to, text = pair(number)
            message = await client.messages.create_async(to=f"+{to}", from_="+15017122661", body=text)
            return str(message.status)

        return await _one_a_request(send, options, "queued")


async def gather(options: Options) -> Figures:
    async with httpx.AsyncClient(timeout=httpx.Timeout(30, pool=None)) as http:

        async def send(number: int) -> int | None:
            command = Send([Message(*pair(number))], [number + 1])
            body = encode(command, CREDENTIALS, "json")
            response = await http.post(options["url"], content=body, headers=HEADERS)
            return decode(command, response.content).messages[0].status

        return await _one_a_request(send, options, 0)


async def _one_a_request(send: Callable[[int], Any], options: Options, expected: object) -> Figures:
    figures: Figures = {"messages": options["messages"]}
    await asyncio.gather(*map(send, range(100)))
    numbers = iter(range(options["messages"]))
    answers: list[object] = []
    with measured(figures):
        while some := list(itertools.islice(numbers, _AT_ONCE)):
            answers += await asyncio.gather(*map(send, some))
    expect(set(answers), {expected})
    return figures


def sms_pilot_py(options: Options) -> Figures:
    package = peer("sms_pilot", "sms-pilot-py")

    class Here(package.SmsPilot):  # type: ignore[misc,name-defined,unused-ignore]
        api_urls = {2: options["url"]}  # noqa: RUF012 - as the package has it

    figures: Figures = {"messages": options["messages"]}
    client = Here(KEY)

    def send(count: int) -> int:
        accepted = 0
        source = pairs(count)
        while some := list(itertools.islice(source, _SIZE)):
            for to, text in some:
                client.add_message(to, text)
            accepted += sum(message.error == 0 for message in client.send_messages().send)
        return accepted

    send(_SIZE)
    with measured(figures):
        accepted = send(options["messages"])
    expect(accepted, options["messages"])
    return figures
