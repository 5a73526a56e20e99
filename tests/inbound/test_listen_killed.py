"""The promise as a whole: lost answers, another reader and kills together, with the emulator's record as the judge."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
from listening_room import GATEWAY_START, DurableCursor

from smspilot_async import Client, Retry, SmsPilotError
from smspilot_async.emulator import Clock, Emulator, Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from listening_room import Room

READER = Path(__file__).with_name("recording_reader.py")
EVERY_TENTH_LOST = {Fault.ACCEPT_THEN_RESET: 0.04, Fault.ACCEPT_THEN_CLOSE: 0.03, Fault.ACCEPT_THEN_HALF_ANSWER: 0.03}
MESSAGES = 10_000
KILLS = 5
PATIENCE = 120.0  # seconds; twenty on a machine with nothing else to do


@attrs.define
class Story:
    """People write, another reader reads, and a process that listens is killed now and then."""

    emulator: Emulator
    thief: Client
    chance: random.Random
    cursor: Path
    record: Path
    written: int = 0
    missing: set[int] = attrs.Factory(set)

    async def people_write(self, waiting: int) -> None:
        """Let people write until that many messages are not reported yet; another reader reads at times."""
        told = MESSAGES - len(self.missing)
        while self.written < min(told + waiting, MESSAGES):
            self.written += 1
            self.emulator.inbound("79087964781", f"message {self.written}")
        if self.chance.random() < 0.01:
            with suppress(SmsPilotError):
                await self.thief.inbound("new")

    def let_time_fly(self) -> None:
        """From the first delivery on, so that much of what is remembered is forgotten again, too, on the way.

        The ten minutes by which sweeps overlap are six seconds then: a machine that stands still for longer between a
        read and the date on its answer would lose messages, as a gateway would that did so for ten minutes.
        """
        clock = self.emulator.clock
        if not clock.speed:
            clock.set(clock.now())
            clock.speed = 100

    def what_is_missing(self) -> list[tuple[int, str, bool]]:
        """The first few messages not reported yet: when they came, and whether they were recorded all the same."""
        recorded = set(map(int, self.record.read_text().split()))
        sms = [sms for sms in self.emulator.inbound_messages if sms.id in self.missing]
        return [(one.id, f"{one.created:%H:%M:%S}", one.id in recorded) for one in sms[:5]]

    async def life(self, deliveries: int | None) -> None:
        """Let a process listen until it has reported that many messages, or the last one, and kill it."""
        await self.people_write(self.chance.randrange(1, 40))  # the one before may have told of all there were
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(READER),
            self.emulator.api_key,
            self.emulator.url,
            str(self.cursor),
            str(self.record),
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        try:
            while self.missing if deliveries is None else deliveries > 0:
                self.missing.discard(int(await process.stdout.readline()))
                self.let_time_fly()
                await self.people_write(self.chance.randrange(1, 40))
                deliveries = None if deliveries is None else deliveries - 1
        finally:
            process.kill()
            rest, _ = await process.communicate()
        self.missing.difference_update(map(int, rest.split()))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: a kill leaves of it what it leaves of a disk, and it is not waited for."""
    memory = Path("/dev/shm")  # noqa: S108 - only tests' files
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as name:
        yield Path(name)


@pytest.mark.usefixtures("uncounted")
async def test_ten_thousand_messages_through_lost_answers_a_thief_and_five_kills(folder: Path) -> None:
    chance = random.Random(3)
    clock = Clock(GATEWAY_START)
    async with Emulator.serve(port=0, clock=clock) as emulator, Client(emulator.api_key, url=emulator.url) as thief:
        emulator.random_faults(EVERY_TENTH_LOST, command="inbound", seed=3)
        story = Story(emulator, thief, chance, folder / "cursor", folder / "record")
        story.missing = set(range(1, MESSAGES + 1))
        try:
            async with asyncio.timeout(PATIENCE):
                await story.people_write(300)
                for _ in range(KILLS):
                    await story.life(chance.randrange(500, 1800))
                await story.life(None)
        except TimeoutError:
            pytest.fail(f"still missing: {story.what_is_missing()}")
        truth = {sms.id for sms in emulator.inbound_messages}
    delivered = Counter(map(int, story.record.read_text().split()))
    assert len(truth) == MESSAGES
    assert set(delivered) == truth
    assert max(delivered.values()) <= 2
    assert sum(delivered.values()) <= MESSAGES + KILLS


@pytest.mark.parametrize("seed", range(20))
async def test_no_run_of_misfortunes_loses_a_message_or_repeats_more_than_one_per_end(room: Room, seed: int) -> None:
    chance = random.Random(seed)
    faults = {**EVERY_TENTH_LOST, Fault.BUSY: 0.05, Fault.SERVER_ERROR: 0.05}
    room.emulator.random_faults(faults, command="inbound", seed=seed)
    thief = Client(room.emulator.api_key, transport=room.emulator.transport, retry=Retry(attempts=1))
    cursor = DurableCursor()
    got: Counter[str] = Counter()
    written = ends = 0
    inbox = room.client.listen(cursor=cursor)
    await room.rest(inbox)
    for _ in range(300):
        for _ in range(chance.randrange(4)):
            room.sms(str(written))
            written += 1
        match chance.randrange(10):
            case 0:
                with suppress(SmsPilotError):
                    await thief.inbound("new")
            case 1:
                got.update(await room.next(inbox))
                inbox = room.client.listen(cursor=cursor)  # the end of the one before, in the middle of its work
                ends += 1
            case 2:
                got.update(await room.next(inbox, turns=chance.randrange(30)))
            case 3:
                got.update(await room.next(inbox))
            case _:
                got.update(await room.rest(inbox))
        await room.advance(chance.choice([0, 1, 30, 30, 30, 700]))
    room.emulator.no_more_faults()
    for _ in range(25):
        got.update(await room.after(300, inbox))
    assert set(got) == {str(number) for number in range(written)}
    assert sum(got.values()) <= written + ends
