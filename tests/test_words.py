"""Texts are written as a native engineer writes them: the worst phrases of the past do not come back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parent.parent
ROOMS: Final = ("benchmarks", "docs", "examples", "smspilot_async", "tests")
KINDS: Final = frozenset({".py", ".md", ".ipynb"})
LAST_UNEDITED_RELEASE: Final = "\n## [0.4.0]"

# What must not be written, and what to write instead.
BETTER: Final = {
    r'"""Tells? (?!\S*\()|"""[^"\n]*(?:, and|;) tells? ': "Return …; a function that acts says what it does",
    r"\bnobody\b": "no one, a passive, or what is not known",
    r"\bcan\s+not\b": "cannot",
    r"\b(?:that|which) is none\b(?! of)": "that is not a …",
    r"\btime-outs?\b": "timeout",
    r"\bnothing left\b(?! to\b)": "nothing was sent",
    r"\bleaves? the frame away\b": "omits the boilerplate",
    r"\bbelongs? into\b": "put … inside",
    r"\btakes? a scheduled message back\b": "a scheduled message cannot be cancelled",
    r"\bdashes and `+\+`+ go\b": "are stripped",
    r"`NO_PROXY`+ are heard\b": "are honoured",
    r"\bwho has a veto\b": "a hook may veto a message",
    r"\blets nothing go\b": "the message is not sent",
    r"\bgoes quietly with\b": "is cleaned up without a warning",
    r"\bis mended\b": "after fixing what … describes",
    r"\bagain by a rule\b": "never resend it automatically",
    r"\blooks? whether\b": "check, find out",
    r"\bsuch as it is\b": "(leave it out)",
    r"\bin vain\b": "without effect",
}
WORST: Final = re.compile("|".join(BETTER), re.IGNORECASE)
NAME_OF_A_TEST: Final = re.compile(r"\btest_\w+")


def test_no_phrase_of_the_past_comes_back() -> None:
    found = list(phrases())
    assert not found, "\n".join([*found, *(f"{phrase} → {better}" for phrase, better in BETTER.items())])


@pytest.mark.parametrize(
    ("bad", "good"),
    [
        ('"""Tell whether it is open."""', '"""Return whether it is open."""'),
        ("Nobody can\nnot know it.", "It cannot be known: nobody_knows is a name."),
        ("a hook that is none", "a hook that is none of ours"),
        ('"""Ask, and tell the answer."""', '"""Ask, and return the answer."""'),
        ("a Time-Out", "a timeout"),
        ("raises; nothing left.", "there is nothing left to send"),
    ],
)
def test_a_phrase_is_found_and_what_to_write_instead_is_not(bad: str, good: str) -> None:
    assert WORST.search(bad)
    assert not WORST.search(good)


def phrases() -> Iterator[str]:
    """Yield the phrases found, each with its file and line."""
    for path in texts():
        text = text_of(path)
        for phrase in WORST.finditer(text):
            yield f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, phrase.start()) + 1}: {phrase[0]!r}"


def texts() -> Iterator[Path]:
    """Every text of the project but this one."""
    paths = [*ROOT.glob("*"), *(path for room in ROOMS for path in (ROOT / room).rglob("*"))]
    yield from sorted(path for path in paths if path.suffix in KINDS and path != Path(__file__))


def text_of(path: Path) -> str:
    """Return a file's text, names of tests as words; of the changelog what is newer than the last unedited release."""
    text = NAME_OF_A_TEST.sub(lambda name: name[0].replace("_", " "), path.read_text(encoding="utf-8"))
    return text.partition(LAST_UNEDITED_RELEASE)[0] if path.name == "CHANGELOG.md" else text
