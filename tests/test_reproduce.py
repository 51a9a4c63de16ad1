"""``mamp reproduce``: stages, configurations and page, from a made-up archive whose labels can be learned."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from prepare_helpers import write_acted_archive
from test_prepare_pku import write_raw as write_pku

from mamp.cli import main
from mamp.errors import ConfigError, MissingFileError
from mamp.masking import num_kept
from mamp.prepare.build import Settings, prepare
from mamp.reproduce.cost import costs, evaluation_cost
from mamp.reproduce.page import page
from mamp.reproduce.paper import BENCHMARKS, EVALUATIONS, PAPER
from mamp.reproduce.plan import RECORD, Counts, Plan, Stage
from mamp.reproduce.run import PAGE, reproduce
from mamp.train.config import TrainConfig
from mamp.train.recipes import get_recipe

DOCS = Path(__file__).resolve().parents[1] / "docs" / "reproduce.md"
NAMES = ["store", "xsub/pretrain", *(f"xsub/{name}" for name in EVALUATIONS)]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """36 files: four actions, three subjects of whom one is for testing, three cameras."""
    return write_acted_archive(tmp_path / "raw")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Steps this small are slower on two."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def command(raw: Path, output: Path) -> list[str]:
    return ["reproduce", "ntu60", "--raw", str(raw), "--output", str(output), "--splits", "xsub", "--budget", "0.01"]


def killed_before(stage: str, arguments: list[str]) -> None:
    """Run the command in a process of its own, and kill it when it says that a stage begins."""
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    words = [sys.executable, "-m", "mamp", *arguments]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=env)
    assert process.stderr is not None
    for line in process.stderr:
        if re.search(rf"stage \d+ of \d+, {re.escape(stage)}$", line.strip()):
            process.send_signal(signal.SIGKILL)
            break
    process.stderr.close()
    assert process.wait() == -signal.SIGKILL, "it ended before that stage"


def test_small_reproduction_after_a_kill(
    raw: Path, tmp_path: Path, one_thread: None, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    killed_before("xsub/linear", command(raw, output))
    assert list(json.loads((output / RECORD).read_text())["stages"]) == NAMES[:2]
    made = [output / "store" / "positions.bin", output / "xsub" / "pretrain" / "encoder" / "model.safetensors"]
    before = [path.stat().st_mtime_ns for path in made]

    assert main(command(raw, output)) == 0
    told = capsys.readouterr()
    assert re.findall(r", (\S+): done before", told.err) == NAMES[:2]
    assert [path.stat().st_mtime_ns for path in made] == before
    assert list(json.loads((output / RECORD).read_text())["stages"]) == NAMES

    text = (output / PAGE).read_text()
    assert text in told.out and "says nothing" not in text and "**Budget 0.01**" in text
    rows = [row.split(" | ") for row in text.splitlines() if row.startswith("| xsub")]
    assert [float(row[2]) for row in rows] == list(PAPER["ntu60", "xsub"].values())
    ours = {one: float(row[4].split(" ")[0]) for one, row in zip(EVALUATIONS, rows, strict=True)}
    assert min(ours["linear"], ours["finetune"], ours["knn"]) >= 50, ours  # of four classes

    assert main([*command(raw, output), "--json"]) == 0, "all is done"
    assert list(json.loads(capsys.readouterr().out)["stages"]) == NAMES
    assert main([*command(raw, output), "--dry-run", "--json"]) == 0
    assert all(stage["done"] for stage in json.loads(capsys.readouterr().out)["stages"])
    assert main([*command(raw, output), "--budget", "0.02"]) == 1
    assert "different: budget" in capsys.readouterr().err


def test_commands_of_the_plan_are_the_published_ones() -> None:
    plan = Plan("ntu60", Path("raw"), Path("out"))
    stages = plan.stages()
    assert [stage.name for stage in stages][:7] == NAMES and len(stages) == 13
    for split in ("xsub", "xview"):
        assert plan.training(split) == get_recipe(f"ntu60-{split}").config
    commands = [plan.command(stage) for stage in stages]
    assert commands[0] == "python -m mamp.prepare ntu60 raw out/store"
    assert commands[1] == "python -m mamp.train ntu60-xsub --data out/store --output out/xsub/pretrain"
    assert commands[4] == (
        "python -m mamp.evaluate semi --recipe ntu60-xsub --weights out/xsub/pretrain --data out/store "
        "--output out/xsub/semi-1 --share 0.01"
    )
    assert commands[6].startswith("python -m mamp.evaluate knn --split-protocol xsub")
    assert not any("--epochs" in one or "--lr" in one for one in commands)


def test_batch_norm_spans_all_processes_where_one_has_fewer_clips_than_published() -> None:
    alone, two, eight = (Plan("ntu60", Path("raw"), Path("out"), processes=number) for number in (1, 2, 8))
    linear = alone.stages()[2]
    assert alone.overrides(linear) == two.overrides(linear) == {}
    assert eight.overrides(linear) == {"norm_clips": "none"}
    assert "--recipe ntu60-xsub" in eight.command(linear) and eight.command(linear).endswith("--norm_clips none")


def test_dry_run_says_what_each_stage_takes(raw: Path, tmp_path: Path, one_thread: None) -> None:
    plan = Plan("ntu60", raw, tmp_path / "out", ("xsub",), 0.01)
    assert plan.counts("xsub") == (24, 12, 4)
    found = costs(plan)
    assert [cost.stage for cost in found] == NAMES and not (tmp_path / "out").exists()
    assert all(cost.seconds is not None and cost.seconds >= 0 and not cost.done for cost in found)
    prepare(plan.dataset, tmp_path / "store", Settings(workers=1))
    from_store = Plan("ntu60", None, tmp_path / "out", ("xsub",), 0.01, prepared=tmp_path / "store")
    assert [stage.name for stage in from_store.stages()] == NAMES[1:]
    assert from_store.counts("xsub") == plan.counts("xsub")
    assert found[0].disk == pytest.approx(36 * 43 * 25 * 3 * 4, rel=0.1)


def test_mistakes(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown benchmark 'ntu6'.*ntu60"):
        Plan("ntu6", raw, tmp_path)
    with pytest.raises(ConfigError, match="ntu60 has xsub, xview; found xset"):
        Plan("ntu60", raw, tmp_path, ("xset",))
    with pytest.raises(ConfigError, match="budget: expected a share above 0 and up to 1, found 2"):
        Plan("ntu60", raw, tmp_path, budget=2)
    with pytest.raises(ConfigError, match="raw files or a prepared store"):
        Plan("ntu60", None, tmp_path)
    with pytest.raises(MissingFileError):
        reproduce(Plan("ntu60", tmp_path / "nothing", tmp_path / "out"))


def test_page_compares_the_best_epoch_with_the_paper() -> None:
    plan = Plan("ntu60", Path("raw"), Path("out"), ("xsub",))
    result = {
        "headline": {"mean": 84.0, "interval": [83.5, 84.5]},
        "best": {"mean": 84.6},
        "device": "cpu",
        "environment": {"torch": "2"},
    }
    text = page(plan, {"xsub/linear": result}, {"store": 60.0, "xsub/linear": 7200.0})
    assert "| xsub | linear | 84.9 | 85.0 | 84.0 [83.5, 84.5] | 84.6 | -0.3 | 2.0 h |" in text
    assert "| xsub | 1-NN | 62.0 |  |  |  |  |  |" in text
    assert "Budget" not in text and plan.command(Stage("store")) in text


def flops(config: TrainConfig) -> tuple[float, float, float]:
    """Floating-point operations of a clip of two people: to pre-train on it, to encode it, to fine-tune on it.

    Products of matrices only, two operations for each multiplication; a backward pass counts as two forward passes.
    """
    encoder, objective = config.encoder, config.objective
    tokens, people = encoder.num_tokens, encoder.preprocessing.max_people or 1

    def blocks(count: int, rows: int, width: int) -> float:
        return count * (24.0 * rows * width**2 + 4.0 * rows**2 * width)

    kept = num_kept(tokens, objective.mask_ratio)
    whole = people * blocks(encoder.depth, tokens, encoder.dim_feat)
    visible = people * blocks(encoder.depth, kept, encoder.dim_feat)
    decoder = people * blocks(objective.decoder_depth, tokens, objective.decoder_dim_feat)
    return 3 * (visible + decoder), whole, 3 * whole


def published_operations(plan: Plan, stage: Stage) -> float:
    """Floating-point operations of a stage on the official splits."""
    assert stage.split is not None
    official = plan.benchmark.splits[stage.split]
    assert official is not None
    train, test = official
    config = plan.training(stage.split)
    pretrain, encode, finetune = flops(config)
    if stage.evaluation is None:
        return config.optim.epochs * train * pretrain
    return evaluation_cost(plan, stage, Counts(train, test, 0), encode, finetune)


def test_docs_have_the_numbers_and_the_hours_that_follow_from_the_operations() -> None:
    text = DOCS.read_text(encoding="utf-8")
    known = published_operations(Plan("ntu60", Path("raw"), Path("out")), Stage("xsub/pretrain", "xsub")) / (
        20 + 27 / 60
    )
    for name in ("ntu60", "ntu120"):
        benchmark = BENCHMARKS[name]
        plan = Plan(name, Path("raw"), Path("out"))
        pretrain, encode, _ = flops(plan.training("xsub"))
        assert encode == pytest.approx(28.3e9, rel=0.01) and pretrain < 3 * encode  # the paper's inference cost
        for split in benchmark.splits:
            numbers = " | ".join(str(value) for value in PAPER[name, split].values())
            assert f"| `{name}` {split} | {numbers} |" in text
        for stage in plan.stages()[1:]:
            title = "pre-training" if stage.evaluation is None else stage.evaluation.title
            work = published_operations(plan, stage)
            hours = f"{work / known:.1f} | {work / known / 8:.1f}"
            assert f"| `{name}` {stage.split} | {title} | {work:.2g} | {hours} |" in text
    plan = Plan("ntu60", Path("nturgbd_skeletons_s001_to_s017.zip"), Path("reproduction"), ("xsub",))
    assert "\n".join(map(plan.command, plan.stages())) in text


def test_pku_is_evaluated_as_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = write_pku(tmp_path / "raw")
    plan = Plan("pku2", raw, tmp_path / "out")
    assert [stage.name for stage in plan.stages()] == ["store", "xsub/pretrain", "xsub/linear"]
    before = plan.counts("xsub")
    prepare(plan.dataset, plan.store, Settings(workers=1))
    assert before.train == 8 and plan.counts("xsub").train == 6, "two of the labelled intervals are empty"
    assert "linear --recipe pku2-xsub" in plan.command(plan.stages()[-1])
    monkeypatch.setattr(Plan, "counts", lambda plan, split: Counts(1280, 100, 51))
    config = plan.training("xsub")
    assert (config.optim.epochs, config.run.stop_after) == (400, 301 * 10), (
        "the checkpoint of epoch 300, counted from 0"
    )


@pytest.mark.slow
def test_two_processes(raw: Path, tmp_path: Path) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "mamp"]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launch, *command(raw, tmp_path / "out")], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-6000:]
    assert done.stdout.count("the paper and this run") == 1
    assert list(json.loads((tmp_path / "out" / RECORD).read_text())["stages"]) == NAMES
