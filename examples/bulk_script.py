"""Send a list, and continue after a kill: no message is sent twice, and those that may have been sent are listed.

    python -m examples.bulk_script people.csv

reads ``people.csv`` with the columns ``to`` and ``text``, and writes ``people.csv.results.csv``: for each line its
outcome, ``accepted``, ``refused``, ``not_sent`` or ``unknown``. Run it again after a kill: it sends what was not sent.
The key comes from ``SMSPILOT_API_KEY`` or ``SMSPILOT_API_KEY_FILE``.

``smspilot bulk`` does the same and more (a plan, prices, progress, times); this is a start for a program of your own.
"""

import asyncio
import csv
import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from smspilot_async import (
    Accepted,
    Client,
    NotSent,
    Refused,
    SendResult,
    SmsPilotError,
    Unknown,
)

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

Item = dict[str, Any]  # a message's fields; its id is the number of its row


class Journal:
    """What is about to be sent, and what became of it: one JSON object a line, on the disk before a packet is sent.

    It holds no phones and no texts. A row that was about to be sent and has no outcome may have been sent.
    """

    def __init__(self, file: BinaryIO, fingerprint: str) -> None:
        self._file = file
        self.outcomes: dict[int, dict[str, Any]] = {}
        for record in self._records():
            if record.get("list", fingerprint) != fingerprint:
                raise SystemExit("The list has changed since the first run. Nothing was sent.")
            for id_ in record.get("leaving", ()):
                self.outcomes[id_] = {"id": id_, "outcome": "unknown"}
            if "outcome" in record:
                self.outcomes[record["id"]] = record
        self._write({"list": fingerprint})

    def outcome_of(self, id_: int) -> dict[str, Any]:
        """Return what became of a row."""
        return self.outcomes.get(id_, {"id": id_, "outcome": "not_sent"})

    def may_send(self, id_: int) -> bool:
        """Return whether a row was certainly not sent, so that it may be sent now."""
        return bool(self.outcome_of(id_)["outcome"] == "not_sent")

    async def sending(self, items: Sequence[Item]) -> None:
        """Record that these are about to be sent; they are once this has returned."""
        ids = [item["id"] for item in items]
        await asyncio.to_thread(self._write, {"leaving": ids})
        self.outcomes |= {id_: {"id": id_, "outcome": "unknown"} for id_ in ids}

    async def ended(self, result: SendResult[Item]) -> None:
        """Record what became of one."""
        record = {"id": result.item["id"], **_outcome(result)}
        self.outcomes[record["id"]] = record
        await asyncio.to_thread(self._write, record)

    def _records(self) -> Iterator[dict[str, Any]]:
        for line in self._file:
            try:
                yield json.loads(line)
            except ValueError:  # torn by a kill: no packet is sent before its line is complete
                continue

    def _write(self, record: dict[str, Any]) -> None:
        self._file.write(b"\n" + json.dumps(record).encode())  # a line torn by a kill stays a line of its own
        self._file.flush()
        if "leaving" in record:
            os.fsync(self._file.fileno())


def _outcome(result: SendResult[Item]) -> dict[str, Any]:
    match result:
        case Accepted(_, sent):
            return {"outcome": "accepted", "server_id": sent.server_id}
        case Refused(_, error):
            return {"outcome": "refused", "error": str(error)}
        case NotSent() | Unknown():
            return {"outcome": result.outcome}


def rows_of(path: Path) -> list[Item]:
    """Read a list; the id of a message is the number of its row."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [{"id": id_, "to": row["to"], "text": row["text"]} for id_, row in enumerate(csv.DictReader(file), 1)]


def write_results(path: Path, results: list[dict[str, Any]]) -> None:
    """Write a line for each row of the list."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, ["id", "outcome", "server_id", "error"])
        table.writeheader()
        table.writerows(results)


def lock(file: BinaryIO) -> None:
    """Lock a file for this process, or raise."""
    if sys.platform == "win32":
        file.seek(1 << 40)  # far beyond the end: on Windows a locked range cannot be read either
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def journal_of(path: Path) -> Iterator[Journal]:
    """Open a list's journal, for this run alone."""
    fingerprint = hashlib.sha256(path.read_bytes()).hexdigest()
    with Path(f"{path}.journal").open("ab+") as file:
        try:
            lock(file)
        except (BlockingIOError, PermissionError):
            raise SystemExit("Another run is sending this list.") from None
        file.seek(0)
        yield Journal(file, fingerprint)


async def send(rows: list[Item], journal: Journal) -> None:
    """Send what was not sent yet."""
    left = [row for row in rows if journal.may_send(row["id"])]
    async with Client() as client, client.bulk(left, before_packet=journal.sending) as run:
        async for result in run:
            await journal.ended(result)


def main(path: Path) -> None:
    """Send a list, or the rest of it."""
    rows = rows_of(path)
    with journal_of(path) as journal:
        try:
            asyncio.run(send(rows, journal))
        except SmsPilotError as error:
            raise SystemExit(f"Stopped: {error}") from None
        finally:
            results = [journal.outcome_of(row["id"]) for row in rows]
            write_results(Path(f"{path}.results.csv"), results)
            for outcome, count in Counter(result["outcome"] for result in results).items():
                print(outcome, count)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
