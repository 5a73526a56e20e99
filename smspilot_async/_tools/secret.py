"""Values that no ``repr`` shows, and so no traceback with local variables."""

from __future__ import annotations

from typing import Generic, TypeVar

Value_co = TypeVar("Value_co", covariant=True)


class Secret(Generic[Value_co]):
    """Hides a value from ``repr``, and so from tracebacks with local variables."""

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
        """The value is a function that returns the current secret."""
        return callable(self._value)

    def call(self) -> Secret[object]:
        """Call that function."""
        assert callable(self._value)  # noqa: S101 - checked by the caller
        return Secret(self._value())
