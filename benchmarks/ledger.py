# ruff: noqa: SLF001 - the ledger's own parts are what is measured
"""What durable sending costs: the ledger's own CPU, messages a second with and without it, on SQLite and PostgreSQL.

A cycle is what the ledger does for a packet, claim and outcome, without a gateway. SQLite is in WAL with
``synchronous=FULL``, PostgreSQL with fsync: what a claim has returned is on the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.bench import Bench, Run, Side, at_least, at_most
from benchmarks.messages import KEY, pair, ready
from benchmarks.side import Figures, Options, expect, measured, peak_memory, peer
from smspilot_async import Accepted, Client, Message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

_SECOND: Final = 1_000_000
_CHUNK: Final = 10_000
_SENDERS, _PLACES = 4, 4
_CODES: Final = 100


def run(bench: Bench) -> None:
    _run_sqlite(bench)
    _run_postgresql(bench)
    _run_codes(bench)
    _run_whole(bench)


def _run_sqlite(bench: Bench) -> None:
    messages = bench.amount(200_000, 20_000)
    options = {"url": bench.endpoint(), "messages": messages, "ledger": "sqlite"}
    for size, most in ((100, 11.0), (200, 8.0)):
        side = Side("benchmarks.ledger:cycle", {**options, "size": size, "places": 16})
        runs, missing = bench.in_turn({"cycle": side})
        what = f"claim and outcome, SQLite, packets of {size}"
        _add(
            bench, what, runs, missing, unit="µs CPU/message", figure="cpu_per_message", beside="the bound", bound=most
        )
    for size, goal in ((200, at_least(0.5)), (100, None)):
        _compare_with_none(bench, {**options, "size": size}, "SQLite", goal)


def _run_postgresql(bench: Bench) -> None:
    options = {"url": bench.endpoint(), "messages": bench.amount(100_000, 20_000), "ledger": "postgresql", "size": 100}
    for senders, least in ((1, 12_000.0), (_SENDERS, 20_000.0)):
        side = Side("benchmarks.ledger:fleet", {**options, "senders": senders})
        runs, missing = bench.in_turn({"cycle": side})
        what = f"claim and outcome, PostgreSQL, {senders} x {_PLACES} senders, packets of 100"
        _add(bench, what, runs, missing, unit="messages/s", figure="rate", beside="the bound", bound=-least)
    _compare_with_none(bench, {**options, "size": 200}, "PostgreSQL", None)


def _add(
    bench: Bench,
    what: str,
    runs: list[Run],
    missing: dict[str, str],
    *,
    unit: str,
    figure: str,
    beside: str,
    bound: float,
) -> None:
    """Compare a figure with a bound: at most, or at least where it is negative."""
    goal = at_most(1) if bound > 0 else at_least(1)
    if missing:
        bench.leave_out("ledger", what, beside, goal, next(iter(missing.values())))
        return
    bench.compare(
        "ledger",
        what,
        runs,
        ours=lambda run: run["cycle"][figure],
        theirs=lambda _: abs(bound),
        unit=unit,
        beside=beside,
        goal=goal,
    )


def _compare_with_none(bench: Bench, options: Options, database: str, goal: Any) -> None:
    sides = {name: Side(f"benchmarks.ledger:{name}", options) for name in ("with_ledger", "without")}
    runs, missing = bench.in_turn(sides)
    what = f"sending with a ledger, {database}, packets of {options['size']}, 16 in flight"
    if missing:
        bench.leave_out("ledger", what, "bulk without one", goal, next(iter(missing.values())))
        return
    rate: Callable[[str], Callable[[Run], float]] = lambda name: lambda run: run[name]["rate"]  # noqa: E731
    bench.compare(
        "ledger",
        what,
        runs,
        ours=rate("with_ledger"),
        theirs=rate("without"),
        unit="messages/s",
        beside="bulk without one",
        goal=goal,
    )


def _run_codes(bench: Bench) -> None:
    for database, most in (("postgresql", 100.0), ("sqlite", 300.0)):
        options = {"url": bench.endpoint("20-60"), "messages": bench.amount(100_000, 30_000), "ledger": database}
        runs, missing = bench.in_turn({"cycle": Side("benchmarks.ledger:codes", options)})
        what = f"a code beside a campaign, {database}: from its commit to its request, p99"
        _add(bench, what, runs, missing, unit="ms", figure="p99", beside="the bound", bound=most)


def _run_whole(bench: Bench) -> None:
    options = {"url": bench.endpoint(), "messages": bench.amount(1_000_000, 20_000)}
    runs, missing = bench.in_turn({"cycle": Side("benchmarks.ledger:whole", options)})
    what = f"a campaign of {options['messages']:,}: imported, sent and reported, SQLite"
    _add(bench, what, runs, missing, unit="MiB at most", figure="peak", beside="the bound", bound=200.0)


# --- ledgers -------------------------------------------------------------------------------------


@contextlib.contextmanager
def _database(kind: str) -> Iterator[str]:
    """Run a database for the body; gives a ledger's URL."""
    if kind == "postgresql":
        from benchmarks.postgres import cluster  # noqa: PLC0415 - where it is wanted

        with cluster() as url:
            yield url
        return
    with tempfile.TemporaryDirectory(prefix="smspilot-bench-") as folder:
        yield f"sqlite:///{folder}/sms.db"


