"""Exported encoders: the embeddings of ``encode``, on other runtimes, without torch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mamp import MAMPConfig, MAMPEncoder, Preprocessing, Skeleton
from mamp import load as read
from mamp.cli import main
from mamp.config import Pool
from mamp.errors import ConfigError, MAMPError, MissingExtraError, RecordingError, WeightsError
from mamp.export import export, load, to_onnx, to_torch
from mamp.export.folder import Format

ROOT = Path(__file__).resolve().parents[1]
NEEDS: dict[str, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("openvino",),
    "torch": (),
}


OLD_TORCH = pytest.mark.skipif(tuple(map(int, torch.__version__.split(".")[:2])) < (2, 6), reason="needs torch 2.6")


def needs(format: str) -> Any:
    missing = [package for package in NEEDS[format] if find_spec(package) is None]
    reason = f"needs {', '.join(missing)}: make setup-all, or pip install 'mamp[export,fast]'"
    lacking = pytest.mark.skipif(bool(missing), reason=reason)
    return pytest.param(format, marks=[lacking, OLD_TORCH] if format == "torch" else lacking)


EVERY = [needs(format) for format in get_args(Format)]


def small(**changes: Any) -> MAMPEncoder:
    config = MAMPConfig(
        dim_feat=32,
        depth=2,
        num_heads=4,
        num_frames=16,
        pooling="mean+max+std",
        readout_dim=24,
        preprocessing=Preprocessing(facing=True, max_people=None, absent_person="none"),
    )
    return MAMPEncoder(config.replace(**changes)).eval()


def recordings() -> list[Skeleton]:
    """One person, two with gaps, three over a long time of whom one is away for a while, and a few frames only."""
    rng = np.random.default_rng(0)

    def bodies(people: int, frames: int) -> NDArray[np.float32]:
        steps = np.cumsum(rng.normal(size=(people, frames, 25, 3)) * 0.02, axis=1)
        return np.asarray(steps + rng.normal(size=(people, 1, 25, 3)), np.float32)

    gaps, away = bodies(2, 60), bodies(3, 200)
    gaps[0, :, 5:9] = np.nan
    away[2, 20:90] = np.nan
    away[:, 100:110] = np.nan
    return [Skeleton(x, "ntu25", 30, name=str(i)) for i, x in enumerate((bodies(1, 50), gaps, away, bodies(1, 3)))]


def assert_same(found: Any, expected: Any) -> None:
    assert len(found) == len(expected)
    for x, y in zip(found, expected, strict=True):
        scale = float(np.nanmax(np.abs(y)))
        np.testing.assert_allclose(x, y, rtol=0, atol=1e-4 * max(scale, 1.0))


@pytest.mark.parametrize("format", EVERY)
def test_embeddings_are_those_of_encode(format: Format, tmp_path: Path) -> None:
    encoder = small()
    export(encoder, tmp_path / "out", format)
    exported = load(tmp_path / "out", threads=1)
    assert exported.config == encoder.config
    for pool in get_args(Pool):
        assert_same(exported.encode(recordings(), pool=pool), encoder.encode(recordings(), pool=pool))
    assert_same(exported.encode(recordings(), window=20, stride=15), encoder.encode(recordings(), window=20, stride=15))
    one = recordings()[0]
    assert_same([exported.encode(one)], [encoder.encode(one)])
    changed = {"height": 1.7, "missing": "fill"}
    assert_same(
        exported.encode(recordings(), preprocessing=changed, batch_size=2),
        encoder.encode(recordings(), preprocessing=changed),
    )
    for count in (1, 2, 3, 7):  # whatever the number of bodies of the example was
        assert_same(exported.encode([one] * count, batch_size=count), encoder.encode([one] * count))


@pytest.mark.parametrize("format", EVERY)
@pytest.mark.parametrize("absent", ["zeros", "copy"])
def test_published_preprocessing(format: Format, absent: Any, tmp_path: Path) -> None:
    encoder = small(pooling="mean", readout_dim=None, preprocessing=Preprocessing(absent_person=absent))
    export(encoder, tmp_path / "out", format)
    for pool in get_args(Pool):
        found = load(tmp_path / "out").encode(recordings(), pool=pool)
        assert_same(found, encoder.encode(recordings(), pool=pool))


@pytest.mark.parametrize("format", [needs("onnx")])
def test_bundled_weights_in_onnx(format: Format, tmp_path: Path) -> None:
    import onnx

    encoder = MAMPEncoder.from_pretrained()
    encoder.train()
    export(encoder, tmp_path / "out", format)
    assert encoder.training, "left as it was"
    encoder.eval()
    exported = load(tmp_path / "out")
    found, expected = exported.encode(recordings()), np.asarray(encoder.encode(recordings()))
    assert_same(found, expected)
    cosine = (np.asarray(found) * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosine.min() > 0.99999
    model = onnx.load(tmp_path / "out" / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [entry.version for entry in model.opset_import] == [20] and exported.record.opset == 20
    assert [output.name for output in model.graph.output] == ["person", "frame", "joint", "tokens"]
    assert all(value.type.tensor_type.shape.dim[0].dim_param for value in model.graph.input), "any number of bodies"


@pytest.mark.parametrize("format", [needs("onnx")])
def test_eight_bits_are_smaller_and_close(format: Format, tmp_path: Path) -> None:
    encoder = small(dim_feat=64, depth=4)
    to_onnx(encoder, tmp_path / "float")
    to_onnx(encoder, tmp_path / "int", bits=8)
    size = {name: (tmp_path / name / "model.onnx").stat().st_size for name in ("float", "int")}
    assert size["int"] < 0.5 * size["float"]
    found, expected = (np.asarray(e.encode(recordings())) for e in (load(tmp_path / "int"), encoder))
    cosine = (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
    assert 0.9 < cosine.min() < 0.9999999, "approximate"


@pytest.mark.parametrize("format", [needs("onnx")])
def test_runs_where_only_numpy_and_onnxruntime_are_installed(format: Format, tmp_path: Path) -> None:
    encoder = small()
    to_onnx(encoder, tmp_path / "out")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(tmp_path / "venv")}))
    for package in ("numpy", "onnxruntime"):
        spec = find_spec(package)
        assert spec is not None and spec.origin is not None
        home = Path(spec.origin).parent
        for folder in (home, home.with_name(f"{package}.libs")):
            if folder.is_dir():
                (site / folder.name).symlink_to(folder, target_is_directory=True)
    shutil.copytree(ROOT / "mamp", site / "mamp", ignore=shutil.ignore_patterns("__pycache__"))
    np.save(tmp_path / "walk.npy", recordings()[0].positions[0])
    program = """
