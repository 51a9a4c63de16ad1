"""The shared small files of real writers' kinds, each read as it should be; the kinds have tests of their own too."""

from __future__ import annotations

from pathlib import Path

import ezc3d
import numpy as np
import pytest

from mamp.errors import LayoutError, ReadError
from mamp.layouts import get_layout
from mamp.readers import load
from mamp.readers.c3d import parse_c3d
from mamp.readers.infer import Body
from mamp.skeleton import Skeleton

MODEL = get_layout("ntu25")
SIZED = (
    "bvh_ankle_and_foot", "bvh_foot_or_head_lost", "bvh_mmd_japanese", "bvh_neck_at_chest", "bvh_numbered_bones",
    "bvh_prefix_character", "bvh_short_names", "bvh_suffix_jnt", "bvh_unit_arbitrary", "bvh_zero_end_site",
)  # fmt: skip


@pytest.fixture
def cases(shared: Path) -> Path:
    folder = shared / "cases"
    if not folder.is_dir():
        pytest.skip("needs the shared cases, which are not part of the project")
    return folder


def recordings(folder: Path) -> list[Skeleton]:
    return [load(path) for path in sorted(folder.iterdir()) if path.name != "expected.txt"]


def model(skeleton: Skeleton) -> np.ndarray:
    """[T, 25, 3] the model's joints of the first person."""
    return skeleton.to_layout("ntu25").positions[0]


@pytest.mark.parametrize("name", SIZED)
def test_bvh_of_the_reference_body(cases: Path, name: str):
    """Its head is 1.56 m above its ankle, and all its joints are where those of the best-known names are."""
    reference = model(load(cases / "bvh_ref" / "hik.bvh"))[0]
    for skeleton in recordings(cases / name):
        body = model(skeleton)[0]
        assert body[3, 1] - body[14, 1] == pytest.approx(1.56, abs=0.05)
        assert np.isfinite(body).all(), np.array(MODEL.joints)[~np.isfinite(body).all(-1)]
        far = np.linalg.norm(body - reference, axis=-1)
        trunk = [MODEL.joints.index(joint) for joint in ("spine_mid", "spine_shoulder", "neck")]
        assert np.delete(far, trunk).max() < 0.15 and far.max() < 0.25, "a rig may have joints of the trunk elsewhere"


@pytest.mark.parametrize("name", ["c3d_analog_count", "c3d_duplicate_parameter", "c3d_first_frame_zero",
                                  "c3d_scale_mismatch", "c3d_plug_in_gait", "trc"])  # fmt: skip
def test_markers(cases: Path, name: str):
    (skeleton,) = recordings(cases / name)
    assert skeleton.positions.shape[1:3] == (3 if name == "c3d_plug_in_gait" else 20, 25) and skeleton.tracked.all()
    assert skeleton.fps == (60 if name == "trc" else 100)
    if name == "c3d_plug_in_gait":
        assert (skeleton.info["up"], skeleton.info["unit"]) == ("z", "mm")
    else:
        assert (skeleton.info["up"], skeleton.layout.name) == ("y", "ntu25")


def test_up_of_the_lower_body(cases: Path):
    path = cases / "c3d_lower_body_up" / "gait.c3d"
    legs = {f"{joint}_{side}": f"{side[0].upper()}{marker}" for side in ("left", "right")
            for joint, marker in (("knee", "KNE"), ("ankle", "ANK"), ("foot", "TOE"))}  # fmt: skip
    legs |= {"hip_left": ["LASI", "LPSI"], "hip_right": ["RASI", "RPSI"]}
    for skeleton in (load(path), load(path, markers=legs)):
        assert skeleton.info["up"] == "z"


