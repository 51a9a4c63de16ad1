"""A Ray cluster of several nodes on this machine, one of which is killed while they embed, for ``test_distributed``.

``python ray_cluster.py WEIGHTS STORE FILES FOLDER`` prints as JSON what became of the recordings.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import ray
from pyarrow import Table, parquet
from ray.cluster_utils import Cluster

from mamp.distributed import embed, in_order
from mamp.errors import MAMPError, MissingExtraError
from mamp.search import Index

NODE = {"object_store_memory": 80_000_000, "include_dashboard": False}
READING = {"layout": "ntu25", "fps": 30, "unit": "m", "up": "y"}


def actors() -> dict[int, float]:
    """Megabytes of memory of each process in which an actor of the pool works."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if b"MapWorker" in (process / "cmdline").read_bytes():
                status = (process / "status").read_text()
                found[int(process.name)] = int(status.split("VmRSS:")[1].split()[0]) / 1024
        except (OSError, IndexError):
            continue
    return found


def main(weights: str, store: str, files: str, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **NODE})
    nodes = [cluster.add_node(num_cpus=1, **NODE) for _ in range(3)]
    ray.init(address=cluster.address, log_to_driver=False)
    shards = folder / ".killed.npz.embedding"
    memory: list[dict[int, float]] = []

    def watch() -> None:
        """Kill a node once there are a few shards, and look at the memory of the actors."""
        while (done := len(list(shards.glob("*.npz")))) < 12 or (len(actors()) < len(nodes) and done < 50):
            time.sleep(0.01)
        memory.append(actors())
        found["shards when a node was killed"] = len(list(shards.glob("*.npz")))
        cluster.remove_node(nodes[0], allow_graceful=False)
        while shards.exists():
            memory.append(actors())
            time.sleep(0.1)

    killer = threading.Thread(target=watch, daemon=True)
    killer.start()
    began = time.perf_counter()
    summary = embed(store, folder / "killed.npz", weights=weights, batch_size=2)
    found["seconds"] = round(time.perf_counter() - began, 1)
    killer.join(10)
    found["nodes alive"] = sum(node["Alive"] for node in ray.nodes()) - 1
    found["embedded"], found["failed"] = len(summary.names), summary.failed
    later = memory[len(memory) // 2 :]  # once the actors have started
    rss = [max(values) - values[0] for pid in later[0] if (values := [now[pid] for now in later if pid in now])]
    found["growth"] = [round(value) for value in rss]
    found["actors"] = sorted(len(now) for now in memory)[-1]

    again = embed(store, folder / "killed.npz", weights=weights, batch_size=2, actors=1)
    found["again"] = [len(again.names), again.kept]
    paths = sorted(str(path) for path in Path(files).glob("*.npy"))
    parquet.write_table(Table.from_pydict({"path": paths}), folder / "paths.parquet")
    for name, dataset in (
        ("list", paths),
        ("folder", files),
        ("parquet", folder / "paths.parquet"),
        ("dataset", ray.data.from_items([{"file": path} for path in paths])),
    ):
        embed(dataset, folder / f"{name}.parquet", weights=weights, reading=READING, actors=1)
    rows = embed(files, weights=weights, reading=READING, actors=1)
    rows.write_parquet(str(folder / "rows"))
    try:
        embed([*paths, "absent.npy"], folder / "strict.npz", weights=weights, reading=READING, actors=1, strict=True)
    except MAMPError as error:
        found["strict"] = str(error)
    with suppress(MissingExtraError):  # LanceDB
        index = Index.create(folder / "moves", weights, window=0.4)
        report = index.add(files, engine=partial(in_order, actors=1), **READING)
        found["indexed"] = [len(report.added), report.failed]
    ray.shutdown()
    cluster.shutdown()
    return found


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:4], Path(sys.argv[4]))))
