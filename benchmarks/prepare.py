"""How fast raw files become a store, and how much memory that takes, on generated files shaped like NTU RGB+D.

    python benchmarks/prepare.py                     # a tenth of NTU RGB+D 60 against a fiftieth; 2 GB of disk
    python benchmarks/prepare.py --files 500 --small 100 --workers 2

Prints, in one run: the time of the package's parser against a parser that goes line by line (as the scripts do that
are commonly used), in files a second on one core; files a second of the whole command; and the largest sum of memory
over all its processes (each shared page counted once in all) for a few files and for many, which must not grow.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from parser import measure as measure_parsers  # noqa: E402
from prepare_helpers import skeleton_files, write_archive  # noqa: E402

from mamp.readers.ntu import denoise, parse_skeleton_file, translate  # noqa: E402


def compare_parsers(folder: Path, count: int = 60) -> dict[str, float]:
    """Milliseconds of processor time a file of the package's parser, alone and with what follows it, and the ratio."""
    folder.mkdir()
    paths = []
    for name, text in skeleton_files(count):
        paths.append(folder / f"{name}.skeleton")
        paths[-1].write_text(text, encoding="ascii")
    found = measure_parsers(paths, rounds=3)
    began = time.process_time()
    for path in paths:
        translate(denoise(parse_skeleton_file(path)).positions)
    whole = time.process_time() - began
    return {
        "parse_mb_a_second": round(found["mamp_mb_a_second"], 1),
        "parse_denoise_translate_ms": round(1e3 * whole / count, 3),
        "ratio": round(found["ratio_to_arrays"], 1),
    }


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    try:
        below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(one for child in below for one in tree(int(child)))]


def memory_one(pid: int) -> int:
    """Bytes of memory of a process; of a page that several share, its part."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has just ended
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) << 10


def memory(pid: int) -> int:
    """Bytes of memory of a process and all below it; pages that several share count once in all."""
    return sum(memory_one(one) for one in tree(pid))


def measure(raw: Path, output: Path, workers: int) -> dict[str, float]:
    """Run the command; files a second, and its largest memory."""
    command = [sys.executable, "-m", "mamp.prepare", "ntu60", str(raw), str(output), "--json"]
    command += ["--workers", str(workers)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    peak = 0
    while process.poll() is None:
        peak = max(peak, memory(process.pid))
        time.sleep(0.05)
    assert process.stdout is not None
    report = json.loads(process.stdout.read())
    return {
        "files": report["files"],
        "seconds": report["seconds"],
        "files_per_second": round(report["files"] / report["seconds"], 1),
        "peak_MB": round(peak / 1e6, 1),
        "store_MB": round(sum(path.stat().st_size for path in output.rglob("*")) / 1e6, 1),
    }


def main() -> None:
    """Print what was measured, a JSON object a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=5657, help="a tenth of NTU RGB+D 60 [%(default)s]")
    parser.add_argument("--small", type=int, default=1131, help="a fiftieth [%(default)s]")
    parser.add_argument("--workers", type=int, default=2, help="processes [%(default)s]")
    parser.add_argument("--folder", type=Path, help="where the files are made, and removed again [the system's]")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        print(json.dumps({"parsers": compare_parsers(Path(folder, "parsers"))}), flush=True)
        for count in (args.small, args.files):
            raw = write_archive(Path(folder, f"raw{count}"), count)
            found = measure(raw, Path(folder, f"store{count}"), args.workers)
            print(json.dumps({"prepare": found}), flush=True)


if __name__ == "__main__":
    main()
