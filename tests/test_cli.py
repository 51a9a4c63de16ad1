"""The command line, run as a user runs it, on weights drawn at random."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mamp
from mamp import MAMPConfig, MAMPEncoder, load
from mamp.cli import main
from mamp.cli.demo import nearest_neighbours
from mamp.cli.main import COMMANDS, build_parser, load_command
from mamp.hub import fingerprint
from mamp.pretraining import MAMPForPretraining
from mamp.synthetic import write_recordings

WIDTH = 16
CONFIG = MAMPConfig(dim_feat=WIDTH, depth=1, num_heads=2)
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights") / "tiny"
    MAMPEncoder(CONFIG).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def encoder(weights: Path) -> MAMPEncoder:
    return MAMPEncoder.from_pretrained(weights)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("recordings")
    paths = write_recordings(folder, variations=1, seconds=1.0, actions=["walk", "bow", "kick"])
    longer = write_recordings(folder / "longer", variations=1, seconds=1.5, actions=["run"])
    return [*paths, *longer]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*args: object) -> tuple[int, str, str]:
        status = main([str(arg) for arg in args])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def one_line(text: str) -> str:
    """The text, which must be one line and no traceback."""
    assert text.endswith("\n") and text.count("\n") == 1 and "Traceback" not in text, text
    return text.rstrip()


def test_help_of_every_command_has_an_example_that_parses(run: Run) -> None:
    status, out, _ = run("--help")
    assert status == 0
    for name, (_, text) in COMMANDS.items():
        assert name in out and text in out
        command = load_command(name)
        status, text, _ = run(name, "--help")
        assert status == 0 and "--json" in text
        assert f"\n  {command.EXAMPLE}\n" in text
        program, *words = command.EXAMPLE.split()
        assert program == "mamp" and words[0] == name
        if not hasattr(command, "main"):  # else it has a parser of its own, and tests of its own
            assert build_parser(name).parse_args(words).command == name


def test_version_and_wrong_usage(run: Run) -> None:
    assert run("--version")[:2] == (0, f"mamp {mamp.__version__}\n")
    status, out, err = run()
    assert (status, out) == (2, "") and "embed" in err
    for wrong in (
        ["embod"],
        ["embed", "a.bvh"],
        ["embed", "-o", "x.npz"],
        ["embed", "a", "-o", "b", "--batch-size", "0"],
    ):
        status, out, err = run(*wrong)
        assert (status, out) == (2, "") and "error:" in err


def test_python_dash_m() -> None:
    done = subprocess.run([sys.executable, "-m", "mamp", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"mamp {mamp.__version__}\n"


def test_embed_gives_what_encode_gives(
    run: Run, weights: Path, encoder: MAMPEncoder, recordings: list[Path], tmp_path: Path
) -> None:
    output = tmp_path / "out.npz"
    status, out, err = run("embed", *recordings, "-o", output, "--weights", weights, "--unit", "cm", "--batch-size", 3)
    assert (status, err) == (0, "")
    assert out == f"{output}: 4 recordings, embeddings [4, {WIDTH}], pool clip, weights {weights}\n"
    with np.load(output) as archive:
        arrays = dict(archive)
    assert sorted(arrays) == ["embeddings", "files", "fingerprint", "pool", "weights"]
    expected = encoder.encode([load(path, unit="cm") for path in recordings])
    np.testing.assert_allclose(arrays["embeddings"], expected, atol=1e-6)
    assert arrays["embeddings"].dtype == np.float32 and arrays["embeddings"].std(axis=0).max() > 1e-3
    assert arrays["files"].tolist() == [str(path) for path in recordings]
    assert (arrays["weights"], arrays["fingerprint"], arrays["pool"]) == (str(weights), fingerprint(encoder), "clip")
    assert [path.name for path in tmp_path.iterdir()] == ["out.npz"]


@pytest.mark.parametrize("pool", ["person", "frame"])
def test_embed_of_pools_of_different_sizes(
    pool: Any, run: Run, weights: Path, encoder: MAMPEncoder, recordings: list[Path], tmp_path: Path
) -> None:
    output = tmp_path / "out.npz"
    args = ("embed", *recordings, "-o", output, "--weights", weights, "--unit", 0.01, "--pool", pool, "--json")
    status, out, err = run(*args)
    assert (status, err) == (0, "")
    archive = np.load(output)
    offsets, embeddings = archive["offsets"], archive["embeddings"]
    assert json.loads(out)["shape"] == list(embeddings.shape)
    assert offsets[0] == 0 and offsets[-1] == len(embeddings) and len(offsets) == len(recordings) + 1
    for i, path in enumerate(recordings):
        expected = encoder.encode(load(path, unit="cm"), pool=pool)
        np.testing.assert_allclose(embeddings[offsets[i] : offsets[i + 1]], expected, atol=1e-6)
    if pool == "frame":
        assert np.diff(offsets).tolist() == [30, 30, 30, 45]


def test_embed_by_joint(run: Run, weights: Path, recordings: list[Path], tmp_path: Path) -> None:
    output = tmp_path / "out.npz"
    assert run("embed", *recordings, "-o", output, "--weights", weights, "--pool", "joint")[0] == 0
    archive = np.load(output)
    assert archive["embeddings"].shape == (4, 25, WIDTH) and "offsets" not in archive


def test_embed_by_window(run: Run, weights: Path, encoder: MAMPEncoder, recordings: list[Path], tmp_path: Path) -> None:
    output = tmp_path / "out.npz"
    cut = ("--window", 12, "--stride", 6)
    status, _, err = run("embed", *recordings, "-o", output, "--weights", weights, "--unit", 0.01, *cut)
    assert (status, err) == (0, "")
    archive = np.load(output)
    assert np.diff(archive["offsets"]).tolist() == [4, 4, 4, 7], "30 and 45 frames"
    expected = encoder.encode(load(recordings[3], unit="cm"), window=12, stride=6)
    np.testing.assert_allclose(archive["embeddings"][archive["offsets"][3] :], expected, atol=1e-6)
    output.unlink()
    status, _, err = run("embed", *recordings, "-o", output, "--weights", weights, "--stride", 6)
    assert status == 1 and "expected a window" in err and not output.exists()


def test_bad_files_are_named_and_the_good_ones_written(
    run: Run, weights: Path, encoder: MAMPEncoder, recordings: list[Path], tmp_path: Path
) -> None:
    cut = tmp_path / "cut.bvh"
    cut.write_text(recordings[0].read_text()[:3000])
    odd = tmp_path / "notes.docx"
    odd.write_text("no recording")
    files = [cut, recordings[0], tmp_path / "missing.bvh", odd, recordings[1]]
    output = tmp_path / "out.npz"
    args = ("embed", *files, "-o", output, "--weights", weights, "--unit", "cm", "--json")
    status, out, err = run(*args)
    assert status == 1
    lines = err.splitlines()
    assert len(lines) == 3 and all(line.startswith("mamp embed: ") for line in lines), err
    result = json.loads(out)
    for line, bad, failed in zip(lines, (cut, files[2], odd), result["failed"], strict=True):
        assert str(bad) in line and failed["file"] == str(bad) and failed["error"]
    archive = np.load(output)
    assert archive["files"].tolist() == result["files"] == [str(recordings[0]), str(recordings[1])]
    expected = encoder.encode([load(path, unit="cm") for path in recordings[:2]])
    np.testing.assert_allclose(archive["embeddings"], expected, atol=1e-6)


def test_strict_and_nothing_good_write_nothing(run: Run, weights: Path, recordings: list[Path], tmp_path: Path) -> None:
    output = tmp_path / "out.npz"
    output.write_bytes(b"what was there before")
    common = ("-o", output, "--weights", weights, "--unit", "cm")
    for args in (["embed", recordings[0], "nothing.bvh", *common, "--strict"], ["embed", "nothing.bvh", *common]):
        status, out, err = run(*args)
        assert (status, out) == (1, "")
        assert "nothing.bvh" in err.splitlines()[0] and "was not written" in err.splitlines()[1]
        assert output.read_bytes() == b"what was there before"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_recording_that_reads_but_cannot_be_embedded(
    run: Run, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mamp.layouts.layout.REGISTRY", dict(mamp.layouts.layout.REGISTRY))
    mamp.register_layout("two", ["head", "hat"], {"head": "head"})
    seen = np.random.default_rng(0).normal(size=(1, 20, 2, 3)).astype(np.float32)
    unseen = seen.copy()
    unseen[:, :, 0] = np.nan  # only the hat, of which the model knows nothing
    files = []
    for name, positions in (("a", seen), ("b", unseen), ("c", seen + 1)):
        files.append(tmp_path / f"{name}.npy")
        np.save(files[-1], positions)
    output = tmp_path / "out.npz"
    reading = ("--layout", "two", "--fps", 30, "--unit", "m", "--up", "y")
    status, _, err = run("embed", *files, "-o", output, "--weights", weights, *reading)
    assert status == 1 and "b.npy" in one_line(err)
    assert np.load(output)["files"].tolist() == [str(files[0]), str(files[2])]


def test_failing_to_write_leaves_what_was_there(
    run: Run, weights: Path, recordings: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out.npz"
    output.write_bytes(b"before")

    def full_disk(file: Any, **arrays: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full_disk)
    status, out, err = run("embed", recordings[0], "-o", output, "--weights", weights, "--unit", "cm")
    assert (status, out) == (1, "") and "No space left on device" in one_line(err)
    assert output.read_bytes() == b"before" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["embed", "{walk}", "-o", "{tmp}/no/x.npz", "--weights", "{weights}"], "no does not exist"),
        (["embed", "{walk}", "-o", "{tmp}", "--weights", "{weights}"], "found a folder"),
        (["embed", "{walk}", "-o", "{tmp}/x.npz", "--weights", "openmocop"], "Did you mean 'openmocap'"),
        (["embed", "{walk}", "-o", "{tmp}/x.npz", "--weights", "{weights}", "--device", "tpu9"], "--device tpu9"),
        (["info", "{tmp}/missing.bvh"], "missing.bvh"),
        (["info", "ntu06"], "Did you mean 'ntu60'"),
        (["info", "{tmp}"], "config.json"),
        (["info", "{walk}", "--unit", "furlong"], "furlong"),
        (["convert", "{walk}", "{tmp}/out"], "expected a torch checkpoint"),
        (["demo", "--weights", "openmocop"], "Did you mean 'openmocap'"),
    ],
)
def test_mistakes_are_one_line_and_status_1(
    args: list[str], says: str, run: Run, weights: Path, recordings: list[Path], tmp_path: Path
) -> None:
    names = {"walk": recordings[0], "tmp": tmp_path, "weights": weights}
    status, out, err = run(*(arg.format(**names) for arg in args))
    assert (status, out) == (1, "")
    assert says in err and "Traceback" not in err and err.startswith(f"mamp {args[0]}: ")
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback(run: Run) -> None:
    status, _, err = run("info", "nowhere.bvh", "--debug")
    assert status == 1 and "Traceback" in err and err.splitlines()[-1].startswith("mamp info: error: nowhere.bvh")


def test_warnings_of_one_kind_are_counted(run: Run, weights: Path, recordings: list[Path], tmp_path: Path) -> None:
    handlers = list(logging.getLogger("mamp").handlers)
    args = ("embed", *recordings, "-o", tmp_path / "out.npz", "--weights", weights)  # BVH does not say its unit
    status, _, err = run(*args)
    lines = err.splitlines()
    assert status == 0 and len(lines) == 2
    assert "unit" in lines[0] and lines[1].startswith("mamp: 3 more messages")
    assert len([line for line in run(*args, "--debug")[2].splitlines() if "'cm' inferred" in line]) == 4
    assert logging.getLogger("mamp").handlers == handlers


def test_interrupt(run: Run, weights: Path, recordings: list[Path], tmp_path: Path, monkeypatch: Any) -> None:
    def interrupted(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mamp.embedder.embed_recordings", interrupted)
    status, out, err = run("embed", recordings[0], "-o", tmp_path / "x.npz", "--weights", weights, "--unit", "cm")
    assert (status, out, err) == (130, "", "mamp embed: interrupted\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="pipes break otherwise on Windows")
def test_reader_of_the_output_gone() -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run([sys.executable, "-m", "mamp", "list"], stdout=write, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_info_of_a_recording(run: Run, recordings: list[Path]) -> None:
    status, out, err = run("info", recordings[0], "--json", "--unit", "cm")
    assert (status, err) == (0, "")
    facts = json.loads(out)
    assert (facts["people"], facts["frames"], facts["layout"]) == (1, 30, "bvh")
    assert facts["fps"] == pytest.approx(30, abs=1e-3) and facts["seconds"] == pytest.approx(1, abs=1e-3)
    assert (facts["tracked"], facts["unit"], facts["unit_from"]) == (1.0, "cm", "given")
    assert 1.3 < facts["head_to_ankle"] < 1.7
    joints = facts["model_joints"]
    assert list(joints) == list(mamp.get_layout("ntu25").joints)
    assert joints["elbow_left"] == "taken from LeftForeArm" and "extrapolated" in joints["hand_tip_left"]
    status, text, _ = run("info", recordings[0], "--unit", "cm")
    assert status == 0 and "30 frames/s, 1.00 s" in text and "16 taken" in text


def test_info_doubts_an_impossible_size(run: Run, recordings: list[Path]) -> None:
    status, out, _ = run("info", recordings[0], "--unit", "m")
    assert status == 0 and "is the unit right?" in out


def test_info_draws_a_recording(run: Run, recordings: list[Path], tmp_path: Path) -> None:
    """The body as read beside the model's joints, and what was inferred, in words."""
    picture = tmp_path / "walk.png"
    status, out, _ = run("info", recordings[0], "--picture", picture)
    assert status == 0 and picture.read_bytes()[:4] == b"\x89PNG" and str(picture) in out
    words = json.loads(run("info", recordings[0], "--picture", tmp_path / "b.svg", "--json")[1])["inferred"]
    assert words["unit"].startswith("cm, inferred from the body") and words["up"].startswith("y, ")
    drawn = (tmp_path / "b.svg").read_text()
    assert "<svg" in drawn and drawn.count("<path") > 100
    lying = tmp_path / "nobody.npy"  # a person of whom nearly nothing is seen
    body = np.full((5, 25, 3), np.nan, np.float32)
    body[2, :3] = np.arange(9).reshape(3, 3) / 10
    np.save(lying, body)
    assert run("info", lying, "--layout", "ntu25", "--unit", "m", "--picture", tmp_path / "c.png")[0] == 0
    status, _, err = run("info", recordings[0], "--picture", tmp_path / "no" / "such" / "d.png")
    assert status == 1 and "d.png" in err


