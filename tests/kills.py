"""Kills: commands that SIGKILL themselves inside a rename, a write, a sync or a removal, and what they leave.

As a program, ``python kills.py FOLDER SEED COUNT CASE...`` runs each command once to see its steps, then again for each
of COUNT steps (0: every one that is worth it), each time from the same state: it is killed at that step, what it left
is checked, and the command is run once more. Each run is a forked process, which has torch imported. Prints as JSON how
often it was killed where and what was found.
"""

from __future__ import annotations

import builtins
import hashlib
import io
import json
import os
import random
import re
import shutil
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mamp import MAMPConfig, MAMPEncoder, outputs
from mamp.classifier import MAMPClassifier
from mamp.cli import main
from mamp.data import ClipStore
from mamp.evaluate.runner import evaluate
from mamp.heads import LinearHead
from mamp.hub import fingerprint
from mamp.prepare import build
from mamp.train.checkpoint import load_checkpoint
from mamp.train.engine import train

RENAMES = ("replace", "rename", "link", "exchange")
OTHERS = ("unlink", "remove", "rmdir", "mkdir", "symlink", "fsync")
MAKER = re.compile(r"\d+@[0-9a-f]{8}(-[0-9a-f]{8})?")  # of what is beside an output: the process that writes it
Step = tuple[str, str]


