"""Renamed keyword arguments: the old name still works, with a warning, but is in no signature."""

from __future__ import annotations

import functools
import inspect
import warnings
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable

Given = ParamSpec("Given")
Answer = TypeVar("Answer")


def renamed(**new_names: str) -> Callable[[Callable[Given, Answer]], Callable[Given, Answer]]:
    """Accept keyword arguments by their former names; ``renamed(old="new")`` decorates the function."""

    def decorate(function: Callable[Given, Answer]) -> Callable[Given, Answer]:
        call: Any = function

        def by_new_names(given: dict[str, Any]) -> dict[str, Any]:
            for old in new_names.keys() & given.keys():
                new = new_names[old]
                if new in given:
                    raise TypeError(f"{function.__name__}() got {new!r} and {old!r}, its former name")
                text = f"{function.__name__}(): {old!r} is now called {new!r}"
                warnings.warn(text, DeprecationWarning, stacklevel=3)
                given[new] = given.pop(old)
            return given

        async def coroutine_function(*args: Any, **given: Any) -> Any:
            return await call(*args, **by_new_names(given))

        def plain_function(*args: Any, **given: Any) -> Any:
            return call(*args, **by_new_names(given))

        decorated = coroutine_function if inspect.iscoroutinefunction(function) else plain_function
        return cast("Callable[Given, Answer]", functools.wraps(function)(decorated))

    return decorate
