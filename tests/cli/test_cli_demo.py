"""The demo: its list, its figures, and that they are counted and not made up."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click
import demo_pictures
import make_demo_list
import pytest
from cli_running import run
from click.testing import CliRunner

from smspilot_async import Client, Retry, measure
from smspilot_async.callbacks import CallbackInbox
from smspilot_async.cli._output import Tone
from smspilot_async.cli.demo import _campaign, _ending, _proofs, _race
from smspilot_async.cli.demo._ending import Played
from smspilot_async.cli.demo._proofs import Doubt
from smspilot_async.emulator import Fault
from smspilot_async.outbox import read_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


ROOT = Path(__file__).parents[2]


@attrs.frozen
class Shown:
    """A run of the demo as it is shown by default.

    Attributes:
        figures: What ``--json`` prints.
        screen, russian: What a terminal gets, in either language.
        drawn: The pictures of it.
        frames: What a terminal shows meanwhile, one after the other.
        played: Scene two.
    """

    figures: Mapping[str, Any]
    screen: str
    russian: str
    drawn: Mapping[str, str]
    frames: Sequence[Sequence[tuple[str, Tone]]]
    played: Played


@pytest.fixture(scope="module")
def shown() -> Shown:
    """The whole demo: it takes seconds, and the tests share it."""
    played: list[Played] = []
    frames: list[Sequence[tuple[str, Tone]]] = []

    async def play(seed: int, folder: Path) -> Played:
        played.append(await real(seed, folder))
        return played[0]

    @contextlib.contextmanager
    def live_lines() -> Iterator[Callable[[Sequence[tuple[str, Tone]]], None]]:
        yield frames.append

    real = _campaign.play
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_campaign, "play", play)
        patch.setattr(_campaign, "live_lines", live_lines)
        ran = demo_pictures.run()
    return Shown(ran.figures, ran.screen, ran.russian, demo_pictures.pictures(ran), frames, played[0])


@pytest.fixture
def played(shown: Shown) -> Played:
    return shown.played


@pytest.fixture
def quick(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second scene is over at once."""

    async def play(_seed: int, _folder: Path) -> Played:
        return shown.played

    monkeypatch.setattr(_campaign, "play", play)


def test_the_shipped_list_is_the_one_that_the_script_makes() -> None:
    assert make_demo_list.LIST.read_text(encoding="utf-8") == make_demo_list.written()


def test_the_shipped_list_is_worth_showing(played: Played) -> None:
    texts = [row["text"] for _, row in read_rows(make_demo_list.LIST) if isinstance(row, dict)]
    assert {measure(text).alphabet for text in texts} == {"GSM-7", "UCS-2"}
    assert (played.info.rows, played.info.duplicates) == (1200, 3)
    assert len(played.ending.reasons["refused"]) >= 10


@pytest.fixture
def many_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_race, "FAULT_RATE", 0.3)


@pytest.mark.usefixtures("many_faults", "quick")
def test_the_figures_are_counted_and_the_seed_repeats_them() -> None:
    first, again, other = (run("demo", "--people", "40", "--seed", seed, "--json").json for seed in ("1", "1", "2"))
    for figures in (first, again, other):
        plain, ours = figures["plain_loop"], figures["smspilot_async"]
        assert plain["reached_once"] + plain["reached_twice"] + plain["not_reached"] == 40
        assert plain["reached_twice"] > 0
        assert (ours["reached_once"], ours["reached_twice"], ours["not_reached"]) == (40, 0, 0)
        assert (ours["believed_sent"] + ours["unknown"], ours["believed_not_sent"]) == (40, 0)
        assert ours["unknown"] == len(ours["unknown_ids"]) > 0
        del plain["seconds"], ours["seconds"]
    assert first == again
    assert first["smspilot_async"] != other["smspilot_async"]


@pytest.mark.usefixtures("quick")
def test_a_machine_that_is_kept_from_sending_shows_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMSPILOT_TEST", "1")
    figures = run("demo", "--people", "10", "--json").json
    assert figures["smspilot_async"]["reached_once"] == 10


