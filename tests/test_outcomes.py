"""One word for what became of a message, the same in every place that says it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from outcome_table import OF_OTHERS, OF_SENDS, in_markdown

import smspilot_async
from smspilot_async import Accepted, Message, Outcome, Packet, RequestOutcome, SentMessage, SmsPilotError, to_dicts
from smspilot_async._sending.pending import result_of
from smspilot_async.audit import AuditLog
from smspilot_async.cli._errors import error_as_json
from smspilot_async.cli.bulk._recipients import Recipient
from smspilot_async.cli.bulk._results import RowOutcome as Line
from smspilot_async.otel import OpenTelemetryHooks
from smspilot_async.outbox import CampaignMessage
from smspilot_async.outbox._judge import judge
from smspilot_async.outbox._states import State, after

if TYPE_CHECKING:
    from smspilot_async import SendResult

MESSAGE = Message("79087964781", "Hello", id=7)
PAGE = Path(__file__).parent.parent / "docs" / "errors.md"


def test_every_public_error_is_in_the_table() -> None:
    public = [getattr(smspilot_async, name) for name in smspilot_async.__all__]
    errors = {kind for kind in public if isinstance(kind, type) and issubclass(kind, SmsPilotError)}
    assert {type(error) for error in (OF_SENDS | OF_OTHERS).values()} == errors - {SmsPilotError}


@pytest.mark.parametrize("error", OF_SENDS.values(), ids=OF_SENDS)
async def test_every_place_that_names_an_outcome_says_the_same_word(error: SmsPilotError, tmp_path: Path) -> None:
    row = SentMessage(id=7, failure=error)
    said = {
        place: word
        for result in (result_of(MESSAGE, error), result_of(MESSAGE, row))
        for place, word in (await said_of(result, tmp_path)).items()
    }
    said["error"] = error.outcome
    said["row"] = row.outcome
    said["row of a data frame"] = to_dicts(row)[0]["outcome"]
    said["group of a packet"] = group_of(Packet(messages=(row,)))
    said["request"] = RequestOutcome(error=error, http_status=None, seconds=0).kind
    said["JSON of the command"] = error_as_json(error)["outcome"]

    assert set(said.values()) == {error.outcome.value}, said


async def test_what_was_accepted_is_called_accepted_everywhere(tmp_path: Path) -> None:
    row = SentMessage(id=7, server_id="10005")
    said = await said_of(Accepted(MESSAGE, row), tmp_path)
    said |= {"row": row.outcome, "row of a data frame": to_dicts(row)[0]["outcome"]}
    said["group of a packet"] = group_of(Packet(messages=(row,)))
    assert set(said.values()) == {"accepted"}, said


async def said_of(result: SendResult[Message], folder: Path) -> dict[str, str]:
    """What hooks, files and telemetry say of a result."""
    reader = InMemoryMetricReader()
    telemetry = OpenTelemetryHooks(meter_provider=MeterProvider([reader]))
    telemetry.on_result(result)
    audit = AuditLog(folder / "audit.jsonl", key="sixteen bytes at least")
    audit.on_result(result)
    await audit.aclose()
    return {
        "result": result.outcome,
        "class of the result": {"Accepted": "accepted", "Refused": "refused", "Unknown": "unknown"}.get(
            type(result).__name__, "not_sent"
        ),
        "data frame": to_dicts(result)[0]["outcome"],
        "audit": json.loads((folder / "audit.jsonl").read_text(encoding="utf-8").splitlines()[-1])["outcome"],
        "telemetry": _counted(reader),
        "file of the command": _of_the_command(result),
    }


def _of_the_command(result: SendResult[Message]) -> str:
    """Return what stands in the results of ``bulk``, once the answer is in its ledger and the run is over."""
    answer: Any = Packet(messages=(result.sent,)) if isinstance(result, Accepted) else result.error
    [row] = judge([MESSAGE], [1], answer).rows
    state = after(State.IN_FLIGHT, row.event)
    fields: dict[str, Any] = {"state": state.value, "outcome": state.outcome, "reason": row.reason, "code": row.code}
    message = CampaignMessage(id=7, line=2, to=MESSAGE.to, **fields)
    return Line.of(Recipient(position=0, line=2, to=MESSAGE.to, message=MESSAGE), message).outcome


def _counted(reader: InMemoryMetricReader) -> str:
    data = reader.get_metrics_data()
    assert data is not None
    metrics = [metric for each in data.resource_metrics for scope in each.scope_metrics for metric in scope.metrics]
    [messages] = [metric for metric in metrics if metric.name == "smspilot.messages"]
    [point] = messages.data.data_points
    return str((point.attributes or {})["smspilot.outcome"])


def group_of(packet: Packet) -> str:
    groups = {name: getattr(packet, name) for name in ("accepted", "refused", "not_sent", "unknown")}
    [name] = [name for name, members in groups.items() if members]
    return name


def test_the_page_on_errors_shows_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{in_markdown()}")  # noqa: T201 - for whoever reads the tests' output
    assert in_markdown() in PAGE.read_text(encoding="utf-8")


def test_an_outcome_is_one_of_four_words() -> None:
    assert [outcome.value for outcome in Outcome] == ["accepted", "refused", "not_sent", "unknown"]
