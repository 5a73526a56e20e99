"""What fits into an SMS, and how phones and senders are written."""

from __future__ import annotations

import re
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smspilot_async import InvalidMessage, Message, PhoneKind, TextSize, describe_phone, measure, normalize_phone
from smspilot_async.text import check_sender, check_text, dialled

# GSM 03.38, basic table, code points 0x00 to 0x7F; 0x1B escapes to the extension table.
GSM7_TABLE = """
@ £ $ ¥ è é ù ì ò Ç LF Ø ø CR Å å
Δ _ Φ Γ Λ Ω Π Ψ Σ Θ Ξ ESC Æ æ ß É
SP ! " # ¤ % & ' ( ) * + , - . /
0 1 2 3 4 5 6 7 8 9 : ; < = > ?
¡ A B C D E F G H I J K L M N O
P Q R S T U V W X Y Z Ä Ö Ñ Ü §
¿ a b c d e f g h i j k l m n o
p q r s t u v w x y z ä ö ñ ü à
""".split()  # noqa: SIM905 - laid out as the standard shows it
NAMED = {"LF": "\n", "CR": "\r", "SP": " ", "ESC": "\x1b"}
GSM7 = [NAMED.get(name, name) for name in GSM7_TABLE]
EXTENSION = ["\f", "^", "{", "}", "\\", "[", "~", "]", "|", "€"]


def test_the_table_under_test_is_whole() -> None:
    assert len(GSM7) == len(set(GSM7)) == 128


@pytest.mark.parametrize("character", [char for char in GSM7 if char != "\x1b"], ids=ascii)
def test_a_character_of_the_basic_table_takes_one_septet(character: str) -> None:
    assert measure(character) == TextSize("GSM-7", 1, 1)
    assert measure(character * 160) == TextSize("GSM-7", 160, 1)
    assert measure(character * 161) == TextSize("GSM-7", 161, 2)


@pytest.mark.parametrize("character", EXTENSION, ids=ascii)
def test_a_character_of_the_extension_table_takes_two_septets(character: str) -> None:
    assert measure(character) == TextSize("GSM-7", 2, 1)
    assert measure(character * 80) == TextSize("GSM-7", 160, 1)
    assert measure(character * 80 + "a") == TextSize("GSM-7", 161, 2)


@given(st.characters(exclude_categories=["Cs"], exclude_characters=[*GSM7, *EXTENSION]))
def test_any_other_character_makes_the_whole_text_ucs2(character: str) -> None:
    units = 2 if ord(character) > 0xFFFF else 1
    assert measure(character) == TextSize("UCS-2", units, 1)
    assert measure("a" * 70 + character) == TextSize("UCS-2", 70 + units, 2)


def test_the_escape_itself_is_no_character() -> None:
    assert measure("\x1b").alphabet == "UCS-2"


def test_the_french_c_with_cedilla_is_latin_in_capitals_only() -> None:
    assert measure("Ç").alphabet == "GSM-7"
    assert measure("ç").alphabet == "UCS-2"


@pytest.mark.parametrize(
    ("units", "parts"),
    [(0, 1), (1, 1), (159, 1), (160, 1), (161, 2), (306, 2), (307, 3), (1377, 9), (1378, 10), (1530, 10), (1531, 11)],
)
def test_latin_is_cut_at_160_and_then_at_every_153(units: int, parts: int) -> None:
    assert measure("a" * units) == TextSize("GSM-7", units, parts)


@pytest.mark.parametrize(
    ("units", "parts"),
    [(1, 1), (69, 1), (70, 1), (71, 2), (134, 2), (135, 3), (603, 9), (604, 10), (670, 10), (671, 11)],
)
def test_cyrillic_is_cut_at_70_and_then_at_every_67(units: int, parts: int) -> None:
    assert measure("я" * units) == TextSize("UCS-2", units, parts)


