"""The chart of the comparison, drawn from the figures that ``smspilot demo --json`` prints, in English and Russian.

Above, every square is one of the people of scene one: red ones got the SMS twice, yellow ones are reported as unknown.
Below, scene two: the states of a campaign's messages at three moments. The picture has a ground of its own, so that it
can be read on any page, and follows the reader's colour scheme.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final, TypeAlias

import attrs

Figures: TypeAlias = Mapping[str, Any]

_WIDTH: Final = 840
_HEIGHT: Final = 586
_LEFT: Final = 30
_PANEL: Final = 400
"""Width of one sender's half, with its gap."""
_COLUMNS: Final = 50
_PITCH: Final = 7.2
_SQUARE: Final = 5.6
_PEOPLE_Y: Final = 178
_BARS_Y: Final = 452
_BAR_X: Final = 192
_BAR_PITCH: Final = 34
_BAR: Final = 24
_LABELLED: Final = 26
"""Least width of a part of a bar with its number in it."""
_STATES: Final = ("accepted", "refused", "unknown", "in_flight", "pending")
_MOMENTS: Final = ("killed", "sent", "proven")
_FONT: Final = "system-ui, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans', Arial, sans-serif"
_STYLE: Final = """
    .ground{fill:#fff;stroke:#dfe2dc}.ink{fill:#1b211e}.soft{fill:#5d6762}.line{stroke:#dfe2dc}
    .once{fill:#c3d9d3}.twice{fill:#c0392b}.unknown{fill:#e0a100}.accepted{fill:#94cdbf}.refused{fill:#c0564a}
    .in_flight{fill:#7d72cf}.pending{fill:#dadfd7}.bad{fill:#b3372a}.good{fill:#0f766e}.on{fill:#1b211e}
    .mark{fill:#0f766e}.tick{stroke:#fff}
    @media (prefers-color-scheme:dark){
      .ground{fill:#1a1f1d;stroke:#2d3531}.ink{fill:#e6ebe8}.soft{fill:#a3aea8}.line{stroke:#2d3531}
      .once{fill:#35504a}.twice{fill:#ff7a6b}.unknown{fill:#f0b93a}.accepted{fill:#35695f}.refused{fill:#d9786b}
      .in_flight{fill:#938ae0}.pending{fill:#39423e}.bad{fill:#ff8f82}.good{fill:#4fb8a9}.on{fill:#fff}
      .unknown+.on{fill:#1b211e}.mark{fill:#4fb8a9}.tick{stroke:#08211d}
    }
"""


@attrs.frozen(kw_only=True)
class Words:
    """The chart's words in one language.

    Attributes:
        thousands: What separates groups of three digits.
        heading: One line, with ``{people}`` and ``{percent}``.
        plain, twice, reports, knows: Of scene one.
        campaign, ending: Of scene two.
        moments, states: In the order of the figures.
        title, description: For readers who do not see the picture.
    """

    thousands: str
    heading: str
    plain: str
    twice: str
    reports: str
    knows: str
    campaign: str
    ending: str
    moments: Sequence[str]
    states: Sequence[str]
    title: str
    description: str


