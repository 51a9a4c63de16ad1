"""Encoding and training beside other programs, against another checkout, side by side in one run.

    python benchmarks/busy.py [--before CHECKOUT] [--tasks encode-16 ...] [--loads nothing loop ...] [--rounds 5]
    python benchmarks/busy.py --json samples.jsonl --picture docs/images/busy.png

Each arm is a process that is kept and works in turns with the others: ``before`` (the package of another checkout, as
it comes), ``now`` (this one, as it comes), and ``alone`` (this one after ``torch.set_num_threads(1)``). Loads are
programs that run all the time: ``nothing``; ``loop`` and ``loops``, one and two processes that count; ``torch``, a
process that runs a transformer layer on two threads. Printed are milliseconds a body or clip, the median of the rounds
and the worst of them, as a Markdown table.

Tasks: ``encode-N``, a batch of N recordings of one person by ``openmocap``; ``server-N``, the same from four threads of
the process at once, N recordings each; ``workers-N``, the same by two processes at once; ``features-N``, what
``mamp.evaluate`` extracts; ``train-N`` and ``bfloat16-N``, a training step of N clips of the published size with two
people each.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LOOP = "while True: pass"
TORCH = """
import torch
torch.set_num_threads(2)
layer = torch.nn.TransformerEncoderLayer(256, 8, batch_first=True).eval()
with torch.no_grad():
    while True:
        layer(torch.zeros(1, 750, 256))
"""
LOADS = {"nothing": [], "loop": [LOOP], "loops": [LOOP, LOOP], "torch": [TORCH]}
TASKS = ("encode-1", "encode-8", "encode-16", "encode-32")


def recordings(number: int) -> list[Any]:
    """Random walks of one person, 120 frames."""
    import numpy as np

    from mamp import Skeleton

    rng = np.random.default_rng(0)
    walks = rng.normal(size=(number, 1, 120, 25, 3), scale=0.02).cumsum(axis=2) + rng.normal(size=(25, 3), scale=0.3)
    return [Skeleton(walk, "ntu25", fps=30) for walk in walks]


def make_store(folder: Path, clips: int, people: int) -> Path:
    """A store of random walks, 120 frames."""
    import numpy as np

    from mamp.data import StoreWriter
    from mamp.layouts import MODEL_LAYOUT

    rng = np.random.default_rng(0)
    with StoreWriter(folder, MODEL_LAYOUT) as writer:
        for clip in range(clips):
            walk = rng.normal(size=(people, 120, 25, 3), scale=0.02).cumsum(axis=1).astype(np.float32)
            writer.add(f"clip-{clip}", walk, fps=30, split="train")
    return folder


def make_trainer(store: Path, clips: int, precision: str, change: Callable[[Any], Any] = lambda model: model) -> Any:
    """A run of the published recipe on a CPU, of ``clips`` a step, with what ``change`` makes of its model."""
    import torch

    from mamp.train.distributed import world
    from mamp.train.engine import Trainer
    from mamp.train.recipes import get_recipe

    class Changed(Trainer):
        def begin(self, model: Any, optimizer: Any) -> None:
            model = change(model)
            super().begin(model, torch.optim.AdamW(model.parameters(), fused=True))

    config = get_recipe("ntu60-xsub").config
    config = replace(
        config,
        optim=replace(config.optim, batch_size=clips, per_device_batch=clips),
        data=replace(config.data, split="train", protocol=None, workers=0),
        run=replace(config.run, device="cpu", precision=precision),
    )
    with world("cpu") as here:
        return Changed(config, store, store.with_name(f"{store.name}-run"), here)


def prepare(task: str, folder: Path) -> Callable[[], object]:
    """What a worker does at each turn."""
    kind, number = task.split("-")[0], int(task.split("-")[1])
    if kind in ("train", "bfloat16"):
        store = make_store(folder / task, number, 2)
        trainer = make_trainer(store, number, "bfloat16" if kind == "bfloat16" else "float32")
        batch = trainer.batches(0)[0]
        return lambda: trainer.train_step(batch)
    if kind == "features":
        from mamp.data import ClipStore
        from mamp.evaluate import features, representation

        store, source = ClipStore(make_store(folder / task, number, 1)), representation.load_representation("openmocap")
        return lambda: features._features(source, store, range(number), "clip")
    from mamp import MAMPEncoder

    encoder, clips = MAMPEncoder.from_pretrained(), recordings(number)
    if kind != "server":
        return lambda: encoder.encode(clips, batch_size=number)

    def serve() -> None:
        callers = [threading.Thread(target=encoder.encode, args=(clips,)) for _ in range(4)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()

    return serve


def work(alone: bool) -> None:
    """Do the tasks whose names come in, once each time, and answer with the seconds they took."""
    import torch

    if alone:
        torch.set_num_threads(1)
    tasks: dict[str, Callable[[], object]] = {}
    with tempfile.TemporaryDirectory(prefix="mamp-busy-") as folder:
        for line in sys.stdin:
            task = line.strip()
            if task not in tasks:
                tasks[task] = prepare(task, Path(folder))
                tasks[task]()
            start = time.perf_counter()
            tasks[task]()
            print(json.dumps(time.perf_counter() - start), flush=True)


class Worker:
    """A process of one arm."""

    def __init__(self, checkout: Path, alone: bool) -> None:
        command = [sys.executable, str(Path(__file__).resolve()), "--work", "alone" if alone else "free"]
        paths = {**os.environ, "PYTHONPATH": str(checkout)}
        self.process = subprocess.Popen(
            command, env=paths, cwd=checkout, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def begin(self, task: str) -> None:
        """Start a task."""
        assert self.process.stdin is not None
        print(task, file=self.process.stdin, flush=True)

    def seconds(self) -> float:
        """Wait for its end."""
        assert self.process.stdout is not None
        return float(json.loads(self.process.stdout.readline()))

    def end(self) -> None:
        """Stop the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


