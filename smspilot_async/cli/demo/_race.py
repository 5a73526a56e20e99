"""Scene one of the demo: a thousand people, a gateway that accepts and then drops the connection, and two senders.

The plain loop is what most code does today: one request per message, and another try at any failure. Both senders meet
the same faults at the same rate from the same seed, and the gateway's own record shows how often it accepted what.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs
import httpx

from smspilot_async import Client
from smspilot_async.cli._language import said
from smspilot_async.cli._output import Tone, print_line, print_verbatim
from smspilot_async.emulator import Emulator, Fault
from smspilot_async.errors import Outcome, OutcomeUnknown, SmsPilotError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from rich.progress import Progress

FAULT_RATE: Final = 0.03
_FAULT: Final = Fault.ACCEPT_THEN_RESET
_RETRIES: Final = 3
_SHOWN: Final = 2
_FIRST_PHONE: Final = 79_087_960_000


@attrs.frozen
class Person:
    """A recipient of one message."""

    number: int
    phone: str = attrs.field(repr=False)
    text: str = attrs.field(repr=False)

    @property
    def masked(self) -> str:
        """The phone, masked."""
        return f"{self.phone[:4]}*****{self.phone[-2:]}"


@attrs.frozen
class Tally:
    """The result of a sender, by the gateway's record.

    Attributes:
        people: The number of recipients.
        once, twice, never: People by how often the gateway accepted their message; ``twice`` is twice or more.
        believed: People whom the sender reports as reached.
        failed: People whom the sender reports as not reached.
        unknown: People whom the sender reports as unknown.
        seconds: How long it took.
    """

    people: int
    once: int
    twice: tuple[Person, ...]
    never: int
    believed: int
    failed: int
    unknown: tuple[Person, ...]
    seconds: float

    def as_json(self) -> Mapping[str, Any]:
        """Return it as JSON data."""
        return {
            "reached_once": self.once,
            "reached_twice": len(self.twice),
            "reached_twice_ids": [person.number for person in self.twice],
            "not_reached": self.never,
            "believed_sent": self.believed,
            "believed_not_sent": self.failed,
            Outcome.UNKNOWN.value: len(self.unknown),
            "unknown_ids": [person.number for person in self.unknown],
            "seconds": round(self.seconds, 2),
        }


Sender: TypeAlias = "Callable[[Emulator, Sequence[Person], Callable[[], None]], Awaitable[Report]]"


@attrs.frozen
class Report:
    """What a sender reports itself."""

    believed: int
    failed: int
    unknown: tuple[Person, ...] = ()


def crowd(size: int) -> Sequence[Person]:
    """Return made-up recipients."""
    return [Person(number, str(_FIRST_PHONE + number), f"Ваш код {number:04d}") for number in range(1, size + 1)]


async def race(people: Sequence[Person], seed: int, progress: Progress) -> tuple[Tally, Tally]:
    """Run both senders, and return the results of the plain loop and of this library."""
    plain = await _run_sender(_plain_loop, people, seed, progress, "a plain loop with retries")
    ours = await _run_sender(_this_library, people, seed, progress, "smspilot_async")
    return plain, ours


async def _run_sender(sender: Sender, people: Sequence[Person], seed: int, progress: Progress, name: str) -> Tally:
    bar = progress.add_task(name, total=len(people))
    # Loop protection would hide the duplicates; it depends on the account, and lasts only minutes.
    async with Emulator.serve(seed=seed, loop_protection=None) as emulator:
        emulator.random_faults({_FAULT: FAULT_RATE}, command="send", seed=seed)
        start = time.perf_counter()
        report = await sender(emulator, people, lambda: progress.advance(bar))
        seconds = time.perf_counter() - start
        times = Counter(message.to for message in emulator.messages)
    return Tally(
        len(people),
        sum(number == 1 for number in times.values()),
        tuple(person for person in people if times[person.phone] > 1),
        len(people) - len(times),
        report.believed,
        report.failed,
        report.unknown,
        seconds,
    )


async def _plain_loop(emulator: Emulator, people: Sequence[Person], step: Callable[[], None]) -> Report:
    believed = 0
    async with httpx.AsyncClient(trust_env=False) as http:
        for person in people:
            for _ in range(1 + _RETRIES):
                try:
                    row = {"to": person.phone, "text": person.text}
                    answer = await http.post(emulator.url, json={"apikey": emulator.api_key, "send": [row]})
                    answer.raise_for_status()
                except httpx.HTTPError:
                    continue
                believed += 1
                break
            step()
    return Report(believed, len(people) - believed)


async def _this_library(emulator: Emulator, people: Sequence[Person], step: Callable[[], None]) -> Report:
    believed, failed, unknown = 0, 0, []
    async with Client(emulator.api_key, url=emulator.url) as client:
        for person in people:
            try:
                await client.send(person.phone, person.text, id=person.number)
                believed += 1
            except OutcomeUnknown:
                unknown.append(person)
            except SmsPilotError:
                failed += 1
            step()
    return Report(believed, failed, tuple(unknown))


def show(plain: Tally, ours: Tally) -> None:
    """Print the results."""
    for name, tally in (("a plain loop with retries", plain), ("smspilot_async", ours)):
        print_verbatim(f"   {said(name):<25}  {said(_in_words(tally))}", indent=3, tone=_tone_of(tally))
    print_line()
    print_line(
        f"   The loop reports {plain.believed:,} messages sent, and does not know about the duplicates.", indent=3
    )
    reported = f"{ours.believed:,} sent and {len(ours.unknown):,} unknown"
    if not ours.unknown:
        print_line(f"   This library reports {reported}.", indent=3)
        return
    print_line(f"   This library reports {reported}, and sends none of those again:", indent=3)
    print_line(f"   {_first_of(ours.unknown)}", indent=3, tone="doubt")


def _tone_of(tally: Tally) -> Tone:
    return "bad" if tally.twice else "good"


def _in_words(tally: Tally) -> str:
    return f"{len(tally.twice):,} of {tally.people:,} reached twice, {tally.never:,} not at all"


def _first_of(unknown: Sequence[Person]) -> str:
    shown = [said(f"no. {person.number} ({person.masked})") for person in unknown[:_SHOWN]]
    more = len(unknown) - _SHOWN
    return ", ".join(shown) + (f" and {more:,} more" if more > 0 else "")
