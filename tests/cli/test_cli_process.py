# ruff: noqa: S603 - the programs that run here are ours
"""The command as a process of its own: signals, kills, terminals, pipes, and an install without the extras."""

from __future__ import annotations

import contextlib
import csv
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections import Counter
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest
from cli_running import PHONES, command, environment, numbered, write_list

import smspilot_async
from smspilot_async.emulator import Emulator, Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RESULTS = Path("list.csv.results.csv")
PATIENCE = 30.0


@pytest.fixture
def gateway() -> Iterator[Emulator]:
    with Emulator.serve() as emulator:
        yield emulator


class Process(subprocess.Popen[str]):
    """Does not outlive a test that fails."""

    def __exit__(self, *error: object) -> None:
        if error[0] is not None:
            self.kill()
        super().__exit__(*error)  # type: ignore[arg-type]

    @contextlib.contextmanager
    def killed_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            with self:
                self.kill()
            raise


def start(
    gateway: Emulator,
    *arguments: str,
    stdin: int | IO[Any] = subprocess.DEVNULL,
    stderr: int = subprocess.PIPE,
    **more: str,
) -> Process:
    return Process(
        command(*arguments),
        env=environment(gateway, PYTHONUNBUFFERED="1", PYTHONWARNINGS="error", **more),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )


def results() -> list[dict[str, str]]:
    with RESULTS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def outcomes() -> dict[str, int]:
    return dict(Counter(row["outcome"] for row in results()))


def wait_until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < give_up
        os.sched_yield()


def lines_until(stream: IO[str] | None, words: str) -> str:
    assert stream is not None
    read = ""
    for line in stream:
        read += line
        if words in line:
            return read
    raise AssertionError(f"{words!r} never came, but: {read}")


async def with_three_packets_on_the_wire(gateway: Emulator) -> Process:
    """Start a list of five packets, and come back while the first three wait for their answers."""
    write_list(numbered(500))
    gateway.fail_next("send", Fault.SLOW, times=3)
    process = start(gateway, "bulk", "list.csv", "--yes", "--in-flight", "3")
    with process.killed_on_error():
        for last in (99, 199, 299):
            await gateway.wait_for(to=PHONES[last], timeout=PATIENCE)
    return process


async def test_ctrl_c_waits_for_what_is_on_the_wire_and_accounts_for_the_rest(gateway: Emulator) -> None:
    with await with_three_packets_on_the_wire(gateway) as process:
        process.send_signal(signal.SIGINT)
        lines_until(process.stderr, "stopping: waiting for the answer")
        gateway.release()
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert outcomes() == {"accepted": 300, "not_sent": 200}
    assert len(gateway.messages) == 300
    assert "not sent  200" in out
    assert "--resume sends what was not sent" in err


async def test_a_second_ctrl_c_does_not_wait_and_says_what_is_unknown(gateway: Emulator) -> None:
    with await with_three_packets_on_the_wire(gateway) as process:
        process.send_signal(signal.SIGINT)
        lines_until(process.stderr, "stopping: waiting for the answer")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 3
    assert "Traceback" not in err
    assert outcomes() == {"unknown": 300, "not_sent": 200}
    assert "lines 2-301" in out


def ended_by_answers(process: Process, gateway: Emulator) -> int | None:
    def has_ended() -> bool:
        gateway.release()  # more than once: a message that is accepted is not held back yet
        return process.poll() is not None

    wait_until(has_ended)
    return process.returncode


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
async def test_a_polite_kill_is_a_ctrl_c(gateway: Emulator, number: signal.Signals, exit_code: int) -> None:
    with await with_three_packets_on_the_wire(gateway) as process:
        process.send_signal(number)
        lines_until(process.stderr, "stopping: waiting for the answer")
        gateway.release()
        process.communicate(timeout=PATIENCE)
    assert process.returncode == exit_code
    assert outcomes() == {"accepted": 300, "not_sent": 200}


async def test_a_terminal_that_is_closed_is_a_ctrl_c_too(gateway: Emulator) -> None:
    write_list(numbered(500))
    gateway.fail_next("send", Fault.SLOW, times=3)
    ours, theirs = pty.openpty()
    at_its_own_terminal = [sys.executable, "-c", "import os, sys; os.login_tty(0); os.execv(sys.argv[1], sys.argv[1:])"]
    process = Process(
        [*at_its_own_terminal, *command("bulk", "list.csv", "--yes")],
        env=environment(gateway, TERM="xterm"),
        stdin=theirs,
    )
    os.close(theirs)
    with process, process.killed_on_error():
        await gateway.wait_for(to=PHONES[299], timeout=PATIENCE)
        os.close(ours)
        assert ended_by_answers(process, gateway) == 129
    assert len(results()) == 500
    assert outcomes()["accepted"] == len(gateway.messages)
    assert outcomes().keys() <= {"accepted", "not_sent"}


