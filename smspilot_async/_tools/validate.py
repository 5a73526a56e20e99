"""Checks of arguments: each error names the setting that is wrong, and what it accepts."""

from __future__ import annotations


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Check that a value is one of the allowed words.

    Raises:
        ValueError: It is not; the error names the setting.
    """
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, not {value!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def of_type(kind: type, **values: object) -> None:
    """Check types early: an error in the middle of a send would leave it unclear whether the message was sent.

    Raises:
        TypeError: A value has another type; the error names the setting.
    """
    for name, value in values.items():
        if value is not None and not isinstance(value, kind):
            given = type(value).__name__
            del value, values  # the valid ones may be private
            raise TypeError(f"{name} must be {kind.__name__}, not {given}")


def positive(**values: float | None) -> None:
    """Check that numbers are above zero.

    Raises:
        ValueError: One is not; the error names the setting.
    """
    for name, value in values.items():
        if value is not None and (not _is_number(value) or not value > 0):
            raise ValueError(f"{name} must be a number above 0, not {value!r}")


def required(**values: float | None) -> None:
    """Refuse ``None``, which usually means "without limit": an unanswered request must end some time.

    Raises:
        ValueError: One is ``None``; the error names the setting.
    """
    for name, value in values.items():
        if value is None:
            raise ValueError(f"{name} must be a number of seconds")


def whole(**values: int) -> None:
    """Check that numbers are whole and above zero.

    Raises:
        ValueError: One is not; the error names the setting.
    """
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value <= 0:  # type: ignore[redundant-expr] # unchecked
            raise ValueError(f"{name} must be a whole number above 0, not {value!r}")


def not_negative(**values: float) -> None:
    """Check that numbers are not below zero.

    Raises:
        ValueError: One is; the error names the setting.
    """
    for name, value in values.items():
        if not _is_number(value) or not value >= 0:
            raise ValueError(f"{name} must be a number, 0 or above, not {value!r}")
