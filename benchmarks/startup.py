"""From ``python`` to the first embedding of a file, in fresh processes.

    python benchmarks/startup.py FILE [--rounds 5]

``torch`` stands for importing torch and nothing else, the part that is not ours. Medians; ``cpu_seconds`` is what the
process itself took, which other programs disturb less than ``seconds``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

PROGRAMS = {
    "torch": "import torch",
    "embedding": "import sys, mamp; mamp.MAMPEncoder.from_pretrained().encode(mamp.load(sys.argv[1]))",
}


def run(program: str, file: Path) -> dict[str, float]:
    """Seconds, processor seconds and peak of resident memory of one fresh process."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", program, str(file)], stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"the process failed: {program}")
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime, "peak_megabytes": usage.ru_maxrss / 1e3}


def main() -> None:
    """Measure and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--rounds", type=int, default=5, help="processes of each [%(default)s]")
    args = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {name: [] for name in PROGRAMS}
    for turn in range(args.rounds + 1):
        for name, program in PROGRAMS.items():
            sample = run(program, args.file)
            if turn:  # the first one reads the files from the disk
                found[name].append(sample)
    line = {
        name: {key: round(statistics.median(sample[key] for sample in samples), 3) for key in samples[0]}
        for name, samples in found.items()
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