async def test_under_nohup_a_run_outlives_its_terminal(gateway: Emulator) -> None:
    write_list(numbered(300))
    gateway.fail_next("send", Fault.SLOW, times=3)
    nohup = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh"]
    with (
        Process(
            [*nohup, *command("bulk", "list.csv", "--yes")], env=environment(gateway), stdout=subprocess.DEVNULL
        ) as process,
        process.killed_on_error(),
    ):
        await gateway.wait_for(to=PHONES[299], timeout=PATIENCE)
        process.send_signal(signal.SIGHUP)
        assert ended_by_answers(process, gateway) == 0
    assert outcomes() == {"accepted": 300}


async def test_a_kill_leaves_what_was_known(gateway: Emulator) -> None:
    write_list(numbered(500))
    gateway.fail_next("send", Fault.SLOW, times=3, delay=0.0)  # no fault, but the first packets take it
    gateway.fail_next("send", Fault.SLOW)
    # One after another: of several, a later one may come first, and take what is meant for an earlier one.
    with start(gateway, "bulk", "list.csv", "--yes", "--in-flight", "1") as process, process.killed_on_error():
        await gateway.wait_for(to=PHONES[399], timeout=PATIENCE)
        wait_until(lambda: len(results()) >= 300)
        process.kill()
        process.communicate(timeout=PATIENCE)
    known = results()
    assert {row["outcome"] for row in known} == {"accepted"}
    assert [row["to"] for row in known] == PHONES[: len(known)]


async def test_ctrl_c_during_a_send_waits_for_its_answer(gateway: Emulator) -> None:
    gateway.fail_next("send", Fault.SLOW)
    with start(gateway, "send", PHONES[0], "x", "--json") as process:
        await gateway.wait_for(to=PHONES[0], timeout=PATIENCE)
        process.send_signal(signal.SIGINT)
        lines_until(process.stderr, "stopping: waiting for the answer")
        gateway.release()
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert json.loads(out)["outcome"] == "accepted"
    assert err == ""


async def test_a_second_ctrl_c_during_a_send_says_that_it_may_have_been_sent(gateway: Emulator) -> None:
    gateway.fail_next("send", Fault.SLOW)
    with start(gateway, "send", PHONES[0], "x") as process:
        await gateway.wait_for(to=PHONES[0], timeout=PATIENCE)
        process.send_signal(signal.SIGINT)
        lines_until(process.stderr, "stopping: waiting for the answer")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (3, "")
    assert "may have been sent" in err
    assert err.count("\n") == 1


async def test_ctrl_c_during_a_question_is_one_line(gateway: Emulator) -> None:
    gateway.inbound(PHONES[0], "STOP")
    gateway.fail_next("inbound", Fault.SLOW)
    with start(gateway, "inbound", "--since", "new") as process:
        give_up = time.monotonic() + PATIENCE
        while not gateway.inbound_messages[0].seen:
            assert time.monotonic() < give_up
            os.sched_yield()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (130, "", "smspilot: interrupted.\n")


WAITS = """
import os, signal
os.write(1, b"loading")
signal.pause()
"""
SCRIPT = "import sys, smspilot_async_command; sys.argv = ['smspilot', 'balance']; smspilot_async_command.main()"
WAYS = [["-c", SCRIPT], ["-m", "smspilot_async", "balance"], ["-m", "smspilot_async.cli", "balance"]]


