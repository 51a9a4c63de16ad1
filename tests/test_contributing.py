"""The worked examples of CONTRIBUTING.md do what the page says."""

from __future__ import annotations

import re
import types
from pathlib import Path

import numpy as np
import pytest

from mamp import Skeleton, get_layout, load
from mamp.layouts import registry
from mamp.readers.load import FORMATS

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def example(heading: str) -> types.ModuleType:
    """The python block of a section, as a module."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    (block,) = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    module = types.ModuleType(heading.replace(" ", "_"))
    exec(compile(block, f"CONTRIBUTING.md, {heading}", "exec"), module.__dict__)
    return module


def test_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    layout = example("Adding a layout").STICK9
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
    module = example("Adding a reader")
    monkeypatch.setitem(FORMATS, "kin", module.FORMAT)
    positions = np.random.default_rng(0).normal(scale=300, size=(4, 20, 3)).round(3)
    np.savetxt(tmp_path / "walk.kin", positions.reshape(4, 60), fmt="%.3f")
    recording = load(tmp_path / "walk.kin")
    np.testing.assert_allclose(recording.positions[0], positions / 1000, atol=1e-6)
    assert (recording.layout.name, recording.fps, recording.info["unit_from"]) == ("kinect20", 30, "format")


def test_files_that_the_page_names_exist() -> None:
    for path in re.findall(r"`((?:mamp|tests|benchmarks|docs)/[\w./]+\.(?:py|md))`", PAGE):
        assert (ROOT / path).exists(), path
