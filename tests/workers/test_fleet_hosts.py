"""Workers on hosts of their own, and what breaks between them: a small part of ``make fleet-matrix``, as root."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from fleet_lab import Fault, Lab

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Five hosts; skipped where root or `ip` is missing, but never for root in CI."""
    try:
        lab = Lab(tmp_path, timeout=1.0, delay=0.05, packet_size=20)
    except (OSError, subprocess.CalledProcessError) as error:
        if "CI" in os.environ and os.geteuid() == 0:
            raise
        pytest.skip(f"NOT TESTED: workers on hosts of their own need network namespaces (root, iproute2): {error}")
    yield lab
    lab.close()


@pytest.mark.usefixtures("uncounted")
async def test_a_worker_is_killed_and_another_cut_off_and_everything_is_sent_once(lab: Lab) -> None:
    schedule = [
        Fault(kind="kill", host="w1", begins_after=0.3, lasts=0.1),
        Fault(kind="cut_both", host="w2", begins_after=0.1, lasts=1.0),
    ]
    outcome = await lab.run(schedule, 1500)
    assert outcome.is_good, outcome