@pytest.mark.parametrize("way", WAYS, ids=["smspilot", "python -m smspilot_async", "python -m smspilot_async.cli"])
@pytest.mark.parametrize("module", ["httpx", "rich", "smspilot_async/cli/_app"])
def test_ctrl_c_while_modules_load_is_one_line(tmp_path: Path, module: str, way: list[str]) -> None:
    """One of the modules is replaced by one that waits for the signal."""
    package = Path(smspilot_async.__file__).parent
    if "/" in module:
        shutil.copytree(package, tmp_path / "smspilot_async", symlinks=True)
    (tmp_path / f"{module}.py").write_text(WAITS, encoding="utf-8")
    search = os.pathsep.join([str(tmp_path), str(package.parent)])
    with Process(
        [sys.executable, *way],
        env={**os.environ, "PYTHONPATH": search},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read(7) == "loading"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (130, "smspilot: interrupted.\n")


@pytest.mark.parametrize("way", WAYS, ids=["smspilot", "python -m smspilot_async", "python -m smspilot_async.cli"])
def test_the_script_runs_the_command(gateway: Emulator, way: list[str]) -> None:
    ran = subprocess.run(
        [sys.executable, *way], env=environment(gateway), capture_output=True, check=True, timeout=PATIENCE
    )
    assert ran.stdout == b"1000000.00 RUB\n"


# --- a terminal -----------------------------------------------------------------------------------


def interrupt_until_it_says_so(process: Process) -> None:
    # Between Python's last look at its signals and its reading there is a moment in which one goes unnoticed; but one
    # that comes while Python is ending kills it.
    assert process.stderr is not None
    for _ in range(int(PATIENCE)):
        process.send_signal(signal.SIGINT)
        if select.select([process.stderr], [], [], 1)[0]:
            return


def at_a_terminal(gateway: Emulator) -> tuple[Process, int]:
    write_list(numbered(3))
    ours, theirs = pty.openpty()
    process = start(gateway, "bulk", "list.csv", stdin=theirs)
    os.close(theirs)
    return process, ours


@pytest.mark.parametrize(("answer", "exit_code", "count"), [(b"y\n", 0, 3), (b"n\n", 2, 0)])
def test_a_person_at_a_terminal_is_asked(gateway: Emulator, answer: bytes, exit_code: int, count: int) -> None:
    process, terminal = at_a_terminal(gateway)
    with process:
        os.write(terminal, answer)
        _, err = process.communicate(timeout=PATIENCE)
    os.close(terminal)
    assert "Send 3 messages for 3.75 RUB? [y/N]" in err
    assert process.returncode == exit_code
    assert len(gateway.messages) == count


def test_ctrl_c_at_the_question_sends_nothing(gateway: Emulator) -> None:
    process, terminal = at_a_terminal(gateway)
    with process:
        assert process.stderr is not None
        assert process.stderr.readline().endswith("asking what they cost\n")
        assert process.stderr.read(4) == "Send"
        interrupt_until_it_says_so(process)
        _, err = process.communicate(timeout=PATIENCE)
    os.close(terminal)
    assert process.returncode == 130
    assert err.endswith("smspilot: interrupted: nothing was sent.\n")
    assert not gateway.messages
    assert not RESULTS.exists()


def test_at_a_terminal_a_bar_shows_how_far_the_pricing_is(gateway: Emulator) -> None:
    write_list([*numbered(450), (PHONES[450], "two\nlines")])
    gateway.fail_next("cost", Fault.SLOW, times=4)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 120, 0, 0))
    with start(gateway, "bulk", "list.csv", "--dry-run", stderr=theirs, TERM="xterm") as process:
        os.close(theirs)
        seen = b""
        shows = re.compile(rb"302/453 [-:\d]+\s+lines read and priced").search
        while not shows(re.sub(rb"\x1b\[[\d;?]*[a-zA-Z]", b"", seen)):
            seen += os.read(ours, 4096)
        assert b"asking" not in seen
        gateway.release()
        with contextlib.suppress(OSError):  # Linux' word for the end of a terminal
            while os.read(ours, 4096):
                pass
        assert process.wait(PATIENCE) == 0
    os.close(ours)


# --- pipes and consoles ---------------------------------------------------------------------------


def test_a_reader_who_leaves_early_stops_no_sending(gateway: Emulator) -> None:
    write_list(numbered(300))
    with start(gateway, "bulk", "list.csv", "--yes", "--json") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read()
        assert process.wait(PATIENCE) == 0
    assert err.splitlines()[1:] == [f"results: {RESULTS}"]
    assert outcomes() == {"accepted": 300}


def test_a_console_that_cannot_show_a_text_ends_nothing(gateway: Emulator) -> None:
    write_list([(PHONES[0], "Привет 😊")])
    ran = subprocess.run(
        command("bulk", "list.csv", "--yes"),
        env=environment(gateway, PYTHONIOENCODING="cp1251"),
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )
    assert ran.returncode == 0
    assert "Привет \\U0001f60a".encode("cp1251") in ran.stdout
    assert len(gateway.messages) == 1


