"""Campaigns under each of the emulator's switches for what is not known, in which the switch is seen to act."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from campaigns import Numbered, Sent, campaign, quiet, raise_storm
from switch_signs import REFUSALS, SIGNS, Exchange, watched
from watched import phone

from smspilot_async import Reason
from smspilot_async.emulator import Emulator, Fault, Unknowns

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKET = 50
TESTS = Path(__file__).parent.parent
# What each is about instead, and the tests that it has there.
NOT_ABOUT_SENDS = {
    "check_lag": ("checks", "tracking/test_tracking.py", "client/test_client_certainty.py"),
    "defaults_at_top": ("what this client never sends", "emulator/test_emulator_unknowns.py"),
    "connection_close": ("connections", "client/test_client_connection.py"),
    "missing_id_refuses_check": ("checks", "tracking/test_check_ids.py", "client/test_client_certainty.py"),
    "modified_zone": ("the times of checks", "wire_format/test_commands_over_socket.py"),
    "pairs_split": ("the parts of long texts", "emulator/test_emulator_unknowns.py"),
    "callbacks_repeated": ("callbacks", "emulator/test_emulator_callbacks.py"),
    "callbacks_lost": ("callbacks", "emulator/test_emulator_callbacks.py", "examples/test_example_services.py"),
    "callbacks_doubled": ("callbacks", "emulator/test_emulator_callbacks.py", "examples/test_example_services.py"),
    "callbacks_late": ("callbacks", "emulator/test_emulator_callbacks.py", "examples/test_example_services.py"),
}
SWITCHES: dict[str, dict[str, Any]] = {
    "none": {},
    "partly accepted, no money": {"partly_accepted": 30},
    "partly accepted, an unknown code": {"partly_accepted": 30, "partly_accepted_code": 999},
    "reordered": {"rows_reordered": True},
    "missing": {"rows_missing": 1},
    "ids zero": {"ids_zero": True},
    "ids zero and reordered": {"ids_zero": True, "rows_reordered": True},
    "duplicate phones": {"duplicate_phones_refused": True},
    "one bad refuses all": {"one_bad_refuses_packet": True},
    "all bad": {"all_bad_refuses_packet": True},
    "a trial account": {"trial_refuses_packet": True},
    "error status 400": {"error_status": 400, "all_bad_refuses_packet": True},
    "error status 500": {"error_status": 500, "all_bad_refuses_packet": True},
    "small packets": {"max_messages": 40},
    "small bodies": {"max_bytes": 2000},
    "few messages a second": {"messages_per_second": 90},
    "few requests a second": {"requests_per_second": 1},
    "few requests a second, 110": {"requests_per_second": 1, "limit_answer": 110},
    "few connections": {"connections_per_key": 6},
    "no callbacks over TLS": {"https_callback_refused": True},
}
# Under these no packet comes through: they are on for 300 messages, and off for as many, so that there is a campaign.
ON_AND_OFF = {"partly accepted, an unknown code", "missing", "ids zero and reordered", "small packets", "small bodies"}
ABOUT_BAD_MESSAGES = {"one bad refuses all", "all bad", "error status 400", "error status 500"}


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("ERROR")


def test_every_switch_has_its_campaign_or_is_not_about_sends_and_has_its_tests_elsewhere() -> None:
    switched = {name for settings in SWITCHES.values() for name in settings}
    assert switched | NOT_ABOUT_SENDS.keys() == {field.name for field in attrs.fields(Unknowns)}
    assert not switched & NOT_ABOUT_SENDS.keys()
    for name, (_, *modules) in NOT_ABOUT_SENDS.items():
        assert all(name in (TESTS / module).read_text(encoding="utf-8") for module in modules)


@attrs.frozen
class Watched:
    """A campaign under a switch, and all that the gateway answered in it."""

    sent: Sent
    exchanges: list[Exchange]

    def signs(self) -> set[str]:
        return {switch for switch, is_there in SIGNS.items() if is_there(self.exchanges)}


def messages(emulator: Emulator, switch: str, count: int, *, bad: bool) -> Iterator[Numbered]:
    """Messages that give every switch an occasion, while the clock turns and the switch is thrown.

    In each packet two messages share a phone; four of a hundred are bad, and of twenty packets one has only bad ones.
    """
    off = Unknowns()
    emulator.account.trial = switch == "a trial account"
    refused = {ending: phone(9_000_000 + ending) for ending in REFUSALS}
    for ending, to in refused.items():
        emulator.refuse(code=REFUSALS[ending], to=to)
    only_bad = list(refused.values())
    fields = {"callback": "https://127.0.0.1/"} if switch == "no callbacks over TLS" else {}
    for number in range(count):
        if number % (2 * PACKET) == 0:
            emulator.clock.advance(seconds=1)
        if number == 10 * PACKET:
            emulator.release()  # what has held all the connections that it allows
        if number % 300 == 0:
            is_on = switch not in ON_AND_OFF or number % 600 == 0
            for name, value in SWITCHES[switch].items():
                setattr(emulator.unknowns, name, value if is_on else getattr(off, name))
        to = phone(number - 1 if number % PACKET == 30 else number)
        if bad:
            to = only_bad[number % 4] if number // PACKET % 20 == 4 else refused.get(number % 100, to)
        yield Numbered(number, to=to, **(fields if number % 3 == 0 else {}))


async def campaign_under(
    switch: str, count: int, protection: str, monkeypatch: pytest.MonkeyPatch, *, bad: bool
) -> Watched:
    """Send so many messages through every fault under one switch, and hold the results against the record."""
    options = quiet(protection, seed=5)
    over_a_socket = "connections_per_key" in SWITCHES[switch]  # the transport without a socket has none
    async with Emulator.serve(**options) if over_a_socket else nullcontext(Emulator(**options)) as emulator:
        raise_storm(emulator, seed=5, shares=dict.fromkeys(Fault, 0.01))
        if over_a_socket:
            emulator.fail_next("send", Fault.SLOW, times=SWITCHES[switch]["connections_per_key"])
        exchanges = watched(emulator, monkeypatch)
        source = chain(messages(emulator, switch, count, bad=bad))  # a run that stops closes a generator, but not this
        sent = await campaign(emulator, source, packet_size=PACKET, goes_on=True, over_a_socket=over_a_socket)

    sent.assert_true()
    assert sent.stats.read == count
    if switch == "partly accepted, no money":
        assert {getattr(error, "reason", None) for error in sent.errors} == {Reason.PARTIAL}
    else:
        assert sent.errors == []
        assert sent.stats.accepted > count / 4
    if switch in ON_AND_OFF:
        assert sent.stats.accepted < count * 3 / 4  # under no switch it is more than that
    return Watched(sent, exchanges)


@pytest.mark.parametrize(("protection", "bad"), [("off", False), ("off", True), ("on", True)])
@pytest.mark.parametrize("switch", SWITCHES)
async def test_every_switch_under_every_fault(
    switch: str, protection: str, monkeypatch: pytest.MonkeyPatch, *, bad: bool
) -> None:
    watched = await campaign_under(switch, 1500, protection, monkeypatch, bad=bad)
    if bad or switch not in ABOUT_BAD_MESSAGES:
        assert (switch in watched.signs()) == (switch != "none")


@pytest.mark.parametrize("protection", ["off", "on"])
async def test_without_a_switch_there_is_no_sign_of_any(protection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert SWITCHES.keys() == {"none", *SIGNS}
    watched = await campaign_under("none", 5000, protection, monkeypatch, bad=True)
    assert watched.signs() == set()


@pytest.mark.volume
@pytest.mark.parametrize("protection", ["off", "on"])
@pytest.mark.parametrize("switch", SWITCHES)
async def test_a_hundred_thousand_messages_under_every_switch_half_of_them_with_loop_protection(
    switch: str, protection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 10_000 if switch == "a trial account" else 50_000  # there it is a request for each two messages
    watched = await campaign_under(switch, count, protection, monkeypatch, bad=True)
    assert watched.signs() >= {switch} - {"none"}