@pytest.mark.usefixtures("many_faults", "quick")
def test_the_demo_is_tidy_at_80_columns_without_a_terminal() -> None:
    ran = run("demo", "--people", "30")
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert all(len(line) <= 80 for line in ran.stdout.splitlines())
    assert "\x1b" not in ran.stdout
    assert re.search(r"a plain loop with retries +[1-9]\d* of 30 reached twice", ran.stdout)
    assert re.search(r"smspilot_async +0 of 30 reached twice, 0 not at all", ran.stdout)
    assert re.search(r"reports \d+ sent and [1-9]\d* unknown, and sends none of those again:\n +no\. \d+", ran.stdout)
    assert re.search(r" no\. \d+ \(7908\*{5}\d\d\) and \d+ more\n", ran.stdout)
    assert re.search(r"\n   0 of 1,182 reached twice, 0 lost\n   1,\d{3} delivered, \d+ not delivered\n", ran.stdout)
    assert re.search(r"\n   from line 124 +\?{20}  no callback: stays unknown\n", ran.stdout)
    assert re.search(r"\n   from line 166 +\N{CHECK MARK}{20}  called back: it was accepted\n", ran.stdout)
    assert re.search(r" 2  refused by the gateway: 204, Sender unregistered +345-346\n", ran.stdout)
    assert "All 1,200 rows are accounted for:" in ran.stdout


@pytest.mark.usefixtures("quick")
def test_a_sender_that_says_that_it_failed_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_race, "FAULT_RATE", 1.0)
    monkeypatch.setattr(_race, "_FAULT", Fault.TOO_MANY_REQUESTS)
    monkeypatch.setattr(_race, "Client", partial(Client, retry=Retry(attempts=1)))
    figures = run("demo", "--people", "3", "--json").json
    for sender in ("plain_loop", "smspilot_async"):
        assert (figures[sender]["not_reached"], figures[sender]["believed_not_sent"]) == (3, 3)


@pytest.mark.usefixtures("quick")
def test_a_run_without_faults_lists_none_as_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_race, "FAULT_RATE", 0.0)
    assert "reports 3 sent and 0 unknown.\n\n" in run("demo", "--people", "3").stdout


def test_the_campaign_s_figures_add_up(played: Played) -> None:
    killed, sent, proven = (played.moments[name] for name in _ending.MOMENTS)
    ending = played.ending
    assert all(sum(moment.values()) == played.info.messages for moment in (killed, sent, proven))
    assert 0 < killed["in_flight"] == sent["in_flight"] <= _campaign.PACKET_SIZE
    assert killed["pending"] > played.info.messages / 3
    assert (sent["pending"], proven["pending"], proven["in_flight"]) == (0, 0, 0)
    assert sent["unknown"] > proven["unknown"] == ending.rows["unknown"] > 0
    assert sum(ending.rows.values()) == played.info.rows
    assert (ending.twice, ending.lost, ending.unknown_at_gateway) == (0, 0, 0)
    assert sum(ending.statuses.values()) == ending.rows["accepted"]
    assert set(ending.statuses) == {"delivered", "not delivered"}
    for outcome, reasons in ending.reasons.items():
        assert sum(map(len, reasons.values())) == ending.rows[outcome]


def test_each_proof_is_shown_as_it_arrives(shown: Shown) -> None:
    frames = [frame for frame in shown.frames if len(frame) == len(shown.played.doubts)]
    proven = [sum(line.count("\N{CHECK MARK}") for line, _ in frame) for frame in frames]
    assert proven[0] == 0
    assert proven == sorted(proven)
    assert len(set(proven)) > 3, "all at once, or hardly any"


def test_while_it_is_sent_a_line_shows_how_far_it_is(shown: Shown) -> None:
    lines = [frame[0][0] for frame in shown.frames if len(frame) == 1]
    assert re.fullmatch(r"   \d+ of 1,182 accepted, \d+ unknown", lines[0])
    assert len(set(lines)) > 3


def test_a_packet_s_row_counts_its_proofs_and_is_green_once_it_has_them_all() -> None:
    doubts = [Doubt(lines=(5, 6, 8), was_killed=False), Doubt(lines=(9, 10), was_killed=True)]
    assert _proofs.rows(doubts, {5, 8, 9, 10}, is_over=False) == [
        ("   from line 5     ?\N{CHECK MARK}?  called back for 1 of 3", "doubt"),
        ("   from line 9     ??", "doubt"),
    ]
    assert _proofs.rows(doubts, {5, 6, 8}, is_over=True) == [
        ("   from line 5     ???  no callback: stays unknown", "doubt"),
        ("   from line 9     \N{CHECK MARK}\N{CHECK MARK}  called back; its sender was killed", "good"),
    ]


