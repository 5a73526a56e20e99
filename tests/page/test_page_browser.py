"""The page, used as a person uses it, in a real browser before a real server."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
import pytest_asyncio
from playwright.async_api import expect
from raw_servers import answering, http, raw_server
from visitor import Visitor
from waiting import until

from smspilot_async import Client, GatewayError, Message, Retry, Unanswered
from smspilot_async.emulator import TEST_KEY, Account, Emulator, Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser

pytestmark = pytest.mark.asyncio(loop_scope="module")  # the loop of the browser, which takes a second to start

PHONE, OTHER = "79087964781", "79087964782"
SCRIPT = "<script>window.wasRun = 1</script>"
IMAGE = "<img src=x onerror='window.wasRun = 1'>"


@pytest_asyncio.fixture(loop_scope="module")
async def client(emulator: Emulator) -> AsyncIterator[Client]:
    async with Client(emulator.api_key, url=emulator.url) as client:
        yield client


def shown(emulator: Emulator) -> str:
    """The emulator's time as the page writes it, whose browser has the machine's zone."""
    return emulator.clock.now().astimezone().strftime("%H:%M:%S")


class TestMessages:
    async def test_a_message_that_is_sent_appears_without_a_reload(self, visitor: Visitor, client: Client) -> None:
        await expect(visitor.page.get_by_text("Waiting for the first message")).to_be_visible()
        await client.send(PHONE, "Ваш код 1234")
        await visitor.sees_texts("Ваш код 1234")
        await expect(visitor.page.get_by_text("Choose a message")).to_be_visible()
        await client.send(OTHER, "Ваш код 5678")
        await visitor.sees_texts("Ваш код 5678", "Ваш код 1234")

    async def test_it_is_there_for_who_comes_later(self, browser: Browser, emulator: Emulator, client: Client) -> None:
        await client.send(PHONE, "early")
        visitor = await Visitor.opens(browser, emulator.page_url)
        await visitor.sees_texts("early")

    @pytest.mark.parametrize("words", ["+7 (908) 796-47-82", "АНЯ", "sender-2", "100000002"])
    async def test_a_search_finds_by_phone_text_sender_and_number(
        self, words: str, visitor: Visitor, client: Client
    ) -> None:
        await client.send(PHONE, "Здравствуйте, Пётр")
        await client.send(OTHER, "Здравствуйте, Аня", sender="Sender-2")
        await visitor.sees_texts("Здравствуйте, Аня", "Здравствуйте, Пётр")
        await visitor.searches(words)
        await visitor.sees_texts("Здравствуйте, Аня")
        await visitor.searches("no such name")
        await visitor.sees_texts()
        await visitor.searches("")
        await visitor.sees_texts("Здравствуйте, Аня", "Здравствуйте, Пётр")

    async def test_filters_show_one_state_and_follow_it(
        self, visitor: Visitor, client: Client, emulator: Emulator
    ) -> None:
        emulator.fail_delivery(to=OTHER)
        await client.send(PHONE, "first")
        await client.send(OTHER, "second")
        emulator.clock.advance(minutes=1)
        await client.send(PHONE, "third")
        await visitor.presses("On the way 1")
        await visitor.sees_texts("third")
        await visitor.presses("Not delivered 1")
        await visitor.sees_texts("second")
        await visitor.presses("Delivered 1")
        await visitor.sees_texts("first")
        emulator.clock.advance(minutes=1)
        await visitor.sees_texts("third", "first")

    async def test_a_test_message_is_shown_as_one(self, visitor: Visitor, client: Client, emulator: Emulator) -> None:
        await client.send_packet([Message(PHONE, "only a test")], test=True)
        await visitor.presses("Test 1")
        await visitor.opens_message("only a test")
        await expect(visitor.page.get_by_role("button", name="Deliver", exact=True)).to_be_disabled()
        assert emulator.messages == ()

    async def test_one_message_is_shown_whole(self, visitor: Visitor, client: Client, emulator: Emulator) -> None:
        text = "Первая строка\n" + "и ещё " * 20
        sent = await client.send(PHONE, text, sender="MyShop", id=77)
        emulator.clock.advance(minutes=1)
        await visitor.rows.first.click()
        facts = visitor.detail.locator("dl")
        for fact in (
            "SenderMyShop",
            "Parts2",
            "Cost2.50",
            f"Server id{sent.server_id}",
            "Your id77",
            "OperatorTELE2, RU",
        ):
            await expect(facts).to_contain_text(fact)
        assert await visitor.detail.locator(".bubble").text_content() == text
        steps = visitor.detail.get_by_role("list", name="Status history").get_by_role("listitem").locator("strong")
        await expect(steps).to_have_text(["accepted", "with operator", "delivered"])

    async def test_callbacks_are_shown_with_their_answers(
        self, visitor: Visitor, client: Client, emulator: Emulator
    ) -> None:
        async with raw_server(answering(http(b"OK"), http(b"no such order", status="404 Not Found"))) as application:
            url = f"http://127.0.0.1:{application.port}/status"
            await client.send(PHONE, "with callbacks", callback=url)
            await visitor.opens_message("with callbacks")
            calls = visitor.detail.get_by_role("list", name="Callbacks").get_by_role("listitem")
            await expect(calls).to_contain_text(["None was answered yet"])
            emulator.clock.advance(minutes=1)
            await expect(calls).to_contain_text(["with operator200 OK", "delivered404, not OK"])
            await expect(calls.nth(1)).to_contain_text("no such order")
            await emulator.settled()

    async def test_a_person_delivers_one(self, visitor: Visitor, client: Client) -> None:
        sent = await client.send(PHONE, "to be delivered")
        await visitor.opens_message("to be delivered")
        await visitor.presses("Deliver")
        await expect(visitor.detail.locator(".head .state")).to_have_text("delivered")
        await expect(visitor.rows.locator(".state")).to_have_text(["delivered"])
        await expect(visitor.page.get_by_role("button", name="Fail")).to_be_disabled()
        assert [status.status for status in await client.check([sent])] == [2]

    async def test_a_person_fails_one_and_says_why(self, visitor: Visitor, client: Client, emulator: Emulator) -> None:
        sent = await client.send(PHONE, "to be failed")
        await visitor.opens_message("to be failed")
        await visitor.page.get_by_label("Reason of the failure").select_option("603")
        await visitor.presses("Fail")
        await expect(visitor.detail.locator(".head .state")).to_have_text("not delivered")
        await expect(visitor.detail.get_by_role("list", name="Status history")).to_contain_text("603 rejected")
        assert [status.status for status in await client.check([sent])] == [-1]
        assert emulator.messages[0].error == 603


class TestTheRest:
    async def test_the_balance_follows_what_is_sent(self, browser: Browser) -> None:
        async with Emulator.serve(account=Account(balance=Decimal("1234567.50"))) as emulator:
            visitor = await Visitor.opens(browser, emulator.page_url)
            await expect(visitor.page.locator("#balance")).to_have_text("1\u202f234\u202f567.50\u00a0₽")
            async with Client(emulator.api_key, url=emulator.url) as client:
                await client.send(PHONE, "paid")
            await expect(visitor.page.locator("#balance")).to_have_text("1\u202f234\u202f566.25\u00a0₽")

    async def test_each_account_has_its_balance(self, visitor: Visitor, emulator: Emulator) -> None:
        other = emulator.add_account(login="someone@example.com", password="secret", balance=Decimal("20.50"))
        balance = visitor.page.locator("#balance")
        await expect(balance.locator("> span")).to_have_text(
            [f"…{emulator.api_key[-4:]} 1\u202f000\u202f000.00\u00a0₽", "s…@example.com 20.50\u00a0₽"]
        )
        async with Client(login=other.login, password="secret", url=emulator.url) as client:
            await client.send(PHONE, "paid")
        await expect(balance).to_contain_text("s…@example.com 19.25")

    async def test_an_inbound_sms_from_the_form_reaches_the_client(self, visitor: Visitor, client: Client) -> None:
        await visitor.goes_to("Inbound")
        await visitor.page.get_by_label("From phone").fill("+7 908 796-47-82")
        await visitor.page.get_by_label("Text").fill("СТОП, пожалуйста")
        await visitor.presses("Send to the application")
        received = visitor.page.locator("#inbound-list li")
        await expect(received).to_contain_text(["not read yet"])
        [sms] = await client.inbound("new")
        assert (sms.phone, sms.text) == (OTHER, "СТОП, пожалуйста")
        await expect(received.locator(".state")).to_have_text(["read"])

    async def test_a_mistake_in_the_form_is_explained(self, visitor: Visitor, emulator: Emulator) -> None:
        await visitor.goes_to("Inbound")
        await visitor.presses("Send to the application")
        assert await visitor.page.get_by_label("From phone").evaluate("field => field.validity.valueMissing")
        assert emulator.inbound_messages == ()

    async def test_what_was_refused_is_shown_with_its_reason(
        self, visitor: Visitor, client: Client, emulator: Emulator
    ) -> None:
        await visitor.goes_to("Refused 0")
        refused = visitor.page.locator("#refused-list li")
        await expect(refused).to_have_text(["Nothing yet."])
        emulator.refuse(code=248, text="смeсь")
        await client.send_packet([Message(PHONE, "good"), Message(OTHER, "смeсь")])
        what = f"sendrequest 1{shown(emulator)}{OTHER}смeсь"
        await expect(refused).to_contain_text([f"248Cyrillic and Latin in one word{what}"])
        async with Client("WRONG", url=emulator.url) as stranger:
            with pytest.raises(GatewayError):
                await stranger.balance()
        await expect(refused).to_contain_text(["101APIKEY is invalidbalance", "248"])
        await expect(visitor.page.get_by_role("link", name="Refused 2")).to_be_visible()
        emulator.reset()
        await expect(refused).to_have_text(["Nothing yet."])

    async def test_of_very_many_refused_the_newest_are_shown(
        self, visitor: Visitor, client: Client, emulator: Emulator
    ) -> None:
        emulator.refuse(code=204)
        await client.send_packet([Message(PHONE, f"number {n}") for n in range(1234)])
        await visitor.goes_to("Refused 1\u202f234")
        await expect(visitor.page.locator("#refused-head")).to_have_text("The newest 200 of 1\u202f234")
        texts = visitor.page.locator("#refused-list p")
        await expect(texts).to_have_count(200)
        await expect(texts.first).to_have_text("number 1233")
        await expect(texts.last).to_have_text("number 1034")

    async def test_faults_that_wait_are_shown_until_they_are_met(self, visitor: Visitor, emulator: Emulator) -> None:
        emulator.fail_next("balance", Fault.BUSY)
        emulator.random_faults({Fault.SERVER_ERROR: 0.025}, command="cost")
        await visitor.goes_to("Faults 1")
        waiting = visitor.page.locator("#fault-list li")
        await expect(waiting).to_contain_text(["error 110, nothing acceptedbalance× 1", "cost2.5 % at random"])
        await visitor.page.get_by_label("Fault", exact=True).select_option("server-error")
        await visitor.page.get_by_label("Command").select_option("info")
        await visitor.page.get_by_label("How many times").fill("2")
        await visitor.presses("Add fault")
        await expect(waiting).to_contain_text(["× 1", "503, nothing acceptedinfo× 2", "at random"])
        async with Client(emulator.api_key, url=emulator.url, retry=Retry(attempts=1)) as impatient:
            with pytest.raises(Unanswered):
                await impatient.info()
        await expect(waiting).to_contain_text(["× 1", "info× 1", "at random"])
        await visitor.presses("Forget all")
        await expect(waiting).to_have_text(["None: every request succeeds."])


class TestHostileTexts:
    @pytest.mark.parametrize(
        "text", [SCRIPT, IMAGE, "&lt;b&gt; <b>fat</b>", "</script></style><h1>x", "\u202e\u0301\t'\""]
    )
    async def test_markup_in_a_message_is_shown_and_not_run(
        self, text: str, visitor: Visitor, client: Client, emulator: Emulator
    ) -> None:
        callback = "http://127.0.0.1:9/" + IMAGE.replace(" ", "%20")
        await client.send(PHONE, text, callback=callback)
        emulator.inbound(PHONE, text)
        emulator.refuse(code=204)
        await client.send_packet([Message(OTHER, text)])
        emulator.clock.advance(minutes=1)
        await emulator.settled()
        await expect(visitor.page.locator("#refused-list p")).to_have_count(1)  # the page has caught up
        await visitor.rows.first.click()
        await expect(visitor.detail.locator(".bubble")).to_have_text(text, use_inner_text=False)
        await expect(visitor.detail.locator(".calls li")).to_have_count(2)
        assert await visitor.detail.locator(".bubble").text_content() == text
        assert await visitor.page.locator("#inbound-list p").text_content() == text
        assert await visitor.page.locator("#refused-list p").text_content() == text
        assert await visitor.page.locator("main script, main img, main b:not(nav b), main h1").count() == 0
        assert await visitor.page.evaluate("window.wasRun") is None

    async def test_the_policy_stops_what_would_be_put_in_as_html(self, browser: Browser, emulator: Emulator) -> None:
        visitor = await Visitor.opens(browser, emulator.page_url)
        tried = "try { document.body.innerHTML = '<b>x</b>'; 'done' } catch (error) { error.name }"
        assert await visitor.page.evaluate(tried) == "TypeError"
        added = "const node = document.createElement('style'); document.head.append(node); node.sheet === null"
        assert await visitor.page.evaluate(added)
        assert len(visitor.complaints) > 0


class TestForeignPages:
    async def test_a_real_foreign_page_gets_nowhere_in_a_real_browser(
        self, browser: Browser, emulator: Emulator, client: Client
    ) -> None:
        await client.send(PHONE, "x")
        async with raw_server(answering(http(b"<title>evil</title>"))) as evil:
            visitor = await Visitor.opens(browser, evil.proxy_url)
            base = emulator.page_url
            post = "([url, options]) => fetch(url, options).then((answer) => answer.type, (error) => error.name)"
            blind = {"method": "POST", "mode": "no-cors", "body": "{}"}
            assert await visitor.page.evaluate(post, [f"{base}/reset", blind]) == "opaque"
            assert await visitor.page.evaluate(post, [f"{base}/messages", {}]) == "TypeError"
            document = f'{{"apikey": "{TEST_KEY}", "send": [{{"to": "{PHONE}", "text": "x"}}]}}'
            assert await visitor.page.evaluate(post, [emulator.url, {**blind, "body": document}]) == "opaque"
            picture = "(url) => new Promise((done) => Object.assign(new Image(), { src: url, onerror: done }))"
            await visitor.page.evaluate(picture, f"{emulator.url}?json={quote(document)}")
            assert (emulator.test_messages, emulator.refusals) == ((), ())
            form = f"<form method=post enctype=text/plain action='{base}/reset'><input name='x'></form>"
            await visitor.page.set_content(form)
            async with visitor.page.expect_navigation():
                await visitor.page.evaluate("document.forms[0].submit()")
            assert "may not control" in await visitor.page.content()
        assert len(emulator.messages) == 1


class TestConnection:
    async def test_two_pages_are_live_at_once(
        self, visitor: Visitor, browser: Browser, emulator: Emulator, client: Client
    ) -> None:
        other = await Visitor.opens(browser, emulator.page_url)
        await other.sees_it_live()
        await client.send(PHONE, "for both")
        await other.opens_message("for both")
        await other.presses("Deliver")
        await expect(visitor.rows.locator(".state")).to_have_text(["delivered"])
        await expect(other.rows.locator(".state")).to_have_text(["delivered"])

    async def test_a_server_that_comes_back_is_caught_up_with(self, browser: Browser) -> None:
        async with Emulator.serve(seed=1) as emulator:
            port = int(emulator.url.split(":")[2].split("/")[0])
        served = Emulator.serve(port=port, loop_protection=None)
        async with served as emulator:
            visitor = await Visitor.opens(browser, emulator.page_url)
            async with Client(emulator.api_key, url=emulator.url) as client:
                await client.send(PHONE, "before")
            await visitor.sees_texts("before")
        await visitor.sees_it_disconnected()
        await expect(visitor.page.get_by_role("alert")).to_be_visible()
        async with Client(emulator.api_key, url=emulator.url, transport=emulator.transport) as client:
            await client.send(PHONE, "meanwhile")
        emulator.clock.advance(minutes=1)
        async with served:
            await visitor.sees_texts("meanwhile", "before")
            await expect(visitor.rows.locator(".state")).to_have_text(["delivered", "delivered"])
            await visitor.sees_it_live()
            await expect(visitor.page.get_by_role("alert")).to_be_hidden()

    async def test_another_gateway_in_its_place_is_shown_as_it_is(self, browser: Browser) -> None:
        async with Emulator.serve(seed=1) as first:
            port = int(first.url.split(":")[2].split("/")[0])
            visitor = await Visitor.opens(browser, first.page_url)
            async with Client(first.api_key, url=first.url) as client:
                await client.send(PHONE, "in the first")
            await visitor.opens_message("in the first")
        await visitor.sees_it_disconnected()
        async with Emulator.serve(seed=1, port=port) as second:
            await visitor.sees_texts()
            await expect(visitor.detail).to_contain_text("This message is gone")
            async with Client(second.api_key, url=second.url) as client:
                await client.send(PHONE, "in the second")
            await visitor.sees_texts("in the second")

    async def test_a_reset_empties_it(self, visitor: Visitor, client: Client, emulator: Emulator) -> None:
        await client.send(PHONE, "forgotten")
        await visitor.sees_texts("forgotten")
        emulator.reset()
        await visitor.sees_texts()


class TestLooks:
    async def test_of_thousands_of_messages_only_a_window_is_drawn(
        self, visitor: Visitor, client: Client, emulator: Emulator
    ) -> None:
        async with client.bulk([(PHONE, f"number {n}") for n in range(3000)]) as run:
            async for _ in run:
                pass
        await expect(visitor.page.locator("#foot")).to_have_text("3\u202f000 of 3\u202f000 messages")
        assert await visitor.rows.count() < 40
        await visitor.page.get_by_role("listbox").focus()
        await visitor.page.keyboard.press("End")
        oldest = emulator.messages[0]
        await expect(visitor.detail.locator(".bubble")).to_have_text(oldest.text)
        await expect(visitor.page.locator(f"#row-{oldest.server_id}")).to_be_in_viewport()
        assert await visitor.rows.count() < 40
        await visitor.searches("number 1234")
        await visitor.sees_texts("number 1234")

    async def test_what_is_being_read_stays_in_its_place(self, visitor: Visitor, client: Client) -> None:
        await client.send_packet([Message(PHONE, f"number {n}") for n in range(100)])
        await expect(visitor.page.locator("#foot")).to_have_text("100 of 100 messages")
        await visitor.page.locator("#list").evaluate("list => { list.scrollTop = 2000; }")
        row = visitor.rows.filter(has_text="number 70")
        before = await row.bounding_box()
        await client.send_packet([Message(PHONE, f"later {n}") for n in range(50)])
        await expect(visitor.page.locator("#foot")).to_have_text("150 of 150 messages")

        async def is_there() -> bool:  # not while it is drawn anew
            return await row.bounding_box() == before

        await until(is_there)

    async def test_it_can_be_used_by_keyboard_alone(self, visitor: Visitor, client: Client) -> None:
        for name in ("Anna", "Boris", "Vera"):
            await client.send(PHONE, name)
        await visitor.sees_texts("Vera", "Boris", "Anna")
        keyboard = visitor.page.keyboard
        await keyboard.press("/")
        await keyboard.type("r")
        await visitor.sees_texts("Vera", "Boris")
        await keyboard.press("ArrowDown")
        await expect(visitor.detail.locator(".bubble")).to_have_text("Vera")
        await keyboard.press("ArrowDown")
        await expect(visitor.detail.locator(".bubble")).to_have_text("Boris")
        await keyboard.press("Tab")
        await keyboard.press("Enter")
        await expect(visitor.detail.locator(".head .state")).to_have_text("delivered")
        await keyboard.press("Escape")
        await expect(visitor.detail).to_contain_text("Choose a message")

    async def test_a_message_has_an_address_of_its_own(self, visitor: Visitor, client: Client) -> None:
        await client.send(PHONE, "first")
        await client.send(PHONE, "second")
        await visitor.opens_message("first")
        await visitor.page.reload()
        await expect(visitor.detail.locator(".bubble")).to_have_text("first")

    async def test_a_narrow_window_shows_the_list_or_the_message(
        self, browser: Browser, emulator: Emulator, client: Client
    ) -> None:
        await client.send(PHONE, "x" * 300)
        visitor = await Visitor.opens(browser, emulator.page_url, viewport={"width": 360, "height": 640})
        await expect(visitor.detail).to_be_hidden()
        await visitor.rows.first.click()
        await expect(visitor.detail.locator(".bubble")).to_be_visible()
        await expect(visitor.rows.first).to_be_hidden()
        emulator.refuse(code=204)
        await client.send_packet([Message(PHONE, "y" * 300)])
        for room in ("Inbound", "Faults", "Refused 1", "Messages"):
            assert await visitor.page.evaluate("document.documentElement.scrollWidth") == 360
            await visitor.goes_to(room)
        await visitor.rows.first.click()
        await visitor.presses("← All messages")
        await expect(visitor.rows.first).to_be_visible()

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    async def test_it_can_be_read_by_day_and_by_night(self, scheme: str, browser: Browser, emulator: Emulator) -> None:
        visitor = await Visitor.opens(browser, emulator.page_url, color_scheme=scheme)
        pairs = [("ink", "paper"), ("ink", "ground"), ("ink", "bubble"), ("soft", "paper"), ("soft", "ground")]
        pairs += [("soft", "sunken"), ("accent", "accent-tint"), ("accent-ink", "accent")]
        pairs += [("ink", "sunken"), ("soft", "bubble"), ("accent", "bubble"), ("accent", "paper"), ("failed", "paper")]
        pairs += [(name, f"{name}-tint") for name in ("delivered", "failed", "waiting", "scheduled")]
        background = luminance(await visitor.page.evaluate(COLOUR, "ground"))
        assert (background > 0.5) == (scheme == "light")
        for text, ground in pairs:
            one, other = [luminance(await visitor.page.evaluate(COLOUR, name)) for name in (text, ground)]
            contrast = (max(one, other) + 0.05) / (min(one, other) + 0.05)
            assert contrast >= 4.5, (text, ground)


COLOUR = """name => {
    const context = document.createElement('canvas').getContext('2d');
    context.fillStyle = getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim();
    return context.fillStyle;
}"""


def luminance(colour: str) -> float:
    """The relative luminance of ``#rrggbb``, by WCAG."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