import importlib.util, json, sys
assert all(importlib.util.find_spec(name) is None for name in ("torch", "einops", "tqdm", "safetensors"))
from mamp import Skeleton, load
from mamp.export import load as load_exported
encoder = load_exported(sys.argv[1])
recording = load(sys.argv[2], layout="ntu25", fps=30)
print(json.dumps(encoder.encode(recording).tolist()))
"""
    command = [str(python), "-I", "-c", program, str(tmp_path / "out"), str(tmp_path / "walk.npy")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert_same([json.loads(done.stdout)], [encoder.encode(read(tmp_path / "walk.npy", layout="ntu25", fps=30))])


@OLD_TORCH
def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small().save_pretrained(tmp_path / "weights")
    out = tmp_path / "out"
    assert main(["export", str(tmp_path / "weights"), "-o", str(out), "--format", "torch", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["format"] == "torch" and facts["fingerprint"] == load(out).fingerprint
    assert main(["export", str(tmp_path / "weights"), "-o", str(out), "--format", "torch"]) == 0, "replaced"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "weights"], "nothing is left"
    assert main(["export", str(tmp_path / "weights"), "-o", str(out), "--format", "torch", "--bits", "8"]) == 1
    assert "expected 32, or 8 with format 'onnx'" in capsys.readouterr().err


@OLD_TORCH
def test_other_folders_are_kept(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("...")
    with pytest.raises(WeightsError, match="expected a new folder, or one with an earlier export"):
        to_torch(small(), tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]
    with pytest.raises(WeightsError, match="format: expected one of onnx, openvino, torch; found 'tflite'"):
        export(small(), tmp_path / "new", "tflite")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if OLD_TORCH.args[0]:
        pytest.skip("needs torch 2.6")
    folder = tmp_path_factory.mktemp("exported") / "out"
    to_torch(small(), folder)
    return folder


def _cut(folder: Path) -> None:
    content = (folder / "model.pt2").read_bytes()
    (folder / "model.pt2").write_bytes(content[: len(content) // 2])


def _edit(folder: Path, **changes: Any) -> None:
    record = json.loads((folder / "export.json").read_text())
    (folder / "export.json").write_text(json.dumps(record | changes))


@pytest.mark.parametrize(
    "damage, error, message",
    [
        (lambda folder: (folder / "export.json").unlink(), WeightsError, "expected a folder of an exported encoder"),
        (lambda folder: (folder / "export.json").write_text("{"), ConfigError, "expected JSON"),
        (lambda folder: (folder / "export.json").write_text("{}"), ConfigError, "a field is missing"),
        (lambda folder: _edit(folder, version=2), WeightsError, "expected version 1, found 2; a newer mamp"),
        (lambda folder: _edit(folder, format="tflite"), ConfigError, "found 'tflite'"),
        (lambda folder: _edit(folder, colour="red"), ConfigError, "unknown field 'colour'"),
        (_cut, WeightsError, "The file was replaced or damaged: export again"),
        (lambda folder: (folder / "model.pt2").unlink(), WeightsError, "cannot be read"),
        (lambda folder: (folder / "config.json").unlink(), WeightsError, "cannot be read"),
    ],
)
def test_damaged_folders(exported: Path, tmp_path: Path, damage: Any, error: type[MAMPError], message: str) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "out"))
    damage(folder)
    with pytest.raises(error, match=message):
        load(folder)


def test_a_runtime_that_is_not_installed(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "out"))
    record = json.loads((folder / "export.json").read_text())
    (folder / "model.pt2").rename(folder / "model.onnx")
    _edit(folder, format="onnx", files={"model.onnx": record["files"]["model.pt2"]})
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'mamp\[export\]'"):
        load(folder)


def test_what_is_no_recording(exported: Path) -> None:
    with pytest.raises(MAMPError, match=r"expected a mamp\.Skeleton"):
        load(exported).encode(5)  # type: ignore[arg-type]


@pytest.mark.parametrize("engine", [needs("onnx"), needs("openvino")])
def test_engine_of_encode(engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    encoder = small()
    assert_same(encoder.encode(recordings(), engine=engine), encoder.encode(recordings()))
    (folder,) = (tmp_path / "mamp" / "exports").iterdir()
    before = folder.stat().st_ino
    assert_same(small_copy(encoder).encode(recordings(), engine=engine), encoder.encode(recordings()))
    assert folder.stat().st_ino == before, "another encoder of the same weights takes the export that is there"
    model = next(path for path in folder.iterdir() if path.suffix in (".onnx", ".bin"))
    model.write_bytes(b"damaged")
    assert_same(small_copy(encoder).encode(recordings(), engine=engine), encoder.encode(recordings()))
    with torch.no_grad():
        encoder.temp_embed += 1.0
    assert_same(encoder.encode(recordings(), engine=engine), encoder.encode(recordings()))
    assert len(list((tmp_path / "mamp" / "exports").iterdir())) == 2, "changed weights are exported again"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="sends a signal")
@pytest.mark.parametrize("format", [needs("openvino")])
def test_a_signal_after_an_encoder_was_dropped_in_another_thread(format: Format, tmp_path: Path) -> None:
    export(small(), tmp_path / "out", format)
    code = """
