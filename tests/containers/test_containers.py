"""The images and ``compose.yaml`` of ``examples/containers``, their steps run as a script where no builder is."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from composition import Composition, until
from containerfile import Builder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from postgres import Postgres

ROOT = Path(__file__).parents[2]
PLACE = ROOT / "examples" / "containers"
PEOPLE = 1000


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    return Builder(PLACE / "Containerfile", ROOT, tmp_path_factory.mktemp("images"))


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """``compose.yaml`` with secrets beside it, made by their script."""
    for name in ("compose.yaml", "secrets.sh"):
        shutil.copy(PLACE / name, tmp_path)
    subprocess.run([tmp_path / "secrets.sh"], check=True, capture_output=True)  # noqa: S603 - it is ours
    return tmp_path / "secrets"


@pytest.fixture
def composition(builder: Builder, secrets: Path, postgres: Postgres, tmp_path: Path) -> Iterator[Composition]:
    composition = Composition(secrets.parent / "compose.yaml", builder, postgres, tmp_path / "out")
    yield composition
    composition.close()


@pytest.mark.parametrize("name", ["emulator", "worker"])
def test_an_image_does_not_run_as_root_and_holds_no_key(builder: Builder, name: str) -> None:
    image = builder.image(name)
    assert image.user == "1000:1000"
    assert not [variable for variable in image.env if "KEY" in variable or "PASSWORD" in variable]
    assert image.entrypoint == ["smspilot"]
    assert {path.name for path in image.root.iterdir()} <= {"opt", "state"}  # neither sources nor what pip keeps


@pytest.mark.parametrize(
    ("name", "there", "absent"),
    [
        ("emulator", ["uvicorn", "starlette"], ["procrastinate", "psycopg", "matplotlib", "pytest"]),
        ("worker", ["procrastinate", "psycopg", "starlette", "python_calamine", "msgspec"], ["matplotlib", "pytest"]),
    ],
)
def test_an_image_has_what_it_needs_and_no_more(
    builder: Builder, name: str, there: list[str], absent: list[str]
) -> None:
    image = builder.image(name)
    look = (
        "import sys, json, importlib.util as u; print(json.dumps([bool(u.find_spec(name)) for name in sys.argv[1:]]))"
    )
    done = subprocess.run(  # noqa: S603 - it is ours
        [image.root / "opt/smspilot/bin/python", "-c", look, *there, *absent],
        env=image.env,
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout) == [True] * len(there) + [False] * len(absent)


def test_the_secrets_are_private_kept_and_not_in_the_description(secrets: Path) -> None:
    before = {path.name: path.read_text(encoding="utf-8") for path in secrets.iterdir()}
    subprocess.run([secrets.parent / "secrets.sh"], check=True, capture_output=True)  # noqa: S603 - it is ours
    assert {path.name: path.read_text(encoding="utf-8") for path in secrets.iterdir()} == before
    assert {path.stat().st_mode & 0o777 for path in secrets.iterdir()} == {0o600}
    described = (PLACE / "compose.yaml").read_text(encoding="utf-8")
    assert not [word for content in before.values() for word in content.split()[-1:] if word in described]


@pytest.mark.usefixtures("uncounted")
def test_what_compose_describes_sends_each_message_once_though_a_worker_is_killed_and_ends_well(
    composition: Composition,
) -> None:
    composition.run("ledger", "outbox", "init")
    composition.up()
    with httpx.Client(base_url=composition.address("8025"), trust_env=False, timeout=30) as gateway:
        slow = {"shares": {"slow": 1.0}, "command": "send", "delay": 0.3, "seed": 1}
        assert gateway.post("/_emulator/random-faults", json=slow).status_code == 200
        begin_campaign(composition)
        until(lambda: phones(gateway), lambda: composition.log("worker-1"))
        composition.kill("worker-1")
        composition.start("worker-1")
        sent = len(phones(gateway))
        until(lambda: len(phones(gateway)) > sent, lambda: composition.log("worker-2"))
        assert composition.stop("worker-2") == 0, composition.log("worker-2")
        assert "ended: " in composition.log("worker-2")
        assert states(composition)["pending"] > 0, "it was stopped when nothing was left to do"
        until(lambda: "pending" not in states(composition), lambda: composition.log("worker-1"))
        composition.await_health("worker-1")
        assert composition.stop("worker-1") == 0, composition.log("worker-1")
        # Here it is one machine, on which the killed one has left a sign that is old only some seconds later.
        until(lambda: not composition.is_healthy("worker-1"), lambda: "a worker that has ended passes for healthy")
        arrived = phones(gateway)

    assert len(arrived) == len(set(arrived)), "a message was sent twice"
    ended = states(composition)
    assert sum(ended.values()) == PEOPLE
    # What the killed one had on the wire is not known before its lease is over; it may have arrived.
    assert ended.keys() <= {"accepted", "in_flight", "unknown"}
    assert set(arrived) >= set(of_state(composition, "accepted"))
    for replica in list(composition.processes):
        assert composition.stop(replica) == 0, composition.log(replica)
    key, secret = read_secret(composition, "smspilot_key"), read_secret(composition, "page_users")
    for log in composition.out.glob("*.log"):
        assert key not in (said := log.read_text(encoding="utf-8")), log.name
        assert secret not in said, log.name


def read_secret(composition: Composition, name: str) -> str:
    """Return the last word of a secret: a key, or a person's."""
    return (composition.file.parent / "secrets" / name).read_text(encoding="utf-8").split()[-1]


def begin_campaign(composition: Composition) -> None:
    """Upload a list, approve and start it, as a person at the page."""
    rows = "".join(f"7908{number:07d},Hello {number}\n" for number in range(PEOPLE))
    composition.await_health("page")
    with httpx.Client(base_url=composition.address("8026"), trust_env=False, timeout=30) as page:
        assert page.post("/api/login", json={"secret": read_secret(composition, "page_users")}).status_code == 200
        headers = {"x-csrf-token": page.get("/api/me").json()["token"]}
        body = f"to,text\n{rows}".encode()
        found = page.post("/api/upload", headers=headers, content=body, params={"file": "list.csv"}).json()
        create = {"upload": found["upload"], "to_column": "to", "text_column": "text"}
        orders: dict[str, dict[str, str]] = {"create": create, "estimate": {}, "approve": {}, "start": {}}
        for order, fields in orders.items():
            answer = page.post(f"/api/{order}", headers=headers, json={"name": "spring", **fields})
            while "is importing" in answer.text:  # in the background, as the page shows
                answer = page.post(f"/api/{order}", headers=headers, json={"name": "spring", **fields})
            assert answer.status_code == 200, answer.text


def phones(gateway: httpx.Client) -> list[str]:
    """Return to whom messages came, as the gateway says."""
    return [message["to"] for message in gateway.get("/_emulator/messages?limit=10000").json()["messages"]]


def states(composition: Composition) -> dict[str, int]:
    """Return how many messages stand in each state, as the ledger says."""
    return dict(composition.ask("SELECT state, count(*) FROM smspilot.message GROUP BY state"))


def of_state(composition: Composition, state: str) -> list[str]:
    return [phone for (phone,) in composition.ask(f"SELECT phone FROM smspilot.message WHERE state = '{state}'")]
