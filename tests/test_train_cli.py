"""The command lines of pre-training and preparation: what they do, say, refuse, and return."""

from __future__ import annotations

import builtins
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mamp import MAMPEncoder
from mamp.data import ClipStore, StoreWriter
from mamp.errors import ConfigError, MissingExtraError, TrainingError
from mamp.layouts import get_layout
from mamp.options import override
from mamp.prepare.__main__ import main as prepare
from mamp.synthetic import write_recordings
from mamp.train.cli import main as train
from mamp.train.config import TrainConfig
from mamp.train.estimate import write_synthetic_store
from mamp.train.recipes import RECIPES, get_recipe
from mamp.train.report import describe_run, plot_run, read_metrics
from mamp.train.start import surprises

ROOT = Path(__file__).resolve().parents[1]
SMALL = {
    "encoder.dim_feat": "16",
    "encoder.depth": "1",
    "encoder.num_heads": "2",
    "encoder.num_frames": "24",
    "objective.decoder_dim_feat": "16",
    "objective.mask_ratio": "0.8",
    "optim.batch_size": "4",
    "optim.epochs": "3",
    "optim.warmup_epochs": "1",
    "data.samples_per_epoch": "8",
    "data.workers": "0",
    "run.log_every": "1",
    "run.checkpoint_every": "2",
}
TINY = [word for name, value in SMALL.items() for word in (f"--{name}", value)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "store"
    write_synthetic_store(path, clips=8, people=1, frames=40)
    return path


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(store: Path, output: Path, *more: str) -> int:
    return train(["smoke", "--data", str(store), "--output", str(output), *TINY, *more])


def start(store: Path, output: Path, *more: str, before: tuple[str, ...] = ("-m",)) -> subprocess.Popen[str]:
    command = [sys.executable, *before, "mamp.train", "smoke", "--data", str(store), "--output", str(output), *TINY]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [*command, *more], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def weights(output: Path) -> dict[str, torch.Tensor]:
    return MAMPEncoder.from_pretrained(output).state_dict()


# ---- a run


def test_run_leaves_weights_metrics_and_its_configuration(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(store, tmp_path / "run", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["steps"], result["total_steps"], result["finished"]) == (6, 6, True)
    assert 0 < result["final_loss"] < 10 and result["seconds"] > 0
    encoder = MAMPEncoder.from_pretrained(tmp_path / "run")
    assert encoder.config == MAMPEncoder.from_pretrained(result["encoder"]).config
    assert encoder.config.num_frames == 24 and encoder.config.depth == 1
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["recipe"] == "smoke" and record["torch"] == torch.__version__ and record["processes"] == 1
    assert record["config"]["optim"]["batch_size"] == 4 and record["config"]["objective"]["mask_ratio"] == 0.8
    assert record["data_sha256"] == ClipStore(store).info["sha256"]
    if (ROOT / ".git").exists():
        head = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        assert record["git"].startswith(head.stdout.strip())
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert lines[-1]["loss"] == result["final_loss"] and lines[0]["lr"] == 0
    # Again: nothing is left to do, and nothing changes.
    before = weights(tmp_path / "run")
    assert run(store, tmp_path / "run") == 0
    assert all(torch.equal(before[name], value) for name, value in weights(tmp_path / "run").items())


def test_stopped_run_goes_on_to_the_same_weights(store: Path, tmp_path: Path) -> None:
    assert run(store, tmp_path / "whole") == 0
    for stop in ("1", "3", "6"):
        assert run(store, tmp_path / "parts", "--run.stop_after", stop) == 0
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], value) for name, value in parts.items())
    steps = [[line["step"] for line in read_metrics(tmp_path / name / "metrics.jsonl")] for name in ("whole", "parts")]
    assert steps == [[1, 2, 3, 4, 5, 6]] * 2


