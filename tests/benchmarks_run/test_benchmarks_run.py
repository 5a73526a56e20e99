"""The benchmarks are run by people, now and then: this sees to it that they still run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.bench import server

pytestmark = pytest.mark.usefixtures("uncounted")
ROOT = Path(__file__).parents[2]


def run(module: str, *arguments: str) -> str:
    """Run a module of the benchmarks, and return what it prints."""
    done = subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-m", module, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def figures_of(side: str, **options: object) -> dict[str, float]:
    """Run a side of a benchmark against its server, and return its figures."""
    with server() as url:
        given = {"url": f"{url}/0/api2.php", **options}
        figures: dict[str, float] = json.loads(run("benchmarks.side", f"benchmarks.{side}", json.dumps(given)))
    return figures


def test_a_quick_look_prints_a_table_and_writes_it_as_json(tmp_path: Path) -> None:
    out = tmp_path / "deeper" / "bench.json"
    arguments = ["--quick", "--runs", "1", "--only", "concurrent", "--out", str(out)]
    printed = run("benchmarks", *arguments)
    assert "10000 concurrent send()" in printed
    assert "(goal <= 1)" in printed

    document = json.loads(out.read_text(encoding="utf-8"))
    assert document["quick"] is True
    assert {line["benchmark"] for line in document["lines"]} == {"concurrent"}
    line = document["lines"][0]
    assert line["ours"] > 0
    assert line["theirs"] > 0
    assert line["ratios"] == [line["ratio"]]
    assert line["is_met"] is (line["ratio"] <= 1)


def test_a_good_callback_among_forged_ones_is_measured_beside_one_alone(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    run("benchmarks", "--quick", "--runs", "1", "--only", "callbacks", "--out", str(out))
    [line] = json.loads(out.read_text(encoding="utf-8"))["lines"]
    assert line["goal"] == "<= 5"
    assert line["ours"] > 0
    assert line["theirs"] > 0


@pytest.mark.parametrize(
    ("side", "options"),
    [
        ("cycle", {"ledger": "sqlite", "size": 100, "places": 4}),
        ("with_ledger", {"ledger": "sqlite", "size": 200}),
        ("without", {"size": 200}),
    ],
)
def test_the_sides_of_the_ledgers_lines_do_their_work(side: str, options: dict[str, object]) -> None:
    figures = figures_of(f"ledger:{side}", messages=600, **options)
    assert figures.get("rate", figures.get("cpu_per_message", 0)) > 0


def test_a_campaign_is_imported_sent_and_reported_within_its_memory() -> None:
    """With a million messages it is the same 200 MiB; `make bench` does that."""
    assert 0 < figures_of("ledger:whole", messages=2_000)["peak"] <= 200


@pytest.mark.parametrize(
    ("side", "options"),
    [
        ("bulk:smspilot", {"wire": "xml"}),
        ("bulk:smspilot", {"pairs": True}),
        ("start:start", {"arguments": ["-c", "pass"], "starts": 1}),
    ],
)
def test_the_sides_of_bulk_and_of_the_start_do_their_work(side: str, options: dict[str, object]) -> None:
    assert figures_of(side, messages=600, **{"size": 100, **options})["cpu"] > 0
