"""The reader of the pages is strict: what differs from a page, or is not tried out, is an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from page_blocks import blocks
from page_session import PageClock, Session

from smspilot_async._tools import clock as _clock
from smspilot_async.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Reads a page's text and does what it says."""
    page = tmp_path / "page.md"
    with Emulator.serve() as emulator:
        clock = PageClock(emulator)
        with _clock.use(clock):
            session = Session(page, tmp_path, emulator, clock, setenv=monkeypatch.setenv)

            def read(text: str) -> None:
                page.write_text(text, encoding="utf-8")
                for block in blocks(page):
                    session.run(block)

            yield read
            session.close()


def test_what_is_printed_is_compared(read: Callable[[str], None]) -> None:
    read("```python\nprint('one')\n```\n\n```text\none\n```\n")
    with pytest.raises(AssertionError, match="the page says"):
        read("```python\nprint('one')\n```\n\n```text\ntwo\n```\n")


def test_an_ellipsis_stands_for_anything_in_its_line_and_alone_for_any_lines(read: Callable[[str], None]) -> None:
    read("```python\nprint('1 of 2\\nx\\ny\\nend')\n```\n\n```text\n… of 2\n…\nend\n```\n")
    with pytest.raises(AssertionError, match="the page says"):
        read("```python\nprint('1 of 2\\nend')\n```\n\n```text\n1… 3\nend\n```\n")


def test_an_output_that_is_missing_is_an_error(read: Callable[[str], None]) -> None:
    with pytest.raises(AssertionError, match="the page says"):
        read("```console\n$ true\nsomething\n```\n")


def test_an_output_that_is_not_shown_is_an_error_of_a_command(read: Callable[[str], None]) -> None:
    with pytest.raises(AssertionError, match="the page says"):
        read("```console\n$ echo something\n```\n")


def test_an_output_belongs_to_the_block_before_it(read: Callable[[str], None]) -> None:
    with pytest.raises(AssertionError, match="belongs to no block"):
        read("```python\nprint(1)\n```\n\nIn between.\n\n```text\n1\n```\n")


def test_a_failing_block_fails(read: Callable[[str], None]) -> None:
    with pytest.raises(ZeroDivisionError):
        read("```python\n1 / 0\n```\n")


def test_a_language_that_cannot_be_run_is_an_error(read: Callable[[str], None]) -> None:
    with pytest.raises(AssertionError, match="cannot run"):
        read("```\nwhatever\n```\n")


def test_what_is_to_be_installed_exists(read: Callable[[str], None]) -> None:
    read("```console\n$ pip install 'smspilot-async[cli,emulator]'\n```\n")
    with pytest.raises(AssertionError, match="no extra"):
        read("```console\n$ pip install 'smspilot-async[telepathy]'\n```\n")
    with pytest.raises(AssertionError, match="who is"):
        read("```console\n$ pip install smspilot\n```\n")


def test_hidden_blocks_prepare_what_follows(read: Callable[[str], None]) -> None:
    read("<!-- before\nnumber = 5\n-->\n\n```python\nprint(number)\n```\n\n```text\n5\n```\n")


def test_a_block_in_a_list_loses_its_indentation(read: Callable[[str], None]) -> None:
    read("* so:\n\n    ```python\n    if True:\n        print(1)\n    ```\n\n    ```text\n    1\n    ```\n")


def test_a_file_may_stand_in_a_folder(read: Callable[[str], None]) -> None:
    read('```python title="shop/tea.py"\nKIND = "green"\n```\n\n```console\n$ cat shop/tea.py\nKIND = "green"\n```\n')


def test_options_of_an_installation_hide_nothing_of_it(read: Callable[[str], None]) -> None:
    with pytest.raises(AssertionError, match="no extra"):
        read("```console\n$ pip install --no-cache-dir 'smspilot-async[telepathy]'\n```\n")


def test_time_stands_still_while_a_thread_works(read: Callable[[str], None]) -> None:
    read(
        "```python\n"
        "import asyncio\n"
        "import subprocess\n"
        "from smspilot_async._tools.clock import current\n\n"
        "async def poll():\n"
        "    while True:\n"
        "        await current().sleep(60)\n\n"
        "polling = asyncio.create_task(poll())\n"
        "before = current().monotonic()\n"
        "await asyncio.to_thread(subprocess.run, ['true'])\n"
        "print(current().monotonic() - before)\n"
        "polling.cancel()\n"
        "```\n\n```text\n0.0\n```\n"
    )
