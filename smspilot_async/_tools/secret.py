"""Values that no repr, and so no traceback that shows frames, gives away."""

from __future__ import annotations

from typing import Generic, TypeVar

Value_co = TypeVar("Value_co", covariant=True)


class Secret(Generic[Value_co]):
    """A value that shows itself to nobody who only looks: its ``repr``, and so a frame in a traceback, hides it."""

    __slots__ = ("_value",)

    def __init__(self, value: Value_co) -> None:
        self._value = value

    def __repr__(self) -> str:
        return "Secret(…)"

    def reveal(self) -> Value_co:
        """Return the value."""
        return self._value

    @property
    def is_callable(self) -> bool:
        """The value is a function that returns the secret of the moment."""
        return callable(self._value)

    def call(self) -> Secret[object]:
        """Ask that function."""
        assert callable(self._value)  # noqa: S101 - whoever calls this asked before
        return Secret(self._value())
