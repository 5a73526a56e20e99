"""The rooms of the emulator's page beside messages, in a real browser: requests, conversations and control."""

from __future__ import annotations

import asyncio
import csv
import json
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from playwright.async_api import expect
from visitor import Visitor

from smspilot_async import Client, GatewayError, Message, Unanswered
from smspilot_async.emulator import Emulator, Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser, Locator, Route

pytestmark = pytest.mark.asyncio(loop_scope="module")  # the loop of the browser, which takes a second to start

PHONE, OTHER = "79087964781", "79087964782"


@pytest_asyncio.fixture(loop_scope="module")
async def client(emulator: Emulator) -> AsyncIterator[Client]:
    async with Client(emulator.api_key, url=emulator.url) as client:
        yield client


def requests(visitor: Visitor) -> Locator:
    """The requests that are shown, newest first."""
    return visitor.page.locator("#request-list > li")


class TestRequests:
    async def test_each_is_shown_with_its_outcome_as_it_comes(
        self, visitor: Visitor, client: Client, emulator: Emulator
    ) -> None:
        await visitor.goes_to("Requests")
        await expect(requests(visitor)).to_contain_text(["Nothing yet."])
        await client.send(PHONE, "x")
        await client.send_packet([Message(PHONE, "y"), Message(OTHER, "y")])
        emulator.refuse(code=204, to=OTHER)
        await client.send_packet([Message(PHONE, "z"), Message(OTHER, "z")])
        await expect(requests(visitor)).to_contain_text(["1 accepted, 1 refused (204)", "2 accepted", PHONE])

    async def test_one_is_shown_word_for_word_but_for_its_key(
        self, visitor: Visitor, client: Client, emulator: Emulator
    ) -> None:
        await client.send(PHONE, "<b>Привет</b>")
        await visitor.goes_to("Requests")
        await requests(visitor).locator("summary").click()
        request, answer = visitor.page.get_by_label("Request", exact=True), visitor.page.get_by_label("Answer")
        await expect(request).to_contain_text("<b>Привет</b>")
        await expect(request).to_contain_text("POST /api2.php")
        await expect(answer).to_contain_text('"server_id"')
        assert emulator.api_key not in await visitor.page.content()
        assert f"…{emulator.api_key[-4:]}" in (await request.text_content() or "")

    async def test_what_is_open_stays_open_while_others_come(self, visitor: Visitor, client: Client) -> None:
        await client.send(PHONE, "first")
        await visitor.goes_to("Requests")
        await requests(visitor).locator("summary").click()
        await expect(visitor.page.get_by_label("Request", exact=True)).to_contain_text("first")
        await client.send(PHONE, "second")
        await expect(requests(visitor)).to_have_count(2)
        await expect(visitor.page.get_by_label("Request", exact=True)).to_contain_text("first")

    async def test_those_that_were_refused_or_failed_can_be_seen_alone(
        self, visitor: Visitor, client: Client, emulator: Emulator
    ) -> None:
        await client.balance()
        emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
        with pytest.raises(Unanswered):
            await client.send(PHONE, "x")
        await client.info()
        await visitor.goes_to("Requests")
        await expect(requests(visitor)).to_have_count(3)
        await visitor.page.get_by_label("Only refused or failed").check()
        await expect(requests(visitor)).to_have_count(1)
        await expect(requests(visitor)).to_contain_text(["1 accepted, then reset"])
        await requests(visitor).locator("summary").click()
        await expect(visitor.page.get_by_text("the connection was reset instead")).to_be_visible()

    async def test_a_refusal_leads_to_its_request(self, visitor: Visitor, client: Client, emulator: Emulator) -> None:
        await client.balance()
        emulator.refuse(code=204)
        with pytest.raises(GatewayError):
            await client.send(PHONE, "refused")
        await visitor.goes_to("Refused 1")
        await visitor.page.get_by_role("link", name="request 2").click()
        await expect(visitor.page.get_by_label("Request", exact=True)).to_contain_text("refused")
        await expect(visitor.page).to_have_url(f"{emulator.page_url}#request/2")

    async def test_of_very_many_the_newest_are_shown(
        self, visitor: Visitor, emulator: Emulator, client: Client
    ) -> None:
        for _ in range(210):
            await client.balance()
        await visitor.goes_to("Requests")
        await expect(visitor.page.get_by_text("The newest 200 of 210")).to_be_visible()
        await expect(requests(visitor)).to_have_count(200)
        emulator.reset()
        await expect(requests(visitor)).to_contain_text(["Nothing yet."])