@contextlib.asynccontextmanager
async def _ledger(url: str, client: Client, messages: int) -> AsyncIterator[Any]:
    """Make a ledger with a campaign of so many messages; gives its outbox."""
    outbox_ = peer("smspilot_async.outbox", "the extra outbox")
    await outbox_.Outbox.create(url, client)
    async with outbox_.Outbox(url) as outbox:
        await _fill(outbox, messages)
        yield outbox


async def _fill(outbox: Any, messages: int) -> None:
    import sqlalchemy as sa  # noqa: PLC0415 - the extra is known to be there by now

    from smspilot_async.outbox._ledger import content_hash  # noqa: PLC0415

    tables, salt, now = outbox._tables, outbox._row.salt, time.time_ns() // 1000 - _SECOND
    async with outbox._writing() as connection:
        campaign = {"id": 1, "name": "bench", "state": "running", "created_at": now}
        await connection.execute(sa.insert(tables.campaign).values(campaign))
        await connection.execute(sa.insert(tables.stream).values(id=10, campaign_id=1, lane=2))
        common = {"stream_id": 10, "due": now, "wanted_at": now, "created_at": now}
        numbers = iter(range(messages))
        while chunk := [
            {
                **common,
                "line": number,
                "phone": phone,
                "text": text,
                "hash": content_hash(salt, phone, text),
            }
            for number in itertools.islice(numbers, _CHUNK)
            for phone, text in [pair(number)]
        ]:
            await connection.execute(sa.insert(tables.message), chunk)


# --- sides ---------------------------------------------------------------------------------------


async def cycle(options: Options) -> Figures:
    """Claim and record everything, without a gateway."""
    with _database(options["ledger"]) as url:
        async with Client(KEY, url=options["url"]) as client, _ledger(url, client, options["messages"]) as outbox:
            figures = await _cycle(outbox, options["size"], options["places"], name="bench")
    expect(figures["messages"], options["messages"])
    return {**figures, "cpu_per_message": figures["cpu"] / figures["messages"] * 1e6}


async def _cycle(outbox: Any, size: int, places: int, *, name: str) -> Figures:
    from smspilot_async.outbox._ledger import Answer, ClaimRequest, MessageAnswer  # noqa: PLC0415
    from smspilot_async.outbox._states import Event  # noqa: PLC0415

    hot, price, tokens = outbox._hot_path(), Decimal("1.69"), itertools.count()

    async def place() -> int:
        done = 0
        while True:
            request = ClaimRequest(token=f"{name}-{next(tokens)}", sender=name, size=size, lease=60 * _SECOND)
            claim = await hot.claim(request)
            if claim.attempt_id is None:
                return done
            rows = [
                MessageAnswer(id=one.id, event=Event.ACCEPTED, server_id=str(one.id), parts=1, price=price, status=0)
                for one in claim.messages
            ]
            done += len(rows)
            await hot.record(
                Answer(
                    attempt_id=claim.attempt_id,
                    outcome="answered",
                    evidence=None,
                    rows=rows,
                    give_up_after=_SECOND,
                    server_packet_id="1",
                    cost=price * len(rows),
                    lane=claim.lane,
                    has_budget=claim.reserved is not None,
                )
            )

    figures: Figures = {}
    await hot.open()
    with measured(figures):
        done = await asyncio.gather(*(place() for _ in range(places)))
    await hot.aclose()
    figures["messages"] = sum(done)
    return figures


