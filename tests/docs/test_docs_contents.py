"""The documentation is complete and agrees with the code."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Final

import pytest
from page_blocks import DOCS, blocks, pages

import smspilot_async
from smspilot_async import ERROR_CODES, Client, Reason, audit, callbacks, emulator, notebook, otel, outbox
from smspilot_async.emulator.server._operations import operations

if TYPE_CHECKING:
    from pathlib import Path

REFERENCE: Final = "\n".join(path.read_text(encoding="utf-8") for path in sorted((DOCS / "reference").glob("*.md")))
DESCRIBED: Final = set(re.findall(r"^\.\. (?:auto|py:)\w+:: (\S+)$", REFERENCE, re.MULTILINE))
CODE_DIRECTIVES: Final = re.compile(
    r"^\s*(?:[`:]{3,}\s*\{|\.\. )(?:code|sourcecode|literalinclude|parsed)", re.MULTILINE
)


@pytest.mark.parametrize("module", [smspilot_async, audit, callbacks, emulator, notebook, otel, outbox])
def test_the_reference_describes_every_public_name(module: object) -> None:
    names = {name for name in getattr(module, "__all__") if name != "__version__"}  # noqa: B009 - of any module
    assert {f"{getattr(module, '__name__')}.{name}" for name in names} <= DESCRIBED  # noqa: B009 - of any module


def test_the_reference_describes_every_call_of_the_client() -> None:
    calls = {name for name, value in vars(Client).items() if callable(value) and not name.startswith("_")}
    assert {f"smspilot_async.Client.{name}" for name in calls} <= DESCRIBED


def test_the_table_of_calls_has_every_call_of_the_client() -> None:
    table = (DOCS / "reference" / "index.md").read_text(encoding="utf-8").partition("## All calls")[2]
    calls = {name for name in vars(Client) if not name.startswith("_")}
    assert calls == set(re.findall(r"`(?:await )?(?:client\.)?(\w+)[(`]", "\n".join(table_cells(table))))


def table_cells(text: str) -> list[str]:
    """The first cells of a table's rows."""
    return re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE)[1:]


def test_the_table_of_settings_has_every_argument_of_the_client() -> None:
    table = (DOCS / "production.md").read_text(encoding="utf-8").partition("## All settings")[2]
    named = set(re.findall(r"`(\w+)`", "\n".join(table_cells(table))))
    assert named == {*inspect.signature(Client).parameters} - {"allow_http"}
    assert "`allow_http=True`" in table


def test_the_runbook_has_a_row_for_every_reason() -> None:
    runbook = (DOCS / "unknown.md").read_text(encoding="utf-8")
    _, *rows = re.findall(r"^\| `([a-z_]+)` \|", runbook.partition("## When to send again")[0], re.MULTILINE)
    assert rows == list(Reason)


def test_the_codes_on_the_page_of_errors_are_those_of_the_catalogue() -> None:
    rows = re.findall(r"^\| `(\w+)`[^|]* \| ([^|]+) \|", (DOCS / "errors.md").read_text(encoding="utf-8"), re.MULTILINE)
    listed = {name: _numbers(codes) for name, codes in rows if _numbers(codes)}
    assert len(listed) > 5
    for name, codes in listed.items():
        known = {code for code, entry in ERROR_CODES.items() if entry.error.__name__ == name}
        assert codes - {429} == known, name


def test_the_page_of_testing_lists_the_whole_control_api() -> None:
    listed = re.findall(r"^\| `(GET|POST) ([^`]+)` \|", (DOCS / "testing.md").read_text(encoding="utf-8"), re.MULTILINE)
    shown = {"server_id": "ID", "phone": "PHONE", "number": "1", "account": "1"}
    served = {
        (operation.method, re.sub(r"{(\w+)}", lambda name: shown[name[1]], operation.path).removeprefix("/"))
        for operation in operations(emulator.Emulator())
    }
    assert set(listed) == served


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_no_line_of_python_is_wider_than_the_column(page: Path) -> None:
    lines = [line for block in blocks(page) if block.language == "python" for line in block.code.splitlines()]
    assert [line for line in lines if len(line) > 80] == []


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_no_page_has_code_that_is_not_run(page: Path) -> None:
    assert not CODE_DIRECTIVES.search(page.read_text(encoding="utf-8"))


def _numbers(codes: str) -> set[int]:
    numbers: set[int] = set()
    for first, last in re.findall(r"\b(\d+)(?: to (\d+))?", codes):
        numbers |= set(range(int(first), int(last or first) + 1))
    return numbers
