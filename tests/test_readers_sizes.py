"""Bodies of any size and in any axes: the unit that makes them people, or a scale and a warning that says so."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from readers_helpers import person

from mamp.layouts import get_layout
from mamp.readers import load
from mamp.readers.axes import TO_Y_UP
from mamp.readers.infer import HEAD_TO_ANKLE, Body

JOINTS = get_layout("ntu25").joints
LAYOUT = get_layout("ntu25")


def save(tmp_path: Path, points: np.ndarray) -> Path:
    path = tmp_path / "clip.npy"
    np.save(path, points)
    return path


def size(points: np.ndarray) -> float:
    found = Body(points[None] if points.ndim == 3 else points, LAYOUT).head_to_ankle
    assert found is not None
    return found


def sized(metres: float) -> np.ndarray:
    """A person of so many metres from head to ankle."""
    return person("ntu25", 4) * metres / size(person("ntu25", 4))


@pytest.mark.parametrize("units_a_metre", [10, 26.5, 5, 200, 0.01, 455, 0.48, 7e4])
def test_units_of_no_meaning_make_a_person(tmp_path: Path, caplog: pytest.LogCaptureFixture, units_a_metre: float):
    path = save(tmp_path, sized(1.56) * units_a_metre)
    with caplog.at_level(logging.WARNING, logger="mamp"):
        skeleton = load(path, layout="ntu25")
    assert size(skeleton.positions) == pytest.approx(HEAD_TO_ANKLE, rel=1e-3)
    assert skeleton.info["unit"] == pytest.approx(1 / units_a_metre, rel=1e-3)
    assert "in none that is common are the people of human size" in caplog.text and "Say unit=" in caplog.text
    said = {"layout": "ntu25", "unit": 0.001 if units_a_metre > 1000 else "m"}
    metres = 1.56 * units_a_metre * (0.001 if units_a_metre > 1000 else 1)
    assert size(load(path, **said).positions) == pytest.approx(metres, rel=1e-3)


@pytest.mark.parametrize("metres", [0.95, 1.1, 1.5, 1.9, 2.25])
@pytest.mark.parametrize(("unit", "scale"), [("m", 1), ("cm", 100), ("mm", 1000)])
def test_children_and_giants_are_people(tmp_path: Path, metres: float, unit: str, scale: float):
    skeleton = load(save(tmp_path, sized(metres) * scale), layout="ntu25")
    assert skeleton.info["unit"] == unit and size(skeleton.positions) == pytest.approx(metres, rel=1e-4)


def test_feet(tmp_path: Path):
    assert load(save(tmp_path, sized(1.56) / 0.3048), layout="ntu25").info["unit"] == "ft"


@pytest.mark.parametrize(
    "seen", ["shoulder elbow wrist spine", "hip knee ankle", "spine_shoulder spine_base hip knee shoulder"]
)
@pytest.mark.parametrize("units_a_metre", [1, 100, 1000, 30])
def test_what_is_seen_says_the_size(tmp_path: Path, seen: str, units_a_metre: float):
    points = sized(1.56)
    points[:, [not any(part in joint for part in seen.split()) for joint in JOINTS]] = np.nan
    skeleton = load(save(tmp_path, points * units_a_metre), layout="ntu25")
    ratio = np.nanmedian(skeleton.positions[0] / points)
    assert ratio == pytest.approx(1, abs=0.2) and (units_a_metre == 30 or ratio == pytest.approx(1))


def test_a_unit_of_the_file_that_makes_no_person_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    points = sized(1.56) * 10
    rows = "\n".join(" ".join(f"{value:.4f}" for value in [*frame.ravel(), *[0] * 75]) for frame in points)
    path = tmp_path / "clip.txt"
    path.write_text(rows)  # PKU-MMD, whose unit is the metre
    with caplog.at_level(logging.WARNING, logger="mamp"):
        skeleton = load(path)
    assert "people are 15.6 m from head to ankle in the unit of the file (m)" in caplog.text
    assert "Say unit=0.1," in caplog.text
    assert size(skeleton.positions[:1]) == pytest.approx(15.6, rel=1e-3)
    caplog.clear()
    load(path, unit=0.1)
    assert not caplog.records


UNSEEN = {
    "no head": ("head", "neck"),
    "no feet": ("ankle", "foot"),
    "legs": ("head", "neck", "spine_mid", "spine_shoulder", "shoulder", "elbow", "wrist", "hand", "thumb"),
    "trunk": ("head", "neck", "knee", "ankle", "foot", "elbow", "wrist", "hand", "thumb"),
    "hips and shoulders": ("head", "neck", "spine", "knee", "ankle", "foot"),
}


@pytest.mark.parametrize("unseen", UNSEEN)
@pytest.mark.parametrize("up", ["y", "z", "-y"])
def test_up_by_what_is_seen(tmp_path: Path, unseen: str, up: str):
    points = person("ntu25", 4)
    points[:, [any(part in joint for part in UNSEEN[unseen]) for joint in JOINTS]] = np.nan
    skeleton = load(save(tmp_path, points @ np.array(TO_Y_UP[up])), layout="ntu25", unit="m")
    assert (skeleton.info["up"], skeleton.info["up_from"]) == (up, "inferred")


@pytest.mark.parametrize("up", ["y", "z", "-y"])
def test_the_floor_says_up_of_people_who_lie(tmp_path: Path, up: str):
    """Somebody crawls along x and back, and turns: only the floor stays where it is."""
    lying = (
        person("ntu25", 60)[..., [1, 2, 0]]
        * np.stack([np.ones(60), np.linspace(0.1, 0.5, 60), np.ones(60)], -1)[:, None]
    )
    lying[..., 1] -= lying[..., 1].min(1, keepdims=True)
    away = np.linspace(0, 3, 60)[:, None]
    lying[..., 0] += np.sin(away) * 2
    lying[..., 2] += away
    skeleton = load(save(tmp_path, lying @ np.array(TO_Y_UP[up])), layout="ntu25", unit="m")
    assert (skeleton.info["up"], skeleton.info["up_from"]) == (up, "inferred")


@pytest.mark.parametrize("layout", ["ntu25", "body25", "coco17", "h36m17"])
@pytest.mark.parametrize("scale", [1, 455, 0.48])
def test_of_layouts_of_as_many_joints_the_one_that_makes_a_body(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, layout: str, scale: float
):
    with caplog.at_level(logging.WARNING, logger="mamp"):
        skeleton = load(save(tmp_path, person(layout, 8) * scale))
    other = {"ntu25": "body25", "body25": "ntu25", "coco17": "h36m17", "h36m17": "coco17"}[layout]
    assert skeleton.layout.name == layout
    assert f"taken as layout {layout!r}; {other!r} has as many" in caplog.text
