"""Exported encoders against torch: time a body, size of the model, how near their embeddings are, and a cold start.

    python benchmarks/export.py FILE.npz [--weights openmocap] [--clips 64] [--rounds 5]

``FILE.npz`` is a packed corpus (see ``python -m mamp.prepare packed``). The runtimes take turns, with one thread each,
on the same clips; ``ratio`` is the time of torch over theirs. ``cosine`` and ``error`` (over the largest number of an
embedding) are the worst of the clips. ``start`` is a new process that reads a BVH file and embeds it, the median of
the rounds, and ``start_megabytes`` the resident memory of that process; the exported ones do not import torch.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timing import in_turns

from mamp import MAMPEncoder, Skeleton
from mamp.export import export, load
from mamp.prepare.packed import read_packed
from mamp.synthetic import write_recordings

FORMATS = {"onnx": ("onnx", 32), "onnx, 8 bits": ("onnx", 8), "openvino": ("openvino", 32)}
START = """
import sys
from mamp import load
{opened}
encoder.encode(load(sys.argv[1]))
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
EXPORTED = "from mamp.export import load as load_exported; encoder = load_exported({folder!r})"
TORCH = "from mamp import MAMPEncoder; encoder = MAMPEncoder.from_pretrained({folder!r})"


def cold_start(opened: str, recording: Path, rounds: int) -> tuple[float, float]:
    """Seconds from the start of the program, imports included, to the first embedding, and megabytes."""
    found = []
    for _ in range(rounds + 1):
        begun = time.perf_counter()
        command = [sys.executable, "-c", START.format(opened=opened), str(recording)]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found.append((time.perf_counter() - begun, float(text) / 1024))
    seconds, megabytes = zip(*found[1:], strict=True)
    return statistics.median(seconds), statistics.median(megabytes)


def main() -> None:
    """Print the table as JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--weights", default="openmocap")
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    clips = some_clips(args.corpus, args.clips)
    encoder = MAMPEncoder.from_pretrained(args.weights)
    expected = np.asarray(encoder.encode(clips))
    with tempfile.TemporaryDirectory() as folder:
        recording = write_recordings(Path(folder) / "recordings", variations=1)[0]
        runs: dict[str, Any] = {"torch": lambda: encoder.encode(clips)}
        rows: dict[str, dict[str, Any]] = {"torch": {}}
        seconds, megabytes = cold_start(TORCH.format(folder=args.weights), recording, args.rounds)
        rows["torch"] = {"start": round(seconds, 3), "start_megabytes": round(megabytes)}
        for name, (format, bits) in FORMATS.items():
            target = Path(folder) / name
            export(encoder, target, format, bits=bits)  # type: ignore[arg-type]
            opened = load(target, threads=1)
            found = np.asarray(opened.encode(clips))
            cosine = (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
            error = np.abs(found - expected).max(1) / np.abs(expected).max(1)
            seconds, megabytes = cold_start(EXPORTED.format(folder=str(target)), recording, args.rounds)
            rows[name] = {
                "megabytes": round(sum(f.stat().st_size for f in target.iterdir()) / 1e6, 1),
                "cosine": float(cosine.min()),
                "error": float(error.max()),
                "start": round(seconds, 3),
                "start_megabytes": round(megabytes),
            }
            runs[name] = lambda opened=opened: opened.encode(clips)
        times = in_turns(runs, args.rounds, warm=1)
        for name, row in rows.items():
            milliseconds = times[name] * 1000 / len(clips)
            ratio = times["torch"] / times[name]
            print(json.dumps({"runtime": name, "ms_a_body": round(milliseconds, 1), "ratio": round(ratio, 2), **row}))


def some_clips(corpus: Path, count: int) -> list[Skeleton]:
    """Clips at even distances in a packed corpus."""
    recordings = list(read_packed(corpus))
    chosen = np.linspace(0, len(recordings) - 1, count).astype(int)
    return [recordings[i] for i in chosen]


if __name__ == "__main__":
    main()