def test_report_of_a_run(store: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    assert run(store, output, "--run.stop_after", "3", "--objective.joints_weight", "0.5") == 0
    found = describe_run(output)
    assert (found["step"], found["total_steps"], found["progress"], found["finished"]) == (3, 6, 0.5, False)
    assert found["seconds_left"] == pytest.approx(3 * 4 / found["clips_per_second"], abs=0.1)
    assert set(found["losses"]) == {"motion", "joints"} and found["recipe"] == "smoke"
    assert found["curve"][-1] == [3, found["loss"]] and found["lowest_loss"] <= found["first_loss"]
    assert found["checkpoints"] == ["step-00000002.pt", "step-00000003.pt"] and found["encoder"]
    # A line that a kill has cut off is passed over.
    with (output / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    assert describe_run(output)["step"] == 3
    pytest.importorskip("matplotlib")
    assert plot_run(output, tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(TrainingError, match="cannot write the picture"):
        plot_run(output, tmp_path / "absent" / "run.png")


def test_report_refuses_what_is_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrainingError, match=r"expected the folder of a run, found no run\.json"):
        describe_run(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(TrainingError, match="damaged"):
        describe_run(tmp_path)
    hide(monkeypatch, "matplotlib")
    with pytest.raises(MissingExtraError, match=r"mamp\[film\]"):
        plot_run(tmp_path, tmp_path / "x.png")


def hide(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """Make modules look as if they were not installed."""
    real = builtins.__import__

    def imported(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith(modules):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", imported)


def test_tensorboard_does_not_change_the_run(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboard")
    pytest.importorskip("matplotlib")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    jitter = ("--augment.noise", "0.01", "--objective.decoded_tokens", "20")
    assert run(store, tmp_path / "with", *jitter) == 0
    events = EventAccumulator(str(tmp_path / "with" / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Images("prediction")] == [2, 4, 6]
    lines = read_metrics(tmp_path / "with" / "metrics.jsonl")
    assert [event.value for event in events.Scalars("loss")] == pytest.approx([line["loss"] for line in lines])
    hide(monkeypatch, "torch.utils.tensorboard")
    assert run(store, tmp_path / "without", *jitter) == 0
    assert "TensorBoard is not installed" in capsys.readouterr().err
    assert not (tmp_path / "without" / "tensorboard").exists()
    there, here = (
        torch.load(tmp_path / name / "checkpoints" / "step-00000006.pt", weights_only=True)
        for name in ("with", "without")
    )
    assert torch.equal(there["torch_rng"], here["torch_rng"])
    assert all(torch.equal(there["model"][name], value) for name, value in here["model"].items())


def test_no_pictures_without_matplotlib(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboard")
    hide(monkeypatch, "matplotlib")
    assert run(store, tmp_path / "run") == 0
    assert capsys.readouterr().err.count("matplotlib is not installed") == 1


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_signals_save_first(store: Path, tmp_path: Path, number: signal.Signals, status: int) -> None:
    output = tmp_path / "run"
    process = start(store, output, "--optim.epochs", "2000", "--run.checkpoint_every", "100000", "--data.workers", "1")
    deadline = time.monotonic() + 120
    while not (output / "metrics.jsonl").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == status, err
    assert "Traceback" not in err and "the same command resumes it" in out
    step = describe_run(output)["step"]
    assert 0 < step < 4000 and (output / "checkpoints" / f"step-{step:08d}.pt").exists()
    assert weights(output)


@pytest.mark.slow
def test_torchrun_gives_the_same_weights_and_one_voice(store: Path, tmp_path: Path) -> None:
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29533", "-m")
    process = start(store, tmp_path / "two", "--run.device", "cpu", before=launcher)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert out.count("6 steps") == 1
    assert run(store, tmp_path / "one", "--run.device", "cpu") == 0
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name in one:
        torch.testing.assert_close(two[name], one[name], atol=2e-5, rtol=1e-4)
    process = start(store, tmp_path / "two", "--optim.batch_size", "3", "--run.device", "cpu", before=launcher)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 1 and err.count("cannot be split") == 0 and err.count("holds another run") == 1


# ---- what is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["smok"], "unknown recipe 'smok'. Did you mean 'smoke'?"),
        ([], "name a recipe: ntu60-xsub"),
        (["smoke", "openmocap"], "one recipe at a time; found smoke, openmocap"),
        (["smoke"], "smoke needs --data DIR and --output DIR"),
        (["openmocap", "--dry-run"], "openmocap needs --data DIR"),
        (["smoke", "--optim.lrr", "1"], "unknown option --optim.lrr. Did you mean --optim.lr?"),
        (["smoke", "--lr", "1"], "unknown option --lr. Did you mean --optim.lr?"),
        (["smoke", "--mask-ratio=0.5"], "unknown option --mask-ratio. Did you mean --objective.mask_ratio?"),
        (["smoke", "--outptu", "x"], "unknown option --outptu. Did you mean --output?"),
        (["smoke", "--optim.lr", "fast"], "optim.lr: expected a number, found 'fast'"),
        (["smoke", "--optim.lr", "nan"], "optim.lr: expected a number, found 'nan'"),
        (["smoke", "--optim.lr", "-1"], "optim.lr: expected at least 0, found -1"),
        (["smoke", "--optim.batch_size", "1.5"], "optim.batch_size: expected a whole number, found '1.5'"),
        (["smoke", "--optim.betas", "0.9"], "optim.betas: expected 2 numbers, found '0.9'"),
        (["smoke", "--augment.window", "a", "b"], "augment.window: expected 2 whole numbers or none, found 'a b'"),
        (["smoke", "--augment.center", "maybe"], "augment.center: expected true or false, found 'maybe'"),
        (
            ["smoke", "--objective.target", "x"],
            "objective.target: expected one of motion, joints, displacement, found 'x'",
        ),
        (["smoke", "--encoder.dim_feat", "15"], "dim_feat: expected a multiple of num_heads (4), found 15"),
        (["smoke", "--run.log_every", "0"], "run.log_every: expected at least 1, found 0"),
        (["smoke", "--optim.warmup_epochs", "99"], "optim.epochs: expected more than warmup_epochs (99), found 20"),
    ],
)
def test_usage_errors_are_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and message in err, err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--data", "absent"), "absent: expected a folder written by python -m mamp.prepare"),
        (("--run.device", "cuda:99"), "run.device: 'cuda:99' cannot be used here"),
        (("--optim.per_device_batch", "3"), "optim.batch_size: 4 cannot be split"),
        (("--objective.mask_ratio", "2"), "mask_ratio: expected a share"),
        (("--data.samples_per_epoch", "3"), "smaller than one batch"),
        (("--data.split", "validation"), "no clip of the split 'validation'"),
        (("--data.weight_by", "corpus"), "data.weight_by names the column 'corpus'"),
        (("--encoder.num_joints", "20"), "expected clips [B, M, T, V, C] = [B, M, 24, 20, 3], found"),
    ],
)
def test_mistakes_are_one_line_and_leave_no_checkpoint(
    more: tuple[str, ...], message: str, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(store, tmp_path / "run", *more) == 1
    err = capsys.readouterr().err
    assert "Traceback" not in err and message in err.splitlines()[-1], err
    assert not list(tmp_path.glob("run/checkpoints/*"))
    assert run(store, tmp_path / "run", "--run.stop_after", "1") == 0, "what failed is not in the way of the next try"


def test_output_that_cannot_be_used(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert run(store, tmp_path / "file") == 1
    assert "cannot write here" in capsys.readouterr().err
    assert run(store, tmp_path / "run", "--run.stop_after", "2") == 0
    assert run(store, tmp_path / "run", "--optim.lr", "5e-4") == 1
    assert "different: optim.lr)" in capsys.readouterr().err
    other = tmp_path / "other"
    write_synthetic_store(other, clips=9, people=1, frames=40)
    assert run(other, tmp_path / "run") == 1
    assert "the clips:" in capsys.readouterr().err
    relabelled = shutil.copytree(store, tmp_path / "relabelled")
    with np.load(store / "clips.npz") as columns:
        np.savez(relabelled / "clips.npz", **{**columns, "split": np.array(["test"] * 8)})
    assert run(relabelled, tmp_path / "run") == 1
    assert "the names, labels or splits of the clips:" in capsys.readouterr().err
    assert run(store, tmp_path / "run", "--run.log_every", "3") == 0, "how a run behaves may change on the way"
    (tmp_path / "run" / "run.json").write_text("{")
    assert run(store, tmp_path / "run") == 1
    assert "damaged" in capsys.readouterr().err


def test_stores_unlike_what_a_recipe_expects_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layout, rng = get_layout("ntu25"), np.random.default_rng(0)
    with StoreWriter(tmp_path / "store", layout, {"source": "Somebody's dances"}) as writer:
        for number in range(4):
            clip = rng.normal(size=(1, 80, 25, 3)).astype(np.float32)
            writer.add(str(number), clip, 120.0, label=7, split_xsub="train")
    found = surprises(get_recipe("ntu60").config, ClipStore(tmp_path / "store"), get_recipe("ntu60"))
    assert found == [
        "clips have up to 1 people, the encoder takes 2",
        "all training clips are of one class, 7",
        'the clips are from "Somebody\'s dances", the recipe is for NTU RGB+D 60',
        "there are 4 training clips, the published run had 40,091",
        "the clips have 120 frames a second, those of the published run 30",
    ]
    assert (
        surprises(get_recipe("openmocap").config, ClipStore(tmp_path / "store"), get_recipe("openmocap")) == found[1:2]
    )
    assert run(tmp_path / "store", tmp_path / "run", "--run.stop_after", "1") == 0
    assert "all training clips are of one class, 7" in capsys.readouterr().err


def test_debug_shows_the_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "absent", tmp_path / "run", "--debug") == 1
    assert "Traceback" in capsys.readouterr().err


# ---- overrides, help, list, dry run


def test_overrides_reach_the_configuration() -> None:
    config = override(
        get_recipe("openmocap").config,
        {
            "optim.lr": "5e-4",
            "optim.clip_grad": "none",
            "optim.betas": ["0.8,", "0.9"],
            "augment.window": ["20,90"],
            "encoder.preprocessing.facing": "no",
            "encoder.preprocessing.max_people": "2",
            "data.weights": ["a=1", "b=2"],
            "data.weight_by": "none",
            "run.compile": "true",
        },
    )
    assert (config.optim.lr, config.optim.clip_grad, config.optim.betas) == (5e-4, None, (0.8, 0.9))
    assert config.augment.window == (20, 90) and config.run.compile is True
    assert (config.encoder.preprocessing.facing, config.encoder.preprocessing.max_people) == (False, 2)
    assert (config.data.weights, config.data.weight_by) == (("a=1", "b=2"), None)
    assert config.objective == get_recipe("openmocap").config.objective
    assert override(config, {"data.weights": "none"}).data.weights == ()
    with pytest.raises(ConfigError, match=r"unknown field 'optim\.lrr'\. Did you mean 'optim\.lr'"):
        override(TrainConfig(), {"optim.lrr": "1"})


def test_help_and_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert train(["openmocap", "--help"]) == 0
    text = capsys.readouterr().out
    assert "values of recipe openmocap" in text and "--augment.window" in text and "[30 150]" in text
    assert "optim.batch_size is the effective batch" in text and "Maximum learning rate." in text
    assert train(["--list"]) == 0
    assert "ntu60-xsub, ntu60\n" in capsys.readouterr().out
    assert train(["--list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["recipes"]
    assert [recipe["name"] for recipe in listed] == list(RECIPES)


def test_dry_run_measures_and_extrapolates(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = torch.get_rng_state()
    arguments = ["smoke", *TINY, "--dry-run", "--optim.batch_size", "8", "--data", str(store)]
    assert train([*arguments, "--json", "--objective.decoded_tokens", "10"]) == 0
    found = json.loads(capsys.readouterr().out)
    config = override(get_recipe("smoke").config, SMALL)
    model = config.build_model()
    encoder = sum(parameter.numel() for parameter in MAMPEncoder(config.encoder).parameters())
    assert found["encoder_parameters"] == encoder
    assert found["decoder_parameters"] == sum(p.numel() for p in model.parameters()) - encoder
    assert (found["tokens"], found["tokens_kept"], found["tokens_decoded"]) == (150, 29, 39)
    assert (found["clips"], found["steps_per_epoch"], found["steps"], found["batch_size"]) == (8, 1, 3, 8)
    assert (found["tried_clips"], len(found["tried_seconds"])) == (4, 3)
    assert found["step_seconds"] == pytest.approx(2 * np.median(found["tried_seconds"]))
    assert found["run_seconds"] == pytest.approx(3 * found["step_seconds"])
    if sys.platform == "linux":
        # This process has trained before: the trial may find all its memory already there, and then says zero.
        assert found["tried_bytes"] >= 0 and found["peak_bytes"] >= 0
    assert train([*arguments, "--encoder.preprocessing.max_people", "2"]) == 0
    text = capsys.readouterr().out
    assert "measured" in text and "extrapolated" in text and "2 bodies each" in text
    assert not list(tmp_path.iterdir())
    torch.set_rng_state(state)


def test_dry_run_of_a_published_recipe_needs_no_data(capsys: pytest.CaptureFixture[str]) -> None:
    small = [*TINY[:12], "--optim.batch_size", "128"]
    assert train(["ntu120-xset", "--dry-run", "--json", *small]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["clips"], found["steps_per_epoch"], found["steps"], found["people"]) == (54468, 425, 170000, 2)


# ---- preparation


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    write_recordings(folder / "day", variations=1, seconds=1.5, actions=["walk", "jump", "wave"])
    (folder / "notes.md").write_text("not a recording")
    return folder


def test_folder_of_recordings_to_encoder(recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(["folder", str(recordings), str(tmp_path / "store"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["clips"], result["frames"], result["people"], result["failed"]) == (3, 135, 1, {})
    store = ClipStore(tmp_path / "store")
    assert store.columns["name"].tolist() == ["day/jump-0.bvh", "day/walk-0.bvh", "day/wave-0.bvh"]
    spine = store.layout.joints.index("spine_mid")
    assert np.abs(store.read(0)[0, 0, spine]).max() == 0 and store.columns["fps"].tolist() == [30, 30, 30]
    few = ("--data.samples_per_epoch", "3", "--optim.batch_size", "3")
    assert run(tmp_path / "store", tmp_path / "run", *few) == 0
    assert weights(tmp_path / "run")


def test_bad_files_are_left_out_and_told_of(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = tmp_path / "raw"
    write_recordings(raw, variations=1, seconds=1, actions=["walk", "bow"])
    (raw / "bad.bvh").write_text("HIERARCHY")
    (raw / "labels.csv").write_text("file,label\nwalk-0.bvh,3\nbow-0.bvh,1\nbad.bvh,2\ngone.bvh,7\n")
    arguments = ["folder", str(raw), str(tmp_path / "store"), "--labels", str(raw / "labels.csv")]
    assert prepare([*arguments, "--strict"]) == 1
    assert "was not written" in capsys.readouterr().err and sorted(tmp_path.iterdir()) == [raw]
    assert prepare(arguments) == 1
    out, err = capsys.readouterr()
    assert "2 clips" in out and "2 left out" in out and "left out bad.bvh" in err and "left out gone.bvh" in err
    assert ClipStore(tmp_path / "store").columns["label"].tolist() == [1, 3]
    assert prepare(arguments) == 1 and "overwrite" in capsys.readouterr().err
    assert prepare([*arguments, "--overwrite"]) == 1 and "2 clips" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("name,class\na,b\n", "expected the columns file and label"),
        ("file,label\nday/walk-0.bvh,\n", "line 2: expected a file and its label"),
        ("file,label\nday/walk-0.bvh,1\nday/walk-0.bvh,2\n", "line 3: day/walk-0.bvh has a second label"),
    ],
)
def test_malformed_labels(
    labels: str, message: str, recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "labels.csv").write_text(labels)
    assert prepare(["folder", str(recordings), str(tmp_path / "s"), "--labels", str(tmp_path / "labels.csv")]) == 1
    assert message in capsys.readouterr().err and not (tmp_path / "s").exists()


def test_only_a_store_is_ever_replaced(recordings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(recordings.rglob("*"))
    assert prepare(["folder", str(recordings), str(recordings), "--overwrite"]) == 1
    assert "exists and is not a store" in capsys.readouterr().err and sorted(recordings.rglob("*")) == before
    assert prepare(["folder", str(recordings / "absent"), str(recordings / "store")]) == 1
    assert "expected a folder of recordings" in capsys.readouterr().err
    assert prepare([]) == 2


def test_training_refuses_clips_that_are_placed_otherwise(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare(["folder", str(recordings), str(tmp_path / "store"), "--center", "none"]) == 0
    few = ("--data.samples_per_epoch", "3", "--optim.batch_size", "3", "--optim.epochs", "2")
    assert run(tmp_path / "store", tmp_path / "run", *few, "--augment.center", "false") == 1
    assert "prepared with center none, the encoder is to expect clip" in capsys.readouterr().err
    for name, value, message in (
        ("height", "1.7", "prepared with height none, the encoder is to expect 1.7"),
        ("center_joint", "head", "prepared with center_joint spine_mid, the encoder is to expect head"),
    ):
        assert run(tmp_path / "store", tmp_path / "run", *few, f"--encoder.preprocessing.{name}", value) == 1
        assert message in capsys.readouterr().err
    assert run(tmp_path / "store", tmp_path / "run", *few) == 0, "the crop is centred in training"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_of_a_trial_is_what_it_takes() -> None:
    from mamp.train.estimate import _peak_memory

    with _peak_memory(torch.device("cpu")) as taken:
        held = torch.ones(64, 1024, 1024)  # 256 MiB, more than an earlier test can have left behind
        del held
    assert taken[0] is not None and 200 * 2**20 < taken[0] < 400 * 2**20


def test_packed_corpora(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mamp.layouts import MODEL_LAYOUT

    positions = np.random.default_rng(0).normal(0, 0.1, (90, 25, 3)).astype(np.float32)
    np.savez(
        tmp_path / "some.npz",
        positions=positions * 0 + positions[:1],
        offsets=[0, 40, 90],
        joints=list(MODEL_LAYOUT.joints),
        fps=30,
    )
    assert prepare(["packed", str(tmp_path / "some.npz"), str(tmp_path / "store")]) == 0
    assert "some: 2 clips" in capsys.readouterr().out
    assert ClipStore(tmp_path / "store").columns["corpus"].tolist() == ["some", "some"]
    assert prepare(["packed", str(tmp_path / "absent.npz"), str(tmp_path / "other")]) == 1
    assert "absent.npz" in capsys.readouterr().err and not (tmp_path / "other").exists()


@pytest.mark.slow
def test_smoke_recipe_on_real_recordings(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(["folder", str(shared / "data" / "raw"), str(tmp_path / "store"), "--json"])
    assert json.loads(capsys.readouterr().out)["clips"] >= 15
    began = time.process_time()
    assert train(["smoke", "--data", str(tmp_path / "store"), "--output", str(tmp_path / "run"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["finished"] and result["steps"] == 400
    assert time.process_time() - began < 2 * 120, "two cores need less than two minutes, when nothing else runs"
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    first, last = (np.mean([line["loss"] for line in part]) for part in (lines[:3], lines[-3:]))
    assert last < 0.7 * first
    assert weights(tmp_path / "run")