ENGLISH: Final = Words(
    thousands=",",
    heading="{people} people, one SMS each. The gateway accepts them all, but {percent}% of its answers are lost.",
    plain="A plain loop with retries",
    twice="people get it twice",
    reports="It reports: {believed} sent.",
    knows="It reports: {believed} sent, {unknown} unknown, by name.",
    campaign="A campaign of {messages} messages. Half-way, its sender is killed; another takes over.",
    ending="{twice} reached twice, {lost} lost. Of {doubtful} in doubt, callbacks prove {proven}; {left} are listed.",
    moments=("after kill -9", "sent to the end", "after callbacks"),
    states=("accepted", "refused", "unknown", "in flight", "pending"),
    title="A plain loop with retries, compared with smspilot_async",
    description="Of {people} people a plain loop with retries reaches {plain_twice} twice and reports {believed} sent; "
    "smspilot_async reaches {ours_twice} twice, and reports {ours_believed} sent and {unknown} unknown.",
)
RUSSIAN: Final = Words(
    thousands="",
    heading="{people} человек, каждому одна SMS. Шлюз принял все, но {percent} % его ответов потеряны.",
    plain="Обычный цикл с повторами",
    twice="получили SMS дважды",
    reports="Отчёт: отправлено {believed}.",
    knows="Отчёт: отправлено {believed}, неизвестно {unknown}, поимённо.",
    campaign="Рассылка на {messages} SMS. На полпути отправителя убили, продолжает другой.",
    ending="Дважды: {twice}, потеряно: {lost}. Из {doubtful} сомнительных {proven} подтверждены, {left} перечислены.",
    moments=("после kill -9", "всё отправлено", "после уведомлений"),
    states=("принято", "отказ", "неизвестно", "отправляется", "ждёт"),
    title="Обычный цикл с повторами в сравнении со smspilot_async",
    description="Из {people} человек обычный цикл с повторами пишет дважды {plain_twice} и сообщает: отправлено "
    "{believed}. smspilot_async пишет дважды {ours_twice} и сообщает: отправлено {ours_believed}, "
    "неизвестно {unknown}, поимённо.",
)


@attrs.frozen(kw_only=True)
class _Sender:
    """One half of scene one: who is marked, in which colour, and what the sender reports."""

    name: str
    tally: Figures
    kind: str
    ids: Sequence[int]
    report: str


def draw(figures: Figures, words: Words) -> str:
    """Return the chart as SVG.

    Args:
        figures: What ``smspilot demo --json`` prints.
        words: In which language.
    """
    plain, ours, campaign = figures["plain_loop"], figures["smspilot_async"], figures["campaign"]
    people = figures["people"]

    def say(template: str, **numbers: int) -> str:
        return template.format(**{name: f"{each:,}".replace(",", words.thousands) for name, each in numbers.items()})

    description = say(
        words.description,
        people=people,
        plain_twice=plain["reached_twice"],
        believed=plain["believed_sent"],
        ours_twice=ours["reached_twice"],
        ours_believed=ours["believed_sent"],
        unknown=ours["unknown"],
    )
    reports = say(words.reports, believed=plain["believed_sent"])
    knows = say(words.knows, believed=ours["believed_sent"], unknown=ours["unknown"])
    loop = _Sender(name=words.plain, tally=plain, kind="twice", ids=plain["reached_twice_ids"], report=reports)
    library = _Sender(name="smspilot_async", tally=ours, kind="unknown", ids=ours["unknown_ids"], report=knows)
    rule = _BARS_Y - 92
    head = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-labelledby="t d" font-family="{_FONT}" font-size="15"'
    square = f'<rect class="once" width="{_SQUARE}" height="{_SQUARE}"/>'
    lines = (
        f'<svg xmlns="http://www.w3.org/2000/svg" {head}>',
        f'  <title id="t">{escape(words.title)}</title>',
        f'  <desc id="d">{escape(description)}</desc>',
        f"  <style>{_STYLE}  </style>",
        f'  <pattern id="people" width="{_PITCH}" height="{_PITCH}" patternUnits="userSpaceOnUse">{square}</pattern>',
        f'  <rect class="ground" x="1" y="1" width="{_WIDTH - 2}" height="{_HEIGHT - 2}" rx="14"/>',
        _text(_LEFT, 42, say(words.heading, people=people, percent=round(figures["fault_rate"] * 100)), size=16),
        *_half(_LEFT, loop, people, words.twice),
        _mark(_LEFT + _PANEL - 2),
        *_half(_LEFT + _PANEL, library, people, words.twice, indent=30),
        f'  <path class="line" d="M{_LEFT} {rule}H{_WIDTH - _LEFT}"/>',
        _text(_LEFT, rule + 32, say(words.campaign, messages=campaign["messages"]), size=16),
        *_legend(rule + 60, words),
        *_bars(campaign, words),
        _text(_LEFT, _HEIGHT - 24, _ending(campaign, words, say), "good", size=16, weight=600),
        "</svg>\n",
    )
    return "\n".join(lines)


