"""JSON is read by msgspec where it is installed, and by the standard library elsewhere: nothing differs but speed."""

from __future__ import annotations

import json
import os
import sys
from decimal import Decimal
from types import ModuleType
from typing import TYPE_CHECKING, Any

import answer_samples as samples
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smspilot_async.wire import JSON_LIBRARY, CheckPacket, Command, Inbound, UnreadableAnswer, _json, _read, decode

if TYPE_CHECKING:
    from collections.abc import Callable

STRICT = "this library refuses it: "


class Decoder:
    """Reads like msgspec: with a hook for floats, and with refusals of its own."""

    def __init__(self, *, float_hook: Callable[[str], Any]) -> None:
        self._float_hook = float_hook

    def decode(self, text: str) -> Any:
        if STRICT in text:
            raise ValueError(text)
        return {"read by": "msgspec", **json.loads(text, parse_float=self._float_hook)}


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> None:
    module, inner = ModuleType("msgspec"), ModuleType("msgspec.json")
    vars(inner).update(Decoder=Decoder, encode=lambda document: json.dumps(document).encode())
    vars(module).update(json=inner, __version__="0.21.0", DecodeError=ValueError)
    monkeypatch.setitem(sys.modules, "msgspec", module)
    monkeypatch.setitem(sys.modules, "msgspec.json", inner)


def test_the_tests_run_with_msgspec_and_without() -> None:
    wanted = os.environ.get("SMSPILOT_JSON", "")
    assert JSON_LIBRARY.startswith({"": "msgspec 0.", "msgspec": "msgspec 0.", "stdlib": "json"}[wanted])


@pytest.mark.usefixtures("stub")
@pytest.mark.parametrize("wanted", ["", "msgspec"])
def test_msgspec_is_taken_where_it_is_installed(wanted: str) -> None:
    loads, dumps, name = _json._choose(wanted)
    assert name == "msgspec 0.21.0"
    assert loads('{"balance":405.60}') == {"read by": "msgspec", "balance": Decimal("405.60")}
    assert dumps({"a": 1}) == b'{"a": 1}'


@pytest.mark.usefixtures("stub")
def test_what_msgspec_refuses_is_judged_by_the_standard_library() -> None:
    loads, _, _ = _json._choose("msgspec")
    assert loads(f'{{"a":"{STRICT}"}}') == {"a": STRICT}
    with pytest.raises(ValueError, match="NaN"):
        loads(f'{{"a":NaN,"b":"{STRICT}"}}')


@pytest.mark.usefixtures("stub")
def test_the_standard_library_can_be_asked_for() -> None:
    loads, dumps, name = _json._choose("stdlib")
    assert (name, loads('{"a":1.50}'), dumps({"a": "я"})) == ("json", {"a": Decimal("1.50")}, '{"a":"я"}'.encode())


def test_without_msgspec_the_standard_library_serves_unless_msgspec_was_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "msgspec", None)
    assert _json._choose("")[2] == "json"
    with pytest.raises(ImportError):
        _json._choose("msgspec")


def test_any_other_name_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="'stdlib' or 'msgspec'"):
        _json._choose("orjson")


def read(loads: Callable[[str], Any], text: str) -> Any:
    try:
        return loads(text)
    except (ValueError, ArithmeticError, RecursionError):
        return "refused"


SAMPLES = [body for name, body in samples.EVERY_ANSWER.items() if not name.endswith("XML")]
pieces = st.sampled_from(
    ["1e400", "-0", "0.10", "9" * 30, "NaN", r'"\ud83d"', '"\\u0000"', "{}", "[", '"', "01", "\t", "// x"]
)


@given(
    sample=st.sampled_from(SAMPLES),
    start=st.integers(0, 500),
    length=st.integers(0, 10),
    put=pieces | st.text(max_size=5),
)
@example(sample='{"a":1,"a":2}', start=0, length=0, put="")
@settings(max_examples=300, deadline=None)
def test_both_libraries_read_the_same(sample: str, start: int, length: int, put: str) -> None:
    text = sample[:start] + put + sample[start + length :]
    by_stdlib, by_msgspec = read(_json._choose("stdlib")[0], text), read(_json._choose("msgspec")[0], text)
    assert by_msgspec == by_stdlib


ODD = {
    "a mark at the beginning": "\ufeff".encode() + samples.CHECK_JSON.encode(),
    "UTF-16": samples.CHECK_JSON.encode("utf-16"),
    "UTF-16, little end first": samples.CHECK_JSON.encode("utf-16-le"),
    "NaN": b'{"check":[{"id":NaN}]}',
    "infinity": b'{"check":[{"id":-Infinity}]}',
    "beyond a float": b'{"check":[{"id":"1","server_id":1e999}]}',
    "half an emoji": rb'{"check":[{"id":"1","text":"\ud83d"}]}',
    "half an emoji in a name": rb'{"check":[{"\ud83d":1}]}',
    "half an emoji in UTF-8": b'{"check":[{"id":"1","text":"\xed\xa0\xbd"}]}',
    "deep": b'{"check":' + b"[" * 100 + b"]" * 100 + b"}",
    "deeper than any stack": b'{"check":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep and cut": b'{"check":' * 100_000,
    "a name twice": b'{"check":1,"check":[{"id":"1"}]}',
    "a long number": b'{"check":[{"id":' + b"9" * 5000 + b"}]}",
}


@pytest.mark.parametrize("command", [CheckPacket("1"), Inbound()], ids=["check", "inbound"])
@pytest.mark.parametrize("name", ODD)
def test_odd_answers_mean_the_same_by_both_libraries(
    name: str, command: Command[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    body = ODD[name] if isinstance(command, CheckPacket) else ODD[name].replace(b"check", b"inbound")
    meanings = []
    for library in ("stdlib", "msgspec"):
        monkeypatch.setattr(_read, "loads", _json._choose(library)[0])
        try:
            meanings.append(repr(decode(command, body)))
        except UnreadableAnswer as refusal:
            meanings.append(str(refusal))
    by_stdlib, by_msgspec = meanings
    assert by_msgspec == by_stdlib


def test_both_libraries_write_the_same() -> None:
    document = {"text": 'Ура "SMSPILOT"! 😀 \u2028\x7f\t\\ </x>', "test": 0, "check": True, "send": [{}]}
    assert _json._choose("msgspec")[1](document) == _json._choose("stdlib")[1](document)


@pytest.mark.usefixtures("stub")
def test_a_msgspec_whose_errors_are_no_value_errors_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as 0.20: each unusual answer would be unknown, and its error come out of ``balance()``."""
    monkeypatch.setattr("msgspec.DecodeError", Exception)
    monkeypatch.setattr("msgspec.__version__", "0.20.0")

    assert _json._choose("")[2] == "json"
    with pytest.raises(ImportError, match=r"^msgspec 0\.21 or newer is needed, not 0\.20\.0$"):
        _json._choose("msgspec")
