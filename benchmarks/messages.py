"""The messages that all sides send, and the bodies of the hand-written ones."""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING, Final, TypeVar

from smspilot_async import Message
from smspilot_async.wire import Credentials

if TYPE_CHECKING:
    from collections.abc import Iterator

Item = TypeVar("Item")

KEY: Final = "K3Y" * 21 + "X"
CREDENTIALS: Final = Credentials((("apikey", KEY),))
HEADERS: Final = {"Content-Type": "application/json; charset=utf-8"}
_DISTINCT: Final = 10_000  # enough that no packet holds one twice


def pair(number: int) -> tuple[str, str]:
    return f"7908{number % 10_000_000:07d}", f"Ваш код {number % 10_000:04d}, никому его не сообщайте"


def pairs(count: int) -> Iterator[tuple[str, str]]:
    """Phones and texts, made as they are asked for."""
    return map(pair, range(count))


def ready(count: int) -> Iterator[Message]:
    """Messages that were made before anything is measured."""
    return itertools.islice(itertools.cycle(_made()), count)


def ready_pairs(count: int) -> Iterator[tuple[str, str]]:
    """Phones and texts that were made before anything is measured: they are the source's, not the client's."""
    return itertools.islice(itertools.cycle(_made_pairs()), count)


@functools.cache
def _made() -> list[Message]:
    return list(itertools.starmap(Message, _made_pairs()))


@functools.cache
def _made_pairs() -> list[tuple[str, str]]:
    return [pair(number) for number in range(_DISTINCT)]


def packets(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    while packet := list(itertools.islice(items, size)):
        yield packet