def _ending(campaign: Figures, words: Words, say: Any) -> str:
    sent, ending = campaign["moments"]["sent"], campaign["ending"]
    doubtful, left = sent["unknown"] + sent["in_flight"], campaign["moments"]["proven"]["unknown"]
    counted = {"twice": ending["twice"], "lost": ending["lost"]}
    said: str = say(words.ending, **counted, doubtful=doubtful, proven=doubtful - left, left=left)
    return said


def _half(x: int, sender: _Sender, people: int, twice: str, indent: int = 0) -> list[str]:
    """Draw a sender: its name, how many it reached twice, each of the people as a square, and what it reports."""
    number = str(sender.tally["reached_twice"])
    kind = "good" if number == "0" else "bad"
    return [
        _text(x + indent, 84, sender.name, size=18, weight=650),
        _text(x, 148, number, kind, size=52, weight=700),
        _text(x + 14 + 31 * len(number), 148, twice, kind, size=18),
        *_squares(x, sender, people),
        _text(x, 344, sender.report, "soft", size=14),
    ]


def _mark(x: int) -> str:
    return (
        f'  <g transform="translate({x} 66) scale(.75)">'
        '<path class="mark" d="M7 4h18a5 5 0 0 1 5 5v9a5 5 0 0 1-5 5H15l-7 6v-6H7a5 5 0 0 1-5-5V9a5 5 0 0 1 5-5z"/>'
        '<path class="tick" fill="none" stroke-width="2.6" stroke-linecap="round" stroke-linejoin="round" '
        'd="m10.5 14 4 4 7-8"/></g>'
    )


def _squares(x: int, sender: _Sender, people: int) -> list[str]:
    side, rows = f"{_SQUARE:g}", -(-people // _COLUMNS)
    corners = (((one - 1) % _COLUMNS * _PITCH, (one - 1) // _COLUMNS * _PITCH) for one in sender.ids)
    drawn = "".join(f"M{across:g} {down:g}h{side}v{side}h-{side}z" for across, down in corners)
    return [
        f'  <g transform="translate({x} {_PEOPLE_Y})">',
        f'    <rect width="{_COLUMNS * _PITCH:g}" height="{rows * _PITCH:g}" fill="url(#people)"/>',
        f'    <path class="{sender.kind}" d="{drawn}"/>',
        "  </g>",
    ]


def _legend(y: int, words: Words) -> list[str]:
    x, drawn = _BAR_X, []
    for state, word in zip(_STATES, words.states, strict=True):
        drawn.append(f'  <rect class="{state}" x="{x}" y="{y - 11}" width="12" height="12" rx="2"/>')
        drawn.append(_text(x + 18, y, word, "soft", size=14))
        x += 46 + 8 * len(word)
    return drawn


def _bars(campaign: Figures, words: Words) -> list[str]:
    drawn = []
    for number, moment in enumerate(_MOMENTS):
        y = _BARS_Y + number * _BAR_PITCH - 14
        drawn.append(_text(_LEFT, y + 17, words.moments[number], "soft", size=14))
        drawn += _bar(campaign["moments"][moment], campaign["messages"], y, words)
    return drawn


def _bar(counts: Figures, messages: int, y: int, words: Words) -> list[str]:
    x, scale, drawn = float(_BAR_X), (_WIDTH - _LEFT - _BAR_X) / messages, []
    for state in _STATES:
        number, width = counts[state], counts[state] * scale
        if not number:
            continue
        drawn.append(f'  <rect class="{state}" x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_BAR}"/>')
        if width > _LABELLED:
            label = f"{number:,}".replace(",", words.thousands)
            drawn.append(_text(round(x + 6, 1), y + 17, label, "on", size=14))
        x += width
    return drawn


def _text(x: float, y: float, text: str, kind: str = "ink", *, size: int = 15, weight: int = 400) -> str:
    heavy = f' font-weight="{weight}"' if weight != 400 else ""  # noqa: PLR2004 - what text is anyway
    return f'  <text class="{kind}" x="{x:g}" y="{y:g}" font-size="{size}"{heavy}>{escape(text, quote=False)}</text>'
