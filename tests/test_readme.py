"""The README's examples run as they stand there, in English and in Russian; its links work wherever it is shown."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from examples.shop import engine_of
from smspilot_async import Client, Message, Outcome
from smspilot_async.emulator import Fault
from smspilot_async.outbox import Outbox

if TYPE_CHECKING:
    from smspilot_async.emulator import Emulator

ROOT: Final = Path(__file__).parent.parent
PAGES: Final = ("README.md", "README.ru.md")
URL: Final = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Source"]
_BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT: Final = re.compile(r" +# .*$", re.MULTILINE)
_HEADING: Final = re.compile(r"^(#+) (.+)$", re.MULTILINE)
_TARGET: Final = re.compile(r"^\[([\w-]+)\]: (\S+)$", re.MULTILINE)
_INLINE: Final = re.compile(r"\]\(([^)\s]+)\)")


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def prose_of(page: str) -> str:
    """A page without its blocks."""
    return _BLOCK.sub("", text_of(page))


def blocks(page: str, language: str) -> list[str]:
    return [code for found, code in _BLOCK.findall(text_of(page)) if found == language]


async def ran(page: str, holding: str) -> dict[str, Any]:
    """Run a block as in ``python -m asyncio``, and return its names."""
    (code,) = [each for each in blocks(page, "python") if holding in each]
    namespace: dict[str, Any] = {}
    compiled = compile(code, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    work = eval(compiled, namespace)  # noqa: S307 - our own page
    if inspect.iscoroutine(work):
        await work
    return namespace


@pytest.fixture
def environment(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    monkeypatch.setenv("SMSPILOT_URL", emulator.url)
    return emulator


@pytest.fixture(params=PAGES)
def page(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_python_block_is_run_here(page: str) -> None:
    run_below = ("as client:  ", "def send_code", "def campaign", "def notify")
    assert len(blocks(page, "python")) == len(run_below)
    assert all(holding in code for holding, code in zip(run_below, blocks(page, "python"), strict=True))


async def test_the_three_lines_send(page: str, environment: Emulator) -> None:
    environment.add_account(api_key="API-KEY")
    names = await ran(page, "as client:  ")
    assert [message.server_id for message in environment.messages] == [names["sent"].server_id]


async def test_a_failure_is_told_from_an_unknown(page: str, environment: Emulator, client: Client) -> None:
    send_code = (await ran(page, "def send_code"))["send_code"]
    assert await send_code(client, "79087964781", "1234") == "sent"
    assert (await send_code(client, "123", "1234")).startswith("not sent: to: a phone has 7 to 15 digits")
    environment.fail_next("send", Fault.ACCEPT_THEN_RESET)
    assert await send_code(client, "79087964782", "1234") == "it may arrive in a moment"
    assert len(environment.messages) == 2


async def test_the_campaign_sends_all(
    page: str, environment: Emulator, client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    campaign = (await ran(page, "def campaign"))["campaign"]
    await campaign(client, [Message("79087964781", f"no. {n}") for n in range(3)])
    assert capsys.readouterr().out.startswith("3 ")
    assert len(environment.messages) == 3


async def test_the_outbox_sends_what_a_transaction_has_committed(
    page: str, environment: Emulator, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SMSPILOT_API_KEY", environment.api_key)
    await Outbox.create("sqlite:///shop.db", client)
    engine = await asyncio.to_thread(engine_of, "sqlite+aiosqlite:///shop.db")
    async with AsyncSession(engine) as session:
        record = await (await ran(page, "def notify"))["notify"](session, 42, "79087964781")
    await engine.dispose()
    assert record.outcome is Outcome.ACCEPTED
    assert [message.text for message in environment.messages] == ["Order 42 is ready"]


def test_the_page_is_short_enough_to_be_read(page: str) -> None:
    assert len(text_of(page).splitlines()) < 150


def test_the_russian_page_has_the_same_headings_blocks_and_links() -> None:
    english, russian = PAGES
    assert [len(level) for level, _ in _HEADING.findall(prose_of(english))] == [
        len(level) for level, _ in _HEADING.findall(prose_of(russian))
    ]
    for language in ("python", "console"):
        assert [_COMMENT.sub("", code) for code in blocks(english, language)] == [
            _COMMENT.sub("", code) for code in blocks(russian, language)
        ]
    assert [url.replace(".ru.", ".") for url in links(russian)] == [url.replace(".ru.", ".") for url in links(english)]
    assert len(re.findall(r"^[*|] ?", prose_of(english), re.MULTILINE)) == len(
        re.findall(r"^[*|] ?", prose_of(russian), re.MULTILINE)
    )


def test_the_other_language_is_one_link_away() -> None:
    english, russian = PAGES
    assert f"{URL}/blob/main/{russian}" in links(english)
    assert f"{URL}/blob/main/{english}" in links(russian)


def links(page: str) -> list[str]:
    """The targets of a page's links and pictures in order, but for those inside the page."""
    inline = [target for target in _INLINE.findall(prose_of(page)) if not target.startswith("#")]
    return inline + [target for _, target in _TARGET.findall(prose_of(page))]


def test_links_work_wherever_the_page_is_shown(page: str) -> None:
    """The package index resolves no relative links, and this project has one address."""
    assert len(links(page)) > 25
    assert [url for url in links(page) if not url.startswith((f"{URL}/", "https://smspilot.ru"))] == []


def test_links_into_the_repository_name_files_and_headings_that_exist(page: str) -> None:
    for url in links(page):
        if found := re.fullmatch(re.escape(URL) + r"/(?:blob|raw|tree)/main/([^#]+)(?:#(.+))?", url):
            path, anchor = found.groups()
            assert (ROOT / path).exists(), url
            assert anchor is None or anchor in anchors((ROOT / path).read_text(encoding="utf-8")), url
        else:
            assert url == "https://smspilot.ru"


def test_links_inside_the_page_lead_to_its_headings(page: str) -> None:
    inside = [target[1:] for target in _INLINE.findall(prose_of(page)) if target.startswith("#")]
    assert len(inside) == 3
    assert set(inside) <= anchors(prose_of(page))


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for _, heading in _HEADING.findall(text)}


def test_every_target_is_used_and_every_reference_has_one(page: str) -> None:
    targets = {name for name, _ in _TARGET.findall(prose_of(page))}
    prose = _TARGET.sub("", prose_of(page))
    used = {name or text.lower() for text, name in re.findall(r"\[([^\]]+)\](?:\[([\w-]+)\]|(?!\())", prose)}
    assert used == targets


def test_pictures_have_an_alternative_text(page: str) -> None:
    texts = re.findall(r"!\[([^\]]*)\]", prose_of(page))
    assert len(texts) == 2
    assert all(len(text) > 60 for text in texts)


def test_the_page_has_no_html_which_the_package_index_would_strip(page: str) -> None:
    assert re.findall(r"</?[a-z][^>]*>", prose_of(page)) == []