def test_an_emoji_counts_two() -> None:
    assert measure("😀") == TextSize("UCS-2", 2, 1)
    assert measure("😀" * 35) == TextSize("UCS-2", 70, 1)
    assert measure("😀" * 35 + "a") == TextSize("UCS-2", 71, 2)
    assert measure("👨‍👩‍👧").units == 8  # three people and the two joiners between them


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("a" * 152 + "€" + "a" * 152, TextSize("GSM-7", 306, 3)),  # 306 are twice 153, but the pair stands across
        ("a" * 151 + "€" + "a" * 153, TextSize("GSM-7", 306, 2)),
        ("a" * 153 + "€" + "a" * 151, TextSize("GSM-7", 306, 2)),
        ("€" * 765, TextSize("GSM-7", 1530, 11)),
        ("€" * 760, TextSize("GSM-7", 1520, 10)),
        ("я" * 66 + "😀" + "я" * 66, TextSize("UCS-2", 134, 3)),
        ("я" * 65 + "😀" + "я" * 67, TextSize("UCS-2", 134, 2)),
        ("😀" * 335, TextSize("UCS-2", 670, 11)),
        ("😀" * 330, TextSize("UCS-2", 660, 10)),
    ],
    ids=lambda value: repr(value) if isinstance(value, TextSize) else "",
)
def test_a_part_s_border_never_splits_a_pair(text: str, size: TextSize) -> None:
    assert measure(text) == size


# Few different characters, and many of each: pairs at and around every border.
_few = st.sampled_from(["a", "€", "[", "Ç"])
_runs = st.lists(st.tuples(_few, st.integers(1, 160)), max_size=12).map(lambda runs: "".join(c * n for c, n in runs))
_texts = st.one_of(st.text(), _runs, _runs.map(lambda text: text.replace("€", "😀").replace("[", "я") + "ч"))


def split_naively(text: str) -> list[str]:
    """The parts, filled character by character: what does not fit whole begins the next one."""
    is_latin = all(char in GSM7 or char in EXTENSION for char in text) and "\x1b" not in text
    whole, part = (160, 153) if is_latin else (70, 67)
    widths = [2 if (char in EXTENSION if is_latin else ord(char) > 0xFFFF) else 1 for char in text]
    if sum(widths) <= whole:
        return [text]
    parts, free = [""], part
    for char, width in zip(text, widths, strict=True):
        if width > free:
            parts.append("")
            free = part
        parts[-1] += char
        free -= width
    return parts


@given(_texts)
def test_parts_are_counted_as_a_naive_splitter_does(text: str) -> None:
    assert measure(text).parts == len(split_naively(text))


@given(_texts)
def test_every_text_can_be_measured(text: str) -> None:
    size = measure(text)
    whole, part = (160, 153) if size.alphabet == "GSM-7" else (70, 67)
    assert size.units >= len(text)
    assert (size.parts == 1) == (size.units <= whole)
    if size.parts > 1:
        assert (size.parts - 1) * (part - 1) < size.units <= size.parts * part


def test_half_a_surrogate_pair_is_a_character_of_its_own() -> None:
    assert measure("\ud800" * 134) == TextSize("UCS-2", 134, 2)


# --- texts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["a", " ", "\n", "a" * 1530, "€" * 765, "я" * 670, "😀" * 335, "\t\r\n", "\ufffd", "\x7f"]
)
def test_a_text_of_one_to_ten_parts_may_go(text: str) -> None:
    check_text(text)


@pytest.mark.parametrize(
    "text", ["€" * 765, "😀" * 335, "a" * 152 + "€" + "a" * 1376, "я" * 66 + "😀" + "я" * 602], ids=len
)
def test_a_text_of_eleven_parts_may_go_where_the_gateway_might_count_ten(text: str) -> None:
    assert measure(text).parts == 11
    check_text(text)


