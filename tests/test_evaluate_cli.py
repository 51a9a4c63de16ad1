"""``python -m mamp.evaluate``: from names to results, in one process or two, and what it says to mistakes."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from evaluate_helpers import CLASSES, ROOT, count_encodings, environment, make_store, make_weights
from train_helpers import free_port

import mamp.evaluate.runner as runner
from mamp import MAMPEncoder
from mamp.data import ClipStore
from mamp.errors import ConfigError, DataError
from mamp.evaluate import features, knn
from mamp.evaluate.cli import main
from mamp.evaluate.registry import PROTOCOLS
from mamp.evaluate.result import read_results
from mamp.evaluate.runner import evaluate
from mamp.hub import fingerprint
from mamp.options import settings
from mamp.train.loop import StoppedError

TINY = ("--encoder.dim_feat", "16", "--encoder.depth", "1", "--encoder.num_heads", "2", "--encoder.num_frames", "16")
FROZEN = ("logistic", "knn", "fewshot", "cluster")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("data") / "store", per_class=9)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_weights(tmp_path_factory.mktemp("weights") / "tiny")


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are slow, and have tests of their own."""
    monkeypatch.setattr("mamp.evaluate.result._draw", lambda *_: [])


def run(protocol: str, weights: Path | str, data: Path, output: Path, *more: str) -> int:
    return main([protocol, "--weights", str(weights), "--data", str(data), "--output", str(output), *more])


# ---- results


@pytest.mark.parametrize("protocol", FROZEN)
def test_protocols_on_frozen_features(
    store: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], protocol: str
) -> None:
    output = tmp_path / protocol
    more = ("--shots", "1,2", "--episodes", "20") if protocol == "fewshot" else ()
    assert run(protocol, weights, store, output, "--json", *more) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == read_results(output) and found["protocol"] == protocol
    assert found["weights"]["fingerprint"] == fingerprint(MAMPEncoder.from_pretrained(weights))
    data = found["data"]
    assert data["sha256"] == ClipStore(store).info["sha256"] and data["classes"] == CLASSES
    assert (data["train_clips"], data["test_clips"]) == (18, 9) and found["trials"][0]["test_clips"] == 9
    names = {
        "logistic": ["top1", "mean_class"],
        "knn": ["top1", "mean_class", "map", "recall@1", "recall@5", "recall@10"],
        "fewshot": ["1-shot", "2-shot", "1-shot std", "2-shot std"],
        "cluster": ["nmi", "ari"],
    }[protocol]
    assert list(found["metrics"]) == names and found["headline"]["metric"] == names[0]
    assert all(0 <= found["metrics"][name]["mean"] <= 100 for name in names[:2])
    if protocol == "fewshot":
        low, high = found["headline"]["interval"]
        assert low < found["headline"]["mean"] < high and found["headline"]["interval_over"] == "episodes"
        assert found["settings"]["shots"] == [1, 2] and found["settings"]["episodes"] == 20
    assert str(tmp_path) not in json.dumps({**found, "arguments": [], "environment": {}})
    # In words, and without doing anything again.
    assert run(protocol, weights, store, output, *more) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"{protocol}, {weights.parent.name}/tiny on swings: {names[0]} ")
    assert said[-1] == f"results: {output}"


def test_poses_and_fresh_weights(store: Path, tmp_path: Path) -> None:
    found = evaluate("logistic", "poses", store, tmp_path / "poses")
    assert found["weights"]["kind"] == "poses" and found["headline"]["mean"] == 100  # classes that poses tell apart
    changed = {"dim_feat": 16, "depth": 1, "num_heads": 2, "num_frames": 16}
    fresh = evaluate("knn", "untrained", store, tmp_path / "fresh", (0, 1, 2), encoder_overrides=changed)
    assert [trial["seed"] for trial in fresh["trials"]] == [0, 1, 2] and fresh["headline"]["std"] is not None
    assert fresh["weights"]["config"]["dim_feat"] == 16 and fresh["weights"]["fingerprint"] is None


