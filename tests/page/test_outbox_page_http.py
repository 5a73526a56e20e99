"""The page of a ledger over HTTP: who is let in, what each role may order, and what is never shown."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from outbox_page import ANNA, BORIS, PEOPLE, VERA, Browser, open_page

from smspilot_async import Client, Message
from smspilot_async.emulator import Emulator, Fault
from smspilot_async.outbox import LedgerUnavailable, Outbox
from smspilot_async.page import PageSettings, People, Role, _drafts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from postgres import Postgres

PHONE = "79087964781"
ORDERS = ("halt", "release", "create", "estimate", "test", "approve", "start", "pause", "resume", "cancel", "settle")
LIST = "имя;телефон\nАнна;8 (908) 796-47-81\nБорис;+79087964782\n"


@pytest.fixture
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where a ledger may be made: on SQLite, unless a test asks for PostgreSQL."""
    if getattr(request, "param", "sqlite") == "sqlite":
        yield f"sqlite:///{tmp_path}/sms.db"
        return
    cluster: Postgres = request.getfixturevalue("postgres")
    url = cluster.database()
    yield url
    cluster.drop(url)


@pytest.fixture
async def base(outbox: Outbox, client: Client, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    monkeypatch.setattr(_drafts, "_PATIENCE", 60.0)  # an import ends before its answer, on a busy machine, too
    async with open_page(outbox, client, PageSettings(second_person=True)) as base:
        yield base


@pytest.fixture
async def anna(base: str) -> AsyncIterator[Browser]:
    async with Browser.logged_in(base, ANNA) as browser:
        yield browser


@pytest.fixture
async def boris(base: str) -> AsyncIterator[Browser]:
    async with Browser.logged_in(base, BORIS) as browser:
        yield browser


@pytest.fixture
async def vera(base: str) -> AsyncIterator[Browser]:
    async with Browser.logged_in(base, VERA) as browser:
        yield browser


@pytest.fixture
async def stranger(base: str) -> AsyncIterator[Browser]:
    async with Browser.opened(base) as browser:
        yield browser


async def draft(browser: Browser, name: str = "promo-11") -> None:
    found = (await browser.upload(LIST.encode("cp1251"))).json()
    fields = {"upload": found["upload"], "encoding": found["encoding"], "to_column": "телефон", "template": "Hi {имя}"}
    made = await browser.order("create", name=name, **fields)
    assert made.json() == {"name": name, "is_done": True}


class TestDoor:
    @pytest.mark.parametrize("name", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", ""])
    async def test_a_forged_host_opens_nothing(self, anna: Browser, name: str) -> None:
        for path in ("/", "/page.js", "/api/me", "/api/now", "/metrics"):
            answer = await anna.http.get(path, headers={"host": name})
            assert answer.status_code == 403
            assert "anna" not in answer.text
        assert (await anna.order("halt", why="x", headers={"host": name})).status_code == 403

    @pytest.mark.parametrize("name", ["localhost:1", "127.0.0.1", "[::1]:80", "SMS.example.com", "sms.example.com:443"])
    async def test_its_own_names_do(self, outbox: Outbox, client: Client, name: str) -> None:
        async with (
            open_page(outbox, client, PageSettings(names=("sms.example.com",))) as base,
            Browser.opened(base) as browser,
        ):
            assert (await browser.http.get("/", headers={"host": name})).status_code == 200

    async def test_a_wrong_secret_is_no_login(self, stranger: Browser) -> None:
        for secret in ("", "wrong", ANNA[:-1], f"{ANNA} ", "anna", None, 5, ["x"]):
            answer = await stranger.post("/api/login", {"secret": secret})
            assert (answer.status_code, answer.cookies.get("smspilot_page")) == (401, None)
        assert (await stranger.http.get("/api/now")).status_code == 401

    async def test_without_a_login_nothing_is_read_and_nothing_ordered(self, stranger: Browser, outbox: Outbox) -> None:
        for path in ("now", "campaigns", "campaign?name=x", "preview?name=x", "messages?name=x", "count?name=x"):
            assert (await stranger.http.get(f"/api/{path}")).status_code == 401
        assert (await stranger.http.get("/metrics")).status_code == 401
        assert (await stranger.http.get("/report?name=x&as=csv")).status_code == 401
        for order in (*ORDERS, "retry", "logout"):
            assert (await stranger.order(order, why="x", name="x")).status_code == 401
        assert await outbox.log() == []

    async def test_the_cookie_is_for_this_page_alone(self, stranger: Browser) -> None:
        answer = await stranger.post("/api/login", {"secret": ANNA})
        (cookie,) = answer.headers.get_list("set-cookie")
        assert {"HttpOnly", "Path=/", "SameSite=strict"} <= set(cookie.split("; "))
        assert ANNA not in cookie

    async def test_behind_https_it_never_travels_without(self, outbox: Outbox, client: Client) -> None:
        async with (
            open_page(outbox, client, PageSettings(is_https=True)) as base,
            Browser.opened(base) as browser,
        ):
            answer = await browser.post("/api/login", {"secret": ANNA})
            assert "Secure" in answer.headers["set-cookie"]

    async def test_a_changed_or_ended_cookie_is_none(self, anna: Browser, stranger: Browser) -> None:
        cookie = anna.http.cookies["smspilot_page"]
        content, _, signature = cookie.partition(".")
        for forged in (content, f"{content}.", f"{content}A.{signature}", f".{signature}", f"{cookie}0", "", "é"):
            answer = await stranger.http.get("/api/now", headers={b"cookie": f"smspilot_page={forged}".encode()})
            assert answer.status_code == 401
        headers = {"cookie": f"smspilot_page={cookie}"}
        assert (await stranger.http.get("/api/now", headers=headers)).status_code == 200
        assert (await anna.order("logout")).status_code == 200
        assert (await stranger.http.get("/api/now", headers=headers)).status_code == 401

    async def test_a_secret_is_in_no_answer(self, anna: Browser) -> None:
        for path in ("/", "/page.js", "/api/me", "/api/now", "/api/campaigns"):
            answer = await anna.http.get(path)
            assert not any(secret in answer.text for secret in (ANNA, BORIS, VERA))


class TestProxy:
    @pytest.fixture
    async def behind(self, outbox: Outbox, client: Client) -> AsyncIterator[Browser]:
        settings = PageSettings(proxy_header="X-Remote-User")
        async with open_page(outbox, client, settings) as base, Browser.opened(base) as browser:
            yield browser

    async def test_it_says_who_it_is(self, behind: Browser, outbox: Outbox) -> None:
        behind.http.headers["x-remote-user"] = "anna"
        await behind.learn_token()
        assert (await behind.order("halt", why="look")).status_code == 200
        assert [order.actor for order in await outbox.log()] == ["anna"]

    async def test_an_order_needs_the_token_all_the_same(self, behind: Browser) -> None:
        headers = {"x-remote-user": "anna"}
        assert (await behind.post("/api/halt", {"why": "x"}, headers)).status_code == 403

    @pytest.mark.parametrize("headers", [[("x-remote-user", "eve")], [("x-remote-user", "anna")] * 2, []])
    async def test_who_is_not_known_is_no_one(self, behind: Browser, headers: list[tuple[str, str]]) -> None:
        assert (await behind.http.get("/api/now", headers=headers)).status_code == 401

    async def test_from_elsewhere_the_header_means_nothing(self, outbox: Outbox, client: Client) -> None:
        settings = PageSettings(proxy_header="X-Remote-User", proxies=("10.0.0.1",))
        async with open_page(outbox, client, settings) as base, Browser.opened(base) as browser:
            for more in ({}, {"x-forwarded-for": "10.0.0.1"}, {"forwarded": "for=10.0.0.1"}):
                headers = {"x-remote-user": "anna", **more}
                assert (await browser.http.get("/api/now", headers=headers)).status_code == 401

    async def test_without_one_the_header_means_nothing(self, stranger: Browser) -> None:
        assert (await stranger.http.get("/api/now", headers={"x-remote-user": "anna"})).status_code == 401


class TestOrders:
    async def test_each_needs_the_token_of_its_session(self, anna: Browser, boris: Browser, outbox: Outbox) -> None:
        for token in ("", "0" * 64, boris.token):
            for order in (*ORDERS, "retry", "logout"):
                answer = await anna.order(order, why="x", name="x", headers={"x-csrf-token": token})
                assert answer.status_code == 403
            assert (await anna.upload(b"to\n1\n", headers={"x-csrf-token": token})).status_code == 403
        assert await outbox.log() == []

    @pytest.mark.parametrize(
        "headers",
        [
            {"origin": "http://evil.example"},
            {"origin": "null"},
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site"},
            {"sec-fetch-site": "none"},
        ],
    )
    async def test_none_comes_from_a_foreign_page(self, anna: Browser, outbox: Outbox, headers: dict[str, str]) -> None:
        assert (await anna.order("halt", why="x", headers=headers)).status_code == 403
        assert await outbox.log() == []

    @pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
    async def test_none_is_a_form(self, anna: Browser, kind: str) -> None:
        answer = await anna.order("halt", why="x", headers={"content-type": kind})
        assert answer.status_code == 415

    async def test_one_who_may_view_orders_nothing(self, vera: Browser, outbox: Outbox) -> None:
        assert (await vera.http.get("/api/now")).status_code == 200
        for order in (*ORDERS, "retry"):
            answer = await vera.order(order, why="x", name="x")
            assert (answer.status_code, "vera has the role view" in answer.json()["error"]) == (403, True)
        assert (await vera.upload(b"to\n1\n")).status_code == 403
        assert await outbox.log() == []

    async def test_one_who_may_operate_approves_nothing(self, anna: Browser, outbox: Outbox) -> None:
        await draft(anna)
        await anna.order("estimate", name="promo-11")
        answer = await anna.order("approve", name="promo-11")
        assert (answer.status_code, "needs the role approve" in answer.json()["error"]) == (403, True)
        assert (await (await outbox.campaigns.get("promo-11")).info()).state == "estimated"

    async def test_no_one_approves_their_own_where_a_second_person_is_asked_for(
        self, boris: Browser, outbox: Outbox
    ) -> None:
        await draft(boris)
        await boris.order("estimate", name="promo-11")
        answer = await boris.order("approve", name="promo-11", second_person=False)
        assert (answer.status_code, "another person has to approve it" in answer.json()["error"]) == (409, True)
        assert (await (await outbox.campaigns.get("promo-11")).info()).state == "estimated"

    async def test_they_are_logged_under_who_gave_them(self, anna: Browser, boris: Browser, outbox: Outbox) -> None:
        await anna.order("halt", why="strange texts", everything=True, actor="boris")
        await boris.order("release", why="two looked")
        assert [(one.actor, one.action, one.why) for one in await outbox.log()] == [
            ("boris", "release", "two looked"),
            ("anna", "halt", "strange texts"),
        ]

    async def test_a_budget_cannot_be_changed_here(self, boris: Browser) -> None:
        for path in ("change", "budget"):
            assert (await boris.order(path, name="promo-11", budget="1000000")).status_code == 404

    @pytest.mark.parametrize(
        ("order", "fields"),
        [
            ("halt", {}),
            ("halt", {"why": ["x"]}),
            ("pause", {"why": "x"}),
            ("start", {"name": "promo-11", "first": 0}),
            ("start", {"name": "promo-11", "first": True}),
            ("retry", {"name": "promo-11", "select": "204", "why": "x"}),
            ("retry", {"name": "promo-11", "select": "204", "why": "x", "expect": "many"}),
            ("settle", {"name": "promo-11", "select": "unknown", "as": "sent", "expect": 1, "why": "x"}),
            ("create", {"name": "x", "upload": "../sms.db", "to_column": "to"}),
        ],
    )
    async def test_what_makes_no_sense_is_refused_and_says_why(
        self, anna: Browser, order: str, fields: dict[str, Any]
    ) -> None:
        await draft(anna)
        answer = await anna.order(order, **fields)
        assert (answer.status_code, bool(answer.json()["error"])) == (400, True)

    async def test_a_body_that_is_no_order_is_refused(self, anna: Browser) -> None:
        for body in (b"[]", b"{", b'"x"', b"\xff", b"{" + b" " * 70_000):
            headers = {"content-type": "application/json", "x-csrf-token": anna.token}
            answer = await anna.http.post("/api/halt", content=body, headers=headers)
            assert answer.status_code in {400, 413}


class TestPrivacy:
    async def test_no_phone_is_shown_whole(
        self, anna: Browser, outbox: Outbox, client: Client, emulator: Emulator
    ) -> None:
        answers = [await anna.upload(LIST.encode())]
        await draft(anna)
        campaign = await outbox.campaigns.get("promo-11")
        answers.append(await anna.order("estimate", name="promo-11"))
        answers.append(await anna.order("test", name="promo-11", to=PHONE))
        await campaign.approve()
        await campaign.start()
        emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
        await outbox.drain(client)
        looks = (
            *("/api/now", "/api/campaigns", "/api/campaign?name=promo-11", "/api/preview?name=promo-11"),
            "/api/messages?name=promo-11&select=unknown",
            *("/report?name=promo-11&as=csv", "/report?name=promo-11&as=html", "/metrics"),
        )
        answers += [await anna.http.get(path) for path in looks]
        assert answers[-4].json()["rows"][0]["to"] == "7908•••••81"
        for answer in answers:
            assert answer.status_code == 200
            digits = re.sub(r"[\s()+-]", "", answer.text)
            assert "9087964781" not in digits
            assert "9087964782" not in digits

    async def test_no_code_is_shown(self, anna: Browser, outbox: Outbox) -> None:
        await outbox.enqueue(Message(PHONE, "Ваш код 7531"), key="login-77", kind="code", valid_for=600)
        for path in ("/api/now", "/api/campaigns", "/metrics"):
            assert "7531" not in (await anna.http.get(path)).text

    async def test_what_a_message_says_is_text_for_the_script_alone(self, anna: Browser) -> None:
        found = (await anna.upload(b"to,text\n79087964781,<script>x</script>\n")).json()
        made = await anna.order("create", name="<b>x</b>", upload=found["upload"], to_column="to", text_column="text")
        assert made.status_code == 200
        for path in ("/api/preview?name=<b>x</b>", "/api/campaign?name=<b>x</b>", "/api/nothing<script>"):
            answer = await anna.http.get(path)
            assert "html" not in answer.headers["content-type"]
            assert answer.headers["x-content-type-options"] == "nosniff"

    async def test_its_policy_lets_only_its_own_files_run(self, stranger: Browser) -> None:
        answer = await stranger.http.get("/")
        policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
        assert policy == {
            "default-src": "'none'",
            "script-src": "'self'",
            "style-src": "'self'",
            "connect-src": "'self'",
            "img-src": "data:",
            "base-uri": "'none'",
            "form-action": "'none'",
            "frame-ancestors": "'none'",
            "require-trusted-types-for": "'script'",
            "trusted-types": "'none'",
        }
        assert not re.search(r"<script>|<style>| on[a-z]+=| style=", answer.text)
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", await script(stranger))

    async def test_a_report_runs_nothing(self, anna: Browser) -> None:
        await draft(anna)
        answer = await anna.http.get("/report?name=promo-11&as=html")
        assert answer.status_code == 200
        assert "sandbox" in answer.headers["content-security-policy"]
        assert "script-src" not in answer.headers["content-security-policy"]


async def script(browser: Browser) -> str:
    return (await browser.http.get("/page.js")).text


class TestLists:
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1251", "utf-16"])
    async def test_a_list_in_any_usual_encoding_is_read(self, anna: Browser, encoding: str) -> None:
        found = (await anna.upload(LIST.encode(encoding))).json()
        assert found["columns"] == ["имя", "телефон"]
        assert found["rows"][0] == {"имя": "Анна", "телефон": "8908•••••81"}

    @pytest.mark.parametrize("content", [b"", b"\x00\x01\x02", b"PK\x03\x04"])
    async def test_what_is_no_list_says_so_in_the_page_s_words(self, anna: Browser, content: bytes) -> None:
        answer = await anna.upload(content, file="list.xlsx" if content.startswith(b"PK") else "list.csv")
        assert answer.status_code in {200, 400}
        if answer.status_code == 400:
            assert "the file" in answer.json()["error"]
            assert "--encoding" not in answer.json()["error"]
            assert "smspilot-page-" not in answer.json()["error"]

    async def test_a_name_that_is_taken_is_refused_and_the_list_is_kept(self, anna: Browser) -> None:
        await draft(anna)
        found = (await anna.upload(LIST.encode())).json()
        fields = {"upload": found["upload"], "to_column": "телефон", "template": "Hi"}
        assert (await anna.order("create", name="promo-11", **fields)).status_code == 409
        assert (await anna.order("create", name="promo-12", **fields)).status_code == 200

    async def test_all_settings_reach_the_campaign(self, anna: Browser, outbox: Outbox) -> None:
        found = (await anna.upload(LIST.encode())).json()
        fields: dict[str, Any] = {
            "sender": "MYSHOP",
            "opens": "10:00",
            "closes": "20:00",
            "days": "mon-sat",
            "tz": "Europe/Moscow",
            "budget": "1500,50",
            "rate_limit": "30",
            "max_parts": "2",
            "kind": "service",
            "expires_at": "2030-01-01T00:00:00Z",
        }
        made = await anna.order(
            "create", name="promo", upload=found["upload"], to_column="телефон", template="Hi", **fields
        )
        assert made.status_code == 200
        info = await (await outbox.campaigns.get("promo")).info()
        assert (str(info.budget), info.settings.rate_limit, info.settings.max_parts) == ("1500.50", 30.0, 2)
        assert (info.settings.sender, info.settings.kind, info.created_by) == ("MYSHOP", "service", "anna")
        assert json.loads(info.settings.window or "")["days"] == "mon-sat"
        assert info.expires_at is not None


class TestAfterwards:
    async def test_unknown_messages_are_not_sent_again_by_one_click(
        self, anna: Browser, boris: Browser, outbox: Outbox, client: Client, emulator: Emulator
    ) -> None:
        await draft(anna)
        await anna.order("estimate", name="promo-11")
        assert (await boris.order("approve", name="promo-11")).status_code == 200
        await anna.order("start", name="promo-11")
        emulator.fail_next("send", Fault.ACCEPT_THEN_RESET)
        await outbox.drain(client)
        again: dict[str, Any] = {"name": "promo-11", "select": "unknown", "why": "asked them"}
        twice = {"may_send_twice": True}
        wrong: list[dict[str, Any]] = [{}, {"expect": 2}, {"expect": 1, **twice}, twice]
        for fields in wrong:
            assert (await anna.order("retry", **again, **fields)).status_code in {400, 409}
        assert (await outbox.status()).messages["unknown"] == 2
        assert (await anna.order("retry", **again, expect=2, may_send_twice=True)).status_code == 200
        assert (await outbox.status()).messages["pending"] == 2

    @pytest.mark.parametrize("ledger_url", ["sqlite", "postgresql"], indirect=True)
    async def test_of_two_who_press_at_once_one_is_obeyed_and_both_are_logged(
        self, anna: Browser, boris: Browser, outbox: Outbox, client: Client, emulator: Emulator
    ) -> None:
        rows = [(f"7908796{number:04}", "Sale") for number in range(300)]
        campaign = await outbox.campaigns.create("promo-12", rows)
        await campaign.estimate(client)
        await campaign.approve()
        await campaign.start()
        emulator.refuse(code=204)
        await outbox.drain(client, packet_size=300)  # in one: several answers would pause the campaign before the last
        assert (await campaign.status()).messages["refused"] == 300
        emulator._gateway.refusals.clear()
        fields: dict[str, Any] = {"name": "promo-12", "select": "204", "expect": 300, "why": "it is registered"}
        answers = await asyncio.gather(*(browser.order("retry", **fields) for browser in (anna, boris)))
        assert sorted(answer.status_code for answer in answers) == [200, 409]
        log = [one for one in await outbox.log() if one.action == "campaign retry"]
        assert {one.actor for one in log} == {"anna", "boris"}
        assert sorted(one.count or 0 for one in log) == [0, 300]
        await outbox.drain(client)
        assert len(emulator.messages) == 300


class TestMetrics:
    async def test_prometheus_reads_them_with_a_person_s_secret(self, stranger: Browser) -> None:
        answer = await stranger.http.get("/metrics", headers={"authorization": f"Bearer {VERA}"})
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert "smspilot_ledger_workers 0.0" in answer.text
        for wrong in ("Bearer wrong", VERA, f"Basic {VERA}", "Bearer"):
            assert (await stranger.http.get("/metrics", headers={"authorization": wrong})).status_code == 401

    async def test_that_secret_orders_nothing_without_a_login(self, stranger: Browser) -> None:
        answer = await stranger.order("halt", why="x", headers={"authorization": f"Bearer {BORIS}"})
        assert answer.status_code == 401


class TestPeople:
    def test_a_line_each(self) -> None:
        people = People.parse(f"# who\n\nanna operate {ANNA}\n  boris   approve\n")
        assert [people.named(name) is not None for name in ("anna", "boris", "eve")] == [True, True, False]
        assert people.by_secret("") is None
        person = people.by_secret(ANNA)
        assert person is not None
        assert (person.name, person.role) == ("anna", Role.OPERATE)
        assert ANNA not in repr(person)

    @pytest.mark.parametrize(
        "line",
        [
            "anna",
            "anna admin secret-of-20-characters",
            "anna view a b c",
            "anna view short",
            f"a view {ANNA}\nb view {ANNA}",
        ],
    )
    def test_what_is_none_is_refused_without_its_secret(self, line: str) -> None:
        with pytest.raises(ValueError) as caught:
            People.parse(line)
        assert "secret-of-20-characters" not in str(caught.value)
        assert ANNA not in str(caught.value)

    def test_each_role_may_do_what_those_before_it_may(self) -> None:
        assert [Role.OPERATE.includes(role) for role in Role] == [True, True, False]
        assert len(People.parse(PEOPLE)) == 3


async def test_a_ledger_that_is_away_is_said_to_be(outbox: Outbox, anna: Browser, monkeypatch: Any) -> None:
    async def away(*_: Any) -> Any:
        raise LedgerUnavailable("the ledger cannot be used (OperationalError).")

    monkeypatch.setattr(outbox, "log", away)
    answer = await anna.http.get("/api/now")
    assert (answer.status_code, "cannot be used" in answer.json()["error"]) == (503, True)
