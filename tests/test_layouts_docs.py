"""The page about layouts is in step with the registry, and what the benchmark measures is what it says."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from mamp import Skeleton
from mamp.layouts import MODEL_LAYOUT, get_layout, list_layouts

ROOT = Path(__file__).parents[1]


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """benchmarks/layout_pages.py and, beside it, layouts.py, as modules that vanish after the test."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "layouts", raising=False)
    spec = importlib.util.spec_from_file_location("layout_pages", ROOT / "benchmarks" / "layout_pages.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.delitem(sys.modules, "layouts")
    return module


def test_page_is_what_the_registry_says(pages: ModuleType) -> None:
    costs = json.loads(pages.COSTS.read_text()) if pages.COSTS.exists() else {}
    assert pages.PAGE.read_text() == pages.page(costs), "run python benchmarks/layout_pages.py"


def test_every_layout_has_a_section_and_a_picture(pages: ModuleType) -> None:
    text = pages.PAGE.read_text()
    people = [name for name in list_layouts() if name != "bvh" and get_layout(name).body == MODEL_LAYOUT.name]
    names = [*people, "mixamo"]
    assert set(pages.shown()) == set(names)
    total = 0
    for name in names:
        assert f"\n## `{name}`\n" in text
        if name != MODEL_LAYOUT.name:
            assert f"(images/layouts/{name}.png)" in text
            picture = (pages.PICTURES / f"{name}.png").read_bytes()
            assert picture.startswith(b"\x89PNG") and len(picture) > 5000
            total += len(picture)
    assert total < 400_000 and len(list(pages.PICTURES.iterdir())) == len(names) - 1


def test_page_reads_as_tables(pages: ModuleType) -> None:
    cells: list[int] = []
    for line in pages.PAGE.read_text().splitlines():
        cells = [*cells, line.count("|")] if line.startswith("|") else []
        assert len(set(cells)) <= 1, f"a row with another number of cells: {line}"
    assert "\u2014" not in pages.PAGE.read_text()


def test_round_trip_keeps_what_is_taken(pages: ModuleType) -> None:
    """Joints that a layout takes come back as they were, and all of it moves with the body."""
    rng = np.random.default_rng(0)
    recording = Skeleton(rng.normal(size=(1, 2, 25, 3)), "ntu25")
    shift = np.float32([3, -2, 1])
    for name, layout in pages.layouts().items():
        seen = pages.seen_by(layout)
        sums = seen.sum(axis=1)
        assert np.all((abs(sums - 1) < 1e-6) | ~seen.any(axis=1)), name
        round_trip = pages.seen_by.__globals__["round_trip"]
        there = round_trip(recording, layout, seen).positions
        moved = round_trip(recording.replace(positions=recording.positions + shift), layout, seen).positions
        np.testing.assert_allclose(moved, there + shift, atol=1e-4)
        weights = layout.conversion(MODEL_LAYOUT)
        sources = [int(np.argmax(row)) if np.count_nonzero(row) == 1 else -1 for row in weights]
        for joint, source in enumerate(sources):
            if source >= 0 and sources.index(source) == joint:
                np.testing.assert_allclose(there[0, :, joint], recording.positions[0, :, joint], atol=1e-5)
        assert np.array_equal(np.isnan(there[0, 0, :, 0]), ~weights.any(axis=1)), "absent is absent"


def test_error_is_in_centimetres(pages: ModuleType) -> None:
    distances = pages.seen_by.__globals__["distances"]
    x = np.random.default_rng(0).normal(size=(1, 3, 25, 3)).astype(np.float32)
    y = x.copy()
    y[:, :, MODEL_LAYOUT.joints.index("head"), 1] += 0.04
    y[:, :, MODEL_LAYOUT.joints.index("foot_left")] = np.nan
    y[:, :, MODEL_LAYOUT.joints.index("foot_right")] = np.nan
    found = distances([Skeleton(x, "ntu25")], [Skeleton(y, "ntu25")])
    assert found == {"trunk": 0.0, "head": 2.0, "limbs": 0.0, "hands": 0.0, "feet": None, "all": 0.2}