def test_tables(cases: Path):
    (freemocap,) = recordings(cases / "csv_freemocap_body")
    assert (freemocap.positions.shape[2], freemocap.info["unit"], freemocap.info["up"]) == (33, "mm", "z")
    (kinect,) = recordings(cases / "csv_kinect_subset")
    for joint in ("ankle_left", "wrist_left", "spine_shoulder"):
        found = model(kinect)[:, MODEL.joints.index(joint)]
        np.testing.assert_allclose(found, kinect.positions[0][:, kinect.layout.joints.index(joint)])
    with pytest.raises(ReadError, match="those of the image"):
        recordings(cases / "csv_subset_image_landmarks")
    (world,) = recordings(cases / "csv_subset_world_landmarks")
    assert world.info["up"] == "-y"


def test_json_and_arrays(cases: Path):
    (mediapipe,) = recordings(cases / "json_mediapipe_metadata_fps")
    assert mediapipe.fps == 30
    (panoptic,) = recordings(cases / "json_panoptic")
    assert (panoptic.layout.name, panoptic.info["unit"], panoptic.info["up"]) == ("panoptic19", "cm", "-y")
    for lifted in recordings(cases / "npy_lifted_scale"):
        length = Body(lifted.positions, lifted.layout).head_to_ankle
        assert length is not None and 1.3 < length < 1.8


@pytest.fixture
def writers(shared: Path) -> Path:
    folder = shared / "data" / "raw" / "writers"
    if not folder.is_dir():
        pytest.skip("needs the shared files of real writers, which are not part of the project")
    return folder


WALKS = {"bmc-walk.trc": 9, "bmc-gait.c3d": 23, "opensim-walk.trc": 23, "opensim-walking.c3d": 11,
         "plug-in-gait-static.c3d": 25}  # fmt: skip


@pytest.mark.parametrize("file", WALKS)
def test_real_markers_make_a_body(writers: Path, file: str):
    """Legs of an adult, upright, the left one at the left, and as many joints as the markers give."""
    skeleton = load(writers / file)
    body = model(skeleton)
    assert skeleton.tracked.any((0, 1)).sum() == WALKS[file]
    hips, knees, ankles = (body[:, [MODEL.joints.index(f"{part}_{side}") for side in ("left", "right")]]
                           for part in ("hip", "knee", "ankle"))  # fmt: skip
    for upper, lower, low, high in ((hips, knees, 0.36, 0.5), (knees, ankles, 0.34, 0.48)):
        length = np.linalg.norm(upper - lower, axis=-1)
        assert low < np.nanmedian(length) < high and np.nanstd(length, axis=0).max() < 0.03, (
            "thighs and shins are rigid"
        )
    assert 0.75 < np.nanmedian(hips[..., 1] - ankles[..., 1].min(1, keepdims=True)) < 1.0
    across = np.nanmedian(np.linalg.norm(hips[:, 0] - hips[:, 1], axis=-1))
    assert 0.1 < across < 0.25


@pytest.mark.parametrize("file", ["bmc-gait.c3d", "motive-walking.c3d", "opensim-walking.c3d",
                                  "plug-in-gait-static.c3d"])  # fmt: skip
def test_real_markers_are_those_of_ezc3d(writers: Path, file: str):
    content = ezc3d.c3d(str(writers / file))["data"]
    points = content["points"][:3].transpose(2, 1, 0)
    unseen = content["meta_points"]["residuals"][0].T < 0
    ours = parse_c3d((writers / file).read_bytes(), file).positions
    np.testing.assert_array_equal(ours.astype(np.float32), np.where(unseen[..., None], np.nan, points).astype("f4"))


def test_markers_of_no_body(writers: Path):
    for file in ("motive-walking.c3d", "pyomeca-markers.trc"):
        with pytest.raises(LayoutError, match="markers are not joints"):
            load(writers / file)
    leg = {"foot_left": [f"Foot_Marker{number}" for number in range(1, 6)], "knee_left": "Knee_Marker1"}
    assert load(writers / "motive-walking.c3d", markers=leg).positions.shape[1] == 3361