@pytest.mark.parametrize("text", ["a" * 1531, "€" * 765 + "a", "я" * 671, "😀" * 335 + "a", "a" * 670 + "я"], ids=len)
def test_eleven_parts_are_refused_as_the_gateway_does(text: str) -> None:
    with pytest.raises(InvalidMessage, match="11 parts") as refused:
        check_text(text)
    assert (refused.value.field, refused.value.code) == ("text", 221)


def test_an_empty_text_is_refused_as_the_gateway_does() -> None:
    with pytest.raises(InvalidMessage) as refused:
        check_text("")
    assert (refused.value.field, refused.value.code) == ("text", 220)


NOT_XML = [*map(chr, range(9)), "\x0b", "\x0c", *map(chr, range(0x0E, 0x20)), "\ud800", "\udfff", "\ufffe", "\uffff"]


@pytest.mark.parametrize("character", NOT_XML, ids=ascii)
def test_what_xml_cannot_carry_is_refused_and_located(character: str) -> None:
    with pytest.raises(InvalidMessage, match=re.escape(f"U+{ord(character):04X} at position 3")) as refused:
        check_text(f"abc{character}secret")
    assert (refused.value.field, refused.value.code) == ("text", 12)
    assert "secret" not in str(refused.value)


# --- phones --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "digits"),
    [
        ("79087964781", "79087964781"),
        ("+7 (908) 796-47-81", "79087964781"),
        ("+79087964781", "79087964781"),
        ("7.908.796.47.81", "79087964781"),
        ("7–908—796‑47−81", "79087964781"),  # the dashes that editors make
        (" 79087964781\n", "79087964781"),
        ("7\u00a0908\u202f7964781", "79087964781"),
        (79087964781, "79087964781"),
        ("89087964781", "79087964781"),
        ("8 (908) 796-47-81", "79087964781"),
        ("87017964781", "77017964781"),  # Kazakhstan
        (89087964781, "79087964781"),
        ("+89087964781", "89087964781"),  # with a plus it is what it says
        ("+84901234567", "84901234567"),  # Vietnam
        ("84901234567", "84901234567"),
        ("84951234567", "84951234567"),  # a Moscow landline, but also Vietnamese: left as it is
        ("8908796478", "8908796478"),  # ten digits: not a domestic number
        ("4951234567", "4951234567"),
        ("890879647812", "890879647812"),
        ("9087964781", "9087964781"),
        ("380501234567", "380501234567"),
        ("+1 (415) 555-2671", "14155552671"),
        ("1234567", "1234567"),
        ("123456789012345", "123456789012345"),
    ],
)
def test_a_phone_becomes_digits_with_the_country_code_first(written: str | int, digits: str) -> None:
    assert normalize_phone(written) == digits


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("", 108),
        ("   ", 108),
        ("()-", 108),
        ("+", 111),
        ("++79087964781", 111),
        ("7908796478a", 111),
        ("79087964781,79087964782", 111),
        ("7908796478+1", 111),
        ("tel:79087964781", 111),
        ("٧٩٠٨٧٩٦٤٧٨١", 111),  # Arabic digits
        ("７９０８７９６４７８１", 111),  # full-width digits
        ("7908796478²", 111),
        ("79087964781\x00", 111),
        (-79087964781, 111),
        ("123456", 215),
        ("1", 215),
        (0, 215),
        ("1234567890123456", 215),
        (10**15, 215),
        (10**5000, 215),  # has too many digits even for int() to write down
        ("007 908 796-47-81", 111),  # no country's code begins with 0
        ("0 501 234-567", 111),
        ("+007 908 796-47-81", 111),
        ("7908796478", 215),  # a digit is missing, or one too many: numbers of +7 have eleven
        ("790879647810", 215),
        ("+7 908 796-47-812", 215),
    ],
    ids=lambda value: str(value)[:20] if not isinstance(value, int) or value < 10**20 else "huge",
)
def test_what_is_no_phone_is_refused_with_the_gateways_code(written: str | int, code: int) -> None:
    with pytest.raises(InvalidMessage) as refused:
        normalize_phone(written)
    assert (refused.value.field, refused.value.code) == ("to", code)
    assert "9087964" not in str(refused.value)
    assert "9087964" not in repr(refused.value)


