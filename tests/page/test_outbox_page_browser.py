"""The page of a ledger in a real browser: from a messy list to the report, by mouse and keyboard, with two people."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import pytest_asyncio
from outbox_page import ANNA, BORIS, VERA, open_page
from playwright.async_api import Page, expect
from visitor import Visitor

from smspilot_async import Client
from smspilot_async.emulator import Emulator, Fault
from smspilot_async.outbox import Outbox, _ledger
from smspilot_async.page import PageSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from playwright.async_api import Browser, Locator

pytestmark = pytest.mark.asyncio(loop_scope="module")  # the loop of the browser, which takes a second to start

SCRIPT = "<script>window.wasRun = 1</script>"
MESSY = (
    "sep=;\r\n"
    " Имя ;ТЕЛЕФОН;Сумма\r\n"
    "Анна;8 (908) 796-47-81;5\r\n"
    "\r\n"
    '"Пётр; младший";+7 908 796 47 82;10\r\n'
    "Анна;9087964781;5\r\n"
    "Борис;12345;7\r\n"
    ";79087964783.0;=1+1\r\n"
    f"{SCRIPT};79087964784;1\r\n"
)


@attrs.frozen
class Person:
    """Somebody with the page open in a browser of their own."""

    page: Page
    visitor: Visitor

    @classmethod
    async def comes(cls, browser: Browser, base: str, secret: str, **context: Any) -> Person:
        visitor = await Visitor.opens(browser, base, **context)
        person = cls(visitor.page, visitor)
        await expect(person.page.get_by_label("Secret")).to_be_focused()
        await person.page.keyboard.type(secret)
        await person.page.keyboard.press("Enter")
        await expect(person.page.get_by_role("heading", name="Now")).to_be_visible()
        return person

    async def goes_to(self, part: str) -> None:
        await self.visitor.goes_to(part)

    async def opens_campaign(self, part: str, name: str) -> None:
        await self.goes_to(part)
        await self.page.get_by_role("link", name=name).click()
        await expect(self.page.get_by_role("heading", name=name)).to_be_visible()

    @property
    def dialog(self) -> Locator:
        return self.page.get_by_role("dialog")

    async def orders(self, button: str, *, does: str | None = None, **fields: str) -> None:
        """Press a button, fill in what is asked for, and order it."""
        await self.visitor.presses(button)
        await self.answers(does or button, **fields)
        await expect(self.dialog).to_be_hidden()

    async def answers(self, does: str, **fields: str) -> None:
        for name, value in fields.items():
            await self.dialog.locator(f"[name={name}]").fill(value)
        await self.dialog.get_by_role("button", name=does, exact=True).click()

    async def sees_state(self, state: str) -> None:
        await expect(self.page.locator("#c-state")).to_have_text(state)

    async def sees(self, text: str) -> None:
        await expect(self.page.get_by_text(text).first).to_be_visible()


@pytest_asyncio.fixture(loop_scope="module")
async def client(emulator: Emulator) -> AsyncIterator[Client]:
    async with Client(emulator.api_key, url=emulator.url) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def outbox(tmp_path: Path, client: Client) -> AsyncIterator[Outbox]:
    url = f"sqlite:///{tmp_path}/sms.db"
    await Outbox.create(url, client)
    async with Outbox(url) as outbox:
        yield outbox


@pytest_asyncio.fixture(loop_scope="module")
async def base(outbox: Outbox, client: Client) -> AsyncIterator[str]:
    async with open_page(outbox, client, PageSettings(second_person=True)) as base:
        yield f"{base}/"


@attrs.frozen
class Scene:
    """The page of a ledger, what is behind it, and the gateway."""

    base: str
    outbox: Outbox
    client: Client
    emulator: Emulator


@pytest.fixture
def scene(base: str, outbox: Outbox, client: Client, emulator: Emulator) -> Scene:
    return Scene(base, outbox, client, emulator)


async def upload(person: Person, path: Path, content: bytes) -> None:
    path.write_bytes(content)  # noqa: ASYNC240 - a few bytes
    async with person.page.expect_file_chooser() as chosen:
        await person.page.locator("[name=list]").click()
    await (await chosen.value).set_files(path)
    await person.visitor.presses("Upload")
    await expect(person.page.get_by_label("Column with phones")).to_be_visible()


async def refused(outbox: Outbox, client: Client, emulator: Emulator, count: int) -> None:
    """A campaign that is over, of which so many messages were refused for a sender that is registered now."""
    campaign = await outbox.campaigns.create("promo-12", [(f"7908796{number:04}", "Sale") for number in range(count)])
    await campaign.estimate(client)
    await campaign.approve()
    await campaign.start()
    emulator.refuse(code=204)
    await outbox.drain(client)
    emulator._gateway.refusals.clear()


async def test_from_a_messy_list_to_the_report_with_a_second_person(
    browser: Browser, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = await Person.comes(browser, scene.base, ANNA)
    boris = await Person.comes(browser, scene.base, BORIS)
    await expect(anna.page.locator("#banner")).to_have_text(f"account 1 · {scene.emulator.url}")
    await expect(anna.page.locator("#mode")).to_have_text("live")
    await anna.sees("No worker runs")
    await makes_a_draft(anna, tmp_path)
    await tries_and_estimates(anna, scene.emulator)
    await boris.opens_campaign("Draft", "promo-11")
    await boris.orders("Approve")
    await anna.sees_state("approved")
    await sends_in_waves(anna, scene)
    await settles_what_is_unknown(anna, monkeypatch)
    async with anna.page.expect_popup() as opened:
        await anna.page.get_by_role("link", name="Report").click()
    report = await opened.value
    await expect(report.get_by_role("heading", name="promo-11")).to_be_visible()
    log = anna.page.locator("#c-log")
    for who, what in (("boris", "campaign approve"), ("anna", "campaign start"), ("anna", "settle · assume sent")):
        await expect(log.locator("tr").filter(has_text=who).filter(has_text=what).first).to_be_visible()
    # The browser itself notes that the wrong number was refused.
    assert [complaint for complaint in anna.visitor.complaints if "409" not in complaint] == []
    assert boris.visitor.complaints == []


async def makes_a_draft(anna: Person, folder: Path) -> None:
    await anna.goes_to("Draft")
    await upload(anna, folder / "Клиенты ноябрь.csv", MESSY.encode("cp1251"))
    sample = anna.page.locator("#sample")
    await expect(sample.locator("tbody tr")).to_have_count(5)
    await expect(sample).to_contain_text("8908•••••81")
    assert "796-47" not in await sample.inner_text()
    await expect(anna.page.get_by_label("Column with phones")).to_have_value("телефон")
    await anna.page.locator("[name=name]").fill("promo-11")
    await anna.page.get_by_role("textbox", name="Template").fill("{имя|Друг}, скидка {сумма} руб.")
    await anna.visitor.presses("Import as a draft")
    await anna.sees_state("draft")
    counts = anna.page.locator("#c-counts")
    await expect(counts).to_contain_text("bad rows1")
    await expect(counts).to_contain_text("repeated, dropped1")
    await expect(anna.page.get_by_role("region", name="Preview")).to_contain_text("7908•••••")
    assert await anna.page.evaluate("window.wasRun") is None


async def tries_and_estimates(anna: Person, emulator: Emulator) -> None:
    text = "Пётр; младший, скидка 10 руб."
    await anna.orders("Test to my phone", does="Send it", to="79087964789", line="5")
    await anna.sees(f"Sent: {text}")
    assert [(message.to, message.text) for message in emulator.messages] == [("79087964789", text)]
    await anna.orders("Estimate", rate="10")
    await anna.sees_state("estimated")
    await expect(anna.page.locator("#c-estimate")).to_contain_text("line 7: to: a phone has 7 to 15 digits")
    await anna.sees("You made it: another person approves it.")
    await expect(anna.page.get_by_role("button", name="Approve")).to_have_count(0)


async def sends_in_waves(anna: Person, scene: Scene) -> None:
    emulator = scene.emulator
    async with scene.outbox.worker(scene.client, packet_size=2):
        await anna.orders("Start", first="2")
        await anna.sees("the wave has left")
        assert len(emulator.messages) == 3  # with the test
        emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
        await anna.orders("Resume")
        await anna.sees_state("finished")
    texts = {message.text for message in emulator.messages}
    assert {"Анна, скидка 5 руб.", "Друг, скидка =1+1 руб.", f"{SCRIPT}, скидка 1 руб."} <= texts


async def settles_what_is_unknown(anna: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = anna.page.locator("#c-unknown")
    await expect(unknown).to_contain_text("2 unknown, 0 can be settled now")
    await expect(unknown.locator("tbody tr")).to_have_count(2)
    later = time.time_ns() // 1000 + 120 * _ledger.SECOND
    monkeypatch.setattr(_ledger, "now_us", lambda: later)
    await anna.visitor.presses("Settle unknown")
    await anna.answers("Settle", expect="3", why="asked them")
    await expect(anna.dialog.get_by_role("alert")).to_contain_text("2 messages would be settled, not 3")
    await anna.answers("Settle", expect="2", why="asked them")
    await anna.sees("2 messages settled.")


async def test_a_text_that_is_a_script_is_shown_and_not_run(browser: Browser, base: str, outbox: Outbox) -> None:
    name = "<img src=x onerror='window.wasRun = 1'>"
    await outbox.campaigns.create(name, [("79087964781", SCRIPT)], sender=None, actor=SCRIPT)
    await outbox.halt(SCRIPT, actor="<b>eve</b>")
    vera = await Person.comes(browser, base, VERA)
    await expect(vera.page.locator("#now-obstacles")).to_contain_text(SCRIPT)
    await vera.goes_to("Draft")
    await vera.page.get_by_role("link", name=name).click()
    await expect(vera.page.locator("#c-name")).to_have_text(name)
    await expect(vera.page.locator("#c-rows")).to_contain_text(SCRIPT)
    assert await vera.page.locator("main img, main script, main b").count() == 0
    assert await vera.page.evaluate("window.wasRun") is None
    assert vera.visitor.complaints == []
    tried = "try { document.body.innerHTML = '<b>x</b>'; 'done' } catch (error) { error.name }"
    assert await vera.page.evaluate(tried) == "TypeError"


async def test_who_may_view_sees_no_order(browser: Browser, base: str, outbox: Outbox) -> None:
    await outbox.campaigns.create("promo-11", [("79087964781", "Sale")])
    vera = await Person.comes(browser, base, VERA)
    await expect(vera.page.get_by_role("button")).to_have_text(["Log out"])
    await vera.goes_to("Draft")
    await expect(vera.page.get_by_role("link", name="promo-11")).to_be_visible()
    await expect(vera.page.locator("#new")).to_be_hidden()
    await vera.page.get_by_role("link", name="promo-11").click()
    await expect(vera.page.get_by_role("button")).to_have_text(["Log out", "Show other rows"])


async def test_of_two_who_press_retry_at_once_one_is_obeyed(
    browser: Browser, base: str, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    await refused(outbox, client, emulator, 30)
    people = [await Person.comes(browser, base, secret) for secret in (ANNA, BORIS)]
    for person in people:
        await person.opens_campaign("After", "promo-12")
        await person.visitor.presses("Send some again")
        await person.answers("Count", select="204")
        await expect(person.dialog.get_by_role("heading", name="Send 30 again")).to_be_visible()
    for person in people:
        await person.answers("Send again", expect="30", why="it is registered")
    first, second = people
    await first.sees("30 messages will be sent again.")
    await expect(second.dialog.get_by_role("alert")).to_contain_text("0 messages would be sent again, not 30")
    retries = [(one.actor, one.count) for one in await outbox.log() if one.action == "campaign retry"]
    assert sorted(retries) == [("anna", 30), ("boris", 0)]
    await outbox.drain(client)
    assert len(emulator.messages) == 30


async def test_unknown_messages_are_sent_again_only_by_who_says_that_it_may_be_twice(
    browser: Browser, base: str, outbox: Outbox, client: Client, emulator: Emulator
) -> None:
    campaign = await outbox.campaigns.create("promo-11", [("79087964781", "Sale")])
    await campaign.estimate(client)
    await campaign.approve()
    await campaign.start()
    emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
    await outbox.drain(client)
    anna = await Person.comes(browser, base, ANNA)
    await anna.opens_campaign("After", "promo-11")
    await anna.visitor.presses("Send some again")
    await anna.answers("Count", select="unknown")
    await expect(anna.dialog.get_by_role("heading", name="Send 1 again")).to_be_visible()
    await anna.answers("Send again", expect="1", why="asked them")  # the box is not ticked
    await expect(anna.dialog).to_be_visible()
    assert (await campaign.status()).messages["unknown"] == 1
    await anna.dialog.get_by_role("checkbox").check()
    await anna.answers("Send again")
    await anna.sees("1 messages will be sent again.")
    assert (await campaign.status()).messages["pending"] == 1


async def test_a_halt_is_seen_by_all_and_released(browser: Browser, base: str, outbox: Outbox) -> None:
    anna = await Person.comes(browser, base, ANNA)
    vera = await Person.comes(browser, base, VERA)
    await anna.orders("Halt everything", does="Halt", why="strange texts")
    await vera.sees("Halted (everything): strange texts")
    await anna.orders("Release", why="two looked")
    await expect(vera.page.locator("#now-obstacles")).not_to_contain_text("Halted")
    assert [(one.actor, one.action) for one in await outbox.log()] == [("anna", "release"), ("anna", "halt")]


async def test_a_wrong_secret_says_so_and_a_logout_ends_it(browser: Browser, base: str) -> None:
    visitor = await Visitor.opens(browser, base)
    await visitor.page.get_by_label("Secret").fill("wrong")
    await visitor.presses("Log in")
    await expect(visitor.page.get_by_role("alert")).to_have_text("no one has this secret")
    await visitor.page.get_by_label("Secret").fill(ANNA)
    await visitor.presses("Log in")
    await visitor.presses("Log out")
    await expect(visitor.page.get_by_label("Secret")).to_be_visible()
    await visitor.page.reload()
    await expect(visitor.page.get_by_label("Secret")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_can_be_read_on_a_narrow_screen_by_day_and_by_night(
    scheme: str, browser: Browser, base: str, outbox: Outbox
) -> None:
    name = "promo-with-a-very-long-name-" * 3
    await outbox.campaigns.create(name, [("79087964781", "x" * 300)])
    vera = await Person.comes(browser, base, VERA, viewport={"width": 360, "height": 640}, color_scheme=scheme)
    for part in ("Now", "Draft", "Running", "After"):
        await vera.goes_to(part)
        await expect(vera.page.get_by_role("link", name=part)).to_have_attribute("aria-current", "page")
        assert await vera.page.evaluate("document.documentElement.scrollWidth") == 360
    await vera.opens_campaign("Draft", name)
    assert await vera.page.evaluate("document.documentElement.scrollWidth") == 360
    background = await vera.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(re.findall(r"\d+", background)[0]) > 128) == (scheme == "light")


async def test_a_server_that_is_away_is_said_to_be_and_caught_up_with(browser: Browser, base: str) -> None:
    anna = await Person.comes(browser, base, ANNA)
    await anna.page.route("**/api/now", lambda route: route.abort())
    await expect(anna.page.get_by_role("alert").first).to_contain_text("cannot be reached")
    await anna.page.unroute("**/api/now")
    await expect(anna.page.locator("#alarm")).to_be_hidden()
