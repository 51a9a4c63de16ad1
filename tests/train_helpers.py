"""What the training tests share: a small learnable store, small runs, and the processes that train them.

As a program, ``python train_helpers.py JOBS`` trains the runs that the file JOBS lists, one after another, in one
process or under ``torchrun``, and writes the error of one beside its output; with ``--only`` there is one, and its
error is the exit status. ``--server`` forks a process for each line of standard input: real processes, without the
seconds that importing torch takes.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mamp.config import MAMPConfig, Preprocessing
from mamp.data import StoreWriter
from mamp.data.augment import Augmentation, TrainingClips
from mamp.errors import MAMPError
from mamp.layouts import get_layout
from mamp.pretraining import Objective
from mamp.train import engine
from mamp.train.config import Optimization, Run, Sampling, TrainConfig

ROOT = Path(__file__).resolve().parents[1]
TENSORBOARD = "torch.utils.tensorboard"
PATIENCE = 300.0  # seconds; far more than anything here takes


def make_store(path: Path, clips: int = 24, seed: int = 0, poison: int | None = None, **columns: list[Any]) -> Path:
    """Write clips of one or two people who swing their joints about; one clip may hold values that overflow."""
    rng = np.random.default_rng(seed)
    layout = get_layout("ntu25")
    with StoreWriter(path, layout) as writer:
        for clip in range(clips):
            people, frames = 1 + clip % 2, 40 + 3 * clip
            time_axis = np.arange(frames)[None, :, None, None] / 8.0
            rest = rng.normal(0, 0.4, (people, 1, len(layout.joints), 3))
            swing = rng.uniform(0.05, 0.2, rest.shape) * np.sin(time_axis + rng.uniform(0, 6, rest.shape))
            positions = (rest + swing).astype(np.float32)
            if clip == poison:
                positions[:, ::2] = 1e30
            writer.add(f"clip-{clip:03d}", positions, 30.0, **{name: values[clip] for name, values in columns.items()})
    return path


def tiny(**changes: Any) -> TrainConfig:
    """A run that takes milliseconds a step; ``changes`` name fields as ``optim__lr=0.1``."""
    config = TrainConfig(
        encoder=MAMPConfig(dim_feat=16, depth=1, num_heads=2, num_frames=16, preprocessing=Preprocessing()),
        objective=Objective(decoder_dim_feat=16, decoder_depth=1, mask_ratio=0.5),
        augment=Augmentation(crop_min=16, mirror=0.5, noise=0.01, joint_dropout=0.1),
        optim=Optimization(batch_size=8, epochs=4, warmup_epochs=1, lr=1e-3, min_lr=1e-4),
        data=Sampling(split=None, workers=0),
        run=Run(device="cpu", log_every=1, checkpoint_every=3, keep=2),
    )
    parts: dict[str, dict[str, Any]] = {}
    for name, value in changes.items():
        part, field = name.split("__")
        parts.setdefault(part, {})[field] = value
    return replace(config, **{part: replace(getattr(config, part), **values) for part, values in parts.items()})


def double_precision() -> AbstractContextManager[object]:
    """Train in float64 from the augmented clips on, so that sums in another order differ by 1e-15 and not by 1e-7."""
    build, augment = TrainConfig.build_model, engine.augment

    def augment_double(*args: Any, **kwargs: Any) -> TrainingClips:
        clips = augment(*args, **kwargs)
        return TrainingClips(*(None if value is None else value.double() for value in vars(clips).values()))  # type: ignore[arg-type]

    stack = contextlib.ExitStack()
    for owner, name, value in (
        (TrainConfig, "build_model", lambda self: build(self).double()),
        (engine, "augment", augment_double),
    ):
        stack.callback(setattr, owner, name, getattr(owner, name))
        setattr(owner, name, value)
    return stack


def weights(output: Path, name: str | None = None) -> dict[str, Tensor]:
    """Every tensor of a checkpoint, the last one by default: the model's, the optimiser's and the average's."""
    path = output / "checkpoints" / name if name else sorted((output / "checkpoints").glob("step-*.pt"))[-1]
    state = torch.load(path, weights_only=True)
    found = {f"model.{key}": value for key, value in state["model"].items()}
    found |= {f"average.{key}": value for key, value in (state["average"] or {}).items()}
    for number, values in state["optimizer"]["state"].items():
        found |= {f"optimizer.{number}.{key}": value for key, value in values.items()}
    return found | {"step": torch.tensor(state["step"])}


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    """Bit for bit."""
    assert a.keys() == b.keys()
    different = [name for name in a if not torch.equal(a[name], b[name])]
    assert not different, different


