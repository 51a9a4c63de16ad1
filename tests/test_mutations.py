"""Mutated files of every format end in a sound recording or an error of the package, in little time and memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from campaign import check, made_up

from mamp.readers import formats

TESTS = Path(__file__).parent
LINUX = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="limits the memory of a process as Linux does")


def campaign(count: int, seed: str, processes: int, timeout: float) -> dict[str, Any]:
    """Outcomes of a campaign in processes of their own, which knows no fault."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(TESTS / "campaign.py"), str(count), seed, str(processes)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment, check=False)
    assert result.returncode == 0, result.stderr[-4000:]
    found: dict[str, Any] = json.loads(result.stdout)
    print(json.dumps({**found, "faults": found["faults"][:20]}, indent=1))
    assert not found["faults"], result.stderr[-8000:]
    assert sum(found["outcomes"].values()) == count == found["mutations"]
    assert found["most_mb"] < found["floor_mb"] + 1024 and found["slowest"][0][0] < 10
    return found


@LINUX
def test_two_thousand_mutations():
    found = campaign(2000, "sample", 1, timeout=120)
    assert found["outcomes"]["recording"] > 300 and found["outcomes"]["ReadError"] > 800
    assert len(found["cases"]) > 50 and all(sum(row.values()) > 1 for row in found["cases"].values())


@LINUX
@pytest.mark.slow
def test_three_hundred_thousand_mutations():
    """MAMP_MUTATIONS says how many instead, and MAMP_MUTATIONS_SEED which others."""
    count = int(os.environ.get("MAMP_MUTATIONS", "300000"))
    campaign(count, os.environ.get("MAMP_MUTATIONS_SEED", "campaign"), os.cpu_count() or 1, timeout=4 * 3600)


def test_every_format_is_in_the_campaign(tmp_path: Path):
    """The files that are mutated are of every format, and whole ones are read."""
    read = set()
    for number, case in enumerate(made_up()):
        folder = tmp_path / str(number)
        for name, data in case.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        recordings = case.read(folder)
        for recording in recordings:
            check(recording)
        read |= {recording.info.get("format", case.name) for recording in recordings}
    assert read >= set(formats()), f"no file of {set(formats()) - read}"
