"""Through a SOCKS5 proxy: a message arrives, and what fails on the way proves what was sent."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from manual_clock import idle
from outcomes import PHONE, TEXT, begun, failure_of
from raw_servers import Peer, answering, close_after_request, hang_at_once, http, raw_server, reset_after_request
from socks_servers import asked, greeted, socks

from smspilot_async import Client, ConnectionFailed, Outcome, OutcomeUnknown, Retry, SentMessage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from raw_servers import RawServer
    from tls import Tls

    from smspilot_async.emulator import Emulator

ONCE = Retry(attempts=1)
ANOTHER_GATEWAY = "http://gateway.test/api2.php"
ACCEPTED = b'{"send":[{"id":"0","server_id":"10001","status":"0","error":"0"}],"server_packet_id":"7"}'
LOGIN = ("me", "hunter2")


def by(proxy: RawServer, login: str = "") -> str:
    return f"socks5://{login}127.0.0.1:{proxy.port}"


def port_of(emulator: Emulator) -> int:
    return int(emulator.url.split(":")[2].split("/")[0])


async def sent_by(proxy: str | None, url: str = ANOTHER_GATEWAY, **options: Any) -> object:
    """Send one message by a proxy; return the answer, or the error."""
    async with Client("K" * 64, url=url, allow_http=True, proxy=proxy, **{"retry": ONCE, **options}) as client:
        try:
            return await client.send(PHONE, TEXT)
        except Exception as error:  # noqa: BLE001 - what it is, is the question
            return error


# --- it arrives ----------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "SOCKS5"])
async def test_a_message_arrives_and_the_proxy_is_given_the_gateways_name(emulator: Emulator, scheme: str) -> None:
    async with (
        raw_server(socks(port_of(emulator))) as proxy,
        Client(
            emulator.api_key, url=ANOTHER_GATEWAY, allow_http=True, proxy=f"{scheme}://127.0.0.1:{proxy.port}"
        ) as client,
    ):
        sent = await client.send(PHONE, TEXT)

    assert [message.server_id for message in emulator.messages] == [sent.server_id]
    assert proxy.requests == [b"gateway.test 80"]


async def test_a_user_and_a_password_are_sent_as_they_are_meant(emulator: Emulator) -> None:
    async with (
        raw_server(socks(port_of(emulator), login=("я", "p@:/%"))) as proxy,
        Client(
            emulator.api_key, url=ANOTHER_GATEWAY, allow_http=True, proxy=by(proxy, "%D1%8F:p%40%3A%2F%25@")
        ) as client,
    ):
        await client.send(PHONE, TEXT)

    assert len(emulator.messages) == 1


async def test_who_has_a_password_may_meet_a_proxy_that_wants_none(emulator: Emulator) -> None:
    async with (
        raw_server(socks(port_of(emulator))) as proxy,
        Client(emulator.api_key, url=ANOTHER_GATEWAY, allow_http=True, proxy=by(proxy, "me:hunter2@")) as client,
    ):
        await client.send(PHONE, TEXT)

    assert len(emulator.messages) == 1


async def test_inside_is_the_gateways_own_tls(tls: Tls) -> None:
    async with (
        raw_server(answering(http(ACCEPTED)), tls=tls.server("gateway.test")) as gateway,
        raw_server(socks(gateway.port)) as proxy,
    ):
        answer = await sent_by(by(proxy), "https://gateway.test/api2.php", ssl_context=tls.client())

    assert isinstance(answer, SentMessage)
    assert proxy.requests == [b"gateway.test 443"]


async def test_a_connection_is_used_again() -> None:
    async with (
        raw_server(answering(http(ACCEPTED))) as gateway,
        raw_server(socks(gateway.port)) as proxy,
        Client("K" * 64, url=ANOTHER_GATEWAY, allow_http=True, proxy=by(proxy)) as client,
    ):
        await client.send(PHONE, "one")
        await client.send(PHONE, "two")

    assert (len(gateway.requests), proxy.connections) == (2, 1)


@pytest.mark.parametrize("name", ["ALL_PROXY", "all_proxy", "HTTP_PROXY"])
async def test_the_environment_names_one(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("NO_PROXY", "unrelated.example")
    async with raw_server(answering(http(ACCEPTED))) as gateway, raw_server(socks(gateway.port)) as proxy:
        monkeypatch.setenv(name, by(proxy))
        assert isinstance(await sent_by(None), SentMessage)


@pytest.mark.parametrize(
    ("host", "heard"), [("192.0.2.7", b"c0000207 80"), ("[2001:db8::7]", b"20010db8" + b"0" * 23 + b"7 80")]
)
async def test_an_address_is_sent_as_an_address(host: str, heard: bytes) -> None:
    async with raw_server(answering(http(ACCEPTED))) as gateway, raw_server(socks(gateway.port)) as proxy:
        assert isinstance(await sent_by(by(proxy), f"http://{host}/api2.php"), SentMessage)

    assert proxy.requests == [heard]


@pytest.mark.parametrize("address", [b"\x04" + bytes(16), b"\x03\x0cgateway.test"])
async def test_where_the_proxy_connects_from_may_be_given_in_each_way(address: bytes) -> None:
    async with (
        raw_server(answering(http(ACCEPTED))) as gateway,
        raw_server(socks(gateway.port, address=address)) as proxy,
    ):
        assert isinstance(await sent_by(by(proxy)), SentMessage)


async def test_the_proxys_answers_may_come_in_pieces() -> None:
    async def in_pieces(peer: Peer) -> None:
        await greeted(peer)
        whole = peer.send

        async def send(data: bytes) -> None:
            for byte in data:
                await whole(bytes([byte]))
                await idle()

        peer.send = send  # type: ignore[method-assign]
        await asked(peer)
        await peer.splice(gateway.port)

    async with raw_server(answering(http(ACCEPTED))) as gateway, raw_server(in_pieces) as proxy:
        assert isinstance(await sent_by(by(proxy)), SentMessage)


# --- nothing was sent ----------------------------------------------------------------------------


async def speaks_http(peer: Peer) -> None:
    await peer.reader.read(3)
    await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")


async def hangs_up_at_once(peer: Peer) -> None:
    await peer.reader.read(3)


async def resets_at_once(peer: Peer) -> None:
    await peer.reader.read(3)
    peer.reset()


async def hangs_up_in_the_answer(peer: Peer) -> None:
    await greeted(peer)
    await peer.reader.read(1000)
    await peer.send(b"\x05\x00\x00\x01\x7f")


async def speaks_of_an_unknown_kind_of_address(peer: Peer) -> None:
    await greeted(peer)
    await asked(peer, address=b"\x09\x00")


async def wants_another_proof(peer: Peer) -> None:
    await peer.reader.read(3)
    await peer.send(b"\x05\x01")


async def loses_its_tongue(peer: Peer) -> None:
    await greeted(peer)
    await peer.reader.read(1000)
    await peer.send(b"HTTP/1.1")


@pytest.mark.parametrize(
    ("script", "credentials", "says"),
    [
        pytest.param(
            socks(1, login=LOGIN), "", "requires a user and a password: put them into its URL", id="no password"
        ),
        pytest.param(
            socks(1, login=LOGIN), "me:secret99@", "refused the user or the password: correct", id="wrong one"
        ),
        pytest.param(socks(1, login=LOGIN), f"me:{'secret99' * 40}@", "255 bytes", id="too long"),
        pytest.param(wants_another_proof, "", "other than a password", id="another proof"),
        pytest.param(
            socks(1, reply=5), "", "gateway.test, port 80: the connection was refused (SOCKS reply 5)", id="5"
        ),
        pytest.param(
            socks(1, reply=2), "", "its rules do not allow that (SOCKS reply 2). Ask its administrator", id="2"
        ),
        pytest.param(socks(1, reply=99), "", "it does not say why (SOCKS reply 99)", id="99"),
        pytest.param(
            speaks_http, "", "does not speak SOCKS5: an http proxy's URL begins with http:", id="an http proxy"
        ),
        pytest.param(loses_its_tongue, "", "does not speak SOCKS5", id="http later"),
        pytest.param(speaks_of_an_unknown_kind_of_address, "", "does not speak SOCKS5", id="kind of address"),
        pytest.param(hangs_up_at_once, "", "hung up before it had connected", id="hangs up"),
        pytest.param(resets_at_once, "", "hung up before it had connected", id="resets"),
        pytest.param(hangs_up_in_the_answer, "", "hung up before it had connected", id="hangs up in the answer"),
    ],
)
async def test_a_proxy_that_does_not_let_through_was_sent_nothing(
    script: Callable[[Peer], Awaitable[None]], credentials: str, says: str
) -> None:
    async with raw_server(script) as proxy:
        error = await sent_by(by(proxy, credentials))
        await idle()
        assert proxy.gone == proxy.connections  # none stays open

    assert isinstance(error, ConnectionFailed)
    assert error.outcome is Outcome.NOT_SENT
    assert says in str(error)
    assert "Nothing was sent" in str(error)
    assert "secret99" not in str(error)


async def test_a_proxy_that_is_away_was_sent_nothing() -> None:
    async with raw_server(hang_at_once) as gone:
        pass
    error = await sent_by(by(gone, "me:hunter2@"))

    assert isinstance(error, ConnectionFailed)
    assert "the SOCKS proxy cannot be reached" in str(error)
    assert "hunter2" not in str(error)


async def test_a_proxy_that_hangs_was_sent_nothing_and_is_hung_up_on() -> None:
    async with raw_server(hang_at_once) as proxy:
        error = await sent_by(by(proxy), timeout=0.05)
        await idle()
        assert proxy.gone == proxy.connections

    assert isinstance(error, ConnectionFailed)


async def test_a_caller_who_cancels_while_the_proxy_connects_leaves_nothing_open() -> None:
    async with (
        raw_server(hang_at_once) as proxy,
        Client("K" * 64, url=ANOTHER_GATEWAY, allow_http=True, proxy=by(proxy)) as client,
    ):
        asking = await begun(failure_of(client.balance()))
        await proxy.has_connection.wait()
        await idle()
        asking.cancel()
        await idle()
        assert proxy.gone == proxy.connections == 1


async def test_no_log_of_whatever_level_has_the_password(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with raw_server(answering(http(ACCEPTED))) as gateway, raw_server(socks(gateway.port, login=LOGIN)) as proxy:
        assert isinstance(await sent_by(by(proxy, "me:hunter2@")), SentMessage)

    assert "gateway.test" in caplog.text
    assert "hunter2" not in caplog.text


# --- it may have been sent -----------------------------------------------------------------------


@pytest.mark.parametrize("script", [close_after_request, reset_after_request])
async def test_a_request_that_went_through_has_an_unknown_outcome(script: Callable[[Peer], Awaitable[None]]) -> None:
    async with raw_server(script) as gateway, raw_server(socks(gateway.port)) as proxy:
        error = await sent_by(by(proxy), retry=Retry())

    assert isinstance(error, OutcomeUnknown)
    assert len(gateway.requests) == 1


async def test_a_proxy_that_hangs_up_in_the_middle_of_a_request_leaves_the_outcome_unknown() -> None:
    async def hangs_up(peer: Peer) -> None:
        await greeted(peer)
        await asked(peer)
        await peer.head()

    async with raw_server(hangs_up) as proxy:
        error = await sent_by(by(proxy), retry=Retry())

    assert isinstance(error, OutcomeUnknown)
    assert proxy.connections == 1
