"""What the tests of the protocols that train share: small settings, and runs in processes of their own.

As a program, ``python supervised_helpers.py STORE WEIGHTS OUTPUT`` forks processes that are killed, terminated, and two
that train together, and writes how each ended to ``OUTPUT/ends.json``: real processes, but torch is imported once.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from evaluate_helpers import make_job
from train_helpers import free_port

from mamp import classifier
from mamp.errors import MAMPError
from mamp.evaluate import supervised
from mamp.evaluate.data import open_labelled
from mamp.evaluate.finetune import PROTOCOLS, FinetuneConfig, labelled_share
from mamp.evaluate.linear import LinearConfig, run_linear
from mamp.evaluate.result import Result
from mamp.train.distributed import World, world

RUN = {protocol.name: protocol.run for protocol in PROTOCOLS} | {"linear": run_linear}
# No dropout of any kind: what it draws depends on how a batch is shared out.
FINETUNE: dict[str, Any] = {
    "batch_size": 6,
    "epochs": 4,
    "warmup_epochs": 1,
    "lr": 3e-3,
    "layer_decay": 0.9,
    "drop_path": 0.0,
    "dropout": 0.0,
    "hidden": 32,
    "workers": 0,
    "log_every": 1,
}
LINEAR: dict[str, Any] = {"batch_size": 6, "epochs": 10, "workers": 0, "log_every": 1}
STOPPED = FinetuneConfig(**{**FINETUNE, "dropout": 0.3, "drop_path": 0.2}, checkpoint_every=3)


def run(protocol: str, store: Path, weights: Path | str, output: Path, config: Any, **changes: Any) -> Result:
    return RUN[protocol](make_job(store, weights, output, config, **changes))


def double_precision() -> AbstractContextManager[object]:
    """Train in float64 from the prepared clips on, so that sums in another order differ by 1e-15 and not by 1e-7."""
    augment, classifier_of, prepare = supervised.augment, supervised.classifier_of, classifier.prepare_clip

    def augment_double(*args: Any, **kwargs: Any) -> Any:
        found = augment(*args, **kwargs)
        found.x = found.x.double()
        return found

    def prepare_double(*args: Any) -> Any:
        x, clip = prepare(*args)
        return x.astype(np.float64), clip

    stack = contextlib.ExitStack()
    for owner, name, value in (
        (supervised, "augment", augment_double),
        (supervised, "classifier_of", lambda *args: classifier_of(*args).double()),
        (classifier, "prepare_clip", prepare_double),
    ):
        stack.callback(setattr, owner, name, getattr(owner, name))
        setattr(owner, name, value)
    return stack


def fork(function: Callable[[], object], **env: str) -> int:
    """Do something in a forked process; its status is 1 after an error, 2 after one of the package."""
    if pid := os.fork():
        return pid
    status = 0
    try:
        os.environ.update(env)
        function()
    except MAMPError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        status = 2
    except BaseException:
        traceback.print_exc()
        status = 1
    finally:
        sys.stderr.flush()
        os._exit(status)


def ends(*pids: int) -> list[int]:
    """How forked processes ended."""
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def stop_at(step: int, how: signal.Signals, train: Callable[[], object]) -> None:
    """Train, and send this process a signal after a step."""
    before = supervised.Supervised.after_step

    def after(self: supervised.Supervised, values: dict[str, float]) -> None:
        before(self, values)
        if self.step == step:
            os.kill(os.getpid(), how)

    supervised.Supervised.after_step = after  # type: ignore[method-assign]
    train()


def train_together(store: Path, weights: Path, output: Path) -> None:
    """What each of two processes does."""
    with world("cpu") as here:
        with double_precision():
            run("finetune", store, weights, output / "finetune", FinetuneConfig(**FINETUNE), world=here)
            run("linear", store, weights, output / "linear", LinearConfig(**LINEAR), world=here)
        once = run("linear", store, weights, output / "once", LinearConfig(**LINEAR, augment="none"), world=here)
        np.save(output / f"once-{here.rank}.npy", once.trials[0].scores)
        np.save(output / f"share-{here.rank}.npy", labelled_share(open_labelled(store), 0.5, 1, False))
        try:
            run("linear", store, weights, output / "linear", LinearConfig(**{**LINEAR, "lr": 0.5}), world=here)
        except MAMPError as error:
            (output / f"error-{here.rank}").write_text(str(error))


def main(store: Path, weights: Path, output: Path) -> None:
    torch.set_num_threads(1)
    importlib.import_module("torch._dynamo")  # seconds, and every optimiser needs it
    output.mkdir()
    (output / "two").mkdir()
    found: dict[str, Any] = {}

    def train() -> None:
        run("finetune", store, weights, output / "stopped", STOPPED)

    def steps() -> list[str]:
        return sorted(path.name for path in (output / "stopped" / "seed=0" / "checkpoints").iterdir())

    found["killed"] = [*ends(fork(lambda: stop_at(5, signal.SIGKILL, train))), steps()]
    found["terminated"] = [*ends(fork(lambda: stop_at(6, signal.SIGTERM, train))), steps()]
    found["finished"] = [*ends(fork(train)), steps()]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    both = [fork(lambda: train_together(store, weights, output / "two"), **shared, RANK=rank) for rank in ("0", "1")]
    found["two"] = ends(*both)
    (output / "ends.json").write_text(json.dumps(found), encoding="utf-8")


ALONE = World(0, 1, torch.device("cpu"))

if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
