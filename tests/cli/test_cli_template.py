from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from smspilot_async._tools.template import MissingField, Template, TemplateError

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
        ("Hi {nmae}", r"no column matches \{nmae\}; the file has name, to, город"),
        ("{name.__class__}", "no column matches"),
        ("{name!r}", "no column matches"),
        ("{name:>10}", "needs two forms"),
        ("{0}", "no column matches"),
        ("{name[0]}", "no column matches"),
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
    assume(value.strip())
    assert Template.parse("<{name}>", ["name"]).render({"name": value}) == f"<{value}>"


@given(text=st.text())
def test_doubled_braces_carry_any_text(text: str) -> None:
    doubled = text.replace("{", "{{").replace("}", "}}")
    assert Template.parse(doubled, []).render({}) == text


# --- fallbacks and forms --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "values", "rendered"),
    [
        ("Привет, {name|друг}!", {"name": "Иван"}, "Привет, Иван!"),
        ("Привет, {name|друг}!", {"name": " "}, "Привет, друг!"),
        ("Привет, {name|друг}!", {}, "Привет, друг!"),
        ("Привет{name|}!", {}, "Привет!"),
        ("{ Name | my friend }", {}, " my friend "),
        ("{sex:Уважаемый|Уважаемая}", {"sex": "м"}, "Уважаемый"),
        ("{sex:Уважаемый|Уважаемая}", {"sex": " Жен. "}, "Уважаемая"),
        ("{Пол:Рад|Рада}", {"пол": "Female"}, "Рада"),
        ("{sex:|а}", {"sex": "1"}, ""),
        ("{sex:Уважаемый|Уважаемая|Здравствуйте}", {"sex": "?"}, "Здравствуйте"),
        ("{sex:Уважаемый|Уважаемая|}", {}, ""),
        ("{{{name|{{", {"name": ""}, None),
    ],
)
def test_a_placeholder_says_what_stands_for_a_row_that_says_nothing(
    written: str, values: dict[str, str], rendered: str | None
) -> None:
    if rendered is None:
        with pytest.raises(TemplateError, match=r"a lone \{"):
            Template.parse(written)
    else:
        assert Template.parse(written).render(values) == rendered


@pytest.mark.parametrize(
    ("written", "values", "why"),
    [
        ("{name}", {}, "the column 'name' is empty"),
        ("{name}", {"name": "\t "}, "the column 'name' is empty"),
        ("{sex:a|b}", {}, "the column 'sex' says neither male"),
        ("{sex:a|b}", {"sex": "secret"}, "the column 'sex' says neither male"),
    ],
)
def test_without_a_fallback_a_missing_field_is_an_error_that_quotes_no_row(
    written: str, values: dict[str, str], why: str
) -> None:
    with pytest.raises(MissingField, match=why) as caught:
        Template.parse(written).render(values)
    assert caught.value.field in {"name", "sex"}
    assert "secret" not in str(caught.value)
    assert Template.parse(written).render_with_gaps(values)[1] == (caught.value.field,)


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("{name|a|b}", "more than one fallback"),
        ("{sex:one}", "needs two forms"),
        ("{sex:1|2|3|4}", "needs two forms"),
        ("{|x}", "an empty"),
        ("{:a|b}", "an empty"),
        ("{nmae|x}", "no column matches"),
    ],
)
def test_a_placeholder_that_cannot_be_meant_so_is_refused(written: str, complaint: str) -> None:
    with pytest.raises(TemplateError, match=complaint):
        Template.parse(written, COLUMNS)


def test_a_column_whose_name_has_those_signs_is_still_a_column() -> None:
    template = Template.parse("{a|b} {Time: from}", ["a|b", "time: from", "a"])
    assert template.render({"a|b": "1", "time: from": "2"}) == "1 2"
    assert template.fields == {"a|b", "time: from"}


@given(
    pieces=st.lists(st.sampled_from(["{", "}", "{{", "}}", "|", ":", "name", "sex", " ", "Привет"]), max_size=12),
    value=st.text(),
)
def test_a_forged_template_is_refused_or_renders_and_its_values_mean_nothing(pieces: list[str], value: str) -> None:
    try:
        template = Template.parse("".join(pieces), ["name", "sex"])
    except TemplateError:
        return
    values = {"name": value, "sex": "м"}
    try:
        text = template.render(values)
    except MissingField:
        assert not value.strip()
        return
    assert text.count(value) >= sum(
        1 for _, place in template.pieces if place and place.field == "name" and not place.forms
    )
