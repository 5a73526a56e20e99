"""What the gateway answered in a campaign, and the sign that each switch leaves there: without it, it was as if off."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from smspilot_async.emulator import Emulator
    from smspilot_async.emulator.server._http import HttpRequest, Reply

REFUSALS: Final = {7: 204, 11: 111, 13: 242, 17: 223}
"""Why a campaign's bad messages are refused, by the last two digits of their numbers."""


@attrs.frozen
class Exchange:
    """One packet, and what was answered to it, whether or not the client came to read it.

    Attributes:
        second: When it came, by the emulator's clock.
        asked: The texts of the messages, each of which is unlike every other.
        code: Of the error document, if it was one.
        rows: Of the answer, if it had any.
    """

    second: datetime
    asked: list[str]
    status: int
    retry_after: str | None
    code: str | None
    rows: list[dict[str, Any]]

    @property
    def is_reordered(self) -> bool:
        answered = [row["text"] for row in self.rows]
        return sorted(answered) == sorted(self.asked) and answered != self.asked

    @property
    def has_no_ids(self) -> bool:
        return {row["id"] for row in self.rows} == {0}

    @property
    def refused(self) -> set[int]:
        return {row["error"] for row in self.rows}


def watched(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> list[Exchange]:
    """The exchanges that an emulator has from now on."""
    exchanges: list[Exchange] = []
    exchange = emulator.exchange

    def watching(request: HttpRequest) -> Reply:
        second = emulator.clock.now()
        reply = exchange(request)
        asked = [row["text"] for row in json.loads(request.body)["send"]]
        answer = json.loads(reply.body) if reply.body.startswith(b"{") else {}
        code = answer.get("error", {}).get("code")
        retry_after = dict(reply.headers).get("Retry-After")
        exchanges.append(Exchange(second, asked, reply.status, retry_after, code, answer.get("send", [])))
        return reply

    monkeypatch.setattr(emulator, "exchange", watching)
    return exchanges


def _some(is_sign: Callable[[Exchange], bool]) -> Callable[[list[Exchange]], bool]:
    return lambda exchanges: any(map(is_sign, exchanges))


def _a_document_refuses_for_one_message(exchange: Exchange) -> bool:
    return exchange.code in set(map(str, REFUSALS.values()))


def _one_answer_at_most_in_each_second(exchanges: list[Exchange]) -> bool:
    """A fault answers 110 too, but knows nothing of seconds."""
    asked = Counter(exchange.second for exchange in exchanges)
    answered = Counter(exchange.second for exchange in exchanges if exchange.rows)
    return {*answered.values()} == {1} and max(asked.values()) > 1


# What no answer shows while the switch is off, whatever faults there are.
SIGNS: Final[dict[str, Callable[[list[Exchange]], bool]]] = {
    "partly accepted, no money": _some(lambda exchange: exchange.code == "241"),
    "partly accepted, an unknown code": _some(lambda exchange: exchange.code == "999"),
    "reordered": _some(lambda exchange: exchange.is_reordered),
    "missing": _some(lambda exchange: 0 < len(exchange.rows) < len(exchange.asked)),
    "ids zero": _some(lambda exchange: exchange.has_no_ids),
    "ids zero and reordered": _some(lambda exchange: exchange.has_no_ids and exchange.is_reordered),
    "duplicate phones": _some(lambda exchange: 214 in exchange.refused),
    "one bad refuses all": _some(_a_document_refuses_for_one_message),
    "all bad": _some(_a_document_refuses_for_one_message),
    "a trial account": _some(lambda exchange: exchange.code == "242" and len(exchange.asked) > 2),
    "error status 400": _some(lambda exchange: exchange.code is not None and exchange.status == 400),
    "error status 500": _some(lambda exchange: exchange.code is not None and exchange.status == 500),
    "small packets": _some(lambda exchange: exchange.code == "240"),
    "small bodies": _some(lambda exchange: exchange.status == 413),
    "few messages a second": _some(lambda exchange: exchange.retry_after == "1"),
    "few requests a second": _some(lambda exchange: exchange.retry_after == "1"),
    "few requests a second, 110": _one_answer_at_most_in_each_second,
    "few connections": _some(lambda exchange: exchange.retry_after == "1"),
    "no callbacks over TLS": _some(lambda exchange: 260 in exchange.refused),
}