def test_finished_evaluation_is_not_done_again(
    store: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = evaluate("knn", str(weights), store, tmp_path / "run")
    stamp = (tmp_path / "run" / "results.json").stat().st_mtime_ns
    other_name = make_weights(tmp_path / "other-name")

    def never(*_: Any) -> Any:
        raise AssertionError("done again")

    with monkeypatch.context() as patch:
        patch.setattr(runner, "write_result", never)
        assert evaluate("knn", str(other_name), store, tmp_path / "run") == first
    assert (tmp_path / "run" / "results.json").stat().st_mtime_ns == stamp


def test_seeds_may_be_added(store: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {"overrides": {"shots": "1", "episodes": "10"}}
    first = evaluate("fewshot", str(weights), store, tmp_path / "run", (0,), **few)  # type: ignore[arg-type]
    with monkeypatch.context() as patch:  # killed before it is written: results of other seeds must not stay
        patch.setattr(runner, "write_result", lambda *_: sys.exit(9))
        with pytest.raises(SystemExit):
            evaluate("fewshot", str(weights), store, tmp_path / "run", (0, 1), **few)  # type: ignore[arg-type]
    assert not (tmp_path / "run" / "results.json").exists()
    both = evaluate("fewshot", str(weights), store, tmp_path / "run", (0, 1), **few)  # type: ignore[arg-type]
    assert both["trials"][0]["metrics"] == first["trials"][0]["metrics"] and len(both["trials"]) == 2


def test_weights_and_store_are_opened_once(
    store: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = {"weights": 0, "store": 0}
    load, init = MAMPEncoder.from_pretrained.__func__, ClipStore.__init__

    def count_weights(cls: Any, *args: Any, **options: Any) -> Any:
        opened["weights"] += 1
        return load(cls, *args, **options)

    def count_store(self: Any, *args: Any, **options: Any) -> None:
        opened["store"] += 1
        init(self, *args, **options)

    monkeypatch.setattr(MAMPEncoder, "from_pretrained", classmethod(count_weights))
    monkeypatch.setattr(ClipStore, "__init__", count_store)
    evaluate("knn", str(weights), store, tmp_path / "run")
    assert opened == {"weights": 1, "store": 1}


def test_other_settings_do_not_go_on(store: Path, weights: Path, tmp_path: Path) -> None:
    before = evaluate("knn", str(weights), store, tmp_path / "run")
    others: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
        ("settings.k", ("knn", str(weights), store), {"overrides": {"k": "2"}}),
        ("protocol", ("cluster", str(weights), store), {}),
        ("weights.fingerprint", ("knn", str(make_weights(tmp_path / "w", seed=1)), store), {}),
        ("data.sha256", ("knn", str(weights), make_store(tmp_path / "s", per_class=9, seed=1)), {}),
        ("weights.kind", ("knn", "poses", store), {}),
    ]
    for name, (protocol, source, data), more in others:
        with pytest.raises(ConfigError, match=f"holds another evaluation .different.*{name}"):
            evaluate(protocol, source, data, tmp_path / "run", **more)
    assert read_results(tmp_path / "run") == before
    (tmp_path / "run" / "evaluation.json").unlink()
    with pytest.raises(ConfigError, match="holds other results"):
        evaluate("knn", str(weights), store, tmp_path / "run")
    (tmp_path / "run" / "evaluation.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        evaluate("knn", str(weights), store, tmp_path / "run")


def test_stopped_evaluation_writes_no_result(
    store: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(job: Any) -> Any:
        raise StoppedError("stopped at step 7 of 8; the same command goes on.")

    monkeypatch.setitem(PROTOCOLS, "knn", dataclasses.replace(PROTOCOLS["knn"], run=stop))
    assert run("knn", weights, store, tmp_path / "run") == 0
    assert capsys.readouterr().err == "python -m mamp.evaluate: stopped at step 7 of 8; the same command goes on.\n"
    assert not (tmp_path / "run" / "results.json").exists()

    def interrupt(job: Any) -> Any:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        stop(job)

    monkeypatch.setitem(PROTOCOLS, "knn", dataclasses.replace(PROTOCOLS["knn"], run=interrupt))
    assert run("knn", weights, store, tmp_path / "run") == 130


# ---- processes


def start(arguments: list[str], **more: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "tests" / "evaluate_helpers.py"), *arguments]
    return subprocess.Popen(command, env=environment(**more), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_two_processes_give_what_one_gives(store: Path, weights: Path, tmp_path: Path) -> None:
    words = ["knn", "--weights", str(weights), "--data", str(store), "--device", "cpu", "--json"]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    two = [start([*words, "--output", str(tmp_path / "two" / "run")], RANK=rank, **shared) for rank in "01"]
    answers = [process.communicate(timeout=300) for process in two]
    assert [process.returncode for process in two] == [0, 0], answers
    assert answers[1] == ("", "") and json.loads(answers[0][0]) == read_results(tmp_path / "two" / "run")
    one = evaluate("knn", str(weights), store, tmp_path / "one" / "run")
    found = read_results(tmp_path / "two" / "run")
    assert found["trials"] == one["trials"] and found["headline"] == one["headline"]
    extracted = [np.load(next((tmp_path / name / "features").glob("*.npy"))) for name in ("one", "two")]
    assert extracted[0] == pytest.approx(extracted[1], abs=1e-6)  # batches of 32 and of 2
    with np.load(tmp_path / "two" / "run" / "seed=0" / "trial.npz") as trial:
        clips = trial["clips"].tolist()
    assert len(clips) == len(set(clips)) == 9


@pytest.mark.slow
def test_killed_evaluation_goes_on(store: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL after the first part of the features was written."""
    output, parts = tmp_path / "run", tmp_path / "features"
    words = ["knn", "--weights", str(weights), "--data", str(store), "--output", str(output), "--device", "cpu"]
    with start(words) as process:
        end = time.monotonic() + 300
        while not list(parts.glob("*/*.npy")) and process.poll() is None and time.monotonic() < end:
            time.sleep(0.001)
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    done = [len(np.load(path)) for path in parts.glob("*/*[0-9].npy")] or [27]  # all, on a machine that is very fast
    monkeypatch.setattr(features, "BATCH", 2)
    monkeypatch.setattr(features, "PART", 4)
    counted = count_encodings(monkeypatch)
    found = evaluate("knn", str(weights), store, output)
    assert sum(done) >= 4 and sum(counted) == 27 - sum(done)
    assert found["trials"] == evaluate("knn", str(weights), store, tmp_path / "elsewhere" / "run")["trials"]
    assert sum(counted) == 2 * 27 - sum(done)
    assert sorted(path.suffix for path in parts.iterdir()) == [".json", ".npy"]


# ---- the command line


def test_lists_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    said = capsys.readouterr().out
    assert all(f"{name}\n    {protocol.description}" in said for name, protocol in PROTOCOLS.items())
    assert main(["--list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["protocols"]
    assert [row["name"] for row in listed] == list(PROTOCOLS) and {*FROZEN} <= {
        row["name"] for row in listed if row["poses"]
    }
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert "torchrun" in said and "untrained:NAME" in said and "fewshot" in said and "--k " not in said
    for words in (["knn", "--help"], ["-h", "--data", "x", "knn"]):
        assert main(words) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert "--k K" in said and "Neighbours that vote" in said and "[cosine]" in said and "clip+std" in said
        assert "--encoder.dim_feat" in said and "[that of the weights]" in said


@pytest.mark.parametrize("protocol", list(PROTOCOLS))
def test_every_protocol_has_help_for_every_field(protocol: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([protocol, "--help"]) == 0
    said = capsys.readouterr().out
    assert PROTOCOLS[protocol].description and PROTOCOLS[protocol].source
    assert said.startswith("usage: python -m mamp.evaluate PROTOCOL")
    fields = settings(PROTOCOLS[protocol].config)
    assert fields and not [field.name for field in fields if not field.help or f"--{field.name} " not in said]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name a protocol: "),
        (["--weights", "openmocap"], "name a protocol: "),
        (["knm", "--data", "x"], "unknown protocol 'knm'. Did you mean 'knn'?"),
        (["knn"], "knn needs --weights NAME and --data DIR and --output DIR."),
        (["knn", "--weights", "w", "--data", "d"], "knn needs --output DIR."),
        (["knn", "--neighbours", "3"], "knn has no option --neighbours."),
        (["knn", "--episodes", "3"], "knn has no option --episodes."),
        (["knn", "--wieghts", "3"], "Did you mean --weights?"),
        (["knn", "--k", "three"], "k: expected a whole number, found 'three'."),
        (["knn", "--k", "0"], "k: expected at least 1, found 0."),
        (["knn", "--metric", "cos"], "metric: expected one of cosine, euclidean, found 'cos'."),
        (["knn", "--encoder.depth", "deep"], "encoder.depth: expected a whole number, found 'deep'."),
        (["knn", "--seeds", "a"], "argument --seeds: expected whole numbers separated by commas, found 'a'"),
        (["knn", "cluster"], "one protocol at a time; found knn, cluster."),
        (["cluster", "--clips", "train"], "clips: expected one of test, all, found 'train'."),
    ],
)
def test_wrong_usage(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    said = capsys.readouterr()
    assert message in said.err and said.err.count("\n") == 1 and not said.out


@pytest.mark.parametrize(
    ("changes", "more", "message"),
    [
        ({}, ("--weights", "nowhere/at-all/here"), "nowhere/at-all/here"),
        ({}, ("--weights", "poses", "--encoder.depth", "1"), "only random weights can have another one"),
        ({}, ("--device", "nonsense"), "--device: 'nonsense' cannot be used here"),
        ({}, ("--seeds", "1,1"), "seeds: expected different whole numbers"),
        ({}, ("--split-protocol", "xsub"), "the clips have no column 'split_xsub'"),
        ({}, ("--data", "nowhere"), "nowhere: expected a folder written by python -m mamp.prepare"),
        ({"without": ("label",)}, (), "expected a column 'label'"),
        ({"labels": [0, 0, 0], "split": ["train", "test", "test"]}, (), "at least two classes"),
        ({"labels": [0, 1, 2], "split": ["train", "train", "test"]}, (), "needs training clips; none for 'legs'"),
        ({"layout": "kinect20"}, (), "the weights expect the layout ntu25, the clips have kinect20"),
    ],
)
def test_mistakes_are_told_in_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    more: tuple[str, ...],
    message: str,
) -> None:
    data = make_store(tmp_path / "store", per_class=3, **changes)
    assert run("knn", "poses", data, tmp_path / "run", *more) == 1
    said = capsys.readouterr()
    assert message in said.err and said.err.count("\n") == 1 and said.err.startswith("python -m mamp.evaluate: error: ")
    assert not said.out and not (tmp_path / "run").exists()


def test_poses_are_for_frozen_features(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("linear", "poses", store, tmp_path / "run") == 1
    assert "linear: expected weights of an encoder, found 'poses'" in capsys.readouterr().err


def test_output_that_cannot_be_written(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("kept")
    assert run("knn", "poses", store, tmp_path / "file") == 1
    said = capsys.readouterr().err
    assert "cannot" in said and said.count("\n") == 1 and (tmp_path / "file").read_text() == "kept"


def test_words_in_any_order(store: Path, tmp_path: Path) -> None:
    words = [
        "--weights",
        "untrained",
        *TINY,
        "--data",
        str(store),
        "--k",
        "2",
        "knn",
        "--output",
        str(tmp_path / "knn"),
    ]
    assert main(words) == 0
    assert read_results(tmp_path / "knn")["settings"]["k"] == 2 and knn.PROTOCOL.config.k == 1
    assert read_results(tmp_path / "knn")["weights"]["config"]["depth"] == 1
