"""Grids, and ablations end to end on a tiny store: done once, gone on with after a kill, told when an arm fails."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from train_helpers import TENSORBOARD, assert_same, environment, make_store, steps_done, weights

from mamp import MAMPEncoder
from mamp.ablate import Plan, make_plan, run_plan, tabulate
from mamp.ablate import run as ablate_module
from mamp.ablate.run import check_folders, is_finished
from mamp.cli.ablation import parse_arguments
from mamp.cli.main import main
from mamp.errors import ConfigError, TrainingError
from mamp.evaluate.comparison import comparison_table
from mamp.evaluate.page import pictures
from mamp.evaluate.predictions import Predictions
from mamp.evaluate.scores import bootstrap_difference
from mamp.options import override
from mamp.train.cli import main as train_main
from mamp.train.grids import GRIDS, get_arm
from mamp.train.recipes import RECIPES, get_recipe

WORDS = (
    "--encoder.dim_feat 16 --encoder.depth 1 --encoder.num_heads 2 --encoder.num_frames 16 --augment.window none "
    "--augment.crop_min 16 --objective.decoder_dim_feat 16 --optim.epochs 2 --optim.warmup_epochs 0 "
    "--optim.batch_size 8 --data.samples_per_epoch 24 --data.weight_by none --data.split train --data.workers 0 "
    "--run.device cpu --run.checkpoint_every 2 --run.log_every 1"
)
TINY = WORDS.split()
GRID = ["--vary", "objective.target=motion,joints", "--seeds", "0,1", "--evaluate", "knn"]
ARMS = ["target=motion", "target=joints"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "tiny-set"
    labels = [clip % 3 for clip in range(24)]
    return make_store(path, split=["train"] * 15 + ["test"] * 9, label=labels)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No TensorBoard and no pictures, which are slow."""
    monkeypatch.setitem(sys.modules, TENSORBOARD, None)
    monkeypatch.setattr("mamp.evaluate.result._draw", lambda *args: [])


def command(store: Path, output: Path, *more: str, grid: list[str] = GRID) -> list[str]:
    return ["ablate", "smoke", "--data", str(store), "--output", str(output), *grid, *TINY, *more]