def test_info_of_gaps_and_absent_joints(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mamp.layouts.layout.REGISTRY", dict(mamp.layouts.layout.REGISTRY))
    mamp.register_layout("two", ["head", "hand"], {"head": "head", "hand_left": "hand"})
    positions = np.ones((1, 10, 2, 3), dtype=np.float32)
    positions[0, :5, 1] = np.nan
    np.save(tmp_path / "two.npy", positions)
    facts = json.loads(run("info", tmp_path / "two.npy", "--layout", "two", "--unit", "m", "--up", "y", "--json")[1])
    assert facts["tracked"] == 0.75 and facts["head_to_ankle"] is None and facts["fps"] is None
    assert list(facts["model_joints"].values()).count("absent") == 23


def test_info_of_weights(run: Run, weights: Path, encoder: MAMPEncoder) -> None:
    status, out, err = run("info", weights, "--json")
    assert (status, err) == (0, "")
    facts = json.loads(out)
    assert facts["fingerprint"] == fingerprint(encoder)
    assert facts["parameters"] == sum(p.numel() for p in encoder.parameters())
    assert facts["config"] == CONFIG.to_dict()
    assert fingerprint(encoder) in run("info", weights)[1]
    status, out, _ = run("info", "ntu60")
    assert status == 0 and "NTU RGB+D 60" in out and "licence" in out


def test_list(run: Run) -> None:
    status, out, err = run("list", "--json")
    assert (status, err) == (0, "")
    entries = {entry["name"]: entry for entry in json.loads(out)["weights"]}
    names = [name for entry in entries.values() for name in (entry["name"], *entry["aliases"])]
    assert sorted(names) == sorted(mamp.list_pretrained())
    assert {"openmocap", "ntu60-xsub", "ntu120-xset"} <= set(entries)
    text = run("list")[1]
    assert all(name in text for name in names)


def test_convert(run: Run, tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = MAMPForPretraining(CONFIG, decoder_dim_feat=8, decoder_depth=1)
    checkpoint = tmp_path / "checkpoint-399.pth"
    state = {"model": model.state_dict(), "epoch": 399, "args": argparse.Namespace(model_args={"num_heads": 2})}
    torch.save(state, checkpoint)
    out_dir = tmp_path / "converted"
    status, out, err = run("convert", checkpoint, out_dir, "--preset", "ntu120-xset", "--json")
    assert (status, err) == (0, "")
    facts = json.loads(out)
    assert (facts["kind"], facts["epoch"], facts["preset"]) == ("pretraining", 399, "ntu120-xset")
    converted = MAMPEncoder.from_pretrained(out_dir)
    assert facts["fingerprint"] == fingerprint(converted)
    assert converted.config.preprocessing.absent_person == "copy"
    for name, value in converted.state_dict().items():
        assert torch.equal(value, state["model"][name])
    status, text, _ = run("convert", checkpoint, out_dir, "--preset", "ntu120-xset")
    assert status == 0 and facts["fingerprint"] in text


def test_demo(run: Run, weights: Path, encoder: MAMPEncoder, tmp_path: Path) -> None:
    args = ("demo", "--weights", weights, "--variations", 2, "--keep", tmp_path / "kept")
    status, out, err = run(*args, "--json")
    assert (status, err) == (0, "")
    result = json.loads(out)
    paths = sorted((tmp_path / "kept").iterdir())
    assert len(paths) == len(result["recordings"]) == 18 and result["shape"] == [18, WIDTH]
    assert result["fingerprint"] == fingerprint(encoder)

    embeddings = {path.stem: encoder.encode(load(path, unit="cm")) for path in paths}
    mean = np.mean(list(embeddings.values()), axis=0)

    def cosine(a: str, b: str) -> float:
        u, v = embeddings[a] - mean, embeddings[b] - mean
        return float(u @ v / np.linalg.norm(u) / np.linalg.norm(v))

    same = 0
    for row in result["recordings"]:
        name, first = row["recording"], row["nearest"][0]
        others = {other: cosine(name, other) for other in embeddings if other != name}
        assert first["recording"] == max(others, key=others.__getitem__)
        assert first["cosine"] == pytest.approx(max(others.values()), abs=1e-3)
        assert row["same_action"] == (first["recording"].split("-")[0] == name.split("-")[0])
        same += row["same_action"]
    assert result["nearest_of_same_action"] == same
    text = run(*args)[1]
    assert f"{same} of 18 are nearest to a recording of the same action" in text and str(tmp_path / "kept") in text


def test_nearest_neighbours_are_of_centred_rows() -> None:
    rows = np.array([[10, 1], [10, 2], [10, -1], [10, -3]], dtype=np.float32)
    order, similarity = nearest_neighbours(rows)
    assert order[:, 0].tolist() == [1, 0, 3, 2]
    np.testing.assert_allclose(similarity[:, 0], 1, atol=1e-6)
    np.testing.assert_allclose(similarity[:, -1], -1, atol=1e-6)


def test_info_on_a_training_run(tmp_path, capsys) -> None:
    from mamp.data import StoreWriter
    from mamp.layouts import MODEL_LAYOUT
    from mamp.train.engine import train
    from mamp.train.recipes import get_recipe

    rng = np.random.default_rng(0)
    with StoreWriter(tmp_path / "store", MODEL_LAYOUT) as writer:
        for clip in range(4):
            writer.add(f"clip-{clip}", rng.normal(size=(1, 40, 25, 3)).astype(np.float32), 30.0)
    config = get_recipe("smoke").config
    small = config.encoder.replace(dim_feat=16, depth=1, num_heads=2)
    optim = dataclasses.replace(config.optim, batch_size=2, epochs=2, warmup_epochs=0)
    run = dataclasses.replace(config.run, log_every=1, device="cpu")
    data = dataclasses.replace(config.data, samples_per_epoch=4, workers=0)
    train(
        dataclasses.replace(config, encoder=small, optim=optim, run=run, data=data),
        tmp_path / "store",
        tmp_path / "run",
    )
    assert main(["info", str(tmp_path / "run"), "--plot", str(tmp_path / "run.png")]) == 0
    text = capsys.readouterr().out
    assert "step 4 of 4, epoch 2 of 2, finished" in text
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")
