"""How answers show themselves in a notebook: escaped, masked unless asked, cut when long, plain to dark pages."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from smspilot_async import (
    Accepted,
    AccountInfo,
    BulkStats,
    Client,
    InboundMessage,
    Message,
    MessageRefused,
    MessageStatus,
    NotFound,
    NotSent,
    OutcomeUnknown,
    Packet,
    PacketCheck,
    Reason,
    Refused,
    SentMessage,
    Unknown,
)
from smspilot_async.models import MOSCOW
from smspilot_async.notebook import show

if TYPE_CHECKING:
    from smspilot_async.emulator import Emulator

PHONE, TEXT = "79087964781", "<script>alert('$1$')</script>"
REFUSED = MessageRefused("refused (<b>code</b> 221)", code=221, description="TEXT too long")
UNKNOWN = OutcomeUnknown("no answer", reason=Reason.TIMEOUT)


class Page(HTMLParser):
    """What a browser would make of it: tags, and the cells of its rows."""

    def __init__(self, shown: Any) -> None:
        super().__init__()
        self.source: str = shown._repr_html_()
        self.tags: set[str] = set()
        self.rows: list[list[str]] = []
        self.lines: list[str] = []
        self._open: list[str] = []
        self.feed(self.source)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        self.tags.add(tag)
        self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self._open):
            self.rows[-1][-1] += data
        else:
            self.lines.append(data.strip())

    @property
    def table(self) -> list[dict[str, str]]:
        head, *rows = self.rows
        return [dict(zip(head, row, strict=True)) for row in rows]


def sent(number: int = 1, **fields: Any) -> SentMessage:
    return SentMessage(**{"id": number, "server_id": str(number), "to": PHONE, "text": TEXT, "parts": 1, **fields})


def everything() -> list[Any]:
    """One of each kind, with people's data in it wherever there may be some."""
    check = PacketCheck("77", (MessageStatus(id=1, server_id="1", status=2),))
    inbound = InboundMessage(
        id=1, phone=PHONE, num="79021121075", text=TEXT, created=datetime(2030, 1, 1, tzinfo=MOSCOW)
    )
    info = AccountInfo(
        id=1, name="Anna", email="anna@example.com", phone=PHONE, senders=(PHONE, "ANNA"), default_sender="ANNA"
    )
    results: list[Any] = [
        Accepted((PHONE, TEXT), sent(sender="ANNA")),
        Refused((PHONE, TEXT), REFUSED),
        Unknown({"to": PHONE, "text": TEXT, "from": "ANNA"}, UNKNOWN),
        NotSent((PHONE, TEXT)),
    ]
    packet = Packet(messages=(sent(sender="ANNA"), sent(failure=REFUSED)), server_packet_id="77")
    return [packet, sent(), check, check.statuses[0], inbound, info, BulkStats(total=3), *results]


@pytest.mark.parametrize("answer", everything(), ids=lambda answer: type(answer).__name__)
def test_no_answer_shows_people_s_data_unless_asked(answer: Any) -> None:
    page = Page(answer)
    assert page.rows
    for private in (PHONE, "script", "alert", "79021121075", "Anna", "anna@example.com", "ANNA"):
        assert private not in page.source
        assert private not in repr(answer)


@pytest.mark.parametrize("answer", everything(), ids=lambda answer: type(answer).__name__)
def test_what_is_asked_for_is_shown_and_never_run(answer: Any) -> None:
    shown = show(answer, private=True)
    page = Page(shown)
    assert page.tags <= {"div", "table", "tr", "th", "td", "span", "progress"}
    if not isinstance(answer, (BulkStats, MessageStatus, PacketCheck)):
        assert any(PHONE in cell for row in page.rows for cell in row)
    assert PHONE not in repr(shown)


def test_a_text_that_is_a_script_is_shown_as_it_was_written() -> None:
    assert Page(show(sent(), private=True)).table[0]["text"] == TEXT


def test_the_words_of_an_error_and_of_the_gateway_are_escaped() -> None:
    page = Page(Packet(messages=(sent(failure=REFUSED, operator="<i>MTS</i>"),)))
    assert page.table[0]["operator"] == "<i>MTS</i>"
    assert "<b>code</b>" in page.table[0]["failure"]
    assert not {"i", "b"} & page.tags


def test_dollars_are_not_taken_for_a_formula() -> None:
    assert Page(show(sent(), private=True)).source.startswith('<div class="smspilot tex2jax_ignore mathjax_ignore">')