import faulthandler, os, signal, sys, threading
from mamp.export import load
faulthandler.enable()  # the signal handlers of Python have a stack of their own then
signal.signal(signal.SIGTERM, lambda *_: print("obeyed"))
kept = [load(sys.argv[1])]
dropping = threading.Thread(target=kept.clear)
dropping.start(); dropping.join()
os.kill(os.getpid(), signal.SIGTERM)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "obeyed\n"), done.stderr


def small_copy(encoder: MAMPEncoder) -> MAMPEncoder:
    copy = MAMPEncoder(encoder.config).eval()
    copy.load_state_dict(encoder.state_dict())
    return copy


def test_engines_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RecordingError, match="engine: expected one of torch, onnx, openvino; found 'jax'"):
        small().encode(recordings(), engine="jax")  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'mamp\[fast\]'"):
        small().encode(recordings(), engine="openvino")


@pytest.mark.parametrize("format", [needs("onnx")])
def test_options_that_other_engines_lack(format: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(RecordingError, match="exported encoders compute in float32"):
        small().encode(recordings(), engine="onnx", precision="bfloat16")


@pytest.mark.parametrize("format", [needs("onnx")])
def test_share_of_tokens(format: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    encoder = small()
    found, expected = (encoder.encode(recordings(), engine=engine, token_share=0.5) for engine in ("onnx", "torch"))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert np.abs(found - encoder.encode(recordings())).max() > 1e-3
    export(encoder, tmp_path / "export", format=format)
    np.testing.assert_array_equal(load(tmp_path / "export").encode(recordings(), token_share=0.5), found)