async def fleet(options: Options) -> Figures:
    """Claim and record everything, with so many senders, each a process of its own."""
    with _database("postgresql") as url:
        async with Client(KEY, url=options["url"]) as client, _ledger(url, client, options["messages"]):
            found = await asyncio.gather(
                *(
                    asyncio.to_thread(_sender, {"ledger": url, "size": options["size"], "number": number})
                    for number in range(options["senders"])
                )
            )
    expect(sum(one["messages"] for one in found), options["messages"])
    return {"rate": options["messages"] / (max(one["ended"] for one in found) - min(one["began"] for one in found))}


def _sender(options: Options) -> Figures:
    done = subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-m", "benchmarks.side", "benchmarks.ledger:sender", json.dumps(options)],
        cwd=Path(__file__).parent.parent,
        env=dict(os.environ),
        stdout=subprocess.PIPE,
        check=True,
    )
    figures: Figures = json.loads(done.stdout)
    return figures


async def sender(options: Options) -> Figures:
    """One sender of a fleet."""
    outbox_ = peer("smspilot_async.outbox", "the extra outbox")
    async with outbox_.Outbox(options["ledger"]) as outbox:
        began = time.monotonic()
        figures = await _cycle(outbox, options["size"], _PLACES, name=f"sender{options['number']}")
    return {**figures, "began": began, "ended": began + figures["seconds"]}


async def with_ledger(options: Options) -> Figures:
    """Send everything from a ledger."""
    figures: Figures = {}
    with _database(options["ledger"]) as url:
        async with Client(KEY, url=options["url"]) as client, _ledger(url, client, options["messages"]) as outbox:
            with measured(figures):
                sent = await outbox.drain(client, packet_size=options["size"], in_flight=16)
    expect(sent.accepted, options["messages"])
    return {**figures, "rate": options["messages"] / figures["seconds"]}


async def without(options: Options) -> Figures:
    """Send as many with ``bulk``."""
    figures: Figures = {}
    accepted = 0
    async with Client(KEY, url=options["url"]) as client:
        with measured(figures):
            async with client.bulk(ready(options["messages"]), packet_size=options["size"], in_flight=16) as bulk:
                async for result in bulk:
                    accepted += isinstance(result, Accepted)
    expect(accepted, options["messages"])
    return {**figures, "rate": options["messages"] / figures["seconds"]}


async def codes(options: Options) -> Figures:
    """Enqueue codes beside a campaign, as another process would, and see when their requests begin."""
    from smspilot_async.outbox import Outbox, _deliver  # noqa: PLC0415
    from smspilot_async.outbox._request import send_once  # noqa: PLC0415

    began: dict[str, float] = {}
    committed: dict[str, float] = {}

    async def noting(client: Client, messages: Any, **more: Any) -> Any:
        now = time.monotonic()
        began.update({message.text: now for message in messages})
        return await send_once(client, messages, **more)

    patched: Any = _deliver
    patched.send_once = noting
    with _database(options["ledger"]) as url:
        async with (
            Client(KEY, url=options["url"]) as client,
            _ledger(url, client, options["messages"]) as application,
            Outbox(url) as sending,
            sending.worker(client, packet_size=100, in_flight=4),
        ):
            await asyncio.sleep(0.5)
            for number in range(_CODES):
                text = f"Code {number}"
                await application.enqueue(Message(pair(number)[0], text), key=text, kind="code", valid_for=60)
                committed[text] = time.monotonic()
                await asyncio.sleep(0.03)
            await application.wait(f"Code {_CODES - 1}", timeout=30)
    waits = sorted((began[text] - moment) * 1000 for text, moment in committed.items())
    return {"p50": waits[len(waits) // 2], "p99": waits[int(len(waits) * 0.99) - 1]}


async def whole(options: Options) -> Figures:
    """Import, send and report a campaign."""
    outbox_ = peer("smspilot_async.outbox", "the extra outbox")
    peer("matplotlib", "the extra report")
    rows = ({"to": phone, "name": str(number)} for number in range(options["messages"]) for phone, _ in [pair(number)])
    with tempfile.TemporaryDirectory(prefix="smspilot-bench-") as folder:
        url = f"sqlite:///{folder}/sms.db"
        async with Client(KEY, url=options["url"]) as client:
            await outbox_.Outbox.create(url, client)
            async with outbox_.Outbox(url) as outbox:
                campaign = await outbox.campaigns.create("bench", rows, template="Привет, {name}!")
                await campaign.estimate(client)
                await campaign.approve()
                await campaign.start()
                sent = await outbox.drain(client, packet_size=200, in_flight=16)
                expect(sent.accepted, options["messages"])
                await campaign.report(f"{folder}/report.html")
                await campaign.report(f"{folder}/report.csv")
    return {"peak": peak_memory()}
