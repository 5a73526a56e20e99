"""Checks of arguments: each names the setting that is wrong, and what it takes."""

from __future__ import annotations


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuse anything but the allowed words.

    Raises:
        ValueError: naming the setting and what it takes.
    """
    if value not in allowed:
        raise ValueError(f"{name} is one of {', '.join(map(repr, allowed))}, not {value!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def of_type(kind: type, **values: object) -> None:
    """Refuse what is of another type: used later, in the middle of a send, it could not tell whether something left.

    Raises:
        TypeError: naming the setting.
    """
    for name, value in values.items():
        if value is not None and not isinstance(value, kind):
            given = type(value).__name__
            del value, values  # the right ones among them may be private
            raise TypeError(f"{name} must be {kind.__name__}, not {given}")


def positive(**values: float | None) -> None:
    """Refuse numbers that are not above zero.

    Raises:
        ValueError: naming the setting.
    """
    for name, value in values.items():
        if value is not None and (not _is_number(value) or not value > 0):
            raise ValueError(f"{name} must be a number above 0, not {value!r}")


def required(**values: float | None) -> None:
    """Refuse ``None`` where others take it for "for ever": an unanswered request must end some time.

    Raises:
        ValueError: naming the setting.
    """
    for name, value in values.items():
        if value is None:
            raise ValueError(f"{name} must be a number of seconds")


def whole(**values: int) -> None:
    """Refuse numbers that are not whole, or not above zero.

    Raises:
        ValueError: naming the setting.
    """
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value <= 0:  # type: ignore[redundant-expr] # unchecked
            raise ValueError(f"{name} must be a whole number above 0, not {value!r}")


def not_negative(**values: float) -> None:
    """Refuse numbers below zero.

    Raises:
        ValueError: naming the setting.
    """
    for name, value in values.items():
        if not _is_number(value) or not value >= 0:
            raise ValueError(f"{name} must be a number, 0 or above, not {value!r}")
