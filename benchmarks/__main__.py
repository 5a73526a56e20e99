"""``python -m benchmarks``: runs the benchmarks, prints a table, and writes it to ``out/bench.json``."""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import attrs

from benchmarks.bench import Bench, Line, server
from smspilot_async import __version__

_NAMES = ("small", "bulk", "peers", "concurrent", "latency", "start", "memory", "checks", "callbacks", "ledger")
_PACKAGES = ("httptools", "httpx", "aiohttp", "attrs", "cattrs", "msgspec", "twilio", "sms-pilot-py")


def main(arguments: list[str]) -> int:
    options = _options(arguments)
    runs = options.runs or (3 if options.quick else 5)
    print(f"smspilot_async {__version__}, Python {platform.python_version()}, medians of {runs} runs, in turn\n")
    with server() as url:
        bench = Bench(url, options.quick, runs, show=_print)
        for name in options.only or _NAMES:
            importlib.import_module(f"benchmarks.{name}").run(bench)
    _write(options.out, bench)
    missed = [line for line in bench.lines if line.is_met is False]
    print(f"\n{len(missed)} of {len(bench.lines)} lines miss their goal; all of it is in {options.out}")
    return 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a fast look: fewer messages, three runs")
    parser.add_argument("--only", nargs="+", choices=_NAMES, metavar="NAME", help=f"some of {', '.join(_NAMES)}")
    parser.add_argument("--runs", type=int, help="how often each side has its turn (5; 3 with --quick)")
    parser.add_argument("--out", type=Path, default=Path("out/bench.json"), help="where the JSON goes (%(default)s)")
    return parser.parse_args(arguments)


def _print(line: Line) -> None:
    print(f"[{line.benchmark}] {line.what}")
    if line.ratio is None:
        print(f"    {line.beside}: not measured; {line.note}", flush=True)
        return
    verdict = {True: "  ok", False: "  MISSED", None: ""}[line.is_met]
    print(
        f"    {line.ours:.4g} {line.unit}; {line.beside}: {line.theirs:.4g}; ratio {line.ratio:.3g}"
        f" (goal {line.goal}){verdict}  [{min(line.ratios):.3g} .. {max(line.ratios):.3g}]",
        flush=True,
    )
    if line.note:
        print(f"    {line.note}", flush=True)


def _write(path: Path, bench: Bench) -> None:
    document = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "smspilot_async": __version__,
        "python": platform.python_version(),
        "machine": platform.platform(),
        "packages": {name: installed for name in _PACKAGES if (installed := _installed(name))},
        "quick": bench.is_quick,
        "runs": bench.runs,
        "lines": [attrs.asdict(line) for line in bench.lines],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
