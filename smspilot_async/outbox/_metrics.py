"""The metrics of a ledger: one list, as Prometheus reads it and as OpenTelemetry observes it.

They say what the ledger holds now, whoever sends; what one process sends is :mod:`smspilot_async.otel`. No label has a
phone, a text or a key. Names of campaigns are in none either: they come without end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs

from smspilot_async._version import __version__
from smspilot_async.outbox._errors import LedgerUnavailable
from smspilot_async.outbox._overview import Overview
from smspilot_async.outbox._states import CampaignState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence

__all__ = ["METRICS", "Metric", "observing", "prometheus"]

logger: Final = logging.getLogger("smspilot_async.outbox")

Samples: TypeAlias = "Sequence[tuple[Mapping[str, str], float | None]]"
"""Labels and values; a value that is not known is left out."""


@attrs.frozen
class Metric:
    """A gauge of the ledger.

    Attributes:
        name: As in OpenTelemetry, such as ``smspilot.ledger.due``; Prometheus has underscores.
        unit: In UCUM; empty for a yes or no.
        help: What it says.
    """

    name: str
    unit: str
    help: str
    samples: Callable[[Overview], Samples]

    @property
    def prometheus_name(self) -> str:
        """Its name in Prometheus."""
        suffix = {"s": "_seconds", "By": "_bytes", "RUB": "_roubles", "RUB/h": "_roubles_per_hour"}.get(self.unit, "")
        return self.name.replace(".", "_") + suffix


def _one(value: float | None) -> Samples:
    return [({}, value)]


def _by_kind(value: Callable[[Any], float]) -> Callable[[Overview], Samples]:
    return lambda seen: [({"kind": one.kind}, value(one)) for one in seen.waiting]


def _campaigns(seen: Overview) -> Samples:
    states = (CampaignState.RUNNING.value, CampaignState.PAUSED.value)
    return [({"state": state}, sum(one.state == state for one in seen.campaigns)) for state in states]


METRICS: Final = (
    Metric(
        "smspilot.ledger.due",
        "{message}",
        "Messages that are due, may leave, and have not left.",
        _by_kind(lambda one: one.messages),
    ),
    Metric(
        "smspilot.ledger.oldest_due",
        "s",
        "For how long the oldest of them has been due.",
        _by_kind(lambda one: 0.0 if one.oldest is None else one.oldest.total_seconds()),
    ),
    Metric("smspilot.ledger.in_flight", "{message}", "Messages on the wire.", lambda seen: _one(seen.in_flight)),
    Metric(
        "smspilot.ledger.expired_leases",
        "{request}",
        "Requests whose lease is over, and that no sender has recovered.",
        lambda seen: _one(seen.expired),
    ),
    Metric(
        "smspilot.ledger.unknown",
        "{message}",
        "Messages that may have been sent, and were not settled by an order.",
        lambda seen: _one(seen.unsettled),
    ),
    Metric(
        "smspilot.ledger.halted",
        "",
        "1 while an order halts marketing, 2 while it halts everything.",
        lambda seen: _one({None: 0, "marketing": 1}.get(seen.account.halted, 2)),
    ),
    Metric(
        "smspilot.ledger.paused",
        "",
        "1 while an error of the account pauses everything.",
        lambda seen: _one(seen.account.paused is not None),
    ),
    Metric(
        "smspilot.ledger.braked",
        "",
        "1 while the gateway does not answer, and the brake lets one message at a time through.",
        lambda seen: _one(seen.account.is_braked),
    ),
    Metric("smspilot.ledger.campaigns", "{campaign}", "Campaigns that run or are paused.", _campaigns),
    Metric(
        "smspilot.ledger.workers",
        "{worker}",
        "Workers that have given a sign of life within the last ten seconds.",
        lambda seen: _one(sum(worker.is_running for worker in seen.workers)),
    ),
    Metric(
        "smspilot.ledger.rate",
        "{message}/s",
        "Messages that left in the last minute, a second.",
        lambda seen: _one(seen.per_second),
    ),
    Metric(
        "smspilot.ledger.rate_limit",
        "{message}/s",
        "Messages a second that the workers are held to, all together.",
        lambda seen: _one(seen.rate_limit),
    ),
    Metric(
        "smspilot.ledger.spending",
        "RUB/h",
        "What the messages of the last hour cost.",
        lambda seen: _one(float(seen.spent_per_hour)),
    ),
    Metric(
        "smspilot.ledger.balance",
        "RUB",
        "The balance of the account.",
        lambda seen: _one(None if seen.balance is None else float(seen.balance)),
    ),
    Metric(
        "smspilot.ledger.callback_age",
        "s",
        "Time since the last status callback.",
        lambda seen: _one(None if seen.called_at is None else (seen.at - seen.called_at).total_seconds()),
    ),
    Metric(
        "smspilot.ledger.followed",
        "{packet}",
        "Packets whose statuses are asked for.",
        lambda seen: _one(seen.following),
    ),
    Metric(
        "smspilot.ledger.drift",
        "s",
        "How far this machine's clock is ahead of the database's.",
        lambda seen: _one(seen.drift.total_seconds()),
    ),
    Metric("smspilot.ledger.size", "By", "The ledger's size in its database.", lambda seen: _one(seen.size)),
)


def prometheus(seen: Overview) -> str:
    """Return a look at a ledger (:meth:`Outbox.overview`) in the text format of Prometheus, version 0.0.4.

    ::

        async def metrics(request):
            return PlainTextResponse(prometheus(await outbox.overview()), media_type="text/plain; version=0.0.4")
    """
    lines: list[str] = []
    for metric in METRICS:
        known = [(labels, value) for labels, value in metric.samples(seen) if value is not None]
        if known:
            name = metric.prometheus_name
            lines += [f"# HELP {name} {metric.help}", f"# TYPE {name} gauge"]
            lines += [f"{name}{_labels(labels)} {float(value)!r}" for labels, value in known]
    return "\n".join([*lines, ""])


def _labels(labels: Mapping[str, str]) -> str:
    pairs = ",".join(f'{name}="{value}"' for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


@contextlib.asynccontextmanager
async def observing(look: Callable[[], Awaitable[Overview]], every: float, meter_provider: Any) -> AsyncIterator[None]:
    """Let OpenTelemetry observe a ledger while a block runs, by a look each `every` seconds."""
    try:
        from opentelemetry import metrics  # noqa: PLC0415 - an extra
    except ImportError as missing:
        raise ImportError(
            f"metrics for OpenTelemetry need {missing.name}: pip install 'smspilot-async[otel]'", name=missing.name
        ) from None
    last: list[Overview] = [await look()]
    meter = metrics.get_meter("smspilot_async.outbox", __version__, meter_provider)

    def observer(metric: Metric) -> Callable[[Any], list[metrics.Observation]]:
        def observe(_: Any) -> list[metrics.Observation]:
            samples = metric.samples(last[0]) if last else ()
            return [metrics.Observation(value, dict(labels)) for labels, value in samples if value is not None]

        return observe

    for metric in METRICS:
        meter.create_observable_gauge(metric.name, [observer(metric)], metric.unit, metric.help)
    looking = asyncio.create_task(_look_again(look, every, last), name="smspilot metrics")
    try:
        yield
    finally:
        last.clear()  # the meter keeps its gauges: from now on they have nothing to say
        looking.cancel()
        await asyncio.wait({looking})


async def _look_again(look: Callable[[], Awaitable[Overview]], every: float, last: list[Overview]) -> None:
    while True:
        await asyncio.sleep(every)
        try:
            last[:] = [await look()]
        except LedgerUnavailable as error:
            last.clear()  # an old value would look like a good one
            logger.warning("no metrics: %s", error)
