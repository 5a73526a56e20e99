# ruff: noqa: S603 - the programs that run here are ours
"""``check`` of several packets, ``track`` and ``listen``, against a gateway on a socket."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cli_running import PHONES, command, environment, run

from smspilot_async.emulator import Fault

if TYPE_CHECKING:
    from smspilot_async.emulator import AcceptedMessage, Emulator

PATIENCE = 30.0


def sent(gateway: Emulator, count: int) -> tuple[AcceptedMessage, ...]:
    for number in range(count):
        assert run("send", PHONES[number], f"text {number}").exit_code == 0
    return gateway.messages


def start(gateway: Emulator, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*arguments),
        env=environment(gateway, PYTHONWARNINGS="error"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def first_lines(process: subprocess.Popen[str], count: int = 1) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline() for _ in range(count)]


def test_several_packets_are_checked_in_the_order_they_were_named(gateway: Emulator) -> None:
    packets = [message.server_packet_id for message in sent(gateway, 3)]
    packets.reverse()
    options = [part for packet in packets for part in ("--packet", packet)]
    found = run("check", *options, "--packet", packets[0], "--json").json
    assert [each["packet"] for each in found] == packets
    ids = [message.server_id for message in reversed(gateway.messages)]
    assert [each["statuses"][0]["server_id"] for each in found] == ids
    ran = run("check", *options)
    assert ran.exit_code == 0
    assert [line.split()[:2] for line in ran.stdout.splitlines()[1:]] == [
        list(row) for row in zip(packets, ids, strict=True)
    ]


def test_a_packet_that_fails_does_not_keep_the_others_back(gateway: Emulator) -> None:
    [message] = sent(gateway, 1)
    ran = run("check", "--packet", "1", "--packet", message.server_packet_id)
    assert ran.exit_code == 4
    assert message.server_id in ran.stdout
    assert ran.stderr.startswith("packet 1: refused by the gateway with 304")
    found = run("check", "--packet", "1", "--packet", message.server_packet_id, "--json").json
    assert [each["error"] and each["error"]["type"] for each in found] == ["NotFound", None]


def test_track_prints_each_change_until_all_are_final(gateway: Emulator) -> None:
    first, second = sent(gateway, 2)
    arguments = ("track", first.server_id, "--packet", second.server_packet_id, "--poll-interval", "0.02", "--json")
    with start(gateway, *arguments) as process:
        seen = first_lines(process, 2)
        gateway.set_status(first.server_id, 2)
        gateway.set_status(second.server_id, -1, 601)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, "")
    assert {json.loads(line)["server_id"] for line in seen} == {first.server_id, second.server_id}
    last = {each["server_id"]: each for each in map(json.loads, out.splitlines())}
    assert (last[first.server_id]["status"], last[first.server_id]["is_final"]) == (2, True)
    assert (last[second.server_id]["status"], last[second.server_id]["delivered"]) == (-1, False)


def test_track_of_what_is_final_says_so_for_a_person(gateway: Emulator) -> None:
    [message] = sent(gateway, 1)
    gateway.clock.advance(minutes=5)
    ran = run("track", "--packet", message.server_packet_id)
    assert ran.exit_code == 0
    [line] = ran.stdout.splitlines()
    assert line.startswith(f"{message.server_id}: delivered")


def test_track_gives_up_at_its_timeout(gateway: Emulator) -> None:
    [message] = sent(gateway, 1)
    ran = run("track", message.server_id, "--poll-interval", "0.05", "--timeout", "0.3")
    assert ran.exit_code == 4
    assert ran.stderr == "smspilot: timed out: 1 message without a final status.\n"


@pytest.mark.parametrize("as_json", [False, True])
def test_track_of_an_unknown_packet_is_exit_4(gateway: Emulator, *, as_json: bool) -> None:
    ran = run("track", "--packet", "1", *(["--json"] if as_json else []))
    assert ran.exit_code == 4
    assert "304" in ran.stderr
    assert bool(ran.stdout) == as_json
    assert not gateway.messages


def test_ctrl_c_ends_track(gateway: Emulator) -> None:
    [message] = sent(gateway, 1)
    with start(gateway, "track", message.server_id, "--poll-interval", "0.05") as process:
        assert first_lines(process)[0].startswith(message.server_id)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (130, "", "")


def test_listen_prints_messages_as_they_come_and_a_restart_repeats_none_that_was_followed(gateway: Emulator) -> None:
    gateway.inbound(PHONES[0], "one")
    arguments = ("listen", "--poll-interval", "0.05", "--cursor", "cursor", "--json")
    with start(gateway, *arguments) as process:
        seen = first_lines(process)
        gateway.inbound(PHONES[1], "two")
        gateway.inbound(PHONES[2], "three")
        seen += first_lines(process, 2)
        gateway.fail_next("inbound", Fault.ACCEPT_THEN_RESET)
        gateway.inbound(PHONES[3], "four")
        seen += first_lines(process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (130, "", "")
    messages = [json.loads(line) for line in seen]
    assert [(each["phone"], each["text"]) for each in messages] == list(
        zip(PHONES, ("one", "two", "three", "four"), strict=False)
    )
    assert Path("cursor").exists()
    gateway.inbound(PHONES[4], "five")
    with start(gateway, *arguments) as process:
        later = [json.loads(line)["text"] for line in first_lines(process, 1)]
        if later == ["four"]:  # the last one may come again
            later = [json.loads(line)["text"] for line in first_lines(process, 1)]
        process.terminate()
        process.communicate(timeout=PATIENCE)
    assert later == ["five"]
    assert process.returncode == 143


def test_listen_for_a_person_obeys_nothing_in_a_text(gateway: Emulator) -> None:
    gateway.inbound(PHONES[0], "STOP\x1b[31m")
    with start(gateway, "listen", "--poll-interval", "0.05") as process:
        [line] = first_lines(process)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
    assert PHONES[0] in line
    assert line.endswith(": STOP\\x1b[31m\n")


def test_a_second_listener_on_a_cursor_is_refused(gateway: Emulator) -> None:
    gateway.inbound(PHONES[0], "one")
    with start(gateway, "listen", "--poll-interval", "0.05", "--cursor", "cursor") as process:
        first_lines(process)
        ran = run("listen", "--cursor", "cursor")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
    assert ran.exit_code == 4
    assert "in use by another listener" in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("track",), "Name the messages"),
        (("track", "1", "--poll-interval", "0"), "--poll-interval"),
        (("track", "a b"), "server_ids:"),
        (("listen", "--poll-interval", "0"), "--poll-interval"),
    ],
)
def test_wrong_use_is_exit_2(gateway: Emulator, arguments: tuple[str, ...], words: str) -> None:
    ran = run(*arguments)
    assert ran.exit_code == 2
    assert words in " ".join(ran.stderr.split())
    assert not gateway.messages


@pytest.mark.parametrize("name", ["track", "listen"])
def test_they_explain_themselves(name: str) -> None:
    ran = run(name, "--help")
    assert ran.exit_code == 0
    assert all(len(line) <= 100 for line in ran.stdout.splitlines())
