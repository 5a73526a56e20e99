"""OpenTelemetry spans and metrics, by the semantic conventions for HTTP clients; only the API package is needed.

No attribute ever has a message's content, key, phone or URL query.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

try:
    from opentelemetry import context as otel_context
    from opentelemetry import metrics, trace
    from opentelemetry.metrics import CallbackOptions, Observation
    from opentelemetry.trace import Link, SpanKind, Status, StatusCode
except ImportError as _missing:
    raise ImportError(
        f"smspilot_async.otel needs {_missing.name}, which this brings: pip install 'smspilot-async[otel]'",
        name=_missing.name,
    ) from None

from smspilot_async._version import __version__
from smspilot_async.hooks import Hooks
from smspilot_async.models import Accepted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextvars import Context as CallerContext

    from opentelemetry.context import Context
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, TracerProvider
    from opentelemetry.util.types import AttributeValue

    from smspilot_async._health import Health
    from smspilot_async.hooks import Observed, RequestInfo, RequestOutcome
    from smspilot_async.models import Message, SendResult

__all__ = ["OpenTelemetryHooks"]

_FIRST_BAD_STATUS: Final = 400
# The boundaries that the conventions name for http.client.request.duration, in seconds.
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
# The current context in ``on_result`` may be another caller's. An empty context would count as none given.
_NO_SPAN: Final = trace.set_span_in_context(trace.INVALID_SPAN, otel_context.Context())


class OpenTelemetryHooks(Hooks):
    """Exports requests, messages and cost to OpenTelemetry: ``Client(hooks=[OpenTelemetryHooks()])``.

    There is one client span per HTTP request. It is a child of its caller's span; if a packet has messages of several
    callers, it is a root span with links to all of theirs. Metrics: ``http.client.request.duration`` (s);
    ``smspilot.packets``, ``smspilot.messages`` (both by ``smspilot.outcome``), ``smspilot.parts``, ``smspilot.cost``
    (roubles); and for open clients, from :meth:`Client.health`, ``smspilot.unknowns``, ``smspilot.queue``,
    ``smspilot.in_flight`` (messages), ``smspilot.balance`` (roubles) and ``smspilot.listen.lag`` (s). For several
    clients it is the sum, except for the lowest balance and the longest lag.

    Args:
        tracer_provider: By default the global one.
        meter_provider: By default the global one.
    """

    def __init__(
        self, *, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
    ) -> None:
        self._tracer = trace.get_tracer("smspilot_async", __version__, tracer_provider)
        self._spans: dict[RequestInfo, Span] = {}
        self._clients: list[weakref.ref[Observed]] = []
        meter = metrics.get_meter("smspilot_async", __version__, meter_provider)
        self._duration = meter.create_histogram(
            "http.client.request.duration",
            unit="s",
            description="Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._packets = meter.create_counter("smspilot.packets", "{packet}", "Requests to send messages.")
        self._messages = meter.create_counter("smspilot.messages", "{message}", "Messages, by outcome.")
        self._parts = meter.create_counter("smspilot.parts", "{part}", "SMS in accepted messages.")
        self._cost = meter.create_counter("smspilot.cost", "RUB", "Cost of accepted messages, in roubles.")
        for name, unit, description, value, together in _OBSERVED:
            meter.create_observable_gauge(name, [self._observer(value, together)], unit, description)

    def on_client(self, client: Observed) -> None:
        """Observe a client for as long as it exists."""
        self._clients = [known for known in self._clients if known() is not None]
        self._clients.append(weakref.ref(client))

    def before_request(self, request: RequestInfo) -> None:
        """Start a span."""
        parent, links = _callers(request.contexts)
        attributes = _http(request) | {
            "url.full": request.url,
            "smspilot.command": request.command,
            "smspilot.wire": request.wire,
            "smspilot.messages": request.messages,
            "http.request.body.size": request.size if request.method == "POST" else 0,
        }
        if request.attempt > 1:
            attributes["http.request.resend_count"] = request.attempt - 1
        self._spans[request] = self._tracer.start_span(
            request.method, parent, kind=SpanKind.CLIENT, attributes=attributes, links=links
        )

    def after_request(self, request: RequestInfo, outcome: RequestOutcome) -> None:
        """End its span, and count it."""
        span = self._spans.pop(request, None)
        # Exemplars refer to the request's own span: the current context may be that of any caller.
        context = _NO_SPAN if span is None else trace.set_span_in_context(span, otel_context.Context())
        self._duration.record(outcome.seconds, _http(request) | _ending(outcome), context)
        if request.command == "send":
            self._packets.add(1, {"smspilot.outcome": outcome.kind}, context)
        if span is not None:
            span.set_attributes(_ending(outcome) | {"smspilot.outcome": outcome.kind})
            if outcome.error is not None:
                span.set_status(Status(StatusCode.ERROR))
            span.end()

    def on_result(self, result: SendResult[Message]) -> None:
        """Count a message, its parts and its price."""
        self._messages.add(1, {"smspilot.outcome": result.outcome.value}, _NO_SPAN)
        if isinstance(result, Accepted):
            self._parts.add(result.sent.parts or 0, context=_NO_SPAN)
            self._cost.add(float(result.sent.price or 0), context=_NO_SPAN)

    def _observer(
        self, value: Callable[[Health], float | None], together: Callable[[list[float]], float]
    ) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            clients = [client for known in tuple(self._clients) if (client := known()) is not None]
            healths = [health for client in clients if (health := client.health()).is_open]
            values = [found for health in healths if (found := value(health)) is not None]
            return [Observation(together(values))] if values else []

        return observe


# The observed values, and how those of several clients are combined: their sum, or the worst.
_OBSERVED: Final[Sequence[tuple[str, str, str, Callable[[Health], float | None], Callable[[list[float]], float]]]] = (
    ("smspilot.unknowns", "{message}", "Messages that may have been sent.", lambda health: health.open_unknowns, sum),
    ("smspilot.queue", "{message}", "Messages that wait to be sent.", lambda health: health.queued, sum),
    ("smspilot.in_flight", "{message}", "Messages on the wire.", lambda health: health.in_flight, sum),
    (
        "smspilot.balance",
        "RUB",
        "The last known balance, in roubles.",
        lambda health: None if health.balance is None else float(health.balance),
        min,
    ),
    ("smspilot.listen.lag", "s", "Time since the last successful poll.", lambda health: health.listen_lag, max),
)


def _http(request: RequestInfo) -> dict[str, AttributeValue]:
    parts = urlsplit(request.url)
    return {
        "http.request.method": request.method,
        "server.address": parts.hostname or "",
        "server.port": parts.port or (443 if parts.scheme == "https" else 80),
        "url.scheme": parts.scheme,
    }


def _ending(outcome: RequestOutcome) -> dict[str, AttributeValue]:
    status = outcome.http_status
    attributes: dict[str, AttributeValue] = {} if status is None else {"http.response.status_code": status}
    if status is not None and status >= _FIRST_BAD_STATUS:
        attributes["error.type"] = str(status)
    elif outcome.error is not None:
        attributes["error.type"] = type(outcome.error).__name__
    return attributes


def _callers(contexts: Sequence[CallerContext]) -> tuple[Context, list[Link]]:
    """Return the parent context of a request with one caller, or the links of one that several share."""
    found: dict[Any, tuple[Context, trace.SpanContext]] = {}
    for caller in contexts:
        context = caller.run(otel_context.get_current)
        span = trace.get_current_span(context).get_span_context()
        if span.is_valid:
            found[span.trace_id, span.span_id] = (context, span)
    if len(found) == 1:
        return next(iter(found.values()))[0], []
    return otel_context.Context(), [Link(span) for _, span in found.values()]
