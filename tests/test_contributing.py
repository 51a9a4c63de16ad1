"""The worked examples of CONTRIBUTING.md do what the page says."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from mamp import Preprocessing, Skeleton, get_layout, load
from mamp.data import ClipStore, StoreWriter
from mamp.evaluate.registry import PROTOCOLS
from mamp.evaluate.runner import evaluate
from mamp.layouts import layout as registry
from mamp.prepare.build import Settings, prepare
from mamp.prepare.recordings import Recordings
from mamp.readers.load import READERS
from mamp.synthetic import synthesize

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def example(heading: str, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The python block of a section, as a module."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    (block,) = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    module = types.ModuleType(heading.replace(" ", "_").lower())
    monkeypatch.setitem(sys.modules, module.__name__, module)  # dataclasses look their module up
    exec(compile(block, f"CONTRIBUTING.md, {heading}", "exec"), module.__dict__)
    return module


def test_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    layout = example("Adding a layout", monkeypatch).STICK9
    monkeypatch.setitem(registry.REGISTRY, layout.name, layout)
    assert layout.pairs == (("elbow_left", "elbow_right"), ("hand_left", "hand_right"), ("foot_left", "foot_right"))
    positions = np.random.default_rng(0).normal(size=(1, 5, 9, 3)).astype(np.float32)
    model = get_layout("ntu25")
    converted = Skeleton(positions, "stick9").to_layout(model)
    pelvis, middle = positions[:, :, 0], positions[:, :, :2].mean(axis=2)
    np.testing.assert_allclose(converted.positions[:, :, model.joints.index("spine_base")], pelvis)
    np.testing.assert_allclose(converted.positions[:, :, model.joints.index("spine_mid")], middle, atol=1e-6)
    assert "knee_left" in layout.absent(model) and "hand_tip_left" not in layout.absent(model)


def test_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = example("Adding a reader", monkeypatch)
    monkeypatch.setitem(sys.modules, "mamp.readers.kin", module)
    monkeypatch.setitem(READERS, "kin", ".kin")
    positions = np.random.default_rng(0).normal(scale=300, size=(4, 20, 3)).round(3)
    np.savetxt(tmp_path / "walk.kin", positions.reshape(4, 60), fmt="%.3f")
    recording = load(tmp_path / "walk.kin")
    np.testing.assert_allclose(recording.positions[0], positions / 1000, atol=1e-6)
    assert (recording.layout.name, recording.fps, recording.info["unit_from"]) == ("kinect20", 30, "format")


def test_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, raw = example("Adding a data set", monkeypatch).SET, tmp_path / "raw"
    raw.mkdir()
    for subject, label, action in ((1, 0, "jump"), (2, 1, "walk")):
        (raw / f"jump-{subject}-{label}.bvh").write_text(synthesize(action, seconds=1))
    (raw / "other.bvh").write_text("not of the set")
    prepare(Recordings(kind(raw), Preprocessing()), tmp_path / "store", Settings(workers=1))
    store = ClipStore(tmp_path / "store")
    assert list(store.columns["split"]) == ["train", "test"] and list(store.columns["label"]) == [0, 1]
    assert store.info["classes"] == ["up", "forward"]


def test_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    protocol = example("Adding a protocol", monkeypatch).PROTOCOL
    monkeypatch.setitem(PROTOCOLS, protocol.name, protocol)
    rng = np.random.default_rng(0)
    with StoreWriter(tmp_path / "store", get_layout("ntu25")) as writer:
        for number in range(8):
            clip = rng.normal(scale=0.1, size=(1, 20, 25, 3)).astype(np.float32)
            clip[:, :, 6, 1] += 3 * (number % 2)  # the class is where a hand is
            writer.add(str(number), clip, 30.0, label=number % 2, split="test" if number > 5 else "train")
    found = evaluate("means", "poses", tmp_path / "store", tmp_path / "out", overrides={"power": "1"})
    assert found["headline"]["mean"] == 100 and found["settings"]["power"] == 1


def test_map_is_the_one_that_is_checked() -> None:
    contract = (ROOT / ".importlinter").read_text(encoding="utf-8")
    rows = re.findall(r"^    (.*)$", contract.partition("\nlayers =\n")[2].partition("\n\n")[0], re.MULTILINE)
    shown = PAGE.partition("## The map")[2].partition("```text\n")[2].partition("```")[0]
    assert [re.split(r"  +", line)[0] for line in shown.splitlines()] == rows


def test_files_that_the_page_names_exist() -> None:
    for path in re.findall(r"`((?:mamp|tests|benchmarks|docs)/[\w./]+\.(?:py|md))`", PAGE):
        assert (ROOT / path).exists(), path