@given(st.text())
def test_a_phone_is_refused_or_becomes_seven_to_fifteen_digits(written: str) -> None:
    try:
        digits = normalize_phone(written)
    except InvalidMessage as refused:
        assert refused.code in {108, 111, 215}  # noqa: PT017 - both ends are right
    else:
        assert re.fullmatch("[0-9]{7,15}", digits, re.ASCII)


SPREADSHEET = [
    "79087964781.0",
    " 79087964781.0 ",
    "+79087964781.0",
    "9087964781.00",
    "7 908 796 47 81,0",
    "7.90879E+10",
    "7,90879647810E+10",
    "7.90879e10",
]


@pytest.mark.parametrize("country", [None, "RU"])
@pytest.mark.parametrize("written", SPREADSHEET)
def test_what_a_spreadsheet_made_of_a_number_is_no_phone(written: str, country: Literal["RU"] | None) -> None:
    with pytest.raises(InvalidMessage, match="a spreadsheet wrote it as a number") as refused:
        normalize_phone(written, country)
    assert (refused.value.field, refused.value.code) == ("to", 111)
    with pytest.raises(InvalidMessage, match="a spreadsheet"):
        Message(written, "Hello")


def test_dots_between_the_groups_of_a_phone_are_no_fraction() -> None:
    assert normalize_phone("7.908.796.47.00") == "79087964700"


@pytest.mark.parametrize(
    ("written", "digits"),
    [
        ("908 796-47-81", "79087964781"),  # without a country it would go to Turkey
        (9087964781, "79087964781"),
        ("(495) 123-45-67", "74951234567"),
        ("8 908 796-47-81", "79087964781"),
        ("8 495 123-45-67", "74951234567"),  # without one, to Vietnam
        ("8 800 555-35-35", "78005553535"),
        ("8 701 796-47-81", "77017964781"),  # Kazakhstan
        ("+7 908 796-47-81", "79087964781"),
        ("79087964781", "79087964781"),
        ("007 908 796-47-81", "79087964781"),
        ("00 49 151 1234 5678", "4915112345678"),
        ("8 10 49 151 1234 5678", "4915112345678"),
        ("0084 95 123-45-67", "84951234567"),
        ("+84 95 123-45-67", "84951234567"),  # with a plus it is what it says
        ("+9087964781", "9087964781"),
        ("+89087964781", "89087964781"),
        ("852 9123-4567", "85291234567"),  # Hong Kong: no Russian area code is 529
        ("380501234567", "380501234567"),
        ("+298 123456", "298123456"),
        ("14155552671", "14155552671"),
    ],
)
def test_a_phone_is_read_as_a_russian_writes_it(written: str | int, digits: str) -> None:
    assert normalize_phone(written, "RU") == digits
    assert Message(dialled(written, "RU"), "Hello").to == digits


@pytest.mark.parametrize(
    ("written", "code", "reason"),
    [
        ("7908796478", 215, "has 11 digits, this one 10"),  # a digit is missing
        ("8908796478", 111, "no Russian number begins with 890"),
        ("3725123456", 111, "no Russian number begins with 372"),  # Estonia, without its plus
        ("234-56-78", 215, "without its area code"),
        ("007 908", 215, "7 to 15 digits"),
        ("00 07 908 796-47-81", 111, "begins with 0"),
        ("007 908 796-47-812", 215, "has 11 digits, this one 12"),
    ],
)
def test_what_no_russian_writes_is_refused_with_the_reason(written: str, code: int, reason: str) -> None:
    with pytest.raises(InvalidMessage, match=reason) as refused:
        normalize_phone(written, "RU")
    assert (refused.value.field, refused.value.code) == ("to", code)
    assert "8796" not in str(refused.value)


