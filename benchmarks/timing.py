"""What the scripts of this folder measure with: samples in turns, memory, and processes of their own."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# The allocator as it comes, and tuned so that it returns no memory.
TUNED = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_TOP_PAD_": "268435456",
}


def in_turns(
    runs: Mapping[Any, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter, warm: int = 0
) -> dict[Any, float]:
    """Median seconds of each of several runs, taken in turns so that all see the same machine; the first are warm."""
    seconds: dict[Any, list[float]] = {name: [] for name in runs}
    for turn in range(warm + rounds):
        for name, run in runs.items():
            start = clock()
            run()
            if turn >= warm:
                seconds[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def megabytes(field: str) -> float:
    """A line of what Linux says of the memory of this process, such as ``VmRSS``; 0 elsewhere."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:")), 0.0)


def memory_peak(run: Callable[[], object]) -> float:
    """Megabytes of resident memory that something takes above what there was before; Linux only."""
    Path("/proc/self/clear_refs").write_text("5")
    before = megabytes("VmRSS")
    run()
    return round((megabytes("VmHWM") - before) * 1.048576, 1)


def fresh(script: str, *options: object, tuned: bool = False, **environment: str) -> Any:
    """What a script prints as JSON, run in a process of its own with the default allocator or the tuned one."""
    clean = {name: value for name, value in os.environ.items() if name not in TUNED}
    command = [sys.executable, script, *map(str, options)]
    done = subprocess.run(
        command, env=clean | environment | (TUNED if tuned else {}), stdout=subprocess.PIPE, check=True
    )
    return json.loads(done.stdout)
