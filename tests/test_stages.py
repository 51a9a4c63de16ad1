"""Runs in stages: one command, several recipes, each from the encoder of the one before."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mamp import MAMPEncoder
from mamp.cli.ablation import main as ablate
from mamp.data import ClipStore
from mamp.errors import ConfigError
from mamp.train.cli import main as train
from mamp.train.estimate import write_synthetic_store
from mamp.train.readout import ReadoutSettings, add_readout
from mamp.train.recipes import get_recipe
from mamp.train.stages import plan_stages

NAME = "openmocap-agreement"
FIRST = "openmocap-prediction"
WHOLE = "openmocap-once"
TINY = [
    *("--encoder.dim_feat", "16", "--encoder.depth", "1", "--encoder.num_heads", "2", "--encoder.num_frames", "24"),
    *("--objective.decoder_dim_feat", "16", "--objective.mask_ratio", "0.8"),
    *("--optim.batch_size", "4", "--optim.epochs", "2", "--optim.warmup_epochs", "1"),
    *("--data.samples_per_epoch", "8", "--data.workers", "0", "--data.weight_by", "name"),
    *("--run.log_every", "1", "--run.checkpoint_every", "2", "--run.precision", "float32"),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "store"
    write_synthetic_store(path, clips=8, people=1, frames=40)
    return path


@pytest.fixture(autouse=True)
def _few_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fit readouts to 64 crops."""

    def fit(encoder: MAMPEncoder, clips: ClipStore, settings: ReadoutSettings, progress: bool) -> MAMPEncoder:
        return add_readout(encoder, clips, replace(settings, clips=64))

    monkeypatch.setattr("mamp.train.stages.add_readout", fit)


def run(store: Path, output: Path, *more: str) -> int:
    return train([NAME, "--data", str(store), "--output", str(output), *TINY, *more])