def test_half_a_surrogate_pair_can_be_written_to_a_notebook() -> None:
    Page(show(sent(text="half \ud83d"), private=True)).source.encode()


def test_a_packet_shows_its_counts_and_its_money_before_its_messages() -> None:
    messages = (sent(1, price=Decimal("1.680")), sent(2), sent(3, failure=REFUSED), sent(4, failure=UNKNOWN))
    page = Page(Packet(messages=messages, server_packet_id="77", cost=Decimal("3.360"), balance=Decimal("1E+2")))
    assert page.lines == ["packet 77, 2 accepted, 1 refused, 1 unknown, cost 3.360 RUB, balance 100 RUB"]
    assert [row["outcome"] for row in page.table] == ["● accepted", "● accepted", "● refused", "● unknown"]
    assert [row["price, RUB"] for row in page.table] == ["1.680", "", "", ""]
    assert "country" not in page.table[0]


def test_a_masked_phone_keeps_what_tells_it_from_the_next() -> None:
    page = Page(Packet(messages=(sent(), sent(to="79087964782"), sent(to="12345"), sent(to=None))))
    assert [row["to"] for row in page.table] == ["•••81", "•••82", "•••", ""]


def test_a_long_packet_is_cut_with_a_count_and_its_failures_are_not_cut_off() -> None:
    messages = [*map(sent, range(1, 101)), sent(101, failure=REFUSED), sent(102, failure=UNKNOWN)]
    page = Page(Packet(messages=tuple(messages)))
    assert page.lines == ["100 accepted, 1 refused, 1 unknown", "… and 82 more"]
    assert [row["id"] for row in page.table] == ["101", "102", *map(str, range(1, 19))]


def test_a_packet_of_twenty_is_not_cut() -> None:
    page = Page(Packet(messages=tuple(map(sent, range(20)))))
    assert (len(page.table), page.lines) == (20, ["20 accepted"])


def test_a_list_of_statuses_is_shown_with_their_words() -> None:
    modified = datetime(2030, 1, 15, 12, 0, 5)  # noqa: DTZ001 - its zone is not known
    statuses = [
        MessageStatus(id=1, server_id="10", status=2, error=0, modified=modified),
        MessageStatus(id=2, server_id="11", status=-1, error=601),
        MessageStatus(id=3, server_id="12", status=77),
        MessageStatus(server_id="13"),
    ]
    page = Page(show(statuses))
    assert page.lines == ["1 delivered, 1 not delivered, 1 status 77, 1 not known"]
    assert [row["state"] for row in page.table] == ["● delivered", "● not delivered", "status 77", ""]
    assert page.table[0]["modified, zone not known"] == "2030-01-15 12:00:05"


def test_a_failed_check_of_a_packet_says_why() -> None:
    error = NotFound("no such packet", code=304, description="SERVER_PACKET_ID is invalid")
    page = Page(PacketCheck("77", error=error))
    assert page.table == [{"failure": str(error)}]
    assert page.lines == ["packet 77, 1 not known"]


def test_inbound_messages_show_when_they_came() -> None:
    sms = InboundMessage(
        id=1, phone=PHONE, text="STOP", created=datetime(2030, 1, 15, 15, 0, tzinfo=MOSCOW), seen=False
    )
    page = Page(show([sms], private=True))
    expected = {"id": "1", "phone": PHONE, "text": "STOP", "created, UTC": "2030-01-15 12:00:00", "seen": "no"}
    assert page.table == [expected]
    assert page.lines == ["1 received"]


def test_an_account_shows_its_balance_and_hides_its_owner() -> None:
    info = AccountInfo(
        id=5, name="Anna", balance=Decimal("20006.970"), senders=("A", "B"), any_sender=True, extra={"k": "v"}
    )
    facts = [["id", "5"], ["name", "•••"], ["balance, RUB", "20006.970"], ["senders", "•••"], ["any sender", "yes"]]
    assert Page(info).rows == facts
    assert ["senders", "A, B"] in Page(show(info, private=True)).rows


def test_the_figures_of_a_bulk_run_say_all_that_is_known() -> None:
    stats = BulkStats(
        read=60, accepted=40, refused=5, unknown=3, not_sent=2, parts=41, cost=Decimal("68.88"), total=100, seconds=5.0,
        balance=Decimal("5.30"),
    )  # fmt: skip
    page = Page(stats)
    assert page.lines == ["50 of 100"]
    assert '<progress max="100" value="50"' in page.source
    [figures] = page.table
    assert figures == {
        "read": "60", "accepted": "40", "refused": "5", "unknown": "3", "not sent": "2", "waiting": "10",
        "parts, SMS": "41", "cost, RUB": "68.88", "balance, RUB": "5.30", "messages/s": "10",
        "time, h:mm:ss": "0:00:05", "left, h:mm:ss": "0:00:05",
    }  # fmt: skip