@pytest.fixture(scope="module")
def finished(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished ablation; not to be changed."""
    output = tmp_path_factory.mktemp("ablation") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, TENSORBOARD, None)
        patch.setattr("mamp.evaluate.result._draw", lambda *args: [])
        assert main(command(store, output)) == 0
    return output


def plan_of(store: Path, output: Path, *more: str) -> Plan:
    return parse_arguments(command(store, output, *more)[1:])[1]


# Grids


@pytest.mark.parametrize("arm", [arm for grid in GRIDS.values() for arm in grid.values])
def test_every_arm_is_a_recipe_that_builds(arm: str) -> None:
    recipe = get_recipe(f"ntu60/{arm}")
    assert recipe.name == f"ntu60-xsub/{arm}"
    assert recipe.config == override(RECIPES["ntu60-xsub"].config, get_arm(arm))
    recipe.config.build_model()


def test_grids_surround_the_published_settings() -> None:
    assert set(GRIDS) == {"target", "masking", "mask-ratio", "temperature", "decoder-depth", "stride", "streams"}
    config = RECIPES["ntu60-xsub"].config
    for grid in GRIDS.values():
        arms = [get_recipe(f"ntu60-xsub/{arm}").config for arm in grid.values]
        assert config in arms and len({json.dumps(arm.to_dict()) for arm in arms}) == len(arms) >= 2
    assert get_recipe("openmocap/target-joints").config.objective.joints_weight == 0


def test_unknown_arms_and_grids() -> None:
    with pytest.raises(ConfigError, match=r"unknown arm 'mask-ratio-0.85'. Did you mean 'mask-ratio-0.8'"):
        get_recipe("ntu60/mask-ratio-0.85")
    with pytest.raises(ConfigError, match="unknown recipe 'ntu6'"):
        get_recipe("ntu6/mask-ratio-0.8")
    with pytest.raises(ConfigError, match=r"unknown grid 'maskratio'. Did you mean 'mask-ratio'"):
        make_plan("smoke", Path("s"), Path("o"), grids=["maskratio"])


def test_train_lists_the_arms(capsys: pytest.CaptureFixture[str]) -> None:
    assert train_main(["--list"]) == 0
    assert "mask-ratio-0.8" in capsys.readouterr().out
    assert train_main(["--list", "--json"]) == 0
    assert {grid["name"] for grid in json.loads(capsys.readouterr().out)["grids"]} == set(GRIDS)


# Plans


def test_arms_are_every_combination(tmp_path: Path) -> None:
    plan = make_plan(
        "ntu60",
        tmp_path / "set",
        tmp_path / "out",
        grids=["target"],
        vary=["objective.mask_ratio=0.50,0.9", "augment.window=none,30 150"],
        seeds=[0, 7],
        protocols=["knn", "linear"],
        eval_data=[tmp_path / "set", tmp_path / "other"],
        changes={"optim.lr": "0.01"},
    )
    names = [arm.name for arm in plan.arms]
    assert len(names) == 8 and names[0] == "target=motion,mask_ratio=0.5,window=none"
    assert names[-1] == "target=joints,mask_ratio=0.9,window=30-150"
    last = plan.config(plan.arms[-1], 7)
    assert (last.objective.target, last.objective.mask_ratio, last.augment.window) == ("joints", 0.9, (30, 150))
    assert (last.run.seed, last.optim.lr) == (7, 0.01)
    assert [column.name for column in plan.columns] == ["knn", "linear", "knn-other", "linear-other"]
    assert [seed for _, seed in plan.runs()] == [0] * 8 + [7] * 8
    assert plan.evaluation(plan.arms[0], 7, plan.columns[2]) == (
        tmp_path / "out" / names[0] / "seed=7" / "evaluate" / "knn-other"
    )


def test_fields_of_one_last_name_keep_their_whole_name() -> None:
    vary = ["encoder.preprocessing.center=clip,none", "augment.center=true,false"]
    arms = make_plan("smoke", Path("s"), Path("o"), vary=vary).arms
    assert arms[0].name == "encoder.preprocessing.center=clip,augment.center=true"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({}, "nothing is varied"),
        ({"vary": ["objective.mask_ratio"]}, "vary: expected FIELD=a,b"),
        ({"vary": ["objective.mask_ratio=0.5"]}, "expected at least two values to compare"),
        ({"vary": ["objective.mask_ration=0.5,0.9"]}, "unknown field.*Did you mean 'objective.mask_ratio'"),
        ({"vary": ["objective.mask_ratio=0.5,many"]}, "objective.mask_ratio: expected a number, found 'many'"),
        ({"vary": ["objective.mask_ratio=0.5,0.50"]}, "arms: expected each once, found mask_ratio=0.5"),
        ({"vary": ["optim.lr=0.1,0.2"] * 2}, "optim.lr: expected to be varied once"),
        ({"vary": ["run.seed=0,1"]}, "run.seed: expected it to be set by the seeds"),
        (
            {"vary": ["optim.lr=1,2"], "changes": {"optim.lr": "3"}},
            "optim.lr: expected it to be set by the values to vary",
        ),
        ({"vary": ["optim.lr=1,2"], "seeds": [0, 0]}, "seeds: expected each once"),
        (
            {"vary": ["objective.target=motion,joints"], "recipe": "openmocap"},
            "target=joints: joints_weight: expected 0 when target is 'joints'",
        ),
    ],
)
def test_plans_that_make_no_sense(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_plan(**{"recipe": "smoke", "data": Path("s"), "output": Path("o"), **more})


def test_usage_errors(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in (
        (["ablate", "--data", "x", "--output", "y", *GRID], "name one recipe"),
        (["ablate", "smoke", *GRID], "needs --data and --output"),
        (command(store, tmp_path, "--optim.lrr", "1"), "unknown option --optim.lrr. Did you mean --optim.lr?"),
        (command(store, tmp_path, grid=[]), "nothing is varied"),
        (command(store, tmp_path, "--seeds", "a"), "expected whole numbers separated by commas"),
    ):
        assert main(words) == 2
        err = capsys.readouterr().err
        assert message in err and err.count("\n") == 1
    assert main(["ablate", "--help"]) == 0
    assert "--objective.mask_ratio" in capsys.readouterr().out


# Runs


def test_every_run_is_trained_and_evaluated(finished: Path, store: Path, tmp_path: Path) -> None:
    for arm in ARMS:
        for seed in (0, 1):
            run = finished / arm / f"seed={seed}"
            record = json.loads((run / "run.json").read_text())
            assert record["config"]["objective"]["target"] == arm[7:] and record["config"]["run"]["seed"] == seed
            assert is_finished(run) and (run / "evaluate" / "knn" / "results.json").exists()
    # The same weights as those of the command that the dry run prints.
    words = plan_of(store, finished).commands(plan_of(store, finished).arms[1], 1)[0].split()[3:]
    words[words.index("--output") + 1] = str(tmp_path / "alone")
    assert train_main(words) == 0
    assert_same(weights(tmp_path / "alone"), weights(finished / ARMS[1] / "seed=1"))


def test_table(finished: Path) -> None:
    found = json.loads((finished / "ablation.json").read_text())
    assert found["complete"] and len(found["runs"]) == 4 and all(run["state"] == "finished" for run in found["runs"])
    (column,) = found["evaluations"]
    values = {}
    for cell in column["arms"]:
        tables = [
            Predictions.read(finished / cell["arm"] / f"seed={seed}" / "evaluate" / "knn" / "predictions.npz")
            for seed in (0, 1)
        ]
        hits = np.stack(
            [table.predicted[np.argsort(table.clip)] == table.label[np.argsort(table.clip)] for table in tables]
        )  # type: ignore[index]
        values[cell["arm"]] = hits
        assert cell["values"] == pytest.approx(list(100 * hits.mean(axis=1)))
        assert cell["mean"] == pytest.approx(100 * hits.mean()) and cell["seeds"] == [0, 1]
        assert cell["std"] == pytest.approx(100 * hits.mean(axis=1).std(ddof=1))
        assert cell["interval"][0] <= cell["mean"] <= cell["interval"][1]
    first, second = column["arms"]
    assert first["difference"] is None
    difference, interval = bootstrap_difference(values[ARMS[1]], values[ARMS[0]], trials=True)
    assert second["difference"] == pytest.approx(difference)
    assert second["difference_interval"] == pytest.approx(list(interval))
    page = (finished / "ablation.md").read_text()
    assert page.startswith("# Ablation of smoke on tiny-set\n\n| arm | knn top1, tiny-set | difference |")
    assert f"Differences are to {ARMS[0]}" in page and "Losses of different targets are not comparable" in page
    assert (finished / "ablation-knn.png").read_bytes().startswith(b"\x89PNG")
    assert not list(finished.rglob("*.tmp"))


def test_report_merges_the_seeds(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(finished), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["weights"] for row in rows] == sorted(ARMS)
    assert all(row["cells"]["tiny-set"]["trials"] == 2 for row in rows)


def state(folder: Path) -> dict[str, tuple[int, int]]:
    """Time and size of every file of the runs."""
    files = [path for path in folder.rglob("*") if path.is_file() and "seed=" in str(path)]
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_size) for path in files}


def test_what_is_done_is_not_done_again(
    finished: Path, store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = state(finished)
    monkeypatch.setattr(ablate_module, "train", lambda *args, **kwargs: pytest.fail("trained again"))
    assert main(command(store, finished, "--json")) == 0
    assert json.loads(capsys.readouterr().out)["complete"] and state(finished) == before


def test_one_more_arm_and_seed_go_beside_what_is_there(finished: Path, store: Path, tmp_path: Path) -> None:
    output = shutil.copytree(finished, tmp_path / "out")
    before = state(output)
    grid = ["--vary", "objective.target=joints,motion", "--seeds", "2,0", "--evaluate", "knn"]
    assert main(command(store, output, grid=grid)) == 0
    after = state(output)
    assert {name: after[name] for name in before} == before
    assert any("seed=2" in name for name in after)
    assert [arm["name"] for arm in json.loads((output / "ablation.json").read_text())["arms"]] == ARMS[::-1]


def test_dry_run_says_what_is_left_and_writes_nothing(
    finished: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(store, tmp_path / "new", "--dry-run")) == 0
    text = capsys.readouterr().out
    assert text.count("python -m mamp.train smoke") == 4 == text.count("python -m mamp.evaluate knn")
    assert "4 runs, 0 of them trained already" in text and not (tmp_path / "new").exists()
    assert main(command(store, finished, "--dry-run", "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["finished"] == 4 and found["seconds"] == 0


@pytest.mark.parametrize(
    ("more", "different"), [(["--optim.lr", "0.5"], "optim.lr"), (["--data.split", "none"], "data.split")]
)
def test_folder_of_another_configuration_is_refused_before_anything_runs(
    finished: Path, store: Path, capsys: pytest.CaptureFixture[str], more: list[str], different: str
) -> None:
    before = state(finished)
    assert main(command(store, finished, *more)) == 1
    err = capsys.readouterr().err
    assert f"holds a run of another configuration (different: {different})" in err
    assert "training" not in err and state(finished) == before


def test_folder_of_another_seed_or_other_clips_is_refused(finished: Path, store: Path, tmp_path: Path) -> None:
    output = shutil.copytree(finished, tmp_path / "out")
    shutil.rmtree(output / ARMS[0] / "seed=0")
    (output / ARMS[0] / "seed=1").rename(output / ARMS[0] / "seed=0")
    with pytest.raises(TrainingError, match=r"target=motion/seed=0: .* \(different: run.seed\)"):
        check_folders(plan_of(store, output))
    other = make_store(tmp_path / "other", seed=5, split=["train"] * 15 + ["test"] * 9, label=[0, 1] * 12)
    with pytest.raises(TrainingError, match=r"the clips: .*tiny-set then, .*other now"):
        check_folders(plan_of(other, finished))


def test_one_failing_arm_does_not_lose_the_others(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    grid = ["--vary", "optim.lr=1e30,0.001", "--evaluate", "knn"]
    assert main(command(store, output, "--optim.clip_grad", "none", grid=grid)) == 1
    assert "lr=1e+30, seed 0 (1 of 2): failed: the loss or its gradient is not finite" in capsys.readouterr().err
    found = json.loads((output / "ablation.json").read_text())
    assert [run["state"] for run in found["runs"]] == ["failed", "finished"] and not found["complete"]
    bad, good = found["evaluations"][0]["arms"]
    assert bad["mean"] is None and good["mean"] is not None and good["difference"] is None
    assert any("lr=1e+30, seed 0: the loss or its gradient is not finite" in note for note in found["notes"])
    assert "| lr=1e+30 | - | - |" in (output / "ablation.md").read_text()


def test_an_evaluation_that_fails_loses_neither_the_others_nor_the_run(
    finished: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = shutil.copytree(finished, tmp_path / "out")
    plain = make_store(tmp_path / "no-labels", split=["train"] * 12 + ["test"] * 12)
    assert main(command(store, output, "--eval-data", str(plain), "--eval-data", str(store))) == 1
    assert "knn-no-labels: failed:" in capsys.readouterr().err
    found = json.loads((output / "ablation.json").read_text())
    assert {run["state"] for run in found["runs"]} == {"failed"} and found["runs"][0]["evaluated"] == ["knn"]
    assert [column["name"] for column in found["evaluations"]] == ["knn"]


def test_mistakes_before_anything_runs(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out"
    assert main(command(store, output, "--evaluate", "knm")) == 1
    assert "unknown protocol 'knm'. Did you mean 'knn'" in capsys.readouterr().err
    assert main(command(tmp_path / "absent", output)) == 1
    assert "expected a folder written by python -m mamp.prepare" in capsys.readouterr().err
    assert not output.exists()


def test_encoder_older_than_its_checkpoint_is_not_finished(finished: Path, store: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished, tmp_path / "out") / ARMS[0] / "seed=0"
    exported = run / "encoder" / "model.safetensors"
    expected = exported.read_bytes()
    exported.write_bytes(b"that of an earlier step")
    os.utime(exported, ns=(0, 0))
    assert not is_finished(run)
    assert main(command(store, tmp_path / "out", "--seeds", "0")) == 0
    assert exported.read_bytes() == expected and is_finished(run)


def test_stopped_in_between_goes_on(
    finished: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM in the second run: it is saved, nothing more is started, and the same command ends as if nothing was."""
    output, count = tmp_path / "out", [0]
    step = ablate_module.train.__globals__["Trainer"].train_step

    def stop_once(self: Any, batch: Any) -> Any:
        count[0] += 1
        if count[0] == 9:  # six steps a run
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batch)

    monkeypatch.setattr(ablate_module.train.__globals__["Trainer"], "train_step", stop_once)
    assert main(command(store, output)) == 130
    found = json.loads((output / "ablation.json").read_text())
    assert [run["state"] for run in found["runs"]] == ["finished", "pending", "pending", "pending"]
    assert any("3 of 4 runs are not done yet" in note for note in found["notes"])
    assert 0 < steps_done(output / ARMS[1] / "seed=0") < 6 and not (output / ARMS[0] / "seed=1").exists()
    assert main(command(store, output)) == 0
    assert_same_results(output, finished)