def test_stages_train_one_after_the_other(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = tmp_path / "whole"
    assert run(store, whole, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["recipe"], found["finished"], found["steps"]) == (NAME, True, 4)
    assert found["output"] == str(whole) and found["encoder"] == str(whole / "readout")
    first = json.loads((whole / "stages" / FIRST / "run.json").read_text())
    last = json.loads((whole / "run.json").read_text())
    assert (first["recipe"], first["config"]["init"]) == (FIRST, None)
    assert (last["recipe"], last["config"]["init"]) == (NAME, str(whole / "stages" / FIRST / "encoder"))
    encoder = MAMPEncoder.from_pretrained(whole / "readout")
    assert encoder.config.readout_dim == 16 and encoder.config.pooling == "mean+max+std" and encoder.config.readout_pose

    # The second stage starts where the first has ended: its first loss is that of a run with init.
    alone = tmp_path / "alone"
    assert run(store, alone, "--init", str(whole / "stages" / FIRST)) == 0
    assert not (alone / "stages").exists()
    lines = [(folder / "metrics.jsonl").read_text().splitlines() for folder in (whole, alone)]
    losses = [[json.loads(line)["loss"] for line in each] for each in lines]
    assert losses[0] == losses[1]
    same = MAMPEncoder.from_pretrained(alone / "readout").state_dict()
    assert all(torch.equal(value, same[name]) for name, value in encoder.state_dict().items())


def test_the_last_stage_learns_from_the_one_before_it(store: Path, tmp_path: Path) -> None:
    command = [WHOLE, "--data", str(store), "--output", str(tmp_path / "run"), *TINY, "--run.storage", "float32"]
    assert train(command) == 0
    before = tmp_path / "run" / "stages" / NAME / "readout"
    config = json.loads((tmp_path / "run" / "run.json").read_text())["config"]
    assert config["init"] == config["teacher"] == str(before) and config["encoder"]["readout_dim"] == 16
    encoders = [MAMPEncoder.from_pretrained(tmp_path / "run" / name) for name in ("mean", "encoder")]
    mean, trained, start = (e.state_dict() for e in (*encoders, MAMPEncoder.from_pretrained(before)))
    assert not torch.equal(trained["readout.weight"], start["readout.weight"])
    for name, value in mean.items():
        torch.testing.assert_close(value, (trained[name] + start[name]) / 2, rtol=1e-6, atol=1e-7)
    assert encoders[0].config.preprocessing.apart


def test_a_stopped_run_resumes_where_it_was(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts, whole = tmp_path / "parts", tmp_path / "whole"
    assert run(store, parts, "--run.stop_after", "3") == 0
    text = capsys.readouterr().out
    assert f"Stage 1 of 2, {FIRST}: 3 steps" in text and "the same command resumes it" in text
    assert not (parts / "run.json").exists() and not (parts / "readout").exists()
    # A stop at a step of the first stage that is over already stops in the second one.
    (parts / "note.txt").write_text("of the user")
    assert run(store, parts) == 0
    assert f"Stage 2 of 2, {NAME}: 4 steps" in capsys.readouterr().out
    assert run(store, whole) == 0
    encoders = [MAMPEncoder.from_pretrained(folder / "readout").state_dict() for folder in (parts, whole)]
    assert all(torch.equal(value, encoders[1][name]) for name, value in encoders[0].items())
    written = (parts / "readout" / "config.json").stat().st_mtime_ns
    assert run(store, parts) == 0  # once more: nothing is trained or fitted again
    assert (parts / "readout" / "config.json").stat().st_mtime_ns == written
    (parts / "readout" / "model.safetensors").write_bytes(b"damaged")
    assert run(store, parts) == 0  # fitted again, to the same
    again = MAMPEncoder.from_pretrained(parts / "readout").state_dict()
    assert all(torch.equal(value, again[name]) for name, value in encoders[0].items())
    assert (parts / "note.txt").read_text() == "of the user"


def test_a_run_may_be_moved(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The weights that a stage starts from move with it; others in their place are refused."""
    assert run(store, tmp_path / "here", "--run.stop_after", "3") == 0
    assert run(store, tmp_path / "here", "--run.stop_after", "2") == 0  # stops in the second stage
    (tmp_path / "there").mkdir()
    (tmp_path / "here").rename(tmp_path / "there" / "run")
    assert run(store, tmp_path / "there" / "run") == 0
    assert "4 steps" in capsys.readouterr().out
    assert not (tmp_path / "here").exists()
    alone = tmp_path / "alone"
    weights = tmp_path / "there" / "run" / "stages" / FIRST / "encoder"
    assert run(store, alone, "--init", str(weights)) == 0
    assert run(store, alone, "--init", str(tmp_path / "there" / "run" / "encoder")) == 1
    assert "different: init" in capsys.readouterr().err


def test_plan() -> None:
    stages = plan_stages(get_recipe(NAME), {"optim.lr": ["0.1"]})
    assert [(stage.recipe.name, str(stage.folder)) for stage in stages] == [(FIRST, f"stages/{FIRST}"), (NAME, ".")]
    assert [stage.config.optim.lr for stage in stages] == [0.1, 0.1]
    assert [stage.config.encoder.depth for stage in stages] == [8, 4]
    for weights in ("none", "openmocap"):
        assert [stage.recipe.name for stage in plan_stages(get_recipe(NAME), {"init": [weights]})] == [NAME]
    arms = plan_stages(get_recipe(f"{NAME}/stream-bone"), {})
    assert [stage.recipe.name for stage in arms] == [f"{FIRST}/stream-bone", f"{NAME}/stream-bone"]
    assert {stage.config.encoder.preprocessing.stream for stage in arms} == {"bone"}
    whole = plan_stages(get_recipe(WHOLE), {})
    assert [str(stage.folder) for stage in whole] == [f"stages/{FIRST}", f"stages/{NAME}", "."]
    assert [stage.recipe.result for stage in whole] == ["encoder", "readout", "mean"]
    assert plan_stages(get_recipe(WHOLE), {"init": ["none"]})[0].recipe.result == "encoder"  # no mean with nothing
    (v5,) = plan_stages(get_recipe("openmocap-v5"), {})
    assert v5.recipe.result == "mean"
    for name, value in (("encoder.depth", "2"), ("encoder.t_patch_size", "12"), ("encoder.pooling", "std+max+mean")):
        (alone,) = plan_stages(get_recipe("openmocap-v5"), {name: [value]})
        assert alone.recipe.result == "encoder", name  # such weights cannot be averaged
    with pytest.raises(ConfigError, match="expected init with a teacher"):
        plan_stages(get_recipe(WHOLE), {"teacher": ["openmocap"]})
    (alone,) = plan_stages(get_recipe(WHOLE), {"teacher": ["openmocap@v4"], "init": ["openmocap"]})
    assert (alone.config.init, alone.config.teacher) == ("openmocap", "openmocap@v4")
    with pytest.raises(ConfigError, match="batch_size"):
        plan_stages(get_recipe(NAME), {"optim.batch_size": ["0"]})


def test_problems_of_the_last_stage_are_told_before_the_first(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(store, tmp_path / "run", "--optim.batch_size", "3") == 2  # pairs of views, in the second stage only
    assert "even number" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_dry_run_estimates_each_stage(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train([NAME, "--data", str(store), "--dry-run", "--json", *TINY]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["recipe"] == NAME and [stage["recipe"] for stage in found["stages"]] == [FIRST, NAME]
    assert all(stage["steps"] == 4 for stage in found["stages"])
    assert train([NAME, "--data", str(store), "--dry-run", *TINY]) == 0
    text = capsys.readouterr().out
    assert text.index(FIRST) < text.index(f"\n{NAME}\n") and text.count("extrapolated") == 2


def test_dry_run_takes_what_the_run_takes(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A later stage is estimated from the encoder of the one before, not from the weights that its recipe names."""
    assert train([WHOLE, "--data", str(store), "--dry-run", "--json", *TINY]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [stage["recipe"] for stage in found["stages"]] == [FIRST, NAME, WHOLE]


def test_ablations_are_of_one_stage(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [NAME, "--data", str(store), "--output", str(tmp_path), "--vary", "objective.mask_ratio=0.8,0.9"]
    assert ablate(command) == 2
    assert FIRST in capsys.readouterr().err and not list(tmp_path.iterdir())
    assert ablate([*command, "--init", "none", "--dry-run", *TINY[:8]]) == 0