def test_a_terminal_gets_colours_that_say_what_is_good_bad_and_in_doubt(shown: Shown) -> None:
    assert "\x1b[31m   a plain loop with retries  33 of 1,000 reached twice" in shown.screen
    assert "\x1b[32m   smspilot_async             0 of 1,000 reached twice" in shown.screen
    assert re.search(r"\x1b\[33m   from line 124 +\?{20}", shown.screen)
    assert re.search(r"\x1b\[32m   from line 166 +\N{CHECK MARK}{20}", shown.screen)


def test_what_is_shown_by_default_fits_a_terminal_of_80_columns(shown: Shown) -> None:
    for screen in (shown.screen, shown.russian):
        lines = [re.sub(r"\x1b\[\d+m", "", line) for line in screen.splitlines()]
        assert [line for line in lines if len(line) > 80] == []


def test_in_russian_it_says_the_same(shown: Shown) -> None:
    lines = [re.sub(r"\x1b\[\d+m", "", line) for line in shown.russian.splitlines()]
    assert len(lines) == len(shown.screen.splitlines())
    assert "   smspilot_async             дважды получили 0 из 1\N{NO-BREAK SPACE}000, ни разу 0" in lines
    words = re.findall(r"[A-Za-z]{3,}", " ".join(lines))
    assert set(words) <= {"SMS", "seed", "smspilot", "async", "kill", "sender", "ttl", "row", "text", "GSM", "UCS"}


@pytest.mark.parametrize("forbids", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_terminal_that_wants_none_gets_no_colours(forbids: Mapping[str, str], played: Played) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"TERM": "xterm", "COLUMNS": "80", "NO_COLOR": "", **forbids}.items():
            patch.setenv(name, value)
        result = CliRunner().invoke(click.Command("ending", callback=lambda: _ending.show(played)), color=True)
    assert "0 of 1,182 reached twice" in result.stdout
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize("name", ["comparison.svg", "comparison.ru.svg", "demo.svg", "demo.ru.svg"])
def test_the_pictures_show_what_a_run_counts_and_prints(name: str, shown: Shown) -> None:
    assert len(shown.drawn) == 4
    assert (demo_pictures.IMAGES / name).read_text(encoding="utf-8") == shown.drawn[name], "make pictures"


SAID = {
    "README.md": "Of {people:,} people, a plain loop with retries reaches {twice} twice, and reports {believed:,} "
    "sent. This library reaches 0 twice, reports {sent} sent, and names the {unknown} whose outcome is unknown.",
    "README.ru.md": "Из {people} человек от обычного цикла с повторами SMS дважды получают {twice}, а в его отчёте "
    "{believed} отправленных. От этой библиотеки дважды не получает никто, а в её отчёте {sent} отправленных и "
    "{unknown} с неизвестным исходом, поимённо.",
}


@pytest.mark.parametrize("page", SAID)
def test_the_readme_says_what_a_run_counts(page: str, shown: Shown) -> None:
    plain, ours = shown.figures["plain_loop"], shown.figures["smspilot_async"]
    assert (ours["reached_twice"], plain["not_reached"], ours["not_reached"]) == (0, 0, 0)
    counted = {"twice": plain["reached_twice"], "believed": plain["believed_sent"], "people": shown.figures["people"]}
    text = SAID[page].format(**counted, sent=ours["believed_sent"], unknown=ours["unknown"])
    assert text in (ROOT / page).read_text(encoding="utf-8")


def test_a_sender_that_does_not_start_ends_the_demo_with_what_it_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_campaign, "_CALLBACKS", "not a URL")
    monkeypatch.setattr(_campaign, "CallbackInbox", lambda _url, **more: CallbackInbox("https://shop.example", **more))
    ran = run("demo", "--people", "1")
    assert ran.exit_code == 4
    assert "the demo's sender got stuck. smspilot: --callbacks: " in ran.stderr
