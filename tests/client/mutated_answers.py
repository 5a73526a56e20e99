"""Answers with mistakes at random, split at random: each is an answer or a failure, in flat memory.

mutated_answers.py [--count 1000000] [--seed 0]
"""

from __future__ import annotations

import argparse
import random
import resource
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from strange_answers import STRANGE

from smspilot_async import SmsPilotError
from smspilot_async._network.answer import Answer
from smspilot_async._requests.interpret import interpret
from smspilot_async.wire import Balance

if TYPE_CHECKING:
    from smspilot_async._network.base import Failure, Reply

_NOW: Final = datetime(2030, 1, 1, tzinfo=UTC)
_LARGEST: Final = 5_000
_SOURCES: Final = [strange.data for strange in STRANGE.values() if 0 < len(strange.data) < 1_000]
_TOKENS: Final = (b"\r\n", b"\n", b"\0", b"0\r\n\r\n", b"Content-Length: 7\r\n", b"Transfer-Encoding: chunked\r\n")
_MOST_KIBIBYTES: Final = 60_000


def mutated_answers(count: int, *, seed: int) -> Counter[str]:
    """Read so many answers; return how many there were of each kind."""
    dice = random.Random(seed)
    kinds = Counter[str]()
    before = 0
    for number in range(count):
        result = _read(_mutated(dice), dice)
        answer = interpret(Balance(), result, now=_NOW)
        kinds[type(answer).__name__ if isinstance(answer, SmsPilotError) else "answer"] += 1
        if number == count // 10:
            before = _memory()
    assert _memory() - before < _MOST_KIBIBYTES
    return kinds


def _memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _mutated(dice: random.Random) -> bytes:
    data = bytearray(dice.choice(_SOURCES))
    for _ in range(dice.randint(1, 4)):
        at, to = sorted((dice.randrange(len(data) + 1), dice.randrange(len(data) + 1)))
        match dice.randrange(5):
            case 0 if at < len(data):
                data[at] = dice.randrange(256)
            case 1:
                del data[at : min(to, at + 20)]
            case 2:
                data[at:at] = dice.choice(_TOKENS)
            case 3:
                data[at:at] = data[at:to]
            case _:
                data[at:at] = dice.randbytes(dice.randint(1, 4))
    return bytes(data)


def _read(data: bytes, dice: random.Random) -> Reply | Failure:
    answer = Answer(_LARGEST)
    while data:
        size = dice.randint(1, len(data))
        if (result := answer.feed(data[:size])) is not None:
            return result
        data = data[size:]
    return answer.end()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(dict(mutated_answers(options.count, seed=options.seed)))  # noqa: T201 - its result