def largest_difference(a: dict[str, Tensor], b: dict[str, Tensor], prefix: str = "model.") -> float:
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a if name.startswith(prefix))


def metrics(output: Path) -> list[dict[str, float]]:
    """Lines of ``metrics.jsonl`` without what depends on the clock."""
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{k: v for k, v in line.items() if k not in ("time", "clips_per_second")} for line in lines]


def job(config: TrainConfig, data: Path, output: Path, double: bool = False) -> dict[str, Any]:
    """One run for the program below."""
    return {"config": asdict(config), "data": str(data), "output": str(output), "double": double}


class Running:
    """Processes that train: what is common to those of a command line and to forked ones. Ended with the context."""

    log: Path

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    @property
    def text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def pids(self) -> list[int]:
        """Processes that were started, without those below them."""
        raise NotImplementedError

    def poll(self) -> list[int] | None:
        """Exit statuses, or none while one is running."""
        raise NotImplementedError

    def wait(self) -> list[int]:
        """Exit statuses."""
        self.until(lambda: self.poll() is not None)
        return self.poll() or []

    def until(self, condition: Callable[[], bool]) -> bool:
        """Wait for a condition; false when all ended before."""
        end = time.monotonic() + PATIENCE
        while not condition():
            if self.poll() is not None:
                return condition()
            if time.monotonic() > end:
                raise AssertionError(f"nothing after {PATIENCE} s:\n{self.text[-4000:]}")
            time.sleep(0.01)
        return True

    def kill(self) -> None:
        """SIGKILL to everything, at once."""
        for pid in descendants(*self.pids()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.wait()


class Process(Running):
    """Training runs in a new Python, or in ``processes`` of them under ``torchrun``."""

    def __init__(self, jobs: list[dict[str, Any]], folder: Path, processes: int = 1, only: bool = True) -> None:
        path = write_jobs(jobs, folder)
        self.log = path.with_suffix(".txt")
        command = [sys.executable]
        if processes > 1:
            command += ["-m", "torch.distributed.run", "--nproc_per_node", str(processes), "--nnodes", "1"]
            command += ["--master_addr", "127.0.0.1", "--master_port", str(free_port())]
        command += [__file__, str(path), *(["--only"] if only else [])]
        with self.log.open("wb") as log:
            self.popen = subprocess.Popen(command, stdout=log, stderr=log, env=environment(), start_new_session=True)

    def pids(self) -> list[int]:
        return [self.popen.pid]

    def poll(self) -> list[int] | None:
        status = self.popen.poll()
        return None if status is None else [status]

    def workers(self) -> list[int]:
        """Ids of the training processes of ``torchrun``."""
        below = children(self.popen.pid)
        return [pid for pid in below if Path(__file__).name.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()]


class Server:
    """A process that has imported torch and forks others, each with a session of its own."""

    def __init__(self) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, __file__, "--server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
            text=True,
        )

    def ask(self, **request: Any) -> Any:
        assert self.popen.stdin is not None and self.popen.stdout is not None
        self.popen.stdin.write(json.dumps(request) + "\n")
        self.popen.stdin.flush()
        return json.loads(self.popen.stdout.readline())

    def close(self) -> None:
        assert self.popen.stdin is not None and self.popen.stdout is not None
        self.popen.stdin.close()
        self.popen.wait(PATIENCE)
        self.popen.stdout.close()


