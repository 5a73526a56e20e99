"""OpenTelemetry gets requests, messages and money over a real socket; read back from the SDK's own memory."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from outcomes import PHONE, TEXT, failure_of

from smspilot_async import Client, Message
from smspilot_async.emulator import Emulator, Fault
from smspilot_async.otel import OpenTelemetryHooks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace import ReadableSpan

MESSAGES = [Message(f"7908796478{number}", f"text {number}") for number in range(5)]


class Telemetry:
    """An SDK that keeps everything in memory."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self.traces = TracerProvider()
        self.traces.add_span_processor(SimpleSpanProcessor(self._spans))
        self.tracer = self.traces.get_tracer("the application")
        self._reader = InMemoryMetricReader()
        self.meters = MeterProvider([self._reader])
        self.hooks = OpenTelemetryHooks(tracer_provider=self.traces, meter_provider=self.meters)

    def spans(self) -> list[ReadableSpan]:
        """The library's spans that have ended."""
        return [span for span in self._spans.get_finished_spans() if span.kind is SpanKind.CLIENT]

    def metric(self, name: str) -> list[Any]:
        """The points of a metric."""
        data = self._reader.get_metrics_data()
        found = [
            metric
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
        ]
        return [point for metric in found for point in metric.data.data_points]

    def exemplars(self) -> dict[str, set[int | None]]:
        """The spans that each metric's points name as examples."""
        data = self._reader.get_metrics_data()
        return {
            metric.name: {example.span_id for point in metric.data.data_points for example in point.exemplars}
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def counts(self, name: str) -> dict[Any, Any]:
        """A counter's values, by outcome."""
        return {point.attributes.get("smspilot.outcome"): point.value for point in self.metric(name)}


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    """An SDK of its own for each test."""
    telemetry = Telemetry()
    yield telemetry
    telemetry.traces.shutdown()
    telemetry.meters.shutdown()


def client_of(emulator: Emulator, telemetry: Telemetry, **options: Any) -> Client:
    return Client(emulator.api_key, url=emulator.url, hooks=[telemetry.hooks], **options)


async def test_a_request_is_a_client_span_with_the_conventions_attributes(
    emulator: Emulator, telemetry: Telemetry
) -> None:
    async with client_of(emulator, telemetry) as client:
        await client.send_packet(MESSAGES)
    (span,) = telemetry.spans()
    attributes = dict(span.attributes or {})
    port = int(emulator.url.split(":")[2].split("/")[0])
    assert span.name == "POST"
    assert attributes.pop("http.request.body.size")
    assert attributes == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": port,
        "url.scheme": "http",
        "url.full": emulator.url,
        "smspilot.command": "send",
        "smspilot.wire": "json",
        "smspilot.messages": 5,
        "smspilot.outcome": "answered",
    }
    assert span.status.status_code is StatusCode.UNSET


async def test_the_duration_is_measured_in_seconds_by_the_conventions(emulator: Emulator, telemetry: Telemetry) -> None:
    async with client_of(emulator, telemetry) as client:
        await client.balance()
        emulator.fail_next("send", Fault.ACCEPT_THEN_SERVER_ERROR, status=502)
        await failure_of(client.send(PHONE, TEXT))
    good, bad = sorted(
        telemetry.metric("http.client.request.duration"),
        key=lambda point: point.attributes["http.response.status_code"],
    )
    assert (good.count, good.explicit_bounds[0], good.explicit_bounds[-1]) == (1, 0.005, 10)
    assert set(good.attributes) == {
        "http.request.method",
        "http.response.status_code",
        "server.address",
        "server.port",
        "url.scheme",
    }
    assert (bad.attributes["http.response.status_code"], bad.attributes["error.type"]) == (502, "502")


async def test_a_lost_answer_is_a_span_in_error_and_an_open_unknown(emulator: Emulator, telemetry: Telemetry) -> None:
    async with client_of(emulator, telemetry) as client:
        emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
        await failure_of(client.send_packet(MESSAGES))
        assert [point.value for point in telemetry.metric("smspilot.unknowns")] == [5]
    (span,) = telemetry.spans()
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == "OutcomeUnknown"
    assert "http.response.status_code" not in (span.attributes or {})
    assert telemetry.counts("smspilot.messages") == {"unknown": 5}
    assert telemetry.counts("smspilot.packets") == {"unknown": 1}