def test_another_default_country_is_refused() -> None:
    with pytest.raises(ValueError, match="country must be 'RU' or None"):
        normalize_phone("79087964781", "DE")  # type: ignore[arg-type]


@given(st.from_regex(r"\+[1-689][0-9]{6,14}", fullmatch=True), st.sampled_from([None, "RU"]))
def test_a_foreign_number_with_a_plus_is_what_it_says(written: str, country: Literal["RU"] | None) -> None:
    assert normalize_phone(written, country) == written[1:]


@pytest.mark.parametrize(
    ("digits", "kind"),
    [
        ("79087964781", PhoneKind("RU", "Russia", "mobile")),
        ("74951234567", PhoneKind("RU", "Russia", "landline")),
        ("78005553535", PhoneKind("RU", "Russia", "landline")),
        ("71231234567", PhoneKind("RU", "Russia")),
        ("77017964781", PhoneKind("KZ", "Kazakhstan")),
        ("84951234567", PhoneKind("VN", "Vietnam")),
        ("9087964781", PhoneKind("TR", "Turkey")),
        ("380501234567", PhoneKind("UA", "Ukraine")),
        ("375291234567", PhoneKind("BY", "Belarus")),
        ("85291234567", PhoneKind("HK", "Hong Kong")),
        ("14155552671", PhoneKind(None, "North America (+1)")),
        ("89087964781", PhoneKind("RU", "Russia", "mobile")),
        ("+89087964781", PhoneKind(None, "an unknown country")),
        ("870773123456", PhoneKind(None, "an unknown country")),  # a satellite phone
    ],
)
def test_the_first_digits_tell_a_phone_s_country(digits: str, kind: PhoneKind) -> None:
    assert describe_phone(digits) == kind


def test_a_phone_is_described_as_it_is_read() -> None:
    assert describe_phone("8 495 123-45-67").name == "Vietnam"
    assert describe_phone("8 495 123-45-67", "RU").line == "landline"
    with pytest.raises(InvalidMessage):
        describe_phone("123")


@given(st.from_regex(r"[1-9][0-9]{9,14}", fullmatch=True).filter(lambda digits: digits[0] != "7"))
def test_every_phone_is_described(digits: str) -> None:
    assert describe_phone(f"+{digits}").name


@given(st.from_regex(r"\+?[0-9]{1,17}", fullmatch=True), st.sampled_from([None, "RU"]))
def test_digits_are_refused_or_read_once_and_for_all(written: str, country: Literal["RU"] | None) -> None:
    try:
        digits = normalize_phone(written, country)
    except InvalidMessage as refused:
        assert refused.code in {111, 215}  # noqa: PT017 - both ends are right
    else:
        assert digits[0] != "0"
        assert digits[0] != "7" or len(digits) == 11
        assert normalize_phone(f"+{digits}", country) == digits
        if country is not None:
            assert Message(dialled(written, country), "Hello").to == digits


# --- senders -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sender", ["ABC", "SMSPILOT", "Taxi-12.Ru", "MYSHOP.RU12", "123", "1234567890", "1234567890123456"]
)
def test_a_sender_is_a_latin_name_or_a_number(sender: str) -> None:
    check_sender(sender)


@pytest.mark.parametrize(
    "sender",
    [
        "",
        "AB",
        "TWELVELETTER",
        "ПИЛОТ",
        "Ünal",
        "MY SHOP",
        "a_b",
        "+79087964781",
        "1" * 17,
        "12345678901a",
        "abc\n",
        "٧" * 11,
    ],
    ids=ascii,
)
def test_anything_else_is_no_sender(sender: str) -> None:
    with pytest.raises(InvalidMessage) as refused:
        check_sender(sender)
    assert (refused.value.field, refused.value.code) == ("sender", 115)
    assert not sender or f"{sender!r}" not in str(refused.value)