FULL = Path("/dev/full")
NOT_WRITTEN = "smspilot: the output could not be written completely: No space left on device.\n"
needs_a_full_disk = pytest.mark.skipif(not FULL.exists(), reason="Linux has a full disk at hand")


def run_onto(gateway: Emulator, redirection: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = f'"$@" {redirection}'
    return subprocess.run(
        ["/bin/sh", "-c", line, "sh", *command(*arguments)],
        env=environment(gateway, PYTHONWARNINGS="error"),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


@needs_a_full_disk
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_an_accepted_message_stays_accepted_where_the_output_cannot_be_written(
    gateway: Emulator, options: list[str]
) -> None:
    ran = run_onto(gateway, "> /dev/full", "send", PHONES[0], "x", *options)
    [message] = gateway.messages
    told = f"the message was accepted: server id {message.server_id}, packet {message.server_packet_id}.\n"
    assert (ran.returncode, ran.stderr) == (5, told + NOT_WRITTEN)


@needs_a_full_disk
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_list_goes_out_and_is_accounted_for_where_the_output_cannot_be_written(
    gateway: Emulator, options: list[str]
) -> None:
    write_list([*numbered(300), ("123", "x")])
    ran = run_onto(gateway, "> /dev/full", "bulk", "list.csv", "--yes", *options)
    assert outcomes() == {"accepted": 300, "refused": 1}
    assert len(gateway.messages) == 300
    assert not RESULTS.with_name(f"{RESULTS}.ledger").exists()
    assert ran.returncode == 1  # what became of the messages is said first
    assert ran.stderr.endswith(f"results: {RESULTS}\n{NOT_WRITTEN}")


@needs_a_full_disk
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["balance"], 5),
        (["balance", "--json"], 5),
        (["--version"], 5),
        (["--help"], 5),
        (["send", "--help"], 5),
        (["bulk", "list.csv", "--dry-run"], 5),
        (["send", "123", "x", "--json"], 2),
        (["bulk", "none.csv", "--json"], 2),
    ],
)
def test_every_command_says_that_its_output_cannot_be_written(
    gateway: Emulator, arguments: list[str], code: int
) -> None:
    write_list(numbered(3))
    ran = run_onto(gateway, "> /dev/full", *arguments)
    assert ran.returncode == code
    assert ran.stderr.endswith(NOT_WRITTEN)
    assert ran.stderr.count("No space left") == 1
    assert not gateway.messages


@contextlib.contextmanager
def a_pipe_without_a_reader() -> Iterator[int]:
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@contextlib.contextmanager
def a_full_disk() -> Iterator[int]:
    with FULL.open("wb") as file:
        yield file.fileno()


@pytest.mark.parametrize(
    ("stdout", "code"), [pytest.param(a_full_disk, 5, marks=needs_a_full_disk), (a_pipe_without_a_reader, 0)]
)
def test_what_listen_cannot_print_comes_again(
    gateway: Emulator, stdout: Callable[[], contextlib.AbstractContextManager[int]], code: int
) -> None:
    gateway.inbound(PHONES[0], "STOP")
    listening = ("listen", "--poll-interval", "0.05", "--cursor", "cursor", "--json")
    with stdout() as written:
        ran = subprocess.run(
            command(*listening), env=environment(gateway), stdout=written, check=False, timeout=PATIENCE
        )
    assert ran.returncode == code
    with start(gateway, *listening) as process, process.killed_on_error():
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["text"] == "STOP"
        process.terminate()


@needs_a_full_disk
def test_new_messages_that_cannot_be_printed_can_be_asked_for_by_time(gateway: Emulator) -> None:
    gateway.inbound(PHONES[0], "STOP")
    ran = run_onto(gateway, "> /dev/full", "inbound", "--since", "new")
    assert ran.returncode == 5
    assert "ask for them by time, with --since" in ran.stderr


@needs_a_full_disk
def test_track_ends_where_its_output_cannot_be_written(gateway: Emulator) -> None:
    sent = subprocess.run(
        command("send", PHONES[0], "x", "--json"), env=environment(gateway), capture_output=True, check=True
    )
    server_id = json.loads(sent.stdout)["server_id"]
    assert run_onto(gateway, "> /dev/full", "track", server_id, "--poll-interval", "0.05").returncode == 5