class Steps:
    """Notes the steps of this process that change what is below a folder, and kills it at one of them.

    Args:
        root: The folder.
        moment: Number of the step before which it is killed; a write is half done.
    """

    def __init__(self, root: Path, moment: int | None = None) -> None:
        self.root, self.moment, self.seen = str(root), moment, list[Step]()

    def at(self, kind: str, path: object) -> bool:
        """Note a step; whether it is the one."""
        name = str(path).removeprefix(f"{self.root}/")
        self.seen.append((kind, "fd" if isinstance(path, int) else MAKER.sub("*", name)))
        return len(self.seen) - 1 == self.moment

    def is_below(self, path: object, options: dict[str, Any]) -> bool:
        below = isinstance(path, str | os.PathLike) and os.fspath(path).startswith(self.root)
        return below or options.get("dir_fd") is not None or isinstance(path, int)

    def install(self) -> None:
        for name in (*RENAMES, *OTHERS):
            owner, attribute = (outputs, "_exchange") if name == "exchange" else (os, name)
            setattr(owner, attribute, self._wrapped(name, getattr(owner, attribute)))
        real = io.open
        steps = self

        class File(io.FileIO):
            def write(self, data: Any, /) -> int:
                if steps.at("write", self.name):
                    super().write(bytes(data)[: len(data) // 2])
                    kill()
                return super().write(data)

            def truncate(self, size: int | None = None, /) -> int:
                if steps.at("truncate", self.name):
                    kill()
                return super().truncate(size)

        def opened(
            file: Any, mode: str = "r", buffering: int = -1, encoding: Any = None, *rest: Any, **more: Any
        ) -> Any:
            if not set(mode) & set("wax+") or isinstance(file, int) or not steps.is_below(file, {}):
                return real(file, mode, buffering, encoding, *rest, **more)
            if steps.at("open", file):
                kill()
            raw = File(os.fspath(file), mode.replace("b", "").replace("t", ""))
            if buffering == 0:
                return raw
            buffered: Any = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
            if "b" in mode:
                return buffered
            return io.TextIOWrapper(buffered, encoding or "utf-8", newline=more.get("newline"))

        builtins.open = io.open = opened  # type: ignore[assignment]

    def _wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **options: Any) -> Any:
            if not self.is_below(args[0], options):
                return real(*args, **options)
            if self.at(name, args[0]):
                kill()
            result = real(*args, **options)
            if name in RENAMES and self.at(f"after {name}", args[0]):
                kill()
            return result

        return step


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def forked(work: Callable[[], Any], log: Path) -> tuple[int, str]:
    """Status and result of a function in a process of its own."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(stream, 1)
            os.dup2(stream, 2)
            result = work()
            log.with_suffix(".result").write_text(json.dumps(result))
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status, log.with_suffix(".result").read_text() if status == 0 else log.read_text()


@dataclass(frozen=True)
class Case:
    """A command in a folder ``work``, with its inputs in ``inputs`` beside it.

    Attributes:
        make_inputs: Makes what is read.
        make_old: Makes what is there before, in ``work``.
        run: The command.
        look: What its outputs are, read as a user reads them; raises where they are neither old nor new nor absent.
        varies: Ends of the names of files of which the bytes differ from run to run, since they hold times.
        final: What in these files is the same from run to run.
    """

    make_inputs: Callable[[Path], Any]
    make_old: Callable[[Path, Path], Any]
    run: Callable[[Path, Path], Any]
    look: Callable[[Path], Any]
    varies: tuple[str, ...] = ()
    final: Callable[[Path], Any] = lambda work: None


def worth(steps: list[Step], rng: random.Random) -> list[int]:
    """Steps to be killed at: each rename, before and after; each sync; for each file a write, drawn; and up to
    five of each other kind, drawn."""
    every = [n for n, (kind, _) in enumerate(steps) if kind.removeprefix("after ") in (*RENAMES, "fsync")]
    writes: dict[str, list[int]] = {}
    others: dict[str, list[int]] = {}
    opened = 0
    for number, (kind, path) in enumerate(steps):
        opened += kind == "open"
        if kind == "write":
            writes.setdefault(f"{path} {opened}", []).append(number)
        elif number not in every:
            others.setdefault(kind, []).append(number)
    drawn = [rng.choice(numbers) for numbers in writes.values()]
    drawn += [number for numbers in others.values() for number in rng.sample(numbers, min(5, len(numbers)))]
    return sorted([*every, *drawn])


def tree(folder: Path, varies: tuple[str, ...]) -> dict[str, Any]:
    """Every path below a folder with its content, as far as that is the same from run to run."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        known = path.is_file() and not name.endswith(varies or "/")
        found[name] = path.read_bytes() if known else path.is_dir()
    return found


def campaign(name: str, folder: Path, seed: int, count: int) -> dict[str, Any]:
    case, rng = CASES[name], random.Random(seed)
    inputs, old, work, log = (folder / part for part in ("inputs", "old", "work", "log"))

    def do(function: Callable[..., Any], *args: Any) -> Any:
        status, result = forked(lambda: function(*args), log)
        assert status == 0, result
        return json.loads(result)

    def run(moment: int | None = None) -> list[Step]:
        steps = Steps(work, moment)
        steps.install()
        case.run(inputs, work)
        return steps.seen

    def restore() -> None:
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(old, work, symlinks=True)

    for path in (inputs, old):
        path.mkdir(parents=True)
    do(case.make_inputs, inputs)
    do(case.make_old, inputs, old)
    restore()
    before = do(case.look, work)
    steps = do(run)
    whole, after, final = tree(work, case.varies), do(case.look, work), do(case.final, work)
    restore()
    assert do(run) == steps and tree(work, case.varies) == whole, "differs from run to run"
    moments = worth(steps, rng)
    if count:
        moments = sorted(rng.sample(moments, min(count, len(moments))))
    found: Counter[str] = Counter()
    for moment in moments:
        where = f"{name}, killed at step {moment} of {len(steps)}, {' '.join(steps[moment])}"
        restore()
        status, text = forked(lambda moment=moment: run(moment), log)  # type: ignore[misc]
        assert status == -signal.SIGKILL, f"{where}: status {status}\n{text}"
        left = do(case.look, work)
        assert left in (before, after), f"{where}: {left}"
        found["new" if left == after else "old"] += 1
        status, text = forked(run, log)
        assert status == 0, f"{where}; then: {text}"
        again = tree(work, case.varies)
        differ = [path for path in {**whole, **again} if whole.get(path) != again.get(path)]
        assert not differ, f"{where}; in the end differ {differ}"
        assert do(case.look, work) == after and do(case.final, work) == final, where
    shutil.rmtree(folder)
    kinds = Counter(steps[moment][0] for moment in moments)
    return {"kills": len(moments), "steps": len(steps), "found": found, "at": dict(sorted(kinds.items()))}


# --- the commands ---------------------------------------------------------------------------------------------------


def encoder_of(seed: int, **changes: Any) -> MAMPEncoder:
    torch.manual_seed(seed)
    return MAMPEncoder(MAMPConfig(dim_feat=16, depth=1, num_heads=2, num_frames=16, **changes)).eval()


def classifier_of(seed: int) -> MAMPClassifier:
    encoder = encoder_of(seed)
    found = MAMPClassifier(encoder.config, LinearHead(16, 3), ["a", "b", "c"])
    torch.manual_seed(seed)
    for parameter in found.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return found.eval()


def command(*args: object, status: int = 0) -> None:
    assert main([str(arg) for arg in args]) == status


def look_at_encoder(work: Path) -> Any:
    return fingerprint(MAMPEncoder.from_pretrained(work / "weights")) if (work / "weights").exists() else None


def look_at_classifier(work: Path) -> Any:
    found = MAMPClassifier.from_pretrained(work / "weights")
    return float(sum(parameter.detach().double().abs().sum() for parameter in found.parameters()))


def look_at_file(work: Path) -> Any:
    return (work / "output").read_bytes().hex() if (work / "output").exists() else None


def look_at_store(work: Path) -> Any:
    if not (work / "store").exists() and not list(work.glob(".store-old-*")):
        return None
    store = ClipStore(work / "store")
    store.verify()
    return [store.columns["name"].tolist(), store.info["sha256"]]


def look_at_run(work: Path) -> Any:
    """Only whether the encoder is whole, as its hash in ``config.json`` says: it is written at every checkpoint, so
    it may be of any. Checkpoints must load, whatever step they are of. What there is in the end is compared in full."""
    if (work / "run" / "checkpoints").exists():
        load_checkpoint(work / "run" / "checkpoints")
    try:
        return bool(fingerprint(MAMPEncoder.from_pretrained(work / "run")))
    except OSError as error:
        assert "missing" in str(error) or "nothing there" in str(error), error
        return None


def final_of_run(work: Path) -> Any:
    """Every tensor of the last checkpoint, bit for bit, and the losses of each step."""
    from train_helpers import metrics, weights

    tensors = {
        name: hashlib.sha256(value.numpy().tobytes()).hexdigest() for name, value in weights(work / "run").items()
    }
    return [tensors, metrics(work / "run")]


def look_at_results(work: Path) -> Any:
    path = work / "results" / "results.json"
    if not path.exists():
        return None
    with suppress(KeyError):
        return json.loads(path.read_text())["trials"][0]["metrics"]
    return None


def old_nothing(inputs: Path, old: Path) -> None:
    pass


def make_recordings(inputs: Path) -> None:
    encoder_of(0).save_pretrained(inputs / "weights")
    classifier_of(0).save_pretrained(inputs / "classifier")
    for number in range(20):
        positions = np.random.default_rng(number).normal(size=(1, 20, 25, 3))
        np.save(inputs / f"{number:02}.npy", positions.astype(np.float32))


READING = ("--layout", "ntu25", "--fps", 30, "--unit", "m", "--up", "y")


def old_file(inputs: Path, old: Path) -> None:
    (old / "output").write_bytes(b"old")


def old_link(inputs: Path, old: Path) -> None:
    (old / "below").mkdir()
    (old / "below" / "file").write_bytes(b"old")
    (old / "output").symlink_to("below/file")


def run_embed(inputs: Path, work: Path) -> None:
    command("embed", *sorted(inputs.glob("*.npy")), "-o", work / "output", "--weights", inputs / "weights", *READING)


def run_predict(inputs: Path, work: Path) -> None:
    files = sorted(inputs.glob("*.npy"))[:3]
    command("predict", *files, "-o", work / "output", "--weights", inputs / "classifier", *READING)


def make_numbers(inputs: Path) -> None:
    from test_prepare_engine import make_raw

    for name, count in (("first", 5), ("second", 12)):
        make_raw(inputs / name, count)


def run_prepare(inputs: Path, work: Path, which: str = "second") -> None:
    from test_prepare_engine import Numbers

    build.BATCH_ITEMS = 4
    build.prepare(Numbers(inputs / which, second=True), work / "store", build.Settings(workers=1, overwrite=True))


def make_checkpoint(inputs: Path) -> None:
    from mamp.pretraining import MAMPForPretraining

    torch.manual_seed(0)
    model = MAMPForPretraining(MAMPConfig(dim_feat=16, depth=1, num_heads=2), decoder_dim_feat=16, decoder_depth=1)
    torch.save({"model": model.state_dict()}, inputs / "c.pth")


def make_clips(inputs: Path) -> None:
    from evaluate_helpers import make_store, make_weights

    make_store(inputs / "store")
    make_weights(inputs / "weights")


def run_readout(inputs: Path, work: Path) -> None:
    options = (
        "--weights",
        inputs / "weights",
        "--data",
        inputs / "store",
        "--dim",
        4,
        "--clips",
        32,
        "--window",
        8,
        16,
    )
    command("readout", work / "weights", *options)


def run_training(inputs: Path, work: Path, threads: int = 1) -> None:
    from train_helpers import TENSORBOARD, tiny

    sys.modules[TENSORBOARD] = None  # type: ignore[assignment]
    torch.set_num_threads(threads)
    train(tiny(optim__epochs=3, optim__ema=0.9, run__checkpoint_every=3), inputs / "store", work / "run")


def run_evaluation(inputs: Path, work: Path, protocol: str = "knn", **overrides: str) -> None:
    evaluate(protocol, str(inputs / "weights"), inputs / "store", work / "results", overrides=overrides, device="cpu")


def old_weights(inputs: Path, old: Path) -> None:
    encoder_of(1).save_pretrained(old / "weights")


TIMES = ("metrics.jsonl", "run.json", "results.json", ".pt", "report.json", "results.md")
CASES = {
    "embed": Case(make_recordings, old_file, run_embed, look_at_file),
    "embed through a link": Case(make_recordings, old_link, run_embed, look_at_file),
    "predict": Case(make_recordings, old_file, run_predict, look_at_file),
    "prepare": Case(make_numbers, old_nothing, run_prepare, look_at_store),
    "prepare --overwrite": Case(
        make_numbers, lambda inputs, old: run_prepare(inputs, old, "first"), run_prepare, look_at_store
    ),
    "save_pretrained": Case(
        lambda inputs: None,
        old_weights,
        lambda inputs, work: encoder_of(2).save_pretrained(work / "weights"),
        look_at_encoder,
    ),
    "save_pretrained of a classifier": Case(
        lambda inputs: None,
        lambda inputs, old: classifier_of(1).save_pretrained(old / "weights"),
        lambda inputs, work: classifier_of(2).save_pretrained(work / "weights"),
        look_at_classifier,
    ),
    "convert": Case(
        make_checkpoint,
        old_weights,
        lambda inputs, work: command("convert", inputs / "c.pth", work / "weights", "--preset", "ntu60"),
        look_at_encoder,
    ),
    "readout": Case(make_clips, old_weights, run_readout, look_at_encoder),
    "train": Case(make_clips, old_nothing, run_training, look_at_run, TIMES, final_of_run),
    "train with two threads": Case(
        make_clips, old_nothing, lambda inputs, work: run_training(inputs, work, 2), look_at_run, TIMES, final_of_run
    ),
    "evaluate knn": Case(make_clips, old_nothing, run_evaluation, look_at_results, TIMES),
    "evaluate linear": Case(
        make_clips,
        old_nothing,
        lambda inputs, work: run_evaluation(inputs, work, "linear", epochs="2", batch_size="6", workers="0"),
        look_at_results,
        TIMES,
    ),
    "evaluate finetune": Case(
        make_clips,
        old_nothing,
        lambda inputs, work: run_evaluation(
            inputs, work, "finetune", epochs="2", warmup_epochs="1", batch_size="6", workers="0", checkpoint_every="2"
        ),
        look_at_results,
        TIMES,
    ),
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    place, draw, number = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    for one in sys.argv[4:]:
        print(json.dumps({one: campaign(one, place / one, draw, number)}), flush=True)