@contextmanager
def beside(load: str) -> Iterator[None]:
    """The programs of a load, while they run."""
    programs = [subprocess.Popen([sys.executable, "-c", program]) for program in LOADS[load]]
    try:
        time.sleep(4 if load == "torch" else 0.5)
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def measure(arms: dict[str, list[Worker]], task: str, rounds: int) -> dict[str, list[float]]:
    """Milliseconds a body or clip of each arm, in turns; the first turn is not counted."""
    kind, number = task.split("-")[0], int(task.split("-")[1])
    together = 2 if kind == "workers" else 1
    pieces = number * {"server": 4, "workers": 2}.get(kind, 1)
    found: dict[str, list[float]] = {arm: [] for arm in arms}
    for turn in range(rounds + 1):
        for arm, workers in arms.items():
            start = time.perf_counter()
            for worker in workers[:together]:
                worker.begin(task)
            seconds = [worker.seconds() for worker in workers[:together]]
            if turn:
                taken = max(seconds) if together == 1 else time.perf_counter() - start
                found[arm].append(1e3 * taken / pieces)
    return found


def draw(lines: list[dict[str, Any]], path: Path) -> None:
    """A panel for each task: milliseconds of each arm beside each load, the median, and a line up to the worst."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    tasks, arms = (list(dict.fromkeys(line[key] for line in lines)) for key in ("task", "arm"))
    figure, panels = plt.subplots(1, len(tasks), figsize=(3.6 * len(tasks), 3.2), layout="constrained", squeeze=False)
    for panel, task in zip(panels[0], tasks, strict=True):
        mine = [line for line in lines if line["task"] == task]
        loads = list(dict.fromkeys(line["beside"] for line in mine))
        for place, arm in enumerate(arms):
            values = [line["ms"] for load in loads for line in mine if (line["beside"], line["arm"]) == (load, arm)]
            if not values:
                continue
            middle = [statistics.median(samples) for samples in values]
            x = [load + 0.8 * (place + 0.5) / len(arms) - 0.4 for load in range(len(loads))]
            worst = [max(samples) - median for samples, median in zip(values, middle, strict=True)]
            panel.bar(x, middle, 0.8 / len(arms), yerr=([0] * len(x), worst), label=arm, capsize=2, color=f"C{place}")
        panel.set_xticks(range(len(loads)), loads)
        panel.set_title(task)
        panel.set_xlabel("what runs beside it")
        panel.set_ylabel("ms a body" if not task.startswith(("train", "bfloat16")) else "ms a clip")
    panels[0][0].legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="another checkout of this repository to compare with")
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--loads", nargs="+", choices=LOADS, default=list(LOADS))
    parser.add_argument("--rounds", type=int, default=5, help="samples of each [%(default)s]")
    parser.add_argument("--json", type=Path, help="file for all samples, a line of JSON for each cell")
    parser.add_argument(
        "--picture", type=Path, help="PNG to draw from the samples in the file of --json, measuring nothing"
    )
    parser.add_argument("--work", choices=("alone", "free"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work(args.work == "alone")
        return
    if args.picture:
        draw([json.loads(line) for line in args.json.read_text(encoding="utf-8").splitlines()], args.picture)
        return
    here = HERE.parent
    places = {"before": (args.before, False)} if args.before else {}
    places |= {"now": (here, False), "alone": (here, True)}
    number = 2 if any(task.startswith("workers") for task in args.tasks) else 1
    arms = {arm: [Worker(place.resolve(), alone) for _ in range(number)] for arm, (place, alone) in places.items()}
    print("| task | beside it |" + "".join(f" {arm}, ms (worst) |" for arm in arms))
    print("|" + "---|" * (2 + len(arms)))
    lines = []
    try:
        for task, load in product(args.tasks, args.loads):
            with beside(load):
                found = measure(arms, task, args.rounds)
            cells = [f"{statistics.median(values):.0f} ({max(values):.0f})" for values in found.values()]
            print("| " + " | ".join([task, load, *cells]) + " |", flush=True)
            lines += [{"task": task, "beside": load, "arm": arm, "ms": values} for arm, values in found.items()]
    finally:
        if args.json:
            args.json.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        for workers in arms.values():
            for worker in workers:
                worker.end()


if __name__ == "__main__":
    main()
