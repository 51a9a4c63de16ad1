"""How far one has to walk through the files to follow a call: files entered, functions, and changes of file.

    python benchmarks/walks.py [--files]

A profile hook notes every function of ``mamp`` that is called; functions of other packages are passed over, and so are
imports, since each call is made once before it is counted. A change of file is a call into another file than that of
the call before. Three walks: the embedding of one recording, one step of pre-training on a batch that is there, and one
file read. The hook sees one thread, so torch gets one; the step does its batch in pieces, as on any number of threads,
and each piece walks through the network again. ``--files`` names the files in the order in which they are entered.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import numpy as np
import torch

import mamp
from mamp import MAMPEncoder, load
from mamp.data import StoreWriter
from mamp.layouts import get_layout
from mamp.synthetic import write_recordings

HOME = Path(mamp.__file__).parent


def calls_of(run: Callable[[], object]) -> list[tuple[str, str]]:
    """File, relative to the package, and name of every function of ``mamp`` that a call of ``run`` enters, in order."""
    calls: list[tuple[str, str]] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(str(HOME)):
            name = getattr(frame.f_code, "co_qualname", f"{frame.f_code.co_name}:{frame.f_code.co_firstlineno}")
            calls.append((path[len(str(HOME)) + 1 :], name))

    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(None)
    return calls


def changes_of_file(calls: list[tuple[str, str]]) -> int:
    """Calls into another file than that of the call before."""
    return sum(one[0] != other[0] for one, other in itertools.pairwise(calls))


@contextmanager
def walks() -> Iterator[dict[str, Callable[[], object]]]:
    """What is followed, by its name; everything is ready, and was called once."""
    with tempfile.TemporaryDirectory() as folder:
        file = write_recordings(folder, actions=["walk"], variations=1)[0]
        recording, encoder = load(file), MAMPEncoder.from_pretrained()
        step = training_step(Path(folder))
        runs = {"encode(recording)": lambda: encoder.encode(recording), "training step": step}
        runs["load(x.bvh)"] = lambda: load(file)
        for run in runs.values():
            run()
        yield runs


def training_step(folder: Path) -> Callable[[], object]:
    """One step of a run of pre-training, its batch read from a store."""
    from mamp.train.distributed import world
    from mamp.train.engine import Trainer
    from mamp.train.recipes import get_recipe

    rng = np.random.default_rng(0)
    with StoreWriter(folder / "store", get_layout("ntu25")) as writer:
        for number in range(8):
            writer.add(f"clip-{number}", rng.normal(size=(1, 80, 25, 3)).astype(np.float32), 30.0)
    recipe = get_recipe("ntu60-xsub").config
    config = dataclasses.replace(
        recipe,
        encoder=recipe.encoder.replace(dim_feat=16, num_heads=2),
        optim=dataclasses.replace(recipe.optim, batch_size=4),
        data=dataclasses.replace(recipe.data, workers=0, split=None),
        run=dataclasses.replace(recipe.run, device="cpu"),
    )
    with world("cpu") as here:
        trainer = Trainer(config, folder / "store", folder / "run", here)
    batch = next(iter(trainer.batches(0)))
    return lambda: trainer.train_step(batch)


def main() -> None:
    """Follow each walk and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", action="store_true", help="name the files of each walk")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with walks() as runs:
        print("| walk | files | functions | changes of file |\n|---|---:|---:|---:|")
        for name, run in runs.items():
            calls = calls_of(run)
            files = list(dict.fromkeys(file for file, _ in calls))
            print(f"| {name} | {len(files)} | {len(set(calls))} | {changes_of_file(calls)} |")
            if args.files:
                print("\n".join(f"    {file}: {sum(one == file for one, _ in calls)} calls" for file in files))


if __name__ == "__main__":
    main()
