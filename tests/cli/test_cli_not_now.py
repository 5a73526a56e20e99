# ruff: noqa: S603 - the programs that run here are ours
"""A gateway that says "not now" in the middle of a list: 429, 110, no money, a blocked account.

None of that says anything about a message. The gateway's record is the judge: whatever it said meanwhile, each person
was reached exactly once in the end, and no row was ever called refused.
"""

from __future__ import annotations

import csv
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
from cli_running import PHONES, command, environment, numbered, write_list

from smspilot_async.emulator import Emulator, Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS = 400
RESULTS = Path("list.csv.results.csv")
LEDGER = Path(f"{RESULTS}.ledger")
PATIENCE = 60.0
FOR_EVER = 10_000


@attrs.frozen
class NotNow:
    """What the gateway says, until it is over."""

    name: str
    begin: Callable[[Emulator], object]
    end: Callable[[Emulator], object]
    code: str
    words: str


def _say(fault: Fault) -> Callable[[Emulator], object]:
    return lambda gateway: gateway.fail_next("send", fault, times=FOR_EVER, retry_after=0)


def _set(**values: object) -> Callable[[Emulator], object]:
    def change(gateway: Emulator) -> None:
        for name, value in values.items():
            setattr(gateway.account, name, value)

    return change


WAYS = [
    NotNow("429", _say(Fault.TOO_MANY_REQUESTS), Emulator.no_more_faults, "", "(HTTP 429)"),
    NotNow("110", _say(Fault.BUSY), Emulator.no_more_faults, "110", "System error"),
    NotNow("112", _set(balance=Decimal("1.25")), _set(balance=Decimal(10_000)), "112", "No money"),
    NotNow("105", _set(blocked=105), _set(blocked=None), "105", "APIKEY is blocked (balance)"),
]


@pytest.fixture
def gateway() -> Iterator[Emulator]:
    with Emulator.serve() as emulator:
        yield emulator


def start(gateway: Emulator, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command("bulk", "list.csv", "--yes", *options),
        env=environment(gateway, PYTHONUNBUFFERED="1", PYTHONWARNINGS="error"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    with process:
        try:
            _, err = process.communicate(timeout=PATIENCE)
        except BaseException:
            process.kill()
            raise
    assert "Traceback" not in err
    return process.returncode, err


async def begun(gateway: Emulator, *options: str, then: Callable[[Emulator], object]) -> subprocess.Popen[str]:
    """Start a list of four packets, and come back when the first three are accepted, and the gateway has changed."""
    write_list(numbered(ROWS))
    gateway.fail_next("send", Fault.SLOW, times=3)
    process = start(gateway, "--in-flight", "3", *options)
    try:
        for last in (99, 199, 299):
            await gateway.wait_for(to=PHONES[last], timeout=PATIENCE)
    except BaseException:
        process.kill()
        end(process)
        raise
    then(gateway)
    gateway.release()
    return process


def rows() -> list[dict[str, str]]:
    with RESULTS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def outcomes() -> dict[str, int]:
    return dict(Counter(row["outcome"] for row in rows()))


def has_ledger() -> bool:
    return LEDGER.exists()


def reached(gateway: Emulator) -> Counter[str]:
    return Counter(message.to for message in gateway.messages)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
async def test_after_some_resumes_everybody_was_reached_once_and_no_one_refused(gateway: Emulator, way: NotNow) -> None:
    code, err = end(await begun(gateway, "--patience", "0", then=way.begin))
    assert code == 4
    assert f"ledger: {LEDGER}; --resume sends what was not sent" in err
    left = [row for row in rows() if row["outcome"] != "accepted"]
    assert outcomes() == {"accepted": ROWS - len(left), "not_sent": len(left)}
    assert 99 <= len(left) <= 100
    assert {row["error_code"] for row in left} == {way.code}
    assert all(way.words in row["error"] for row in left)

    code, err = end(start(gateway, "--resume", "--patience", "0"))
    assert code == (2 if way.code == "112" else 4)  # --yes does not begin what the balance does not cover
    assert outcomes() == {"accepted": ROWS - len(left), "not_sent": len(left)}
    assert has_ledger()

    way.end(gateway)
    code, err = end(start(gateway, "--resume"))
    assert (code, outcomes()) == (0, {"accepted": ROWS})
    assert not has_ledger()
    assert reached(gateway) == Counter(PHONES[:ROWS])


async def test_a_busy_gateway_is_waited_for(gateway: Emulator) -> None:
    fault = Fault.TOO_MANY_REQUESTS
    process = await begun(gateway, then=lambda gateway: gateway.fail_next("send", fault, retry_after=0))
    code, err = end(process)
    assert (code, outcomes()) == (0, {"accepted": ROWS}), err
    assert reached(gateway) == Counter(PHONES[:ROWS])


async def test_ctrl_c_ends_the_waiting_and_resume_sends_the_rest(gateway: Emulator) -> None:
    def busy_for_long(gateway: Emulator) -> None:
        gateway.fail_next("send", Fault.TOO_MANY_REQUESTS, times=FOR_EVER, retry_after=300)

    process = await begun(gateway, then=busy_for_long)
    assert process.stderr is not None
    told = next((line for line in process.stderr if "asking again" in line), None)
    assert told == "the gateway is busy (HTTP 429): asking again for up to 600 s, see --patience\n"
    process.send_signal(signal.SIGINT)
    code, _ = end(process)
    assert code == 130
    assert outcomes() == {"accepted": 300, "not_sent": 100}
    gateway.no_more_faults()
    assert end(start(gateway, "--resume"))[0] == 0
    assert reached(gateway) == Counter(PHONES[:ROWS])