def test_a_source_of_unknown_length_has_no_bar_and_no_time_left() -> None:
    page = Page(BulkStats(read=10, accepted=10, seconds=2.0))
    assert page.lines == ["10 done"]
    assert "progress" not in page.tags
    assert not [heading for heading in page.table[0] if heading.startswith("left")]


async def test_a_bulk_run_shows_its_figures(client: Client, emulator: Emulator) -> None:
    async with client.bulk([(PHONE, "a"), (PHONE, "b")]) as run:
        assert [type(result) async for result in run] == [Accepted, Accepted]
    assert Page(run).table[0]["accepted"] == str(len(emulator.messages)) == "2"


def test_no_colour_but_that_of_a_dot_is_set_so_that_it_reads_on_dark_and_light_pages() -> None:
    statuses = [MessageStatus(status=number) for number in (2, -1)]
    source = "".join(Page(one).source for one in (*everything(), show(statuses)))
    colours = set(re.findall(r"#[0-9a-f]{6}", source))
    assert len(colours) == 4
    assert "background" not in source
    for colour in colours:
        assert source.count(colour) == source.count(f'<span style="color: {colour}">●</span>')
        for page in (0x000000, 0x111111, 0xFFFFFF):
            assert contrast(int(colour[1:], 16), page) >= 3


def contrast(one: int, other: int) -> float:
    """The contrast of two colours, by WCAG's formula."""
    darker, lighter = sorted(map(luminance, (one, other)))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: int) -> float:
    channels = [(colour >> shift & 0xFF) / 255 for shift in (16, 8, 0)]
    linear = [channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4 for channel in channels]
    return sum(weight * channel for weight, channel in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("answer", everything(), ids=lambda answer: type(answer).__name__)
def test_a_table_takes_the_colour_of_the_text_around_it(answer: Any) -> None:
    source = Page(answer).source
    assert source.count("<table") == source.count('<table style="color: inherit">') == 1


def test_a_text_is_never_taken_for_an_outcome() -> None:
    [row] = Page(show(NotSent((PHONE, "not_sent")), private=True)).table
    assert (row["text"], row["outcome"]) == ("not_sent", "● not sent")


def test_answers_of_several_kinds_are_shown_whole() -> None:
    page = Page(show([MessageStatus(server_id="1"), InboundMessage(text="STOP")], private=True))
    assert page.table == [{"server id": "1", "text": ""}, {"server id": "", "text": "STOP"}]


def test_what_is_no_answer_is_refused_without_telling_what_it_is() -> None:
    with pytest.raises(TypeError, match=r"not of str$"):
        show([PHONE])  # type: ignore[list-item]


def test_no_answer_at_all_is_said_to_be_nothing() -> None:
    assert Page(show([])).lines == ["nothing"]


def test_created_is_shown_in_utc() -> None:
    sms = InboundMessage(created=datetime(2030, 1, 1, 1, 0, tzinfo=UTC))
    assert Page(sms).table[0]["created, UTC"] == "2030-01-01 01:00:00"


async def test_no_column_repeats_what_another_or_the_line_above_says(client: Client, emulator: Emulator) -> None:
    emulator.refuse(code=212, to="79087964785")
    packet = await client.send_packet([Message(f"7908796478{number}", "Hello") for number in range(4, 6)])
    page = Page(packet)
    assert packet.server_packet_id is not None
    assert packet.server_packet_id in page.lines[0]
    assert "212" in page.table[1]["failure"]
    assert not page.table[0].keys() & {"status", "state", "error code", "server packet id"}


def test_a_column_that_says_more_than_its_neighbour_is_shown() -> None:
    messages = (sent(1, status=0, server_packet_id="7"), sent(2, status=2, server_packet_id="8"))
    page = Page(show(messages))
    assert [row["state"] for row in page.table] == ["● accepted", "● delivered"]
    assert [row["server packet id"] for row in page.table] == ["7", "8"]
    assert [row["error code"] for row in Page(show([MessageStatus(error=601), MessageStatus()])).table] == ["601", ""]