@needs_a_full_disk
@pytest.mark.parametrize(("redirection", "code"), [("> /dev/full 2> /dev/full", 5), ("2> /dev/full", 0), (">&-", 0)])
def test_a_message_is_accepted_wherever_its_streams_lead(gateway: Emulator, redirection: str, code: int) -> None:
    write_list(numbered(200))
    assert run_onto(gateway, redirection, "send", PHONES[700], "x").returncode == code
    assert run_onto(gateway, redirection, "bulk", "list.csv", "--yes").returncode == code
    assert outcomes() == {"accepted": 200}
    assert len(gateway.messages) == 201


def test_the_emulator_is_served_until_it_is_ended() -> None:
    with subprocess.Popen(
        command("emulator", "--port", "0", "--key", "K", "--json"), stdout=subprocess.PIPE, text=True
    ) as served:
        assert served.stdout is not None
        first = json.loads(served.stdout.readline())
        env = {**os.environ, "SMSPILOT_URL": first["url"], "SMSPILOT_API_KEY": first["api_key"]}
        ran = subprocess.run(command("balance", "--json"), env=env, capture_output=True, check=True, timeout=PATIENCE)
        served.send_signal(signal.SIGINT)
        assert served.wait(PATIENCE) == 0
    assert json.loads(ran.stdout)["balance"] == "1000000.00"


# --- installs without the extras ------------------------------------------------------------------

WITHOUT = """
import sys
for name in {missing!r}:
    sys.modules[name] = None
from smspilot_async.cli import main
sys.argv = ["smspilot", *{arguments!r}]
main()
"""


def without(missing: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    code = WITHOUT.format(missing=missing, arguments=list(arguments))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=PATIENCE)


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_the_command_says_what_to_install(missing: str) -> None:
    ran = without([missing], "--version")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == "smspilot's command line needs: pip install 'smspilot-async[cli]'\n"


@pytest.mark.parametrize("name", ["emulator", "demo"])
def test_without_any_extra_a_command_of_the_emulator_names_both_that_it_needs(name: str) -> None:
    ran = without(["click", "uvicorn"], name)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == "smspilot's command line needs: pip install 'smspilot-async[cli,emulator]'\n"


def test_without_the_extra_a_program_gets_json() -> None:
    ran = without(["click"], "balance", "--json")
    assert ran.returncode == 2
    assert json.loads(ran.stdout)["error"]["message"] in ran.stderr
    assert json.loads(ran.stdout)["error"].keys() == json.loads(usage_error())["error"].keys()


def usage_error() -> str:
    return subprocess.run(
        command("check", "--json"), capture_output=True, text=True, check=False, timeout=PATIENCE
    ).stdout


@pytest.mark.parametrize("module", ["smspilot_async", "smspilot_async.cli"])
def test_python_m_is_the_command(module: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", module, "--version"], capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    assert re.match(r"smspilot \d+\.\d+", ran.stdout)


@pytest.mark.parametrize("name", ["emulator", "demo"])
def test_without_the_emulator_its_commands_say_what_to_install(name: str) -> None:
    ran = without(["uvicorn", "starlette"], name)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == f"smspilot: {name} needs: pip install 'smspilot-async[cli,emulator]'\n"


def test_another_missing_module_is_not_hidden() -> None:
    ran = without(["smspilot_async.cli._app"], "--version")
    assert ran.returncode == 1
    assert "ModuleNotFoundError" in ran.stderr or "ImportError" in ran.stderr


def test_the_door_can_be_tried_in_this_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from smspilot_async.cli import main  # noqa: PLC0415

    monkeypatch.setattr(sys, "argv", ["smspilot", "--version"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    for missing, code in (("rich.console", 2), ("json", None)):
        monkeypatch.setitem(sys.modules, "smspilot_async.cli._app", None)
        monkeypatch.setattr("builtins.__import__", _import_without(missing))
        with pytest.raises(SystemExit if code else ModuleNotFoundError):
            main()
        monkeypatch.undo()
    assert "pip install 'smspilot-async[cli]'" in capsys.readouterr().err


def _import_without(missing: str) -> Any:
    real = __import__

    def importer(name: str, *rest: Any, **more: Any) -> Any:
        if name == "smspilot_async.cli" and "_app" in (rest[2] or () if len(rest) > 2 else ()):
            raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)
        return real(name, *rest, **more)

    return importer
