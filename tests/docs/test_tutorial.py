"""The tutorial is typed from its own text, and prints what it shows; the typist overlooks nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from page_blocks import DOCS
from page_typist import Installed, Typist

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("uncounted")


@pytest.fixture
def type_text(tmp_path: Path) -> Callable[[str], None]:
    def type_text(text: str) -> None:
        page = tmp_path / "page.md"
        page.write_text(text, encoding="utf-8")
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        Typist(page, home, installed=Installed()).type_all()

    return type_text


def test_the_tutorial_can_be_typed_from_its_own_text(tmp_path: Path) -> None:
    tutorial = Typist(DOCS / "tutorial.md", tmp_path, installed=Installed())
    tutorial.type_all()
    typed = "\n".join(tutorial.typed)
    assert [file for file in tutorial.files if file not in typed and file.rpartition(".")[0] not in typed] == []


def test_the_typist_compares_what_is_printed(type_text: Callable[[str], None]) -> None:
    with pytest.raises(AssertionError, match="the page says"):
        type_text("```console\n$ echo one\ntwo\n```\n")


def test_a_terminal_keeps_its_folder_and_variables_and_another_one_has_neither(
    type_text: Callable[[str], None],
) -> None:
    look = "$ echo {}:$TEA:${{PWD##*/}}\n{}\n"
    type_text(
        "```console\n$ mkdir shop && cd shop\n$ export TEA=green\n```\n\n"
        "```console\n" + look.format(1, "1:green:shop") + "```\n\n"
        '```console title="The second terminal"\n' + look.format(2, "2::home") + "$ sleep 60\n…\n```\n"
    )


def test_a_command_in_another_terminal_runs_until_something_is_typed_there(type_text: Callable[[str], None]) -> None:
    loop = 'python -c \'import os, time; open("pid", "w").write(str(os.getpid())); print(1); time.sleep(60)\''
    other = '```console title="The second terminal"\n$ {}\n{}\n```\n\n'
    type_text(
        "```console\n$ python3 -m venv .venv\n```\n\n"
        + other.format("true\n$ . .venv/bin/activate\n$ " + loop, "1")
        + "```console\n$ kill -0 $(cat pid)\n```\n\n"
        + other.format("sleep 60", "…")
        + "```console\n$ kill -0 $(cat pid) 2> /dev/null || echo gone\ngone\n```\n"
    )


def test_a_page_prepares_nothing_behind_its_reader(type_text: Callable[[str], None]) -> None:
    with pytest.raises(AssertionError, match="no reader sees"):
        type_text("<!-- before\nprint(1)\n-->\n")


def test_a_command_that_fails_fails_the_page_whatever_it_prints(type_text: Callable[[str], None]) -> None:
    with pytest.raises(AssertionError, match="failed"):
        type_text("```console\n$ ls no-such-file\n…\n```\n")


def test_a_column_may_be_wider_or_narrower_than_on_the_page_where_a_cell_stands_for_anything(
    type_text: Callable[[str], None],
) -> None:
    type_text("```console\n$ printf 'id     state\\n12345  sent\\n'\nid       state\n…  sent\n```\n")
    with pytest.raises(AssertionError, match="the page says"):
        type_text("```console\n$ printf 'id    state\\n'\nid  state\n```\n")