class Forked(Running):
    """One run, in ``processes`` forked ones that are told of each other as ``torchrun`` tells them."""

    def __init__(self, server: Server, entry: dict[str, Any], folder: Path, processes: int = 1) -> None:
        path = write_jobs([entry], folder)
        self.log, self.server = path.with_suffix(".txt"), server
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(processes)}
        self.found: dict[int, int | None] = {}
        for rank in range(processes):
            env = {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} if processes > 1 else {}
            self.found[server.ask(path=str(path), log=str(self.log), env=env)] = None

    def pids(self) -> list[int]:
        return [pid for pid, status in self.found.items() if status is None]

    def poll(self) -> list[int] | None:
        for pid in self.pids():
            self.found[pid] = self.server.ask(poll=pid)
        statuses = [status for status in self.found.values() if status is not None]
        return statuses if len(statuses) == len(self.found) else None


def serve() -> None:
    """Fork a training process for each request, and tell of the end of those that were started."""
    import torch._dynamo  # noqa: F401 - seconds, and every optimiser needs it

    for line in sys.stdin:
        request = json.loads(line)
        if "poll" in request:
            pid, status = os.waitpid(request["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            answer = os.fork()
            if not answer:
                run_forked(**request)
        print(json.dumps(answer), flush=True)


def run_forked(path: str, log: str, env: dict[str, str]) -> None:
    """What a forked process does; it does not return."""
    status = 1
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.environ.update(env)
        main(path, "--only")
        status = 0
    except SystemExit as end:
        print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def descendants(*pids: int) -> list[int]:
    """Ids of processes and all below them."""
    found = list(pids)
    for pid in found:
        found += children(pid)
    return found


def children(pid: int) -> list[int]:
    """Ids of the processes that a process started."""
    with contextlib.suppress(OSError):
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for thread in threads for child in (thread / "children").read_text().split()]
    return []


def write_jobs(jobs: list[dict[str, Any]], folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"jobs-{time.monotonic_ns()}.json"
    path.write_text(json.dumps(jobs), encoding="utf-8")
    path.with_suffix(".txt").touch()
    return path


def environment() -> dict[str, str]:
    """Environment of a training process: this checkout, one thread."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def steps_done(output: Path) -> int:
    """Last step in ``metrics.jsonl``."""
    try:
        whole = [line for line in (output / "metrics.jsonl").read_text().splitlines() if line.endswith("}")]
    except FileNotFoundError:
        return 0
    return int(json.loads(whole[-1])["step"]) if whole else 0


def kill_at_random_moments(start: Callable[[], Running], output: Path, times: int, rng: random.Random) -> list[int]:
    """Start a run and SIGKILL it, again and again; returns the last step before each kill.

    A fast machine may reach the end before the last of many kills.
    """
    seen: list[int] = []
    for _ in range(times):
        with start() as running:
            target = steps_done(output) + rng.randint(1, 8)
            running.until(lambda target=target: steps_done(output) >= target)  # type: ignore[misc]
            time.sleep(rng.uniform(0, 0.03))
            if running.poll() is not None:
                assert len(seen) >= min(times, 3), f"over before it could be killed:\n{running.text[-4000:]}"
                break
        seen.append(steps_done(output))
    return seen


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def main(path: str, *options: str) -> None:
    torch.set_num_threads(1)
    sys.modules[TENSORBOARD] = None  # type: ignore[assignment]  # as where it is not installed: no pictures, which are slow
    jobs = json.loads(Path(path).read_text(encoding="utf-8"))
    if options:
        try:
            train_job(jobs[0])
        except MAMPError as error:
            sys.exit(f"{type(error).__name__}: {error}")
        return
    # torchrun lets a process join a group once, so that the jobs share it.
    with engine.world("cpu") as here:
        engine.world = lambda device: contextlib.nullcontext(here)  # type: ignore[assignment]
        for entry in jobs:
            try:
                train_job(entry)
            except MAMPError as error:
                output = Path(entry["output"])
                output.with_name(f"{output.name}.error-{here.rank}").write_text(f"{type(error).__name__}: {error}")


def train_job(entry: dict[str, Any]) -> None:
    entry["config"]["optim"]["betas"] = tuple(entry["config"]["optim"]["betas"])
    with double_precision() if entry["double"] else contextlib.nullcontext():
        output = entry["output"].replace("{rank}", os.environ.get("RANK", "0"))
        engine.train(TrainConfig(**entry["config"]), entry["data"], output)


if __name__ == "__main__":
    serve() if sys.argv[1] == "--server" else main(*sys.argv[1:])