class TestConversation:
    async def test_both_sides_are_shown_in_order_and_a_person_replies(
        self, visitor: Visitor, client: Client, emulator: Emulator
    ) -> None:
        await client.send(PHONE, "Come tomorrow?")
        await client.send(OTHER, "not here")
        emulator.inbound(PHONE, "Yes")
        await visitor.opens_message("Come tomorrow?")
        await visitor.detail.get_by_role("link", name="Conversation").click()
        said = visitor.page.get_by_role("list", name="Said").get_by_role("listitem").locator("p")
        await expect(said).to_have_text(["Come tomorrow?", "Yes"])
        await visitor.page.get_by_label("Reply from this phone").fill("At ten")
        await visitor.presses("Reply")
        await expect(said).to_have_text(["Come tomorrow?", "Yes", "At ten"])
        await client.send(PHONE, "Good")
        await expect(said).to_have_text(["Come tomorrow?", "Yes", "At ten", "Good"])
        assert [message.text for message in await client.inbound()] == ["Yes", "At ten"]

    async def test_a_phone_is_looked_up_as_it_is_written(self, visitor: Visitor, emulator: Emulator) -> None:
        emulator.inbound(PHONE, "<i>Hello</i>")
        await visitor.page.get_by_role("navigation").get_by_role("link", name="Conversation").click()
        await visitor.page.get_by_label("Phone", exact=True).fill("+7 (908) 796-47-81")
        await visitor.presses("Show")
        said = visitor.page.get_by_role("list", name="Said").get_by_role("listitem")
        await expect(said).to_contain_text(["<i>Hello</i>"])
        await expect(visitor.page).to_have_url(f"{emulator.page_url}#conversation/{PHONE}")

    async def test_an_inbound_message_leads_to_its_conversation(self, visitor: Visitor, emulator: Emulator) -> None:
        emulator.inbound(PHONE, "Hello")
        await visitor.goes_to("Inbound")
        await visitor.page.get_by_role("link", name=f"Conversation with {PHONE}").click()
        await expect(visitor.page.get_by_role("list", name="Said")).to_contain_text("Hello")

    async def test_statuses_are_followed(self, visitor: Visitor, client: Client, emulator: Emulator) -> None:
        await client.send(PHONE, "x")
        await visitor.page.goto(f"{emulator.page_url}#conversation/{PHONE}")
        state = visitor.page.get_by_role("list", name="Said").locator(".state")
        await expect(state).to_have_text(["accepted"])
        emulator.clock.advance(minutes=1)
        await expect(state).to_have_text(["delivered"])


