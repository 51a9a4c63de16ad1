"""How long a search takes and what it needs, by the number of windows: exact and with approximate indices.

    python benchmarks/search.py build FOLDER BASE.npy --rows 1000 10000 100000 1000000
    python benchmarks/search.py time FOLDER --rows 1000 10000 100000 1000000

BASE.npy holds embeddings [n, 256]. ``build`` makes up vectors: a row of BASE plus half the noise that lies between two
rows that are nearest to one another, so that they crowd as real ones do; queries are drawn in the same way. Each number
of rows is searched in a process of its own. ``time`` prints, for each way, milliseconds of a search for ten hits
(public ``Index.search``, windows do not overlap): median and least of all queries, and median of the time of all
processors, which other work on the machine disturbs less; recall at 10 against the exact search; and the memory of the
process: before the first search, after all of them, and its peak, in MB. One JSON line each.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from lancedb.index import HnswSq, IvfFlat, IvfPq

from mamp import MAMPEncoder
from mamp.search import Index
from mamp.search import table as rows_table

QUERIES, K = 100, 10
WAYS: dict[str, Any] = {"exact": None, "ivf-flat": IvfFlat, "ivf-hnsw-sq": HnswSq, "ivf-pq": IvfPq}


def draw(base: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Made-up vectors around those of ``base``."""
    rng = np.random.default_rng(seed)
    unit = base / np.linalg.norm(base, axis=1, keepdims=True)
    some = rng.choice(len(base), min(300, len(base)), replace=False)
    nearest = np.sort(unit[some] @ unit.T, axis=1)[:, -2]
    spread = np.sqrt(2 - 2 * nearest.mean()) * np.linalg.norm(base, axis=1).mean() / np.sqrt(base.shape[1]) / 2
    rows = base[rng.integers(len(base), size=count)]
    return (rows + rng.normal(scale=spread, size=rows.shape)).astype(np.float32)


def build(folder: Path, base: np.ndarray, count: int, ways: list[str]) -> None:
    """An index of so many rows, once for each way to search it."""
    encoder = MAMPEncoder.from_pretrained()
    first = folder / f"{count}-exact"
    index = Index.create(first, encoder)
    for number in range(0, count, 50_000):
        size = min(50_000, count - number)
        ids = np.arange(number, number + size)
        columns = {"file": [f"take-{i // 100:05d}" for i in ids], "folder": ["made-up"] * size}
        columns |= {
            "content": [f"{i // 100:064x}" for i in ids],
            "start": 4.0 * (ids % 100),
            "end": 4.0 * (ids % 100 + 1),
        }
        columns |= {"person": np.zeros(size, int), "layout": ["ntu25"] * size, "fps": [30.0] * size}
        columns |= {"fingerprint": [index.settings.fingerprint] * size}
        index._table.write({**columns, "vector": draw(base, size, number + 1)})
    index._table._table.optimize()
    np.save(folder / "queries.npy", draw(base, QUERIES, 0))
    for way in ways:
        config = WAYS[way]
        if config is None or count < 10_000:
            continue
        path = folder / f"{count}-{way}"
        shutil.copytree(first, path)
        table = Index.open(path)._table._table
        start = time.process_time()
        partitions = max(round(count**0.5 / 2), 1)
        table.create_index("vector", config=config("cosine", num_partitions=1 if config is HnswSq else partitions))
        seconds = round(time.process_time() - start, 1)
        print(json.dumps({"rows": count, "way": way, "cpu_seconds_to_make": seconds}), flush=True)


def memory(field: str) -> int:
    """MB of this process, ``VmRSS`` now or ``VmHWM`` at most."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return round(int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024)


def measure(folder: Path, count: int, way: str, most: int) -> dict[str, Any]:
    """Search one index with so many queries."""
    index = Index.open(folder / f"{count}-{way}")
    queries = np.load(folder / "queries.npy")[:most]
    len(index)
    before, milliseconds, processors, found = memory("VmRSS"), [], [], []
    for query in queries:
        start, cpu = time.perf_counter(), time.process_time()
        hits = index.search(query, K)
        milliseconds.append(1e3 * (time.perf_counter() - start))
        processors.append(1e3 * (time.process_time() - cpu))
        found.append([[hit.file, hit.start] for hit in hits])
    line = {"rows": count, "way": way, "ms": round(statistics.median(milliseconds[1:]), 1)}
    line |= {"least_ms": round(min(milliseconds), 1), "cpu_ms": round(statistics.median(processors[1:]), 1)}
    line |= {"first_ms": round(milliseconds[0], 1)}
    line |= {"mb_before": before, "mb_after": memory("VmRSS"), "mb_peak": memory("VmHWM"), "probes": rows_table.PROBES}
    return line | {"hits": found}


def main() -> None:
    """Build, or measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("build", "time", "one"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("base", type=Path, nargs="?")
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--queries", type=int, default=QUERIES, help="[%(default)s]")
    parser.add_argument("--way", choices=tuple(WAYS))
    parser.add_argument("--ways", nargs="+", choices=tuple(WAYS), default=list(WAYS), help="to build [all]")
    args = parser.parse_args()
    if args.what == "one":
        print(json.dumps(measure(args.folder, args.rows[0], args.way, args.queries)))
        return
    for count in args.rows:
        if args.what == "build":
            args.folder.mkdir(parents=True, exist_ok=True)
            build(args.folder, np.load(args.base), count, args.ways)
            continue
        exact: list[list[Any]] = []
        for way in WAYS:
            if not (args.folder / f"{count}-{way}").exists():
                continue
            command = [sys.executable, __file__, "one", str(args.folder), "--rows", str(count), "--way", way]
            command += ["--queries", str(args.queries)]
            line = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            hits = line.pop("hits")
            exact = hits if way == "exact" else exact
            shares = [len([h for h in mine if h in best]) / len(best) for mine, best in zip(hits, exact, strict=True)]
            line["recall"] = round(float(np.mean(shares)), 4)
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
