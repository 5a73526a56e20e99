"""The ledger's metrics: what Prometheus reads, what OpenTelemetry observes, and the rules that wake people."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ledgers import PHONE
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from smspilot_async import Message
from smspilot_async.emulator import Emulator, Fault
from smspilot_async.outbox import prometheus
from smspilot_async.outbox._metrics import METRICS

if TYPE_CHECKING:
    from ledgers import Desk

    from smspilot_async import Client
    from smspilot_async.outbox import Outbox

RULES = Path(__file__).parents[2] / "docs" / "smspilot.rules.yml"


def values(text: str) -> dict[str, float]:
    """What Prometheus reads."""
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


async def test_prometheus_reads_what_the_ledger_holds(
    desk: Desk, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    await desk.pending("Ваш код 1234", kind="code", valid_for=600)
    emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
    await outbox.drain(client)
    await desk.campaign("promo", rows=2)
    await desk.pending()
    await desk.turn(30)
    await outbox.halt("look", everything=True)
    text = prometheus(await outbox.overview(client))
    found = values(text)
    assert found['smspilot_ledger_due{kind="service"}'] == 1
    assert found['smspilot_ledger_due{kind="marketing"}'] == 2
    assert 30 <= found['smspilot_ledger_oldest_due_seconds{kind="service"}'] < 40
    assert found['smspilot_ledger_oldest_due_seconds{kind="code"}'] == 0
    assert (found["smspilot_ledger_unknown"], found["smspilot_ledger_halted"]) == (1, 2)
    assert found['smspilot_ledger_campaigns{state="running"}'] == 1
    assert found["smspilot_ledger_balance_roubles"] == float((await client.info()).balance or 0)
    assert "smspilot_ledger_callback_age_seconds" not in text  # none came yet: that is not known
    assert "1234" not in text
    assert PHONE not in text


async def test_each_is_described_and_a_line_of_the_format(outbox: Outbox) -> None:
    text = prometheus(await outbox.overview())
    line = r'# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{[a-z]+="[a-z]+"\})? -?[0-9.e+-]+'
    assert [one for one in text.splitlines() if not re.fullmatch(line, one)] == []
    assert text.endswith("\n")
    names = re.findall(r"# TYPE ([a-z_]+) gauge", text)
    assert len(names) == len(set(names))


async def test_opentelemetry_observes_the_same_while_the_block_runs(outbox: Outbox) -> None:
    await outbox.enqueue(Message(PHONE, "Ready"), key="1")
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])

    def observed() -> dict[str, Any]:
        data = reader.get_metrics_data()
        if data is None:
            return {}
        metrics = data.resource_metrics[0].scope_metrics[0].metrics
        points: dict[str, list[Any]] = {one.name: list(one.data.data_points) for one in metrics}
        return {name: [(dict(one.attributes), one.value) for one in found] for name, found in points.items()}

    async with outbox.observed(meter_provider=provider, every=0.01):
        found = observed()
        assert ({"kind": "service"}, 1) in found["smspilot.ledger.due"]
        assert found.keys() <= {metric.name for metric in METRICS}
    assert all(points == [] for points in observed().values())
    provider.shutdown()


def test_every_metric_that_wakes_a_person_exists() -> None:
    rules = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"][0]["rules"]
    known = {metric.prometheus_name for metric in METRICS}
    for rule in rules:
        named = set(re.findall(r"smspilot_\w+", rule["expr"]))
        assert named, rule["alert"]
        assert named <= known, rule["alert"]
        assert rule["annotations"]["summary"]


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_prometheus_knows_the_unit_by_the_name(metric: Any) -> None:
    ending = {"s": "_seconds", "By": "_bytes", "RUB": "_roubles"}.get(metric.unit)
    assert ending is None or metric.prometheus_name.endswith(ending)
