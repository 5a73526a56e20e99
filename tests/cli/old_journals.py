"""Journals of ``bulk`` as versions up to 0.6 have written them, checksums and all."""

from __future__ import annotations

import hashlib
import json
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smspilot_async.cli.bulk._ledger import Fingerprint

FORMAT = "smspilot_async bulk journal"


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def digests_of(parts: Mapping[str, Any]) -> dict[str, str]:
    return {name: digest(value) for name, value in parts.items()}


def write_journal(path: str, fingerprint: Fingerprint, *records: Mapping[str, Any]) -> list[bytes]:
    """Write a journal of version 3, and return its lines."""
    head = {"format": FORMAT, "version": 3, "fingerprints": digests_of(fingerprint.parts)}
    lines: list[bytes] = []
    checksum = 0
    for record in (head, *records):
        body = json.dumps(record, separators=(",", ":")).encode()[:-1]
        line = b'%b,"check":"%08x"}\n' % (body, zlib.crc32(body, checksum))
        checksum = zlib.crc32(line, checksum)
        lines.append(line)
    Path(path).write_bytes(b"".join(lines))
    return lines


def intent(*lines: int) -> dict[str, Any]:
    return {"intent": [[line, line] for line in lines], "sha256": "0"}


def outcome(line: int, word: str = "accepted", **more: Any) -> dict[str, Any]:
    return {"line": line, "outcome": word, **more}
