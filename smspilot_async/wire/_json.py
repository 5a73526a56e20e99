"""JSON, by the standard library or, where it is installed, by msgspec (the extra ``speed``): nothing differs but speed.

A msgspec below 0.21, whose errors are not a ``ValueError``, is treated as not installed.

Floats become ``Decimal``, so that money keeps its digits. Documents that msgspec refuses are read by the standard
library, which alone decides what is invalid JSON, so there is one set of errors. ``SMSPILOT_JSON`` (``stdlib`` or
``msgspec``) selects the library, for tests and benchmarks.
"""

from __future__ import annotations

import json
import os
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

_WANTED: Final = os.environ.get("SMSPILOT_JSON", "")


def _loads(text: str) -> Any:
    return json.loads(text, parse_float=Decimal, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and Infinity are not valid JSON


def _dumps(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _with_msgspec() -> tuple[Callable[[str], Any], Callable[[Any], bytes], str]:
    import msgspec  # type: ignore[import-not-found,unused-ignore] # pyright: ignore[reportMissingImports] # noqa: PLC0415

    if not issubclass(msgspec.DecodeError, ValueError):  # it would come out of every unusual answer
        raise ImportError(f"msgspec 0.21 or newer is needed, not {msgspec.__version__}", name="msgspec")  # noqa: TRY004

    decode: Final = msgspec.json.Decoder(float_hook=Decimal).decode

    def loads(text: str) -> Any:
        try:
            return decode(text)
        except (ValueError, ArithmeticError, RecursionError):
            pass
        return _loads(text)

    return loads, msgspec.json.encode, f"msgspec {msgspec.__version__}"


def _choose(wanted: str) -> tuple[Callable[[str], Any], Callable[[Any], bytes], str]:
    if wanted not in {"", "stdlib", "msgspec"}:
        raise ValueError("SMSPILOT_JSON must be 'stdlib' or 'msgspec'")
    if wanted != "stdlib":
        try:
            return _with_msgspec()
        except ImportError:
            if wanted:
                raise
    return _loads, _dumps, "json"


loads, dumps, JSON_LIBRARY = _choose(_WANTED)
"""``loads`` may raise ``ValueError``, ``ArithmeticError`` or ``RecursionError``; ``dumps`` returns UTF-8."""