async def test_messages_parts_cost_and_balance_are_counted(emulator: Emulator, telemetry: Telemetry) -> None:
    emulator.refuse(code=223, text="buy")
    async with client_of(emulator, telemetry) as client:
        packet = await client.send_packet([*MESSAGES, Message(PHONE, "buy"), Message(PHONE, "long " * 50)])
        balance = await client.balance()
        assert [point.value for point in telemetry.metric("smspilot.balance")] == [float(balance)]
        assert [point.value for point in telemetry.metric("smspilot.queue")] == [0]
        assert [point.value for point in telemetry.metric("smspilot.in_flight")] == [0]
        assert telemetry.metric("smspilot.listen.lag") == []
    assert telemetry.counts("smspilot.messages") == {"accepted": 6, "refused": 1}
    assert telemetry.counts("smspilot.packets") == {"answered": 1}
    assert telemetry.counts("smspilot.parts") == {None: sum(row.parts or 0 for row in packet.accepted)}
    assert telemetry.counts("smspilot.cost") == {None: pytest.approx(sum(row.price or 0 for row in packet.accepted))}


async def test_a_send_is_a_child_of_its_callers_span_although_it_runs_detached(
    emulator: Emulator, telemetry: Telemetry
) -> None:
    async with client_of(emulator, telemetry) as client:
        for call in (client.send(PHONE, TEXT), client.send_packet(MESSAGES), client.balance()):
            with telemetry.tracer.start_as_current_span("caller") as caller:
                await call
            span = telemetry.spans()[-1]
            assert span.parent is not None
            assert span.parent.span_id == caller.get_span_context().span_id
            assert span.links == ()


async def test_a_packet_of_several_callers_is_linked_to_each_of_their_spans(
    emulator: Emulator, telemetry: Telemetry
) -> None:
    async def visitor(number: int) -> int:
        with telemetry.tracer.start_as_current_span(f"visitor {number}") as span:
            await client.send(f"7908796478{number}", TEXT)
            return span.get_span_context().span_id

    async with client_of(emulator, telemetry) as client:
        visitors = await asyncio.gather(*map(visitor, range(3)))
    (span,) = telemetry.spans()
    assert span.parent is None
    assert {link.context.span_id for link in span.links} == set(visitors)


async def test_a_queued_packet_takes_no_parent_from_who_happened_to_make_room_for_it(
    emulator: Emulator, telemetry: Telemetry
) -> None:
    async def visitor() -> None:
        with telemetry.tracer.start_as_current_span("visitor"):
            await client.send(PHONE, TEXT)

    async with client_of(emulator, telemetry, max_connections=1) as client:
        first = asyncio.ensure_future(visitor())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.gather(first, client.send(PHONE, "outside a span"))
    assert sorted(span.parent is None for span in telemetry.spans()) == [False, True]


async def test_an_attempt_after_the_first_says_so(emulator: Emulator, telemetry: Telemetry) -> None:
    emulator.fail_next("balance", Fault.SERVER_ERROR)
    async with client_of(emulator, telemetry) as client:
        await client.balance()
    first, second = (dict(span.attributes or {}) for span in telemetry.spans())
    assert "http.request.resend_count" not in first
    assert second["http.request.resend_count"] == 1


async def test_no_key_phone_text_or_query_is_ever_reported(emulator: Emulator, telemetry: Telemetry) -> None:
    with pytest.warns(UserWarning, match="query"):
        client = client_of(emulator, telemetry, request_style="query", referral="R-77")
    async with client:
        await client.send(PHONE, TEXT)
        await failure_of(client.check("1"))
    told = "".join(span.to_json() for span in telemetry.spans()) + str(telemetry._reader.get_metrics_data())
    assert "smspilot.command" in told
    for secret in (emulator.api_key, PHONE, TEXT, "R-77"):
        assert secret not in told


async def test_a_client_that_is_gone_is_not_observed(emulator: Emulator, telemetry: Telemetry) -> None:
    client = client_of(emulator, telemetry)
    assert telemetry.metric("smspilot.queue")
    del client
    assert telemetry.metric("smspilot.queue") == []


async def test_a_client_that_is_closed_is_not_observed(emulator: Emulator, telemetry: Telemetry) -> None:
    async with client_of(emulator, telemetry) as client:
        await client.balance()
        assert telemetry.metric("smspilot.balance")
    assert telemetry.metric("smspilot.balance") == [], "what it was told last may be long past"
    del client


async def test_an_exemplar_is_the_requests_own_span_and_never_that_of_some_caller(
    emulator: Emulator, telemetry: Telemetry
) -> None:
    async def visitor(number: int) -> None:
        with telemetry.tracer.start_as_current_span(f"visitor {number}"):
            await client.send(f"7908796478{number}", TEXT)

    async with client_of(emulator, telemetry) as client:
        await asyncio.gather(*map(visitor, range(3)))
    data = telemetry.exemplars()
    (span,) = telemetry.spans()
    assert span.context is not None
    assert data.pop("http.client.request.duration") == {span.context.span_id}
    assert set().union(*data.values()) <= {span.context.span_id}


def test_without_the_extra_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['opentelemetry'] = None; import smspilot_async.otel"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
    assert "pip install 'smspilot-async[otel]'" in done.stderr