def assert_same_results(output: Path, expected: Path) -> None:
    """Same weights and same predictions in every run."""
    for arm in ARMS:
        for seed in (0, 1):
            here, there = output / arm / f"seed={seed}", expected / arm / f"seed={seed}"
            assert_same(weights(here), weights(there))
            ours, theirs = (Predictions.read(run / "evaluate" / "knn" / "predictions.npz") for run in (here, there))
            np.testing.assert_array_equal(ours.predicted, theirs.predicted)
    ours, theirs = (json.loads((folder / "ablation.json").read_text()) for folder in (output, expected))
    assert ours["evaluations"] == theirs["evaluations"]


@pytest.mark.slow
def test_killed_and_gone_on_with(finished: Path, store: Path, tmp_path: Path) -> None:
    """SIGKILL at moments of several runs; real processes."""
    output = tmp_path / "out"
    words = [sys.executable, "-m", "mamp", *command(store, output)]
    moments = [
        lambda: steps_done(output / ARMS[0] / "seed=0") >= 3,
        lambda: steps_done(output / ARMS[1] / "seed=0") >= 1,
        lambda: (output / ARMS[0] / "seed=1" / "evaluate").exists(),
    ]
    for moment in moments:
        with subprocess.Popen(
            words, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as running:
            while not moment() and running.poll() is None:
                time.sleep(0.002)
            running.kill()
    done = subprocess.run(words, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    assert_same_results(output, finished)
    assert not list(output.rglob("*.tmp"))


def test_notes_of_what_was_seen_and_of_masks_without_motion(store: Path, tmp_path: Path) -> None:
    words = ["--data.split", "none", "--objective.motion_aware_tau", "0"]
    plan = plan_of(store, tmp_path, *words)
    notes = tabulate(plan, [])["notes"]
    assert any("Pre-training saw the test clips too" in note for note in notes)
    assert any("motion_aware_tau is 0, which masks at random" in note for note in notes)


def test_a_readout_is_fitted_and_evaluated(finished: Path, store: Path, tmp_path: Path) -> None:
    output = shutil.copytree(finished, tmp_path / "out")
    for arm in ARMS:
        shutil.rmtree(output / arm / "seed=0" / "evaluate")
    words = command(store, output, "--readout", "8", "--seeds", "0")
    before = state(output)
    assert main(words) == 0
    assert {name: state(output)[name] for name in before} == before  # nothing is trained again
    for arm in ARMS:
        run = output / arm / "seed=0"
        assert MAMPEncoder.from_pretrained(run / "readout").config.readout_dim == 8
        found = json.loads((run / "evaluate" / "knn" / "results.json").read_text())
        assert found["weights"]["config"]["readout_dim"] == 8
    assert any(
        line.startswith("mamp readout")
        for line in plan_of(store, output, "--readout", "8").commands(plan_of(store, output).arms[0], 0)
    )


def test_arms_that_are_not_trained(store: Path, tmp_path: Path) -> None:
    plan = plan_of(store, tmp_path)
    fresh = dataclasses.replace(plan.arms[0], name="before", weights="untrained")
    known = dataclasses.replace(plan.arms[0], name="known", weights="poses")
    outcomes, stopped = run_plan(dataclasses.replace(plan, arms=(known, fresh), seeds=(0,)))
    assert [outcome.state for outcome in outcomes] == ["finished", "finished"] and not stopped
    assert [outcome.evaluations["knn"]["weights"]["kind"] for outcome in outcomes] == ["poses", "pretrained"]
    assert not (plan.folder(fresh, 0) / "run.json").exists()


def test_dry_run_estimates_a_small_run(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Start, checkpoints and evaluation are most of it: what is told is within a factor of what is taken."""
    grid = ["--vary", "objective.mask_ratio=0.5,0.9", "--seeds", "0", "--evaluate", "knn"]
    assert main(command(store, tmp_path / "out", "--dry-run", "--json", grid=grid)) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["not_counted"] == [] and not (tmp_path / "out").exists()
    began = time.perf_counter()
    assert main(command(store, tmp_path / "out", grid=grid)) == 0
    taken = time.perf_counter() - began
    assert taken / 5 < told["seconds"] < 5 * taken


def test_the_page_tells_evaluations_of_one_protocol_apart() -> None:
    arm = {"arm": "base", "mean": 50.0, "std": None, "interval": None, "seeds": [0]}
    base = {"protocol": "knn", "metric": "top1", "data": {"name": "set", "protocol": None}, "arms": [arm]}
    (header, *_) = comparison_table([base | {"name": name} for name in ("knn", "raw")], 1)
    assert header == "| arm | knn top1, set | difference | raw: knn top1, set | difference |"
    assert pictures(["ablation-set raw.png"]) == ["\n![ablation-set raw](ablation-set%20raw.png)"]
