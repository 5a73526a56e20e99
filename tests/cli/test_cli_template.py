from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smspilot_async.cli.bulk._template import Template, TemplateError

COLUMNS = ("to", "name", "город")
VALUES = {"to": "79087964781", "name": "Иван", "город": "Томск"}


@pytest.mark.parametrize(
    ("written", "rendered"),
    [
        ("Привет, {name}!", "Привет, Иван!"),
        ("{ Name } из {ГОРОД}", "Иван из Томск"),
        ("{name}{name}", "ИванИван"),
        ("no gaps", "no gaps"),
        ("", ""),
        ("{{name}} and {{{name}}}", "{name} and {Иван}"),
        ("}}{{", "}{"),
        (" space {name}\n", " space Иван\n"),
    ],
)
def test_gaps_are_filled_from_the_columns(written: str, rendered: str) -> None:
    assert Template.parse(written, COLUMNS).render(VALUES) == rendered


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("Hi {nmae}", r"no column fits \{nmae\}; the file has name, to, город"),
        ("{name.__class__}", "no column fits"),
        ("{name!r}", "no column fits"),
        ("{name:>10}", "no column fits"),
        ("{0}", "no column fits"),
        ("{name[0]}", "no column fits"),
        ("Hi {name", r"a lone \{ at character 4"),
        ("Hi name}", r"a lone \} at character 8"),
        ("{}", r"an empty \{\} at character 1"),
        ("{ }", "an empty"),
    ],
)
def test_anything_but_a_column_is_refused(written: str, complaint: str) -> None:
    with pytest.raises(TemplateError, match=complaint):
        Template.parse(written, COLUMNS)


@given(value=st.text())
def test_values_are_taken_as_they_are(value: str) -> None:
    assert Template.parse("<{name}>", ["name"]).render({"name": value}) == f"<{value}>"


@given(text=st.text())
def test_doubled_braces_carry_any_text(text: str) -> None:
    doubled = text.replace("{", "{{").replace("}", "}}")
    assert Template.parse(doubled, []).render({}) == text