class TestControl:
    async def test_the_clock_is_advanced_and_set(self, visitor: Visitor, client: Client, emulator: Emulator) -> None:
        await visitor.goes_to("Control")
        before = emulator.clock.now()
        await client.send(PHONE, "x")
        await visitor.presses("+ 1 min")
        await expect(visitor.page.locator("#clock")).to_have_text(shown(emulator))
        assert (emulator.clock.now() - before).total_seconds() == 60
        assert emulator.messages[0].status == 2
        await visitor.page.get_by_label("Time", exact=True).fill("2027-03-04T05:06:07")
        await visitor.page.get_by_label("Seconds per second").fill("0")
        await visitor.presses("Set the clock")
        await expect(visitor.page.locator("#clock")).to_have_text("05:06:07")
        assert emulator.clock.now().astimezone().isoformat()[:19] == "2027-03-04T05:06:07"

    async def test_the_balance_of_each_account_is_set(self, visitor: Visitor, emulator: Emulator) -> None:
        emulator.add_account(login="a@example.com", password="secret", balance=Decimal(5))
        await visitor.goes_to("Control")
        await visitor.page.get_by_label("Account 2 ").fill("1 234,50")
        await visitor.page.get_by_role("button", name="Set the balance").nth(1).click()
        await expect(visitor.page.get_by_role("status").filter(has_text="The balance is set")).to_be_visible()
        assert [account.balance for account in emulator.accounts] == [Decimal(1000000), Decimal("1234.50")]

    async def test_what_is_no_amount_is_explained(self, visitor: Visitor) -> None:
        await visitor.goes_to("Control")
        await visitor.page.get_by_label("Account 1 ").fill("much")
        await visitor.presses("Set the balance")
        await expect(visitor.page.get_by_role("status").filter(has_text="balance must be an amount")).to_be_visible()
        visitor.complaints.clear()  # the browser notes the 400

    async def test_an_answer_that_comes_late_does_not_overwrite_what_is_typed(
        self, visitor: Visitor, emulator: Emulator
    ) -> None:
        async def application(*_: object) -> None: ...

        emulator.callbacks_to = application
        is_typed, was_asked = asyncio.Event(), asyncio.Event()

        async def answer_late(route: Route) -> None:
            was_asked.set()
            await is_typed.wait()
            await route.continue_()

        await visitor.page.route("**/callbacks-to", answer_late)
        await visitor.goes_to("Control")
        await was_asked.wait()
        field = visitor.page.get_by_label("Send all to a local URL")
        await field.fill("http://127.0.0.1:8000")
        is_typed.set()
        await expect(field).to_have_attribute("placeholder", "an application in the test's process")
        await expect(field).to_have_value("http://127.0.0.1:8000")

    async def test_callbacks_are_sent_to_a_local_url(self, visitor: Visitor, emulator: Emulator) -> None:
        await visitor.goes_to("Control")
        await visitor.page.get_by_label("Send all to a local URL").fill("http://127.0.0.1:8000")
        await visitor.presses("Set")
        await expect(visitor.page.get_by_role("status").filter(has_text="Callbacks go to")).to_be_visible()
        assert emulator.callbacks_to == "http://127.0.0.1:8000"
        await visitor.page.get_by_label("Send all to a local URL").fill("")
        await visitor.presses("Set")
        await expect(visitor.page.get_by_role("status").filter(has_text="their own URLs")).to_be_visible()
        assert emulator.callbacks_to is None

    @pytest.mark.parametrize("name", ["messages.csv", "messages.json", "requests.csv", "requests.json"])
    async def test_records_are_saved_as_files(self, name: str, visitor: Visitor, client: Client) -> None:
        await client.send(PHONE, "Привет")
        await visitor.goes_to("Control")
        async with visitor.page.expect_download() as download:
            await visitor.page.get_by_role("link", name=name).click()
        saved = await download.value
        assert saved.suggested_filename == name
        text = (await saved.path()).read_text("utf-8-sig")
        rows = json.loads(text) if name.endswith(".json") else list(csv.DictReader(text.splitlines()))
        assert len(rows) == 1

    async def test_clearing_takes_two_presses(self, visitor: Visitor, client: Client, emulator: Emulator) -> None:
        await client.send(PHONE, "x")
        await visitor.goes_to("Control")
        await visitor.presses("Clear everything")
        assert len(emulator.messages) == 1
        await visitor.presses("Press again to clear everything")
        await expect(visitor.page.get_by_role("status").filter(has_text="Everything is cleared")).to_be_visible()
        assert emulator.state()["messages"] == emulator.state()["requests"] == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_each_room_fits_a_narrow_window(
    scheme: str, browser: Browser, emulator: Emulator, client: Client
) -> None:
    await client.send(PHONE, "x" * 300)
    emulator.inbound(PHONE, "y" * 300)
    emulator.refuse(code=204)
    with pytest.raises(GatewayError):
        await client.send(PHONE, "z" * 300)
    visitor = await Visitor.opens(
        browser, emulator.page_url, viewport={"width": 360, "height": 640}, color_scheme=scheme
    )
    await visitor.sees_it_live()
    for room in ("requests", "request/1", f"conversation/{PHONE}", "control", "refused", "inbound"):
        await visitor.page.goto(f"{emulator.page_url}#{room}")
        await expect(visitor.page.locator("main > section:visible .card").first).to_be_visible()
        assert await visitor.page.evaluate("document.documentElement.scrollWidth") == 360
    assert visitor.complaints == []


def shown(emulator: Emulator) -> str:
    """The emulator's time as the page writes it, whose browser has the machine's zone."""
    return emulator.clock.now().astimezone().strftime("%H:%M:%S")
